//! Topics: list, describe, create, delete, add partitions, delete records.

use reka_protocol::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use reka_protocol::kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use reka_protocol::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use reka_protocol::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use reka_protocol::kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest,
};
use uuid::Uuid;

use crate::client::{ANY, Client, Target, Topics, text, topic_name};
use crate::error::{ClientError, Outcome, judge};
use crate::metadata::{self, TopicInfo, TopicPartition};

/// A topic to be created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; the broker's default without.
    pub partitions: Option<i32>,
    /// How many replicas of each; the broker's default without.
    pub replication_factor: Option<i16>,
    /// The brokers of each partition, the preferred leader first, in place of the two above.
    pub assignment: Vec<Vec<i32>>,
    /// Its own configuration.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        NewTopic {
            name: name.into(),
            ..NewTopic::default()
        }
    }

    /// Says how many partitions it has.
    #[must_use]
    pub fn partitions(mut self, count: i32) -> Self {
        self.partitions = Some(count);
        self
    }
}

/// A topic that was created, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; nil where the broker tells none.
    pub id: Uuid,
    /// How many partitions it got; -1 where the broker does not say.
    pub partitions: i32,
    /// How many replicas of each; -1 where the broker does not say.
    pub replication_factor: i16,
}

impl Client {
    /// Every topic the client may see, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicInfo>, ClientError> {
        let mut tries = self.tries("list topics");
        let answer = loop {
            if let Some(answer) = tries.run(self.refresh(Topics::All)).await? {
                break answer;
            }
        };
        // A topic that is refused here went away in this very moment.
        let topics = answer.topics.iter().map(metadata::topic);
        let mut topics: Vec<TopicInfo> = topics.filter_map(Result::ok).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// These topics, asked anew.
    pub async fn describe_topics(
        &self,
        names: &[String],
    ) -> Result<Vec<(String, Outcome<TopicInfo>)>, ClientError> {
        let wanted = names.iter().map(|name| (name.clone(), ())).collect();
        let round = |open: Vec<(String, ())>| async move {
            let names: Vec<&str> = open.iter().map(|(name, ())| name.as_str()).collect();
            let answer = self.refresh(Topics::Named(&names)).await?;
            let named = answer.topics.iter().map(|answered| {
                let name = answered.name.as_deref().map(ToString::to_string);
                (name.unwrap_or_default(), metadata::topic(answered))
            });
            Ok(named.collect())
        };
        self.settle("describe topics", wanted, round).await
    }

    /// Creates topics, or only says what would come of it.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<(String, Outcome<CreatedTopic>)>, ClientError> {
        const API: &str = "CreateTopics";
        let wanted = topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.clone()))
            .collect();
        let round = |open: Vec<(String, NewTopic)>| async move {
            let topics: Vec<CreatableTopic> =
                open.iter().map(|(_, topic)| creatable(topic)).collect();
            let answer = self
                .ask(Target::Controller, ANY, |_| {
                    CreateTopicsRequest::default()
                        .with_topics(topics)
                        .with_timeout_ms(self.timeout_ms())
                        .with_validate_only(validate_only)
                })
                .await?;
            let created = answer.topics.iter().map(|topic| {
                let name = topic.name.to_string();
                let subject = || format!("topic {name}");
                let message = topic.error_message.as_deref();
                let judged = judge(API, subject, topic.error_code, message);
                let made = judged.map(|()| CreatedTopic {
                    id: topic.topic_id,
                    partitions: topic.num_partitions,
                    replication_factor: topic.replication_factor,
                });
                (name, made)
            });
            Ok(created.collect())
        };
        self.settle("create topics", wanted, round).await
    }

    /// Deletes topics.
    pub async fn delete_topics(
        &self,
        names: &[String],
    ) -> Result<Vec<(String, Outcome<()>)>, ClientError> {
        const API: &str = "DeleteTopics";
        let wanted = names.iter().map(|name| (name.clone(), ())).collect();
        let round = |open: Vec<(String, ())>| async move {
            let answer = self
                .ask(Target::Controller, ANY, |version| {
                    let request = DeleteTopicsRequest::default().with_timeout_ms(self.timeout_ms());
                    let names = open.iter().map(|(name, ())| topic_name(name));
                    if version >= 6 {
                        let state = |name| DeleteTopicState::default().with_name(Some(name));
                        request.with_topics(names.map(state).collect())
                    } else {
                        request.with_topic_names(names.collect())
                    }
                })
                .await?;
            let deleted = answer.responses.iter().map(|topic| {
                let name = topic.name.as_deref().map(ToString::to_string);
                let name = name.unwrap_or_default();
                let subject = || format!("topic {name}");
                let message = topic.error_message.as_deref();
                let judged = judge(API, subject, topic.error_code, message);
                (name, judged)
            });
            Ok(deleted.collect())
        };
        let outcomes = self.settle("delete topics", wanted, round).await?;
        for (name, _) in &outcomes {
            self.forget_topic(name);
        }
        Ok(outcomes)
    }

    /// Gives topics more partitions: each up to this many in all.
    pub async fn create_partitions(
        &self,
        counts: &[(String, i32)],
        validate_only: bool,
    ) -> Result<Vec<(String, Outcome<()>)>, ClientError> {
        const API: &str = "CreatePartitions";
        let round = |open: Vec<(String, i32)>| async move {
            let topics: Vec<CreatePartitionsTopic> = open
                .iter()
                .map(|(name, count)| {
                    CreatePartitionsTopic::default()
                        .with_name(topic_name(name))
                        .with_count(*count)
                        .with_assignments(None)
                })
                .collect();
            let answer = self
                .ask(Target::Controller, ANY, |_| {
                    CreatePartitionsRequest::default()
                        .with_topics(topics)
                        .with_timeout_ms(self.timeout_ms())
                        .with_validate_only(validate_only)
                })
                .await?;
            let grown = answer.results.iter().map(|topic| {
                let name = topic.name.to_string();
                let subject = || format!("topic {name}");
                let message = topic.error_message.as_deref();
                let judged = judge(API, subject, topic.error_code, message);
                (name, judged)
            });
            Ok(grown.collect())
        };
        let outcomes = self
            .settle("add partitions", counts.to_vec(), round)
            .await?;
        for (name, _) in &outcomes {
            self.forget_topic(name);
        }
        Ok(outcomes)
    }

    /// Deletes the records before an offset, -1 for all there are; where each log starts then.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Outcome<i64>)>, ClientError> {
        const API: &str = "DeleteRecords";
        let ask = |leader: i32, wanted: Vec<(TopicPartition, i64)>| async move {
            let topics = by_topic(&wanted, |partition, offset| {
                DeleteRecordsPartition::default()
                    .with_partition_index(partition)
                    .with_offset(*offset)
            });
            let topics = topics
                .into_iter()
                .map(|(name, partitions)| {
                    DeleteRecordsTopic::default()
                        .with_name(topic_name(&name))
                        .with_partitions(partitions)
                })
                .collect();
            let answer = self
                .ask(Target::Broker(leader), ANY, |_| {
                    DeleteRecordsRequest::default()
                        .with_topics(topics)
                        .with_timeout_ms(self.timeout_ms())
                })
                .await?;
            let mut outcomes = Vec::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let subject = || format!("partition {at}");
                    let judged = judge(API, subject, partition.error_code, None);
                    outcomes.push((at, judged.map(|()| partition.low_watermark)));
                }
            }
            Ok(outcomes)
        };
        self.on_leaders("delete records", before.to_vec(), ask)
            .await
    }

    /// What a broker is given for work that others take part in.
    pub(crate) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    });
    let assignments = (0..).zip(&topic.assignment).map(|(index, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        // With an assignment both have to be -1, which otherwise asks for the default.
        .with_num_partitions(topic.partitions.unwrap_or(-1))
        .with_replication_factor(topic.replication_factor.unwrap_or(-1))
        .with_assignments(assignments.collect())
        .with_configs(configs.collect())
}

/// Partitions under their topics, in the order the topics were first named.
pub(crate) fn by_topic<V, P>(
    wanted: &[(TopicPartition, V)],
    make: impl Fn(i32, &V) -> P,
) -> Vec<(String, Vec<P>)> {
    let mut topics: Vec<(String, Vec<P>)> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for (partition, value) in wanted {
        let position = *at.entry(partition.topic.as_str()).or_insert_with(|| {
            topics.push((partition.topic.clone(), Vec::new()));
            topics.len() - 1
        });
        topics[position].1.push(make(partition.partition, value));
    }
    topics
}

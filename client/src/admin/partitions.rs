//! Where partitions are: elections of leaders, moves between brokers.

use std::collections::BTreeMap;

use reka_protocol::kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use reka_protocol::kafka_protocol::messages::describe_topic_partitions_request::{
    Cursor, TopicRequest,
};
use reka_protocol::kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, DescribeTopicPartitionsRequest,
    ElectLeadersRequest, ListPartitionReassignmentsRequest,
};

use super::topics::by_topic;
use crate::client::{ANY, Client, Target, topic_name};
use crate::error::{ClientError, Outcome, judge};
use crate::metadata::{TopicPartition, ids};

/// Who may become leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// The first of the replicas.
    Preferred,
    /// Also one that is not in sync, which loses what it has not.
    Unclean,
}

/// A move that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    /// The brokers that hold the partition now.
    pub replicas: Vec<i32>,
    /// Those that are to hold it as well.
    pub adding: Vec<i32>,
    /// Those that are not to hold it any more.
    pub removing: Vec<i32>,
}

/// By partition: who is eligible, and who was known last to be.
pub type EligibleLeaders = BTreeMap<i32, (Vec<i32>, Vec<i32>)>;

impl Client {
    /// Elects leaders of these partitions, of all without any.
    pub async fn elect_leaders(
        &self,
        election: Election,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<(TopicPartition, Outcome<()>)>, ClientError> {
        const API: &str = "ElectLeaders";
        let wanted = partitions.map(|partitions| {
            let wanted: Vec<_> = partitions.iter().map(|at| (at.clone(), ())).collect();
            by_topic(&wanted, |partition, ()| partition)
        });
        let versions = match election {
            Election::Preferred => ANY,
            Election::Unclean => 1..=i16::MAX,
        };
        let answer = self
            .call(Target::Controller, versions, |version| {
                let topics = wanted.as_ref().map(|wanted| {
                    let topics = wanted.iter().map(|(name, partitions)| {
                        TopicPartitions::default()
                            .with_topic(topic_name(name))
                            .with_partitions(partitions.clone())
                    });
                    topics.collect()
                });
                let request = ElectLeadersRequest::default()
                    .with_topic_partitions(topics)
                    .with_timeout_ms(self.timeout_ms());
                match (version, election) {
                    (0, _) | (_, Election::Preferred) => request,
                    (_, Election::Unclean) => request.with_election_type(1),
                }
            })
            .await?;
        judge(API, || "elections".to_owned(), answer.error_code, None)?;
        let mut outcomes = Vec::new();
        for topic in &answer.replica_election_results {
            for partition in &topic.partition_result {
                let at = TopicPartition::new(topic.topic.as_str(), partition.partition_id);
                let message = partition.error_message.as_deref();
                let subject = || format!("partition {at}");
                let judged = judge(API, subject, partition.error_code, message);
                outcomes.push((at, judged));
            }
        }
        outcomes.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(outcomes)
    }

    /// Moves partitions to these brokers, or cancels their moves where there are none.
    pub async fn alter_reassignments(
        &self,
        moves: &[(TopicPartition, Option<Vec<i32>>)],
    ) -> Result<Vec<(TopicPartition, Outcome<()>)>, ClientError> {
        const API: &str = "AlterPartitionReassignments";
        let round = |open: Vec<(TopicPartition, Option<Vec<i32>>)>| async move {
            let topics = by_topic(&open, |partition, replicas: &Option<Vec<i32>>| {
                let replicas = replicas.as_ref();
                let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
                ReassignablePartition::default()
                    .with_partition_index(partition)
                    .with_replicas(replicas)
            });
            let topics = topics.into_iter().map(|(name, partitions)| {
                ReassignableTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions)
            });
            let topics = topics.collect();
            let answer = self
                .ask(Target::Controller, ANY, |_| {
                    AlterPartitionReassignmentsRequest::default()
                        .with_timeout_ms(self.timeout_ms())
                        .with_topics(topics)
                })
                .await?;
            let message = answer.error_message.as_deref();
            judge(API, || "moves".to_owned(), answer.error_code, message)?;
            let mut outcomes = Vec::new();
            for topic in &answer.responses {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let message = partition.error_message.as_deref();
                    let subject = || format!("partition {at}");
                    let judged = judge(API, subject, partition.error_code, message);
                    outcomes.push((at, judged));
                }
            }
            Ok(outcomes)
        };
        self.settle("move partitions", moves.to_vec(), round).await
    }

    /// Who may lead each partition of a topic beside those in sync (KIP-966), and who was known last
    /// to be able to; `None` where brokers do not say.
    pub async fn eligible_leaders(
        &self,
        topic: &str,
    ) -> Result<Option<EligibleLeaders>, ClientError> {
        const API: &str = "DescribeTopicPartitions";
        let mut found = EligibleLeaders::new();
        let mut from = None;
        loop {
            let request = TopicRequest::default().with_name(topic_name(topic));
            let cursor = from.map(|index| {
                Cursor::default()
                    .with_topic_name(topic_name(topic))
                    .with_partition_index(index)
            });
            let asked = self.call(Target::Any, ANY, |_| {
                DescribeTopicPartitionsRequest::default()
                    .with_topics(vec![request.clone()])
                    .with_cursor(cursor.clone())
            });
            let answer = match asked.await {
                Ok(answer) => answer,
                Err(ClientError::Unsupported { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            for answered in &answer.topics {
                judge(API, || format!("topic {topic}"), answered.error_code, None)?;
                for partition in &answered.partitions {
                    let listed = |ids_of: &Option<Vec<BrokerId>>| {
                        ids_of.as_deref().map(ids).unwrap_or_default()
                    };
                    let eligible = listed(&partition.eligible_leader_replicas);
                    let last = listed(&partition.last_known_elr);
                    found.insert(partition.partition_index, (eligible, last));
                }
            }
            let next = answer.next_cursor.map(|cursor| cursor.partition_index);
            // A cursor that does not move would be followed for ever.
            if next.is_none() || next <= from {
                return Ok(Some(found));
            }
            from = next;
        }
    }

    /// Every move that is under way.
    pub async fn list_reassignments(
        &self,
    ) -> Result<BTreeMap<TopicPartition, Reassignment>, ClientError> {
        const API: &str = "ListPartitionReassignments";
        let answer = self
            .call(Target::Controller, ANY, |_| {
                ListPartitionReassignmentsRequest::default()
                    .with_timeout_ms(self.timeout_ms())
                    .with_topics(None)
            })
            .await?;
        let message = answer.error_message.as_deref();
        judge(API, || "moves".to_owned(), answer.error_code, message)?;
        let mut moves = BTreeMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                let under_way = Reassignment {
                    replicas: ids(&partition.replicas),
                    adding: ids(&partition.adding_replicas),
                    removing: ids(&partition.removing_replicas),
                };
                moves.insert(at, under_way);
            }
        }
        Ok(moves)
    }
}

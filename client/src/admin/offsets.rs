//! Offsets of partitions: the first, the last, and by time.

use reka_protocol::kafka_protocol::messages::BrokerId;
use reka_protocol::kafka_protocol::messages::ListOffsetsRequest;
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};

use super::topics::by_topic;
use crate::client::{Client, Target, topic_name};
use crate::error::{ClientError, Outcome, judge};
use crate::metadata::TopicPartition;

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first there is.
    Earliest,
    /// The one the next record gets, or for committed records the first that is undecided.
    Latest,
    /// The first record at this time or later, in milliseconds.
    At(i64),
    /// The record with the largest timestamp.
    MaxTimestamp,
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::At(timestamp) => timestamp,
        }
    }

    /// The first version that knows it.
    fn version_min(self) -> i16 {
        match self {
            OffsetSpec::MaxTimestamp => 7,
            _ => 1,
        }
    }
}

/// Which records count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All of them.
    #[default]
    ReadUncommitted,
    /// Those before the first transaction that is undecided.
    ReadCommitted,
}

impl Isolation {
    pub(crate) fn code(self) -> i8 {
        match self {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        }
    }
}

/// An offset that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` where no record is that late.
    pub offset: Option<i64>,
    /// The record's timestamp, where one was looked for.
    pub timestamp: Option<i64>,
    /// The epoch of the leader that wrote it, where it is known.
    pub leader_epoch: Option<i32>,
}

impl Client {
    /// Offsets of partitions, asked of their leaders.
    pub async fn list_offsets(
        &self,
        wanted: &[(TopicPartition, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<Vec<(TopicPartition, Outcome<ListedOffset>)>, ClientError> {
        const API: &str = "ListOffsets";
        let ask = |leader: i32, wanted: Vec<(TopicPartition, OffsetSpec)>| async move {
            let needed = wanted.iter().map(|(_, spec)| spec.version_min()).max();
            // Version 2 can say which records count.
            let needed = needed
                .unwrap_or(1)
                .max(if isolation.code() == 0 { 1 } else { 2 });
            let topics: Vec<ListOffsetsTopic> = by_topic(&wanted, |partition, spec| {
                ListOffsetsPartition::default()
                    .with_partition_index(partition)
                    .with_timestamp(spec.timestamp())
            })
            .into_iter()
            .map(|(name, partitions)| {
                ListOffsetsTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions)
            })
            .collect();
            let answer = self
                .ask(Target::Broker(leader), needed..=i16::MAX, |version| {
                    let request = ListOffsetsRequest::default()
                        .with_replica_id(BrokerId(-1))
                        .with_isolation_level(isolation.code())
                        .with_topics(topics);
                    if version >= 10 {
                        request.with_timeout_ms(self.timeout_ms())
                    } else {
                        request
                    }
                })
                .await?;
            let mut outcomes = Vec::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let subject = || format!("partition {at}");
                    let judged = judge(API, subject, partition.error_code, None);
                    let listed = judged.map(|()| ListedOffset {
                        offset: Some(partition.offset).filter(|offset| *offset >= 0),
                        timestamp: Some(partition.timestamp).filter(|time| *time >= 0),
                        leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
                    });
                    outcomes.push((at, listed));
                }
            }
            Ok(outcomes)
        };
        self.on_leaders("list offsets", wanted.to_vec(), ask).await
    }
}

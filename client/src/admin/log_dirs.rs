//! The directories brokers keep their logs in.

use std::collections::BTreeMap;

use reka_protocol::kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use reka_protocol::kafka_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};

use super::topics::by_topic;
use crate::client::{ANY, Client, Target, text, topic_name};
use crate::error::{ClientError, Outcome, judge};
use crate::metadata::TopicPartition;

/// A directory of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Where it is, on the broker's machine.
    pub path: String,
    /// The size of its disk, where the broker tells.
    pub total_bytes: Option<i64>,
    /// What is free of it, where the broker tells.
    pub usable_bytes: Option<i64>,
    /// What is in it, by topic and partition.
    pub partitions: Vec<LogDirPartition>,
}

/// A partition's log in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The bytes of its segments.
    pub size: i64,
    /// How far it is behind.
    pub offset_lag: i64,
    /// Whether it is a copy that is to take the place of the one in another directory.
    pub is_future: bool,
}

impl Client {
    /// A broker's directories with all that is in them, by path. One that has failed is a refusal.
    pub async fn describe_log_dirs(
        &self,
        broker: i32,
    ) -> Result<Vec<(String, Outcome<LogDir>)>, ClientError> {
        const API: &str = "DescribeLogDirs";
        let answer = self
            .call(Target::Broker(broker), ANY, |_| {
                DescribeLogDirsRequest::default().with_topics(None)
            })
            .await?;
        let subject = || format!("the log directories of broker {broker}");
        judge(API, subject, answer.error_code, None)?;
        let mut dirs = BTreeMap::new();
        for dir in &answer.results {
            let path = dir.log_dir.to_string();
            let subject = || format!("directory {path} of broker {broker}");
            let judged = judge(API, subject, dir.error_code, None);
            let described = judged.map(|()| {
                let mut partitions = Vec::new();
                for topic in &dir.topics {
                    for partition in &topic.partitions {
                        partitions.push(LogDirPartition {
                            partition: TopicPartition::new(
                                topic.name.as_str(),
                                partition.partition_index,
                            ),
                            size: partition.partition_size,
                            offset_lag: partition.offset_lag,
                            is_future: partition.is_future_key,
                        });
                    }
                }
                partitions.sort_by(|a, b| a.partition.cmp(&b.partition));
                let known = |bytes: i64| Some(bytes).filter(|bytes| *bytes >= 0);
                LogDir {
                    path: path.clone(),
                    total_bytes: known(dir.total_bytes),
                    usable_bytes: known(dir.usable_bytes),
                    partitions,
                }
            });
            dirs.insert(path, described);
        }
        Ok(dirs.into_iter().collect())
    }

    /// Moves a broker's replicas to other directories of it.
    pub async fn alter_replica_log_dirs(
        &self,
        broker: i32,
        moves: &[(TopicPartition, String)],
    ) -> Result<Vec<(TopicPartition, Outcome<()>)>, ClientError> {
        const API: &str = "AlterReplicaLogDirs";
        let round = |open: Vec<(TopicPartition, String)>| async move {
            let mut by_path: BTreeMap<String, Vec<(TopicPartition, ())>> = BTreeMap::new();
            for (partition, path) in open {
                by_path.entry(path).or_default().push((partition, ()));
            }
            let dirs = by_path.into_iter().map(|(path, partitions)| {
                let topics = by_topic(&partitions, |partition, ()| partition);
                let topics = topics.into_iter().map(|(name, partitions)| {
                    AlterReplicaLogDirTopic::default()
                        .with_name(topic_name(&name))
                        .with_partitions(partitions)
                });
                AlterReplicaLogDir::default()
                    .with_path(text(&path))
                    .with_topics(topics.collect())
            });
            let dirs = dirs.collect();
            let answer = self
                .ask(Target::Broker(broker), ANY, |_| {
                    AlterReplicaLogDirsRequest::default().with_dirs(dirs)
                })
                .await?;
            let mut outcomes = Vec::new();
            for topic in &answer.results {
                for partition in &topic.partitions {
                    let at =
                        TopicPartition::new(topic.topic_name.as_str(), partition.partition_index);
                    let subject = || format!("partition {at} of broker {broker}");
                    let judged = judge(API, subject, partition.error_code, None);
                    outcomes.push((at, judged));
                }
            }
            Ok(outcomes)
        };
        self.settle("move between directories", moves.to_vec(), round)
            .await
    }
}

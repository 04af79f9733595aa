//! AlterReplicaLogDirs (34), versions 1-2.
//!
//! A replica stays where it is: asked to be there, that is the answer; asked to be in another
//! directory, it is refused. What is wrong with the request is told as Apache Kafka does, first the
//! directory, then the partition.
//!
//! | version | adds |
//! |---|---|
//! | 2 | flexible encoding |

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use reka_protocol::kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
};

use reka_storage::TopicPartition;

use super::text::topic_name;
use super::{Call, Context, Handler};
use crate::node::Services;

/// Says whether replicas are in these data directories.
#[derive(Debug)]
pub struct AlterReplicaLogDirs;

impl Handler for AlterReplicaLogDirs {
    type Request = AlterReplicaLogDirsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: AlterReplicaLogDirsRequest,
    ) -> AlterReplicaLogDirsResponse {
        let services = &context.services;
        let mut topics: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
        for dir in &request.dirs {
            for topic in &dir.topics {
                for index in &topic.partitions {
                    let error_code = judge(services, dir.path.as_str(), &topic.name, *index);
                    let result = AlterReplicaLogDirPartitionResult::default()
                        .with_partition_index(*index)
                        .with_error_code(error_code.code());
                    topics
                        .entry(topic.name.to_string())
                        .or_default()
                        .push(result);
                }
            }
        }
        let results = topics.into_iter().map(|(name, partitions)| {
            AlterReplicaLogDirTopicResult::default()
                .with_topic_name(topic_name(&name))
                .with_partitions(partitions)
        });
        AlterReplicaLogDirsResponse::default().with_results(results.collect())
    }
}

fn judge(services: &Services, path: &str, topic: &str, index: i32) -> ErrorCode {
    let log_dirs = services.log_dirs();
    let path = Path::new(path);
    let Some(dir) = log_dirs.dirs().iter().find(|dir| dir.path() == path) else {
        return match log_dirs.failed().iter().any(|failed| failed.dir == path) {
            true => ErrorCode::KafkaStorageError,
            false => ErrorCode::LogDirNotFound,
        };
    };
    if dir.env().health.check().is_err() {
        return ErrorCode::KafkaStorageError;
    }
    if let Err(code) = services.partitions.find(topic, index) {
        return code;
    }
    match log_dirs.of(&TopicPartition::new(topic, index)) {
        Some(present) if Arc::ptr_eq(present, dir) => ErrorCode::None,
        // As in Apache Kafka, nothing is moved while a directory is out of use.
        _ if log_dirs.out_of_use().is_some() => ErrorCode::KafkaStorageError,
        _ => ErrorCode::InvalidRequest,
    }
}

//! AlterReplicaLogDirs (34), versions 1-2. There is one data directory, so a replica is where it
//! is asked to be, or is asked to be where nothing is.
//!
//! | version | adds |
//! |---|---|
//! | 2 | flexible encoding |

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use reka_protocol::kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
};

use super::text::topic_name;
use super::{Call, Context, Handler};

/// Moves replicas between data directories.
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
            let is_ours = Path::new(dir.path.as_str()) == services.log_dir().path();
            for topic in &dir.topics {
                for index in &topic.partitions {
                    let is_here = services
                        .partitions
                        .get(topic.name.as_str(), *index)
                        .is_some();
                    let error_code = match (is_ours, is_here) {
                        (false, _) => ErrorCode::LogDirNotFound,
                        (true, false) => ErrorCode::UnknownTopicOrPartition,
                        (true, true) => ErrorCode::None,
                    };
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

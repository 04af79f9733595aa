//! DescribeLogDirs (35), versions 1-4.
//!
//! | version | adds |
//! |---|---|
//! | 2 | flexible encoding |
//! | 3 | an error for the whole answer |
//! | 4 | bytes of the volume, all and free (KIP-827) |

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use reka_protocol::kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::text::{text, topic_name};
use super::{Call, Context, Handler};

/// "Not known."
const UNKNOWN_BYTES: i64 = -1;

/// What lies in the data directory.
#[derive(Debug)]
pub struct DescribeLogDirs;

impl Handler for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: DescribeLogDirsRequest,
    ) -> DescribeLogDirsResponse {
        // Both sides may be thousands.
        let named: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
            let all = topics.iter().flat_map(|topic| {
                let indexes = topic.partitions.iter();
                indexes.map(|index| (topic.topic.as_str(), *index))
            });
            all.collect()
        });
        let wanted = |topic: &str, index: i32| match &named {
            None => true,
            Some(named) => named.contains(&(topic, index)),
        };
        let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for partition in context.services.partitions.all() {
            if wanted(&partition.topic, partition.index) {
                let size = i64::try_from(partition.reader().size()).unwrap_or(i64::MAX);
                let described = DescribeLogDirsPartition::default()
                    .with_partition_index(partition.index)
                    .with_partition_size(size);
                let listed = topics.entry(partition.topic.clone()).or_default();
                listed.push(described);
            }
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            DescribeLogDirsTopic::default()
                .with_name(topic_name(&name))
                .with_partitions(partitions)
        });
        let log_dir = context.services.log_dir();
        let result = DescribeLogDirsResult::default()
            .with_log_dir(text(log_dir.path().display().to_string()));
        let result = match log_dir.env().health.check() {
            Ok(()) => {
                let (total, usable) = volume(&context);
                result
                    .with_topics(topics.collect())
                    .with_total_bytes(total)
                    .with_usable_bytes(usable)
            }
            Err(_) => result
                .with_error_code(ErrorCode::KafkaStorageError.code())
                .with_total_bytes(UNKNOWN_BYTES)
                .with_usable_bytes(UNKNOWN_BYTES),
        };
        DescribeLogDirsResponse::default().with_results(vec![result])
    }
}

/// Bytes of the volume the directory is on: all, and those we may still take.
fn volume(context: &Context) -> (i64, i64) {
    let bytes =
        |blocks: u64, size: u64| i64::try_from(blocks.saturating_mul(size)).unwrap_or(i64::MAX);
    match rustix::fs::statvfs(context.services.log_dir().path()) {
        Ok(volume) => (
            bytes(volume.f_blocks, volume.f_frsize),
            bytes(volume.f_bavail, volume.f_frsize),
        ),
        Err(_) => (UNKNOWN_BYTES, UNKNOWN_BYTES),
    }
}

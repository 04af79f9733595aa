//! DescribeLogDirs (35), versions 1-4.
//!
//! | version | adds |
//! |---|---|
//! | 2 | flexible encoding |
//! | 3 | an error for the whole answer |
//! | 4 | bytes of the volume, all and free (KIP-827) |

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use reka_protocol::kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use reka_storage::TopicPartition;

use super::text::{text, topic_name};
use super::{Call, Context, Handler};

/// "Not known."
const UNKNOWN_BYTES: i64 = -1;

/// What lies in the data directories.
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
        let log_dirs = context.services.log_dirs();
        let mut topics: Vec<BTreeMap<String, Vec<DescribeLogDirsPartition>>> =
            vec![BTreeMap::new(); log_dirs.dirs().len()];
        for partition in context.services.partitions.all() {
            let name = TopicPartition::new(partition.topic.clone(), partition.index);
            let place = log_dirs.of(&name).and_then(|dir| {
                let dirs = log_dirs.dirs().iter();
                dirs.zip(&mut topics)
                    .find(|(other, _)| Arc::ptr_eq(dir, other))
            });
            if let Some((_, topics)) = place
                && wanted(&partition.topic, partition.index)
            {
                let size = i64::try_from(partition.reader().size()).unwrap_or(i64::MAX);
                let described = DescribeLogDirsPartition::default()
                    .with_partition_index(partition.index)
                    .with_partition_size(size);
                let listed = topics.entry(partition.topic.clone()).or_default();
                listed.push(described);
            }
        }
        let mut results = Vec::new();
        for (dir, topics) in log_dirs.dirs().iter().zip(topics) {
            if dir.env().health.check().is_err() {
                results.push(out_of_use(dir.path()));
                continue;
            }
            let topics = topics.into_iter().map(|(name, partitions)| {
                DescribeLogDirsTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions)
            });
            let (total, usable) = volume(dir.path());
            results.push(
                DescribeLogDirsResult::default()
                    .with_log_dir(text(dir.path().display().to_string()))
                    .with_topics(topics.collect())
                    .with_total_bytes(total)
                    .with_usable_bytes(usable),
            );
        }
        let failed = log_dirs.failed().iter();
        results.extend(failed.map(|failed| out_of_use(&failed.dir)));
        DescribeLogDirsResponse::default().with_results(results)
    }
}

fn out_of_use(dir: &Path) -> DescribeLogDirsResult {
    DescribeLogDirsResult::default()
        .with_log_dir(text(dir.display().to_string()))
        .with_error_code(ErrorCode::KafkaStorageError.code())
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES)
}

/// Bytes of the volume the directory is on: all, and those we may still take.
fn volume(dir: &Path) -> (i64, i64) {
    let bytes =
        |blocks: u64, size: u64| i64::try_from(blocks.saturating_mul(size)).unwrap_or(i64::MAX);
    match rustix::fs::statvfs(dir) {
        Ok(volume) => (
            bytes(volume.f_blocks, volume.f_frsize),
            bytes(volume.f_bavail, volume.f_frsize),
        ),
        Err(_) => (UNKNOWN_BYTES, UNKNOWN_BYTES),
    }
}

//! When records are on disk.
//!
//! With `flush.messages` a producer is told, and a consumer sees, what was synced: an append that
//! reaches the number leaves the high watermark where it is, and whoever appended syncs and answers
//! then. That blocks, so the shards of the network leave it to the blocking pool.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reka_protocol::ErrorCode;
use reka_storage::Log;

use super::Partition;
use super::append::Refused;
use crate::node::Services;

impl Partition {
    /// After an append: moves the high watermark, or says up to where to sync first.
    pub(super) fn advance_unless_to_be_synced(&self, log: &mut Log) -> Option<i64> {
        if log.flush_is_due_by_count() {
            return Some(log.log_end());
        }
        let end = log.log_end();
        self.advance_high_watermark(log, end);
        None
    }

    /// Whether `flush.messages` is set, so that an append may have to wait for a sync.
    pub fn counts_unsynced(&self) -> bool {
        self.counts_unsynced.load(Ordering::Relaxed)
    }

    /// Syncs what was appended, blocking; how long it took. Nothing, and `None`, if all below
    /// `offset` is on disk already. The log's lock is not held meanwhile.
    pub fn sync_below(&self, offset: i64) -> Result<Option<Duration>, Refused> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.flushed() >= offset {
            return Ok(None);
        }
        let began = Instant::now();
        let flush = self.log().begin_flush();
        let run = flush.map(|flush| flush.run());
        let mut log = self.log();
        match run.transpose() {
            Ok(Some(flushed)) => log.finish_flush(flushed),
            // Deleted, or there was nothing to carry.
            Ok(None) => {}
            Err(error) => {
                let why = format!("{self}: {error}");
                return Err(Refused::new(ErrorCode::KafkaStorageError, why));
            }
        }
        let on_disk = log.recovery_point();
        self.flushed.store(on_disk, Ordering::Release);
        // What came meanwhile may have to be synced as well.
        let visible = match log.flush_is_due_by_count() {
            true => on_disk,
            false => log.log_end(),
        };
        self.advance_high_watermark(&mut log, visible);
        drop(log);
        self.waiters.wake();
        Ok(Some(began.elapsed()))
    }
}

/// [`Partition::sync_below`], counted.
pub fn sync_below(services: &Services, partition: &Partition, offset: i64) -> Result<(), Refused> {
    let metrics = &services.metrics.requests;
    match partition.sync_below(offset) {
        Ok(took) => {
            if let Some(took) = took {
                metrics.flush_seconds.observe(took.as_secs_f64());
            }
            Ok(())
        }
        Err(refused) => {
            metrics.flush_failures.inc();
            tracing::error!("{}", refused.message);
            Err(refused)
        }
    }
}

/// Begins syncs on the blocking pool, at once; they go on if nobody waits for them. What became of
/// each, in order.
pub fn begin_all(
    services: Arc<Services>,
    due: Vec<(Arc<Partition>, i64)>,
) -> impl Future<Output = Vec<Result<(), Refused>>> {
    let (count, blocking) = (due.len(), services.blocking);
    let work = move || {
        let synced = due.iter();
        synced
            .map(|(partition, offset)| sync_below(&services, partition, *offset))
            .collect()
    };
    let working = blocking.run(work);
    async move {
        working.await.unwrap_or_else(|error| {
            let refused = Refused::new(ErrorCode::UnknownServerError, error);
            vec![Err(refused); count]
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use reka_records::{BatchBuilder, Compression};
    use reka_storage::env::Env;
    use reka_storage::fs::fault::{Fault, FaultDisk, When};
    use reka_storage::fs::sim::SimDisk;
    use reka_storage::fs::{Disk, Op};
    use reka_storage::log::OpenOptions;
    use reka_storage::map_budget::MapBudget;
    use reka_storage::{LogConfig, TopicPartition};
    use uuid::Uuid;

    use super::*;
    use crate::config::{Config, Overrides, Sources};

    fn batch() -> Vec<u8> {
        let mut batch = BatchBuilder::new(0).compression(Compression::None);
        let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        let appended = batch.append(0, 1_000, None, Some(b"x"), headers);
        appended.expect("a record that fits");
        batch.finish()
    }

    /// A partition of a topic with `flush.messages=2`.
    fn partition(fault: &FaultDisk) -> Partition {
        let disk = Disk::new(fault.clone());
        let maps = Arc::new(MapBudget::new(10));
        let env = Env::load(disk, Path::new("/"), maps).expect("a directory");
        let config = Config::load(&Sources::default())
            .expect("the defaults")
            .config;
        let overrides = Overrides::from([("flush.messages".to_owned(), "2".to_owned())]);
        let settings = Arc::new(config.topic(&overrides).expect("a number"));
        let options = OpenOptions {
            config: LogConfig {
                flush_messages: 2,
                ..LogConfig::default()
            },
            topic_id: None,
            clean: false,
            now_ms: 0,
        };
        let log = Log::open(&env, TopicPartition::new("t", 0), options);
        let (log, _) = log.expect("a log");
        Partition::lead("t".to_owned(), Uuid::nil(), 0, log, 0, settings)
    }

    fn append(partition: &Partition) -> Option<i64> {
        let rules = partition.settings().to_rules(1_000);
        let written = partition.append(&mut batch(), &rules, &mut Vec::new());
        written.expect("a good batch").sync_below
    }

    #[test]
    fn what_is_not_on_disk_yet_is_neither_seen_nor_told_of() {
        let partition = partition(&FaultDisk::new(SimDisk::new()));
        assert!(partition.counts_unsynced());
        assert_eq!(append(&partition), None);
        assert_eq!(partition.high_watermark(), 1);
        assert_eq!(append(&partition), Some(2));
        assert_eq!(append(&partition), Some(3));
        assert_eq!((partition.high_watermark(), partition.flushed()), (1, 0));
        assert!(partition.sync_below(2).expect("a sound disk").is_some());
        assert_eq!((partition.high_watermark(), partition.flushed()), (3, 3));
        // The one that came meanwhile went with it.
        assert_eq!(partition.sync_below(3), Ok(None));
    }

    #[test]
    fn after_a_failed_sync_nobody_is_told_of_success() {
        let fault = FaultDisk::new(SimDisk::new());
        let partition = partition(&fault);
        append(&partition);
        assert_eq!(append(&partition), Some(2));
        fault.plan(When::Every(Op::Sync), Fault::Errno(5));
        for _ in 0..2 {
            let refused = partition.sync_below(2).expect_err("the disk fails");
            assert_eq!(refused.error_code, ErrorCode::KafkaStorageError);
            assert_eq!((partition.high_watermark(), partition.flushed()), (1, 0));
            fault.heal();
        }
    }
}

//! A partition this broker leads: its log, how far it is visible, and who waits for more.
//!
//! Shared by all shards. An append holds the log's lock for a few microseconds and publishes the
//! ends through atomics; readers take no lock. With one node the in-sync replicas are the leader
//! itself, so the high watermark follows the log end.

pub mod append;
pub mod read;
pub mod sync;
pub mod table;
pub mod verify;
pub mod waiters;

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use reka_storage::{Log, LogConfig, LogReader};
use uuid::Uuid;

use self::verify::Verifying;
use self::waiters::Waiters;
use crate::config::TopicConfig;

/// A partition this broker leads.
#[derive(Debug)]
pub struct Partition {
    /// Name of its topic.
    pub topic: String,
    /// Id of its topic.
    pub topic_id: Uuid,
    /// Its number.
    pub index: i32,
    log: Mutex<Log>,
    /// Its files are gone or going. Set with the log's lock held.
    deleted: AtomicBool,
    /// It is about to be deleted: what takes long is given up.
    is_leaving: AtomicBool,
    /// Read while files are worked on without the log's lock, so that a deletion comes before or after.
    upkeep: RwLock<()>,
    reader: LogReader,
    leader_epoch: AtomicI32,
    high_watermark: AtomicI64,
    /// Records below this are on disk; what the flusher looks at before it takes the lock.
    flushed: AtomicI64,
    /// Bytes of the log when it was flushed last by the clock.
    bytes_flushed: AtomicU64,
    /// Held by whoever syncs: all who wait for it meanwhile are served by one sync.
    syncing: Mutex<()>,
    /// `flush.messages` is set.
    counts_unsynced: AtomicBool,
    waiters: Waiters,
    /// Changed with the log's lock held.
    verifying: Verifying,
    settings: RwLock<Arc<TopicConfig>>,
}

impl Partition {
    /// Takes the lead over `log` in `leader_epoch`.
    pub fn lead(
        topic: String,
        topic_id: Uuid,
        index: i32,
        log: Log,
        leader_epoch: i32,
        settings: Arc<TopicConfig>,
    ) -> Partition {
        let reader = log.reader();
        let flushed = AtomicI64::new(log.recovery_point());
        let bytes_flushed = AtomicU64::new(reader.size());
        let partition = Partition {
            topic,
            topic_id,
            index,
            high_watermark: AtomicI64::new(reader.log_end()),
            reader,
            log: Mutex::new(log),
            deleted: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            upkeep: RwLock::new(()),
            leader_epoch: AtomicI32::new(leader_epoch),
            flushed,
            bytes_flushed,
            syncing: Mutex::default(),
            counts_unsynced: AtomicBool::new(settings.counts_unsynced()),
            waiters: Waiters::default(),
            verifying: Verifying::default(),
            settings: RwLock::new(settings),
        };
        partition.log().settle_below(partition.high_watermark());
        partition
    }

    /// The topic's settings.
    pub fn settings(&self) -> Arc<TopicConfig> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on the partition obeys these settings; `log_config` is what they are to its log.
    pub fn configure(&self, settings: Arc<TopicConfig>, log_config: LogConfig) {
        if let Some(mut log) = self.log_to_change() {
            log.set_config(log_config);
            self.counts_unsynced
                .store(settings.counts_unsynced(), Ordering::Relaxed);
        }
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The writer's side of the log, to look at. Held briefly, never across an await.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same to change it; `None` once the partition is deleted. A file that is missing because
    /// its partition went must not look like a disk that fails, which takes everything offline.
    pub fn log_to_change(&self) -> Option<MutexGuard<'_, Log>> {
        let log = self.log();
        (!self.deleted.load(Ordering::Relaxed)).then_some(log)
    }

    /// Its directory failed.
    pub fn is_offline(&self) -> bool {
        self.log().is_offline()
    }

    /// For work on the files without the log's lock: as long as it is held, the partition is not
    /// deleted. `None` once it is. Several may hold it: a flush does not wait for a compaction.
    pub fn upkeep(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let upkeep = self.upkeep.read().unwrap_or_else(PoisonError::into_inner);
        (!self.deleted.load(Ordering::Relaxed)).then_some(upkeep)
    }

    /// Whether it is about to be deleted, and waits for those who hold [`Partition::upkeep`].
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Lets `delete` take the files away. Nothing changes them afterwards.
    pub fn delete<T>(&self, delete: impl FnOnce(&Log) -> T) -> T {
        self.is_leaving.store(true, Ordering::Relaxed);
        let _upkeep = self.upkeep.write().unwrap_or_else(PoisonError::into_inner);
        let log = self.log();
        self.deleted.store(true, Ordering::Relaxed);
        delete(&log)
    }

    /// The reader's side of the log.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The epoch this broker leads in.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// Consumers see records below this.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Readers of committed data see records below this.
    pub fn last_stable_offset(&self) -> i64 {
        let high_watermark = self.high_watermark();
        self.reader
            .first_unstable()
            .map_or(high_watermark, |first| first.min(high_watermark))
    }

    /// Records below this are on disk.
    pub fn flushed(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Bytes that the log grew by since this was asked last.
    pub fn take_grown_bytes(&self) -> u64 {
        let size = self.reader.size();
        let before = self.bytes_flushed.swap(size, Ordering::Relaxed);
        size.saturating_sub(before)
    }

    /// Those who wait for this partition to grow.
    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Everything below `end` is replicated: there is nobody else. Called with the log's lock held.
    fn advance_high_watermark(&self, log: &mut Log, end: i64) {
        self.high_watermark.fetch_max(end, Ordering::Release);
        if self.reader.first_unstable().is_some() {
            log.settle_below(end);
        }
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

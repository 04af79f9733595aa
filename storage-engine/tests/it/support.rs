//! What the tests share: batches, logs on any disk, and what a reader sees.

use std::path::Path;
use std::sync::Arc;

use reka_records::control::{EndTxnMarker, MarkerBatch, TransactionResult};
use reka_records::{BatchBuilder, BatchView, Compression, batches};
use reka_storage::env::Env;
use reka_storage::fs::Disk;
use reka_storage::fs::sim::SimDisk;
use reka_storage::log::OpenOptions;
use reka_storage::log_dir::{Identity, LogDirError, Opened, ToOpen};
use reka_storage::map_budget::MapBudget;
use reka_storage::recovery::RecoveryReport;
use reka_storage::{Appended, CheckedBatches, Log, LogConfig, LogDir, LogReader, TopicPartition};

/// The directory on a simulated disk.
pub(crate) const DIR: &str = "/";
/// A log directory that is not the root of its disk.
pub(crate) const ROOT: &str = "/data";

/// One record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// A batch of records with these values, all at one timestamp; key is the value's
/// first byte.
pub(crate) fn batch(values: &[&[u8]], timestamp: i64, compression: Compression) -> Vec<u8> {
    fill(
        BatchBuilder::new(0).compression(compression),
        values,
        timestamp,
    )
}

/// The same from a producer.
pub(crate) fn produced(
    id: i64,
    epoch: i16,
    sequence: i32,
    txn: bool,
    values: &[&[u8]],
    timestamp: i64,
) -> Vec<u8> {
    let builder = BatchBuilder::new(0).producer(id, epoch, sequence);
    fill(
        if txn {
            builder.transactional()
        } else {
            builder
        },
        values,
        timestamp,
    )
}

fn fill(mut builder: BatchBuilder, values: &[&[u8]], timestamp: i64) -> Vec<u8> {
    for (index, value) in values.iter().enumerate() {
        let key = value.get(..1);
        builder
            .append(
                index as i64,
                timestamp,
                key,
                Some(value),
                std::iter::empty::<(&[u8], Option<&[u8]>)>(),
            )
            .expect("a record that fits");
    }
    builder.finish()
}

/// The marker that ends a transaction.
pub(crate) fn marker(id: i64, epoch: i16, committed: bool, timestamp: i64) -> Vec<u8> {
    let result = if committed {
        TransactionResult::Commit
    } else {
        TransactionResult::Abort
    };
    EndTxnMarker {
        result,
        coordinator_epoch: 0,
    }
    .to_batch(MarkerBatch {
        base_offset: 0,
        leader_epoch: -1,
        producer_id: id,
        producer_epoch: epoch,
        timestamp,
    })
}

/// Small segments, so that short scripts roll.
pub(crate) fn small_config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 150,
        segment_index_bytes: 4096,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

/// The values of `cleanup.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Delete,
    Compact,
    CompactDelete,
}

impl Policy {
    pub(crate) const ALL: [Policy; 3] = [Policy::Delete, Policy::Compact, Policy::CompactDelete];

    /// The settings under this policy.
    pub(crate) fn of(self, config: LogConfig) -> LogConfig {
        LogConfig {
            delete: self != Policy::Compact,
            compact: self != Policy::Delete,
            ..config
        }
    }
}

/// A simulated disk with an empty log directory.
pub(crate) fn fresh_disk() -> SimDisk {
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    disk.create_dir(Path::new(ROOT)).expect("a fresh disk");
    disk.sync_dir(Path::new("/")).expect("a fresh disk");
    sim
}

/// Whose the directories of the tests are.
pub(crate) fn identity() -> Identity {
    Identity {
        cluster_id: "c".into(),
        node_id: 1,
        directory_id: Some("d".into()),
    }
}

/// Takes a log directory.
pub(crate) fn take_dir(disk: Disk, dir: &Path) -> Result<LogDir, LogDirError> {
    LogDir::open(disk, dir, identity(), Arc::new(MapBudget::new(100)))
}

/// Takes the one on a simulated disk.
pub(crate) fn open_dir(sim: &SimDisk) -> LogDir {
    open_dir_on(Disk::new(sim.clone()))
}

/// The same on any disk.
pub(crate) fn open_dir_on(disk: Disk) -> LogDir {
    take_dir(disk, Path::new(ROOT)).expect("a directory of ours")
}

/// The environment with the checkpoints on `disk`.
pub(crate) fn env(disk: &Disk, dir: &Path) -> Arc<Env> {
    Env::load(disk.clone(), dir, Arc::new(MapBudget::new(1_000)))
        .expect("checkpoints that can be read")
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Opens the partition `t-0`.
pub(crate) fn open(env: &Arc<Env>, config: &LogConfig, clean: bool) -> (Log, RecoveryReport) {
    let options = OpenOptions {
        config: config.clone(),
        topic_id: None,
        clean,
        now_ms: 0,
    };
    Log::open(env, partition(), options).expect("a log that opens")
}

/// Values of few keys, so that compaction has something to do; each is told from the others by its
/// serial number.
pub(crate) fn serial_values(serial: &mut u8, records: usize, size: usize) -> Vec<Vec<u8>> {
    (0..records)
        .map(|_| {
            *serial = serial.wrapping_add(1);
            let mut value = vec![*serial % 4; size.max(2)];
            value[1] = *serial;
            value
        })
        .collect()
}

/// Opens it in its directory as the partition of this topic.
pub(crate) fn open_as(dir: &LogDir, topic_id: uuid::Uuid, config: &LogConfig) -> Opened {
    let wanted = ToOpen {
        partition: partition(),
        topic_id: Some(topic_id),
        config: config.clone(),
    };
    dir.open_logs(vec![wanted], 1, 0).remove(0).1
}

/// Appends as leader in epoch 0 and returns the first offset.
pub(crate) fn append(log: &mut Log, bytes: Vec<u8>) -> i64 {
    append_in(log, bytes, 0)
}

/// Appends as leader in an epoch and returns the first offset.
pub(crate) fn append_in(log: &mut Log, mut bytes: Vec<u8>, leader_epoch: i32) -> i64 {
    let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
    let appended = log.append(checked, leader_epoch, 0);
    match appended.expect("an append that is taken") {
        Appended::New { first_offset, .. } => first_offset,
        Appended::Duplicate(known) => panic!("duplicate of {known:?}"),
    }
}

/// Every record from the log's start to its end, read in pieces, each batch's
/// checksum verified, as a consumer would.
pub(crate) fn read_all(reader: &LogReader) -> Result<Vec<Seen>, String> {
    read_from(reader, reader.log_start(), 200)
}

/// The same from an offset on, with a byte limit per read.
pub(crate) fn read_from(
    reader: &LogReader,
    from: i64,
    max_bytes: u64,
) -> Result<Vec<Seen>, String> {
    let mut seen = Vec::new();
    let mut scratch = Vec::new();
    let mut next = from;
    while let Some(slice) = reader
        .read(next, max_bytes, reader.log_end())
        .map_err(|error| error.to_string())?
    {
        let bytes = slice.bytes().map_err(|error| error.to_string())?;
        for batch in batches(&bytes) {
            let batch: BatchView<'_> = batch.map_err(|error| error.to_string())?;
            batch.verify_crc().map_err(|error| error.to_string())?;
            for record in batch
                .records(&mut scratch, 1 << 20)
                .map_err(|error| error.to_string())?
            {
                let record = record.map_err(|error| error.to_string())?;
                if record.offset >= from {
                    seen.push(Seen {
                        offset: record.offset,
                        timestamp: record.timestamp,
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                    });
                }
            }
        }
        assert!(slice.next_offset > next, "a read must advance");
        next = slice.next_offset;
    }
    Ok(seen)
}

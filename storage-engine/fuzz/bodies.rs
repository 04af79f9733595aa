#![allow(
    unreachable_pub,
    reason = "included as a module by tests and by every target"
)]
//! What each fuzz target does with its input, shared with the tests that replay the corpus.
//!
//! The input takes the place of one file of a small log directory, which is then opened and
//! read, after a clean stop and after a crash. A body takes any bytes and must return: an
//! error is a good answer, a panic is not.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use reka_records::{BatchBuilder, BatchView};
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::sim::SimDisk;
use reka_storage::fs::{Backend as _, Disk, OpenMode};
use reka_storage::log_dir::{Identity, ToOpen};
use reka_storage::map_budget::MapBudget;
use reka_storage::{Appended, CheckedBatches, Log, LogConfig, LogDir, TopicPartition};

/// A body of a fuzz target.
pub type Body = fn(&[u8]);

/// Every target by the name of its corpus folder.
pub const TARGETS: [(&str, Body); 14] = [
    ("log", fuzz_log),
    ("offset_index", fuzz_offset_index),
    ("time_index", fuzz_time_index),
    ("txn_index", fuzz_txn_index),
    ("snapshot", fuzz_snapshot),
    ("epochs", fuzz_epochs),
    ("recovery_points", fuzz_recovery_points),
    ("log_starts", fuzz_log_starts),
    ("cleaner_points", fuzz_cleaner_points),
    ("high_watermarks", fuzz_high_watermarks),
    ("swap", fuzz_swap),
    ("meta", fuzz_meta),
    ("partition_metadata", fuzz_partition_metadata),
    ("names", fuzz_names),
];

const ROOT: &str = "/";
const TOPIC_ID: uuid::Uuid = uuid::Uuid::from_u128(7);
/// A pass over a few records.
const LIMITS: CompactionLimits = CompactionLimits {
    map_bytes: 1 << 10,
    decompressed_bytes_max: 1 << 16,
};
/// Where the second, active segment begins.
const SECOND: i64 = 12;

/// A data file, as the newest segment of a log.
pub fn fuzz_log(bytes: &[u8]) {
    let bytes = with_right_checksum(bytes);
    open_with(&format!("t-0/{SECOND:020}.log"), &bytes);
}

/// Batches, the first with a right checksum, or a fuzzer would never get past it.
fn with_right_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Ok(size) = BatchView::parse(&bytes).map(|batch| batch.bytes().len()) {
        reka_records::stamp::refresh_crc(&mut bytes[..size]);
    }
    bytes
}

pub fn fuzz_offset_index(bytes: &[u8]) {
    open_with(&format!("t-0/{SECOND:020}.index"), bytes);
    open_with(&format!("t-0/{:020}.index", 0), bytes);
}

pub fn fuzz_time_index(bytes: &[u8]) {
    open_with(&format!("t-0/{SECOND:020}.timeindex"), bytes);
    open_with(&format!("t-0/{:020}.timeindex", 0), bytes);
}

pub fn fuzz_txn_index(bytes: &[u8]) {
    open_with(&format!("t-0/{:020}.txnindex", 0), bytes);
}

/// Producer state, with a right checksum.
pub fn fuzz_snapshot(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some((head, covered)) = bytes.split_at_mut_checked(6) {
        let crc = reka_records::crc::crc32c(covered);
        head[2..].copy_from_slice(&crc.to_be_bytes());
    }
    open_with(&format!("t-0/{SECOND:020}.snapshot"), &bytes);
}

pub fn fuzz_epochs(bytes: &[u8]) {
    open_with("t-0/leader-epoch-checkpoint", bytes);
}

pub fn fuzz_recovery_points(bytes: &[u8]) {
    open_with("recovery-point-offset-checkpoint", bytes);
}

pub fn fuzz_log_starts(bytes: &[u8]) {
    open_with("log-start-offset-checkpoint", bytes);
}

/// How far the cleaner came, and what it does next from there.
pub fn fuzz_cleaner_points(bytes: &[u8]) {
    for original in originals() {
        let disk = original.snapshot();
        put(&disk, "cleaner-offset-checkpoint", bytes);
        let Some(dir) = open_dir(&disk) else { continue };
        let Some(mut log) = open_log(&dir) else {
            continue;
        };
        let end = log.log_end();
        if let Ok(Some(plan)) = log.plan_compaction(end, 1_000_000)
            && let Ok(compacted) = plan.run(&LIMITS, 1_000_000)
        {
            let _ = log.finish_compaction(compacted, 0);
        }
        use_all(log, dir);
    }
}

pub fn fuzz_high_watermarks(bytes: &[u8]) {
    open_with("replication-offset-checkpoint", bytes);
}

/// A compacted segment that was about to take the place of the first one, which is still in
/// use, or out of use already.
pub fn fuzz_swap(bytes: &[u8]) {
    let bytes = &with_right_checksum(bytes);
    for original in originals() {
        for out_of_use in [false, true] {
            let disk = original.snapshot();
            let first = |suffix: &str| Path::new(ROOT).join(format!("t-0/{:020}{suffix}", 0));
            if out_of_use {
                for suffix in [".log", ".index", ".timeindex"] {
                    let renamed = disk.rename(&first(suffix), &first(&format!("{suffix}.deleted")));
                    renamed.expect("a segment that was sealed");
                }
            }
            put(&disk, &format!("t-0/{:020}.log.swap", 0), bytes);
            let Some(dir) = open_dir(&disk) else { continue };
            let Some(log) = open_log(&dir) else { continue };
            use_all(log, dir);
        }
    }
}

pub fn fuzz_meta(bytes: &[u8]) {
    open_with("meta.properties", bytes);
}

/// Which topic a partition belongs to; opened with the id that the corpus has.
pub fn fuzz_partition_metadata(bytes: &[u8]) {
    open_with_id("t-0/partition.metadata", bytes, Some(TOPIC_ID));
}

/// Names of files in a partition's directory, one a line, each with its line as content.
pub fn fuzz_names(bytes: &[u8]) {
    for original in originals() {
        let disk = original.snapshot();
        for line in bytes.split(|byte| *byte == b'\n').take(64) {
            let name: String = String::from_utf8_lossy(line)
                .chars()
                .filter(|char| !['/', '\0'].contains(char))
                .take(255)
                .collect();
            if ["", ".", ".."].contains(&name.as_str()) {
                continue;
            }
            let path = Path::new(ROOT).join("t-0").join(name);
            // What is there already stays.
            if disk.open(&path, OpenMode::Existing).is_err() {
                let file = disk.open(&path, OpenMode::Create);
                let file = file.expect("a disk in memory");
                // An empty data file is one, garbage in one is another matter.
                let content = if line.ends_with(b".log") { &[] } else { line };
                file.write_at(content, 0).expect("a disk in memory");
            }
        }
        let Some(dir) = open_dir(&disk) else { continue };
        let Some(log) = open_log(&dir) else { continue };
        use_all(log, dir);
    }
}

fn open_dir(disk: &SimDisk) -> Option<LogDir> {
    let identity = Identity {
        cluster_id: "c".into(),
        node_id: 1,
        directory_id: Some("d".into()),
    };
    let maps = Arc::new(MapBudget::new(100));
    LogDir::open(Disk::new(disk.clone()), Path::new(ROOT), identity, maps).ok()
}

fn open_log(dir: &LogDir) -> Option<Log> {
    open_log_of(dir, None)
}

fn open_log_of(dir: &LogDir, topic_id: Option<uuid::Uuid>) -> Option<Log> {
    let config = LogConfig {
        segment_bytes: 1 << 20,
        segment_index_bytes: 4_096,
        index_interval_bytes: 100,
        ..LogConfig::default()
    };
    let wanted = ToOpen {
        partition: TopicPartition::new("t", 0),
        topic_id,
        config,
    };
    let opened = dir.open_logs(vec![wanted], 1, 0).pop()?.1;
    Some(opened.ok()?.0)
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let file = disk
        .open(&Path::new(ROOT).join(name), OpenMode::Truncate)
        .expect("a disk in memory");
    file.write_at(bytes, 0).expect("a disk in memory");
}

fn open_with(name: &str, bytes: &[u8]) {
    open_with_id(name, bytes, None);
}

fn open_with_id(name: &str, bytes: &[u8], topic_id: Option<uuid::Uuid>) {
    for original in originals() {
        let disk = original.snapshot();
        put(&disk, name, bytes);
        let Some(dir) = open_dir(&disk) else { continue };
        let Some(log) = open_log_of(&dir, topic_id) else {
            continue;
        };
        use_all(log, dir);
    }
}

/// Every way of reading, one more batch, and a clean stop.
fn use_all(mut log: Log, dir: LogDir) {
    let reader = log.reader();
    let (start, end) = (reader.log_start(), reader.log_end());
    let mut next = start;
    while let Ok(Some(slice)) = reader.read(next, 500, end) {
        assert!(slice.next_offset > next, "a read must advance");
        assert!(
            slice
                .bytes()
                .is_ok_and(|bytes| bytes.len() as u64 == slice.len())
        );
        next = slice.next_offset;
    }
    for timestamp in [0, 1_003, i64::MAX] {
        let _ = reader.find_timestamp(timestamp, end);
    }
    let _ = reader.max_timestamp(end);
    let _ = reader.aborted_transactions(start, end);
    let _ = dir.env().high_watermarks.get(log.partition());
    let mut bytes = filled(3);
    let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
    if let Ok(Appended::New { first_offset, .. }) = log.append(checked, 1, 0) {
        assert_eq!(first_offset, end);
    }
    let closed = log.close();
    drop(log);
    if closed.is_ok() {
        let _ = dir.close(1);
    }
}

fn filled(number: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0).producer(7, 0, number as i32);
    let value = [number as u8; 60];
    builder
        .append(0, 1_000 + number, None, Some(&value), [])
        .expect("a record that fits");
    builder.finish()
}

/// The directory after a clean stop, and as a crash leaves it.
fn originals() -> &'static [SimDisk; 2] {
    static ORIGINALS: OnceLock<[SimDisk; 2]> = OnceLock::new();
    ORIGINALS.get_or_init(|| [original(true), original(false)])
}

/// Two segments of one producer, the first synced, with a checkpoint between.
pub fn original(clean: bool) -> SimDisk {
    let disk = SimDisk::new();
    let dir = open_dir(&disk).expect("a fresh directory");
    let mut log = open_log(&dir).expect("a fresh log");
    for number in 0..2 * SECOND {
        if number == SECOND {
            log.roll(0).expect("a roll");
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
        }
        let mut bytes = filled(number);
        let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
        log.append(checked, (number / 10) as i32, 0)
            .expect("an append");
    }
    if clean {
        log.close().expect("a clean stop");
        drop(log);
        dir.close(1).expect("a clean stop");
    }
    disk
}

//! How much of a log is read to find something in it, by the count of the disk.
//!
//! That a lookup finds the right thing is judged elsewhere; a lookup that scanned from the
//! first batch on would find it too. Here the index of offsets, the index of times, the
//! recovery point and the mark of a clean stop have to save what they are there to save.

use std::path::Path;

use reka_records::Compression;
use reka_storage::fs::sim::SimDisk;
use reka_storage::{Log, LogConfig, LogDir};

use crate::support::{ROOT, append, batch, fresh_disk, open_dir, partition};

/// Batches of a log, one record each.
const BATCHES: i64 = 3_000;
const INTERVAL: u64 = 512;
/// Entries of the active segment's index that are in memory only.
const BUFFERED: u64 = 128;
/// What is read of a batch that is walked over: its first bytes, or all of its header.
const WALKED_BYTES: u64 = 100;
/// Entries that a binary search in one index looks at, at most, and what each has.
const SEARCHED_BYTES: u64 = 16 * 12;

fn config() -> LogConfig {
    LogConfig {
        // Two sealed segments and the active one.
        segment_bytes: 200_000,
        index_interval_bytes: INTERVAL,
        ..LogConfig::default()
    }
}

fn open(dir: &LogDir) -> Log {
    let (log, _) = dir
        .open_log(partition(), config(), 0)
        .expect("a log that opens");
    log
}

/// The time of the record at an offset: later than all before it.
fn time_at(offset: i64) -> i64 {
    10 * offset
}

/// A log of which everything below `flushed` was synced, and the size of its batches.
fn filled(sim: &SimDisk, flushed: i64) -> (LogDir, Log, u64) {
    let dir = open_dir(sim);
    let mut log = open(&dir);
    for offset in 0..BATCHES {
        if offset == flushed {
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
        }
        let value = [offset as u8; 100];
        append(
            &mut log,
            batch(&[&value], time_at(offset), Compression::None),
        );
    }
    assert_eq!(log.reader().segment_count(), 3);
    let size = log.reader().size() / BATCHES as u64;
    (dir, log, size)
}

/// What a lookup may read: two indexes, and the batches between two entries of the first.
fn most_of_a_lookup(batch_bytes: u64) -> u64 {
    let batches = INTERVAL / batch_bytes + 4;
    2 * SEARCHED_BYTES + batches * WALKED_BYTES
}

/// Bytes read by what `run` does.
fn read_by<T>(sim: &SimDisk, run: impl FnOnce() -> T) -> (T, u64) {
    let before = sim.read_bytes();
    let result = run();
    (result, sim.read_bytes() - before)
}

/// Looks for offsets and times all over the log, none of which may take more than `most`.
fn check_lookups(sim: &SimDisk, log: &Log, batch_bytes: u64, what: &str) {
    let reader = log.reader();
    let most = most_of_a_lookup(batch_bytes);
    for offset in (0..BATCHES).step_by(7).chain([BATCHES - 1]) {
        let (slice, read) = read_by(sim, || reader.read(offset, 1, i64::MAX));
        let slice = slice.expect("a read").expect("a record");
        assert_eq!((slice.base_offset, slice.next_offset), (offset, offset + 1));
        assert!(read <= most, "{what}: {read} bytes for offset {offset}");
        // The batch that holds the record is opened on top.
        let (found, read) = read_by(sim, || reader.find_timestamp(time_at(offset) - 3, i64::MAX));
        let found = found.expect("a lookup").expect("a record");
        assert_eq!(found.offset, offset);
        let most = 2 * most + batch_bytes;
        assert!(
            read <= most,
            "{what}: {read} bytes for the time of {offset}"
        );
    }
}

#[test]
fn a_lookup_reads_what_lies_between_two_index_entries_and_no_more() {
    let sim = fresh_disk();
    let (dir, mut log, batch_bytes) = filled(&sim, 0);
    check_lookups(&sim, &log, batch_bytes, "as it was written");
    log.close().expect("a clean stop");
    drop(log);
    dir.close(1).expect("a clean stop");
    let dir = open_dir(&sim);
    let log = open(&dir);
    // The greatest time of a segment is looked for once.
    for offset in [0, BATCHES - 1] {
        let found = log.reader().find_timestamp(time_at(offset), i64::MAX);
        found.expect("a lookup").expect("a record");
    }
    check_lookups(&sim, &log, batch_bytes, "as a clean stop left it");
    drop((log, dir));
    let dir = open_dir(&sim);
    let log = open(&dir);
    check_lookups(&sim, &log, batch_bytes, "as recovery made it");
}

/// The greatest time of a segment is in its index; what lies behind the last entry is read.
#[test]
fn the_greatest_time_of_a_segment_on_disk_is_found_without_a_walk_over_it() {
    let sim = fresh_disk();
    let (dir, mut log, batch_bytes) = filled(&sim, 0);
    log.close().expect("a clean stop");
    drop(log);
    dir.close(1).expect("a clean stop");
    let dir = open_dir(&sim);
    let log = open(&dir);
    let reader = log.reader();
    let (found, read) = read_by(&sim, || reader.max_timestamp(i64::MAX));
    let found = found.expect("a lookup").expect("a record");
    assert_eq!(found.timestamp, time_at(BATCHES - 1));
    // Of each of three segments its own, and of each the record that has it.
    let most = 3 * (3 * most_of_a_lookup(batch_bytes) + batch_bytes);
    assert!(read <= most, "{read} bytes");
}

#[test]
fn recovery_reads_from_the_recovery_point_on_and_nothing_before() {
    // At the start and the end of segments, inside each, and with nothing behind it.
    for flushed in [1, 700, 1_200, 1_900, 2_500, BATCHES - 1] {
        let sim = fresh_disk();
        let (dir, log, batch_bytes) = filled(&sim, flushed);
        drop((log, dir));
        let dir = open_dir(&sim);
        let (opened, read) = read_by(&sim, || dir.open_log(partition(), config(), 0));
        let (log, report) = opened.expect("a log that opens");
        assert_eq!(log.log_end(), BATCHES);
        let behind = (BATCHES - flushed) as u64 * batch_bytes;
        // From the last index entry before it; those in memory went with the process.
        let bases = segments(&sim);
        let unindexed = match flushed < bases[2] {
            true => 2,
            false => BUFFERED + 2,
        };
        let most = behind + unindexed * (INTERVAL + batch_bytes);
        assert!(
            report.scanned_bytes >= behind && report.scanned_bytes <= most,
            "{} bytes scanned behind {flushed}, {behind} lie there",
            report.scanned_bytes
        );
        // On top the headers behind the newest snapshot of producers, one per segment, and
        // those behind the newest entry in the index of times.
        let snapshot = bases.iter().rfind(|base| **base <= flushed);
        let replayed = BATCHES - snapshot.expect("a segment");
        assert_eq!(report.replayed_batches, replayed as u64, "behind {flushed}");
        let walked = replayed as u64 + unindexed * (INTERVAL / batch_bytes + 2);
        let most = report.scanned_bytes + walked * WALKED_BYTES + 4_000;
        assert!(
            read <= most,
            "{read} bytes read behind {flushed}, {most} allowed"
        );
    }
}

/// Base offsets of the segments.
fn segments(sim: &SimDisk) -> Vec<i64> {
    let files = sim.contents(&Path::new(ROOT).join(partition().dir_name()));
    let base = |name: &String| name.strip_prefix('/')?.strip_suffix(".log")?.parse().ok();
    files.keys().filter_map(base).collect()
}

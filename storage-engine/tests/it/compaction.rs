//! What a compaction pass removes and leaves, rule by rule; `model` has all of them at once.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use reka_records::control::{TransactionResult, end_txn_marker};
use reka_records::{BatchBuilder, BatchHeader, BatchView, Compression, TimestampType};
use reka_storage::compaction::{CompactionLimits, CompactionPlan};
use reka_storage::env::Env;
use reka_storage::fs::{Disk, sim::SimDisk};
use reka_storage::{Appended, CheckedBatches, Log, LogConfig};

use crate::kafka_files::{self, Life};
use crate::seen;
use crate::support::{self, DIR, append, marker, partition};

const RETENTION_MS: i64 = 1_000;
const HEADERS: [(&[u8], Option<&[u8]>); 1] = [(b"h", None)];

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 900,
        index_interval_bytes: 150,
        segment_index_bytes: 4096,
        file_delete_delay_ms: 0,
        compact: true,
        delete: false,
        delete_retention_ms: RETENTION_MS,
        ..LogConfig::default()
    }
}

const ROOMY: CompactionLimits = CompactionLimits {
    map_bytes: 1 << 20,
    decompressed_bytes_max: 1 << 20,
};

/// Room for a dozen keys.
const TINY: CompactionLimits = CompactionLimits {
    map_bytes: 1,
    ..ROOMY
};

/// A log on a disk in memory.
struct Bench {
    sim: SimDisk,
    disk: Disk,
    env: Arc<Env>,
    log: Log,
}

impl Bench {
    fn new(config: LogConfig) -> Bench {
        let sim = SimDisk::new();
        let disk = Disk::new(sim.clone());
        let env = support::env(&disk, Path::new(DIR));
        let (log, _) = support::open(&env, &config, false);
        Bench {
            sim,
            disk,
            env,
            log,
        }
    }

    /// Makes everything so far eligible.
    fn plan(&mut self, now_ms: i64) -> Option<CompactionPlan> {
        self.log.roll(now_ms).expect("a roll");
        self.log.flush().expect("a flush");
        self.log.settle_below(self.log.log_end());
        self.log
            .plan_compaction(self.log.log_end(), now_ms)
            .expect("a plan")
    }

    fn finish(&mut self, plan: CompactionPlan, limits: &CompactionLimits, now_ms: i64) {
        let compacted = plan.run(limits, now_ms).expect("a pass");
        self.log
            .finish_compaction(compacted, now_ms)
            .expect("a swap");
        self.log.unlink_deleted(now_ms).expect("unlinked files");
    }

    /// One pass over everything so far, as if nothing had been cleaned before.
    fn pass(&mut self, now_ms: i64) {
        self.env.cleaner_points.remove(&partition());
        let plan = self.plan(now_ms).expect("something to clean");
        self.finish(plan, &ROOMY, now_ms);
    }

    /// First offset not cleaned yet.
    fn cleaned_to(&self) -> i64 {
        self.env.cleaner_points.get(&partition()).unwrap_or(0)
    }

    /// Opens the log from its batches alone, as after a crash that took the snapshots.
    fn reopen_without_snapshots(&mut self) {
        let checkpoints = [
            &self.env.recovery_points,
            &self.env.log_starts,
            &self.env.cleaner_points,
        ];
        for checkpoint in checkpoints {
            checkpoint.store(&self.disk).expect("a checkpoint");
        }
        let dir = Path::new(DIR).join("t-0");
        for name in self.names() {
            if name.ends_with(".snapshot") {
                self.disk.remove_file(&dir.join(name)).expect("removed");
            }
        }
        self.env = support::env(&self.disk, Path::new(DIR));
        let config = self.log.config().clone();
        let (log, report) = support::open(&self.env, &config, false);
        assert_eq!((report.cut, report.damage), (None, None));
        self.log = log;
    }

    fn names(&self) -> Vec<String> {
        let files = self.sim.contents(&Path::new(DIR).join("t-0"));
        files
            .into_keys()
            .map(|path| path.trim_start_matches('/').to_owned())
            .collect()
    }

    /// Where the first segment begins that begins at or behind `offset`.
    fn segment_from(&self, offset: i64) -> i64 {
        let names = self.names();
        let logs = names.iter().filter_map(|name| name.strip_suffix(".log"));
        let bases = logs.filter_map(|base| base.parse::<i64>().ok());
        bases
            .filter(|base| *base >= offset)
            .min()
            .expect("an active segment behind every pass")
    }

    fn batches(&self) -> Vec<Batch> {
        read_batches(&self.log)
    }

    /// Offset and value of each record there is; markers have neither.
    fn values(&self) -> Vec<(i64, Option<String>)> {
        let batches = self.batches();
        let data = batches.iter().filter(|batch| batch.marker.is_none());
        data.flat_map(|batch| &batch.rows)
            .map(|row| (row.offset, row.value.clone()))
            .collect()
    }

    /// Offset and delete horizon of each marker.
    fn markers(&self) -> Vec<(i64, Option<i64>)> {
        let batches = self.batches();
        let markers = batches.iter().filter(|batch| batch.header.is_control());
        markers
            .map(|batch| (batch.header.base_offset, batch.header.delete_horizon()))
            .collect()
    }

    fn aborted(&self) -> Vec<i64> {
        let reader = self.log.reader();
        let aborted = reader.aborted_transactions(0, reader.log_end());
        let aborted = aborted.expect("transaction indexes");
        aborted.iter().map(|txn| txn.last_offset).collect()
    }
}

/// A batch of the log, read.
#[derive(Clone, Debug, PartialEq)]
struct Batch {
    header: BatchHeader,
    marker: Option<TransactionResult>,
    rows: Vec<Row>,
    bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: usize,
}

fn read_batches(log: &Log) -> Vec<Batch> {
    let reader = log.reader();
    let mut found = Vec::new();
    seen::each_batch(&reader, 1, reader.log_end(), |batch, _| {
        found.push(read_batch(batch)?);
        Ok(())
    })
    .expect("a log that can be read");
    found
}

fn read_batch(batch: &BatchView<'_>) -> Result<Batch, seen::Failure> {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into());
    let (mut rows, mut scratch) = (Vec::new(), Vec::new());
    for record in batch.records(&mut scratch, 1 << 20)? {
        let record = record?;
        rows.push(Row {
            offset: record.offset,
            timestamp: record.timestamp,
            key: text(record.key),
            value: text(record.value),
            headers: record.headers.len(),
        });
    }
    let has_marker = batch.header().is_control() && !rows.is_empty();
    Ok(Batch {
        header: *batch.header(),
        marker: match has_marker {
            true => end_txn_marker(batch)?.map(|marker| marker.result),
            false => None,
        },
        rows,
        bytes: Bytes::copy_from_slice(batch.bytes()),
    })
}

// One rule at a time.

fn records(builder: BatchBuilder, rows: &[(&str, Option<&str>)], timestamp: i64) -> Vec<u8> {
    let mut builder = builder;
    for (offset, (key, value)) in rows.iter().enumerate() {
        let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
        builder
            .append(offset as i64, timestamp, key, value, HEADERS)
            .expect("a record that fits");
    }
    builder.finish()
}

fn plain(rows: &[(&str, Option<&str>)], timestamp: i64) -> Vec<u8> {
    records(BatchBuilder::new(0), rows, timestamp)
}

fn in_txn(id: i64, sequence: i32, rows: &[(&str, Option<&str>)]) -> Vec<u8> {
    let builder = BatchBuilder::new(0).producer(id, 0, sequence);
    records(builder.transactional(), rows, 5)
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn the_newest_record_of_each_key_stays_at_its_offset() {
    let mut bench = Bench::new(config());
    for rows in [
        [("a", Some("a0")), ("b", Some("b1"))],
        [("a", Some("a2")), ("c", Some("c3"))],
        [("a", Some("a4")), ("a", Some("a5"))],
    ] {
        append(&mut bench.log, plain(&rows, 5));
    }
    bench.pass(10);
    let expected = [(1, some("b1")), (3, some("c3")), (5, some("a5"))];
    assert_eq!(bench.values(), expected);
    assert_eq!(bench.log.log_end(), 6);
}

#[test]
fn a_tombstone_is_stamped_once_keeps_its_time_and_goes_at_its_horizon() {
    let mut bench = Bench::new(config());
    append(&mut bench.log, plain(&[("a", Some("old"))], 5));
    append(
        &mut bench.log,
        plain(&[("a", None), ("b", Some("kept"))], 5),
    );
    for (now, tombstone_stays) in [(10, true), (500, true), (1_009, true), (1_010, false)] {
        bench.pass(now);
        let batches = bench.batches();
        let [batch] = batches.as_slice() else {
            panic!("one batch, found {batches:?}")
        };
        assert_eq!(batch.header.delete_horizon(), Some(10 + RETENTION_MS));
        let offsets: Vec<_> = batch.rows.iter().map(|row| row.offset).collect();
        let expected: &[i64] = if tombstone_stays { &[1, 2] } else { &[2] };
        assert_eq!(offsets, expected, "at {now}");
        assert!(batch.rows.iter().all(|row| row.timestamp == 5));
        assert_eq!(batch.header.max_timestamp, 5);
    }
}

/// Pass one takes the data, two sees that none is left and stamps the marker, and only
/// a pass at the horizon takes it.
#[test]
fn aborted_data_goes_at_once_and_its_marker_two_passes_later() {
    let mut bench = Bench::new(config());
    append(&mut bench.log, in_txn(7, 0, &[("a", Some("aborted"))]));
    append(&mut bench.log, marker(7, 0, false, 5));
    append(&mut bench.log, in_txn(7, 1, &[("b", Some("newer"))]));
    append(&mut bench.log, marker(7, 0, true, 5));
    bench.pass(10);
    assert_eq!(bench.values(), [(2, some("newer"))]);
    assert_eq!(bench.markers(), [(1, None), (3, None)]);
    assert_eq!(bench.aborted(), [1]);
    for now in [20, 1_019] {
        bench.pass(now);
        assert_eq!(bench.markers(), [(1, Some(20 + RETENTION_MS)), (3, None)]);
        assert_eq!(bench.aborted(), Vec::<i64>::new());
        let times: Vec<_> = bench
            .batches()
            .iter()
            .map(|b| b.rows[0].timestamp)
            .collect();
        assert_eq!(times, [5, 5, 5]);
    }
    bench.pass(1_020);
    assert_eq!(bench.markers(), [(3, None)]);
    assert_eq!(bench.values(), [(2, some("newer"))]);
}

#[test]
fn a_commit_marker_stays_while_any_of_its_data_does() {
    let mut bench = Bench::new(config());
    append(&mut bench.log, in_txn(7, 0, &[("a", Some("1"))]));
    append(&mut bench.log, in_txn(7, 1, &[("b", Some("2"))]));
    append(&mut bench.log, marker(7, 0, true, 5));
    append(&mut bench.log, plain(&[("a", Some("3"))], 5));
    append(&mut bench.log, in_txn(7, 2, &[("c", Some("4"))]));
    append(&mut bench.log, marker(7, 0, true, 5));
    for now in [10, 5_000] {
        bench.pass(now);
        assert_eq!(bench.markers(), [(2, None), (5, None)]);
    }
    append(&mut bench.log, plain(&[("b", Some("6"))], 5));
    bench.pass(10_000);
    assert_eq!(bench.markers(), [(2, None), (5, None)]);
    bench.pass(10_001);
    assert_eq!(bench.markers()[0], (2, Some(10_001 + RETENTION_MS)));
    bench.pass(20_000);
    assert_eq!(bench.markers(), [(5, None)]);
}

/// What was aborted must not hide what the same producer committed afterwards.
#[test]
fn a_commit_after_two_aborts_of_the_same_producer_replaces_older_values() {
    let mut bench = Bench::new(config());
    append(&mut bench.log, plain(&[("a", Some("old"))], 5));
    for sequence in 0..2 {
        append(&mut bench.log, in_txn(7, sequence, &[("a", Some("no"))]));
        append(&mut bench.log, marker(7, 0, false, 5));
    }
    append(&mut bench.log, in_txn(7, 2, &[("a", Some("new"))]));
    append(&mut bench.log, marker(7, 0, true, 5));
    bench.pass(10);
    assert_eq!(bench.values(), [(5, some("new"))]);
    assert_eq!(bench.aborted(), [2, 4]);
}

#[test]
fn the_last_batch_of_a_producer_stays_emptied_and_its_retry_is_recognised() {
    let mut bench = Bench::new(config());
    let from = |sequence| {
        let builder = BatchBuilder::new(0).producer(7, 3, sequence);
        records(builder, &[("a", Some("1")), ("b", Some("2"))], 5)
    };
    append(&mut bench.log, from(0));
    append(&mut bench.log, from(2));
    append(
        &mut bench.log,
        plain(&[("a", Some("3")), ("b", Some("4"))], 5),
    );
    bench.pass(10);
    let headers: Vec<_> = bench.batches().into_iter().map(|b| b.header).collect();
    let shape = |header: &BatchHeader| (header.base_offset, header.record_count);
    assert_eq!(
        headers.iter().map(shape).collect::<Vec<_>>(),
        [(2, 0), (4, 2)]
    );
    assert_eq!(
        (headers[0].base_sequence, headers[0].last_sequence()),
        (2, 3)
    );
    assert_eq!(headers[0].max_timestamp, 5);

    bench.reopen_without_snapshots();
    let mut retry = from(2);
    let checked = CheckedBatches::check(&mut retry).expect("a valid batch");
    let appended = bench.log.append(checked, 0, 10).expect("a retry");
    assert!(
        matches!(appended, Appended::Duplicate(known) if known.last_offset == 3),
        "{appended:?}"
    );

    // With a newer one there is no reason to keep it.
    append(&mut bench.log, from(4));
    bench.pass(20);
    assert_eq!(bench.batches()[0].header.base_offset, 6);
}

/// A replica has the end of the log only when it has read a batch that ends there.
#[test]
fn the_last_batch_of_a_pass_stays_so_that_replicas_get_to_its_end() {
    let mut bench = Bench::new(config());
    append(&mut bench.log, plain(&[("a", Some("1"))], 5));
    append(&mut bench.log, plain(&[("a", None)], 5));
    bench.pass(10);
    bench.pass(2_000);
    assert_eq!(bench.values(), []);
    let slice = bench.log.reader().read(0, 1, 2).expect("a read");
    assert_eq!(slice.expect("a batch").next_offset, 2);

    append(&mut bench.log, plain(&[("b", Some("2"))], 5));
    bench.pass(2_010);
    assert_eq!(bench.batches()[0].header.base_offset, 2);
}

#[test]
fn an_emptied_marker_goes_when_its_producer_has_moved_on() {
    let mut bench = Bench::new(config());
    append(&mut bench.log, in_txn(7, 0, &[("a", Some("no"))]));
    // Raises the epoch, as transactions of version 2 do: all that is known of it.
    append(&mut bench.log, marker(7, 1, false, 5));
    for now in [10, 20, 2_000] {
        bench.pass(now);
    }
    let shape = |bench: &Bench| -> Vec<_> {
        let batches = bench.batches();
        let shape = |b: &Batch| (b.header.base_offset, b.header.record_count);
        batches.iter().map(shape).collect()
    };
    assert_eq!(shape(&bench), [(1, 0)]);
    let builder = BatchBuilder::new(0).producer(7, 1, 0);
    append(&mut bench.log, records(builder, &[("a", Some("1"))], 5));
    bench.pass(2_010);
    assert_eq!(shape(&bench), [(2, 1)]);
}

#[test]
fn codec_and_kind_of_time_survive_the_rewriting_of_a_batch() {
    for codec in (0..5).map(|id| Compression::from_id(id).expect("a codec")) {
        let mut bench = Bench::new(config());
        let rows = [("a", Some("1")), ("b", Some("2")), ("c", None)];
        let builder = || BatchBuilder::new(0).compression(codec);
        append(&mut bench.log, records(builder(), &rows, 5));
        let server_time = builder().log_append_time(77);
        append(&mut bench.log, records(server_time, &rows[1..], 5));
        append(&mut bench.log, plain(&[("b", Some("3"))], 5));
        bench.pass(100);
        let batches = bench.batches();
        let kept: Vec<_> = batches[..2]
            .iter()
            .map(|batch| {
                let header = batch.header;
                let codec = header.compression().expect("a codec");
                let row = &batch.rows[0];
                (codec, header.timestamp_type(), row.offset, row.timestamp)
            })
            .collect();
        let expected = [
            (codec, TimestampType::CreateTime, 0, 5),
            (codec, TimestampType::LogAppendTime, 4, 77),
        ];
        assert_eq!(kept, expected);
        assert!(batches.iter().all(|batch| batch.rows.len() == 1));
        assert!(
            batches
                .iter()
                .flat_map(|b| &b.rows)
                .all(|row| row.headers == 1)
        );
    }
}

// When a pass is due, and over what.

#[test]
fn a_pass_is_due_by_ratio_or_by_age() {
    let check = |change: fn(&mut LogConfig), dirty_batches: usize, now: i64, expected| {
        let mut config = config();
        change(&mut config);
        let mut bench = Bench::new(config);
        append(&mut bench.log, plain(&[("a", Some("clean"))], 100));
        bench.pass(100);
        for _ in 0..dirty_batches {
            append(&mut bench.log, plain(&[("a", Some("dirty"))], 200));
        }
        let plan = bench.plan(now).expect("dirty batches");
        assert_eq!(
            plan.is_due(now),
            expected,
            "{} at {now}",
            plan.dirty_permille()
        );
    };
    // Equal batches: one of two is dirty, then two of three.
    check(|_| {}, 1, 1_000, false);
    check(|_| {}, 2, 1_000, true);
    check(
        |config| config.min_cleanable_dirty_permille = 700,
        2,
        1_000,
        false,
    );
    check(|config| config.max_compaction_lag_ms = 300, 1, 500, false);
    check(|config| config.max_compaction_lag_ms = 300, 1, 501, true);
}

#[test]
fn records_younger_than_the_lag_are_left_alone() {
    let mut bench = Bench::new(LogConfig {
        min_compaction_lag_ms: 100,
        ..config()
    });
    for timestamp in [10, 50] {
        append(&mut bench.log, plain(&[("a", Some("1"))], timestamp));
        append(&mut bench.log, plain(&[("a", Some("2"))], timestamp));
        bench.log.roll(timestamp).expect("a roll");
    }
    assert!(bench.plan(109).is_none());
    let plan = bench.plan(110).expect("the first segment is old enough");
    bench.finish(plan, &ROOMY, 110);
    assert_eq!(bench.cleaned_to(), 2);
    let offsets = |bench: &Bench| bench.values().iter().map(|v| v.0).collect::<Vec<_>>();
    assert_eq!(offsets(&bench), [1, 2, 3]);
    let plan = bench.plan(150).expect("the second is, too");
    bench.finish(plan, &ROOMY, 150);
    assert_eq!(offsets(&bench), [3]);
}

#[test]
fn a_segment_of_a_compacted_log_is_rolled_before_its_records_exceed_the_greatest_lag() {
    let mut bench = Bench::new(LogConfig {
        max_compaction_lag_ms: 100,
        ..config()
    });
    for timestamp in [10, 110, 111] {
        append(&mut bench.log, plain(&[("a", Some("1"))], timestamp));
    }
    assert_eq!(bench.log.reader().segment_count(), 2);
}

#[test]
fn nothing_undecided_unreplicated_or_unsynced_is_cleaned() {
    let mut bench = Bench::new(config());
    for _ in 0..3 {
        append(&mut bench.log, plain(&[("a", Some("1"))], 5));
        bench.log.roll(5).expect("a roll");
    }
    let upper = |bench: &mut Bench, high_watermark| {
        bench.env.cleaner_points.remove(&partition());
        let plan = bench
            .log
            .plan_compaction(high_watermark, 10)
            .expect("a plan")?;
        let compacted = plan.run(&ROOMY, 10).expect("a pass");
        bench.log.finish_compaction(compacted, 10).expect("a swap");
        Some(bench.cleaned_to())
    };
    assert_eq!(upper(&mut bench, 3), None, "not synced");
    bench.log.flush().expect("a flush");
    assert_eq!(upper(&mut bench, 1), Some(1), "not replicated");
    append(&mut bench.log, in_txn(7, 0, &[("a", Some("open"))]));
    append(&mut bench.log, plain(&[("a", Some("behind"))], 5));
    bench.log.roll(5).expect("a roll");
    bench.log.flush().expect("a flush");
    assert_eq!(upper(&mut bench, 5), Some(3), "not decided");
}

/// A replica of a compacted log has gaps, also at the end of its segments. Were the end
/// of a pass the last batch, there would be something dirty for ever.
#[test]
fn a_gap_at_the_end_of_the_dirty_part_is_clean_afterwards() {
    let mut bench = Bench::new(LogConfig {
        segment_bytes: 100,
        ..config()
    });
    for offset in [0, 20] {
        let mut builder = BatchBuilder::new(offset).leader_epoch(0);
        builder
            .append(offset, 5, Some(b"a"), Some(b"1"), HEADERS)
            .expect("a record that fits");
        let mut bytes = builder.finish();
        let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
        bench.log.append_replicated(checked, 5).expect("an append");
    }
    bench.log.flush().expect("a flush");
    let plan = bench.log.plan_compaction(21, 10).expect("a plan");
    bench.finish(plan.expect("a dirty segment"), &ROOMY, 10);
    assert_eq!(bench.cleaned_to(), 20);
    let again = bench.log.plan_compaction(21, 20).expect("a plan");
    assert!(again.is_none());
}

// What happens beside a pass.

fn three_segments() -> Bench {
    let mut bench = Bench::new(config());
    for timestamp in [5, 6, 7] {
        append(&mut bench.log, plain(&[("a", Some("1"))], timestamp));
        append(&mut bench.log, plain(&[("b", Some("2"))], timestamp));
        bench.log.roll(timestamp).expect("a roll");
    }
    bench
}

/// The files of a finished pass wait; then `meanwhile` happens, and the swap with it.
fn swap_after(meanwhile: impl Fn(&mut Log)) -> Bench {
    let mut bench = three_segments();
    let plan = bench.plan(10).expect("something dirty");
    let compacted = plan.run(&ROOMY, 10).expect("a pass");
    meanwhile(&mut bench.log);
    let before = bench.batches();
    bench.log.finish_compaction(compacted, 10).expect("a swap");
    assert_eq!(bench.batches(), before);
    assert_eq!(bench.cleaned_to(), 0);
    let half_done: Vec<_> = bench
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".cleaned") || name.ends_with(".swap"))
        .collect();
    assert_eq!(half_done, Vec::<String>::new());
    bench.reopen_without_snapshots();
    assert_eq!(bench.batches(), before);
    bench
}

#[test]
fn a_truncation_during_a_pass_wins() {
    for offset in [1, 4, 5] {
        let bench = swap_after(|log| log.truncate_to(offset, 10).expect("a truncation"));
        assert_eq!(bench.log.log_end(), offset);
    }
    let bench = swap_after(|log| log.truncate_fully_and_start_at(50, 10).expect("a start"));
    assert_eq!(bench.log.log_end(), 50);
}

#[test]
fn retention_during_a_pass_wins() {
    let bench = swap_after(|log| {
        log.set_config(LogConfig {
            delete: true,
            retention_ms: 4,
            ..config()
        });
        let gone = log.apply_retention(log.log_end(), 10).expect("retention");
        assert_eq!(gone.len(), 1);
    });
    assert_eq!(bench.log.log_start(), 2);
}

#[test]
fn compact_and_delete_do_both() {
    let mut bench = three_segments();
    bench.log.set_config(LogConfig {
        segment_bytes: 100,
        delete: true,
        retention_ms: 100,
        ..config()
    });
    bench.pass(10);
    assert_eq!(bench.values().len(), 2);
    append(&mut bench.log, plain(&[("c", Some("young"))], 100));
    let gone = bench.log.apply_retention(bench.log.log_end(), 108);
    assert!(!gone.expect("retention").is_empty());
    assert_eq!(bench.values(), [(6, some("young"))]);
    assert_eq!(bench.log.log_start(), 6);
}

#[test]
fn readers_of_old_segments_go_on_reading_them() {
    let mut bench = three_segments();
    let reader = bench.log.reader();
    let slices: Vec<_> = (0..6)
        .filter_map(|offset| reader.read(offset, 1, i64::MAX).expect("a read"))
        .collect();
    let before: Vec<_> = slices.iter().map(|s| s.bytes().expect("bytes")).collect();
    bench.pass(10);
    assert_eq!(bench.values().len(), 2);
    let after: Vec<_> = slices.iter().map(|s| s.bytes().expect("bytes")).collect();
    assert_eq!(after, before);
}

/// Names, not bytes: the process dies, the machine does not. What a power cut leaves is
/// for the crash test.
#[test]
fn a_process_killed_at_any_step_of_the_swap_finds_the_old_segments_or_the_new() {
    let mut bench = Bench::new(config());
    for sequence in 0..20 {
        let builder = BatchBuilder::new(0).producer(7, 0, sequence);
        let key = format!("key-{}", sequence % 7);
        append(&mut bench.log, records(builder, &[(&key, Some("1"))], 5));
        bench.log.roll(5).expect("a roll");
    }
    let newest: Vec<_> = (13..20).map(|offset| (offset, some("1"))).collect();
    let plan = bench.plan(10).expect("something dirty");
    bench.sim.record();
    bench.finish(plan, &ROOMY, 10);
    let steps = bench.sim.recorded();
    assert!(steps.len() > 50);
    for sim in steps {
        let disk = Disk::new(sim.clone());
        let env = support::env(&disk, Path::new(DIR));
        let (log, report) = support::open(&env, &config(), false);
        assert_eq!((report.cut, report.damage), (None, None));
        let killed = Bench {
            sim,
            disk,
            env,
            log,
        };
        let values = killed.values();
        assert!(values.ends_with(&newest), "{values:?}");
        assert_eq!(killed.log.log_end(), 20);
        let known = killed.log.producers().get(7).expect("the producer");
        assert_eq!(known.last_sequence(), 19);
        let names = killed.names();
        let known_suffix = |name: &String| {
            [".log", "index", ".snapshot", "checkpoint"]
                .iter()
                .any(|suffix| name.ends_with(suffix))
        };
        assert!(names.iter().all(known_suffix), "{names:?}");
    }
}

#[test]
fn every_sealed_segment_has_both_its_indexes() {
    let mut bench = three_segments();
    for cleaned in [false, true] {
        if cleaned {
            bench.pass(10);
        }
        bench.log.close().expect("a clean stop");
        let names = bench.names();
        for name in names.iter().filter_map(|name| name.strip_suffix(".log")) {
            for index in ["index", "timeindex"] {
                assert!(names.contains(&format!("{name}.{index}")), "{names:?}");
            }
        }
    }
}

#[test]
fn snapshots_of_merged_segments_do_not_pile_up() {
    let mut bench = Bench::new(config());
    for sequence in 0..20 {
        let builder = BatchBuilder::new(0).producer(7, 0, sequence);
        append(&mut bench.log, records(builder, &[("a", Some("1"))], 5));
        bench.log.roll(5).expect("a roll");
    }
    bench.pass(10);
    let names = bench.names();
    let count = |suffix: &str| names.iter().filter(|name| name.ends_with(suffix)).count();
    assert!(count(".log") < 6, "{names:?}");
    assert!(count(".snapshot") <= count(".log"), "{names:?}");
}

// Kafka's own work.

/// A log Kafka's cleaner left has nothing in its clean part that our cleaner would take,
/// before the horizons it stamped.
#[test]
fn what_apache_kafka_cleaned_is_clean_to_us() {
    for life in [Life::Clean, Life::Killed] {
        let sim = life.disk();
        let checkpoint = Path::new(DIR).join("cleaner-offset-checkpoint");
        let disk = Disk::new(sim.clone());
        let cleaned = reka_storage::checkpoint::read_offsets(&disk, &checkpoint);
        let cleaned = cleaned.expect("Kafka's checkpoint");
        disk.remove_file(&checkpoint).expect("removed");
        let opened = kafka_files::open(life, &sim);
        let mut seen = 0;
        for (topic, mut log, _) in opened.logs {
            let Some(cleaned_to) = cleaned.get(log.partition()) else {
                continue;
            };
            log.flush().expect("a flush");
            let before = read_batches(&log);
            let clean = before.iter().filter(|b| b.header.base_offset < *cleaned_to);
            let stamped = clean.filter_map(|batch| batch.header.delete_horizon());
            let now_ms = stamped.min().unwrap_or(1_800_000_000_000) - 1;
            let plan = log.plan_compaction(log.log_end(), now_ms).expect("a plan");
            let compacted = plan.expect("sealed segments").run(&ROOMY, now_ms);
            log.finish_compaction(compacted.expect("a pass"), now_ms)
                .expect("a swap");
            let after = read_batches(&log);
            let data = |batches: &[Batch]| -> Vec<Row> {
                let data = batches.iter().filter(|b| !b.header.is_control());
                let rows = data.flat_map(|batch| batch.rows.clone());
                rows.filter(|row| row.offset < *cleaned_to).collect()
            };
            assert_eq!(data(&after), data(&before), "{topic}");
            // Markers, too; one may get its horizon now.
            let ends = |batches: &[Batch]| -> Vec<i64> {
                let below = batches.iter().map(|b| b.header.last_offset());
                below.filter(|offset| offset < cleaned_to).collect()
            };
            let left: BTreeSet<_> = ends(&after).into_iter().collect();
            let gone = before
                .iter()
                .filter(|batch| batch.header.last_offset() < *cleaned_to)
                .filter(|batch| !left.contains(&batch.header.last_offset()));
            // An emptied batch may go, if its producer wrote since.
            assert!(
                gone.into_iter().all(|batch| batch.rows.is_empty()),
                "{topic}"
            );
            seen += 1;
        }
        assert_eq!(seen, 3);
    }
}

//! When a segment is begun, when a sync is due, whose directory it is.

use std::path::Path;
use std::sync::Arc;

use reka_records::Compression;
use reka_storage::fs::sim::{LoseAll, SimDisk};
use reka_storage::fs::{Disk, OpenMode, fault};
use reka_storage::log::OpenOptions;
use reka_storage::log_dir::{Identity, LogDir, ToOpen};
use reka_storage::map_budget::MapBudget;
use reka_storage::recovery::RecoveryReport;
use reka_storage::retention::Reason;
use reka_storage::{CheckedBatches, Log, LogConfig, TopicPartition, partition_metadata};
use uuid::Uuid;

use crate::support::{
    DIR, ROOT, append, batch, env, fresh_disk, open, open_dir_on, partition, read_all,
};

fn log(config: &LogConfig) -> Log {
    open(
        &env(&Disk::new(SimDisk::new()), Path::new(DIR)),
        config,
        false,
    )
    .0
}

/// Appends one record at a record time and a clock time.
fn append_at(log: &mut Log, timestamp: i64, now_ms: i64) {
    let mut bytes = batch(&[b"value"], timestamp, Compression::None);
    let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
    log.append(checked, 0, now_ms).expect("room");
}

fn segments(log: &Log) -> usize {
    log.reader().segment_count()
}

#[test]
fn a_segment_rolls_by_the_time_of_its_records_and_without_any_by_the_clock() {
    let config = LogConfig {
        segment_ms: 1_000,
        ..LogConfig::default()
    };
    let mut by_records = log(&config);
    append_at(&mut by_records, 5_000, 0);
    append_at(&mut by_records, 6_000, 999_999);
    assert_eq!(segments(&by_records), 1);
    append_at(&mut by_records, 6_001, 0);
    assert_eq!(segments(&by_records), 2);
    let mut by_clock = log(&config);
    append_at(&mut by_clock, -1, 0);
    append_at(&mut by_clock, -1, 1_000);
    assert_eq!(segments(&by_clock), 1);
    append_at(&mut by_clock, -1, 1_001);
    assert_eq!(segments(&by_clock), 2);
}

#[test]
fn records_without_a_timestamp_expire_by_the_time_they_were_written() {
    let config = LogConfig {
        retention_ms: 1_000,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    let (mut log, _) = open(&env(&disk, Path::new(DIR)), &config, false);
    for written in [50_000, 60_000, 70_000] {
        sim.set_time_ms(written);
        append_at(&mut log, -1, 0);
        log.roll(0).expect("a roll");
    }
    let mut starts_at = |now_ms: i64| {
        log.apply_retention(3, now_ms).expect("a pass");
        log.log_start()
    };
    assert_eq!(starts_at(0), 0);
    assert_eq!(starts_at(51_000), 0);
    assert_eq!(starts_at(51_001), 1);
    assert_eq!(starts_at(61_000), 1);
    assert_eq!(starts_at(71_001), 3);
    // One record with a timestamp speaks for its segment.
    sim.set_time_ms(80_000);
    append_at(&mut log, -1, 0);
    append_at(&mut log, 75_000, 0);
    log.roll(0).expect("a roll");
    log.apply_retention(5, 76_000).expect("a pass");
    assert_eq!(log.log_start(), 3);
    log.apply_retention(5, 76_001).expect("a pass");
    assert_eq!(log.log_start(), 5);
}

#[test]
fn a_real_file_says_when_it_was_last_written() {
    let dir = tempfile::tempdir().expect("a place for files");
    let path = dir.path().join("file");
    let disk = Disk::real();
    let file = disk.open(&path, OpenMode::Create).expect("a file");
    file.write_all_at(b"x", 0).expect("a write");
    let when = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_234_567);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(when))
        .expect("a time");
    assert_eq!(file.modified_ms().expect("a time"), 1_234_567);
}

#[test]
fn deleted_segments_stay_for_the_delay_and_go_when_it_is_over() {
    let config = LogConfig {
        file_delete_delay_ms: 60_000,
        retention_ms: 0,
        ..LogConfig::default()
    };
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    let (mut log, _) = open(&env(&disk, Path::new(DIR)), &config, false);
    append_at(&mut log, 1_000, 0);
    log.roll(0).expect("a roll");
    append_at(&mut log, 2_000, 0);
    log.roll(0).expect("a roll");
    let waiting = || -> Vec<String> {
        let names = sim.contents(&Path::new(DIR).join("t-0")).into_keys();
        names
            .filter(|name| name.ends_with(".log.deleted"))
            .collect()
    };
    log.apply_retention(1, 10_000).expect("a pass");
    assert_eq!(waiting(), ["/00000000000000000000.log.deleted"]);
    log.apply_retention(2, 15_000).expect("a pass");
    assert_eq!(waiting().len(), 2);
    assert_eq!(log.unlink_deleted(69_999).expect("a pass"), Some(70_000));
    assert_eq!(waiting().len(), 2);
    assert_eq!(log.unlink_deleted(70_000).expect("a pass"), Some(75_000));
    assert_eq!(waiting(), ["/00000000000000000001.log.deleted"]);
    assert_eq!(log.unlink_deleted(75_000).expect("a pass"), None);
    assert_eq!(waiting(), Vec::<String>::new());
}

/// A log of three segments of four records and an empty one, of which the oldest is damaged behind its
/// greatest timestamp, as a start after a clean stop finds it.
fn damaged_in_the_oldest_segment(config: &LogConfig, timestamps: [i64; 4]) -> (SimDisk, Log) {
    let sim = fresh_disk();
    let disk = Disk::new(sim.clone());
    let kept = LogConfig {
        retention_ms: -1,
        ..config.clone()
    };
    let dir = open_dir_on(disk.clone());
    let (mut log, _) = dir.open_log(partition(), kept, 0).expect("a log");
    for later in [0, 10_000, 20_000] {
        for timestamp in timestamps {
            append_at(&mut log, timestamp + later, 0);
        }
        log.roll(0).expect("a roll");
    }
    log.close().expect("a clean stop");
    drop(log);
    dir.close(1).expect("a clean stop");
    let path = Path::new(ROOT).join("t-0/00000000000000000000.log");
    let file = disk.open(&path, OpenMode::Existing).expect("a segment");
    let last = file.size().expect("its size") / 4 * 3;
    // It ends before it begins.
    file.write_all_at(&[0xFF; 4], last + 23).expect("a write");
    let dir = open_dir_on(disk);
    let opened = dir.open_log(partition(), config.clone(), 0);
    let (log, _) = opened.expect("a log");
    let error = read_all(&log.reader()).expect_err("damage");
    assert!(error.contains("00000000000000000000.log"), "{error}");
    (sim, log)
}

#[test]
fn retention_goes_on_where_the_oldest_segment_is_damaged() {
    let config = |retention_ms, retention_bytes| LogConfig {
        retention_ms,
        retention_bytes,
        ..LogConfig::default()
    };
    let timed = [1_000, 900, 800, 700];
    let (_, mut log) = damaged_in_the_oldest_segment(&config(-1, 0), timed);
    let gone = log.apply_retention(12, 0).expect("a pass");
    assert_eq!((gone, log.log_start()), (vec![Reason::Size; 3], 12));

    let (_, mut log) = damaged_in_the_oldest_segment(&config(-1, -1), timed);
    log.advance_log_start(5).expect("an offset of the log");
    let gone = log.apply_retention(12, 0).expect("a pass");
    assert_eq!((gone, log.log_start()), (vec![Reason::BelowLogStart], 5));

    let (_, mut log) = damaged_in_the_oldest_segment(&config(500, -1), timed);
    assert_eq!(log.apply_retention(12, 1_500).expect("a pass"), []);
    let gone = log.apply_retention(12, 1_501).expect("a pass");
    assert_eq!((gone, log.log_start()), (vec![Reason::Time], 4));
    let gone = log.apply_retention(12, 11_501).expect("a pass");
    assert_eq!((gone, log.log_start()), (vec![Reason::Time], 8));
}

/// The time index says nothing of them.
#[test]
fn records_without_a_timestamp_expire_beside_damage_by_the_time_they_were_written() {
    let config = LogConfig {
        retention_ms: 500,
        ..LogConfig::default()
    };
    let (sim, mut log) = damaged_in_the_oldest_segment(&config, [-1; 4]);
    let path = Path::new(ROOT).join("t-0/00000000000000000000.log");
    let written = Disk::new(sim).open(&path, OpenMode::Existing);
    let written = written.and_then(|file| file.modified_ms()).expect("a time");
    assert_eq!(log.apply_retention(12, written + 500).expect("a pass"), []);
    let gone = log.apply_retention(12, written + 501).expect("a pass");
    assert_eq!(gone, [Reason::Time]);
}

#[test]
fn jitter_rolls_earlier_and_not_all_partitions_at_once() {
    let config = LogConfig {
        segment_ms: 10_000,
        segment_jitter_ms: 5_000,
        ..LogConfig::default()
    };
    let env = env(&Disk::new(SimDisk::new()), Path::new(DIR));
    let mut rolled_after = std::collections::BTreeSet::new();
    for index in 0..20 {
        let options = OpenOptions {
            config: config.clone(),
            topic_id: None,
            clean: false,
            now_ms: 0,
        };
        let mut log = Log::open(&env, TopicPartition::new("t", index), options)
            .expect("a log")
            .0;
        append_at(&mut log, 0, 0);
        let rolled = (0..=10_001).step_by(100).chain([10_001]).find(|age| {
            append_at(&mut log, *age, 0);
            segments(&log) == 2
        });
        rolled_after.insert(rolled.expect("rolled by segment.ms at the latest"));
    }
    assert!(*rolled_after.first().expect("twenty logs") >= 5_000);
    assert!(rolled_after.len() > 5, "{rolled_after:?}");
}

/// The mapping of a segment is as large as one may be when it begins.
#[test]
fn a_batch_that_only_a_larger_segment_takes_gets_one_as_soon_as_there_may_be_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let disks = [
        (Disk::new(SimDisk::new()), Path::new(DIR)),
        (Disk::real(), dir.path()),
    ];
    for (disk, path) in disks {
        let small = LogConfig {
            segment_bytes: 4096,
            ..LogConfig::default()
        };
        let (mut log, _) = open(&env(&disk, path), &small, false);
        log.set_config(LogConfig {
            segment_bytes: 1 << 20,
            ..small.clone()
        });
        let value = vec![7; 100_000];
        append(&mut log, batch(&[&value], 5, Compression::None));
        append(&mut log, batch(&[b"behind"], 6, Compression::None));
        assert_eq!(segments(&log), 1);
        assert_eq!(read_all(&log.reader()).expect("whole batches").len(), 2);
        let found = log.reader().find_timestamp(6, 2);
        let found = found.expect("a sound log").expect("a record of that time");
        assert_eq!(found.offset, 1);
    }
}

/// As in Apache Kafka: an index of offsets takes all it has room for, and one of times keeps the last
/// place for the entry that it gets when the segment is sealed.
#[test]
fn a_segment_rolls_when_its_index_is_full() {
    for (rising, per_segment) in [(0, 11), (1, 6)] {
        let config = LogConfig {
            index_interval_bytes: 0,
            // Ten entries of the one and six of the other.
            segment_index_bytes: 10 * 8,
            retention_ms: -1,
            ..LogConfig::default()
        };
        let sim = SimDisk::new();
        let (mut log, _) = open(
            &env(&Disk::new(sim.clone()), Path::new(DIR)),
            &config,
            false,
        );
        for offset in 0..40 {
            append_at(&mut log, 1 + rising * offset, 0);
        }
        let files = sim.contents(&Path::new(DIR).join("t-0"));
        let named = |suffix| files.iter().filter(move |(name, _)| name.ends_with(suffix));
        let bases: Vec<&str> = named(".log").map(|(name, _)| name.as_str()).collect();
        let expected = (0..40).step_by(per_segment);
        let expected: Vec<String> = expected.map(|base| format!("/{base:020}.log")).collect();
        assert_eq!(bases, expected);
        for (name, content) in named(".index").chain(named(".timeindex")) {
            assert!(content.len() <= 80, "{name}: {} bytes", content.len());
        }
    }
}

#[test]
fn a_segment_rolls_before_its_offsets_pass_31_bits() {
    let mut log = log(&LogConfig::default());
    let at = |offset: i64| {
        let mut bytes = batch(&[b"value"], 1, Compression::None);
        reka_records::stamp::set_base_offset(&mut bytes, offset);
        reka_records::stamp::set_leader_epoch(&mut bytes, 0);
        bytes
    };
    for (offset, expected) in [
        (0, 1),
        (i64::from(i32::MAX), 1),
        (i64::from(i32::MAX) + 1, 2),
    ] {
        let mut bytes = at(offset);
        let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
        log.append_replicated(checked, 0).expect("room");
        assert_eq!(segments(&log), expected, "offset {offset}");
    }
}

#[test]
fn a_sync_is_due_by_records_or_by_age_and_not_after_it_was_done() {
    let config = LogConfig {
        flush_messages: 3,
        flush_ms: 100,
        ..LogConfig::default()
    };
    let mut log = log(&config);
    log.flush().expect("a flush");
    assert!(!log.flush_is_due_by_age(i64::MAX));
    append_at(&mut log, 1, 1_000);
    assert!(!log.flush_is_due_by_age(1_099));
    assert!(log.flush_is_due_by_age(1_100));
    append_at(&mut log, 1, 1_000);
    assert!(!log.flush_is_due_by_count());
    append_at(&mut log, 1, 1_000);
    assert!(log.flush_is_due_by_count());
    assert!(!log.flush_is_due_by_age(1_000));
    // One that is under way carries them, and has none of them on disk yet.
    let flush = log.begin_flush().expect("records to carry");
    assert!(log.flush_is_due_by_count());
    assert!(!log.flush_is_due_by_age(i64::MAX));
    let flushed = flush.run().expect("a flush");
    log.finish_flush(flushed);
    assert!(!log.flush_is_due_by_count());
    assert!(!log.flush_is_due_by_age(i64::MAX));
    assert_eq!(log.recovery_point(), 3);
}

fn dir_on(disk: &Disk, dir: &Path) -> LogDir {
    let identity = Identity {
        cluster_id: "c".into(),
        node_id: 1,
        directory_id: None,
    };
    LogDir::open(disk.clone(), dir, identity, Arc::new(MapBudget::new(100))).expect("a directory")
}

#[test]
fn a_directory_that_fails_leaves_the_others_in_use() {
    let sim = SimDisk::new();
    let faults = fault::FaultDisk::new(sim);
    let disk = Disk::new(faults.clone());
    for dir in ["/a", "/b"] {
        disk.create_dir(Path::new(dir)).expect("a fresh disk");
    }
    let (a, b) = (
        dir_on(&disk, Path::new("/a")),
        dir_on(&disk, Path::new("/b")),
    );
    let open = |dir: &LogDir| {
        dir.open_log(partition(), LogConfig::default(), 0)
            .expect("a log")
            .0
    };
    let (mut in_a, mut in_b) = (open(&a), open(&b));
    append(&mut in_a, batch(&[b"x"], 1, Compression::None));
    append(&mut in_b, batch(&[b"x"], 1, Compression::None));
    faults.plan(
        fault::When::Every(reka_storage::fs::Op::Sync),
        fault::Fault::Errno(5),
    );
    in_a.flush().expect_err("the disk fails");
    faults.heal();
    in_a.flush().expect_err("a failed sync is final");
    assert!(
        in_a.reader().read(0, 100, 1).is_err(),
        "nothing is served from there"
    );
    in_b.flush().expect("the other directory works");
    append(&mut in_b, batch(&[b"y"], 1, Compression::None));
}

#[test]
fn what_was_not_written_back_is_told_at_a_clean_stop_though_others_were_told_before() {
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    let root = Path::new("/data");
    disk.create_dir(root).expect("a fresh disk");
    let dir = dir_on(&disk, root);
    let opened = dir.open_log(partition(), LogConfig::default(), 0);
    let (mut log, _) = opened.expect("a log");
    append(&mut log, batch(&[b"x"], 1, Compression::None));
    sim.fail_to_write_back();
    let told = dir.close_logs(&mut [&mut log]).expect_err("pages are lost");
    assert_eq!(
        told.to_string(),
        "sync the file system of /data: Input/output error (os error 5); what was written may be \
         lost: the directory is out of use; check the disk, replace it if it fails, and restart"
    );
    dir.env().health.check().expect_err("offline for good");
    dir.mark_clean(1).expect_err("this was no clean stop");
    let mark = root.join(reka_storage::format::CLEAN_SHUTDOWN);
    assert!(disk.open_if_exists(&mark).expect("a look").is_none());
}

/// A sync of the file system of the directory does not reach what a link leads to on another.
#[test]
fn a_clean_stop_syncs_what_links_lead_to_on_other_file_systems() {
    for linked in [
        &["t-0"][..],
        &["t-0/00000000000000000000.log"],
        &[
            "t-0/00000000000000000000.log",
            "t-0/00000000000000000000.index",
            "t-0/00000000000000000000.timeindex",
        ],
    ] {
        let sim = SimDisk::new();
        let disk = Disk::new(sim.clone());
        let root = Path::new("/data");
        disk.create_dir(root).expect("a fresh disk");
        disk.sync_dir(Path::new("/")).expect("a fresh disk");
        let config = LogConfig {
            index_interval_bytes: 50,
            ..LogConfig::default()
        };
        let start = |disk: &Disk| {
            let dir = dir_on(disk, root);
            let wanted = |index| (TopicPartition::new("t", index), config.clone());
            let open = |index| {
                let (partition, config) = wanted(index);
                dir.open_log(partition, config, 0).expect("a log")
            };
            let opened = (open(0), open(1));
            (dir, opened.0, opened.1)
        };
        let stop = |dir: LogDir, mut logs: [Log; 2]| {
            let [first, second] = &mut logs;
            dir.close_logs(&mut [first, second]).expect("a clean stop");
            dir.mark_clean(1).expect("a clean stop");
        };
        let (dir, (log, _), (other, _)) = start(&disk);
        stop(dir, [log, other]);
        for name in linked {
            sim.link_elsewhere(&root.join(name)).expect("a file");
        }
        let (dir, (mut log, _), (mut other, _)) = start(&disk);
        for log in [&mut log, &mut other] {
            for _ in 0..9 {
                append(log, batch(&[b"kept"], 1, Compression::None));
            }
        }
        stop(dir, [log, other]);
        let found = sim.crash(&mut LoseAll);
        let (dir, first, second) = start(&Disk::new(found));
        assert!(dir.was_clean(), "{linked:?}");
        for (log, report) in [first, second] {
            assert_eq!(report, RecoveryReport::default(), "{linked:?}");
            assert_eq!(log.log_end(), 9, "{linked:?}");
            assert_eq!(read_all(&log.reader()).expect("it reads").len(), 9);
        }
    }
}

#[test]
fn the_directory_of_a_deleted_topic_is_not_taken_for_a_new_one_of_its_name() {
    let disk = Disk::new(SimDisk::new());
    let root = Path::new("/data");
    disk.create_dir(root).expect("a fresh disk");
    let dir = dir_on(&disk, root);
    let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let open = |topic_id| {
        let wanted = ToOpen {
            partition: partition(),
            topic_id: Some(topic_id),
            config: LogConfig::default(),
        };
        dir.open_logs(vec![wanted], 1, 0).remove(0).1
    };
    drop(open(old).expect("a new directory"));
    assert_eq!(
        partition_metadata::read(&disk, &root.join("t-0")).expect("a file of ours"),
        Some(old)
    );
    drop(open(old).expect("the same topic"));
    let error = open(new).expect_err("another topic");
    assert_eq!(
        error.to_string(),
        "/data/t-0/partition.metadata says topic id 00000000-0000-0000-0000-000000000001, the topic of \
         this name has 00000000-0000-0000-0000-000000000002: either that other one was deleted, \
         or the metadata is older than the directory; move the directory away, or remove the file to adopt \
         the data"
    );
    let path = root.join("t-0/partition.metadata");
    for unnamed in [&b""[..], &[0; 44]] {
        disk.replace_small(&path, unnamed).expect("a file");
        drop(open(new).expect("what a power cut leaves of a name is no other topic's"));
        let name = partition_metadata::read(&disk, &root.join("t-0"));
        assert_eq!(name.expect("a file of ours"), Some(new), "{unnamed:?}");
    }
    disk.replace_small(&path, b"version: 1\n").expect("a file");
    let error = open(old).expect_err("an unknown version");
    assert!(
        error
            .to_string()
            .contains("expected version: 0, found \"version: 1\""),
        "{error}"
    );
}

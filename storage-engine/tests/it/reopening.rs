//! What a restart finds must be what the last process left, and nothing older.
//!
//! A partition that was deleted and made again under its name, a damaged log that was
//! repaired, a log whose end or start went back: each of them has a past on disk, in
//! checkpoints of the directory and in files that are out of use, and none of it may
//! reach into the present.

mod swaps;

use std::path::{Path, PathBuf};

use reka_records::{BatchHeader, Compression};
use reka_storage::fs::fault::{Fault, FaultDisk, When};
use reka_storage::fs::sim::{Choice, KeepAll, LoseAll, Seeded, SimDisk};
use reka_storage::fs::{Backend as _, Disk, Op, OpenMode};
use reka_storage::recovery::RecoveryReport;
use reka_storage::{AppendError, CheckedBatches, Log, LogConfig, LogDir, LogError};

use crate::support::{
    self, ROOT, append, append_in, batch, fresh_disk, open_dir, open_dir_on, partition, read_all,
};

fn config() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        ..support::small_config()
    }
}

fn open_log(dir: &LogDir) -> (Log, RecoveryReport) {
    dir.open_log(partition(), config(), 0)
        .expect("a log that opens")
}

/// Appends one record with this value as a batch of its own.
fn add(log: &mut Log, value: &str) {
    append(log, batch(&[value.as_bytes()], 100, Compression::None));
}

fn values(log: &Log) -> Vec<(i64, String)> {
    let seen = read_all(&log.reader()).expect("a log that reads");
    let value = |value: Option<Vec<u8>>| String::from_utf8(value.expect("a value"));
    seen.into_iter()
        .map(|record| (record.offset, value(record.value).expect("text")))
        .collect()
}

fn numbered(offsets: std::ops::Range<i64>, prefix: &str) -> Vec<(i64, String)> {
    offsets.map(|n| (n, format!("{prefix}{n}"))).collect()
}

/// Appends `prefix<offset>` up to `end`.
fn add_up_to(log: &mut Log, end: i64, prefix: &str) {
    while log.log_end() < end {
        let offset = log.log_end();
        add(log, &format!("{prefix}{offset}"));
    }
}

fn segment(base_offset: i64) -> PathBuf {
    Path::new(ROOT).join(format!("t-0/{base_offset:020}.log"))
}

/// Writes into a file behind the engine's back, and makes it last.
fn overwrite(sim: &SimDisk, path: &Path, position: u64, bytes: &[u8]) {
    let file = sim.open(path, OpenMode::Create).expect("a file");
    file.write_at(bytes, position).expect("a write");
    file.sync().expect("a sync");
    sim.sync_dir(path.parent().expect("a directory"))
        .expect("a sync");
}

fn content(sim: &SimDisk, path: &Path) -> Vec<u8> {
    let mut files = sim.contents(path.parent().expect("a directory"));
    let name = path.file_name().expect("a name").to_string_lossy();
    files.remove(&format!("/{name}")).expect("a file")
}

/// Where the batch with this number starts in a data file.
fn position_of(sim: &SimDisk, path: &Path, number: usize) -> u64 {
    let content = content(sim, path);
    (0..number).fold(0, |at, _| {
        at + BatchHeader::parse(&content[at as usize..])
            .expect("a batch")
            .size() as u64
    })
}

fn for_each_cut(sim: &SimDisk, judge: impl Fn(SimDisk, &str)) {
    let mut choices: Vec<Box<dyn Choice>> = vec![Box::new(LoseAll), Box::new(KeepAll)];
    choices.extend((0..20).map(|seed| Box::new(Seeded(seed)) as Box<dyn Choice>));
    for (number, choice) in choices.iter_mut().enumerate() {
        judge(sim.crash(choice.as_mut()), &format!("cut {number}"));
    }
}

// A partition deleted and made again.

/// The old partition was longer, had a recovery point and a start, all stored.
fn recreated() -> (SimDisk, LogDir, Log) {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut old, _) = open_log(&dir);
    add_up_to(&mut old, 10, "old");
    old.flush().expect("a flush");
    old.advance_log_start(8).expect("a start");
    dir.checkpoint().expect("a checkpoint");
    dir.delete(&old).expect("a deletion");
    drop(old);
    for checkpoint in ["recovery-point", "log-start"] {
        let path = Path::new(ROOT).join(format!("{checkpoint}-offset-checkpoint"));
        assert_eq!(content(&sim, &path), b"0\n0\n", "{checkpoint}");
    }
    let (new, report) = open_log(&dir);
    assert_eq!(report, RecoveryReport::default());
    (sim, dir, new)
}

#[test]
fn a_partition_made_again_under_its_name_keeps_what_it_synced() {
    let (sim, dir, mut new) = recreated();
    assert_eq!((new.log_start(), new.log_end()), (0, 0));
    add_up_to(&mut new, 3, "new");
    new.flush().expect("a flush");
    drop((new, dir));
    for_each_cut(&sim, |found, what| {
        let dir = open_dir(&found);
        let (log, report) = open_log(&dir);
        assert_eq!((report.cut, report.damage), (None, None), "{what}");
        assert_eq!(values(&log), numbered(0..3, "new"), "{what}");
        assert_eq!(log.log_start(), 0, "{what}");
    });
}

#[test]
fn a_directory_removed_by_hand_takes_its_checkpoints_along() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut old, _) = open_log(&dir);
    add_up_to(&mut old, 10, "old");
    old.flush().expect("a flush");
    old.advance_log_start(8).expect("a start");
    dir.checkpoint().expect("a checkpoint");
    drop((old, dir));
    let away = Path::new(ROOT).join("away");
    sim.rename(&Path::new(ROOT).join("t-0"), &away)
        .expect("a rename");
    sim.sync_dir(Path::new(ROOT)).expect("a sync");

    let dir = open_dir(&sim);
    let (mut new, _) = open_log(&dir);
    add_up_to(&mut new, 3, "new");
    new.flush().expect("a flush");
    drop((new, dir));
    for_each_cut(&sim, |found, what| {
        let (log, report) = open_log(&open_dir(&found));
        assert_eq!((report.cut, report.damage), (None, None), "{what}");
        assert_eq!(values(&log), numbered(0..3, "new"), "{what}");
    });
}

#[test]
fn a_flush_that_ends_after_the_deletion_says_nothing_about_the_next_partition() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut old, _) = open_log(&dir);
    add_up_to(&mut old, 30, "old");
    let flush = old.begin_flush().expect("something to sync");
    dir.delete(&old).expect("a deletion");
    let flushed = flush
        .run()
        .expect("the files are there, under another name");
    let (mut new, _) = open_log(&dir);
    add_up_to(&mut new, 3, "new");
    old.finish_flush(flushed);
    dir.checkpoint().expect("a checkpoint");
    drop((old, new, dir));
    // Torn behind what was written: a tail, whatever the old partition had.
    let path = segment(0);
    let end = content(&sim, &path).len() as u64;
    overwrite(&sim, &path, end, &[0xA5; 30]);
    let (log, report) = open_log(&open_dir(&sim));
    assert_eq!(report.damage, None);
    assert_eq!(report.cut.map(|(offset, _)| offset), Some(3));
    assert_eq!(values(&log), numbered(0..3, "new"));
}

#[test]
fn a_deleted_log_changes_nothing_any_more() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut old, _) = open_log(&dir);
    add_up_to(&mut old, 3, "old");
    dir.delete(&old).expect("a deletion");
    let (new, _) = open_log(&dir);
    let before = sim.contents(Path::new(ROOT));
    let mut bytes = batch(&[b"late"], 100, Compression::None);
    let checked = CheckedBatches::check(&mut bytes).expect("a batch");
    let refused = old.append(checked, 0, 0).expect_err("it is deleted");
    assert!(matches!(refused, AppendError::Deleted(_)), "{refused}");
    assert_eq!(
        refused.to_string(),
        "partition t-0 was deleted and takes nothing any more"
    );
    let deleted = |result: Result<(), LogError>| {
        let error = result.expect_err("it is deleted");
        assert!(matches!(error, LogError::Deleted(_)), "{error}");
    };
    deleted(old.roll(0));
    deleted(old.truncate_to(1, 0));
    deleted(old.truncate_fully_and_start_at(9, 0));
    deleted(old.advance_log_start(2));
    deleted(old.apply_retention(3, i64::MAX).map(|_| ()));
    deleted(old.begin_epoch(4));
    deleted(dir.delete(&old).map(|_| ()));
    old.flush().expect("nothing to sync");
    old.close().expect("nothing to leave clean");
    assert_eq!(values(&old), numbered(0..3, "old"), "readers may finish");
    assert_eq!(sim.contents(Path::new(ROOT)), before);
    assert_eq!(dir.env().log_starts.get(&partition()), Some(0)); // the new one's
    drop(new);
}

#[test]
fn a_full_disk_does_not_stop_a_deletion_and_the_old_checkpoints_are_still_forgotten() {
    let sim = fresh_disk();
    let fault = FaultDisk::new(sim.clone());
    let dir = open_dir_on(Disk::new(fault.clone()));
    let (mut old, _) = open_log(&dir);
    add_up_to(&mut old, 10, "old");
    old.flush().expect("a flush");
    old.advance_log_start(8).expect("a start");
    dir.checkpoint().expect("a checkpoint");
    fault.plan(When::Every(Op::Write), Fault::Errno(28));
    dir.delete(&old).expect("a deletion");
    drop(old);
    fault.heal();
    let (mut new, _) = open_log(&dir);
    add_up_to(&mut new, 3, "new");
    new.flush().expect("a flush");
    drop((new, dir));
    let (log, report) = open_log(&open_dir(&sim.crash(&mut LoseAll)));
    assert_eq!((report.cut, report.damage), (None, None));
    assert_eq!(values(&log), numbered(0..3, "new"));
}

// A damaged log, repaired.

/// Several segments, all below the stored recovery point, and the batch of `offset`
/// broken where a scan from the recovery point sees it.
fn damaged() -> (SimDisk, i64) {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 40, "old");
    log.flush().expect("a flush");
    dir.checkpoint().expect("a checkpoint");
    assert!(log.reader().segment_count() >= 4);
    let bases: Vec<i64> = bases(&sim);
    drop((log, dir));
    // A scan begins in the segment of the recovery point: the checkpoint is set back to
    // the second segment, and every segment behind is full of what is to be repaired.
    let recovery_point = bases[3] - 1;
    let text = format!("0\n1\nt 0 {recovery_point}\n");
    let path = Path::new(ROOT).join("recovery-point-offset-checkpoint");
    let disk = Disk::new(sim.clone());
    disk.replace_small(&path, text.as_bytes()).expect("a file");
    for kind in ["index", "timeindex"] {
        let index = segment(bases[2]).with_extension(kind);
        disk.remove_file(&index).expect("removed");
    }
    let at = position_of(&sim, &segment(bases[2]), 2);
    overwrite(&sim, &segment(bases[2]), at + 65, &[0xA5; 3]);
    (sim, bases[2] + 2)
}

fn bases(sim: &SimDisk) -> Vec<i64> {
    let files = sim.contents(&Path::new(ROOT).join("t-0"));
    let base = |name: &String| name.strip_prefix('/')?.strip_suffix(".log")?.parse().ok();
    files.keys().filter_map(base).collect()
}

#[test]
fn what_was_truncated_from_a_damaged_log_never_returns() {
    for below in [0, 1, 5, 15] {
        let (sim, broken) = damaged();
        let dir = open_dir(&sim);
        let (mut log, report) = open_log(&dir);
        let damage = report.damage.expect("a broken batch below the point");
        assert_eq!((damage.offset, log.log_end()), (broken, broken));
        let end = broken - below;
        log.truncate_to(end, 0).expect("a truncation");
        assert_eq!(log.log_end(), end);
        assert_eq!(log.damage(), None, "nothing damaged is left");
        add_up_to(&mut log, end + 2, "new");
        log.flush().expect("a flush");
        let mut expected = numbered(0..end, "old");
        expected.extend(numbered(end..end + 2, "new"));
        assert_eq!(values(&log), expected);
        drop((log, dir));
        for_each_cut(&sim, |found, what| {
            let (log, report) = open_log(&open_dir(&found));
            assert_eq!((report.cut, report.damage), (None, None), "{what}");
            assert_eq!(values(&log), expected, "{what}");
        });
    }
}

#[test]
fn a_damaged_log_that_starts_anew_keeps_nothing_of_the_old_one() {
    for at in [0, 5, 12, 100] {
        let (sim, _) = damaged();
        let dir = open_dir(&sim);
        let (mut log, report) = open_log(&dir);
        assert!(report.damage.is_some());
        log.truncate_fully_and_start_at(at, 0)
            .expect("a truncation");
        assert_eq!(log.damage(), None);
        add_up_to(&mut log, at + 2, "new");
        log.flush().expect("a flush");
        drop((log, dir));
        for_each_cut(&sim, |found, what| {
            let (log, report) = open_log(&open_dir(&found));
            assert_eq!((report.cut, report.damage), (None, None), "{what}");
            assert_eq!(values(&log), numbered(at..at + 2, "new"), "{what}");
        });
    }
}

#[test]
fn a_damaged_log_keeps_every_byte_until_it_is_repaired() {
    let (sim, broken) = damaged();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    let damaged_base = broken - 2;
    let before = sim.contents(&Path::new(ROOT).join("t-0"));
    log.roll(0).expect("nothing to begin");
    log.truncate_to(broken + 1, 0)
        .expect("nothing there to drop");
    log.set_config(LogConfig {
        retention_ms: 0,
        ..config()
    });
    let gone = log.apply_retention(broken, i64::MAX).expect("a pass");
    assert!(!gone.is_empty(), "whole segments below the damage expire");
    log.close().expect("a stop");
    let after = sim.contents(&Path::new(ROOT).join("t-0"));
    for (name, content) in before
        .iter()
        .filter(|(name, _)| name.ends_with(".log") && **name >= format!("/{damaged_base:020}"))
    {
        assert_eq!(after.get(name), Some(content), "{name}");
    }
    assert!(log.damage().is_some());
}

// Indexes of sealed segments.

/// They are not made anew where no scan begins, so a flush has to carry them too, also
/// those of a segment that was sealed with the recovery point at its very end.
#[test]
fn after_a_flush_the_indexes_of_sealed_segments_survive_a_power_cut() {
    for flush_before_the_roll in [false, true] {
        let sim = fresh_disk();
        let dir = open_dir(&sim);
        let (mut log, _) = open_log(&dir);
        for _ in 0..3 {
            let end = log.log_end() + 7;
            add_up_to(&mut log, end, "old");
            if flush_before_the_roll {
                log.flush().expect("a flush");
            }
            log.roll(0).expect("a roll");
        }
        add(&mut log, "active");
        log.flush().expect("a flush");
        assert_eq!(bases(&sim), [0, 7, 14, 21]);
        let found = sim.crash(&mut LoseAll);
        for base in [0, 7, 14] {
            for kind in ["index", "timeindex"] {
                let path = segment(base).with_extension(kind);
                let (now, left) = (content(&sim, &path), content(&found, &path));
                assert!(!now.is_empty(), "{}", path.display());
                assert_eq!(left, now, "{}", path.display());
            }
        }
    }
}

// Segments that are missing.

/// Unflushed and unclean, so that all of it is scanned, or nothing below the point is.
fn without_a_middle_segment(recovery_point: Option<i64>, compacted: bool) -> (Log, RecoveryReport) {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 40, "old");
    log.flush().expect("a flush");
    if let Some(recovery_point) = recovery_point {
        dir.env().recovery_points.set(&partition(), recovery_point);
    }
    if compacted {
        dir.env().cleaner_points.set(&partition(), 0);
    }
    dir.checkpoint().expect("a checkpoint");
    drop((log, dir));
    let bases = bases(&sim);
    assert_eq!(bases[..4], [0, 9, 18, 27], "the tests below count on it");
    for suffix in ["log", "index", "timeindex"] {
        let gone = segment(9).with_extension(suffix);
        sim.remove_file(&gone).expect("removed");
    }
    sim.sync_dir(&Path::new(ROOT).join("t-0")).expect("a sync");
    open_log(&open_dir(&sim))
}

#[test]
fn a_middle_segment_that_is_missing_below_the_recovery_point_is_reported_by_name() {
    for recovery_point in [None, Some(18), Some(20), Some(30)] {
        let (log, report) = without_a_middle_segment(recovery_point, false);
        assert_eq!((report.cut, report.damage), (None, None));
        let [warning] = report.warnings.as_slice() else {
            panic!("{:?}", report.warnings)
        };
        assert_eq!(
            warning.to_string(),
            "offsets 9..18 are missing between /data/t-0/00000000000000000000.log and \
             /data/t-0/00000000000000000018.log, and nothing here says that the log was ever \
             compacted; if its leader has them, a file was lost: restore the partition from a \
             replica or a backup; without either the rest is served"
        );
        assert_eq!((log.log_start(), log.log_end()), (0, 40));
    }
}

#[test]
fn a_missing_segment_around_the_recovery_point_is_damage_and_behind_it_a_torn_tail() {
    let (log, report) = without_a_middle_segment(Some(12), false);
    let damage = report.damage.expect("offset 9 was on disk");
    assert_eq!(damage.offset, 9);
    assert_eq!(damage.path, segment(18));
    assert_eq!(damage.found, "a gap up to offset 18");
    assert_eq!(log.log_end(), 9);
    assert_eq!(values(&log), numbered(0..9, "old"));

    let (log, report) = without_a_middle_segment(Some(9), false);
    assert_eq!(report.cut, Some((9, "a gap up to offset 18".to_owned())));
    assert_eq!(log.log_end(), 9);
}

#[test]
fn a_log_that_was_ever_compacted_may_miss_offsets_between_segments() {
    for recovery_point in [None, Some(12), Some(20)] {
        let (log, report) = without_a_middle_segment(recovery_point, true);
        assert_eq!((report.cut, report.damage), (None, None));
        assert_eq!(report.warnings, []);
        assert_eq!(log.log_end(), 40);
    }
}

// Ends and starts that went back.

#[test]
fn a_log_found_shorter_than_its_recovery_point_grows_again_only_when_that_was_lowered() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 20, "old");
    log.flush().expect("a flush");
    dir.checkpoint().expect("a checkpoint");
    drop((log, dir));
    // The newest segments are gone, as a person may have decided.
    for base in &bases(&sim)[1..] {
        sim.remove_file(&segment(*base)).expect("removed");
    }
    sim.sync_dir(&Path::new(ROOT).join("t-0")).expect("a sync");

    let dir = open_dir(&sim);
    let (mut log, report) = open_log(&dir);
    let end = log.log_end();
    let damage = report.damage.expect("synced records are gone");
    assert_eq!((damage.offset, damage.recovery_point), (end, 20));
    // The repair of any damage; a follower does it before it fetches what is missing.
    log.truncate_to(end, 0).expect("a repair");
    assert_eq!(log.damage(), None);
    add(&mut log, "tail");
    log.flush().expect("a flush");
    add(&mut log, "torn");
    drop((log, dir));
    let newest = segment(*bases(&sim).last().expect("a segment"));
    let at = content(&sim, &newest).len() as u64 - 3;
    overwrite(&sim, &newest, at, &[0xA5; 3]);
    let (log, report) = open_log(&open_dir(&sim));
    assert_eq!(report.damage, None, "a torn tail is no damage");
    assert_eq!(report.cut.map(|(offset, _)| offset), Some(end + 1));
    assert_eq!(log.log_end(), end + 1);
}

#[test]
fn a_truncation_below_the_stored_start_is_not_undone_by_a_restart() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 8, "old");
    log.flush().expect("a flush");
    log.advance_log_start(7).expect("a start");
    dir.checkpoint().expect("a checkpoint");
    log.truncate_to(3, 0).expect("a truncation");
    assert_eq!((log.log_start(), log.log_end()), (3, 3));
    add_up_to(&mut log, 5, "new");
    log.flush().expect("a flush");
    drop((log, dir));
    for_each_cut(&sim, |found, what| {
        let (log, report) = open_log(&open_dir(&found));
        assert_eq!((report.cut, report.damage), (None, None), "{what}");
        assert_eq!(values(&log), numbered(3..5, "new"), "{what}");
    });
}

#[test]
fn a_truncation_the_full_disk_refused_is_stored_by_the_next_one() {
    let sim = fresh_disk();
    let fault = FaultDisk::new(sim.clone());
    let dir = open_dir_on(Disk::new(fault.clone()));
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 8, "old");
    log.flush().expect("a flush");
    dir.checkpoint().expect("a checkpoint");
    fault.plan(When::Every(Op::Write), Fault::Errno(28));
    let refused = log.truncate_to(3, 0).expect_err("no room for a checkpoint");
    assert!(
        matches!(&refused, LogError::Disk(error) if error.is_full()),
        "{refused}"
    );
    assert_eq!(values(&log), numbered(0..8, "old"), "nothing was cut");
    fault.heal();
    log.truncate_to(3, 0).expect("room again");
    add(&mut log, "torn");
    drop((log, dir));
    let at = content(&sim, &segment(0)).len();
    let start = position_of(&sim, &segment(0), 3);
    assert!((start as usize) < at);
    overwrite(&sim, &segment(0), start + 65, &[0xA5; 3]);
    let (log, report) = open_log(&open_dir(&sim));
    assert_eq!(report.damage, None, "a torn tail is no damage");
    assert_eq!(values(&log), numbered(0..3, "old"));
}

#[test]
fn a_truncation_lowers_the_stored_clean_point_of_a_compacted_log() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 20, "old");
    log.flush().expect("a flush");
    dir.env().cleaner_points.set(&partition(), 12);
    dir.checkpoint().expect("a checkpoint");
    log.truncate_to(5, 0).expect("a truncation");
    drop((log, dir));
    let dir = open_dir(&sim.crash(&mut LoseAll));
    assert_eq!(dir.env().cleaner_points.get(&partition()), Some(5));
}

// Leader epochs.

#[test]
fn a_truncation_forgets_the_epochs_that_began_behind_it_for_good() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    for epoch in [0, 1, 4] {
        for _ in 0..3 {
            append_in(&mut log, batch(&[b"x"], 100, Compression::None), epoch);
        }
    }
    log.flush().expect("a flush");
    let epochs = |log: &Log| -> Vec<(i32, i64)> {
        let entries = log.epochs().entries().iter();
        entries.map(|e| (e.epoch, e.start_offset)).collect()
    };
    assert_eq!(epochs(&log), [(0, 0), (1, 3), (4, 6)]);
    log.truncate_to(7, 0).expect("a truncation");
    assert_eq!(epochs(&log), [(0, 0), (1, 3), (4, 6)]);
    log.truncate_to(6, 0).expect("a truncation");
    assert_eq!(epochs(&log), [(0, 0), (1, 3)]);
    log.truncate_to(2, 0).expect("a truncation");
    assert_eq!(epochs(&log), [(0, 0)]);
    // On disk too, before anything else is appended.
    let stored = Path::new(ROOT).join("t-0/leader-epoch-checkpoint");
    let found = sim.crash(&mut LoseAll);
    assert_eq!(content(&found, &stored), b"0\n1\n0 0\n");
    append_in(&mut log, batch(&[b"y"], 100, Compression::None), 2);
    assert_eq!(epochs(&log), [(0, 0), (2, 2)]);
}

/// Two batches of epoch 1, then one whose epoch, which no checksum covers, is 0.
fn epoch_that_goes_back(recovery_point: i64) -> (Log, RecoveryReport) {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    for _ in 0..4 {
        append_in(&mut log, batch(&[b"x"], 100, Compression::None), 1);
    }
    log.flush().expect("a flush");
    drop((log, dir));
    let at = position_of(&sim, &segment(0), 2);
    overwrite(&sim, &segment(0), at + 12, &[0; 4]);
    let text = format!("0\n1\nt 0 {recovery_point}\n");
    let path = Path::new(ROOT).join("recovery-point-offset-checkpoint");
    Disk::new(sim.clone())
        .replace_small(&path, text.as_bytes())
        .expect("a file");
    open_log(&open_dir(&sim))
}

#[test]
fn a_batch_of_an_older_epoch_behind_the_recovery_point_is_a_torn_tail() {
    let (log, report) = epoch_that_goes_back(2);
    assert_eq!(report.damage, None);
    let why = "leader epoch 0 behind leader epoch 1".to_owned();
    assert_eq!(report.cut, Some((2, why)));
    assert_eq!(log.log_end(), 2);
}

#[test]
fn a_batch_of_an_older_epoch_below_the_recovery_point_is_damage() {
    let (log, report) = epoch_that_goes_back(3);
    assert_eq!(report.cut, None);
    let damage = report.damage.expect("it was on disk once");
    assert_eq!(damage.offset, 2);
    assert_eq!(damage.found, "leader epoch 0 behind leader epoch 1");
    assert_eq!(log.log_end(), 2);
}

#[test]
fn an_epoch_goes_on_over_segments() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    append_in(&mut log, batch(&[b"x"], 100, Compression::None), 3);
    log.roll(0).expect("a roll");
    append_in(&mut log, batch(&[b"x"], 100, Compression::None), 3);
    drop((log, dir));
    overwrite(&sim, &segment(1), 12, &2_i32.to_be_bytes());
    let (log, report) = open_log(&open_dir(&sim));
    assert_eq!(
        report.cut,
        Some((1, "leader epoch 2 behind leader epoch 3".to_owned()))
    );
    assert_eq!(log.log_end(), 1);
}

#[test]
fn an_append_in_an_older_epoch_than_the_logs_is_refused() {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_log(&dir);
    append_in(&mut log, batch(&[b"x"], 100, Compression::None), 3);
    let expected = "batch of leader epoch 2 at offset 1, the log has leader epoch 3 already; who \
                    sent it leads no more: truncate to where the two logs part and fetch from the \
                    leader of the newest epoch";
    let mut bytes = batch(&[b"x"], 100, Compression::None);
    let checked = CheckedBatches::check(&mut bytes).expect("a batch");
    let error = log.append(checked, 2, 0).expect_err("an older leader");
    assert_eq!(error.to_string(), expected);
    reka_records::stamp::set_base_offset(&mut bytes, 1);
    reka_records::stamp::set_leader_epoch(&mut bytes, 2);
    let checked = CheckedBatches::check(&mut bytes).expect("a batch");
    let error = log
        .append_replicated(checked, 0)
        .expect_err("an older leader");
    assert_eq!(error.to_string(), expected);
    assert_eq!(log.log_end(), 1);
}

/// The batch that is cut ends where a page does, so that the one behind it could be there
/// still when another of the same size has taken its place.
#[test]
fn what_recovery_cut_off_never_returns_behind_what_was_appended_in_its_place() {
    const PAGE: usize = reka_storage::fs::sim::PAGE_BYTES;
    let config = LogConfig {
        segment_bytes: 1 << 20,
        ..config()
    };
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let open = |dir: &LogDir| {
        let opened = dir.open_log(partition(), config.clone(), 0);
        opened.expect("a log that opens")
    };
    let (mut log, _) = open(&dir);
    add(&mut log, "kept");
    log.flush().expect("a flush");
    dir.checkpoint().expect("checkpoints");
    let kept_bytes = content(&sim, &segment(0)).len();
    let of_size = |byte: u8| {
        let sized = (1..2 * PAGE).map(|len| batch(&[&vec![byte; len]], 100, Compression::None));
        let mut fitting = sized.filter(|batch| kept_bytes + batch.len() == 2 * PAGE);
        fitting.next().expect("a size that fits")
    };
    append(&mut log, of_size(b'x'));
    append(&mut log, batch(&[b"behind"], 100, Compression::None));
    drop((log, dir));
    // On disk, but for a byte of the first.
    overwrite(&sim, &segment(0), 2 * PAGE as u64 - 9, b"?");

    let dir = open_dir(&sim);
    let (mut log, report) = open(&dir);
    assert_eq!(report.cut.map(|(offset, _)| offset), Some(1));
    append(&mut log, of_size(b'y'));
    drop((log, dir));
    let mut with_new = 0;
    for seed in 0..500 {
        let found = sim.crash(&mut Seeded(seed));
        let (log, report) = open(&open_dir(&found));
        assert_eq!(report.damage, None, "seed {seed}");
        let values = values(&log);
        assert!((1..=2).contains(&values.len()), "seed {seed}: {values:?}");
        with_new += usize::from(values.len() == 2);
    }
    assert!(with_new > 10, "{with_new}");
}

#[test]
fn a_damaged_directory_is_not_left_as_by_a_clean_stop() {
    let (sim, offset) = damaged();
    let mark = Path::new(ROOT).join(reka_storage::format::CLEAN_SHUTDOWN);
    for start in 0..2 {
        let dir = open_dir(&sim);
        assert!(!dir.was_clean(), "start {start}");
        let (mut log, report) = open_log(&dir);
        let damage = report.damage.expect("found again");
        assert_eq!(damage.offset, offset, "start {start}");
        log.close().expect("nothing to do");
        drop(log);
        dir.close(1).expect("a stop");
        assert!(sim.open(&mark, OpenMode::Existing).is_err(), "no mark");
    }
    // Repaired, it is one again.
    let dir = open_dir(&sim);
    let (mut log, report) = open_log(&dir);
    assert!(report.damage.is_some(), "found again");
    log.truncate_to(offset, 0).expect("a repair");
    log.close().expect("a close");
    drop(log);
    dir.close(1).expect("a stop");
    let dir = open_dir(&sim);
    let (_, report) = open_log(&dir);
    assert_eq!((report.damage, dir.was_clean()), (None, false));
    drop(dir);
    let dir = open_dir(&sim);
    open_log(&dir).0.close().expect("a close");
    dir.close(1).expect("a stop");
    assert!(sim.open(&mark, OpenMode::Existing).is_ok(), "a mark");
}

//! Files that were lost, exchanged or contradicted by others: what is left must be kept,
//! and what is gone must be told of.

use std::path::{Path, PathBuf};

use reka_records::Compression;
use reka_storage::fs::Disk;
use reka_storage::fs::sim::SimDisk;
use reka_storage::recovery::RecoveryReport;
use reka_storage::{AppendError, CheckedBatches, Log, LogConfig, LogDir};

use crate::support::{
    self, ROOT, append, batch, fresh_disk, partition, produced, read_all, take_dir,
};

fn config() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        ..support::small_config()
    }
}

fn open_dir(disk: Disk, root: &Path) -> LogDir {
    take_dir(disk, root).expect("a directory of ours")
}

fn open_log(dir: &LogDir) -> (Log, RecoveryReport) {
    dir.open_log(partition(), config(), 0)
        .expect("a log that opens")
}

/// Appends one record a batch, until the log ends at `end`.
fn add_up_to(log: &mut Log, end: i64, what: &str) {
    while log.log_end() < end {
        let value = format!("{what}{:04}", log.log_end());
        append(log, batch(&[value.as_bytes()], 100, Compression::None));
    }
}

fn values(log: &Log) -> Vec<String> {
    let seen = read_all(&log.reader()).expect("readable");
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap_or_default());
    seen.into_iter()
        .map(|record| text(record.value).expect("text"))
        .collect()
}

/// How the last process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Clean,
    /// Everything synced and in the checkpoints, and then no more.
    Killed,
}

/// Forty records in `t-0` on a real disk, all of them synced.
fn forty_records(stop: Stop) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(Disk::real(), place.path());
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 40, "v");
    match stop {
        Stop::Clean => {
            log.close().expect("a close");
            drop(log);
            dir.close(1).expect("a clean stop");
        }
        Stop::Killed => {
            log.flush().expect("a flush");
            dir.checkpoint().expect("checkpoints");
        }
    }
    place
}

/// The data files of `t-0`, oldest first.
fn data_files(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("t-0")).expect("a partition");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a name").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 4, "{paths:?}");
    paths
}

#[test]
fn a_stored_start_behind_the_end_sets_the_segments_aside_and_says_so() {
    for stop in [Stop::Clean, Stop::Killed] {
        let place = forty_records(stop);
        let before: Vec<(String, Vec<u8>)> = data_files(place.path())
            .iter()
            .map(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                let content = std::fs::read(path).expect("a segment");
                (name.expect("a name").to_owned(), content)
            })
            .collect();
        let checkpoint = place.path().join("log-start-offset-checkpoint");
        std::fs::write(checkpoint, "0\n1\nt 0 1000\n").expect("written");

        let dir = open_dir(Disk::real(), place.path());
        let (log, report) = open_log(&dir);
        assert_eq!((log.log_start(), log.log_end()), (1000, 1000), "{stop:?}");
        let [warning] = report.warnings.as_slice() else {
            panic!("{stop:?}: {:?}", report.warnings)
        };
        let root = place.path().display();
        assert_eq!(
            warning.to_string(),
            format!(
                "{root}/t-0 holds records below offset 40, {root}/log-start-offset-checkpoint says \
                 that the log starts at 1000; it starts there, empty, and the {} segments were \
                 renamed to <file>.below-1000; to have the records back, stop the broker, remove \
                 the log's newer segments, correct the checkpoint and rename the files back; \
                 remove them if the start is right",
                before.len()
            )
        );
        drop((log, dir));
        // Nor does the next start take them away.
        let dir = open_dir(Disk::real(), place.path());
        let (log, report) = open_log(&dir);
        assert_eq!((log.log_start(), log.log_end()), (1000, 1000), "{stop:?}");
        assert_eq!(report.warnings, [], "{stop:?}");
        for (name, content) in &before {
            let aside = format!("{name}.below-1000");
            assert!(report.unknown_files.contains(&aside), "{report:?}");
            let kept = std::fs::read(place.path().join("t-0").join(&aside)).expect(&aside);
            assert_eq!(&kept, content, "{aside}");
        }
        drop((log, dir));

        // What the text advises.
        std::fs::write(
            place.path().join("log-start-offset-checkpoint"),
            "0\n1\nt 0 0\n",
        )
        .expect("written");
        for entry in std::fs::read_dir(place.path().join("t-0")).expect("a partition") {
            let path = entry.expect("a name").path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.expect("a name");
            if name.starts_with(&format!("{:020}.", 1000)) {
                std::fs::remove_file(&path).expect("removed");
            } else if let Some(old) = name.strip_suffix(".below-1000") {
                std::fs::rename(&path, path.with_file_name(old)).expect("renamed");
            }
        }
        let (log, _) = open_log(&open_dir(Disk::real(), place.path()));
        assert_eq!((log.log_start(), log.log_end()), (0, 40), "{stop:?}");
        assert_eq!(values(&log).len(), 40);
    }
}

#[test]
fn segments_set_aside_replace_nothing_that_was_set_aside_before() {
    let place = forty_records(Stop::Killed);
    let taken = place.path().join("t-0/00000000000000000000.log.below-1000");
    std::fs::write(&taken, "of old").expect("written");
    let checkpoint = place.path().join("log-start-offset-checkpoint");
    std::fs::write(checkpoint, "0\n1\nt 0 1000\n").expect("written");
    let first = std::fs::read(&data_files(place.path())[0]).expect("a segment");
    let (log, _) = open_log(&open_dir(Disk::real(), place.path()));
    assert_eq!(log.log_end(), 1000);
    assert_eq!(std::fs::read(&taken).expect("kept"), b"of old");
    let next = taken.with_file_name("00000000000000000000.log.below-1000.2");
    assert_eq!(std::fs::read(next).expect("set aside"), first);
}

/// A truncation leaves the indexes of the segment it ends in without entries and not yet
/// synced, and a roll closes them: what is done to them later goes to these files, whose
/// names may be gone, or another's.
fn flush_behind_an_emptied_index(rename: impl FnOnce(&LogDir, &mut Log)) -> (SimDisk, LogDir) {
    let sim = fresh_disk();
    let dir = open_dir(Disk::new(sim.clone()), Path::new(ROOT));
    let (mut log, _) = open_log(&dir);
    add_up_to(&mut log, 30, "v");
    log.flush().expect("a flush");
    log.truncate_to(1, 0).expect("a truncation");
    add_up_to(&mut log, 2, "w");
    log.roll(0).expect("a roll");
    add_up_to(&mut log, 3, "w");
    let flush = log.begin_flush().expect("something to sync");
    rename(&dir, &mut log);
    log.finish_flush(flush.run().expect("the files are open"));
    (sim, dir)
}

#[test]
fn a_flush_that_a_deletion_overtakes_touches_no_other_name() {
    let (sim, dir) = flush_behind_an_emptied_index(|dir, log| {
        dir.delete(log).expect("a deletion");
        open_log(dir);
    });
    dir.env().health.check().expect("online");
    let of_the_new = sim.contents(&Path::new(ROOT).join("t-0"));
    let names: Vec<&String> = of_the_new.keys().collect();
    assert_eq!(names, ["/00000000000000000000.log"]);
}

#[test]
fn a_flush_that_a_deletion_overtakes_keeps_the_directory_in_use() {
    let (_, dir) = flush_behind_an_emptied_index(|dir, log| {
        let name = dir.delete(log).expect("a deletion").expect("a new name");
        dir.unlink(&name).expect("unlinked");
    });
    dir.env().health.check().expect("online");
}

#[test]
fn a_flush_that_retention_overtakes_makes_no_index_anew() {
    let (sim, dir) = flush_behind_an_emptied_index(|_, log| {
        let retention_ms = 1;
        log.set_config(LogConfig {
            retention_ms,
            ..config()
        });
        let gone = log.apply_retention(log.log_end(), 1_000_000);
        assert!(!gone.expect("retention").is_empty());
        log.unlink_deleted(i64::MAX).expect("unlinked");
    });
    dir.env().health.check().expect("online");
    let files = sim.contents(&Path::new(ROOT).join("t-0"));
    let of_the_first = format!("/{:020}.", 0);
    let left: Vec<&String> = files
        .keys()
        .filter(|name| name.starts_with(&of_the_first))
        .collect();
    assert_eq!(left, Vec::<&String>::new());
}

fn remove_with_indexes(path: &Path) {
    for kind in ["log", "index", "timeindex"] {
        std::fs::remove_file(path.with_extension(kind)).expect("removed");
    }
}

/// What the next start says of `t-0`, without the directory's own path.
fn next_start(root: &Path) -> (Log, RecoveryReport, Vec<String>) {
    let (log, report) = open_log(&open_dir(Disk::real(), root));
    let root = root.display().to_string();
    let said = report.warnings.iter().map(ToString::to_string);
    let said = said.map(|said| said.replace(&root, "DIR")).collect();
    (log, report, said)
}

#[test]
fn a_first_segment_that_is_missing_is_reported_by_name() {
    for stop in [Stop::Clean, Stop::Killed] {
        let place = forty_records(stop);
        let files = data_files(place.path());
        remove_with_indexes(&files[0]);
        let (log, _, said) = next_start(place.path());
        assert_eq!((log.log_start(), log.log_end()), (9, 40), "{stop:?}");
        assert_eq!(
            said,
            [
                "DIR/t-0 begins at offset 9, DIR/log-start-offset-checkpoint says that its records \
                 begin at 0; unless retention removed those before 9 just before the broker was \
                 killed, a file was lost: restore the partition from a replica or a backup; without \
                 either the rest is served"
            ],
            "{stop:?}"
        );
    }
}

#[test]
fn segments_that_retention_removed_right_before_a_kill_are_not_missed() {
    let place = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(Disk::real(), place.path());
    let delayed = LogConfig {
        file_delete_delay_ms: 60_000,
        ..config()
    };
    let (mut log, _) = dir.open_log(partition(), delayed.clone(), 0).expect("new");
    add_up_to(&mut log, 40, "v");
    log.flush().expect("a flush");
    dir.checkpoint().expect("checkpoints");
    log.set_config(LogConfig {
        retention_bytes: 500,
        ..delayed
    });
    let gone = log.apply_retention(log.log_end(), 200).expect("retention");
    assert!(!gone.is_empty());
    let start = log.log_start();
    drop((log, dir));
    let (log, report, said) = next_start(place.path());
    assert_eq!((log.log_start(), log.log_end()), (start, 40));
    assert_eq!(said, Vec::<String>::new());
    assert_eq!((report.cut, report.damage), (None, None));
}

/// The data file and those beside it, as far as there are any.
fn remove_segment(path: &Path) {
    for extension in ["log", "index", "timeindex"] {
        let path = path.with_extension(extension);
        if path.exists() {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

/// Nothing that is there is broken. Like a broken batch, what is missing below the recovery point is
/// damage: the log can be read, and offsets that were given are not given again.
#[test]
fn an_end_that_was_lost_below_the_recovery_point_is_damage_at_every_start() {
    /// What is done to the data files, oldest first.
    type Lose = fn(&[PathBuf]);
    let losses: [(&str, Lose); 4] = [
        ("the newest segment ends earlier", |files| {
            keep_batches(&files[files.len() - 1], 1);
        }),
        ("zeros in its place", |files| {
            let last = &files[files.len() - 1];
            let len = std::fs::metadata(last).expect("a segment").len();
            keep_batches(last, 1);
            let file = std::fs::File::options().write(true).open(last);
            file.and_then(|file| file.set_len(len)).expect("zeros");
        }),
        ("the newest segments are gone", |files| {
            files[files.len() - 2..]
                .iter()
                .for_each(|path| remove_segment(path));
        }),
        ("all segments are gone", |files| {
            files.iter().for_each(|path| remove_segment(path));
        }),
    ];
    for stop in [Stop::Clean, Stop::Killed] {
        for (what, lose) in losses {
            let what = format!("{what}, {stop:?}");
            let place = forty_records(stop);
            lose(&data_files(place.path()));
            let mut offsets = Vec::new();
            for _ in 0..2 {
                let dir = open_dir(Disk::real(), place.path());
                let (mut log, report) = open_log(&dir);
                let before = log.log_end();
                assert_eq!(report.cut, None, "{what}");
                let damage = report.damage.expect(&what);
                assert_eq!(damage.found, "the end of the log", "{what}");
                assert_eq!(
                    (damage.offset, damage.recovery_point),
                    (before, 40),
                    "{what}"
                );
                assert_eq!(values(&log).len() as i64, before, "{what}");
                let mut bytes = batch(&[b"x"], 100, Compression::None);
                let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
                let refused = log.append(checked, 0, 0);
                assert!(matches!(refused, Err(AppendError::Damaged(_))), "{what}");
                offsets.push(damage.offset);
                log.close().expect("a close");
                drop(log);
                dir.close(1).expect("a stop");
            }
            assert_eq!(offsets[0], offsets[1], "{what}");
            // What the text says leads on.
            let stored = format!("0\n1\nt 0 {}\n", offsets[0]);
            std::fs::write(place.path().join(RECOVERY_POINTS), stored).expect("written");
            let (mut log, report, _) = next_start(place.path());
            assert_eq!((report.cut, report.damage), (None, None), "{what}");
            add_up_to(&mut log, 41, "w");
        }
    }
}

/// The first look at a log cuts a torn tail, and then meets a broken batch that nobody meant to look
/// at: what it did is told all the same.
#[test]
fn what_the_first_of_two_openings_did_is_told() {
    let place = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(Disk::real(), place.path());
    let (mut log, _) = open_log(&dir);
    for sequence in 0..40 {
        append(&mut log, produced(7, 0, sequence, false, &[b"value"], 100));
    }
    log.flush().expect("a flush");
    dir.checkpoint().expect("checkpoints");
    append(&mut log, produced(7, 0, 40, false, &[b"torn"], 100));
    drop((log, dir));
    let files = data_files(place.path());
    let last = files.last().expect("a segment");
    let len = std::fs::metadata(last).expect("a segment").len();
    let file = std::fs::File::options().write(true).open(last);
    file.and_then(|file| file.set_len(len - 3)).expect("torn");
    // Without snapshots the producers are restored from the first batch on.
    for entry in std::fs::read_dir(place.path().join("t-0")).expect("a partition") {
        let path = entry.expect("a name").path();
        if path.extension().is_some_and(|kind| kind == "snapshot") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    // The magic byte of a batch in a segment that was sealed long ago.
    let mut content = std::fs::read(&files[1]).expect("a segment");
    content[16] = 9;
    std::fs::write(&files[1], content).expect("a segment");
    std::fs::write(place.path().join("t-0/notes.txt"), "mine").expect("a file");

    let (_, report, _) = next_start(place.path());
    assert_eq!(
        report.damage.map(|damage| damage.offset),
        Some(base_of(&files[1]))
    );
    assert_eq!(report.cut.map(|(offset, _)| offset), Some(40));
    assert_eq!(report.unknown_files, ["notes.txt"], "each once");
}

#[test]
fn a_partition_whose_directory_is_missing_is_reported_once() {
    for stop in [Stop::Clean, Stop::Killed] {
        let place = forty_records(stop);
        std::fs::remove_dir_all(place.path().join("t-0")).expect("removed");
        let (log, _, said) = next_start(place.path());
        assert_eq!((log.log_start(), log.log_end()), (0, 0), "{stop:?}");
        assert_eq!(
            said,
            [
                "DIR/t-0 is missing, and offsets below 40 were in it; the partition begins anew, \
                 empty; unless its topic was deleted and made again, restore the directory from a \
                 replica or a backup with the broker stopped; without either they are gone"
            ],
            "{stop:?}"
        );
        drop(log);
        assert_eq!(next_start(place.path()).2, Vec::<String>::new());
    }
}

#[test]
fn files_that_changed_places_after_a_clean_stop_are_reported() {
    let place = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(Disk::real(), place.path());
    let one_segment = LogConfig {
        segment_bytes: 1 << 20,
        ..config()
    };
    let name = |index| reka_storage::TopicPartition::new("t", index);
    for (index, end) in [(0, 40), (1, 25)] {
        let opened = dir.open_log(name(index), one_segment.clone(), 0);
        let (mut log, _) = opened.expect("a new log");
        add_up_to(&mut log, end, "v");
        log.close().expect("a close");
    }
    dir.close(1).expect("a clean stop");
    let file = |index: i32| {
        let partition = place.path().join(format!("t-{index}"));
        partition.join("00000000000000000000.log")
    };
    let aside = place.path().join("aside");
    for (from, to) in [(&file(0), &aside), (&file(1), &file(0)), (&aside, &file(1))] {
        std::fs::rename(from, to).expect("renamed");
    }
    let dir = open_dir(Disk::real(), place.path());
    let (_, shorter) = dir
        .open_log(name(0), one_segment.clone(), 0)
        .expect("a log");
    let damage = shorter.damage.expect("fifteen records are gone");
    assert_eq!((damage.offset, damage.recovery_point), (25, 40));
    let (_, longer) = dir.open_log(name(1), one_segment, 0).expect("a log");
    let [warning] = longer.warnings.as_slice() else {
        panic!("{:?}", longer.warnings)
    };
    assert_eq!(
        warning.to_string(),
        format!(
            "{}/t-1 ends at offset 40, the last clean stop left it at 25; its files were changed \
             since, or are another partition's: compare it with a replica or a backup, or look into it \
             with reka dump-log",
            place.path().display()
        )
    );
}

#[test]
fn a_directory_of_somebody_else_is_not_taken_for_a_deleted_partition() {
    let sim = fresh_disk();
    let disk = Disk::new(sim.clone());
    let id = "5f0b1c2d3e4f5061728394a5b6c7d8e9";
    let foreign = [
        "-delete".to_owned(),
        format!("3.{id}-delete"),
        "orders-3-delete".to_owned(),
        format!("orders-3.{}-delete", id.to_uppercase()),
        format!("orders-3.{}-delete", &id[1..]),
        format!("orders.{id}-delete"),
        "things-to-delete".to_owned(),
    ];
    for name in &foreign {
        let path = Path::new(ROOT).join(name);
        disk.create_dir(&path).expect("created");
        disk.replace_small(&path.join("thesis.txt"), b"mine")
            .expect("written");
    }
    let dir = open_dir(disk, Path::new(ROOT));
    let long = reka_storage::TopicPartition::new("x".repeat(249), 12);
    let (log, _) = dir.open_log(long, config(), 0).expect("a new log");
    let renamed = dir.delete(&log).expect("a deletion").expect("a new name");
    assert!(
        renamed.len() <= 255 && renamed.contains("x-12."),
        "{renamed}"
    );
    let contents = dir.list().expect("a list");
    assert_eq!(contents.deleted, std::slice::from_ref(&renamed));
    assert_eq!(contents.unknown, foreign);
    for name in foreign.iter().map(String::as_str).chain(["../data"]) {
        let said = dir.unlink(name).expect_err(name).to_string();
        assert_eq!(
            said,
            format!(
                "remove directory /data/{name}: not a deleted partition: expected \
                 <topic>-<partition>.<32 hex digits>-delete, nothing was removed"
            )
        );
    }
    dir.unlink(&renamed).expect("unlinked");
    for name in &foreign {
        let kept = sim.contents(&Path::new(ROOT).join(name));
        assert_eq!(
            kept.get("/thesis.txt").map(Vec::as_slice),
            Some(&b"mine"[..])
        );
    }
}

#[test]
fn what_a_link_leads_to_is_served() {
    for stop in [Stop::Clean, Stop::Killed] {
        let place = forty_records(stop);
        let sealed = data_files(place.path()).swap_remove(2);
        let elsewhere = place.path().join("elsewhere.log");
        std::fs::rename(&sealed, &elsewhere).expect("renamed");
        std::os::unix::fs::symlink(&elsewhere, &sealed).expect("a link");
        let (partition_dir, far) = (place.path().join("t-0"), place.path().join("far"));
        std::fs::rename(&partition_dir, &far).expect("renamed");
        std::os::unix::fs::symlink(&far, &partition_dir).expect("a link");
        let dir = open_dir(Disk::real(), place.path());
        let contents = dir.list().expect("a list");
        assert_eq!(contents.partitions, [partition()], "{stop:?}");
        assert_eq!(contents.unknown, ["elsewhere.log", "far"], "{stop:?}");
        let (log, report) = open_log(&dir);
        assert_eq!((report.cut, report.damage), (None, None), "{stop:?}");
        assert_eq!(values(&log).len(), 40, "{stop:?}");
    }
}

#[test]
fn a_directory_that_is_offline_says_what_helps_against_its_failure() {
    let after = |op, code| {
        let health = reka_storage::health::DirHealth::online(Path::new(ROOT));
        health.fail(&reka_storage::fs::DiskError {
            op,
            path: "/data/t-0/x".into(),
            source: std::io::Error::from_raw_os_error(code),
        });
        health.check().expect_err("it failed").to_string()
    };
    use reka_storage::fs::Op;
    assert_eq!(
        after(Op::Open, 24),
        "log directory /data is offline since a failure (open /data/t-0/x: Too many open files \
         (os error 24)); raise the limit of open files (ulimit -n, LimitNOFILE, fs.file-max), and \
         restart the broker"
    );
    assert_eq!(
        after(Op::Rename, 2),
        "log directory /data is offline since a failure (rename /data/t-0/x: No such file or \
         directory (os error 2)); check the disk, replace it if it fails, and restart the broker"
    );
}

const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";

/// Flips a bit in the batch that begins here in a data file of `t-0`.
fn damage_batch(path: &Path, number: usize) {
    let mut content = std::fs::read(path).expect("a segment");
    let mut position = 0;
    for _ in 0..number {
        let header = reka_records::BatchHeader::parse(&content[position..]).expect("a batch");
        position += header.size();
    }
    content[position + 70] ^= 1;
    std::fs::write(path, content).expect("a segment");
}

fn bytes_of(root: &Path) -> Vec<Vec<u8>> {
    let read = |path: &PathBuf| std::fs::read(path).expect("a segment");
    data_files(root).iter().map(read).collect()
}

#[test]
fn a_fresh_directory_has_a_recovery_point_checkpoint_before_it_has_a_partition() {
    let sim = fresh_disk();
    let dir = open_dir(Disk::new(sim.clone()), Path::new(ROOT));
    let path = Path::new(ROOT).join(RECOVERY_POINTS);
    let stored = Disk::new(sim).read_small(&path, 100).expect("readable");
    assert_eq!(stored.as_deref(), Some(&b"0\n0\n"[..]));
    drop(dir);
}

/// The ways to lose a file: it is gone, or nothing is in it.
type Lose = fn(&Path) -> std::io::Result<()>;
const LOSSES: [Lose; 2] = [
    |path| std::fs::remove_file(path),
    |path| std::fs::write(path, ""),
];

#[test]
fn without_recovery_points_damage_is_reported_and_never_cut() {
    for (stop, lose) in [
        (Stop::Clean, LOSSES[0]),
        (Stop::Clean, LOSSES[1]),
        (Stop::Killed, LOSSES[0]),
        (Stop::Killed, LOSSES[1]),
    ] {
        for (segment, name) in [(0, "first"), (3, "a later one")] {
            let place = forty_records(stop);
            lose(&place.path().join(RECOVERY_POINTS)).expect("lost");
            damage_batch(&data_files(place.path())[segment], 2);
            let before = bytes_of(place.path());
            let mut offsets = Vec::new();
            // Nor does the next start, which finds a checkpoint again.
            for start in 0..3 {
                let dir = open_dir(Disk::real(), place.path());
                assert!(!dir.was_clean() || start == 0, "{stop:?} {name}");
                if start == 1 {
                    // Killed before anything was opened.
                    continue;
                }
                let (log, report) = open_log(&dir);
                assert_eq!(report.cut, None, "{stop:?} {name}");
                let damage = report.damage.expect(name);
                let text = damage.to_string();
                assert!(
                    text.contains("the checkpoint of recovery points was lost")
                        && text.contains(&format!("recovery point to {} in", damage.offset)),
                    "{text}"
                );
                offsets.push(damage.offset);
                assert_eq!(bytes_of(place.path()), before, "{stop:?} {name}");
                drop(log);
                dir.close(1).expect("a stop");
            }
            assert_eq!(offsets[0], offsets[1], "{stop:?} {name}");
        }
    }
}

#[test]
fn a_log_that_is_whole_goes_on_without_its_recovery_point_and_gets_a_new_one() {
    for stop in [Stop::Clean, Stop::Killed] {
        let place = forty_records(stop);
        std::fs::remove_file(place.path().join(RECOVERY_POINTS)).expect("removed");
        let (mut log, report, said) = next_start(place.path());
        assert_eq!(said, Vec::<String>::new(), "{stop:?}");
        assert_eq!((report.cut, report.damage), (None, None), "{stop:?}");
        assert_eq!(values(&log).len(), 40, "{stop:?}");
        // What was judged is on disk; what is appended is not.
        assert_eq!(log.recovery_point(), 40);
        let stored = std::fs::read_to_string(place.path().join(RECOVERY_POINTS));
        assert_eq!(stored.expect("a checkpoint"), "0\n1\nt 0 40\n", "{stop:?}");
        add_up_to(&mut log, 42, "w");
        let file = data_files(place.path()).pop().expect("a segment");
        drop(log);
        // A torn tail is one again.
        let len = std::fs::metadata(&file).expect("a segment").len();
        let file = std::fs::File::options().write(true).open(&file);
        file.and_then(|file| file.set_len(len - 3)).expect("torn");
        let (log, report, _) = next_start(place.path());
        assert_eq!(log.log_end(), 41, "{stop:?}");
        assert_eq!(report.damage, None, "{stop:?}");
        assert!(report.cut.is_some(), "{stop:?}");
    }
}

#[test]
fn a_partition_the_clean_stop_did_not_know_is_judged_like_one_without_a_recovery_point() {
    let place = forty_records(Stop::Clean);
    let copied = place.path().join("t-1");
    std::fs::create_dir(&copied).expect("a directory");
    for path in data_files(place.path()) {
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, copied.join(name)).expect("copied");
    }
    damage_batch(&copied.join("00000000000000000000.log"), 3);
    let dir = open_dir(Disk::real(), place.path());
    let name = reka_storage::TopicPartition::new("t", 1);
    let (_, report) = dir.open_log(name, config(), 0).expect("a log");
    assert_eq!(report.damage.map(|damage| damage.offset), Some(3));
    let (_, report) = open_log(&dir);
    assert_eq!(report.scanned_bytes, 0, "the others are known");
}

#[test]
fn without_recovery_points_what_was_compacted_is_no_damage() {
    // A last batch behind a gap, as compaction leaves it.
    let place = forty_records(Stop::Clean);
    let last = data_files(place.path()).pop().expect("a segment");
    let content = std::fs::read(&last).expect("a segment");
    let first = reka_records::BatchHeader::parse(&content).expect("a batch");
    let second = reka_records::BatchHeader::parse(&content[first.size()..]).expect("a batch");
    let kept = [
        &content[..first.size()],
        &content[first.size() + second.size()..],
    ]
    .concat();
    assert!(kept.len() > first.size(), "a batch behind the gap");
    std::fs::write(&last, kept).expect("a segment");
    std::fs::remove_file(place.path().join(RECOVERY_POINTS)).expect("removed");
    let (log, report, _) = next_start(place.path());
    assert_eq!((report.cut, report.damage), (None, None));
    assert_eq!((log.log_end(), values(&log).len()), (40, 39));
}

#[test]
fn a_middle_segment_that_is_missing_after_a_clean_stop_is_reported_by_name() {
    for missing in [vec![1], vec![1, 2], vec![2]] {
        let place = forty_records(Stop::Clean);
        let files = data_files(place.path());
        for index in &missing {
            remove_with_indexes(&files[*index]);
        }
        let (log, _, said) = next_start(place.path());
        assert_eq!((log.log_start(), log.log_end()), (0, 40));
        let name = |path: &PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy();
            name.into_owned()
        };
        let (first, last) = (missing[0], missing[missing.len() - 1]);
        let offset = |path: &PathBuf| name(path)[..20].parse::<i64>().expect("an offset");
        assert_eq!(
            said,
            [format!(
                "offsets {}..{} are missing between DIR/t-0/{} and DIR/t-0/{}, and nothing here \
                 says that the log was ever compacted; if its leader has them, a file was lost: \
                 restore the partition from a replica or a backup; without either the rest is \
                 served",
                offset(&files[first]),
                offset(&files[last + 1]),
                name(&files[first - 1]),
                name(&files[last + 1]),
            )]
        );
    }
}

/// Bytes of a file up to the end of so many batches.
fn keep_batches(path: &Path, count: usize) {
    let content = std::fs::read(path).expect("a segment");
    let sizes = reka_records::batches(&content).map(|batch| batch.expect("a batch").bytes().len());
    let kept: usize = sizes.take(count).sum();
    assert!(kept < content.len());
    std::fs::write(path, &content[..kept]).expect("written");
}

fn base_of(path: &Path) -> i64 {
    let name = path.file_name().expect("a name").to_string_lossy();
    name[..20].parse().expect("an offset")
}

#[test]
fn a_sealed_segment_that_is_emptied_after_a_clean_stop_is_reported_by_name() {
    let place = forty_records(Stop::Clean);
    let files = data_files(place.path());
    keep_batches(&files[1], 0);
    let (log, report, said) = next_start(place.path());
    assert_eq!(report.scanned_bytes, 0, "it is a clean start");
    let [said] = said.as_slice() else {
        panic!("{said:?}")
    };
    let (first, behind) = (base_of(&files[1]), base_of(&files[2]));
    assert!(
        said.starts_with(&format!("offsets {first}..{behind} are missing between")),
        "{said}"
    );
    // Once is enough.
    assert_eq!(values(&log).len() as i64, 40 - (behind - first));
    assert_eq!(log.take_gaps_met(), []);
}

#[test]
fn batches_cut_off_a_sealed_segment_are_missed_by_the_first_who_reads_over_them() {
    let place = forty_records(Stop::Clean);
    let files = data_files(place.path());
    keep_batches(&files[1], 2);
    let (log, report, said) = next_start(place.path());
    assert_eq!((report.scanned_bytes, said.len()), (0, 0));
    let reader = log.reader();
    assert!(!reader.has_met_gaps());
    let (lost, behind) = (base_of(&files[1]) + 2, base_of(&files[2]));
    assert_eq!(values(&log).len() as i64, 40 - (behind - lost));
    assert!(reader.has_met_gaps());
    let told: Vec<String> = log
        .take_gaps_met()
        .iter()
        .map(ToString::to_string)
        .collect();
    let [told] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        told.starts_with(&format!("offsets {lost}..{behind} are missing between")),
        "{told}"
    );
    values(&log);
    assert!(!reader.has_met_gaps(), "told once");
    assert_eq!(log.take_gaps_met(), []);
}

#[test]
fn gaps_that_compaction_explains_are_told_to_nobody() {
    for stop in [Stop::Clean, Stop::Killed] {
        let place = forty_records(stop);
        let files = data_files(place.path());
        keep_batches(&files[1], 2);
        let compacted = LogConfig {
            compact: true,
            ..config()
        };
        // The topic's policy says so, or did once when the cleaner came by.
        for (named, config) in [(false, compacted), (true, config())] {
            if named {
                let checkpoint = place.path().join("cleaner-offset-checkpoint");
                std::fs::write(checkpoint, "0\n1\nt 0 30\n").expect("written");
            }
            let dir = open_dir(Disk::real(), place.path());
            let (mut log, report) = dir.open_log(partition(), config, 0).expect("a log");
            assert_eq!(report.warnings, [], "{stop:?}");
            assert!(values(&log).len() < 40);
            assert_eq!(log.take_gaps_met(), [], "{stop:?}");
            if stop == Stop::Clean {
                log.close().expect("a close");
                drop(log);
                dir.close(1).expect("a clean stop");
            }
        }
    }
}

/// Apache Kafka makes its checkpoints empty and fills them later; else nobody leaves one of no bytes.
#[test]
fn a_checkpoint_of_no_bytes_is_named() {
    let said = |place: &Path| {
        let remarks = open_dir(Disk::real(), place).remarks().to_vec();
        let said = remarks.into_iter();
        said.map(|said| said.replace(&*place.to_string_lossy(), "DIR"))
            .collect::<Vec<_>>()
    };
    let empty = |name: &str, without: &str| {
        format!(
            "DIR/{name} has no bytes, and is taken for one without lines ({without}); restore it \
             unless it was never written"
        )
    };
    for (name, without) in [
        (
            "log-start-offset-checkpoint",
            "records that were deleted can be read again",
        ),
        (
            "cleaner-offset-checkpoint",
            "what was compacted is compacted again",
        ),
        (
            "replication-offset-checkpoint",
            "all that is in the logs counts as replicated",
        ),
    ] {
        let place = forty_records(Stop::Killed);
        assert_eq!(said(place.path()), [""; 0]);
        std::fs::write(place.path().join(name), "").expect("written");
        assert_eq!(said(place.path()), [empty(name, without)]);
    }
    let lost = "the recovery points of 1 partitions (t-0) are in no line of \
                DIR/recovery-point-offset-checkpoint: nobody knows how much of them was on disk, so they \
                are checked from their start and nothing is cut off them";
    let place = forty_records(Stop::Killed);
    std::fs::write(place.path().join(RECOVERY_POINTS), "").expect("written");
    let expected = empty(
        RECOVERY_POINTS,
        "the logs it covers are checked from their start",
    );
    assert_eq!(said(place.path()), [expected, lost.to_owned()]);
    let place = forty_records(Stop::Clean);
    std::fs::remove_file(place.path().join(RECOVERY_POINTS)).expect("removed");
    assert_eq!(said(place.path()), [lost]);
    // Where there are no partitions, nothing was lost.
    let place = tempfile::tempdir().expect("a place for files");
    drop(open_dir(Disk::real(), place.path()));
    for name in [RECOVERY_POINTS, "log-start-offset-checkpoint"] {
        std::fs::write(place.path().join(name), "").expect("written");
    }
    assert_eq!(said(place.path()), [""; 0]);
}

#[test]
fn a_history_of_epochs_of_no_bytes_is_named_where_there_are_batches() {
    let place = forty_records(Stop::Killed);
    std::fs::write(place.path().join("t-0/leader-epoch-checkpoint"), "").expect("written");
    let (_, _, said) = next_start(place.path());
    assert_eq!(
        said,
        [
            "DIR/t-0/leader-epoch-checkpoint has no bytes though there are batches: it is not known \
             which leader wrote what so far; restore it from a replica or a backup"
        ]
    );
    // As Apache Kafka leaves it where nothing was ever appended.
    let place = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(Disk::real(), place.path());
    drop(open_log(&dir));
    drop(dir);
    std::fs::write(place.path().join("t-0/leader-epoch-checkpoint"), "").expect("written");
    assert_eq!(next_start(place.path()).2, Vec::<String>::new());
}

//! Several directories in `log.dirs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reka_records::Compression;
use reka_storage::fs::fault::{Fault, FaultDisk, When};
use reka_storage::fs::sim::{KeepAll, LoseAll, SimDisk};
use reka_storage::fs::{Disk, Op, OpenMode};
use reka_storage::log_dir::{Identity, Opened, ToOpen};
use reka_storage::log_dirs::{LogDirs, LogDirsError};
use reka_storage::map_budget::MapBudget;
use reka_storage::{Log, LogConfig, TopicPartition};

use crate::support::{append, batch, read_all};

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

fn disk(dirs: &[&str]) -> SimDisk {
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    for dir in dirs {
        disk.create_dir(Path::new(dir)).expect("a fresh disk");
    }
    disk.sync_dir(Path::new("/")).expect("a fresh disk");
    sim
}

fn identity() -> Identity {
    Identity {
        cluster_id: "c".into(),
        node_id: 1,
        directory_id: None,
    }
}

fn try_open(disk: Disk, dirs: &[&str]) -> Result<LogDirs, LogDirsError> {
    let maps = Arc::new(MapBudget::new(100));
    LogDirs::open(&disk, &paths(dirs), &identity(), &maps)
}

fn open(sim: &SimDisk, dirs: &[&str]) -> LogDirs {
    try_open(Disk::new(sim.clone()), dirs).expect("directories of ours")
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

/// Opens partitions with these numbers, which are new or are not, in their order.
fn open_logs(dirs: &LogDirs, indexes: std::ops::Range<i32>, new: bool) -> Vec<Opened> {
    let wanted = indexes.clone().map(|index| ToOpen {
        partition: partition(index),
        topic_id: None,
        config: LogConfig::default(),
    });
    let new: BTreeSet<TopicPartition> = match new {
        true => indexes.clone().map(partition).collect(),
        false => BTreeSet::new(),
    };
    let mut opened = dirs.open_logs(wanted.collect(), &new, 2, 0);
    opened.sort_by_key(|(partition, _)| partition.partition);
    opened.into_iter().map(|(_, opened)| opened).collect()
}

fn logs(dirs: &LogDirs, indexes: std::ops::Range<i32>, new: bool) -> Vec<Log> {
    let opened = open_logs(dirs, indexes, new).into_iter();
    opened.map(|opened| opened.expect("a log").0).collect()
}

fn count_in(dirs: &LogDirs, indexes: std::ops::Range<i32>, dir: &str) -> usize {
    let is_there = |index: &i32| {
        let found = dirs.of(&partition(*index));
        found.is_some_and(|found| found.path() == Path::new(dir))
    };
    indexes.filter(is_there).count()
}

#[test]
fn new_partitions_go_where_the_fewest_are_and_are_found_there_again() {
    let sim = disk(&["/a", "/b", "/c"]);
    {
        let dirs = open(&sim, &["/a", "/b"]);
        let mut open = logs(&dirs, 0..6, true);
        assert_eq!(count_in(&dirs, 0..6, "/a"), 3);
        assert_eq!(count_in(&dirs, 0..6, "/b"), 3);
        for (index, log) in open.iter_mut().enumerate() {
            let value = format!("of {index}");
            append(log, batch(&[value.as_bytes()], 1, Compression::None));
        }
        let mut all: Vec<&mut Log> = open.iter_mut().collect();
        dirs.stop(&mut all, 1).expect("a clean stop");
    }
    // In another order, with a directory more.
    let mut dirs = open(&sim, &["/c", "/b", "/a"]);
    dirs.take_unused().expect("a new directory");
    assert!(dirs.dirs().iter().filter(|dir| dir.was_clean()).count() == 2);
    for (index, log) in logs(&dirs, 0..6, false).iter().enumerate() {
        let seen = read_all(&log.reader()).expect("readable");
        let value = seen[0].value.as_deref().expect("a value");
        assert_eq!(value, format!("of {index}").as_bytes());
    }
    let more = logs(&dirs, 6..9, true);
    assert_eq!(count_in(&dirs, 6..9, "/c"), 3);
    // What is deleted counts no more.
    for log in &more[..2] {
        dirs.delete(log, 0).expect("a deletion");
        assert_eq!(dirs.of(log.partition()).map(|dir| dir.path()), None);
    }
    logs(&dirs, 9..11, true);
    assert_eq!(count_in(&dirs, 9..11, "/c"), 2);
}

#[test]
fn a_directory_that_fails_takes_only_its_own_partitions_out_of_service() {
    let sim = disk(&["/a", "/b"]);
    let fault = FaultDisk::new(sim.clone());
    let dirs = try_open(Disk::new(fault.clone()), &["/a", "/b"]).expect("directories of ours");
    let mut open = logs(&dirs, 0..2, true);
    for log in &mut open {
        append(log, batch(&[b"x"], 1, Compression::None));
    }
    assert_eq!(dirs.out_of_use(), None);
    fault.plan(When::Every(Op::Sync), Fault::Errno(5));
    open[0].flush().expect_err("the disk fails");
    fault.heal();
    assert!(dirs.out_of_use().is_some());
    open[1].flush().expect("the other directory works");
    // New ones go to the other; one that may lie in the first begins nowhere.
    logs(&dirs, 2..4, true);
    assert_eq!(count_in(&dirs, 2..4, "/b"), 2);
    let said = open_logs(&dirs, 4..5, false).remove(0);
    let said = said.expect_err("it may be in the first").to_string();
    assert!(
        said.starts_with(
            "it is in none of the log directories in use, and may lie in one that is not"
        ) && said.contains("/a is offline since a failure"),
        "{said}"
    );
    // The stop of the other is a clean one.
    let mut all: Vec<&mut Log> = open.iter_mut().collect();
    dirs.stop(&mut all, 1).expect_err("the first is offline");
    drop((open, dirs));
    let clean = |name| open_one(&sim, name).dirs()[0].was_clean();
    assert_eq!((clean("/a"), clean("/b")), (false, true));
}

fn open_one(sim: &SimDisk, dir: &str) -> LogDirs {
    open(sim, &[dir])
}

#[test]
fn a_directory_that_cannot_be_used_at_start_is_left_out_and_named() {
    let sim = disk(&["/a", "/b"]);
    drop(logs(&open(&sim, &["/a", "/b"]), 0..2, true));
    let dirs = open(&sim, &["/missing", "/a"]);
    let [failed] = dirs.failed() else {
        panic!("{:?}", dirs.failed())
    };
    assert_eq!(failed.dir, Path::new("/missing"));
    assert_eq!(
        failed.reason,
        "log directory /missing does not exist; create it, or mount its disk, or correct log.dirs"
    );
    let opened = open_logs(&dirs, 0..2, false);
    assert!(opened[0].is_ok(), "it is in the other");
    let said = opened[1].as_ref().expect_err("it may be in that one");
    assert!(
        said.to_string().contains("/missing does not exist"),
        "{said}"
    );
    let none = try_open(Disk::new(sim.clone()), &["/missing", "/gone"]).expect_err("nothing");
    assert_eq!(
        none.to_string(),
        "none of log.dirs can be used: log directory /missing does not exist; create it, or mount \
         its disk, or correct log.dirs; log directory /gone does not exist; create it, or mount its \
         disk, or correct log.dirs"
    );
}

#[test]
fn beside_others_one_that_was_never_used_waits_until_it_is_taken() {
    let sim = disk(&["/a", "/b", "/c"]);
    // Nobody knows anything: it is a first start.
    let dirs = open(&sim, &["/a", "/b"]);
    assert_eq!(dirs.unused(), [] as [PathBuf; 0]);
    let mut all = logs(&dirs, 0..2, true);
    let mut both: Vec<&mut Log> = all.iter_mut().collect();
    dirs.stop(&mut both, 7).expect("a clean stop");
    drop((all, dirs));
    let raw = Disk::new(sim.clone());
    raw.create_dir(Path::new("/c/lost+found"))
        .expect("a directory");

    let before = sim.contents(Path::new("/"));
    let dirs = open(&sim, &["/c", "/a", "/b"]);
    assert_eq!(dirs.unused(), paths(&["/c"]));
    assert_eq!(dirs.dirs().len(), 2);
    drop(dirs);
    assert_eq!(sim.contents(Path::new("/")), before);

    let mut dirs = open(&sim, &["/c", "/a", "/b"]);
    assert!(dirs.dirs().iter().all(|dir| dir.was_clean()));
    dirs.take_unused().expect("a new directory");
    let order: Vec<&Path> = dirs.dirs().iter().map(|dir| dir.path()).collect();
    assert_eq!(order, paths(&["/c", "/a", "/b"]));
    assert_eq!(count_in(&dirs, 0..2, "/a"), 1);
    assert_eq!(count_in(&dirs, 0..2, "/b"), 1);
    logs(&dirs, 0..2, false);
    drop(logs(&dirs, 2..3, true));
    assert_eq!(count_in(&dirs, 2..3, "/c"), 1);
    // One with a partition in it is somebody's, whatever became of its meta.properties.
    let meta = Path::new("/c/meta.properties");
    raw.remove_file(meta).expect("removed");
    drop(dirs);
    assert_eq!(open(&sim, &["/c", "/a"]).unused(), [] as [PathBuf; 0]);
}

/// A start may be refused behind the first directory; what it did not open is as clean as it was.
#[test]
fn the_mark_of_a_clean_stop_goes_with_the_first_log_that_is_opened() {
    let sim = disk(&["/a", "/b"]);
    let dirs = open(&sim, &["/a", "/b"]);
    let mut all = logs(&dirs, 0..2, true);
    let mut both: Vec<&mut Log> = all.iter_mut().collect();
    dirs.stop(&mut both, 7).expect("a clean stop");
    drop((all, dirs));
    let before = sim.contents(Path::new("/"));
    let clean = |dirs: &LogDirs| -> Vec<bool> {
        let dirs = dirs.dirs().iter();
        dirs.map(|dir| dir.was_clean()).collect()
    };
    for _ in 0..2 {
        let dirs = open(&sim, &["/a", "/b"]);
        assert_eq!(clean(&dirs), [true, true]);
        drop(dirs);
        assert_eq!(sim.contents(Path::new("/")), before);
    }
    // Another process has the second one: the first is as it was.
    let theirs = open(&sim, &["/b"]);
    let refused = try_open(Disk::new(sim.clone()), &["/a", "/b"]);
    assert!(
        refused
            .expect_err("it is in use")
            .to_string()
            .contains("in use")
    );
    drop(theirs);
    let dirs = open(&sim, &["/a", "/b"]);
    assert_eq!(clean(&dirs), [true, true]);
    let in_a = (0..2).find(|index| count_in(&dirs, *index..index + 1, "/a") == 1);
    let in_a = in_a.expect("one is in it");
    drop(logs(&dirs, in_a..in_a + 1, false));
    drop(dirs);
    assert_eq!(clean(&open(&sim, &["/a", "/b"])), [false, true]);
}

#[test]
fn directories_that_do_not_belong_together_are_refused() {
    let sim = disk(&["/a", "/b", "/copy", "/other"]);
    let raw = Disk::new(sim.clone());
    drop(logs(&open(&sim, &["/a", "/b"]), 0..2, true));
    let read = |name: &str| {
        let content = raw.read_small(&Path::new(name).join("meta.properties"), 1000);
        content.expect("readable").expect("a file")
    };
    let write = |name: &str, content: &[u8]| {
        let path = Path::new(name).join("meta.properties");
        raw.replace_small(&path, content).expect("written");
    };
    let said = |dirs: &[&str]| {
        let error = try_open(raw.clone(), dirs).expect_err("a mistake");
        error.to_string()
    };
    write("/copy", &read("/a"));
    let copied = said(&["/a", "/copy"]);
    assert!(
        copied.starts_with("/a and /copy have the same directory.id ")
            && copied.ends_with("name each once, and remove meta.properties from a copy"),
        "{copied}"
    );
    assert_eq!(
        said(&["/a", "/b", "/a"]),
        "log.dirs names /a twice; name each directory once"
    );

    write("/other", b"version=1\ncluster.id=d\nnode.id=1\n");
    assert!(said(&["/a", "/other"]).contains("says cluster.id d, this broker has c"));
    let two = LogDirs::cluster_id(&raw, &paths(&["/a", "/other"])).expect_err("two clusters");
    assert_eq!(
        two.to_string(),
        "/other is of cluster d, /a of cluster c: log.dirs names directories of two brokers; name \
         those of one"
    );
    let known = LogDirs::cluster_id(&raw, &paths(&["/missing", "/b", "/a"])).expect("one cluster");
    assert_eq!(known.as_deref(), Some("c"));

    for name in ["/a", "/b"] {
        let path = Path::new(name).join("t-7");
        raw.create_dir(&path).expect("a directory");
    }
    assert_eq!(
        said(&["/a", "/b"]),
        "partition t-7 is in /a/t-7 (no segments) and in /b/t-7 (no segments); move one of the two away"
    );
    for (name, base, written_ms) in [("/a", 42, 5_000), ("/b", 17, 9_000)] {
        sim.set_time_ms(written_ms);
        let path = Path::new(name).join(format!("t-7/{base:020}.log"));
        let file = raw.open(&path, OpenMode::Create).expect("a file");
        file.write_all_at(b"some bytes", 0).expect("written");
    }
    assert_eq!(
        said(&["/a", "/b"]),
        "partition t-7 is in /a/t-7 (newest segment at offset 42, 10 bytes) and in /b/t-7 (newest \
         segment at offset 17, 10 bytes); the one in /b was written to last, 4 s after the other; \
         move one of the two away"
    );
}

/// As Apache Kafka before 3.7 left them; newer ones make ids up as well.
#[test]
fn directories_without_ids_get_some_and_keep_the_rest_of_what_they_say() {
    const OLD: &[u8] = b"#Sun Nov 22\nnode.id=1\nversion=1\nother=kept\ncluster.id=c";
    let sim = disk(&["/a", "/b"]);
    let raw = Disk::new(sim.clone());
    let read = |name: &str| {
        let content = raw.read_small(&Path::new(name).join("meta.properties"), 1000);
        String::from_utf8(content.expect("readable").expect("a file")).expect("text")
    };
    for (name, blank) in [("/a", &b""[..]), ("/b", b"\ndirectory.id=\n")] {
        let path = Path::new(name).join("meta.properties");
        let content = [OLD, blank].concat();
        raw.replace_small(&path, &content).expect("written");
    }
    let ids = |dirs: &LogDirs| -> Vec<String> {
        let ids = dirs.dirs().iter();
        ids.map(|dir| dir.identity().directory_id.clone().expect("an id"))
            .collect()
    };
    let first = ids(&open(&sim, &["/a", "/b"]));
    assert_ne!(first[0], first[1]);
    for (name, id) in ["/a", "/b"].into_iter().zip(&first) {
        let said = read(name);
        let mut lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.pop(), Some(format!("directory.id={id}").as_str()));
        let old = std::str::from_utf8(OLD).expect("text");
        assert_eq!(lines, old.lines().collect::<Vec<_>>());
        let of_dir = open(&sim, &[name]);
        assert!(of_dir.dirs()[0].identity().directory_uuid().is_some());
    }
    // The next start, after a power cut too, finds those.
    assert_eq!(ids(&open(&sim, &["/a", "/b"])), first);
    let found = sim.crash(&mut LoseAll);
    assert_eq!(ids(&open(&found, &["/a", "/b"])), first);
}

#[test]
fn a_failure_while_an_id_is_made_up_leaves_a_whole_file() {
    const OLD: &[u8] = b"version=1\ncluster.id=c\nnode.id=1\n";
    let path = Path::new("/a/meta.properties");
    for code in [5, 28] {
        let mut writes_struck = 0;
        for call in 0.. {
            let sim = disk(&["/a"]);
            let raw = Disk::new(sim.clone());
            raw.replace_small(path, OLD).expect("written");
            let fault = FaultDisk::new(sim.clone());
            fault.plan(When::Nth(call), Fault::Errno(code));
            drop(try_open(Disk::new(fault.clone()), &["/a"]));
            let content = raw.read_small(path, 1000).expect("readable");
            assert!(content.expect("a file").starts_with(OLD), "call {call}");
            let dirs = open(&sim, &["/a"]);
            let id = dirs.dirs()[0].identity().directory_uuid();
            assert!(id.is_some(), "call {call}");
            let hit = fault.hit();
            writes_struck += hit
                .iter()
                .filter(|((_, _, op), _)| *op == Op::Write)
                .count();
            if hit.is_empty() {
                break;
            }
        }
        // That of the id, and that of the checkpoint that a new directory gets.
        assert!(writes_struck >= 2, "{writes_struck}");
    }
}

/// Whichever call it is: of a checkpoint as well as of what says whose directory it is.
#[test]
fn a_disk_that_fails_at_a_start_takes_its_own_directory_out_and_no_other() {
    let sim = disk(&["/a", "/b"]);
    let dirs = open(&sim, &["/a", "/b"]);
    let mut opened = logs(&dirs, 0..2, true);
    for log in &mut opened {
        append(log, batch(&[b"x"], 1, Compression::None));
    }
    let mut opened: Vec<&mut Log> = opened.iter_mut().collect();
    dirs.stop(&mut opened, 1).expect("a clean stop");
    drop((opened, dirs));
    let mut reads_struck = 0;
    for call in 0.. {
        let fault = FaultDisk::new(sim.clone());
        fault.plan(When::Nth(call), Fault::Errno(5));
        let dirs = try_open(Disk::new(fault.clone()), &["/a", "/b"]);
        let hit = fault.hit();
        let dirs = dirs.unwrap_or_else(|error| panic!("call {call}, {hit:?}: {error}"));
        assert!(dirs.failed().len() <= 1, "call {call}");
        assert_eq!(dirs.dirs().len() + dirs.failed().len(), 2, "call {call}");
        let reads = hit.iter().filter(|((_, _, op), _)| *op == Op::Read);
        reads_struck += reads.count();
        if hit.is_empty() {
            break;
        }
    }
    // Of each directory's meta.properties and of what it has checkpoints of.
    assert!(reads_struck >= 6, "{reads_struck}");
}

#[test]
fn a_partition_that_is_set_aside_frees_its_name_and_loses_nothing() {
    let sim = disk(&["/a"]);
    let dirs = open(&sim, &["/a"]);
    let topic_id = uuid::Uuid::from_u128(7);
    let wanted = ToOpen {
        partition: partition(0),
        topic_id: Some(topic_id),
        config: LogConfig::default(),
    };
    let opened = dirs.open_logs(vec![wanted], &BTreeSet::from([partition(0)]), 1, 0);
    let (_, opened) = opened.into_iter().next().expect("one");
    let (mut log, _) = opened.expect("a log");
    append(&mut log, batch(&[b"x"], 1, Compression::None));
    dirs.stop(&mut [&mut log], 1).expect("a clean stop");
    drop((log, dirs));
    let content = |dir: &Path| {
        let mut all = sim.contents(dir);
        all.retain(|name, _| !name.ends_with("-offset-checkpoint"));
        all
    };
    let before = content(Path::new("/a/t-0"));

    let dirs = open(&sim, &["/a"]);
    assert_eq!(dirs.found(|_| true), [(partition(0), Some(topic_id))]);
    let aside = dirs.set_aside(&partition(0)).expect("a disk that works");
    let aside = aside.expect("it was there");
    assert_eq!(content(&aside), before);
    assert_eq!(dirs.found(|_| true), []);
    assert_eq!(dirs.set_aside(&partition(0)).expect("a look"), None);
    // The next one of the name begins anew, and its checkpoints with it.
    let new = logs(&dirs, 0..1, true);
    assert_eq!((new[0].log_end(), new[0].recovery_point()), (0, 0));
    assert_eq!(content(&aside), before);
    drop((new, dirs));
    let dirs = open(&sim, &["/a"]);
    assert_eq!(dirs.unknown(), [] as [PathBuf; 0]);
    assert_eq!(dirs.found(|_| true).len(), 1);
}

/// What the directory's checkpoints knew of it goes along, and comes back with it.
#[test]
fn a_partition_that_gets_its_name_back_is_as_it_was() {
    for is_clean in [true, false] {
        let sim = disk(&["/a"]);
        let raw = Disk::new(sim.clone());
        let dirs = open(&sim, &["/a"]);
        let mut log = logs(&dirs, 0..1, true).remove(0);
        for value in 0..10u8 {
            append(&mut log, batch(&[&[value]], 1, Compression::None));
        }
        log.flush().expect("a flush");
        log.advance_log_start(4).expect("records below the end");
        dirs.dirs()[0].checkpoint().expect("a disk that works");
        if is_clean {
            dirs.stop(&mut [&mut log], 1).expect("a clean stop");
        }
        drop((log, dirs));

        let dirs = open(&sim, &["/a"]);
        let aside = dirs.set_aside(&partition(0)).expect("a disk that works");
        let aside = aside.expect("it was there");
        // Another one has the name meanwhile.
        let mut other = logs(&dirs, 0..1, true).remove(0);
        append(&mut other, batch(&[b"other"], 1, Compression::None));
        dirs.delete(&other, 0).expect("a deletion");
        dirs.stop(&mut [], 1).expect("a clean stop");
        drop((other, dirs));

        // The last batch breaks: below the recovery point that is damage, not a torn tail.
        raw.rename(&aside, Path::new("/a/t-0")).expect("renamed");
        let data = raw.open(
            Path::new("/a/t-0/00000000000000000000.log"),
            OpenMode::Existing,
        );
        let data = data.expect("a segment");
        let end = data.size().expect("a size");
        let whole = end - 1;
        let mut last = [0];
        data.read_exact_at(&mut last, whole).expect("readable");
        data.write_all_at(&[!last[0]], whole).expect("written");
        let dirs = open(&sim, &["/a"]);
        let (log, report) = open_logs(&dirs, 0..1, false).remove(0).expect("a log");
        assert!(report.damage.is_some(), "{report:?}");
        assert_eq!(log.log_start(), 4);
        drop((log, dirs));
        data.write_all_at(&last, whole).expect("written");
        let dirs = open(&sim, &["/a"]);
        let (log, report) = open_logs(&dirs, 0..1, false).remove(0).expect("a log");
        assert_eq!((report.damage, report.cut), (None, None));
        assert_eq!(report.unknown_files, [""; 0]);
        assert_eq!((log.log_start(), log.log_end()), (4, 10));
        assert_eq!(log.recovery_point(), 10);
        let left = sim.contents(Path::new("/a/t-0"));
        assert!(
            left.keys()
                .all(|name| !name.ends_with("-offset-checkpoint"))
        );
    }
}

/// Lines of its successor stay behind when a person moves that one away: they are not the first one's,
/// of which no more than a recovery point is known, as in a directory that Apache Kafka wrote.
#[test]
fn a_partition_that_gets_its_name_back_inherits_nothing_of_its_successor() {
    for is_clean in [true, false] {
        let sim = disk(&["/a"]);
        let raw = Disk::new(sim.clone());
        let dirs = open(&sim, &["/a"]);
        let mut log = logs(&dirs, 0..1, true).remove(0);
        for value in 0..10u8 {
            append(&mut log, batch(&[&[value]], 1, Compression::None));
        }
        log.flush().expect("a flush");
        dirs.dirs()[0].checkpoint().expect("a disk that works");
        if is_clean {
            dirs.stop(&mut [&mut log], 1).expect("a clean stop");
        }
        drop((log, dirs));
        for name in [
            "log-start-offset-checkpoint",
            "cleaner-offset-checkpoint",
            "replication-offset-checkpoint",
        ] {
            let removed = raw.remove_file(&Path::new("/a").join(name));
            removed.expect("a disk that works");
        }

        let dirs = open(&sim, &["/a"]);
        let aside = dirs.set_aside(&partition(0)).expect("a disk that works");
        let aside = aside.expect("it was there");
        let mut other = logs(&dirs, 0..1, true).remove(0);
        for _ in 0..6 {
            append(&mut other, batch(&[b"other"], 1, Compression::None));
        }
        other.flush().expect("a flush");
        other.advance_log_start(3).expect("records below the end");
        let env = dirs.dirs()[0].env().clone();
        env.cleaner_points.set(&partition(0), 5);
        env.high_watermarks.set(&partition(0), 6);
        dirs.stop(&mut [&mut other], 1).expect("a clean stop");
        drop((other, dirs));

        let (own, elsewhere) = (Path::new("/a/t-0"), Path::new("/a/t-0.old"));
        raw.rename(own, elsewhere).expect("renamed");
        raw.rename(&aside, own).expect("renamed");
        // A crash while it is opened changes nothing of that: the files it was sent with go one by one.
        let copy = sim.snapshot();
        copy.record();
        let dirs = open(&copy, &["/a"]);
        drop(open_logs(&dirs, 0..1, false).remove(0).expect("a log"));
        drop((dirs, env));
        let mut states = copy.recorded();
        assert!(states.len() > 4, "four files are removed");
        states.push(sim.snapshot());
        for (step, state) in states.iter().enumerate() {
            let found = state.crash(&mut KeepAll);
            let dirs = open(&found, &["/a"]);
            let (log, report) = open_logs(&dirs, 0..1, false).remove(0).expect("a log");
            assert_eq!((report.damage, report.cut), (None, None), "step {step}");
            assert_eq!(report.warnings, [], "step {step}");
            assert_eq!((log.log_start(), log.log_end()), (0, 10), "step {step}");
            assert_eq!(log.recovery_point(), 10, "step {step}");
            let env = dirs.dirs()[0].env();
            let known = [&env.cleaner_points, &env.high_watermarks].map(|of| of.get(&partition(0)));
            assert_eq!(known, [None, None], "step {step}");
        }
    }
}

fn deleted_in(sim: &SimDisk, dir: &str) -> usize {
    let entries = Disk::new(sim.clone()).read_dir(Path::new(dir));
    let entries = entries.expect("a directory").into_iter();
    entries
        .filter(|entry| entry.name.ends_with("-delete"))
        .count()
}

#[test]
fn a_deleted_partition_waits_for_its_delay_and_a_crash_leaves_none() {
    let sim = disk(&["/a", "/b"]);
    let dirs = open(&sim, &["/a", "/b"]);
    let mut open_now = logs(&dirs, 0..4, true);
    for (log, delay) in open_now.iter_mut().zip([500, 0, 2_000, 2_000]) {
        log.set_config(LogConfig {
            file_delete_delay_ms: delay,
            ..LogConfig::default()
        });
        dirs.delete(log, 1_000).expect("a deletion");
    }
    let count = || deleted_in(&sim, "/a") + deleted_in(&sim, "/b");
    assert_eq!(count(), 4);
    assert_eq!(dirs.unlink_deleted(999).len(), 0);
    assert_eq!(count(), 4);
    assert_eq!(dirs.unlink_deleted(1_499).len(), 0);
    assert_eq!(count(), 3);
    assert_eq!(dirs.unlink_deleted(1_500).len(), 0);
    assert_eq!(count(), 2);
    // A name is free at once.
    logs(&dirs, 0..1, true);
    drop((open_now, dirs));
    let dirs = open(&sim, &["/a", "/b"]);
    assert_eq!(count(), 2);
    assert_eq!(dirs.unlink_deleted(0).len(), 0);
    assert_eq!(count(), 0);
    assert!(dirs.of(&partition(0)).is_some());
}

#[test]
fn what_cannot_be_unlinked_is_told_of_once_and_left_for_the_next_start() {
    let sim = disk(&["/a"]);
    let fault = FaultDisk::new(sim.clone());
    let dirs = try_open(Disk::new(fault.clone()), &["/a"]).expect("a directory of ours");
    let open_now = logs(&dirs, 0..1, true);
    dirs.delete(&open_now[0], 0).expect("a deletion");
    fault.plan(When::Every(Op::RemoveFile), Fault::Errno(5));
    let [error] = dirs.unlink_deleted(i64::MAX).try_into().expect("one error");
    assert!(error.to_string().contains("-delete/"), "{error}");
    assert_eq!(dirs.unlink_deleted(i64::MAX).len(), 0, "told of once");
    fault.heal();
    assert_eq!(deleted_in(&sim, "/a"), 1);
    drop((open_now, dirs));
    assert_eq!(open(&sim, &["/a"]).unlink_deleted(0).len(), 0);
    assert_eq!(deleted_in(&sim, "/a"), 0);
}

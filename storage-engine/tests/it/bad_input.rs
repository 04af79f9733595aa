//! What is wrong with a directory is said in one sentence, and nothing in it is changed.
//!
//! The sentence names the path, what was expected and what was found, and what to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reka_records::Compression;
use reka_storage::fs::fault::{Fault, FaultDisk, When};
use reka_storage::fs::{Disk, Op};
use reka_storage::log_dir::ToOpen;
use reka_storage::log_dirs::LogDirs;
use reka_storage::map_budget::MapBudget;
use reka_storage::{LogConfig, LogDir};

use crate::support::{append, batch, identity, partition, read_all};

const SEGMENT: &str = "t-0/00000000000000000000.log";

fn open_on(disk: Disk, dir: &Path) -> Result<LogDir, String> {
    let maps = Arc::new(MapBudget::new(100));
    LogDir::open(disk, dir, identity(), maps).map_err(|error| error.to_string())
}

fn open(dir: &Path) -> Result<LogDir, String> {
    open_on(Disk::real(), dir)
}

/// A directory on the real disk with one partition of two segments, stopped cleanly.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Directory {
        let directory = Directory(tempfile::tempdir().expect("a place for files"));
        let dir = open(directory.path()).expect("a fresh directory");
        let (mut log, _) = dir
            .open_log(partition(), LogConfig::default(), 0)
            .expect("a fresh log");
        for value in [&b"one"[..], b"two"] {
            append(&mut log, batch(&[value], 1_000, Compression::None));
            log.begin_epoch(log.log_end() as i32).expect("an epoch");
        }
        log.roll(0).expect("a roll");
        append(&mut log, batch(&[b"three"], 1_000, Compression::None));
        log.close().expect("a clean stop");
        drop(log);
        dir.close(1).expect("a clean stop");
        directory
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path().join(name), content).expect("a file");
    }

    /// Every file with its content; the mark of a clean stop goes with each start.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.path().to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(&dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    found.insert(path.clone(), Vec::new());
                    pending.push(path);
                } else if !path.ends_with(reka_storage::format::CLEAN_SHUTDOWN) {
                    let content = std::fs::read(&path).expect("a file");
                    found.insert(path, content);
                }
            }
        }
        found
    }

    /// Opening the directory and its partition says this, twice, and changes nothing.
    fn check(&self, expected: &str) {
        let before = self.contents();
        for _ in 0..2 {
            let said = open(self.path()).and_then(|dir| {
                dir.open_log(partition(), LogConfig::default(), 0)
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            });
            let path = self.path().to_string_lossy();
            let said = said.expect_err("an error").replace(&*path, "DIR");
            assert_eq!(said, expected);
            assert_eq!(self.contents(), before, "nothing was changed");
        }
    }
}

#[test]
fn a_checkpoint_that_is_garbage_is_named_with_its_line() {
    let directory = Directory::new();
    directory.write("recovery-point-offset-checkpoint", b"0\n1\nt zero 3\n");
    directory.check(
        "DIR/recovery-point-offset-checkpoint: line 3: expected a topic, a partition and an \
         offset, found \"t zero 3\"; restore the file or remove it (without it the logs it covers \
         are checked from their start)",
    );
}

#[test]
fn a_checkpoint_of_another_version_is_not_guessed_at() {
    let directory = Directory::new();
    directory.write("log-start-offset-checkpoint", b"1\n0\n");
    directory.check(
        "DIR/log-start-offset-checkpoint: line 1: expected version 0, found \"1\"; restore the \
         file or remove it (without it records that were deleted can be read again)",
    );
}

#[test]
fn a_leader_epoch_history_that_goes_back_is_named_with_its_line() {
    let directory = Directory::new();
    directory.write("t-0/leader-epoch-checkpoint", b"0\n2\n5 0\n4 1\n");
    directory.check(
        "DIR/t-0/leader-epoch-checkpoint: line 4: expected an epoch and an offset above those \
         before, found \"4 1\"; restore the file or remove it (without it it is not known which \
         leader wrote what so far)",
    );
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let directory = Directory::new();
    directory.write(
        "meta.properties",
        b"version=1\ncluster.id=other\nnode.id=1\n",
    );
    directory.check(
        "DIR/meta.properties says cluster.id other, this broker has c: the directory belongs to \
         another broker; point log.dirs at the right one, or remove the file to adopt the data",
    );
    directory.write("meta.properties", b"version=1\ncluster.id=c\nnode.id=2\n");
    directory.check(
        "DIR/meta.properties says node.id 2, this broker has 1: the directory belongs to \
         another broker; point log.dirs at the right one, or remove the file to adopt the data",
    );
}

#[test]
fn a_wrong_meta_properties_says_what_is_missing() {
    let directory = Directory::new();
    for (content, problem) in [
        (&b"cluster.id=c\nnode.id=1\n"[..], "version is missing"),
        (
            b"version=7\ncluster.id=c\nnode.id=1\n",
            "version is 7, expected 1",
        ),
        (b"version=1\nnode.id=1\n", "cluster.id is missing"),
        (
            b"version=1\ncluster.id=c\nnode.id=x\n",
            "node.id x is not a number",
        ),
        (b"\xff", "invalid utf-8 sequence of 1 bytes from index 0"),
    ] {
        directory.write("meta.properties", content);
        directory.check(&format!(
            "DIR/meta.properties: {problem}; restore the file, or remove it to adopt the data"
        ));
    }
}

/// It is no disk that fails: beside other directories it is not left out.
#[test]
fn a_meta_properties_that_is_far_too_large_is_named_as_such() {
    let directory = Directory::new();
    directory.write("meta.properties", &vec![b'#'; 70_000]);
    directory.check(
        "DIR/meta.properties: 70000 bytes, expected at most 65536; restore the file, or remove it to \
         adopt the data",
    );
    let other = Directory::new();
    let paths = [directory.path().to_owned(), other.path().to_owned()];
    let maps = Arc::new(MapBudget::new(100));
    let said = LogDirs::open(&Disk::real(), &paths, &identity(), &maps).expect_err("refused");
    assert!(said.to_string().contains("70000 bytes"), "{said}");
    let said = LogDirs::cluster_id(&Disk::real(), &paths).expect_err("refused");
    assert!(said.to_string().contains("70000 bytes"), "{said}");
}

#[test]
fn unknown_files_are_reported_and_left_alone() {
    let directory = Directory::new();
    directory.write("notes.txt", b"mine");
    directory.write("t-0/notes.txt", b"mine");
    directory.write("t-0/00000000000000000099.index", b"no data file");
    let before = directory.contents();
    let dir = open(directory.path()).expect("a directory of ours");
    assert_eq!(dir.list().expect("a listing").unknown, ["notes.txt"]);
    let (log, report) = dir
        .open_log(partition(), LogConfig::default(), 0)
        .expect("a log");
    let mut unknown = report.unknown_files;
    unknown.sort_unstable();
    assert_eq!(unknown, ["00000000000000000099.index", "notes.txt"]);
    assert_eq!(read_all(&log.reader()).expect("it reads").len(), 3);
    assert_eq!(directory.contents(), before);
}

#[test]
fn only_temporary_files_of_our_own_names_are_removed() {
    let directory = Directory::new();
    let ours = [
        "t-0/leader-epoch-checkpoint.tmp",
        "t-0/partition.metadata.tmp",
        "t-0/00000000000000000002.snapshot.tmp",
    ];
    let foreign = [
        "t-0/notes.tmp",
        "t-0/00000000000000000002.log.tmp",
        "t-0/.tmp",
        "t-0/1.snapshot.tmp",
        "notes.tmp",
    ];
    let of_the_directory = "recovery-point-offset-checkpoint.tmp";
    std::fs::create_dir(directory.path().join("t-0/partition.metadata.tmp.tmp"))
        .expect("a directory");
    for name in foreign.iter().chain([&of_the_directory]) {
        directory.write(name, b"half");
    }
    let before = directory.contents();
    for name in ours {
        directory.write(name, b"half");
    }
    let dir = open(directory.path()).expect("a directory of ours");
    assert_eq!(dir.list().expect("a listing").unknown, ["notes.tmp"]);
    let (_, report) = dir
        .open_log(partition(), LogConfig::default(), 0)
        .expect("a log");
    assert_eq!(
        report.unknown_files,
        [
            ".tmp",
            "00000000000000000002.log.tmp",
            "1.snapshot.tmp",
            "notes.tmp",
            "partition.metadata.tmp.tmp"
        ]
    );
    assert_eq!(directory.contents(), before);
}

#[test]
fn a_log_directory_that_is_missing_says_what_to_do() {
    let place = tempfile::tempdir().expect("a place for files");
    let missing = place.path().join("nowhere");
    let said = open(&missing).expect_err("there is nothing");
    assert_eq!(
        said.replace(&*place.path().to_string_lossy(), "DIR"),
        "log directory DIR/nowhere does not exist; create it, or mount its disk, or correct \
         log.dirs"
    );
    assert!(!missing.exists());
}

#[test]
fn a_directory_where_a_file_belongs_says_what_to_do() {
    for name in [
        "meta.properties",
        ".kafka_cleanshutdown",
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
        "t-0/partition.metadata",
        "t-0/leader-epoch-checkpoint",
    ] {
        let directory = Directory::new();
        let path = directory.path().join(name);
        if path.exists() {
            std::fs::remove_file(&path).expect("a file of ours");
        }
        std::fs::create_dir(&path).expect("a directory");
        let (before, mut said) = (directory.contents(), Vec::new());
        for _ in 0..2 {
            let opened = open(directory.path()).and_then(|dir| {
                let wanted = ToOpen {
                    partition: partition(),
                    topic_id: Some(uuid::Uuid::from_u128(7)),
                    config: LogConfig::default(),
                };
                let opened = dir.open_logs(vec![wanted], 1, 0).remove(0).1;
                opened.map(|_| ()).map_err(|error| error.to_string())
            });
            let text = opened.expect_err(name);
            said.push(text.replace(&*directory.path().to_string_lossy(), "DIR"));
        }
        let expected = format!(
            "open DIR/{name}: Is a directory (os error 21); a file belongs there: move the \
             directory away"
        );
        assert_eq!(said, [expected.clone(), expected]);
        assert_eq!(directory.contents(), before, "nothing was changed");
    }
}

#[test]
fn a_file_where_a_partition_belongs_says_what_to_do() {
    let directory = Directory::new();
    std::fs::rename(directory.path().join("t-0"), directory.path().join("away")).expect("renamed");
    directory.write("t-0", b"not a directory");
    directory.check(
        "list directory DIR/t-0: Not a directory (os error 20); a directory belongs there: move the \
         file away",
    );
}

#[test]
fn a_directory_of_another_id_than_expected_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path().join("meta.properties");
    let content = std::fs::read_to_string(&path).expect("a file of ours");
    let other = content.replace("directory.id=d\n", "directory.id=AAAAAAAAAAAAAAAAAAAAAA\n");
    assert_ne!(content, other);
    directory.write("meta.properties", other.as_bytes());
    directory.check(
        "DIR/meta.properties says directory.id AAAAAAAAAAAAAAAAAAAAAA, this broker has d: the \
         directory belongs to another broker; point log.dirs at the right one, or remove the file \
         to adopt the data",
    );
}

#[test]
fn a_directory_where_a_segment_belongs_is_not_opened() {
    let directory = Directory::new();
    let name = "t-0/00000000000000000007.log";
    std::fs::create_dir(directory.path().join(name)).expect("a directory");
    directory.check(
        "DIR/t-0/00000000000000000007.log is a directory where a segment file belongs; move it \
         away",
    );
}

#[test]
fn a_segment_larger_than_positions_can_name_is_not_opened() {
    let directory = Directory::new();
    let file = std::fs::File::options()
        .write(true)
        .open(directory.path().join(SEGMENT))
        .expect("a segment");
    file.set_len(1 << 31).expect("a sparse file");
    let said = open(directory.path()).and_then(|dir| {
        dir.open_log(partition(), LogConfig::default(), 0)
            .map(|_| ())
            .map_err(|error| error.to_string())
    });
    assert_eq!(
        said.expect_err("an error"),
        format!(
            "{} has 2147483648 bytes, a segment has at most 2147483647: it was not written by \
             Kafka or Reka; move it away",
            directory.path().join(SEGMENT).display()
        )
    );
    assert_eq!(file.metadata().expect("its length").len(), 1 << 31);
}

#[test]
fn a_segment_that_cannot_be_read_is_named_and_its_log_stays_closed() {
    let directory = Directory::new();
    // Found by a scan, as after a crash.
    let mark = directory.path().join(reka_storage::format::CLEAN_SHUTDOWN);
    std::fs::remove_file(mark).expect("a clean stop");
    // Read before the segments; here they are to be the first that fails.
    let epochs = directory.path().join("t-0/leader-epoch-checkpoint");
    std::fs::remove_file(epochs).expect("an epoch history");
    // Indexes are emptied where the scan is to fill them anew.
    let data = || {
        let mut files = directory.contents();
        files.retain(|path, _| path.extension().is_none_or(|kind| kind != "timeindex"));
        files
    };
    let before = data();
    let fault = FaultDisk::new(reka_storage::fs::real::RealDisk);
    let dir = open_on(Disk::new(fault.clone()), directory.path()).expect("a directory of ours");
    fault.plan(When::Every(Op::Read), Fault::Errno(5));
    let error = dir
        .open_log(partition(), LogConfig::default(), 0)
        .expect_err("a log that cannot be read");
    assert_eq!(
        error.to_string(),
        format!(
            "read {}: Input/output error (os error 5); check the disk and the kernel's log, replace \
             the disk if it fails",
            directory
                .path()
                .join("t-0/00000000000000000002.log")
                .display()
        )
    );
    assert_eq!(data(), before);
    fault.heal();
    let (log, _) = dir
        .open_log(partition(), LogConfig::default(), 0)
        .expect("a disk that works again");
    assert_eq!(read_all(&log.reader()).expect("it reads").len(), 3);
}

#[test]
fn a_damaged_header_is_reported_with_position_expected_and_found() {
    let directory = Directory::new();
    let path = directory.path().join(SEGMENT);
    let mut content = std::fs::read(&path).expect("a segment");
    // The magic byte of the first batch.
    content[16] = 9;
    std::fs::write(&path, content).expect("a segment");
    let before = directory.contents();
    let dir = open(directory.path()).expect("a directory of ours");
    let (log, _) = dir
        .open_log(partition(), LogConfig::default(), 0)
        .expect("the damage is not at the end");
    let said = read_all(&log.reader()).expect_err("damage");
    let path = path.display();
    let (start, end) = (
        format!("{path} is damaged at position 0: expected a batch header, found "),
        "; restore the partition from a replica or a backup; without either, let readers begin \
         behind it: rkctl topic trim t:0 --before OFFSET, with the offset that the next .log file in \
         the folder is named after, or the end of the log if there is none",
    );
    assert!(said.starts_with(&start) && said.ends_with(end), "{said}");
    assert_eq!(directory.contents(), before);
}

const CHILD: &str = "REKA_TEST_LOCKED_DIR";

#[test]
fn a_directory_held_by_another_process_is_not_opened() {
    // The other process is this test again.
    if let Some(dir) = std::env::var_os(CHILD) {
        let said = open(Path::new(&dir)).expect_err("it is held");
        assert!(
            said.contains("is in use by another process (lock file .lock)"),
            "{said}"
        );
        return;
    }
    let directory = Directory::new();
    let held = open(directory.path()).expect("nobody has it");
    directory.check(
        "log directory DIR is in use by another process (lock file .lock); stop it, or choose \
         another directory",
    );
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "bad_input::a_directory_held_by_another_process_is_not_opened",
        ])
        .env(CHILD, directory.path())
        .output()
        .expect("a child");
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
    drop(held);
    open(directory.path()).expect("it is free again");
}

//! The bytes of every stored format, as committed under `testdata/golden/`.
//!
//! A log directory with a little of everything is written in memory and compared file by
//! file. A difference means that the next release writes other bytes than this one:
//! Apache Kafka's formats do not change, so it is either a mistake or worth a page in
//! `docs/format`. `UPDATE=1` rewrites the files; read them before committing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use reka_records::BatchBuilder;
use reka_storage::fs::{Disk, OpenMode, sim::SimDisk};
use reka_storage::log_dir::Identity;
use reka_storage::map_budget::MapBudget;
use reka_storage::{Log, LogConfig, LogDir, TopicPartition};
use serde_json::Value;

use crate::seen;
use crate::support::{DIR, append_in, batch, marker, produced};

const PARTITION: &str = "golden-0";

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/golden")
}

fn open(disk: &SimDisk) -> (LogDir, Log) {
    let identity = Identity {
        cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
        node_id: 1,
        directory_id: Some("AAAAAAAAAAAAAAAAAAAAAQ".into()),
    };
    let maps = Arc::new(MapBudget::new(100));
    let disk = Disk::new(disk.clone());
    let dir = LogDir::open(disk, Path::new(DIR), identity, maps).expect("a directory");
    let config = LogConfig {
        segment_bytes: 600,
        index_interval_bytes: 100,
        segment_index_bytes: 4096,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    let partition = TopicPartition::parse_dir(PARTITION).expect("a partition");
    let (log, _) = dir.open_log(partition, config, 2_000).expect("a log");
    (dir, log)
}

/// A start that was raised, two epochs, an idempotent producer, a transaction aborted and
/// one left open, in three segments.
fn write() -> SimDisk {
    let disk = SimDisk::new();
    let (dir, mut log) = open(&disk);
    for time in 0..4 {
        let values = [b"first".as_slice(), b"second"];
        append_in(&mut log, batch(&values, 1_000 + time, plain()), 0);
    }
    append_in(
        &mut log,
        produced(7, 2, 0, false, &[b"idempotent"], 1_010),
        0,
    );
    append_in(&mut log, produced(8, 0, 0, true, &[b"aborted"], 1_020), 0);
    append_in(&mut log, marker(8, 0, false, 1_030), 3);
    append_in(&mut log, produced(8, 0, 1, true, &[b"open"], 1_040), 3);
    append_in(&mut log, batch(&[b"older"], 1_005, plain()), 3);
    let mut headers = BatchBuilder::new(0).log_append_time(1_050);
    headers
        .append(
            0,
            0,
            None,
            None,
            [(&b"h"[..], Some(&b"v"[..])), (b"", None)],
        )
        .expect("a record that fits");
    append_in(&mut log, headers.finish(), 3);
    log.advance_log_start(1).expect("a start inside the log");
    log.close().expect("a clean stop");
    dir.close(9).expect("a clean stop");
    disk
}

/// Compressors may change their output between versions; batches here have none.
fn plain() -> reka_records::Compression {
    reka_records::Compression::None
}

/// Files by path; the lock is no format.
fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = disk.contents(Path::new(DIR));
    files.remove("/.lock");
    files
}

/// What is committed, after `UPDATE=1` rewrote it once for all tests.
static COMMITTED: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    if std::env::var_os("UPDATE").is_some() {
        update(&files(&write()));
    }
    let mut files = BTreeMap::new();
    for folder in ["", PARTITION] {
        for entry in fs::read_dir(dir().join(folder)).expect("committed files") {
            let path = entry.expect("committed files").path();
            if path.is_file() {
                let name = path.strip_prefix(dir()).expect("a path inside");
                let content = fs::read(&path).expect("a committed file");
                files.insert(format!("/{}", name.display()), content);
            }
        }
    }
    files
});

fn update(files: &BTreeMap<String, Vec<u8>>) {
    fs::remove_dir_all(dir()).ok();
    fs::create_dir_all(dir().join(PARTITION)).expect("a folder");
    for (path, content) in files {
        fs::write(dir().join(path.trim_start_matches('/')), content).expect("a file");
    }
}

#[test]
fn every_file_is_written_as_committed_byte_for_byte() {
    let written = files(&write());
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        COMMITTED.keys().collect::<Vec<_>>()
    );
    for (path, content) in &written {
        assert_eq!(content, &COMMITTED[path], "{path}");
    }
}

#[test]
fn committed_files_open_without_a_scan_and_hold_what_was_written() {
    let from_files = SimDisk::new();
    let disk = Disk::new(from_files.clone());
    let root = Path::new(DIR);
    disk.create_dir(&root.join(PARTITION)).expect("a folder");
    for (path, content) in COMMITTED.iter() {
        let file = disk.open(Path::new(path), OpenMode::Truncate);
        let written = file.expect("a file").write_all_at(content, 0);
        written.expect("a written file");
    }
    let seen = |disk: &SimDisk| -> (Vec<Value>, i64, Vec<i64>) {
        let (dir, log) = open(disk);
        assert!(dir.was_clean());
        let reader = log.reader();
        let mut producers: Vec<_> = log.producers().iter().map(|(id, _)| id).collect();
        producers.sort_unstable();
        let records = seen::records(&reader, 100).expect("a log that can be read");
        (records, seen::last_stable(&reader), producers)
    };
    let found = seen(&from_files);
    assert_eq!(found.0.len(), 12);
    assert_eq!((found.1, found.2.as_slice()), (11, [7, 8].as_slice()));
    assert_eq!(found, seen(&write()));
}

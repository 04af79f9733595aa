//! Files that are not what was written: each error names file, place, and what is wrong.

use std::path::{Path, PathBuf};

use reka_raft::{MetadataQuorum, StartError};
use reka_storage::fs::sim::SimDisk;
use reka_storage::fs::{Disk, OpenMode};

use crate::support::{create_topic, single};

const DIR: &str = "/metadata";

/// A quorum's files after some topics and a snapshot, shut down.
async fn files() -> Disk {
    let disk = Disk::new(SimDisk::new());
    let mut options = single(&disk, Path::new(DIR));
    options.segment_bytes_max = 500;
    options.snapshot_every = 20;
    let quorum = MetadataQuorum::start(options).await.unwrap();
    for number in 0..30 {
        quorum.propose(create_topic(number)).await.unwrap();
    }
    while quorum.status().snapshot_index.is_none() {
        tokio::task::yield_now().await;
    }
    quorum.shutdown().await;
    disk
}

fn flip(disk: &Disk, path: &Path, position: u64) {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

async fn error_after(damage: impl FnOnce(&Disk)) -> String {
    let disk = files().await;
    damage(&disk);
    match MetadataQuorum::start(single(&disk, Path::new(DIR))).await {
        Err(error @ StartError::Store(_)) => error.to_string(),
        other => panic!("expected damage, got {other:?}"),
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

#[tokio::test]
async fn damage_names_file_position_expected_and_found() {
    for (name, position, expected) in [
        ("vote", 12, "/metadata/vote at byte 27: checksum"),
        ("committed", 12, "/metadata/committed at byte 27: checksum"),
        ("identity", 20, "/metadata/identity at byte 38: checksum"),
        ("snapshot", 100, "/metadata/snapshot at byte "),
        (
            "00000000000000000000.log",
            3,
            "/metadata/00000000000000000000.log at byte 0: magic",
        ),
        (
            "00000000000000000000.log",
            40,
            "/metadata/00000000000000000000.log at byte 24: checksum",
        ),
    ] {
        let error = error_after(|disk| flip(disk, &path(name), position)).await;
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains(", expected "), "{error}");
    }
}

/// The last entry was acknowledged, and the committed marker says so: it must not be
/// taken for a torn tail.
#[tokio::test]
async fn a_damaged_last_entry_that_was_committed_is_not_cut() {
    let last_log = |disk: &Disk| {
        let entries = disk.read_dir(Path::new(DIR)).unwrap();
        let logs = entries
            .into_iter()
            .filter(|entry| entry.name.ends_with(".log"));
        logs.max().unwrap()
    };
    let error = error_after(|disk| {
        let last = last_log(disk);
        flip(disk, &path(&last.name), last.len - 2);
    })
    .await;
    assert!(error.contains("checksum"), "{error}");

    // Without the marker the last one could be torn, but not one in the middle: the
    // entry behind it was made when it was durable.
    let error = error_after(|disk| {
        disk.remove_file(&path("committed")).unwrap();
        let last = last_log(disk);
        assert!(last.len > 200, "more than one entry");
        flip(disk, &path(&last.name), 24 + 40);
    })
    .await;
    assert!(error.contains("checksum"), "{error}");
}

#[tokio::test]
async fn a_missing_segment_is_a_hole() {
    let error = error_after(|disk| {
        let entries = disk.read_dir(Path::new(DIR)).unwrap();
        let logs: Vec<_> = entries
            .iter()
            .filter(|entry| entry.name.ends_with(".log"))
            .collect();
        assert!(logs.len() > 3);
        disk.remove_file(&path(&logs[1].name)).unwrap();
    })
    .await;
    assert!(error.contains("are missing"), "{error}");
}

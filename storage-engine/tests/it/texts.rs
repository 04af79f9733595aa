//! What errors say. Each text names the thing, what was expected and found, and what to do
//! where a person can do something; it is read by someone who was asleep a minute ago.

use std::io;
use std::path::{Path, PathBuf};

use reka_storage::fs::{DiskError, Op};
use reka_storage::health::DirHealth;
use reka_storage::producer_state::ProducerError;
use reka_storage::recovery::Damage;
use reka_storage::{AppendError, Corruption, LogError, OpenError, ReadError};

const LOG: &str = "/data/orders-3/00000000000000000042.log";

fn disk(op: Op, code: i32) -> DiskError {
    DiskError {
        op,
        path: LOG.into(),
        source: io::Error::from_raw_os_error(code),
    }
}

fn corruption() -> Corruption {
    Corruption {
        path: LOG.into(),
        position: 4_711,
        expected: "a batch".into(),
        found: "zeros up to position 5000".into(),
    }
}

fn damage() -> Damage {
    Damage {
        path: LOG.into(),
        position: 4_711,
        offset: 57,
        recovery_point: 90,
        found: "a checksum that does not match".into(),
    }
}

fn check(texts: &[(String, &str)]) {
    for (said, expected) in texts {
        assert_eq!(said, expected);
        assert!(!said.ends_with('.') && !said.contains('\n'), "{said}");
    }
}

/// Error numbers of Linux.
#[test]
fn a_failed_disk_operation_says_what_to_do() {
    let say = |op, code| disk(op, code).to_string();
    check(&[
        (
            say(Op::Write, 28),
            "write /data/orders-3/00000000000000000042.log: No space left on device (os error 28); \
             free space or lower retention",
        ),
        (
            say(Op::Reserve, 122),
            "reserve space in /data/orders-3/00000000000000000042.log: Disk quota exceeded \
             (os error 122); free space or raise the quota",
        ),
        (
            say(Op::Write, 27),
            "write /data/orders-3/00000000000000000042.log: File too large (os error 27); \
             raise the limit of file sizes (ulimit -f)",
        ),
        (
            say(Op::Sync, 28),
            "sync /data/orders-3/00000000000000000042.log: No space left on device (os error 28); \
             what was written may be lost: the directory is out of use; check the disk, replace \
             it if it fails, and restart",
        ),
        (
            say(Op::Read, 5),
            "read /data/orders-3/00000000000000000042.log: Input/output error (os error 5); \
             check the disk and the kernel's log, replace the disk if it fails",
        ),
        (
            say(Op::Open, 13),
            "open /data/orders-3/00000000000000000042.log: Permission denied (os error 13); \
             check owner and mode, and the user the process runs as",
        ),
        (
            say(Op::Open, 30),
            "open /data/orders-3/00000000000000000042.log: Read-only file system (os error 30); \
             mount it for writing; a kernel does this to a disk that fails",
        ),
        (
            say(Op::Open, 24),
            "open /data/orders-3/00000000000000000042.log: Too many open files (os error 24); \
             raise the limit of open files (ulimit -n, LimitNOFILE, fs.file-max)",
        ),
        (
            say(Op::Map, 12),
            "map /data/orders-3/00000000000000000042.log: Cannot allocate memory (os error 12); \
             raise vm.max_map_count or add memory",
        ),
        (
            DiskError {
                source: io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends after 7"),
                ..disk(Op::Read, 5)
            }
            .to_string(),
            "read /data/orders-3/00000000000000000042.log: the file ends after 7; another program \
             shortened it, or the file system lost its end: restore it from a replica or a backup",
        ),
        (
            DiskError {
                source: io::Error::new(io::ErrorKind::InvalidData, "9 bytes, more than the 7"),
                ..disk(Op::Read, 5)
            }
            .to_string(),
            "read /data/orders-3/00000000000000000042.log: 9 bytes, more than the 7; that is no file \
             of ours: restore it from a backup, or move it away",
        ),
        // Nothing is known to help.
        (
            say(Op::Rename, 2),
            "rename /data/orders-3/00000000000000000042.log: No such file or directory \
             (os error 2)",
        ),
    ]);
}

#[test]
fn a_directory_that_is_offline_says_since_what() {
    let health = DirHealth::online(Path::new("/data"));
    health.fail(&disk(Op::Sync, 5));
    health.fail(&disk(Op::Write, 28));
    let offline = health.check().expect_err("it failed");
    let expected = "log directory /data is offline since a failure (sync \
                    /data/orders-3/00000000000000000042.log: Input/output error (os error 5)); \
                    check the disk, replace it if it fails, and restart the broker";
    check(&[
        (AppendError::from(offline.clone()).to_string(), expected),
        (ReadError::from(offline.clone()).to_string(), expected),
        (LogError::from(offline.clone()).to_string(), expected),
        (OpenError::from(offline).to_string(), expected),
    ]);
}

#[test]
fn what_is_damaged_says_where_and_where_to_get_it_from() {
    let expected = "/data/orders-3/00000000000000000042.log is damaged at position 4711: expected \
                    a batch, found zeros up to position 5000; restore the partition from a \
                    replica or a backup; without either, let readers begin behind it: rkctl topic \
                    trim orders:3 --before OFFSET, with the offset that the next .log file in the \
                    folder is named after, or the end of the log if there is none";
    check(&[
        (AppendError::from(corruption()).to_string(), expected),
        (ReadError::from(corruption()).to_string(), expected),
        (LogError::from(corruption()).to_string(), expected),
        (OpenError::from(corruption()).to_string(), expected),
        (
            AppendError::Damaged(damage()).to_string(),
            "the log takes no appends: /data/orders-3/00000000000000000042.log is damaged at \
             position 4711: offset 57 was on disk (recovery point 90), found a checksum that does \
             not match; nothing was cut; restore the partition from a replica or a backup; without \
             either, to go on without offset 57 and all that follows, stop the broker and set the \
             partition's recovery point to 57 in /data/recovery-point-offset-checkpoint",
        ),
        (
            OpenError::from(Corruption {
                path: "/data/orders-3/00000000000000000042.log.swap".into(),
                ..corruption()
            })
            .to_string(),
            "/data/orders-3/00000000000000000042.log.swap is damaged at position 4711: expected a \
             batch, found zeros up to position 5000; restore the partition from a replica or a \
             backup; without either, stop the broker and move that file away: what was in it is gone \
             then, and the rest is served",
        ),
    ]);
}

#[test]
fn a_refused_append_says_why() {
    let say = |error: AppendError| error.to_string();
    check(&[
        (
            say(AppendError::Empty),
            "an append of no bytes: it takes at least one batch",
        ),
        (
            say(AppendError::LargerThanSegment {
                size: 2_000,
                limit: 1_000,
            }),
            "append of 2000 bytes is larger than a segment may be (1000): raise segment.bytes",
        ),
        (
            say(AppendError::OffsetSpan {
                first: 5,
                last: 1 << 40,
            }),
            "offsets 5..=1099511627776 do not fit one segment of at most 2^31 offsets; append \
             fewer batches at a time",
        ),
        (
            say(AppendError::NotAlone {
                index: 1,
                batches: 3,
                producer_id: 7,
            }),
            "batch 1 of 3 is of producer 7: a batch of an idempotent producer is appended alone; \
             send one batch per partition and request",
        ),
        (
            say(AppendError::OutOfOrder {
                log_end: 90,
                found: 80,
            }),
            "a batch from the leader begins at offset 80, the log ends at 90 and takes none below; \
             truncate to where the two logs part and fetch again",
        ),
        (
            say(AppendError::OlderEpoch {
                offset: 90,
                found: 3,
                latest: 5,
            }),
            "batch of leader epoch 3 at offset 90, the log has leader epoch 5 already; who sent it \
             leads no more: truncate to where the two logs part and fetch from the leader of the \
             newest epoch",
        ),
        (
            say(AppendError::DirectoryFull {
                dir: PathBuf::from("/data"),
                needed: 16_384,
                free: 512,
            }),
            "log directory /data is full: 16384 bytes needed, 512 free; free space or lower \
             retention, appends resume by themselves",
        ),
        (
            say(ProducerError::Fenced {
                producer_id: 7,
                current: 3,
                found: 2,
            }
            .into()),
            "producer 7: epoch 2 is older than 3, a newer instance took over",
        ),
    ]);
}

#[test]
fn what_cannot_be_read_or_opened_says_what_there_is() {
    let range = "offset 7 is out of range, the log holds 10..20";
    let (offset, start, end) = (7, 10, 20);
    check(&[
        (
            ReadError::OutOfRange { offset, start, end }.to_string(),
            range,
        ),
        (
            LogError::OutOfRange { offset, start, end }.to_string(),
            range,
        ),
        (
            OpenError::SegmentTooLarge {
                path: LOG.into(),
                bytes: 3_000_000_000,
                limit: 2_147_483_647,
            }
            .to_string(),
            "/data/orders-3/00000000000000000042.log has 3000000000 bytes, a segment has at most \
             2147483647: it was not written by Kafka or Reka; move it away",
        ),
        (
            OpenError::NotAFile { path: LOG.into() }.to_string(),
            "/data/orders-3/00000000000000000042.log is a directory where a segment file belongs; \
             move it away",
        ),
    ]);
}

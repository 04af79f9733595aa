//! The small text files of a log directory, in Apache Kafka's format.
//!
//! ```text
//! 0                      version
//! 2                      number of lines that follow
//! orders 0 42            topic, partition, offset (offset checkpoints)
//! orders 1 17
//! ```
//!
//! `leader-epoch-checkpoint` has the same head and lines of `epoch start-offset`.
//! Replaced as a whole through [`Disk::replace_small`], so a power cut leaves the
//! old or the new one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::format::{
    CLEANER_CHECKPOINT, LEADER_EPOCH_CHECKPOINT, LOG_START_CHECKPOINT, REPLICATION_CHECKPOINT,
    TopicPartition,
};
use crate::fs::{Disk, DiskError};

/// The only version of these files.
const VERSION: &str = "0";
/// A checkpoint of 200,000 partitions with long topic names stays below this.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not what it should be.
    #[error(
        "{}: line {line}: expected {expected}, found {found:?}; restore the file or remove it \
         (without it {})",
        .path.display(), without(.path)
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

/// What removing a file costs.
pub(crate) fn without(path: &Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(LOG_START_CHECKPOINT) => "records that were deleted can be read again",
        Some(LEADER_EPOCH_CHECKPOINT) => "it is not known which leader wrote what so far",
        Some(CLEANER_CHECKPOINT) => "what was compacted is compacted again",
        Some(REPLICATION_CHECKPOINT) => "all that is in the logs counts as replicated",
        _ => "the logs it covers are checked from their start",
    }
}

/// Offsets of partitions.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// Reads an offset checkpoint; a missing file is an empty one.
pub fn read_offsets(disk: &Disk, path: &Path) -> Result<Offsets, CheckpointError> {
    let mut offsets = Offsets::new();
    read_lines(disk, path, "a topic, a partition and an offset", |line| {
        let mut words = line.split_ascii_whitespace();
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        let (partition, offset): (i32, i64) = (partition.parse().ok()?, offset.parse().ok()?);
        if words.next().is_some() || partition < 0 || offset < 0 {
            return None;
        }
        offsets.insert(TopicPartition::new(topic, partition), offset);
        Some(())
    })?;
    Ok(offsets)
}

/// Replaces an offset checkpoint.
pub fn write_offsets(disk: &Disk, path: &Path, offsets: &Offsets) -> Result<(), DiskError> {
    let mut text = head(offsets.len());
    for (of, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", of.topic, of.partition);
    }
    disk.replace_small(path, text.as_bytes())
}

/// Reads `epoch start-offset` lines; a missing file is an empty one.
pub(crate) fn read_epochs(disk: &Disk, path: &Path) -> Result<Vec<(i32, i64)>, CheckpointError> {
    let mut epochs = Vec::new();
    read_lines(disk, path, "an epoch and its start offset", |line| {
        let (epoch, offset) = line.split_once(' ')?;
        epochs.push((epoch.parse().ok()?, offset.parse().ok()?));
        Some(())
    })?;
    Ok(epochs)
}

/// Replaces a file of `epoch start-offset` lines.
pub(crate) fn write_epochs(
    disk: &Disk,
    path: &Path,
    epochs: &[(i32, i64)],
) -> Result<(), DiskError> {
    let mut text = head(epochs.len());
    for (epoch, offset) in epochs {
        let _ = writeln!(text, "{epoch} {offset}");
    }
    disk.replace_small(path, text.as_bytes())
}

fn head(lines: usize) -> String {
    format!("{VERSION}\n{lines}\n")
}

fn read_lines(
    disk: &Disk,
    path: &Path,
    expected: &'static str,
    mut line: impl FnMut(&str) -> Option<()>,
) -> Result<(), CheckpointError> {
    let Some(content) = disk.read_small(path, FILE_BYTES_MAX)? else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&content);
    let malformed = |number: usize, expected, found: Option<&str>| CheckpointError::Malformed {
        path: path.to_owned(),
        line: number,
        expected,
        found: found.unwrap_or("end of file").chars().take(80).collect(),
    };
    let mut lines = text.lines();
    match lines.next() {
        Some(VERSION) => {}
        // So Apache Kafka leaves one that it never wrote; who opens the directory tells of it.
        None => return Ok(()),
        other => return Err(malformed(1, "version 0", other)),
    }
    let count = lines.next();
    let Some(count) = count.and_then(|count| count.parse::<usize>().ok()) else {
        return Err(malformed(2, "the number of lines that follow", count));
    };
    for index in 0..count {
        let text = lines.next();
        if text.and_then(&mut line).is_none() {
            return Err(malformed(index + 3, expected, text));
        }
    }
    match lines.find(|rest| !rest.trim().is_empty()) {
        None => Ok(()),
        rest => Err(malformed(count + 3, "the end of the file", rest)),
    }
}

//! What can go wrong, grouped by what was being done.

use std::path::{Path, PathBuf};

use reka_records::BatchError;

use crate::checkpoint::CheckpointError;
use crate::format::{FileName, FileStage, TopicPartition};
use crate::fs::DiskError;
use crate::health::DirOffline;
use crate::partition_metadata::PartitionMetadataError;
use crate::producer_state::ProducerError;
use crate::recovery::Damage;

/// Bytes in a data file that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged at position {position}: expected {expected}, found {found}; restore the partition \
     from a replica or a backup; without either, {}",
    .path.display(), way_on(.path)
)]
pub struct Corruption {
    /// Which file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What can be done without what is damaged.
fn way_on(file: &Path) -> String {
    let name = file.file_name().and_then(|name| name.to_str());
    match name.and_then(FileName::parse).map(|name| name.stage) {
        // Its log is not opened as long as it is there, and what it replaced is gone.
        Some(FileStage::Swap) => "stop the broker and move that file away: what was in it is gone \
                                  then, and the rest is served"
            .to_owned(),
        _ => format!(
            "let readers begin behind it: rkctl topic trim {} --before OFFSET, with the offset that \
             the next .log file in the folder is named after, or the end of the log if there is none",
            partition_of(file)
        ),
    }
}

/// As `rkctl` wants it named.
fn partition_of(file: &Path) -> String {
    let dir = file.parent().and_then(Path::file_name);
    let name = dir.unwrap_or_default().to_string_lossy();
    match TopicPartition::parse_dir(&name) {
        Some(TopicPartition { topic, partition }) => format!("{topic}:{partition}"),
        None => "TOPIC:PARTITION".to_owned(),
    }
}

/// The partition was deleted; its name may be another's by now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition} was deleted and takes nothing any more")]
pub struct PartitionDeleted {
    /// Which.
    pub partition: TopicPartition,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bytes are not whole batches.
    #[error("batch {index} at byte {position} of the append: {source}")]
    Batch {
        /// Counted from 0.
        index: usize,
        /// Where it starts.
        position: usize,
        /// What is wrong with it.
        source: BatchError,
    },
    /// There is nothing to append.
    #[error("an append of no bytes: it takes at least one batch")]
    Empty,
    /// More bytes than a segment may hold; Kafka's RECORD_LIST_TOO_LARGE.
    #[error(
        "append of {size} bytes is larger than a segment may be ({limit}): raise segment.bytes"
    )]
    LargerThanSegment {
        /// Bytes of the append.
        size: u64,
        /// `segment.bytes`.
        limit: u64,
    },
    /// A batch spans more offsets than a segment can name.
    #[error(
        "offsets {first}..={last} do not fit one segment of at most 2^31 offsets; append fewer \
         batches at a time"
    )]
    OffsetSpan {
        /// First offset of the append.
        first: i64,
        /// Last offset of the append.
        last: i64,
    },
    /// A batch of an idempotent producer among others: of these some could be retries and
    /// some new, and there is one answer for all. Kafka's INVALID_RECORD.
    #[error(
        "batch {index} of {batches} is of producer {producer_id}: a batch of an idempotent \
         producer is appended alone; send one batch per partition and request"
    )]
    NotAlone {
        /// Counted from 0.
        index: usize,
        /// Batches of the append.
        batches: usize,
        /// Whose batch it is.
        producer_id: i64,
    },
    /// A replicated batch does not continue the log.
    #[error(
        "a batch from the leader begins at offset {found}, the log ends at {log_end} and takes \
         none below; truncate to where the two logs part and fetch again"
    )]
    OutOfOrder {
        /// End of the log.
        log_end: i64,
        /// Base offset of the batch.
        found: i64,
    },
    /// The log has batches of a newer leader: epochs never go back within a log.
    #[error(
        "batch of leader epoch {found} at offset {offset}, the log has leader epoch {latest} already; \
         who sent it leads no more: truncate to where the two logs part and fetch from the leader of \
         the newest epoch"
    )]
    OlderEpoch {
        /// Where the batch would be.
        offset: i64,
        /// Its epoch.
        found: i32,
        /// The newest epoch in the log.
        latest: i32,
    },
    /// The producer may not append this.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The disk is full. The next append tries again.
    #[error(
        "log directory {} is full: {needed} bytes needed, {free} free; free space or lower \
         retention, appends resume by themselves",
        .dir.display()
    )]
    DirectoryFull {
        /// Which directory.
        dir: PathBuf,
        /// Bytes that were asked for.
        needed: u64,
        /// Bytes free on its file system.
        free: u64,
    },
    /// The directory is out of use.
    #[error(transparent)]
    Offline(#[from] DirOffline),
    /// The partition was deleted.
    #[error(transparent)]
    Deleted(#[from] PartitionDeleted),
    /// The log is damaged below its recovery point and waits for repair.
    #[error("the log takes no appends: {0}")]
    Damaged(Damage),
    /// The segment that was to be completed is damaged.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// A disk operation failed; the directory is offline from now on.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log.
    #[error("offset {offset} is out of range, the log holds {start}..{end}")]
    OutOfRange {
        /// Asked for.
        offset: i64,
        /// First offset there is.
        start: i64,
        /// The offset after the last one.
        end: i64,
    },
    /// The data file is damaged there.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The directory is out of use.
    #[error(transparent)]
    Offline(#[from] DirOffline),
    /// A disk operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a log could not be changed in another way: truncated, rolled, flushed, expired.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The offset is not one this can be done at.
    #[error("offset {offset} is out of range, the log holds {start}..{end}")]
    OutOfRange {
        /// Asked for.
        offset: i64,
        /// First offset there is.
        start: i64,
        /// The offset after the last one.
        end: i64,
    },
    /// A data file is damaged.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The partition was deleted.
    #[error(transparent)]
    Deleted(#[from] PartitionDeleted),
    /// The directory is out of use.
    #[error(transparent)]
    Offline(#[from] DirOffline),
    /// A disk operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Whoever asked for a compaction does not want it any more.
    #[error("the compaction was given up")]
    GivenUp,
}

impl From<ReadError> for LogError {
    fn from(error: ReadError) -> LogError {
        match error {
            ReadError::OutOfRange { offset, start, end } => {
                LogError::OutOfRange { offset, start, end }
            }
            ReadError::Corrupt(corruption) => corruption.into(),
            ReadError::Offline(offline) => offline.into(),
            ReadError::Disk(disk) => disk.into(),
        }
    }
}

/// Why a partition directory could not be opened. Nothing in it was changed to
/// make the error go away.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A data file is larger than positions can name.
    #[error("{} has {bytes} bytes, a segment has at most {limit}: it was not written by Kafka or Reka; move it away", .path.display())]
    SegmentTooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// What a segment may have.
        limit: u64,
    },
    /// Something that should be a file is a directory.
    #[error("{} is a directory where a segment file belongs; move it away", .path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It is nowhere, but not everywhere could be looked.
    #[error(
        "it is in none of the log directories in use, and may lie in one that is not ({reason}); it \
         is served when that is back, or removed from log.dirs"
    )]
    MayBeElsewhere {
        /// Why a directory is out of use.
        reason: String,
    },
    /// A checkpoint of the partition is malformed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The directory's topic id is malformed, or another topic's.
    #[error(transparent)]
    PartitionMetadata(#[from] PartitionMetadataError),
    /// A data file is damaged where its end must be found.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The directory is out of use.
    #[error(transparent)]
    Offline(#[from] DirOffline),
    /// A disk operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> OpenError {
        match error {
            ReadError::OutOfRange { .. } => unreachable!("opening reads only offsets it has found"),
            ReadError::Corrupt(corruption) => corruption.into(),
            ReadError::Offline(offline) => offline.into(),
            ReadError::Disk(disk) => disk.into(),
        }
    }
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> OpenError {
        match error {
            LogError::OutOfRange { .. } => {
                unreachable!("opening changes the log only inside its range")
            }
            LogError::Deleted(_) => unreachable!("a log is deleted after it was opened"),
            LogError::GivenUp => unreachable!("opening compacts nothing"),
            LogError::Corrupt(corruption) => corruption.into(),
            LogError::Offline(offline) => offline.into(),
            LogError::Disk(disk) => disk.into(),
        }
    }
}

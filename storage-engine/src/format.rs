//! Names and sizes of everything the engine stores, all of them Apache Kafka's.
//!
//! One directory per partition, `<topic>-<partition>/`, holds one group of files
//! per segment, named by the segment's base offset in twenty digits:
//!
//! | suffix       | holds                                              | read by            |
//! |--------------|----------------------------------------------------|--------------------|
//! | `.log`       | record batches, back to back                       | `segment`          |
//! | `.index`     | offset to position, 8 bytes an entry               | `offset_index`     |
//! | `.timeindex` | timestamp to offset, 12 bytes an entry             | `time_index`       |
//! | `.txnindex`  | aborted transactions, 34 bytes an entry            | [`crate::txn_index`] |
//! | `.snapshot`  | producer state *before* the offset in its name     | [`crate::producer_state`] |
//!
//! and beside them `leader-epoch-checkpoint` and `partition.metadata`. The byte
//! tables are in `docs/format/`.

use std::path::{Path, PathBuf};

/// Digits in a segment file's name.
pub const OFFSET_DIGITS: usize = 20;

/// Bytes of one `.index` entry: relative offset i32, position i32.
pub const OFFSET_INDEX_ENTRY_BYTES: usize = 8;
/// Bytes of one `.timeindex` entry: timestamp i64, relative offset i32.
pub const TIME_INDEX_ENTRY_BYTES: usize = 12;
/// Bytes of one `.txnindex` entry: version i16, then four i64.
pub const TXN_INDEX_ENTRY_BYTES: usize = 2 + 4 * 8;
/// The only version of a `.txnindex` entry.
pub const TXN_INDEX_VERSION: i16 = 0;

/// The only version of a `.snapshot` file.
pub const SNAPSHOT_VERSION: i16 = 1;
/// Bytes before a snapshot's entries: version i16, crc u32, count i32.
pub const SNAPSHOT_HEADER_BYTES: usize = 2 + 4 + 4;
/// Bytes of one snapshot entry.
pub const SNAPSHOT_ENTRY_BYTES: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

/// A segment's positions are stored as i32, so no data file may pass this size.
pub const SEGMENT_BYTES_LIMIT: u64 = i32::MAX as u64;

/// Leader epochs and their start offsets, per partition.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// The topic's id, per partition.
pub const PARTITION_METADATA: &str = "partition.metadata";

/// Who owns a log directory.
pub const META_PROPERTIES: &str = "meta.properties";
/// Offset below which each partition is known to be on disk.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// First offset of each partition that has lost its beginning.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// High watermark of each partition.
pub const REPLICATION_CHECKPOINT: &str = "replication-offset-checkpoint";
/// First uncleaned offset of each compacted partition.
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// Present only between a clean stop and the next start.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Behind the name of a producer snapshot that could not be used; a number may follow.
pub const UNUSABLE_SUFFIX: &str = ".unusable";
/// Held while a process owns the directory.
pub const LOCK: &str = ".lock";

/// Directory suffix of a deleted partition that waits to be unlinked.
pub const DELETED_DIR_SUFFIX: &str = "-delete";
/// Directory suffix of a replica being moved between directories.
pub const FUTURE_DIR_SUFFIX: &str = "-future";
/// Directory suffix of a replica that does not belong to this broker any more.
pub const STRAY_DIR_SUFFIX: &str = "-stray";

const _: () = {
    assert!(OFFSET_INDEX_ENTRY_BYTES == 4 + 4);
    assert!(TIME_INDEX_ENTRY_BYTES == 8 + 4);
    assert!(SNAPSHOT_ENTRY_BYTES == 46);
    assert!(SEGMENT_BYTES_LIMIT < u32::MAX as u64);
};

/// What a file of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// Record batches.
    Log,
    /// Offset to position.
    OffsetIndex,
    /// Timestamp to offset.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// Producer state.
    Snapshot,
}

impl FileKind {
    /// Every kind, data file first.
    pub const ALL: [FileKind; 5] = [
        FileKind::Log,
        FileKind::OffsetIndex,
        FileKind::TimeIndex,
        FileKind::TxnIndex,
        FileKind::Snapshot,
    ];

    /// The kinds that are replaced together when a segment is compacted.
    pub const OF_SEGMENT: [FileKind; 4] = [
        FileKind::Log,
        FileKind::OffsetIndex,
        FileKind::TimeIndex,
        FileKind::TxnIndex,
    ];

    /// The suffix with its dot.
    pub const fn suffix(self) -> &'static str {
        match self {
            FileKind::Log => ".log",
            FileKind::OffsetIndex => ".index",
            FileKind::TimeIndex => ".timeindex",
            FileKind::TxnIndex => ".txnindex",
            FileKind::Snapshot => ".snapshot",
        }
    }
}

/// Where a file stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileStage {
    /// In use.
    Live,
    /// `.cleaned`: the cleaner is still writing it; worthless after a crash.
    Cleaned,
    /// `.swap`: complete, and about to replace the segments it covers.
    Swap,
    /// `.deleted`: out of use, unlinked after `file.delete.delay.ms`.
    Deleted,
}

impl FileStage {
    const SUFFIXED: [FileStage; 3] = [FileStage::Cleaned, FileStage::Swap, FileStage::Deleted];

    const fn suffix(self) -> &'static str {
        match self {
            FileStage::Live => "",
            FileStage::Cleaned => ".cleaned",
            FileStage::Swap => ".swap",
            FileStage::Deleted => ".deleted",
        }
    }
}

/// A parsed segment file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// Base offset of the segment, or the offset a snapshot stands before.
    pub offset: i64,
    /// What it holds.
    pub kind: FileKind,
    /// Whether it is in use.
    pub stage: FileStage,
}

impl FileName {
    /// A file in use.
    pub const fn live(offset: i64, kind: FileKind) -> FileName {
        FileName {
            offset,
            kind,
            stage: FileStage::Live,
        }
    }

    /// The same file at another stage of its life.
    pub const fn at(self, stage: FileStage) -> FileName {
        FileName { stage, ..self }
    }

    /// `00000000000000000042.log`, `….timeindex.swap`, …
    pub fn render(self) -> String {
        format!(
            "{:0width$}{}{}",
            self.offset,
            self.kind.suffix(),
            self.stage.suffix(),
            width = OFFSET_DIGITS
        )
    }

    /// The file inside `dir`.
    pub fn in_dir(self, dir: &Path) -> PathBuf {
        dir.join(self.render())
    }

    /// `None` for a name that is not a segment file's: such files are left alone.
    pub fn parse(name: &str) -> Option<FileName> {
        let (stage, name) = FileStage::SUFFIXED
            .into_iter()
            .find_map(|stage| Some((stage, name.strip_suffix(stage.suffix())?)))
            .unwrap_or((FileStage::Live, name));
        let kind = FileKind::ALL
            .into_iter()
            .find(|kind| name.ends_with(kind.suffix()))?;
        let digits = name.strip_suffix(kind.suffix())?;
        if digits.len() != OFFSET_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(FileName {
            offset: digits.parse().ok()?,
            kind,
            stage,
        })
    }
}

/// A partition by topic name and number, as its directory is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition number, not negative.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }

    /// `orders-3` and nothing else: not a deleted, future or stray directory.
    pub fn parse_dir(name: &str) -> Option<TopicPartition> {
        let (topic, partition) = name.rsplit_once('-')?;
        let number_is_canonical = partition == "0" || !partition.starts_with('0');
        if topic.is_empty()
            || !number_is_canonical
            || !partition.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        Some(TopicPartition {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
        })
    }

    /// The directory's name.
    pub fn dir_name(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_round_trip_and_foreign_names_are_left_alone() {
        for kind in FileKind::ALL {
            for stage in [
                FileStage::Live,
                FileStage::Cleaned,
                FileStage::Swap,
                FileStage::Deleted,
            ] {
                let name = FileName {
                    offset: 1_234_567,
                    kind,
                    stage,
                };
                assert_eq!(FileName::parse(&name.render()), Some(name));
            }
        }
        for foreign in [
            "partition.metadata",
            "00000000000000000000.log.bak",
            "0000000000000000000x.log",
            "1.log",
            ".log",
            "+0000000000000000001.log",
            "99999999999999999999.log",
        ] {
            assert_eq!(FileName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn partition_directories_parse_only_in_their_canonical_form() {
        let check =
            |name, expected| assert_eq!(TopicPartition::parse_dir(name), expected, "{name}");
        check("orders-3", Some(TopicPartition::new("orders", 3)));
        check("a-b-0", Some(TopicPartition::new("a-b", 0)));
        for foreign in [
            "orders",
            "-1",
            "orders-",
            "orders-03",
            "orders-3-delete",
            "orders--x",
            "o-99999999999",
        ] {
            check(foreign, None);
        }
    }
}

//! What can be wrong with the files of the quorum.

use std::path::{Path, PathBuf};

use reka_storage::fs::DiskError;

use crate::codec::DecodeError;

/// A file could not be read, written or believed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The content is not what was written.
    #[error(
        "{} at byte {position}: {damage}; restore the directory from a backup; without one, new \
         metadata begins in an empty directory in its place", .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// An earlier write failed, so nothing more is written.
    #[error("the metadata log stopped: {reason}; mend that and restart")]
    Stopped {
        /// What failed then.
        reason: String,
    },
}

/// What is wrong with a file's content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Damage {
    #[error("{wanted} bytes expected, {found} found")]
    Short { wanted: u64, found: u64 },
    #[error("magic {found:02x?}, expected {expected:02x?}")]
    Magic { expected: [u8; 8], found: [u8; 8] },
    #[error("version {found}, this release reads {expected}")]
    Version { expected: u8, found: u8 },
    #[error("checksum {found:08x}, expected {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("a length of {found}, expected {min} to {max}")]
    Length { found: u64, min: u64, max: u64 },
    #[error("index {found}, expected {expected}")]
    Index { expected: u64, found: u64 },
    #[error("term {found} behind term {previous}")]
    TermBack { previous: u64, found: u64 },
    #[error("entries {expected} to {found} are missing")]
    Hole { expected: u64, found: u64 },
    #[error("entry kind {found} is unknown to this release")]
    EntryKind { found: u8 },
    #[error("{0}")]
    Content(DecodeError),
    #[error("the record for offset {offset} does not apply: {reason}")]
    Refused { offset: u64, reason: String },
    #[error("it lacks entry {index}, which was durable")]
    Lost { index: u64 },
}

impl StoreError {
    pub(crate) fn damaged(path: &Path, position: u64, damage: Damage) -> StoreError {
        StoreError::Damaged {
            path: path.to_owned(),
            position,
            damage,
        }
    }

    /// As an I/O error, for openraft.
    pub(crate) fn into_io(self) -> std::io::Error {
        std::io::Error::other(self)
    }
}

//! `partition.metadata`: which topic a partition's directory belongs to.
//!
//! ```text
//! version: 0
//! topic_id: 3Db5QLSqSZieL3rJBUUegA     sixteen bytes in URL-safe base64
//! ```
//!
//! A topic that is deleted and created again under its name gets another id, so a
//! directory that was left behind is not taken for the new topic's.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::format::PARTITION_METADATA;
use crate::fs::{Disk, DiskError, OpenMode};

/// Two short lines.
const FILE_BYTES_MAX: usize = 4096;

/// A topic id that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PartitionMetadataError {
    /// It could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not what it should be.
    #[error("{}: expected {expected}, found {found:?}; restore the file, or remove it to adopt the data", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The directory belongs to another topic of the same name.
    #[error(
        "{} says topic id {found}, the topic of this name has {expected}: either that other one was \
         deleted, or the metadata is older than the directory; move the directory away, or remove the \
         file to adopt the data",
        .path.display()
    )]
    OtherTopic {
        /// Which file.
        path: PathBuf,
        /// Id of the topic that is to be opened.
        expected: Uuid,
        /// Id in the file.
        found: Uuid,
    },
}

/// The topic id a partition's directory names; `None` when it names none.
pub fn read(disk: &Disk, dir: &Path) -> Result<Option<Uuid>, PartitionMetadataError> {
    let path = dir.join(PARTITION_METADATA);
    let Some(content) = disk.read_small(&path, FILE_BYTES_MAX)? else {
        return Ok(None);
    };
    // What a power cut leaves of a file that was never synced: nothing, or a page of zeros.
    if content.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&content);
    let mut lines = text.lines();
    let malformed = |expected, found: Option<&str>| PartitionMetadataError::Malformed {
        path: path.clone(),
        expected,
        found: found.unwrap_or("end of file").chars().take(80).collect(),
    };
    match lines.next() {
        Some("version: 0") => {}
        other => return Err(malformed("version: 0", other)),
    }
    let line = lines.next();
    let id = line
        .and_then(|line| line.strip_prefix("topic_id: "))
        .and_then(|id| URL_SAFE_NO_PAD.decode(id).ok())
        .and_then(|bytes| Uuid::from_slice(&bytes).ok());
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(malformed("topic_id: and sixteen bytes in base64", line)),
    }
}

/// Writes it.
pub fn write(disk: &Disk, dir: &Path, topic_id: Uuid) -> Result<(), DiskError> {
    disk.replace_small(&dir.join(PARTITION_METADATA), render(topic_id).as_bytes())
}

/// Writes that of a directory that was made just now. It is not synced: whoever asks for ten
/// thousand partitions does not wait for twenty thousand syncs. The first flush of the log syncs it
/// with the first records; a power cut before may take it, and then it is written again.
pub(crate) fn write_new(disk: &Disk, dir: &Path, topic_id: Uuid) -> Result<(), DiskError> {
    let file = disk.open(&dir.join(PARTITION_METADATA), OpenMode::Create)?;
    file.write_all_at(render(topic_id).as_bytes(), 0)
}

/// Makes it survive a power cut, where there is one.
pub(crate) fn sync(disk: &Disk, dir: &Path) -> Result<(), DiskError> {
    match disk.open_if_exists(&dir.join(PARTITION_METADATA))? {
        Some(file) => file.sync(),
        None => Ok(()),
    }
}

fn render(topic_id: Uuid) -> String {
    let id = URL_SAFE_NO_PAD.encode(topic_id.as_bytes());
    format!("version: 0\ntopic_id: {id}\n")
}

/// Sees to it that the directory names `topic_id`: writes it where none is named.
pub(crate) fn claim(disk: &Disk, dir: &Path, topic_id: Uuid) -> Result<(), PartitionMetadataError> {
    match read(disk, dir)? {
        Some(found) if found == topic_id => Ok(()),
        Some(found) => Err(PartitionMetadataError::OtherTopic {
            path: dir.join(PARTITION_METADATA),
            expected: topic_id,
            found,
        }),
        None => Ok(write(disk, dir, topic_id)?),
    }
}

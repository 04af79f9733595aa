//! Snapshots: an image in one file, so that the log before it can go.
//!
//! | Field            | Type                 | Holds                                   |
//! |------------------|----------------------|-----------------------------------------|
//! | magic            | 8 bytes              | `rekasnap`                              |
//! | version          | `u8`                 | 1                                       |
//! | last entry       | `Option`             | its term and index, both `u64`          |
//! | membership entry | `Option`             | the same of the entry with the membership |
//! | membership       |                      | as in a log entry                       |
//! | offset           | `u64`                | the image's                             |
//! | count            | `u64`                | records                                 |
//! | records          |                      | each: offset `u64`, then the record     |
//! | checksum         | 4 bytes, big-endian  | CRC-32C of everything before it         |
//!
//! The types are those of [`crate::codec`]. The records are the shortest log that leads
//! to the image; reading applies them, so a snapshot can say nothing that the log could
//! not have said.
//!
//! There is one file, `snapshot`, replaced atomically: written aside, synced, renamed,
//! directory synced. A power cut leaves the old one or the new one.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use reka_storage::fs::Disk;

use crate::codec::{DecodeError, Problem, Reader, Stored};
use crate::error::{Damage, StoreError};
use crate::image::MetadataImage;
use crate::record::Record;
use crate::types::{
    LogId, SnapshotMeta, StoredMembership, log_id, put_membership, take_membership,
};

const MAGIC: [u8; 8] = *b"rekasnap";
const VERSION: u8 = 1;
const FILE_NAME: &str = "snapshot";
const CHECKSUM_BYTES: usize = 4;
/// Larger is not believed. A million partitions take about a tenth of it.
const BYTES_MAX: usize = 1 << 30;

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The last entry in it.
    pub(crate) last_log_id: Option<LogId>,
    /// The membership at that point.
    pub(crate) membership: StoredMembership,
    /// The image at that point.
    pub(crate) image: std::sync::Arc<MetadataImage>,
}

impl State {
    pub(crate) fn meta(&self) -> SnapshotMeta {
        let id = self.last_log_id.map_or_else(String::new, |id| {
            format!("{}-{}", id.leader_id.term, id.index)
        });
        SnapshotMeta {
            last_log_id: self.last_log_id,
            last_membership: self.membership.clone(),
            snapshot_id: id,
        }
    }
}

/// The stored form of a snapshot.
pub fn encode(state: &State) -> Bytes {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    put_log_id(state.last_log_id, &mut out);
    put_log_id(*state.membership.log_id(), &mut out);
    put_membership(state.membership.membership(), &mut out);
    state.image.offset().put(&mut out);
    let mut count = 0_u64;
    let mut records = Vec::new();
    for (offset, record) in state.image.records() {
        offset.put(&mut records);
        record.put(&mut records);
        count += 1;
    }
    count.put(&mut out);
    out.append(&mut records);
    let checksum = crc_fast::crc32_iscsi(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out.into()
}

/// Reads a snapshot; the error says at which byte it stops making sense.
pub fn decode(bytes: &[u8]) -> Result<State, (u64, Damage)> {
    let least = MAGIC.len() + 1 + CHECKSUM_BYTES;
    if bytes.len() < least {
        let damage = Damage::Short {
            wanted: least as u64,
            found: bytes.len() as u64,
        };
        return Err((0, damage));
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    let mut found_magic = [0; 8];
    found_magic.copy_from_slice(&content[..8]);
    if found_magic != MAGIC {
        let damage = Damage::Magic {
            expected: MAGIC,
            found: found_magic,
        };
        return Err((0, damage));
    }
    let expected = checksum.iter().fold(0, |sum, b| sum << 8 | u32::from(*b));
    let found = crc_fast::crc32_iscsi(content);
    if expected != found {
        return Err((content.len() as u64, Damage::Checksum { expected, found }));
    }
    if content[8] != VERSION {
        let damage = Damage::Version {
            expected: VERSION,
            found: content[8],
        };
        return Err((8, damage));
    }
    let start = MAGIC.len() + 1;
    let mut from = Reader::new(&content[start..]);
    let state = decode_content(&mut from);
    let at = (start + from.position()) as u64;
    state
        .map_err(|error| match error {
            ContentError::Decode(error) => {
                ((start + error.position) as u64, Damage::Content(error))
            }
            ContentError::Refused { offset, reason } => (at, Damage::Refused { offset, reason }),
        })
        .and_then(|state| match from.finish() {
            Ok(()) => Ok(state),
            Err(error) => Err((at, Damage::Content(error))),
        })
}

/// The stored form of an image alone, as a snapshot of a log without entries.
pub fn encode_image(image: &MetadataImage) -> Bytes {
    encode(&State {
        image: std::sync::Arc::new(image.clone()),
        ..State::default()
    })
}

/// The image in a snapshot: for tools that look into one.
pub fn decode_image(bytes: &[u8]) -> Result<std::sync::Arc<MetadataImage>, (u64, Damage)> {
    decode(bytes).map(|state| state.image)
}

enum ContentError {
    Decode(DecodeError),
    Refused { offset: u64, reason: String },
}

impl From<DecodeError> for ContentError {
    fn from(error: DecodeError) -> ContentError {
        ContentError::Decode(error)
    }
}

fn decode_content(from: &mut Reader<'_>) -> Result<State, ContentError> {
    let last_log_id = take_log_id(from)?;
    let membership_log_id = take_log_id(from)?;
    let membership = StoredMembership::new(membership_log_id, take_membership(from)?);
    let end = u64::take(from)?;
    let count = u64::take(from)?;
    let mut image = MetadataImage::default();
    for _ in 0..count {
        let offset = u64::take(from)?;
        if offset > end {
            return Err(from.error(Problem::OutOfRange { value: offset }).into());
        }
        let record = Record::take(from)?;
        image
            .apply_record(offset, &record)
            .map_err(|error| ContentError::Refused {
                offset,
                reason: error.to_string(),
            })?;
    }
    Ok(State {
        last_log_id,
        membership,
        image: std::sync::Arc::new(image.at(end)),
    })
}

fn put_log_id(id: Option<LogId>, out: &mut Vec<u8>) {
    id.is_some().put(out);
    if let Some(id) = id {
        id.leader_id.term.put(out);
        id.index.put(out);
    }
}

fn take_log_id(from: &mut Reader<'_>) -> Result<Option<LogId>, DecodeError> {
    if !bool::take(from)? {
        return Ok(None);
    }
    let term = u64::take(from)?;
    Ok(Some(log_id(term, u64::take(from)?)))
}

/// The one current snapshot of a directory.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    disk: Disk,
    path: PathBuf,
}

impl SnapshotFile {
    /// The snapshot of `dir`, which may not be there yet.
    pub fn new(disk: &Disk, dir: &Path) -> SnapshotFile {
        SnapshotFile {
            disk: disk.clone(),
            path: dir.join(FILE_NAME),
        }
    }

    /// Its bytes, unchecked; `None` when there is none.
    pub fn read(&self) -> Result<Option<Bytes>, StoreError> {
        let bytes = self.disk.read_small(&self.path, BYTES_MAX)?;
        Ok(bytes.map(Bytes::from))
    }

    /// What it holds; `None` when there is none.
    pub fn load(&self) -> Result<Option<State>, StoreError> {
        let Some(bytes) = self.read()? else {
            return Ok(None);
        };
        decode(&bytes)
            .map(Some)
            .map_err(|(position, damage)| StoreError::damaged(&self.path, position, damage))
    }

    /// Replaces it; durable on return.
    pub fn replace(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.replace_small(&self.path, bytes)?;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

//! Whose files these are: one small file, written first and never changed.
//!
//! | Field        | Type                | Holds                           |
//! |--------------|---------------------|---------------------------------|
//! | magic        | 8 bytes             | `rekavotr`                      |
//! | version      | `u8`                | 1                               |
//! | cluster id   | `String`            |                                 |
//! | voter id     | `u64`               |                                 |
//! | directory id | `Uuid`              |                                 |
//! | checksum     | 4 bytes, big-endian | CRC-32C of everything before it |

use std::path::Path;

use reka_storage::fs::Disk;
use uuid::Uuid;

use crate::codec::{DecodeError, Reader, Stored};
use crate::error::{Damage, StoreError};
use crate::types::VoterId;

const MAGIC: [u8; 8] = *b"rekavotr";
const VERSION: u8 = 1;
const FILE_NAME: &str = "identity";
const BYTES_MAX: usize = 4096;

/// Who keeps its vote and log in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: String,
    /// The voter.
    pub voter_id: VoterId,
    /// The disk.
    pub directory_id: Uuid,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cluster {}, voter {}, directory {}",
            self.cluster_id, self.voter_id, self.directory_id
        )
    }
}

pub(crate) fn read(disk: &Disk, dir: &Path) -> Result<Option<Identity>, StoreError> {
    let path = dir.join(FILE_NAME);
    let Some(bytes) = disk.read_small(&path, BYTES_MAX)? else {
        return Ok(None);
    };
    decode(&bytes)
        .map(Some)
        .map_err(|(position, damage)| StoreError::damaged(&path, position, damage))
}

pub(crate) fn write(disk: &Disk, dir: &Path, identity: &Identity) -> Result<(), StoreError> {
    disk.replace_small(&dir.join(FILE_NAME), &encode(identity))?;
    Ok(())
}

fn encode(identity: &Identity) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    identity.cluster_id.put(&mut out);
    identity.voter_id.put(&mut out);
    identity.directory_id.put(&mut out);
    let checksum = crc_fast::crc32_iscsi(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out
}

fn decode(bytes: &[u8]) -> Result<Identity, (u64, Damage)> {
    let Some((content, checksum)) = bytes.split_last_chunk::<4>() else {
        let damage = Damage::Short {
            wanted: 4,
            found: bytes.len() as u64,
        };
        return Err((0, damage));
    };
    let expected = u32::from_be_bytes(*checksum);
    let found = crc_fast::crc32_iscsi(content);
    if expected != found {
        return Err((content.len() as u64, Damage::Checksum { expected, found }));
    }
    let content_error = |error: DecodeError| (error.position as u64, Damage::Content(error));
    let mut from = Reader::new(content);
    let magic = from.array().map_err(content_error)?;
    if magic != MAGIC {
        let damage = Damage::Magic {
            expected: MAGIC,
            found: magic,
        };
        return Err((0, damage));
    }
    let version = u8::take(&mut from).map_err(content_error)?;
    if version != VERSION {
        let damage = Damage::Version {
            expected: VERSION,
            found: version,
        };
        return Err((8, damage));
    }
    let identity = Identity {
        cluster_id: String::take(&mut from).map_err(content_error)?,
        voter_id: u64::take(&mut from).map_err(content_error)?,
        directory_id: Uuid::take(&mut from).map_err(content_error)?,
    };
    from.finish().map_err(content_error)?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back_and_a_flipped_bit_is_found() {
        let identity = Identity {
            cluster_id: "abc".to_owned(),
            voter_id: 1,
            directory_id: Uuid::from_u128(7),
        };
        let stored = encode(&identity);
        assert_eq!(&stored[..14], b"rekavotr\x01\x03abc\x01");
        assert_eq!(decode(&stored), Ok(identity));
        for bit in 0..stored.len() * 8 {
            let mut bytes = stored.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
        }
    }
}

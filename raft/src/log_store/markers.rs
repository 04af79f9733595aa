//! Small facts beside the log, each a file of fixed size. Integers are big-endian.
//!
//! | Bytes  | Field    | Type | Holds                                  |
//! |--------|----------|------|----------------------------------------|
//! | 0..8   | magic    |      | `rekamark`                             |
//! | 8      | kind     | u8   | 1 vote, 2 purged, 3 committed          |
//! | 9      | version  | u8   | 1                                      |
//! | 10..18 | term     | u64  |                                        |
//! | 18..26 | number   | u64  | vote: voter id; otherwise: log index   |
//! | 26     | flags    | u8   | vote: 1 a voter id is there, 2 granted by a quorum |
//! | 27..31 | checksum | u32  | CRC-32C of everything before it        |
//!
//! `vote` and `purged` are replaced atomically and durably. `committed` is overwritten
//! in place and not synced: losing it only means that the entries wait for the next
//! leader to commit them again. It is written after the sync of the entries it speaks
//! of, so finding it proves that they were durable.

use std::path::Path;

use reka_storage::fs::{Disk, OpenMode};

use crate::error::{Damage, StoreError};
use crate::types::{LogId, Vote, log_id};

const MAGIC: [u8; 8] = *b"rekamark";
const VERSION: u8 = 1;
const BYTES: usize = 31;
const CHECKSUM_AT: usize = 27;
const HAS_VOTER: u8 = 1;
const GRANTED: u8 = 2;

/// Which fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vote,
    Purged,
    Committed,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Kind::Vote => 1,
            Kind::Purged => 2,
            Kind::Committed => 3,
        }
    }

    const fn file_name(self) -> &'static str {
        match self {
            Kind::Vote => "vote",
            Kind::Purged => "purged",
            Kind::Committed => "committed",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marker {
    term: u64,
    number: u64,
    flags: u8,
}

/// The last vote, when there is one.
pub(super) fn read_vote(disk: &Disk, dir: &Path) -> Result<Option<Vote>, StoreError> {
    let marker = read(disk, dir, Kind::Vote)?;
    Ok(marker.map(|marker| {
        let mut vote = Vote::new(marker.term, marker.number);
        if marker.flags & HAS_VOTER == 0 {
            vote.leader_id.voted_for = None;
        }
        vote.committed = marker.flags & GRANTED != 0;
        vote
    }))
}

/// Replaces the vote; durable on return.
pub(super) fn write_vote(disk: &Disk, dir: &Path, vote: &Vote) -> Result<(), StoreError> {
    let voter = vote.leader_id.voted_for;
    let marker = Marker {
        term: vote.leader_id.term,
        number: voter.unwrap_or(0),
        flags: if voter.is_some() { HAS_VOTER } else { 0 }
            | if vote.committed { GRANTED } else { 0 },
    };
    replace(disk, dir, Kind::Vote, marker)
}

/// Up to where the log was purged.
pub(super) fn read_purged(disk: &Disk, dir: &Path) -> Result<Option<LogId>, StoreError> {
    Ok(read(disk, dir, Kind::Purged)?.map(to_log_id))
}

/// Replaces the purge marker; durable on return.
pub(super) fn write_purged(disk: &Disk, dir: &Path, upto: LogId) -> Result<(), StoreError> {
    replace(disk, dir, Kind::Purged, of_log_id(upto))
}

/// Up to where the log is known to be committed.
pub(super) fn read_committed(disk: &Disk, dir: &Path) -> Result<Option<LogId>, StoreError> {
    Ok(read(disk, dir, Kind::Committed)?.map(to_log_id))
}

/// Overwrites the committed marker; not durable on return.
pub(super) fn write_committed(disk: &Disk, dir: &Path, upto: LogId) -> Result<(), StoreError> {
    let file = disk.open(&dir.join(Kind::Committed.file_name()), OpenMode::Create)?;
    file.write_all_at(&encode(Kind::Committed, of_log_id(upto)), 0)?;
    Ok(())
}

fn to_log_id(marker: Marker) -> LogId {
    log_id(marker.term, marker.number)
}

fn of_log_id(id: LogId) -> Marker {
    Marker {
        term: id.leader_id.term,
        number: id.index,
        flags: 0,
    }
}

fn replace(disk: &Disk, dir: &Path, kind: Kind, marker: Marker) -> Result<(), StoreError> {
    disk.replace_small(&dir.join(kind.file_name()), &encode(kind, marker))?;
    Ok(())
}

fn read(disk: &Disk, dir: &Path, kind: Kind) -> Result<Option<Marker>, StoreError> {
    let path = dir.join(kind.file_name());
    let Some(bytes) = disk.read_small(&path, BYTES)? else {
        return Ok(None);
    };
    // A power cut may keep the name, or even the length, and not the content. The
    // atomically replaced ones are never seen so.
    if kind == Kind::Committed && bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    decode(kind, &bytes)
        .map(Some)
        .map_err(|(position, damage)| StoreError::damaged(&path, position, damage))
}

fn encode(kind: Kind, marker: Marker) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8] = kind.code();
    out[9] = VERSION;
    out[10..18].copy_from_slice(&marker.term.to_be_bytes());
    out[18..26].copy_from_slice(&marker.number.to_be_bytes());
    out[26] = marker.flags;
    let checksum = crc_fast::crc32_iscsi(&out[..CHECKSUM_AT]);
    out[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
    out
}

fn decode(kind: Kind, bytes: &[u8]) -> Result<Marker, (u64, Damage)> {
    let Ok(bytes) = <&[u8; BYTES]>::try_from(bytes) else {
        let damage = Damage::Short {
            wanted: BYTES as u64,
            found: bytes.len() as u64,
        };
        return Err((0, damage));
    };
    let mut magic = [0; 8];
    magic.copy_from_slice(&bytes[..8]);
    if magic != MAGIC {
        let damage = Damage::Magic {
            expected: MAGIC,
            found: magic,
        };
        return Err((0, damage));
    }
    let number = |range: std::ops::Range<usize>| {
        let bytes = &bytes[range];
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let expected = number(CHECKSUM_AT..BYTES) as u32;
    let found = crc_fast::crc32_iscsi(&bytes[..CHECKSUM_AT]);
    if expected != found {
        return Err((CHECKSUM_AT as u64, Damage::Checksum { expected, found }));
    }
    if bytes[8] != kind.code() {
        return Err((8, Damage::EntryKind { found: bytes[8] }));
    }
    if bytes[9] != VERSION {
        let damage = Damage::Version {
            expected: VERSION,
            found: bytes[9],
        };
        return Err((9, damage));
    }
    Ok(Marker {
        term: number(10..18),
        number: number(18..26),
        flags: bytes[26],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_has_these_bytes() {
        let marker = Marker {
            term: 3,
            number: 258,
            flags: HAS_VOTER | GRANTED,
        };
        let bytes = encode(Kind::Vote, marker);
        assert_eq!(&bytes[..8], b"rekamark");
        assert_eq!(
            bytes[8..27],
            [1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 3]
        );
        assert_eq!(decode(Kind::Vote, &bytes), Ok(marker));
        assert!(decode(Kind::Purged, &bytes).is_err());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let marker = Marker {
            term: 1,
            number: 2,
            flags: 0,
        };
        let stored = encode(Kind::Committed, marker);
        for bit in 0..BYTES * 8 {
            let mut bytes = stored;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Kind::Committed, &bytes).is_err(), "bit {bit}");
        }
    }
}

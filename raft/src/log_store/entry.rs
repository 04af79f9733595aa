//! One entry in a segment file. Integers are big-endian.
//!
//! | Bytes  | Field        | Type | Holds                                          |
//! |--------|--------------|------|------------------------------------------------|
//! | 0..4   | length       | u32  | bytes behind the checksum                      |
//! | 4..8   | checksum     | u32  | CRC-32C of everything behind it                |
//! | 8..16  | index        | u64  | one more than the entry before                 |
//! | 16..24 | term         | u64  | of the leader that made it                     |
//! | 24..32 | synced below | u64  | entries below this were durable when it was made |
//! | 32     | kind         | u8   | 0 blank, 1 records, 2 membership               |
//! | 33..   | payload      |      | a [`RecordBatch`], or a membership             |
//!
//! *Synced below* tells a torn tail from damage: see [`super::segments`].

use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;

use crate::codec::Reader;
use crate::error::Damage;
use crate::record::{BATCH_BYTES_MAX, RecordBatch};
use crate::types::{Entry, log_id, put_membership, take_membership};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 33;
/// Bytes that the length does not count: itself and the checksum.
const UNCOUNTED_BYTES: usize = 8;
/// Least and most that a length may say. Memberships are far below a batch.
const LENGTH_MIN: u64 = (HEADER_BYTES - UNCOUNTED_BYTES) as u64;
const LENGTH_MAX: u64 = LENGTH_MIN + BATCH_BYTES_MAX as u64;

const BLANK: u8 = 0;
const RECORDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The head of a stored entry whose checksum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position in the log.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// Entries below this were durable when it was made.
    pub synced_below: u64,
    /// Bytes of the whole entry.
    pub len: usize,
}

/// The stored form of an entry.
pub fn encode(entry: &Entry, synced_below: u64) -> Bytes {
    let mut membership_bytes = Vec::new();
    let (kind, payload): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[]),
        EntryPayload::Normal(batch) => (RECORDS, batch.stored()),
        EntryPayload::Membership(membership) => {
            put_membership(membership, &mut membership_bytes);
            (MEMBERSHIP, &membership_bytes)
        }
    };
    let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    out.put_u32((HEADER_BYTES - UNCOUNTED_BYTES + payload.len()) as u32);
    out.put_u32(0);
    out.put_u64(entry.log_id.index);
    out.put_u64(entry.log_id.leader_id.term);
    out.put_u64(synced_below);
    out.put_u8(kind);
    out.put_slice(payload);
    let checksum = crc_fast::crc32_iscsi(&out[UNCOUNTED_BYTES..]);
    out[4..8].copy_from_slice(&checksum.to_be_bytes());
    out.freeze()
}

/// Reads the head of the entry at the start of `bytes`, checking length and checksum.
pub fn head(bytes: &[u8]) -> Result<Head, Damage> {
    let short = Damage::Short {
        wanted: HEADER_BYTES as u64,
        found: bytes.len() as u64,
    };
    let Some((fixed, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(short);
    };
    let length = u64::from(be_u32(&fixed[0..4]));
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        return Err(Damage::Length {
            found: length,
            min: LENGTH_MIN,
            max: LENGTH_MAX,
        });
    }
    let len = UNCOUNTED_BYTES + length as usize;
    let Some(whole) = bytes.get(..len) else {
        return Err(Damage::Short {
            wanted: len as u64,
            found: bytes.len() as u64,
        });
    };
    let expected = be_u32(&fixed[4..8]);
    let found = crc_fast::crc32_iscsi(&whole[UNCOUNTED_BYTES..]);
    if expected != found {
        return Err(Damage::Checksum { expected, found });
    }
    Ok(Head {
        index: be_u64(&fixed[8..16]),
        term: be_u64(&fixed[16..24]),
        synced_below: be_u64(&fixed[24..32]),
        len,
    })
}

/// Reads a whole entry.
pub fn decode(bytes: &Bytes) -> Result<Entry, Damage> {
    let head = head(bytes)?;
    let payload = bytes.slice(HEADER_BYTES..head.len);
    let payload = match bytes[HEADER_BYTES - 1] {
        BLANK => EntryPayload::Blank,
        RECORDS => EntryPayload::Normal(RecordBatch::from_stored(payload)),
        MEMBERSHIP => {
            let mut from = Reader::new(&payload);
            let membership = take_membership(&mut from).map_err(Damage::Content)?;
            from.finish().map_err(Damage::Content)?;
            EntryPayload::Membership(membership)
        }
        found => return Err(Damage::EntryKind { found }),
    };
    Ok(Entry {
        log_id: log_id(head.term, head.index),
        payload,
    })
}

/// Whether some entry in `bytes`, at any position, was made when entry `index` was
/// durable. Only called on bytes that do not parse, so speed does not matter much.
pub fn any_made_after_sync_of(bytes: &[u8], index: u64) -> bool {
    (0..bytes.len().saturating_sub(HEADER_BYTES - 1)).any(|at| {
        let candidate = &bytes[at..];
        // Cheap looks first: a checksum over every position would be quadratic.
        be_u64(&candidate[8..16]) > index
            && be_u64(&candidate[24..32]) > index
            && be_u64(&candidate[24..32]) <= be_u64(&candidate[8..16])
            && head(candidate).is_ok()
    })
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn an_entry_has_these_bytes() {
        let batch = RecordBatch::pack(&[Record::NoOp]).unwrap();
        let entry = Entry {
            log_id: log_id(3, 7),
            payload: EntryPayload::Normal(batch),
        };
        let stored = encode(&entry, 5);
        assert_eq!(&stored[..4], [0, 0, 0, 29]);
        assert_eq!(
            &stored[8..],
            [
                0, 0, 0, 0, 0, 0, 0, 7, // index
                0, 0, 0, 0, 0, 0, 0, 3, // term
                0, 0, 0, 0, 0, 0, 0, 5, // synced below
                1, // records
                1, 0, 0, 0, // one record: kind 0, version 0, no body
            ]
        );
        assert_eq!(be_u32(&stored[4..8]), crc_fast::crc32_iscsi(&stored[8..]));
        let back = decode(&stored).unwrap();
        assert_eq!((back.log_id, back.payload), (entry.log_id, entry.payload));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let entry = Entry {
            log_id: log_id(1, 1),
            payload: EntryPayload::Blank,
        };
        let stored = encode(&entry, 0);
        for bit in 0..stored.len() * 8 {
            let mut bytes = stored.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes.into()).is_err(), "bit {bit}");
        }
    }
}

//! Where each field of a batch header lies. All integers are big-endian.
//!
//! | Field | Offset | Bytes | Meaning |
//! |---|---|---|---|
//! | base offset | 0 | 8 | offset of the first record; stamped by the leader |
//! | batch length | 8 | 4 | bytes after this field |
//! | partition leader epoch | 12 | 4 | stamped by the leader |
//! | magic | 16 | 1 | 2 |
//! | crc | 17 | 4 | CRC-32C of everything from the attributes to the end |
//! | attributes | 21 | 2 | see [`crate::attributes`] |
//! | last offset delta | 23 | 4 | last offset minus base offset; also last sequence minus base |
//! | base timestamp | 27 | 8 | what record timestamps are relative to, or the delete horizon |
//! | max timestamp | 35 | 8 | largest record timestamp, or the log append time |
//! | producer id | 43 | 8 | -1 without |
//! | producer epoch | 51 | 2 | -1 without |
//! | base sequence | 53 | 4 | -1 without |
//! | record count | 57 | 4 | records in the body |
//! | records | 61 | | the body, compressed as the attributes say |
//!
//! Base offset and leader epoch lie before the CRC's range, so a leader can stamp both without
//! touching the checksum the producer computed. `docs/format/record-batch.md` shows the same table
//! to people; a test compares the two.

use std::ops::Range;

/// One field of the header: its name in the documentation, and the bytes it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As the format documentation calls it.
    pub name: &'static str,
    /// Offset of the first byte from the start of the batch.
    pub at: usize,
    /// Bytes taken.
    pub bytes: usize,
}

impl Field {
    const fn first(name: &'static str, bytes: usize) -> Field {
        Field { name, at: 0, bytes }
    }

    /// The field that starts where this one ends.
    const fn then(self, name: &'static str, bytes: usize) -> Field {
        Field {
            name,
            at: self.end(),
            bytes,
        }
    }

    /// One past the last byte.
    pub const fn end(self) -> usize {
        self.at + self.bytes
    }

    /// The bytes of this field within a batch.
    pub const fn range(self) -> Range<usize> {
        self.at..self.end()
    }
}

/// Offset of the first record.
pub const BASE_OFFSET: Field = Field::first("base offset", 8);
/// Bytes of the batch after this field.
pub const BATCH_LENGTH: Field = BASE_OFFSET.then("batch length", 4);
/// Epoch of the leader that appended the batch.
pub const LEADER_EPOCH: Field = BATCH_LENGTH.then("partition leader epoch", 4);
/// Format of the batch.
pub const MAGIC: Field = LEADER_EPOCH.then("magic", 1);
/// CRC-32C of all that follows it.
pub const CRC: Field = MAGIC.then("crc", 4);
/// Codec and flags.
pub const ATTRIBUTES: Field = CRC.then("attributes", 2);
/// Last offset minus base offset.
pub const LAST_OFFSET_DELTA: Field = ATTRIBUTES.then("last offset delta", 4);
/// What record timestamps are relative to.
pub const BASE_TIMESTAMP: Field = LAST_OFFSET_DELTA.then("base timestamp", 8);
/// Largest timestamp, or the log append time.
pub const MAX_TIMESTAMP: Field = BASE_TIMESTAMP.then("max timestamp", 8);
/// Idempotent or transactional producer.
pub const PRODUCER_ID: Field = MAX_TIMESTAMP.then("producer id", 8);
/// Its epoch.
pub const PRODUCER_EPOCH: Field = PRODUCER_ID.then("producer epoch", 2);
/// Sequence number of the first record.
pub const BASE_SEQUENCE: Field = PRODUCER_EPOCH.then("base sequence", 4);
/// Records in the body.
pub const RECORD_COUNT: Field = BASE_SEQUENCE.then("record count", 4);

/// Every header field, in order.
pub const FIELDS: [Field; 13] = [
    BASE_OFFSET,
    BATCH_LENGTH,
    LEADER_EPOCH,
    MAGIC,
    CRC,
    ATTRIBUTES,
    LAST_OFFSET_DELTA,
    BASE_TIMESTAMP,
    MAX_TIMESTAMP,
    PRODUCER_ID,
    PRODUCER_EPOCH,
    BASE_SEQUENCE,
    RECORD_COUNT,
];

/// Bytes of the whole header; the records start here.
pub const HEADER_BYTES: usize = RECORD_COUNT.end();
/// Base offset and batch length: what `batch length` does not count.
pub const LOG_OVERHEAD_BYTES: usize = BATCH_LENGTH.end();
/// The smallest `batch length` a magic-2 batch can have: a header and no records.
pub const BATCH_LENGTH_MIN: i32 = (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32;
/// The smallest `batch length` of any format Kafka ever wrote (an empty magic-0 message). Below it
/// the field is damage, whatever the magic would say.
pub const LEGACY_LENGTH_MIN: i32 = 14;

const _: () = {
    assert!(HEADER_BYTES == 61);
    assert!(LOG_OVERHEAD_BYTES == 12);
    assert!(BATCH_LENGTH_MIN == 49);
    // What the leader stamps must lie outside what the CRC covers.
    assert!(BASE_OFFSET.end() <= CRC.at && LEADER_EPOCH.end() <= CRC.at);
    assert!(ATTRIBUTES.at == CRC.end());
};

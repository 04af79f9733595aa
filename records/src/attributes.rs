//! The attributes field of a batch header.
//!
//! | Bits | Meaning |
//! |---|---|
//! | 0-2 | codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd |
//! | 3 | timestamp type: 0 create time, 1 log append time |
//! | 4 | transactional |
//! | 5 | control: the records are markers, not data |
//! | 6 | base timestamp holds the delete horizon |
//! | 7-15 | unused |

use crate::compression::Compression;
use crate::error::BatchError;

/// Whose clock the timestamps of a batch come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer's; every record has its own.
    #[default]
    CreateTime,
    /// The broker's; all records share the batch's max timestamp.
    LogAppendTime,
}

/// The bits of the attributes field. Bits without a meaning are carried along untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    /// Bits of the codec.
    pub const COMPRESSION_MASK: i16 = 0x07;
    /// Set for log append time.
    pub const LOG_APPEND_TIME: i16 = 0x08;
    /// Set for batches of a transaction, markers included.
    pub const TRANSACTIONAL: i16 = 0x10;
    /// Set for batches of control records.
    pub const CONTROL: i16 = 0x20;
    /// Set when base timestamp holds the delete horizon.
    pub const DELETE_HORIZON: i16 = 0x40;

    /// The codec of the body; an error for the three ids nobody has defined.
    pub fn compression(self) -> Result<Compression, BatchError> {
        let id = (self.0 & Self::COMPRESSION_MASK) as u8;
        Compression::from_id(id).ok_or(BatchError::UnknownCompression { id })
    }

    /// Whether the body is compressed with anything, known or not.
    pub const fn is_compressed(self) -> bool {
        self.0 & Self::COMPRESSION_MASK != 0
    }

    /// Whose clock the timestamps come from.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.has(Self::LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Part of a transaction.
    pub const fn is_transactional(self) -> bool {
        self.has(Self::TRANSACTIONAL)
    }

    /// Holds markers rather than data.
    pub const fn is_control(self) -> bool {
        self.has(Self::CONTROL)
    }

    /// Base timestamp holds the delete horizon.
    pub const fn has_delete_horizon(self) -> bool {
        self.has(Self::DELETE_HORIZON)
    }

    /// The same attributes with this codec.
    #[must_use]
    pub const fn with_compression(self, codec: Compression) -> Attributes {
        Attributes(self.0 & !Self::COMPRESSION_MASK | codec.id() as i16)
    }

    /// The same attributes with this timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        match timestamp_type {
            TimestampType::CreateTime => self.without(Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => self.with(Self::LOG_APPEND_TIME),
        }
    }

    /// The same attributes with these bits set.
    #[must_use]
    pub const fn with(self, bits: i16) -> Attributes {
        Attributes(self.0 | bits)
    }

    /// The same attributes with these bits cleared.
    #[must_use]
    pub const fn without(self, bits: i16) -> Attributes {
        Attributes(self.0 & !bits)
    }

    const fn has(self, bits: i16) -> bool {
        self.0 & bits != 0
    }
}

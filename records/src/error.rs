//! What can be wrong with a batch, and what Kafka calls it.
//!
//! Variants carry the facts: where, what was expected, what was found. [`ErrorKind`] is the
//! answer a client gets; the broker maps it to the protocol's code, so no protocol crate is needed
//! here.

use crate::compression::CompressionError;

/// A batch that cannot be taken as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does: a torn tail in a log, a partial batch in an answer.
    #[error("batch needs {needed} bytes, only {found} are there")]
    Incomplete {
        /// Bytes the batch is known to need so far.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The length field is too small to hold a header.
    #[error("batch length is {length}, at least {min} expected")]
    LengthTooSmall {
        /// As stored.
        length: i32,
        /// The smallest that makes sense.
        min: i32,
    },
    /// A message set of the formats before Kafka 0.11.
    #[error("message format magic {magic} is no longer supported, expected 2")]
    LegacyMagic {
        /// 0 or 1.
        magic: i8,
    },
    /// No format has this number.
    #[error("magic is {magic}, expected 2")]
    UnknownMagic {
        /// As stored.
        magic: i8,
    },
    /// The last offset, or the one after it, does not fit 64 bits.
    #[error("base offset {base_offset} plus last offset delta {last_offset_delta} overflows")]
    OffsetOverflow {
        /// As stored.
        base_offset: i64,
        /// As stored.
        last_offset_delta: i32,
    },
    /// The checksum does not match the bytes.
    #[error("crc is {found:#010x}, computed {computed:#010x}")]
    Crc {
        /// As stored.
        found: u32,
        /// Over the bytes there are.
        computed: u32,
    },
    /// The codec bits hold a number nobody has defined.
    #[error("compression id {id} is unknown")]
    UnknownCompression {
        /// 5, 6 or 7.
        id: u8,
    },
    /// The count field is negative.
    #[error("record count is {count}")]
    NegativeRecordCount {
        /// As stored.
        count: i32,
    },
    /// One record is malformed.
    #[error("record {index} at byte {at} of the records: {fault}")]
    Record {
        /// Which record, from 0.
        index: usize,
        /// Where it starts in the uncompressed records.
        at: usize,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// All counted records were read and bytes are left.
    #[error("{left} bytes left after {count} records, at byte {at} of the records")]
    TrailingBytes {
        /// Where they start in the uncompressed records.
        at: usize,
        /// How many.
        left: usize,
        /// The record count of the header.
        count: i32,
    },
    /// The body cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// What is wrong inside one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// A field reaches past the end of the record.
    #[error("{needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes left.
        left: usize,
    },
    /// A varint goes on and on.
    #[error("varint longer than {bytes_max} bytes")]
    VarintTooLong {
        /// The longest of its type.
        bytes_max: usize,
    },
    /// The record's own length is negative.
    #[error("record length is {length}")]
    NegativeLength {
        /// As stored.
        length: i32,
    },
    /// The fields end before the declared length does.
    #[error("record declares {declared} bytes, its fields take {read}")]
    LengthMismatch {
        /// As stored.
        declared: usize,
        /// Taken by the fields.
        read: usize,
    },
    /// The header count is negative.
    #[error("header count is {count}")]
    NegativeHeaderCount {
        /// As stored.
        count: i32,
    },
    /// More headers than bytes left to hold them.
    #[error("{count} headers declared, {left} bytes left")]
    TooManyHeaders {
        /// As stored.
        count: i32,
        /// Bytes left in the record.
        left: usize,
    },
    /// A header key is null.
    #[error("header key length is {length}")]
    NegativeHeaderKey {
        /// As stored.
        length: i32,
    },
    /// Base offset plus delta does not fit 64 bits.
    #[error("offset delta {delta} overflows")]
    OffsetOverflow {
        /// As stored.
        delta: i32,
    },
}

/// Kafka's name for an error. The protocol crate knows their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Damaged on the way: a checksum or a length. Clients retry it.
    CorruptMessage,
    /// Whole, but not something a broker accepts. Clients do not retry it.
    InvalidRecord,
    /// A timestamp out of the topic's range, or of a type producers may not use.
    InvalidTimestamp,
    /// Larger than the topic allows.
    MessageTooLarge,
    /// A codec we do not have, or not for this version of the request.
    UnsupportedCompressionType,
    /// A format without the feature asked for.
    UnsupportedForMessageFormat,
}

impl BatchError {
    /// What the producer of such a batch is told.
    pub fn kind(&self) -> ErrorKind {
        match self {
            BatchError::LengthTooSmall { .. }
            | BatchError::UnknownMagic { .. }
            | BatchError::Crc { .. } => ErrorKind::CorruptMessage,
            // A request that ends within its batch has no batch: Kafka counts whole ones only.
            BatchError::Incomplete { .. }
            | BatchError::LegacyMagic { .. }
            | BatchError::OffsetOverflow { .. }
            | BatchError::NegativeRecordCount { .. }
            | BatchError::Record { .. }
            | BatchError::TrailingBytes { .. } => ErrorKind::InvalidRecord,
            BatchError::UnknownCompression { .. } => ErrorKind::UnsupportedCompressionType,
            BatchError::Compression(error) => error.kind(),
        }
    }
}

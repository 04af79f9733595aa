//! Kafka record batches, magic 2: look at them, check them, stamp them, walk them, build them.
//!
//! A batch is the unit of everything in a log: producers send it, the broker checks and stamps it,
//! the disk holds it, replicas and consumers get it back byte for byte. This crate knows its bytes
//! and nothing else. It is synchronous and pure: no files, no sockets, no clock; time is an
//! argument. It trusts nothing it is given: every length is checked against what is really there,
//! decompression stops at the caller's cap, and a failure says where it is.
//!
//! Read in this order:
//!
//! | Module | Owns |
//! |---|---|
//! | [`layout`] | where each header field lies |
//! | [`attributes`] | the bits of the attributes field |
//! | [`view`] | one batch, or a row of them, as a view over bytes |
//! | [`stamp`] | what a broker writes into a batch in place |
//! | [`walk`], [`iter`] | the records inside, without copying them |
//! | [`build`] | new batches, including the cleaner's empty ones |
//! | [`control`] | transaction markers and other control records |
//! | [`mod@validate`] | what a leader demands of a batch before it appends it |
//! | [`rebuild`] | the same records in another codec |
//! | [`compression`] | the five codecs, with output caps |
//! | [`crc`], [`varint`] | checksum and integers |
//! | [`error`] | what can be wrong, and Kafka's name for it |

pub mod attributes;
pub mod build;
pub mod compression;
pub mod control;
pub mod crc;
pub mod error;
pub mod iter;
pub mod layout;
pub mod rebuild;
pub mod stamp;
pub mod validate;
pub mod varint;
pub mod view;
pub mod walk;

pub use attributes::{Attributes, TimestampType};
pub use build::{BatchBuilder, BuildError};
pub use compression::{Compression, CompressionError};
pub use error::{BatchError, ErrorKind, RecordFault};
pub use iter::{Record, Records};
pub use validate::{Accepted, Change, Origin, Rejection, Rules, validate};
pub use view::{
    BatchHeader, BatchSpan, BatchView, Batches, HEADER_BYTES, LOG_OVERHEAD_BYTES, SPAN_BYTES,
    batches,
};
pub use walk::Headers;

/// "No timestamp", in a record or in a batch.
pub const NO_TIMESTAMP: i64 = -1;
/// "No producer id": the batch is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// "No producer epoch".
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// "No sequence number".
pub const NO_SEQUENCE: i32 = -1;
/// "No leader epoch": what clients send; the leader writes its own.
pub const NO_LEADER_EPOCH: i32 = -1;
/// The only batch format that is written or accepted.
pub const MAGIC: i8 = 2;

//! The primitive types of the protocol: integers, varints, strings, bytes, counts and tags.
//!
//! Everything is big-endian. Messages are flexible or not from a certain version on; the reader
//! and the writer are told which once, and then choose between fixed and varint lengths
//! themselves.
//!
//! | Type | Fixed lengths | Flexible |
//! |---|---|---|
//! | string | i16, -1 is null | varint of length + 1, 0 is null |
//! | bytes | i32, -1 is null | varint of length + 1, 0 is null |
//! | array | i32, -1 is null | varint of count + 1, 0 is null |
//! | tagged fields | none | varint count, then tag, size and bytes each |

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

mod read;
mod write;

pub(crate) use read::Reader;
pub(crate) use write::{Put, Writer};

/// Kafka's limit for a string in every encoding.
pub const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// The part of a frame that `text` was read from, sharing the frame's buffer.
pub(crate) fn slice_text(frame: &Bytes, text: &str) -> StrBytes {
    // The text is UTF-8 already, so the second check cannot fail; it costs less than a copy.
    StrBytes::from_utf8(frame.slice_ref(text.as_bytes())).unwrap_or_default()
}

//! Answers as a client reads them: the correlation id, then the body through the guard and the codec.
//!
//! A server's bytes are trusted no more than a client's. What to do about an answer that cannot be
//! read is for the connection: the stream behind it is still whole, as frames have sizes.

use bytes::{Buf, Bytes};
use kafka_protocol::protocol::{Decodable, Request};

use crate::error::{DecodeError, InField, Problem, Read};
use crate::guard::{self, Limits};
use crate::versions::{self, Api};
use crate::wire::Reader;

/// What reading an answer may cost: metadata of a hundred thousand partitions is one answer.
pub const LIMITS: Limits = Limits {
    elements_max: 8_000_000,
    memory_factor: 16,
    memory_slack: 64 * 1024,
};

/// Which request a frame answers.
pub fn correlation_id(frame: &[u8]) -> Result<i32, DecodeError> {
    let mut reader = Reader::new(frame, 0, false);
    let read = reader.i32().field("correlation_id");
    read.map_err(|fault| fault.of("response header", 0))
}

/// Reads the answer to a request of type `T` that was sent in `version`. Its strings and byte
/// fields are slices of the frame: copy what is kept.
///
/// # Panics
///
/// If `T` is not in the version table.
pub fn decode_response<T: Request>(
    version: i16,
    frame: &Bytes,
    limits: &Limits,
) -> Result<T::Response, DecodeError> {
    let Some(api) = versions::by_key(T::KEY) else {
        panic!("no row in the version table for key {}", T::KEY);
    };
    let body_at = body_at(api, version, frame)?;
    guard::check_response(api, version, frame, body_at, limits)?;
    let mut body = frame.slice(body_at..);
    let decoded = T::Response::decode(&mut body, api.codec_version(version));
    // The guard knows every shape the codec does, so this is a mistake in the schema table.
    decoded.map_err(|_| DecodeError {
        message: format!("{} response", api.name),
        version,
        field: "message".to_owned(),
        at: frame.len() - body.remaining(),
        problem: Problem::Codec,
    })
}

/// Where the body starts behind the header.
fn body_at(api: &Api, version: i16, frame: &[u8]) -> Result<usize, DecodeError> {
    let header_version = api.response_header_version(version);
    let mut reader = Reader::new(frame, 0, header_version >= 1);
    let read = |reader: &mut Reader<'_>| -> Read<usize> {
        reader.i32().field("correlation_id")?;
        if header_version >= 1 {
            reader.skip_tags().field("tagged_fields")?;
        }
        Ok(reader.at())
    };
    read(&mut reader).map_err(|fault| fault.of("response header", header_version))
}

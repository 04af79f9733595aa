//! Bodies of requests to and from the codec crate's structs, in every version of the table.
//!
//! Where the crate lacks a version (`Api::request_by_hand_from`), `messages` fills in. Nothing here
//! bounds what a body may claim: bytes from outside come through `request`, behind the guard.

use std::any::Any;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::Request;

use crate::error::{EncodeError, Read, Unencodable};
use crate::frame;
use crate::messages::offsets;
use crate::versions::Api;
use crate::wire::{Put, Reader, Writer};

/// Reads a body from the start of `body`, which is left behind it.
pub fn decode_request<T: Request + 'static>(
    api: &Api,
    version: i16,
    body: &mut Bytes,
) -> Result<T, String> {
    if version < api.request_by_hand_from {
        let decoded = T::decode(body, api.codec_version(version));
        return decoded.map_err(|error| error.to_string());
    }
    let frame = body.clone();
    let mut reader = Reader::new(&frame, 0, api.is_flexible(version));
    let mut made: Option<T> = None;
    let read = read_by_hand(&mut made, &frame, &mut reader).map_err(|fault| {
        fault
            .of(format!("{} request", api.name), version)
            .to_string()
    });
    body.advance(reader.at());
    read?;
    made.ok_or_else(|| unknown(api, version))
}

/// Writes a body to the end of `out`.
pub fn encode_request<T: Request + 'static>(
    api: &Api,
    version: i16,
    request: &T,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let written = if version < api.request_by_hand_from {
        let encoded = request.encode(out, api.codec_version(version));
        encoded.map_err(|error| Unencodable::Codec(error.to_string()))
    } else {
        put_by_hand(request, &mut Writer::new(out, api.is_flexible(version)))
            .unwrap_or_else(|| Err(Unencodable::Codec(unknown(api, version))))
    };
    written.map_err(|reason| unencodable(api, version, reason))
}

/// A whole frame: its size, the header and the body.
pub fn request_frame<T: Request + 'static>(
    api: &Api,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &T,
) -> Result<BytesMut, EncodeError> {
    let mut out = BytesMut::new();
    let start = frame::start(&mut out);
    out.put_i16(api.key);
    out.put_i16(version);
    out.put_i32(correlation_id);
    // The client id keeps its fixed-width length in flexible versions too.
    Writer::new(&mut out, false)
        .nullable_string(client_id)
        .map_err(|reason| unencodable(api, version, reason))?;
    if api.request_header_version(version) >= 2 {
        out.put_u8(0);
    }
    encode_request(api, version, request, &mut out)?;
    frame::finish(&mut out, start, 0)
        .map_err(|size| unencodable(api, version, Unencodable::FrameTooLong(size)))?;
    Ok(out)
}

fn read_by_hand<T: 'static>(
    made: &mut Option<T>,
    frame: &Bytes,
    reader: &mut Reader<'_>,
) -> Read<()> {
    let made: &mut dyn Any = made;
    if let Some(commit) = made.downcast_mut::<Option<OffsetCommitRequest>>() {
        *commit = Some(offsets::read_commit(frame, reader)?);
    } else if let Some(fetch) = made.downcast_mut::<Option<OffsetFetchRequest>>() {
        *fetch = Some(offsets::read_fetch(frame, reader)?);
    }
    Ok(())
}

/// `None` for a message that has no version of ours.
fn put_by_hand<T: 'static>(request: &T, out: &mut Writer<'_>) -> Option<Put> {
    let request: &dyn Any = request;
    if let Some(commit) = request.downcast_ref::<OffsetCommitRequest>() {
        Some(offsets::put_commit(commit, out))
    } else {
        let fetch = request.downcast_ref::<OffsetFetchRequest>()?;
        Some(offsets::put_fetch(fetch, out))
    }
}

fn unknown(api: &Api, version: i16) -> String {
    format!("nothing here reads or writes {} v{version}", api.name)
}

fn unencodable(api: &Api, version: i16, reason: Unencodable) -> EncodeError {
    EncodeError {
        message: format!("{} request", api.name),
        version,
        reason,
    }
}

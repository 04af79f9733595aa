//! Request and response headers.
//!
//! ```text
//! request  key i16 | version i16 | correlation id i32 | client id | v2: tagged fields
//! response correlation id i32 | v1: tagged fields
//! ```
//!
//! The first eight bytes are the same in every request ever sent, so they are read on their own:
//! an unknown API or version can then be answered or named in a log. The client id keeps its
//! fixed-width length in flexible versions too.

use bytes::{BufMut, BytesMut};

use crate::error::{DecodeError, Fault, InField, Read};
use crate::frame;
use crate::versions::Api;
use crate::wire::Reader;

const MESSAGE: &str = "request header";

/// What every request starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which API; may be one this crate does not speak.
    pub key: i16,
    /// In which version; may be one this crate does not speak.
    pub version: i16,
    /// Repeated in the answer.
    pub correlation_id: i32,
}

impl Head {
    /// Reads the first eight bytes of a frame.
    pub fn parse(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame, 0, false);
        Self::read(&mut reader).map_err(|fault| fault.of(MESSAGE, 0))
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Head {
            key: reader.i16().field("api_key")?,
            version: reader.i16().field("api_version")?,
            correlation_id: reader.i32().field("correlation_id")?,
        })
    }
}

/// The header of a request whose API is known; its version need not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API.
    pub api: &'static Api,
    /// In which version.
    pub version: i16,
    /// Repeated in the answer.
    pub correlation_id: i32,
    /// As the client wrote it: up to 32,767 bytes of any UTF-8. Bound it before it names a metric.
    pub client_id: Option<&'a str>,
    /// Where the body starts in the frame.
    pub body_at: usize,
}

impl<'a> RequestHeader<'a> {
    /// Reads the whole header of a request for `api`.
    pub fn parse(frame: &'a [u8], api: &'static Api) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame, 0, false);
        let head = Head::read(&mut reader).map_err(|fault| fault.of(MESSAGE, 0))?;
        let header_version = api.request_header_version(head.version);
        let rest = |reader: &mut Reader<'a>| -> Read<(Option<&'a str>, usize)> {
            let client_id = reader.nullable_string().field("client_id")?;
            let mut reader = Reader::new(frame, reader.at(), header_version >= 2);
            reader.skip_tags().field("tagged_fields")?;
            Ok((client_id, reader.at()))
        };
        let (client_id, body_at) =
            rest(&mut reader).map_err(|fault: Box<Fault>| fault.of(MESSAGE, header_version))?;
        Ok(RequestHeader {
            api,
            version: head.version,
            correlation_id: head.correlation_id,
            client_id,
            body_at,
        })
    }
}

/// Starts a response frame: room for the size, then the header. Returns where the frame starts,
/// for `frame::finish`.
pub(crate) fn start_response(
    out: &mut BytesMut,
    correlation_id: i32,
    header_version: i16,
) -> usize {
    let start = frame::start(out);
    out.put_i32(correlation_id);
    if header_version >= 1 {
        out.put_u8(0);
    }
    start
}

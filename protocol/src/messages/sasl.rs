//! SaslHandshake and SaslAuthenticate: with ApiVersions, all a stranger may send.

use std::fmt;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::error::{DecodeError, EncodeError, InField, Read};
use crate::error_code::ErrorCode;
use crate::versions::{SASL_AUTHENTICATE, SASL_HANDSHAKE};
use crate::wire::{Reader, slice_text};

/// The mechanism a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslHandshakeRequest {
    /// As the client wrote it, such as `SCRAM-SHA-512`; may be anything.
    pub mechanism: StrBytes,
}

impl SaslHandshakeRequest {
    /// Reads the body that starts at `body_at` of `frame`.
    pub fn parse(frame: &Bytes, body_at: usize, version: i16) -> Result<Self, DecodeError> {
        let read = || -> Read<Self> {
            let flexible = SASL_HANDSHAKE.is_flexible(version);
            let mut reader = Reader::new(frame, body_at, flexible);
            let mechanism = reader.string().field("mechanism")?;
            Ok(SaslHandshakeRequest {
                mechanism: slice_text(frame, mechanism),
            })
        };
        read().map_err(|fault| fault.of("SaslHandshake request", version))
    }
}

/// Whether the mechanism is one of ours, and which those are.
#[derive(Debug, Clone, Copy)]
pub struct SaslHandshakeResponse<'a> {
    /// NONE, UNSUPPORTED_SASL_MECHANISM or ILLEGAL_SASL_STATE.
    pub error_code: ErrorCode,
    /// The mechanisms of this listener.
    pub mechanisms: &'a [&'a str],
}

impl SaslHandshakeResponse<'_> {
    /// A whole response frame.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<BytesMut, EncodeError> {
        super::response(&SASL_HANDSHAKE, version, correlation_id, |out| {
            out.i16(self.error_code.code());
            out.array(self.mechanisms, |out, mechanism| out.string(mechanism))
        })
    }
}

/// One message of a SASL exchange.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslAuthenticateRequest {
    /// The mechanism's bytes: may hold a password, so they are not shown in debug output.
    pub auth_bytes: Bytes,
}

impl fmt::Debug for SaslAuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SaslAuthenticateRequest({} bytes)",
            self.auth_bytes.len()
        )
    }
}

impl SaslAuthenticateRequest {
    /// Reads the body that starts at `body_at` of `frame`.
    pub fn parse(frame: &Bytes, body_at: usize, version: i16) -> Result<Self, DecodeError> {
        let read = || -> Read<Self> {
            let flexible = SASL_AUTHENTICATE.is_flexible(version);
            let mut reader = Reader::new(frame, body_at, flexible);
            let auth_bytes = frame.slice(reader.bytes().field("auth_bytes")?);
            reader.skip_tags()?;
            Ok(SaslAuthenticateRequest { auth_bytes })
        };
        read().map_err(|fault| fault.of("SaslAuthenticate request", version))
    }
}

/// The broker's side of the exchange.
#[derive(Clone, Copy)]
pub struct SaslAuthenticateResponse<'a> {
    /// NONE, SASL_AUTHENTICATION_FAILED or ILLEGAL_SASL_STATE.
    pub error_code: ErrorCode,
    /// What to tell the user; never why exactly.
    pub error_message: Option<&'a str>,
    /// The mechanism's bytes.
    pub auth_bytes: &'a [u8],
    /// How long the session may last before it must authenticate again; 0 is for ever.
    pub session_lifetime_ms: i64,
}

impl fmt::Debug for SaslAuthenticateResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.auth_bytes.len();
        write!(
            f,
            "SaslAuthenticateResponse({}, {bytes} bytes)",
            self.error_code
        )
    }
}

impl SaslAuthenticateResponse<'_> {
    /// A whole response frame.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<BytesMut, EncodeError> {
        super::response(&SASL_AUTHENTICATE, version, correlation_id, |out| {
            out.i16(self.error_code.code());
            out.nullable_string(self.error_message)?;
            out.bytes(self.auth_bytes)?;
            if version >= 1 {
                out.i64(self.session_lifetime_ms);
            }
            out.no_tags();
            Ok(())
        })
    }
}

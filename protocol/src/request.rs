//! From a frame to a request: header, version table, guard, decoder.
//!
//! ```text
//! frame -> head (8 bytes) -> version table -> header -> by hand: ApiVersions, Sasl*, Produce, Fetch
//!                                                    -> guard -> Checked -> codec crate
//! ```
//!
//! A `Checked` body exists only behind the guard, and only it leads to the codec crate: there is no
//! other way to a generated decoder in this crate. What cannot be served still says as much about
//! itself as could be read, so that it can be answered or logged.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, Request as Message};
use thiserror::Error;

use crate::codec;
use crate::error::{DecodeError, EncodeError, Problem, Unencodable};
use crate::frame;
use crate::guard::{self, Limits};
use crate::header::{self, Head, RequestHeader};
use crate::messages::api_versions::ApiVersionsRequest;
use crate::messages::fetch::FetchRequest;
use crate::messages::produce::ProduceRequest;
use crate::messages::sasl::{SaslAuthenticateRequest, SaslHandshakeRequest};
use crate::versions::{self, API_VERSIONS, Api, FETCH, PRODUCE, SASL_AUTHENTICATE, SASL_HANDSHAKE};

/// A request whose bytes have been checked to the last one.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who asks for what.
    pub header: RequestHeader<'a>,
    /// The question.
    pub body: RequestBody<'a>,
}

/// The body of a request.
#[derive(Debug)]
pub enum RequestBody<'a> {
    /// ApiVersions in a version of ours.
    ApiVersions(ApiVersionsRequest),
    /// SaslHandshake.
    SaslHandshake(SaslHandshakeRequest),
    /// SaslAuthenticate.
    SaslAuthenticate(SaslAuthenticateRequest),
    /// Produce in a version that is served.
    Produce(ProduceRequest<'a>),
    /// Produce in a version that is advertised and not served: each partition is owed
    /// UNSUPPORTED_VERSION. With `acks` 0 there is no answer, so close.
    RetiredProduce(ProduceRequest<'a>),
    /// Fetch.
    Fetch(FetchRequest),
    /// Any other API, to be decoded by its handler.
    Checked(Checked),
}

/// A body the guard has accepted.
#[derive(Debug, Clone)]
pub struct Checked {
    api: &'static Api,
    version: i16,
    body_at: usize,
    frame: Bytes,
    charge: guard::Charge,
}

/// Why a frame is not a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not even the first eight bytes are there: close.
    #[error(transparent)]
    Headless(DecodeError),
    /// An API this crate does not speak: close, as Kafka does.
    #[error("no api has the key {} (version {})", .0.key, .0.version)]
    UnknownApi(Head),
    /// A version this crate does not speak. ApiVersions is owed `ApiVersionsResponse::unsupported`;
    /// for all others close, as Kafka does.
    #[error("{} has no version {}", .api.name, .head.version)]
    UnsupportedVersion {
        /// What could be read.
        head: Head,
        /// Whose version.
        api: &'static Api,
    },
    /// Bytes that are not the message they claim to be: close.
    #[error(transparent)]
    Malformed(DecodeError),
}

impl<'a> Request<'a> {
    /// Reads a frame, without its size field.
    pub fn decode(frame: &'a Bytes, limits: &Limits) -> Result<Self, RequestError> {
        let header = Request::header(frame)?;
        let body = RequestBody::decode(frame, &header, limits).map_err(RequestError::Malformed)?;
        Ok(Request { header, body })
    }

    /// Reads as much of a frame as says what is asked for, in a version that is advertised.
    pub fn header(frame: &[u8]) -> Result<RequestHeader<'_>, RequestError> {
        let head = Head::parse(frame).map_err(RequestError::Headless)?;
        let api = versions::by_key(head.key).ok_or(RequestError::UnknownApi(head))?;
        if !api.advertises(head.version) {
            return Err(RequestError::UnsupportedVersion { head, api });
        }
        RequestHeader::parse(frame, api).map_err(RequestError::Malformed)
    }
}

impl<'a> RequestBody<'a> {
    /// Reads what is behind the header. Produce borrows the frame; the others share it.
    pub fn decode(
        frame: &'a Bytes,
        header: &RequestHeader<'_>,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let RequestHeader {
            api,
            version,
            body_at: at,
            ..
        } = *header;
        const PRODUCE_KEY: i16 = PRODUCE.key;
        const FETCH_KEY: i16 = FETCH.key;
        const API_VERSIONS_KEY: i16 = API_VERSIONS.key;
        const SASL_HANDSHAKE_KEY: i16 = SASL_HANDSHAKE.key;
        const SASL_AUTHENTICATE_KEY: i16 = SASL_AUTHENTICATE.key;
        Ok(match api.key {
            PRODUCE_KEY => {
                let request = ProduceRequest::parse(frame, at, version, limits)?;
                if api.serves(version) {
                    RequestBody::Produce(request)
                } else {
                    RequestBody::RetiredProduce(request)
                }
            }
            FETCH_KEY => {
                RequestBody::Fetch(FetchRequest::parse(frame.clone(), at, version, limits)?)
            }
            API_VERSIONS_KEY => {
                RequestBody::ApiVersions(ApiVersionsRequest::parse(frame, at, version)?)
            }
            SASL_HANDSHAKE_KEY => {
                RequestBody::SaslHandshake(SaslHandshakeRequest::parse(frame, at, version)?)
            }
            SASL_AUTHENTICATE_KEY => {
                RequestBody::SaslAuthenticate(SaslAuthenticateRequest::parse(frame, at, version)?)
            }
            _ => RequestBody::Checked(Checked::check(frame.clone(), header, limits)?),
        })
    }
}

impl Checked {
    /// Sends a body through the guard.
    pub fn check(
        frame: Bytes,
        header: &RequestHeader<'_>,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let RequestHeader {
            api,
            version,
            body_at,
            ..
        } = *header;
        let charge = guard::check_request(api, version, &frame, body_at, limits)?;
        Ok(Checked {
            api,
            version,
            body_at,
            frame,
            charge,
        })
    }

    /// Which message this is.
    pub fn api(&self) -> &'static Api {
        self.api
    }

    /// In which version.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// What decoding may cost at most.
    pub fn charge(&self) -> guard::Charge {
        self.charge
    }

    /// Decodes the body. Its strings and byte fields are slices of the frame: copy what is kept.
    ///
    /// # Panics
    ///
    /// If `T` is not this message: a handler asked for another API's request.
    pub fn decode<T: Message + 'static>(&self) -> Result<T, DecodeError> {
        assert_eq!(T::KEY, self.api.key, "decoding {}", self.api.name);
        let mut body = self.frame.slice(self.body_at..);
        let decoded = codec::decode_request(self.api, self.version, &mut body);
        // The guard knows every shape the codec does, so this is a mistake in the schema table.
        decoded.map_err(|_| DecodeError {
            message: format!("{} request", self.api.name),
            version: self.version,
            field: "message".to_owned(),
            at: self.frame.len() - body.len(),
            problem: Problem::Codec,
        })
    }
}

/// A whole response frame around a message of the codec crate.
///
/// Fails where the message has a field set that `version` cannot carry: the request is still owed
/// an answer.
pub fn encode_response<T: Encodable>(
    api: &Api,
    version: i16,
    correlation_id: i32,
    body: &T,
) -> Result<BytesMut, EncodeError> {
    let unencodable = |reason| EncodeError {
        message: format!("{} response", api.name),
        version,
        reason,
    };
    let codec_version = api.codec_version(version);
    let refused = |error: String| unencodable(Unencodable::Codec(error));
    let size = body
        .compute_size(codec_version)
        .map_err(|error| refused(error.to_string()))?;
    // The size field, the correlation id and the tag count go in front.
    let mut out = BytesMut::with_capacity(size.saturating_add(frame::SIZE_BYTES + 5));
    let header_version = api.response_header_version(version);
    let start = header::start_response(&mut out, correlation_id, header_version);
    body.encode(&mut out, codec_version)
        .map_err(|error| refused(error.to_string()))?;
    frame::finish(&mut out, start, 0)
        .map_err(|size| unencodable(Unencodable::FrameTooLong(size)))?;
    Ok(out)
}

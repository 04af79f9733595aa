//! From a frame to the handler that answers it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use reka_protocol::messages::api_versions::{ApiRange, ApiVersionsResponse};
use reka_protocol::messages::produce::ProduceRequest;
use reka_protocol::versions::{API_VERSIONS, PRODUCE};
use reka_protocol::{Api, Limits, Request, RequestBody, RequestError};

use crate::api::{self, Call, Context};
use crate::net::answer::Answer;
use crate::net::connection::Closed;

/// What a started request leaves behind.
pub enum Reply {
    /// Nothing is sent (acks=0).
    None,
    /// The answer.
    Now(Answer),
    /// The answer, later.
    Later(Pin<Box<dyn Future<Output = Result<Answer, Closed>>>>),
}

/// A started request.
pub struct Begun {
    /// What is asked.
    pub api: &'static Api,
    /// What it left behind.
    pub reply: Reply,
}

/// A whole frame without its size.
pub enum Frame<'a> {
    /// Where it was read. What is not done with it in this call needs a copy.
    Lent(&'a mut [u8]),
    /// In memory of its own.
    Owned(BytesMut),
}

impl Frame<'_> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Frame::Lent(frame) => frame,
            Frame::Owned(frame) => frame,
        }
    }

    fn share(self) -> Bytes {
        match self {
            Frame::Lent(frame) => Bytes::copy_from_slice(frame),
            Frame::Owned(frame) => frame.freeze(),
        }
    }
}

/// Whether a frame is done with once it is started, so that it can stay where it was read.
pub fn is_done_at_once(frame: &[u8]) -> bool {
    if !frame.starts_with(&PRODUCE.key.to_be_bytes()) {
        return false;
    }
    match Request::header(frame) {
        // The coordinator of a transaction may have to be asked.
        Ok(head) => !ProduceRequest::is_transactional(frame, head.body_at, head.version),
        Err(_) => true,
    }
}

/// Decodes a frame and starts its request. An error closes the connection, as Kafka does for bytes
/// that are not a request and for versions that are not served.
pub fn start(context: &Rc<Context>, mut frame: Frame<'_>) -> Result<Begun, Closed> {
    let bytes = frame.bytes_mut();
    let header = match Request::header(bytes) {
        Ok(header) => header,
        Err(RequestError::UnsupportedVersion { head, api }) if api.key == API_VERSIONS.key => {
            let answer = ApiVersionsResponse::unsupported(
                ApiRange::from(&API_VERSIONS),
                head.correlation_id,
            );
            return Ok(Begun {
                api: &API_VERSIONS,
                reply: Reply::Now(answer.map_err(refused)?.into()),
            });
        }
        Err(error) => return Err(refused(error)),
    };
    let call = Call {
        api: header.api,
        version: header.version,
        correlation_id: header.correlation_id,
    };
    context.note_client_id(header.client_id);
    let body_at = header.body_at;
    let metrics = &context.services.metrics.requests;
    metrics.received(call.api, bytes.len());
    let reply = match call.api.key == PRODUCE.key {
        true => api::produce::start(context, call, bytes, body_at),
        false => start_shared(context, call, &frame.share()),
    }?;
    let api = call.api;
    Ok(Begun { api, reply })
}

/// Starts what may wait: it shares its frame.
fn start_shared(context: &Rc<Context>, call: Call, frame: &Bytes) -> Result<Reply, Closed> {
    let Request { header, body } = Request::decode(frame, &Limits::default()).map_err(refused)?;
    match body {
        RequestBody::Fetch(request) => api::fetch::start(context, call, &request),
        RequestBody::ApiVersions(request) => api::api_versions::start(context, call, &request),
        RequestBody::SaslHandshake(_) | RequestBody::SaslAuthenticate(_) => Err(Closed::Refused(
            "sasl is not configured on this listener".to_owned(),
        )),
        RequestBody::Checked(body) => match api::handler_of(header.api.key) {
            Some(start) => start(context.clone(), call, &body),
            None => Err(Closed::Refused(format!(
                "{} is not served",
                header.api.name
            ))),
        },
        RequestBody::Produce(_) | RequestBody::RetiredProduce(_) => {
            unreachable!("produce is started where it was read")
        }
    }
}

pub(crate) fn refused(error: impl ToString) -> Closed {
    Closed::Refused(error.to_string())
}

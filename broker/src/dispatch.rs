//! From a frame to the handler that answers it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use reka_protocol::messages::api_versions::{ApiRange, ApiVersionsResponse};
use reka_protocol::versions::API_VERSIONS;
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

/// Decodes a frame and starts its request. An error closes the connection, as Kafka does for bytes
/// that are not a request and for versions that are not served.
pub fn start(context: &Rc<Context>, frame: Bytes) -> Result<Begun, Closed> {
    let bytes = frame.len();
    let request = match Request::decode(frame, &Limits::default()) {
        Ok(request) => request,
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
    let header = request.header;
    let call = Call {
        api: header.api,
        version: header.version,
        correlation_id: header.correlation_id,
    };
    context.note_client_id(header.client_id.as_deref());
    // A slice of the frame; produce needs the frame to itself.
    drop(header.client_id);
    context.services.metrics.requests.received(call.api, bytes);
    let reply = match request.body {
        RequestBody::Produce(request) => api::produce::start(context, call, request),
        RequestBody::RetiredProduce(request) => api::produce::refuse_retired(call, &request),
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
    }?;
    let api = call.api;
    Ok(Begun { api, reply })
}

pub(crate) fn refused(error: impl ToString) -> Closed {
    Closed::Refused(error.to_string())
}

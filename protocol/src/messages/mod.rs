//! Messages decoded and encoded by hand.
//!
//! Everything before authentication (`api_versions`, `sasl`), so that strangers never reach a
//! generated decoder; and the two hot paths (`produce`, `fetch`), whose records stay where they
//! are. All other messages are the codec crate's, behind the guard, but for the one
//! version of `offsets` that it lacks. `coordinator` has the records
//! of the internal topics, which the codec crate lacks.
//!
//! Decoders check a whole request once and then hand out slices of its frame. They accept and
//! refuse exactly what the guard does; a test compares the two on mutated frames.

pub mod api_versions;
pub mod coordinator;
pub mod fetch;
pub(crate) mod offsets;
pub mod produce;
pub mod sasl;

use bytes::BytesMut;
use uuid::Uuid;

use crate::error::{EncodeError, Unencodable};
use crate::frame;
use crate::header;
use crate::versions::Api;
use crate::wire::{Put, Writer};

/// A broker to turn to instead, sent along with answers that say "not me" (KIP-951).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// The broker.
    pub node_id: i32,
    /// Its host on the listener the client came in on.
    pub host: &'a str,
    /// Its port there.
    pub port: i32,
    /// Its rack.
    pub rack: Option<&'a str>,
}

/// The leader to turn to instead (KIP-951).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// The leader, or -1.
    pub leader_id: i32,
    /// Its epoch, or -1.
    pub leader_epoch: i32,
}

/// How a topic is called in answers: by name in old versions and by id in new ones, so that an
/// answer has both and the version picks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLabel<'a> {
    /// The name; may be empty in versions that send the id.
    pub name: &'a str,
    /// The id; may be nil in versions that send the name.
    pub id: Uuid,
}

/// How a request calls a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name. Any string: whether it is a topic name is for the handler to say.
    Name(&'a str),
    /// By id.
    Id(Uuid),
}

fn put_node_endpoints(out: &mut Writer<'_>, endpoints: &[NodeEndpoint<'_>]) -> Put {
    out.array(endpoints, |out, endpoint| {
        out.i32(endpoint.node_id);
        out.string(endpoint.host)?;
        out.i32(endpoint.port);
        out.nullable_string(endpoint.rack)?;
        out.no_tags();
        Ok(())
    })
}

fn put_leader(out: &mut Writer<'_>, leader: LeaderIdAndEpoch) -> Put {
    out.i32(leader.leader_id);
    out.i32(leader.leader_epoch);
    out.no_tags();
    Ok(())
}

/// A response frame around `body`.
fn response(
    api: &Api,
    version: i16,
    correlation_id: i32,
    body: impl FnOnce(&mut Writer<'_>) -> Put,
) -> Result<BytesMut, EncodeError> {
    let mut out = BytesMut::new();
    response_into(&mut out, api, version, correlation_id, body)?;
    Ok(out)
}

/// The same behind what is in `out`.
fn response_into(
    out: &mut BytesMut,
    api: &Api,
    version: i16,
    correlation_id: i32,
    body: impl FnOnce(&mut Writer<'_>) -> Put,
) -> Result<(), EncodeError> {
    let start = header::start_response(out, correlation_id, api.response_header_version(version));
    body(&mut Writer::new(out, api.is_flexible(version)))
        .and_then(|()| frame::finish(out, start, 0).map_err(Unencodable::FrameTooLong))
        .map_err(|reason| unencodable(api, version, reason))?;
    Ok(())
}

fn unencodable(api: &Api, version: i16, reason: Unencodable) -> EncodeError {
    EncodeError {
        message: format!("{} response", api.name),
        version,
        reason,
    }
}

//! FindCoordinator (10), versions 0-6.
//!
//! | version | adds |
//! |---|---|
//! | 1 | transactions (KIP-98), throttle time, error messages |
//! | 3 | flexible encoding |
//! | 4 | many keys at once (KIP-699) |
//! | 5 | transaction errors (KIP-890) |
//! | 6 | share groups (KIP-932): refused, as Kafka does where they are not enabled |
//!
//! `__consumer_offsets` is created by the first question about a group, `__transaction_state` by the
//! first about a transactional id.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::find_coordinator_response::Coordinator;
use reka_protocol::kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::coordinator::partition_for;
use crate::group::coordinators as group;
use crate::metadata::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::txn::coordinators as txn;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// From here on many keys are asked for at once.
const BATCHED_FROM: i16 = 4;

/// Says which broker coordinates a group, or a transactional id.
#[derive(Debug)]
pub struct FindCoordinator;

/// A broker as clients reach it.
struct Node {
    id: BrokerId,
    host: StrBytes,
    port: i32,
}

impl Handler for FindCoordinator {
    type Request = FindCoordinatorRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let mut response = FindCoordinatorResponse::default();
        if call.version < BATCHED_FROM {
            let found = find(&context, request.key_type, &request.key).await;
            let (code, node) = split(found);
            return response
                .with_error_code(code.code())
                .with_error_message(Some(StrBytes::from_static_str(sentence(code))))
                .with_node_id(node.id)
                .with_host(node.host)
                .with_port(node.port);
        }
        for key in request.coordinator_keys {
            let found = find(&context, request.key_type, &key).await;
            let (code, node) = split(found);
            let message = if code.is_error() { sentence(code) } else { "" };
            let coordinator = Coordinator::default()
                .with_key(key)
                .with_error_code(code.code())
                .with_error_message(Some(StrBytes::from_static_str(message)))
                .with_node_id(node.id)
                .with_host(node.host)
                .with_port(node.port);
            response.coordinators.push(coordinator);
        }
        response
    }
}

/// Kafka's own.
fn sentence(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => {
            "This most likely occurs because of a request being malformed by the client library or \
             the message was sent to an incompatible broker. See the broker logs for more details."
        }
        ErrorCode::CoordinatorNotAvailable => "The coordinator is not available.",
        other => other.name(),
    }
}

fn split(found: Result<Node, ErrorCode>) -> (ErrorCode, Node) {
    match found {
        Ok(node) => (ErrorCode::None, node),
        Err(code) => {
            let nobody = Node {
                id: BrokerId(-1),
                host: StrBytes::default(),
                port: -1,
            };
            (code, nobody)
        }
    }
}

async fn find(context: &Context, key_type: i8, key: &str) -> Result<Node, ErrorCode> {
    let services = &context.services;
    let (topic, created) = match key_type {
        GROUP => (CONSUMER_OFFSETS, group::create_topic(services).await),
        TRANSACTION => (TRANSACTION_STATE, txn::create_topic(services).await),
        _ => return Err(ErrorCode::InvalidRequest),
    };
    if let Err(error) = created {
        tracing::warn!("{topic} is not created: {error}");
        return Err(ErrorCode::CoordinatorNotAvailable);
    }
    let image = services.quorum.image();
    let leader = image.topics().get(topic).and_then(|topic| {
        let index = partition_for(key, topic.partition_count())?;
        Some(topic.partition(index)?.leader)
    });
    let broker = super::metadata::brokers(context, &image)
        .into_iter()
        .find(|broker| Some(broker.node_id.0) == leader);
    broker
        .map(|broker| Node {
            id: broker.node_id,
            host: broker.host,
            port: broker.port,
        })
        .ok_or(ErrorCode::CoordinatorNotAvailable)
}

//! ConsumerGroupHeartbeat (68), versions 0-1 (KIP-848).
//!
//! | version | adds |
//! |---|---|
//! | 0 | the broker may choose the member's id |
//! | 1 | the client must (KIP-1082); subscriptions by expression |

use std::collections::BTreeSet;
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::consumer_group_heartbeat_response::{
    Assignment, TopicPartitions,
};
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::text::{message, text};
use super::{Call, Context, Handler};
use crate::group::ask::{Beat, Reply};
use crate::group::consumer::Beaten;
use crate::group::refusal::Refusal;

/// From here on clients choose their ids.
const CHOOSES_ID_FROM: i16 = 1;

/// Lets members of consumer groups in, keeps them in, and tells them what to read.
#[derive(Debug)]
pub struct ConsumerGroupHeartbeat;

impl Handler for ConsumerGroupHeartbeat {
    type Request = ConsumerGroupHeartbeatRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        if !is_served(&context) {
            // Without a sentence, as from Apache Kafka.
            return ConsumerGroupHeartbeatResponse::default()
                .with_error_code(ErrorCode::UnsupportedVersion.code())
                .with_error_message(None);
        }
        let beat = beat(&context, call, &request);
        drop(request);
        let services = &context.services;
        let beaten = match services.groups.beat(services, beat).await {
            Reply::Beat(beaten) => beaten,
            other => Err(Refusal::new(other.refusal(), other.refusal().name())),
        };
        respond(beaten)
    }
}

/// Whether the broker is to speak the protocol, and the cluster has agreed on it.
pub(super) fn is_served(context: &Context) -> bool {
    let image = context.services.quorum.image();
    let agreed = image.features().level("group.version").unwrap_or(0) >= 1;
    agreed && context.services.config().groups.consumer_protocol
}

fn beat(context: &Context, call: Call, request: &ConsumerGroupHeartbeatRequest) -> Beat {
    let owned = |text: &Option<StrBytes>| text.as_ref().map(ToString::to_string);
    let topics = request.subscribed_topic_names.as_ref();
    let partitions = request.topic_partitions.as_ref();
    Beat {
        group: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        epoch: request.member_epoch,
        instance_id: owned(&request.instance_id),
        rack_id: owned(&request.rack_id),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        caller: context.caller(),
        topics: topics.map(|topics| topics.iter().map(|name| name.to_string()).collect()),
        pattern: owned(&request.subscribed_topic_regex),
        matched: None,
        assignor: owned(&request.server_assignor),
        owned: partitions.map(|topics| {
            let topics = topics.iter();
            let owned = topics.map(|topic| {
                let indexes: BTreeSet<i32> = topic.partitions.iter().copied().collect();
                (topic.topic_id, indexes)
            });
            owned.filter(|(_, indexes)| !indexes.is_empty()).collect()
        }),
        fresh_id: context.services.chance.uuid(),
        chooses_id: call.version >= CHOOSES_ID_FROM,
    }
}

fn respond(beaten: Result<Beaten, Refusal>) -> ConsumerGroupHeartbeatResponse {
    let response = ConsumerGroupHeartbeatResponse::default();
    match beaten {
        Ok(beaten) => response
            .with_error_code(ErrorCode::None.code())
            .with_error_message(None)
            .with_member_id(Some(text(beaten.member_id)))
            .with_member_epoch(beaten.epoch)
            .with_heartbeat_interval_ms(beaten.interval_ms)
            .with_assignment(beaten.assignment.map(|topics| {
                let topics = topics.into_iter().map(|(topic_id, partitions)| {
                    TopicPartitions::default()
                        .with_topic_id(topic_id)
                        .with_partitions(partitions)
                });
                Assignment::default().with_topic_partitions(topics.collect())
            })),
        Err(refusal) => response
            .with_error_code(refusal.error_code.code())
            .with_error_message(message(refusal.message))
            .with_member_id(None),
    }
}

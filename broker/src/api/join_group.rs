//! JoinGroup (11), versions 0-9.
//!
//! | version | adds |
//! |---|---|
//! | 1 | rebalance timeout; before, it is the session timeout |
//! | 2 | throttle time |
//! | 4 | a new member is given its id before it joins (KIP-394) |
//! | 5 | static members (KIP-345) |
//! | 6 | flexible encoding |
//! | 7 | protocol type in the answer (KIP-559) |
//! | 8 | reasons (KIP-800) |
//! | 9 | a leader may be told not to assign (KIP-814) |
//!
//! The answer comes when the next generation begins.

use std::collections::HashSet;
use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use reka_protocol::kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Join, Joined, Protocol, Reply};

const REBALANCE_TIMEOUT_FROM: i16 = 1;
const ID_FIRST_FROM: i16 = 4;
const NULLABLE_PROTOCOL_FROM: i16 = 7;
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// Lets members into a classic group.
#[derive(Debug)]
pub struct JoinGroup;

impl Handler for JoinGroup {
    type Request = JoinGroupRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: JoinGroupRequest,
    ) -> JoinGroupResponse {
        let group = request.group_id.to_string();
        let member_id = request.member_id.to_string();
        let ask = Ask::Join(join(&context, call, &request));
        drop(request);
        let joined = match context.services.groups.ask(&group, ask).await {
            Reply::Join(joined) => joined,
            other => Joined::error(other.refusal(), member_id),
        };
        respond(call, joined)
    }
}

fn join(context: &Context, call: Call, request: &JoinGroupRequest) -> Join {
    let owned = |text: &Option<StrBytes>| text.as_ref().map(ToString::to_string);
    let mut named = HashSet::new();
    let protocols = request.protocols.iter();
    Join {
        group: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        instance_id: owned(&request.group_instance_id),
        caller: context.caller(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: match call.version {
            REBALANCE_TIMEOUT_FROM.. => request.rebalance_timeout_ms,
            _ => request.session_timeout_ms,
        },
        protocol_type: request.protocol_type.to_string(),
        // A protocol that is named twice counts once.
        protocols: protocols
            .filter(|protocol| named.insert(protocol.name.clone()))
            .map(|protocol| Protocol {
                name: protocol.name.to_string(),
                metadata: protocol.metadata.to_vec(),
            })
            .collect(),
        reason: owned(&request.reason),
        fresh_id: context.services.chance.uuid(),
        takes_id_first: call.version >= ID_FIRST_FROM,
        can_skip_assignment: call.version >= SKIP_ASSIGNMENT_FROM,
    }
}

fn respond(call: Call, joined: Joined) -> JoinGroupResponse {
    let text = StrBytes::from_string;
    let protocol = match (joined.protocol, call.version) {
        (None, ..NULLABLE_PROTOCOL_FROM) => Some(StrBytes::default()),
        (protocol, _) => protocol.map(text),
    };
    JoinGroupResponse::default()
        .with_error_code(joined.error_code.code())
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.map(text))
        .with_protocol_name(protocol)
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member_id))
        .with_members(
            joined
                .members
                .into_iter()
                .map(|member| {
                    JoinGroupResponseMember::default()
                        .with_member_id(text(member.member_id))
                        .with_group_instance_id(member.instance_id.map(text))
                        .with_metadata(member.metadata.into())
                })
                .collect(),
        )
}

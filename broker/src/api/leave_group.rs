//! LeaveGroup (13), versions 0-5.
//!
//! | version | adds |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | many members at once, static members (KIP-345) |
//! | 4 | flexible encoding |
//! | 5 | reasons (KIP-800) |

use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::leave_group_response::MemberResponse;
use reka_protocol::kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Leave, Leaving, Left, Reply};

/// From here on many members leave at once.
const BATCHED_FROM: i16 = 3;

/// Lets members go.
#[derive(Debug)]
pub struct LeaveGroup;

impl Handler for LeaveGroup {
    type Request = LeaveGroupRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let group = request.group_id.to_string();
        let ask = Ask::Leave(Leave {
            group: group.clone(),
            members: leaving(call, &request),
        });
        drop(request);
        let left = match context.services.groups.ask(&group, ask).await {
            Reply::Leave(left) => left,
            other => Left {
                error_code: other.refusal(),
                members: Vec::new(),
            },
        };
        respond(call, left)
    }
}

fn leaving(call: Call, request: &LeaveGroupRequest) -> Vec<Leaving> {
    if call.version < BATCHED_FROM {
        return vec![Leaving {
            member_id: request.member_id.to_string(),
            instance_id: None,
            reason: None,
        }];
    }
    let owned = |text: &Option<StrBytes>| text.as_ref().map(ToString::to_string);
    let members = request.members.iter();
    members
        .map(|member| Leaving {
            member_id: member.member_id.to_string(),
            instance_id: owned(&member.group_instance_id),
            reason: owned(&member.reason),
        })
        .collect()
}

fn respond(call: Call, left: Left) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    if call.version < BATCHED_FROM {
        let own = left.members.first().map(|(_, code)| *code);
        let code = own.filter(|_| !left.error_code.is_error());
        return response.with_error_code(code.unwrap_or(left.error_code).code());
    }
    let members = left.members.into_iter();
    response
        .with_error_code(left.error_code.code())
        .with_members(
            members
                .map(|(leaving, code)| {
                    MemberResponse::default()
                        .with_member_id(StrBytes::from_string(leaving.member_id))
                        .with_group_instance_id(leaving.instance_id.map(StrBytes::from_string))
                        .with_error_code(code.code())
                })
                .collect(),
        )
}

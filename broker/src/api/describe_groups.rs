//! DescribeGroups (15), versions 0-6.
//!
//! | version | adds |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | authorised operations (KIP-430): all of them, as nobody is forbidden anything |
//! | 4 | static members (KIP-345) |
//! | 5 | flexible encoding |
//! | 6 | a group that is not there is an error (KIP-1043); before, it is Dead |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_groups_response::{
    DescribedGroup, DescribedGroupMember,
};
use reka_protocol::kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Described, Reply};

/// From here on a group that is not there is an error.
const NOT_FOUND_FROM: i16 = 6;
const OPERATIONS_FROM: i16 = 3;
/// Read, delete, describe, describe and alter configs: bits by Kafka's numbers of operations.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Says who is in a classic group.
#[derive(Debug)]
pub struct DescribeGroups;

impl Handler for DescribeGroups {
    type Request = DescribeGroupsRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let with_operations =
            call.version >= OPERATIONS_FROM && request.include_authorized_operations;
        let ids: Vec<String> = request.groups.iter().map(|id| id.to_string()).collect();
        drop(request);
        let mut response = DescribeGroupsResponse::default();
        for id in ids {
            let ask = Ask::Describe(id.clone());
            let group = match context.services.groups.ask(&id, ask).await {
                Reply::Describe(described) => describe(call, *described),
                other => DescribedGroup::default().with_error_code(other.refusal().code()),
            };
            let group = match with_operations && group.error_code == ErrorCode::None.code() {
                true => group.with_authorized_operations(GROUP_OPERATIONS),
                false => group,
            };
            response
                .groups
                .push(group.with_group_id(GroupId(StrBytes::from_string(id))));
        }
        response
    }
}

fn describe(call: Call, described: Described) -> DescribedGroup {
    let text = StrBytes::from_string;
    let group = DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_protocol_type(text(described.protocol_type))
        .with_protocol_data(text(described.protocol))
        .with_members(
            described
                .members
                .into_iter()
                .map(|member| {
                    DescribedGroupMember::default()
                        .with_member_id(text(member.member_id))
                        .with_group_instance_id(member.instance_id.map(text))
                        .with_client_id(text(member.caller.client_id))
                        .with_client_host(text(member.caller.host))
                        .with_member_metadata(member.metadata.into())
                        .with_member_assignment(member.assignment.into())
                })
                .collect(),
        );
    match call.version {
        NOT_FOUND_FROM.. => group
            .with_error_code(described.error_code.code())
            .with_error_message(described.error_message.map(text)),
        _ => group,
    }
}

//! ListGroups (16), versions 0-5.
//!
//! | version | adds |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | flexible encoding |
//! | 4 | states, and a filter by them (KIP-518) |
//! | 5 | types, and a filter by them (KIP-848) |

use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::list_groups_response::ListedGroup;
use reka_protocol::kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::ListFilter;

/// Lists the groups coordinated here.
#[derive(Debug)]
pub struct ListGroups;

impl Handler for ListGroups {
    type Request = ListGroupsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: ListGroupsRequest,
    ) -> ListGroupsResponse {
        let owned = |texts: &[StrBytes]| texts.iter().map(ToString::to_string).collect();
        let filter = ListFilter {
            states: owned(&request.states_filter),
            types: owned(&request.types_filter),
        };
        drop(request);
        let response = ListGroupsResponse::default();
        let listed = match context.services.groups.list(&filter).await {
            Ok(listed) => listed,
            Err(code) => return response.with_error_code(code.code()),
        };
        let groups = listed.into_iter().map(|listed| {
            ListedGroup::default()
                .with_group_id(GroupId(StrBytes::from_string(listed.group)))
                .with_protocol_type(StrBytes::from_string(listed.protocol_type))
                .with_group_state(StrBytes::from_static_str(listed.state))
                .with_group_type(StrBytes::from_static_str(listed.kind))
        });
        response.with_groups(groups.collect())
    }
}

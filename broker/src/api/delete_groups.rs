//! DeleteGroups (42), versions 0-2; 2 is the flexible encoding.
//!
//! A group goes with its offsets, if nobody is in it.

use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use reka_protocol::kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Reply};

/// Deletes groups nobody is in.
#[derive(Debug)]
pub struct DeleteGroups;

impl Handler for DeleteGroups {
    type Request = DeleteGroupsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let names = request.groups_names.iter();
        let ids: Vec<String> = names.map(|id| id.to_string()).collect();
        drop(request);
        let mut response = DeleteGroupsResponse::default();
        for id in ids {
            let ask = Ask::Delete(id.clone());
            let code = match context.services.groups.ask(&id, ask).await {
                Reply::Code(code) => code,
                other => other.refusal(),
            };
            let result = DeletableGroupResult::default()
                .with_group_id(GroupId(StrBytes::from_string(id)))
                .with_error_code(code.code());
            response.results.push(result);
        }
        response
    }
}

//! SyncGroup (14), versions 0-5.
//!
//! | version | adds |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | static members (KIP-345) |
//! | 4 | flexible encoding |
//! | 5 | protocol type and name (KIP-559) |
//!
//! The answer comes when the leader has brought its plan.

use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Reply, Sync, Synced};

/// Hands out assignments.
#[derive(Debug)]
pub struct SyncGroup;

impl Handler for SyncGroup {
    type Request = SyncGroupRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: SyncGroupRequest,
    ) -> SyncGroupResponse {
        let owned = |text: &Option<StrBytes>| text.as_ref().map(ToString::to_string);
        let group = request.group_id.to_string();
        let ask = Ask::Sync(Sync {
            group: group.clone(),
            generation: request.generation_id,
            member_id: request.member_id.to_string(),
            instance_id: owned(&request.group_instance_id),
            protocol_type: owned(&request.protocol_type),
            protocol: owned(&request.protocol_name),
            assignments: request
                .assignments
                .iter()
                .map(|given| (given.member_id.to_string(), given.assignment.to_vec()))
                .collect(),
        });
        drop(request);
        let synced = match context.services.groups.ask(&group, ask).await {
            Reply::Sync(synced) => synced,
            other => Synced::error(other.refusal()),
        };
        SyncGroupResponse::default()
            .with_error_code(synced.error_code.code())
            .with_protocol_type(synced.protocol_type.map(StrBytes::from_string))
            .with_protocol_name(synced.protocol.map(StrBytes::from_string))
            .with_assignment(synced.assignment.into())
    }
}

//! Heartbeat (12), versions 0-4.
//!
//! | version | adds |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | static members (KIP-345) |
//! | 4 | flexible encoding |
//!
//! While the coordinator loads, a heartbeat is answered as if all were well: the member would
//! otherwise look for another coordinator.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Heartbeat as Beat, Reply};

/// Keeps members of classic groups in.
#[derive(Debug)]
pub struct Heartbeat;

impl Handler for Heartbeat {
    type Request = HeartbeatRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: HeartbeatRequest,
    ) -> HeartbeatResponse {
        let group = request.group_id.to_string();
        let instance_id = request.group_instance_id.as_ref();
        let ask = Ask::Heartbeat(Beat {
            group: group.clone(),
            generation: request.generation_id,
            member_id: request.member_id.to_string(),
            instance_id: instance_id.map(ToString::to_string),
        });
        drop(request);
        let code = match context.services.groups.ask(&group, ask).await {
            Reply::Code(code) => code,
            Reply::Refused(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
            other => other.refusal(),
        };
        HeartbeatResponse::default().with_error_code(code.code())
    }
}

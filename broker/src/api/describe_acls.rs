//! DescribeAcls (29), versions 1-3: there is no authorizer to ask.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::text::message;
use super::{Call, Context, Handler};

/// What Kafka says without an authorizer.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

/// Refuses.
#[derive(Debug)]
pub struct DescribeAcls;

impl Handler for DescribeAcls {
    type Request = DescribeAclsRequest;

    async fn handle(
        _context: Rc<Context>,
        _call: Call,
        _request: DescribeAclsRequest,
    ) -> DescribeAclsResponse {
        DescribeAclsResponse::default()
            .with_error_code(ErrorCode::SecurityDisabled.code())
            .with_error_message(message(NO_AUTHORIZER))
    }
}

//! CreateAcls (30), versions 1-3: there is no authorizer to tell.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_acls_response::AclCreationResult;
use reka_protocol::kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use super::text::message;
use super::{Call, Context, Handler};

/// Refuses each rule.
#[derive(Debug)]
pub struct CreateAcls;

impl Handler for CreateAcls {
    type Request = CreateAclsRequest;

    async fn handle(
        _context: Rc<Context>,
        _call: Call,
        request: CreateAclsRequest,
    ) -> CreateAclsResponse {
        let results = request.creations.iter().map(|_| {
            AclCreationResult::default()
                .with_error_code(ErrorCode::SecurityDisabled.code())
                .with_error_message(message(NO_AUTHORIZER))
        });
        CreateAclsResponse::default().with_results(results.collect())
    }
}

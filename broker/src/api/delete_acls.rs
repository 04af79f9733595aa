//! DeleteAcls (31), versions 1-3: there is no authorizer to tell.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use reka_protocol::kafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use super::text::message;
use super::{Call, Context, Handler};

/// Refuses each filter.
#[derive(Debug)]
pub struct DeleteAcls;

impl Handler for DeleteAcls {
    type Request = DeleteAclsRequest;

    async fn handle(
        _context: Rc<Context>,
        _call: Call,
        request: DeleteAclsRequest,
    ) -> DeleteAclsResponse {
        let results = request.filters.iter().map(|_| {
            DeleteAclsFilterResult::default()
                .with_error_code(ErrorCode::SecurityDisabled.code())
                .with_error_message(message(NO_AUTHORIZER))
        });
        DeleteAclsResponse::default().with_filter_results(results.collect())
    }
}

//! ApiVersions (18), versions 0-4.
//!
//! | version | adds |
//! |---|---|
//! | 3 | client software name and version (KIP-511), features (KIP-584), flexible encoding |
//! | 4 | features whose minimum is 0 (KIP-1022) |
//!
//! A version we do not know is answered in version 0 with our range, before this is called. The
//! list is what the table serves, nothing else.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

use super::{Call, Context, advertised};
use crate::dispatch::{Reply, refused};
use crate::net::connection::Closed;

/// Answers at once.
pub fn start(
    context: &Rc<Context>,
    call: Call,
    request: &ApiVersionsRequest,
) -> Result<Reply, Closed> {
    let valid = request.is_valid(call.version);
    let features = context.services.features();
    let response = ApiVersionsResponse {
        error_code: if valid {
            ErrorCode::None
        } else {
            ErrorCode::InvalidRequest
        },
        apis: if valid { advertised() } else { &[] },
        throttle_time_ms: 0,
        supported_features: features.supported(),
        finalized_features_epoch: Some(features.epoch),
        finalized_features: &features.finalized(),
    };
    let frame = response
        .encode(call.version, call.correlation_id)
        .map_err(refused)?;
    Ok(Reply::Now(frame.into()))
}

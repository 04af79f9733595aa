//! InitProducerId (22), versions 0-5, for idempotent producers.
//!
//! Transactional ids belong to the transaction coordinator, which is not served yet; asking with
//! one is answered COORDINATOR_NOT_AVAILABLE, which clients report with that name.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProducerId,
};

use super::{Call, Context, Handler};

/// Hands out producer ids.
#[derive(Debug)]
pub struct InitProducerId;

impl Handler for InitProducerId {
    type Request = InitProducerIdRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        let refused = |error_code: ErrorCode| {
            InitProducerIdResponse::default()
                .with_error_code(error_code.code())
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
        };
        match request.transactional_id {
            Some(id) if id.is_empty() => return refused(ErrorCode::InvalidRequest),
            Some(_) => return refused(ErrorCode::CoordinatorNotAvailable),
            None => {}
        }
        // Both or neither: an id without an epoch is nobody's.
        if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
            return refused(ErrorCode::InvalidRequest);
        }
        match context.services.next_producer_id().await {
            Ok(id) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(0),
            Err(error) => {
                tracing::warn!("no producer id: {error}");
                refused(ErrorCode::CoordinatorLoadInProgress)
            }
        }
    }
}

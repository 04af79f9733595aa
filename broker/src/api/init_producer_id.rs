//! InitProducerId (22), versions 0-5.
//!
//! | version | adds |
//! |---|---|
//! | 0 | idempotent and transactional producers (KIP-98) |
//! | 2 | flexible encoding |
//! | 3 | what the producer was before (KIP-360) |
//! | 4 | PRODUCER_FENCED; older clients are told INVALID_PRODUCER_EPOCH |
//! | 5 | transaction errors (KIP-890) |
//!
//! Without a transactional id every producer is a new one. With one its coordinator fences whoever
//! had the id before, and aborts what that one left open.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProducerId,
};

use super::{Call, Context, Handler};
use crate::txn::ask::{Ask, Init, Producer, Reply};

/// Clients from here on know PRODUCER_FENCED.
const FENCED_FROM: i16 = 4;
/// No producer id, and no epoch.
const NONE: i64 = -1;
const NO_EPOCH: i16 = -1;

/// Hands out producer ids.
#[derive(Debug)]
pub struct InitProducerId;

impl Handler for InitProducerId {
    type Request = InitProducerIdRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        match init(&context, &request).await {
            Ok(producer) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(producer.id))
                .with_producer_epoch(producer.epoch),
            Err(code) => {
                let code = match code {
                    ErrorCode::ProducerFenced if call.version < FENCED_FROM => {
                        ErrorCode::InvalidProducerEpoch
                    }
                    code => code,
                };
                InitProducerIdResponse::default()
                    .with_error_code(code.code())
                    .with_producer_id(ProducerId(NONE))
                    .with_producer_epoch(NO_EPOCH)
            }
        }
    }
}

async fn init(context: &Context, request: &InitProducerIdRequest) -> Result<Producer, ErrorCode> {
    let known = match (request.producer_id.0, request.producer_epoch) {
        (NONE, NO_EPOCH) => None,
        // Both or neither: an id without an epoch is nobody's.
        (NONE, _) | (_, NO_EPOCH) => return Err(ErrorCode::InvalidRequest),
        (id, epoch) => Some(Producer { id, epoch }),
    };
    let services = &context.services;
    let Some(id) = &request.transactional_id else {
        return match services.next_producer_id().await {
            Ok(id) => Ok(Producer { id, epoch: 0 }),
            Err(error) => {
                tracing::warn!("no producer id: {error}");
                Err(ErrorCode::CoordinatorLoadInProgress)
            }
        };
    };
    if id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let id = id.to_string();
    let ask = |fresh| {
        Ask::Init(Init {
            id: id.clone(),
            timeout_ms: request.transaction_timeout_ms,
            known,
            fresh,
        })
    };
    match services
        .transactions
        .ask_with_fresh_id(services, &id, ask)
        .await
    {
        Reply::Producer(outcome) => outcome,
        other => Err(other.refusal()),
    }
}

//! AddOffsetsToTxn (25), versions 0-4.
//!
//! | version | adds |
//! |---|---|
//! | 0 | a group's offsets in a transaction (KIP-98) |
//! | 2 | PRODUCER_FENCED; older clients are told INVALID_PRODUCER_EPOCH |
//! | 3 | flexible encoding |
//! | 4 | transaction errors (KIP-890) |
//!
//! What is added is the partition of `__consumer_offsets` that holds the group.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::{Call, Context, Handler};
use crate::group::coordinators::create_topic;
use crate::metadata::CONSUMER_OFFSETS;
use crate::txn::ask::{Add, Ask, Producer, Reply};

/// Clients from here on know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;

/// Adds a group's offsets to a transaction.
#[derive(Debug)]
pub struct AddOffsetsToTxn;

impl Handler for AddOffsetsToTxn {
    type Request = AddOffsetsToTxnRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: AddOffsetsToTxnRequest,
    ) -> AddOffsetsToTxnResponse {
        let code = match add(&context, &request).await {
            ErrorCode::ProducerFenced if call.version < FENCED_FROM => {
                ErrorCode::InvalidProducerEpoch
            }
            code => code,
        };
        AddOffsetsToTxnResponse::default().with_error_code(code.code())
    }
}

async fn add(context: &Context, request: &AddOffsetsToTxnRequest) -> ErrorCode {
    let services = &context.services;
    if request.transactional_id.is_empty() {
        return ErrorCode::InvalidRequest;
    }
    if let Err(error) = create_topic(services).await {
        tracing::warn!("{CONSUMER_OFFSETS} is not created: {error}");
        return ErrorCode::CoordinatorNotAvailable;
    }
    let Some(index) = services.groups.partition_of(&request.group_id) else {
        return ErrorCode::CoordinatorNotAvailable;
    };
    let id = request.transactional_id.to_string();
    let add = Add {
        id: id.clone(),
        producer: Producer {
            id: request.producer_id.0,
            epoch: request.producer_epoch,
        },
        partitions: vec![(CONSUMER_OFFSETS.into(), index)],
        client_version: 0,
    };
    match services.transactions.ask(&id, Ask::Add(add)).await {
        Reply::Code(code) => code,
        other => other.refusal(),
    }
}

//! EndTxn (26), versions 0-5.
//!
//! | version | adds |
//! |---|---|
//! | 0 | commit and abort (KIP-98) |
//! | 2 | PRODUCER_FENCED; older clients are told INVALID_PRODUCER_EPOCH |
//! | 3 | flexible encoding |
//! | 4 | transaction errors (KIP-890) |
//! | 5 | the epoch ends with the transaction, and the next one is told (KIP-890) |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId};

use super::{Call, Context, Handler};
use crate::txn::EPOCH_BUMP_FROM;
use crate::txn::ask::{Ask, End, Producer, Reply};

/// Clients from here on know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// From here on each transaction has its own epoch.
const BUMPS_FROM: i16 = 5;

/// Ends a transaction.
#[derive(Debug)]
pub struct EndTxn;

impl Handler for EndTxn {
    type Request = EndTxnRequest;

    async fn handle(context: Rc<Context>, call: Call, request: EndTxnRequest) -> EndTxnResponse {
        let (code, producer) = match end(&context, call, &request).await {
            Ok(producer) => (ErrorCode::None, producer),
            Err(code) => {
                let code = match code {
                    ErrorCode::ProducerFenced if call.version < FENCED_FROM => {
                        ErrorCode::InvalidProducerEpoch
                    }
                    code => code,
                };
                (code, Producer { id: -1, epoch: -1 })
            }
        };
        let response = EndTxnResponse::default().with_error_code(code.code());
        match call.version < BUMPS_FROM {
            true => response,
            false => response
                .with_producer_id(ProducerId(producer.id))
                .with_producer_epoch(producer.epoch),
        }
    }
}

async fn end(
    context: &Context,
    call: Call,
    request: &EndTxnRequest,
) -> Result<Producer, ErrorCode> {
    let services = &context.services;
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let id = request.transactional_id.to_string();
    let ask = |fresh| {
        Ask::End(End {
            id: id.clone(),
            producer: Producer {
                id: request.producer_id.0,
                epoch: request.producer_epoch,
            },
            commit: request.committed,
            client_version: match call.version >= BUMPS_FROM {
                true => EPOCH_BUMP_FROM,
                false => 0,
            },
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

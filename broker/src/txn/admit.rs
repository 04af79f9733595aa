//! Asking the coordinator before a batch begins a transaction on a partition.

use std::time::Duration;

use reka_protocol::ErrorCode;
use tokio::time::Instant;

use super::EPOCH_BUMP_FROM;
use super::ask::{Add, Ask, Producer, Reply};
use super::record::Place;
use crate::node::Services;

/// What the client can be told, and what is done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It adds partitions itself, and knows INVALID_TXN_STATE at most.
    Adds,
    /// It adds partitions itself, and knows that a transaction may have to be aborted.
    AddsAndAborts,
    /// Partitions are added for it.
    IsAdded,
}

/// Whether the partitions are part of the transaction now; a code for each, in the order asked.
pub async fn admit(
    services: &Services,
    id: &str,
    producer: Producer,
    partitions: Vec<Place>,
    ability: Ability,
) -> Vec<ErrorCode> {
    let count = partitions.len();
    let add = Add {
        id: id.to_owned(),
        producer,
        partitions,
        client_version: EPOCH_BUMP_FROM,
    };
    let codes = match ability {
        Ability::IsAdded => vec![add_now(services, add).await; count],
        Ability::Adds | Ability::AddsAndAborts => {
            match services.transactions.ask(id, Ask::Verify(add)).await {
                Reply::Verified(codes) => codes,
                other => vec![other.refusal(); count],
            }
        }
    };
    let told = |code| match (code, ability) {
        // A producer that was replaced looks for this code.
        (ErrorCode::ProducerFenced, _) => ErrorCode::InvalidProducerEpoch,
        (ErrorCode::TransactionAbortable, Ability::Adds) => ErrorCode::InvalidTxnState,
        (code, _) => code,
    };
    codes.into_iter().map(told).collect()
}

/// The transaction before may be just about to end: that is waited for a little, as a client that
/// is sent away comes back much later.
async fn add_now(services: &Services, add: Add) -> ErrorCode {
    let config = services.config();
    let (pause, patience) = (
        config.transactions.verify_backoff,
        config.transactions.verify_backoff_max,
    );
    let deadline = Instant::now() + patience;
    loop {
        let code = match services
            .transactions
            .ask(&add.id, Ask::Add(add.clone()))
            .await
        {
            Reply::Code(code) => code,
            other => other.refusal(),
        };
        let pause = pause.max(Duration::from_millis(1));
        if code != ErrorCode::ConcurrentTransactions || Instant::now() + pause > deadline {
            return code;
        }
        tokio::time::sleep(pause).await;
    }
}

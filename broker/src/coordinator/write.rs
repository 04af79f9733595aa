//! Appending a coordinator's records to its partition.

use bytes::Bytes;
use reka_protocol::{EncodeError, ErrorCode};
use reka_records::validate::Origin;
use reka_records::{BatchBuilder, Compression, NO_SEQUENCE};
use tokio::time::Instant;

use super::seldom::Seldom;
use crate::node::Services;
use crate::partition::Partition;
use crate::partition::append::Refused;
use crate::partition::sync;
use crate::partition::verify::Guard;

/// Key and value; without a value it is a tombstone.
pub type KeyValue = (Bytes, Option<Bytes>);

/// The transaction that records are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransaction {
    /// Whose it is.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// What its coordinator said of the partition.
    pub guard: Option<Guard>,
}

/// What a task keeps for its appends.
#[derive(Debug, Default)]
pub struct Pen {
    scratch: Vec<u8>,
    refused: Seldom,
}

impl Pen {
    /// One line for a log that takes nothing, however many ask.
    fn tell(&mut self, partition: &Partition, why: &dyn std::fmt::Display) {
        if let Some(kept_back) = self.refused.tells(Instant::now()) {
            tracing::error!(
                "{partition}: {why} ({kept_back} more since the last such line, of which there is one \
                 a minute)"
            );
        }
    }
}

/// Appends the records as one batch.
pub fn append(
    services: &Services,
    partition: &Partition,
    compression: Compression,
    transaction: Option<InTransaction>,
    records: impl Iterator<Item = Result<KeyValue, EncodeError>>,
    pen: &mut Pen,
) -> Result<(), ErrorCode> {
    let now_ms = services.clock.now_ms();
    let mut batch = BatchBuilder::new(0).compression(compression);
    if let Some(transaction) = transaction {
        let (id, epoch) = (transaction.producer_id, transaction.producer_epoch);
        batch = batch.producer(id, epoch, NO_SEQUENCE).transactional();
    }
    let mut unwritable = |error: &dyn std::fmt::Display| {
        pen.tell(partition, error);
        ErrorCode::UnknownServerError
    };
    for (offset, record) in (0_i64..).zip(records) {
        let (key, value) = record.map_err(|error| unwritable(&error))?;
        let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        batch
            .append(offset, now_ms, Some(&key), value.as_deref(), headers)
            .map_err(|error| unwritable(&error))?;
    }
    let mut rules = services.rules_of(partition, now_ms);
    // Each record is within the limit; that several go together is our own doing.
    rules.batch_bytes_max = usize::MAX;
    rules.origin = Origin::Coordinator;
    let guard = transaction.and_then(|transaction| transaction.guard);
    let appended = partition.append_verified(&mut batch.finish(), &rules, guard, &mut pen.scratch);
    let synced = appended.and_then(|written| match written.sync_below {
        Some(offset) => sync::sync_below(services, partition, offset),
        None => Ok(()),
    });
    synced.map_err(|refused| code_of(partition, &refused, pen))
}

/// What a client of the coordinator is told when its log takes nothing.
fn code_of(partition: &Partition, refused: &Refused, pen: &mut Pen) -> ErrorCode {
    let code = match refused.error_code {
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        // A producer's own doing: it is told, and nobody else has to look.
        code @ (ErrorCode::InvalidProducerEpoch
        | ErrorCode::InvalidTxnState
        | ErrorCode::OutOfOrderSequenceNumber) => return code,
        _ => ErrorCode::UnknownServerError,
    };
    pen.tell(partition, &refused.message);
    code
}

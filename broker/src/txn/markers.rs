//! Ending a transaction on its partitions.
//!
//! A partition of data takes the marker at once. One of `__consumer_offsets` takes it through the
//! coordinator of its groups, which changes what they have committed with it.

use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_records::control::{EndTxnMarker, TransactionResult};

use super::EPOCH_BUMP_FROM;
use super::record::{Place, Txn};
use crate::group::ask::{Ask, Reply};
use crate::metadata::CONSUMER_OFFSETS;
use crate::node::Services;
use crate::partition::verify::Marker;

impl Txn {
    /// What its partitions are told, by a coordinator that leads in `coordinator_epoch`.
    pub fn marker(&self, coordinator_epoch: i32) -> Marker {
        let result = match self.is_commit() {
            true => TransactionResult::Commit,
            false => TransactionResult::Abort,
        };
        Marker {
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            end: EndTxnMarker {
                result,
                coordinator_epoch,
            },
            bumped_epoch: self.client_version >= EPOCH_BUMP_FROM,
        }
    }
}

/// What became of a marker on one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing more to do.
    Done,
    /// To be tried again.
    Again(ErrorCode),
    /// Another coordinator has taken over: it is its task now.
    Fenced,
}

/// Whether a partition takes its markers through its coordinator.
pub fn is_of_groups(place: &Place) -> bool {
    *place.0 == *CONSUMER_OFFSETS
}

/// Ends the transaction on a partition of data.
pub fn write(services: &Services, place: &Place, marker: &Marker) -> Outcome {
    let (topic, index) = place;
    let Some(partition) = services.partitions.get(topic, *index) else {
        let image = services.quorum.image();
        let is_known = image.topics().get(topic).and_then(|t| t.partition(*index));
        return match is_known {
            // Its records went with it.
            None => Outcome::Done,
            Some(_) => Outcome::Again(ErrorCode::NotLeaderOrFollower),
        };
    };
    match partition.append_marker(marker, services.clock.now_ms()) {
        Ok(()) => Outcome::Done,
        Err(refused) => outcome(place, marker, refused.error_code, &refused.message),
    }
}

/// Ends the transaction on a partition of `__consumer_offsets`.
pub async fn write_to_groups(services: &Arc<Services>, place: &Place, marker: Marker) -> Outcome {
    let code = end_offsets(services, place.1, marker).await;
    match code {
        ErrorCode::None => Outcome::Done,
        code => outcome(place, &marker, code, code.name()),
    }
}

/// Ends the transaction among the groups of one partition.
pub async fn end_offsets(services: &Services, index: i32, marker: Marker) -> ErrorCode {
    let ask = Ask::EndTransaction(marker);
    match services.groups.ask_partition(index, ask).await {
        Reply::Code(code) => code,
        other => other.refusal(),
    }
}

fn outcome(place: &Place, marker: &Marker, code: ErrorCode, message: &str) -> Outcome {
    let (topic, index) = place;
    match code {
        ErrorCode::TransactionCoordinatorFenced => {
            tracing::warn!("{topic}-{index} has heard of a newer coordinator: {message}");
            Outcome::Fenced
        }
        // The partition has seen the producer in a newer epoch: nothing of this one is open there.
        ErrorCode::InvalidProducerEpoch => {
            tracing::warn!(
                "{topic}-{index} did not take the end of a transaction of producer {}: {message}",
                marker.producer_id
            );
            Outcome::Done
        }
        code => Outcome::Again(code),
    }
}

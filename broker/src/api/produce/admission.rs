//! Transactional batches that begin a transaction on their partition: its coordinator is asked
//! first whether the partition is part of one (KIP-890).

use reka_protocol::ErrorCode;
use reka_records::BatchHeader;

use super::{Produced, Progress};
use crate::api::{Call, Context};
use crate::partition::append::Refused;
use crate::txn::admit::{Ability, admit};
use crate::txn::ask::Producer;
use crate::txn::record::Place;

/// From here on producers know that a transaction may have to be aborted.
const ABORTABLE_FROM: i16 = 11;
/// From here on partitions are added to transactions for the producer.
const IS_ADDED_FROM: i16 = 12;

/// The question to a transaction's coordinator (KIP-890).
pub(super) struct Admission {
    transactional_id: String,
    producer: Producer,
    ability: Ability,
    partitions: Vec<Place>,
}

impl Admission {
    /// Whether batches begin a transaction on their partitions; those wait for the answer.
    pub(super) fn needed(
        context: &Context,
        call: Call,
        transactional_id: Option<String>,
        produced: &mut [Produced],
        frame: &[u8],
    ) -> Result<Option<Admission>, (ErrorCode, &'static str)> {
        let mut producer = None;
        let mut partitions = Vec::new();
        let services = &context.services;
        let ability = match call.version {
            IS_ADDED_FROM.. => Ability::IsAdded,
            ABORTABLE_FROM.. => Ability::AddsAndAborts,
            _ => Ability::Adds,
        };
        let is_asked =
            ability == Ability::IsAdded || services.config().transactions.verify_partitions;
        for partition in produced {
            let records = partition.range.clone().and_then(|range| frame.get(range));
            let header = records.and_then(|records| BatchHeader::parse(records).ok());
            let Some(header) = header.filter(BatchHeader::is_transactional) else {
                continue;
            };
            if transactional_id.is_none() {
                return Err((
                    ErrorCode::TransactionalIdAuthorizationFailed,
                    "a transactional batch needs a transactional id",
                ));
            }
            let of_batch = Producer {
                id: header.producer_id,
                epoch: header.producer_epoch,
            };
            if *producer.get_or_insert(of_batch) != of_batch {
                return Err((
                    ErrorCode::InvalidProducerIdMapping,
                    "a transaction has one producer",
                ));
            }
            let Some(here) = &partition.here else {
                continue;
            };
            let sequence = header.base_sequence;
            match here.begin_verification(of_batch.id, of_batch.epoch, sequence) {
                Ok(None) => {}
                Ok(guard) => {
                    partition.guard = guard;
                    if is_asked {
                        partition.state = Progress::Asked;
                        partitions.push((here.topic.as_str().into(), here.index));
                    }
                }
                Err(refused) => {
                    partition.state = Progress::Done;
                    partition.outcome = Err(refused);
                }
            }
        }
        let asked = producer
            .zip(transactional_id)
            .filter(|_| !partitions.is_empty());
        Ok(asked.map(|(producer, transactional_id)| Admission {
            transactional_id,
            producer,
            ability,
            partitions,
        }))
    }

    /// Asks; what is not part of the transaction is refused.
    pub(super) async fn ask(self, context: &Context, produced: &mut [Produced]) {
        let Admission {
            transactional_id: id,
            producer,
            ability,
            partitions,
        } = self;
        let codes = admit(&context.services, &id, producer, partitions, ability).await;
        let asked = produced
            .iter_mut()
            .filter(|partition| partition.state == Progress::Asked);
        for (partition, code) in asked.zip(codes) {
            partition.state = match code {
                ErrorCode::None => Progress::Ready,
                code => {
                    partition.outcome = Err(not_admitted(&id, ability, code));
                    Progress::Done
                }
            };
        }
    }
}

/// In words the producer knows.
fn not_admitted(id: &str, ability: Ability, code: ErrorCode) -> Refused {
    let told = match code {
        ErrorCode::ConcurrentTransactions if ability == Ability::IsAdded => code,
        ErrorCode::ConcurrentTransactions
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        code => code,
    };
    Refused::new(
        told,
        format!(
            "the partition is not known to be part of the transaction of {id}: {}",
            code.name()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KAFKA-18575 for the producers that are added to their transaction: the one before is just
    /// about to end. To older ones it is something they know how to wait for.
    #[test]
    fn a_producer_is_told_in_its_own_words_why_its_batch_begins_no_transaction() {
        let told = |ability, code| not_admitted("x", ability, code).error_code;
        let concurrent = ErrorCode::ConcurrentTransactions;
        assert_eq!(told(Ability::IsAdded, concurrent), concurrent);
        let wait = ErrorCode::NotEnoughReplicas;
        for ability in [Ability::Adds, Ability::AddsAndAborts] {
            assert_eq!(told(ability, concurrent), wait);
        }
        for ability in [Ability::Adds, Ability::AddsAndAborts, Ability::IsAdded] {
            for code in [
                ErrorCode::NotCoordinator,
                ErrorCode::CoordinatorNotAvailable,
                ErrorCode::CoordinatorLoadInProgress,
            ] {
                assert_eq!(told(ability, code), wait);
            }
            for code in [
                ErrorCode::InvalidProducerEpoch,
                ErrorCode::TransactionAbortable,
            ] {
                assert_eq!(told(ability, code), code);
            }
        }
    }
}

//! Does this partition belong to the producer's transaction? (KIP-890)
//!
//! A batch that begins a transaction on a partition is appended only after the transaction's
//! coordinator said that the partition is in it; otherwise a batch that comes late, when its
//! transaction is over, would begin one that nobody ever ends. The [`Guard`] is taken before the
//! coordinator is asked and handed back with the batch. A marker that lands meanwhile takes it
//! away, so that an answer from before the end of a transaction lets nothing in after it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reka_protocol::ErrorCode;
use reka_records::BatchHeader;
use reka_records::control::{EndTxnMarker, MarkerBatch};
use reka_storage::CheckedBatches;
use reka_storage::producer_state::{ProducerState, Verdict};

use super::Partition;
use super::append::{Refused, refused};

/// Producers whose answer is waited for. More at once are none that come back.
const VERIFYING_MAX: usize = 10_000;

/// A permit that is good until the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(u64);

/// Whose batches wait for an answer.
#[derive(Debug, Default)]
pub struct Verifying {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    producers: HashMap<i64, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    guard: Guard,
    epoch: i16,
    /// The first batch must be the one that was first asked about: one that overtakes it would make
    /// it look like a gap.
    lowest_sequence: i32,
}

impl Verifying {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the coordinator must be asked before this producer's batch is appended, and the guard
    /// that its answer is good for: the one the producer has, or a new one. `None` if the
    /// transaction is open already.
    pub fn begin(
        &self,
        producers: &ProducerState,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
    ) -> Result<Option<Guard>, Refused> {
        // First of all: a producer that was replaced is told so, not that its transaction is over.
        if let Some(entry) = producers.get(producer_id)
            && epoch < entry.epoch
        {
            return Err(Refused::new(
                ErrorCode::InvalidProducerEpoch,
                format!(
                    "epoch {epoch} of producer {producer_id} is older than {}, which was seen last",
                    entry.epoch
                ),
            ));
        }
        if is_open(producers, producer_id, epoch) {
            return Ok(None);
        }
        Ok(Some(self.guard(producer_id, epoch, sequence)))
    }

    fn guard(&self, producer_id: i64, epoch: i16, sequence: i32) -> Guard {
        let mut state = self.state();
        if state.producers.len() >= VERIFYING_MAX && !state.producers.contains_key(&producer_id) {
            // Those that still wait are refused, and ask again.
            state.producers.clear();
        }
        let known = state.producers.get(&producer_id);
        if let Some(known) = known.filter(|known| known.epoch == epoch).copied() {
            let lowest_sequence = known.lowest_sequence.min(sequence);
            let lower = Entry {
                lowest_sequence,
                ..known
            };
            state.producers.insert(producer_id, lower);
            return known.guard;
        }
        state.next += 1;
        let guard = Guard(state.next);
        let entry = Entry {
            guard,
            epoch,
            lowest_sequence: sequence,
        };
        state.producers.insert(producer_id, entry);
        guard
    }

    fn get(&self, producer_id: i64) -> Option<Entry> {
        self.state().producers.get(&producer_id).copied()
    }

    /// May this batch begin a transaction, or go on with one?
    pub fn check(
        &self,
        producers: &ProducerState,
        header: &BatchHeader,
        guard: Option<Guard>,
    ) -> Result<(), Refused> {
        if !header.is_transactional() || header.is_control() {
            return Ok(());
        }
        let (producer_id, epoch) = (header.producer_id, header.producer_epoch);
        if is_open(producers, producer_id, epoch) {
            return Ok(());
        }
        match producers.check(header) {
            // A retry is answered as before, and what is wrong otherwise is said by the log.
            Ok(Verdict::Duplicate(_)) | Err(_) => return Ok(()),
            Ok(Verdict::Append) => {}
        }
        let entry = self.get(producer_id);
        let entry = entry.filter(|entry| entry.epoch == epoch && Some(entry.guard) == guard);
        let Some(entry) = entry else {
            return Err(Refused::new(
                ErrorCode::InvalidTxnState,
                format!("producer {producer_id} has no transaction that includes the partition"),
            ));
        };
        if header.has_sequence() && header.base_sequence > entry.lowest_sequence {
            return Err(Refused::new(
                ErrorCode::OutOfOrderSequenceNumber,
                format!(
                    "sequence {} of producer {producer_id} overtook {}",
                    header.base_sequence, entry.lowest_sequence
                ),
            ));
        }
        Ok(())
    }

    /// The producer's transaction is open, or over.
    pub fn end(&self, producer_id: i64) {
        self.state().producers.remove(&producer_id);
    }
}

/// A transaction's end, to be written to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction it is.
    pub producer_id: i64,
    /// Its epoch: with `bumped_epoch` the one after the transaction's own.
    pub producer_epoch: i16,
    /// How it ended, and who says so.
    pub end: EndTxnMarker,
    /// The transaction's end takes its epoch out of use (`transaction.version` 2).
    pub bumped_epoch: bool,
}

fn is_open(producers: &ProducerState, producer_id: i64, epoch: i16) -> bool {
    let entry = producers.get(producer_id);
    entry.is_some_and(|entry| entry.epoch == epoch && entry.txn_first_offset.is_some())
}

impl Partition {
    /// Whether the coordinator must be asked before this producer's batch is appended; see
    /// [`Verifying::begin`].
    pub fn begin_verification(
        &self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
    ) -> Result<Option<Guard>, Refused> {
        let log = self.log();
        let producers = log.producers();
        let begun = self
            .verifying
            .begin(producers, producer_id, epoch, sequence);
        begun.map_err(|refused| refused.on(self))
    }

    /// Ends a transaction here. Blocks where `flush.messages` calls for a sync.
    pub fn append_marker(&self, marker: &Marker, now_ms: i64) -> Result<(), Refused> {
        let at = MarkerBatch {
            base_offset: 0,
            leader_epoch: -1,
            producer_id: marker.producer_id,
            producer_epoch: marker.producer_epoch,
            timestamp: now_ms,
        };
        let mut batch = marker.end.to_batch(at);
        let deleted = || {
            let why = format!("{self} is deleted");
            Refused::new(ErrorCode::UnknownTopicOrPartition, why)
        };
        let mut log = self.log_to_change().ok_or_else(deleted)?;
        check_marker(log.producers(), marker).map_err(|refused| refused.on(self))?;
        let log_start = log.log_start();
        let checked = CheckedBatches::check(&mut batch).map_err(|error| refused(&error, -1))?;
        log.append(checked, self.leader_epoch(), now_ms)
            .map_err(|error| refused(&error, log_start))?;
        self.verifying.end(marker.producer_id);
        let sync_below = self.advance_unless_to_be_synced(&mut log);
        drop(log);
        self.waiters().wake();
        match sync_below {
            Some(offset) => self.sync_below(offset).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// Where an epoch ends with its transaction, a marker of the epoch that is in use now is a late one:
/// it must not end what began after it. With nothing open it does no harm, and whoever sends it again
/// has to get through; so has the last epoch there is, which has none after it.
pub fn check_marker(producers: &ProducerState, marker: &Marker) -> Result<(), Refused> {
    let (producer_id, epoch) = (marker.producer_id, marker.producer_epoch);
    if marker.bumped_epoch && epoch != i16::MAX && is_open(producers, producer_id, epoch) {
        return Err(Refused::new(
            ErrorCode::InvalidProducerEpoch,
            format!(
                "a marker of epoch {epoch} of producer {producer_id}, whose transaction is open"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use reka_records::{Attributes, MAGIC};

    use super::*;

    fn batch(producer_id: i64, epoch: i16, sequence: i32) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            batch_length: 49,
            leader_epoch: 0,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(0).with(Attributes::TRANSACTIONAL),
            last_offset_delta: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: 1,
        }
    }

    fn begin(verifying: &Verifying, producer_id: i64, epoch: i16, sequence: i32) -> Option<Guard> {
        let nobody = ProducerState::default();
        let begun = verifying.begin(&nobody, producer_id, epoch, sequence);
        begun.expect("a question or an open transaction")
    }

    fn code(verifying: &Verifying, header: &BatchHeader, guard: Option<Guard>) -> ErrorCode {
        let checked = verifying.check(&ProducerState::default(), header, guard);
        checked.map_or_else(|refused| refused.error_code, |()| ErrorCode::None)
    }

    #[test]
    fn an_answer_from_before_the_end_of_a_transaction_lets_nothing_in_after_it() {
        let verifying = Verifying::default();
        let guard = begin(&verifying, 7, 0, 0);
        assert_eq!(code(&verifying, &batch(7, 0, 0), guard), ErrorCode::None);
        // A marker lands, in the same epoch, as for older clients.
        verifying.end(7);
        assert_eq!(
            code(&verifying, &batch(7, 0, 0), guard),
            ErrorCode::InvalidTxnState
        );
        let next = begin(&verifying, 7, 0, 0);
        assert_ne!(next, guard);
        assert_eq!(code(&verifying, &batch(7, 0, 0), next), ErrorCode::None);
        assert_eq!(
            code(&verifying, &batch(7, 0, 0), guard),
            ErrorCode::InvalidTxnState
        );
    }

    #[test]
    fn a_guard_is_good_for_its_producer_in_its_epoch() {
        let verifying = Verifying::default();
        let (guard, other) = (begin(&verifying, 7, 1, 0), begin(&verifying, 8, 1, 0));
        for (header, guard) in [
            (batch(7, 1, 0), None),
            (batch(7, 1, 0), other),
            (batch(7, 2, 0), guard),
            (batch(9, 1, 0), guard),
        ] {
            assert_eq!(code(&verifying, &header, guard), ErrorCode::InvalidTxnState);
        }
        // Batches that ask at the same time share one.
        assert_eq!(begin(&verifying, 7, 1, 1), guard);
        assert_ne!(begin(&verifying, 7, 2, 0), guard);
    }

    #[test]
    fn a_batch_that_overtakes_the_first_is_out_of_order() {
        let verifying = Verifying::default();
        let guard = begin(&verifying, 7, 0, 3);
        begin(&verifying, 7, 0, 4);
        let out_of_order = ErrorCode::OutOfOrderSequenceNumber;
        assert_eq!(code(&verifying, &batch(7, 0, 4), guard), out_of_order);
        assert_eq!(code(&verifying, &batch(7, 0, 3), guard), ErrorCode::None);
    }

    #[test]
    fn producers_that_never_come_back_are_not_kept_for_ever() {
        let verifying = Verifying::default();
        for producer_id in 0..=VERIFYING_MAX as i64 {
            begin(&verifying, producer_id, 0, 0);
        }
        assert!(verifying.state().producers.len() <= VERIFYING_MAX);
    }
}

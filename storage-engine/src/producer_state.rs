//! What a partition remembers of its producers.
//!
//! For each idempotent producer: its epoch and its last five batches, enough to
//! recognise a retry and to refuse a gap; for each transaction: where it began, so
//! that readers can be held below it. Pure: nothing here touches a file or a
//! clock. `check_*` decides, `apply` is the only way the state changes, live and
//! on replay alike. The stored form is in `producer_snapshot`.

use std::collections::{BTreeMap, HashMap};

use reka_records::BatchHeader;
use reka_records::control::{EndTxnMarker, TransactionResult};

use crate::txn_index::AbortedTxn;

/// Batches remembered per producer: as many as a client may have in flight.
pub const BATCHES_KEPT: usize = 5;

/// One appended batch of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMeta {
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// Its greatest timestamp.
    pub timestamp: i64,
}

impl BatchMeta {
    /// Sequence number of the first record.
    pub fn first_sequence(&self) -> i32 {
        reka_records::view::increment_sequence(self.last_sequence, -self.offset_delta)
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Its epoch.
    pub epoch: i16,
    /// Epoch of the coordinator that wrote its last marker; -1 before the first.
    pub coordinator_epoch: i32,
    /// When it was last heard of.
    pub last_timestamp: i64,
    /// First offset of its open transaction.
    pub txn_first_offset: Option<i64>,
    batches: [BatchMeta; BATCHES_KEPT],
    batches_len: u8,
}

impl ProducerEntry {
    pub(crate) fn new(epoch: i16) -> ProducerEntry {
        ProducerEntry {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            txn_first_offset: None,
            batches: [BatchMeta::default(); BATCHES_KEPT],
            batches_len: 0,
        }
    }

    /// Remembered batches, oldest first.
    pub fn batches(&self) -> &[BatchMeta] {
        &self.batches[..usize::from(self.batches_len)]
    }

    /// Sequence number of the last record; -1 when the epoch has written none.
    pub fn last_sequence(&self) -> i32 {
        self.batches()
            .last()
            .map_or(-1, |batch| batch.last_sequence)
    }

    pub(crate) fn push(&mut self, batch: BatchMeta) {
        if usize::from(self.batches_len) == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.batches_len -= 1;
        }
        self.batches[usize::from(self.batches_len)] = batch;
        self.batches_len += 1;
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches_len = 0;
        }
    }
}

/// Why a batch of a producer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named as in the message")]
pub enum ProducerError {
    /// Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error(
        "producer {producer_id} epoch {epoch}: sequence {found} does not follow {last} \
         (a batch was lost or is older than the {BATCHES_KEPT} remembered)"
    )]
    OutOfOrderSequence {
        producer_id: i64,
        epoch: i16,
        last: i32,
        found: i32,
    },
    /// Kafka's INVALID_PRODUCER_EPOCH.
    #[error(
        "producer {producer_id}: epoch {found} is older than {current}, a newer instance took over"
    )]
    Fenced {
        producer_id: i64,
        current: i16,
        found: i16,
    },
    /// Kafka's INVALID_TXN_STATE.
    #[error(
        "producer {producer_id} epoch {epoch}: batch outside a transaction while one is open since \
         offset {txn_first_offset}"
    )]
    NotTransactional {
        producer_id: i64,
        epoch: i16,
        txn_first_offset: i64,
    },
    /// Kafka's TRANSACTION_COORDINATOR_FENCED.
    #[error(
        "producer {producer_id}: marker of coordinator epoch {found}, a marker of epoch {current} was seen"
    )]
    CoordinatorFenced {
        producer_id: i64,
        current: i32,
        found: i32,
    },
}

/// What to do with a batch that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New: append it.
    Append,
    /// A retry of a batch that is in the log: answer with where it is.
    Duplicate(BatchMeta),
}

/// A transaction whose marker was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTxn {
    /// Whose it was.
    pub producer_id: i64,
    /// First offset of its data.
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
    /// Whether its data counts.
    pub committed: bool,
}

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    producers: HashMap<i64, ProducerEntry>,
    /// First offset to producer of open transactions.
    open: BTreeMap<i64, i64>,
    /// First offset to marker offset of transactions that ended at or above the
    /// high watermark: decided, but the decision could still be lost.
    unreplicated: BTreeMap<i64, i64>,
}

impl ProducerState {
    pub(crate) fn with_room_for(producers: usize) -> ProducerState {
        ProducerState {
            producers: HashMap::with_capacity(producers),
            ..ProducerState::default()
        }
    }

    /// Whether a producer is known for transactions.
    pub(crate) fn has_transactions(&self) -> bool {
        let transactional = |entry: &ProducerEntry| {
            entry.coordinator_epoch >= 0 || entry.txn_first_offset.is_some()
        };
        self.producers.values().any(transactional)
    }

    /// May this batch of a client be appended? Retries are recognised before
    /// anything else is looked at.
    pub fn check(&self, batch: &BatchHeader) -> Result<Verdict, ProducerError> {
        if !batch.has_producer_id() {
            return Ok(Verdict::Append);
        }
        let Some(entry) = self.producers.get(&batch.producer_id) else {
            // Expired, truncated or new: any sequence may come next.
            return Ok(Verdict::Append);
        };
        let (producer_id, epoch) = (batch.producer_id, batch.producer_epoch);
        if entry.epoch == epoch && batch.has_sequence() {
            let retried = entry.batches().iter().find(|known| {
                known.first_sequence() == batch.base_sequence
                    && known.last_sequence == batch.last_sequence()
            });
            if let Some(known) = retried {
                return Ok(Verdict::Duplicate(*known));
            }
        }
        if epoch < entry.epoch {
            return Err(ProducerError::Fenced {
                producer_id,
                current: entry.epoch,
                found: epoch,
            });
        }
        let last = if epoch == entry.epoch {
            entry.last_sequence()
        } else {
            -1
        };
        let follows = match last {
            i32::MAX => 0,
            last => last + 1,
        };
        if batch.has_sequence() && batch.base_sequence != follows {
            let found = batch.base_sequence;
            return Err(ProducerError::OutOfOrderSequence {
                producer_id,
                epoch,
                last,
                found,
            });
        }
        match entry.txn_first_offset {
            Some(txn_first_offset) if !batch.is_transactional() => {
                Err(ProducerError::NotTransactional {
                    producer_id,
                    epoch,
                    txn_first_offset,
                })
            }
            _ => Ok(Verdict::Append),
        }
    }

    /// May this marker be appended?
    pub fn check_marker(
        &self,
        batch: &BatchHeader,
        end: EndTxnMarker,
    ) -> Result<(), ProducerError> {
        let Some(entry) = self.producers.get(&batch.producer_id) else {
            return Ok(());
        };
        let producer_id = batch.producer_id;
        if batch.producer_epoch < entry.epoch {
            let (current, found) = (entry.epoch, batch.producer_epoch);
            return Err(ProducerError::Fenced {
                producer_id,
                current,
                found,
            });
        }
        if end.coordinator_epoch < entry.coordinator_epoch {
            let (current, found) = (entry.coordinator_epoch, end.coordinator_epoch);
            return Err(ProducerError::CoordinatorFenced {
                producer_id,
                current,
                found,
            });
        }
        Ok(())
    }

    /// Takes a batch that was appended, checked or replicated, into account.
    /// `marker` is set for control batches that end a transaction.
    pub fn apply(
        &mut self,
        batch: &BatchHeader,
        marker: Option<EndTxnMarker>,
    ) -> Option<CompletedTxn> {
        if !batch.has_producer_id() {
            return None;
        }
        let entry = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| ProducerEntry::new(batch.producer_epoch));
        entry.enter_epoch(batch.producer_epoch);
        entry.last_timestamp = batch.max_timestamp;
        if let Some(end) = marker {
            entry.coordinator_epoch = end.coordinator_epoch;
            // A marker without data on this partition ends nothing.
            let first_offset = entry.txn_first_offset.take()?;
            let last_offset = batch.last_offset();
            self.open.remove(&first_offset);
            self.unreplicated.insert(first_offset, last_offset);
            return Some(CompletedTxn {
                producer_id: batch.producer_id,
                first_offset,
                last_offset,
                committed: end.result == TransactionResult::Commit,
            });
        }
        if batch.is_control() {
            return None;
        }
        if batch.has_sequence() {
            entry.push(BatchMeta {
                last_sequence: batch.last_sequence(),
                last_offset: batch.last_offset(),
                offset_delta: batch.last_offset_delta,
                timestamp: batch.max_timestamp,
            });
        }
        if batch.is_transactional() && entry.txn_first_offset.is_none() {
            entry.txn_first_offset = Some(batch.base_offset);
            self.open.insert(batch.base_offset, batch.producer_id);
        }
        None
    }

    /// The index entry this marker calls for, before it is applied: `None` for a
    /// commit, and for an abort of nothing.
    pub fn aborted_by(&self, marker: &BatchHeader, end: EndTxnMarker) -> Option<AbortedTxn> {
        let first_offset = self.producers.get(&marker.producer_id)?.txn_first_offset?;
        if end.result == TransactionResult::Commit {
            return None;
        }
        let last_offset = marker.last_offset();
        let oldest_other = self.open.keys().find(|first| **first != first_offset);
        Some(AbortedTxn {
            producer_id: marker.producer_id,
            first_offset,
            last_offset,
            last_stable_offset: oldest_other.copied().unwrap_or(last_offset + 1),
        })
    }

    /// First offset of the oldest transaction that is open, or decided but not
    /// yet below the high watermark. Readers of committed data stop here.
    pub fn first_unstable(&self) -> Option<i64> {
        let open = self.open.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        open.into_iter().chain(unreplicated).min().copied()
    }

    /// First offset of the oldest open transaction.
    pub fn first_open(&self) -> Option<i64> {
        self.open.keys().next().copied()
    }

    /// Transactions that ended below `high_watermark` are settled.
    pub fn settle_below(&mut self, high_watermark: i64) {
        self.unreplicated
            .retain(|_, marker| *marker >= high_watermark);
    }

    /// Forgets producers that were silent for `expiration_ms`; one with an open
    /// transaction is never forgotten.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, entry| {
            entry.txn_first_offset.is_some()
                || now_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
    }

    /// Forgets producers beyond `most`, and some more so that this is not done for each new one: those whose
    /// last batch is the oldest in the log, whatever time their clients wrote into it. One with an open
    /// transaction is never forgotten, nor counted. One that is forgotten is as if it had expired: its next
    /// batch is taken whatever its sequence. How many were forgotten.
    pub fn keep_at_most(&mut self, most: usize) -> usize {
        let silent = self.producers.len() - self.open.len();
        if silent <= most {
            return 0;
        }
        let mut by_age: Vec<(i64, i64, i64)> = self
            .producers
            .iter()
            .filter(|(_, entry)| entry.txn_first_offset.is_none())
            .map(|(id, entry)| {
                // Without a batch in its epoch there is no retry to recognise.
                let last = entry.batches().last();
                let last_offset = last.map_or(-1, |batch| batch.last_offset);
                (last_offset, entry.last_timestamp, *id)
            })
            .collect();
        let surplus = silent - (most - most / 8);
        if surplus < by_age.len() {
            by_age.select_nth_unstable(surplus);
            by_age.truncate(surplus);
        }
        for (_, _, id) in &by_age {
            self.producers.remove(id);
        }
        by_age.len()
    }

    /// A producer.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// All producers, in any order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// Number of producers.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Puts a producer back from a snapshot; `false` when it contradicts another one.
    #[must_use]
    pub(crate) fn restore(&mut self, producer_id: i64, entry: ProducerEntry) -> bool {
        let first = entry.txn_first_offset;
        let alone = first.is_none_or(|first| self.open.insert(first, producer_id).is_none());
        self.producers.insert(producer_id, entry).is_none() && alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_records::{Attributes, MAGIC};

    fn batch(epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            batch_length: 49,
            leader_epoch: 0,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    fn transactional(header: BatchHeader) -> BatchHeader {
        BatchHeader {
            attributes: header.attributes.with(Attributes::TRANSACTIONAL),
            ..header
        }
    }

    fn state_after(batches: &[BatchHeader]) -> ProducerState {
        let mut state = ProducerState::default();
        for batch in batches {
            assert_eq!(state.check(batch), Ok(Verdict::Append));
            state.apply(batch, None);
        }
        state
    }

    #[test]
    fn retries_of_the_last_five_batches_are_answered_and_older_ones_refused() {
        let batches: Vec<_> = (0..7)
            .map(|n| batch(0, n * 2, 2, i64::from(n) * 2))
            .collect();
        let state = state_after(&batches);
        for old in &batches[..2] {
            assert!(matches!(
                state.check(old),
                Err(ProducerError::OutOfOrderSequence { .. })
            ));
        }
        for recent in &batches[2..] {
            let Ok(Verdict::Duplicate(known)) = state.check(recent) else {
                panic!("{recent:?}")
            };
            assert_eq!(known.first_offset(), recent.base_offset);
        }
    }

    #[test]
    fn sequences_wrap_from_the_greatest_number_to_zero() {
        let state = state_after(&[batch(0, i32::MAX - 1, 2, 0)]);
        assert_eq!(state.check(&batch(0, 0, 1, 2)), Ok(Verdict::Append));
        assert!(state.check(&batch(0, 1, 1, 2)).is_err());
        let state = state_after(&[batch(0, i32::MAX, 3, 0)]);
        assert_eq!(state.check(&batch(0, 2, 1, 3)), Ok(Verdict::Append));
    }

    #[test]
    fn a_new_epoch_starts_at_sequence_zero_and_fences_the_old_one() {
        let state = state_after(&[batch(1, 0, 1, 0)]);
        assert!(matches!(
            state.check(&batch(0, 1, 1, 1)),
            Err(ProducerError::Fenced { .. })
        ));
        assert!(matches!(
            state.check(&batch(2, 1, 1, 1)),
            Err(ProducerError::OutOfOrderSequence { .. })
        ));
        assert_eq!(state.check(&batch(2, 0, 1, 1)), Ok(Verdict::Append));
    }

    #[test]
    fn an_unknown_producer_may_start_with_any_sequence() {
        let state = ProducerState::default();
        assert_eq!(state.check(&batch(3, 17, 1, 0)), Ok(Verdict::Append));
    }

    #[test]
    fn an_open_transaction_holds_readers_until_its_marker_is_replicated() {
        let mut state = state_after(&[transactional(batch(0, 0, 2, 10))]);
        assert_eq!(state.first_unstable(), Some(10));
        assert!(matches!(
            state.check(&batch(0, 2, 1, 12)),
            Err(ProducerError::NotTransactional { .. })
        ));
        let marker = BatchHeader {
            base_sequence: -1,
            ..transactional(batch(0, 0, 1, 12))
        };
        let end = EndTxnMarker {
            result: TransactionResult::Abort,
            coordinator_epoch: 4,
        };
        assert_eq!(state.check_marker(&marker, end), Ok(()));
        let aborted = state
            .aborted_by(&marker, end)
            .expect("the transaction had data");
        assert!(state.apply(&marker, Some(end)).is_some());
        assert_eq!(
            (
                aborted.first_offset,
                aborted.last_offset,
                aborted.last_stable_offset
            ),
            (10, 12, 13)
        );
        assert_eq!(state.first_unstable(), Some(10));
        state.settle_below(13);
        assert_eq!(state.first_unstable(), None);
        let old = EndTxnMarker {
            result: TransactionResult::Commit,
            coordinator_epoch: 3,
        };
        assert!(matches!(
            state.check_marker(&marker, old),
            Err(ProducerError::CoordinatorFenced { .. })
        ));
    }

    fn of_producer(producer_id: i64, header: BatchHeader) -> BatchHeader {
        BatchHeader {
            producer_id,
            ..header
        }
    }

    #[test]
    fn beyond_the_most_those_go_whose_last_batch_is_oldest() {
        let mut state = ProducerState::default();
        // The first has an open transaction and does not count, the second writes again at the end.
        state.apply(&of_producer(1, transactional(batch(0, 0, 1, 0))), None);
        for (producer_id, offset) in (2..=17).zip(1..) {
            state.apply(&of_producer(producer_id, batch(0, 0, 1, offset)), None);
        }
        state.apply(&of_producer(2, batch(0, 1, 1, 17)), None);
        assert_eq!(state.keep_at_most(16), 0);
        // A greater timestamp makes nobody younger.
        let boasting = BatchHeader {
            max_timestamp: i64::MAX,
            ..of_producer(3, batch(0, 1, 1, 18))
        };
        state.apply(&boasting, None);
        state.apply(&of_producer(18, batch(0, 0, 1, 19)), None);
        // Two more than there has to be room for, so that the next one is let in without a look.
        assert_eq!(state.keep_at_most(16), 3);
        let mut left: Vec<i64> = state.iter().map(|(id, _)| id).collect();
        left.sort_unstable();
        let all_but = [4, 5, 6];
        let expected: Vec<i64> = (1..=18).filter(|id| !all_but.contains(id)).collect();
        assert_eq!(left, expected);
        // As one that expired: it goes on wherever it was.
        let next = of_producer(4, batch(0, 9, 1, 20));
        assert_eq!(state.check(&next), Ok(Verdict::Append));
    }

    #[test]
    fn open_transactions_are_kept_however_many() {
        let mut state = ProducerState::default();
        for producer_id in 0..20 {
            let begun = transactional(batch(0, 0, 1, producer_id));
            state.apply(&of_producer(producer_id, begun), None);
        }
        assert_eq!((state.keep_at_most(8), state.len()), (0, 20));
        assert_eq!(state.first_open(), Some(0));
    }

    #[test]
    fn silent_producers_expire_unless_a_transaction_is_open() {
        let mut state = state_after(&[transactional(batch(0, 0, 1, 0))]);
        state.expire(i64::MAX, 1);
        assert_eq!(state.len(), 1);
        let mut state = state_after(&[batch(0, 0, 1, 0)]);
        state.expire(10, 11);
        assert_eq!(state.len(), 1);
        state.expire(10, 10);
        assert!(state.is_empty());
    }
}

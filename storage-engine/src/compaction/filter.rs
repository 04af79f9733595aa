//! Which records of a batch stay.
//!
//! The rules are Apache Kafka's:
//!
//! - a record stays if no newer one has its key; what lies behind the map's end was
//!   not looked at and stays;
//! - a tombstone stays until its delete horizon, which is stamped into the batch
//!   (attribute bit 6) the first time it is cleaned;
//! - data of an aborted transaction goes; a marker goes once none of its
//!   transaction's data is left and its own horizon has passed;
//! - the last batch of an active producer stays, empty if need be, and so does the last
//!   batch of the pass: a replica that reads up to a gap could not tell that it is at
//!   the end.

use std::collections::{HashMap, HashSet};

use reka_records::control::{TransactionResult, end_txn_marker};
use reka_records::{BatchBuilder, BatchError, BatchHeader, BatchView, Record};

use super::LastOfProducer;
use super::offset_map::OffsetMap;
use crate::txn_index::AbortedTxn;

/// What becomes of a batch.
#[derive(Debug)]
pub(super) enum Keep {
    Nothing,
    AsIs,
    Rebuilt(Vec<u8>),
}

/// Follows transactions while batches are read in order.
#[derive(Debug)]
pub(super) struct Transactions<'a> {
    /// Those that have not begun yet, by first offset.
    ahead: &'a [AbortedTxn],
    /// Begun, by producer; and whether data of it was met.
    aborted: HashMap<i64, (AbortedTxn, bool)>,
    /// Producers whose data is not aborted and whose marker is still to come.
    committed: HashSet<i64>,
}

impl<'a> Transactions<'a> {
    /// `aborted` is ordered by first offset.
    pub(super) fn new(aborted: &'a [AbortedTxn]) -> Transactions<'a> {
        Transactions {
            ahead: aborted,
            aborted: HashMap::new(),
            committed: HashSet::new(),
        }
    }

    fn advance(&mut self, last_offset: i64) {
        while let Some((next, rest)) = self.ahead.split_first()
            && next.first_offset <= last_offset
        {
            // A producer has one transaction at a time, so an earlier one is over.
            self.aborted.insert(next.producer_id, (*next, false));
            self.ahead = rest;
        }
    }

    /// Whether a batch of data belongs to a transaction that was aborted.
    pub(super) fn is_aborted_data(&mut self, batch: &BatchView<'_>) -> bool {
        let header = batch.header();
        self.advance(header.last_offset());
        if !header.is_transactional() || header.is_control() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            // What the producer wrote behind the marker is another transaction's.
            Some((txn, met)) if header.last_offset() < txn.last_offset => {
                *met = true;
                true
            }
            _ => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Takes a marker into account: whether it ends a transaction of which no data
    /// is left, and the index entry it still needs if so not.
    fn end(
        &mut self,
        header: &BatchHeader,
        result: TransactionResult,
    ) -> (bool, Option<AbortedTxn>) {
        self.advance(header.last_offset());
        match result {
            TransactionResult::Abort => match self.aborted.remove(&header.producer_id) {
                Some((txn, true)) => (false, Some(txn)),
                _ => (true, None),
            },
            TransactionResult::Commit => (!self.committed.remove(&header.producer_id), None),
        }
    }
}

/// Decides batch by batch, in order.
pub(super) struct Filter<'a> {
    pub(super) map: &'a OffsetMap,
    pub(super) transactions: Transactions<'a>,
    pub(super) last_of_producers: &'a HashMap<i64, LastOfProducer>,
    /// Where the pass ends.
    pub(super) cleaned_to: i64,
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
    pub(super) decompressed_bytes_max: usize,
    pub(super) scratch: Vec<u8>,
}

impl Filter<'_> {
    /// What becomes of a batch. `aborted` is set when it is the marker of an aborted
    /// transaction whose data was met: its index entry is to be kept.
    pub(super) fn judge(
        &mut self,
        batch: &BatchView<'_>,
        aborted: &mut Option<AbortedTxn>,
    ) -> Result<Keep, BatchError> {
        let header = batch.header();
        let horizon_passed = header
            .delete_horizon()
            .is_some_and(|horizon| horizon <= self.now_ms);
        if header.is_control() {
            if header.record_count == 0 {
                return Ok(self.empty_or_nothing(header));
            }
            let Some(marker) = end_txn_marker(batch).ok().flatten() else {
                return Ok(Keep::AsIs);
            };
            let (data_gone, entry) = self.transactions.end(header, marker.result);
            *aborted = entry;
            if !data_gone {
                return Ok(Keep::AsIs);
            }
            return Ok(match header.delete_horizon() {
                None => self.rebuild(batch, true, |_| true)?,
                Some(_) if !horizon_passed => Keep::AsIs,
                Some(_) => self.empty_or_nothing(header),
            });
        }
        if self.transactions.is_aborted_data(batch) {
            return Ok(self.empty_or_nothing(header));
        }
        self.judge_records(batch, horizon_passed)
    }

    fn judge_records(
        &mut self,
        batch: &BatchView<'_>,
        horizon_passed: bool,
    ) -> Result<Keep, BatchError> {
        let header = batch.header();
        let map = self.map;
        let retained = |record: &Record<'_>| {
            if record.offset >= map.end_offset() {
                return true;
            }
            // A record without a key has no place in a compacted topic.
            let Some(key) = record.key else { return false };
            let newest = map.get(key).is_none_or(|newest| record.offset >= newest);
            newest && (record.value.is_some() || !horizon_passed)
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let (mut kept, mut tombstones) = (0, false);
        for record in batch.records(&mut scratch, self.decompressed_bytes_max)? {
            let record = record?;
            if retained(&record) {
                kept += 1;
                tombstones |= record.value.is_none();
            }
        }
        let stamp_horizon = tombstones && header.delete_horizon().is_none();
        let keep = if kept == 0 {
            self.empty_or_nothing(header)
        } else if kept == header.record_count && !stamp_horizon {
            Keep::AsIs
        } else {
            self.scratch = scratch;
            return self.rebuild(batch, stamp_horizon, retained);
        };
        self.scratch = scratch;
        Ok(keep)
    }

    /// The batch with the records that stay. A horizon takes the place of the base
    /// timestamp, so even a batch that keeps all its records is built anew: their
    /// timestamps must not shift with it.
    fn rebuild(
        &mut self,
        batch: &BatchView<'_>,
        stamp_horizon: bool,
        retained: impl Fn(&Record<'_>) -> bool,
    ) -> Result<Keep, BatchError> {
        let header = batch.header();
        let mut builder = BatchBuilder::like(header, header.compression()?);
        if stamp_horizon {
            builder = builder.delete_horizon(self.now_ms.saturating_add(self.delete_retention_ms));
        }
        for record in batch.records(&mut self.scratch, self.decompressed_bytes_max)? {
            let record = record?;
            if retained(&record) && builder.append_record(&record).is_err() {
                // The same records fitted before with more beside them; a batch
                // that cannot be rebuilt is kept whole rather than lost.
                return Ok(Keep::AsIs);
            }
        }
        Ok(Keep::Rebuilt(builder.finish()))
    }

    /// A batch without records left: nothing, or its header alone if it is the
    /// last of an active producer or of the pass.
    fn empty_or_nothing(&self, header: &BatchHeader) -> Keep {
        let is_last_of_producer =
            self.last_of_producers
                .get(&header.producer_id)
                .is_some_and(|last| match last.data_offset {
                    Some(offset) => offset == header.last_offset(),
                    None => header.is_control() && header.producer_epoch == last.epoch,
                });
        let is_last_of_pass = header.next_offset() == self.cleaned_to;
        if !is_last_of_producer && !is_last_of_pass {
            return Keep::Nothing;
        }
        let builder = match header.compression() {
            Ok(codec) => BatchBuilder::like(header, codec),
            Err(_) => return Keep::AsIs,
        };
        Keep::Rebuilt(builder.max_timestamp(header.max_timestamp).finish())
    }
}

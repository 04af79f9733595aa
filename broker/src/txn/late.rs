//! Transactions that hang: open on a partition for longer than any may take, so that nobody is
//! going to end them, while readers of committed data wait.
//!
//! Guards keep them from coming about. One can still be here from a time or a broker without
//! guards. An operator finds it by the metric and the line in the log, and ends it with
//! `kafka-transactions.sh abort`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use reka_storage::producer_state::ProducerState;

use super::ask::ListFilter;
use super::record::State;
use crate::node::Services;

/// Beyond `transaction.max.timeout.ms`, as Kafka has it: a coordinator may be away for a while.
const PATIENCE_MS: i64 = 5 * 60 * 1000;

/// A transaction that should have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Late {
    producer_id: i64,
    epoch: i16,
    first_offset: i64,
    silent_ms: i64,
}

fn late(producers: &ProducerState, now_ms: i64, allowed_ms: i64) -> Vec<Late> {
    let open = producers.iter().filter_map(|(producer_id, entry)| {
        let silent_ms = now_ms.saturating_sub(entry.last_timestamp);
        Some(Late {
            producer_id,
            epoch: entry.epoch,
            first_offset: entry.txn_first_offset?,
            silent_ms,
        })
    });
    open.filter(|late| late.silent_ms > allowed_ms).collect()
}

/// Which were found before: each has one line in the log. By partition and first offset.
#[derive(Debug, Default)]
pub struct Found(Mutex<BTreeSet<(String, i64)>>);

/// Blocking: looks through all partitions here.
pub fn look(services: &Services) {
    let now_ms = services.clock.now_ms();
    let timeout_max = services.config().transactions.timeout_max;
    let allowed_ms = i64::try_from(timeout_max.as_millis()).unwrap_or(i64::MAX);
    let allowed_ms = allowed_ms.saturating_add(PATIENCE_MS);
    let mut found = Vec::new();
    let mut partitions = 0;
    for partition in services.partitions.all() {
        if partition.reader().first_unstable().is_none() {
            continue;
        }
        let here = late(partition.log().producers(), now_ms, allowed_ms);
        partitions += i64::from(!here.is_empty());
        let named = here.into_iter().map(|late| (partition.to_string(), late));
        found.extend(named);
    }
    services
        .metrics
        .transactions
        .late_partitions
        .set(partitions);
    let new = services.transactions.late.take(&found);
    for (partition, late) in new {
        let Late {
            producer_id,
            epoch,
            first_offset,
            silent_ms,
        } = late;
        let (id, advice) = whose(services, producer_id);
        tracing::warn!(
            "{partition}: the transaction of producer {producer_id} epoch {epoch} ({id}) hangs: it is \
             open since offset {first_offset} and has been silent for {silent_ms} ms; readers of \
             committed data wait for it; {advice}"
        );
    }
}

impl Found {
    /// Those that were not there before; the others that are gone are forgotten.
    fn take(&self, found: &[(String, Late)]) -> Vec<(String, Late)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |(partition, late): &(String, Late)| (partition.clone(), late.first_offset);
        let is_new = |one: &&(String, Late)| !known.contains(&key(one));
        let new = found.iter().filter(is_new).cloned().collect();
        *known = found.iter().map(key).collect();
        new
    }
}

/// Whose it is and what to do, in words; only its coordinator knows, if anybody does.
fn whose(services: &Services, producer_id: i64) -> (String, &'static str) {
    let filter = ListFilter {
        producer_ids: vec![producer_id],
        duration_ms: -1,
        ..ListFilter::default()
    };
    let asked = tokio::runtime::Handle::current().block_on(services.transactions.list(&filter));
    let listed = asked.unwrap_or_default();
    match listed.first() {
        Some(listed) => (
            format!("transactional id {}, {}", listed.id, listed.state.name()),
            advice(listed.state),
        ),
        None => ("no transactional id has it now".to_owned(), ABORT),
    }
}

const ABORT: &str = "kafka-transactions.sh abort, or rkctl txn abort, ends it";

/// One whose end is decided must not be given another one.
fn advice(state: State) -> &'static str {
    match state.is_ending() {
        true => {
            "its end is decided and is still being told: do not abort it here, see what keeps this \
             partition from taking its marker"
        }
        false => ABORT,
    }
}

#[cfg(test)]
mod tests {
    use reka_records::{Attributes, BatchHeader, MAGIC};

    use super::*;

    #[test]
    fn nobody_is_told_to_abort_what_is_decided() {
        for state in [State::PrepareCommit, State::PrepareAbort] {
            assert!(advice(state).contains("do not abort"), "{state:?}");
        }
        for state in [State::Ongoing, State::Empty, State::CompleteCommit] {
            assert_eq!(advice(state), ABORT, "{state:?}");
        }
    }

    fn batch(producer_id: i64, timestamp: i64, transactional: bool) -> BatchHeader {
        let attributes = Attributes(0);
        BatchHeader {
            base_offset: producer_id,
            batch_length: 49,
            leader_epoch: 0,
            magic: MAGIC,
            crc: 0,
            attributes: match transactional {
                true => attributes.with(Attributes::TRANSACTIONAL),
                false => attributes,
            },
            last_offset_delta: 0,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id,
            producer_epoch: 3,
            base_sequence: 0,
            record_count: 1,
        }
    }

    #[test]
    fn what_is_open_and_has_been_silent_for_longer_than_allowed_is_late() {
        let mut producers = ProducerState::default();
        for (id, timestamp, transactional) in [(1, 0, false), (2, 499, true), (3, 500, true)] {
            producers.apply(&batch(id, timestamp, transactional), None);
        }
        let expected = Late {
            producer_id: 2,
            epoch: 3,
            first_offset: 2,
            silent_ms: 501,
        };
        assert_eq!(late(&producers, 1000, 500), [expected]);
    }

    #[test]
    fn each_is_told_once_and_again_when_it_comes_back() {
        let found = Found::default();
        let late = Late {
            producer_id: 2,
            epoch: 3,
            first_offset: 2,
            silent_ms: 501,
        };
        let one = ("t-0".to_owned(), late);
        let found_again = [one];
        assert_eq!(found.take(&found_again), found_again);
        assert_eq!(found.take(&found_again), []);
        assert_eq!(found.take(&[]), []);
        assert_eq!(found.take(&found_again), found_again);
    }
}

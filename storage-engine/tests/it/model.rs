//! The log against a plain `Vec`: random appends, batches of producers with retries and
//! gaps, transactions, reads, lookups by time, rolls, truncations, expiries, compactions,
//! clean and unclean reopenings must leave the same records, the same producers and the
//! same last stable offset.
//!
//! Under each cleanup policy; a pass of the cleaner may come under `delete` too, since a
//! topic's policy changes. As in a cluster, nothing is truncated below the high watermark of a compaction, and no
//! start is raised into an open transaction.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reka_records::{Compression, batches};
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::{Disk, sim::SimDisk};
use reka_storage::producer_state::ProducerError;
use reka_storage::{AppendError, Appended, CheckedBatches, Log, LogConfig};
use std::path::Path;

use crate::support::{
    self, DIR, Policy, Seen, append, batch, marker, open, partition, produced, read_all,
    small_config,
};

#[derive(Clone, Debug)]
enum Step {
    Append {
        records: usize,
        size: usize,
        codec: u8,
        timestamp: i64,
    },
    AppendMany {
        batches: usize,
    },
    /// The next batch of a producer; those from `TRANSACTIONAL` on are transactional.
    Produce {
        id: i64,
        records: usize,
        timestamp: i64,
    },
    /// One of its last batches again, counted from the newest.
    Retry {
        id: i64,
        back: usize,
    },
    /// A batch that leaves some sequences out.
    Gap {
        id: i64,
    },
    EndTxn {
        id: i64,
        committed: bool,
    },
    /// All is replicated.
    Settle,
    Compact,
    MaxTimestamp,
    Truncate {
        permille: u64,
    },
    TruncateFully {
        ahead: i64,
    },
    RaiseStart {
        permille: u64,
    },
    Roll,
    Flush,
    Expire {
        retention_ms: i64,
    },
    ReadFrom {
        permille: u64,
        max_bytes: u64,
    },
    FindTimestamp {
        timestamp: i64,
    },
    CleanReopen,
    UncleanReopen,
}

/// Producers, by id; the first are idempotent only.
const PRODUCERS: i64 = 5;
const TRANSACTIONAL: i64 = 2;
const MARKER_TIMESTAMP: i64 = 500;
/// Batches the log remembers per producer.
const REMEMBERED: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..6_usize, 0..200_usize, 0..5_u8, 0..1_000_i64)
            .prop_map(|(records, size, codec, timestamp)| Step::Append { records, size, codec, timestamp }),
        2 => (2..5_usize).prop_map(|batches| Step::AppendMany { batches }),
        4 => (0..PRODUCERS, 1..4_usize, 0..1_000_i64)
            .prop_map(|(id, records, timestamp)| Step::Produce { id, records, timestamp }),
        1 => (0..PRODUCERS, 0..7_usize).prop_map(|(id, back)| Step::Retry { id, back }),
        1 => (0..PRODUCERS).prop_map(|id| Step::Gap { id }),
        2 => (TRANSACTIONAL..PRODUCERS, any::<bool>())
            .prop_map(|(id, committed)| Step::EndTxn { id, committed }),
        1 => Just(Step::Settle),
        2 => Just(Step::Compact),
        1 => Just(Step::MaxTimestamp),
        2 => (0..=1_000_u64).prop_map(|permille| Step::Truncate { permille }),
        1 => (0..50_i64).prop_map(|ahead| Step::TruncateFully { ahead }),
        1 => (0..=1_000_u64).prop_map(|permille| Step::RaiseStart { permille }),
        1 => Just(Step::Roll),
        1 => Just(Step::Flush),
        1 => (0..1_000_i64).prop_map(|retention_ms| Step::Expire { retention_ms }),
        3 => (0..=1_000_u64, 1..2_000_u64)
            .prop_map(|(permille, max_bytes)| Step::ReadFrom { permille, max_bytes }),
        2 => (0..1_000_i64).prop_map(|timestamp| Step::FindTimestamp { timestamp }),
        1 => Just(Step::CleanReopen),
        1 => Just(Step::UncleanReopen),
    ]
}

/// What a producer did.
#[derive(Clone, Debug)]
struct Entry {
    id: i64,
    offsets: std::ops::Range<i64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Data { last_sequence: i32 },
    Marker { committed: bool },
}

/// A transaction that was aborted: whose, first offset, offset of the marker.
type Aborted = (i64, i64, i64);

/// What the log should hold.
#[derive(Default)]
struct Model {
    /// Batches as the offsets they span; truncation drops whole ones.
    batches: Vec<std::ops::Range<i64>>,
    records: Vec<Seen>,
    start: i64,
    end: i64,
    entries: Vec<Entry>,
    /// Decided transactions that may not be replicated yet, by first offset.
    unsettled: BTreeSet<i64>,
    /// Compacted up to here.
    cleaned: i64,
    /// The high watermark of the last compaction: nothing below is truncated.
    replicated: i64,
}

impl Model {
    fn append(&mut self, values: &[Vec<u8>], timestamp: i64) {
        self.batches.push(self.end..self.end + values.len() as i64);
        for value in values {
            self.records.push(Seen {
                offset: self.end,
                timestamp,
                key: value.get(..1).map(<[u8]>::to_vec),
                value: Some(value.clone()),
            });
            self.end += 1;
        }
    }

    fn produce(&mut self, id: i64, sequence: i32, values: &[Vec<u8>], timestamp: i64) {
        let first = self.end;
        let last_sequence = sequence + values.len() as i32 - 1;
        self.append(values, timestamp);
        self.entries.push(Entry {
            id,
            offsets: first..self.end,
            kind: Kind::Data { last_sequence },
        });
    }

    fn end_txn(&mut self, id: i64, committed: bool) {
        self.unsettled.extend(self.open().get(&id));
        self.entries.push(Entry {
            id,
            offsets: self.end..self.end + 1,
            kind: Kind::Marker { committed },
        });
        self.batches.push(self.end..self.end + 1);
        self.records.push(Seen {
            offset: self.end,
            timestamp: MARKER_TIMESTAMP,
            key: Some(vec![0, 0, 0, u8::from(committed)]),
            value: Some(vec![0; 6]),
        });
        self.end += 1;
    }

    /// The newest data batches of a producer, newest first.
    fn data_of(&self, id: i64) -> impl Iterator<Item = (&Entry, i32)> {
        self.entries
            .iter()
            .rev()
            .filter(move |entry| entry.id == id)
            .filter_map(|entry| match entry.kind {
                Kind::Data { last_sequence } => Some((entry, last_sequence)),
                Kind::Marker { .. } => None,
            })
    }

    fn next_sequence(&self, id: i64) -> i32 {
        self.data_of(id).next().map_or(0, |(_, last)| last + 1)
    }

    /// Open transactions: first offset by producer.
    fn open(&self) -> BTreeMap<i64, i64> {
        self.txns().0
    }

    fn aborted(&self) -> Vec<Aborted> {
        self.txns().1
    }

    fn txns(&self) -> (BTreeMap<i64, i64>, Vec<Aborted>) {
        let (mut open, mut aborted) = (BTreeMap::new(), Vec::new());
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.id >= TRANSACTIONAL)
        {
            match entry.kind {
                Kind::Data { .. } => {
                    open.entry(entry.id).or_insert(entry.offsets.start);
                }
                Kind::Marker { committed } => {
                    if let Some(first) = open.remove(&entry.id)
                        && !committed
                    {
                        aborted.push((entry.id, first, entry.offsets.start));
                    }
                }
            }
        }
        (open, aborted)
    }

    fn first_unstable(&self) -> Option<i64> {
        let open = self.open().into_values().min();
        open.into_iter()
            .chain(self.unsettled.first().copied())
            .min()
    }

    /// Whose data an offset is, if its transaction was aborted.
    fn is_aborted(&self, offset: i64) -> bool {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.offsets.contains(&offset));
        entry.is_some_and(|entry| {
            matches!(entry.kind, Kind::Data { .. })
                && self
                    .aborted()
                    .iter()
                    .any(|(id, first, last)| *id == entry.id && (*first..*last).contains(&offset))
        })
    }

    /// Below an offset the newest record of each key stays, and every marker.
    fn compact(&mut self, below: i64) {
        let is_marker = |offset: i64| {
            let marker = |entry: &Entry| matches!(entry.kind, Kind::Marker { .. });
            let at = self
                .entries
                .iter()
                .find(|entry| entry.offsets.contains(&offset));
            at.is_some_and(marker)
        };
        let mut newest = BTreeMap::new();
        for record in self.records.iter().filter(|record| record.offset < below) {
            if !is_marker(record.offset) && !self.is_aborted(record.offset) {
                newest.insert(record.key.clone(), record.offset);
            }
        }
        let stays = |record: &Seen| {
            record.offset >= below
                || is_marker(record.offset)
                || record.key.is_some() && newest.get(&record.key) == Some(&record.offset)
        };
        let kept: Vec<Seen> = self.records.iter().filter(|r| stays(r)).cloned().collect();
        self.records = kept;
        self.cleaned = self.cleaned.max(below);
    }

    fn truncate(&mut self, offset: i64) {
        if offset >= self.end {
            return;
        }
        let first = self.batches.iter().position(|batch| batch.end > offset);
        // Compaction leaves gaps, in which a log can end.
        self.end = first.map_or(offset, |first| self.batches[first].start.min(offset));
        self.batches.retain(|batch| batch.end <= self.end);
        self.entries.retain(|entry| entry.offsets.end <= self.end);
        self.unsettled.clear();
        self.start = self.start.min(self.end);
        self.records.retain(|record| record.offset < self.end);
    }

    fn visible(&self, from: i64) -> Vec<Seen> {
        self.records
            .iter()
            .filter(|record| record.offset >= from)
            .cloned()
            .collect()
    }

    fn at(&self, permille: u64) -> i64 {
        self.start + ((self.end - self.start) as u64 * permille / 1_000) as i64
    }
}

fn values(seed: usize, records: usize, size: usize) -> Vec<Vec<u8>> {
    (0..records)
        .map(|index| vec![(seed * 7 + index) as u8; size + index])
        .collect()
}

fn run(steps: &[Step], policy: Policy) {
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    let config = policy.of(small_config());
    let mut env = support::env(&disk, Path::new(DIR));
    let (mut log, _) = open(&env, &config, false);
    let mut model = Model::default();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Append {
                records,
                size,
                codec,
                timestamp,
            } => {
                let codec = Compression::from_id(*codec).expect("a known codec");
                let values = values(number, *records, *size / records);
                let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                append(&mut log, batch(&refs, *timestamp, codec));
                model.append(&values, *timestamp);
            }
            Step::AppendMany { batches } => {
                let mut bytes = Vec::new();
                for index in 0..*batches {
                    let values = values(number + index, 1, 10);
                    bytes.extend(batch(&[&values[0]], 500, Compression::None));
                    model.append(&values, 500);
                }
                append(&mut log, bytes);
            }
            Step::Produce {
                id,
                records,
                timestamp,
            } => {
                let values = values(number, *records, 20);
                // One that is known by a marker alone begins anew, as in Apache Kafka.
                let known = log.producers().get(*id);
                let sequence = match known.map(|known| known.last_sequence()) {
                    Some(-1) => 0,
                    _ => model.next_sequence(*id),
                };
                let offset = append(&mut log, of_producer(*id, sequence, &values, *timestamp));
                assert_eq!(offset, model.end);
                model.produce(*id, sequence, &values, *timestamp);
            }
            Step::Retry { id, back } => retry(&mut log, &model, *id, *back),
            Step::Gap { id } => {
                let known = log.producers().get(*id).is_some();
                let sequence = model.next_sequence(*id) + 3;
                if known && model.data_of(*id).next().is_some() {
                    let mut bytes = of_producer(*id, sequence, &values(number, 1, 5), 0);
                    let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
                    let refused = log.append(checked, 0, 0);
                    assert!(
                        matches!(
                            refused,
                            Err(AppendError::Producer(
                                ProducerError::OutOfOrderSequence { .. }
                            ))
                        ),
                        "{refused:?}"
                    );
                }
            }
            Step::EndTxn { id, committed } => {
                append(&mut log, marker(*id, 0, *committed, MARKER_TIMESTAMP));
                model.end_txn(*id, *committed);
            }
            Step::Settle => {
                log.settle_below(model.end);
                model.unsettled.clear();
            }
            Step::Compact => {
                log.settle_below(model.end);
                model.unsettled.clear();
                model.replicated = model.end;
                log.roll(0).expect("a roll");
                log.flush().expect("a flush");
                if let Some(plan) = log.plan_compaction(model.end, 0).expect("a plan") {
                    let limits = CompactionLimits {
                        map_bytes: 1 << 12,
                        ..CompactionLimits::default()
                    };
                    let compacted = plan.run(&limits, 0).expect("a pass");
                    log.finish_compaction(compacted, 0).expect("a swap");
                    log.unlink_deleted(0).expect("unlinked files");
                    let cleaned = env.cleaner_points.get(&partition());
                    let cleaned = cleaned.expect("how far the pass came");
                    assert!(
                        model.open().values().all(|first| cleaned <= *first),
                        "compacted into an open transaction"
                    );
                    model.compact(cleaned);
                    // Which batches are left is the compaction's own tests' to judge.
                    model.batches = batches_of(&log);
                }
            }
            Step::MaxTimestamp => {
                let found = log.reader().max_timestamp(log.log_end());
                let found = found.expect("a lookup");
                let visible = model.visible(model.start);
                let greatest = visible.iter().map(|record| record.timestamp).max();
                let expected = visible
                    .iter()
                    .find(|record| Some(record.timestamp) == greatest);
                assert_eq!(
                    found.map(|found| (found.timestamp, found.offset)),
                    expected.map(|record| (record.timestamp, record.offset)),
                );
            }
            Step::Truncate { permille } => {
                let offset = model.at(*permille).max(model.replicated);
                log.truncate_to(offset, 0).expect("a truncation");
                model.truncate(offset);
            }
            Step::TruncateFully { ahead } => {
                let offset = model.end + ahead - 20;
                let offset = offset.max(0);
                log.truncate_fully_and_start_at(offset, 0)
                    .expect("a truncation");
                model = Model {
                    start: offset,
                    end: offset,
                    ..Model::default()
                };
            }
            Step::RaiseStart { permille } => {
                let stable = model.first_unstable().unwrap_or(model.end);
                model.start = model.at(*permille).min(stable).max(model.start);
                log.advance_log_start(model.start)
                    .expect("a start inside the log");
                model.records.retain(|record| record.offset >= model.start);
            }
            Step::Roll => log.roll(0).expect("a roll"),
            Step::Flush => log.flush().expect("a flush"),
            Step::Expire { retention_ms } => {
                log.set_config(LogConfig {
                    retention_ms: *retention_ms,
                    ..config.clone()
                });
                let stable = model.first_unstable().unwrap_or(model.end);
                log.apply_retention(stable, 1_000)
                    .expect("a retention pass");
                log.set_config(config.clone());
                log.unlink_deleted(0).expect("unlinked files");
                // Whole segments go; which ones is `retention`'s own test. All that
                // is gone must have been old enough.
                let too_young = model.records.iter().find(|record| {
                    record.offset < log.log_start() && 1_000 - record.timestamp <= *retention_ms
                });
                assert_eq!(too_young, None);
                if policy == Policy::Compact {
                    assert_eq!(log.log_start(), model.start, "nothing is too old");
                }
                model.start = log.log_start();
                model.records.retain(|record| record.offset >= model.start);
                model.batches.retain(|batch| batch.end > model.start);
            }
            Step::ReadFrom {
                permille,
                max_bytes,
            } => {
                let from = model.at(*permille);
                let seen = support::read_from(&log.reader(), from, *max_bytes);
                assert_eq!(seen.as_ref(), Ok(&model.visible(from)), "read from {from}");
            }
            Step::FindTimestamp { timestamp } => {
                let found = log
                    .reader()
                    .find_timestamp(*timestamp, log.log_end())
                    .expect("a lookup");
                let expected = model
                    .records
                    .iter()
                    .find(|record| record.timestamp >= *timestamp);
                assert_eq!(
                    found.map(|found| (found.timestamp, found.offset)),
                    expected.map(|record| (record.timestamp, record.offset))
                );
            }
            Step::CleanReopen => {
                log.close().expect("a clean stop");
                env.recovery_points.store(&disk).expect("a checkpoint");
                env.log_starts.store(&disk).expect("a checkpoint");
                env = support::env(&disk, Path::new(DIR));
                model.unsettled.clear();
                let report;
                (log, report) = open(&env, &config, true);
                assert_eq!(report.scanned_bytes, 0);
            }
            Step::UncleanReopen => {
                // The process died; the machine did not, so nothing is lost.
                env.log_starts.store(&disk).expect("a checkpoint");
                env = support::env(&disk, Path::new(DIR));
                model.unsettled.clear();
                let report;
                (log, report) = open(&env, &config, false);
                assert_eq!((report.cut, report.damage), (None, None));
            }
        }
        assert_eq!(
            (log.log_start(), log.log_end()),
            (model.start, model.end),
            "after {step:?}"
        );
        assert_eq!(
            read_all(&log.reader()).as_ref(),
            Ok(&model.visible(model.start)),
            "after {step:?}"
        );
        check_reader(&log);
        check_producers(&log, &model);
    }
}

fn of_producer(id: i64, sequence: i32, values: &[Vec<u8>], timestamp: i64) -> Vec<u8> {
    let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    produced(id, 0, sequence, id >= TRANSACTIONAL, &refs, timestamp)
}

/// The newest batch of a producer that is known is answered with where it is. Of older ones
/// a restart forgets some; they are answered so or refused, and never appended.
fn retry(log: &mut Log, model: &Model, id: i64, back: usize) {
    let Some((entry, last_sequence)) = model.data_of(id).nth(back) else {
        return;
    };
    if log.producers().get(id).is_none() {
        return;
    }
    let count = (entry.offsets.end - entry.offsets.start) as i32;
    let values = vec![vec![1]; count as usize];
    let mut bytes = of_producer(id, last_sequence - count + 1, &values, 0);
    let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
    match log.append(checked, 0, 0) {
        Ok(Appended::Duplicate(known)) => {
            assert!(back < REMEMBERED);
            assert_eq!(known.first_offset(), entry.offsets.start);
            assert_eq!(known.last_offset, entry.offsets.end - 1);
        }
        Err(AppendError::Producer(ProducerError::OutOfOrderSequence { .. })) => {
            assert!(back > 0, "the newest batch is always known");
        }
        other => panic!("{other:?}"),
    }
}

/// The offsets each batch in the log spans.
fn batches_of(log: &Log) -> Vec<std::ops::Range<i64>> {
    let reader = log.reader();
    let mut found = Vec::new();
    let mut next = reader.log_start();
    while let Some(slice) = reader.read(next, 1 << 20, i64::MAX).expect("a read") {
        for batch in batches(&slice.bytes().expect("a mapping")) {
            let batch = batch.expect("whole batches");
            found.push(batch.header().base_offset..batch.header().next_offset());
        }
        next = slice.next_offset;
    }
    found
}

fn check_producers(log: &Log, model: &Model) {
    assert_eq!(log.reader().first_unstable(), model.first_unstable());
    let open = model.open();
    for id in 0..PRODUCERS {
        let newest = model.data_of(id).next();
        let may_be_forgotten = newest.is_none_or(|(entry, _)| entry.offsets.start < model.start);
        let Some(known) = log.producers().get(id) else {
            // Forgotten with its records, never before.
            assert!(may_be_forgotten);
            continue;
        };
        assert_eq!(
            known.txn_first_offset,
            open.get(&id).copied(),
            "producer {id}"
        );
        let forgotten = known.last_sequence() == -1 && may_be_forgotten;
        let expected = newest.map_or(-1, |(_, last)| last);
        assert!(
            forgotten || known.last_sequence() == expected,
            "producer {id} is at {}, expected {expected}",
            known.last_sequence()
        );
    }
    // Of a transaction of which no data is left there need be no entry, and where a
    // transaction begins is known as far as there is data.
    let reader = log.reader();
    let listed: BTreeMap<(i64, i64), i64> = reader
        .aborted_transactions(model.start, model.end)
        .expect("an index")
        .iter()
        .map(|txn| ((txn.producer_id, txn.last_offset), txn.first_offset))
        .collect();
    let aborted = model.aborted();
    for (id, first, last) in &aborted {
        let data_left = model.records.iter().any(|record| {
            (*first..*last).contains(&record.offset)
                && model
                    .entries
                    .iter()
                    .any(|entry| entry.id == *id && entry.offsets.contains(&record.offset))
        });
        match listed.get(&(*id, *last)) {
            Some(found) => assert!(found == first || *first < model.start.max(model.cleaned)),
            None => assert!(
                !data_left || *last < model.start,
                "{id} {first}..{last} is unlisted"
            ),
        }
    }
    for (id, last) in listed.keys() {
        let in_model = |(other, _, marker): &Aborted| (other, marker) == (id, last);
        assert!(aborted.iter().any(in_model), "{id} {last} was not aborted");
    }
}

fn check_reader(log: &Log) {
    let reader = log.reader();
    assert!(
        reader
            .read(reader.log_end(), 100, reader.log_end())
            .expect("the end is in range")
            .is_none()
    );
    assert!(reader.read(reader.log_end() + 1, 100, i64::MAX).is_err());
    assert!(reader.read(reader.log_start() - 1, 100, i64::MAX).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 900, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_a_vec_would(
        steps in proptest::collection::vec(step(), 1..60),
        policy in proptest::sample::select(Policy::ALL.to_vec()),
    ) {
        run(&steps, policy);
    }
}

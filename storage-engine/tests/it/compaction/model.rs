//! Compaction against the rules written down as a model: what every pass may remove,
//! must remove and must leave, for any mixture of keys, tombstones, transactions,
//! producers, segment sizes, memory bounds and times.
//!
//! The model keeps every record ever appended with the outcome of its transaction. After
//! each pass the log is read again and held against it, record by record and marker by
//! marker; what lies at or behind the end of the pass must be the same bytes.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        producer: Option<u8>,
        /// Key and whether it is deleted.
        rows: Vec<(u8, bool)>,
        codec: u8,
    },
    End {
        producer: u8,
        commit: bool,
        raise_epoch: bool,
    },
    Roll,
    Pass {
        wait_ms: i64,
        tiny: bool,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let rows = proptest::collection::vec((0..20_u8, proptest::bool::weighted(0.2)), 1..6);
    prop_oneof![
        8 => (proptest::option::of(0..4_u8), rows, 0..5_u8)
            .prop_map(|(producer, rows, codec)| Step::Append { producer, rows, codec }),
        4 => (0..4_u8, any::<bool>(), proptest::bool::weighted(0.3))
            .prop_map(|(producer, commit, raise_epoch)| Step::End { producer, commit, raise_epoch }),
        2 => Just(Step::Roll),
        3 => (0..900_i64, any::<bool>()).prop_map(|(wait_ms, tiny)| Step::Pass { wait_ms, tiny }),
        1 => Just(Step::Reopen),
    ]
}

/// A record as it was appended.
#[derive(Clone, Debug)]
struct Past {
    row: Row,
    producer: Option<i64>,
    /// Whether it counts; `None` while nobody knows.
    counts: Option<bool>,
}

#[derive(Default)]
struct Model {
    past: BTreeMap<i64, Past>,
    /// Producer and first offset of the transaction each marker ended.
    markers: BTreeMap<i64, (i64, i64)>,
    /// By producer: epoch and next sequence.
    producers: BTreeMap<u8, (i16, i32)>,
    now_ms: i64,
}

impl Model {
    fn step(&mut self, bench: &mut Bench, step: &Step) {
        self.now_ms += 1;
        match step {
            Step::Append {
                producer,
                rows,
                codec,
            } => {
                let mut builder = BatchBuilder::new(0)
                    .compression(Compression::from_id(*codec).expect("a known codec"));
                // Of the four, two are transactional.
                let txn = producer.is_some_and(|producer| producer < 2);
                if let Some(producer) = producer {
                    let (epoch, sequence) = self.producers.entry(*producer).or_insert((0, 0));
                    builder = builder.producer(i64::from(*producer), *epoch, *sequence);
                    *sequence += rows.len() as i32;
                }
                if txn {
                    builder = builder.transactional();
                }
                let rows: Vec<_> = rows
                    .iter()
                    .map(|(key, deleted)| {
                        let value = format!("{} of {key} {}", self.now_ms, "x".repeat(20));
                        (format!("key-{key}"), (!deleted).then_some(value))
                    })
                    .collect();
                let refs: Vec<_> = rows
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_deref()))
                    .collect();
                let bytes = records(builder, &refs, self.now_ms);
                let first = append(&mut bench.log, bytes);
                for (offset, (key, value)) in (first..).zip(rows) {
                    let past = Past {
                        row: Row {
                            offset,
                            timestamp: self.now_ms,
                            key: Some(key),
                            value,
                            headers: 1,
                        },
                        producer: producer.map(i64::from),
                        counts: (!txn).then_some(true),
                    };
                    self.past.insert(offset, past);
                }
            }
            Step::End {
                producer,
                commit,
                raise_epoch,
            } => {
                let id = i64::from(*producer % 2);
                let (epoch, sequence) = self.producers.entry(*producer % 2).or_insert((0, 0));
                if *raise_epoch {
                    *epoch += 1;
                    *sequence = 0;
                }
                let offset = append(&mut bench.log, marker(id, *epoch, *commit, self.now_ms));
                let mut first = offset;
                for past in self.past.values_mut() {
                    if past.producer == Some(id) && past.counts.is_none() {
                        past.counts = Some(*commit);
                        first = first.min(past.row.offset);
                    }
                }
                self.markers.insert(offset, (id, first));
            }
            Step::Roll => bench.log.roll(self.now_ms).expect("a roll"),
            Step::Pass { wait_ms, tiny } => {
                self.now_ms += wait_ms;
                let limits = if *tiny { TINY } else { ROOMY };
                // A small map takes several passes; it must come to an end.
                for _ in 0..200 {
                    let Some(plan) = bench.plan(self.now_ms) else {
                        return;
                    };
                    let before = bench.batches();
                    bench.finish(plan, &limits, self.now_ms);
                    self.check_pass(bench, &before);
                }
                panic!("always something dirty, cleaned to {}", bench.cleaned_to());
            }
            Step::Reopen => {
                let known = |bench: &Bench| -> BTreeMap<_, _> {
                    let producers = bench.log.producers().iter();
                    let facts = producers.map(|(id, entry)| {
                        let facts = (entry.epoch, entry.last_sequence(), entry.txn_first_offset);
                        (id, facts)
                    });
                    facts.collect()
                };
                let (before, batches) = (known(bench), bench.batches());
                bench.reopen_without_snapshots();
                assert_eq!(known(bench), before);
                assert_eq!(bench.batches(), batches);
            }
        }
    }

    /// Holds the log after a pass against what it was before and what is known of the past.
    fn check_pass(&self, bench: &Bench, before: &[Batch]) {
        let (after, cleaned_to) = (bench.batches(), bench.cleaned_to());
        let by_base: BTreeMap<i64, &Batch> = before
            .iter()
            .map(|batch| (batch.header.base_offset, batch))
            .collect();
        let horizon = self.now_ms + RETENTION_MS;
        let kept: BTreeMap<i64, &Row> = after
            .iter()
            .filter(|batch| !batch.header.is_control())
            .flat_map(|batch| batch.rows.iter().map(|row| (row.offset, row)))
            .collect();
        for batch in &after {
            let was = by_base[&batch.header.base_offset];
            assert_eq!(batch.header.last_offset(), was.header.last_offset());
            assert!(batch.rows.iter().all(|row| was.rows.contains(row)));
            if batch.rows.is_empty() {
                self.check_emptied(bench, batch, cleaned_to);
            } else {
                let codec = |batch: &Batch| batch.header.compression().expect("a codec");
                assert_eq!(codec(batch), codec(was));
                let stamped = batch.header.delete_horizon();
                let first = was.header.delete_horizon().or(stamped.and(Some(horizon)));
                assert_eq!(stamped, first, "stamped once");
            }
        }
        let newest_of = self.newest_below(cleaned_to);
        for (offset, past) in &self.past {
            let here = kept.get(offset);
            assert!(here.is_none_or(|row| **row == past.row), "{past:?}");
            if *offset >= cleaned_to {
                continue;
            }
            let was = before
                .iter()
                .find(|b| b.rows.iter().any(|row| row.offset == *offset));
            let over = was.is_none_or(|batch| {
                let horizon = batch.header.delete_horizon();
                past.row.value.is_none() && horizon.is_some_and(|horizon| horizon <= self.now_ms)
            });
            let newest = newest_of.get(&past.row.key) == Some(offset);
            assert_eq!(here.is_some(), newest && !over, "{past:?}");
            let tombstone_batch = after.iter().find(|b| b.rows.contains(&past.row));
            if past.row.value.is_none() && here.is_some() {
                let stamped = tombstone_batch.and_then(|batch| batch.header.delete_horizon());
                assert!(stamped.is_some(), "{past:?}");
            }
        }
        // A tombstone that went took nothing older back to life.
        let newest_here = |key: &Option<String>| {
            let rows = kept
                .values()
                .filter(|row| row.key == *key && row.offset < cleaned_to);
            rows.map(|row| row.offset).max()
        };
        for (key, offset) in &newest_of {
            assert!(newest_here(key).is_none_or(|here| here == *offset));
        }
        self.check_markers(before, &after, cleaned_to);
        // The segment in which the pass ended may have lost aborted data behind the end.
        let untouched_from = bench.segment_from(cleaned_to);
        let behind = |batches: &[Batch]| -> Vec<Bytes> {
            let behind = batches
                .iter()
                .filter(|batch| batch.header.base_offset >= untouched_from);
            behind.map(|batch| batch.bytes.clone()).collect()
        };
        assert_eq!(behind(&after), behind(before));
    }

    /// Offset of the newest record that counts, by key.
    fn newest_below(&self, offset: i64) -> BTreeMap<Option<String>, i64> {
        self.past
            .range(..offset)
            .filter(|(_, past)| past.counts == Some(true))
            .map(|(offset, past)| (past.row.key.clone(), *offset))
            .collect()
    }

    /// Only the last that is known of a producer stays without records, or the last of
    /// the pass.
    fn check_emptied(&self, bench: &Bench, batch: &Batch, cleaned_to: i64) {
        let header = batch.header;
        if header.next_offset() == cleaned_to {
            return;
        }
        let entry = bench.log.producers().get(header.producer_id);
        let entry = entry.expect("an emptied batch of an active producer");
        match entry.batches().last() {
            Some(last) => assert_eq!(header.last_offset(), last.last_offset),
            None => assert!(header.is_control() && header.producer_epoch == entry.epoch),
        }
    }

    fn check_markers(&self, before: &[Batch], after: &[Batch], cleaned_to: i64) {
        for was in before.iter().filter(|batch| batch.marker.is_some()) {
            let offset = was.header.base_offset;
            if offset >= cleaned_to {
                continue;
            }
            let (producer, first) = self.markers[&offset];
            let had_data = before.iter().any(|batch| {
                let header = batch.header;
                header.producer_id == producer
                    && header.is_transactional()
                    && !header.is_control()
                    && (first..offset).contains(&header.last_offset())
            });
            let is = after
                .iter()
                .find(|batch| batch.header.base_offset == offset);
            match (had_data, was.header.delete_horizon()) {
                (true, None) => assert_eq!(is, Some(was)),
                (true, Some(_)) => panic!("stamped though data was left: {was:?}"),
                (false, None) => {
                    let stamped = is.and_then(|batch| batch.header.delete_horizon());
                    assert_eq!(stamped, Some(self.now_ms + RETENTION_MS));
                }
                (false, Some(horizon)) if horizon > self.now_ms => assert_eq!(is, Some(was)),
                (false, Some(_)) => assert!(is.is_none_or(|batch| batch.rows.is_empty())),
            }
        }
    }
}

fn run(segment_bytes: u64, steps: &[Step]) {
    let mut bench = Bench::new(LogConfig {
        segment_bytes,
        ..config()
    });
    let mut model = Model::default();
    for step in steps {
        model.step(&mut bench, step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pass_removes_what_the_rules_say_and_nothing_else(
        segment_bytes in 600..3_000_u64,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        run(segment_bytes, &steps);
    }
}

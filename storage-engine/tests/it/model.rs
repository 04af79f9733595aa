//! The log against a plain `Vec`: random appends, reads, rolls, truncations,
//! expiries, clean and unclean reopenings must leave the same records.

use proptest::prelude::*;
use reka_records::Compression;
use reka_storage::fs::{Disk, sim::SimDisk};
use reka_storage::{Log, LogConfig};
use std::path::Path;

use crate::support::{self, DIR, Seen, append, batch, open, read_all, small_config};

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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..6_usize, 0..200_usize, 0..5_u8, 0..1_000_i64)
            .prop_map(|(records, size, codec, timestamp)| Step::Append { records, size, codec, timestamp }),
        2 => (2..5_usize).prop_map(|batches| Step::AppendMany { batches }),
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

/// What the log should hold.
#[derive(Default)]
struct Model {
    /// Batches as the offsets they span; truncation drops whole ones.
    batches: Vec<std::ops::Range<i64>>,
    records: Vec<Seen>,
    start: i64,
    end: i64,
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

    fn truncate(&mut self, offset: i64) {
        if let Some(first) = self.batches.iter().position(|batch| batch.end > offset) {
            self.end = self.batches[first].start.min(self.end);
            self.batches.truncate(first);
        }
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

fn run(steps: &[Step]) {
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    let config = small_config();
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
            Step::Truncate { permille } => {
                let offset = model.at(*permille);
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
                model.start = model.at(*permille);
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
                let end = log.log_end();
                log.apply_retention(end, 1_000).expect("a retention pass");
                log.set_config(config.clone());
                log.unlink_deleted(0).expect("unlinked files");
                // Whole segments go; which ones is `retention`'s own test. All that
                // is gone must have been old enough.
                let too_young = model.records.iter().find(|record| {
                    record.offset < log.log_start() && 1_000 - record.timestamp <= *retention_ms
                });
                assert_eq!(too_young, None);
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
                let report;
                (log, report) = open(&env, &config, true);
                assert_eq!(report.scanned_bytes, 0);
            }
            Step::UncleanReopen => {
                // The process died; the machine did not, so nothing is lost.
                env.log_starts.store(&disk).expect("a checkpoint");
                env = support::env(&disk, Path::new(DIR));
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
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_a_vec_would(steps in proptest::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}

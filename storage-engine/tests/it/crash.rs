//! Power cuts at every step.
//!
//! A script runs once on a simulated disk that keeps a copy of itself from after
//! every changing operation. Each copy is then cut in many ways (nothing unsynced
//! survives, everything does, random pages and names do, torn pages), and what a
//! broker would find is opened and judged:
//!
//! - everything below the recovery point of that moment is there;
//! - what is there is a prefix: no gaps, no record that was not appended at that
//!   offset, and none that a finished truncation removed;
//! - producer state and aborted transactions are those of the batches there;
//! - opening a second time changes nothing; a second power cut during the recovery
//!   is survived as well.
//!
//! `CRASH_STATES` sets how many states are judged, `CRASH_SEED` where the random
//! choices start; both are printed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use reka_records::Compression;
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::Disk;
use reka_storage::fs::sim::{Choice, KeepAll, LoseAll, Seeded, SimDisk};
use reka_storage::log_dir::Identity;
use reka_storage::map_budget::MapBudget;
use reka_storage::producer_state::ProducerState;
use reka_storage::txn_index::AbortedTxn;
use reka_storage::{Log, LogConfig, LogDir};

use crate::support::{self, Seen, append, batch, partition, produced, read_all};

const ROOT: &str = "/data";

#[derive(Clone, Copy, Debug)]
enum Action {
    Append {
        records: usize,
        size: usize,
    },
    Produce {
        id: i64,
        txn: bool,
    },
    Marker {
        id: i64,
        committed: bool,
    },
    Roll,
    Flush,
    Checkpoint,
    /// Drops this many of the newest records.
    Truncate(i64),
    StartAnewAhead(i64),
    RaiseStart(i64),
    Expire,
    Unlink,
    CleanRestart,
    Compact,
}

use Action::{
    Append, Checkpoint, CleanRestart, Compact, Expire, Flush, Marker, Produce, RaiseStart, Roll,
    StartAnewAhead, Truncate, Unlink,
};

const SMALL: Action = Append {
    records: 1,
    size: 20,
};
const MEDIUM: Action = Append {
    records: 3,
    size: 60,
};
const PAGES: Action = Append {
    records: 2,
    size: 3000,
};
const TXN: Action = Produce { id: 1, txn: true };
const OTHER_TXN: Action = Produce { id: 2, txn: true };
const IDEMPOTENT: Action = Produce { id: 3, txn: false };
const ABORT: Action = Marker {
    id: 1,
    committed: false,
};
const COMMIT: Action = Marker {
    id: 1,
    committed: true,
};
const OTHER_ABORT: Action = Marker {
    id: 2,
    committed: false,
};

/// Scripts by what they are about.
const SCRIPTS: &[(&str, &[Action])] = &[
    ("one append", &[SMALL]),
    ("appends without a flush", &[SMALL, MEDIUM, SMALL, MEDIUM]),
    (
        "flush between appends",
        &[SMALL, Flush, MEDIUM, Flush, Checkpoint, SMALL],
    ),
    (
        "batches over several pages",
        &[PAGES, Flush, PAGES, PAGES, Flush, PAGES],
    ),
    (
        "rolls by size",
        &[
            MEDIUM, MEDIUM, MEDIUM, Flush, MEDIUM, MEDIUM, MEDIUM, MEDIUM,
        ],
    ),
    (
        "rolls without a flush",
        &[SMALL, Roll, SMALL, Roll, SMALL, Roll, SMALL],
    ),
    (
        "flush over a roll",
        &[MEDIUM, Roll, MEDIUM, Flush, Checkpoint, Roll, MEDIUM, Flush],
    ),
    (
        "truncate unflushed",
        &[MEDIUM, MEDIUM, Truncate(2), SMALL, Flush, SMALL],
    ),
    (
        "truncate flushed",
        &[
            MEDIUM,
            MEDIUM,
            Flush,
            Checkpoint,
            Truncate(3),
            SMALL,
            SMALL,
            Flush,
        ],
    ),
    (
        "truncate across segments",
        &[
            MEDIUM,
            Roll,
            MEDIUM,
            Roll,
            MEDIUM,
            Flush,
            Checkpoint,
            Truncate(5),
            MEDIUM,
        ],
    ),
    (
        "truncate and append the same size",
        &[SMALL, SMALL, SMALL, Flush, Truncate(2), SMALL, SMALL, Flush],
    ),
    (
        "truncate twice",
        &[
            MEDIUM,
            MEDIUM,
            Flush,
            Truncate(1),
            SMALL,
            Truncate(3),
            MEDIUM,
            Flush,
            SMALL,
        ],
    ),
    (
        "start anew ahead",
        &[
            MEDIUM,
            Roll,
            MEDIUM,
            Flush,
            Checkpoint,
            StartAnewAhead(10),
            SMALL,
            Flush,
        ],
    ),
    (
        "raise the start",
        &[
            MEDIUM,
            Roll,
            MEDIUM,
            Roll,
            MEDIUM,
            Flush,
            RaiseStart(4),
            Checkpoint,
            Expire,
            Unlink,
            SMALL,
        ],
    ),
    (
        "expire",
        &[
            MEDIUM, Roll, MEDIUM, Roll, MEDIUM, Flush, Checkpoint, Expire, Unlink, MEDIUM, Flush,
        ],
    ),
    (
        "expire without flush",
        &[MEDIUM, Roll, MEDIUM, Roll, SMALL, Expire, SMALL, Unlink],
    ),
    (
        "idempotent producers",
        &[
            IDEMPOTENT, IDEMPOTENT, Roll, IDEMPOTENT, Flush, Checkpoint, IDEMPOTENT, SMALL,
        ],
    ),
    (
        "transactions",
        &[
            TXN,
            OTHER_TXN,
            ABORT,
            Flush,
            TXN,
            COMMIT,
            OTHER_ABORT,
            Roll,
            TXN,
            ABORT,
        ],
    ),
    (
        "aborts over segments",
        &[
            TXN, Roll, TXN, ABORT, Roll, TXN, ABORT, Flush, Checkpoint, TXN, Roll, ABORT, Flush,
        ],
    ),
    (
        "truncate a marker",
        &[
            TXN,
            ABORT,
            Flush,
            TXN,
            ABORT,
            Truncate(1),
            SMALL,
            Flush,
            Checkpoint,
        ],
    ),
    (
        "clean restarts",
        &[
            MEDIUM,
            TXN,
            CleanRestart,
            MEDIUM,
            ABORT,
            CleanRestart,
            SMALL,
            Flush,
            MEDIUM,
        ],
    ),
    (
        "clean restart, then truncate",
        &[
            MEDIUM,
            Roll,
            MEDIUM,
            CleanRestart,
            Truncate(4),
            MEDIUM,
            Flush,
            CleanRestart,
            SMALL,
        ],
    ),
    (
        "everything",
        &[
            TXN,
            MEDIUM,
            Roll,
            ABORT,
            Flush,
            Checkpoint,
            MEDIUM,
            Roll,
            Expire,
            Truncate(2),
            IDEMPOTENT,
            CleanRestart,
            OTHER_TXN,
            PAGES,
            Flush,
            OTHER_ABORT,
            Truncate(1),
            Unlink,
            SMALL,
        ],
    ),
    (
        "compaction",
        &[
            MEDIUM, Roll, MEDIUM, Roll, MEDIUM, Flush, Checkpoint, Compact, Unlink, MEDIUM, Roll,
            Compact, SMALL,
        ],
    ),
    (
        "compaction with transactions",
        &[
            TXN,
            ABORT,
            MEDIUM,
            Roll,
            TXN,
            COMMIT,
            MEDIUM,
            Roll,
            SMALL,
            Flush,
            Compact,
            IDEMPOTENT,
            Roll,
            SMALL,
            Compact,
            CleanRestart,
            SMALL,
        ],
    ),
];

/// What has been appended and not removed, by offset, and what is promised of it.
#[derive(Clone, Debug, Default)]
struct Expected {
    records: BTreeMap<i64, Seen>,
    start: i64,
    /// Everything below is on disk.
    durable: i64,
    /// A pass of the cleaner left gaps.
    compacted: bool,
}

/// The disk after one operation, between the two states it may show.
struct Cut {
    disk: SimDisk,
    before: Arc<Expected>,
    after: Arc<Expected>,
    compacting: bool,
}

struct Machine {
    sim: SimDisk,
    dir: Option<LogDir>,
    log: Option<Log>,
    config: LogConfig,
    expected: Expected,
    sequences: BTreeMap<i64, i32>,
    serial: u8,
}

fn config() -> LogConfig {
    LogConfig {
        retention_ms: 500,
        compact: true,
        delete_retention_ms: 0,
        ..support::small_config()
    }
}

fn identity() -> Identity {
    Identity {
        cluster_id: "c".into(),
        node_id: 1,
        directory_id: Some("d".into()),
    }
}

fn open_dir(sim: &SimDisk) -> LogDir {
    LogDir::open(
        Disk::new(sim.clone()),
        Path::new(ROOT),
        identity(),
        Arc::new(MapBudget::new(100)),
    )
    .expect("a directory of ours")
}

impl Machine {
    fn new() -> Machine {
        let sim = SimDisk::new();
        let disk = Disk::new(sim.clone());
        disk.create_dir(Path::new(ROOT)).expect("a fresh disk");
        disk.sync_dir(Path::new("/")).expect("a fresh disk");
        let config = LogConfig {
            segment_bytes: 7_000,
            ..config()
        };
        let mut machine = Machine {
            sim,
            dir: None,
            log: None,
            config,
            expected: Expected::default(),
            sequences: BTreeMap::new(),
            serial: 0,
        };
        machine.start();
        machine
    }

    fn start(&mut self) {
        let dir = open_dir(&self.sim);
        let (log, report) = dir
            .open_log(partition(), self.config.clone(), 0)
            .expect("a log that opens");
        assert_eq!(
            (report.cut, report.damage),
            (None, None),
            "nothing was cut off"
        );
        self.dir = Some(dir);
        self.log = Some(log);
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("the machine runs")
    }

    fn values(&mut self, records: usize, size: usize) -> Vec<Vec<u8>> {
        (0..records)
            .map(|_| {
                self.serial = self.serial.wrapping_add(1);
                // Few keys, so that compaction has something to do; every value unique.
                let mut value = vec![self.serial % 4; size.max(2)];
                value[1] = self.serial;
                value
            })
            .collect()
    }

    fn append(&mut self, bytes: Vec<u8>) {
        append(self.log(), bytes);
        // What the reader sees is checked by the model test; here it is the record
        // of what was appended.
        let from = self
            .expected
            .records
            .keys()
            .next_back()
            .map_or(self.expected.start, |last| last + 1);
        let from = from.max(self.log().log_start());
        for record in
            support::read_from(&self.log().reader(), from, 1_000).expect("a log that reads")
        {
            self.expected.records.insert(record.offset, record);
        }
    }

    fn run(&mut self, action: Action) {
        match action {
            Append { records, size } => {
                let values = self.values(records, size);
                let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                let codec = [Compression::None, Compression::Lz4][usize::from(self.serial % 2)];
                self.append(batch(&refs, 100, codec));
            }
            Produce { id, txn } => {
                let values = self.values(2, 30);
                let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                let sequence = self.sequences.entry(id).or_insert(0);
                let bytes = produced(id, 0, *sequence, txn, &refs, 100);
                *sequence += 2;
                self.append(bytes);
            }
            Marker { id, committed } => self.append(support::marker(id, 0, committed, 100)),
            Roll => self.log().roll(0).expect("a roll"),
            Flush => {
                self.log().flush().expect("a flush");
                self.expected.durable = self.log().recovery_point();
            }
            Checkpoint => self
                .dir
                .as_ref()
                .expect("runs")
                .checkpoint()
                .expect("a checkpoint"),
            Truncate(records) => {
                let to = (self.log().log_end() - records).max(self.log().log_start());
                self.log().truncate_to(to, 0).expect("a truncation");
                let end = self.log().log_end();
                self.expected.records.split_off(&end);
                self.expected.durable = self.expected.durable.min(end);
                // A producer whose batches are gone may start anywhere.
                self.sequences.clear();
                let sequences: Vec<_> = self
                    .log()
                    .producers()
                    .iter()
                    .map(|(id, p)| (id, p.last_sequence() + 1))
                    .collect();
                self.sequences.extend(sequences);
            }
            StartAnewAhead(by) => {
                let at = self.log().log_end() + by;
                self.log()
                    .truncate_fully_and_start_at(at, 0)
                    .expect("a truncation");
                self.expected = Expected {
                    start: at,
                    durable: at,
                    ..Expected::default()
                };
                self.sequences.clear();
            }
            RaiseStart(by) => {
                let at = (self.log().log_start() + by).min(self.log().log_end());
                self.log()
                    .advance_log_start(at)
                    .expect("a start inside the log");
                self.expected.start = at;
            }
            Expire => {
                let end = self.log().log_end();
                self.log()
                    .apply_retention(end, 1_000)
                    .expect("a retention pass");
                self.expected.start = self.log().log_start();
            }
            Unlink => {
                self.log().unlink_deleted(i64::MAX).expect("unlinked files");
            }
            CleanRestart => {
                self.log().close().expect("a clean stop");
                self.log = None;
                self.dir
                    .take()
                    .expect("runs")
                    .close(1)
                    .expect("a clean stop");
                self.start();
                self.expected.durable = self.log().log_end();
            }
            Compact => {
                let end = self.log().log_end();
                let limits = CompactionLimits {
                    map_bytes: 1 << 16,
                    ..CompactionLimits::default()
                };
                let log = self.log();
                log.flush().expect("a flush");
                if let Some(plan) = log.plan_compaction(end, 1_000_000).expect("a plan") {
                    let compacted = plan.run(&limits, 1_000_000).expect("a compaction");
                    log.finish_compaction(compacted, 0).expect("a swap");
                }
                let kept: BTreeMap<i64, Seen> = read_all(&log.reader())
                    .expect("a log that reads")
                    .into_iter()
                    .map(|record| (record.offset, record))
                    .collect();
                self.expected.records = kept;
                self.expected.compacted = true;
                self.expected.durable = self.log().recovery_point();
            }
        }
    }
}

/// The disk from after every operation of a script.
fn record(script: &[Action]) -> Vec<Cut> {
    let mut machine = Machine::new();
    let mut cuts = Vec::new();
    for action in script {
        let before = Arc::new(machine.expected.clone());
        machine.sim.record();
        machine.run(*action);
        let after = Arc::new(machine.expected.clone());
        let compacting = matches!(action, Compact);
        let states = machine.sim.recorded().into_iter();
        cuts.extend(states.map(|disk| Cut {
            disk,
            before: before.clone(),
            after: after.clone(),
            compacting,
        }));
    }
    let last = Arc::new(machine.expected.clone());
    cuts.push(Cut {
        disk: machine.sim.snapshot(),
        before: last.clone(),
        after: last,
        compacting: false,
    });
    cuts
}

fn judge(cut: &Cut, found: &SimDisk, what: &dyn Fn() -> String) {
    let dir = open_dir(found);
    let config = LogConfig {
        segment_bytes: 7_000,
        ..config()
    };
    let (log, report) = dir
        .open_log(partition(), config, 0)
        .unwrap_or_else(|error| panic!("{}: {error}", what()));
    assert_eq!(report.damage, None, "{}", what());
    let seen = read_all(&log.reader()).unwrap_or_else(|error| panic!("{}: {error}", what()));
    let durable = cut.before.durable.min(cut.after.durable);
    let end = log.log_end();
    assert!(
        end >= durable,
        "{}: ends at {end}, {durable} was durable\n{report:?}",
        what()
    );

    // Control records are read like any other, so a log without compaction is gapless.
    let mut offsets: Vec<i64> = seen.iter().map(|record| record.offset).collect();
    let (before, after) = (&cut.before.records, &cut.after.records);
    if cut.before.compacted || cut.after.compacted {
        // Every record the compacted log would have, below the end, must be there.
        let newest = if cut.compacting { after } else { before };
        for offset in newest.range(log.log_start()..end).map(|(offset, _)| offset) {
            let kept_by_both = before.contains_key(offset) && after.contains_key(offset);
            assert!(
                !kept_by_both || offsets.binary_search(offset).is_ok(),
                "{}: {offset} is missing",
                what()
            );
        }
    } else {
        let expected: Vec<i64> = (log.log_start()..end).collect();
        assert_eq!(offsets, expected, "{}: a gap\n{report:?}", what());
    }
    offsets.dedup();
    assert_eq!(offsets.len(), seen.len(), "{}: an offset twice", what());
    for record in &seen {
        let known =
            before.get(&record.offset) == Some(record) || after.get(&record.offset) == Some(record);
        assert!(
            known,
            "{}: {record:?} was never there, or was truncated",
            what()
        );
    }
    let starts = cut.before.start.min(cut.after.start)..=cut.before.start.max(cut.after.start);
    // A raised start is stored with the next checkpoint; until then old records may show.
    assert!(
        log.log_start() <= *starts.end(),
        "{}: starts at {}",
        what(),
        log.log_start()
    );

    check_state(&log, what);

    drop((log, dir));
    let first = lasting(found);
    let dir = open_dir(found);
    let (log, _) = dir
        .open_log(
            partition(),
            LogConfig {
                segment_bytes: 7_000,
                ..self::config()
            },
            0,
        )
        .unwrap_or_else(|error| panic!("{} again: {error}", what()));
    assert_eq!(
        read_all(&log.reader()).as_ref(),
        Ok(&seen),
        "{} again",
        what()
    );
    drop((log, dir));
    let second = lasting(found);
    let changed: Vec<_> = first
        .iter()
        .filter(|(name, content)| second.get(*name) != Some(content))
        .collect();
    assert!(
        changed.is_empty() && first.len() == second.len(),
        "{}: a second opening changed {changed:?}",
        what()
    );
}

/// Every file but the indexes, which are rebuilt from the batches in memory and
/// written when their segment is sealed.
fn lasting(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = disk.contents(Path::new(ROOT));
    files.retain(|name, _| !name.ends_with(".index") && !name.ends_with(".timeindex"));
    files
}

/// Producer state and aborted transactions as the batches in the log imply them.
fn check_state(log: &Log, what: &dyn Fn() -> String) {
    let mut state = ProducerState::default();
    let mut aborted: Vec<AbortedTxn> = Vec::new();
    let reader = log.reader();
    let mut next = log.log_start();
    let complete = log.log_start() == 0;
    while let Some(slice) = reader.read(next, 1, log.log_end()).expect("read before") {
        let bytes = slice.bytes().expect("read before");
        for batch in reka_records::batches(&bytes) {
            let batch = batch.expect("read before");
            let marker = batch
                .header()
                .is_control()
                .then(|| reka_records::control::end_txn_marker(&batch).expect("a marker"))
                .flatten();
            aborted.extend(marker.and_then(|end| state.aborted_by(batch.header(), end)));
            state.apply(batch.header(), marker);
        }
        next = slice.next_offset;
    }
    if !complete {
        return;
    }
    let summary = |state: &ProducerState| {
        state
            .iter()
            .map(|(id, p)| (id, (p.epoch, p.last_sequence(), p.txn_first_offset)))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        summary(log.producers()),
        summary(&state),
        "{}: producers",
        what()
    );
    assert_eq!(
        log.producers().first_open(),
        state.first_open(),
        "{}",
        what()
    );
    let mut indexed = reader
        .aborted_transactions(0, i64::MAX)
        .expect("an index that reads");
    indexed.sort_unstable_by_key(|txn| txn.last_offset);
    // Compaction drops the data of aborted transactions and in time their entries.
    aborted.retain(|txn| indexed.contains(txn) || txn.first_offset >= 0);
    assert_eq!(indexed, aborted, "{}: aborted transactions", what());
}

fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn power_cut_at_any_step_keeps_what_was_synced_and_shows_a_prefix() {
    let states = env_number("CRASH_STATES", 50_000);
    let seed = env_number("CRASH_SEED", 1);
    let cuts: Vec<(&str, Vec<Cut>)> = SCRIPTS
        .iter()
        .map(|(name, script)| (*name, record(script)))
        .collect();
    let steps: usize = cuts.iter().map(|(_, cuts)| cuts.len()).sum();
    let rounds = (states as usize).div_ceil(steps).max(3);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let judged: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let cuts = &cuts;
                scope.spawn(move || judge_share(cuts, rounds, seed, worker, threads))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .sum()
    });
    // Straight to the descriptor: a passing test's output is not shown otherwise.
    let _ = writeln!(
        std::io::stderr(),
        "crash: {judged} states judged, {steps} steps of {} scripts, seed {seed}",
        SCRIPTS.len()
    );
    assert!(judged >= states);
}

fn judge_share(
    cuts: &[(&str, Vec<Cut>)],
    rounds: usize,
    seed: u64,
    worker: usize,
    of: usize,
) -> u64 {
    let mut judged = 0;
    for (name, cuts) in cuts {
        for (step, cut) in cuts.iter().enumerate() {
            for round in (0..rounds).filter(|round| (step + round) % of == worker) {
                let choice_seed = seed
                    .wrapping_mul(0x1_0000_0001)
                    .wrapping_add((step as u64) << 20)
                    .wrapping_add(round as u64);
                let mut seeded = Seeded(choice_seed);
                let choice: &mut dyn Choice = match round {
                    0 => &mut LoseAll,
                    1 => &mut KeepAll,
                    _ => &mut seeded,
                };
                let what = || format!("{name:?} step {step} round {round} seed {seed}");
                let found = cut.disk.crash(choice);
                judged += 1;
                if round % 16 == 3 {
                    // The power goes again while recovery is at work.
                    let copy = found.snapshot();
                    copy.record();
                    drop(open_dir(&copy).open_log(
                        partition(),
                        LogConfig {
                            segment_bytes: 7_000,
                            ..config()
                        },
                        0,
                    ));
                    for (at, again) in copy.recorded().into_iter().enumerate() {
                        let what = || format!("{}, cut again at {at}", what());
                        judge(
                            cut,
                            &again.crash(&mut Seeded(choice_seed ^ at as u64)),
                            &what,
                        );
                        judged += 1;
                    }
                }
                judge(cut, &found, &what);
            }
        }
    }
    judged
}

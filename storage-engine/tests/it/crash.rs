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

use reka_records::{BatchHeader, Compression};
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::sim::{Choice, KeepAll, LoseAll, Seeded, SimDisk};
use reka_storage::fs::{Backend as _, Disk, OpenMode};
use reka_storage::log_dir::Identity;
use reka_storage::map_budget::MapBudget;
use reka_storage::producer_state::ProducerState;
use reka_storage::recovery::RecoveryReport;
use reka_storage::txn_index::AbortedTxn;
use reka_storage::{CheckedBatches, Log, LogConfig, LogDir};

use crate::support::{self, Seen, append_in, batch, partition, produced, read_all};

const ROOT: &str = "/data";

#[derive(Clone, Copy, Debug)]
enum Action {
    Append {
        records: usize,
        size: usize,
    },
    /// The same with this timestamp, which may go back or be missing (-1).
    Timed(i64),
    /// Three batches as a leader has them: with gaps in their offsets if it compacted,
    /// in this leader epoch and the next one.
    Replicate {
        epoch: i32,
        gap: i64,
    },
    /// From now on a leader of this epoch appends.
    Lead(i32),
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
    /// The first half of a flush: what is appended from now on is not in it.
    BeginFlush,
    /// The second half of the flush that was begun as number so many of those not ended.
    EndFlush(usize),
    Checkpoint,
    /// Deletes the partition and makes it again under its name.
    DeleteAndRecreate,
    /// The process dies, a batch below the recovery point is broken, a broker finds it and
    /// truncates so many offsets below.
    DamageAndRepair(i64),
    /// The process dies, the checkpoint of recovery points is lost, a broker goes on.
    LoseRecoveryPoints,
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
    Append, BeginFlush, Checkpoint, CleanRestart, Compact, DamageAndRepair, DeleteAndRecreate,
    EndFlush, Expire, Flush, Lead, LoseRecoveryPoints, Marker, Produce, RaiseStart, Replicate,
    Roll, StartAnewAhead, Timed, Truncate, Unlink,
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
        "a new log that starts elsewhere",
        &[StartAnewAhead(10), SMALL, Flush, SMALL],
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
        "compaction over what a truncation left to be unlinked",
        &[
            SMALL,
            SMALL,
            SMALL,
            Roll,
            SMALL,
            SMALL,
            SMALL,
            Flush,
            Truncate(4),
            SMALL,
            SMALL,
            SMALL,
            SMALL,
            Roll,
            Compact,
            SMALL,
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
    (
        "delete and recreate",
        &[
            MEDIUM,
            Roll,
            MEDIUM,
            MEDIUM,
            RaiseStart(4),
            Flush,
            Checkpoint,
            DeleteAndRecreate,
            SMALL,
            SMALL,
            Flush,
            SMALL,
            DeleteAndRecreate,
            MEDIUM,
            Flush,
            Checkpoint,
            SMALL,
        ],
    ),
    (
        "delete and recreate without a flush",
        &[
            MEDIUM,
            Flush,
            Checkpoint,
            DeleteAndRecreate,
            TXN,
            ABORT,
            Roll,
            SMALL,
            Checkpoint,
            DeleteAndRecreate,
            SMALL,
            Flush,
        ],
    ),
    (
        "delete while a flush runs",
        &[
            MEDIUM,
            // Every other append is compressed; the next ones have to be large.
            SMALL,
            BeginFlush,
            DeleteAndRecreate,
            EndFlush(0),
            Checkpoint,
            PAGES,
            PAGES,
            Flush,
            SMALL,
        ],
    ),
    (
        "overlapping flushes",
        &[
            SMALL,
            BeginFlush,
            SMALL,
            BeginFlush,
            SMALL,
            EndFlush(1),
            Checkpoint,
            SMALL,
            EndFlush(0),
            Checkpoint,
            SMALL,
        ],
    ),
    (
        "overlapping flushes and rolls",
        &[
            MEDIUM,
            BeginFlush,
            Roll,
            MEDIUM,
            BeginFlush,
            Roll,
            MEDIUM,
            EndFlush(1),
            Checkpoint,
            MEDIUM,
            BeginFlush,
            EndFlush(0),
            EndFlush(0),
            Checkpoint,
            SMALL,
        ],
    ),
    (
        "overlapping flushes and a truncation",
        &[
            MEDIUM,
            Flush,
            MEDIUM,
            BeginFlush,
            Truncate(4),
            SMALL,
            BeginFlush,
            SMALL,
            EndFlush(0),
            Checkpoint,
            EndFlush(0),
            Checkpoint,
            SMALL,
        ],
    ),
    (
        "replicated batches",
        &[
            Replicate { epoch: 0, gap: 0 },
            Flush,
            Replicate { epoch: 1, gap: 0 },
            Checkpoint,
            Roll,
            Replicate { epoch: 3, gap: 0 },
            Flush,
            Truncate(4),
            Replicate { epoch: 3, gap: 0 },
            Flush,
            Checkpoint,
        ],
    ),
    (
        "replicated batches of a leader that compacts",
        &[
            Replicate { epoch: 0, gap: 3 },
            Flush,
            Replicate { epoch: 1, gap: 2 },
            Roll,
            Replicate { epoch: 2, gap: 5 },
            Flush,
            Checkpoint,
            Truncate(6),
            Replicate { epoch: 2, gap: 1 },
        ],
    ),
    (
        "leaders come and go",
        &[
            Lead(1),
            SMALL,
            Lead(2),
            MEDIUM,
            Flush,
            Checkpoint,
            Truncate(2),
            Replicate { epoch: 3, gap: 0 },
            Lead(5),
            SMALL,
            Flush,
            Roll,
            Lead(6),
            SMALL,
        ],
    ),
    (
        "damage and repair",
        &[
            MEDIUM,
            MEDIUM,
            Roll,
            MEDIUM,
            Roll,
            MEDIUM,
            Flush,
            Checkpoint,
            SMALL,
            Roll,
            MEDIUM,
            DamageAndRepair(0),
            SMALL,
            Flush,
            Checkpoint,
            MEDIUM,
        ],
    ),
    (
        "damage and repair far below",
        &[
            MEDIUM,
            MEDIUM,
            Roll,
            TXN,
            ABORT,
            Roll,
            MEDIUM,
            Roll,
            MEDIUM,
            Flush,
            Checkpoint,
            Roll,
            MEDIUM,
            Roll,
            SMALL,
            DamageAndRepair(7),
            SMALL,
            SMALL,
            Roll,
            SMALL,
            Flush,
        ],
    ),
    (
        "the checkpoint of recovery points is lost",
        &[
            MEDIUM,
            Flush,
            Checkpoint,
            TXN,
            ABORT,
            Roll,
            MEDIUM,
            Roll,
            SMALL,
            LoseRecoveryPoints,
            SMALL,
            TXN,
            Roll,
            SMALL,
            Flush,
            Checkpoint,
            SMALL,
        ],
    ),
    (
        "the checkpoint of recovery points is lost twice, and what was compacted with it",
        &[
            MEDIUM,
            Roll,
            MEDIUM,
            Roll,
            SMALL,
            Compact,
            Checkpoint,
            MEDIUM,
            LoseRecoveryPoints,
            LoseRecoveryPoints,
            Truncate(2),
            SMALL,
            CleanRestart,
            SMALL,
        ],
    ),
    (
        "timestamps that go back and are missing",
        &[
            Timed(300),
            Timed(100),
            Timed(-1),
            Roll,
            Timed(-1),
            Timed(-1),
            Roll,
            Timed(700),
            Flush,
            Checkpoint,
            Timed(650),
            Roll,
            Timed(800),
            Expire,
            Unlink,
            CleanRestart,
            Timed(-1),
            Timed(1_200),
            Flush,
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
    /// What was replicated has gaps.
    gaps: bool,
}

/// The disk after one operation, between the two states it may show.
struct Cut {
    disk: SimDisk,
    before: Arc<Expected>,
    after: Arc<Expected>,
    compacting: bool,
    /// A batch was being broken, and the log repaired; or nobody knew what was on disk.
    damaging: bool,
    /// Nobody knows what was on disk: what a power cut took from between two segments of a
    /// compacted log looks like what the cleaner leaves.
    unknown: bool,
}

struct Machine {
    sim: SimDisk,
    dir: Option<LogDir>,
    log: Option<Log>,
    config: LogConfig,
    expected: Expected,
    sequences: BTreeMap<i64, i32>,
    /// Flushes between their halves.
    flushes: Vec<reka_storage::flush::Flush>,
    /// The log of a partition that was deleted while flushes of it ran.
    deleted: Option<Log>,
    epoch: i32,
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
            flushes: Vec::new(),
            deleted: None,
            epoch: 0,
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
        let epoch = self.epoch;
        append_in(self.log(), bytes, epoch);
        self.note_appended();
    }

    fn note_appended(&mut self) {
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
            Timed(timestamp) => {
                let values = self.values(1, 30);
                self.append(batch(&[&values[0]], timestamp, Compression::None));
            }
            Replicate { epoch, gap } => {
                let mut at = self.log().log_end();
                let mut bytes = Vec::new();
                for (index, value) in self.values(3, 40).into_iter().enumerate() {
                    // The last one continues the one before: it bears the gap out.
                    at += if index == 2 { 0 } else { gap };
                    let mut batch = batch(&[&value], 100, Compression::None);
                    reka_records::stamp::set_base_offset(&mut batch, at);
                    let epoch = epoch + i32::from(index > 0);
                    reka_records::stamp::set_leader_epoch(&mut batch, epoch);
                    bytes.extend(batch);
                    at += 1;
                }
                self.epoch = epoch + 1;
                self.expected.gaps |= gap > 0;
                let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
                let appended = self.log().append_replicated(checked, 0);
                appended.expect("batches that continue the log");
                self.note_appended();
            }
            Lead(epoch) => {
                self.epoch = epoch;
                self.log().begin_epoch(epoch).expect("an epoch");
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
            BeginFlush => {
                let flush = self.log().begin_flush().expect("something to sync");
                self.flushes.push(flush);
            }
            EndFlush(number) => {
                let flushed = self.flushes.remove(number).run().expect("a flush");
                match self.deleted.take() {
                    Some(mut deleted) => deleted.finish_flush(flushed),
                    None => {
                        self.log().finish_flush(flushed);
                        self.expected.durable = self.log().recovery_point();
                    }
                }
            }
            DeleteAndRecreate => {
                let log = self.log.take().expect("the machine runs");
                let dir = self.dir.as_ref().expect("runs");
                let renamed = dir.delete(&log).expect("a deletion");
                if self.flushes.is_empty() {
                    drop(log);
                    dir.unlink(&renamed).expect("files that are closed");
                } else {
                    self.deleted = Some(log);
                }
                let (log, report) = dir
                    .open_log(partition(), self.config.clone(), 0)
                    .expect("a new log");
                assert_eq!(report, RecoveryReport::default());
                assert_eq!((log.log_start(), log.log_end()), (0, 0));
                self.log = Some(log);
                self.expected = Expected::default();
                self.sequences.clear();
                self.epoch = 0;
            }
            DamageAndRepair(below) => self.damage_and_repair(below),
            LoseRecoveryPoints => self.lose_recovery_points(),
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
                self.truncated(end);
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

impl Machine {
    /// The machine goes on with the disk as it is; only the process is another.
    fn damage_and_repair(&mut self, below: i64) {
        let durable = self.log().recovery_point();
        self.log = None;
        self.dir = None;
        // The newest batch below the recovery point, which any scan sees.
        let path = format!("{ROOT}/{}", partition().dir_name());
        let files = self.sim.contents(Path::new(&path));
        let mut found = None;
        for (name, content) in files.iter().filter(|(name, _)| name.ends_with(".log")) {
            for (at, header) in headers(content) {
                if header.last_offset() < durable {
                    found = Some((format!("{path}{name}"), at, header.base_offset));
                }
            }
        }
        let (name, at, offset) = found.expect("a batch below the recovery point");
        let byte = [files[name.trim_start_matches(&path)][at + 62] ^ 0x10];
        let file = self
            .sim
            .open(Path::new(&name), OpenMode::Existing)
            .expect("a segment");
        file.write_at(&byte, at as u64 + 62).expect("a write");
        // Bits that flip do not wait for a sync.
        file.sync().expect("a sync");
        let dir = open_dir(&self.sim);
        let (mut log, report) = dir
            .open_log(partition(), self.config.clone(), 0)
            .expect("a log that opens");
        let damage = report.damage.expect("a broken batch");
        assert_eq!(damage.offset, offset);
        log.truncate_to(offset - below, 0).expect("a repair");
        assert_eq!(log.damage(), None);
        let end = log.log_end();
        (self.log, self.dir) = (Some(log), Some(dir));
        self.truncated(end);
    }

    /// The machine goes on here as well: all that was appended is there, and judged whole.
    fn lose_recovery_points(&mut self) {
        self.log = None;
        self.dir = None;
        let path = format!("{ROOT}/recovery-point-offset-checkpoint");
        self.sim.remove_file(Path::new(&path)).expect("a file");
        self.sim.sync_dir(Path::new(ROOT)).expect("a sync");
        self.start();
        self.expected.durable = self.log().log_end();
        assert_eq!(self.log().recovery_point(), self.expected.durable);
    }

    /// The log was truncated to this end.
    fn truncated(&mut self, end: i64) {
        self.expected.records.split_off(&end);
        self.expected.durable = self.expected.durable.min(end);
        self.expected.start = self.expected.start.min(end);
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
}

fn headers(content: &[u8]) -> impl Iterator<Item = (usize, BatchHeader)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = BatchHeader::parse(content.get(at..)?).ok()?;
        at += header.size();
        Some((at - header.size(), header))
    })
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
        let unknown = matches!(action, LoseRecoveryPoints);
        let damaging = unknown || matches!(action, DamageAndRepair(_));
        let states = machine.sim.recorded().into_iter();
        cuts.extend(states.map(|disk| Cut {
            disk,
            before: before.clone(),
            after: after.clone(),
            compacting,
            damaging,
            unknown,
        }));
    }
    let last = Arc::new(machine.expected.clone());
    cuts.push(Cut {
        disk: machine.sim.snapshot(),
        before: last.clone(),
        after: last,
        compacting: false,
        damaging: false,
        unknown: false,
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
    if !cut.damaging {
        assert_eq!(report.damage, None, "{}", what());
    }
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
    let compacted = cut.before.compacted || cut.after.compacted;
    if compacted || cut.before.gaps || cut.after.gaps || cut.unknown {
        // Every record the compacted log would have, below the end, must be there.
        let newest = if cut.compacting { after } else { before };
        let promised = if cut.unknown { durable } else { end };
        for offset in newest
            .range(log.log_start()..promised)
            .map(|(offset, _)| offset)
        {
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

    // Of what was lost from the middle a snapshot may know still.
    let gapless = offsets.iter().copied().eq(log.log_start()..end);
    if gapless || !cut.unknown {
        check_state(&log, compacted, what);
    }
    check_times(&log, &seen, what);

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

/// Producer state and aborted transactions as the batches in the log imply them. Of what
/// lies below the log's start, or was compacted away, the log may know more than they do.
fn check_state(log: &Log, compacted: bool, what: &dyn Fn() -> String) {
    let mut state = ProducerState::default();
    let mut aborted: Vec<AbortedTxn> = Vec::new();
    let reader = log.reader();
    let start = log.log_start();
    let mut next = start;
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
    let summary = |state: &ProducerState| {
        state
            .iter()
            .map(|(id, p)| (id, (p.epoch, p.last_sequence(), p.txn_first_offset)))
            .collect::<BTreeMap<_, _>>()
    };
    let (mut known, mut implied) = (summary(log.producers()), summary(&state));
    if start > 0 {
        // What began below the start is known from before.
        for (id, producer) in log.producers().iter() {
            let below = producer
                .batches()
                .iter()
                .all(|batch| batch.last_offset < start);
            let opened_below = producer.txn_first_offset.is_some_and(|first| first < start);
            if below {
                let visible = implied.remove(&id).is_some_and(|(_, last, _)| last >= 0);
                assert!(!visible, "{}: producer {id} is behind", what());
            } else if opened_below && let Some(implied) = implied.get_mut(&id) {
                implied.2 = producer.txn_first_offset;
            }
            if below {
                known.remove(&id);
            }
        }
    }
    assert_eq!(known, implied, "{}: producers", what());
    let open = |open: Option<i64>| open.filter(|first| *first >= start);
    assert_eq!(
        open(log.producers().first_open()),
        open(state.first_open()),
        "{}",
        what()
    );
    let mut indexed = reader
        .aborted_transactions(start, i64::MAX)
        .expect("an index that reads");
    indexed.sort_unstable_by_key(|txn| txn.last_offset);
    // Neither transactions that began below the start nor those whose data the cleaner
    // took can be told from what is left.
    indexed.retain(|txn| aborted.contains(txn) || txn.first_offset >= start && !compacted);
    if start > 0 {
        // The stable offset is that of the day, which what lies below the start held back.
        for txn in indexed.iter_mut().chain(&mut aborted) {
            txn.last_stable_offset = 0;
        }
    }
    assert_eq!(indexed, aborted, "{}: aborted transactions", what());
}

/// Looking for a time finds what a look at every record would.
fn check_times(log: &Log, seen: &[Seen], what: &dyn Fn() -> String) {
    let (reader, end) = (log.reader(), log.log_end());
    for timestamp in [0, 100, 101, 300, 650, 900, 1_000, 1_201] {
        let first = seen.iter().find(|record| record.timestamp >= timestamp);
        let found = reader
            .find_timestamp(timestamp, end)
            .unwrap_or_else(|error| panic!("{}: {error}", what()));
        assert_eq!(
            found.map(|found| (found.offset, found.timestamp)),
            first.map(|record| (record.offset, record.timestamp)),
            "{}: time {timestamp}",
            what()
        );
    }
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

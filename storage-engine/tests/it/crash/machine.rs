//! Runs a script on a simulated disk and keeps the disk from after every operation.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reka_records::{BatchBuilder, BatchHeader, Compression};
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::sim::SimDisk;
use reka_storage::fs::{Backend as _, OpenMode};
use reka_storage::recovery::RecoveryReport;
use reka_storage::{CheckedBatches, Log, LogConfig, LogDir};
use uuid::Uuid;

use super::scripts::Action::{self, *};
use crate::support::{
    self, Policy, ROOT, Seen, append_in, batch, fresh_disk, open_as, open_dir, partition, produced,
    read_all, serial_values,
};

/// What has been appended and not removed, by offset, and what is promised of it. It follows from what
/// the script says and not from what a reader shows; but for which records a pass of the cleaner kept and
/// where a truncation ended, of which it is checked that they may be so.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// Which topic of its name it is.
    pub(super) topic_id: Uuid,
    pub(super) records: BTreeMap<i64, Seen>,
    pub(super) start: i64,
    /// The offset after the last one that was given.
    pub(super) end: i64,
    /// Records in transactions, with their producer.
    txn_data: BTreeMap<i64, i64>,
    /// Ends of transactions: whose, and whether it is a commit.
    markers: BTreeMap<i64, (i64, bool)>,
    /// Everything below is on disk.
    pub(super) durable: i64,
    /// A pass of the cleaner left gaps.
    pub(super) compacted: bool,
    /// What was replicated has gaps.
    pub(super) gaps: bool,
}

impl Expected {
    /// The newest value of each key, and where it is, among some of the records: what is in no aborted
    /// transaction counts, and a key without a value is deleted.
    pub(super) fn newest<'a>(
        &self,
        records: impl Iterator<Item = &'a Seen>,
    ) -> BTreeMap<Vec<u8>, (i64, Vec<u8>)> {
        let mut newest = BTreeMap::new();
        for record in records {
            if self.markers.contains_key(&record.offset) || self.is_aborted(record.offset) {
                continue;
            }
            let key = record.key.clone().expect("all have keys");
            match record.value.clone() {
                Some(value) => newest.insert(key, (record.offset, value)),
                None => newest.remove(&key),
            };
        }
        newest
    }

    fn is_aborted(&self, offset: i64) -> bool {
        let Some(id) = self.txn_data.get(&offset) else {
            return false;
        };
        let mut ends = self.markers.range(offset..).map(|(_, end)| end);
        ends.find(|(of, _)| of == id)
            .is_some_and(|(_, committed)| !committed)
    }

    fn forget_from(&mut self, end: i64) {
        self.records.split_off(&end);
        self.txn_data.split_off(&end);
        self.markers.split_off(&end);
        self.end = end;
    }
}

/// The disk after one operation, between the two states it may show.
pub(super) struct Cut {
    pub(super) disk: SimDisk,
    pub(super) config: LogConfig,
    pub(super) before: Arc<Expected>,
    pub(super) after: Arc<Expected>,
    pub(super) compacting: bool,
    /// A batch was being broken, and the log repaired; or nobody knew what was on disk.
    pub(super) damaging: bool,
    /// Nobody knows what was on disk: what a power cut took from between two segments of a
    /// compacted log looks like what the cleaner leaves.
    pub(super) unknown: bool,
}

/// A record as a script appends it.
struct Row {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// What scripts append in one batch at most.
const BATCH_RECORDS_MAX: usize = 5;

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

fn config(policy: Policy) -> LogConfig {
    policy.of(LogConfig {
        segment_bytes: 7_000,
        retention_ms: 500,
        delete_retention_ms: 0,
        ..support::small_config()
    })
}

impl Machine {
    fn new(policy: Policy) -> Machine {
        let sim = fresh_disk();
        let mut machine = Machine {
            sim,
            dir: None,
            log: None,
            config: config(policy),
            expected: Expected {
                topic_id: Uuid::from_u128(1),
                ..Expected::default()
            },
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
        let opened = open_as(&dir, self.expected.topic_id, &self.config);
        let (log, report) = opened.expect("a log that opens");
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

    /// Appends one batch of these values, which are their own keys by their first bytes.
    fn append(&mut self, bytes: Vec<u8>, values: &[Vec<u8>], timestamp: i64) {
        let rows = values.iter().map(|value| Row {
            key: value[..1].to_vec(),
            value: Some(value.clone()),
        });
        self.append_rows(bytes, rows.collect(), timestamp);
    }

    fn append_rows(&mut self, bytes: Vec<u8>, rows: Vec<Row>, timestamp: i64) {
        let epoch = self.epoch;
        let first = append_in(self.log(), bytes, epoch);
        assert_eq!(first, self.expected.end);
        let seen = (first..).zip(rows).map(|(offset, row)| Seen {
            offset,
            timestamp,
            key: Some(row.key),
            value: row.value,
        });
        self.note(seen.collect());
    }

    /// These were appended, and a reader sees them.
    fn note(&mut self, records: Vec<Seen>) {
        let first = records.first().expect("something was appended").offset;
        let seen = support::read_from(&self.log().reader(), first, 1_000);
        assert_eq!(seen.as_ref(), Ok(&records));
        for record in records {
            self.expected.end = record.offset + 1;
            self.expected.records.insert(record.offset, record);
        }
    }

    fn run(&mut self, action: Action) {
        match action {
            Append { records, size } => {
                let values = serial_values(&mut self.serial, records, size);
                let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                let codec = [Compression::None, Compression::Lz4][usize::from(self.serial % 2)];
                self.append(batch(&refs, 100, codec), &values, 100);
            }
            Timed(timestamp) => {
                let values = serial_values(&mut self.serial, 1, 30);
                let bytes = batch(&[&values[0]], timestamp, Compression::None);
                self.append(bytes, &values, timestamp);
            }
            Delete(key) => {
                let mut builder = BatchBuilder::new(0);
                let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
                let deleted = builder.append(0, 100, Some(&[key]), None, headers);
                deleted.expect("a record that fits");
                let row = Row {
                    key: vec![key],
                    value: None,
                };
                self.append_rows(builder.finish(), vec![row], 100);
            }
            Replicate { epoch, gap } => {
                let mut at = self.expected.end;
                let (mut bytes, mut records) = (Vec::new(), Vec::new());
                for (index, value) in serial_values(&mut self.serial, 3, 40)
                    .into_iter()
                    .enumerate()
                {
                    // The last one continues the one before: it bears the gap out.
                    at += if index == 2 { 0 } else { gap };
                    let mut batch = batch(&[&value], 100, Compression::None);
                    reka_records::stamp::set_base_offset(&mut batch, at);
                    let epoch = epoch + i32::from(index > 0);
                    reka_records::stamp::set_leader_epoch(&mut batch, epoch);
                    bytes.extend(batch);
                    records.push(Seen {
                        offset: at,
                        timestamp: 100,
                        key: Some(value[..1].to_vec()),
                        value: Some(value),
                    });
                    at += 1;
                }
                self.epoch = epoch + 1;
                self.expected.gaps |= gap > 0;
                let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
                let appended = self.log().append_replicated(checked, 0);
                appended.expect("batches that continue the log");
                self.note(records);
            }
            Lead(epoch) => {
                self.epoch = epoch;
                self.log().begin_epoch(epoch).expect("an epoch");
            }
            Produce { id, txn } => {
                let values = serial_values(&mut self.serial, 2, 30);
                let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                let sequence = self.sequences.entry(id).or_insert(0);
                let bytes = produced(id, 0, *sequence, txn, &refs, 100);
                *sequence += 2;
                let first = self.expected.end;
                self.append(bytes, &values, 100);
                if txn {
                    let data = (first..self.expected.end).map(|offset| (offset, id));
                    self.expected.txn_data.extend(data);
                }
            }
            Marker { id, committed } => {
                let at = self.expected.end;
                self.expected.markers.insert(at, (id, committed));
                // Version 0 of both; the type; the coordinator's epoch.
                let row = Row {
                    key: vec![0, 0, 0, u8::from(committed)],
                    value: Some(vec![0; 6]),
                };
                self.append_rows(support::marker(id, 0, committed, 100), vec![row], 100);
            }
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
                let renamed = dir.delete(&log).expect("a deletion").expect("a new name");
                if self.flushes.is_empty() {
                    drop(log);
                    dir.unlink(&renamed).expect("files that are closed");
                } else {
                    self.deleted = Some(log);
                }
                let topic_id = Uuid::from_u128(self.expected.topic_id.as_u128() + 1);
                let opened = open_as(dir, topic_id, &self.config);
                let (log, report) = opened.expect("a new log");
                assert_eq!(report, RecoveryReport::default());
                assert_eq!((log.log_start(), log.log_end()), (0, 0));
                self.log = Some(log);
                self.expected = Expected {
                    topic_id,
                    ..Expected::default()
                };
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
                let to = (self.expected.end - records).max(self.expected.start);
                self.log().truncate_to(to, 0).expect("a truncation");
                self.truncated(to);
            }
            StartAnewAhead(by) => {
                let at = self.log().log_end() + by;
                self.log()
                    .truncate_fully_and_start_at(at, 0)
                    .expect("a truncation");
                self.expected = Expected {
                    topic_id: self.expected.topic_id,
                    start: at,
                    end: at,
                    durable: at,
                    ..Expected::default()
                };
                self.sequences.clear();
            }
            RaiseStart(by) => {
                let at = (self.expected.start + by).min(self.expected.end);
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
                let start = self.log().log_start();
                // What goes is older than half a second, or has no time and is of no file that is not.
                let mut gone = self.expected.records.range(self.expected.start..start);
                assert!(gone.all(|(_, record)| record.timestamp < 500));
                self.expected.start = start;
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
            // A topic's policy may change: what was compacted stays so under `delete`.
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
                let all = self.expected.records.range(self.expected.start..);
                let all: BTreeMap<i64, Seen> = all.map(|(at, seen)| (*at, seen.clone())).collect();
                assert!(kept.iter().all(|(at, record)| all.get(at) == Some(record)));
                assert_eq!(
                    self.expected.newest(kept.values()),
                    self.expected.newest(all.values())
                );
                self.expected.records = kept;
                self.expected.compacted = true;
                self.expected.durable = self.log().recovery_point();
            }
        }
        let ends = (self.log().log_start(), self.log().log_end());
        assert_eq!(ends, (self.expected.start, self.expected.end));
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
        let opened = open_as(&dir, self.expected.topic_id, &self.config);
        let (mut log, report) = opened.expect("a log that opens");
        let damage = report.damage.expect("a broken batch");
        assert_eq!(damage.offset, offset);
        log.truncate_to(offset - below, 0).expect("a repair");
        assert_eq!(log.damage(), None);
        (self.log, self.dir) = (Some(log), Some(dir));
        self.truncated(offset - below);
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

    /// The log was truncated to this offset: it ends there, or before as much as was in one batch with
    /// it or was missing there.
    fn truncated(&mut self, to: i64) {
        let end = self.log().log_end();
        assert!(end <= to, "{end} is behind {to}");
        let lost = self.expected.records.range(end..to).count();
        assert!(lost < BATCH_RECORDS_MAX, "{lost} before {to}");
        self.expected.forget_from(end);
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
pub(super) fn record(script: &[Action], policy: Policy) -> Vec<Cut> {
    let mut machine = Machine::new(policy);
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
            config: machine.config.clone(),
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
        config: machine.config.clone(),
        before: last.clone(),
        after: last,
        compacting: false,
        damaging: false,
        unknown: false,
    });
    cuts
}

//! A log on a disk that fails, beside what should be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reka_records::Compression;
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::fault::FaultDisk;
use reka_storage::fs::sim::{Choice, SimDisk};
use reka_storage::fs::{Backend as _, Disk};
use reka_storage::log_dir::ToOpen;
use reka_storage::{AppendError, CheckedBatches, Log, LogConfig, LogDir, LogReader};

use super::scripts::{
    Script,
    Step::{self, *},
};
use crate::support::{
    Policy, ROOT, Seen, batch, fresh_disk, marker, partition, produced, read_from, serial_values,
    take_dir,
};

/// What should be there.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    /// What a reader of this process must see.
    visible: BTreeMap<i64, Seen>,
    /// What a restart may bring back: everything appended and not truncated away.
    possible: BTreeMap<i64, Vec<Seen>>,
    /// What a restart must bring back.
    promised: BTreeMap<i64, Seen>,
    /// First offsets of batches: a truncation falls back to one.
    bases: BTreeSet<i64>,
    compacted: bool,
}

impl Shadow {
    fn accept(&mut self, records: &[Seen]) {
        self.bases
            .extend(records.first().map(|record| record.offset));
        for record in records {
            self.visible.insert(record.offset, record.clone());
        }
        self.suspect(records);
    }

    fn suspect(&mut self, records: &[Seen]) {
        for record in records {
            self.possible
                .entry(record.offset)
                .or_default()
                .push(record.clone());
        }
    }

    fn promise(&mut self, below: i64) {
        self.promised = self.visible.range(..below).map(cloned).collect();
    }

    fn show(&mut self, seen: Vec<Seen>) {
        self.visible = by_offset(seen);
    }
}

/// Everything, in few large reads: there are many runs.
pub(super) fn read_all(reader: &LogReader) -> Result<Vec<Seen>, String> {
    read_from(reader, reader.log_start(), 1 << 20)
}

fn cloned((offset, record): (&i64, &Seen)) -> (i64, Seen) {
    (*offset, record.clone())
}

fn by_offset(seen: Vec<Seen>) -> BTreeMap<i64, Seen> {
    seen.into_iter()
        .map(|record| (record.offset, record))
        .collect()
}

fn config(policy: Policy) -> LogConfig {
    policy.of(LogConfig {
        segment_bytes: 30_000,
        segment_index_bytes: 16_384,
        index_interval_bytes: 50,
        retention_ms: -1,
        delete_retention_ms: 0,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    })
}

pub(super) struct World {
    pub(super) sim: SimDisk,
    pub(super) fault: FaultDisk,
    pub(super) dir: Option<LogDir>,
    pub(super) log: Option<Log>,
    pub(super) config: LogConfig,
    pub(super) shadow: Shadow,
    pub(super) epoch: i32,
    pub(super) serial: u8,
    pub(super) short_of_space: bool,
}

pub(super) type Outcome = Result<(), Failure>;

/// An error of the engine, or a broken promise.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(String),
    Full,
    Broken(String),
}

pub(super) fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::Refused(error.to_string())
}

pub(super) fn open_dir(disk: Disk) -> Result<LogDir, Failure> {
    take_dir(disk, Path::new(ROOT)).map_err(refused)
}

impl World {
    pub(super) fn new(policy: Policy) -> World {
        let sim = fresh_disk();
        World {
            fault: FaultDisk::new(sim.clone()),
            sim,
            dir: None,
            log: None,
            config: config(policy),
            shadow: Shadow::default(),
            epoch: 0,
            serial: 0,
            short_of_space: false,
        }
    }

    /// The past of a script, on a disk of its own.
    pub(super) fn after(script: &Script, policy: Policy) -> World {
        let mut world = World::new(policy);
        for step in script.before {
            world.run(*step).expect("a sound disk");
        }
        if let Some(damage) = script.damage {
            world.log = None;
            world.dir = None;
            damage(&world.sim);
        }
        world
    }

    pub(super) fn is_online(&self) -> bool {
        let healthy = |dir: &LogDir| dir.env().health.check().is_ok();
        self.dir.as_ref().is_some_and(healthy)
    }

    pub(super) fn open(&mut self) -> Outcome {
        if self.dir.is_none() {
            let disk = Disk::new(self.fault.clone());
            LogDir::is_unused(&disk, Path::new(ROOT)).map_err(refused)?;
            self.dir = Some(open_dir(disk)?);
        }
        let Some(dir) = &self.dir else { return Ok(()) };
        if self.log.is_none() {
            let wanted = ToOpen {
                partition: partition(),
                topic_id: Some(uuid::Uuid::from_u128(7)),
                config: self.config.clone(),
            };
            let opened = dir.open_logs(vec![wanted], 1, 0).remove(0).1;
            let (log, report) = opened.map_err(refused)?;
            if report.damage.is_some() {
                return Err(Failure::Broken(format!("damage: {report:?}")));
            }
            let seen = read_all(&log.reader()).map_err(Failure::Refused);
            self.log = Some(log);
            self.shadow.show(seen?);
        }
        Ok(())
    }

    fn look_in(&mut self) -> Outcome {
        self.log = None;
        self.dir = None;
        let disk = Disk::new(self.fault.clone());
        open_dir(disk).map(drop)
    }

    pub(super) fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("opened before each step")
    }

    pub(super) fn append(&mut self, mut bytes: Vec<u8>) -> Outcome {
        let epoch = self.epoch;
        let end = self.log().log_end();
        let records = records_at(&bytes, end);
        let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
        let size = checked.len() as u64;
        let Err(error) = self.log().append(checked, epoch, 0) else {
            self.shadow.accept(&records);
            return Ok(());
        };
        if self.log().log_end() != end {
            return Err(Failure::Broken(format!("{error}, yet the log grew")));
        }
        if !self.is_online() {
            // Nobody was told that it is there, and nobody is told that it is not.
            self.shadow.suspect(&records);
        }
        match error {
            AppendError::DirectoryFull { dir, needed, .. } => {
                assert_eq!((dir.as_path(), needed), (Path::new(ROOT), size));
                Err(Failure::Full)
            }
            other => Err(refused(other)),
        }
    }

    fn produce(&mut self) -> Outcome {
        let values = serial_values(&mut self.serial, 2, 30);
        let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let sequence = self
            .log()
            .producers()
            .iter()
            .find(|(id, _)| *id == 1)
            .map_or(0, |(_, producer)| producer.last_sequence() + 1);
        self.append(produced(1, 0, sequence, true, &refs, 100))
    }

    fn replicate(&mut self) -> Outcome {
        let end = self.log().log_end();
        let mut bytes = Vec::new();
        for (index, value) in serial_values(&mut self.serial, 3, 40)
            .into_iter()
            .enumerate()
        {
            let mut batch = batch(&[&value], 100, Compression::None);
            reka_records::stamp::set_base_offset(&mut batch, end + index as i64);
            self.epoch += i32::from(index == 1);
            reka_records::stamp::set_leader_epoch(&mut batch, self.epoch);
            bytes.extend(batch);
        }
        let records = records_at(&bytes, end);
        let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
        let result = self.log().append_replicated(checked, 0).map_err(refused);
        // What was fetched is written in runs; those before the failure are there.
        let there = (self.log().log_end() - end) as usize;
        for record in &records[..there] {
            self.shadow.accept(std::slice::from_ref(record));
        }
        self.shadow.suspect(&records[there..]);
        result.map(|_| ())
    }

    fn truncate(&mut self, records: i64) -> Outcome {
        let log = self.log();
        let to = (log.log_end() - records).max(log.log_start());
        let base = self
            .shadow
            .bases
            .range(..=to)
            .next_back()
            .map_or(0, |base| *base);
        self.shadow.promised.split_off(&base);
        self.log().truncate_to(to, 0).map_err(refused)?;
        let end = self.log().log_end();
        self.shadow.visible.split_off(&end);
        self.shadow.possible.split_off(&end);
        Ok(())
    }

    fn compact(&mut self, in_vain: Option<i64>) -> Outcome {
        self.log().flush().map_err(refused)?;
        let end = self.log().log_end();
        self.shadow.promise(end);
        self.log().settle_below(end);
        let plan = self
            .log()
            .plan_compaction(end, 1_000_000)
            .map_err(refused)?;
        let limits = CompactionLimits {
            map_bytes: 1 << 16,
            ..CompactionLimits::default()
        };
        let Some(plan) = plan else { return Ok(()) };
        let mut newest = BTreeMap::new();
        for record in self.shadow.visible.values() {
            // A record of an aborted transaction hides nothing and may go; so may its marker.
            newest.insert(record.key.clone(), record.clone());
        }
        let kept: BTreeSet<i64> = newest.values().map(|record| record.offset).collect();
        let transactional = |record: &Seen| record.value.as_ref().is_none_or(|v| v.len() == 30);
        self.shadow.compacted = true;
        self.shadow
            .promised
            .retain(|offset, record| kept.contains(offset) && !transactional(record));
        let compacted = plan.run(&limits, 1_000_000).map_err(refused)?;
        if let Some(records) = in_vain {
            self.truncate(records)?;
        }
        let finished = self.log().finish_compaction(compacted, 0).map_err(refused);
        if self.is_online() {
            let reader = self.log().reader();
            let seen = read_all(&reader).or_else(|_| read_all(&reader));
            self.shadow.show(seen.map_err(Failure::Refused)?);
        }
        finished
    }

    fn read(&mut self) -> Outcome {
        let reader = self.log().reader();
        let seen = read_all(&reader).map_err(Failure::Refused)?;
        let (start, end) = (reader.log_start(), reader.log_end());
        let found = reader.find_timestamp(50, end).map_err(refused)?;
        let latest = reader.max_timestamp(end).map_err(refused)?;
        let aborted = reader.aborted_transactions(start, end).map_err(refused)?;
        if found.map(|found| found.offset) != seen.first().map(|record| record.offset) {
            return Err(Failure::Broken(format!("found {found:?} in {seen:?}")));
        }
        if latest.is_some() != found.is_some() {
            return Err(Failure::Broken(format!(
                "latest {latest:?}, found {found:?}"
            )));
        }
        if aborted.iter().any(|txn| txn.producer_id != 1) {
            return Err(Failure::Broken(format!("aborted {aborted:?}")));
        }
        Ok(())
    }

    fn retain(&mut self, from: i64, retention_ms: i64) -> Outcome {
        self.shadow.promised = self.shadow.promised.split_off(&from);
        let start = from.min(self.log().log_end());
        let raised = self.log().advance_log_start(start).map_err(refused);
        let end = self.log().log_end();
        let config = LogConfig {
            retention_ms,
            ..self.config.clone()
        };
        self.log().set_config(config);
        let applied = raised.and_then(|()| {
            self.log()
                .apply_retention(end, 1_000)
                .map(|_| ())
                .map_err(refused)
        });
        let config = self.config.clone();
        self.log().set_config(config);
        let start = self.log().log_start();
        self.shadow.visible = self.shadow.visible.split_off(&start);
        applied
    }

    pub(super) fn run(&mut self, step: Step) -> Outcome {
        if step == LookIn {
            return self.look_in();
        }
        self.open()?;
        match step {
            LookIn => Ok(()),
            Append(records, size) => {
                let values = serial_values(&mut self.serial, records, size);
                let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                let bytes = batch(&refs, 100, Compression::None);
                self.append(bytes)
            }
            Untimed => {
                let value = serial_values(&mut self.serial, 1, 20);
                self.append(batch(&[&value[0]], -1, Compression::None))
            }
            AppendMany(batches) => (0..batches).try_for_each(|_| {
                let value = serial_values(&mut self.serial, 1, 5);
                let timestamp = 100 + self.log().log_end();
                self.append(batch(&[&value[0]], timestamp, Compression::None))
            }),
            NewEpoch => {
                self.epoch += 1;
                let value = serial_values(&mut self.serial, 1, 20);
                self.append(batch(&[&value[0]], 100, Compression::Zstd))
            }
            BeginEpoch => {
                self.epoch += 1;
                let epoch = self.epoch;
                self.log().begin_epoch(epoch).map_err(refused)
            }
            Replicate => self.replicate(),
            Txn => self.produce(),
            Abort => self.append(marker(1, 0, false, 100)),
            Commit => self.append(marker(1, 0, true, 100)),
            Roll => self.log().roll(0).map_err(refused),
            Flush => {
                self.log().flush().map_err(refused)?;
                let end = self.log().log_end();
                if self.log().recovery_point() != end {
                    return Err(Failure::Broken("a flush that left records out".into()));
                }
                self.shadow.promise(end);
                Ok(())
            }
            Checkpoint => self
                .dir
                .as_ref()
                .map_or(Ok(()), |dir| dir.checkpoint().map_err(refused)),
            Truncate(records) => self.truncate(records),
            StartAnew(ahead) => {
                let at = self.log().log_end() + ahead;
                self.shadow.promised.clear();
                self.log()
                    .truncate_fully_and_start_at(at, 0)
                    .map_err(refused)?;
                self.shadow.visible.clear();
                self.shadow.possible.clear();
                Ok(())
            }
            RaiseStart(by) => {
                let from = self.log().log_start() + by;
                self.retain(from, -1)
            }
            ExpireAll => {
                self.shadow.promised.clear();
                let start = self.log().log_start();
                self.retain(start, 0)
            }
            Unlink => self
                .log()
                .unlink_deleted(i64::MAX)
                .map(|_| ())
                .map_err(refused),
            Compact => self.compact(None),
            CompactInVain(records) => self.compact(Some(records)),
            Read => self.read(),
            Close => {
                let closed = self.log().close().map_err(refused);
                if closed.is_ok() {
                    let end = self.log().log_end();
                    self.shadow.promise(end);
                }
                self.log = None;
                let dir = self.dir.take();
                closed?;
                dir.map_or(Ok(()), |dir| dir.close(1).map_err(refused))
            }
            CloseTogether => {
                let closed = match (&self.dir, &mut self.log) {
                    (Some(dir), Some(log)) => dir.close_logs(&mut [log]).map_err(refused),
                    _ => Ok(()),
                };
                if closed.is_ok() {
                    let end = self.log().log_end();
                    self.shadow.promise(end);
                }
                self.log = None;
                let dir = self.dir.take();
                closed?;
                dir.map_or(Ok(()), |dir| dir.close(1).map_err(refused))
            }
            Restart => {
                self.log = None;
                self.dir = None;
                Ok(())
            }
            Delete => {
                self.shadow.promised.clear();
                let (Some(dir), Some(log)) = (&self.dir, self.log.take()) else {
                    return Ok(());
                };
                let renamed = dir.delete(&log).map_err(refused)?;
                self.shadow.visible.clear();
                self.shadow.possible.clear();
                renamed.map_or(Ok(()), |renamed| dir.unlink(&renamed).map_err(refused))
            }
            SetAside => {
                self.shadow.promised.clear();
                let (Some(dir), Some(log)) = (&self.dir, self.log.take()) else {
                    return Ok(());
                };
                drop(log);
                dir.set_aside(&partition()).map_err(refused)?;
                self.shadow.visible.clear();
                self.shadow.possible.clear();
                Ok(())
            }
            SetAsideAndBack => {
                let (Some(dir), Some(log)) = (&self.dir, self.log.take()) else {
                    return Ok(());
                };
                drop(log);
                let aside = dir.set_aside(&partition()).map_err(refused);
                let raw = Disk::new(self.sim.clone());
                let root = Path::new(ROOT);
                for entry in raw.read_dir(root).expect("a directory") {
                    if entry.name.ends_with("-stray") {
                        let back = root.join(partition().dir_name());
                        let renamed = raw.rename(&root.join(entry.name), &back);
                        renamed.expect("a free name");
                    }
                }
                raw.sync_dir(root).expect("a directory");
                aside.map(drop)
            }
            List => {
                let contents = self.dir.as_ref().map(|dir| dir.list().map_err(refused));
                let contents = contents.transpose()?.unwrap_or_default();
                if contents.unknown.is_empty() {
                    return Ok(());
                }
                Err(Failure::Broken(format!("unknown {:?}", contents.unknown)))
            }
            LeaveFree(bytes) => {
                self.short_of_space = true;
                self.sim.set_capacity(Some(u64::MAX / 2));
                let free = self.sim.bytes_free(Path::new(ROOT)).expect("a number");
                self.sim.set_capacity(Some(u64::MAX / 2 - free + bytes));
                Ok(())
            }
            FreeSpace => {
                self.short_of_space = false;
                self.sim.set_capacity(None);
                Ok(())
            }
        }
    }

    /// What a full disk refused it takes by itself once there is room.
    pub(super) fn check_resuming(&mut self) {
        let value = serial_values(&mut self.serial, 1, 20);
        let appended = self.append(batch(&[&value[0]], 100, Compression::None));
        appended.expect("there is room again");
    }

    /// A reader of this process sees what was accepted, or is told that it cannot.
    pub(super) fn check_visible(&mut self, after: &dyn std::fmt::Debug) {
        let online = self.is_online();
        let Some(log) = &self.log else { return };
        let struck_before = !self.fault.hit().is_empty();
        let mut seen = read_all(&log.reader());
        if seen.is_err() && !struck_before && !self.fault.hit().is_empty() {
            // A read that failed says nothing about the next one.
            seen = read_all(&log.reader());
        }
        match seen {
            Ok(seen) => {
                let seen = by_offset(seen);
                let differs = |other: &BTreeMap<i64, Seen>, from: &BTreeMap<i64, Seen>| {
                    other
                        .iter()
                        .find(|(offset, record)| from.get(*offset) != Some(*record))
                        .map(cloned)
                };
                let missing = differs(&self.shadow.visible, &seen);
                let unknown = differs(&seen, &self.shadow.visible);
                assert_eq!((missing, unknown), (None, None), "after {after:?}");
            }
            Err(error) => assert!(!online, "{error} after {after:?}"),
        }
    }

    /// Offline means offline, whatever the disk does now.
    pub(super) fn check_offline(&mut self) {
        self.fault.heal();
        let offline = |result: Result<(), String>| {
            let error = result.expect_err("no success after a failed sync");
            assert!(error.contains("is offline since a failure"), "{error}");
        };
        let Some(dir) = &self.dir else { return };
        assert!(!self.is_online(), "online after a failed sync");
        offline(dir.checkpoint().map_err(|error| error.to_string()));
        let mut bytes = batch(&[b"late"], 100, Compression::None);
        match &mut self.log {
            Some(log) => {
                let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
                let appended = log.append(checked, 99, 0);
                offline(appended.map(|_| ()).map_err(|error| error.to_string()));
                offline(log.flush().map_err(|error| error.to_string()));
                offline(log.close().map_err(|error| error.to_string()));
            }
            None => {
                let opened = dir.open_log(partition(), self.config.clone(), 0);
                offline(opened.map(|_| ()).map_err(|error| error.to_string()));
            }
        }
    }

    /// What a broker finds that starts on what is left, on a sound disk.
    pub(super) fn check_restart(&mut self, choice: &mut dyn Choice) {
        let found = self.sim.crash(choice);
        let dir = open_dir(Disk::new(found)).expect("a directory of ours");
        let (log, report) = dir
            .open_log(partition(), self.config.clone(), 0)
            .expect("a log that opens");
        assert_eq!(report.damage, None);
        let seen = read_all(&log.reader()).expect("a log that reads");
        for record in &seen {
            let possible = self.shadow.possible.get(&record.offset);
            assert!(
                possible.is_some_and(|possible| possible.contains(record)),
                "{record:?} was never there, or was truncated"
            );
        }
        if !self.shadow.compacted {
            let offsets: Vec<i64> = seen.iter().map(|record| record.offset).collect();
            let gapless: Vec<i64> = (log.log_start()..log.log_end()).collect();
            assert_eq!(offsets, gapless, "{report:?}");
        }
        let seen = by_offset(seen);
        for (offset, record) in &self.shadow.promised {
            assert_eq!(seen.get(offset), Some(record), "promised; {report:?}");
        }
    }
}

/// The records of batches as a reader would see them from `offset` on.
fn records_at(bytes: &[u8], mut offset: i64) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut scratch = Vec::new();
    for batch in reka_records::batches(bytes) {
        let batch = batch.expect("a valid batch");
        for record in batch.records(&mut scratch, 1 << 20).expect("records") {
            let record = record.expect("a record");
            seen.push(Seen {
                offset,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
            });
            offset += 1;
        }
    }
    seen
}

//! Every call to the disk fails once.
//!
//! Scripts run on [`FaultDisk`]. For each of their calls the script is run anew and
//! that call fails with `EIO`, then with `ENOSPC`, then with `EINTR`, and then moves
//! one byte only. Judged is:
//!
//! - nothing panics; what fails returns an error, and an append that failed is not seen
//!   by a reader of the same process;
//! - interruptions and short reads and writes change nothing at all;
//! - after a failed sync the directory is offline, for good, also on a healed disk;
//! - what a flush had promised is there after a restart, with and without a power cut,
//!   and nothing is there that was not appended or was truncated away.
//!
//! Call sites are counted by source line: every line that calls the disk was seen, and
//! every one that was seen has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use reka_records::Compression;
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::fault::{Fault, FaultDisk, Site, When};
use reka_storage::fs::sim::{Choice, KeepAll, LoseAll, Seeded, SimDisk};
use reka_storage::fs::{Backend as _, Disk, Op, OpenMode};
use reka_storage::log_dir::{Identity, ToOpen};
use reka_storage::map_budget::MapBudget;
use reka_storage::{AppendError, CheckedBatches, Log, LogConfig, LogDir, LogReader};

use crate::support::{Seen, batch, marker, partition, produced, read_from};

const ROOT: &str = "/data";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A batch of this many records of this many bytes.
    Append(usize, usize),
    /// A record without a timestamp.
    Untimed,
    /// This many appends of one small record.
    AppendMany(usize),
    /// The next leader appends.
    NewEpoch,
    BeginEpoch,
    Replicate,
    Txn,
    Abort,
    Commit,
    Roll,
    Flush,
    Checkpoint,
    /// Drops this many of the newest offsets.
    Truncate(i64),
    StartAnew(i64),
    /// Raises the start by this much and lets go what lies below.
    RaiseStart(i64),
    ExpireAll,
    Unlink,
    Compact,
    /// A compaction that finds the log truncated when it is done.
    CompactInVain(i64),
    Read,
    Close,
    /// The same with one sync of the file system.
    CloseTogether,
    /// The process dies and comes back.
    Restart,
    Delete,
    /// The partition is not served any more, as a restart finds out.
    SetAside,
    List,
    /// From now on the disk has this many bytes left.
    LeaveFree(u64),
    FreeSpace,
}

use Step::{
    Abort, Append, AppendMany, BeginEpoch, Checkpoint, Close, CloseTogether, Commit, Compact,
    CompactInVain, Delete, ExpireAll, Flush, FreeSpace, LeaveFree, List, NewEpoch, RaiseStart,
    Read, Replicate, Restart, Roll, SetAside, StartAnew, Truncate, Txn, Unlink, Untimed,
};

struct Script {
    name: &'static str,
    /// Run on a sound disk, to be the past of the rest.
    before: &'static [Step],
    /// What happens to the disk between the two, while no process runs.
    damage: Option<fn(&SimDisk)>,
    steps: &'static [Step],
}

const SMALL: Step = Append(1, 20);
const LARGE: Step = Append(2, 900);

const SCRIPTS: &[Script] = &[
    Script {
        name: "a new directory",
        before: &[],
        damage: None,
        steps: &[
            SMALL, NewEpoch, LARGE, Read, Flush, Checkpoint, LARGE, LARGE, Roll, SMALL, Close,
            List, SMALL, Flush,
        ],
    },
    Script {
        name: "a clean start",
        before: &[LARGE, Txn, Abort, LARGE, Roll, Txn, Commit, LARGE, Close],
        damage: None,
        steps: &[
            Read, SMALL, Txn, Abort, Roll, SMALL, Flush, Checkpoint, Close, Read,
        ],
    },
    Script {
        name: "an unclean start with a torn tail",
        before: &[
            LARGE, Txn, Abort, Flush, Checkpoint, Txn, Abort, LARGE, Roll, LARGE, Roll, Txn, Abort,
        ],
        damage: Some(tear_the_tail),
        steps: &[Read, SMALL, Flush, Restart, SMALL, Flush, Checkpoint],
    },
    Script {
        name: "an unclean start with a broken segment before others",
        before: &[
            LARGE, Flush, Checkpoint, LARGE, NewEpoch, LARGE, Roll, Txn, Abort, Roll, LARGE,
        ],
        damage: Some(break_the_first_batch_behind_the_recovery_point),
        steps: &[Read, SMALL, Flush],
    },
    Script {
        name: "indexes that are wrong",
        before: &[AppendMany(20), Roll, AppendMany(20), Txn, Abort, Close],
        damage: Some(spoil_the_indexes),
        steps: &[Read, SMALL, Txn, Abort, Flush, Restart, SMALL, Close, Read],
    },
    Script {
        name: "what a crash leaves of deletions and compactions",
        before: &[
            Txn,
            Abort,
            AppendMany(20),
            Flush,
            Checkpoint,
            Roll,
            SMALL,
            Flush,
        ],
        damage: Some(leave_half_done),
        steps: &[Read, SMALL, Flush, Close, Read],
    },
    Script {
        name: "a swap of two segments that a crash broke off",
        before: &[
            Txn, Abort, LARGE, Roll, Txn, Commit, LARGE, Roll, SMALL, Flush, Checkpoint,
        ],
        damage: Some(leave_a_swap_of_two),
        steps: &[Read, SMALL, Flush, Close, Read],
    },
    Script {
        name: "a damaged swap whose old segments were renamed away",
        before: &[
            Txn, Abort, LARGE, Roll, Txn, Commit, LARGE, Roll, SMALL, Flush, Checkpoint,
        ],
        damage: Some(leave_a_damaged_swap),
        steps: &[Read, SMALL, Flush, Close, Read],
    },
    Script {
        name: "a log that lost all above its start",
        before: &[Append(1, 20), Roll, Append(1, 20)],
        damage: Some(raise_the_stored_start),
        steps: &[SMALL, Flush, Checkpoint, Restart, Read],
    },
    Script {
        name: "more index entries than are buffered",
        before: &[AppendMany(128)],
        damage: None,
        steps: &[
            AppendMany(5),
            Flush,
            Read,
            Roll,
            AppendMany(3),
            Truncate(8),
            SMALL,
            Close,
            Read,
        ],
    },
    Script {
        name: "truncations",
        before: &[],
        damage: None,
        steps: &[
            AppendMany(20),
            NewEpoch,
            Roll,
            LARGE,
            NewEpoch,
            Txn,
            Abort,
            Roll,
            LARGE,
            Flush,
            Checkpoint,
            Truncate(3),
            SMALL,
            Truncate(6),
            SMALL,
            Flush,
            Read,
            Restart,
            SMALL,
            Truncate(18),
            SMALL,
            Flush,
        ],
    },
    Script {
        name: "starting anew",
        before: &[],
        damage: None,
        steps: &[
            LARGE,
            Txn,
            Roll,
            NewEpoch,
            LARGE,
            Flush,
            Checkpoint,
            StartAnew(10),
            SMALL,
            Flush,
            Read,
            Unlink,
            Close,
            Read,
        ],
    },
    Script {
        name: "a new log that starts elsewhere",
        before: &[],
        damage: None,
        steps: &[StartAnew(10), SMALL, Flush, Read, Restart, SMALL],
    },
    Script {
        name: "retention",
        before: &[],
        damage: None,
        steps: &[
            LARGE,
            NewEpoch,
            Roll,
            Txn,
            Abort,
            Roll,
            NewEpoch,
            LARGE,
            Flush,
            Checkpoint,
            RaiseStart(3),
            Unlink,
            SMALL,
            Checkpoint,
            ExpireAll,
            Unlink,
            SMALL,
            Flush,
            Read,
        ],
    },
    Script {
        name: "retention of records without timestamps",
        before: &[],
        damage: None,
        steps: &[
            Untimed, Roll, Untimed, Roll, Untimed, Flush, ExpireAll, Unlink, SMALL, Flush,
        ],
    },
    Script {
        name: "compaction",
        before: &[],
        damage: None,
        steps: &[
            Txn,
            Abort,
            AppendMany(20),
            LARGE,
            Roll,
            AppendMany(20),
            Roll,
            SMALL,
            Flush,
            Compact,
            Unlink,
            Read,
            AppendMany(5),
            Roll,
            SMALL,
            Compact,
            Unlink,
            Close,
            Read,
        ],
    },
    Script {
        name: "a compaction over what was not unlinked yet",
        before: &[],
        damage: None,
        steps: &[
            AppendMany(5),
            Roll,
            AppendMany(3),
            Flush,
            Truncate(4),
            AppendMany(5),
            Roll,
            Compact,
            Read,
            AppendMany(5),
            Roll,
            SMALL,
            Compact,
            Unlink,
            Close,
            Read,
        ],
    },
    Script {
        name: "a compaction in vain",
        before: &[],
        damage: None,
        steps: &[
            AppendMany(10),
            Roll,
            AppendMany(10),
            Roll,
            SMALL,
            CompactInVain(5),
            SMALL,
            Flush,
        ],
    },
    Script {
        name: "a start without recovery points",
        before: &[
            LARGE, Txn, Abort, Roll, LARGE, Roll, SMALL, Flush, Checkpoint,
        ],
        damage: Some(lose_the_recovery_points),
        steps: &[Read, SMALL, Flush, Restart, Read, SMALL, Flush, Checkpoint],
    },
    Script {
        name: "a stop of many logs at once",
        before: &[],
        damage: None,
        steps: &[LARGE, CloseTogether, Read, Txn, Abort, CloseTogether, Read],
    },
    Script {
        name: "a follower",
        before: &[],
        damage: None,
        steps: &[
            BeginEpoch, Replicate, Flush, Replicate, Roll, Replicate, Flush, Restart, Replicate,
        ],
    },
    Script {
        name: "a deleted partition",
        before: &[],
        damage: None,
        steps: &[LARGE, Txn, Abort, Flush, Delete, SMALL, List, Flush],
    },
    Script {
        name: "a partition set aside",
        before: &[LARGE, Txn, Abort, Flush, Checkpoint],
        damage: None,
        steps: &[Read, SetAside, SMALL, List, Flush],
    },
    Script {
        name: "a full disk",
        before: &[
            Txn, Abort, LARGE, NewEpoch, Roll, Txn, SMALL, Flush, Checkpoint,
        ],
        damage: None,
        steps: &[
            LeaveFree(0),
            LARGE,
            NewEpoch,
            Read,
            FreeSpace,
            LARGE,
            SMALL,
            LeaveFree(2_000),
            SMALL,
            LARGE,
            FreeSpace,
            Roll,
            LeaveFree(2_000),
            SMALL,
            LARGE,
            FreeSpace,
            Txn,
            SMALL,
            LeaveFree(0),
            Abort,
            Read,
            LARGE,
            LARGE,
            Roll,
            RaiseStart(4),
            Unlink,
            Checkpoint,
            ExpireAll,
            FreeSpace,
            LARGE,
            Roll,
            Abort,
            Flush,
            Checkpoint,
        ],
    },
    Script {
        name: "compactions and truncations on a full disk",
        before: &[AppendMany(10), Roll, AppendMany(10), Roll, SMALL, Flush],
        damage: None,
        steps: &[
            LeaveFree(0),
            Compact,
            Read,
            LeaveFree(1_500),
            Compact,
            FreeSpace,
            Compact,
            NewEpoch,
            LARGE,
            Checkpoint,
            LeaveFree(0),
            Truncate(2),
            SMALL,
            Read,
            FreeSpace,
            SMALL,
            Flush,
            LeaveFree(0),
            StartAnew(10),
            SMALL,
            FreeSpace,
            StartAnew(10),
            SMALL,
            Flush,
            LeaveFree(0),
            Close,
            FreeSpace,
            Read,
        ],
    },
];

fn write(sim: &SimDisk, path: &str, position: Option<u64>, bytes: &[u8]) {
    let file = sim
        .open(Path::new(path), OpenMode::Create)
        .expect("a file of the script");
    let position = position.unwrap_or_else(|| file.size().expect("its size"));
    file.write_at(bytes, position).expect("a write");
    file.sync().expect("a sync");
    let dir = Path::new(path).parent().expect("a directory");
    sim.sync_dir(dir).expect("a sync");
}

/// Files of the partition with this suffix, oldest segment first.
fn files(sim: &SimDisk, suffix: &str) -> Vec<(String, Vec<u8>)> {
    let dir = format!("{ROOT}/{}", partition().dir_name());
    sim.contents(Path::new(&dir))
        .into_iter()
        .filter(|(name, _)| name.ends_with(suffix))
        .map(|(name, content)| (format!("{dir}{name}"), content))
        .collect()
}

fn tear_the_tail(sim: &SimDisk) {
    let logs = files(sim, ".log");
    let (path, _) = logs.last().expect("a segment");
    write(sim, path, None, &[0xA5; 100]);
}

fn break_the_first_batch_behind_the_recovery_point(sim: &SimDisk) {
    let logs = files(sim, ".log");
    let (path, content) = logs.first().expect("a segment");
    let first = reka_records::BatchHeader::parse(content)
        .expect("a batch")
        .size() as u64;
    write(sim, path, Some(first + 70), &[0xA5; 4]);
}

fn spoil_the_indexes(sim: &SimDisk) {
    for suffix in [".index", ".timeindex"] {
        for (path, content) in files(sim, suffix) {
            let last_entry = content.len() as u64 - if suffix == ".index" { 8 } else { 12 };
            write(sim, &path, Some(last_entry), &[0x11; 8]);
        }
    }
    for (path, _) in files(sim, ".txnindex") {
        write(sim, &path, None, &[0xFF; 40]);
    }
    let snapshots = files(sim, ".snapshot");
    let (newest, _) = snapshots.last().expect("a clean stop with a producer");
    write(sim, newest, Some(6), &[0xFF; 4]);
    let mark = Path::new(ROOT).join(reka_storage::format::CLEAN_SHUTDOWN);
    assert!(sim.open(&mark, OpenMode::Existing).is_ok(), "a clean stop");
}

fn leave_half_done(sim: &SimDisk) {
    for suffix in [".log", ".index", ".timeindex", ".txnindex"] {
        if let Some((path, content)) = files(sim, suffix).first() {
            write(sim, &format!("{path}.swap"), Some(0), content);
        }
        let other = format!("{ROOT}/{}/{:020}{suffix}", partition().dir_name(), 77);
        write(sim, &format!("{other}.cleaned"), Some(0), b"half");
        write(sim, &format!("{other}.deleted"), Some(0), b"old");
        if suffix != ".log" {
            write(sim, &format!("{other}.swap"), Some(0), b"half");
        }
    }
    let tmp = format!("{ROOT}/{}/partition.metadata.tmp", partition().dir_name());
    write(sim, &tmp, Some(0), b"half");
}

fn leave_a_swap_of_two(sim: &SimDisk) {
    let logs = files(sim, ".log");
    let (path, first) = &logs[0];
    let both = [first.as_slice(), &logs[1].1].concat();
    write(sim, &format!("{path}.swap"), Some(0), &both);
}

fn leave_a_damaged_swap(sim: &SimDisk) {
    let (path, mut content) = files(sim, ".log").remove(0);
    for suffix in [".index", ".timeindex", ".txnindex", ".log"] {
        let old = path.replace(".log", suffix);
        sim.rename(Path::new(&old), Path::new(&format!("{old}.deleted")))
            .expect("a file of a sealed segment");
    }
    let middle = content.len() / 2;
    content[middle] ^= 1;
    write(sim, &format!("{path}.swap"), Some(0), &content);
}

fn lose_the_recovery_points(sim: &SimDisk) {
    let path = format!("{ROOT}/recovery-point-offset-checkpoint");
    sim.remove_file(Path::new(&path)).expect("a checkpoint");
    sim.sync_dir(Path::new(ROOT)).expect("a sync");
}

fn raise_the_stored_start(sim: &SimDisk) {
    let path = format!("{ROOT}/log-start-offset-checkpoint");
    write(sim, &path, Some(0), b"0\n1\nt 0 500\n");
}

/// What should be there.
#[derive(Clone, Debug, Default)]
struct Shadow {
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
fn read_all(reader: &LogReader) -> Result<Vec<Seen>, String> {
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

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 30_000,
        segment_index_bytes: 16_384,
        index_interval_bytes: 50,
        retention_ms: -1,
        delete_retention_ms: 0,
        compact: true,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

struct World {
    sim: SimDisk,
    fault: FaultDisk,
    dir: Option<LogDir>,
    log: Option<Log>,
    shadow: Shadow,
    epoch: i32,
    serial: u8,
    short_of_space: bool,
}

type Outcome = Result<(), Failure>;

/// An error of the engine, or a broken promise.
#[derive(Debug)]
enum Failure {
    Refused(String),
    Full,
    Broken(String),
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::Refused(error.to_string())
}

fn open_dir(disk: Disk) -> Result<LogDir, Failure> {
    let identity = Identity {
        cluster_id: "c".into(),
        node_id: 1,
        directory_id: Some("d".into()),
    };
    let maps = Arc::new(MapBudget::new(100));
    LogDir::open(disk, Path::new(ROOT), identity, maps).map_err(refused)
}

impl World {
    fn new() -> World {
        let sim = SimDisk::new();
        let disk = Disk::new(sim.clone());
        disk.create_dir(Path::new(ROOT)).expect("a fresh disk");
        disk.sync_dir(Path::new("/")).expect("a fresh disk");
        World {
            fault: FaultDisk::new(sim.clone()),
            sim,
            dir: None,
            log: None,
            shadow: Shadow::default(),
            epoch: 0,
            serial: 0,
            short_of_space: false,
        }
    }

    /// The past of a script, on a disk of its own.
    fn after(script: &Script) -> World {
        let mut world = World::new();
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

    fn is_online(&self) -> bool {
        let healthy = |dir: &LogDir| dir.env().health.check().is_ok();
        self.dir.as_ref().is_some_and(healthy)
    }

    fn open(&mut self) -> Outcome {
        if self.dir.is_none() {
            let disk = Disk::new(self.fault.clone());
            Identity::read(&disk, Path::new(ROOT)).map_err(refused)?;
            self.dir = Some(open_dir(disk)?);
        }
        let Some(dir) = &self.dir else { return Ok(()) };
        if self.log.is_none() {
            let wanted = ToOpen {
                partition: partition(),
                topic_id: Some(uuid::Uuid::from_u128(7)),
                config: config(),
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

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("opened before each step")
    }

    fn values(&mut self, records: usize, size: usize) -> Vec<Vec<u8>> {
        (0..records)
            .map(|_| {
                self.serial = self.serial.wrapping_add(1);
                let mut value = vec![self.serial % 4; size.max(2)];
                value[1] = self.serial;
                value
            })
            .collect()
    }

    fn append(&mut self, mut bytes: Vec<u8>) -> Outcome {
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
        let values = self.values(2, 30);
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
        for (index, value) in self.values(3, 40).into_iter().enumerate() {
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
        self.log().set_config(LogConfig {
            retention_ms,
            ..config()
        });
        let applied = raised.and_then(|()| {
            self.log()
                .apply_retention(end, 1_000)
                .map(|_| ())
                .map_err(refused)
        });
        self.log().set_config(config());
        let start = self.log().log_start();
        self.shadow.visible = self.shadow.visible.split_off(&start);
        applied
    }

    fn run(&mut self, step: Step) -> Outcome {
        self.open()?;
        match step {
            Append(records, size) => {
                let values = self.values(records, size);
                let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                let bytes = batch(&refs, 100, Compression::None);
                self.append(bytes)
            }
            Untimed => {
                let value = self.values(1, 20);
                self.append(batch(&[&value[0]], -1, Compression::None))
            }
            AppendMany(batches) => (0..batches).try_for_each(|_| {
                let value = self.values(1, 5);
                let timestamp = 100 + self.log().log_end();
                self.append(batch(&[&value[0]], timestamp, Compression::None))
            }),
            NewEpoch => {
                self.epoch += 1;
                let value = self.values(1, 20);
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
                dir.unlink(&renamed).map_err(refused)
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

    /// A reader of this process sees what was accepted, or is told that it cannot.
    fn check_visible(&mut self, after: &dyn std::fmt::Debug) {
        let online = self.is_online();
        let Some(log) = &self.log else { return };
        let struck_before = !self.fault.sites().1.is_empty();
        let mut seen = read_all(&log.reader());
        if seen.is_err() && !struck_before && !self.fault.sites().1.is_empty() {
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
    fn check_offline(&mut self) {
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
                let opened = dir.open_log(partition(), config(), 0);
                offline(opened.map(|_| ()).map_err(|error| error.to_string()));
            }
        }
    }

    /// What a broker finds that starts on what is left, on a sound disk.
    fn check_restart(&mut self, choice: &mut dyn Choice) {
        let found = self.sim.crash(choice);
        let dir = open_dir(Disk::new(found)).expect("a directory of ours");
        let (log, report) = dir
            .open_log(partition(), config(), 0)
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

#[derive(Default)]
struct Tally {
    runs: u64,
    seen: BTreeSet<Site>,
    hit: BTreeSet<Site>,
    hit_by_eio: BTreeSet<Site>,
}

/// Runs a script with one call struck; the number of calls it makes.
fn strike(script: &Script, call: u64, fault: Fault, tally: &mut Tally) -> u64 {
    let mut world = World::after(script);
    world.fault.plan(When::Nth(call), fault);
    let invisible = matches!(fault, Fault::Interrupted | Fault::Short);
    let mut struck = false;
    for step in script.steps {
        let outcome = world.run(*step);
        let (_, hit) = world.fault.sites();
        let now_struck = !hit.is_empty();
        match outcome {
            Ok(()) => {}
            Err(Failure::Broken(what)) => panic!("{step:?}: {what}"),
            Err(Failure::Full) => assert!(world.is_online(), "full is not broken"),
            Err(Failure::Refused(error)) => {
                let excused = now_struck && !invisible || world.short_of_space;
                assert!(excused, "{step:?}: {error}");
            }
        }
        if !now_struck && world.dir.is_some() {
            assert!(world.is_online(), "offline after {step:?}");
        }
        world.check_visible(step);
        if now_struck && !struck {
            struck = true;
            let synced = hit
                .iter()
                .any(|(_, _, op)| matches!(op, Op::Sync | Op::SyncDir | Op::SyncFileSystem));
            if synced && !invisible {
                world.check_offline();
                break;
            }
        }
    }
    let calls = world.fault.calls();
    let (seen, hit) = world.fault.sites();
    tally.runs += 1;
    tally.seen.extend(seen);
    if fault == Fault::Errno(EIO) {
        tally.hit_by_eio.extend(&hit);
    }
    tally.hit.extend(hit);
    world.sim.set_capacity(None);
    world.check_restart(&mut LoseAll);
    world.check_restart(&mut KeepAll);
    calls
}

/// Says which run it was when a check in it fails.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "in {}", self.0);
        }
    }
}

const FAULTS: [Fault; 4] = [
    Fault::Errno(EIO),
    Fault::Errno(ENOSPC),
    Fault::Interrupted,
    Fault::Short,
];

fn strike_every_call() -> Tally {
    let work: Vec<(&Script, Fault)> = SCRIPTS
        .iter()
        .flat_map(|script| FAULTS.map(|fault| (script, fault)))
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let shares: Vec<Tally> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let share = work.iter().skip(worker).step_by(threads);
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for (script, fault) in share {
                        // A run without a fault says how many calls there are.
                        let mut calls = strike(script, u64::MAX, *fault, &mut tally);
                        let mut call = 0;
                        while call <= calls {
                            let what = format!("{:?}, call {call}, {fault:?}", script.name);
                            let context = Context(what);
                            // A failure may shorten the script or lead it elsewhere.
                            calls = calls.max(strike(script, call, *fault, &mut tally));
                            drop(context);
                            call += 1;
                        }
                    }
                    tally
                })
            })
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Tally>| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect()
    });
    let mut total = Tally::default();
    for share in shares {
        total.runs += share.runs;
        total.seen.extend(share.seen);
        total.hit.extend(share.hit);
        total.hit_by_eio.extend(share.hit_by_eio);
    }
    total
}

/// Calls that no script can reach, by a part of their line, with the reason.
const OUT_OF_REACH: &[(&str, &str, &str)] = &[
    (
        "recovery.rs",
        "file.read_exact_at(&mut self.buffer[..want as usize], position)?;",
        "the file became shorter between two reads",
    ),
    (
        "compaction/cleaned.rs",
        "self.log.write_all_at(bytes, self.written)?;",
        "a batch of more than 1 MiB; it fails as the buffered write does",
    ),
    (
        "log/truncate.rs",
        "self.env.disk.remove_file(path)?;",
        "no room for a name; `exhausted` has it",
    ),
    (
        "log/truncate.rs",
        "self.env.disk.remove_file(&path)?;",
        "no room for a name; `exhausted` has it",
    ),
];

#[test]
fn every_line_that_calls_the_disk_fails_and_keeps_every_promise() {
    let tally = strike_every_call();
    let in_sources = call_sites_in_sources();
    // Straight to the descriptor: a passing test's output is not shown otherwise.
    let _ = writeln!(
        std::io::stderr(),
        "faults: {} runs of {} scripts; {} calls in the sources, {} seen, {} failed with EIO",
        tally.runs,
        SCRIPTS.len(),
        in_sources.len(),
        lines(&tally.seen).len(),
        lines(&tally.hit_by_eio).len(),
    );
    let excused = |text: &str, file: &str| {
        OUT_OF_REACH
            .iter()
            .any(|(in_file, part, _)| file.ends_with(in_file) && text.contains(part))
    };
    let seen = lines(&tally.seen);
    // What only another failure leads to is not struck by the one of a run.
    let spared: Vec<_> = tally
        .seen
        .difference(&tally.hit_by_eio)
        .filter(|site| {
            let excused = |line: &Line| {
                in_sources
                    .get(line)
                    .is_some_and(|text| excused(text, &line.0))
            };
            !lines(&BTreeSet::from([**site])).iter().any(excused)
        })
        .collect();
    assert!(spared.is_empty(), "seen and never failed: {spared:#?}");
    let unseen: Vec<_> = in_sources
        .iter()
        .filter(|((file, line), text)| {
            !seen.contains(&(file.clone(), *line)) && !excused(text, file)
        })
        .collect();
    assert!(unseen.is_empty(), "never reached: {unseen:#?}");
    let unknown: Vec<_> = seen
        .iter()
        .filter(|site| !in_sources.contains_key(*site))
        .collect();
    assert!(
        unknown.is_empty(),
        "the scan of the sources misses {unknown:#?}"
    );
}

#[test]
fn a_full_disk_refuses_appends_by_name_and_takes_them_again_by_itself() {
    let mut world = World::new();
    let value = [7; 20];
    let small = || batch(&[&value], 100, Compression::None);
    world.run(SMALL).expect("room");
    // The active segment has blocks in reserve; a new one has none.
    world.run(Roll).expect("room");
    world.run(LeaveFree(10)).expect("a number");
    let mut bytes = small();
    let size = bytes.len();
    let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
    let error = world.log().append(checked, 0, 0).expect_err("no room");
    assert_eq!(
        error.to_string(),
        format!(
            "log directory /data is full: {size} bytes needed, 10 free; free space or lower \
             retention, appends resume by themselves"
        )
    );
    world.run(Read).expect("reads go on");
    world.run(FreeSpace).expect("a number");
    world.append(small()).expect("room again");
    world.check_visible(&"resuming");
}

type Line = (String, u32);

/// File below `src/` and line.
fn lines(sites: &BTreeSet<Site>) -> BTreeSet<Line> {
    sites
        .iter()
        .filter_map(|(file, line, _)| {
            let (_, file) = file.rsplit_once("src/")?;
            Some((file.to_owned(), *line))
        })
        .collect()
}

/// What [`Disk`] and `File` can be asked to do.
const CALLS: [&str; 22] = [
    "open",
    "open_if_exists",
    "create_dir",
    "read_dir",
    "rename",
    "remove_file",
    "remove_dir",
    "sync_dir",
    "open_dir",
    "sync_file_system",
    "try_lock",
    "bytes_free",
    "read_small",
    "replace_small",
    "read_up_to",
    "read_exact_at",
    "write_all_at",
    "reserve",
    "zero",
    "set_len",
    "size",
    "modified_ms",
];
const MORE_CALLS: [&str; 2] = ["sync", "map"];
/// What a disk or a file is called where it is asked.
const RECEIVERS: [&str; 6] = [
    "disk",
    "file",
    "file()?",
    "file(&mut state)?",
    "self.log",
    "self.handle",
];

/// Every line of the engine outside of `fs/` and of tests that calls the disk.
fn call_sites_in_sources() -> BTreeMap<Line, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut pending = vec![root.clone()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).expect("our sources") {
            let path = entry.expect("our sources").path();
            if path.is_dir() {
                if !path.ends_with("fs") {
                    pending.push(path);
                }
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("our sources");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let name = path
                .strip_prefix(&root)
                .expect("below it")
                .to_string_lossy();
            for call in CALLS.iter().chain(&MORE_CALLS) {
                for (at, _) in text.match_indices(&format!(".{call}(")) {
                    let before = text[..at].trim_end();
                    // `self.file` is an index; the file in it is `self.file()?`.
                    let asks_disk = RECEIVERS.iter().any(|name| before.ends_with(name));
                    if asks_disk && !before.ends_with("self.file") {
                        let line = text[..at].lines().count().max(1);
                        let whole = text.lines().nth(line - 1).unwrap_or_default();
                        found.insert((name.to_string(), line as u32), whole.trim().to_owned());
                    }
                }
            }
        }
    }
    found
}

/// Index files of the first segment, of which there are entries.
fn first_indexes(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let indexes = [files(disk, "00.index"), files(disk, "00.timeindex")].concat();
    let first = |(name, _): &(String, Vec<u8>)| name.contains("/00000000000000000000.");
    indexes.into_iter().filter(first).collect()
}

/// The recovery point is the very end of the segment when it is sealed: neither the flush
/// before nor one that looks only behind the recovery point syncs its indexes.
#[test]
fn indexes_of_a_segment_sealed_right_behind_a_flush_survive_a_power_cut() {
    for flush_again in [false, true] {
        let mut world = World::new();
        world.open().expect("a fresh directory");
        for _ in 0..40 {
            world.run(SMALL).expect("an append");
        }
        for step in [Flush, Roll, Checkpoint] {
            world.run(step).expect("a sound disk");
        }
        if flush_again {
            for step in [SMALL, Flush, Checkpoint] {
                world.run(step).expect("a sound disk");
            }
        }
        let live = first_indexes(&world.sim);
        assert_eq!(live.len(), 2);
        assert!(live.iter().all(|(_, content)| !content.is_empty()));
        // Names reach the disk by themselves, sooner or later; content need not.
        world
            .sim
            .sync_dir(&Path::new(ROOT).join("t-0"))
            .expect("a sound disk");
        world.sim = world.sim.crash(&mut LoseAll);
        if !flush_again {
            // Not promised to be on disk, but then they are made anew.
            assert_ne!(first_indexes(&world.sim), live);
            let disk = Disk::new(world.sim.clone());
            let dir = open_dir(disk).expect("a directory");
            let (mut log, _) = dir.open_log(partition(), config(), 0).expect("a log");
            log.close().expect("a clean stop");
        }
        assert_eq!(first_indexes(&world.sim), live);
    }
}

/// Checkpoints, snapshots and the mark of a clean stop are written by this.
#[test]
fn a_small_file_is_old_or_new_at_every_power_cut_and_new_once_it_was_replaced() {
    let path = Path::new("/small");
    for size in [10, 6_000] {
        let (old, new) = (vec![1; size], vec![2; size + 3]);
        let sim = SimDisk::new();
        let disk = Disk::new(sim.clone());
        disk.replace_small(path, &old).expect("a sound disk");
        let content = |sim: &SimDisk| sim.contents(Path::new("/")).remove("/small");
        assert_eq!(content(&sim.crash(&mut LoseAll)).as_ref(), Some(&old));
        sim.record();
        disk.replace_small(path, &new).expect("a sound disk");
        let states = sim.recorded();
        assert!(states.len() > 4, "open, write, sync, rename, sync");
        for (step, state) in states.iter().enumerate() {
            for seed in 0..200 {
                let found = content(&state.crash(&mut Seeded(seed))).expect("one of the two");
                assert!(found == old || found == new, "step {step}, seed {seed}");
            }
        }
        assert_eq!(content(&sim.crash(&mut LoseAll)).as_ref(), Some(&new));
    }
}

/// Nothing survives but what was synced: names of directories, files and their content.
#[test]
fn what_a_flush_promised_is_there_when_all_else_is_lost() {
    // A new partition, a new segment, a segment that was cut and rolled, one that was
    // rolled twice since the last flush, a log that began anew.
    let pasts: [&[Step]; 5] = [
        &[SMALL, Flush],
        &[SMALL, Flush, Roll, SMALL, Flush],
        &[LARGE, SMALL, Flush, Truncate(1), Roll, SMALL, Flush],
        &[SMALL, Flush, LARGE, Roll, Txn, Abort, Roll, SMALL, Flush],
        &[SMALL, Flush, StartAnew(10), SMALL, Flush],
    ];
    for past in pasts {
        let mut world = World::new();
        for step in past {
            world.run(*step).expect("a sound disk");
        }
        let expected = read_all(&world.log().reader()).expect("a log that reads");
        let start = world.log().log_start();
        assert!(!expected.is_empty());
        let sim = world.sim.crash(&mut LoseAll);
        let dir = open_dir(Disk::new(sim)).expect("a directory");
        let (log, report) = dir.open_log(partition(), config(), 0).expect("a log");
        assert_eq!((report.cut, report.damage), (None, None), "{past:?}");
        assert_eq!(log.log_start(), start, "{past:?}");
        let found = read_all(&log.reader()).expect("a log that reads");
        assert_eq!(found, expected, "{past:?}");
    }
}

/// The kernel tells one of two that a page was lost. Whoever runs second must not take the
/// silence for success, so with the first sync failing both fail, whichever comes first.
#[test]
fn of_two_flushes_at_once_neither_succeeds_beside_a_failed_sync() {
    for _ in 0..100 {
        let mut world = World::new();
        for step in [SMALL, Flush, SMALL] {
            world.run(step).expect("a sound disk");
        }
        let first = world.log().begin_flush().expect("a record to carry");
        world.run(SMALL).expect("an append");
        let second = world.log().begin_flush().expect("records to carry");
        // No names have changed: the first call of both is a sync of the data file.
        world.fault.plan(When::Nth(0), Fault::Errno(EIO));
        let together = std::sync::Barrier::new(2);
        let run = |flush: reka_storage::flush::Flush| {
            together.wait();
            flush.run().is_ok()
        };
        let succeeded = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(second));
            (run(first), other.join().expect("no panic"))
        });
        assert_eq!(succeeded, (false, false));
        assert_eq!(world.log().recovery_point(), 1);
    }
}

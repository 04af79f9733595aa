//! What happens to a log while its disk fails, and to the disk before.

use std::path::Path;

use reka_storage::fs::sim::SimDisk;
use reka_storage::fs::{Backend as _, OpenMode};

use crate::support::{ROOT, partition};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
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
    /// A broker takes the directory and gives it back before it opens anything.
    LookIn,
    Delete,
    /// The partition is not served any more, as a restart finds out.
    SetAside,
    /// The same, and a person gives it its name back.
    SetAsideAndBack,
    List,
    /// From now on the disk has this many bytes left.
    LeaveFree(u64),
    FreeSpace,
}

impl Step {
    /// Whether it hands batches to the log and does nothing else.
    pub(super) fn appends(self) -> bool {
        matches!(
            self,
            Append(..) | Untimed | AppendMany(_) | NewEpoch | Txn | Abort | Commit
        )
    }
}

use Step::{
    Abort, Append, AppendMany, BeginEpoch, Checkpoint, Close, CloseTogether, Commit, Compact,
    CompactInVain, Delete, ExpireAll, Flush, FreeSpace, LeaveFree, List, LookIn, NewEpoch,
    RaiseStart, Read, Replicate, Restart, Roll, SetAside, SetAsideAndBack, StartAnew, Truncate,
    Txn, Unlink, Untimed,
};

pub(super) struct Script {
    pub(super) name: &'static str,
    /// Run on a sound disk, to be the past of the rest.
    pub(super) before: &'static [Step],
    /// What happens to the disk between the two, while no process runs.
    pub(super) damage: Option<fn(&SimDisk)>,
    pub(super) steps: &'static [Step],
}

pub(super) const SMALL: Step = Append(1, 20);
pub(super) const LARGE: Step = Append(2, 900);

pub(super) const SCRIPTS: &[Script] = &[
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
            LookIn, Read, SMALL, Txn, Abort, Roll, SMALL, Flush, Checkpoint, Close, Read,
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
        name: "a partition whose name of a topic a power cut took",
        before: &[SMALL, Flush, Checkpoint],
        damage: Some(zero_the_topic_id),
        steps: &[Read, SMALL, Flush, Restart, Read],
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
        name: "a partition set aside and brought back",
        before: &[LARGE, Txn, Abort, Flush, RaiseStart(1), Checkpoint],
        damage: None,
        steps: &[
            Read,
            SetAsideAndBack,
            Read,
            SMALL,
            Flush,
            SetAsideAndBack,
            Read,
        ],
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
pub(super) fn files(sim: &SimDisk, suffix: &str) -> Vec<(String, Vec<u8>)> {
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

/// What a disk may make of a file that was written and never synced.
fn zero_the_topic_id(sim: &SimDisk) {
    let path = format!("{ROOT}/t-0/partition.metadata");
    write(sim, &path, Some(0), &[0; 44]);
}

fn raise_the_stored_start(sim: &SimDisk) {
    let path = format!("{ROOT}/log-start-offset-checkpoint");
    write(sim, &path, Some(0), b"0\n1\nt 0 500\n");
}

//! Power cuts at every step of the quorum's files.
//!
//! A script runs once on a simulated disk that keeps a copy of itself from after
//! every changing operation. Each copy is cut in many ways, and what a voter would
//! find is opened and judged:
//!
//! - entries whose append returned are there, and nothing that was never appended;
//!   an append or truncation that was under way is there in part, as a prefix;
//! - the vote, the purge marker and the snapshot are those from before or from after
//!   the step that was under way, never others, so a vote never goes back;
//! - a committed index that is found was saved once, and the log reaches it;
//! - opening again changes nothing, the log takes further entries, and a second power
//!   cut during the recovery is survived as well.
//!
//! `CRASH_STATES` sets how many states are judged, `CRASH_SEED` where the random
//! choices start; both are printed.

use std::path::Path;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{
    CommittedLeaderId, Entry, EntryPayload, LogId, RaftLogReader, RaftSnapshotBuilder, Vote,
};
use reka_raft::log_store::{LogStore, WriterMode};
use reka_raft::record::{Config, RecordBatch};
use reka_raft::snapshot::SnapshotFile;
use reka_raft::state_machine::StateMachine;
use reka_raft::types::Types;
use reka_storage::fs::Disk;
use reka_storage::fs::sim::{Choice, KeepAll, LoseAll, Seeded, SimDisk};

const DIR: &str = "/raft";
/// Small, so that scripts cross segment borders.
const SEGMENT_BYTES_MAX: u64 = 3_000;

#[derive(Clone, Copy, Debug)]
enum Action {
    /// Appends entries of this many bytes, together.
    Append(&'static [usize]),
    /// Stores a vote; granted by a quorum or not.
    Vote(u64, bool),
    /// Saves that all is committed.
    Commit,
    /// Removes this many of the newest entries, and goes on in a new term.
    Truncate(u64),
    /// Purges up to this many entries before the end.
    PurgeAllBut(u64),
    /// Applies all and takes a snapshot.
    Snapshot,
    /// Installs a snapshot that is this far ahead, and purges up to it.
    InstallAhead(u64),
    /// Closes and opens.
    Reopen,
}

use Action::{Append, Commit, InstallAhead, PurgeAllBut, Reopen, Snapshot, Truncate, Vote as Cast};

const SMALL: Action = Append(&[20]);
const GROUP: Action = Append(&[30, 300, 10]);
const PAGES: Action = Append(&[5_000]);
const MANY_PAGES: Action = Append(&[2_500, 2_500, 9_000, 40]);

const SCRIPTS: &[(&str, &[Action])] = &[
    ("one entry", &[SMALL]),
    (
        "entries one by one",
        &[SMALL, SMALL, GROUP, SMALL, SMALL, GROUP],
    ),
    (
        "entries over pages and segments",
        &[PAGES, SMALL, MANY_PAGES, GROUP, PAGES],
    ),
    (
        "an election and its entries",
        &[
            Cast(1, false),
            Cast(1, true),
            SMALL,
            Commit,
            GROUP,
            Commit,
            SMALL,
        ],
    ),
    (
        "votes without entries",
        &[
            Cast(1, false),
            Cast(2, false),
            Cast(2, true),
            Cast(5, false),
            Reopen,
            Cast(6, true),
        ],
    ),
    (
        "truncate within a segment",
        &[GROUP, GROUP, Truncate(2), SMALL, GROUP, Truncate(1), GROUP],
    ),
    (
        "truncate over segments",
        &[
            PAGES,
            PAGES,
            GROUP,
            PAGES,
            Truncate(5),
            SMALL,
            PAGES,
            Truncate(2),
            GROUP,
        ],
    ),
    (
        "truncate everything",
        &[SMALL, PAGES, Truncate(2), GROUP, PAGES, Truncate(4), SMALL],
    ),
    (
        "purge within and over segments",
        &[
            GROUP,
            PurgeAllBut(1),
            PAGES,
            PAGES,
            GROUP,
            PurgeAllBut(2),
            SMALL,
            PAGES,
            PurgeAllBut(0),
            GROUP,
        ],
    ),
    (
        "snapshots and purges",
        &[
            GROUP,
            Commit,
            Snapshot,
            PurgeAllBut(1),
            PAGES,
            GROUP,
            Commit,
            Snapshot,
            PurgeAllBut(2),
            SMALL,
        ],
    ),
    (
        "a snapshot from the leader",
        &[
            Cast(1, false),
            GROUP,
            PAGES,
            InstallAhead(7),
            SMALL,
            PAGES,
            Commit,
            Snapshot,
            PurgeAllBut(1),
        ],
    ),
    (
        "a snapshot that replaces a diverged log",
        &[
            GROUP,
            PAGES,
            Truncate(3),
            InstallAhead(20),
            GROUP,
            InstallAhead(3),
            SMALL,
        ],
    ),
    (
        "restarts between steps",
        &[
            GROUP,
            Reopen,
            PAGES,
            Cast(3, true),
            Reopen,
            Truncate(1),
            Reopen,
            GROUP,
            Commit,
            Snapshot,
            Reopen,
            PurgeAllBut(1),
            Reopen,
            SMALL,
        ],
    ),
];

/// What should be on disk.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// From index 0 on; `None` where a snapshot stood in for the entry.
    log: Vec<Option<Entry<Types>>>,
    purged: Option<u64>,
    vote: Option<Vote<u64>>,
    snapshot: Option<u64>,
    /// All that were ever saved.
    committed: Vec<u64>,
    term: u64,
}

impl Model {
    fn next(&self) -> u64 {
        self.log.len() as u64
    }
}

fn log_id(term: u64, index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(term, 0), index)
}

fn entry(term: u64, index: u64, size: usize) -> Entry<Types> {
    let record = Config {
        resource_type: 4,
        resource_name: String::new(),
        key: format!("{term}-{index}"),
        value: Some("x".repeat(size)),
    };
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(RecordBatch::pack(&[record.into()]).unwrap()),
    }
}

/// A voter's files, opened.
struct Voter {
    log: LogStore,
    machine: StateMachine,
}

fn open(disk: &SimDisk) -> Voter {
    let disk = Disk::new(disk.clone());
    let dir = Path::new(DIR);
    let file = SnapshotFile::new(&disk, dir);
    Voter {
        log: LogStore::open(&disk, dir, SEGMENT_BYTES_MAX, WriterMode::Inline).unwrap(),
        machine: StateMachine::open(file, WriterMode::Inline).unwrap(),
    }
}

async fn act(voter: &mut Voter, model: &mut Model, action: Action, disk: &SimDisk) {
    match action {
        Append(sizes) => {
            let entries: Vec<_> = (model.next()..)
                .zip(sizes)
                .map(|(index, size)| entry(model.term, index, *size))
                .collect();
            voter.log.blocking_append(entries.clone()).await.unwrap();
            model.log.extend(entries.into_iter().map(Some));
        }
        Cast(term, granted) => {
            let mut vote = Vote::new(term, 1);
            vote.committed = granted;
            voter.log.save_vote(&vote).await.unwrap();
            model.vote = Some(vote);
            model.term = term;
        }
        Commit => {
            let last = model.next() - 1;
            let id = log_id(model.term, last);
            voter.log.save_committed(Some(id)).await.unwrap();
            model.committed.push(last);
        }
        Truncate(count) => {
            let since = model.next() - count;
            voter.log.truncate(log_id(model.term, since)).await.unwrap();
            model.log.truncate(since as usize);
            model.term += 1;
        }
        PurgeAllBut(count) => {
            let upto = model.next() - count - 1;
            voter.log.purge(log_id(model.term, upto)).await.unwrap();
            model.purged = Some(upto);
        }
        Snapshot => {
            let from = model.snapshot.map_or(0, |index| index + 1);
            let entries = voter.log.try_get_log_entries(from..).await.unwrap();
            voter.machine.apply(entries).await.unwrap();
            let mut builder = voter.machine.get_snapshot_builder().await;
            builder.build_snapshot().await.unwrap();
            model.snapshot = Some(model.next() - 1);
        }
        InstallAhead(count) => {
            let last = model.next() + count - 1;
            let elsewhere = SimDisk::new();
            Disk::new(elsewhere.clone())
                .create_dir(Path::new(DIR))
                .unwrap();
            let mut leader = open(&elsewhere);
            leader
                .machine
                .apply([entry(model.term, last, 100)])
                .await
                .unwrap();
            let mut builder = leader.machine.get_snapshot_builder().await;
            let snapshot = builder.build_snapshot().await.unwrap();
            let upto = snapshot.meta.last_log_id.unwrap();
            voter
                .machine
                .install_snapshot(&snapshot.meta, snapshot.snapshot)
                .await
                .unwrap();
            model.snapshot = Some(last);
            voter.log.purge(upto).await.unwrap();
            model.purged = Some(last);
            model.log.resize(last as usize + 1, None);
        }
        Reopen => *voter = open(disk),
    }
}

/// Opens a disk after a power cut and holds it to what was `done` before the step
/// under way, and what `meant` would be after it.
async fn judge(disk: &SimDisk, done: &Model, meant: &Model) -> Result<Model, String> {
    let mut voter = open(disk);
    let mut found = Model {
        vote: voter.log.read_vote().await.unwrap(),
        snapshot: voter.machine.snapshot_index(),
        term: meant.term,
        committed: meant.committed.clone(),
        ..Model::default()
    };
    let check = |fine: bool, what: String| if fine { Ok(()) } else { Err(what) };
    check(
        found.vote == done.vote || found.vote == meant.vote,
        format!("vote {:?}", found.vote),
    )?;
    check(
        found.snapshot == done.snapshot || found.snapshot == meant.snapshot,
        format!("snapshot {:?}", found.snapshot),
    )?;
    let state = voter.log.get_log_state().await.unwrap();
    found.purged = state.last_purged_log_id.map(|id| id.index);
    check(
        found.purged == done.purged || found.purged == meant.purged,
        format!("purged {:?}", found.purged),
    )?;
    let next = state.last_log_id.map_or(0, |id| id.index + 1);
    let low = done.next().min(meant.next());
    let high = done.next().max(meant.next());
    check(
        (low..=high).contains(&next),
        format!("next index {next}, expected {low} to {high}"),
    )?;
    let longer = if done.next() > meant.next() {
        done
    } else {
        meant
    };
    let first = found.purged.map_or(0, |index| index + 1);
    let entries = voter.log.try_get_log_entries(..).await.unwrap();
    check(
        entries.len() as u64 == next.saturating_sub(first),
        format!("{} entries from {first} to {next}", entries.len()),
    )?;
    found.log = longer.log[..(first.min(next)) as usize].to_vec();
    for (index, entry) in (first..next).zip(entries) {
        let expected = longer.log[index as usize].as_ref();
        let same = expected.is_some_and(|expected| {
            expected.log_id == entry.log_id && expected.payload == entry.payload
        });
        check(
            same,
            format!("entry {index} is {entry:?}, not {expected:?}"),
        )?;
        found.log.push(Some(entry));
    }
    if let Some(committed) = voter.log.read_committed().await.unwrap() {
        check(
            meant.committed.contains(&committed.index) && committed.index < next,
            format!("committed {}", committed.index),
        )?;
    }
    Ok(found)
}

/// Opens once more: nothing has changed, and the log goes on.
async fn judge_again(disk: &SimDisk, found: &Model) -> Result<(), String> {
    judge(disk, found, found).await?;
    let mut voter = open(disk);
    // A snapshot ahead of the log: openraft purges up to it before anything else.
    let mut goes_on = found.clone();
    if let Some(snapshot) = found.snapshot
        && snapshot >= found.next()
    {
        voter.log.purge(log_id(found.term, snapshot)).await.unwrap();
        goes_on.purged = Some(snapshot);
        goes_on.log.resize(snapshot as usize + 1, None);
    }
    goes_on.term = found.term + 1;
    act(&mut voter, &mut goes_on, GROUP, disk).await;
    judge(disk, &goes_on, &goes_on).await.map(drop)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// A script's copies of the disk, each with the models before and after the step that
/// made it.
async fn run(actions: &[Action]) -> Vec<(SimDisk, Model, Model)> {
    let disk = SimDisk::new();
    let files = Disk::new(disk.clone());
    files.create_dir(Path::new(DIR)).unwrap();
    files.sync_dir(Path::new("/")).unwrap();
    let mut voter = open(&disk);
    disk.record();
    let start = disk.operations();
    let mut model = Model::default();
    let mut steps = vec![(0, model.clone(), model.clone())];
    for action in actions {
        let before = model.clone();
        act(&mut voter, &mut model, *action, &disk).await;
        steps.push((disk.operations() - start, before, model.clone()));
    }
    let mut states = Vec::new();
    for (number, copy) in disk.recorded().into_iter().enumerate() {
        let number = number as u64;
        let under_way = steps.iter().find(|(end, _, _)| number <= *end).unwrap();
        let (end, before, after) = under_way;
        // At the last operation of a step, the step has returned.
        let done = if number == *end { after } else { before };
        states.push((copy, done.clone(), after.clone()));
    }
    states
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_acknowledged() {
    let total = setting("CRASH_STATES", 30_000);
    let seed = setting("CRASH_SEED", 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let scripts: Vec<_> = SCRIPTS
        .iter()
        .map(|(name, actions)| (*name, runtime.block_on(run(actions))))
        .collect();
    let copies: usize = scripts.iter().map(|(_, states)| states.len()).sum();
    let cuts = (total / copies as u64).max(3);
    let mut judged = 0_u64;
    let mut recoveries_cut = 0_u64;
    for (script, states) in &scripts {
        for (number, (disk, done, meant)) in states.iter().enumerate() {
            for cut in 0..cuts {
                let seed = seed + cut;
                let mut choice: Box<dyn Choice> = match cut {
                    0 => Box::new(LoseAll),
                    1 => Box::new(KeepAll),
                    _ => Box::new(Seeded(seed.wrapping_mul(0x1_0001) + number as u64)),
                };
                let crashed = disk.crash(&mut *choice);
                let fail = |error: String| -> ! {
                    panic!("script {script:?}, operation {number}, seed {seed}: {error}")
                };
                let untouched = crashed.snapshot();
                let found = runtime
                    .block_on(judge(&crashed, done, meant))
                    .unwrap_or_else(|error| fail(error));
                judged += 1;
                if let Err(error) = runtime.block_on(judge_again(&crashed, &found)) {
                    fail(format!("second opening: {error}"));
                }
                // Only some: most recoveries change nothing.
                let before = untouched.operations();
                untouched.record();
                drop(open(&untouched));
                if untouched.operations() == before {
                    continue;
                }
                for copy in untouched.recorded() {
                    let again = copy.crash(&mut Seeded(seed));
                    if let Err(error) = runtime.block_on(judge(&again, done, meant)) {
                        fail(format!("cut during recovery: {error}"));
                    }
                    judged += 1;
                    recoveries_cut += 1;
                }
            }
        }
    }
    println!(
        "{judged} states judged, {recoveries_cut} of them cut during recovery, \
         {copies} copies of {} scripts, seed {seed}",
        scripts.len()
    );
    assert!(recoveries_cut > 0, "no recovery had anything to do");
}

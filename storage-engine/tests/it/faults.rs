//! Every call to the disk fails once.
//!
//! Scripts run on `FaultDisk`. For each of their calls the
//! script is run anew and that call fails with `EIO`, then with `ENOSPC`, then with `EINTR`, and then
//! moves one byte only. Judged is:
//!
//! - nothing panics; what fails returns an error, and an append that failed is not seen
//!   by a reader of the same process;
//! - interruptions and short reads and writes change nothing at all, and no caller hears of them;
//! - an append that meets a full disk leaves the directory online, and the next one is taken; so does
//!   every other step, but where `may_be_final` says why not;
//! - after a failed sync the directory is offline, for good, also on a healed disk;
//! - what a flush had promised is there after a restart, with and without a power cut,
//!   and nothing is there that was not appended or was truncated away.
//!
//! Each policy of `cleanup.policy` has its turn. Call sites are counted by source line and by what is
//! called there: every line that calls the disk was seen, and every one that was seen was struck by
//! each kind of fault there is for its call. `OUT_OF_REACH` names those that are not, with the reason.

mod scripts;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use reka_records::Compression;
use reka_storage::fs::fault::{Fault, Site, When};
use reka_storage::fs::sim::{KeepAll, LoseAll, Seeded, SimDisk};
use reka_storage::fs::{Backend as _, Disk, Op};
use reka_storage::{CheckedBatches, partition_metadata};

use self::scripts::{
    LARGE, SCRIPTS, SMALL, Script,
    Step::{self, *},
    files,
};
use self::world::{Failure, World, open_dir, read_all};
use crate::support::{Policy, ROOT, batch, partition};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Default)]
struct Tally {
    runs: u64,
    /// Faults that an append met, and how many of them made it say that the disk is full.
    appends_met_a_full_disk: u64,
    appends_refused_as_full: u64,
    seen: BTreeSet<Site>,
    hit: BTreeSet<(Site, Fault)>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.runs += other.runs;
        self.appends_met_a_full_disk += other.appends_met_a_full_disk;
        self.appends_refused_as_full += other.appends_refused_as_full;
        self.seen.extend(other.seen);
        self.hit.extend(other.hit);
    }
}

const fn is_sync(op: Op) -> bool {
    matches!(op, Op::Sync | Op::SyncDir | Op::SyncFileSystem)
}

/// Whether a full disk at a call may take the directory offline: where what has begun has no way
/// back, and where no file system asks for room.
fn may_be_final(step: Step, (_, _, op): Site) -> bool {
    match op {
        // What is there is opened, looked at or cut, except where a segment begins.
        Op::ReadDir | Op::Map | Op::SetLen => true,
        Op::Open => matches!(step, Flush | Compact | CompactInVain(_) | Truncate(_)),
        // A swap that was announced.
        Op::Rename => matches!(step, Compact),
        // The same; and of a log that ends earlier or begins anew the old end is gone by then.
        Op::RemoveFile => matches!(
            step,
            Compact | CompactInVain(_) | Truncate(_) | StartAnew(_)
        ),
        // Indexes that an unclean start made anew.
        Op::Write => step == Flush,
        // As with removals, and where a write failed and what it left may not stay.
        Op::Zero => step.appends() || matches!(step, CompactInVain(_) | Truncate(_)),
        _ => false,
    }
}

/// Runs a script with one call struck; the number of calls it makes.
fn strike(run: &Run, call: u64, tally: &mut Tally) -> u64 {
    let Run {
        script,
        policy,
        fault,
    } = *run;
    let mut world = World::after(script, policy);
    world.fault.plan(When::Nth(call), fault);
    let invisible = matches!(fault, Fault::Interrupted | Fault::Short);
    let mut struck = false;
    for step in script.steps {
        let was_open = world.log.is_some();
        let outcome = world.run(*step);
        let hit = world.fault.hit();
        let now_struck = !hit.is_empty();
        let is_full = matches!(outcome, Err(Failure::Full));
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
            let synced = hit.iter().any(|((_, _, op), _)| is_sync(*op));
            if synced && !invisible {
                world.check_offline();
                break;
            }
            if fault == Fault::Errno(ENOSPC) && world.dir.is_some() {
                let stays = !hit.iter().any(|(site, _)| may_be_final(*step, *site));
                assert!(
                    world.is_online() || !stays,
                    "offline after {step:?}: {hit:?}"
                );
            }
            // A disk that is full to an append says so, and the log goes on by itself. Not where it is
            // full already, and what strikes is the way back.
            let met_a_full_disk = fault == Fault::Errno(ENOSPC) && was_open && step.appends();
            if met_a_full_disk && !world.short_of_space {
                tally.appends_met_a_full_disk += 1;
                tally.appends_refused_as_full += u64::from(is_full);
                assert!(world.is_online(), "offline after {step:?} on a full disk");
                world.check_resuming();
            }
        }
    }
    let calls = world.fault.calls();
    tally.runs += 1;
    tally.seen.extend(world.fault.seen());
    tally.hit.extend(world.fault.hit());
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

/// What a run is about; which call is struck varies.
struct Run {
    script: &'static Script,
    policy: Policy,
    fault: Fault,
}

impl Run {
    fn all() -> Vec<Run> {
        let runs = SCRIPTS.iter().flat_map(|script| {
            let of_policy = |policy| {
                FAULTS.map(|fault| Run {
                    script,
                    policy,
                    fault,
                })
            };
            Policy::ALL.into_iter().flat_map(of_policy)
        });
        runs.collect()
    }

    /// Which calls are struck, from one to the next: all of them under the policy that does
    /// everything, and of the others, which call the disk from the same lines, some.
    fn stride(&self) -> usize {
        match self.policy {
            Policy::CompactDelete => 1,
            Policy::Delete | Policy::Compact => 5,
        }
    }
}

fn strike_every_call() -> Tally {
    let work = Run::all();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let shares: Vec<Tally> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let share = work.iter().skip(worker).step_by(threads);
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for run in share {
                        // Without a fault it says how many calls there are.
                        let mut calls = strike(run, u64::MAX, &mut tally);
                        let mut call = 0;
                        while call <= calls {
                            let Run {
                                script,
                                policy,
                                fault,
                            } = run;
                            let name = script.name;
                            let what = format!("{name:?}, {policy:?}, call {call}, {fault:?}");
                            let context = Context(what);
                            // A failure may shorten the script or lead it elsewhere.
                            calls = calls.max(strike(run, call, &mut tally));
                            drop(context);
                            call += run.stride() as u64;
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
        total.add(share);
    }
    total
}

/// What can go wrong at a call.
const fn kinds_of(op: Op) -> &'static [Fault] {
    const WITH_SHORT: &[Fault] = &FAULTS;
    const WITHOUT: &[Fault] = WITH_SHORT.split_at(3).0;
    match op {
        Op::Read | Op::Write => WITH_SHORT,
        // They move no bytes, of which one could be left to do.
        Op::Open
        | Op::CreateDir
        | Op::ReadDir
        | Op::Rename
        | Op::RemoveFile
        | Op::RemoveDir
        | Op::SyncDir
        | Op::OpenDir
        | Op::SyncFileSystem
        | Op::Lock
        | Op::BytesFree
        | Op::Reserve
        | Op::Zero
        | Op::SetLen
        | Op::Len
        | Op::Modified
        | Op::Sync
        | Op::FileSystem
        | Op::Map => WITHOUT,
    }
}

/// How many call sites were struck by each kind, of how many.
fn counts(tally: &Tally) -> String {
    let named = [
        ("EIO", FAULTS[0], None),
        ("ENOSPC", FAULTS[1], None),
        ("EINTR", FAULTS[2], None),
        ("short reads", FAULTS[3], Some(Op::Read)),
        ("short writes", FAULTS[3], Some(Op::Write)),
    ];
    let count = |(name, fault, only): (&str, Fault, Option<Op>)| {
        let is_of = |op: Op| only.is_none_or(|only| only == op) && kinds_of(op).contains(&fault);
        let all = tally.seen.iter().filter(|(_, _, op)| is_of(*op)).count();
        let struck = |((_, _, op), by): &&(Site, Fault)| is_of(*op) && *by == fault;
        let hit = tally.hit.iter().filter(struck).count();
        format!("{name} {hit} of {all}")
    };
    named.map(count).join(", ")
}

/// Calls that no script can reach, by a part of their line, with the reason.
const OUT_OF_REACH: &[(&str, &str, &str)] = &[
    (
        "recovery.rs",
        "file.read_exact_at(&mut self.buffer[..want as usize], position)?;",
        "the file became shorter between two reads",
    ),
    (
        "txn_index.rs",
        "self.file()?.set_len(end)?;",
        "a start drops what lies behind the entries, unless it has no snapshot to compare them from",
    ),
    (
        "compaction/cleaned.rs",
        "self.log.write_all_at(bytes, self.written)?;",
        "a batch of more than 1 MiB; it fails as the buffered write does",
    ),
    (
        "log_dir.rs",
        "disk.replace_small(&path, &with_directory_id(&content, &id))?;",
        "a directory without an id; `several_dirs` has it",
    ),
    (
        "log_dirs.rs",
        "disk.read_dir(&place)",
        "a partition in two places is refused; of a place that cannot be looked at less is told",
    ),
    (
        "log_dirs.rs",
        "disk.open(&name.in_dir(&place), OpenMode::Existing).ok()?;",
        "the same",
    ),
    ("log_dirs.rs", "file.modified_ms().ok()?", "the same"),
    (
        "log_dir.rs",
        "let names = self.env.disk.read_dir(dir)?;",
        "no room for a name; `exhausted` has it",
    ),
    (
        "log_dir.rs",
        "self.env.disk.remove_file(&dir.join(&entry.name))?;",
        "the same",
    ),
    ("log_dir.rs", "self.env.disk.sync_dir(dir)?;", "the same"),
    (
        "log_dir.rs",
        "self.env.disk.remove_file(&dir.join(PARTITION_METADATA))?;",
        "the same",
    ),
    ("log_dir.rs", "self.env.disk.remove_dir(dir)", "the same"),
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
        "faults: {} runs of {} scripts; {} calls in the sources, {} seen; call sites struck: {}; \
         {} appends met a full disk, {} said so and all went on",
        tally.runs,
        SCRIPTS.len(),
        in_sources.len(),
        lines(&tally.seen).len(),
        counts(&tally),
        tally.appends_met_a_full_disk,
        tally.appends_refused_as_full,
    );
    assert!(tally.appends_refused_as_full > 0);
    let excused = |text: &str, file: &str| {
        OUT_OF_REACH
            .iter()
            .any(|(in_file, part, _)| file.ends_with(in_file) && text.contains(part))
    };
    let seen = lines(&tally.seen);
    // What only another failure leads to is not struck by the one of a run.
    let is_excused = |site: &Site| {
        let of_line = |line: &Line| in_sources.get(line).map(|text| excused(text, &line.0));
        let found = lines(&BTreeSet::from([*site]));
        found.iter().any(|line| of_line(line).unwrap_or(false))
    };
    let wanted = tally.seen.iter().flat_map(|site| {
        let (_, _, op) = *site;
        kinds_of(op).iter().map(move |kind| (*site, *kind))
    });
    let spared: Vec<_> = wanted
        .filter(|struck| !tally.hit.contains(struck) && !is_excused(&struck.0))
        .collect();
    assert!(spared.is_empty(), "never struck by this: {spared:#?}");
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
    let mut world = World::new(Policy::CompactDelete);
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
const CALLS: [&str; 23] = [
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
    "file_system",
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
        let mut world = World::new(Policy::CompactDelete);
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
            let (mut log, _) = dir
                .open_log(partition(), world.config.clone(), 0)
                .expect("a log");
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
        let mut world = World::new(Policy::CompactDelete);
        for step in past {
            world.run(*step).expect("a sound disk");
        }
        let expected = read_all(&world.log().reader()).expect("a log that reads");
        let start = world.log().log_start();
        assert!(!expected.is_empty());
        let sim = world.sim.crash(&mut LoseAll);
        let dir = open_dir(Disk::new(sim)).expect("a directory");
        let (log, report) = dir
            .open_log(partition(), world.config.clone(), 0)
            .expect("a log");
        assert_eq!((report.cut, report.damage), (None, None), "{past:?}");
        assert_eq!(log.log_start(), start, "{past:?}");
        let found = read_all(&log.reader()).expect("a log that reads");
        assert_eq!(found, expected, "{past:?}");
    }
}

/// Records that survive are still those of their topic: another one of its name must not get them.
#[test]
fn the_first_flush_carries_the_id_of_the_topic() {
    let mut world = World::new(Policy::Delete);
    world.run(SMALL).expect("a sound disk");
    let topic_id = |sim: &SimDisk| {
        let disk = Disk::new(sim.crash(&mut LoseAll));
        partition_metadata::read(&disk, &Path::new(ROOT).join("t-0")).ok()
    };
    assert_eq!(topic_id(&world.sim).flatten(), None);
    world.run(Flush).expect("a sound disk");
    assert_eq!(topic_id(&world.sim), Some(Some(uuid::Uuid::from_u128(7))));
}

/// The kernel tells one of two that a page was lost. Whoever runs second must not take the
/// silence for success, so with the first sync failing both fail, whichever comes first.
#[test]
fn of_two_flushes_at_once_neither_succeeds_beside_a_failed_sync() {
    for _ in 0..100 {
        let mut world = World::new(Policy::CompactDelete);
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

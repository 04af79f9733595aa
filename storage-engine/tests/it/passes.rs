//! Compaction passes beside each other, beside deletions, and over what earlier
//! operations left in the directory.

use std::path::Path;

use reka_records::BatchBuilder;
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::Disk;
use reka_storage::fs::sim::{KeepAll, SimDisk};
use reka_storage::{Log, LogConfig, LogDir, LogError};

use crate::support::{self, ROOT, append, fresh_disk, open_dir_on, partition, read_all};

pub(crate) fn config() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        compact: true,
        delete: false,
        delete_retention_ms: 0,
        segment_bytes: 1 << 20,
        file_delete_delay_ms: 60_000,
        ..support::small_config()
    }
}

pub(crate) fn open(dir: &LogDir, config: &LogConfig) -> Log {
    let opened = dir.open_log(partition(), config.clone(), 0);
    opened.expect("a log that opens").0
}

pub(crate) fn keyed(rows: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    for (delta, (key, value)) in rows.iter().enumerate() {
        let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        builder
            .append(delta as i64, 100, key, value, headers)
            .expect("a record that fits");
    }
    builder.finish()
}

/// Appends records of seven keys, one batch each.
pub(crate) fn fill(log: &mut Log, count: usize, what: &str) {
    for index in 0..count {
        let (key, value) = (format!("k{}", index % 7), format!("{what}{index:04}"));
        append(log, keyed(&[(&key, &value)]));
    }
}

/// Everything so far may be cleaned.
pub(crate) fn make_ready(log: &mut Log) {
    log.roll(0).expect("a roll");
    log.flush().expect("a flush");
    log.settle_below(log.log_end());
}

/// Offsets and values.
pub(crate) fn values(log: &Log) -> Vec<(i64, String)> {
    read_all(&log.reader())
        .expect("a log that reads")
        .into_iter()
        .map(|seen| {
            let value = String::from_utf8(seen.value.unwrap_or_default());
            (seen.offset, value.expect("text"))
        })
        .collect()
}

/// Names in the partition's directory that end so.
pub(crate) fn names_with(sim: &SimDisk, suffix: &str) -> Vec<String> {
    let names = sim.contents(&Path::new(ROOT).join("t-0")).into_keys();
    names.filter(|name| name.ends_with(suffix)).collect()
}

fn pass(log: &mut Log, limits: &CompactionLimits) {
    let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
    let compacted = plan.expect("something dirty").run(limits, 0);
    let compacted = compacted.expect("a pass");
    log.finish_compaction(compacted, 0).expect("a swap");
}

/// Kills the process at every step of the swap; each restart finds `before`, `after`, or,
/// where a pass swaps several segments in, something between the two.
fn kill_in_the_swap(sim: &SimDisk, log: &mut Log, config: &LogConfig) {
    let before = values(log);
    let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
    let plan = plan.expect("something dirty");
    let compacted = plan.run(&CompactionLimits::default(), 0).expect("a pass");
    sim.record();
    log.finish_compaction(compacted, 0).expect("a swap");
    let after = values(log);
    assert_ne!(before, after);
    let steps = sim.recorded();
    assert!(steps.len() > 10);
    let mut seen_both = [false; 2];
    for (step, state) in steps.into_iter().enumerate() {
        let dir = open_dir_on(Disk::new(state.crash(&mut KeepAll)));
        let opened = dir.open_log(partition(), config.clone(), 0);
        let (log, report) = opened.unwrap_or_else(|error| panic!("killed at {step}: {error}"));
        assert_eq!(report.damage, None, "killed at {step}");
        let found = values(&log);
        seen_both[usize::from(found == after)] = true;
        assert!(
            found == before || found == after,
            "killed at {step}: {found:?}"
        );
    }
    assert_eq!(seen_both, [true; 2]);
}

/// The truncated segment `3` waits to be unlinked while a pass replaces `0`, which reaches
/// over the same offsets by now.
#[test]
fn a_process_killed_in_a_swap_behind_a_truncation_finds_the_old_segments_or_the_new() {
    let (sim, config) = (fresh_disk(), config());
    let dir = open_dir_on(Disk::new(sim.clone()));
    let mut log = open(&dir, &config);
    fill(&mut log, 3, "a");
    log.roll(0).expect("a roll");
    fill(&mut log, 3, "b");
    log.flush().expect("a flush");
    log.truncate_to(2, 0).expect("a truncation");
    fill(&mut log, 4, "c");
    make_ready(&mut log);
    assert!(!names_with(&sim, "3.log.deleted").is_empty());
    kill_in_the_swap(&sim, &mut log, &config);
}

/// What a pass replaced waits to be unlinked while the next one replaces the outcome.
#[test]
fn a_process_killed_in_the_second_of_two_swaps_finds_the_old_segments_or_the_new() {
    let (sim, config) = (fresh_disk(), config());
    let dir = open_dir_on(Disk::new(sim.clone()));
    let mut log = open(&dir, &config);
    for what in ["a", "b", "c"] {
        fill(&mut log, 5, what);
        log.roll(0).expect("a roll");
    }
    make_ready(&mut log);
    pass(&mut log, &CompactionLimits::default());
    fill(&mut log, 3, "d");
    make_ready(&mut log);
    assert!(!names_with(&sim, "5.log.deleted").is_empty());
    kill_in_the_swap(&sim, &mut log, &config);
}

/// The unlinking that a truncation had put off must not take what a later swap put off.
#[test]
fn what_a_swap_replaced_is_kept_for_its_own_delay() {
    let (sim, config) = (fresh_disk(), config());
    let dir = open_dir_on(Disk::new(sim.clone()));
    let mut log = open(&dir, &config);
    fill(&mut log, 10, "a");
    make_ready(&mut log);
    pass(&mut log, &CompactionLimits::default());
    fill(&mut log, 10, "b");
    make_ready(&mut log);
    let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
    let compacted = plan
        .expect("something dirty")
        .run(&CompactionLimits::default(), 0)
        .expect("a pass");
    log.finish_compaction(compacted, 30_000).expect("a swap");
    let waiting = names_with(&sim, ".deleted");
    assert!(!waiting.is_empty());
    let next = log.unlink_deleted(70_000).expect("unlinked");
    assert_eq!(names_with(&sim, ".deleted"), waiting);
    assert_eq!(next, Some(90_000));
    assert_eq!(log.unlink_deleted(90_000).expect("unlinked"), None);
    assert_eq!(names_with(&sim, ".deleted"), Vec::<String>::new());
}

/// The directory of the name is another partition's by the time the old pass writes.
#[test]
fn a_pass_of_a_deleted_partition_touches_nothing_of_the_next_of_its_name() {
    let (sim, config) = (fresh_disk(), config());
    let dir = open_dir_on(Disk::new(sim.clone()));
    let mut old = open(&dir, &config);
    fill(&mut old, 40, "old");
    make_ready(&mut old);
    let old_plan = old.plan_compaction(old.log_end(), 0).expect("a plan");
    dir.delete(&old).expect("a deletion");
    let mut new = open(&dir, &config);
    fill(&mut new, 40, "new");
    make_ready(&mut new);
    let new_plan = new.plan_compaction(new.log_end(), 0).expect("a plan");
    let limits = CompactionLimits::default();
    let compacted = new_plan.expect("something dirty").run(&limits, 0);
    let waiting = sim.contents(&Path::new(ROOT).join("t-0"));
    let refused = old_plan.expect("something dirty").run(&limits, 0);
    assert!(matches!(refused, Err(LogError::Deleted(_))), "{refused:?}");
    assert!(waiting == sim.contents(&Path::new(ROOT).join("t-0")));
    new.finish_compaction(compacted.expect("a pass"), 0)
        .expect("a swap");
    let served = values(&new);
    assert_eq!(served.len(), 7);
    assert!(served.iter().all(|(_, value)| value.starts_with("new")));
    dir.env().health.check().expect("a directory in use");
}

/// A pass that was done when its partition was deleted leaves the next one's alone too.
#[test]
fn a_swap_of_a_deleted_partition_touches_nothing_of_the_next_of_its_name() {
    let (sim, config) = (fresh_disk(), config());
    let dir = open_dir_on(Disk::new(sim.clone()));
    let mut old = open(&dir, &config);
    fill(&mut old, 40, "old");
    make_ready(&mut old);
    let limits = CompactionLimits::default();
    let old_plan = old.plan_compaction(old.log_end(), 0).expect("a plan");
    let old_done = old_plan.expect("something dirty").run(&limits, 0);
    dir.delete(&old).expect("a deletion");
    let mut new = open(&dir, &config);
    fill(&mut new, 40, "new");
    make_ready(&mut new);
    let new_plan = new.plan_compaction(new.log_end(), 0).expect("a plan");
    let new_done = new_plan.expect("something dirty").run(&limits, 0);
    // Given to the log that has the name now, by mistake.
    new.finish_compaction(old_done.expect("a pass"), 0)
        .expect("nothing to do");
    new.finish_compaction(new_done.expect("a pass"), 0)
        .expect("a swap");
    let served = values(&new);
    assert_eq!(served.len(), 7);
    assert!(served.iter().all(|(_, value)| value.starts_with("new")));
    assert_eq!(names_with(&sim, ".cleaned"), Vec::<String>::new());
}

/// The old pass would write over what the new one is about to swap in.
#[test]
fn a_pass_of_a_log_that_was_closed_touches_nothing_of_the_log_opened_since() {
    let (sim, config) = (fresh_disk(), config());
    let dir = open_dir_on(Disk::new(sim.clone()));
    let mut old = open(&dir, &config);
    fill(&mut old, 40, "old");
    make_ready(&mut old);
    let old_plan = old.plan_compaction(old.log_end(), 0).expect("a plan");
    drop(old);
    let mut new = open(&dir, &config);
    fill(&mut new, 40, "new");
    make_ready(&mut new);
    let limits = CompactionLimits::default();
    let new_plan = new.plan_compaction(new.log_end(), 0).expect("a plan");
    let compacted = new_plan.expect("something dirty").run(&limits, 0);
    let waiting = sim.contents(Path::new(ROOT));
    let refused = old_plan.expect("something dirty").run(&limits, 0);
    assert!(matches!(refused, Err(LogError::GivenUp)), "not given up");
    assert!(waiting == sim.contents(Path::new(ROOT)));
    new.finish_compaction(compacted.expect("a pass"), 0)
        .expect("a swap");
    let served = values(&new);
    assert_eq!(served.len(), 7);
    assert!(served.iter().all(|(_, value)| value.starts_with("new")));
    dir.env().health.check().expect("a directory in use");
}

/// The pass is at work while its log is closed and opened again: wherever that happens, it
/// ends and leaves the other's files alone.
#[test]
fn a_log_closed_and_opened_again_under_a_pass_keeps_its_files() {
    let config = config();
    for closed_at in 0..4 {
        let sim = fresh_disk();
        let dir = open_dir_on(Disk::new(sim.clone()));
        let mut log = open(&dir, &config);
        for round in ["a", "b", "c"] {
            fill(&mut log, 20, round);
            make_ready(&mut log);
        }
        let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
        let (log, asked) = (std::cell::RefCell::new(Some(log)), std::cell::Cell::new(0));
        let limits = CompactionLimits::default();
        let made = std::cell::RefCell::new(None);
        let pace = |_: u64| {
            if asked.replace(asked.get() + 1) == closed_at {
                drop(log.borrow_mut().take());
                let mut again = open(&dir, &config);
                make_ready(&mut again);
                let plan = again.plan_compaction(again.log_end(), 0).expect("a plan");
                let compacted = plan.expect("something dirty").run(&limits, 0);
                let compacted = compacted.expect("a pass");
                made.replace(Some((compacted, sim.contents(Path::new(ROOT)))));
                log.replace(Some(again));
            }
            Ok(())
        };
        let result = plan.expect("something dirty").run_at(&limits, 0, &pace);
        let (compacted, contents) = made.take().expect("asked so often");
        assert!(contents == sim.contents(Path::new(ROOT)), "at {closed_at}");
        assert!(matches!(result, Err(LogError::GivenUp)), "at {closed_at}");
        let mut log = log.take().expect("a log");
        log.finish_compaction(compacted, 0).expect("a swap");
        let served = values(&log);
        assert_eq!(served.len(), 7, "at {closed_at}");
        assert!(served.iter().all(|(_, value)| value.starts_with('c')));
    }
}

/// Two passes would write files of one name.
#[test]
fn a_log_has_one_pass_at_a_time() {
    let config = config();
    let dir = open_dir_on(Disk::new(fresh_disk()));
    let mut log = open(&dir, &config);
    fill(&mut log, 40, "v");
    make_ready(&mut log);
    let limits = CompactionLimits::default();
    let first = log.plan_compaction(log.log_end(), 0).expect("a plan");
    let second = |log: &Log| log.plan_compaction(log.log_end(), 0).expect("a plan");
    assert!(second(&log).is_none(), "one is planned");
    let done = first.expect("something dirty").run(&limits, 0);
    fill(&mut log, 40, "w");
    make_ready(&mut log);
    assert!(second(&log).is_none(), "one waits to be swapped in");
    log.finish_compaction(done.expect("a pass"), 0)
        .expect("a swap");
    assert_eq!(values(&log).len(), 47);
    // A plan that is dropped makes way as one that was carried out does.
    drop(second(&log).expect("something dirty"));
    pass(&mut log, &limits);
    let served = values(&log);
    assert_eq!(served.len(), 7);
    assert!(served.iter().all(|(_, value)| value.starts_with('w')));
}

/// Sixteen slots take twelve keys; each batch has forty.
#[test]
fn a_pass_with_a_full_map_ends_inside_a_batch_and_the_next_goes_on_there() {
    let config = config();
    let dir = open_dir_on(Disk::new(fresh_disk()));
    let mut log = open(&dir, &config);
    let batch = |what: &str| {
        let rows: Vec<_> = (0..40)
            .map(|key| (format!("k{key:02}"), format!("{what}{key}")))
            .collect();
        let rows: Vec<_> = rows.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        keyed(&rows)
    };
    append(&mut log, batch("a"));
    append(&mut log, batch("b"));
    make_ready(&mut log);
    let before = values(&log);
    let newest = before[40..].to_vec();
    let limits = CompactionLimits {
        map_bytes: 1,
        ..CompactionLimits::default()
    };
    let mut ends = Vec::new();
    while let Some(plan) = log.plan_compaction(log.log_end(), 0).expect("a plan") {
        let compacted = plan.run(&limits, 0).expect("a pass");
        log.finish_compaction(compacted, 0).expect("a swap");
        let cleaned_to = dir.env().cleaner_points.get(&partition());
        let cleaned_to = cleaned_to.expect("a clean point");
        assert!(ends.last() < Some(&cleaned_to), "a pass that got nowhere");
        ends.push(cleaned_to);
        // Only what a newer record was seen to replace is gone.
        let replaced = (cleaned_to - 40).max(0);
        let left: Vec<_> = before
            .iter()
            .filter(|(offset, _)| *offset >= replaced)
            .cloned()
            .collect();
        assert_eq!(values(&log), left, "after a pass up to {cleaned_to}");
    }
    assert_eq!(ends, [12, 24, 36, 48, 60, 72, 80]);
    assert_eq!(values(&log), newest);
}

#[test]
fn a_pass_that_is_never_finished_leaves_nothing() {
    let sim = fresh_disk();
    let dir = open_dir_on(Disk::new(sim.clone()));
    let mut log = open(&dir, &config());
    fill(&mut log, 40, "v");
    make_ready(&mut log);
    let make = |log: &Log| {
        let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
        let plan = plan.expect("something dirty");
        plan.run(&CompactionLimits::default(), 0).expect("a pass")
    };
    let compacted = make(&log);
    assert!(!names_with(&sim, ".cleaned").is_empty());
    drop(compacted);
    assert_eq!(names_with(&sim, ".cleaned"), Vec::<String>::new());

    // Not even when its log was closed: then the names are the next one's.
    let abandoned = make(&log);
    drop(log);
    let mut log = open(&dir, &config());
    make_ready(&mut log);
    let compacted = make(&log);
    let made = names_with(&sim, ".cleaned");
    drop(abandoned);
    assert_eq!(names_with(&sim, ".cleaned"), made);
    log.finish_compaction(compacted, 0).expect("a swap");
    assert_eq!(names_with(&sim, ".cleaned"), Vec::<String>::new());
    assert_eq!(values(&log).len(), 7);
}

/// Wherever it is given up, what it wrote is gone and the next pass does all of it.
#[test]
fn a_pass_that_is_given_up_leaves_nothing_behind() {
    let limits = CompactionLimits::default();
    let mut asked_in_all = 0;
    for given_up_at in 0.. {
        let sim = fresh_disk();
        let dir = open_dir_on(Disk::new(sim.clone()));
        let mut log = open(&dir, &config());
        for round in ["a", "b", "c"] {
            fill(&mut log, 20, round);
            make_ready(&mut log);
        }
        let (seen, files) = (values(&log), sim.contents(Path::new(ROOT)));
        let asked = std::cell::Cell::new(0);
        let pace = |bytes: u64| {
            assert!(bytes > 0 || asked.get() > 0);
            asked.set(asked.get() + 1);
            match asked.get() > given_up_at {
                true => Err(LogError::GivenUp),
                false => Ok(()),
            }
        };
        let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
        let plan = plan.expect("something dirty");
        match plan.run_at(&limits, 0, &pace) {
            Err(LogError::GivenUp) => {
                assert_eq!(values(&log), seen);
                assert_eq!(sim.contents(Path::new(ROOT)), files);
            }
            done => {
                log.finish_compaction(done.expect("a pass"), 0)
                    .expect("a swap");
                asked_in_all = asked.get();
            }
        }
        if asked_in_all > 0 {
            break;
        }
        let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
        let done = plan.expect("still dirty").run(&limits, 0).expect("a pass");
        log.finish_compaction(done, 0).expect("a swap");
        assert_eq!(dir.env().cleaner_points.get(&partition()), Some(60));
    }
    // Each segment is read twice and written.
    assert!(asked_in_all >= 7, "{asked_in_all}");
}

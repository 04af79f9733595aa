//! Making appends durable.
//!
//! Apache Kafka's answer is replication, and so is ours by default; `flush.messages`
//! and `flush.ms` ask for more, and a single node syncs in groups. Whoever decides,
//! the steps are the same: [`crate::Log::begin_flush`] under the log's lock says what must be
//! synced, [`Flush::run`] does it while appends go on, and
//! [`crate::Log::finish_flush`] raises the recovery point.
//!
//! Flushes of one log may overlap: each carries all that is not known to be durable when
//! it begins, so they may finish in any order; one run waits for the other, because a
//! file that is synced twice at once tells only one of the two that it failed. What was
//! begun before a truncation counts for nothing after it. `Durability` keeps the book.
//!
//! A failed sync is final: see [`crate::health`].

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::env::Env;
use crate::error::LogError;
use crate::partition_metadata;
use crate::reader::Shared;
use crate::segment::Segment;

/// Names of files: how often they changed, and how many of the changes were synced.
#[derive(Clone, Copy, Debug, Default)]
struct Names {
    changed: u64,
    synced: u64,
}

impl Names {
    fn dirty(self) -> Option<u64> {
        (self.synced < self.changed).then_some(self.changed)
    }

    fn synced(&mut self, changes: Option<u64>) {
        self.synced = self.synced.max(changes.unwrap_or(0));
    }
}

/// What of a log is durable, and what flushes are about to make so. Pure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durability {
    /// Everything below is on disk.
    recovery_point: i64,
    /// When the oldest record that no flush carries was appended.
    since_ms: Option<i64>,
    /// Names in the log's directory.
    names: Names,
    /// The directory's own name.
    parent: Names,
    /// Counts truncations.
    era: u64,
}

/// What a flush will have made durable when it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    upto: i64,
    since_ms: Option<i64>,
    pub(crate) names: Option<u64>,
    pub(crate) parent: Option<u64>,
    era: u64,
}

impl Durability {
    /// A log of which everything below `recovery_point` is on disk.
    pub(crate) fn upto(recovery_point: i64) -> Durability {
        Durability {
            recovery_point,
            ..Durability::default()
        }
    }

    pub(crate) fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    /// Records were appended.
    pub(crate) fn appended(&mut self, now_ms: i64) {
        self.since_ms.get_or_insert(now_ms);
    }

    /// When the oldest record that no flush carries was appended.
    pub(crate) fn since_ms(&self) -> Option<i64> {
        self.since_ms
    }

    /// Names in the log's directory were created or changed.
    pub(crate) fn names_changed(&mut self) {
        self.names.changed += 1;
    }

    /// The log's directory was created.
    pub(crate) fn parent_changed(&mut self) {
        self.parent.changed += 1;
    }

    /// Everything at or above `end` is gone; what comes there now is not what a flush
    /// that has begun carries.
    pub(crate) fn truncated(&mut self, end: i64) {
        self.era += 1;
        self.recovery_point = self.recovery_point.min(end);
    }

    /// The log is empty and begins at `offset`, durably.
    pub(crate) fn restarted(&mut self, offset: i64) {
        self.era += 1;
        self.recovery_point = offset;
        self.since_ms = None;
    }

    /// Everything of the file system was synced.
    pub(crate) fn all_synced(&mut self, log_end: i64) {
        self.recovery_point = log_end;
        self.since_ms = None;
        self.names.synced = self.names.changed;
        self.parent.synced = self.parent.changed;
    }

    /// A flush of all that is not known to be durable begins; `None` when there is nothing.
    pub(crate) fn begin(&mut self, log_end: i64) -> Option<Carried> {
        let (names, parent) = (self.names.dirty(), self.parent.dirty());
        if log_end == self.recovery_point && names.is_none() && parent.is_none() {
            return None;
        }
        Some(Carried {
            upto: log_end,
            since_ms: self.since_ms.take(),
            names,
            parent,
            era: self.era,
        })
    }

    /// A flush has run; whether what it carried still counts.
    pub(crate) fn finish(&mut self, carried: Carried) -> bool {
        // A name that was synced stays so, whatever became of the records.
        self.names.synced(carried.names);
        self.parent.synced(carried.parent);
        if carried.era != self.era {
            // Records below the truncation may be waiting still.
            self.since_ms = self.since_ms.into_iter().chain(carried.since_ms).min();
            return false;
        }
        self.recovery_point = self.recovery_point.max(carried.upto);
        true
    }
}

/// The first segment a flush carries, from the one that holds the recovery point on: one
/// that was sealed with the recovery point at its very end has indexes that no flush
/// carried.
pub(crate) fn first_carried(holding: usize, unsynced: impl Fn(usize) -> bool) -> usize {
    let mut first = holding;
    while first > 0 && unsynced(first - 1) {
        first -= 1;
    }
    first
}

/// What must be synced.
#[derive(Debug)]
#[must_use = "nothing is durable before it ran"]
pub struct Flush {
    pub(crate) env: Arc<Env>,
    pub(crate) shared: Arc<Shared>,
    /// Oldest first; all but the last are sealed.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The directory of directories, and the log's own.
    pub(crate) sync_names: [Option<Arc<Path>>; 2],
    /// The log's own, if the id of its topic may be in the cache only.
    pub(crate) sync_topic_id: Option<Arc<Path>>,
    pub(crate) carried: Carried,
    /// Held while a flush of the log runs.
    pub(crate) running: Arc<Mutex<()>>,
}

/// What is durable now.
#[derive(Debug)]
#[must_use = "hand it back to the log"]
pub struct Flushed {
    pub(crate) carried: Carried,
}

impl Flush {
    /// Syncs, blocking. An error takes the directory offline for good.
    pub fn run(self) -> Result<Flushed, LogError> {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Behind the lock: the flush before this one may have been told of pages that
        // were lost, and the kernel tells of them once.
        self.env.health.check()?;
        let sync = || {
            if let Some(dir) = &self.sync_topic_id {
                partition_metadata::sync(&self.env.disk, dir)?;
            }
            // Names first: content of a file nobody can find is not durable.
            for dir in self.sync_names.iter().flatten() {
                match self.env.disk.sync_dir(dir) {
                    // Deleted meanwhile, which nobody has to find again.
                    Err(error) if error.is_not_found() && self.shared.is_gone() => {}
                    synced => synced?,
                }
            }
            if let Some((active, sealed)) = self.segments.split_last() {
                // A sealed segment's indexes are never rebuilt once the recovery
                // point has passed it, so they must be on disk too.
                for segment in sealed {
                    segment.sync_all()?;
                }
                active.sync_data()?;
            }
            Ok(())
        };
        let synced: Result<(), crate::fs::DiskError> = sync();
        synced.inspect_err(|error| self.env.health.fail(error))?;
        Ok(Flushed {
            carried: self.carried,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append,
        Roll,
        Begin,
        /// The syncs of one of the flushes that have begun.
        Run(usize),
        Finish(usize),
        /// Given up before it ran.
        Forget(usize),
        Truncate(usize),
        SyncAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => Just(Step::Append),
            2 => Just(Step::Roll),
            4 => Just(Step::Begin),
            4 => (0..4_usize).prop_map(Step::Run),
            4 => (0..4_usize).prop_map(Step::Finish),
            1 => (0..4_usize).prop_map(Step::Forget),
            1 => (0..10_usize).prop_map(Step::Truncate),
            1 => Just(Step::SyncAll),
        ]
    }

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Part {
        id: u32,
        base: usize,
        records: Vec<u32>,
    }

    impl Part {
        fn end(&self) -> usize {
            self.base + self.records.len()
        }
    }

    /// A log of numbered records and what of it a power cut would leave.
    #[derive(Debug, Default)]
    struct World {
        durability: Durability,
        parts: Vec<Part>,
        next: u32,
        begun: Vec<(Carried, Vec<u32>, bool)>,
        names: BTreeSet<u32>,
        contents: BTreeMap<u32, Vec<u32>>,
        indexes: BTreeSet<u32>,
    }

    impl World {
        fn number(&mut self) -> u32 {
            self.next += 1;
            self.next
        }

        fn end(&self) -> usize {
            self.parts.last().map_or(0, Part::end)
        }

        fn roll(&mut self) {
            let (id, base) = (self.number(), self.end());
            let records = Vec::new();
            self.parts.push(Part { id, base, records });
            self.durability.names_changed();
        }

        fn sync(&mut self, ids: &[u32], names: bool) {
            if names {
                self.names.extend(self.parts.iter().map(|part| part.id));
            }
            for (at, id) in ids.iter().enumerate() {
                if let Some(part) = self.parts.iter().find(|part| part.id == *id) {
                    self.contents.insert(*id, part.records.clone());
                }
                if at + 1 < ids.len() {
                    self.indexes.insert(*id);
                }
            }
        }

        fn take(&mut self, step: &Step) {
            match *step {
                Step::Append => {
                    let number = self.number();
                    self.parts
                        .last_mut()
                        .expect("a segment")
                        .records
                        .push(number);
                    self.durability.appended(0);
                }
                Step::Roll => {
                    if !self.parts.last().expect("a segment").records.is_empty() {
                        self.roll();
                    }
                }
                Step::Begin => {
                    let recovery_point = self.durability.recovery_point() as usize;
                    let after = self
                        .parts
                        .partition_point(|part| part.base <= recovery_point);
                    let first = first_carried(after.saturating_sub(1), |index| {
                        !self.indexes.contains(&self.parts[index].id)
                    });
                    if let Some(carried) = self.durability.begin(self.end() as i64) {
                        let ids = self.parts[first..].iter().map(|part| part.id).collect();
                        self.begun.push((carried, ids, false));
                    }
                }
                Step::Run(at) => {
                    if let Some((carried, ids, ran)) = self.begun.get_mut(at) {
                        *ran = true;
                        let (names, ids) = (carried.names.is_some(), ids.clone());
                        self.sync(&ids, names);
                    }
                }
                Step::Finish(at) => {
                    if self.begun.get(at).is_some_and(|(_, _, ran)| *ran) {
                        let (carried, _, _) = self.begun.remove(at);
                        self.durability.finish(carried);
                    }
                }
                Step::Forget(at) => {
                    if at < self.begun.len() {
                        self.begun.remove(at);
                    }
                }
                Step::Truncate(by) => {
                    let end = self.end().saturating_sub(by);
                    self.durability.truncated(end as i64);
                    let kept = self.parts.partition_point(|part| part.base <= end).max(1);
                    self.parts.truncate(kept);
                    let last = self.parts.last_mut().expect("a segment");
                    last.records.truncate(end - last.base);
                    self.indexes.remove(&last.id);
                    self.contents.insert(last.id, last.records.clone());
                }
                Step::SyncAll => {
                    let ids: Vec<u32> = self.parts.iter().map(|part| part.id).collect();
                    self.sync(&ids, true);
                    self.durability.all_synced(self.end() as i64);
                }
            }
        }

        /// What the recovery point promises is on disk.
        fn check(&self) {
            let recovery_point = self.durability.recovery_point() as usize;
            assert!(recovery_point <= self.end());
            for part in &self.parts {
                let promised = recovery_point
                    .saturating_sub(part.base)
                    .min(part.records.len());
                if promised == 0 {
                    continue;
                }
                assert!(self.names.contains(&part.id), "nobody finds it");
                let durable = self.contents.get(&part.id).map_or(&[][..], Vec::as_slice);
                assert!(durable.len() >= promised, "not synced");
                assert_eq!(durable[..promised], part.records[..promised]);
                // Recovery makes the indexes anew where it scans.
                assert!(part.end() >= recovery_point || self.indexes.contains(&part.id));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn flushes_that_overlap_rolls_truncations_and_each_other_promise_only_what_was_synced(
            steps in proptest::collection::vec(step(), 1..60)
        ) {
            let mut world = World::default();
            world.roll();
            for step in &steps {
                world.take(step);
                world.check();
            }
            // And in the end everything can be made durable.
            world.begun.clear();
            world.take(&Step::Begin);
            world.take(&Step::Run(0));
            world.take(&Step::Finish(0));
            world.check();
            prop_assert_eq!(world.durability.recovery_point() as usize, world.end());
        }
    }

    #[test]
    fn records_of_a_flush_that_a_truncation_made_void_are_due_as_before() {
        let mut durability = Durability::upto(0);
        durability.appended(10);
        let carried = durability.begin(100).expect("records to carry");
        assert_eq!(durability.since_ms(), None);
        durability.truncated(50);
        durability.appended(30);
        assert!(!durability.finish(carried));
        assert_eq!(
            (durability.recovery_point(), durability.since_ms()),
            (0, Some(10))
        );
    }
}

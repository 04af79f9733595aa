//! Making appends durable.
//!
//! Apache Kafka's answer is replication, and so is ours by default; `flush.messages`
//! and `flush.ms` ask for more, and a single node syncs in groups. Whoever decides,
//! the steps are the same: [`crate::Log::begin_flush`] under the log's lock says what must be
//! synced, [`Flush::run`] does it while appends go on, and
//! [`crate::Log::finish_flush`] raises the recovery point.
//!
//! [`GroupCommit`] decides for many logs at once: a log that became dirty is due
//! within a bound, and all logs due are synced in one round, so that the cost of a
//! sync is shared by everything that arrived meanwhile.
//!
//! A failed sync is final: see [`crate::health`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::env::Env;
use crate::error::LogError;
use crate::reader::Shared;
use crate::segment::Segment;

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
    pub(crate) upto: i64,
    pub(crate) truncations: u64,
}

/// What is durable now.
#[derive(Debug)]
#[must_use = "hand it back to the log"]
pub struct Flushed {
    pub(crate) upto: i64,
    pub(crate) truncations: u64,
}

impl Flush {
    /// Syncs, blocking. An error takes the directory offline for good.
    pub fn run(self) -> Result<Flushed, LogError> {
        self.env.health.check()?;
        let sync = || {
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
            upto: self.upto,
            truncations: self.truncations,
        })
    }
}

/// Which logs are due for a sync, and when. Pure: time is an argument, logs are
/// whatever the caller names them by.
#[derive(Clone, Debug)]
pub struct GroupCommit<L> {
    bound_ms: i64,
    dirty_since: BTreeMap<L, i64>,
}

impl<L: Ord + Clone> GroupCommit<L> {
    /// A log is synced at most `bound_ms` after it became dirty.
    pub fn within(bound_ms: i64) -> GroupCommit<L> {
        GroupCommit {
            bound_ms,
            dirty_since: BTreeMap::new(),
        }
    }

    /// A log was appended to.
    pub fn dirty(&mut self, log: L, now_ms: i64) {
        self.dirty_since.entry(log).or_insert(now_ms);
    }

    /// When the next round is due.
    pub fn due_ms(&self) -> Option<i64> {
        self.dirty_since
            .values()
            .min()
            .map(|since| since.saturating_add(self.bound_ms))
    }

    /// The logs of the round that is due: once one log is due all dirty ones go
    /// with it, for a sync costs about the same for one as for a few.
    pub fn take_due(&mut self, now_ms: i64) -> Vec<L> {
        if self.due_ms().is_none_or(|due| due > now_ms) {
            return Vec::new();
        }
        std::mem::take(&mut self.dirty_since).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_log_that_is_due_takes_all_dirty_ones_along() {
        let mut group = GroupCommit::within(100);
        assert_eq!(group.due_ms(), None);
        group.dirty("a", 1_000);
        group.dirty("b", 1_050);
        group.dirty("a", 1_090);
        assert_eq!(group.due_ms(), Some(1_100));
        assert!(group.take_due(1_099).is_empty());
        assert_eq!(group.take_due(1_100), ["a", "b"]);
        assert_eq!(group.due_ms(), None);
    }
}

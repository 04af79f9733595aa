//! Which leader epoch wrote which offsets.
//!
//! A list of (epoch, start offset), both strictly growing. A follower asks a new
//! leader where an epoch ended and cuts its own log there: the one sound way to
//! agree on a common prefix after a change of leader.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, CheckpointError};
use crate::env::Env;
use crate::format::LEADER_EPOCH_CHECKPOINT;
use crate::fs::DiskResult;

/// The epoch history of one partition, kept in `leader-epoch-checkpoint`.
#[derive(Debug)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
    /// The file has epochs that were truncated.
    stale: bool,
    path: PathBuf,
    env: Arc<Env>,
}

/// An epoch and the first offset it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader epoch, not negative.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// Where an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch known that is not above the one asked for.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: i64,
}

impl LeaderEpochs {
    /// The history of a partition that begins in `dir`.
    pub(crate) fn new(env: Arc<Env>, dir: &Path) -> LeaderEpochs {
        LeaderEpochs {
            entries: Vec::new(),
            stale: false,
            path: dir.join(LEADER_EPOCH_CHECKPOINT),
            env,
        }
    }

    /// Loads the history of the partition in `dir`.
    pub(crate) fn load(env: Arc<Env>, dir: &Path) -> Result<LeaderEpochs, CheckpointError> {
        let mut epochs = LeaderEpochs::new(env, dir);
        for (line, (epoch, start_offset)) in
            checkpoint::read_epochs(&epochs.env.disk, &epochs.path)?
                .into_iter()
                .enumerate()
        {
            if !epochs.accepts(epoch, start_offset) {
                return Err(CheckpointError::Malformed {
                    path: epochs.path,
                    line: line + 3,
                    expected: "an epoch and an offset above those before",
                    found: format!("{epoch} {start_offset}"),
                });
            }
            epochs.entries.push(EpochStart {
                epoch,
                start_offset,
            });
        }
        Ok(epochs)
    }

    fn accepts(&self, epoch: i32, start_offset: i64) -> bool {
        epoch >= 0
            && start_offset >= 0
            && self
                .entries
                .last()
                .is_none_or(|last| last.epoch < epoch && last.start_offset < start_offset)
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The oldest epoch.
    pub fn earliest(&self) -> Option<EpochStart> {
        self.entries.first().copied()
    }

    /// All of it.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The epoch that wrote `offset`.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// Where `epoch` ended in a log that ends at `log_end`; `None` when it is
    /// newer than anything known, or older than the log.
    pub fn end_of(&self, epoch: i32, log_end: i64) -> Option<EpochEnd> {
        let latest = self.latest()?;
        if epoch == latest {
            return Some(EpochEnd {
                epoch,
                end_offset: log_end,
            });
        }
        if epoch > latest {
            return None;
        }
        let next = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(next)?.start_offset;
        match next.checked_sub(1) {
            Some(index) => Some(EpochEnd {
                epoch: self.entries[index].epoch,
                end_offset,
            }),
            // Older than the first epoch known: it wrote nothing that is left,
            // so its end is the start of what is.
            None => Some(EpochEnd { epoch, end_offset }),
        }
    }

    /// The newest epoch that wrote something below `offset`.
    pub(crate) fn latest_before(&self, offset: i64) -> Option<i32> {
        let before = self
            .entries
            .partition_point(|entry| entry.start_offset < offset);
        before.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// Notes that `epoch` writes from `start_offset` on, if that is news, and
    /// makes it durable before the record itself can be. `start_offset` is where the
    /// log ends.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) -> DiskResult<()> {
        if epoch < 0 || self.latest() == Some(epoch) {
            return Ok(());
        }
        // An epoch that wrote nothing leaves no trace, be it older or newer than this one.
        let kept = self
            .entries
            .partition_point(|entry| entry.start_offset < start_offset);
        let mut entries = self.entries[..kept].to_vec();
        if entries.last().is_none_or(|last| last.epoch < epoch) {
            entries.push(EpochStart {
                epoch,
                start_offset,
            });
        }
        if entries == self.entries {
            return Ok(());
        }
        // Stored first: on a full disk nothing has changed, and the next append tries again.
        self.store(&entries)?;
        self.entries = entries;
        self.stale = false;
        Ok(())
    }

    /// Forgets epochs that start at or behind `end`.
    pub(crate) fn truncate_end(&mut self, end: i64) -> DiskResult<()> {
        let keep = self
            .entries
            .partition_point(|entry| entry.start_offset < end);
        if keep == self.entries.len() {
            return Ok(());
        }
        self.entries.truncate(keep);
        self.stale = true;
        self.settle()
    }

    /// Stores what a truncation could not, for want of room. Until then the file names
    /// epochs behind the log's end, which opening it forgets; once there are batches behind
    /// that end they would be taken for those epochs', so this comes before.
    pub(crate) fn settle(&mut self) -> DiskResult<()> {
        if self.stale {
            self.store(&self.entries)?;
            self.stale = false;
        }
        Ok(())
    }

    /// Forgets epochs that ended before `start`; the one that covers it begins there.
    pub(crate) fn truncate_start(&mut self, start: i64) -> DiskResult<()> {
        let covering = self
            .entries
            .partition_point(|entry| entry.start_offset <= start);
        let Some(first) = covering.checked_sub(1) else {
            return Ok(());
        };
        if first == 0 && self.entries[0].start_offset == start {
            return Ok(());
        }
        self.entries.drain(..first);
        self.entries[0].start_offset = start;
        self.store(&self.entries)
    }

    pub(crate) fn clear(&mut self) -> DiskResult<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.entries.clear();
        self.stale = true;
        self.settle()
    }

    fn store(&self, entries: &[EpochStart]) -> DiskResult<()> {
        let lines: Vec<_> = entries
            .iter()
            .map(|entry| (entry.epoch, entry.start_offset))
            .collect();
        checkpoint::write_epochs(&self.env.disk, &self.path, &lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Disk, sim::SimDisk};
    use std::path::Path;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let env = Env::new(Disk::new(SimDisk::new()), Path::new("/"));
        let mut epochs = LeaderEpochs::load(env, Path::new("/")).expect("an empty disk");
        for (epoch, offset) in entries {
            epochs.assign(*epoch, *offset).expect("a working disk");
        }
        epochs
    }

    #[test]
    fn end_of_an_epoch_is_the_start_of_the_next_one() {
        let epochs = epochs(&[(2, 10), (5, 20), (6, 30)]);
        let check = |asked, expected: Option<(i32, i64)>| {
            let end = epochs
                .end_of(asked, 40)
                .map(|end| (end.epoch, end.end_offset));
            assert_eq!(end, expected, "epoch {asked}");
        };
        check(6, Some((6, 40)));
        check(7, None);
        check(5, Some((5, 30)));
        check(3, Some((2, 20)));
        check(2, Some((2, 20)));
        check(1, Some((1, 10)));
    }

    #[test]
    fn an_epoch_that_wrote_nothing_leaves_no_trace() {
        let epochs = epochs(&[(1, 0), (2, 10), (3, 10)]);
        let starts: Vec<_> = epochs
            .entries()
            .iter()
            .map(|e| (e.epoch, e.start_offset))
            .collect();
        assert_eq!(starts, [(1, 0), (3, 10)]);
    }

    #[test]
    fn an_epoch_begun_in_vain_goes_when_an_older_leaders_batch_follows() {
        let mut epochs = epochs(&[(1, 0), (5, 10)]);
        assert_eq!(epochs.latest_before(10), Some(1));
        assert_eq!(epochs.latest_before(11), Some(5));
        assert_eq!(epochs.latest_before(0), None);
        epochs.assign(4, 10).expect("a working disk");
        let starts = |epochs: &LeaderEpochs| -> Vec<_> {
            let entries = epochs.entries().iter();
            entries.map(|e| (e.epoch, e.start_offset)).collect()
        };
        assert_eq!(starts(&epochs), [(1, 0), (4, 10)]);
        epochs.assign(6, 12).expect("a working disk");
        epochs.assign(4, 12).expect("a working disk");
        assert_eq!(starts(&epochs), [(1, 0), (4, 10)]);
        epochs.assign(1, 14).expect("a working disk");
        assert_eq!(starts(&epochs), [(1, 0), (4, 10)], "it wrote long before");
    }

    #[test]
    fn truncation_forgets_what_lies_outside_the_log() {
        let mut epochs = epochs(&[(1, 0), (2, 10), (3, 20)]);
        epochs.truncate_end(20).expect("a working disk");
        assert_eq!(epochs.latest(), Some(2));
        epochs.truncate_start(15).expect("a working disk");
        assert_eq!(
            epochs.earliest(),
            Some(EpochStart {
                epoch: 2,
                start_offset: 15
            })
        );
        assert_eq!(epochs.epoch_of(14), None);
        assert_eq!(epochs.epoch_of(15), Some(2));
    }
}

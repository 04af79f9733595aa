//! What every log of one directory shares.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use crate::checkpoint::{self, CheckpointError, Offsets};
use crate::format::{
    CLEANER_CHECKPOINT, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT,
    TopicPartition,
};
use crate::fs::{Disk, DiskResult};
use crate::health::DirHealth;
use crate::map_budget::{MAPS_MAX, MapBudget};

/// The recovery point of a log of which nobody knows how much was on disk: its line in
/// the checkpoint was lost. All of it may have been, so nothing of it is a torn tail.
/// Stored like any other, the next start knows it too; Apache Kafka takes a recovery
/// point behind the end of a log for its end.
pub const RECOVERY_POINT_UNKNOWN: i64 = i64::MAX;

/// The disk, the budget of mappings, the directory's health and its checkpoints.
#[derive(Debug)]
pub struct Env {
    /// Where everything is stored.
    pub disk: Disk,
    /// How many files may be mapped; one for the whole process.
    pub maps: Arc<MapBudget>,
    /// Whether the directory may be used.
    pub health: DirHealth,
    /// Whether a log was found damaged. Its stop is not a clean one: only a scan finds
    /// the damage again.
    pub damaged: AtomicBool,
    /// Below which offset each partition is on disk.
    pub recovery_points: DirCheckpoint,
    /// Where partitions that lost their beginning start.
    pub log_starts: DirCheckpoint,
    /// Below which offset compacted partitions are clean.
    pub cleaner_points: DirCheckpoint,
    /// Below which offset partitions are replicated; the broker keeps these.
    pub high_watermarks: DirCheckpoint,
}

impl Env {
    /// The environment of the logs in `dir`, with a budget of its own and empty checkpoints.
    pub fn new(disk: Disk, dir: &Path) -> Arc<Env> {
        let checkpoint = |name: &str| DirCheckpoint::new(dir.join(name), Offsets::new());
        Arc::new(Env {
            disk,
            maps: Arc::new(MapBudget::new(MAPS_MAX)),
            health: DirHealth::online(dir),
            damaged: AtomicBool::new(false),
            recovery_points: checkpoint(RECOVERY_POINT_CHECKPOINT),
            log_starts: checkpoint(LOG_START_CHECKPOINT),
            cleaner_points: checkpoint(CLEANER_CHECKPOINT),
            high_watermarks: checkpoint(REPLICATION_CHECKPOINT),
        })
    }

    /// The environment of the logs in `dir`, with the checkpoints stored there.
    pub fn load(disk: Disk, dir: &Path, maps: Arc<MapBudget>) -> Result<Arc<Env>, CheckpointError> {
        let load = |name: &str| -> Result<DirCheckpoint, CheckpointError> {
            let path = dir.join(name);
            let offsets = checkpoint::read_offsets(&disk, &path)?;
            Ok(DirCheckpoint::new(path, offsets))
        };
        let recovery_points = load(RECOVERY_POINT_CHECKPOINT)?;
        let log_starts = load(LOG_START_CHECKPOINT)?;
        let cleaner_points = load(CLEANER_CHECKPOINT)?;
        let high_watermarks = load(REPLICATION_CHECKPOINT)?;
        Ok(Arc::new(Env {
            health: DirHealth::online(dir),
            damaged: AtomicBool::new(false),
            maps,
            recovery_points,
            log_starts,
            cleaner_points,
            high_watermarks,
            disk,
        }))
    }

    /// Stored offsets of a partition that is no more, of which nothing may reach the next
    /// one of its name.
    pub(crate) fn forget(&self, partition: &TopicPartition) -> DiskResult<()> {
        for checkpoint in self.checkpoints() {
            checkpoint.remove(partition);
        }
        for checkpoint in self.checkpoints() {
            checkpoint.forget(&self.disk, partition)?;
        }
        Ok(())
    }

    /// Stores what is known of a partition in its own directory, which is about to get another name:
    /// without it, nobody who gives it the name back could tell a torn tail from damage, nor deleted
    /// records from others. What is not known is said as well, by a file without a line: by then
    /// another partition of the name may have one.
    pub(crate) fn send_along(&self, partition: &TopicPartition, dir: &Path) -> DiskResult<()> {
        for checkpoint in self.checkpoints() {
            checkpoint.send_along(&self.disk, partition, dir)?;
        }
        Ok(())
    }

    /// Takes over what [`Env::send_along`] stored in a directory that has a partition's name now, and
    /// stores it. It goes before what is known by that name, which is another one's. A file that is
    /// gone was taken over before a crash.
    pub(crate) fn take_over(
        &self,
        partition: &TopicPartition,
        dir: &Path,
    ) -> Result<(), CheckpointError> {
        for checkpoint in self.checkpoints() {
            checkpoint.take_over(&self.disk, partition, dir)?;
        }
        Ok(())
    }

    fn checkpoints(&self) -> [&DirCheckpoint; 4] {
        [
            &self.recovery_points,
            &self.log_starts,
            &self.cleaner_points,
            &self.high_watermarks,
        ]
    }
}

/// One offset checkpoint of the directory: the offsets in memory and the file.
#[derive(Debug)]
pub struct DirCheckpoint {
    path: std::path::PathBuf,
    state: Mutex<CheckpointState>,
}

#[derive(Debug, Default)]
struct CheckpointState {
    offsets: Offsets,
    /// Partitions of which the file may say more than is true: since it was written
    /// their offset was lowered, or they were forgotten.
    stale: BTreeSet<TopicPartition>,
}

impl CheckpointState {
    fn set(&mut self, partition: &TopicPartition, offset: i64) {
        match self.offsets.get_mut(partition) {
            Some(known) => {
                if *known > offset {
                    self.stale.insert(partition.clone());
                }
                *known = offset;
            }
            None => {
                self.offsets.insert(partition.clone(), offset);
            }
        }
    }

    fn remove(&mut self, partition: &TopicPartition) {
        if self.offsets.remove(partition).is_some() {
            self.stale.insert(partition.clone());
        }
    }

    fn store(&mut self, disk: &Disk, path: &Path) -> DiskResult<()> {
        checkpoint::write_offsets(disk, path, &self.offsets)?;
        self.stale.clear();
        Ok(())
    }
}

impl DirCheckpoint {
    fn new(path: std::path::PathBuf, offsets: Offsets) -> DirCheckpoint {
        let state = CheckpointState {
            offsets,
            stale: BTreeSet::new(),
        };
        DirCheckpoint {
            path,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, CheckpointState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset of a partition.
    pub fn get(&self, partition: &TopicPartition) -> Option<i64> {
        self.state().offsets.get(partition).copied()
    }

    /// Notes an offset, to be stored with the next [`DirCheckpoint::store`].
    pub fn set(&self, partition: &TopicPartition, offset: i64) {
        self.state().set(partition, offset);
    }

    /// Forgets a partition, with the next [`DirCheckpoint::store`] in the file as well.
    pub fn remove(&self, partition: &TopicPartition) {
        self.state().remove(partition);
    }

    /// Notes an offset and stores it at once. When that fails the old one stands.
    pub fn put(&self, disk: &Disk, partition: &TopicPartition, offset: i64) -> DiskResult<()> {
        let mut state = self.state();
        let known = state.offsets.get(partition).copied();
        state.set(partition, offset);
        let stored = state.store(disk, &self.path);
        if stored.is_err() {
            match known {
                Some(known) => state.set(partition, known),
                None => state.remove(partition),
            }
        }
        stored
    }

    /// Makes sure that neither memory nor file names an offset above this one; stored
    /// only if one of them may. When that fails the old one stands.
    pub fn lower(&self, disk: &Disk, partition: &TopicPartition, offset: i64) -> DiskResult<()> {
        let mut state = self.state();
        let known = state.offsets.get(partition).copied();
        let above = known.filter(|known| *known > offset);
        if above.is_some() {
            state.set(partition, offset);
        } else if !state.stale.contains(partition) {
            return Ok(());
        }
        let stored = state.store(disk, &self.path);
        if let (Err(_), Some(above)) = (&stored, above) {
            state.set(partition, above);
        }
        stored
    }

    /// Makes sure that neither memory nor file knows a partition: another one is about to
    /// take its name.
    pub fn forget(&self, disk: &Disk, partition: &TopicPartition) -> DiskResult<()> {
        let mut state = self.state();
        state.remove(partition);
        if !state.stale.contains(partition) {
            return Ok(());
        }
        state.store(disk, &self.path)
    }

    fn send_along(&self, disk: &Disk, partition: &TopicPartition, dir: &Path) -> DiskResult<()> {
        let path = dir.join(self.path.file_name().unwrap_or_default());
        let own = self
            .get(partition)
            .map(|offset| (partition.clone(), offset));
        checkpoint::write_offsets(disk, &path, &own.into_iter().collect())
    }

    fn take_over(
        &self,
        disk: &Disk,
        partition: &TopicPartition,
        dir: &Path,
    ) -> Result<(), CheckpointError> {
        let path = dir.join(self.path.file_name().unwrap_or_default());
        if disk.open_if_exists(&path)?.is_none() {
            return Ok(());
        }
        match checkpoint::read_offsets(disk, &path)?.get(partition) {
            Some(offset) => self.put(disk, partition, *offset)?,
            None => self.forget(disk, partition)?,
        }
        Ok(())
    }

    /// Writes the file. The lock is held meanwhile, so that an older state never
    /// replaces a newer one.
    pub fn store(&self, disk: &Disk) -> DiskResult<()> {
        self.state().store(disk, &self.path)
    }
}

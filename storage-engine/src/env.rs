//! What every log of one directory shares.

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
        let checkpoint = |name: &str| DirCheckpoint {
            path: dir.join(name),
            offsets: Mutex::default(),
        };
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
            let offsets = Mutex::new(checkpoint::read_offsets(&disk, &path)?);
            Ok(DirCheckpoint { path, offsets })
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
}

/// One offset checkpoint of the directory: the offsets in memory and the file.
#[derive(Debug)]
pub struct DirCheckpoint {
    path: std::path::PathBuf,
    offsets: Mutex<Offsets>,
}

impl DirCheckpoint {
    fn offsets(&self) -> std::sync::MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset of a partition.
    pub fn get(&self, partition: &TopicPartition) -> Option<i64> {
        self.offsets().get(partition).copied()
    }

    /// Notes an offset, to be stored with the next [`DirCheckpoint::store`].
    pub fn set(&self, partition: &TopicPartition, offset: i64) {
        let mut offsets = self.offsets();
        match offsets.get_mut(partition) {
            Some(known) => *known = offset,
            None => {
                offsets.insert(partition.clone(), offset);
            }
        }
    }

    /// Forgets a partition.
    pub fn remove(&self, partition: &TopicPartition) {
        self.offsets().remove(partition);
    }

    /// Writes the file. The lock is held meanwhile, so that an older state never
    /// replaces a newer one.
    pub fn store(&self, disk: &Disk) -> DiskResult<()> {
        let offsets = self.offsets();
        checkpoint::write_offsets(disk, &self.path, &offsets)
    }
}

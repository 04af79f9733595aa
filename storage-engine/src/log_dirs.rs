//! All directories of `log.dirs`: where each partition is, and where a new one goes.
//!
//! One that cannot be used at start, or fails later, takes its own partitions out of
//! service and no others. As in Apache Kafka a directory of somebody else, or one in use
//! by another process, is a mistake and not a failing disk: it is refused whole, and so
//! is a partition in two directories. And while one directory is out of use only
//! partitions that are new begin anywhere: any other may lie in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::CheckpointError;
use crate::error::{LogError, OpenError};
use crate::format::{FileKind, FileName, FileStage, TopicPartition};
use crate::fs::{Disk, DiskError, OpenMode};
use crate::health::DirOffline;
use crate::log::Log;
use crate::log_dir::{Identity, LogDir, LogDirError, Opened, ToOpen};
use crate::map_budget::MapBudget;
use crate::partition_metadata;

/// A directory that could not be used at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedDir {
    /// Which.
    pub dir: PathBuf,
    /// Why.
    pub reason: String,
}

/// Why a broker cannot start with these directories.
#[derive(Debug, thiserror::Error)]
pub enum LogDirsError {
    /// A directory is somebody else's, or in use.
    #[error(transparent)]
    Dir(#[from] LogDirError),
    /// One directory by two names, or a copy of another.
    #[error(
        "{} and {} have the same directory.id {id}: one is named twice in log.dirs, or is a copy of \
         the other; name each once, and remove meta.properties from a copy",
        .first.display(),
        .second.display()
    )]
    Duplicate {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// The id of both.
        id: String,
    },
    /// One directory by one name.
    #[error("log.dirs names {} twice; name each directory once", .dir.display())]
    Twice {
        /// Which.
        dir: PathBuf,
    },
    /// A partition is in two directories.
    #[error(
        "partition {partition} is in {} and in {};{} move one of the two away",
        describe(.partition, &.copies[0]),
        describe(.partition, &.copies[1]),
        which_is_newer(.copies)
    )]
    TwoPlaces {
        /// Which.
        partition: TopicPartition,
        /// What is in the one and in the other.
        copies: Box<[PartitionCopy; 2]>,
    },
    /// Directories belong to different clusters.
    #[error(
        "{} is of cluster {found}, {} of cluster {expected}: log.dirs names directories of two \
         brokers; name those of one",
        .second.display(),
        .first.display()
    )]
    TwoClusters {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// The cluster of the first.
        expected: String,
        /// The cluster of the second.
        found: String,
    },
    /// There is nothing to work with.
    #[error("none of log.dirs can be used: {reasons}")]
    None {
        /// Why each.
        reasons: String,
    },
}

/// A partition's files in one of several places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCopy {
    /// The log directory.
    pub dir: PathBuf,
    /// Base offset and bytes of the newest segment, and when it was written last.
    pub newest: Option<(i64, u64, i64)>,
}

impl PartitionCopy {
    /// What can be seen of it; of what cannot, nothing is told.
    fn look(disk: &Disk, dir: &Path, partition: &TopicPartition) -> PartitionCopy {
        let place = dir.join(partition.dir_name());
        let entries = disk.read_dir(&place).unwrap_or_default().into_iter();
        let newest = entries
            .filter_map(|entry| Some((FileName::parse(&entry.name)?, entry.len)))
            .filter(|(name, _)| name.kind == FileKind::Log && name.stage == FileStage::Live)
            .max_by_key(|(name, _)| name.offset);
        let newest = newest.and_then(|(name, bytes)| {
            let file = disk.open(&name.in_dir(&place), OpenMode::Existing).ok()?;
            Some((name.offset, bytes, file.modified_ms().ok()?))
        });
        let dir = dir.to_owned();
        PartitionCopy { dir, newest }
    }
}

fn describe(partition: &TopicPartition, copy: &PartitionCopy) -> String {
    let place = copy.dir.join(partition.dir_name());
    match copy.newest {
        Some((offset, bytes, _)) => format!(
            "{} (newest segment at offset {offset}, {bytes} bytes)",
            place.display()
        ),
        None => format!("{} (no segments)", place.display()),
    }
}

fn which_is_newer(copies: &[PartitionCopy; 2]) -> String {
    let [first, second] = copies;
    let (Some((.., first_ms)), Some((.., second_ms))) = (first.newest, second.newest) else {
        return String::new();
    };
    let seconds = first_ms.abs_diff(second_ms).div_ceil(1000);
    let newer = match first_ms.cmp(&second_ms) {
        std::cmp::Ordering::Equal => return String::new(),
        std::cmp::Ordering::Greater => first,
        std::cmp::Ordering::Less => second,
    };
    format!(
        " the one in {} was written to last, {seconds} s after the other;",
        newer.dir.display()
    )
}

/// The directories of `log.dirs`, owned by this process.
#[derive(Debug)]
pub struct LogDirs {
    disk: Disk,
    expected: Identity,
    maps: Arc<MapBudget>,
    /// As they are named.
    order: Vec<PathBuf>,
    dirs: Vec<Arc<LogDir>>,
    /// Not taken yet.
    unused: Vec<PathBuf>,
    failed: Vec<FailedDir>,
    unknown: Vec<PathBuf>,
    /// Which of `dirs` each partition is in.
    places: Mutex<BTreeMap<TopicPartition, usize>>,
    /// Renamed away, to be unlinked when their time comes.
    deleted: Mutex<Vec<Deleted>>,
}

/// Gives partitions their directories.
struct Placer<'a> {
    dirs: &'a LogDirs,
    /// Which of them are in use.
    in_use: Vec<usize>,
    /// How many partitions each has.
    counts: Vec<usize>,
}

impl Placer<'_> {
    fn place(&mut self, partition: &TopicPartition) -> Option<usize> {
        let place = *self
            .in_use
            .iter()
            .min_by_key(|index| self.counts[**index])?;
        self.counts[place] += 1;
        self.dirs.places().insert(partition.clone(), place);
        Some(place)
    }
}

#[derive(Debug)]
struct Deleted {
    dir: Arc<LogDir>,
    name: String,
    due_ms: i64,
}

impl LogDirs {
    /// The cluster that the directories belong to; `None` where all are new or cannot be
    /// read.
    pub fn cluster_id(disk: &Disk, dirs: &[PathBuf]) -> Result<Option<String>, LogDirsError> {
        let mut known: Option<(&PathBuf, String)> = None;
        for dir in dirs {
            let found = match Identity::read(disk, dir) {
                Ok(found) => found,
                Err(error) if is_failure(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(Identity { cluster_id, .. }) = found else {
                continue;
            };
            match &known {
                None => known = Some((dir, cluster_id)),
                Some((first, expected)) if *expected != cluster_id => {
                    return Err(LogDirsError::TwoClusters {
                        first: first.to_path_buf(),
                        second: dir.clone(),
                        expected: expected.clone(),
                        found: cluster_id,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(known.map(|(_, cluster_id)| cluster_id))
    }

    /// Takes the directories. Those whose disk fails are left out; there has to be one that
    /// does not. Beside others that are somebody's, one that nobody ever used is left as it is:
    /// see [`LogDirs::unused`].
    pub fn open(
        disk: &Disk,
        paths: &[PathBuf],
        expected: &Identity,
        maps: &Arc<MapBudget>,
    ) -> Result<LogDirs, LogDirsError> {
        let mut named = BTreeSet::new();
        if let Some(dir) = paths.iter().find(|path| !named.insert(*path)) {
            return Err(LogDirsError::Twice { dir: dir.clone() });
        }
        let mut dirs = LogDirs {
            disk: disk.clone(),
            expected: expected.clone(),
            maps: maps.clone(),
            order: paths.to_vec(),
            dirs: Vec::new(),
            unused: Vec::new(),
            failed: Vec::new(),
            unknown: Vec::new(),
            places: Mutex::default(),
            deleted: Mutex::default(),
        };
        // One that cannot be looked into is told of where it is taken.
        let is_unused = |path: &&PathBuf| LogDir::is_unused(disk, path).unwrap_or(false);
        let (unused, used): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(is_unused);
        match used.is_empty() {
            true => dirs.take(paths)?,
            false => {
                dirs.unused = unused.into_iter().cloned().collect();
                let used: Vec<PathBuf> = used.into_iter().cloned().collect();
                dirs.take(&used)?;
            }
        }
        Ok(dirs)
    }

    /// Those that nobody ever used, not taken yet: they are new, or their disks are not
    /// mounted, which the metadata can tell.
    pub fn unused(&self) -> &[PathBuf] {
        &self.unused
    }

    /// Takes those that nobody ever used as new ones.
    pub fn take_unused(&mut self) -> Result<(), LogDirsError> {
        let unused = std::mem::take(&mut self.unused);
        match unused.is_empty() {
            true => Ok(()),
            false => self.take(&unused),
        }
    }

    fn take(&mut self, paths: &[PathBuf]) -> Result<(), LogDirsError> {
        for path in paths {
            let (disk, expected) = (self.disk.clone(), self.expected.clone());
            match LogDir::open(disk, path, expected, self.maps.clone()) {
                Ok(dir) => self.dirs.push(Arc::new(dir)),
                Err(error) if is_failure(&error) => self.failed.push(FailedDir {
                    dir: path.clone(),
                    reason: error.to_string(),
                }),
                Err(error) => return Err(error.into()),
            }
        }
        if self.dirs.is_empty() {
            let reasons: Vec<String> = self.failed.iter().map(|f| f.reason.clone()).collect();
            return Err(LogDirsError::None {
                reasons: reasons.join("; "),
            });
        }
        let order = &self.order;
        self.dirs
            .sort_by_key(|dir| order.iter().position(|path| path == dir.path()));
        self.look_around()
    }

    /// What is in the directories, and whether they belong together.
    fn look_around(&mut self) -> Result<(), LogDirsError> {
        let mut places: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        let mut ids: BTreeMap<String, &Path> = BTreeMap::new();
        let mut deleted = Vec::new();
        let mut unknown = Vec::new();
        for (index, dir) in self.dirs.iter().enumerate() {
            if let Some(id) = dir.identity().directory_id.clone()
                && let Some(first) = ids.insert(id.clone(), dir.path())
            {
                return Err(LogDirsError::Duplicate {
                    first: first.to_owned(),
                    second: dir.path().to_owned(),
                    id,
                });
            }
            let contents = match dir.list() {
                Ok(contents) => contents,
                Err(error) => {
                    dir.env().health.fail(&error);
                    continue;
                }
            };
            let left = contents.deleted.into_iter().map(|name| Deleted {
                dir: dir.clone(),
                name,
                due_ms: i64::MIN,
            });
            deleted.extend(left);
            unknown.extend(contents.unknown.iter().map(|name| dir.path().join(name)));
            for partition in contents.partitions {
                if let Some(first) = places.insert(partition.clone(), index) {
                    let first = self.dirs[first].path();
                    let look = |dir| PartitionCopy::look(&self.disk, dir, &partition);
                    let copies = Box::new([look(first), look(dir.path())]);
                    return Err(LogDirsError::TwoPlaces { partition, copies });
                }
            }
        }
        (self.places, self.deleted) = (Mutex::new(places), Mutex::new(deleted));
        self.unknown = unknown;
        Ok(())
    }

    /// Those that could be used at start; [`crate::health`] knows which fail later.
    pub fn dirs(&self) -> &[Arc<LogDir>] {
        &self.dirs
    }

    /// Those that could not.
    pub fn failed(&self) -> &[FailedDir] {
        &self.failed
    }

    /// What lay beside the partitions at start and belongs to nothing known here; it is
    /// left alone.
    pub fn unknown(&self) -> &[PathBuf] {
        &self.unknown
    }

    /// What a person should know of how the directories were found.
    pub fn remarks(&self) -> Vec<String> {
        let dirs = self.dirs.iter();
        dirs.flat_map(|dir| dir.remarks()).cloned().collect()
    }

    /// Directories of partitions that were there at start or were opened since.
    pub fn partitions(&self) -> Vec<PathBuf> {
        let places = self.places();
        let path = |(partition, place): (&TopicPartition, &usize)| {
            self.dirs[*place].path().join(partition.dir_name())
        };
        places.iter().map(path).collect()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory a partition is in.
    pub fn of(&self, partition: &TopicPartition) -> Option<&Arc<LogDir>> {
        let index = self.places().get(partition).copied()?;
        self.dirs.get(index)
    }

    /// What is out of use, in words; `None` when all of it is in use.
    pub fn out_of_use(&self) -> Option<String> {
        let failed = self.failed.iter().map(|failed| failed.reason.clone());
        let offline = self.dirs.iter().filter_map(|dir| {
            let offline = dir.env().health.check().err()?;
            Some(offline.to_string())
        });
        failed.chain(offline).next()
    }

    /// The directories that failed while they were in use, with why.
    pub fn offline(&self) -> Vec<DirOffline> {
        let checks = self.dirs.iter().map(|dir| dir.env().health.check());
        checks.filter_map(Result::err).collect()
    }

    /// Where partitions that nobody has go, one after the other: each to the directory in use with the
    /// fewest.
    fn placer(&self) -> Placer<'_> {
        let mut counts = vec![0; self.dirs.len()];
        for index in self.places().values() {
            counts[*index] += 1;
        }
        let in_use = |index: &usize| self.dirs[*index].env().health.check().is_ok();
        Placer {
            in_use: (0..self.dirs.len()).filter(in_use).collect(),
            counts,
            dirs: self,
        }
    }

    /// Opens many partitions, those of each directory on as many threads as `parallelism`,
    /// in any order. Those that are nowhere begin in one of the directories; while one of these is out of use, only
    /// if they are among the `new`.
    pub fn open_logs(
        &self,
        partitions: Vec<ToOpen>,
        new: &BTreeSet<TopicPartition>,
        parallelism: usize,
        now_ms: i64,
    ) -> Vec<(TopicPartition, Opened)> {
        let mut opened = Vec::new();
        let mut by_dir: BTreeMap<usize, Vec<ToOpen>> = BTreeMap::new();
        let out_of_use = self.out_of_use();
        let mut placer = self.placer();
        for wanted in partitions {
            let known = self.places().get(&wanted.partition).copied();
            let place = match (known, &out_of_use) {
                (Some(place), _) => Ok(place),
                (None, Some(reason)) if !new.contains(&wanted.partition) => {
                    Err(OpenError::MayBeElsewhere {
                        reason: reason.clone(),
                    })
                }
                (None, _) => placer.place(&wanted.partition).ok_or_else(|| {
                    let reason = out_of_use.clone().unwrap_or_default();
                    OpenError::MayBeElsewhere { reason }
                }),
            };
            match place {
                Ok(place) => by_dir.entry(place).or_default().push(wanted),
                Err(error) => opened.push((wanted.partition, Err(error))),
            }
        }
        // Each directory is a disk of its own, so none waits for another.
        std::thread::scope(|scope| {
            let threads: Vec<_> = by_dir
                .into_iter()
                .map(|(place, wanted)| {
                    let dir = &self.dirs[place];
                    scope.spawn(move || dir.open_logs(wanted, parallelism, now_ms))
                })
                .collect();
            for thread in threads {
                let result = thread.join();
                opened.extend(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        opened
    }

    /// [`LogDir::delete`], in the directory the partition is in. Its files are unlinked
    /// when `file.delete.delay.ms` is over.
    pub fn delete(&self, log: &Log, now_ms: i64) -> Result<(), LogError> {
        let dir = self.dir_of(log);
        let renamed = dir.delete(log)?;
        self.places().remove(log.partition());
        if let Some(name) = renamed {
            self.deleted().push(Deleted {
                dir: dir.clone(),
                name,
                due_ms: now_ms.saturating_add(log.config().file_delete_delay_ms),
            });
        }
        Ok(())
    }

    /// Those partitions in directories in use that are `wanted`, with the topic that each says it is
    /// of. One whose `partition.metadata` cannot be read says none: opening it says why.
    pub fn found(
        &self,
        mut wanted: impl FnMut(&TopicPartition) -> bool,
    ) -> Vec<(TopicPartition, Option<uuid::Uuid>)> {
        let places = self.places();
        let of = |(partition, place): (&TopicPartition, &usize)| {
            let dir = &self.dirs[*place];
            let path = dir.path().join(partition.dir_name());
            let topic_id = partition_metadata::read(&dir.env().disk, &path);
            (partition.clone(), topic_id.ok().flatten())
        };
        let wanted = places.iter().filter(|(partition, _)| wanted(partition));
        wanted.map(of).collect()
    }

    /// Gives a partition that is not served any more another name, so that its own is free;
    /// which. Its files stay until a person removes them.
    pub fn set_aside(&self, partition: &TopicPartition) -> Result<Option<PathBuf>, LogError> {
        let Some(dir) = self.of(partition) else {
            return Ok(None);
        };
        let name = dir.set_aside(partition)?;
        self.places().remove(partition);
        Ok(Some(dir.path().join(name)))
    }

    /// Unlinks the files of partitions whose delay is over, and at first what a crash left
    /// of earlier ones. What cannot be unlinked is the next start's.
    pub fn unlink_deleted(&self, now_ms: i64) -> Vec<DiskError> {
        let due: Vec<Deleted> = self
            .deleted()
            .extract_if(.., |deleted| deleted.due_ms <= now_ms)
            .collect();
        let unlinked = due.iter().map(|deleted| deleted.dir.unlink(&deleted.name));
        unlinked.filter_map(Result::err).collect()
    }

    fn deleted(&self) -> MutexGuard<'_, Vec<Deleted>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir_of(&self, log: &Log) -> &Arc<LogDir> {
        let same = |dir: &&Arc<LogDir>| Arc::ptr_eq(dir.env(), log.env());
        let found = self.dirs.iter().find(same);
        found.unwrap_or_else(|| unreachable!("a log was opened in one of the directories"))
    }

    /// Leaves each directory as a clean stop does: logs closed, its mark written. What
    /// fails in one keeps no other from it; the first error.
    pub fn stop(&self, logs: &mut [&mut Log], broker_epoch: i64) -> Result<(), LogError> {
        let mut result = Ok(());
        for dir in &self.dirs {
            let mut own: Vec<&mut Log> = logs
                .iter_mut()
                .filter(|log| Arc::ptr_eq(dir.env(), log.env()))
                .map(|log| &mut **log)
                .collect();
            let stopped = dir
                .close_logs(&mut own)
                .and_then(|()| dir.mark_clean(broker_epoch));
            result = result.and(stopped);
        }
        result
    }
}

/// Whether the directory cannot be used as it is, rather than being the wrong one.
fn is_failure(error: &LogDirError) -> bool {
    match error {
        LogDirError::Disk(_)
        | LogDirError::Missing { .. }
        | LogDirError::Checkpoint(CheckpointError::Disk(_)) => true,
        LogDirError::Checkpoint(CheckpointError::Malformed { .. })
        | LogDirError::InUse { .. }
        | LogDirError::Foreign { .. }
        | LogDirError::MalformedMeta { .. } => false,
    }
}

//! A directory of partitions (`log.dirs`): who owns it, what it holds, how it is
//! loaded and left.
//!
//! ```text
//! log.dir/
//!   .lock                                held while a process runs
//!   meta.properties                      cluster, node and directory id
//!   .kafka_cleanshutdown                 only between a clean stop and the next start
//!   recovery-point-offset-checkpoint     log-start-offset-checkpoint
//!   replication-offset-checkpoint        cleaner-offset-checkpoint
//!   orders-0/  orders-1/  …              one directory per partition
//!   orders-2.5f0…-delete/                deleted, waiting to be unlinked
//! ```
//!
//! Apache Kafka's layout, so a directory it wrote can be served, and the other way
//! round.

use std::any::Any;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::checkpoint::{self, CheckpointError};
use crate::config::LogConfig;
use crate::env::{Env, RECOVERY_POINT_UNKNOWN};
use crate::error::{LogError, OpenError};
use crate::format::{
    CLEAN_SHUTDOWN, DELETED_DIR_SUFFIX, DIR_FILES, FUTURE_DIR_SUFFIX, LOCK, META_PROPERTIES,
    OFFSET_CHECKPOINTS, PARTITION_METADATA, RECOVERY_POINT_CHECKPOINT, STRAY_DIR_SUFFIX,
    TopicPartition,
};
use crate::fs::{Dir, Disk, DiskError, Op, TEMPORARY_SUFFIX};
use crate::log::{Log, OpenOptions};
use crate::map_budget::MapBudget;
use crate::recovery::RecoveryReport;

/// `meta.properties` is a few lines.
const META_BYTES_MAX: u64 = 64 << 10;

/// The line of `meta.properties` with the directory's own id.
const DIRECTORY_ID: &str = "directory.id";

/// How many partitions without a recovery point are named; these are enough to find the others.
const LOST_SHOWN: usize = 10;

/// A few hundredths of a second of scanning.
const UNSTORED_BYTES_MAX: u64 = 128 << 20;

/// What some file systems put into their root.
const LOST_AND_FOUND: &str = "lost+found";

/// Who a directory belongs to, as `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker's id.
    pub node_id: i32,
    /// The directory's own id; `None` in what is expected takes any.
    pub directory_id: Option<String>,
}

impl Identity {
    /// Who `dir` belongs to; `None` when it is new.
    pub fn read(disk: &Disk, dir: &Path) -> Result<Option<Identity>, LogDirError> {
        let path = dir.join(META_PROPERTIES);
        let content = read_meta(disk, &path)?;
        content
            .map(|content| parse_meta(&path, &content))
            .transpose()
    }

    /// The directory's id as a number, if it has one of the form we write.
    pub fn directory_uuid(&self) -> Option<uuid::Uuid> {
        id_from_text(self.directory_id.as_ref()?)
    }

    /// Makes `dir` this one's. The caller has looked whose it is.
    pub fn write(&self, disk: &Disk, dir: &Path) -> Result<(), DiskError> {
        disk.replace_small(&dir.join(META_PROPERTIES), render_meta(self).as_bytes())
    }
}

/// Why a directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum LogDirError {
    /// Another process holds the lock.
    #[error(
        "log directory {} is in use by another process (lock file {LOCK}); stop it, or choose \
         another directory",
        .dir.display()
    )]
    InUse {
        /// Which directory.
        dir: PathBuf,
    },
    /// There is no such directory. It is not made here: an empty one in the place of a disk
    /// that is not mounted would be taken for a new one.
    #[error(
        "log directory {} does not exist; create it, or mount its disk, or correct log.dirs",
        .dir.display()
    )]
    Missing {
        /// Which directory.
        dir: PathBuf,
    },
    /// `meta.properties` belongs to somebody else.
    #[error(
        "{} says {field} {found}, this broker has {expected}: the directory belongs to another \
         broker; point log.dirs at the right one, or remove the file to adopt the data",
        .path.display()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Which field differs.
        field: &'static str,
        /// What this broker has.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// `meta.properties` cannot be understood.
    #[error("{}: {problem}; restore the file, or remove it to adopt the data", .path.display())]
    MalformedMeta {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint is malformed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A disk operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A partition to be opened.
#[derive(Clone, Debug)]
pub struct ToOpen {
    /// Which.
    pub partition: TopicPartition,
    /// The id of its topic: a directory that names another is refused.
    pub topic_id: Option<uuid::Uuid>,
    /// The settings in force.
    pub config: LogConfig,
}

/// What became of opening a partition.
pub type Opened = Result<(Log, RecoveryReport), OpenError>;

/// A directory of partitions, owned by this process.
#[derive(Debug)]
pub struct LogDir {
    env: Arc<Env>,
    identity: Identity,
    /// The last owner stopped cleanly.
    was_clean: bool,
    /// The mark it left is still there.
    is_marked: Mutex<bool>,
    remarks: Vec<String>,
    /// Bytes that were flushed since the recovery points were stored for their sake.
    unstored_bytes: AtomicU64,
    /// From before the first write: it is told of all that is not written back.
    handle: Dir,
    _lock: Lock,
}

struct Lock(#[expect(dead_code, reason = "held, not used")] Box<dyn Any + Send + Sync>);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl LogDir {
    /// Takes the directory: locks it, checks or writes who it belongs to, reads its
    /// checkpoints. The mark of the last clean stop goes when the first log is opened: whoever is
    /// refused before, here or in another directory, leaves it to the next start.
    pub fn open(
        disk: Disk,
        dir: &Path,
        expected: Identity,
        maps: Arc<MapBudget>,
    ) -> Result<LogDir, LogDirError> {
        let handle = disk.open_dir(dir);
        if handle.as_ref().is_err_and(DiskError::is_not_found) {
            return Err(LogDirError::Missing {
                dir: dir.to_owned(),
            });
        }
        let handle = handle?;
        let Some(lock) = disk.try_lock(&dir.join(LOCK))? else {
            return Err(LogDirError::InUse {
                dir: dir.to_owned(),
            });
        };
        let path = dir.join(META_PROPERTIES);
        let identity = match read_meta(&disk, &path)? {
            Some(content) => {
                let found = parse_meta(&path, &content)?;
                check_owner(&path, &expected, &found)?;
                let directory_id = match found.directory_id {
                    Some(id) => id,
                    None => {
                        let id = expected.directory_id.clone();
                        let id = id.unwrap_or_else(|| id_to_text(disk.new_id()));
                        disk.replace_small(&path, &with_directory_id(&content, &id))?;
                        id
                    }
                };
                Identity {
                    directory_id: Some(directory_id),
                    ..expected
                }
            }
            None => {
                let directory_id = expected.directory_id.clone();
                let directory_id = directory_id.unwrap_or_else(|| id_to_text(disk.new_id()));
                let identity = Identity {
                    directory_id: Some(directory_id),
                    ..expected
                };
                identity.write(&disk, dir)?;
                identity
            }
        };
        let env = Env::load(disk, dir, maps)?;
        let was_clean = env
            .disk
            .open_if_exists(&dir.join(CLEAN_SHUTDOWN))?
            .is_some();
        let mut log_dir = LogDir {
            env,
            identity,
            was_clean,
            is_marked: Mutex::new(was_clean),
            remarks: Vec::new(),
            unstored_bytes: AtomicU64::new(0),
            handle,
            _lock: Lock(lock),
        };
        log_dir.look_at_checkpoints()?;
        Ok(log_dir)
    }

    /// The mark of the last clean stop is gone before the first append: the next stop must earn it
    /// again.
    fn forget_mark(&self) -> Result<(), DiskError> {
        let mut is_marked = self
            .is_marked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *is_marked {
            let disk = &self.env.disk;
            let removed = disk
                .remove_file(&self.path().join(CLEAN_SHUTDOWN))
                .and_then(|()| disk.sync_dir(self.path()));
            removed.inspect_err(|error| {
                if error.is_failed_sync() {
                    self.env.health.fail(error);
                }
            })?;
            *is_marked = false;
        }
        Ok(())
    }

    /// What of its checkpoints is not there is told of, and made up for.
    fn look_at_checkpoints(&mut self) -> Result<(), LogDirError> {
        let disk = self.env.disk.clone();
        let mut empty = Vec::new();
        let mut has_recovery_points = false;
        for name in OFFSET_CHECKPOINTS {
            let path = self.path().join(name);
            let file = disk.open_if_exists(&path)?;
            let bytes = file.map(|file| file.size()).transpose()?;
            // With nothing in it, one that was written still says so in two lines.
            has_recovery_points |= name == RECOVERY_POINT_CHECKPOINT && bytes > Some(0);
            if bytes == Some(0) {
                empty.push(path);
            }
        }
        let may_lack_lines = !has_recovery_points || self.was_clean();
        if empty.is_empty() && !may_lack_lines {
            return Ok(());
        }
        let partitions = self.list()?.partitions;
        if !partitions.is_empty() {
            self.remarks
                .extend(empty.iter().map(|path| without_bytes(path)));
        }
        if may_lack_lines {
            self.find_lost_recovery_points(partitions, has_recovery_points)?;
        }
        Ok(())
    }

    /// Partitions that a directory holds before anything is opened are known to its
    /// recovery points: the file is there before the first partition is, and a clean stop
    /// has a line for each. Where file or line is missing it was lost, and all of the
    /// log may have been on disk. Stored before the mark of the clean stop is forgotten:
    /// a process that dies now must not leave less to know.
    fn find_lost_recovery_points(
        &mut self,
        mut lost: Vec<TopicPartition>,
        is_stored: bool,
    ) -> Result<(), DiskError> {
        let points = &self.env.recovery_points;
        lost.retain(|partition| points.get(partition).is_none());
        for partition in &lost {
            points.set(partition, RECOVERY_POINT_UNKNOWN);
        }
        if !is_stored || !lost.is_empty() {
            points.store(&self.env.disk)?;
        }
        if !lost.is_empty() {
            let path = self.path().join(RECOVERY_POINT_CHECKPOINT);
            self.remarks.push(without_lines(&path, &lost));
        }
        Ok(())
    }

    /// What the logs of this directory share.
    pub fn env(&self) -> &Arc<Env> {
        &self.env
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        self.env.health.dir()
    }

    /// Who the directory belongs to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What a person should know of how the directory was found.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Whether the last owner stopped cleanly.
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Whether nobody ever used `dir`: it is not formatted, and there is no directory in it
    /// but what a file system makes. So looks the place of a disk that is not mounted.
    pub fn is_unused(disk: &Disk, dir: &Path) -> Result<bool, LogDirError> {
        if Identity::read(disk, dir)?.is_some() {
            return Ok(false);
        }
        let names = disk.read_dir(dir)?;
        Ok(names
            .iter()
            .all(|name| !name.is_dir || name.name == LOST_AND_FOUND))
    }

    /// What the directory holds.
    pub fn list(&self) -> Result<Contents, DiskError> {
        let mut contents = Contents::default();
        for entry in self.env.disk.read_dir(self.path())? {
            let suffixed = [FUTURE_DIR_SUFFIX, STRAY_DIR_SUFFIX]
                .iter()
                .any(|suffix| entry.name.ends_with(suffix));
            match TopicPartition::parse_dir(&entry.name) {
                Some(partition) if entry.is_dir => contents.partitions.push(partition),
                _ if entry.is_dir && is_deleted(&entry.name) => {
                    contents.deleted.push(entry.name);
                }
                _ if DIR_FILES.contains(&entry.name.as_str()) || suffixed => {}
                _ if entry
                    .name
                    .strip_suffix(TEMPORARY_SUFFIX)
                    .is_some_and(|target| DIR_FILES.contains(&target)) => {}
                _ => contents.unknown.push(entry.name),
            }
        }
        Ok(contents)
    }

    /// Opens a partition, or creates it.
    pub fn open_log(
        &self,
        partition: TopicPartition,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<(Log, RecoveryReport), OpenError> {
        let topic_id = None;
        self.open_one(
            ToOpen {
                partition,
                topic_id,
                config,
            },
            now_ms,
        )
    }

    fn open_one(&self, wanted: ToOpen, now_ms: i64) -> Result<(Log, RecoveryReport), OpenError> {
        let ToOpen {
            partition,
            topic_id,
            config,
        } = wanted;
        self.forget_mark()?;
        // A partition without a checkpoint is new: it is scanned whole, which is free.
        let known = self.env.recovery_points.get(&partition);
        let clean =
            self.was_clean() && known.is_some_and(|offset| offset != RECOVERY_POINT_UNKNOWN);
        Log::open(
            &self.env,
            partition,
            OpenOptions {
                config,
                topic_id,
                clean,
                now_ms,
            },
        )
    }

    /// Opens many partitions on as many threads as `parallelism`, in any order.
    pub fn open_logs(
        &self,
        partitions: Vec<ToOpen>,
        parallelism: usize,
        now_ms: i64,
    ) -> Vec<(TopicPartition, Opened)> {
        let queue = Mutex::new(partitions.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let open_some = || {
            let mut opened = Vec::new();
            while let Some(wanted) = next() {
                let partition = wanted.partition.clone();
                let result = self.open_one(wanted, now_ms);
                opened.push((partition, result));
            }
            opened
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..parallelism.max(1))
                .map(|_| scope.spawn(open_some))
                .collect();
            let mut opened = open_some();
            for thread in threads {
                opened.extend(
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                );
            }
            opened
        })
    }

    /// `<topic>-<partition>.<id><suffix>`. As Kafka does it, within what a file system takes.
    fn name_out_of_use(&self, partition: &TopicPartition, suffix: &str) -> String {
        let TopicPartition { topic, partition } = partition;
        let id = self.env.disk.new_id().simple();
        let behind = format!("-{partition}.{id}{suffix}");
        let kept: String = topic.chars().take(255 - behind.len()).collect();
        kept + &behind
    }

    /// Closes many logs with one sync for all of them, which reaches all but what lies on another
    /// file system by a link or a mount: that is synced file by file.
    pub fn close_logs(&self, logs: &mut [&mut Log]) -> Result<(), LogError> {
        let mut changed = Vec::new();
        for log in logs {
            if log.complete_files()? {
                changed.push(log);
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let own = self.env.disk.file_system(self.path());
        let own = own.inspect_err(|error| self.env.health.fail(error))?;
        let mut here = Vec::new();
        for log in changed {
            match log.is_on(own)? {
                true => here.push(log),
                false => log.sync_files()?,
            }
        }
        let synced = self.handle.sync_file_system();
        synced.inspect_err(|error| self.env.health.fail(error))?;
        for log in here {
            log.everything_synced();
        }
        Ok(())
    }

    /// Takes a partition out of use: its directory is renamed, so that the name is
    /// free at once, and waits for [`LogDir::unlink`]. The new name; `None` where a full
    /// disk had no room for one, and the files are gone already.
    ///
    /// The log takes nothing any more, and the directory's checkpoints forget it: the
    /// next partition of its name is another one. On a full disk the files catch up
    /// before that one begins.
    pub fn delete(&self, log: &Log) -> Result<Option<String>, LogError> {
        log.check_usable()?;
        for segment in log.segments().iter() {
            segment.open_for_good()?;
        }
        let renamed = self.name_out_of_use(log.partition(), DELETED_DIR_SUFFIX);
        log.set_gone();
        let fail = |error: &DiskError| self.env.health.fail(error);
        let deleted = match self.env.disk.rename(log.dir(), &self.path().join(&renamed)) {
            // Nobody asks again, and this is what makes room.
            Err(error) if error.is_full() => {
                let discarded = self.discard(log.dir());
                discarded.inspect_err(|error| {
                    if error.is_failed_sync() {
                        fail(error);
                    }
                })?;
                None
            }
            moved => moved.inspect_err(fail).map(|()| Some(renamed))?,
        };
        let synced = self.env.disk.sync_dir(self.path());
        synced.inspect_err(fail)?;
        match self.env.forget(log.partition()) {
            Err(error) if error.is_full() => {}
            forgotten => forgotten.inspect_err(fail)?,
        }
        Ok(deleted)
    }

    /// Removes a partition's files and directory under the name they have. Whose they are goes last:
    /// with what a crash leaves, the next partition of the name does not begin.
    fn discard(&self, dir: &Path) -> Result<(), DiskError> {
        let names = self.env.disk.read_dir(dir)?;
        for entry in names
            .iter()
            .filter(|entry| entry.name != PARTITION_METADATA)
        {
            self.env.disk.remove_file(&dir.join(&entry.name))?;
        }
        self.env.disk.sync_dir(dir)?;
        self.env.disk.remove_file(&dir.join(PARTITION_METADATA))?;
        self.env.disk.remove_dir(dir)
    }

    /// Renames the directory of a partition that is not open and is not served any more;
    /// the new name. The directory's checkpoints forget it; what they knew goes along, so that
    /// whoever gives it its name back finds it as it was.
    pub fn set_aside(&self, partition: &TopicPartition) -> Result<String, LogError> {
        self.env.health.check()?;
        let renamed = self.name_out_of_use(partition, STRAY_DIR_SUFFIX);
        let dir = self.path().join(partition.dir_name());
        let result = self
            .env
            .send_along(partition, &dir)
            .and_then(|()| self.env.disk.rename(&dir, &self.path().join(&renamed)))
            .and_then(|()| self.env.disk.sync_dir(self.path()))
            .and_then(|()| self.env.forget(partition));
        result.inspect_err(|error| {
            // On a full disk the checkpoints forget it before its name is another's.
            if !error.is_full() {
                self.env.health.fail(error);
            }
        })?;
        Ok(renamed)
    }

    /// Removes a deleted partition's files and directory; nothing that has another name.
    pub fn unlink(&self, deleted: &str) -> Result<(), DiskError> {
        let dir = self.path().join(deleted);
        if !is_deleted(deleted) {
            return Err(DiskError {
                op: Op::RemoveDir,
                path: dir,
                source: std::io::Error::new(
                    std::io::ErrorKind::InvalidInput,
                    "not a deleted partition: expected \
                     <topic>-<partition>.<32 hex digits>-delete, nothing was removed",
                ),
            });
        }
        for entry in self.env.disk.read_dir(&dir)? {
            self.env.disk.remove_file(&dir.join(entry.name))?;
        }
        self.env.disk.remove_dir(&dir)
    }

    /// Stores the checkpoints: how much a start after a crash has to scan.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        self.env.health.check()?;
        let stored = self
            .env
            .recovery_points
            .store(&self.env.disk)
            .and_then(|()| self.env.log_starts.store(&self.env.disk))
            .and_then(|()| self.env.cleaner_points.store(&self.env.disk))
            .and_then(|()| self.env.high_watermarks.store(&self.env.disk));
        Ok(stored.inspect_err(|error| self.fail_unless_full(error))?)
    }

    /// So many bytes more were flushed. The recovery points are stored when a scan of what was
    /// flushed since would be felt: how long a start after a crash takes does not depend on how
    /// much was written between two checkpoints.
    pub fn note_flushed(&self, bytes: u64) -> Result<(), LogError> {
        let before = self.unstored_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) < UNSTORED_BYTES_MAX {
            return Ok(());
        }
        self.unstored_bytes.store(0, Ordering::Relaxed);
        self.env.health.check()?;
        let stored = self.env.recovery_points.store(&self.env.disk);
        Ok(stored.inspect_err(|error| self.fail_unless_full(error))?)
    }

    /// On a full disk the old checkpoints stand: the next start scans more.
    fn fail_unless_full(&self, error: &DiskError) {
        if !error.is_full() {
            self.env.health.fail(error);
        }
    }

    /// A clean stop, after every log was closed: the next start scans nothing. With a
    /// damaged log in the directory it scans the tails, or it would not find the damage.
    pub fn close(self, broker_epoch: i64) -> Result<(), LogError> {
        self.mark_clean(broker_epoch)
    }

    /// [`LogDir::close`] for a directory that others still hold. Nothing may be appended
    /// behind it.
    pub fn mark_clean(&self, broker_epoch: i64) -> Result<(), LogError> {
        self.checkpoint()?;
        if self.env.damaged.load(Ordering::Acquire) {
            return Ok(());
        }
        let mark = self.path().join(CLEAN_SHUTDOWN);
        let content = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        Ok(self.env.disk.replace_small(&mark, content.as_bytes())?)
    }
}

/// Apache Kafka makes its checkpoints so, and fills them later.
fn without_bytes(path: &Path) -> String {
    format!(
        "{} has no bytes, and is taken for one without lines ({}); restore it unless it was never \
         written",
        path.display(),
        checkpoint::without(path)
    )
}

fn without_lines(path: &Path, lost: &[TopicPartition]) -> String {
    let shown = lost.iter().take(LOST_SHOWN);
    let mut shown: Vec<String> = shown.map(TopicPartition::dir_name).collect();
    if lost.len() > shown.len() {
        shown.push("...".to_owned());
    }
    format!(
        "the recovery points of {} partitions ({}) are in no line of {}: nobody knows how much of them \
         was on disk, so they are checked from their start and nothing is cut off them",
        lost.len(),
        shown.join(", "),
        path.display()
    )
}

/// Whether a name is one that [`LogDir::delete`], or Kafka, gives a deleted partition.
fn is_deleted(name: &str) -> bool {
    let Some((partition, id)) = name
        .strip_suffix(DELETED_DIR_SUFFIX)
        .and_then(|name| name.rsplit_once('.'))
    else {
        return false;
    };
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    id.len() == 32 && id.bytes().all(hex) && TopicPartition::parse_dir(partition).is_some()
}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Partitions.
    pub partitions: Vec<TopicPartition>,
    /// Directories of deleted partitions, to be unlinked.
    pub deleted: Vec<String>,
    /// Names that belong to nothing; they are left alone.
    pub unknown: Vec<String>,
}

/// A new id as Kafka writes them: sixteen random bytes in URL-safe base64.
pub fn random_id() -> String {
    id_to_text(uuid::Uuid::new_v4())
}

/// An id as Kafka writes them.
pub fn id_to_text(id: uuid::Uuid) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// An id as Kafka writes them, as a number.
pub fn id_from_text(text: &str) -> Option<uuid::Uuid> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .ok()?;
    uuid::Uuid::from_slice(&bytes).ok()
}

/// What `meta.properties` holds; `None` without one.
fn read_meta(disk: &Disk, path: &Path) -> Result<Option<Vec<u8>>, LogDirError> {
    let Some(file) = disk.open_if_exists(path)? else {
        return Ok(None);
    };
    // Said here, as to a caller a disk that cannot be read is one that fails.
    let bytes = file.size()?;
    if bytes > META_BYTES_MAX {
        return Err(LogDirError::MalformedMeta {
            path: path.to_owned(),
            problem: format!("{bytes} bytes, expected at most {META_BYTES_MAX}"),
        });
    }
    let mut content = vec![0; bytes as usize];
    let read = file.read_up_to(&mut content, 0)?;
    content.truncate(read);
    Ok(Some(content))
}

/// The same with an id, which it did not have. All else stays as it is, what is not ours as well.
fn with_directory_id(content: &[u8], id: &str) -> Vec<u8> {
    let is_blank = |line: &&[u8]| {
        let key = line.trim_ascii().strip_prefix(DIRECTORY_ID.as_bytes());
        key.is_some_and(|rest| rest.trim_ascii() == b"=")
    };
    let lines = content.split(|byte| *byte == b'\n');
    let kept: Vec<&[u8]> = lines.filter(|line| !is_blank(line)).collect();
    let mut content = kept.join(&b'\n');
    if content.last().is_some_and(|last| *last != b'\n') {
        content.push(b'\n');
    }
    content.extend(format!("{DIRECTORY_ID}={id}\n").bytes());
    content
}

fn render_meta(identity: &Identity) -> String {
    let mut text = String::from("version=1\n");
    let _ = writeln!(text, "cluster.id={}", identity.cluster_id);
    let _ = writeln!(text, "node.id={}", identity.node_id);
    if let Some(id) = &identity.directory_id {
        let _ = writeln!(text, "{DIRECTORY_ID}={id}");
    }
    text
}

fn parse_meta(path: &Path, content: &[u8]) -> Result<Identity, LogDirError> {
    let malformed = |problem: String| LogDirError::MalformedMeta {
        path: path.to_owned(),
        problem,
    };
    let text = std::str::from_utf8(content).map_err(|error| malformed(error.to_string()))?;
    let field = |key: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| {
                Some(
                    line.strip_prefix(key)?
                        .trim_start()
                        .strip_prefix('=')?
                        .trim()
                        .to_owned(),
                )
            })
    };
    let required = |key: &str| field(key).ok_or_else(|| malformed(format!("{key} is missing")));
    let version = required("version")?;
    if version != "1" {
        return Err(malformed(format!("version is {version}, expected 1")));
    }
    let node_id = required("node.id")?;
    Ok(Identity {
        cluster_id: required("cluster.id")?,
        node_id: node_id
            .parse()
            .map_err(|_| malformed(format!("node.id {node_id} is not a number")))?,
        directory_id: field(DIRECTORY_ID).filter(|id| !id.is_empty()),
    })
}

fn check_owner(path: &Path, expected: &Identity, found: &Identity) -> Result<(), LogDirError> {
    let differs = |field, expected: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        Err(LogDirError::Foreign {
            path: path.to_owned(),
            field,
            expected: expected.to_string(),
            found: found.to_string(),
        })
    };
    if found.cluster_id != expected.cluster_id {
        return differs("cluster.id", &expected.cluster_id, &found.cluster_id);
    }
    if found.node_id != expected.node_id {
        return differs("node.id", &expected.node_id, &found.node_id);
    }
    match (&expected.directory_id, &found.directory_id) {
        (Some(expected), Some(found)) if expected != found => {
            differs(DIRECTORY_ID, expected, found)
        }
        _ => Ok(()),
    }
}

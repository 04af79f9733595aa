//! The one door to the disk.
//!
//! Every file access of the engine goes through [`Disk`] and [`File`], so a test
//! can put another [`Backend`] behind them: [`sim::SimDisk`] cuts the power at
//! any operation, [`fault::FaultDisk`] fails the nth call. The real one is
//! [`real::RealDisk`].
//!
//! The wrappers do what every caller would otherwise repeat: retry `EINTR`,
//! finish short reads and writes, and put operation and path into the error.

pub mod fault;
pub mod real;
pub mod sim;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use reka_records::SPAN_BYTES;
use rustix::io::Errno;
use uuid::Uuid;

/// What a file system can do for us. All calls may block.
pub trait Backend: Debug + Send + Sync + 'static {
    /// Told before each call which line of the engine makes it. The fault tests
    /// count lines with it; a real disk does not care.
    fn calling(&self, _site: &'static Location<'static>, _op: Op) {}

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn RawFile>>;
    /// Creates one directory; its parent exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, in any order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Atomically gives `from` the name `to`, replacing what had it. Same parent.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `path` survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a directory, see [`RawDir`].
    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn RawDir>>;
    /// Takes the exclusive lock file; `None` when another process has it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
    /// Bytes a writer can still get on the file system of `path`.
    fn bytes_free(&self, path: &Path) -> io::Result<u64>;
    /// A number that paths on one file system have in common.
    fn file_system(&self, path: &Path) -> io::Result<u64>;
    /// An id that nobody had before, for names and identities.
    fn new_id(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// An open directory. What the kernel failed to write back it tells each handle that was
/// open by then, once: a handle that is to be told has to be there before the writes.
pub trait RawDir: Debug + Send + Sync {
    /// Makes everything on the directory's file system survive a power cut: cheaper
    /// than one sync per file when thousands changed.
    fn sync_file_system(&self) -> io::Result<()>;
}

/// An open file.
pub trait RawFile: Debug + Send + Sync {
    /// Reads up to `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes up to `buf.len()` bytes, growing the file.
    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize>;
    /// Gets blocks for the range without changing the file's length.
    fn reserve(&self, position: u64, len: u64) -> io::Result<()>;
    /// Makes the range read as zeros; the length does not change.
    fn zero(&self, position: u64, len: u64) -> io::Result<()>;
    /// Ends the content at `len` and gives back blocks reserved beyond it. A file that
    /// is mapped does not get shorter: what would go reads as zeros instead.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The length.
    fn size(&self) -> io::Result<u64>;
    /// When the content last changed, in milliseconds since 1970.
    fn modified_ms(&self) -> io::Result<i64>;
    /// Makes content and length survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Maps the first `len` bytes read-only; the file may still be shorter.
    fn map(&self, len: usize) -> io::Result<Arc<dyn RawMapping>>;
    /// For `sendfile`; `None` where there is no such thing.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// A mapped file, which does not get shorter as long as this lives. A range behind its
/// end is an error.
pub trait RawMapping: Debug + Send + Sync {
    /// A view that keeps the mapping alive; nothing is copied on a real disk.
    fn bytes(self: Arc<Self>, position: usize, len: usize) -> io::Result<Bytes>;
    /// Copies `into.len()` bytes out of the mapping.
    fn copy(&self, position: usize, into: &mut [u8]) -> io::Result<()>;
    /// The first bytes of the batch at `position`: a copy of a size that is known.
    fn span(&self, position: usize) -> io::Result<[u8; SPAN_BYTES]> {
        let mut bytes = [0; SPAN_BYTES];
        self.copy(position, &mut bytes)?;
        Ok(bytes)
    }
    /// Says that `position` may be read soon. A guess: it may lie anywhere.
    fn expect(&self, _position: usize) {}
}

/// Suffix of a small file while it is written, see [`Disk::replace_small`].
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// How [`Backend::open`] treats a missing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must be there.
    Existing,
    /// It is created when missing, and kept when there.
    Create,
    /// It is created, or emptied when there. One that is mapped is replaced: whoever
    /// holds the mapping goes on with the old one.
    Truncate,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Name without the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
    /// Whether it leads to something elsewhere, which is what the rest is about.
    pub is_link: bool,
    /// Bytes in it; 0 for a directory.
    pub len: u64,
}

/// The kinds of operation, for errors and for the fault tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named for the call it stands for")]
pub enum Op {
    Open,
    CreateDir,
    ReadDir,
    Rename,
    RemoveFile,
    RemoveDir,
    SyncDir,
    OpenDir,
    SyncFileSystem,
    Lock,
    BytesFree,
    FileSystem,
    Read,
    Write,
    Reserve,
    Zero,
    SetLen,
    Len,
    Modified,
    Sync,
    Map,
}

impl Op {
    const fn verb(self) -> &'static str {
        match self {
            Op::Open => "open",
            Op::CreateDir => "create directory",
            Op::ReadDir => "list directory",
            Op::Rename => "rename",
            Op::RemoveFile => "remove",
            Op::RemoveDir => "remove directory",
            Op::SyncDir => "sync directory",
            Op::OpenDir => "open directory",
            Op::SyncFileSystem => "sync the file system of",
            Op::Lock => "lock",
            Op::BytesFree => "ask free space of",
            Op::FileSystem => "ask the file system of",
            Op::Read => "read",
            Op::Write => "write",
            Op::Reserve => "reserve space in",
            Op::Zero => "zero",
            Op::SetLen => "set length of",
            Op::Len => "ask length of",
            Op::Modified => "ask time of last change of",
            Op::Sync => "sync",
            Op::Map => "map",
        }
    }
}

/// A failed operation, with its path, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub struct DiskError {
    /// What was tried.
    pub op: Op,
    /// On what.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let advice = match self.advice() {
            Some(advice) => ("; ", advice),
            None => ("", ""),
        };
        write!(f, "{}{}{}", self.what(), advice.0, advice.1)
    }
}

impl DiskError {
    /// What failed, without what to do.
    pub fn what(&self) -> String {
        format!(
            "{} {}: {}",
            self.op.verb(),
            self.path.display(),
            self.source
        )
    }

    /// What a person can do, where one can.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        if self.is_failed_sync() {
            return Some(
                "what was written may be lost: the directory is out of use; check the disk, \
                 replace it if it fails, and restart",
            );
        }
        let advice = match self.source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => {
                "raise the limit of open files (ulimit -n, LimitNOFILE, fs.file-max)"
            }
            Some(Errno::IO) => "check the disk and the kernel's log, replace the disk if it fails",
            Some(Errno::ISDIR) => "a file belongs there: move the directory away",
            Some(Errno::NOTDIR) => "a directory belongs there: move the file away",
            Some(Errno::NOMEM) if self.op == Op::Map => "raise vm.max_map_count or add memory",
            _ => match self.source.kind() {
                io::ErrorKind::StorageFull => "free space or lower retention",
                io::ErrorKind::QuotaExceeded => "free space or raise the quota",
                io::ErrorKind::FileTooLarge => "raise the limit of file sizes (ulimit -f)",
                io::ErrorKind::PermissionDenied => {
                    "check owner and mode, and the user the process runs as"
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it for writing; a kernel does this to a disk that fails"
                }
                io::ErrorKind::InvalidData => {
                    "that is no file of ours: restore it from a backup, or move it away"
                }
                // What fails to load says so itself.
                io::ErrorKind::UnexpectedEof => {
                    "another program shortened it, or the file system lost its end: restore it from \
                     a replica or a backup"
                }
                _ => return None,
            },
        };
        Some(advice)
    }

    /// No space, or no quota: the appender may try again later. Not when a sync
    /// says so: then pages that were written are lost.
    pub fn is_full(&self) -> bool {
        let no_space = matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        no_space && !self.is_failed_sync()
    }

    /// What was written may be lost, and another sync would not say so.
    pub fn is_failed_sync(&self) -> bool {
        matches!(self.op, Op::Sync | Op::SyncDir | Op::SyncFileSystem)
    }

    /// The path does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Shorthand of this module and its callers.
pub type DiskResult<T> = Result<T, DiskError>;

/// A file system; clones share it.
#[derive(Clone, Debug)]
pub struct Disk {
    backend: Arc<dyn Backend>,
}

impl Disk {
    /// The operating system's.
    pub fn real() -> Disk {
        Disk::new(real::RealDisk)
    }

    /// Any other one.
    pub fn new(backend: impl Backend) -> Disk {
        Disk {
            backend: Arc::new(backend),
        }
    }

    #[track_caller]
    fn call<T>(&self, op: Op, path: &Path, run: impl FnMut() -> io::Result<T>) -> DiskResult<T> {
        self.backend.calling(Location::caller(), op);
        retry_interrupted(run).map_err(|source| DiskError {
            op,
            path: path.to_owned(),
            source,
        })
    }

    /// Opens a file for reading and writing.
    #[track_caller]
    pub fn open(&self, path: &Path, mode: OpenMode) -> DiskResult<File> {
        let raw = self.call(Op::Open, path, || self.backend.open(path, mode))?;
        Ok(File {
            raw,
            backend: self.backend.clone(),
            path: path.into(),
        })
    }

    /// Like [`Disk::open`] with [`OpenMode::Existing`]; `None` when it is missing.
    #[track_caller]
    pub fn open_if_exists(&self, path: &Path) -> DiskResult<Option<File>> {
        match self.open(path, OpenMode::Existing) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates one directory; its parent exists.
    #[track_caller]
    pub fn create_dir(&self, path: &Path) -> DiskResult<()> {
        self.call(Op::CreateDir, path, || self.backend.create_dir(path))
    }

    /// Creates a directory and those above it, as far as they are missing, so that they survive a
    /// power cut.
    #[track_caller]
    pub fn create_dir_all(&self, path: &Path) -> DiskResult<()> {
        // That of a relative path of one name is the current one.
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Some(Path::new(".")),
            parent => parent,
        };
        match (self.create_dir(path), parent) {
            (Ok(()), Some(parent)) => self.sync_dir(parent),
            (Err(error), Some(parent)) if error.is_not_found() => {
                self.create_dir_all(parent)?;
                self.create_dir(path)?;
                self.sync_dir(parent)
            }
            // It may be a file.
            (Err(error), _) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                self.open_dir(path).map(drop).map_err(|_| error)
            }
            (created, _) => created,
        }
    }

    /// An id that nobody had before, for names and identities.
    pub fn new_id(&self) -> Uuid {
        self.backend.new_id()
    }

    /// Names in a directory, sorted, so that every run takes the same steps.
    #[track_caller]
    pub fn read_dir(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        let mut entries = self.call(Op::ReadDir, path, || self.backend.read_dir(path))?;
        entries.sort_unstable();
        Ok(entries)
    }

    /// Atomically renames within one directory.
    #[track_caller]
    pub fn rename(&self, from: &Path, to: &Path) -> DiskResult<()> {
        self.call(Op::Rename, from, || self.backend.rename(from, to))
    }

    /// Removes a file; one that is gone already is fine.
    #[track_caller]
    pub fn remove_file(&self, path: &Path) -> DiskResult<()> {
        match self.call(Op::RemoveFile, path, || self.backend.remove_file(path)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Removes an empty directory.
    #[track_caller]
    pub fn remove_dir(&self, path: &Path) -> DiskResult<()> {
        self.call(Op::RemoveDir, path, || self.backend.remove_dir(path))
    }

    /// Makes the names in a directory survive a power cut.
    #[track_caller]
    pub fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        self.call(Op::SyncDir, path, || self.backend.sync_dir(path))
    }

    /// Opens a directory.
    #[track_caller]
    pub fn open_dir(&self, path: &Path) -> DiskResult<Dir> {
        let raw = self.call(Op::OpenDir, path, || self.backend.open_dir(path))?;
        Ok(Dir {
            raw,
            disk: self.clone(),
            path: path.into(),
        })
    }

    /// Takes an exclusive lock file; `None` when another process has it.
    #[track_caller]
    pub fn try_lock(&self, path: &Path) -> DiskResult<Option<Box<dyn Any + Send + Sync>>> {
        self.call(Op::Lock, path, || self.backend.try_lock(path))
    }

    /// Bytes a writer can still get on the file system of `path`.
    #[track_caller]
    pub fn bytes_free(&self, path: &Path) -> DiskResult<u64> {
        self.call(Op::BytesFree, path, || self.backend.bytes_free(path))
    }

    /// A number that paths on one file system have in common.
    #[track_caller]
    pub fn file_system(&self, path: &Path) -> DiskResult<u64> {
        self.call(Op::FileSystem, path, || self.backend.file_system(path))
    }

    /// The whole of a small file, refused above `limit` bytes; `None` when missing.
    #[track_caller]
    pub fn read_small(&self, path: &Path, limit: usize) -> DiskResult<Option<Vec<u8>>> {
        let Some(file) = self.open_if_exists(path)? else {
            return Ok(None);
        };
        let len = file.size()?;
        if len > limit as u64 {
            return Err(DiskError {
                op: Op::Read,
                path: path.to_owned(),
                source: io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{len} bytes, more than the {limit} such a file may have"),
                ),
            });
        }
        let mut content = vec![0; len as usize];
        let read = file.read_up_to(&mut content, 0)?;
        content.truncate(read);
        Ok(Some(content))
    }

    /// Replaces a small file so that a power cut leaves the old or the new content,
    /// never a mixture: write aside, sync, rename, sync the directory.
    #[track_caller]
    pub fn replace_small(&self, path: &Path, content: &[u8]) -> DiskResult<()> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(TEMPORARY_SUFFIX);
        let aside = PathBuf::from(aside);
        let file = self.open(&aside, OpenMode::Truncate)?;
        file.write_all_at(content, 0)?;
        file.sync()?;
        self.rename(&aside, path)?;
        match path.parent() {
            Some(dir) => self.sync_dir(dir),
            None => Ok(()),
        }
    }
}

/// An open directory that knows its path.
#[derive(Debug)]
pub struct Dir {
    raw: Arc<dyn RawDir>,
    disk: Disk,
    path: Arc<Path>,
}

impl Dir {
    /// Makes everything on the directory's file system survive a power cut. All that could
    /// not be written since the directory was opened is told, whoever was told before.
    #[track_caller]
    pub fn sync_file_system(&self) -> DiskResult<()> {
        self.disk.call(Op::SyncFileSystem, &self.path, || {
            self.raw.sync_file_system()
        })
    }
}

/// An open file that knows its path; clones share it.
#[derive(Clone, Debug)]
pub struct File {
    raw: Arc<dyn RawFile>,
    backend: Arc<dyn Backend>,
    path: Arc<Path>,
}

impl File {
    #[track_caller]
    fn call<T>(&self, op: Op, run: impl FnMut() -> io::Result<T>) -> DiskResult<T> {
        self.backend.calling(Location::caller(), op);
        retry_interrupted(run).map_err(|source| self.error(op, source))
    }

    fn error(&self, op: Op, source: io::Error) -> DiskError {
        DiskError {
            op,
            path: self.path.to_path_buf(),
            source,
        }
    }

    /// Where it was opened. A later rename of the file does not change this.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buf` as far as the file goes; the number of bytes read.
    #[track_caller]
    pub fn read_up_to(&self, buf: &mut [u8], position: u64) -> DiskResult<usize> {
        let mut done = 0;
        while done < buf.len() {
            let read = self.call(Op::Read, || {
                self.raw.read_at(&mut buf[done..], position + done as u64)
            })?;
            if read == 0 {
                break;
            }
            done += read;
        }
        Ok(done)
    }

    /// Fills `buf`, or fails when the file ends before.
    #[track_caller]
    pub fn read_exact_at(&self, buf: &mut [u8], position: u64) -> DiskResult<()> {
        let read = self.read_up_to(buf, position)?;
        if read == buf.len() {
            return Ok(());
        }
        Err(self.error(
            Op::Read,
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "wanted {} bytes at {position}, the file ends after {read}",
                    buf.len()
                ),
            ),
        ))
    }

    /// Writes all of `buf`. On an error part of it may be in the file.
    #[track_caller]
    pub fn write_all_at(&self, buf: &[u8], position: u64) -> DiskResult<()> {
        let mut done = 0;
        while done < buf.len() {
            let written = self.call(Op::Write, || {
                self.raw.write_at(&buf[done..], position + done as u64)
            })?;
            if written == 0 {
                return Err(self.error(Op::Write, io::ErrorKind::WriteZero.into()));
            }
            done += written;
        }
        Ok(())
    }

    /// Gets blocks for a range, so that writing it cannot find the disk full.
    #[track_caller]
    pub fn reserve(&self, position: u64, len: u64) -> DiskResult<()> {
        self.call(Op::Reserve, || self.raw.reserve(position, len))
    }

    /// Makes a range read as zeros.
    #[track_caller]
    pub fn zero(&self, position: u64, len: u64) -> DiskResult<()> {
        self.call(Op::Zero, || self.raw.zero(position, len))
    }

    /// Ends the content at `len`: the file gets shorter or, while it is mapped anywhere
    /// in this process, reads as zeros from there to its end.
    #[track_caller]
    pub fn set_len(&self, len: u64) -> DiskResult<()> {
        self.call(Op::SetLen, || self.raw.set_len(len))
    }

    /// The length.
    #[track_caller]
    pub fn size(&self) -> DiskResult<u64> {
        self.call(Op::Len, || self.raw.size())
    }

    /// When the content last changed, in milliseconds since 1970.
    #[track_caller]
    pub fn modified_ms(&self) -> DiskResult<i64> {
        self.call(Op::Modified, || self.raw.modified_ms())
    }

    /// Makes content and length survive a power cut.
    ///
    /// After an error the kernel may have dropped the pages it could not write,
    /// so the only honest answer is to stop using the directory: see [`crate::health`].
    #[track_caller]
    pub fn sync(&self) -> DiskResult<()> {
        self.call(Op::Sync, || self.raw.sync())
    }

    /// Maps the first `len` bytes read-only; the file may still be shorter.
    #[track_caller]
    pub fn map(&self, len: usize) -> DiskResult<Arc<dyn RawMapping>> {
        self.call(Op::Map, || self.raw.map(len))
    }

    /// For `sendfile`; `None` where there is no such thing.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.raw.fd()
    }
}

fn retry_interrupted<T>(mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match run() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

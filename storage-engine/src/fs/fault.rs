//! A disk that fails where a test says so.
//!
//! [`FaultDisk`] wraps another backend, numbers every call, and lets a
//! [`FaultDisk::plan`] decide what the nth call does. It also records which lines of
//! the engine made calls and which of them were hit, so a test can demand that
//! every call site has been seen to fail.

use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Backend, DirEntry, Op, OpenMode, RawDir, RawFile, RawMapping};

/// What goes wrong at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The call fails and does nothing.
    Errno(i32),
    /// The call fails once with `EINTR`; its retry succeeds.
    Interrupted,
    /// A read or write moves one byte; other calls succeed.
    Short,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the call with this number, counted from 0.
    Nth(u64),
    /// At every call of this kind.
    Every(Op),
    /// At each call of this kind from the call with this number on.
    EveryFrom(Op, u64),
}

/// A call site: file and line in the engine, and what is called there.
pub type Site = (&'static str, u32, Op);

#[derive(Debug, Default)]
struct State {
    calls: u64,
    plan: Option<(When, Fault)>,
    /// Set by `calling`, consumed by the call that follows on the same disk.
    site: Option<Site>,
    seen: BTreeSet<Site>,
    hit: BTreeSet<(Site, Fault)>,
    interrupted: Option<u64>,
}

/// A disk that fails where a test says so.
#[derive(Clone, Debug)]
pub struct FaultDisk {
    inner: Arc<dyn Backend>,
    state: Arc<Mutex<State>>,
}

impl FaultDisk {
    /// Wraps `inner`; no fault is planned yet.
    pub fn new(inner: impl Backend) -> FaultDisk {
        FaultDisk {
            inner: Arc::new(inner),
            state: Arc::default(),
        }
    }

    /// Counts calls from 0 again and strikes as told.
    pub fn plan(&self, when: When, fault: Fault) {
        let mut state = self.lock();
        state.calls = 0;
        state.interrupted = None;
        state.plan = Some((when, fault));
    }

    /// No more faults.
    pub fn heal(&self) {
        self.lock().plan = None;
    }

    /// Calls made since the last plan.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Call sites that made a call.
    pub fn seen(&self) -> BTreeSet<Site> {
        self.lock().seen.clone()
    }

    /// Call sites at which something went wrong, with what: a call that moves no more than one byte
    /// is not made short.
    pub fn hit(&self) -> BTreeSet<(Site, Fault)> {
        self.lock().hit.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that moves no bytes.
    fn strike(&self, op: Op) -> io::Result<()> {
        self.strike_moving(op, 0).map(drop)
    }

    /// How many of `len` bytes a call moves.
    fn strike_moving(&self, op: Op, len: usize) -> io::Result<usize> {
        let mut state = self.lock();
        let number = state.calls;
        state.calls += 1;
        let Some((when, fault)) = state.plan else {
            return Ok(len);
        };
        let due = match when {
            When::Nth(n) => n == number,
            When::Every(kind) => kind == op,
            When::EveryFrom(kind, n) => kind == op && number >= n,
        };
        // The retry of an interrupted call is a call of its own; it must not be struck again.
        let is_retry =
            fault == Fault::Interrupted && state.interrupted == Some(number.wrapping_sub(1));
        if !due || is_retry || fault == Fault::Short && len < 2 {
            return Ok(len);
        }
        if let Some(site) = state.site {
            state.hit.insert((site, fault));
        }
        match fault {
            Fault::Errno(code) => Err(io::Error::from_raw_os_error(code)),
            Fault::Short => Ok(1),
            Fault::Interrupted => {
                state.interrupted = Some(number);
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }
}

impl Backend for FaultDisk {
    fn calling(&self, site: &'static Location<'static>, op: Op) {
        let site = (site.file(), site.line(), op);
        let mut state = self.lock();
        state.seen.insert(site);
        state.site = Some(site);
    }

    fn new_id(&self) -> uuid::Uuid {
        self.inner.new_id()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn RawFile>> {
        self.strike(Op::Open)?;
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FaultFile {
            inner,
            disk: self.clone(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.strike(Op::CreateDir)?;
        self.inner.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.strike(Op::ReadDir)?;
        self.inner.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.strike(Op::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.strike(Op::RemoveFile)?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.strike(Op::RemoveDir)?;
        self.inner.remove_dir(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<u64> {
        self.strike(Op::FileSystem)?;
        self.inner.file_system(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.strike(Op::SyncDir)?;
        self.inner.sync_dir(path)
    }

    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn RawDir>> {
        self.strike(Op::OpenDir)?;
        let inner = self.inner.open_dir(path)?;
        Ok(Arc::new(FaultDir {
            inner,
            disk: self.clone(),
        }))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.strike(Op::Lock)?;
        self.inner.try_lock(path)
    }

    fn bytes_free(&self, path: &Path) -> io::Result<u64> {
        self.strike(Op::BytesFree)?;
        self.inner.bytes_free(path)
    }
}

#[derive(Debug)]
struct FaultDir {
    inner: Arc<dyn RawDir>,
    disk: FaultDisk,
}

impl RawDir for FaultDir {
    fn sync_file_system(&self) -> io::Result<()> {
        self.disk.strike(Op::SyncFileSystem)?;
        self.inner.sync_file_system()
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: Arc<dyn RawFile>,
    disk: FaultDisk,
}

impl RawFile for FaultFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let len = self.disk.strike_moving(Op::Read, buf.len())?;
        self.inner.read_at(&mut buf[..len], position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let len = self.disk.strike_moving(Op::Write, buf.len())?;
        self.inner.write_at(&buf[..len], position)
    }

    fn reserve(&self, position: u64, len: u64) -> io::Result<()> {
        self.disk.strike(Op::Reserve)?;
        self.inner.reserve(position, len)
    }

    fn zero(&self, position: u64, len: u64) -> io::Result<()> {
        self.disk.strike(Op::Zero)?;
        self.inner.zero(position, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.strike(Op::SetLen)?;
        self.inner.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.strike(Op::Len)?;
        self.inner.size()
    }

    fn modified_ms(&self) -> io::Result<i64> {
        self.disk.strike(Op::Modified)?;
        self.inner.modified_ms()
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.strike(Op::Sync)?;
        self.inner.sync()
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn RawMapping>> {
        self.disk.strike(Op::Map)?;
        self.inner.map(len)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }
}

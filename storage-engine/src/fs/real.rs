//! The operating system's file system.

use std::any::Any;
use std::ffi::{c_int, c_short};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::FallocateFlags;

use super::{Backend, DirEntry, OpenMode, RawDir, RawFile, RawMapping};
use crate::living_maps;
use crate::mapped::ReadMap;

/// Calls straight through to the operating system.
#[derive(Debug)]
pub struct RealDisk;

/// Whether a name is a directory's, whether it is a link, and a file's bytes.
///
/// The listing itself says what is a directory: of ten thousand partitions none is looked at twice.
/// What a link leads to counts, as for every open; a link to nothing is itself all there is.
fn kind_and_len(entry: &fs::DirEntry) -> io::Result<(bool, bool, u64)> {
    let kind = entry.file_type()?;
    if kind.is_dir() {
        return Ok((true, false, 0));
    }
    let metadata = match fs::metadata(entry.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => entry.metadata()?,
        followed => followed?,
    };
    match metadata.is_dir() {
        true => Ok((true, kind.is_symlink(), 0)),
        false => Ok((false, kind.is_symlink(), metadata.len())),
    }
}

impl Backend for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn RawFile>> {
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true);
        let file = match mode {
            OpenMode::Existing => options.open(path)?,
            OpenMode::Create => options.create(true).truncate(false).open(path)?,
            // Most often there is none, and one call says so.
            OpenMode::Truncate => match options.clone().create_new(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => empty(path, options)?,
                created => created?,
            },
        };
        Ok(Arc::new(RealFile {
            file: Arc::new(file),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A name that is not UTF-8 is not one of ours; it is left alone.
            if let Ok(name) = entry.file_name().into_string() {
                let (is_dir, is_link, len) = kind_and_len(&entry)?;
                entries.push(DirEntry {
                    name,
                    is_dir,
                    is_link,
                    len,
                });
            }
        }
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn RawDir>> {
        Ok(Arc::new(RealDir(fs::File::open(path)?)))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match set_lock(&file, libc::F_WRLCK) {
            Ok(()) => Ok(Some(Box::new(LockFile(file)))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn bytes_free(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn file_system(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.dev())
    }
}

/// Opens a file without its content. While it is mapped another file takes its name.
fn empty(path: &Path, options: &mut fs::OpenOptions) -> io::Result<fs::File> {
    let file = options.clone().create(true).truncate(false).open(path)?;
    let emptied = living_maps::while_counted(&file, |mapped| {
        (!mapped).then(|| file.set_len(0)).transpose()
    })?;
    match emptied {
        Some(()) => Ok(file),
        None => {
            fs::remove_file(path)?;
            options.create_new(true).open(path)
        }
    }
}

/// A lock that is held. It belongs to the open file, which a child process shares from
/// its fork until its exec, so closing our handle alone would leave the directory locked
/// for that long: the lock is given back by name.
#[derive(Debug)]
struct LockFile(fs::File);

impl Drop for LockFile {
    fn drop(&mut self) {
        // It can only fail for a file that is not open.
        let _ = set_lock(&self.0, libc::F_UNLCK);
    }
}

/// Locks all of a file, or gives the lock back. Of the kind that Java's `FileChannel.tryLock` sees and is
/// seen by: `flock` is not, and Apache Kafka would open the directory beside us.
fn set_lock(file: &fs::File, kind: c_int) -> Result<(), Errno> {
    let range = libc::flock {
        l_type: kind as c_short,
        l_whence: libc::SEEK_SET as c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&range)).map(drop)
}

#[derive(Debug)]
struct RealDir(fs::File);

impl RawDir for RealDir {
    fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

#[derive(Debug)]
struct RealFile {
    file: Arc<fs::File>,
}

/// Zeros are written in pieces of this size where the file system cannot zero a range.
const ZERO_CHUNK_BYTES: usize = 64 * 1024;

impl RawFile for RealFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.file.write_at(buf, position)
    }

    fn reserve(&self, position: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, position, len) {
            // Without preallocation the write itself reports a full disk.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn zero(&self, position: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, position, len) {
            Err(rustix::io::Errno::OPNOTSUPP) => {
                // tmpfs cannot zero a range, so the zeros are written.
                let zeros = [0; ZERO_CHUNK_BYTES];
                let end = position.saturating_add(len).min(self.size()?);
                let mut at = position;
                while at < end {
                    let piece = (end - at).min(ZERO_CHUNK_BYTES as u64) as usize;
                    self.file.write_all_at(&zeros[..piece], at)?;
                    at += piece as u64;
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let zeroed = living_maps::while_counted(&self.file, |mapped| {
            let size = self.file.metadata()?.len();
            if mapped && len < size {
                // Not punched out: loading from a hole may need a block, and on tmpfs
                // a full disk is SIGBUS then.
                return Ok(Some(size - len));
            }
            self.file.set_len(len)?;
            Ok(None)
        })?;
        match zeroed {
            Some(behind) => self.zero(len, behind),
            None => Ok(()),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn modified_ms(&self) -> io::Result<i64> {
        let modified = self.file.metadata()?.modified()?;
        // A file from before 1970 is as old as can be said.
        Ok(modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn RawMapping>> {
        Ok(Arc::new(ReadMap::new(&self.file, len)?))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::FlockOperation;

    use super::*;

    /// The lock that Java takes, which is also what Apache Kafka holds its directories by.
    #[test]
    fn a_lock_of_the_kind_java_takes_keeps_us_out() {
        let dir = tempfile::tempdir().expect("a place for files");
        let path = dir.path().join(".lock");
        let theirs = fs::File::create(&path).expect("a file");
        let exclusively = FlockOperation::NonBlockingLockExclusive;
        rustix::fs::fcntl_lock(&theirs, exclusively).expect("free");
        assert!(RealDisk.try_lock(&path).expect("a file").is_none(), "held");
        rustix::fs::fcntl_lock(&theirs, FlockOperation::Unlock).expect("held");
        let ours = RealDisk.try_lock(&path).expect("a file").expect("free");
        assert!(
            rustix::fs::fcntl_lock(&theirs, exclusively).is_err(),
            "ours keeps them out"
        );
        drop(ours);
        rustix::fs::fcntl_lock(&theirs, exclusively).expect("given back");
    }

    /// What a fork does to every open file: there is another handle for as long as the
    /// child has not reached its exec.
    #[test]
    fn a_lock_given_back_is_free_though_a_child_process_still_shares_the_file() {
        let dir = tempfile::tempdir().expect("a place for files");
        let path = dir.path().join(".lock");
        let lock = RealDisk.try_lock(&path).expect("a file").expect("free");
        let shared = {
            let lock = lock.downcast_ref::<LockFile>().expect("our lock");
            lock.0.try_clone().expect("another handle")
        };
        assert!(RealDisk.try_lock(&path).expect("a file").is_none(), "held");
        drop(lock);
        let again = RealDisk.try_lock(&path).expect("a file");
        assert!(again.is_some(), "given back");
        drop(shared);
        assert!(RealDisk.try_lock(&path).expect("a file").is_none(), "held");
    }
}

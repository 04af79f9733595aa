//! Which files are mapped now, anywhere in this process.
//!
//! Loading from a page behind the end of a mapped file is SIGBUS, so a file must not
//! get shorter while a mapping of it lives. Who holds one is not known to the log that
//! wants to shorten it: a mapping was evicted and made anew while a slice goes on
//! holding the first, or the log was closed and opened again beside it. So mappings
//! are counted here per file, by device and inode: as long as a mapping lives its inode
//! does, and the number is not given to another file.
//!
//! The count is taken before the mapping is made and given back when it is gone, and
//! [`while_counted`] holds the lock meanwhile: between the question and the deed no
//! mapping appears.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files in different shards do not wait for each other.
const SHARDS: usize = 64;

type FileId = (u64, u64);

static MAPPED: [Mutex<BTreeMap<FileId, usize>>; SHARDS] =
    [const { Mutex::new(BTreeMap::new()) }; SHARDS];

fn shard(id: FileId) -> MutexGuard<'static, BTreeMap<FileId, usize>> {
    let (_, inode) = id;
    MAPPED[inode as usize % SHARDS]
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

fn id(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// One mapping of a file; the file is not shortened until this is dropped.
#[derive(Debug)]
pub(crate) struct LivingMap {
    id: FileId,
}

impl LivingMap {
    /// Counts a mapping that is about to be made.
    pub(crate) fn of(file: &File) -> io::Result<LivingMap> {
        let id = id(file)?;
        *shard(id).entry(id).or_default() += 1;
        Ok(LivingMap { id })
    }
}

impl Drop for LivingMap {
    fn drop(&mut self) {
        let mut mapped = shard(self.id);
        if let Some(count) = mapped.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                mapped.remove(&self.id);
            }
        }
    }
}

/// Runs `run` with whether the file is mapped; the answer holds until it returns.
pub(crate) fn while_counted<T>(
    file: &File,
    run: impl FnOnce(bool) -> io::Result<T>,
) -> io::Result<T> {
    let id = id(file)?;
    let mapped = shard(id);
    run(mapped.contains_key(&id))
}

//! A file of fixed-size, append-only entries with its newest part in memory.
//!
//! The offset index and the time index share this. New entries gather in a small
//! buffer and reach the file when it is full, when the segment is sealed or on a
//! clean stop, so an append costs no write of its own. After a power cut the
//! file may hold less than was indexed, or pages of zeros: what an entry says is
//! therefore checked against the log before it is believed (see `segment.rs`).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::env::Env;
use crate::fs::{DiskError, DiskResult, File, Op, OpenMode};
use crate::map_budget::MapSlot;

/// Entries that gather in memory before they are written.
const BUFFERED_ENTRIES: usize = 128;

/// Entries of `N` bytes.
#[derive(Debug)]
pub(crate) struct IndexFile<const N: usize> {
    path: PathBuf,
    env: Arc<Env>,
    map: Arc<MapSlot>,
    /// Greatest number of entries; the segment rolls when it is reached. A run of batches that is
    /// written at once may bring more.
    max_entries: usize,
    state: Mutex<State<N>>,
}

#[derive(Debug)]
struct State<const N: usize> {
    /// Open while it is in use; thousands of idle partitions hold no files.
    file: Option<File>,
    /// Entries in the file.
    written: usize,
    /// Entries behind those, not written yet.
    buffered: Vec<u8>,
    /// The newest entry, once it is known.
    newest: Option<[u8; N]>,
    /// Whether the file changed since its last sync.
    dirty: bool,
    /// Entries that the mapping made last has room for.
    mapped: usize,
}

impl<const N: usize> IndexFile<N> {
    /// An index whose file holds `file_bytes` bytes, or does not exist (0).
    /// Nothing is opened yet.
    pub(crate) fn new(path: PathBuf, env: Arc<Env>, file_bytes: u64, max_bytes: usize) -> Self {
        IndexFile {
            path,
            env,
            map: Arc::default(),
            max_entries: (max_bytes / N).max(1),
            state: Mutex::new(State {
                file: None,
                written: file_bytes as usize / N,
                buffered: Vec::new(),
                newest: None,
                dirty: false,
                mapped: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file<'a>(&self, state: &'a mut State<N>) -> DiskResult<&'a File> {
        // An index that begins empty also empties what an earlier life left behind. One
        // that was emptied by us and waits for its sync is the file that is there.
        let mode = if state.written == 0 && !state.dirty {
            OpenMode::Truncate
        } else {
            OpenMode::Existing
        };
        match &mut state.file {
            Some(file) => Ok(file),
            closed => Ok(closed.insert(self.env.disk.open(&self.path, mode)?)),
        }
    }

    /// Opens the file if it exists; its name may be gone afterwards.
    pub(crate) fn open_for_good(&self) -> DiskResult<()> {
        let mut state = self.state();
        // One without entries may wait for its sync nonetheless: a truncation emptied it.
        if state.written > 0 || state.dirty {
            self.file(&mut state)?;
        }
        Ok(())
    }

    /// Entries in file and memory.
    pub(crate) fn len(&self) -> usize {
        let state = self.state();
        state.written + state.buffered.len() / N
    }

    /// No room for so many entries more. One that has none has room for all: a segment that is
    /// begun anew would have no more.
    pub(crate) fn is_full_with(&self, entries: usize) -> bool {
        let len = self.len();
        len > 0 && len + entries > self.max_entries
    }

    /// Writes the buffer out if it has no room for so many entries more; for more than
    /// it ever has it grows. After this that many calls of [`IndexFile::push`] touch memory
    /// only, so they cannot fail on a full disk.
    pub(crate) fn make_room(&self, entries: usize) -> DiskResult<()> {
        let mut state = self.state();
        let wanted = entries.max(1) * N;
        if state.buffered.len() + wanted > BUFFERED_ENTRIES * N {
            self.write(&mut state)?;
            // Large for one append, it would stay so for the life of the segment.
            state.buffered.shrink_to(BUFFERED_ENTRIES * N);
        }
        let room = wanted.max(BUFFERED_ENTRIES * N - state.buffered.len());
        state.buffered.reserve_exact(room);
        Ok(())
    }

    /// Adds an entry.
    pub(crate) fn push(&self, entry: [u8; N]) {
        let mut state = self.state();
        state.buffered.extend_from_slice(&entry);
        state.newest = Some(entry);
    }

    fn write(&self, state: &mut State<N>) -> DiskResult<()> {
        if state.buffered.is_empty() {
            return Ok(());
        }
        let position = (state.written * N) as u64;
        let file = self.file(state)?.clone();
        file.write_all_at(&state.buffered, position)?;
        state.written += state.buffered.len() / N;
        state.buffered.clear();
        state.dirty = true;
        Ok(())
    }

    /// Whether there is anything a sync would carry to the disk.
    pub(crate) fn is_dirty(&self) -> bool {
        let state = self.state();
        state.dirty || !state.buffered.is_empty()
    }

    /// Writes what is in memory and syncs the file if anything changed.
    pub(crate) fn sync(&self) -> DiskResult<()> {
        let mut state = self.state();
        self.write(&mut state)?;
        if state.dirty {
            self.file(&mut state)?.sync()?;
            state.dirty = false;
        }
        Ok(())
    }

    /// Frees buffer and file handle of an index that gets no more entries. From now on
    /// there is a file, if only an empty one: Apache Kafka takes a missing index for a
    /// lost one and scans the segment to rebuild it.
    pub(crate) fn seal(&self) -> DiskResult<()> {
        let mut state = self.state();
        self.write(&mut state)?;
        self.file(&mut state)?;
        state.buffered = Vec::new();
        state.file = None;
        Ok(())
    }

    /// Keeps the first `entries` entries. The file is cut too, so that no stale
    /// entry can follow new ones.
    pub(crate) fn truncate(&self, entries: usize) -> DiskResult<()> {
        let mut state = self.state();
        if entries >= state.written + state.buffered.len() / N {
            return Ok(());
        }
        state.newest = None;
        if entries >= state.written {
            let kept = (entries - state.written) * N;
            state.buffered.truncate(kept);
            return Ok(());
        }
        state.buffered.clear();
        // Held, it would keep the file from getting shorter.
        self.map.release_if_unused();
        self.file(&mut state)?.set_len((entries * N) as u64)?;
        state.written = entries;
        state.dirty = true;
        Ok(())
    }

    /// The number of leading entries for which `before` holds; entries are sorted
    /// so that it holds for a prefix.
    pub(crate) fn partition_point(&self, before: impl Fn(&[u8; N]) -> bool) -> DiskResult<usize> {
        self.with_entries(|count, entry| {
            let (mut low, mut high) = (0, count);
            while low < high {
                let middle = low + (high - low) / 2;
                if before(&entry(middle)?) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            Ok(low)
        })
    }

    /// Entry number `index`, if there is one.
    pub(crate) fn get(&self, index: usize) -> DiskResult<Option<[u8; N]>> {
        self.with_entries(|count, entry| (index < count).then(|| entry(index)).transpose())
    }

    /// The newest entry. Reads the file without mapping it, since opening a
    /// partition asks for this and nothing else.
    pub(crate) fn last(&self) -> DiskResult<Option<[u8; N]>> {
        let mut state = self.state();
        if state.newest.is_none() {
            let mut entry = [0; N];
            if let Some(newest) = state.buffered.rchunks_exact(N).next() {
                entry.copy_from_slice(newest);
            } else if state.written > 0 {
                let position = ((state.written - 1) * N) as u64;
                self.file(&mut state)?.read_exact_at(&mut entry, position)?;
            } else {
                return Ok(None);
            }
            state.newest = Some(entry);
        }
        Ok(state.newest)
    }

    fn with_entries<T>(
        &self,
        run: impl FnOnce(usize, &dyn Fn(usize) -> io::Result<[u8; N]>) -> io::Result<T>,
    ) -> DiskResult<T> {
        let mut state = self.state();
        let count = state.written + state.buffered.len() / N;
        let mapping = match state.written {
            0 => None,
            written => {
                // Room to grow, so that the active segment's index is mapped once.
                let entries = written.max(self.max_entries);
                let file = self.file(&mut state)?.clone();
                if entries > state.mapped {
                    // Nobody holds it outside of this lock.
                    self.map.release_if_unused();
                }
                let mapping = self.map.get(&self.env.maps, &file, entries * N)?;
                state.mapped = entries;
                Some(mapping)
            }
        };
        let entry = |index: usize| {
            let mut entry = [0; N];
            match (&mapping, index.checked_sub(state.written)) {
                (Some(mapping), None) => mapping.copy(index * N, &mut entry)?,
                (_, Some(buffered)) => entry.copy_from_slice(&state.buffered[buffered * N..][..N]),
                (None, None) => unreachable!("entries in the file come with a mapping"),
            }
            Ok(entry)
        };
        run(count, &entry).map_err(|source| DiskError {
            op: Op::Map,
            path: self.path.clone(),
            source,
        })
    }
}

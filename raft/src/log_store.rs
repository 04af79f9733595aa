//! The metadata log on disk, as openraft asks for it.
//!
//! `index` knows which entries there are, [`segments`] holds them in files,
//! `markers` keeps the vote and two positions, `writer` does all writing in order.
//! This file translates.
//!
//! What is promised: a vote is durable when `save_vote` returns; an entry is readable
//! when `append` returns and durable when its callback is called, and callbacks come
//! in order; neither truncation nor purging leaves a hole, also across a power cut.

pub mod entry;
mod index;
mod markers;
pub mod segments;
mod writer;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use reka_storage::fs::{Disk, DiskError, Op};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::types::{Entry, LogId, StorageError, StorageIoError, Types, Vote, VoterId};
use index::Index;
use segments::{Place, Segments};
pub use writer::WriterMode;
use writer::{Command, Done, Writer};

/// Bytes after which a new segment is begun.
pub const SEGMENT_BYTES_MAX: u64 = 8 << 20;

/// The metadata log; clones share it.
#[derive(Clone, Debug)]
pub struct LogStore {
    index: Arc<Mutex<Index>>,
    writer: Writer,
    vote: Arc<Mutex<Option<Vote>>>,
    committed: Arc<Mutex<Option<LogId>>>,
}

impl LogStore {
    /// Opens the log in `dir`, which exists, cutting a torn tail.
    pub fn open(
        disk: &Disk,
        dir: &Path,
        segment_bytes_max: u64,
        mode: WriterMode,
    ) -> Result<LogStore, StoreError> {
        let vote = markers::read_vote(disk, dir)?;
        let committed = markers::read_committed(disk, dir)?;
        let opened = Segments::open(disk, dir, segment_bytes_max)?;
        let index = Index::new(opened.first, opened.entries, opened.purged);
        let index = Arc::new(Mutex::new(index));
        let writer = Writer::start(
            mode,
            disk.clone(),
            dir.to_owned(),
            opened.segments,
            index.clone(),
        )
        .map_err(|source| DiskError {
            op: Op::Open,
            path: dir.to_owned(),
            source,
        })?;
        Ok(LogStore {
            index,
            writer,
            vote: Arc::new(Mutex::new(vote)),
            committed: Arc::new(Mutex::new(committed)),
        })
    }

    /// Gives up the leadership that the stored vote may speak of, when it is that of
    /// `voter` itself.
    ///
    /// openraft would resume it in the same term. An entry that was sent to peers but
    /// was lost here in a power cut would then be written a second time, with other
    /// content under the same term and index. A new term cannot collide.
    pub fn step_down(&self, voter: VoterId) {
        if let Some(vote) = lock(&self.vote).as_mut()
            && vote.leader_id.voted_for == Some(voter)
        {
            vote.committed = false;
        }
    }

    /// Whether nothing was ever stored here.
    pub fn is_pristine(&self) -> bool {
        lock(&self.vote).is_none() && lock(&self.index).last().is_none()
    }

    /// Last entry known to be committed.
    pub fn committed_index(&self) -> Option<u64> {
        lock(&self.committed).map(|id| id.index)
    }

    /// Last entry in the log, or the last purged one.
    pub fn last_index(&self) -> Option<u64> {
        lock(&self.index).last().map(|id| id.index)
    }

    /// Returns when all that was asked for has been carried out.
    pub async fn drain(&self) {
        // A writer that is gone has nothing left to do.
        let _ = self.ask(Command::Drain).await;
    }

    async fn ask(&self, command: impl FnOnce(Done) -> Command) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.writer.submit(command(Box::new(move |result| {
            // Nobody waits when the quorum is being shut down.
            let _ = sender.send(result);
        })));
        receiver.await.unwrap_or_else(|_| {
            Err(StoreError::Stopped {
                reason: "its thread ended".to_owned(),
            })
        })
    }

    fn read(&self, range: impl RangeBounds<u64>) -> Result<Vec<Entry>, StoreError> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let below = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        // Collected under the lock, read without it: the writer needs it too.
        let sources: Vec<Source> = {
            let index = lock(&self.index);
            let range = from.max(index.first())..below.min(index.next());
            range.filter_map(|at| Source::of(&index, at)).collect()
        };
        read_sources(&sources)
    }
}

/// Where to get an entry from.
enum Source {
    Memory(Bytes),
    Disk(Place),
}

impl Source {
    fn of(index: &Index, at: u64) -> Option<Source> {
        let slot = index.get(at)?;
        match (&slot.bytes, &slot.place) {
            (Some(bytes), _) => Some(Source::Memory(bytes.clone())),
            (None, Some(place)) => Some(Source::Disk(place.clone())),
            (None, None) => None,
        }
    }
}

/// Bytes read from a segment at a time.
const READ_BYTES_MAX: usize = 256 << 10;

fn read_sources(sources: &[Source]) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::with_capacity(sources.len());
    let mut at = 0;
    while let Some(source) = sources.get(at) {
        match source {
            Source::Memory(bytes) => {
                let decoded = entry::decode(bytes);
                // These bytes were made here: only broken memory changes them.
                entries.push(
                    decoded
                        .map_err(|damage| StoreError::damaged(Path::new("memory"), 0, damage))?,
                );
                at += 1;
            }
            Source::Disk(place) => {
                let run = adjoining(&sources[at..]);
                let len = run.iter().map(|place| place.len).sum();
                let mut bytes = vec![0; len];
                place.file.read_exact_at(&mut bytes, place.position)?;
                let bytes = Bytes::from(bytes);
                for one in &run {
                    let start = (one.position - place.position) as usize;
                    let entry = entry::decode(&bytes.slice(start..start + one.len));
                    entries.push(entry.map_err(|damage| {
                        StoreError::damaged(one.file.path(), one.position, damage)
                    })?);
                }
                at += run.len();
            }
        }
    }
    Ok(entries)
}

/// The places at the start of `sources` that can be read at once.
fn adjoining(sources: &[Source]) -> Vec<&Place> {
    let mut run: Vec<&Place> = Vec::new();
    let mut len = 0;
    for source in sources {
        let Source::Disk(place) = source else { break };
        if let Some(last) = run.last() {
            let follows = last.position + last.len as u64 == place.position
                && last.file.path() == place.file.path();
            if !follows || len + place.len > READ_BYTES_MAX {
                break;
            }
        }
        len += place.len;
        run.push(place);
    }
    run
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(range)
            .map_err(|error| StorageIoError::read_logs(&error).into())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let index = lock(&self.index);
        Ok(LogState {
            last_purged_log_id: index.purged(),
            last_log_id: index.last(),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let stored = *vote;
        self.ask(|done| Command::Vote(stored, done))
            .await
            .map_err(|error| StorageIoError::write_vote(&error))?;
        *lock(&self.vote) = Some(stored);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(*lock(&self.vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        *lock(&self.committed) = committed;
        if let Some(upto) = committed {
            self.writer.submit(Command::Committed(upto));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(*lock(&self.committed))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut first = None;
        let mut stored = Vec::new();
        {
            let mut index = lock(&self.index);
            for entry in entries {
                let bytes = entry::encode(&entry, index.synced_below());
                index.push(
                    entry.log_id.index,
                    entry.log_id.leader_id.term,
                    bytes.clone(),
                );
                first.get_or_insert(entry.log_id.index);
                stored.push(bytes);
            }
        }
        let Some(first) = first else {
            callback.log_io_completed(Ok(()));
            return Ok(());
        };
        self.writer.submit(Command::Append {
            first,
            entries: stored,
            done: Box::new(|result| {
                callback.log_io_completed(result.map_err(StoreError::into_io));
            }),
        });
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.ask(|done| Command::Truncate {
            since: since.index,
            done,
        })
        .await
        .map_err(|error| StorageIoError::write_logs(&error).into())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.ask(|done| Command::Purge(upto, done))
            .await
            .map_err(|error| StorageIoError::write_logs(&error).into())
    }
}

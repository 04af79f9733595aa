//! `.txnindex`: the aborted transactions whose marker lies in a segment.
//!
//! | bytes  | field              | type | meaning                                        |
//! |--------|--------------------|------|------------------------------------------------|
//! | 0..2   | version            | i16  | 0                                              |
//! | 2..10  | producer id        | i64  |                                                |
//! | 10..18 | first offset       | i64  | of the transaction's data in the partition     |
//! | 18..26 | last offset        | i64  | of the abort marker                            |
//! | 26..34 | last stable offset | i64  | of the partition when the marker was written   |
//!
//! Big-endian, ordered by last offset. Aborts are rare, so entries are written
//! one by one and the whole index of a segment is held once it was asked for. What
//! cannot be an entry of the segment ends the index; a start compares the rest with
//! the batches that its entries name, recovery with the markers (`log/restore.rs`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::env::Env;
use crate::format::{TXN_INDEX_ENTRY_BYTES, TXN_INDEX_VERSION};
use crate::fs::{DiskResult, File, OpenMode};

/// A transaction a read_committed reader must not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Whose it was.
    pub producer_id: i64,
    /// First offset of its data.
    pub first_offset: i64,
    /// Offset of its abort marker.
    pub last_offset: i64,
    /// Last stable offset when the marker was written: no transaction aborted
    /// later has data below it.
    pub last_stable_offset: i64,
}

impl AbortedTxn {
    /// The entry as stored.
    pub(crate) fn encode(&self) -> [u8; TXN_INDEX_ENTRY_BYTES] {
        let mut bytes = [0; TXN_INDEX_ENTRY_BYTES];
        bytes[..2].copy_from_slice(&TXN_INDEX_VERSION.to_be_bytes());
        let fields = [
            self.producer_id,
            self.first_offset,
            self.last_offset,
            self.last_stable_offset,
        ];
        for (place, field) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// `None` for what this version did not write.
    pub(crate) fn decode(bytes: &[u8; TXN_INDEX_ENTRY_BYTES]) -> Option<AbortedTxn> {
        let (version, fields) = bytes.split_first_chunk::<2>()?;
        if i16::from_be_bytes(*version) != TXN_INDEX_VERSION {
            return None;
        }
        let mut fields = fields.chunks_exact(8).map(|field| {
            field
                .iter()
                .fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
        });
        let txn = AbortedTxn {
            producer_id: fields.next()?,
            first_offset: fields.next()?,
            last_offset: fields.next()?,
            last_stable_offset: fields.next()?,
        };
        (txn.first_offset >= 0 && txn.first_offset < txn.last_offset).then_some(txn)
    }
}

/// Entries read at a time.
const ENTRIES_READ: usize = 128;

/// The aborted transactions of one segment.
#[derive(Debug)]
pub(crate) struct TxnIndex {
    base_offset: i64,
    path: PathBuf,
    env: Arc<Env>,
    file: OnceLock<File>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes in the file; 0 when there is none.
    file_bytes: u64,
    entries: Option<Vec<AbortedTxn>>,
    dirty: bool,
}

impl TxnIndex {
    pub(crate) fn new(base_offset: i64, path: PathBuf, env: Arc<Env>, file_bytes: u64) -> TxnIndex {
        let state = State {
            file_bytes,
            entries: None,
            dirty: false,
        };
        TxnIndex {
            base_offset,
            path,
            env,
            file: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> DiskResult<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = self.env.disk.open(&self.path, OpenMode::Create)?;
        Ok(self.file.get_or_init(|| file))
    }

    fn load<'a>(&self, state: &'a mut State) -> DiskResult<&'a mut Vec<AbortedTxn>> {
        if state.entries.is_none() {
            state.entries = Some(match state.file_bytes {
                0 => Vec::new(),
                _ => self.read()?,
            });
        }
        Ok(state.entries.get_or_insert_default())
    }

    /// The entries up to the first that cannot be one. Read in pieces: how long the file
    /// claims to be says nothing about what is in it.
    fn read(&self) -> DiskResult<Vec<AbortedTxn>> {
        let mut entries: Vec<AbortedTxn> = Vec::new();
        let mut bytes = [0; ENTRIES_READ * TXN_INDEX_ENTRY_BYTES];
        loop {
            let position = (entries.len() * TXN_INDEX_ENTRY_BYTES) as u64;
            let read = self.file()?.read_up_to(&mut bytes, position)?;
            for chunk in bytes[..read].as_chunks::<TXN_INDEX_ENTRY_BYTES>().0 {
                let least = entries
                    .last()
                    .map_or(self.base_offset, |last| last.last_offset + 1);
                match AbortedTxn::decode(chunk) {
                    Some(txn) if txn.last_offset >= least && txn.last_offset < i64::MAX => {
                        entries.push(txn);
                    }
                    _ => return Ok(entries),
                }
            }
            if read < bytes.len() {
                return Ok(entries);
            }
        }
    }

    /// Adds an aborted transaction.
    pub(crate) fn push(&self, txn: AbortedTxn) -> DiskResult<()> {
        let mut state = self.state();
        let end = (self.load(&mut state)?.len() * TXN_INDEX_ENTRY_BYTES) as u64;
        if state.file_bytes > end {
            // What is no entry ends the index; behind this one it could be taken for one.
            self.file()?.set_len(end)?;
            state.file_bytes = end;
        }
        self.file()?.write_all_at(&txn.encode(), end)?;
        state.file_bytes = end + TXN_INDEX_ENTRY_BYTES as u64;
        state.dirty = true;
        self.load(&mut state)?.push(txn);
        Ok(())
    }

    /// Whether there is anything in the file.
    pub(crate) fn is_stored(&self) -> bool {
        self.state().file_bytes > 0
    }

    /// Whether all that is in the file is entries.
    pub(crate) fn is_whole(&self) -> DiskResult<bool> {
        let mut state = self.state();
        let file_bytes = state.file_bytes;
        let entries = self.load(&mut state)?.len();
        Ok(file_bytes == (entries * TXN_INDEX_ENTRY_BYTES) as u64)
    }

    /// Whether there is anything a sync would carry to the disk.
    pub(crate) fn is_dirty(&self) -> bool {
        self.state().dirty
    }

    /// Calls `visit` with each entry until it says to stop; whether it did.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&AbortedTxn) -> bool) -> DiskResult<bool> {
        let mut state = self.state();
        Ok(self.load(&mut state)?.iter().any(|txn| !visit(txn)))
    }

    /// Drops entries whose marker lies at or behind `offset`.
    pub(crate) fn truncate_to_offset(&self, offset: i64) -> DiskResult<()> {
        let mut state = self.state();
        let file_bytes = state.file_bytes;
        let entries = self.load(&mut state)?;
        let keep = entries.partition_point(|txn| txn.last_offset < offset);
        let stale_tail = file_bytes > (keep * TXN_INDEX_ENTRY_BYTES) as u64;
        if keep == entries.len() && !stale_tail {
            return Ok(());
        }
        entries.truncate(keep);
        let kept_bytes = (keep * TXN_INDEX_ENTRY_BYTES) as u64;
        self.file()?.set_len(kept_bytes)?;
        state.file_bytes = kept_bytes;
        state.dirty = true;
        Ok(())
    }

    /// Opens the file if it exists; its name may be gone afterwards.
    pub(crate) fn open_for_good(&self) -> DiskResult<()> {
        if self.state().file_bytes > 0 {
            self.file()?;
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> DiskResult<()> {
        let mut state = self.state();
        if state.dirty {
            self.file()?.sync()?;
            state.dirty = false;
        }
        Ok(())
    }
}

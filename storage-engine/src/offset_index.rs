//! `.index`: from an offset to a position in the data file.
//!
//! | bytes | field           | type | meaning                                        |
//! |-------|-----------------|------|------------------------------------------------|
//! | 0..4  | relative offset | i32  | *last* offset of a batch, minus the base offset |
//! | 4..8  | position        | i32  | where that batch starts                        |
//!
//! Big-endian, offsets and positions strictly growing, one entry per
//! `index.interval.bytes` of log. Apache Kafka preallocates the file of its
//! active segment with zeros; ours has the length of its entries.

use std::path::PathBuf;
use std::sync::Arc;

use crate::env::Env;
use crate::format::OFFSET_INDEX_ENTRY_BYTES;
use crate::fs::DiskResult;
use crate::index_file::IndexFile;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// Last offset of the batch.
    pub(crate) last_offset: i64,
    /// Where the batch starts in the data file.
    pub(crate) position: u64,
}

/// The offset index of one segment.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    base_offset: i64,
    file: IndexFile<OFFSET_INDEX_ENTRY_BYTES>,
}

impl OffsetIndex {
    pub(crate) fn new(
        base_offset: i64,
        path: PathBuf,
        env: Arc<Env>,
        bytes: u64,
        max_bytes: usize,
    ) -> Self {
        OffsetIndex {
            base_offset,
            file: IndexFile::new(path, env, bytes, max_bytes),
        }
    }

    fn decode(&self, bytes: [u8; OFFSET_INDEX_ENTRY_BYTES]) -> OffsetEntry {
        let [a, b, c, d, e, f, g, h] = bytes;
        let relative = i64::from(i32::from_be_bytes([a, b, c, d]));
        // Garbage may hold negative numbers, and a file's name the greatest offset there
        // is; they become entries no log confirms.
        OffsetEntry {
            last_offset: self.base_offset.saturating_add(relative),
            position: u64::from(u32::from_be_bytes([e, f, g, h])),
        }
    }

    /// Adds an entry; both fields fit 31 bits because the segment rolls before.
    pub(crate) fn push(&self, entry: OffsetEntry) {
        let relative = (entry.last_offset - self.base_offset) as i32;
        debug_assert!(relative >= 0 && i64::from(relative) + self.base_offset == entry.last_offset);
        let mut bytes = [0; OFFSET_INDEX_ENTRY_BYTES];
        bytes[..4].copy_from_slice(&relative.to_be_bytes());
        bytes[4..].copy_from_slice(&(entry.position as u32).to_be_bytes());
        self.file.push(bytes);
    }

    /// See [`IndexFile::make_room`].
    pub(crate) fn make_room(&self, entries: usize) -> DiskResult<()> {
        self.file.make_room(entries)
    }

    /// The last entry at or below `offset`: where a search for it starts.
    pub(crate) fn floor(&self, offset: i64) -> DiskResult<Option<OffsetEntry>> {
        self.last_where(|entry| entry.last_offset <= offset)
    }

    fn last_where(&self, holds: impl Fn(OffsetEntry) -> bool) -> DiskResult<Option<OffsetEntry>> {
        let count = self
            .file
            .partition_point(|bytes| holds(self.decode(*bytes)))?;
        match count.checked_sub(1) {
            None => Ok(None),
            Some(index) => Ok(self.file.get(index)?.map(|bytes| self.decode(bytes))),
        }
    }

    /// The newest entry.
    pub(crate) fn last(&self) -> DiskResult<Option<OffsetEntry>> {
        Ok(self.file.last()?.map(|bytes| self.decode(bytes)))
    }

    /// Drops entries of batches at or behind `position`.
    pub(crate) fn truncate_to_position(&self, position: u64) -> DiskResult<()> {
        let keep = self
            .file
            .partition_point(|bytes| self.decode(*bytes).position < position)?;
        self.file.truncate(keep)
    }

    /// Drops entries until the rest is strictly growing and inside the log; after
    /// a power cut pages of the file may be missing or old.
    pub(crate) fn keep_plausible(&self, log_bytes: u64) -> DiskResult<()> {
        let mut previous = OffsetEntry {
            last_offset: self.base_offset - 1,
            position: 0,
        };
        let mut keep = 0;
        while let Some(bytes) = self.file.get(keep)? {
            let entry = self.decode(bytes);
            let grows = entry.last_offset > previous.last_offset
                && (entry.position > previous.position || keep == 0);
            if !grows || entry.position >= log_bytes {
                break;
            }
            previous = entry;
            keep += 1;
        }
        self.file.truncate(keep)
    }

    /// See [`IndexFile::open_for_good`].
    pub(crate) fn open_for_good(&self) -> DiskResult<()> {
        self.file.open_for_good()
    }

    pub(crate) fn clear(&self) -> DiskResult<()> {
        self.file.truncate(0)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.file.is_full_with(1)
    }

    pub(crate) fn seal(&self) -> DiskResult<()> {
        self.file.seal()
    }

    /// Whether there is anything a sync would carry to the disk.
    pub(crate) fn is_dirty(&self) -> bool {
        self.file.is_dirty()
    }

    pub(crate) fn sync(&self) -> DiskResult<()> {
        self.file.sync()
    }
}

//! `.timeindex`: from a timestamp to an offset.
//!
//! | bytes | field           | type | meaning                                          |
//! |-------|-----------------|------|--------------------------------------------------|
//! | 0..8  | timestamp       | i64  | the greatest timestamp of the segment so far     |
//! | 8..12 | relative offset | i32  | last offset of the batch that brought it, minus the base offset |
//!
//! Big-endian, both strictly growing. Record time is not monotonic, so an entry
//! says: no record before this offset is younger than this timestamp.

use std::path::PathBuf;
use std::sync::Arc;

use crate::env::Env;
use crate::format::TIME_INDEX_ENTRY_BYTES;
use crate::fs::DiskResult;
use crate::index_file::IndexFile;

/// A timestamp and the offset it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The offset.
    pub offset: i64,
}

/// The time index of one segment.
#[derive(Debug)]
pub(crate) struct TimeIndex {
    base_offset: i64,
    file: IndexFile<TIME_INDEX_ENTRY_BYTES>,
}

impl TimeIndex {
    pub(crate) fn new(
        base_offset: i64,
        path: PathBuf,
        env: Arc<Env>,
        bytes: u64,
        max_bytes: usize,
    ) -> Self {
        TimeIndex {
            base_offset,
            file: IndexFile::new(path, env, bytes, max_bytes),
        }
    }

    fn decode(&self, bytes: [u8; TIME_INDEX_ENTRY_BYTES]) -> TimestampOffset {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let relative = i64::from(i32::from_be_bytes([i, j, k, l]));
        TimestampOffset {
            timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            offset: self.base_offset.saturating_add(relative),
        }
    }

    /// Adds an entry unless it says nothing new.
    pub(crate) fn push_if_newer(&self, entry: TimestampOffset) -> DiskResult<()> {
        if let Some(last) = self.last()?
            && (entry.timestamp <= last.timestamp || entry.offset <= last.offset)
        {
            return Ok(());
        }
        let mut bytes = [0; TIME_INDEX_ENTRY_BYTES];
        bytes[..8].copy_from_slice(&entry.timestamp.to_be_bytes());
        bytes[8..].copy_from_slice(&((entry.offset - self.base_offset) as i32).to_be_bytes());
        self.file.push(bytes);
        Ok(())
    }

    /// See [`IndexFile::make_room`].
    pub(crate) fn make_room(&self, entries: usize) -> DiskResult<()> {
        self.file.make_room(entries)
    }

    /// The last entry whose timestamp is below `timestamp`: no record at or before
    /// its offset is as young as that.
    pub(crate) fn last_below(&self, timestamp: i64) -> DiskResult<Option<TimestampOffset>> {
        let count = self
            .file
            .partition_point(|bytes| self.decode(*bytes).timestamp < timestamp)?;
        match count.checked_sub(1) {
            None => Ok(None),
            Some(index) => Ok(self.file.get(index)?.map(|bytes| self.decode(bytes))),
        }
    }

    /// The newest entry.
    pub(crate) fn last(&self) -> DiskResult<Option<TimestampOffset>> {
        Ok(self.file.last()?.map(|bytes| self.decode(bytes)))
    }

    /// Drops entries at or behind `offset`.
    pub(crate) fn truncate_to_offset(&self, offset: i64) -> DiskResult<()> {
        let keep = self
            .file
            .partition_point(|bytes| self.decode(*bytes).offset < offset)?;
        self.file.truncate(keep)
    }

    /// Drops entries until the rest is strictly growing and ends before `end`.
    pub(crate) fn keep_plausible(&self, end: i64) -> DiskResult<()> {
        let mut previous = None;
        let mut keep = 0;
        while let Some(bytes) = self.file.get(keep)? {
            let entry = self.decode(bytes);
            let grows = previous.is_none_or(|previous: TimestampOffset| {
                entry.timestamp > previous.timestamp && entry.offset > previous.offset
            });
            if !grows || entry.offset < self.base_offset || entry.offset >= end {
                break;
            }
            previous = Some(entry);
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

    /// Sealing the segment may bring an entry of its own.
    pub(crate) fn is_full(&self) -> bool {
        self.file.is_full_with(2)
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

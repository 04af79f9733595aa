//! Writes a compacted segment aside, with `.cleaned` suffixes.
//!
//! Its indexes are small next to what was read to make them, so they gather in
//! memory and are written at the end, each file in one piece and synced.

use std::sync::Arc;

use reka_records::BatchHeader;

use super::pass::Pass;
use crate::env::Env;
use crate::error::LogError;
use crate::format::{FileKind, FileName, FileStage};
use crate::fs::{DiskResult, File, OpenMode};
use crate::segment::{FileSizes, Segment};
use crate::time_index::TimestampOffset;
use crate::txn_index::AbortedTxn;

const WRITE_BYTES: usize = 1 << 20;

/// A compacted segment in the making.
#[derive(Debug)]
pub(super) struct CleanedWriter {
    env: Arc<Env>,
    base_offset: i64,
    dir: std::path::PathBuf,
    log: File,
    written: u64,
    buffer: Vec<u8>,
    index_interval: u64,
    since_index: u64,
    largest: Option<TimestampOffset>,
    last_indexed: Option<TimestampOffset>,
    offset_index: Vec<u8>,
    time_index: Vec<u8>,
    txn_index: Vec<u8>,
}

fn name(base_offset: i64, kind: FileKind) -> FileName {
    FileName::live(base_offset, kind).at(FileStage::Cleaned)
}

/// Removes what was written for the segment that `first` begins.
pub(super) fn discard(env: &Env, first: &Segment) -> DiskResult<()> {
    let dir = first.dir();
    for kind in FileKind::OF_SEGMENT {
        env.disk
            .remove_file(&name(first.base_offset(), kind).in_dir(dir))?;
    }
    Ok(())
}

impl CleanedWriter {
    /// Begins the segment that will replace `first` and those behind it.
    pub(super) fn create(
        env: &Arc<Env>,
        pass: &Pass,
        first: &Segment,
        index_interval: u64,
    ) -> Result<CleanedWriter, LogError> {
        // An earlier attempt that was given up may have left indexes this one lacks.
        pass.by_name(|| discard(env, first))?;
        let dir = first.dir().to_owned();
        let base_offset = first.base_offset();
        let path = name(base_offset, FileKind::Log).in_dir(&dir);
        Ok(CleanedWriter {
            env: env.clone(),
            base_offset,
            log: pass.by_name(|| env.disk.open(&path, OpenMode::Truncate))?,
            dir,
            written: 0,
            buffer: Vec::with_capacity(WRITE_BYTES),
            index_interval,
            since_index: 0,
            largest: None,
            last_indexed: None,
            offset_index: Vec::new(),
            time_index: Vec::new(),
            txn_index: Vec::new(),
        })
    }

    /// Adds a batch.
    pub(super) fn append(&mut self, header: &BatchHeader, bytes: &[u8]) -> DiskResult<()> {
        let position = self.written + self.buffer.len() as u64;
        if self
            .largest
            .is_none_or(|largest| largest.timestamp < header.max_timestamp)
        {
            self.largest = Some(TimestampOffset {
                timestamp: header.max_timestamp,
                offset: header.last_offset(),
            });
        }
        if self.since_index > self.index_interval {
            self.offset_index
                .extend_from_slice(&self.relative(header.last_offset()));
            self.offset_index
                .extend_from_slice(&(position as u32).to_be_bytes());
            self.index_time();
            self.since_index = 0;
        }
        self.since_index += bytes.len() as u64;
        if self.buffer.len() + bytes.len() > WRITE_BYTES {
            self.write_out()?;
        }
        if bytes.len() >= WRITE_BYTES {
            self.log.write_all_at(bytes, self.written)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Keeps the index entry of an aborted transaction.
    pub(super) fn aborted(&mut self, txn: AbortedTxn) {
        self.txn_index.extend_from_slice(&txn.encode());
    }

    fn relative(&self, offset: i64) -> [u8; 4] {
        ((offset - self.base_offset) as i32).to_be_bytes()
    }

    fn index_time(&mut self) {
        let Some(largest) = self.largest else { return };
        if self
            .last_indexed
            .is_some_and(|last| largest.timestamp <= last.timestamp)
        {
            return;
        }
        self.time_index
            .extend_from_slice(&largest.timestamp.to_be_bytes());
        self.time_index
            .extend_from_slice(&self.relative(largest.offset));
        self.last_indexed = Some(largest);
    }

    fn write_out(&mut self) -> DiskResult<()> {
        self.log.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes and syncs everything; nothing has its final name yet.
    pub(super) fn finish(mut self, pass: &Pass) -> Result<FileSizes, LogError> {
        self.write_out()?;
        self.index_time();
        self.log.sync()?;
        let indexes = [
            (FileKind::OffsetIndex, &self.offset_index),
            (FileKind::TimeIndex, &self.time_index),
            (FileKind::TxnIndex, &self.txn_index),
        ];
        for (kind, content) in indexes {
            // Only this one may be missing.
            if kind == FileKind::TxnIndex && content.is_empty() {
                continue;
            }
            let path = name(self.base_offset, kind).in_dir(&self.dir);
            let file = pass.by_name(|| self.env.disk.open(&path, OpenMode::Truncate))?;
            file.write_all_at(content, 0)?;
            file.sync()?;
        }
        Ok(FileSizes {
            log: self.written,
            offset_index: self.offset_index.len() as u64,
            time_index: self.time_index.len() as u64,
            txn_index: self.txn_index.len() as u64,
        })
    }
}

//! One segment: a data file of record batches and its indexes.
//!
//! The segment knows bytes and positions; which offsets exist is the log's
//! business. Readers and the one writer share it: the writer raises `published`
//! (Release) after bytes are in the file, readers load it (Acquire) and look at
//! nothing behind it.
//!
//! Nothing an index says is believed before the batch it points at confirms it,
//! and nothing a batch header says before its neighbours agree: offsets never go
//! back, and a batch that leaves a gap must not overlap what follows. This is what
//! keeps a flipped bit outside the checksum (base offset, length) from serving a
//! record under a wrong offset.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use reka_records::{BatchHeader, BatchSpan, HEADER_BYTES, SPAN_BYTES};

use crate::config::LogConfig;
use crate::env::Env;
use crate::error::{Corruption, ReadError};
use crate::format::{FileKind, FileName, SEGMENT_BYTES_LIMIT};
use crate::fs::{DiskError, DiskResult, File, Op, OpenMode, RawMapping};
use crate::map_budget::MapSlot;
use crate::offset_index::{OffsetEntry, OffsetIndex};
use crate::time_index::{TimeIndex, TimestampOffset};
use crate::txn_index::TxnIndex;

/// How far ahead of a walk headers are fetched into the cache.
const BATCHES_AHEAD: usize = 12;

/// Sizes of a segment's files as a directory listing gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileSizes {
    pub(crate) log: u64,
    pub(crate) offset_index: u64,
    pub(crate) time_index: u64,
    pub(crate) txn_index: u64,
}

/// A data file and its indexes.
#[derive(Debug)]
pub(crate) struct Segment {
    base_offset: i64,
    dir: Arc<Path>,
    env: Arc<Env>,
    /// Opened when first needed; ten thousand idle partitions hold no files open.
    log: OnceLock<File>,
    log_mode: OpenMode,
    /// Bytes readers may look at.
    published: AtomicU64,
    /// The mapping reaches this far, so that it is made once.
    map_bytes: u64,
    map: Arc<MapSlot>,
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    pub(crate) txns: TxnIndex,
    /// Greatest timestamp and the last offset of the batch that brought it.
    largest: Mutex<Option<TimestampOffset>>,
}

impl Segment {
    /// A new, empty segment. Its data file is created now, its indexes when they
    /// get their first entry.
    pub(crate) fn create(
        env: &Arc<Env>,
        dir: &Arc<Path>,
        base_offset: i64,
        config: &LogConfig,
    ) -> DiskResult<Arc<Segment>> {
        let sizes = FileSizes::default();
        let segment = Segment::new(env, dir, base_offset, sizes, OpenMode::Truncate, config);
        segment.file()?;
        Ok(segment)
    }

    /// A segment found on disk. Nothing is opened yet.
    pub(crate) fn existing(
        env: &Arc<Env>,
        dir: &Arc<Path>,
        base_offset: i64,
        sizes: FileSizes,
        config: &LogConfig,
    ) -> Arc<Segment> {
        Segment::new(env, dir, base_offset, sizes, OpenMode::Existing, config)
    }

    fn new(
        env: &Arc<Env>,
        dir: &Arc<Path>,
        base_offset: i64,
        sizes: FileSizes,
        log_mode: OpenMode,
        config: &LogConfig,
    ) -> Arc<Segment> {
        let path = |kind| FileName::live(base_offset, kind).in_dir(dir);
        let index_bytes = config.segment_index_bytes;
        Arc::new(Segment {
            base_offset,
            dir: dir.clone(),
            env: env.clone(),
            log: OnceLock::new(),
            log_mode,
            published: AtomicU64::new(sizes.log),
            map_bytes: config.segment_bytes.max(sizes.log).min(SEGMENT_BYTES_LIMIT),
            map: Arc::default(),
            offsets: OffsetIndex::new(
                base_offset,
                path(FileKind::OffsetIndex),
                env.clone(),
                sizes.offset_index,
                index_bytes,
            ),
            times: TimeIndex::new(
                base_offset,
                path(FileKind::TimeIndex),
                env.clone(),
                sizes.time_index,
                index_bytes,
            ),
            txns: TxnIndex::new(
                base_offset,
                path(FileKind::TxnIndex),
                env.clone(),
                sizes.txn_index,
            ),
            largest: Mutex::new(None),
        })
    }

    pub(crate) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// The partition's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes readers may look at.
    pub(crate) fn len(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        FileName::live(self.base_offset, kind).in_dir(&self.dir)
    }

    /// The data file.
    pub(crate) fn file(&self) -> DiskResult<&File> {
        if let Some(file) = self.log.get() {
            return Ok(file);
        }
        let file = self
            .env
            .disk
            .open(&self.path(FileKind::Log), self.log_mode)?;
        Ok(self.log.get_or_init(|| file))
    }

    /// Opens every file that exists, so that the segment can be read on after its
    /// names are gone or belong to another.
    pub(crate) fn open_for_good(&self) -> DiskResult<()> {
        self.file()?;
        self.times.open_for_good()?;
        self.offsets.open_for_good()?;
        self.txns.open_for_good()
    }

    pub(crate) fn mapping(&self) -> DiskResult<Arc<dyn RawMapping>> {
        self.map
            .get(&self.env.maps, self.file()?, self.map_bytes as usize)
    }

    /// A slice of published bytes; nothing is copied on a real disk.
    pub(crate) fn bytes(&self, position: u64, len: u64) -> DiskResult<Bytes> {
        self.bytes_of(self.mapping()?, position, len)
    }

    /// The same from a mapping of this segment.
    pub(crate) fn bytes_of(
        &self,
        mapping: Arc<dyn RawMapping>,
        position: u64,
        len: u64,
    ) -> DiskResult<Bytes> {
        mapping
            .bytes(position as usize, len as usize)
            .map_err(|source| self.unmapped(source))
    }

    #[cold]
    fn unmapped(&self, source: io::Error) -> DiskError {
        DiskError {
            op: Op::Map,
            path: self.path(FileKind::Log),
            source,
        }
    }

    pub(crate) fn corruption(
        &self,
        position: u64,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Corruption {
        Corruption {
            path: self.path(FileKind::Log),
            position,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    // What the writer does.

    /// Bytes this segment can hold at most because positions are mapped and indexed.
    pub(crate) fn capacity(&self) -> u64 {
        self.map_bytes
    }

    /// Lets readers see the first `len` bytes.
    pub(crate) fn publish(&self, len: u64) {
        debug_assert!(len <= self.map_bytes);
        self.published.store(len, Ordering::Release);
    }

    /// Adds the entries of one batch to the indexes, in memory; `make_room` came first.
    pub(crate) fn index(&self, header: &BatchHeader, position: u64) -> DiskResult<()> {
        self.offsets.push(OffsetEntry {
            last_offset: header.last_offset(),
            position,
        });
        match self.largest_so_far() {
            Some(largest) => self.times.push_if_newer(largest),
            None => Ok(()),
        }
    }

    /// After this the next `entries` calls of [`Segment::index`] touch memory only. Time goes first,
    /// so that recovery never finds an offset entry whose time entry is missing.
    pub(crate) fn make_room(&self, entries: usize) -> DiskResult<()> {
        self.times.make_room(entries)?;
        self.offsets.make_room(entries)
    }

    /// Takes a batch's timestamp into account.
    pub(crate) fn note_timestamp(&self, timestamp: i64, last_offset: i64) {
        let mut largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        if largest.is_none_or(|largest| largest.timestamp < timestamp) {
            *largest = Some(TimestampOffset {
                timestamp,
                offset: last_offset,
            });
        }
    }

    fn largest_so_far(&self) -> Option<TimestampOffset> {
        *self.largest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_largest(&self, largest: Option<TimestampOffset>) {
        *self.largest.lock().unwrap_or_else(PoisonError::into_inner) = largest;
    }

    /// Completes the indexes of a segment that gets no more batches.
    pub(crate) fn seal(&self) -> Result<(), ReadError> {
        if let Some(largest) = self.largest()? {
            self.times.make_room(1)?;
            self.times.push_if_newer(largest)?;
        }
        self.times.seal()?;
        self.offsets.seal()?;
        Ok(())
    }

    /// Makes everything survive a power cut.
    pub(crate) fn sync_all(&self) -> DiskResult<()> {
        self.sync_data()?;
        self.times.sync()?;
        self.offsets.sync()
    }

    /// Whether a power cut could take entries from the offset or the time index.
    pub(crate) fn has_unsynced_indexes(&self) -> bool {
        self.times.is_dirty() || self.offsets.is_dirty() || self.txns.is_dirty()
    }

    /// Makes what cannot be rebuilt from a scan behind the recovery point survive:
    /// the batches, and the aborted transactions whose markers lie before it.
    pub(crate) fn sync_data(&self) -> DiskResult<()> {
        self.file()?.sync()?;
        self.txns.sync()
    }

    /// Gives back reserved blocks and the zeros a truncation left behind the end; the
    /// zeros stay while a reader holds a slice, of this segment or of the same file
    /// before it was closed and opened again.
    pub(crate) fn trim(&self) -> DiskResult<()> {
        self.map.release_if_unused();
        self.file()?.set_len(self.len())
    }

    /// Whether the indexes could name the batch: a segment spans at most 2^31 offsets.
    pub(crate) fn can_hold(&self, span: &BatchSpan) -> bool {
        span.last_offset()
            .checked_sub(self.base_offset)
            .is_some_and(|relative| relative <= i64::from(i32::MAX))
    }

    // What readers do.

    /// The greatest timestamp, from the time index and the batches behind its last entry.
    pub(crate) fn largest(&self) -> Result<Option<TimestampOffset>, ReadError> {
        if let Some(largest) = self.largest_so_far() {
            return Ok(Some(largest));
        }
        let mut largest = None;
        let mut walk = self.walk_from_start()?;
        if let Some(entry) = self.times.last()?
            && let Some(found) = self.confirm(entry)?
        {
            largest = Some(entry);
            walk = found;
        }
        while let Some(batch) = walk.next()? {
            if largest.is_none_or(|largest: TimestampOffset| {
                largest.timestamp < batch.header.max_timestamp
            }) {
                largest = Some(TimestampOffset {
                    timestamp: batch.header.max_timestamp,
                    offset: batch.header.last_offset(),
                });
            }
        }
        self.set_largest(largest);
        Ok(largest)
    }

    /// The time of the youngest record; where none has a timestamp, the time the data
    /// file was last written, as in Apache Kafka. `None` in an empty segment. Where damage
    /// keeps the batches from being walked over, the time index is taken at its word.
    pub(crate) fn youngest_ms(&self) -> Result<Option<i64>, ReadError> {
        let largest = match self.largest() {
            Ok(None) => return Ok(None),
            Ok(largest) => largest,
            Err(ReadError::Corrupt(_)) => self.times.last()?,
            Err(error) => return Err(error),
        };
        match largest {
            Some(largest) if largest.timestamp >= 0 => Ok(Some(largest.timestamp)),
            _ => Ok(Some(self.file()?.modified_ms()?)),
        }
    }

    /// A walk that starts at the batch a time index entry names, if that batch
    /// bears it out.
    fn confirm(&self, entry: TimestampOffset) -> Result<Option<Walk<'_>>, ReadError> {
        let mut walk = self.walk_to(entry.offset)?;
        let start = walk.place();
        let borne_out = walk.next()?.is_some_and(|batch| {
            batch.header.last_offset() == entry.offset
                && batch.header.max_timestamp == entry.timestamp
        });
        walk.return_to(start);
        Ok(borne_out.then_some(walk))
    }

    /// Walks all batches.
    pub(crate) fn walk_from_start(&self) -> DiskResult<Walk<'_>> {
        self.walk_at(0, self.base_offset, self.len())
    }

    fn walk_at(&self, position: u64, floor: i64, end: u64) -> DiskResult<Walk<'_>> {
        let source = match end {
            // Nothing will be read, so nothing is mapped.
            0 => Source::File(self.file()?.clone()),
            _ => Source::Map(self.mapping()?),
        };
        Ok(Walk {
            segment: self,
            source,
            position,
            end,
            floor,
        })
    }

    /// A walk that reads through the file handle instead of a mapping, for opening
    /// thousands of partitions without mapping each.
    pub(crate) fn walk_unmapped(&self, from: Option<OffsetEntry>) -> DiskResult<Walk<'_>> {
        Ok(Walk {
            segment: self,
            source: Source::File(self.file()?.clone()),
            position: from.map_or(0, |entry| entry.position),
            end: self.len(),
            floor: self.base_offset,
        })
    }

    /// A walk that starts at the first batch whose last offset is not below `offset`.
    pub(crate) fn walk_to(&self, offset: i64) -> Result<Walk<'_>, ReadError> {
        // Read before the index, so that no entry behind it is seen.
        let end = self.len();
        let mut walk = self.walk_at(0, self.base_offset, end)?;
        if let Some(entry) = self.offsets.floor(offset)?
            && entry.position < end
            && entry.last_offset >= self.base_offset
        {
            let start = walk.place();
            walk.position = entry.position;
            let hinted = walk.place();
            // An index that is wrong is only slow: the walk begins at the start then.
            let borne_out = matches!(walk.next_span(), Ok(Some(batch)) if batch.span.last_offset() == entry.last_offset);
            walk.return_to(if borne_out { hinted } else { start });
        }
        loop {
            let here = walk.place();
            match walk.next_span()? {
                Some(batch) if batch.span.last_offset() < offset => {}
                _ => {
                    walk.return_to(here);
                    return Ok(walk);
                }
            }
        }
    }

    /// A walk for finding the first record at or after a timestamp: every record
    /// before its start is older.
    pub(crate) fn walk_to_timestamp(&self, timestamp: i64) -> Result<Walk<'_>, ReadError> {
        if let Some(entry) = self.times.last_below(timestamp)?
            && let Some(walk) = self.confirm(entry)?
        {
            return Ok(walk);
        }
        Ok(self.walk_from_start()?)
    }
}

/// A batch met on a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) header: BatchHeader,
    pub(crate) position: u64,
}

impl Located {
    pub(crate) fn spanned(&self) -> Spanned {
        Spanned {
            span: self.header.span(),
            position: self.position,
        }
    }
}

/// A batch met on a walk, of which only size and offsets were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spanned {
    pub(crate) span: BatchSpan,
    pub(crate) position: u64,
}

impl Spanned {
    /// Where the next batch starts.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.span.size as u64
    }
}

#[derive(Clone, Debug)]
enum Source {
    Map(Arc<dyn RawMapping>),
    File(File),
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    position: u64,
    floor: i64,
}

/// Goes from batch header to batch header.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    source: Source,
    position: u64,
    end: u64,
    /// The next batch may not begin below this offset.
    floor: i64,
}

impl Walk<'_> {
    /// The mapping it reads from, if it does.
    pub(crate) fn mapping(&self) -> Option<Arc<dyn RawMapping>> {
        match &self.source {
            Source::Map(mapping) => Some(mapping.clone()),
            Source::File(_) => None,
        }
    }

    /// Where the next batch is looked for.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            position: self.position,
            floor: self.floor,
        }
    }

    pub(crate) fn return_to(&mut self, place: Place) {
        self.position = place.position;
        self.floor = place.floor;
    }

    /// The next batch; `None` at the end, or at the zeros a truncation left.
    pub(crate) fn next(&mut self) -> Result<Option<Located>, ReadError> {
        let Some(Spanned { position, .. }) = self.next_span()? else {
            return Ok(None);
        };
        let mut bytes = [0; HEADER_BYTES];
        self.copy(position, &mut bytes)?;
        match BatchHeader::parse(&bytes) {
            Ok(header) => Ok(Some(Located { header, position })),
            Err(error) => {
                let corruption = self.segment.corruption(position, "a batch header", error);
                Err(corruption.into())
            }
        }
    }

    /// The next batch's size and offsets; `None` as for [`Walk::next`].
    #[inline]
    pub(crate) fn next_span(&mut self) -> Result<Option<Spanned>, ReadError> {
        let Some(found) = self.peek(self.position)? else {
            return Ok(None);
        };
        let header = found.span;
        if header.base_offset < self.floor
            || header.last_offset_delta < 0
            || !self.segment.can_hold(&header)
        {
            let expected = format!("a batch at or above offset {}", self.floor);
            let found = format!("offsets {}..={}", header.base_offset, header.last_offset());
            return Err(self
                .segment
                .corruption(self.position, expected, found)
                .into());
        }
        // Compaction leaves gaps; a damaged base offset looks like one but then
        // reaches into the batch behind it.
        if header.base_offset > self.floor
            && let Some(following) = self.peek(found.end())?
            && following.span.base_offset < header.next_offset()
        {
            let expected = format!(
                "a batch that ends before offset {}",
                following.span.base_offset
            );
            let found = format!("offsets {}..={}", header.base_offset, header.last_offset());
            return Err(self
                .segment
                .corruption(self.position, expected, found)
                .into());
        }
        // Batches of one producer are alike in size, so where the headers further on
        // lie can be guessed; without this a walk waits for memory at each.
        if let Source::Map(mapping) = &self.source {
            mapping.expect(self.position as usize + BATCHES_AHEAD * header.size);
        }
        self.position = found.end();
        self.floor = header.next_offset();
        Ok(Some(found))
    }

    fn copy(&self, position: u64, into: &mut [u8]) -> DiskResult<()> {
        match &self.source {
            Source::Map(mapping) => mapping
                .copy(position as usize, into)
                .map_err(|source| self.segment.unmapped(source))?,
            Source::File(file) => file.read_exact_at(into, position)?,
        }
        Ok(())
    }

    fn first_nonzero(&self, mut position: u64) -> DiskResult<Option<u64>> {
        let mut bytes = [0; 4096];
        while position < self.end {
            let present = (self.end - position).min(bytes.len() as u64) as usize;
            self.copy(position, &mut bytes[..present])?;
            if let Some(at) = bytes[..present].iter().position(|byte| *byte != 0) {
                return Ok(Some(position + at as u64));
            }
            position += present as u64;
        }
        Ok(None)
    }

    /// The offset after the last batch it went over; the segment's base offset before the
    /// first one.
    pub(crate) fn end_offset(&self) -> i64 {
        self.floor
    }

    /// When the walk stands before the zeros a truncation left: the offset they begin at.
    pub(crate) fn zeros_at(&self) -> Option<i64> {
        (self.position < self.end).then_some(self.floor)
    }

    /// A truncation zeroes all that is behind it; zeros before something else are a hole.
    #[cold]
    fn check_zeros(&self, position: u64, from: u64) -> Result<Option<Spanned>, ReadError> {
        match self.first_nonzero(from)? {
            None => Ok(None),
            Some(found) => {
                let found = format!("zeros up to position {found}");
                Err(self.segment.corruption(position, "a batch", found).into())
            }
        }
    }

    #[inline]
    fn peek(&self, position: u64) -> Result<Option<Spanned>, ReadError> {
        let left = self.end.saturating_sub(position);
        if left < HEADER_BYTES as u64 {
            return self.no_batch(position, left);
        }
        let bytes = match &self.source {
            Source::Map(mapping) => mapping
                .span(position as usize)
                .map_err(|source| self.segment.unmapped(source))?,
            Source::File(file) => {
                let mut bytes = [0; SPAN_BYTES];
                file.read_exact_at(&mut bytes, position)?;
                bytes
            }
        };
        let Ok(span) = BatchSpan::parse(&bytes) else {
            return self.no_batch(position, left);
        };
        let found = Spanned { span, position };
        if found.end() > self.end {
            return Err(self.cut_off(&found));
        }
        Ok(Some(found))
    }

    /// What is there in place of a batch: the end, zeros, or something wrong.
    #[cold]
    fn no_batch(&self, position: u64, left: u64) -> Result<Option<Spanned>, ReadError> {
        let mut bytes = [0; HEADER_BYTES];
        let present = left.min(HEADER_BYTES as u64) as usize;
        self.copy(position, &mut bytes[..present])?;
        if bytes[..present].iter().all(|byte| *byte == 0) {
            return self.check_zeros(position, position + present as u64);
        }
        let found = match BatchHeader::parse(&bytes[..present]) {
            Err(error) => error.to_string(),
            Ok(_) => "one that was not there a moment ago".to_owned(),
        };
        let corruption = self.segment.corruption(position, "a batch header", found);
        Err(corruption.into())
    }

    #[cold]
    fn cut_off(&self, found: &Spanned) -> ReadError {
        let expected = format!("a batch of {} bytes", found.span.size);
        let left = self.end - found.position;
        let left = format!("only {left} bytes before the end of the log");
        let corruption = self.segment.corruption(found.position, expected, left);
        corruption.into()
    }
}

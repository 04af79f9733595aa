//! What everyone but the writer may do with a log.
//!
//! A [`LogReader`] needs no lock that an append holds for long: the ends are
//! atomics, the list of segments is replaced as a whole. A slice handed out stays
//! readable after the log rolled, was truncated or deleted.
//!
//! A reader can race with a truncation: it may meet zeros where its list of
//! segments promised batches. The truncation count tells the two apart from
//! damage: if it moved, the read starts over.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use reka_records::{BatchHeader, BatchView};

use crate::env::Env;
use crate::error::{Corruption, ReadError};
use crate::fs::{File, RawMapping};
use crate::recovery::Warning;
use crate::segment::{Located, Segment, Spanned, Walk};
use crate::txn_index::AbortedTxn;

/// One batch may grow to this when it is decompressed to look for a timestamp.
/// A batch is at most `max.message.bytes`, so this only stops bombs.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// Segments by base offset.
pub(crate) type Segments = Arc<[Arc<Segment>]>;

/// What the writer publishes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) env: Arc<Env>,
    segments: RwLock<Segments>,
    log_start: AtomicI64,
    log_end: AtomicI64,
    /// First offset of the oldest transaction that is not settled; -1 for none.
    first_unstable: AtomicI64,
    /// Raised before and after published bytes change.
    truncations: AtomicU64,
    /// The partition was deleted, and its directory's name may be another's.
    gone: AtomicBool,
    gaps: GapsMet,
}

/// Gaps between segments that readers came by: looking for them at a clean start would
/// cost reads in every segment there is, and here they are found for nothing.
#[derive(Debug, Default)]
struct GapsMet {
    some: AtomicBool,
    met: Mutex<Vec<(bool, Warning)>>,
}

/// More of one log say no more than these do.
const GAPS_MAX: usize = 16;

impl GapsMet {
    fn note(&self, gap: Warning, told: bool) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() < GAPS_MAX && met.iter().all(|(_, known)| *known != gap) {
            met.push((told, gap));
            self.some.fetch_or(!told, Ordering::Release);
        }
    }

    fn take(&self) -> Vec<Warning> {
        if !self.some.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = met.iter_mut().filter(|(told, _)| !*told);
        untold
            .map(|(told, gap)| {
                *told = true;
                gap.clone()
            })
            .collect()
    }
}

const NONE: i64 = -1;

impl Shared {
    pub(crate) fn new(env: Arc<Env>, segments: Vec<Arc<Segment>>, start: i64, end: i64) -> Shared {
        Shared {
            env,
            segments: RwLock::new(segments.into()),
            log_start: AtomicI64::new(start),
            log_end: AtomicI64::new(end),
            first_unstable: AtomicI64::new(NONE),
            truncations: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            gaps: GapsMet::default(),
        }
    }

    /// These were told of when the log was opened.
    pub(crate) fn gaps_told(&self, warnings: &[Warning]) {
        let is_gap = |warning: &&Warning| matches!(warning, Warning::GapBetweenSegments { .. });
        for gap in warnings.iter().filter(is_gap) {
            self.gaps.note(gap.clone(), true);
        }
    }

    /// Gaps that readers came by since this was asked last, each once.
    pub(crate) fn take_gaps_met(&self) -> Vec<Warning> {
        self.gaps.take()
    }

    pub(crate) fn segments(&self) -> Segments {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        *self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner) = segments.into();
    }

    pub(crate) fn log_start(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    pub(crate) fn set_log_start(&self, offset: i64) {
        self.log_start.store(offset, Ordering::Release);
    }

    pub(crate) fn log_end(&self) -> i64 {
        self.log_end.load(Ordering::Acquire)
    }

    pub(crate) fn set_log_end(&self, offset: i64) {
        self.log_end.store(offset, Ordering::Release);
    }

    pub(crate) fn set_first_unstable(&self, offset: Option<i64>) {
        self.first_unstable
            .store(offset.unwrap_or(NONE), Ordering::Release);
    }

    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(crate) fn truncated(&self) {
        self.truncations.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn truncations(&self) -> u64 {
        self.truncations.load(Ordering::Acquire)
    }
}

/// Whole batches of one segment. It keeps the file mapped, and so from getting shorter.
#[derive(Clone, Debug)]
pub struct LogSlice {
    segment: Arc<Segment>,
    mapping: Arc<dyn RawMapping>,
    position: u64,
    len: u64,
    /// First offset of the first batch; at or before the offset asked for.
    pub base_offset: i64,
    /// The offset after the last batch.
    pub next_offset: i64,
}

impl LogSlice {
    /// Bytes of the batches.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never: an empty read is `None`.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, without a copy: a slice of the mapped file that keeps it mapped.
    pub fn bytes(&self) -> Result<Bytes, ReadError> {
        let mapping = self.mapping.clone();
        Ok(self.segment.bytes_of(mapping, self.position, self.len)?)
    }

    /// The file and the position in it, for `sendfile`.
    pub fn file_range(&self) -> Result<(&File, u64), ReadError> {
        Ok((self.segment.file()?, self.position))
    }
}

/// The batches a read has taken so far.
#[derive(Clone, Copy)]
struct Taken {
    len: u64,
    base_offset: i64,
    next_offset: i64,
}

/// Where a timestamp was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTimestamp {
    /// The record's timestamp.
    pub timestamp: i64,
    /// The record's offset.
    pub offset: i64,
    /// The leader epoch of its batch.
    pub leader_epoch: i32,
}

/// Reads a log, from any thread; clones share it.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

impl LogReader {
    /// First offset there is.
    pub fn log_start(&self) -> i64 {
        self.shared.log_start()
    }

    /// The offset after the last record.
    pub fn log_end(&self) -> i64 {
        self.shared.log_end()
    }

    /// Whether [`crate::Log::take_gaps_met`] has something to tell.
    pub fn has_met_gaps(&self) -> bool {
        self.shared.gaps.some.load(Ordering::Acquire)
    }

    /// First offset of the oldest transaction that is open or not settled yet.
    pub fn first_unstable(&self) -> Option<i64> {
        match self.shared.first_unstable.load(Ordering::Acquire) {
            NONE => None,
            offset => Some(offset),
        }
    }

    /// Bytes of all data files.
    pub fn size(&self) -> u64 {
        self.shared
            .segments()
            .iter()
            .map(|segment| segment.len())
            .sum()
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.shared.segments().len()
    }

    /// Whole batches from the one that holds `offset` on, or the first behind it if
    /// it was compacted away: as many as end below `upto` and fit `max_bytes`, and
    /// at least one of those below `upto`, however large. `None` when there is none.
    ///
    /// `upto` is the high watermark, the last stable offset or the log end.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: u64,
        upto: i64,
    ) -> Result<Option<LogSlice>, ReadError> {
        self.unless_truncated(|| self.read_once(offset, max_bytes, upto))
    }

    fn read_once(
        &self,
        offset: i64,
        max_bytes: u64,
        upto: i64,
    ) -> Result<Option<LogSlice>, ReadError> {
        let end = self.check(offset)?;
        let upto = upto.min(end);
        if offset >= upto {
            return Ok(None);
        }
        let segments = self.shared.segments();
        for index in holding(&segments, offset)..segments.len() {
            let segment = &segments[index];
            if segment.base_offset() >= upto {
                return Ok(None);
            }
            let mut walk = segment.walk_to(offset)?;
            let position = walk.position();
            let mut taken: Option<Taken> = None;
            let bound = Bound::of(&segments, index, end);
            loop {
                let found = walk.next_span().and_then(|found| {
                    found
                        .iter()
                        .try_for_each(|batch| bound.check(segment, batch))?;
                    Ok(found)
                });
                let batch = match found {
                    Ok(Some(batch)) => batch,
                    Ok(None) => break,
                    // Whoever comes to it is told; what lies before it is good.
                    Err(_) if taken.is_some() => break,
                    Err(error) => return Err(error),
                };
                let next_offset = batch.span.next_offset();
                if next_offset > upto {
                    if taken.is_none() {
                        bound.check_behind(segment, Some(offset), &batch)?;
                    }
                    break;
                }
                let len = batch.end() - position;
                if taken.is_some() && len > max_bytes {
                    break;
                }
                let base_offset = taken.map_or(batch.span.base_offset, |taken| taken.base_offset);
                taken = Some(Taken {
                    len,
                    base_offset,
                    next_offset,
                });
                if len >= max_bytes {
                    break;
                }
            }
            if let Some(Taken {
                len,
                base_offset,
                next_offset,
            }) = taken
            {
                let mapping = match walk.mapping() {
                    Some(mapping) => mapping,
                    None => segment.mapping()?,
                };
                let segment = segment.clone();
                return Ok(Some(LogSlice {
                    segment,
                    mapping,
                    position,
                    len,
                    base_offset,
                    next_offset,
                }));
            }
            // Everything from `offset` on was compacted out of this segment, or the
            // batch that holds it does not end below `upto` yet.
            if walk.position() > position {
                return Ok(None);
            }
            bound.check_end(segment, &walk)?;
            let ends = walk.end_offset();
            if let Some(behind) = segments.get(index + 1)
                && ends < behind.base_offset()
            {
                let gap = Warning::gap_between(segment, ends, behind);
                self.shared.gaps.note(gap, false);
            }
        }
        Ok(None)
    }

    fn check(&self, offset: i64) -> Result<i64, ReadError> {
        self.shared.env.health.check()?;
        // The end first: it only grows, so a start read later is not above it.
        let end = self.shared.log_end();
        let start = self.shared.log_start();
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        Ok(end)
    }

    /// Runs again when a truncation or a swap of segments got in the way.
    fn unless_truncated<T>(&self, run: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
        loop {
            let before = self.shared.truncations();
            let result = run();
            if before == self.shared.truncations() {
                return result;
            }
        }
    }

    /// The first record with a timestamp of at least `timestamp`, below `upto`.
    pub fn find_timestamp(
        &self,
        timestamp: i64,
        upto: i64,
    ) -> Result<Option<FoundTimestamp>, ReadError> {
        self.unless_truncated(|| {
            self.shared.env.health.check()?;
            let start = self.shared.log_start();
            let end = self.shared.log_end();
            let upto = upto.min(end);
            let segments = self.shared.segments();
            for (index, segment) in segments.iter().enumerate() {
                if segment.base_offset() >= upto {
                    break;
                }
                if segment
                    .largest()?
                    .is_none_or(|largest| largest.timestamp < timestamp)
                {
                    continue;
                }
                let bound = Bound::of(&segments, index, end);
                if let Some(found) = find_in_segment(segment, timestamp, start, upto, bound)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }

    /// The record with the greatest timestamp, the first of them if several, below `upto`.
    pub fn max_timestamp(&self, upto: i64) -> Result<Option<FoundTimestamp>, ReadError> {
        self.unless_truncated(|| {
            self.shared.env.health.check()?;
            let start = self.shared.log_start();
            let end = self.shared.log_end();
            let upto = upto.min(end);
            let mut greatest: Option<FoundTimestamp> = None;
            let segments = self.shared.segments();
            for (index, segment) in segments.iter().enumerate() {
                if segment.base_offset() >= upto {
                    break;
                }
                let above =
                    greatest.map_or(i64::MIN, |greatest| greatest.timestamp.saturating_add(1));
                let Some(largest) = segment.largest()? else {
                    continue;
                };
                if largest.timestamp < above {
                    continue;
                }
                // The segment's own may belong to a record outside the range, or to a
                // batch that compaction emptied: then its batches are looked through.
                let bound = Bound::of(&segments, index, end);
                let found = find_in_segment(segment, largest.timestamp, start, upto, bound)?;
                let found = match found {
                    Some(found) => Some(found),
                    None => greatest_in_segment(segment, above, start, upto, bound)?,
                };
                greatest = found.or(greatest);
            }
            Ok(greatest)
        })
    }

    /// Transactions aborted in `[from, upto)`: every one whose data a read_committed
    /// reader of that range could meet, ordered by first offset.
    pub fn aborted_transactions(&self, from: i64, upto: i64) -> Result<Vec<AbortedTxn>, ReadError> {
        self.shared.env.health.check()?;
        let mut aborted = Vec::new();
        let segments = self.shared.segments();
        for segment in &segments[holding(&segments, from)..] {
            // Once a marker was written with the last stable offset at or above the
            // range, no later abort can have data inside it.
            let complete = segment.txns.visit(|txn| {
                if txn.last_offset >= from && txn.first_offset < upto {
                    aborted.push(*txn);
                }
                txn.last_stable_offset < upto
            })?;
            if complete {
                break;
            }
        }
        aborted.sort_unstable_by_key(|txn| (txn.first_offset, txn.producer_id));
        Ok(aborted)
    }
}

/// The segment that may hold `offset`: the last that begins at or before it.
pub(crate) fn holding(segments: &[Arc<Segment>], offset: i64) -> usize {
    segments
        .partition_point(|segment| segment.base_offset() <= offset)
        .saturating_sub(1)
}

/// Where the batches of a segment must end.
#[derive(Clone, Copy, Debug)]
struct Bound {
    offset: i64,
    /// The active segment may have grown meanwhile.
    grows: bool,
}

impl Bound {
    fn of(segments: &[Arc<Segment>], index: usize, end: i64) -> Bound {
        let next = segments.get(index + 1);
        Bound {
            offset: next.map_or(end, |next| next.base_offset()),
            grows: next.is_none(),
        }
    }

    /// No checksum covers a batch's base offset; the segment behind it knows better.
    #[inline]
    fn check(self, segment: &Segment, batch: &Spanned) -> Result<(), Corruption> {
        let header = &batch.span;
        if header.next_offset() <= self.offset || self.grows && header.base_offset >= self.offset {
            return Ok(());
        }
        Err(segment.corruption(
            batch.position,
            format!("a batch that ends at or before offset {}", self.offset),
            format!("one that ends before {}", header.next_offset()),
        ))
    }

    /// A batch behind all that a reader may see. A log ends where a batch does: so one that
    /// begins at the end or behind it comes behind one that ends there. `before` is where the
    /// one before it ends, or the reader's offset; `None` where nobody looked.
    #[cold]
    fn check_behind(
        self,
        segment: &Segment,
        before: Option<i64>,
        batch: &Spanned,
    ) -> Result<(), Corruption> {
        let found = batch.span.base_offset;
        let in_line = before.is_none_or(|before| before >= self.offset);
        if !self.grows || found < self.offset || in_line {
            return Ok(());
        }
        Err(segment.corruption(
            batch.position,
            format!("a batch that begins before offset {}", self.offset),
            format!("one that begins at {found}"),
        ))
    }

    /// After the last batch of a walk: zeros end a segment only where the next continues.
    fn check_end(self, segment: &Segment, walk: &Walk<'_>) -> Result<(), Corruption> {
        match walk.zeros_at() {
            Some(offset) if !self.grows && offset != self.offset => Err(segment.corruption(
                walk.position(),
                format!("offset {offset}"),
                format!("zeros before offset {}", self.offset),
            )),
            _ => Ok(()),
        }
    }
}

fn find_in_segment(
    segment: &Segment,
    timestamp: i64,
    start: i64,
    upto: i64,
    bound: Bound,
) -> Result<Option<FoundTimestamp>, ReadError> {
    let mut walk = segment.walk_to_timestamp(timestamp)?;
    let mut before = (walk.position() == 0).then_some(segment.base_offset());
    while let Some(batch) = walk.next()? {
        bound.check(segment, &batch.spanned())?;
        if batch.header.base_offset >= upto {
            bound.check_behind(segment, before, &batch.spanned())?;
            return Ok(None);
        }
        before = Some(batch.header.next_offset());
        if may_hold(&batch.header, timestamp, start)
            && let Some(found) = find_in_batch(segment, &batch, timestamp, start, upto)?
        {
            return Ok(Some(found));
        }
    }
    bound.check_end(segment, &walk)?;
    Ok(None)
}

/// The greatest timestamp of a record in the range, if it is at least `least`.
fn greatest_in_segment(
    segment: &Segment,
    least: i64,
    start: i64,
    upto: i64,
    bound: Bound,
) -> Result<Option<FoundTimestamp>, ReadError> {
    let mut walk = segment.walk_from_start()?;
    let mut greatest: Option<FoundTimestamp> = None;
    let mut before = segment.base_offset();
    while let Some(batch) = walk.next()? {
        bound.check(segment, &batch.spanned())?;
        if batch.header.base_offset >= upto {
            bound.check_behind(segment, Some(before), &batch.spanned())?;
            break;
        }
        before = batch.header.next_offset();
        let beats = |timestamp, greatest: &Option<FoundTimestamp>| match greatest {
            None => timestamp >= least,
            Some(greatest) => timestamp > greatest.timestamp,
        };
        if may_hold(&batch.header, least, start) && beats(batch.header.max_timestamp, &greatest) {
            visit_records(segment, &batch, start, upto, |found| {
                if beats(found.timestamp, &greatest) {
                    greatest = Some(found);
                }
                true
            })?;
        }
    }
    Ok(greatest)
}

fn may_hold(header: &BatchHeader, timestamp: i64, start: i64) -> bool {
    header.record_count > 0 && header.max_timestamp >= timestamp && header.next_offset() > start
}

/// The first record of a batch in the range that is not older than `timestamp`.
fn find_in_batch(
    segment: &Segment,
    batch: &Located,
    timestamp: i64,
    start: i64,
    upto: i64,
) -> Result<Option<FoundTimestamp>, ReadError> {
    let mut first = None;
    visit_records(segment, batch, start, upto, |found| {
        first = (found.timestamp >= timestamp).then_some(found);
        first.is_none()
    })?;
    Ok(first)
}

/// Calls `visit` with the records of a batch in `[start, upto)` until it returns `false`.
fn visit_records(
    segment: &Segment,
    batch: &Located,
    start: i64,
    upto: i64,
    mut visit: impl FnMut(FoundTimestamp) -> bool,
) -> Result<(), ReadError> {
    let bytes = segment.bytes(batch.position, batch.header.size() as u64)?;
    let damaged = |error| segment.corruption(batch.position, "a record batch", error);
    let view = BatchView::parse(&bytes).map_err(damaged)?;
    view.verify_crc().map_err(damaged)?;
    let mut scratch = Vec::new();
    for record in view
        .records(&mut scratch, DECOMPRESSED_BYTES_MAX)
        .map_err(damaged)?
    {
        let record = record.map_err(damaged)?;
        let found = FoundTimestamp {
            timestamp: record.timestamp,
            offset: record.offset,
            leader_epoch: batch.header.leader_epoch,
        };
        if (start..upto).contains(&record.offset) && !visit(found) {
            break;
        }
    }
    Ok(())
}

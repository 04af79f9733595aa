//! One partition's log: the writer's side.
//!
//! A [`Log`] is owned by one writer at a time (the broker keeps it behind a short
//! lock); everyone else has a [`LogReader`]. An append is: decide with the
//! producer state, roll if due, stamp, reserve, one `pwrite`, index in memory,
//! publish. Nothing is published before it is in the file, nothing is undone that
//! was published.
//!
//! What survives a power cut is what [`Log::begin_flush`] … [`Log::finish_flush`]
//! carried below the recovery point; see [`crate::flush`].

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use reka_records::control::EndTxnMarker;
use reka_records::{BatchHeader, BatchView, stamp};

use crate::append::{Appended, CheckedBatches, Headers, marker};
use crate::compaction::pass::Passes;
use crate::compaction::swap;
use crate::config::LogConfig;
use crate::env::Env;
use crate::epochs::LeaderEpochs;
use crate::error::{AppendError, LogError, PartitionDeleted, ReadError};
use crate::flush::{Durability, Flush, Flushed, first_carried};
use crate::format::{FileKind, FileName, FileStage, SEGMENT_BYTES_LIMIT, TopicPartition};
use crate::fs::{DiskError, DiskResult};
use crate::producer_snapshot;
use crate::producer_state::{ProducerState, Verdict};
use crate::reader::{LogReader, Segments, Shared, holding};
use crate::recovery::{Damage, Warning};
use crate::segment::{FileSizes, Segment};

mod open;
mod restore;
mod truncate;

pub use open::OpenOptions;
pub(crate) use open::first_timestamp as first_timestamp_of;

/// Space is reserved in steps that grow with the segment, between these bounds.
const RESERVE_STEP_MIN: u64 = 64 << 10;
const RESERVE_STEP_MAX: u64 = 16 << 20;

/// One partition's log.
#[derive(Debug)]
pub struct Log {
    partition: TopicPartition,
    dir: Arc<Path>,
    env: Arc<Env>,
    config: LogConfig,
    shared: Arc<Shared>,
    active: Active,
    producers: ProducerState,
    epochs: LeaderEpochs,
    durability: Durability,
    /// Held while a flush runs.
    flushing: Arc<Mutex<()>>,
    passes: Arc<Passes>,
    /// Something was done since the log was last closed or opened clean.
    changed: bool,
    /// Some of its files were links when it was opened; what is made since is none.
    has_links: bool,
    /// Renamed away, to be unlinked when their time comes.
    deleted: Vec<Deleted>,
    damage: Option<Damage>,
}

/// What the writer knows of the segment it appends to.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    /// Bytes appended since the last index entry.
    since_index: u64,
    /// Blocks are reserved up to here.
    reserved: u64,
    /// Timestamp of the first batch, which `segment.ms` counts from.
    first_timestamp: Option<i64>,
    created_ms: i64,
}

impl Active {
    fn new(segment: Arc<Segment>, first_timestamp: Option<i64>, now_ms: i64) -> Active {
        let reserved = segment.len();
        Active {
            segment,
            since_index: 0,
            reserved,
            first_timestamp,
            created_ms: now_ms,
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.passes.set_closed();
    }
}

#[derive(Debug)]
struct Deleted {
    due_ms: i64,
    paths: Vec<PathBuf>,
}

impl Log {
    /// Which partition this is.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The partition's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings in force.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes the settings, from the next operation on. Sizes of mappings and
    /// indexes follow with the next segment.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// A handle for reading.
    pub fn reader(&self) -> LogReader {
        LogReader {
            shared: self.shared.clone(),
        }
    }

    /// First offset there is.
    pub fn log_start(&self) -> i64 {
        self.shared.log_start()
    }

    /// The offset after the last record.
    pub fn log_end(&self) -> i64 {
        self.shared.log_end()
    }

    /// Everything below this offset survives a power cut.
    pub fn recovery_point(&self) -> i64 {
        self.durability.recovery_point()
    }

    /// Its directory failed: nothing is done in it any more.
    pub fn is_offline(&self) -> bool {
        self.env.health.check().is_err()
    }

    /// The producers of the partition.
    pub fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// The epoch history of the partition.
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// Notes an epoch that begins at the log's end, as a new leader does.
    pub fn begin_epoch(&mut self, epoch: i32) -> Result<(), LogError> {
        self.check_usable()?;
        let end = self.log_end();
        let assigned = self.epochs.assign(epoch, end);
        Ok(self.or_offline_unless_full(assigned)?)
    }

    /// Why the log takes no appends, if so.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Appends a leader's batches: they get the next offsets and `leader_epoch`. One of
    /// an idempotent producer, or a marker, comes alone.
    pub fn append(
        &mut self,
        batches: CheckedBatches<'_>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.accepts_appends()?;
        batches.check_alone()?;
        for (position, header) in batches.headers() {
            match self.marker_at(&batches, position, &header) {
                Some(end) => self.producers.check_marker(&header, end)?,
                None => {
                    if let Verdict::Duplicate(known) = self.producers.check(&header)? {
                        return Ok(Appended::Duplicate(known));
                    }
                }
            }
        }
        self.append_next(batches, leader_epoch, now_ms)
    }

    /// Appends several batches of clients with one write, if that comes to the same as one after
    /// the other; `None`, and nothing done, if it does not.
    pub fn append_run(
        &mut self,
        batches: CheckedBatches<'_>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Option<Appended>, AppendError> {
        self.accepts_appends()?;
        let fits = batches.len() as u64 <= self.config.segment_bytes;
        let Some((_, first)) = batches.headers().next().filter(|_| fits) else {
            return Ok(None);
        };
        let is_next = matches!(self.producers.check(&first), Ok(Verdict::Append));
        if !is_next || !batches.is_run() {
            return Ok(None);
        }
        self.append_next(batches, leader_epoch, now_ms).map(Some)
    }

    /// Appends what was found to be next.
    fn append_next(
        &mut self,
        batches: CheckedBatches<'_>,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let first_offset = self.log_end();
        self.check_epoch(
            self.epochs.latest_before(first_offset),
            leader_epoch,
            first_offset,
        )?;
        let last_offset =
            first_offset
                .checked_add(batches.offsets - 1)
                .ok_or(AppendError::OffsetSpan {
                    first: first_offset,
                    last: i64::MAX,
                })?;
        let mut next = first_offset;
        let mut at = 0;
        let CheckedBatches { bytes, .. } = batches;
        while let Some((_, header)) = Headers::of(&bytes[at..]).next() {
            let batch = &mut bytes[at..at + header.size()];
            stamp::set_base_offset(batch, next);
            stamp::set_leader_epoch(batch, leader_epoch);
            next += i64::from(header.last_offset_delta) + 1;
            at += header.size();
        }
        let needed = bytes.len() as u64;
        self.epochs
            .assign(leader_epoch, first_offset)
            .map_err(|error| self.refuse(error, needed))?;
        self.write(bytes, now_ms)?;
        Ok(Appended::New {
            first_offset,
            last_offset,
        })
    }

    /// Appends batches fetched from a leader, as they are: they keep their offsets
    /// and epochs, and need not be contiguous (the leader's log may be compacted).
    pub fn append_replicated(
        &mut self,
        batches: CheckedBatches<'_>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.accepts_appends()?;
        let mut log_end = self.log_end();
        let mut first_offset = None;
        let mut latest = self.epochs.latest_before(log_end);
        for (_, header) in batches.headers() {
            let found = header.base_offset;
            if found < log_end {
                return Err(AppendError::OutOfOrder { log_end, found });
            }
            self.check_epoch(latest, header.leader_epoch, found)?;
            latest = latest.max(Some(header.leader_epoch));
            first_offset.get_or_insert(found);
            log_end = header.next_offset();
        }
        // An answer may hold more than a segment: it is written in runs that fit.
        let bytes: &[u8] = batches.bytes;
        let mut run = 0..0;
        for (position, header) in Headers::of(bytes) {
            let end = position + header.size();
            let new_epoch =
                header.leader_epoch >= 0 && self.epochs.latest() != Some(header.leader_epoch);
            let full = (end - run.start) as u64 > self.config.segment_bytes;
            if !run.is_empty() && (full || new_epoch) {
                self.write(&bytes[run.clone()], now_ms)?;
                run = position..position;
            }
            if new_epoch {
                let needed = (bytes.len() - run.start) as u64;
                self.epochs
                    .assign(header.leader_epoch, header.base_offset)
                    .map_err(|error| self.refuse(error, needed))?;
            }
            run.end = end;
        }
        self.write(&bytes[run], now_ms)?;
        Ok(Appended::New {
            first_offset: first_offset.unwrap_or(log_end),
            last_offset: log_end - 1,
        })
    }

    /// Gaps between segments that readers came by since this was asked last, though nothing
    /// here says that the log was ever compacted; each is told once.
    pub fn take_gaps_met(&self) -> Vec<Warning> {
        let met = self.shared.take_gaps_met();
        let compacted = || self.env.cleaner_points.get(&self.partition).is_some();
        match self.config.compact || compacted() {
            true => Vec::new(),
            false => met,
        }
    }

    /// Errors once the directory failed or the partition was deleted.
    pub(crate) fn check_usable(&self) -> Result<(), LogError> {
        self.env.health.check()?;
        Ok(self.check_present()?)
    }

    fn check_present(&self) -> Result<(), PartitionDeleted> {
        match self.shared.is_gone() {
            false => Ok(()),
            true => Err(PartitionDeleted {
                partition: self.partition.clone(),
            }),
        }
    }

    /// The directory is about to be renamed away. Its name may belong to another
    /// partition afterwards, which nothing of this one may touch.
    pub(crate) fn set_gone(&self) {
        self.shared.set_gone();
        self.passes.set_gone();
    }

    pub(crate) fn passes(&self) -> &Arc<Passes> {
        &self.passes
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.shared.is_gone()
    }

    fn accepts_appends(&self) -> Result<(), AppendError> {
        self.env.health.check()?;
        self.check_present()?;
        match &self.damage {
            Some(damage) => Err(AppendError::Damaged(damage.clone())),
            None => Ok(()),
        }
    }

    /// Epochs never go back within a log: recovery would take what goes back for a
    /// torn tail.
    fn check_epoch(&self, latest: Option<i32>, found: i32, offset: i64) -> Result<(), AppendError> {
        match latest {
            Some(latest) if (0..latest).contains(&found) => Err(AppendError::OlderEpoch {
                offset,
                found,
                latest,
            }),
            _ => Ok(()),
        }
    }

    fn marker_at(
        &self,
        batches: &CheckedBatches<'_>,
        position: usize,
        header: &BatchHeader,
    ) -> Option<EndTxnMarker> {
        if !header.is_control() {
            return None;
        }
        marker(&BatchView::parse(&batches.bytes[position..]).ok()?)
    }

    /// Writes stamped batches to the active segment, rolling before if due, and
    /// publishes them.
    fn write(&mut self, bytes: &[u8], now_ms: i64) -> Result<(), AppendError> {
        let Some((_, first)) = Headers::of(bytes).next() else {
            return Ok(());
        };
        let last = Headers::of(bytes)
            .last()
            .map_or(first, |(_, header)| header);
        let size = bytes.len() as u64;
        let limit = self.config.segment_bytes.min(SEGMENT_BYTES_LIMIT);
        if size > limit {
            return Err(AppendError::LargerThanSegment { size, limit });
        }
        let (first_offset, last_offset) = (first.base_offset, last.last_offset());
        if last_offset - first_offset > i64::from(i32::MAX) {
            return Err(AppendError::OffsetSpan {
                first: first_offset,
                last: last_offset,
            });
        }
        if self.roll_is_due(size, &first, last_offset, now_ms) {
            self.roll_at(first_offset, now_ms)
                .map_err(|error| match error {
                    LogError::Disk(error) => self.refuse(error, size),
                    LogError::Offline(offline) => offline.into(),
                    LogError::Deleted(deleted) => deleted.into(),
                    LogError::Corrupt(corruption) => corruption.into(),
                    LogError::OutOfRange { .. } | LogError::GivenUp => {
                        unreachable!("rolling looks for no offset and compacts nothing")
                    }
                })?;
        }

        self.epochs
            .settle()
            .map_err(|error| self.refuse(error, size))?;
        let position = self.active.segment.len();
        self.reserve(position, size)?;
        let segment = self.active.segment.clone();
        // Known before it is added to: a segment found on disk has one already.
        segment.largest().map_err(|error| match error {
            ReadError::Disk(error) => self.refuse(error, size),
            ReadError::Offline(offline) => offline.into(),
            ReadError::Corrupt(corruption) => corruption.into(),
            ReadError::OutOfRange { .. } => unreachable!("a walk looks for no offset"),
        })?;
        // Everything that can find the disk full comes before the batches are written.
        segment
            .make_room(self.index_entries_of(bytes))
            .map_err(|error| self.refuse(error, size))?;
        let written = segment
            .file()
            .and_then(|file| file.write_all_at(bytes, position));
        if let Err(error) = written {
            return Err(self.undo(position, size, error));
        }
        let mut at = 0;
        for (offset_in_run, header) in Headers::of(bytes) {
            let end = header
                .is_control()
                .then(|| BatchView::parse(&bytes[offset_in_run..]).ok());
            let end = end.flatten().as_ref().and_then(marker);
            if let Some(aborted) = end.and_then(|end| self.producers.aborted_by(&header, end))
                && let Err(error) = segment.txns.push(aborted)
            {
                if at > 0 {
                    // Batches before this one are in the producer state already.
                    self.env.health.fail(&error);
                }
                return Err(self.undo(position, size, error));
            }
            self.producers.apply(&header, end);
            self.producers.keep_at_most(self.config.producer_ids_max);
            segment.note_timestamp(header.max_timestamp, header.last_offset());
            if self.active.since_index > self.config.index_interval_bytes {
                let indexed = segment.index(&header, position + at);
                self.or_offline(indexed)?;
                self.active.since_index = 0;
            }
            self.active.since_index += header.size() as u64;
            at += header.size() as u64;
        }
        self.active
            .first_timestamp
            .get_or_insert(first.max_timestamp);
        self.durability.appended(now_ms);
        self.changed = true;
        segment.publish(position + size);
        self.shared.set_log_end(last_offset + 1);
        self.publish_unstable();
        self.check_invariants();
        Ok(())
    }

    /// How many entries batches will get in each index, at most.
    fn index_entries_of(&self, bytes: &[u8]) -> usize {
        let mut since_index = self.active.since_index;
        let mut entries = 0;
        for (_, header) in Headers::of(bytes) {
            if since_index > self.config.index_interval_bytes {
                entries += 1;
                since_index = 0;
            }
            since_index += header.size() as u64;
        }
        entries
    }

    fn reserve(&mut self, position: u64, size: u64) -> Result<(), AppendError> {
        let end = position + size;
        if end <= self.active.reserved {
            return Ok(());
        }
        let step = position.clamp(RESERVE_STEP_MIN, RESERVE_STEP_MAX);
        let ahead = (self.active.reserved + step)
            .min(self.active.segment.capacity())
            .max(end);
        let file = self
            .active
            .segment
            .file()
            .map_err(|error| self.refuse(error, size))?
            .clone();
        let from = self.active.reserved.max(position);
        // When there is no room for a whole step there may be for this append.
        let reserved = match file.reserve(from, ahead - from) {
            Err(error) if error.is_full() && ahead > end => {
                file.reserve(from, end - from).map(|()| end)
            }
            other => other.map(|()| ahead),
        };
        self.active.reserved = reserved.map_err(|error| self.refuse(error, size))?;
        Ok(())
    }

    /// A failure before anything was written. A full disk refuses this append only.
    fn refuse(&self, error: DiskError, needed: u64) -> AppendError {
        if error.is_full() {
            let dir = self.env.health.dir();
            let free = self.env.disk.bytes_free(dir).unwrap_or(0);
            return AppendError::DirectoryFull {
                dir: dir.to_owned(),
                needed,
                free,
            };
        }
        self.env.health.fail(&error);
        error.into()
    }

    /// A failure while writing: what is in the file behind the published end must
    /// not be taken for batches by a later scan.
    fn undo(&mut self, position: u64, size: u64, error: DiskError) -> AppendError {
        let segment = &self.active.segment;
        let undone = segment
            .file()
            .and_then(|file| file.zero(position, size))
            .and_then(|()| segment.txns.truncate_to_offset(self.shared.log_end()));
        if let Err(undo) = undone {
            self.env.health.fail(&undo);
            return error.into();
        }
        self.refuse(error, size)
    }

    /// An error outside of appending data takes the directory offline.
    pub(crate) fn or_offline<T>(&self, result: DiskResult<T>) -> DiskResult<T> {
        result.inspect_err(|error| self.env.health.fail(error))
    }

    /// The same where a full disk leaves everything as it was.
    pub(crate) fn or_offline_unless_full<T>(&self, result: DiskResult<T>) -> DiskResult<T> {
        result.inspect_err(|error| {
            if !error.is_full() {
                self.env.health.fail(error);
            }
        })
    }

    fn publish_unstable(&self) {
        self.shared
            .set_first_unstable(self.producers.first_unstable());
    }

    /// Tells the log how far it is replicated: transactions that ended below are
    /// settled, so readers of committed data may pass them.
    pub fn settle_below(&mut self, high_watermark: i64) {
        self.producers.settle_below(high_watermark);
        self.publish_unstable();
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`.
    pub fn expire_producers(&mut self, now_ms: i64) {
        self.producers
            .expire(now_ms, self.config.producer_id_expiration_ms);
    }

    // Rolling.

    fn roll_is_due(&self, size: u64, first: &BatchHeader, last_offset: i64, now_ms: i64) -> bool {
        let segment = &self.active.segment;
        let len = segment.len();
        if len + size > self.config.segment_bytes.min(segment.capacity()) {
            // An empty one makes room where it is of a time when segments were smaller.
            return len > 0 || size > segment.capacity();
        }
        if last_offset - segment.base_offset() > i64::from(i32::MAX) {
            return true;
        }
        if segment.offsets.is_full() || segment.times.is_full() {
            return true;
        }
        len > 0 && self.age_of_active(first.max_timestamp, now_ms) > self.roll_after_ms()
    }

    /// Record time decides where there is any, so that old records that are
    /// replayed roll by their own age.
    fn age_of_active(&self, timestamp: i64, now_ms: i64) -> i64 {
        match self.active.first_timestamp {
            Some(first) if first >= 0 => timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.active.created_ms),
        }
    }

    /// `segment.ms`, or `max.compaction.lag.ms` if that is less on a compacted log (an
    /// active segment is never cleaned), less a jitter of up to `segment.jitter.ms` that
    /// differs between segments, so that not all partitions of a broker roll in one moment.
    fn roll_after_ms(&self) -> i64 {
        let most_ms = match self.config.compact {
            true => self
                .config
                .segment_ms
                .min(self.config.max_compaction_lag_ms),
            false => self.config.segment_ms,
        };
        let jitter = match self.config.segment_jitter_ms.min(most_ms) {
            ..=0 => 0,
            most => {
                let name = self.partition.dir_name();
                let seed = name
                    .bytes()
                    .fold(self.active.segment.base_offset() as u64, |seed, byte| {
                        (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
                    });
                (seed % most as u64) as i64
            }
        };
        most_ms - jitter
    }

    /// Begins a new segment, unless the active one is empty.
    ///
    /// A damaged log begins none: what lies behind the damage would be cut off.
    pub fn roll(&mut self, now_ms: i64) -> Result<(), LogError> {
        self.check_usable()?;
        if self.active.segment.len() == 0 || self.damage.is_some() {
            return Ok(());
        }
        self.roll_at(self.log_end(), now_ms).inspect_err(|error| {
            if let LogError::Disk(disk) = error
                && !disk.is_full()
            {
                self.env.health.fail(disk);
            }
        })
    }

    fn roll_at(&mut self, base_offset: i64, now_ms: i64) -> Result<(), LogError> {
        self.active.segment.seal()?;
        producer_snapshot::store(&self.env.disk, &self.dir, base_offset, &self.producers)?;
        let segment = Segment::create(&self.env, &self.dir, base_offset, &self.config)?;
        self.durability.names_changed();
        self.changed = true;
        // Reserved blocks go back; a slice in use puts it off until the log closes.
        let trimmed = self.active.segment.trim();
        self.or_offline(trimmed)?;
        let mut segments: Vec<_> = self.shared.segments().to_vec();
        if self.active.segment.len() == 0 && self.active.segment.base_offset() == base_offset {
            segments.pop();
        }
        segments.push(segment.clone());
        self.shared.set_segments(segments);
        self.active = Active::new(segment, None, now_ms);
        Ok(())
    }

    // The beginning of the log.

    /// Raises the first offset: records below are gone for readers now, and from
    /// the disk when whole segments are.
    pub fn advance_log_start(&mut self, offset: i64) -> Result<(), LogError> {
        self.check_usable()?;
        let (start, end) = (self.log_start(), self.log_end());
        if offset > end {
            return Err(LogError::OutOfRange { offset, start, end });
        }
        if offset <= start {
            return Ok(());
        }
        self.env.log_starts.set(&self.partition, offset);
        self.shared.set_log_start(offset);
        match self.epochs.truncate_start(offset) {
            // The file goes on naming epochs from before the start, which opening it
            // forgets: a full disk must not stop what frees it.
            Err(error) if error.is_full() => Ok(()),
            forgotten => Ok(self.or_offline(forgotten)?),
        }
    }

    /// Takes the oldest `count` segments out of the log; their files are renamed
    /// now and unlinked by [`Log::unlink_deleted`] when their delay is over. On a disk
    /// without room for another name they are unlinked now.
    pub(crate) fn drop_oldest(&mut self, count: usize, now_ms: i64) -> Result<(), LogError> {
        let segments = self.shared.segments();
        let (gone, kept) = segments.split_at(count);
        let Some(first) = kept.first() else {
            return Ok(());
        };
        let new_start = first.base_offset().max(self.log_start());
        // The start first: were the files gone and the start not raised, a restart
        // would find a log that begins later than it says.
        self.advance_log_start(new_start)?;
        self.shared.set_segments(kept.to_vec());
        for (index, segment) in gone.iter().enumerate() {
            let opened = segment.open_for_good();
            let taken = opened.and_then(|()| self.retire_or_discard(segment.base_offset(), now_ms));
            if taken.is_err() {
                // Below the start, so the next pass takes it again.
                self.shared.set_segments(segments[index..].to_vec());
            }
            // What frees space goes on when the disk is full.
            self.or_offline_unless_full(taken)?;
        }
        let stale = self.drop_snapshots_below(first.base_offset());
        Ok(self.or_offline_unless_full(stale)?)
    }

    /// Renames the files of a segment away. Readers that hold the segment go on
    /// through its open handles.
    fn retire(&mut self, segment: &Segment, now_ms: i64) -> DiskResult<()> {
        segment.open_for_good()?;
        self.retire_files(segment.base_offset(), now_ms)
    }

    fn retire_files(&mut self, base_offset: i64, now_ms: i64) -> DiskResult<()> {
        let mut paths = Vec::new();
        // The data file last: without it the others would belong to nothing.
        for kind in [
            FileKind::OffsetIndex,
            FileKind::TimeIndex,
            FileKind::TxnIndex,
            FileKind::Log,
        ] {
            let name = FileName::live(base_offset, kind);
            let to = name.at(FileStage::Deleted).in_dir(&self.dir);
            match self.env.disk.rename(&name.in_dir(&self.dir), &to) {
                Ok(()) => paths.push(to),
                // An index of a segment never sealed, or without an aborted transaction.
                Err(error) if error.is_not_found() && kind != FileKind::Log => {}
                Err(error) => return Err(error),
            }
        }
        self.durability.names_changed();
        self.changed = true;
        let due_ms = now_ms.saturating_add(self.config.file_delete_delay_ms);
        self.deleted.push(Deleted { due_ms, paths });
        Ok(())
    }

    fn drop_snapshots_below(&self, offset: i64) -> DiskResult<()> {
        for name in snapshots(&self.env, &self.dir)? {
            if name < offset {
                self.env
                    .disk
                    .remove_file(&FileName::live(name, FileKind::Snapshot).in_dir(&self.dir))?;
            }
        }
        Ok(())
    }

    /// Unlinks what waits for the end of its delay under names of segments in `range`, for
    /// good: a swap there is about to take the same names, and a restart in the middle of
    /// it must find no others than its own.
    pub(crate) fn unlink_deleted_within(&mut self, range: Range<i64>) -> DiskResult<()> {
        let names = self.env.disk.read_dir(&self.dir)?;
        let within: Vec<PathBuf> = names
            .iter()
            .filter_map(|entry| FileName::parse(&entry.name))
            .filter(|name| name.stage == FileStage::Deleted && range.contains(&name.offset))
            .map(|name| name.in_dir(&self.dir))
            .collect();
        if within.is_empty() {
            return Ok(());
        }
        for path in &within {
            self.env.disk.remove_file(path)?;
        }
        self.env.disk.sync_dir(&self.dir)?;
        for deleted in &mut self.deleted {
            deleted.paths.retain(|path| !within.contains(path));
        }
        self.deleted.retain(|deleted| !deleted.paths.is_empty());
        Ok(())
    }

    /// Unlinks files whose `file.delete.delay.ms` is over; when to come again.
    pub fn unlink_deleted(&mut self, now_ms: i64) -> Result<Option<i64>, LogError> {
        self.env.health.check()?;
        if self.is_gone() {
            // They went with the directory.
            self.deleted.clear();
        }
        while let Some(index) = self
            .deleted
            .iter()
            .position(|deleted| deleted.due_ms <= now_ms)
        {
            for path in &self.deleted[index].paths {
                self.or_offline_unless_full(self.env.disk.remove_file(path))?;
            }
            self.deleted.swap_remove(index);
            self.durability.names_changed();
        }
        Ok(self.deleted.iter().map(|deleted| deleted.due_ms).min())
    }

    // Durability; the policy is in `flush.rs`.

    /// Records that would not survive a power cut.
    pub fn unflushed_records(&self) -> i64 {
        self.log_end() - self.recovery_point()
    }

    /// Whether `flush.messages` calls for a sync: a flush that is under way has none of them
    /// on disk yet.
    pub fn flush_is_due_by_count(&self) -> bool {
        self.unflushed_records() >= self.config.flush_messages
    }

    /// Whether `flush.ms` does, of records that no flush carries.
    pub fn flush_is_due_by_age(&self, now_ms: i64) -> bool {
        let since = self.durability.since_ms();
        since.is_some_and(|since| now_ms.saturating_sub(since) >= self.config.flush_ms)
    }

    /// What must be synced to make everything appended so far durable; `None` when
    /// it is. Run it without the log's lock, then hand the result back.
    pub fn begin_flush(&mut self) -> Option<Flush> {
        // A damaged log keeps its recovery point: lower, it would make the next
        // recovery take the damage for a torn tail.
        if self.damage.is_some() || self.is_gone() {
            return None;
        }
        let segments = self.shared.segments();
        let from = first_carried(holding(&segments, self.recovery_point()), |index| {
            segments[index].has_unsynced_indexes()
        });
        let carried = self.durability.begin(self.log_end())?;
        let parent = carried.parent.map(|_| self.env.health.dir().into());
        let own = carried.names.map(|_| self.dir.clone());
        Some(Flush {
            env: self.env.clone(),
            shared: self.shared.clone(),
            segments: segments[from..].to_vec(),
            sync_names: [parent, own],
            sync_topic_id: carried.parent.map(|_| self.dir.clone()),
            carried,
            running: self.flushing.clone(),
        })
    }

    /// Raises the recovery point, unless the log was truncated meanwhile.
    pub fn finish_flush(&mut self, flushed: Flushed) {
        // Of a deleted partition nothing is noted: the name may be another's by now.
        if self.durability.finish(flushed.carried) && !self.is_gone() {
            self.env
                .recovery_points
                .set(&self.partition, self.recovery_point());
        }
    }

    /// Syncs everything appended so far.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.env.health.check()?;
        if let Some(flush) = self.begin_flush() {
            let flushed = flush.run()?;
            self.finish_flush(flushed);
        }
        Ok(())
    }

    /// Leaves the directory as a clean stop leaves it: everything synced, indexes
    /// complete, files as long as their content, producers in a snapshot.
    pub fn close(&mut self) -> Result<(), LogError> {
        if self.complete_files()? {
            self.sync_files()?;
        }
        Ok(())
    }

    /// The part behind [`Log::complete_files`], file by file.
    pub(crate) fn sync_files(&mut self) -> Result<(), LogError> {
        self.flush()?;
        let synced = self.active.segment.sync_all();
        self.or_offline(synced)?;
        self.changed = false;
        Ok(())
    }

    /// Whether all that is in its directory is on this file system.
    pub(crate) fn is_on(&self, file_system: u64) -> DiskResult<bool> {
        let own = self.env.disk.file_system(&self.dir)?;
        Ok(own == file_system && !self.has_links)
    }

    /// The part of [`Log::close`] before the syncs; whether there is anything to sync.
    pub(crate) fn complete_files(&mut self) -> Result<bool, LogError> {
        self.env.health.check()?;
        if self.damage.is_some() || self.is_gone() || !self.changed {
            return Ok(false);
        }
        let segments = self.shared.segments();
        for segment in &segments[holding(&segments, self.recovery_point())..] {
            segment.seal()?;
        }
        let trimmed = self.active.segment.trim();
        self.or_offline(trimmed)?;
        let stored = self.store_last_snapshot(&segments);
        // On a full disk the stop is refused, and with room it can be done again.
        self.or_offline_unless_full(stored)?;
        self.durability.names_changed();
        Ok(true)
    }

    /// A log that never had producers and never rolled needs no snapshot; any other
    /// gets one at its end, and those that neither begin a segment nor are the
    /// newest go.
    fn store_last_snapshot(&self, segments: &[Arc<Segment>]) -> DiskResult<()> {
        let old = snapshots(&self.env, &self.dir)?;
        if self.producers.is_empty() && old.is_empty() {
            return Ok(());
        }
        let end = self.log_end();
        producer_snapshot::store(&self.env.disk, &self.dir, end, &self.producers)?;
        let begins_a_segment = |offset: &i64| {
            segments
                .iter()
                .any(|segment| segment.base_offset() == *offset)
        };
        for offset in old
            .into_iter()
            .filter(|offset| *offset != end && !begins_a_segment(offset))
        {
            self.env
                .disk
                .remove_file(&FileName::live(offset, FileKind::Snapshot).in_dir(&self.dir))?;
        }
        Ok(())
    }

    /// Everything of the file system was synced after [`Log::complete_files`].
    pub(crate) fn everything_synced(&mut self) {
        self.changed = false;
        self.durability.all_synced(self.log_end());
        self.env
            .recovery_points
            .set(&self.partition, self.recovery_point());
    }

    pub(crate) fn segments(&self) -> Segments {
        self.shared.segments()
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.env
    }

    pub(crate) fn truncations(&self) -> u64 {
        self.shared.truncations()
    }

    /// Puts the compacted segment that waits as `.swap` in the place of `replaced`.
    pub(crate) fn replace_segments(
        &mut self,
        replaced: &[Arc<Segment>],
        base_offset: i64,
        sizes: FileSizes,
        now_ms: i64,
    ) -> DiskResult<()> {
        for segment in replaced {
            self.retire(segment, now_ms)?;
            if segment.base_offset() != base_offset {
                // It stood where a segment began that is now part of another.
                let snapshot = FileName::live(segment.base_offset(), FileKind::Snapshot);
                self.env.disk.remove_file(&snapshot.in_dir(&self.dir))?;
            }
        }
        swap::complete(&self.env, &self.dir, base_offset)?;
        self.env.disk.sync_dir(&self.dir)?;
        let compacted = Segment::existing(&self.env, &self.dir, base_offset, sizes, &self.config);
        let mut segments = self.shared.segments().to_vec();
        let is_replaced = |segment: &Arc<Segment>| {
            replaced
                .iter()
                .any(|replaced| Arc::ptr_eq(replaced, segment))
        };
        if let Some(at) = segments.iter().position(is_replaced) {
            segments.splice(at..at + replaced.len(), [compacted]);
        }
        self.shared.set_segments(segments);
        Ok(())
    }

    fn check_invariants(&self) {
        debug_assert!(self.log_start() <= self.log_end());
        debug_assert!(self.recovery_point() <= self.log_end());
        debug_assert!(self.active.segment.base_offset() <= self.log_end());
        debug_assert!(
            self.producers
                .first_unstable()
                .is_none_or(|first| first < self.log_end())
        );
    }
}

/// Offsets of the snapshots in a directory, ascending.
fn snapshots(env: &Env, dir: &Path) -> DiskResult<Vec<i64>> {
    live_files(env, dir, FileKind::Snapshot)
}

/// Offsets of the files of a kind that are in use, ascending.
fn live_files(env: &Env, dir: &Path, kind: FileKind) -> DiskResult<Vec<i64>> {
    let names = env.disk.read_dir(dir)?;
    Ok(names
        .iter()
        .filter_map(|entry| FileName::parse(&entry.name))
        .filter(|name| name.kind == kind && name.stage == FileStage::Live)
        .map(|name| name.offset)
        .collect())
}

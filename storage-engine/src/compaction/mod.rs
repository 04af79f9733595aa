//! Compaction: keeping the newest record of each key.
//!
//! A pass has three parts, as in everything here a plan first and the work after:
//!
//! 1. [`Log::plan_compaction`] picks the sealed segments that may be cleaned: below
//!    the recovery point, the high watermark, any undecided transaction and the
//!    compaction lag.
//! 2. [`CompactionPlan::run`], without the log's lock, builds a map from key to
//!    newest offset over the dirty part (`offset_map`), then writes new segments
//!    with what `filter` retains (`cleaned`).
//! 3. [`Log::finish_compaction`], under the lock again, swaps the new segments in
//!    (`swap`) unless the log was truncated or expired meanwhile.
//!
//! Offsets never change. Batches keep the offsets they span, so a reader sees a gap
//! where a whole batch went. The last batch of each active producer stays, emptied
//! if need be, so that its sequence is not forgotten, and the last batch of a pass, so
//! that replicas get to its end.

mod cleaned;
mod filter;
mod offset_map;
pub(crate) mod pass;
pub(crate) mod swap;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use reka_records::{BatchView, batches};

use crate::config::LogConfig;
use crate::env::Env;
use crate::error::LogError;
use crate::format::SEGMENT_BYTES_LIMIT;
use crate::fs::DiskResult;
use crate::log::Log;
use crate::segment::Segment;
use crate::txn_index::AbortedTxn;

use cleaned::CleanedWriter;
use filter::{Filter, Keep, Transactions};
use offset_map::OffsetMap;
use pass::Pass;

/// Bytes of batches looked at in one go.
const READ_BYTES: u64 = 1 << 20;

/// What a pass is held back by; see [`CompactionPlan::run_at`].
pub type Pace<'a> = &'a dyn Fn(u64) -> Result<(), LogError>;

/// Memory bounds of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionLimits {
    /// Memory of the map from key to offset (`log.cleaner.dedupe.buffer.size`): what
    /// does not fit is cleaned by the next pass, which may begin inside a batch.
    pub map_bytes: usize,
    /// A batch may grow to this when it is decompressed.
    pub decompressed_bytes_max: usize,
}

impl Default for CompactionLimits {
    fn default() -> CompactionLimits {
        CompactionLimits {
            map_bytes: 128 << 20,
            decompressed_bytes_max: 256 << 20,
        }
    }
}

/// What a pass will look at.
#[derive(Debug)]
pub struct CompactionPlan {
    pass: Pass,
    env: Arc<Env>,
    config: LogConfig,
    /// Oldest first: those cleaned before, then the dirty ones.
    segments: Vec<Arc<Segment>>,
    first_dirty: i64,
    /// Segments begin below this.
    upper: i64,
    aborted: Vec<AbortedTxn>,
    /// Last data offset of each active producer; `None` when it has only markers.
    last_of_producers: HashMap<i64, LastOfProducer>,
    truncations: u64,
    clean_bytes: u64,
    dirty_bytes: u64,
    oldest_dirty_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct LastOfProducer {
    data_offset: Option<i64>,
    epoch: i16,
}

/// New segments on disk that wait to be swapped in.
#[derive(Debug)]
#[must_use = "hand it back to the log"]
pub struct Compacted {
    pass: Pass,
    env: Arc<Env>,
    groups: Vec<Group>,
    cleaned_to: i64,
    truncations: u64,
    /// Bytes of the segments that are replaced.
    pub bytes_before: u64,
    /// Bytes of those that replace them.
    pub bytes_after: u64,
}

impl Drop for Compacted {
    /// Nobody wants it: what was written goes, or at the latest with the next start.
    fn drop(&mut self) {
        let Compacted {
            pass, env, groups, ..
        } = self;
        if groups.is_empty() || env.health.check().is_err() {
            return;
        }
        pass.tidy_up(|| {
            for first in groups.iter().filter_map(|group| group.replaced.first()) {
                // An error leaves what a crash would leave.
                let _ = cleaned::discard(env, first);
            }
        });
    }
}

#[derive(Debug)]
struct Group {
    replaced: Vec<Arc<Segment>>,
    sizes: crate::segment::FileSizes,
}

impl CompactionPlan {
    /// Dirty bytes of all bytes, in thousandths.
    pub fn dirty_permille(&self) -> u32 {
        let total = (self.clean_bytes + self.dirty_bytes).max(1);
        (self.dirty_bytes.saturating_mul(1000) / total) as u32
    }

    /// Whether the dirty ratio or the age of the oldest dirty record calls for a pass.
    pub fn is_due(&self, now_ms: i64) -> bool {
        let late = self.oldest_dirty_ms.is_some_and(|oldest| {
            now_ms.saturating_sub(oldest) > self.config.max_compaction_lag_ms
        });
        late || self.dirty_permille() > self.config.min_cleanable_dirty_permille
    }

    /// Reads, filters and writes; blocking, without the log's lock. What it wrote before
    /// it failed is removed again.
    pub fn run(self, limits: &CompactionLimits, now_ms: i64) -> Result<Compacted, LogError> {
        self.run_at(limits, now_ms, &|_| Ok(()))
    }

    /// The same at a pace: it is called with each megabyte or so that was read or written, and
    /// waits as it likes, or says [`LogError::GivenUp`].
    pub fn run_at(
        self,
        limits: &CompactionLimits,
        now_ms: i64,
        pace: Pace<'_>,
    ) -> Result<Compacted, LogError> {
        self.env.health.check()?;
        self.pass.by_name(|| Ok(()))?;
        let map = self.build_map(limits, pace)?;
        let cleaned_to = map.end_offset().clamp(self.first_dirty, self.upper);
        let mut filter = Filter {
            map: &map,
            transactions: Transactions::new(&self.aborted),
            last_of_producers: &self.last_of_producers,
            cleaned_to,
            now_ms,
            delete_retention_ms: self.config.delete_retention_ms,
            decompressed_bytes_max: limits.decompressed_bytes_max,
            scratch: Vec::new(),
        };
        let mut groups: Vec<Group> = Vec::new();
        let (mut bytes_before, mut bytes_after) = (0, 0);
        for group in self.groups(cleaned_to) {
            let cleaned = self.clean_group(group, &mut filter, pace);
            let sizes = cleaned.inspect_err(|_| {
                let done = groups.iter().filter_map(|group| group.replaced.first());
                self.discard(done.chain(group.first()));
            })?;
            bytes_before += group.iter().map(|segment| segment.len()).sum::<u64>();
            bytes_after += sizes.log;
            groups.push(Group {
                replaced: group.to_vec(),
                sizes,
            });
        }
        Ok(Compacted {
            groups,
            cleaned_to,
            truncations: self.truncations,
            bytes_before,
            bytes_after,
            pass: self.pass,
            env: self.env,
        })
    }

    /// Gives the space back that new segments took, as on a full disk it is what the
    /// others lack.
    fn discard<'a>(&self, firsts: impl Iterator<Item = &'a Arc<Segment>>) {
        for first in firsts {
            let discarded = self.pass.by_name(|| cleaned::discard(&self.env, first));
            // What is left is removed by the next pass or start.
            self.fail_unless_full(&discarded);
        }
    }

    fn fail_unless_full<T>(&self, result: &Result<T, LogError>) {
        if let Err(LogError::Disk(error)) = result
            && !error.is_full()
        {
            self.env.health.fail(error);
        }
    }

    fn build_map(&self, limits: &CompactionLimits, pace: Pace<'_>) -> Result<OffsetMap, LogError> {
        let mut map = OffsetMap::new(limits.map_bytes, self.first_dirty);
        let mut transactions = Transactions::new(&self.aborted);
        let mut scratch = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            let dirty = map.end_offset();
            let complete = for_each_batch(segment, pace, |position, batch| {
                let header = batch.header();
                // Clean batches are looked at for the sake of open transactions only.
                let counts = !header.is_control() && !transactions.is_aborted_data(batch);
                if header.next_offset() <= dirty || !counts {
                    map.reached(header.next_offset());
                    return Ok(true);
                }
                let damaged = |error| segment.corruption(position, "a record batch", error);
                let records = batch
                    .records(&mut scratch, limits.decompressed_bytes_max)
                    .map_err(damaged)?;
                for record in records {
                    let record = record.map_err(damaged)?;
                    if let Some(key) = record.key
                        && record.offset >= self.first_dirty
                        && !map.put(key, record.offset)
                    {
                        // The next pass goes on here, as Apache Kafka's cleaner does.
                        map.reached(record.offset.min(header.next_offset()));
                        return Ok(false);
                    }
                }
                map.reached(header.next_offset());
                Ok(true)
            })?;
            if !complete {
                break;
            }
            // Up to the next one, whether or not there are batches up to there.
            map.reached(self.end_of(index));
        }
        Ok(map)
    }

    /// Where the segment with this index ends: there the next one begins.
    fn end_of(&self, index: usize) -> i64 {
        let next = self.segments.get(index + 1);
        next.map_or(self.upper, |next| next.base_offset())
    }

    /// Consecutive segments that fit into one.
    fn groups(&self, cleaned_to: i64) -> Vec<&[Arc<Segment>]> {
        let end = self
            .segments
            .partition_point(|segment| segment.base_offset() < cleaned_to);
        let bytes_max = self.config.segment_bytes.min(SEGMENT_BYTES_LIMIT);
        let mut groups = Vec::new();
        let mut from = 0;
        for index in 1..=end {
            let fits = index < end && {
                let bytes: u64 = self.segments[from..=index]
                    .iter()
                    .map(|segment| segment.len())
                    .sum();
                let base = self.segments[from].base_offset();
                bytes <= bytes_max && self.end_of(index) - base <= i64::from(i32::MAX)
            };
            if !fits {
                groups.push(&self.segments[from..index]);
                from = index;
            }
        }
        groups
    }

    fn clean_group(
        &self,
        group: &[Arc<Segment>],
        filter: &mut Filter<'_>,
        pace: Pace<'_>,
    ) -> Result<crate::segment::FileSizes, LogError> {
        let Some(first) = group.first() else {
            return Ok(Default::default());
        };
        let interval = self.config.index_interval_bytes;
        let mut writer = CleanedWriter::create(&self.env, &self.pass, first, interval)?;
        let mut unpaced = 0;
        for segment in group {
            for_each_batch(segment, pace, |position, batch| {
                let damaged = |error| segment.corruption(position, "a record batch", error);
                let mut ended = None;
                match filter.judge(batch, &mut ended).map_err(damaged)? {
                    Keep::Nothing => {}
                    Keep::AsIs => {
                        writer.append(batch.header(), batch.bytes())?;
                        unpaced += batch.bytes().len() as u64;
                    }
                    Keep::Rebuilt(bytes) => {
                        let header = BatchView::parse(&bytes).map_err(damaged)?;
                        writer.append(header.header(), &bytes)?;
                        unpaced += bytes.len() as u64;
                    }
                }
                if unpaced >= READ_BYTES {
                    pace(std::mem::take(&mut unpaced))?;
                }
                if let Some(aborted) = ended {
                    writer.aborted(aborted);
                }
                Ok(true)
            })?;
        }
        pace(unpaced)?;
        let finished = writer.finish(&self.pass);
        self.fail_unless_full(&finished);
        finished
    }
}

/// Calls `visit` with each batch, checksum verified, until it returns `false`;
/// whether it saw them all.
fn for_each_batch(
    segment: &Segment,
    pace: Pace<'_>,
    mut visit: impl FnMut(u64, &BatchView<'_>) -> Result<bool, LogError>,
) -> Result<bool, LogError> {
    let mut walk = segment.walk_from_start()?;
    loop {
        // A run of batches whose headers agree with each other.
        let start = walk.position();
        while walk.position() - start < READ_BYTES {
            if walk.next_span()?.is_none() {
                break;
            }
        }
        let run = walk.position() - start;
        if run == 0 {
            return Ok(true);
        }
        pace(run)?;
        let mapping = segment.mapping()?;
        let bytes = segment.bytes_of(mapping.clone(), start, run)?;
        let mut position = start;
        for batch in batches(&bytes) {
            let damaged = |error| segment.corruption(position, "a record batch", error);
            let batch = batch.map_err(damaged)?;
            batch.verify_crc().map_err(damaged)?;
            if !visit(position, &batch)? {
                return Ok(false);
            }
            position += batch.bytes().len() as u64;
        }
        // A page that failed behind the checksum reads as zeros: not to be written on.
        segment.bytes_of(mapping, start, run)?;
    }
}

/// Removes what was written for groups that are not swapped in.
fn drop_groups(env: &Env, groups: &[Group]) -> DiskResult<()> {
    for first in groups.iter().filter_map(|group| group.replaced.first()) {
        // Its indexes may have been announced; without the data file that means nothing.
        swap::forget_announced(env, first.dir(), first.base_offset())?;
        cleaned::discard(env, first)?;
    }
    Ok(())
}

impl Log {
    /// What a pass could clean now; `None` when there is nothing dirty below the
    /// bounds, or another pass is under way: planned, at work, or waiting to be swapped in.
    /// Flush first: only what is on disk is cleaned.
    pub fn plan_compaction(
        &self,
        high_watermark: i64,
        now_ms: i64,
    ) -> Result<Option<CompactionPlan>, LogError> {
        self.env().health.check()?;
        if self.damage().is_some() || self.is_gone() {
            return Ok(None);
        }
        let segments = self.segments();
        let log_start = self.log_start();
        let checkpoint = self.env().cleaner_points.get(self.partition());
        let first_dirty = checkpoint.unwrap_or(log_start).max(log_start);
        let bound = high_watermark
            .min(self.recovery_point())
            .min(self.producers().first_unstable().unwrap_or(i64::MAX));
        let (Some(first), Some((active, sealed))) = (segments.first(), segments.split_last())
        else {
            return Ok(None);
        };
        let Some(pass) = self.passes().begin(self.partition()) else {
            return Ok(None);
        };
        let mut plan = CompactionPlan {
            pass,
            env: self.env().clone(),
            config: self.config().clone(),
            segments: Vec::new(),
            first_dirty,
            upper: first.base_offset(),
            aborted: Vec::new(),
            last_of_producers: HashMap::new(),
            truncations: self.truncations(),
            clean_bytes: 0,
            dirty_bytes: 0,
            oldest_dirty_ms: None,
        };
        for (index, segment) in sealed.iter().enumerate() {
            let end = sealed
                .get(index + 1)
                .map_or(active.base_offset(), |next| next.base_offset());
            let largest = segment.youngest_ms()?;
            let too_young = self.config().min_compaction_lag_ms > 0
                && largest.is_some_and(|largest| {
                    now_ms.saturating_sub(largest) < self.config().min_compaction_lag_ms
                });
            if end > bound || too_young && end > first_dirty {
                break;
            }
            if end <= first_dirty {
                plan.clean_bytes += segment.len();
            } else {
                plan.dirty_bytes += segment.len();
                if plan.oldest_dirty_ms.is_none() {
                    plan.oldest_dirty_ms = crate::log::first_timestamp_of(segment)?;
                }
            }
            plan.segments.push(segment.clone());
            plan.upper = end;
        }
        if plan.dirty_bytes == 0 {
            return Ok(None);
        }
        plan.aborted = self
            .reader()
            .aborted_transactions(first.base_offset(), plan.upper)?;
        plan.last_of_producers = self
            .producers()
            .iter()
            .map(|(id, entry)| {
                let data_offset = entry.batches().last().map(|batch| batch.last_offset);
                (
                    id,
                    LastOfProducer {
                        data_offset,
                        epoch: entry.epoch,
                    },
                )
            })
            .collect();
        Ok(Some(plan))
    }

    /// Swaps the new segments in. When the segments they replace are no longer all
    /// in the log, the new ones are dropped and a later pass does it again.
    pub fn finish_compaction(
        &mut self,
        mut compacted: Compacted,
        now_ms: i64,
    ) -> Result<(), LogError> {
        self.env().health.check()?;
        if self.is_gone() {
            // The files went with the directory, and its name may be another's.
            return Ok(());
        }
        if !compacted.pass.is_of(self.passes()) {
            // Of a log that had this one's name before; its files went with it.
            return Ok(());
        }
        let present = self.segments();
        let all_there = compacted
            .groups
            .iter()
            .flat_map(|group| &group.replaced)
            .all(|segment| present.iter().any(|present| Arc::ptr_eq(present, segment)));
        let groups = std::mem::take(&mut compacted.groups);
        if compacted.truncations != self.truncations() || !all_there {
            let dropped = drop_groups(self.env(), &groups);
            return Ok(self.or_offline_unless_full(dropped)?);
        }
        // A restart must take the gaps for what they are, so the stored recovery
        // point has to be above them before they exist.
        self.env()
            .recovery_points
            .set(self.partition(), self.recovery_point());
        self.swap_groups(&groups, now_ms)?;
        self.env()
            .cleaner_points
            .set(self.partition(), compacted.cleaned_to);
        Ok(())
    }

    /// From the first segment of a group to the one that stays behind it.
    fn span_of(&self, group: &Group) -> Range<i64> {
        let base = |segment: Option<&Arc<Segment>>| segment.map(|segment| segment.base_offset());
        let from = base(group.replaced.first()).unwrap_or(i64::MAX);
        let last = base(group.replaced.last()).unwrap_or(i64::MAX);
        let segments = self.segments();
        let behind = segments.partition_point(|segment| segment.base_offset() <= last);
        from..base(segments.get(behind)).unwrap_or(i64::MAX)
    }

    /// Until a group is announced a full disk has changed nothing: what has not been
    /// swapped in is dropped, and a later pass does it again. Any other failure, and any
    /// from there on, is final.
    fn swap_groups(&mut self, groups: &[Group], now_ms: i64) -> Result<(), LogError> {
        let stored = self.env().recovery_points.store(&self.env().disk);
        self.or_dropped(stored, groups)?;
        for (index, group) in groups.iter().enumerate() {
            let Some(first) = group.replaced.first() else {
                continue;
            };
            let base_offset = first.base_offset();
            let announced = self
                .unlink_deleted_within(self.span_of(group))
                .and_then(|()| swap::announce(self.env(), self.dir(), base_offset));
            self.or_dropped(announced, &groups[index..])?;
            let swapped = self.env().disk.sync_dir(self.dir()).and_then(|()| {
                self.replace_segments(&group.replaced, base_offset, group.sizes, now_ms)
            });
            self.or_offline(swapped)?;
        }
        Ok(())
    }

    fn or_dropped(&self, result: DiskResult<()>, groups: &[Group]) -> DiskResult<()> {
        let Err(error) = self.or_offline_unless_full(result) else {
            return Ok(());
        };
        if error.is_full() {
            self.or_offline_unless_full(drop_groups(self.env(), groups))?;
        }
        Err(error)
    }
}

//! Shortening the log from its end, and starting it anew elsewhere.
//!
//! The order of steps makes every crash in between leave a prefix of the log, and
//! nothing that was truncated return once the call has come back: the recovery
//! point is lowered first, whole segments go from the newest down, and the bytes
//! that remain behind the new end are zeroed and synced before anything is
//! appended over them.

use std::sync::Arc;

use super::open::{drop_snapshots_above, first_timestamp, restore_producers};
use super::{Active, Log, snapshots};
use crate::error::LogError;
use crate::format::{FileKind, FileName};
use crate::fs::DiskResult;
use crate::producer_state::ProducerState;
use crate::reader::holding;
use crate::segment::Segment;

impl Log {
    /// Drops every record at or behind `offset`, and those before it that are in
    /// one batch with it. Below the log's start it starts anew there.
    pub fn truncate_to(&mut self, offset: i64, now_ms: i64) -> Result<(), LogError> {
        self.env.health.check()?;
        if offset >= self.log_end() {
            return Ok(());
        }
        let segments = self.shared.segments();
        if segments
            .first()
            .is_none_or(|first| offset < first.base_offset())
        {
            return self.truncate_fully_and_start_at(offset, now_ms);
        }
        let index = holding(&segments, offset);
        let segment = segments[index].clone();
        let mut walk = segment.walk_to(offset)?;
        let position = walk.position();
        let new_end = walk
            .next()?
            .map_or(offset, |batch| batch.header.base_offset.min(offset));
        drop(walk);
        // All that has to be read is read first: a failure up to here changes nothing.
        let first = match position {
            0 => None,
            _ => first_timestamp(&segment)?,
        };
        let producers = self.producers_before(&segments[..=index], new_end)?;

        self.changed = true;
        self.lower_recovery_point(new_end)?;
        // Readers first: from here on nobody starts to look behind the new end.
        self.shared.set_log_end(new_end);
        let old_len = segment.len();
        segment.publish(position);
        self.shared.set_segments(segments[..=index].to_vec());
        self.shared.truncated();

        let shortened = self.drop_behind(
            &segments[index + 1..],
            &segment,
            position,
            old_len,
            new_end,
            now_ms,
        );
        self.or_offline(shortened)?;
        self.producers = producers;
        self.publish_unstable();
        if self.log_start() > new_end {
            self.env.log_starts.set(&self.partition, new_end);
            self.shared.set_log_start(new_end);
        }
        segment.set_largest(None);
        self.active = Active::new(segment, first, now_ms);
        self.check_invariants();
        Ok(())
    }

    fn drop_behind(
        &mut self,
        newer: &[Arc<Segment>],
        segment: &Segment,
        position: u64,
        old_len: u64,
        new_end: i64,
        now_ms: i64,
    ) -> DiskResult<()> {
        for gone in newer.iter().rev() {
            self.retire(gone, now_ms)?;
        }
        if !newer.is_empty() {
            self.env.disk.sync_dir(&self.dir)?;
        }
        segment.offsets.truncate_to_position(position)?;
        segment.times.truncate_to_offset(new_end)?;
        segment.txns.truncate_to_offset(new_end)?;
        segment.file()?.zero(position, old_len - position)?;
        segment.sync_data()?;
        let kept = snapshots(&self.env, &self.dir)?;
        drop_snapshots_above(&self.env, &self.dir, kept, new_end)?;
        self.epochs.truncate_end(new_end)
    }

    /// Drops everything; the next record gets `offset`.
    pub fn truncate_fully_and_start_at(
        &mut self,
        offset: i64,
        now_ms: i64,
    ) -> Result<(), LogError> {
        self.env.health.check()?;
        // Stored first: after a crash half way the log begins here, whatever is left.
        self.env.log_starts.set(&self.partition, offset);
        let stored = self.env.log_starts.store(&self.env.disk);
        self.or_offline(stored)?;
        self.changed = true;
        self.lower_recovery_point(offset)?;
        let segments = self.shared.segments();
        let restarted = self.start_anew(&segments, offset, now_ms);
        self.or_offline(restarted)?;
        self.damage = None;
        self.check_invariants();
        Ok(())
    }

    fn start_anew(&mut self, old: &[Arc<Segment>], offset: i64, now_ms: i64) -> DiskResult<()> {
        for gone in old.iter().rev() {
            self.retire(gone, now_ms)?;
        }
        for name in snapshots(&self.env, &self.dir)? {
            self.env
                .disk
                .remove_file(&FileName::live(name, FileKind::Snapshot).in_dir(&self.dir))?;
        }
        self.epochs.clear()?;
        let segment = Segment::create(&self.env, &self.dir, offset, &self.config)?;
        self.env.disk.sync_dir(&self.dir)?;
        self.shared.set_log_start(offset);
        self.shared.set_log_end(offset);
        self.shared.set_segments(vec![segment.clone()]);
        self.shared.truncated();
        self.producers = ProducerState::default();
        self.publish_unstable();
        self.durability.restarted(offset);
        self.active = Active::new(segment, None, now_ms);
        Ok(())
    }

    /// A recovery point above the log's end would make the next recovery take a
    /// torn tail for damage, so it is stored lower before the end is.
    fn lower_recovery_point(&mut self, offset: i64) -> Result<(), LogError> {
        self.durability.truncated(offset);
        if self
            .env
            .cleaner_points
            .get(&self.partition)
            .is_some_and(|clean| clean > offset)
        {
            self.env.cleaner_points.set(&self.partition, offset);
        }
        let stored = self.env.recovery_points.get(&self.partition);
        if stored.is_some_and(|stored| stored > offset) {
            self.env.recovery_points.set(&self.partition, offset);
            let stored = self.env.recovery_points.store(&self.env.disk);
            self.or_offline(stored)?;
        }
        Ok(())
    }

    /// The producers as they were before `end`.
    fn producers_before(
        &self,
        segments: &[Arc<Segment>],
        end: i64,
    ) -> Result<ProducerState, LogError> {
        let mut snapshots = snapshots(&self.env, &self.dir)?;
        snapshots.retain(|offset| *offset <= end);
        let (state, _) = restore_producers(&self.env, &self.dir, segments, &snapshots, end)?;
        Ok(state)
    }
}

//! Shortening the log from its end, and starting it anew elsewhere.
//!
//! The order of steps makes every crash in between leave a prefix of the log, and
//! nothing that was truncated return once the call has come back: the stored
//! recovery point, clean point and start are lowered first, whole segments go from
//! the newest down, and the bytes that remain behind the new end are zeroed and
//! synced before anything is appended over them.
//!
//! What goes is what is on disk, not only what can be read: behind damage there are
//! segments and bytes that the log does not serve, and a truncation at or below the
//! damage is its repair.

use std::sync::Arc;

use super::open::first_timestamp;
use super::restore::{drop_snapshots_above, restore_producers};
use super::{Active, Log, live_files, snapshots};
use crate::error::{LogError, ReadError};
use crate::format::{FileKind, FileName, FileStage};
use crate::fs::DiskResult;
use crate::producer_state::ProducerState;
use crate::reader::holding;
use crate::segment::Segment;

impl Log {
    /// Drops every record at or behind `offset`, and those before it that are in
    /// one batch with it. Where the log has a gap before `offset`, it ends where the gap
    /// began. Below the log's start it starts anew there. A damaged log
    /// that is truncated at or below the damage is damaged no more.
    pub fn truncate_to(&mut self, offset: i64, now_ms: i64) -> Result<(), LogError> {
        self.check_usable()?;
        let repairs = self
            .damage
            .as_ref()
            .is_some_and(|damage| offset <= damage.offset);
        if offset >= self.log_end() && !repairs {
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
        let new_end = end_before(&segment, position, new_end)?;
        // All that has to be read is read first: a failure up to here changes nothing.
        let first = match position {
            0 => None,
            _ => first_timestamp(&segment)?,
        };
        let producers = self.producers_before(&segments[..=index], new_end)?;
        // Damage ends what is published, not what is in the file.
        let file_bytes = segment.file()?.size()?.max(segment.len());

        self.changed = true;
        self.lower_checkpoints(new_end)?;
        // Were a start above the new end to be found after a crash, all that is appended
        // below it until then would be taken for deleted.
        let lowered = self
            .env
            .log_starts
            .lower(&self.env.disk, &self.partition, new_end);
        self.or_offline_unless_full(lowered)?;
        // Readers first: from here on nobody starts to look behind the new end.
        if self.log_start() > new_end {
            self.shared.set_log_start(new_end);
        }
        self.shared.set_log_end(new_end);
        segment.publish(position);
        self.shared.set_segments(segments[..=index].to_vec());
        self.shared.truncated();

        let shortened = self.drop_behind(
            &segments[index + 1..],
            &segment,
            position..file_bytes,
            new_end,
            now_ms,
        );
        self.or_offline(shortened)?;
        self.damage = None;
        self.producers = producers;
        self.publish_unstable();
        segment.set_largest(None);
        self.active = Active::new(segment, first, now_ms);
        self.check_invariants();
        Ok(())
    }

    fn drop_behind(
        &mut self,
        newer: &[Arc<Segment>],
        segment: &Segment,
        gone: std::ops::Range<u64>,
        new_end: i64,
        now_ms: i64,
    ) -> DiskResult<()> {
        self.retire_behind(newer, Some(segment.base_offset()), now_ms)?;
        segment.offsets.truncate_to_position(gone.start)?;
        segment.times.truncate_to_offset(new_end)?;
        segment.txns.truncate_to_offset(new_end)?;
        segment.file()?.zero(gone.start, gone.end - gone.start)?;
        segment.sync_data()?;
        let kept = snapshots(&self.env, &self.dir)?;
        drop_snapshots_above(&self.env, &self.dir, kept, new_end)?;
        let forgotten = self.epochs.truncate_end(new_end);
        forgotten_or_later(forgotten)
    }

    /// Renames away every segment on disk that begins behind `last`, or all of them,
    /// newest first; `known` are those that readers may hold.
    fn retire_behind(
        &mut self,
        known: &[Arc<Segment>],
        last: Option<i64>,
        now_ms: i64,
    ) -> DiskResult<()> {
        for segment in known {
            segment.open_for_good()?;
        }
        let on_disk = live_files(&self.env, &self.dir, FileKind::Log)?;
        let gone = on_disk
            .into_iter()
            .rev()
            .filter(|base| last.is_none_or(|last| *base > last));
        let mut renamed = false;
        for base_offset in gone {
            self.retire_or_discard(base_offset, now_ms)?;
            renamed = true;
        }
        match renamed {
            true => self.env.disk.sync_dir(&self.dir),
            false => Ok(()),
        }
    }

    /// Puts the files of a segment aside or, on a disk without room for another name,
    /// removes them: they are out of the log, and there is no way back.
    pub(super) fn retire_or_discard(&mut self, base_offset: i64, now_ms: i64) -> DiskResult<()> {
        match self.retire_files(base_offset, now_ms) {
            Err(error) if error.is_full() => {}
            retired => return retired,
        }
        // The data file last, as when they are put aside.
        for kind in FileKind::OF_SEGMENT.into_iter().rev() {
            let name = FileName::live(base_offset, kind);
            for stage in [FileStage::Live, FileStage::Deleted] {
                let path = name.at(stage).in_dir(&self.dir);
                self.env.disk.remove_file(&path)?;
            }
        }
        self.durability.names_changed();
        Ok(())
    }

    /// Drops everything; the next record gets `offset`.
    pub fn truncate_fully_and_start_at(
        &mut self,
        offset: i64,
        now_ms: i64,
    ) -> Result<(), LogError> {
        self.check_usable()?;
        self.changed = true;
        self.lower_checkpoints(offset)?;
        // Stored before anything goes: after a crash half way the log begins here,
        // whatever is left. This also makes the name of the log's directory last, without
        // which the start would be forgotten.
        let stored = self
            .env
            .log_starts
            .put(&self.env.disk, &self.partition, offset);
        self.or_offline_unless_full(stored)?;
        let segments = self.shared.segments();
        let restarted = self.start_anew(&segments, offset, now_ms);
        self.or_offline(restarted)?;
        self.damage = None;
        self.check_invariants();
        Ok(())
    }

    fn start_anew(&mut self, old: &[Arc<Segment>], offset: i64, now_ms: i64) -> DiskResult<()> {
        self.retire_behind(old, None, now_ms)?;
        for name in snapshots(&self.env, &self.dir)? {
            self.env
                .disk
                .remove_file(&FileName::live(name, FileKind::Snapshot).in_dir(&self.dir))?;
        }
        let forgotten = self.epochs.clear();
        forgotten_or_later(forgotten)?;
        let create = || Segment::create(&self.env, &self.dir, offset, &self.config);
        let segment = match create() {
            // What was put aside has the room.
            Err(error) if error.is_full() => {
                for path in self.deleted.iter().flat_map(|deleted| &deleted.paths) {
                    self.env.disk.remove_file(path)?;
                }
                create()?
            }
            created => created?,
        };
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

    /// A stored recovery point above the log's end would make the next recovery take a
    /// torn tail for damage, and a clean point there would keep what is appended from
    /// being cleaned. So they are stored lower before the end is. On a full disk nothing
    /// has changed: the truncation is refused.
    fn lower_checkpoints(&mut self, offset: i64) -> Result<(), LogError> {
        let (disk, partition) = (&self.env.disk, &self.partition);
        let lowered = self
            .env
            .recovery_points
            .lower(disk, partition, offset)
            .and_then(|()| self.env.cleaner_points.lower(disk, partition, offset));
        self.or_offline_unless_full(lowered)?;
        self.durability.truncated(offset);
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
        let (state, _) = restore_producers(
            &self.env,
            &self.dir,
            segments,
            &snapshots,
            end,
            self.config.producer_ids_max,
        )?;
        Ok(state)
    }
}

/// On a full disk the file of epochs is written before the next append: a truncation that
/// got here is carried out.
fn forgotten_or_later(forgotten: DiskResult<()>) -> DiskResult<()> {
    match forgotten {
        Err(error) if error.is_full() => Ok(()),
        other => other,
    }
}

/// Where the batches before `position` end, which is `offset` but for a gap before it:
/// a restart knows no other end, and would find a recovery point in the gap too high.
fn end_before(segment: &Segment, position: u64, offset: i64) -> Result<i64, ReadError> {
    if position == 0 {
        return Ok(segment.base_offset());
    }
    let mut walk = segment.walk_to(offset - 1)?;
    if walk.position() >= position {
        // Offsets are missing: only the batches know where from.
        walk = segment.walk_from_start()?;
    }
    let mut end = segment.base_offset();
    while walk.position() < position
        && let Some(batch) = walk.next()?
    {
        end = batch.header.next_offset();
    }
    Ok(end)
}

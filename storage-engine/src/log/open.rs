//! Opening a partition's directory: tidy up, recover, rebuild state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::restore::{self, Replay, drop_snapshots_above, newest_snapshot};
use super::{Active, Log};
use crate::checkpoint::CheckpointError;
use crate::compaction::swap;
use crate::config::LogConfig;
use crate::env::{Env, RECOVERY_POINT_UNKNOWN};
use crate::epochs::LeaderEpochs;
use crate::error::{OpenError, ReadError};
use crate::flush::Durability;
use crate::format::{
    CLEANER_CHECKPOINT, FileKind, FileName, FileStage, LEADER_EPOCH_CHECKPOINT,
    LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT, SEGMENT_BYTES_LIMIT,
    TopicPartition,
};
use crate::fs::{DirEntry, TEMPORARY_SUFFIX};
use crate::partition_metadata::{self, PartitionMetadataError};
use crate::producer_state::ProducerState;
use crate::reader::Shared;
use crate::recovery::{self, Damage, Decision, Gaps, RecoveryReport, Warning};
use crate::segment::{FileSizes, Segment};

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The settings in force.
    pub config: LogConfig,
    /// The id of its topic; `None` leaves `partition.metadata` as it is.
    pub topic_id: Option<uuid::Uuid>,
    /// The process that last had the directory stopped cleanly.
    pub clean: bool,
    /// The time.
    pub now_ms: i64,
}

/// From where on the batches of a log that was not stopped cleanly are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanFrom {
    /// All before it was synced.
    RecoveryPoint,
    /// Something before it is not what was written.
    Start,
}

impl Log {
    /// Opens the log in `<env's directory>/<topic>-<partition>/`, creating the
    /// directory when it is missing. After a clean stop nothing is scanned; else
    /// everything from the recovery point on is.
    pub fn open(
        env: &Arc<Env>,
        partition: TopicPartition,
        options: OpenOptions,
    ) -> Result<(Log, RecoveryReport), OpenError> {
        env.health.check()?;
        let mut report = RecoveryReport::default();
        let again = (partition.clone(), options.clone());
        let from = ScanFrom::RecoveryPoint;
        let mut opened = Log::recover_and_open(env, partition, options, from, &mut report);
        if let Err(OpenError::Corrupt(_)) = &opened {
            // A batch that nobody meant to look at is damaged. A scan of everything says where, and
            // all before it can be read.
            let (partition, options) = again;
            let options = OpenOptions {
                clean: false,
                ..options
            };
            let first = std::mem::take(&mut report);
            let from = ScanFrom::Start;
            opened = Log::recover_and_open(env, partition, options, from, &mut report);
            report.add_earlier(first);
        }
        if let Err(
            OpenError::Disk(error)
            | OpenError::Checkpoint(CheckpointError::Disk(error))
            | OpenError::PartitionMetadata(PartitionMetadataError::Disk(error)),
        ) = &opened
            && error.is_failed_sync()
        {
            // A second attempt would find the lost pages in the cache and believe them.
            env.health.fail(error);
        }
        opened.map(|log| (log, report))
    }

    fn recover_and_open(
        env: &Arc<Env>,
        partition: TopicPartition,
        mut options: OpenOptions,
        scan_from: ScanFrom,
        report: &mut RecoveryReport,
    ) -> Result<Log, OpenError> {
        let dir: Arc<Path> = env.health.dir().join(partition.dir_name()).into();
        let mut created = false;
        let entries = match env.disk.read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.is_not_found() => {
                // What the checkpoints know is of a partition that had the name before.
                let known = env.recovery_points.get(&partition);
                if let Some(recovery_point) = known.filter(|offset| *offset > 0) {
                    report.warnings.push(Warning::MissingDirectory {
                        dir: dir.to_path_buf(),
                        recovery_point,
                    });
                }
                env.forget(&partition)?;
                env.disk.create_dir(&dir)?;
                created = true;
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        // What refuses a directory comes before what changes it.
        let history = entries
            .iter()
            .find(|entry| entry.name == LEADER_EPOCH_CHECKPOINT);
        let has_empty_history = history.is_some_and(|entry| entry.len == 0);
        let mut epochs = match history.is_some() {
            true => LeaderEpochs::load(env.clone(), &dir)?,
            false => LeaderEpochs::new(env.clone(), &dir),
        };
        match options.topic_id {
            Some(topic_id) if created => {
                partition_metadata::write_new(&env.disk, &dir, topic_id)
                    .map_err(OpenError::Disk)?;
            }
            Some(topic_id) => partition_metadata::claim(&env.disk, &dir, topic_id)?,
            None => {}
        }
        let has_links = entries.iter().any(|entry| entry.is_link);
        let is_sent_along = |entry: &DirEntry| SENT_ALONG.contains(&entry.name.as_str());
        let was_aside = entries.iter().any(is_sent_along);
        if was_aside {
            // It was out of use, maybe since a crash: a clean stop says nothing of it.
            options.clean = false;
            env.take_over(&partition, &dir)?;
        }
        let Found {
            segments: files,
            snapshots,
            swapped,
            oldest_deleted,
        } = tidy(env, &dir, entries, report)?;
        if was_aside {
            // Or what it said is believed again, when more is known.
            env.disk.sync_dir(&dir)?;
        }
        let mut recovery_point = env.recovery_points.get(&partition).unwrap_or(0);
        let stored_start = env.log_starts.get(&partition);
        let log_start = stored_start.unwrap_or(0);

        let mut segments = Vec::new();
        for (base_offset, sizes) in &files {
            segments.push(Segment::existing(
                env,
                &dir,
                *base_offset,
                *sizes,
                &options.config,
            ));
        }
        for segment in segments
            .iter()
            .filter(|segment| swapped.contains(&segment.base_offset()))
        {
            let interval = options.config.index_interval_bytes;
            recovery::scan(
                segment,
                segment.base_offset(),
                segment.base_offset(),
                interval,
                &mut -1,
                &mut report.scanned_bytes,
            )?;
            segment.seal()?;
            segment.sync_all()?;
        }
        // A process that died may have left names that only the cache knows.
        let mut names_dirty = !options.clean;
        if segments.is_empty() {
            segments.push(Segment::create(env, &dir, log_start, &options.config)?);
            names_dirty = true;
        }
        let found = match options.clean {
            true => clean_end(&segments)?,
            false => None,
        };
        // A clean stop left the end at the recovery point; if it is not there, something
        // happened since, and the log is judged as after a crash.
        let clean = found == Some(recovery_point);
        let compacted = options.config.compact || env.cleaner_points.get(&partition).is_some();
        let gaps = match compacted {
            true => Gaps::Compaction,
            false => Gaps::Unexplained,
        };
        let end = if clean {
            // Each segment has a snapshot where it begins, which goes with it: one without
            // the other costs a look at where the segments end, and so does a sealed one with
            // nothing in it. Gaps that neither shows are met by readers.
            let within = segments[0].base_offset()..recovery_point;
            let has_segment = |offset: &i64| files.contains_key(offset);
            let mut inside = snapshots.iter().filter(|offset| within.contains(offset));
            let sealed = &segments[..segments.len() - 1];
            let emptied = sealed.iter().any(|segment| segment.len() == 0);
            if gaps == Gaps::Unexplained && (emptied || !inside.all(has_segment)) {
                let missing = gaps_between(&segments, &[], recovery_point)?;
                report.warnings.extend(missing);
            }
            recovery_point
        } else {
            recover(
                env,
                &mut segments,
                scan_from,
                recovery_point,
                gaps,
                &options.config,
                report,
            )?
        };
        if has_empty_history && segments.iter().any(|segment| segment.len() > 0) {
            let path = dir.join(LEADER_EPOCH_CHECKPOINT);
            report.warnings.push(Warning::NoEpochs { path });
        }
        if options.clean && end > recovery_point && report.damage.is_none() && report.cut.is_none()
        {
            report.warnings.push(Warning::GrownSinceCleanStop {
                dir: dir.to_path_buf(),
                end,
                recovery_point,
            });
        }
        // Records below the start are deleted, so a log that lost all above it is empty.
        let end = if end < log_start && report.damage.is_none() {
            let restart = Restart {
                env,
                dir: &dir,
                end,
                log_start,
            };
            report
                .warnings
                .extend(restart.run(&mut segments, &options.config)?);
            names_dirty = true;
            log_start
        } else {
            end
        };
        let known = recovery_point != RECOVERY_POINT_UNKNOWN;
        // No batch is broken, and still there is less than was on disk.
        if known
            && end < recovery_point
            && report.damage.is_none()
            && let Some(last) = segments.last()
        {
            report.damage = Some(Damage {
                path: last.path(FileKind::Log),
                position: last.len(),
                offset: end,
                recovery_point,
                found: "the end of the log".into(),
            });
        }
        if report.damage.is_some() {
            env.damaged.store(true, Ordering::Release);
        }
        let first = segments
            .first()
            .map_or(end, |segment| segment.base_offset());
        // After a kill retention may have gone on from what was stored. Then what it took
        // is often there still, waiting to be unlinked.
        let retired = oldest_deleted.is_some_and(|oldest| oldest < first);
        if let Some(stored) = stored_start.filter(|stored| *stored < first && !retired) {
            report.warnings.push(Warning::BeginsBehindStart {
                dir: dir.to_path_buf(),
                checkpoint: env.health.dir().join(LOG_START_CHECKPOINT),
                first,
                log_start: stored,
            });
        }
        let log_start = log_start.max(first);
        // From where on the log was checked, batch by batch.
        let checked_from = if known { recovery_point } else { 0 };
        if report.damage.is_none() {
            // Else what is appended up to there and torn would be taken for damage, or
            // for clean.
            if known {
                env.recovery_points.lower(&env.disk, &partition, end)?;
            }
            env.cleaner_points.lower(&env.disk, &partition, end)?;
            // Every partition has a line from now on, or nobody would miss its beginning.
            env.log_starts.set(&partition, log_start);
        }

        if report.damage.is_none() {
            epochs.truncate_start(log_start)?;
            epochs.truncate_end(end)?;
        }
        let snapshots = match report.damage {
            None => drop_snapshots_above(env, &dir, snapshots, end)?,
            Some(_) => snapshots,
        };
        if report.damage.is_none()
            && let Some(base_offset) = restore::first_doubtful(&segments, gaps)?
        {
            // Made anew from the markers where all is known that they end.
            let restored = newest_snapshot(env, &dir, &segments, &snapshots, base_offset)?;
            report.unusable_snapshots = restored.unusable;
            if restored.from == 0 || snapshots.contains(&restored.from) {
                let replay = Replay {
                    from: restored.from,
                    end,
                    compare_below: Some(checked_from),
                    producers_max: options.config.producer_ids_max,
                };
                match replay.run(&segments, &mut { restored.state }) {
                    Ok((_, rebuilt)) => report.rebuilt_txn_indexes = rebuilt,
                    // Whoever reads the batch is told.
                    Err(ReadError::Corrupt(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let producers = if clean && snapshots.is_empty() {
            // A clean stop without producers leaves no snapshot.
            ProducerState::default()
        } else {
            // Aborted transactions behind the recovery point are indexed anew from
            // their markers, so the replay has to begin no later than there.
            let trusted = if clean { end } else { end.min(checked_from) };
            let mut restored = newest_snapshot(env, &dir, &segments, &snapshots, trusted)?;
            // Where there are transactions the index of a segment that is recovered is
            // compared with all of its markers.
            let recovered = &segments[first_recovered(&segments, checked_from)];
            if !clean
                && restored.from > recovered.base_offset()
                && (restored.state.has_transactions() || recovered.txns.visit(|_| false)?)
            {
                let base_offset = recovered.base_offset();
                let unusable = restored.unusable;
                restored = newest_snapshot(env, &dir, &segments, &snapshots, base_offset)?;
                restored.unusable.extend(unusable);
            }
            let replay = Replay {
                from: restored.from,
                end,
                compare_below: Some(checked_from),
                producers_max: options.config.producer_ids_max,
            };
            let mut producers = restored.state;
            report.unusable_snapshots.extend(restored.unusable);
            let (replayed, rebuilt) = replay.run(&segments, &mut producers)?;
            report.replayed_batches = replayed;
            report.rebuilt_txn_indexes.extend(rebuilt);
            producers
        };
        if !known && report.damage.is_none() {
            // Whole as it is, but some of it may be in the cache only. Once it is not, the
            // log has a recovery point again.
            make_durable(env, &dir, &segments)?;
            env.recovery_points.lower(&env.disk, &partition, end)?;
            recovery_point = end;
        }
        // A clean stop that leaves no snapshot says that there are no producers.
        names_dirty |= !report.unusable_snapshots.is_empty();
        // And one that finds an index made anew has it to sync.
        names_dirty |= !report.rebuilt_txn_indexes.is_empty();

        let active = segments
            .last()
            .cloned()
            .unwrap_or_else(|| unreachable!("a log has a segment"));
        let first_timestamp = first_timestamp(&active)?;
        let mut durability = Durability::upto(recovery_point.min(end));
        if recovery_point < end {
            durability.appended(options.now_ms);
        }
        if names_dirty {
            durability.names_changed();
        }
        // The directory itself may be a name that only the cache knows.
        if created || !options.clean {
            durability.parent_changed();
        }
        let log = Log {
            shared: Arc::new(Shared::new(env.clone(), segments, log_start, end)),
            active: Active::new(active, first_timestamp, options.now_ms),
            producers,
            epochs,
            durability,
            flushing: Arc::default(),
            passes: Arc::default(),
            changed: !options.clean || names_dirty,
            has_links,
            deleted: Vec::new(),
            damage: report.damage.clone(),
            config: options.config,
            env: env.clone(),
            partition,
            dir,
        };
        log.publish_unstable();
        log.shared.gaps_told(&report.warnings);
        Ok(log)
    }
}

/// What a partition's directory holds.
struct Found {
    segments: BTreeMap<i64, FileSizes>,
    /// Offsets of producer snapshots, ascending.
    snapshots: Vec<i64>,
    /// Segments that were just swapped in.
    swapped: Vec<i64>,
    /// The base offset of the oldest segment that was out of use, if there was any.
    oldest_deleted: Option<i64>,
}

/// Removes what a crash may leave of deletions and compactions, completes swaps,
/// and says what is left.
fn tidy(
    env: &Arc<Env>,
    dir: &Arc<Path>,
    mut entries: Vec<DirEntry>,
    report: &mut RecoveryReport,
) -> Result<Found, OpenError> {
    let swaps = swap::recover(env, dir, &entries, report)?;
    if swaps.changed {
        entries = env.disk.read_dir(dir)?;
    }
    let mut segments: BTreeMap<i64, FileSizes> = BTreeMap::new();
    let mut snapshots = Vec::new();
    let mut indexes = Vec::new();
    let mut oldest_deleted = None;
    for entry in entries {
        let Some(name) = FileName::parse(&entry.name) else {
            let is_done_with =
                is_temporary(&entry.name) || SENT_ALONG.contains(&entry.name.as_str());
            if !entry.is_dir && is_done_with {
                env.disk.remove_file(&dir.join(&entry.name))?;
            } else if !KNOWN_FILES.contains(&entry.name.as_str()) {
                report.unknown_files.push(entry.name);
            }
            continue;
        };
        let path = name.in_dir(dir);
        if entry.is_dir {
            return Err(OpenError::NotAFile { path });
        }
        match name.stage {
            FileStage::Live => {}
            FileStage::Deleted => {
                // Names come sorted.
                oldest_deleted = oldest_deleted.or(Some(name.offset));
                env.disk.remove_file(&path)?;
                continue;
            }
            // Those that belong to a compaction are settled by now.
            FileStage::Cleaned | FileStage::Swap => {
                report.unknown_files.push(entry.name);
                continue;
            }
        }
        match name.kind {
            FileKind::Log => {
                if entry.len > SEGMENT_BYTES_LIMIT {
                    return Err(OpenError::SegmentTooLarge {
                        path,
                        bytes: entry.len,
                        limit: SEGMENT_BYTES_LIMIT,
                    });
                }
                segments.entry(name.offset).or_default().log = entry.len;
            }
            FileKind::Snapshot => snapshots.push(name.offset),
            _ => indexes.push((name, entry)),
        }
    }
    for (name, entry) in indexes {
        match (segments.get_mut(&name.offset), name.kind) {
            (Some(sizes), FileKind::OffsetIndex) => sizes.offset_index = entry.len,
            (Some(sizes), FileKind::TimeIndex) => sizes.time_index = entry.len,
            (Some(sizes), FileKind::TxnIndex) => sizes.txn_index = entry.len,
            // An index without its data file says that a data file is missing.
            _ => report.unknown_files.push(entry.name),
        }
    }
    Ok(Found {
        segments,
        snapshots,
        swapped: swaps.completed,
        oldest_deleted,
    })
}

/// Whether a name is that of a small file of ours, or of Kafka's, while it is replaced.
fn is_temporary(name: &str) -> bool {
    let Some(target) = name.strip_suffix(TEMPORARY_SUFFIX) else {
        return false;
    };
    let is_snapshot =
        |name: FileName| name.kind == FileKind::Snapshot && name.stage == FileStage::Live;
    KNOWN_FILES.contains(&target)
        || SENT_ALONG.contains(&target)
        || FileName::parse(target).is_some_and(is_snapshot)
}

/// What a directory says of itself that was out of use; see [`Env::send_along`].
const SENT_ALONG: [&str; 4] = [
    RECOVERY_POINT_CHECKPOINT,
    LOG_START_CHECKPOINT,
    CLEANER_CHECKPOINT,
    REPLICATION_CHECKPOINT,
];

const KNOWN_FILES: [&str; 2] = [LEADER_EPOCH_CHECKPOINT, crate::format::PARTITION_METADATA];

/// The end of a log that was stopped cleanly: a few headers behind the last index entry.
/// `None` when a header is not what was written.
fn clean_end(segments: &[Arc<Segment>]) -> Result<Option<i64>, OpenError> {
    let Some(last) = segments.last() else {
        return Ok(Some(0));
    };
    if last.len() == 0 {
        return Ok(Some(last.base_offset()));
    }
    let mut from = last.offsets.last()?;
    if let Some(entry) = from {
        // Only as good as the batch it points at; else the walk starts at the beginning.
        let borne_out = entry.position < last.len()
            && matches!(
                last.walk_unmapped(from)?.next(),
                Ok(Some(batch)) if batch.header.last_offset() == entry.last_offset
            );
        if !borne_out {
            last.offsets.clear()?;
            last.times.clear()?;
            from = None;
        }
    }
    let mut walk = last.walk_unmapped(from)?;
    let mut end = last.base_offset();
    loop {
        match walk.next() {
            Ok(Some(batch)) => end = batch.header.next_offset(),
            Ok(None) => break,
            Err(ReadError::Corrupt(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    last.publish(walk.position());
    Ok(Some(end))
}

/// Segments that end below the recovery point are whole, with their indexes. One that
/// ends exactly there may have been sealed since, its indexes not synced yet.
fn first_recovered(segments: &[Arc<Segment>], recovery_point: i64) -> usize {
    segments
        .partition_point(|segment| segment.base_offset() < recovery_point)
        .saturating_sub(1)
}

/// Syncs all of a log that was found whole, names included.
fn make_durable(env: &Arc<Env>, dir: &Path, segments: &[Arc<Segment>]) -> Result<(), OpenError> {
    env.disk.sync_dir(env.health.dir())?;
    env.disk.sync_dir(dir)?;
    if let Some((active, sealed)) = segments.split_last() {
        for segment in sealed {
            segment.seal()?;
            segment.sync_all()?;
        }
        active.sync_all()?;
    }
    Ok(())
}

fn recover(
    env: &Arc<Env>,
    segments: &mut Vec<Arc<Segment>>,
    scan_from: ScanFrom,
    recovery_point: i64,
    gaps: Gaps,
    config: &LogConfig,
    report: &mut RecoveryReport,
) -> Result<i64, OpenError> {
    // Nothing is taken on trust where nobody knows what was on disk.
    let known = recovery_point != RECOVERY_POINT_UNKNOWN;
    let unsynced_from = if known { recovery_point } else { 0 };
    let from = match scan_from {
        ScanFrom::RecoveryPoint => unsynced_from,
        ScanFrom::Start => 0,
    };
    let first = first_recovered(segments, from);
    let listed = segments.last().map_or(0, |last| last.len());
    let mut scanned = Vec::new();
    let mut epoch = -1;
    for segment in &segments[first..] {
        let interval = config.index_interval_bytes;
        let bytes = &mut report.scanned_bytes;
        let found = recovery::scan(segment, from, recovery_point, interval, &mut epoch, bytes)?;
        // Where something is known to be wrong, a gap that nothing explains is believed no more.
        let found = match (scan_from, gaps) {
            (ScanFrom::Start, Gaps::Unexplained) => found.upto_first_gap(),
            _ => found,
        };
        segment.publish(found.valid_bytes);
        // Zeros end a segment that was truncated before it was rolled; whether the
        // next one continues it is for the decision to say.
        segment.txns.truncate_to_offset(unsynced_from)?;
        let torn = matches!(found.stopped, Some(recovery::Stop::Bad(_)));
        scanned.push((segment.base_offset(), found));
        if torn {
            break;
        }
    }
    if gaps == Gaps::Unexplained {
        report
            .warnings
            .extend(gaps_between(segments, &scanned, recovery_point)?);
    }
    match recovery::decide(&scanned, recovery_point, gaps) {
        Decision::Keep { end_offset } => {
            // Nothing is cut off a log that lost its end: not all that is left need be what it seems.
            let is_whole = !known || end_offset >= recovery_point;
            if let Some(last) = segments.last().filter(|_| is_whole) {
                last.txns.truncate_to_offset(end_offset)?;
                // Zeros a truncation left; the length is exact from now on. One that holds nothing
                // else stays closed: ten thousand idle partitions hold no files open.
                if last.len() != listed {
                    last.file()?.set_len(last.len())?;
                }
            }
            Ok(end_offset)
        }
        Decision::Cut {
            index,
            valid_bytes,
            end_offset,
            why,
        } => {
            let mut keep = first + index + 1;
            // A segment of which nothing is left goes, unless the log begins with it
            // or the end lies exactly where it begins.
            if valid_bytes == 0 && keep > 1 && segments[keep - 1].base_offset() != end_offset {
                keep -= 1;
            }
            for segment in segments.drain(keep..).rev() {
                for kind in FileKind::OF_SEGMENT.into_iter().rev() {
                    env.disk.remove_file(&segment.path(kind))?;
                }
            }
            if let Some(last) = segments.last() {
                let bytes = if keep == first + index + 1 {
                    valid_bytes
                } else {
                    last.len()
                };
                last.publish(bytes);
                last.offsets.truncate_to_position(bytes)?;
                last.times.truncate_to_offset(end_offset)?;
                last.txns.truncate_to_offset(end_offset)?;
                last.file()?.set_len(bytes)?;
                // What was cut must not come back behind new batches.
                last.file()?.sync()?;
                env.disk.sync_dir(
                    last.path(FileKind::Log)
                        .parent()
                        .unwrap_or(env.health.dir()),
                )?;
                last.set_largest(None);
            }
            report.cut = Some((end_offset, why));
            Ok(end_offset)
        }
        Decision::Damaged {
            index,
            position,
            offset,
            found,
        } => {
            let path = segments[first + index].path(FileKind::Log);
            report.damage = Some(Damage {
                path,
                position,
                offset,
                recovery_point,
                found,
            });
            // Readable up to the damage; what lies behind it stays on disk untouched.
            segments.truncate(first + index + 1);
            if let Some(last) = segments.last() {
                last.publish(position);
            }
            // One that begins elsewhere than the log ends is no part of it.
            let apart = |last: &Arc<Segment>| last.base_offset() != offset;
            if position == 0 && segments.len() > 1 && segments.last().is_some_and(apart) {
                segments.pop();
            }
            Ok(offset)
        }
    }
}

/// Where offsets are missing between two segments below the recovery point, though
/// nothing here says that the log was compacted.
///
/// It is no more than a warning: a replica of a log that was compacted on its leader has
/// such gaps, and keeps them when its topic's policy changes to `delete`.
fn gaps_between(
    segments: &[Arc<Segment>],
    scanned: &[(i64, recovery::ScannedSegment)],
    recovery_point: i64,
) -> Result<Vec<Warning>, OpenError> {
    let mut warnings = Vec::new();
    for pair in segments.windows(2) {
        let [before, behind] = pair else { continue };
        if behind.base_offset() > recovery_point {
            // The decision's to say.
            break;
        }
        let found = scanned
            .iter()
            .find(|(base, _)| *base == before.base_offset());
        let ends = match found {
            // Whatever else is wrong with it is the decision's to say.
            Some((_, found)) if found.stopped.is_some() => None,
            Some((_, found)) => Some(found.end_offset),
            None => recovery::end_of(before)?,
        };
        let begins = behind.base_offset();
        if let Some(ends) = ends.filter(|ends| *ends < begins) {
            warnings.push(Warning::gap_between(before, ends, behind));
        }
    }
    Ok(warnings)
}

/// A log begins anew at a stored start that lies behind its end.
struct Restart<'a> {
    env: &'a Arc<Env>,
    dir: &'a Arc<Path>,
    end: i64,
    log_start: i64,
}

impl Restart<'_> {
    /// Replaces everything by an empty segment at the start. A crash while a log begins
    /// anew leaves such a start, and so does a tail that was lost with the records before
    /// it deleted; but so does a checkpoint that is wrong, and nothing tells them apart.
    /// So segments that hold records are not removed but renamed, and told of.
    fn run(
        &self,
        segments: &mut Vec<Arc<Segment>>,
        config: &LogConfig,
    ) -> Result<Option<Warning>, OpenError> {
        let Restart {
            env,
            dir,
            end,
            log_start,
        } = *self;
        let names: BTreeSet<String> = env
            .disk
            .read_dir(dir)?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        let suffix = free_suffix(&names, log_start);
        let mut kept = 0;
        for segment in segments.drain(..) {
            kept += usize::from(segment.len() > 0);
            // The data file last: without one, what is left would belong to nothing.
            for kind in FileKind::OF_SEGMENT.into_iter().rev() {
                let name = FileName::live(segment.base_offset(), kind).render();
                if names.contains(&name) {
                    let aside = dir.join(name + &suffix);
                    env.disk.rename(&segment.path(kind), &aside)?;
                }
            }
        }
        segments.push(Segment::create(env, dir, log_start, config)?);
        env.disk.sync_dir(dir)?;
        Ok((kept > 0).then(|| Warning::StartBehindEnd {
            dir: dir.to_path_buf(),
            checkpoint: env.health.dir().join(LOG_START_CHECKPOINT),
            end,
            log_start,
            segments: kept,
            suffix,
        }))
    }
}

/// What is set aside gets no name that there is already.
fn free_suffix(names: &BTreeSet<String>, log_start: i64) -> String {
    let plain = format!(".below-{log_start}");
    let taken = |suffix: &String| names.iter().any(|name| name.ends_with(suffix.as_str()));
    (1_u64..)
        .map(|count| match count {
            1 => plain.clone(),
            count => format!("{plain}.{count}"),
        })
        .find(|suffix| !taken(suffix))
        .unwrap_or(plain)
}

pub(crate) fn first_timestamp(segment: &Segment) -> Result<Option<i64>, ReadError> {
    if segment.len() == 0 {
        return Ok(None);
    }
    Ok(segment
        .walk_unmapped(None)?
        .next()?
        .map(|batch| batch.header.max_timestamp))
}

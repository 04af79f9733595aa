//! What a log knows beside its batches: producers, from a snapshot and the batches behind it, and
//! aborted transactions, whose index is compared with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reka_records::BatchView;
use reka_records::control::TransactionResult;

use crate::append::marker;
use crate::env::Env;
use crate::error::ReadError;
use crate::format::{FileKind, FileName, UNUSABLE_SUFFIX};
use crate::fs::DiskResult;
use crate::producer_snapshot::{self, Loaded};
use crate::producer_state::ProducerState;
use crate::recovery::Gaps;
use crate::segment::{Located, Segment, Walk};
use crate::txn_index::AbortedTxn;

/// A marker is one record of a few bytes.
const MARKER_BYTES_MAX: usize = 4096;
/// Entries that a start compares, the newest ones: those before them were new at earlier starts, and how
/// long a clean start takes does not grow with a log.
const ENTRIES_COMPARED_MAX: usize = 256;
/// How far into a transaction a start looks: it reads headers, and a clean one is to be quick.
const TXN_WALKED_BYTES_MAX: u64 = 1 << 20;

/// The producers before `end`: the newest usable snapshot of those given, and the batches
/// behind it. Indexes of aborted transactions are left as they are.
pub(super) fn restore_producers(
    env: &Env,
    dir: &Path,
    segments: &[Arc<Segment>],
    snapshots: &[i64],
    end: i64,
    producers_max: usize,
) -> Result<(ProducerState, u64), ReadError> {
    let mut restored = newest_snapshot(env, dir, segments, snapshots, end)?;
    let replay = Replay {
        from: restored.from,
        end,
        compare_below: None,
        producers_max,
    };
    let (replayed, _) = replay.run(segments, &mut restored.state)?;
    Ok((restored.state, replayed))
}

/// Producers as of an offset.
pub(super) struct Restored {
    pub(super) state: ProducerState,
    pub(super) from: i64,
    /// Offsets of snapshots that were not what was written, and are set aside now.
    pub(super) unusable: Vec<i64>,
}

/// The newest usable snapshot at or below `at_most`; without one, no producers as of the
/// first batch there is.
pub(super) fn newest_snapshot(
    env: &Env,
    dir: &Path,
    segments: &[Arc<Segment>],
    snapshots: &[i64],
    at_most: i64,
) -> DiskResult<Restored> {
    let mut restored = Restored {
        state: ProducerState::default(),
        from: segments
            .first()
            .map_or(at_most, |segment| segment.base_offset()),
        unusable: Vec::new(),
    };
    let usable = snapshots.partition_point(|offset| *offset <= at_most);
    for offset in snapshots[..usable].iter().rev().copied() {
        if offset < restored.from {
            break;
        }
        match producer_snapshot::load(&env.disk, dir, offset)? {
            Loaded::Missing => {}
            Loaded::Unusable => {
                set_aside(env, dir, offset)?;
                restored.unusable.push(offset);
            }
            Loaded::Producers(state) => {
                (restored.state, restored.from) = (state, offset);
                break;
            }
        }
    }
    Ok(restored)
}

/// Gives a snapshot that cannot be used a name that nobody reads: what it knew of producers whose
/// batches have expired is nowhere else, and a person may make something of it. On a disk without room
/// for the name it stays as it is, for the next snapshot of that offset to replace.
fn set_aside(env: &Env, dir: &Path, offset: i64) -> DiskResult<()> {
    let path = FileName::live(offset, FileKind::Snapshot).in_dir(dir);
    let names = env.disk.read_dir(dir)?;
    let is_free = |path: &Path| names.iter().all(|entry| !path.ends_with(&entry.name));
    let numbered = (2_u64..).map(|number| format!(".{number}"));
    let mut suffixes = std::iter::once(String::new()).chain(numbered);
    let aside = suffixes.find_map(|suffix| {
        let mut aside = path.clone().into_os_string();
        aside.push(UNUSABLE_SUFFIX);
        aside.push(suffix);
        Some(PathBuf::from(aside)).filter(|aside| is_free(aside))
    });
    match aside.map(|aside| env.disk.rename(&path, &aside)) {
        Some(Err(error)) if !error.is_full() => Err(error),
        _ => Ok(()),
    }
}

/// Removes snapshots of a part of the log that was cut; the offsets of the others.
pub(super) fn drop_snapshots_above(
    env: &Env,
    dir: &Path,
    mut snapshots: Vec<i64>,
    end: i64,
) -> DiskResult<Vec<i64>> {
    let stale = snapshots.split_off(snapshots.partition_point(|offset| *offset <= end));
    for offset in stale {
        env.disk
            .remove_file(&FileName::live(offset, FileKind::Snapshot).in_dir(dir))?;
    }
    Ok(snapshots)
}

/// Batches that are applied to a producer state once more.
pub(super) struct Replay {
    pub(super) from: i64,
    pub(super) end: i64,
    /// Makes the indexes of aborted transactions hold what the markers call for; one that
    /// differed below this offset is told of.
    pub(super) compare_below: Option<i64>,
    /// `reka.producer.ids.per.partition.max`
    pub(super) producers_max: usize,
}

impl Replay {
    /// How many batches there were, and which segments' indexes of aborted transactions
    /// were not what they should have been.
    pub(super) fn run(
        &self,
        segments: &[Arc<Segment>],
        state: &mut ProducerState,
    ) -> Result<(u64, Vec<i64>), ReadError> {
        let mut replayed = 0;
        let mut rebuilt = Vec::new();
        if self.from >= self.end {
            return Ok((replayed, rebuilt));
        }
        for segment in &segments[crate::reader::holding(segments, self.from)..] {
            let aborted = self.run_segment(segment, state, &mut replayed)?;
            if let Some(below) = self.compare_below
                && self.correct(segment, &aborted, below)?
            {
                rebuilt.push(segment.base_offset());
            }
        }
        // What is on disk at start counts as decided; the broker raises the high
        // watermark from there.
        state.settle_below(self.end);
        Ok((replayed, rebuilt))
    }

    /// The aborted transactions whose markers were met.
    fn run_segment(
        &self,
        segment: &Segment,
        state: &mut ProducerState,
        replayed: &mut u64,
    ) -> Result<Vec<AbortedTxn>, ReadError> {
        let mut aborted = Vec::new();
        if segment.len() == 0 {
            return Ok(aborted);
        }
        let mut walk = segment.walk_to(self.from)?;
        while let Some(batch) = walk.next()? {
            let header = batch.header;
            if header.base_offset >= self.end {
                break;
            }
            *replayed += 1;
            if !header.has_producer_id() || header.base_offset < self.from {
                continue;
            }
            let mut end_txn = None;
            if header.is_control() {
                let bytes = segment.bytes(batch.position, header.size() as u64)?;
                let view = BatchView::parse(&bytes).map_err(|error| {
                    segment.corruption(batch.position, "a control batch", error)
                })?;
                end_txn = marker(&view);
            }
            aborted.extend(end_txn.and_then(|end| state.aborted_by(&header, end)));
            state.apply(&header, end_txn);
            state.keep_at_most(self.producers_max);
        }
        Ok(aborted)
    }

    /// Makes the index hold these transactions from `from` on; whether it differed below
    /// an offset.
    fn correct(&self, segment: &Segment, aborted: &[AbortedTxn], below: i64) -> DiskResult<bool> {
        let mut indexed = Vec::new();
        segment.txns.visit(|txn| {
            if txn.last_offset >= self.from {
                indexed.push(*txn);
            }
            true
        })?;
        if indexed == aborted && segment.txns.is_whole()? {
            return Ok(false);
        }
        segment.txns.truncate_to_offset(self.from)?;
        for txn in aborted {
            segment.txns.push(*txn)?;
        }
        let synced = |txns: &[AbortedTxn]| -> Vec<AbortedTxn> {
            let txns = txns.iter().filter(|txn| txn.last_offset < below);
            txns.copied().collect()
        };
        Ok(synced(&indexed) != synced(aborted))
    }
}

/// The base offset of the first of these segments whose `.txnindex` has something else than entries
/// that its batches bear out.
///
/// The file has no checksum. But each entry names the marker that ended the transaction, its first
/// batch and, as last stable offset, another transaction's: a number that became another one leads
/// elsewhere. Of an entry that is not there nothing leads anywhere: that is not noticed.
pub(super) fn first_doubtful(
    segments: &[Arc<Segment>],
    gaps: Gaps,
) -> Result<Option<i64>, ReadError> {
    let mut stored = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if !segment.txns.is_stored() {
            continue;
        }
        let mut entries = Vec::new();
        segment.txns.visit(|txn| {
            entries.push(*txn);
            true
        })?;
        let next = segments.get(index + 1);
        stored.push(Entries {
            segments,
            segment,
            ends: next.map_or(i64::MAX, |next| next.base_offset()),
            gaps,
            entries,
            first_behind: i64::MAX,
        });
    }
    let mut first_behind = i64::MAX;
    for of_segment in stored.iter_mut().rev() {
        of_segment.first_behind = first_behind;
        let firsts = of_segment.entries.iter().map(|txn| txn.first_offset);
        first_behind = first_behind.min(firsts.min().unwrap_or(i64::MAX));
    }
    let mut doubtful = None;
    let mut left = ENTRIES_COMPARED_MAX;
    for of_segment in stored.iter().rev() {
        let compared = of_segment.entries.len().min(left);
        left -= compared;
        match of_segment.are_borne_out(compared) {
            Ok(true) => {}
            Ok(false) => doubtful = Some(of_segment.segment.base_offset()),
            // Whoever reads the batch is told.
            Err(ReadError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(doubtful)
}

/// The entries of one segment's `.txnindex`.
struct Entries<'a> {
    segments: &'a [Arc<Segment>],
    segment: &'a Segment,
    /// Where the next segment begins.
    ends: i64,
    gaps: Gaps,
    entries: Vec<AbortedTxn>,
    /// The lowest first offset that an entry of a later segment has.
    first_behind: i64,
}

impl Entries<'_> {
    /// Whether the order of all is right, and what the last `compared` name is there.
    fn are_borne_out(&self, compared: usize) -> Result<bool, ReadError> {
        if !self.segment.txns.is_whole()? {
            return Ok(false);
        }
        // Where one's last stable offset lies no later one has data: a search ends there.
        let mut first_behind = self.first_behind;
        for txn in self.entries.iter().rev() {
            if txn.last_stable_offset > first_behind {
                return Ok(false);
            }
            first_behind = first_behind.min(txn.first_offset);
        }
        let mut ended = HashMap::new();
        let uncompared = self.entries.len() - compared;
        for txn in &self.entries[uncompared..] {
            // A producer has one transaction at a time.
            let before = ended.insert(txn.producer_id, txn.last_offset);
            if before.is_some_and(|before| before > txn.first_offset)
                || txn.last_offset >= self.ends
                || !self.is_marker(txn)?
                || !self.begins(txn.first_offset, |id| id == txn.producer_id)?
                || !self.is_one(txn)?
            {
                return Ok(false);
            }
            // That of the oldest transaction that was open still, or where this one ends.
            let (stable, end) = (txn.last_stable_offset, txn.last_offset + 1);
            if stable != end
                && (stable > end || !self.begins(stable, |id| id != txn.producer_id)?)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether it ends at a marker that aborts it.
    fn is_marker(&self, txn: &AbortedTxn) -> Result<bool, ReadError> {
        let Some(found) = walk_to(self.segment, txn.last_offset)?.next()? else {
            return Ok(false);
        };
        let header = &found.header;
        let size = header.size();
        if !header.is_control()
            || header.producer_id != txn.producer_id
            || header.last_offset() != txn.last_offset
            || size > MARKER_BYTES_MAX
        {
            return Ok(false);
        }
        let mut bytes = vec![0; size];
        self.segment
            .file()?
            .read_exact_at(&mut bytes, found.position)?;
        let marker = BatchView::parse(&bytes).ok().as_ref().and_then(marker);
        Ok(marker.is_some_and(|marker| marker.result == TransactionResult::Abort))
    }

    /// Whether no other transaction of the producer ended in between, as far as a short walk shows.
    fn is_one(&self, txn: &AbortedTxn) -> Result<bool, ReadError> {
        if txn.first_offset < self.segment.base_offset() {
            return Ok(true);
        }
        let mut walk = walk_to(self.segment, txn.first_offset)?;
        let upto = walk.position().saturating_add(TXN_WALKED_BYTES_MAX);
        while let Some(found) = walk.next()? {
            let header = &found.header;
            if header.base_offset >= txn.last_offset || found.position >= upto {
                break;
            }
            if header.is_control() && header.producer_id == txn.producer_id {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a batch of a transaction begins at an offset, as far as the log still tells.
    fn begins(&self, offset: i64, of: impl Fn(i64) -> bool) -> Result<bool, ReadError> {
        let first = self.segments.first().map_or(0, |first| first.base_offset());
        if offset < first || self.gaps == Gaps::Compaction {
            return Ok(true);
        }
        let holding = crate::reader::holding(self.segments, offset);
        let Some(found) = walk_to(&self.segments[holding], offset)?.next()? else {
            return Ok(true);
        };
        let header = &found.header;
        // A batch behind it: the one looked for went with a compaction elsewhere.
        let is_gone = header.base_offset > offset;
        let begins = header.base_offset == offset && header.is_transactional();
        Ok(is_gone || begins && !header.is_control() && of(header.producer_id))
    }
}

/// A walk that begins at the batch that an offset is in, or the next one. Nothing is mapped for it.
fn walk_to(segment: &Segment, offset: i64) -> Result<Walk<'_>, ReadError> {
    let mut from = segment.offsets.floor(offset)?;
    if let Some(entry) = from {
        // Only as good as the batch it points at.
        let is_there = |found: Option<Located>| {
            found.is_some_and(|found| found.header.last_offset() == entry.last_offset)
        };
        let borne_out = entry.position < segment.len()
            && segment.walk_unmapped(from)?.next().is_ok_and(is_there);
        from = from.filter(|_| borne_out);
    }
    let mut walk = segment.walk_unmapped(from)?;
    loop {
        let here = walk.place();
        match walk.next()? {
            Some(found) if found.header.last_offset() < offset => {}
            _ => {
                walk.return_to(here);
                return Ok(walk);
            }
        }
    }
}

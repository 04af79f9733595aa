//! Replacing segments by their compacted form, so that a crash at any step leaves
//! the old ones or the new one.
//!
//! 1. The new segment is written with `.cleaned` suffixes and synced. What an earlier
//!    truncation, retention or swap left as `.deleted` in its range is unlinked, so that
//!    from here on such a name means a segment that this swap replaces.
//! 2. Its files are renamed to `.swap`, the data file last: from here on it wins.
//! 3. The segments it replaces are renamed to `.deleted`.
//! 4. `.swap` is renamed away.
//!
//! After a crash, `.cleaned` files are worthless, and with them `.swap` files whose
//! data file is still `.cleaned`; a `.swap` data file means that step 3 is to be
//! done again and finished.
//!
//! Before the old segments go, the new one is read to its last byte: one that does not
//! verify is dropped, and the old ones stay, or get their names back if step 3 had begun.

use std::path::Path;

use reka_records::{BatchHeader, BatchView};

use super::CompactionLimits;
use crate::env::Env;
use crate::error::{Corruption, OpenError};
use crate::format::{FileKind, FileName, FileStage};
use crate::fs::{DirEntry, DiskResult, File, OpenMode};
use crate::recovery::{self, RecoveryReport, Verified, Warning};

/// What [`recover`] did.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Names changed.
    pub(crate) changed: bool,
    /// Segments whose swap was completed. Their indexes may not have survived the
    /// repeated steps and are to be built anew.
    pub(crate) completed: Vec<i64>,
}

/// What is to become of a `.swap` data file.
enum Verdict {
    /// It replaces the segments that begin below this offset.
    Complete { end_offset: i64 },
    /// It is damaged, and the old segments have their names.
    Drop,
    /// It is damaged, and these old segments have lost their names.
    Restore { bases: Vec<i64> },
}

/// Finishes or forgets what a crash left half done.
pub(crate) fn recover(
    env: &Env,
    dir: &Path,
    entries: &[DirEntry],
    report: &mut RecoveryReport,
) -> Result<Recovered, OpenError> {
    let names: Vec<FileName> = entries
        .iter()
        .filter_map(|entry| FileName::parse(&entry.name))
        .collect();
    let at = |stage| {
        names
            .iter()
            .copied()
            .filter(move |name| name.stage == stage)
    };
    let bases = |stage| -> Vec<i64> {
        at(stage)
            .filter(|name| name.kind == FileKind::Log)
            .map(|name| name.offset)
            .collect()
    };
    let swapped = bases(FileStage::Swap);
    // Judged first: what refuses the directory comes before what changes it.
    let mut verdicts = Vec::new();
    for base_offset in swapped.iter().copied() {
        let old = OldSegments {
            live: bases(FileStage::Live),
            deleted: bases(FileStage::Deleted),
        };
        verdicts.push((base_offset, judge(env, dir, base_offset, &old, report)?));
    }
    let mut recovered = Recovered::default();
    for name in at(FileStage::Cleaned) {
        env.disk.remove_file(&name.in_dir(dir))?;
        recovered.changed = true;
    }
    for name in at(FileStage::Swap).filter(|name| !swapped.contains(&name.offset)) {
        env.disk.remove_file(&name.in_dir(dir))?;
        recovered.changed = true;
    }
    for (base_offset, verdict) in verdicts {
        recovered.changed = true;
        match verdict {
            Verdict::Complete { end_offset } => {
                let replaced = at(FileStage::Live).filter(|name| {
                    // The snapshot where the segment begins is as good as before.
                    let stays = name.kind == FileKind::Snapshot && name.offset == base_offset;
                    !stays && (base_offset..end_offset.max(base_offset + 1)).contains(&name.offset)
                });
                for name in replaced {
                    let path = name.in_dir(dir);
                    match name.kind {
                        FileKind::Snapshot => env.disk.remove_file(&path)?,
                        // Until the swap is complete they can still be had back.
                        _ => {
                            let away = name.at(FileStage::Deleted).in_dir(dir);
                            env.disk.rename(&path, &away)?;
                        }
                    }
                }
                complete(env, dir, base_offset)?;
                recovered.completed.push(base_offset);
            }
            Verdict::Drop => forget(env, dir, base_offset, FileStage::Swap)?,
            Verdict::Restore { bases } => {
                // Its indexes may have their last names already.
                forget(env, dir, base_offset, FileStage::Live)?;
                for base_offset in bases.into_iter().rev() {
                    rename_all(env, dir, base_offset, FileStage::Deleted, FileStage::Live)?;
                }
                // Until here another start would do the same.
                env.disk.sync_dir(dir)?;
                forget(env, dir, base_offset, FileStage::Swap)?;
            }
        }
    }
    if recovered.changed {
        env.disk.sync_dir(dir)?;
    }
    Ok(recovered)
}

/// Base offsets of the segments that a swap may have found.
struct OldSegments {
    live: Vec<i64>,
    deleted: Vec<i64>,
}

fn judge(
    env: &Env,
    dir: &Path,
    base_offset: i64,
    old: &OldSegments,
    report: &mut RecoveryReport,
) -> Result<Verdict, OpenError> {
    let scanned = &mut report.scanned_bytes;
    let name = FileName::live(base_offset, FileKind::Log);
    let path = name.at(FileStage::Swap).in_dir(dir);
    let (position, found) = match verify(env, dir, name.at(FileStage::Swap), scanned)? {
        Err(wrong) => wrong,
        Ok(verified) => match contradiction(env, dir, base_offset, &verified, old, scanned)? {
            None => {
                let end_offset = verified.end_offset;
                return Ok(Verdict::Complete { end_offset });
            }
            Some(why) => (0, why),
        },
    };
    let verdict = if old.live.contains(&base_offset) {
        Some(Verdict::Drop)
    } else {
        restorable(env, dir, base_offset, old, scanned)?.map(|bases| Verdict::Restore { bases })
    };
    match verdict {
        Some(verdict) => {
            report.warnings.push(Warning::DamagedSwap {
                path,
                position,
                found,
            });
            Ok(verdict)
        }
        None => Err(Corruption {
            path,
            position,
            expected: "a compacted segment, whole, since what it replaced is gone".into(),
            found,
        }
        .into()),
    }
}

fn open(env: &Env, dir: &Path, name: FileName) -> DiskResult<File> {
    env.disk.open(&name.in_dir(dir), OpenMode::Existing)
}

fn verify(
    env: &Env,
    dir: &Path,
    name: FileName,
    scanned_bytes: &mut u64,
) -> DiskResult<Result<Verified, (u64, String)>> {
    recovery::verify(&open(env, dir, name)?, name.offset, None, scanned_bytes)
}

/// No checksum covers the base offset of the last batch, and it says how far the new
/// segment reaches: what is below goes. The old segments have to bear it out, and the
/// newest segment is never compacted.
fn contradiction(
    env: &Env,
    dir: &Path,
    base_offset: i64,
    verified: &Verified,
    old: &OldSegments,
    scanned_bytes: &mut u64,
) -> DiskResult<Option<String>> {
    let Some((position, last)) = verified.last else {
        return Ok(None);
    };
    let last_offset = last.last_offset();
    let newest = old.live.iter().copied().max();
    if newest.is_none_or(|newest| newest < verified.end_offset) {
        return Ok(Some(format!(
            "a last batch that ends at offset {last_offset}, where the newest segment is"
        )));
    }
    let holding = |bases: &[i64]| {
        let below = bases.iter().copied();
        below
            .filter(|base| (base_offset..=last_offset).contains(base))
            .max()
    };
    // One that has both names is there anew; what was deleted is older.
    let (base, stage) = match (holding(&old.live), holding(&old.deleted)) {
        (Some(live), deleted) if deleted.is_none_or(|deleted| deleted <= live) => {
            (live, FileStage::Live)
        }
        (_, Some(deleted)) => (deleted, FileStage::Deleted),
        _ => return Ok(None),
    };
    let name = FileName::live(base, FileKind::Log).at(stage);
    let file = open(env, dir, name)?;
    let borne_out = match recovery::verify(&file, base, Some(last_offset), scanned_bytes)? {
        Ok(Verified {
            sought: Some((old_position, old)),
            ..
        }) => {
            let swap = FileName::live(base_offset, FileKind::Log).at(FileStage::Swap);
            let new = read(&open(env, dir, swap)?, position, &last)?;
            is_cleaned_form_of(new, read(&file, old_position, &old)?)
        }
        Ok(_) => false,
        // What is wrong with an old segment says nothing against the new one.
        Err(_) => true,
    };
    Ok((!borne_out).then(|| {
        format!(
            "a last batch that ends at offset {last_offset}, where {} has another or none",
            name.render()
        )
    }))
}

fn read(file: &File, position: u64, header: &BatchHeader) -> DiskResult<Option<Vec<u8>>> {
    let mut bytes = vec![0; header.size()];
    let read = file.read_up_to(&mut bytes, position)?;
    Ok((read == bytes.len()).then_some(bytes))
}

/// Whether a batch holds nothing but records of another, at their offsets.
fn is_cleaned_form_of(new: Option<Vec<u8>>, old: Option<Vec<u8>>) -> bool {
    let (Some(new), Some(old)) = (new, old) else {
        return false;
    };
    let (Ok(new), Ok(old)) = (BatchView::parse(&new), BatchView::parse(&old)) else {
        return false;
    };
    let identity = |header: &BatchHeader| {
        let producer = (header.producer_id, header.producer_epoch);
        (header.base_offset, header.last_offset(), producer)
    };
    if identity(new.header()) != identity(old.header()) {
        return false;
    }
    if new.header().crc == old.header().crc {
        return true;
    }
    let limit = CompactionLimits::default().decompressed_bytes_max;
    let (mut new_scratch, mut old_scratch) = (Vec::new(), Vec::new());
    let (Ok(new), Ok(mut old)) = (
        new.records(&mut new_scratch, limit),
        old.records(&mut old_scratch, limit),
    ) else {
        // Both have their checksums; they are larger than can be looked at.
        return true;
    };
    // Both are in the order of their offsets.
    new.map_while(Result::ok).all(|new| {
        old.by_ref()
            .map_while(Result::ok)
            .find(|old| old.offset >= new.offset)
            .is_some_and(|old| (old.offset, old.key, old.value) == (new.offset, new.key, new.value))
    })
}

/// The old segments that a swap has renamed away, if they are all there: one begins where
/// the new one does, each can be read to its end, and none reaches into the next.
fn restorable(
    env: &Env,
    dir: &Path,
    base_offset: i64,
    old: &OldSegments,
    scanned_bytes: &mut u64,
) -> DiskResult<Option<Vec<i64>>> {
    let upper = old.live.iter().copied().filter(|base| *base > base_offset);
    let upper = upper.min().unwrap_or(i64::MAX);
    let bases: Vec<i64> = old
        .deleted
        .iter()
        .copied()
        .filter(|base| (base_offset..upper).contains(base))
        .collect();
    if bases.first() != Some(&base_offset) {
        return Ok(None);
    }
    let mut end = base_offset;
    for base in &bases {
        let name = FileName::live(*base, FileKind::Log).at(FileStage::Deleted);
        match verify(env, dir, name, scanned_bytes)? {
            Ok(verified) if *base >= end => end = verified.end_offset,
            _ => return Ok(None),
        }
    }
    Ok((end <= upper).then_some(bases))
}

/// Removes what a segment has at a stage, the data file last.
fn forget(env: &Env, dir: &Path, base_offset: i64, stage: FileStage) -> DiskResult<()> {
    for kind in FileKind::OF_SEGMENT.into_iter().rev() {
        let name = FileName::live(base_offset, kind).at(stage);
        env.disk.remove_file(&name.in_dir(dir))?;
    }
    Ok(())
}

/// Undoes step 2 where it did not get to the data file.
pub(crate) fn forget_announced(env: &Env, dir: &Path, base_offset: i64) -> DiskResult<()> {
    forget(env, dir, base_offset, FileStage::Swap)
}

/// Step 4: the files lose their suffix, the data file last, so that until then a
/// restart repeats the whole.
pub(crate) fn complete(env: &Env, dir: &Path, base_offset: i64) -> DiskResult<()> {
    rename_all(env, dir, base_offset, FileStage::Swap, FileStage::Live)
}

/// Step 2.
pub(crate) fn announce(env: &Env, dir: &Path, base_offset: i64) -> DiskResult<()> {
    rename_all(env, dir, base_offset, FileStage::Cleaned, FileStage::Swap)
}

fn rename_all(
    env: &Env,
    dir: &Path,
    base_offset: i64,
    from: FileStage,
    to: FileStage,
) -> DiskResult<()> {
    for kind in FileKind::OF_SEGMENT.into_iter().rev() {
        let name = FileName::live(base_offset, kind);
        match env
            .disk
            .rename(&name.at(from).in_dir(dir), &name.at(to).in_dir(dir))
        {
            // An index of aborted transactions that has no entry.
            Err(error) if error.is_not_found() && kind != FileKind::Log => {}
            other => other?,
        }
    }
    Ok(())
}

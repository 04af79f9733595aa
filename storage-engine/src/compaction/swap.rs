//! Replacing segments by their compacted form, so that a crash at any step leaves
//! the old ones or the new one.
//!
//! 1. The new segment is written with `.cleaned` suffixes and synced.
//! 2. Its files are renamed to `.swap`, the data file last: from here on it wins.
//! 3. The segments it replaces are renamed to `.deleted`.
//! 4. `.swap` is renamed away.
//!
//! After a crash, `.cleaned` files are worthless, and with them `.swap` files whose
//! data file is still `.cleaned`; a `.swap` data file means that step 3 is to be
//! done again and finished.

use std::path::Path;

use reka_records::{BatchHeader, HEADER_BYTES};

use crate::env::Env;
use crate::format::{FileKind, FileName, FileStage};
use crate::fs::{DirEntry, DiskResult, OpenMode};

/// What [`recover`] did.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Names changed.
    pub(crate) changed: bool,
    /// Segments whose swap was completed. Their indexes may not have survived the
    /// repeated steps and are to be built anew.
    pub(crate) completed: Vec<i64>,
}

/// Finishes or forgets what a crash left half done.
pub(crate) fn recover(env: &Env, dir: &Path, entries: &[DirEntry]) -> DiskResult<Recovered> {
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
    let swapped: Vec<i64> = at(FileStage::Swap)
        .filter(|name| name.kind == FileKind::Log)
        .map(|name| name.offset)
        .collect();
    let mut changed = false;
    for name in at(FileStage::Cleaned) {
        env.disk.remove_file(&name.in_dir(dir))?;
        changed = true;
    }
    for name in at(FileStage::Swap).filter(|name| !swapped.contains(&name.offset)) {
        env.disk.remove_file(&name.in_dir(dir))?;
        changed = true;
    }
    for base_offset in swapped.iter().copied() {
        let end_offset = end_of(env, dir, base_offset)?;
        let replaced = at(FileStage::Live).filter(|name| {
            // The snapshot where the segment begins is as good as before.
            let stays = name.kind == FileKind::Snapshot && name.offset == base_offset;
            !stays && (base_offset..end_offset.max(base_offset + 1)).contains(&name.offset)
        });
        for name in replaced {
            env.disk.remove_file(&name.in_dir(dir))?;
        }
        complete(env, dir, base_offset)?;
        changed = true;
    }
    if changed {
        env.disk.sync_dir(dir)?;
    }
    Ok(Recovered {
        changed,
        completed: swapped,
    })
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

/// The offset after the last batch of a `.swap` data file, which was synced whole.
fn end_of(env: &Env, dir: &Path, base_offset: i64) -> DiskResult<i64> {
    let path = FileName::live(base_offset, FileKind::Log)
        .at(FileStage::Swap)
        .in_dir(dir);
    let file = env.disk.open(&path, OpenMode::Existing)?;
    let mut bytes = [0; HEADER_BYTES];
    let (mut position, mut end) = (0, base_offset);
    loop {
        let read = file.read_up_to(&mut bytes, position)?;
        let Ok(header) = BatchHeader::parse(&bytes[..read]) else {
            return Ok(end);
        };
        position += header.size() as u64;
        end = header.next_offset();
    }
}

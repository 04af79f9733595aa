//! Read-only maps of log and index files: the only `unsafe` of the engine.
//!
//! A segment is mapped once, read-only, for its greatest length, while its file
//! may still be shorter. Writers never touch the map, they `pwrite`; the kernel
//! keeps the two coherent on a local file system.
//!
//! What makes reading sound is kept here and in [`crate::living_maps`], whatever
//! callers do:
//!
//! - A file does not get shorter while a mapping of it lives: the mapping is counted
//!   before it is made, and the one place that shortens files
//!   ([`crate::fs::real`]) zeroes the end of a counted one instead. The directory
//!   lock keeps other processes of ours away.
//! - A range is handed out only when the file was seen to reach its end since the
//!   mapping was counted; one that lies behind the end of the file is an error.
//! - Published bytes do not change but by the zeroing of a truncation, or by appends
//!   over such zeros. A reader that still holds a slice from before then sees bytes
//!   that no checksum accepts.

#![allow(
    unsafe_code,
    reason = "this file is where the engine's unsafe code lives"
)]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::fs::RawMapping;
use crate::living_maps::LivingMap;

#[cfg(target_arch = "x86_64")]
const CACHE_LINE_BYTES: usize = 64;

/// A shared read-only mapping of the first bytes of a file.
#[derive(Debug)]
pub(crate) struct ReadMap {
    map: Mmap,
    /// Bytes the file was seen to have since it is counted; it keeps them.
    backed: AtomicUsize,
    file: Arc<File>,
    _counted: LivingMap,
}

impl ReadMap {
    /// Maps `len` bytes, which may reach behind the end of the file.
    pub(crate) fn new(file: &Arc<File>, len: usize) -> io::Result<ReadMap> {
        let counted = LivingMap::of(file)?;
        // SAFETY: nothing is loaded from the map but what `range` found inside the
        // file, and the file does not get shorter while `counted` lives.
        let map = unsafe { MmapOptions::new().len(len).map(&**file)? };
        Ok(ReadMap {
            map,
            backed: AtomicUsize::new(0),
            file: file.clone(),
            _counted: counted,
        })
    }

    /// The address of a range that is backed by the file.
    #[inline]
    fn range(&self, position: usize, len: usize) -> io::Result<*const u8> {
        match position.checked_add(len) {
            Some(end) if end <= self.backed.load(Ordering::Relaxed) => {}
            _ => self.look_again(position, len)?,
        }
        Ok(self.map.as_ptr().wrapping_add(position))
    }

    /// The file may have grown since it was last looked at.
    #[cold]
    fn look_again(&self, position: usize, len: usize) -> io::Result<()> {
        let file_bytes = self.file.metadata()?.len();
        let backed = usize::try_from(file_bytes).map_or(self.map.len(), |b| b.min(self.map.len()));
        self.backed.fetch_max(backed, Ordering::Relaxed);
        if position.checked_add(len).is_some_and(|end| end <= backed) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!(
                "wanted {len} bytes at {position}, the file has {file_bytes} and {} are mapped",
                self.map.len()
            ),
        ))
    }
}

impl RawMapping for ReadMap {
    fn bytes(self: Arc<Self>, position: usize, len: usize) -> io::Result<Bytes> {
        self.range(position, len)?;
        Ok(Bytes::from_owner(Slice {
            map: self,
            position,
            len,
        }))
    }

    fn copy(&self, position: usize, into: &mut [u8]) -> io::Result<()> {
        let from = self.range(position, into.len())?;
        // SAFETY: `range` found `into.len()` bytes of the file behind `from`, which
        // stay there as long as `self`, and `into` is an exclusive reference, so the
        // two cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
        Ok(())
    }

    fn expect(&self, position: usize) {
        #[cfg(target_arch = "x86_64")]
        if position < self.map.len() {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.map.as_ptr().wrapping_add(position);
            // A batch header reaches into a second cache line nearly always.
            let next_line = line.wrapping_add(CACHE_LINE_BYTES);
            // SAFETY: a prefetch reads nothing and never faults, wherever it points.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(line.cast());
                _mm_prefetch::<_MM_HINT_T0>(next_line.cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = position;
    }
}

/// A range that keeps its mapping alive, also after roll, truncation or deletion.
struct Slice {
    map: Arc<ReadMap>,
    position: usize,
    len: usize,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        let start = self.map.map.as_ptr().wrapping_add(self.position);
        // SAFETY: `range` found the bytes in the file when the slice was made; `map`
        // keeps them mapped, and the file from getting shorter (module docs).
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

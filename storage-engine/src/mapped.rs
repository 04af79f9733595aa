//! Read-only maps of log and index files: the only `unsafe` of the engine.
//!
//! A segment is mapped once, read-only, for its greatest length, while its file
//! may still be shorter. Writers never touch the map, they `pwrite`; the kernel
//! keeps the two coherent on a local file system.
//!
//! What makes reading sound is kept by [`crate::segment`]:
//!
//! - Readers ask only for ranges below the *published* end, which is raised
//!   (Release) after the bytes are in the file, so no page behind the end of the
//!   file is touched.
//! - A mapped file is never shortened below an end that was once published:
//!   truncation lowers the published end and zeroes what lies behind it.
//! - Published bytes do not change but by that zeroing. A reader that still holds
//!   a slice from before then sees zeros, which no checksum accepts.

#![allow(
    unsafe_code,
    reason = "this file is where the engine's unsafe code lives"
)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::fs::RawMapping;

#[cfg(target_arch = "x86_64")]
const CACHE_LINE_BYTES: usize = 64;

/// A shared read-only mapping of the first bytes of a file.
#[derive(Debug)]
pub(crate) struct ReadMap {
    map: Mmap,
}

impl ReadMap {
    /// Maps `len` bytes, which may reach behind the end of the file.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<ReadMap> {
        // SAFETY: the file is opened by this process under the directory lock and
        // is never shortened below a published end while mapped (module docs), so
        // every range handed out by `bytes` and `copy` stays backed by the file.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(ReadMap { map })
    }

    /// The address of a range, checked against the mapping.
    fn range(&self, position: usize, len: usize) -> *const u8 {
        let end = position
            .checked_add(len)
            .expect("a range of a file fits the address space");
        assert!(
            end <= self.map.len(),
            "range {position}..{end} lies outside a mapping of {} bytes",
            self.map.len()
        );
        self.map.as_ptr().wrapping_add(position)
    }
}

impl RawMapping for ReadMap {
    fn bytes(self: Arc<Self>, position: usize, len: usize) -> Bytes {
        let _ = self.range(position, len);
        Bytes::from_owner(Slice {
            map: self,
            position,
            len,
        })
    }

    fn copy(&self, position: usize, into: &mut [u8]) {
        let from = self.range(position, into.len());
        // SAFETY: `range` checked that `from` has `into.len()` mapped bytes, the
        // caller asks below the published end so they are backed by the file, and
        // `into` is an exclusive reference, so the two cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
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
        let start = self.map.range(self.position, self.len);
        // SAFETY: `range` checked the bounds; the range was published before the
        // slice was made, so it is backed by the file for the life of the mapping,
        // and published bytes are not written again but by truncation (module docs).
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

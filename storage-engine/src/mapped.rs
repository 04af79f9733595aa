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
//!
//! # Pages that cannot be read
//!
//! Somebody else may shorten a file, and a disk may fail to deliver a page that was
//! dropped from memory: loading from it raises SIGBUS, which ends a process that does
//! nothing about it. Here the handler puts a page of zeros in its place, so that whoever
//! was loading goes on, and marks the mapping: from then on asking it for anything is an
//! error that names the position, and what was copied meanwhile is not handed out. What
//! is in a slice already reads as zeros, which no checksum accepts. One line on standard
//! error says what happened. If there is no memory even for that, the line is the
//! process's last and its exit code [`EXIT_UNREADABLE`]. A SIGBUS that is none of ours
//! goes to whoever handled it before. See `docs/decisions/0007`.

#![allow(
    unsafe_code,
    reason = "this file is where the engine's unsafe code lives"
)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering, compiler_fence, fence};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use reka_records::SPAN_BYTES;

use crate::fs::RawMapping;
use crate::living_maps::LivingMap;

/// What a walk reads of a batch.
#[cfg(target_arch = "x86_64")]
const EXPECTED_BYTES: usize = SPAN_BYTES;

/// A shared read-only mapping of the first bytes of a file.
#[derive(Debug)]
pub(crate) struct ReadMap {
    /// Given back before the mapping goes.
    listed: Listed,
    map: Mmap,
    file: Arc<File>,
    _counted: LivingMap,
}

impl ReadMap {
    /// Maps `len` bytes, which may reach behind the end of the file.
    pub(crate) fn new(file: &Arc<File>, len: usize) -> io::Result<ReadMap> {
        install_handler();
        let counted = LivingMap::of(file)?;
        // SAFETY: nothing is loaded from the map but what `range` found inside the
        // file, and the file does not get shorter while `counted` lives.
        let map = unsafe { MmapOptions::new().len(len).map(&**file)? };
        Ok(ReadMap {
            listed: Listed::new(&map, file),
            map,
            file: file.clone(),
            _counted: counted,
        })
    }

    #[inline(always)]
    fn copy_inlined(&self, position: usize, into: &mut [u8]) -> io::Result<()> {
        let from = self.range(position, into.len())?;
        // SAFETY: `range` found `into.len()` bytes of the file behind `from`, which
        // stay there as long as `self`, and `into` is an exclusive reference, so the
        // two cannot overlap.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
        // What was copied is the file's unless a page of it failed on the way.
        compiler_fence(Ordering::SeqCst);
        self.range(position, into.len())?;
        Ok(())
    }

    /// The address of a range that is backed by the file.
    #[inline]
    fn range(&self, position: usize, len: usize) -> io::Result<*const u8> {
        match position.checked_add(len) {
            Some(end) if end <= self.listed.0.backed.load(Ordering::Relaxed) => {}
            _ => self.look_again(position, len)?,
        }
        Ok(self.map.as_ptr().wrapping_add(position))
    }

    /// The file may have grown since it was last looked at.
    #[cold]
    fn look_again(&self, position: usize, len: usize) -> io::Result<()> {
        let file_bytes = self.file.metadata()?.len();
        let backed = usize::try_from(file_bytes).map_or(self.map.len(), |b| b.min(self.map.len()));
        self.listed.0.backed.fetch_max(backed, Ordering::SeqCst);
        // Behind the line above, which may have undone what the handler did.
        if let Some(failed) = self.listed.0.failed() {
            self.listed.0.backed.store(0, Ordering::SeqCst);
            return Err(io::Error::other(format!(
                "wanted {len} bytes at {position}, and the page at {failed} could not be read; the \
                 file has {file_bytes} bytes; if it had more, another program shortened it: \
                 restore it from a replica or a backup; else check the disk and the kernel's log"
            )));
        }
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
        self.copy_inlined(position, into)
    }

    fn span(&self, position: usize) -> io::Result<[u8; SPAN_BYTES]> {
        let mut bytes = [0; SPAN_BYTES];
        self.copy_inlined(position, &mut bytes)?;
        Ok(bytes)
    }

    fn expect(&self, position: usize) {
        #[cfg(target_arch = "x86_64")]
        if position < self.map.len() {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let first = self.map.as_ptr().wrapping_add(position);
            // Where it does not reach into a second cache line, this is the same one: the walk
            // waits for lines, so none is fetched for nothing.
            let last = first.wrapping_add(EXPECTED_BYTES - 1);
            // SAFETY: a prefetch reads nothing and never faults, wherever it points.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(first.cast());
                _mm_prefetch::<_MM_HINT_T0>(last.cast());
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

/// Exit code of a process that cannot go on without a page of a mapped file.
pub const EXIT_UNREADABLE: i32 = 8;

/// A mapping as the handler of SIGBUS sees it, which may neither lock nor allocate.
/// Places are made when there are more mappings than ever before, used again, and never
/// freed.
#[derive(Debug, Default)]
struct Place {
    /// Odd while the three below change.
    version: AtomicUsize,
    start: AtomicUsize,
    /// 0 while no mapping has the place.
    len: AtomicUsize,
    fd: AtomicI32,
    /// Bytes the file was seen to have since it is counted; 0 once a page failed.
    backed: AtomicUsize,
    /// One more than the position of the first page that failed; 0 if none did.
    failed: AtomicUsize,
    /// Set before the place is in the list.
    next: AtomicPtr<Place>,
}

/// All places.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());
/// Those without a mapping.
static FREE: Mutex<Vec<&'static Place>> = Mutex::new(Vec::new());

impl Place {
    fn change(&self, start: usize, len: usize, fd: i32) {
        self.version.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.start.store(start, Ordering::SeqCst);
        self.len.store(len, Ordering::SeqCst);
        self.fd.store(fd, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// The position of an address in the mapping, and the file; called in the handler. The
    /// mapping that an address belongs to does not go while somebody loads from it; others
    /// may, so what changes meanwhile is not the one.
    fn holds(&self, address: usize) -> Option<(usize, i32)> {
        let version = self.version.load(Ordering::SeqCst);
        let position = address.checked_sub(self.start.load(Ordering::SeqCst))?;
        let (len, fd) = (
            self.len.load(Ordering::SeqCst),
            self.fd.load(Ordering::SeqCst),
        );
        let same = version.is_multiple_of(2) && version == self.version.load(Ordering::SeqCst);
        (same && position < len).then_some((position, fd))
    }

    fn failed(&self) -> Option<usize> {
        self.failed.load(Ordering::SeqCst).checked_sub(1)
    }
}

/// A place while a mapping has it.
#[derive(Debug)]
struct Listed(&'static Place);

impl Listed {
    fn new(map: &Mmap, file: &File) -> Listed {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = free.pop().unwrap_or_else(|| {
            let place: &'static Place = Box::leak(Box::default());
            // `free` is locked, so nobody else adds to the list.
            place
                .next
                .store(PLACES.load(Ordering::SeqCst), Ordering::SeqCst);
            PLACES.store(ptr::from_ref(place).cast_mut(), Ordering::SeqCst);
            place
        });
        place.backed.store(0, Ordering::SeqCst);
        place.failed.store(0, Ordering::SeqCst);
        place.change(map.as_ptr() as usize, map.len(), file.as_raw_fd());
        Listed(place)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.change(0, 0, -1);
        FREE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.0);
    }
}

static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);
/// What handled SIGBUS before; the standard library looks for stack overflows there.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Before the first mapping is made.
fn install_handler() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: a question without arguments that are pointers.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if let Ok(page_bytes @ 1..) = usize::try_from(page_bytes) {
            PAGE_BYTES.store(page_bytes, Ordering::SeqCst);
        }
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: all zeros is a valid `sigaction`; the handler is one that takes three
        // arguments, as SA_SIGINFO says, and does nothing a handler must not do; SA_ONSTACK
        // leaves it the stack that the standard library gives each thread. The kernel writes
        // the old one where it is told, and what it does not write is zeros.
        unsafe {
            let mut ours: libc::sigaction = MaybeUninit::zeroed().assume_init();
            ours.sa_sigaction = on_bus_error as *const () as libc::sighandler_t;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            if libc::sigaction(libc::SIGBUS, &raw const ours, before.as_mut_ptr()) == 0 {
                let _ = BEFORE.set(before.assume_init());
            }
        }
    });
}

/// The handler of SIGBUS. It calls only what a handler may: loads and stores of atomics,
/// and system calls without a lock.
extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t` to a handler that asked for one; `si_addr`
    // is read only for codes that have one. `errno` is the thread's own.
    let (code, errno) = unsafe { ((*info).si_code, *libc::__errno_location()) };
    let is_fault = code == libc::BUS_ADRERR || code == libc::BUS_MCEERR_AR;
    let address = match is_fault {
        // SAFETY: as above.
        true => unsafe { (*info).si_addr() as usize },
        false => 0,
    };
    let Some((place, position, fd)) = place_of(address) else {
        hand_on(signal, is_fault);
        return;
    };
    let page_bytes = PAGE_BYTES.load(Ordering::SeqCst);
    let within = address % page_bytes;
    let position = position.saturating_sub(within);
    // First the mark: who loaded from the page looks for it afterwards.
    let first = place
        .failed
        .compare_exchange(0, position + 1, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok();
    place.backed.store(0, Ordering::SeqCst);
    // SAFETY: the page belongs to a mapping that lives, because this thread is loading from
    // it; it is replaced as a whole, in one step, by one that can be loaded from, and goes
    // with the mapping. Nobody writes to either.
    let replaced = unsafe {
        libc::mmap(
            (address - within) as *mut libc::c_void,
            page_bytes,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    } != libc::MAP_FAILED;
    if first || !replaced {
        tell(fd, position, replaced);
    }
    if !replaced {
        // SAFETY: it does not return, and runs nothing of ours.
        unsafe { libc::_exit(EXIT_UNREADABLE) }
    }
    // SAFETY: the thread's own; who was interrupted may be about to look at it.
    unsafe { *libc::__errno_location() = errno }
}

/// The mapping an address belongs to, the position in it, and its file.
fn place_of(address: usize) -> Option<(&'static Place, usize, i32)> {
    let mut at = PLACES.load(Ordering::SeqCst);
    loop {
        // SAFETY: null, or a place that was leaked, and so stays.
        let place: &'static Place = unsafe { at.as_ref() }?;
        if let Some((position, fd)) = place.holds(address) {
            return Some((place, position, fd));
        }
        at = place.next.load(Ordering::SeqCst);
    }
}

/// Leaves the signal to whoever had it before: the load is tried again and raises it anew.
fn hand_on(signal: i32, is_fault: bool) {
    // SAFETY: what was in force before is put in force again, or the default, which is all
    // zeros. Sent by somebody rather than raised by a load, it would not come again.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let before = BEFORE.get().unwrap_or(&default);
        libc::sigaction(signal, ptr::from_ref(before), ptr::null_mut());
        if !is_fault {
            libc::raise(signal);
        }
    }
}

/// One line on standard error.
fn tell(fd: i32, position: usize, replaced: bool) {
    let mut line = Line::new();
    line.text(b"reka: ");
    line.path_of(fd);
    line.text(b": the page at position ");
    line.number(position as u64);
    line.text(b" cannot be read (SIGBUS); ");
    match bytes_of(fd) {
        Some(bytes) if bytes <= position as u64 => {
            line.text(b"the file has ");
            line.number(bytes);
            line.text(b" bytes, so another program shortened it: restore it from a replica or a ");
            line.text(b"backup");
        }
        _ => line.text(b"the disk did not deliver it: check the disk and the kernel's log"),
    }
    line.text(match replaced {
        true => b"; reads of the file fail from now on\n",
        false => b"; there is no memory to go on without it, the process ends\n",
    });
    line.write();
}

fn bytes_of(fd: i32) -> Option<u64> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the kernel writes a `stat` where it is told to; zeros are a valid one too.
    unsafe {
        let known = libc::fstat(fd, stat.as_mut_ptr()) == 0;
        known.then(|| stat.assume_init().st_size as u64)
    }
}

/// A line that is put together without a heap.
struct Line {
    bytes: [u8; 1536],
    len: usize,
}

/// What is left of a line for what comes behind a path.
const BEHIND_PATH_BYTES: usize = 320;

impl Line {
    fn new() -> Line {
        Line {
            bytes: [0; 1536],
            len: 0,
        }
    }

    fn text(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(free) = self.bytes.get_mut(self.len) {
                *free = *byte;
                self.len += 1;
            }
        }
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut from = digits.len();
        loop {
            from -= 1;
            digits[from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text(&digits[from..]);
    }

    /// The path the file has now, which a mapping does not have to keep.
    fn path_of(&mut self, fd: i32) {
        let mut link = Line::new();
        link.text(b"/proc/self/fd/");
        link.number(fd.max(0) as u64);
        link.text(b"\0");
        let free = self.bytes.len() - self.len - BEHIND_PATH_BYTES;
        // SAFETY: the first is a string that ends with a zero, the second has `free` bytes.
        let read = unsafe {
            libc::readlink(
                link.bytes.as_ptr().cast(),
                self.bytes.as_mut_ptr().add(self.len).cast(),
                free,
            )
        };
        match usize::try_from(read) {
            Ok(read) => self.len += read,
            Err(_) => self.text(b"a mapped file"),
        }
    }

    fn write(&self) {
        // SAFETY: `len` bytes of the line are there. Nobody is left to tell of a failure.
        unsafe { libc::write(2, self.bytes.as_ptr().cast(), self.len) };
    }
}

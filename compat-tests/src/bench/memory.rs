//! Memory that was used before.
//!
//! A virtual machine gives free memory back to its host, in pieces of 2 MiB, and the first use of each
//! page afterwards costs several times what copying into it does: of a broker that writes a GiB of
//! page cache more than half of the CPU time was that. So memory is touched before anything is
//! measured, and every other MiB of it is kept: what lies between is free, and too small to be given
//! back.

use std::path::Path;

use crate::error::{Error, Result};

/// Where the kernel says how much there is.
pub(super) const MEMINFO: &str = "/proc/meminfo";
/// Kept and freed in turn.
const PIECE_BYTES: usize = 1 << 20;
/// What is touched: half of it is free afterwards, more than a scenario writes in a round.
const TOUCHED_BYTES_MAX: u64 = 10 << 30;

/// Keeps memory between the free pieces until it is dropped.
#[derive(Debug)]
pub(super) struct WarmMemory {
    _kept: Vec<Vec<u8>>,
}

impl WarmMemory {
    /// Touches memory: half of what is available, and 10 GiB at most.
    pub(super) fn touch() -> Result<WarmMemory> {
        let bytes = (available_bytes()? / 2).min(TOUCHED_BYTES_MAX);
        let pieces = bytes as usize / PIECE_BYTES;
        let touched: Vec<Vec<u8>> = (0..pieces).map(|_| vec![1; PIECE_BYTES]).collect();
        let kept = touched.into_iter().step_by(2).collect();
        Ok(WarmMemory { _kept: kept })
    }
}

fn available_bytes() -> Result<u64> {
    let path = Path::new(MEMINFO);
    let found = bytes_of(&crate::files::read_text(path)?, "MemAvailable");
    found.ok_or_else(|| Error::refused(MEMINFO, "no line MemAvailable in kB"))
}

/// A figure of [`MEMINFO`].
pub(super) fn bytes_of(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let kib = line?.strip_prefix(':')?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_in_bytes() {
        let meminfo = "MemTotal:       24576000 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(bytes_of(meminfo, "MemTotal"), Some(24_576_000 * 1024));
        assert_eq!(bytes_of(meminfo, "MemAvailable"), Some(1 << 20));
        assert_eq!(bytes_of(meminfo, "Mem"), None);
    }
}

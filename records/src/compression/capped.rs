//! Reading a decompressor to its end, or to the cap.

use std::io::{self, Read};

/// The first step of an output buffer that has no capacity yet.
const FIRST_BYTES: usize = 16 * 1024;

/// How a read that did not fail ended.
pub(super) enum Outcome {
    /// The stream is over.
    Complete,
    /// The stream has more than the cap allows.
    OverCap,
}

/// Appends all of `reader` to `out` until `out` is `cap` bytes long. `out` at most doubles at a
/// time, and only once it is full of real output.
pub(super) fn read_to_cap(
    mut reader: impl Read,
    out: &mut Vec<u8>,
    cap: usize,
) -> io::Result<Outcome> {
    let mut filled = out.len();
    loop {
        if filled == out.len() {
            if filled >= cap {
                // Full: allowed only if the stream ends right here.
                let over = read_some(&mut reader, &mut [0])? > 0;
                return Ok(if over {
                    Outcome::OverCap
                } else {
                    Outcome::Complete
                });
            }
            grow(out, filled.saturating_add(filled.max(FIRST_BYTES)).min(cap));
        }
        match read_some(&mut reader, &mut out[filled..]) {
            Ok(0) => {
                out.truncate(filled);
                return Ok(Outcome::Complete);
            }
            Ok(read) => filled += read,
            Err(error) => {
                out.truncate(filled);
                return Err(error);
            }
        }
    }
}

/// Makes `out` exactly `len` bytes long without the allocator's usual doubling beyond it.
pub(super) fn grow(out: &mut Vec<u8>, len: usize) {
    out.reserve_exact(len.saturating_sub(out.len()));
    out.resize(len, 0);
}

/// Whether a block may have `claimed` bytes reserved for its output before it is known that it has
/// them: sixteen times what it is long, and something for small ones.
pub(super) fn is_modest(block_bytes: usize, claimed: usize) -> bool {
    claimed <= block_bytes.saturating_mul(16).saturating_add(32 * 1024)
}

fn read_some(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

//! snappy: xerial's framing, which is what Java writes, and raw blocks, which librdkafka sends.
//!
//! | Field | Bytes | |
//! |---|---|---|
//! | magic | 8 | 0x82 `SNAPPY` 0x00 |
//! | version | 4 | 1 |
//! | oldest compatible version | 4 | 1 |
//! | per block: length | 4 | big-endian |
//! | per block: raw snappy | length | begins with its uncompressed length as a varint |
//!
//! A raw block has to declare its output. The declaration is checked before it is believed: against
//! the cap, against what a block of that size can expand to at all, and where it is much, against what
//! the elements of the block come to.

use super::capped::{grow, is_modest};
use super::{Compression, CompressionError};

const CODEC: Compression = Compression::Snappy;
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
const HEADER_BYTES: usize = 16;
/// Uncompressed bytes to a block, as Java's writer has it.
const BLOCK_BYTES: usize = 32 * 1024;
/// The densest element is the copy of 64 bytes in 3. No block can expand further than this.
const EXPANSION_MAX: usize = 22;

pub(super) fn decompress(
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    if !input.starts_with(&MAGIC) {
        return block(input, 0, out, cap);
    }
    let mut at = 0;
    while at < input.len() {
        if input[at..].starts_with(&MAGIC) {
            at = header(input, at)?;
            continue;
        }
        let length = be_u32(input, at)? as usize;
        at += 4;
        let Some(compressed) = input[at..].get(..length) else {
            let left = input.len() - at;
            let reason = format!("block of {length} bytes, {left} left");
            return Err(CompressionError::malformed(CODEC, at, reason));
        };
        block(compressed, at, out, cap)?;
        at += length;
    }
    Ok(())
}

/// Checks a header; streams that were glued together have more than one.
fn header(input: &[u8], at: usize) -> Result<usize, CompressionError> {
    let _version = be_u32(input, at + MAGIC.len())?;
    let compatible = be_u32(input, at + MAGIC.len() + 4)? as i32;
    if compatible < VERSION {
        let reason = format!("compatible version {compatible}, at least {VERSION} expected");
        return Err(CompressionError::malformed(CODEC, at, reason));
    }
    Ok(at + HEADER_BYTES)
}

/// Appends one raw block, found at `at`.
fn block(
    compressed: &[u8],
    at: usize,
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    let declared = snap::raw::decompress_len(compressed)
        .map_err(|error| CompressionError::malformed(CODEC, at, error.to_string()))?;
    let start = out.len();
    if declared > cap.saturating_sub(start) {
        return Err(CompressionError::TooLarge { codec: CODEC, cap });
    }
    if declared > compressed.len().saturating_mul(EXPANSION_MAX) {
        let length = compressed.len();
        let reason = format!("block of {length} bytes declares {declared}");
        return Err(CompressionError::malformed(CODEC, at, reason));
    }
    if !is_modest(compressed.len(), declared) && elements_bytes(compressed) != Some(declared) {
        let reason = format!("declares {declared} bytes, its elements are not that many");
        return Err(CompressionError::malformed(CODEC, at, reason));
    }
    make_room(out, declared, cap);
    grow(out, start + declared);
    let written = snap::raw::Decoder::new()
        .decompress(compressed, &mut out[start..])
        .map_err(|error| CompressionError::malformed(CODEC, at, error.to_string()))?;
    out.truncate(start + written);
    Ok(())
}

/// What the elements of a block come to; `None` where they are not whole or copy from before its
/// beginning.
fn elements_bytes(block: &[u8]) -> Option<usize> {
    let header = block.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (mut rest, mut sum) = (&block[header..], 0_usize);
    while let Some((tag, behind)) = rest.split_first() {
        let upper = usize::from(tag >> 2);
        // Length, bytes behind the tag that are no literal, bytes of them that are an offset.
        let (len, head, offset_bytes) = match tag & 3 {
            0 if upper < 60 => (upper + 1, 0, 0),
            0 => {
                let head = upper - 59;
                (little_endian(behind.get(..head)?) + 1, head, 0)
            }
            1 => (4 + (upper & 7), 1, 1),
            2 => (upper + 1, 2, 2),
            _ => (upper + 1, 4, 4),
        };
        if offset_bytes > 0 {
            let high = match offset_bytes {
                1 => usize::from(tag >> 5) << 8,
                _ => 0,
            };
            let offset = high | little_endian(behind.get(..offset_bytes)?);
            if offset == 0 || offset > sum {
                return None;
            }
            rest = behind.get(head..)?;
        } else {
            rest = behind.get(head.checked_add(len)?..)?;
        }
        sum = sum.checked_add(len)?;
    }
    Some(sum)
}

fn little_endian(bytes: &[u8]) -> usize {
    let digits = bytes.iter().rev();
    digits.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Doubles the buffer rather than growing it block by block, within the cap.
fn make_room(out: &mut Vec<u8>, more: usize, cap: usize) {
    if out.capacity() - out.len() < more {
        let wanted = out.len().saturating_mul(2).min(cap).max(out.len() + more);
        out.reserve_exact(wanted - out.len());
    }
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for plain in input.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(plain.len()), 0);
        let written = encoder
            .compress(plain, &mut out[start..])
            .expect("a block of 32 KiB fits the room made for it");
        out.truncate(start + written);
        out[length_at..start].copy_from_slice(&(written as u32).to_be_bytes());
    }
}

fn be_u32(input: &[u8], at: usize) -> Result<u32, CompressionError> {
    match input.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(bytes) => Ok(u32::from_be_bytes(*bytes)),
        None => Err(CompressionError::malformed(
            CODEC,
            at,
            "ends within a length",
        )),
    }
}

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
//! A raw block has to declare its output. The declaration is checked twice before it is believed:
//! against the cap, and against what a block of that size can expand to at all.

use super::capped::grow;
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
    make_room(out, declared, cap);
    grow(out, start + declared);
    let written = snap::raw::Decoder::new()
        .decompress(compressed, &mut out[start..])
        .map_err(|error| CompressionError::malformed(CODEC, at, error.to_string()))?;
    out.truncate(start + written);
    Ok(())
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

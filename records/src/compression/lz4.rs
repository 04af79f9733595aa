//! lz4 frames. All integers are little-endian.
//!
//! | Field | Bytes | |
//! |---|---|---|
//! | magic | 4 | 0x184d2204 |
//! | flags | 1 | version 01, then: independent blocks, block checksums, content size, content checksum, 0, dictionary id |
//! | block descriptor | 1 | bits 4-6: 4 is 64 KiB, 5 256 KiB, 6 1 MiB, 7 4 MiB; the rest 0 |
//! | content size | 0 or 8 | ignored |
//! | header checksum | 1 | second byte of xxHash32 over flags to content size |
//! | per block: length | 4 | top bit set: stored, not compressed; 0 ends the frame |
//! | per block: data | length | |
//! | per block: checksum | 0 or 4 | xxHash32 of the data |
//!
//! The frame is read here rather than by the codec crate, for two reasons. Blocks decode straight
//! into the output, and a 15-byte body that declares 4 MiB blocks cannot make us allocate them:
//! the room for a block is bounded by what its compressed bytes can expand to, and where that is much,
//! by what its sequences come to.
//!
//! What Kafka refuses is refused here: linked blocks and dictionaries. What it ignores is ignored:
//! the content size, the content checksum, and anything after the end of the first frame.

use std::io::Write;

use lz4_flex::block;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::capped::{grow, is_modest};
use super::{Compression, CompressionError};

const CODEC: Compression = Compression::Lz4;
const MAGIC: u32 = 0x184d_2204;
const FLAG_DICTIONARY: u8 = 0x01;
const FLAG_RESERVED: u8 = 0x02;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_INDEPENDENT: u8 = 0x20;
const BLOCK_STORED: u32 = 1 << 31;
/// One byte of a match length adds at most 255 bytes of output.
const EXPANSION_MAX: usize = 255;

pub(super) fn decompress(
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    let mut frame = Frame { input, at: 0 };
    let descriptor = frame.descriptor()?;
    while let Some(data) = frame.block(&descriptor)? {
        let start = out.len();
        let room = cap.saturating_sub(start);
        match data {
            Block::Stored(plain) if plain.len() > room => {
                return Err(CompressionError::TooLarge { codec: CODEC, cap });
            }
            Block::Stored(plain) => out.extend_from_slice(plain),
            Block::Compressed(data) => {
                let mut most = data
                    .len()
                    .saturating_mul(EXPANSION_MAX)
                    .min(descriptor.block_bytes_max);
                if !is_modest(data.len(), most.min(room)) {
                    let bytes = sequences_bytes(data).ok_or_else(|| {
                        frame.malformed(
                            "a block whose sequences are not whole, or copy from before it",
                        )
                    })?;
                    most = bytes.min(most);
                }
                let end = start + most.min(room);
                make_room(out, end, cap);
                grow(out, end);
                match block::decompress_into(data, &mut out[start..]) {
                    Ok(written) => out.truncate(start + written),
                    Err(block::DecompressError::OutputTooSmall { .. }) if most > room => {
                        return Err(CompressionError::TooLarge { codec: CODEC, cap });
                    }
                    Err(error) => return Err(frame.malformed(error.to_string())),
                }
            }
        }
    }
    Ok(())
}

/// What the sequences of a block come to; `None` where they are not whole or copy from before its
/// beginning.
fn sequences_bytes(block: &[u8]) -> Option<usize> {
    let (mut rest, mut sum) = (block, 0_usize);
    loop {
        let (token, behind) = rest.split_first()?;
        rest = behind;
        let literals = length(usize::from(token >> 4), &mut rest)?;
        rest = rest.get(literals..)?;
        sum = sum.checked_add(literals)?;
        let Some((offset, behind)) = rest.split_first_chunk::<2>() else {
            // The last sequence has no copy.
            return rest.is_empty().then_some(sum);
        };
        rest = behind;
        let offset = usize::from(u16::from_le_bytes(*offset));
        if offset == 0 || offset > sum {
            return None;
        }
        let copied = length(usize::from(token & 15), &mut rest)?.checked_add(4)?;
        sum = sum.checked_add(copied)?;
    }
}

/// A length of a sequence: four bits, and where they are all set, bytes up to one that is not 255.
fn length(bits: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut sum = bits;
    let mut more = bits == 15;
    while more {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        sum = sum.checked_add(usize::from(*byte))?;
        more = *byte == 255;
    }
    Some(sum)
}

/// Doubles the buffer rather than growing it block by block, within the cap.
fn make_room(out: &mut Vec<u8>, end: usize, cap: usize) {
    if out.capacity() < end {
        let wanted = out.len().saturating_mul(2).min(cap).max(end);
        out.reserve_exact(wanted - out.len());
    }
}

/// What the head of a frame says about its blocks.
struct Descriptor {
    block_bytes_max: usize,
    block_checksums: bool,
}

enum Block<'a> {
    Stored(&'a [u8]),
    Compressed(&'a [u8]),
}

struct Frame<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Frame<'a> {
    fn descriptor(&mut self) -> Result<Descriptor, CompressionError> {
        let magic = self.u32()?;
        if magic != MAGIC {
            return Err(self.malformed(format!("magic is {magic:#010x}")));
        }
        let start = self.at;
        let flags = self.byte()?;
        if flags >> 6 != 1 || flags & FLAG_RESERVED != 0 {
            return Err(self.malformed(format!("flags are {flags:#04x}")));
        }
        if flags & FLAG_INDEPENDENT == 0 {
            return Err(self.malformed("blocks are linked, Kafka needs them independent"));
        }
        if flags & FLAG_DICTIONARY != 0 {
            return Err(self.malformed("a dictionary is needed"));
        }
        let block_bytes_max = match self.byte()? {
            0x40 => 64 * 1024,
            0x50 => 256 * 1024,
            0x60 => 1024 * 1024,
            0x70 => 4 * 1024 * 1024,
            other => return Err(self.malformed(format!("block descriptor is {other:#04x}"))),
        };
        if flags & FLAG_CONTENT_SIZE != 0 {
            self.take(8)?;
        }
        let computed = (XxHash32::oneshot(0, &self.input[start..self.at]) >> 8) as u8;
        let found = self.byte()?;
        if computed != found {
            let reason = format!("header checksum is {found:#04x}, computed {computed:#04x}");
            return Err(self.malformed(reason));
        }
        Ok(Descriptor {
            block_bytes_max,
            block_checksums: flags & FLAG_BLOCK_CHECKSUM != 0,
        })
    }

    /// The next block, or `None` at the end of the frame.
    fn block(&mut self, descriptor: &Descriptor) -> Result<Option<Block<'a>>, CompressionError> {
        let length = self.u32()?;
        if length == 0 {
            return Ok(None);
        }
        let stored = length & BLOCK_STORED != 0;
        let length = (length & !BLOCK_STORED) as usize;
        if length > descriptor.block_bytes_max {
            let max = descriptor.block_bytes_max;
            return Err(self.malformed(format!("block of {length} bytes, at most {max} allowed")));
        }
        let data = self.take(length)?;
        if descriptor.block_checksums {
            let (found, computed) = (self.u32()?, XxHash32::oneshot(0, data));
            if found != computed {
                let reason = format!("block checksum is {found:#010x}, computed {computed:#010x}");
                return Err(self.malformed(reason));
            }
        }
        Ok(Some(if stored {
            Block::Stored(data)
        } else {
            Block::Compressed(data)
        }))
    }

    fn byte(&mut self) -> Result<u8, CompressionError> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, CompressionError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CompressionError> {
        let rest = &self.input[self.at..];
        let Some(taken) = rest.get(..count) else {
            let reason = format!("{count} bytes needed, {} left", rest.len());
            return Err(self.malformed(reason));
        };
        self.at += count;
        Ok(taken)
    }

    fn malformed(&self, reason: impl Into<String>) -> CompressionError {
        CompressionError::malformed(CODEC, self.at, reason)
    }
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    // What Kafka's own writer produces: 64 KiB, independent, no sizes, no checksums.
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder
        .write_all(input)
        .expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail");
}

//! zstd: any number of frames, without a dictionary.
//!
//! Frames are decoded whole, into the output itself. Decoding piece by piece would keep a window
//! beside it, as large as the frame asks for: ten bytes may ask for 128 MiB (decision 0012).

use std::cell::RefCell;
use std::io::Write;

use zstd::stream::write::Encoder;
use zstd::zstd_safe::{self, DCtx};

use super::capped::grow;
use super::{Compression, CompressionError};

const CODEC: Compression = Compression::Zstd;
/// The largest window a frame may ask for, 128 MiB: what Java clients at level 22 declare for the
/// smallest batch, and where Kafka's decoder stops too.
const WINDOW_BYTES_MAX: u64 = 1 << 27;
/// What a block may come to (RFC 8878, 3.1.1.2.4).
const BLOCK_BYTES_MAX: usize = 128 * 1024;
/// What a frame of no size may have reserved for its output at first; beside it sixteen times the
/// frame.
const FIRST_BYTES: usize = 48 * 1024;
/// What is reserved once output did not fit, of what was reserved before.
const GROWTH: usize = 4;
/// What the codec calls an output that does not fit.
const DOES_NOT_FIT: &str = "Destination buffer is too small";

pub(super) fn decompress(
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    thread_local! {
        // It takes longer to make than to decode a small batch.
        static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
    }
    CONTEXT.with_borrow_mut(|context| decompress_with(context, input, out, cap))
}

fn decompress_with(
    context: &mut DCtx<'_>,
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    let (mut at, mut filled) = (0_usize, 0_usize);
    while at < input.len() {
        let rest = &input[at..];
        let malformed = |code| {
            CompressionError::malformed(CODEC, at, zstd_safe::get_error_name(code).to_owned())
        };
        let len = zstd_safe::find_frame_compressed_size(rest).map_err(malformed)?;
        let frame = &rest[..len];
        let header = FrameHeader::parse(frame);
        let window = header.as_ref().and_then(|header| header.window);
        if let Some(window) = window.filter(|window| *window > WINDOW_BYTES_MAX) {
            let why = format!(
                "a frame asks for a window of {window} bytes, at most {WINDOW_BYTES_MAX} are taken"
            );
            return Err(CompressionError::malformed(CODEC, at, why));
        }
        let content = header.and_then(|header| header.content());
        let content = content.unwrap_or_default();
        if content.block_bytes_max > BLOCK_BYTES_MAX {
            let found = content.block_bytes_max;
            let why = format!("a block of {found} bytes, at most {BLOCK_BYTES_MAX} allowed");
            return Err(CompressionError::malformed(CODEC, at, why));
        }
        let first = len.saturating_mul(16).saturating_add(FIRST_BYTES);
        let wanted = filled.saturating_add(first.min(content.bytes_max)).min(cap);
        if out.len() < wanted {
            grow(out, wanted);
        }
        loop {
            match context.decompress(&mut out[filled..], frame) {
                Ok(len) => {
                    filled += len;
                    break;
                }
                Err(code) if zstd_safe::get_error_name(code) != DOES_NOT_FIT => {
                    out.truncate(filled);
                    return Err(malformed(code));
                }
                Err(_) if out.len() >= cap => {
                    out.truncate(filled);
                    return Err(CompressionError::TooLarge { codec: CODEC, cap });
                }
                Err(_) => {
                    let more = out.len().saturating_mul(GROWTH).max(FIRST_BYTES);
                    grow(out, more.min(cap));
                }
            }
        }
        at += len;
    }
    out.truncate(filled);
    Ok(())
}

/// What the header of a frame says (RFC 8878, 3.1.1.1).
struct FrameHeader<'a> {
    /// `None` where the frame needs no window beside its content.
    window: Option<u64>,
    blocks: &'a [u8],
}

impl FrameHeader<'_> {
    /// `None` for a frame without content, which is skipped.
    fn parse(frame: &[u8]) -> Option<FrameHeader<'_>> {
        const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        let (flags, rest) = frame.strip_prefix(&MAGIC)?.split_first()?;
        let is_single_segment = flags & 1 << 5 != 0;
        let (window, rest) = match is_single_segment {
            true => (None, rest),
            false => {
                let (descriptor, rest) = rest.split_first()?;
                let base = 1_u64 << (10 + (descriptor >> 3));
                let window = base + base / 8 * u64::from(descriptor & 7);
                (Some(window), rest)
            }
        };
        let dictionary_id_bytes = [0, 1, 2, 4][usize::from(flags & 3)];
        let content_size_bytes = match flags >> 6 {
            0 => usize::from(is_single_segment),
            flag => 1 << flag,
        };
        let blocks = rest.get(dictionary_id_bytes + content_size_bytes..)?;
        Some(FrameHeader { window, blocks })
    }

    /// The most that the blocks can come to.
    fn content(&self) -> Option<Content> {
        let (mut content, mut rest) = (Content::default(), self.blocks);
        loop {
            let [a, b, c] = *rest.first_chunk()?;
            let header = u32::from_le_bytes([a, b, c, 0]);
            let size = (header >> 3) as usize;
            let (stored, bytes) = match header >> 1 & 3 {
                0 => (size, size),
                // One byte, so often.
                1 => (1, size),
                _ => (size, BLOCK_BYTES_MAX),
            };
            content.bytes_max = content.bytes_max.saturating_add(bytes);
            content.block_bytes_max = content.block_bytes_max.max(bytes);
            if header & 1 != 0 {
                return Some(content);
            }
            rest = rest.get(3 + stored..)?;
        }
    }
}

/// What a frame can hold at most.
#[derive(Default)]
struct Content {
    bytes_max: usize,
    /// Of its largest block.
    block_bytes_max: usize,
}

pub(super) fn compress(input: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let mut encoder = Encoder::new(out, level).expect("a level within the codec's range");
    encoder
        .write_all(input)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use zstd_safe::{InBuffer, OutBuffer};

    use super::*;

    /// A window of 128 MiB and an empty last block.
    const LARGE_WINDOW: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0];
    /// What the codec's own state takes, whatever it decodes.
    const STATE_BYTES_MAX: usize = 256 * 1024;

    /// The codec's memory is not the allocator's to count; it says how much it has.
    #[test]
    fn a_frame_that_asks_for_a_large_window_gets_none() {
        let mut context = DCtx::create();
        let mut out = Vec::new();
        decompress_with(&mut context, &LARGE_WINDOW, &mut out, 1 << 20).expect("an empty body");
        assert_eq!(out, b"");
        let bytes = context.sizeof();
        assert!(bytes < STATE_BYTES_MAX, "{bytes} bytes");

        // That it says so: decoded piece by piece the frame gets what it asks for.
        let mut context = DCtx::create();
        let mut out = [0; 16];
        let mut out = OutBuffer::around(&mut out);
        // Not all at once, which has a way of its own.
        let mut input = InBuffer::around(&LARGE_WINDOW[..8]);
        let hint = context.decompress_stream(&mut out, &mut input);
        hint.expect("a frame that goes on");
        assert!(context.sizeof() > 100 << 20, "{} bytes", context.sizeof());
    }

    /// A frame whose header says anything, of blocks that say anything; or an honest one of any
    /// level and window, changed here and there.
    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let blocks = vec(
            (any::<u8>(), 0_u32..1 << 18, vec(any::<u8>(), 0..300)),
            0..30,
        );
        let invented = (any::<[u8; 14]>(), blocks).prop_map(|(head, blocks)| {
            let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
            frame.extend(head);
            for (kind, size, rest) in blocks {
                frame.extend(&(size << 3 | u32::from(kind & 7)).to_le_bytes()[..3]);
                frame.extend(rest);
            }
            frame
        });
        let plain = (vec(any::<u8>(), 1..300), 1_usize..3_000);
        let honest = (plain, -5..4_i32, 10_u32..28).prop_map(|((seed, times), level, window)| {
            let mut frame = Vec::new();
            let mut encoder = Encoder::new(&mut frame, level).expect("a level");
            encoder.window_log(window).expect("a window");
            let written = encoder.write_all(&seed.repeat(times));
            written.and_then(|()| encoder.finish()).expect("memory");
            frame
        });
        let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
        let changed = (prop_oneof![invented, honest], changes).prop_map(|(mut frame, changes)| {
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            frame
        });
        // Formats of before the first release, and frames that are skipped.
        let magic = prop_oneof![0x22..0x29_u8, 0x50..0x60_u8];
        let other = (magic, vec(any::<u8>(), 0..2_000)).prop_map(|(magic, rest)| {
            let tail = if magic < 0x50 {
                [0xb5, 0x2f, 0xfd]
            } else {
                [0x2a, 0x4d, 0x18]
            };
            [&[magic][..], &tail, &rest].concat()
        });
        prop_oneof![8 => changed, 1 => other]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// With the test of the heap (`codecs.rs`) this is all there is: the codec allocates what its
        /// context says that it has.
        #[test]
        fn no_frame_makes_the_codecs_own_memory_grow(
            frames in vec(any_frame(), 1..4),
            cap in prop::sample::select(vec![1_000_usize, 1 << 20, 1 << 28]),
        ) {
            let mut context = DCtx::create();
            for frame in frames {
                let mut out = Vec::new();
                let _ = decompress_with(&mut context, &frame, &mut out, cap);
                let bytes = context.sizeof();
                prop_assert!(bytes < STATE_BYTES_MAX, "{bytes} bytes");
                prop_assert!(out.len() <= cap);
            }
        }
    }
}

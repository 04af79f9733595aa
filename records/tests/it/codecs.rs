//! The codecs: round trips, the foreign dialects of each, and bombs.

use std::io::Write;

use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::*;
use reka_records::Compression::{self, Gzip, Lz4, Snappy, Zstd};
use reka_records::ErrorKind;
use reka_records::compression::{CompressionError, compress_into, decompress_into};

use crate::support::{any_codec, compressed};

const PACKED: [Compression; 4] = [Gzip, Snappy, Lz4, Zstd];

fn decompressed(codec: Compression, input: &[u8], cap: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = b"left over from the batch before".to_vec();
    decompress_into(codec, input, &mut out, cap).map(|()| out)
}

#[track_caller]
fn malformed(codec: Compression, input: &[u8], at_expected: usize, reason_expected: &str) {
    match decompressed(codec, input, 1 << 20) {
        Err(error @ CompressionError::Malformed { .. }) => {
            assert_eq!(error.kind(), ErrorKind::InvalidRecord);
            let CompressionError::Malformed {
                codec: found,
                at,
                reason,
            } = error
            else {
                unreachable!()
            };
            assert_eq!((found, at), (codec, at_expected), "{reason}");
            assert!(reason.contains(reason_expected), "{reason}");
        }
        other => panic!("expected malformed {codec}, got {other:?}"),
    }
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        codec in any_codec(),
        seed in vec(any::<u8>(), 0..300),
        repeat in 0_usize..800,
        level in prop::option::of(-5..30),
    ) {
        let input = seed.repeat(repeat);
        let mut packed = b"kept".to_vec();
        compress_into(codec, level, &input, &mut packed);
        let packed = packed.strip_prefix(b"kept").unwrap();
        prop_assert!(decompressed(codec, packed, input.len()).unwrap() == input);
    }

    /// The cap is exact: one byte less and it is an error, of the same kind for all codecs.
    #[test]
    fn the_cap_is_exact(codec in any_codec(), input in vec(0_u8..4, 1..100_000)) {
        let packed = compressed(codec, &input);
        prop_assert!(decompressed(codec, &packed, input.len()).unwrap() == input);
        let cap = input.len() - 1;
        let refused = CompressionError::TooLarge { codec, cap };
        prop_assert_eq!(decompressed(codec, &packed, cap), Err(refused));
    }

    #[test]
    fn noise_never_panics_nor_passes_the_cap(
        codec in any_codec(),
        input in vec(any::<u8>(), 0..500),
        cap in 0_usize..2000,
    ) {
        let mut out = Vec::new();
        let _ = decompress_into(codec, &input, &mut out, cap);
        prop_assert!(out.len() <= cap);
    }

    #[test]
    fn a_truncated_body_is_an_error_or_a_prefix(codec in prop::sample::select(PACKED.to_vec()), keep in 0.0..1.0) {
        let input: Vec<u8> = (0..60_000_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        let packed = compressed(codec, &input);
        let kept = (packed.len() as f64 * keep) as usize;
        if let Ok(out) = decompressed(codec, &packed[..kept], input.len()) {
            // Only xerial's framing has no end mark: whole blocks are whole.
            prop_assert_eq!(codec, Snappy);
            prop_assert!(input.starts_with(&out));
        }
    }
}

/// 64 MiB of zeros in each codec; a cap of 1 MiB. Memory stays within twice the cap: the buffer,
/// and the smaller one it grew from. zstd's own context is C memory and not counted here; its own
/// tests say that it has one size.
#[test]
fn a_bomb_costs_what_the_cap_allows_and_an_error() {
    const CAP: usize = 1 << 20;
    let zeros = vec![0; 64 << 20];
    for codec in PACKED {
        let bomb = compressed(codec, &zeros);
        assert!(
            bomb.len() < zeros.len() / 20,
            "{codec} bomb is {} bytes",
            bomb.len()
        );
        let mut out = Vec::new();
        let used = measure(|| {
            let refused = Err(CompressionError::TooLarge { codec, cap: CAP });
            assert_eq!(decompress_into(codec, &bomb, &mut out, CAP), refused);
        });
        assert!(
            used.bytes_max < 2 * CAP as u64,
            "{codec} took {} bytes",
            used.bytes_max
        );
        assert!(
            out.capacity() <= CAP,
            "{codec} left {} bytes",
            out.capacity()
        );
    }
}

/// What decompressing may take beyond sixteen times the input and 64 KiB, whatever the input is, in
/// memory of one size each: gzip's window and tables, and a block of zstd's, of 128 KiB at most, for
/// which the buffer grows before it is known that the block is whole. (Of zstd's context, which is memory
/// of a C library, see `compression/zstd.rs`.)
const fn state_of(codec: Compression) -> u64 {
    match codec {
        Gzip => 48 << 10,
        Zstd => times_of(Zstd) * (128 << 10),
        Compression::None | Snappy | Lz4 => 0,
    }
}

/// And beyond that, how many times what the input really holds, which the caller's cap allows: a buffer
/// that is filled grows to a multiple of it, and lives beside the one it came from meanwhile.
const fn times_of(codec: Compression) -> u64 {
    match codec {
        Compression::None => 0,
        Gzip | Snappy | Lz4 => 1 + 2,
        Zstd => 1 + 4,
    }
}

/// What a few dozen bytes may cost however much they declare: 16 times the input and 64 KiB, plus
/// the codec's own fixed state.
#[test]
fn a_small_body_cannot_make_us_reserve_what_it_declares() {
    let bodies: [(Compression, Vec<u8>); 6] = [
        // A window of 128 MiB, then an empty last block.
        (Zstd, vec![0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0]),
        // A raw snappy block that declares 4 GiB - 1, and one that declares 1 MiB.
        (Snappy, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]),
        (Snappy, vec![0x80, 0x80, 0x40, 0]),
        // A frame of 4 MiB blocks with a block of 3 bytes.
        (
            Lz4,
            lz4_frame(0x60, 0x70, &[], &[3, 0, 0, 0, 0x10, b'a', b'b']),
        ),
        // A frame that declares 2^62 bytes of content.
        (
            Lz4,
            lz4_frame(0x68, 0x70, &(1_u64 << 62).to_le_bytes(), &[0; 4]),
        ),
        // Single segment, 8-byte content size of 2^40, then an empty last block.
        (
            Zstd,
            [
                &[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..],
                &(1_u64 << 40).to_le_bytes(),
                &[1, 0, 0],
            ]
            .concat(),
        ),
    ];
    for (codec, body) in bodies {
        let mut out = Vec::new();
        let used = measure(|| {
            let _ = decompress_into(codec, &body, &mut out, 1 << 30);
        });
        let allowed = 16 * body.len() as u64 + 64 * 1024 + state_of(codec);
        assert!(
            used.bytes_max < allowed,
            "{codec} took {} bytes for {body:?}",
            used.bytes_max
        );
    }
}

/// Bodies that say more than they are, of each codec: bombs, blocks that declare what they do not
/// hold, windows and sizes from nowhere, headers of many bytes, and honest bodies that were changed.
fn hostile_body() -> impl Strategy<Value = (Compression, Vec<u8>)> {
    let noise = |most: usize| vec(any::<u8>(), 0..most);
    let plain = (vec(any::<u8>(), 1..400), 1_usize..2_000).prop_map(|(seed, times)| {
        let mut plain = seed.repeat(times);
        plain.truncate(400_000);
        plain
    });
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let changed = (prop::sample::select(PACKED.to_vec()), plain, changes);
    let changed = changed.prop_map(|(codec, plain, changes)| {
        let mut body = compressed(codec, &plain);
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        (codec, body)
    });
    // As many bytes as such a block can expand to at most, or fewer.
    let raw_snappy = |(rest, of): (Vec<u8>, u32)| {
        let mut declared = rest.len() as u32 * of;
        let mut body = Vec::new();
        while declared >= 0x80 {
            body.push(declared as u8 | 0x80);
            declared >>= 7;
        }
        body.push(declared as u8);
        body.extend(rest);
        body
    };
    let snappy = (noise(40_000), 1_u32..23).prop_map(raw_snappy).boxed();
    let xerial = vec(snappy.clone(), 1..4).prop_map(|blocks| {
        let mut body = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in blocks {
            body.extend((block.len() as i32).to_be_bytes());
            body.extend(block);
        }
        body
    });
    let lz4 = (
        prop::sample::select(vec![0x40, 0x50, 0x60, 0x70]),
        vec(noise(40_000), 1..4),
    );
    let lz4 = lz4.prop_map(|(size, blocks): (u8, Vec<Vec<u8>>)| {
        let blocks = blocks.into_iter().flat_map(|mut block| {
            // Full lengths, which each byte raises by 255.
            block.iter_mut().step_by(3).for_each(|byte| *byte |= 0xf0);
            [&(block.len() as u32).to_le_bytes()[..], &block].concat()
        });
        lz4_frame(0x60, size, &[], &blocks.collect::<Vec<u8>>())
    });
    let zstd = (
        any::<[u8; 10]>(),
        vec((any::<u8>(), 0_u32..1 << 18, noise(300)), 0..60),
    );
    let zstd = zstd.prop_map(|(head, blocks)| {
        // Any flags but those of a dictionary; any window; any size of the content.
        let mut body = [&[0x28, 0xb5, 0x2f, 0xfd, head[0] & 0xf8][..], &head[1..]].concat();
        for (kind, size, rest) in blocks {
            let header = size << 3 | u32::from(kind & 7);
            body.extend(&header.to_le_bytes()[..3]);
            body.extend(rest);
        }
        body
    });
    let gzip = (0_u8..32, noise(70_000), noise(70_000));
    let gzip = gzip.prop_map(|(flags, mut text, rest)| {
        // A name or a comment ends at its first zero.
        text.iter_mut().for_each(|byte| *byte |= 1);
        [
            &[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3][..],
            &text,
            &[0],
            &rest,
        ]
        .concat()
    });
    prop_oneof![
        changed,
        snappy.prop_map(|body| (Snappy, body)),
        xerial.prop_map(|body| (Snappy, body)),
        lz4.prop_map(|body| (Lz4, body)),
        zstd.prop_map(|body| (Zstd, body)),
        gzip.prop_map(|body| (Gzip, body)),
    ]
}

/// How many bytes another decoder makes of a body, piece by piece, until its end or an error.
fn really_in(codec: Compression, body: &[u8], cap: usize) -> usize {
    fn count(mut from: impl std::io::Read, cap: usize) -> usize {
        let (mut piece, mut sum) = ([0; 4096], 0);
        while let Ok(read @ 1..) = from.read(&mut piece)
            && sum < cap
        {
            sum += read;
        }
        sum.min(cap)
    }
    match codec {
        Compression::None => body.len(),
        Gzip => count(flate2::read::MultiGzDecoder::new(body), cap),
        Lz4 => count(lz4_flex::frame::FrameDecoder::new(body), cap),
        Zstd => match zstd::stream::read::Decoder::new(body) {
            Ok(decoder) => count(decoder, cap),
            Err(_) => 0,
        },
        Snappy => {
            let mut rest = body;
            let blocks = std::iter::from_fn(|| match body.starts_with(b"\x82SNAPPY\0") {
                false => Some(std::mem::take(&mut rest)).filter(|block| !block.is_empty()),
                true => {
                    if rest.starts_with(b"\x82SNAPPY\0") {
                        rest = rest.get(16..)?;
                    }
                    let (length, behind) = rest.split_first_chunk::<4>()?;
                    let (block, behind) =
                        behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                    rest = behind;
                    Some(block)
                }
            });
            let decoded = blocks.map_while(|block| {
                let most = snap::raw::decompress_len(block).ok()?;
                (most <= 64 * block.len()).then_some(())?;
                snap::raw::Decoder::new().decompress_vec(block).ok()
            });
            decoded.map(|block| block.len()).sum::<usize>().min(cap)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Sixteen times the body and 64 KiB whatever it says. That is exceeded by what has one size, and by
    /// output that has really arrived, no more of it than the caller allows.
    #[test]
    fn what_a_body_takes_is_bounded_by_what_it_is_and_holds(
        (codec, body) in hostile_body(),
        cap in prop::sample::select(vec![1_000_usize, 100_000, 1 << 20, 1 << 30]),
    ) {
        let mut out = Vec::new();
        let used = measure(|| {
            let _ = decompress_into(codec, &body, &mut out, cap);
        });
        let holds = really_in(codec, &body, cap);
        let arrived = times_of(codec) * holds as u64;
        let beside = 16 * body.len() as u64 + 64 * 1024 + state_of(codec);
        let allowed = beside + arrived;
        let took = used.bytes_max;
        prop_assert!(
            took <= allowed,
            "{codec} took {took} bytes for a body of {}, which holds {holds}",
            body.len()
        );
        prop_assert!(took <= beside + 2 * cap as u64, "{codec} took {took}, the cap is {cap}");
    }
}

#[test]
fn a_reused_buffer_is_not_allocated_again() {
    let input = vec![7; 300_000];
    for codec in [Snappy, Lz4] {
        let packed = compressed(codec, &input);
        let mut out = Vec::with_capacity(input.len() + (64 << 10));
        decompress_into(codec, &packed, &mut out, 1 << 20).unwrap();
        let used = measure(|| decompress_into(codec, &packed, &mut out, 1 << 20).unwrap());
        assert_eq!(used.count_total, 0, "{codec}");
    }
}

#[test]
fn gzip_members_one_after_the_other_are_one_body() {
    let two = [compressed(Gzip, b"one "), compressed(Gzip, b"two")].concat();
    assert_eq!(decompressed(Gzip, &two, 100).unwrap(), b"one two");
}

#[test]
fn bytes_after_the_last_gzip_member_are_ignored_as_in_java() {
    let body = [compressed(Gzip, b"all"), b"padding".to_vec()].concat();
    assert_eq!(decompressed(Gzip, &body, 100).unwrap(), b"all");
}

#[test]
fn a_gzip_checksum_that_is_wrong_is_malformed() {
    let mut body = compressed(Gzip, b"some bytes");
    let at = body.len() - 8;
    body[at] ^= 1;
    malformed(Gzip, &body, body.len(), "corrupt");
}

#[test]
fn snappy_is_written_in_xerials_framing() {
    let body = compressed(Snappy, &[5; 40_000]);
    assert_eq!(body[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    // Blocks of 32 KiB: a length, then snappy that declares 32768.
    assert_eq!(body[20..23], [0x80, 0x80, 0x02]);
}

#[test]
fn raw_snappy_as_librdkafka_sends_it_is_read() {
    let raw = snap::raw::Encoder::new()
        .compress_vec(b"raw, without a frame")
        .unwrap();
    assert_eq!(
        decompressed(Snappy, &raw, 100).unwrap(),
        b"raw, without a frame"
    );
}

#[test]
fn xerial_streams_one_after_the_other_are_one_body() {
    let two = [compressed(Snappy, b"one "), compressed(Snappy, b"two")].concat();
    assert_eq!(decompressed(Snappy, &two, 100).unwrap(), b"one two");
}

#[test]
fn a_xerial_block_that_reaches_past_the_body_is_malformed() {
    let mut body = compressed(Snappy, b"some bytes");
    body[16..20].copy_from_slice(&0x7fff_ffff_i32.to_be_bytes());
    malformed(Snappy, &body, 20, "block of 2147483647 bytes");
}

#[test]
fn a_xerial_header_of_an_unknown_version_is_malformed() {
    let mut body = compressed(Snappy, b"some bytes");
    body[12..16].copy_from_slice(&0_i32.to_be_bytes());
    malformed(Snappy, &body, 0, "compatible version 0");
}

#[test]
fn a_xerial_stream_cut_in_a_length_is_malformed() {
    let body = compressed(Snappy, b"some bytes");
    malformed(Snappy, &body[..18], 16, "ends within a length");
}

#[test]
fn a_snappy_block_that_declares_more_than_it_can_hold_is_malformed() {
    malformed(Snappy, &[0x80, 0x80, 0x10, 0], 0, "declares 262144");
}

#[test]
fn a_snappy_block_that_declares_more_than_the_cap_is_too_large() {
    let refused = CompressionError::TooLarge {
        codec: Snappy,
        cap: 1000,
    };
    assert_eq!(
        decompressed(Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0], 1000),
        Err(refused)
    );
}

/// A frame with these flags, block descriptor, rest of the descriptor, right checksum, and blocks.
fn lz4_frame(flags: u8, descriptor: u8, rest: &[u8], blocks: &[u8]) -> Vec<u8> {
    let head = [&[flags, descriptor][..], rest].concat();
    let checksum = (twox_hash::XxHash32::oneshot(0, &head) >> 8) as u8;
    [
        &0x184d_2204_u32.to_le_bytes()[..],
        &head,
        &[checksum],
        blocks,
    ]
    .concat()
}

#[test]
fn lz4_is_written_as_kafka_writes_it() {
    let body = compressed(Lz4, b"some bytes");
    // Version 1, independent blocks of 64 KiB, no sizes and no checksums but the header's.
    assert_eq!(body[..7], lz4_frame(0x60, 0x40, &[], &[]));
    assert_eq!(body[body.len() - 4..], [0; 4]);
}

#[test]
fn lz4_frames_with_sizes_and_checksums_are_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let input: Vec<u8> = (0..300_000_u32).map(|i| (i / 7) as u8).collect();
    for size in [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ] {
        let info = FrameInfo::new()
            .block_size(size)
            .block_mode(BlockMode::Independent)
            .block_checksums(true)
            .content_checksum(true)
            .content_size(Some(input.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&input).unwrap();
        let body = encoder.finish().unwrap();
        assert!(decompressed(Lz4, &body, input.len()).unwrap() == input);
        let mut damaged = body.clone();
        damaged[25] ^= 0x10;
        assert!(decompressed(Lz4, &damaged, input.len()).is_err());
    }
}

#[test]
fn a_stored_lz4_block_is_read_and_capped() {
    let body = lz4_frame(0x60, 0x40, &[], b"\x05\0\0\x80plain\0\0\0\0");
    assert_eq!(decompressed(Lz4, &body, 5).unwrap(), b"plain");
    let refused = CompressionError::TooLarge { codec: Lz4, cap: 4 };
    assert_eq!(decompressed(Lz4, &body, 4), Err(refused));
}

#[test]
fn what_kafka_refuses_of_lz4_is_refused() {
    malformed(Lz4, b"\x02\x21\x4c\x18", 4, "magic is");
    malformed(Lz4, &lz4_frame(0x40, 0x40, &[], &[0; 4]), 5, "linked");
    malformed(
        Lz4,
        &lz4_frame(0x61, 0x40, &[0; 4], &[0; 4]),
        5,
        "dictionary",
    );
    malformed(
        Lz4,
        &lz4_frame(0xa0, 0x40, &[], &[0; 4]),
        5,
        "flags are 0xa0",
    );
    malformed(
        Lz4,
        &lz4_frame(0x62, 0x40, &[], &[0; 4]),
        5,
        "flags are 0x62",
    );
    malformed(
        Lz4,
        &lz4_frame(0x60, 0x30, &[], &[0; 4]),
        6,
        "block descriptor is 0x30",
    );
    malformed(
        Lz4,
        &lz4_frame(0x60, 0x40, &[], &[1, 0, 1, 0]),
        11,
        "block of 65537 bytes",
    );
    malformed(
        Lz4,
        &lz4_frame(0x60, 0x40, &[], &[9, 0, 0, 0, 1]),
        11,
        "9 bytes needed, 1 left",
    );
    malformed(
        Lz4,
        &lz4_frame(0x60, 0x40, &[], &[]),
        7,
        "4 bytes needed, 0 left",
    );
    let mut body = lz4_frame(0x60, 0x40, &[], &[0; 4]);
    body[6] ^= 1;
    malformed(Lz4, &body, 7, "header checksum");
}

#[test]
fn bytes_after_the_lz4_frame_are_ignored_as_in_java() {
    let body = [compressed(Lz4, b"all"), compressed(Lz4, b"more")].concat();
    assert_eq!(decompressed(Lz4, &body, 100).unwrap(), b"all");
}

#[test]
fn zstd_frames_one_after_the_other_are_one_body() {
    let two = [compressed(Zstd, b"one "), compressed(Zstd, b"two")].concat();
    assert_eq!(decompressed(Zstd, &two, 100).unwrap(), b"one two");
}

#[test]
fn a_zstd_window_of_two_gigabytes_is_refused() {
    // Window descriptor 21 << 3: 2^31 bytes.
    let body = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
    malformed(Zstd, &body, 0, "asks for a window of");
}

/// Of two frames the second is at fault.
#[test]
fn a_zstd_frame_that_is_wrong_is_named_by_where_it_begins() {
    let first = compressed(Zstd, b"one");
    let mut wrong = compressed(Zstd, b"two two two two two two two two");
    *wrong.last_mut().unwrap() ^= 1;
    malformed(Zstd, &[first.clone(), wrong].concat(), first.len(), "");
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
    let body = [&first[..], &window].concat();
    malformed(
        Zstd,
        &body,
        first.len(),
        "asks for a window of 2147483648 bytes",
    );
    malformed(Zstd, &[&first[..], b"x"].concat(), first.len(), "");
}

#[test]
fn the_window_of_zstds_highest_level_is_accepted() {
    // Window descriptor 17 << 3: 2^27 bytes, then an empty last block.
    let body = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0];
    assert_eq!(decompressed(Zstd, &body, 100).unwrap(), b"");
}

/// As a decoder that reads piece by piece refuses it.
#[test]
fn a_zstd_block_of_more_than_a_block_may_have_is_malformed() {
    // One byte 131073 times, in the last block of a frame without a size.
    let header = (131_073_u32 << 3 | 1 << 1 | 1).to_le_bytes();
    let body = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3][..],
        &header[..3],
        b"x",
    ]
    .concat();
    malformed(Zstd, &body, 0, "a block of 131073 bytes");
}

#[test]
fn a_zstd_frame_that_needs_a_dictionary_is_malformed() {
    // Single segment, one-byte dictionary id 7, content size 1, a raw last block of one byte.
    let body = [0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 1, 9, 0, 0, b'x'];
    assert!(matches!(
        decompressed(Zstd, &body, 100),
        Err(CompressionError::Malformed { .. })
    ));
}

#[test]
fn ids_and_names_are_kafkas() {
    let ids: Vec<_> = Compression::ALL
        .iter()
        .map(|codec| (codec.id(), codec.name()))
        .collect();
    assert_eq!(
        ids,
        [
            (0, "none"),
            (1, "gzip"),
            (2, "snappy"),
            (3, "lz4"),
            (4, "zstd")
        ]
    );
    assert!(
        Compression::ALL
            .iter()
            .all(|codec| Compression::from_id(codec.id()) == Some(*codec))
    );
    assert!((5..=255).all(|id| Compression::from_id(id).is_none()));
}

/// A stored block decodes whatever its bytes are: only the checksum can tell.
#[test]
fn an_lz4_block_checksum_is_verified() {
    let block = |checksum: u32| {
        let block = [&b"\x05\0\0\x80plain"[..], &checksum.to_le_bytes(), &[0; 4]].concat();
        lz4_frame(0x70, 0x40, &[], &block)
    };
    let right = twox_hash::XxHash32::oneshot(0, b"plain");
    assert_eq!(decompressed(Lz4, &block(right), 5).unwrap(), b"plain");
    for wrong in [right ^ 1, right ^ (1 << 31), 0, right.swap_bytes()] {
        malformed(Lz4, &block(wrong), 20, "block checksum is");
    }
}

/// The next larger one that a frame can ask for is 2^27 bytes and an eighth.
#[test]
fn a_zstd_window_just_above_the_greatest_is_refused() {
    for descriptor in [17 << 3 | 1, 18 << 3, 20 << 3] {
        let body = [0x28, 0xb5, 0x2f, 0xfd, 0, descriptor, 1, 0, 0];
        malformed(Zstd, &body, 0, "asks for a window of");
    }
}

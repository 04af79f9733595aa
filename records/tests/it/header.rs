//! The header view: what it reads, what it refuses, what it derives.

use proptest::prelude::*;
use reka_records::layout;
use reka_records::view::increment_sequence;
use reka_records::{
    BatchBuilder, BatchError, BatchHeader, BatchSpan, BatchView, Compression, HEADER_BYTES,
    SPAN_BYTES, TimestampType, batches,
};

use crate::support::{NOW, plain, set, with};

#[test]
fn every_header_field_is_read_from_where_it_was_written() {
    let mut builder = BatchBuilder::new(1000)
        .leader_epoch(7)
        .producer(42, 3, 17)
        .transactional()
        .compression(Compression::Lz4)
        .last_offset(1009);
    builder.append(1000, NOW, None, Some(b"a"), []).unwrap();
    builder.append(1004, NOW + 5, None, Some(b"b"), []).unwrap();
    let bytes = builder.finish();
    let header = BatchHeader::parse(&bytes).unwrap();

    assert_eq!(header.base_offset, 1000);
    assert_eq!(header.batch_length as usize, bytes.len() - 12);
    assert_eq!(header.size(), bytes.len());
    assert_eq!(header.leader_epoch, 7);
    assert_eq!(header.magic, 2);
    assert_eq!(header.last_offset_delta, 9);
    assert_eq!(header.last_offset(), 1009);
    assert_eq!(header.next_offset(), 1010);
    assert_eq!(
        (header.base_timestamp, header.max_timestamp),
        (NOW, NOW + 5)
    );
    assert_eq!((header.producer_id, header.producer_epoch), (42, 3));
    assert_eq!((header.base_sequence, header.last_sequence()), (17, 26));
    assert_eq!(header.record_count, 2);
    assert_eq!(header.compression(), Ok(Compression::Lz4));
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert!(header.is_transactional() && header.has_producer_id() && header.has_sequence());
    assert!(!header.is_control());
    assert_eq!(header.delete_horizon(), None);
}

#[test]
fn a_batch_without_a_producer_has_no_sequence() {
    let header = BatchHeader::parse(&plain(3, Compression::None)).unwrap();
    assert!(!header.has_producer_id() && !header.has_sequence());
    assert_eq!(header.last_sequence(), -1);
}

#[test]
fn sequences_wrap_from_the_largest_to_zero() {
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(increment_sequence(0, i32::MAX), i32::MAX);
    assert_eq!(increment_sequence(i32::MAX, i32::MAX), i32::MAX - 1);

    let mut builder = BatchBuilder::new(0).producer(1, 0, i32::MAX - 1);
    for offset in 0..4 {
        builder.append(offset, NOW, None, None, []).unwrap();
    }
    assert_eq!(
        BatchHeader::parse(&builder.finish())
            .unwrap()
            .last_sequence(),
        1
    );
}

#[test]
fn a_prefix_of_a_batch_is_incomplete_at_every_length() {
    let bytes = plain(3, Compression::None);
    for length in 0..bytes.len() {
        let needed = if length < HEADER_BYTES {
            HEADER_BYTES
        } else {
            bytes.len()
        };
        assert_eq!(
            BatchView::parse(&bytes[..length]).unwrap_err(),
            BatchError::Incomplete {
                needed,
                found: length
            },
        );
    }
}

#[test]
fn a_row_of_batches_is_walked_to_its_end() {
    let mut bytes = plain(3, Compression::None);
    bytes.extend(plain(2, Compression::Zstd));
    bytes.extend(BatchBuilder::new(5).finish());
    let counts: Vec<_> = batches(&bytes)
        .map(|batch| batch.unwrap().header().record_count)
        .collect();
    assert_eq!(counts, [3, 2, 0]);
}

#[test]
fn a_torn_last_batch_is_an_error_that_says_where_it_starts() {
    let whole = plain(3, Compression::None);
    let torn = [&whole[..], &whole[..whole.len() - 1]].concat();
    let mut row = batches(&torn);
    assert!(row.next().unwrap().is_ok());
    assert_eq!(
        row.next().unwrap().unwrap_err(),
        BatchError::Incomplete {
            needed: whole.len(),
            found: whole.len() - 1
        },
    );
    assert_eq!(row.bytes_read(), whole.len());
    assert!(
        row.next().is_none(),
        "nothing says where the next batch would start"
    );
}

#[test]
fn old_formats_are_called_by_name_even_when_shorter_than_a_header() {
    for magic in [0, 1] {
        let mut old = plain(1, Compression::None);
        set(&mut old, layout::MAGIC, &[magic]);
        set(&mut old, layout::BATCH_LENGTH, &22_i32.to_be_bytes());
        let expected = BatchError::LegacyMagic { magic: magic as i8 };
        assert_eq!(BatchHeader::parse(&old).unwrap_err(), expected);
        assert_eq!(BatchHeader::parse(&old[..34]).unwrap_err(), expected);
    }
}

#[test]
fn offsets_that_overflow_are_refused_before_anyone_adds_them() {
    let bytes = plain(2, Compression::None);
    for (base_offset, delta, fits) in [
        (i64::MAX - 2, 1, true),
        (i64::MAX - 1, 1, false),
        (i64::MAX, 0, false),
        (i64::MIN, -1, false),
        (0, i32::MAX, true),
    ] {
        let bytes = with(
            bytes.clone(),
            layout::BASE_OFFSET,
            &i64::to_be_bytes(base_offset),
        );
        let bytes = with(bytes, layout::LAST_OFFSET_DELTA, &i32::to_be_bytes(delta));
        let refused = BatchError::OffsetOverflow {
            base_offset,
            last_offset_delta: delta,
        };
        let parsed = BatchHeader::parse(&bytes).map(|_| ());
        assert_eq!(parsed, if fits { Ok(()) } else { Err(refused) });
    }
}

#[test]
fn every_flipped_bit_under_the_checksum_is_noticed() {
    let bytes = plain(2, Compression::None);
    for bit in layout::CRC.at * 8..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = BatchView::parse(&damaged)
            .unwrap()
            .verify_crc()
            .unwrap_err();
        assert!(
            matches!(error, BatchError::Crc { .. }),
            "bit {bit}: {error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_span_is_what_the_whole_header_says(
        mut bytes in proptest::array::uniform32(any::<u8>()),
        rest in proptest::array::uniform32(any::<u8>()),
        near in proptest::option::of((-2..70_i32, proptest::sample::select(vec![-1_i8, 0, 1, 2, 3]))),
        high in any::<bool>(),
    ) {
        // Noise is refused nearly always; most cases have a length and a magic that count.
        if let Some((length, magic)) = near {
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = magic as u8;
        }
        if high {
            bytes[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
            bytes[4..8].fill(0xff);
        }
        let whole = [bytes, rest].concat();
        let span = BatchSpan::parse(whole.first_chunk::<SPAN_BYTES>().unwrap());
        match BatchHeader::parse(&whole) {
            Ok(header) => {
                let span = span.unwrap();
                prop_assert_eq!(span, header.span());
                prop_assert_eq!(span.last_offset(), header.last_offset());
                prop_assert_eq!(span.next_offset(), header.next_offset());
            }
            Err(error) => prop_assert_eq!(span, Err(error)),
        }
    }
}

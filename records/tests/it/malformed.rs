//! Every hostile kind of batch, with the answer it gets. The faults inside a body have their own
//! positions in `iteration`, those of codecs in `codecs`.

use reka_records::control::{EndTxnMarker, MarkerBatch, TransactionResult};
use reka_records::layout::{self, Field};
use reka_records::validate::Rejection;
use reka_records::{
    Accepted, Attributes, BatchBuilder, BatchError, Compression, CompressionError, ErrorKind,
    RecordFault, Rules, validate,
};

use crate::support::{NOW, compressed, plain, set, with, with_body};

fn judge(bytes: &[u8]) -> Result<Accepted, Rejection> {
    validate(bytes, &Rules::new(NOW), &mut Vec::new())
}

#[track_caller]
fn check(bytes: &[u8], kind: ErrorKind, expected: Rejection) {
    let rejection = judge(bytes).expect_err("hostile bytes");
    assert_eq!((rejection.kind(), rejection), (kind, expected));
}

/// One field of an honest batch changed, checksum made right.
fn changed(field: Field, value: &[u8]) -> Vec<u8> {
    with(plain(3, Compression::None), field, value)
}

#[test]
fn batch_length_too_short_is_corrupt() {
    for length in [48, 14, 13, 0, -1, i32::MIN] {
        let bytes = changed(layout::BATCH_LENGTH, &i32::to_be_bytes(length));
        let error = BatchError::LengthTooSmall { length, min: 49 };
        check(&bytes, ErrorKind::CorruptMessage, error.into());
    }
}

#[test]
fn batch_length_too_long_is_no_whole_batch() {
    for length in [i32::MAX, 10_000] {
        let bytes = changed(layout::BATCH_LENGTH, &i32::to_be_bytes(length));
        let error = BatchError::Incomplete {
            needed: length as usize + 12,
            found: bytes.len(),
        };
        check(&bytes, ErrorKind::InvalidRecord, error.into());
    }
}

#[test]
fn batch_length_that_cuts_the_body_fails_the_checksum() {
    let mut bytes = plain(3, Compression::None);
    let length = (bytes.len() - 12 - 5) as i32;
    set(&mut bytes, layout::BATCH_LENGTH, &length.to_be_bytes());
    assert_eq!(judge(&bytes).unwrap_err().kind(), ErrorKind::CorruptMessage);
}

#[test]
fn magic_0_and_1_are_refused_by_name() {
    for magic in [0, 1] {
        let bytes = changed(layout::MAGIC, &[magic]);
        let error = BatchError::LegacyMagic { magic: magic as i8 };
        check(&bytes, ErrorKind::InvalidRecord, error.into());
    }
}

#[test]
fn unknown_magic_is_corrupt() {
    for magic in [3_i8, 127, -1] {
        let bytes = changed(layout::MAGIC, &[magic as u8]);
        check(
            &bytes,
            ErrorKind::CorruptMessage,
            BatchError::UnknownMagic { magic }.into(),
        );
    }
}

#[test]
fn wrong_crc_is_corrupt() {
    let mut bytes = plain(3, Compression::None);
    let computed = u32::from_be_bytes(bytes[17..21].try_into().unwrap());
    set(&mut bytes, layout::CRC, &(computed ^ 1).to_be_bytes());
    let error = BatchError::Crc {
        found: computed ^ 1,
        computed,
    };
    check(&bytes, ErrorKind::CorruptMessage, error.into());
}

#[test]
fn record_count_0_or_less_is_invalid() {
    for count in [0, -1, i32::MIN] {
        let bytes = changed(layout::RECORD_COUNT, &i32::to_be_bytes(count));
        check(
            &bytes,
            ErrorKind::InvalidRecord,
            Rejection::RecordCount { count },
        );
    }
}

#[test]
fn record_count_that_disagrees_with_the_offsets_is_invalid() {
    for count in [1, 4, i32::MAX] {
        let bytes = changed(layout::RECORD_COUNT, &i32::to_be_bytes(count));
        let mismatch = Rejection::CountMismatch {
            count,
            last_offset_delta: 2,
        };
        check(&bytes, ErrorKind::InvalidRecord, mismatch);
    }
}

#[test]
fn record_count_that_disagrees_with_the_body_is_invalid() {
    let body_of_three = plain(3, Compression::None)[61..].to_vec();
    let short = judge(&with_body(2, Compression::None, &body_of_three)).unwrap_err();
    assert!(matches!(
        short,
        Rejection::Batch(BatchError::TrailingBytes { count: 2, .. })
    ));
    let long = judge(&with_body(4, Compression::None, &body_of_three)).unwrap_err();
    assert!(matches!(
        long,
        Rejection::Batch(BatchError::Record {
            index: 3,
            fault: RecordFault::Truncated { needed: 1, left: 0 },
            ..
        })
    ));
    assert_eq!(
        (short.kind(), long.kind()),
        (ErrorKind::InvalidRecord, ErrorKind::InvalidRecord)
    );
}

#[test]
fn record_count_of_two_billion_costs_nothing() {
    let bytes = with_body(i32::MAX, Compression::None, &[]);
    assert_eq!(judge(&bytes).unwrap_err().kind(), ErrorKind::InvalidRecord);
}

#[test]
fn negative_last_offset_delta_is_invalid() {
    for last_offset_delta in [-1, i32::MIN] {
        let bytes = changed(
            layout::LAST_OFFSET_DELTA,
            &i32::to_be_bytes(last_offset_delta),
        );
        check(
            &bytes,
            ErrorKind::InvalidRecord,
            Rejection::OffsetRange { last_offset_delta },
        );
    }
}

#[test]
fn base_offset_other_than_0_is_invalid() {
    for found in [1, -1, i64::MIN, i64::MAX - 3] {
        let bytes = changed(layout::BASE_OFFSET, &i64::to_be_bytes(found));
        check(
            &bytes,
            ErrorKind::InvalidRecord,
            Rejection::BaseOffset { found },
        );
    }
}

#[test]
fn base_offset_at_the_end_of_time_is_invalid() {
    let bytes = changed(layout::BASE_OFFSET, &i64::MAX.to_be_bytes());
    let error = BatchError::OffsetOverflow {
        base_offset: i64::MAX,
        last_offset_delta: 2,
    };
    check(&bytes, ErrorKind::InvalidRecord, error.into());
}

#[test]
fn several_batches_are_invalid() {
    let one = plain(1, Compression::None);
    let bytes = one.repeat(3);
    check(
        &bytes,
        ErrorKind::InvalidRecord,
        Rejection::SecondBatch { at: one.len() },
    );
}

#[test]
fn damage_after_the_batch_is_corrupt() {
    let mut bytes = plain(1, Compression::None).repeat(2);
    let second = bytes.len() / 2;
    bytes[second + layout::MAGIC.at] = 9;
    let error = BatchError::UnknownMagic { magic: 9 };
    check(&bytes, ErrorKind::CorruptMessage, error.into());
}

#[test]
fn control_batch_from_a_client_is_invalid() {
    let marker = EndTxnMarker {
        result: TransactionResult::Commit,
        coordinator_epoch: 0,
    };
    let bytes = marker.to_batch(MarkerBatch {
        base_offset: 0,
        leader_epoch: -1,
        producer_id: 1,
        producer_epoch: 0,
        timestamp: NOW,
    });
    check(&bytes, ErrorKind::InvalidRecord, Rejection::Control);
}

#[test]
fn producer_without_a_sequence_is_invalid() {
    for base_sequence in [-1, i32::MIN] {
        let mut builder = BatchBuilder::new(0).producer(5, 0, base_sequence);
        builder.append(0, NOW, None, None, []).unwrap();
        let refused = Rejection::Sequence {
            producer_id: 5,
            base_sequence,
        };
        check(&builder.finish(), ErrorKind::InvalidRecord, refused);
    }
}

#[test]
fn sequence_that_wraps_within_the_batch_is_fine() {
    let mut builder = BatchBuilder::new(0).producer(5, 0, i32::MAX);
    for offset in 0..3 {
        builder.append(offset, NOW, None, None, []).unwrap();
    }
    assert_eq!(judge(&builder.finish()).unwrap().header.last_sequence(), 1);
}

#[test]
fn unknown_compression_ids_are_unsupported() {
    for id in [5_u8, 6, 7] {
        let bytes = changed(layout::ATTRIBUTES, &i16::from(id).to_be_bytes());
        let error = BatchError::UnknownCompression { id };
        check(&bytes, ErrorKind::UnsupportedCompressionType, error.into());
    }
}

#[test]
fn unused_attribute_bits_and_a_delete_horizon_are_tolerated() {
    for bits in [Attributes::DELETE_HORIZON, 0x80, i16::MIN] {
        judge(&changed(layout::ATTRIBUTES, &bits.to_be_bytes())).unwrap();
    }
}

#[test]
fn timestamps_of_the_far_future_are_out_of_range() {
    let bytes = changed(layout::BASE_TIMESTAMP, &i64::MAX.to_be_bytes());
    assert_eq!(
        judge(&bytes).unwrap_err().kind(),
        ErrorKind::InvalidTimestamp
    );
}

/// Kafka starts the search for the largest at -1.
#[test]
fn negative_timestamps_are_within_the_default_range_and_make_no_max_timestamp() {
    let bytes = changed(layout::BASE_TIMESTAMP, &(-500_i64).to_be_bytes());
    assert_eq!(judge(&bytes).unwrap().max_timestamp, -1);
}

#[test]
fn body_that_its_codec_cannot_read_is_invalid() {
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let rejection = judge(&with_body(1, codec, b"\xffnot it")).unwrap_err();
        assert_eq!(rejection.kind(), ErrorKind::InvalidRecord);
        assert!(matches!(
            rejection,
            Rejection::Batch(BatchError::Compression(CompressionError::Malformed { codec: found, .. }))
                if found == codec
        ));
    }
}

#[test]
fn bomb_is_too_large_in_every_codec() {
    let zeros = vec![0; 8 << 20];
    let rules = Rules {
        decompressed_bytes_max: 1 << 20,
        ..Rules::new(NOW)
    };
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let bytes = with_body(1, codec, &compressed(codec, &zeros));
        let rejection = validate(&bytes, &rules, &mut Vec::new()).unwrap_err();
        let error = CompressionError::TooLarge {
            codec,
            cap: 1 << 20,
        };
        assert_eq!(rejection, Rejection::Batch(error.into()));
        assert_eq!(rejection.kind(), ErrorKind::MessageTooLarge);
    }
}

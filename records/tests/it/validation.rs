//! What a leader takes and refuses, check by check, in Kafka's order.

use reka_records::validate::{Origin, RecordError, RecordReason, Rejection};
use reka_records::{
    Accepted, BatchBuilder, BatchError, BatchView, Change, Compression, ErrorKind, NO_TIMESTAMP,
    Rules, TimestampType, layout, stamp, validate,
};

use crate::support::{NOW, plain, read, set, with};

fn rules() -> Rules {
    Rules::new(NOW)
}

fn accept(bytes: &[u8], rules: &Rules) -> Accepted {
    validate(bytes, rules, &mut Vec::new()).expect("the batch is fine")
}

#[track_caller]
fn refuse(bytes: &[u8], rules: &Rules, kind: ErrorKind, expected: Rejection) {
    let rejection = validate(bytes, rules, &mut Vec::new()).expect_err("the batch is not fine");
    assert_eq!((rejection.kind(), rejection), (kind, expected));
}

/// Records with these timestamps, and a max timestamp that is right.
fn at_times(times: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    for (offset, &time) in times.iter().enumerate() {
        builder
            .append(offset as i64, time, Some(b"k"), None, [])
            .unwrap();
    }
    builder.finish()
}

#[test]
fn an_honest_batch_needs_no_change_in_any_codec() {
    for codec in Compression::ALL {
        let bytes = plain(10, codec);
        let accepted = accept(&bytes, &rules());
        assert_eq!(accepted.change, Change::Nothing);
        assert_eq!(accepted.max_timestamp, NOW + 9);
        assert_eq!(accepted.size(), bytes.len());
        let mut stamped = bytes.clone();
        accepted.stamp(&mut stamped);
        assert_eq!(stamped, bytes, "the producer's checksum stays");
    }
}

#[test]
fn any_leader_epoch_of_a_client_is_taken() {
    for epoch in [-1, 0, 7, i32::MIN] {
        let mut bytes = plain(1, Compression::None);
        stamp::set_leader_epoch(&mut bytes, epoch);
        accept(&bytes, &rules());
    }
}

#[test]
fn a_max_timestamp_is_computed_not_believed() {
    let bytes = with(
        plain(3, Compression::Snappy),
        layout::MAX_TIMESTAMP,
        &7_i64.to_be_bytes(),
    );
    let accepted = accept(&bytes, &rules());
    assert_eq!(
        (accepted.change, accepted.max_timestamp),
        (Change::Timestamps, NOW + 2)
    );
    let mut stamped = bytes.clone();
    accepted.stamp(&mut stamped);
    assert_eq!(stamped, plain(3, Compression::Snappy));
}

#[test]
fn log_append_time_is_stamped_without_opening_the_body() {
    let rules = Rules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    let mut bytes = at_times(&[5, NO_TIMESTAMP, i64::MAX]);
    let accepted = accept(&bytes, &rules);
    assert_eq!(
        (accepted.change, accepted.max_timestamp),
        (Change::Timestamps, NOW)
    );
    accepted.stamp(&mut bytes);
    assert!(read(&bytes).iter().all(|record| record.timestamp == NOW));
}

#[test]
fn what_follows_a_batch_without_being_one_is_ignored() {
    let bytes = plain(2, Compression::None);
    for torn in [&[][..], &[0; 5], &bytes[..bytes.len() - 1]] {
        let followed = [&bytes[..], torn].concat();
        assert_eq!(accept(&followed, &rules()).size(), bytes.len());
    }
}

#[test]
fn a_second_batch_is_refused() {
    let bytes = plain(2, Compression::None);
    let two = [&bytes[..], &bytes].concat();
    let at = bytes.len();
    refuse(
        &two,
        &rules(),
        ErrorKind::InvalidRecord,
        Rejection::SecondBatch { at },
    );
}

/// Of any format, even one too short for ours, as long as its bytes are there.
#[test]
fn a_second_batch_counts_when_it_is_whole() {
    let bytes = plain(2, Compression::None);
    let at = bytes.len();
    for (magic, length) in [(0_u8, 14_i32), (1, 22), (2, 38), (2, 49)] {
        let mut second = vec![0; 12 + length as usize];
        set(&mut second, layout::BATCH_LENGTH, &length.to_be_bytes());
        set(&mut second, layout::MAGIC, &[magic]);
        let two = [&bytes[..], &second].concat();
        refuse(
            &two,
            &rules(),
            ErrorKind::InvalidRecord,
            Rejection::SecondBatch { at },
        );
        accept(&two[..two.len() - 1], &rules());
    }
}

#[test]
fn no_batch_is_refused() {
    refuse(&[], &rules(), ErrorKind::InvalidRecord, Rejection::NoBatch);
    let bytes = plain(2, Compression::None);
    let torn = BatchError::Incomplete {
        needed: bytes.len(),
        found: 70,
    };
    refuse(
        &bytes[..70],
        &rules(),
        ErrorKind::InvalidRecord,
        Rejection::Batch(torn),
    );
}

#[test]
fn zstd_before_produce_7_is_refused_before_its_checksum_is_looked_at() {
    let old = Rules {
        zstd_allowed: false,
        ..rules()
    };
    let mut bytes = plain(2, Compression::Zstd);
    set(&mut bytes, layout::CRC, &[0; 4]);
    refuse(
        &bytes,
        &old,
        ErrorKind::UnsupportedCompressionType,
        Rejection::ZstdTooEarly,
    );
    accept(&plain(2, Compression::Lz4), &old);
}

#[test]
fn a_base_offset_is_the_leaders_to_give() {
    let mut bytes = plain(2, Compression::None);
    stamp::set_base_offset(&mut bytes, 1);
    refuse(
        &bytes,
        &rules(),
        ErrorKind::InvalidRecord,
        Rejection::BaseOffset { found: 1 },
    );
    let coordinator = Rules {
        origin: Origin::Coordinator,
        ..rules()
    };
    accept(&bytes, &coordinator);
}

#[test]
fn the_size_limit_is_on_the_batch_as_sent_and_exact() {
    let bytes = plain(100, Compression::Gzip);
    let max = bytes.len();
    accept(
        &bytes,
        &Rules {
            batch_bytes_max: max,
            ..rules()
        },
    );
    let tight = Rules {
        batch_bytes_max: max - 1,
        ..rules()
    };
    let refused = Rejection::TooLarge {
        size: max,
        max: max - 1,
    };
    refuse(&bytes, &tight, ErrorKind::MessageTooLarge, refused);
}

#[test]
fn the_size_limit_is_asked_again_after_a_rebuild() {
    let bytes = plain(1000, Compression::Zstd);
    let rules = Rules {
        batch_bytes_max: bytes.len(),
        compression: Some(Compression::None),
        ..rules()
    };
    let accepted = accept(&bytes, &rules);
    let error = accepted
        .rebuild(&bytes, &mut Vec::new(), &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, Rejection::TooLarge { max, .. } if max == bytes.len()));
    assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
}

#[test]
fn a_compacted_topic_names_every_record_without_a_key() {
    let mut builder = BatchBuilder::new(0).compression(Compression::Lz4);
    for (offset, key) in [Some(&b"a"[..]), None, Some(b""), None]
        .into_iter()
        .enumerate()
    {
        builder
            .append(offset as i64, NOW, key, Some(b"v"), [])
            .unwrap();
    }
    let bytes = builder.finish();
    accept(&bytes, &rules());
    let compacted = Rules {
        compacted: true,
        ..rules()
    };
    let missing = |index| RecordError {
        index,
        reason: RecordReason::MissingKey,
    };
    let refused = Rejection::Records {
        first: missing(1),
        errors: vec![missing(1), missing(3)],
        total: 2,
    };
    refuse(&bytes, &compacted, ErrorKind::InvalidRecord, refused);
}

#[test]
fn timestamps_must_lie_in_the_topics_range_both_ends_included() {
    let rules = Rules {
        timestamp_before_max_ms: 100,
        timestamp_after_max_ms: 10,
        ..rules()
    };
    accept(&at_times(&[NOW - 100, NOW, NOW + 10, NO_TIMESTAMP]), &rules);
    let out = |index, timestamp| RecordError {
        index,
        reason: RecordReason::Timestamp {
            timestamp,
            earliest: NOW - 100,
            latest: NOW + 10,
        },
    };
    let errors = vec![out(0, NOW - 101), out(2, NOW + 11)];
    let refused = Rejection::Records {
        first: errors[0],
        errors,
        total: 2,
    };
    let bytes = at_times(&[NOW - 101, NOW, NOW + 11]);
    refuse(&bytes, &rules, ErrorKind::InvalidTimestamp, refused);
}

#[test]
fn an_age_that_does_not_fit_64_bits_is_out_of_every_range() {
    let rules = Rules {
        timestamp_after_max_ms: i64::MAX,
        ..rules()
    };
    accept(&at_times(&[NOW - i64::MAX, i64::MAX]), &rules);
    let rejection = validate(&at_times(&[i64::MIN]), &rules, &mut Vec::new()).unwrap_err();
    assert_eq!(rejection.kind(), ErrorKind::InvalidTimestamp);
}

#[test]
fn one_bad_timestamp_among_missing_keys_makes_the_answer_invalid_timestamp() {
    let mut builder = BatchBuilder::new(0);
    builder.append(0, NOW, None, None, []).unwrap();
    builder
        .append(1, NOW + (1 << 40), Some(b"k"), None, [])
        .unwrap();
    let compacted = Rules {
        compacted: true,
        ..rules()
    };
    let rejection = validate(&builder.finish(), &compacted, &mut Vec::new()).unwrap_err();
    assert_eq!(rejection.kind(), ErrorKind::InvalidTimestamp);
    assert_eq!(rejection.record_errors().len(), 2);
}

/// Kafka judges the claimed time on a create-time topic and clears the flag; only on a
/// log-append-time topic does it refuse the claim.
#[test]
fn a_producer_that_claims_log_append_time_gets_what_kafka_gives_it() {
    let mut builder = BatchBuilder::new(0).log_append_time(NOW - 5);
    builder.append(0, NOW - 7, Some(b"k"), None, []).unwrap();
    let mut bytes = builder.finish();

    let broker_time = Rules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    let error = RecordError {
        index: 0,
        reason: RecordReason::LogAppendTime,
    };
    let refused = Rejection::Records {
        first: error,
        errors: vec![error],
        total: 1,
    };
    refuse(&bytes, &broker_time, ErrorKind::InvalidTimestamp, refused);

    let accepted = accept(&bytes, &rules());
    assert_eq!(
        (accepted.change, accepted.max_timestamp),
        (Change::Timestamps, NOW - 5)
    );
    accepted.stamp(&mut bytes);
    let header = *BatchView::parse(&bytes).unwrap().header();
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
}

#[test]
fn record_errors_are_counted_beyond_those_kept() {
    let mut builder = BatchBuilder::new(0);
    for offset in 0..10_500 {
        builder.append(offset, NOW, None, None, []).unwrap();
    }
    let compacted = Rules {
        compacted: true,
        ..rules()
    };
    let rejection = validate(&builder.finish(), &compacted, &mut Vec::new()).unwrap_err();
    assert_eq!(rejection.record_errors().len(), 10_000);
    assert!(matches!(
        rejection,
        Rejection::Records { total: 10_500, .. }
    ));
}

#[test]
fn a_topics_codec_asks_for_recompression_only_where_it_differs() {
    for source in Compression::ALL {
        for target in Compression::ALL {
            let rules = Rules {
                compression: Some(target),
                ..rules()
            };
            let change = accept(&plain(3, source), &rules).change;
            let expected = if source == target {
                Change::Nothing
            } else {
                Change::Recompress
            };
            assert_eq!(change, expected, "{source} to {target}");
        }
    }
}

#[test]
fn markers_of_a_coordinator_are_not_compressed() {
    let mut builder = BatchBuilder::new(0)
        .control()
        .transactional()
        .producer(1, 0, -1);
    builder
        .append(0, NOW, Some(&[0, 0, 0, 1]), Some(&[0; 6]), [])
        .unwrap();
    let bytes = builder.finish();
    let rules = Rules {
        origin: Origin::Coordinator,
        compression: Some(Compression::Zstd),
        ..rules()
    };
    assert_eq!(accept(&bytes, &rules).change, Change::Nothing);
}

#[test]
fn a_body_over_the_decompression_cap_is_too_large() {
    let bytes = plain(1000, Compression::Zstd);
    let rules = Rules {
        decompressed_bytes_max: 1000,
        ..rules()
    };
    let rejection = validate(&bytes, &rules, &mut Vec::new()).unwrap_err();
    assert_eq!(rejection.kind(), ErrorKind::MessageTooLarge);
}

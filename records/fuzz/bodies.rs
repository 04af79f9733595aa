#![allow(
    unreachable_pub,
    reason = "included as a module by tests and by every target"
)]
//! What each fuzz target does with its input, shared with the tests that replay the corpus.
//!
//! A body takes any bytes and must return: no panic, no abort, no more memory than its cap. Where
//! something can be said about the result it is asserted, so that a wrong answer is a crash too.

use reka_records::compression::{compress_into, decompress_into};
use reka_records::control::ControlRecord;
use reka_records::{BatchView, Change, Compression, Rules, batches, validate};

/// Cap on decompressed bytes, small so that a fuzzer gets around.
const CAP: usize = 1 << 20;
/// Some time in 2024.
const NOW: i64 = 1_720_000_000_000;

/// A body of a fuzz target.
pub type Body = fn(&[u8]);

/// Every target by the name of its corpus folder.
pub const TARGETS: [(&str, Body); 6] = [
    ("validate", fuzz_validate),
    ("records", fuzz_records),
    ("gzip", fuzz_gzip),
    ("snappy", fuzz_snappy),
    ("lz4", fuzz_lz4),
    ("zstd", fuzz_zstd),
];

/// A produce request's records against a strict and a lenient topic. What is accepted must still be
/// accepted after the change it asked for, and need no further one.
pub fn fuzz_validate(bytes: &[u8]) {
    let bytes = &with_right_crc(bytes);
    let mut scratch = Vec::new();
    let lenient = Rules {
        decompressed_bytes_max: CAP,
        ..Rules::new(NOW)
    };
    let strict = Rules {
        compacted: true,
        compression: Some(Compression::Lz4),
        ..lenient
    };
    for rules in [lenient, strict] {
        let Ok(accepted) = validate(bytes, &rules, &mut scratch) else {
            continue;
        };
        let mut changed = Vec::new();
        if accepted.rebuild(bytes, &mut scratch, &mut changed).is_err() {
            continue;
        }
        // Kafka clears a claim of log append time on a create-time topic and lets the times the
        // records really carry show, which nobody has looked at.
        if accepted.header.timestamp_type() != rules.timestamp_type {
            continue;
        }
        let again = validate(&changed, &rules, &mut scratch).expect("accepted once");
        assert_eq!(again.change, Change::Nothing);
        assert_eq!(again.max_timestamp, accepted.max_timestamp);
        assert_eq!(again.header.record_count, accepted.header.record_count);
    }
}

/// A range of a log, every record and header of every batch.
pub fn fuzz_records(bytes: &[u8]) {
    let bytes = &with_right_crc(bytes);
    let mut scratch = Vec::new();
    for batch in batches(bytes) {
        let Ok(batch) = batch else { return };
        let Ok(records) = batch.records(&mut scratch, CAP) else {
            continue;
        };
        for record in records {
            let Ok(record) = record else { break };
            let declared = record.headers.len();
            assert_eq!(
                record.headers.clone().count(),
                declared,
                "headers were checked"
            );
            if batch.header().is_control() {
                let _ = ControlRecord::parse(&record);
            }
        }
    }
}

pub fn fuzz_gzip(bytes: &[u8]) {
    fuzz_codec(Compression::Gzip, bytes);
}

pub fn fuzz_snappy(bytes: &[u8]) {
    fuzz_codec(Compression::Snappy, bytes);
}

pub fn fuzz_lz4(bytes: &[u8]) {
    fuzz_codec(Compression::Lz4, bytes);
}

pub fn fuzz_zstd(bytes: &[u8]) {
    fuzz_codec(Compression::Zstd, bytes);
}

/// Decompresses the input; what comes out must survive the way there and back.
fn fuzz_codec(codec: Compression, bytes: &[u8]) {
    let mut plain = Vec::new();
    let outcome = decompress_into(codec, bytes, &mut plain, CAP);
    assert!(plain.len() <= CAP);
    if outcome.is_ok() {
        let (mut packed, mut again) = (Vec::new(), Vec::new());
        compress_into(codec, None, &plain, &mut packed);
        decompress_into(codec, &packed, &mut again, CAP).expect("our own output");
        assert_eq!(again, plain);
    }
}

/// The first batch with its checksum made right, or a fuzzer would never get past it.
fn with_right_crc(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Ok(size) = BatchView::parse(&bytes).map(|batch| batch.bytes().len()) {
        reka_records::stamp::refresh_crc(&mut bytes[..size]);
    }
    bytes
}

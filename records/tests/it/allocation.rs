//! What must not allocate, and what may only so much.

use allocation_counter::measure;
use reka_records::{BatchBuilder, BatchHeader, BatchView, Compression, Rules, batches, validate};

use crate::support::{CAP, NOW, plain, with_body};

#[test]
fn walking_uncompressed_batches_allocates_nothing() {
    let row = plain(200, Compression::None).repeat(5);
    let mut seen = 0;
    let used = measure(|| {
        let mut scratch = Vec::new();
        for batch in batches(&row) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            for record in batch.records(&mut scratch, CAP).unwrap() {
                let record = record.unwrap();
                seen += record.key.map_or(0, <[u8]>::len) + record.headers.count();
            }
        }
    });
    assert!(seen > 0);
    assert_eq!(used.count_total, 0);
}

#[test]
fn parsing_a_header_allocates_nothing_even_when_it_fails() {
    let bytes = plain(1, Compression::None);
    let used = measure(|| {
        BatchHeader::parse(&bytes).unwrap();
        BatchHeader::parse(&bytes[..20]).unwrap_err();
        BatchView::parse(&bytes[..bytes.len() - 1]).unwrap_err();
    });
    assert_eq!(used.count_total, 0);
}

#[test]
fn validating_an_honest_uncompressed_batch_allocates_nothing() {
    let bytes = plain(200, Compression::None);
    let used = measure(|| {
        validate(&bytes, &Rules::new(NOW), &mut Vec::new()).unwrap();
    });
    assert_eq!(used.count_total, 0);
}

/// 16 times the input and 64 KiB, for the batch that makes most of its bytes: seven-byte records,
/// each of which earns an error.
#[test]
fn refusing_the_densest_batch_stays_within_the_allocation_bound() {
    let mut builder = BatchBuilder::new(0);
    for offset in 0..9_000 {
        builder.append(offset, NOW, None, None, []).unwrap();
    }
    let bytes = builder.finish();
    let compacted = Rules {
        compacted: true,
        ..Rules::new(NOW)
    };
    let used = measure(|| {
        validate(&bytes, &compacted, &mut Vec::new()).unwrap_err();
    });
    assert!(
        used.bytes_max < 16 * bytes.len() as u64 + 64 * 1024,
        "took {}",
        used.bytes_max
    );
}

#[test]
fn a_count_of_two_billion_reserves_nothing() {
    let bytes = with_body(i32::MAX, Compression::None, &[14, 0, 0, 0, 1, 1, 0, 0]);
    let used = measure(|| {
        validate(&bytes, &Rules::new(NOW), &mut Vec::new()).unwrap_err();
    });
    assert_eq!(used.count_total, 0);
}

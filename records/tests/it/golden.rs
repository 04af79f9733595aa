//! Bytes that must never change: a difference here is a difference on disk and on the wire. They
//! were written down from Kafka's format by hand, checksums from a bitwise CRC-32C.

use reka_records::control::{EndTxnMarker, MarkerBatch, TransactionResult};
use reka_records::{BatchBuilder, BatchView, Compression};

use crate::support::read;

/// Hex with spaces and line ends for the eye.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

#[track_caller]
fn check(bytes: &[u8], golden: &str) {
    let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bytes, hex(golden), "found {shown}");
    BatchView::parse(bytes).unwrap().verify_crc().unwrap();
}

#[test]
fn a_batch_of_two_records_has_these_bytes() {
    let mut builder = BatchBuilder::new(16)
        .leader_epoch(3)
        .producer(4660, 1, 5)
        .transactional();
    builder
        .append(16, 1000, Some(b"key"), Some(b"value"), [])
        .unwrap();
    let headers = [(&b"h"[..], Some(&b"1"[..])), (b"h", None)];
    builder.append(18, 1002, None, None, headers).unwrap();
    let bytes = builder.finish();
    check(
        &bytes,
        "0000000000000010 0000004e 00000003 02 6cf2a801 0010 00000002
         00000000000003e8 00000000000003ea 0000000000001234 0001 00000005 00000002
         1c 00 00 00 06 6b6579 0a 76616c7565 00
         1a 00 04 04 01 01 04 02 68 02 31 02 68 01",
    );
    assert_eq!(read(&bytes).len(), 2);
}

#[test]
fn a_commit_marker_has_these_bytes() {
    check(
        &marker(TransactionResult::Commit),
        "0000000000000007 00000042 00000002 02 3296596a 0030 00000000
         0000000000000bb8 0000000000000bb8 000000000000002a 0003 ffffffff 00000001
         20 00 00 00 08 0000 0001 0c 0000 00000009 00",
    );
}

#[test]
fn an_abort_marker_has_these_bytes() {
    check(
        &marker(TransactionResult::Abort),
        "0000000000000007 00000042 00000002 02 c6a88f22 0030 00000000
         0000000000000bb8 0000000000000bb8 000000000000002a 0003 ffffffff 00000001
         20 00 00 00 08 0000 0000 0c 0000 00000009 00",
    );
}

#[test]
fn an_empty_batch_has_these_bytes() {
    let bytes = BatchBuilder::new(100)
        .leader_epoch(4)
        .producer(42, 3, 10)
        .compression(Compression::Zstd)
        .last_offset(109)
        .max_timestamp(3000)
        .finish();
    check(
        &bytes,
        "0000000000000064 00000031 00000004 02 b8b74fa2 0000 00000009
         ffffffffffffffff 0000000000000bb8 000000000000002a 0003 0000000a 00000000",
    );
}

fn marker(result: TransactionResult) -> Vec<u8> {
    EndTxnMarker {
        result,
        coordinator_epoch: 9,
    }
    .to_batch(MarkerBatch {
        base_offset: 7,
        leader_epoch: 2,
        producer_id: 42,
        producer_epoch: 3,
        timestamp: 3000,
    })
}

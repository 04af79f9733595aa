//! Batches that Apache Kafka 4.3.1 wrote: we read them, and write the same bytes where the format
//! leaves no choice.

use std::path::Path;

use reka_records::control::{EndTxnMarker, MarkerBatch, TransactionResult};
use reka_records::{BatchBuilder, BatchView, Change, Compression, Rules, stamp, validate};

use crate::support::{NOW, Owned, read};

fn written_by_kafka(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/kafka-4.3.1");
    std::fs::read(folder.join(format!("{name}.batch"))).unwrap()
}

/// What was put into each file: 300 records, nulls and repeated header keys among them.
fn records() -> Vec<Owned> {
    (0..300_i64)
        .map(|i| Owned {
            offset: 500 + i,
            timestamp: NOW + i,
            key: (i % 5 != 0).then(|| format!("key-{i}").into_bytes()),
            value: (i % 7 != 0).then(|| format!("value of {i}").into_bytes()),
            headers: if i % 3 == 0 {
                vec![
                    (b"k".to_vec(), Some(format!("h{i}").into_bytes())),
                    (b"k".to_vec(), None),
                ]
            } else {
                vec![]
            },
        })
        .collect()
}

#[test]
fn what_kafka_compressed_is_read() {
    for codec in Compression::ALL {
        let bytes = written_by_kafka(codec.name());
        let header = *BatchView::parse(&bytes).unwrap().header();
        assert_eq!(header.compression(), Ok(codec));
        assert_eq!(
            (
                header.producer_id,
                header.producer_epoch,
                header.base_sequence
            ),
            (77, 3, 9)
        );
        assert_eq!((header.leader_epoch, header.last_sequence()), (4, 308));
        assert!(header.is_transactional());
        assert_eq!(read(&bytes), records(), "{codec}");
    }
}

#[test]
fn what_kafka_wrote_is_accepted_as_it_is() {
    for codec in Compression::ALL {
        let mut bytes = written_by_kafka(codec.name());
        stamp::set_base_offset(&mut bytes, 0);
        let accepted = validate(&bytes, &Rules::new(NOW), &mut Vec::new()).unwrap();
        assert_eq!(
            (accepted.change, accepted.max_timestamp),
            (Change::Nothing, NOW + 299)
        );
    }
}

#[test]
fn an_uncompressed_batch_is_written_byte_for_byte_as_kafka_writes_it() {
    let mut builder = BatchBuilder::new(500)
        .leader_epoch(4)
        .producer(77, 3, 9)
        .transactional();
    records()
        .iter()
        .for_each(|record| record.append_to(&mut builder));
    assert_eq!(builder.finish(), written_by_kafka("none"));
}

#[test]
fn markers_are_written_byte_for_byte_as_kafka_writes_them() {
    for (result, name) in [
        (TransactionResult::Abort, "abort-marker"),
        (TransactionResult::Commit, "commit-marker"),
    ] {
        let at = MarkerBatch {
            base_offset: 7,
            leader_epoch: 2,
            producer_id: 42,
            producer_epoch: 3,
            timestamp: 3000,
        };
        let marker = EndTxnMarker {
            result,
            coordinator_epoch: 9,
        };
        assert_eq!(marker.to_batch(at), written_by_kafka(name));
    }
}

//! The builder, and above all what the log cleaner needs of it.

use proptest::prelude::*;
use reka_records::{
    BatchBuilder, BatchHeader, BatchView, BuildError, Compression, HEADER_BYTES, NO_TIMESTAMP,
    TimestampType,
};

use crate::support::{NOW, Owned, any_codec, any_records, build, read};

proptest! {
    #[test]
    fn what_is_built_is_what_is_read(records in any_records(), codec in any_codec()) {
        let bytes = build(&records, codec);
        prop_assert_eq!(BatchHeader::parse(&bytes).unwrap().compression(), Ok(codec));
        prop_assert_eq!(read(&bytes), records);
    }

    #[test]
    fn a_delete_horizon_moves_the_base_and_no_record(
        records in any_records(),
        codec in any_codec(),
        horizon in 0_i64..1 << 50,
    ) {
        let mut builder = BatchBuilder::new(records[0].offset).compression(codec).delete_horizon(horizon);
        records.iter().for_each(|record| record.append_to(&mut builder));
        let bytes = builder.finish();
        let header = BatchHeader::parse(&bytes).unwrap();
        prop_assert_eq!(header.delete_horizon(), Some(horizon));
        prop_assert_eq!(header.base_timestamp, horizon);
        let largest = records.iter().map(|record| record.timestamp).max().unwrap();
        prop_assert_eq!(header.max_timestamp, largest.max(NO_TIMESTAMP));
        prop_assert_eq!(read(&bytes), records);
    }

    #[test]
    fn a_cleaned_batch_keeps_offsets_producer_and_last_sequence(
        records in any_records(),
        codec in any_codec(),
        keep in any::<u64>(),
    ) {
        let mut builder = BatchBuilder::new(records[0].offset)
            .compression(codec)
            .producer(9, 1, 100)
            .transactional()
            .leader_epoch(4);
        records.iter().for_each(|record| record.append_to(&mut builder));
        let before = builder.finish();
        let header = *BatchView::parse(&before).unwrap().header();

        let kept: Vec<&Owned> =
            records.iter().enumerate().filter(|(i, _)| keep >> (i % 64) & 1 == 1).map(|(_, r)| r).collect();
        let mut builder = BatchBuilder::like(&header, codec);
        kept.iter().for_each(|record| record.append_to(&mut builder));
        let bytes = builder.max_timestamp(header.max_timestamp).finish();
        let cleaned = BatchHeader::parse(&bytes).unwrap();
        prop_assert_eq!(cleaned.base_offset, header.base_offset);
        prop_assert_eq!(cleaned.last_offset(), header.last_offset());
        prop_assert_eq!(cleaned.last_sequence(), header.last_sequence());
        prop_assert_eq!((cleaned.producer_id, cleaned.producer_epoch), (9, 1));
        prop_assert_eq!(cleaned.leader_epoch, 4);
        prop_assert!(cleaned.is_transactional());
        let kept: Vec<Owned> = kept.into_iter().cloned().collect();
        prop_assert_eq!(read(&bytes), kept);
    }
}

#[test]
fn an_empty_batch_keeps_the_producers_last_sequence_and_nothing_else() {
    for codec in Compression::ALL {
        let bytes = BatchBuilder::new(500)
            .compression(codec)
            .producer(7, 2, 30)
            .last_offset(519)
            .max_timestamp(NOW)
            .delete_horizon(NOW + 1)
            .finish();
        assert_eq!(bytes.len(), HEADER_BYTES);
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.record_count, 0);
        assert_eq!((header.base_offset, header.last_offset()), (500, 519));
        assert_eq!((header.base_sequence, header.last_sequence()), (30, 49));
        // As Kafka's cleaner writes it.
        assert_eq!(header.compression(), Ok(Compression::None));
        assert_eq!(
            (header.base_timestamp, header.max_timestamp),
            (NO_TIMESTAMP, NOW)
        );
        assert_eq!(header.delete_horizon(), None);
        assert_eq!(read(&bytes), []);
    }
}

#[test]
fn log_append_time_gives_all_records_one_timestamp() {
    let mut builder = BatchBuilder::new(0).log_append_time(NOW + 50);
    builder.append(0, NOW, None, None, []).unwrap();
    builder.append(1, NOW + 90, None, None, []).unwrap();
    let bytes = builder.finish();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, NOW + 50);
    assert!(
        read(&bytes)
            .iter()
            .all(|record| record.timestamp == NOW + 50)
    );
}

#[test]
fn repeated_header_keys_null_values_and_their_order_survive() {
    let headers = [
        (b"k".to_vec(), Some(b"1".to_vec())),
        (b"k".to_vec(), None),
        (vec![], Some(vec![])),
        (b"k".to_vec(), Some(b"1".to_vec())),
        (vec![0xff, 0xfe], Some(b"not utf-8".to_vec())),
    ];
    let records = [Owned {
        offset: 0,
        timestamp: NOW,
        key: None,
        value: None,
        headers: headers.to_vec(),
    }];
    for codec in Compression::ALL {
        assert_eq!(read(&build(&records, codec)), records);
    }
}

#[test]
fn null_and_empty_are_two_things() {
    let record = |key: Option<&[u8]>, value: Option<&[u8]>, offset| Owned {
        offset,
        timestamp: NO_TIMESTAMP,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: vec![],
    };
    let records = [
        record(None, None, 0),
        record(Some(b""), None, 1),
        record(None, Some(b""), 2),
    ];
    assert_eq!(read(&build(&records, Compression::None)), records);
}

#[test]
fn offsets_must_rise_and_stay_within_reach_of_the_base() {
    let mut builder = BatchBuilder::new(10);
    let mut append = |offset| builder.append(offset, NOW, None, None, []);
    assert_eq!(
        append(9),
        Err(BuildError::OffsetOrder {
            offset: 9,
            lowest: 10
        })
    );
    assert_eq!(append(10), Ok(()));
    assert_eq!(
        append(10),
        Err(BuildError::OffsetOrder {
            offset: 10,
            lowest: 11
        })
    );
    let offset = 10 + (1 << 31);
    assert_eq!(
        append(offset),
        Err(BuildError::OffsetRange {
            offset,
            base_offset: 10
        })
    );
    assert_eq!(append(offset - 1), Ok(()));
    // A refused record leaves no trace.
    let bytes = builder.finish();
    assert_eq!(
        read(&bytes).iter().map(|r| r.offset).collect::<Vec<_>>(),
        [10, offset - 1]
    );
}

#[test]
fn batches_are_appended_to_what_a_buffer_already_holds() {
    let mut out = b"before".to_vec();
    let mut builder = BatchBuilder::new(0).compression(Compression::Gzip);
    builder.append(0, NOW, None, Some(b"x"), []).unwrap();
    builder.finish_into(&mut out);
    assert_eq!(read(out.strip_prefix(b"before").unwrap()).len(), 1);
}

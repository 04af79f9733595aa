//! The `kafka-protocol` crate reads what we write, and we read what it writes. Its codecs are
//! other libraries than ours for lz4, and it was tested against Kafka by other people.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use reka_records::{BatchBuilder, BatchHeader, Compression};

use crate::support::{NOW, Owned, any_codec, read};

fn their_codec(codec: Compression) -> theirs::Compression {
    match codec {
        Compression::None => theirs::Compression::None,
        Compression::Gzip => theirs::Compression::Gzip,
        Compression::Snappy => theirs::Compression::Snappy,
        Compression::Lz4 => theirs::Compression::Lz4,
        Compression::Zstd => theirs::Compression::Zstd,
    }
}

/// Offsets in a row from `base`; header keys that are text and do not repeat, since the oracle
/// merges those that do.
fn any_sent() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || vec(any::<u8>(), 0..60);
    let headers = btree_map("[a-z]{0,8}", option::of(bytes()), 0..4);
    let record = (
        0..10_000_i64,
        option::of(bytes()),
        option::of(bytes()),
        headers,
    );
    (0..1_i64 << 40, vec(record, 1..30)).prop_map(|(base, records)| {
        records
            .into_iter()
            .zip(base..)
            .map(|((age, key, value, headers), offset)| Owned {
                offset,
                timestamp: NOW - age,
                key,
                value,
                headers: headers
                    .into_iter()
                    .map(|(k, v)| (k.into_bytes(), v))
                    .collect(),
            })
            .collect()
    })
}

fn to_theirs(record: &Owned, base: i64, sequence: i32) -> theirs::Record {
    theirs::Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 6,
        producer_id: 99,
        producer_epoch: 4,
        timestamp_type: theirs::TimestampType::Creation,
        offset: record.offset,
        sequence: sequence + (record.offset - base) as i32,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| {
                let key = StrBytes::from_string(String::from_utf8(key.clone()).unwrap());
                (key, value.clone().map(Bytes::from))
            })
            .collect(),
    }
}

fn from_theirs(record: &theirs::Record) -> Owned {
    Owned {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_deref().map(<[u8]>::to_vec),
        value: record.value.as_deref().map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| {
                (
                    key.as_bytes().to_vec(),
                    value.as_deref().map(<[u8]>::to_vec),
                )
            })
            .collect(),
    }
}

proptest! {
    #[test]
    fn the_oracle_reads_what_we_write(records in any_sent(), codec in any_codec()) {
        let mut builder = BatchBuilder::new(records[0].offset)
            .compression(codec)
            .leader_epoch(6)
            .producer(99, 4, 1000)
            .transactional();
        records.iter().for_each(|record| record.append_to(&mut builder));
        let mut bytes = Bytes::from(builder.finish());
        let set = theirs::RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert!(bytes.is_empty());
        prop_assert_eq!(set.records.iter().map(from_theirs).collect::<Vec<_>>(), records);
        let first = &set.records[0];
        prop_assert_eq!((first.producer_id, first.producer_epoch, first.sequence), (99, 4, 1000));
        prop_assert_eq!((first.partition_leader_epoch, first.transactional), (6, true));
    }

    #[test]
    fn we_read_what_the_oracle_writes(records in any_sent(), codec in any_codec()) {
        let base = records[0].offset;
        let theirs: Vec<_> = records.iter().map(|record| to_theirs(record, base, 1000)).collect();
        let options = theirs::RecordEncodeOptions { version: 2, compression: their_codec(codec) };
        let mut bytes = BytesMut::new();
        theirs::RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        prop_assert_eq!(header.compression(), Ok(codec));
        prop_assert_eq!((header.base_sequence, header.leader_epoch), (1000, 6));
        prop_assert_eq!((header.producer_id, header.producer_epoch), (99, 4));
        prop_assert!(header.is_transactional());
        prop_assert_eq!(read(&bytes), records);
    }
}

//! Records go in and come out; offsets are found; records are deleted.

use std::time::Duration;

use reka_protocol::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use reka_protocol::kafka_protocol::messages::describe_producers_request::TopicRequest;
use reka_protocol::kafka_protocol::messages::fetch_request::{
    FetchPartition, FetchTopic, ForgottenTopic,
};
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, DescribeProducersRequest, FetchRequest, InitProducerIdRequest,
    ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest, ProducerId,
};
use reka_records::{BatchBuilder, Compression};
use uuid::Uuid;

use super::{make_topic, topic_name};
use crate::differential::Pair;
use crate::differential::side::Side;
use crate::error::Result;
use crate::wait;

const PRODUCER_IDS_TIME_MAX: Duration = Duration::from_secs(20);
/// Late enough that nothing is too old for anybody.
const TIME: i64 = 1_700_000_000_000;

pub(super) fn script(pair: &mut Pair) -> Result<()> {
    producing(pair)?;
    idempotence(pair)?;
    fetching(pair)?;
    sessions(pair)?;
    offsets(pair)?;
    deleting(pair)
}

fn batch(values: &[&str]) -> Vec<u8> {
    build(BatchBuilder::new(0), values)
}

fn build(mut builder: BatchBuilder, values: &[&str]) -> Vec<u8> {
    for (at, value) in values.iter().enumerate() {
        let at = at as i64;
        let headers = [(b"h".as_slice(), Some(b"v".as_slice()))];
        // What fits into a batch was chosen by the script.
        let appended = builder.append(at, TIME + at, Some(b"key"), Some(value.as_bytes()), headers);
        debug_assert!(appended.is_ok());
    }
    builder.finish()
}

fn produce(
    side: &Side,
    version: i16,
    topic: &str,
    partition: i32,
    acks: i16,
    records: Option<Vec<u8>>,
) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(records.map(Into::into));
    let named = TopicProduceData::default().with_partition_data(vec![data]);
    let named = match version >= 13 {
        true => named.with_topic_id(match topic {
            "records-missing" => Uuid::from_u128(99),
            topic => side.topic_id(topic),
        }),
        false => named.with_name(topic_name(topic)),
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![named])
}

fn producing(pair: &mut Pair) -> Result<()> {
    make_topic(
        pair,
        "records",
        2,
        &[("message.timestamp.after.max.ms", "3600000")],
    )?;
    make_topic(
        pair,
        "records-compacted",
        1,
        &[("cleanup.policy", "compact")],
    )?;
    make_topic(pair, "records-small", 1, &[("max.message.bytes", "200")])?;
    make_topic(pair, "records-zstd", 1, &[("compression.type", "zstd")])?;
    pair.ask_every("one batch", |side, v| {
        produce(side, v, "records", 0, 1, Some(batch(&["a", "b"])))
    })?;
    pair.ask_every("acks all", |side, v| {
        produce(side, v, "records", 0, -1, Some(batch(&["c"])))
    })?;
    pair.ask_every("missing topic", |side, v| {
        produce(side, v, "records-missing", 0, 1, Some(batch(&["a"])))
    })?;
    pair.ask_every("missing partition", |side, v| {
        produce(side, v, "records", 9, 1, Some(batch(&["a"])))
    })?;
    pair.ask_every("acks of two", |side, v| {
        produce(side, v, "records", 0, 2, Some(batch(&["a"])))
    })?;
    pair.ask_every("too large", |side, v| {
        produce(
            side,
            v,
            "records-small",
            0,
            1,
            Some(batch(&[&"x".repeat(300)])),
        )
    })?;
    pair.ask_every("compressed by the broker", |side, v| {
        produce(side, v, "records-zstd", 0, 1, Some(batch(&["a", "b"])))
    })?;
    for codec in Compression::ALL {
        pair.ask_every("codecs", |side, v| {
            // zstd may not come before version 7.
            let codec = match (codec, v) {
                (Compression::Zstd, ..7) => Compression::Gzip,
                (codec, _) => codec,
            };
            let records = build(BatchBuilder::new(0).compression(codec), &["a", "b", "c"]);
            produce(side, v, "records", 0, 1, Some(records))
        })?;
    }
    for version in 3..7 {
        pair.ask(version, "zstd too early", |side| {
            let records = build(BatchBuilder::new(0).compression(Compression::Zstd), &["a"]);
            produce(side, version, "records", 0, 1, Some(records))
        })?;
    }
    pair.ask_every("without a key", |side, v| {
        let mut builder = BatchBuilder::new(0);
        let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        let appended = builder.append(0, TIME, None, Some(b"v"), none);
        debug_assert!(appended.is_ok());
        produce(side, v, "records-compacted", 0, 1, Some(builder.finish()))
    })?;
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 8] = [
        ("flipped bit", |records| records[70] ^= 1),
        ("flipped checksum", |records| records[17] ^= 1),
        ("old magic", |records| records[16] = 1),
        ("strange magic", |records| records[16] = 7),
        ("cut short", |records| records.truncate(40)),
        ("length too large", |records| records[11] += 9),
        ("bytes behind", |records| records.extend([1, 2, 3])),
        ("two batches", |records| records.extend(records.clone())),
    ];
    for (what, damage) in damages {
        pair.ask_every(what, |side, v| {
            let mut records = batch(&["a", "b"]);
            damage(&mut records);
            produce(side, v, "records", 0, 1, Some(records))
        })?;
    }
    pair.ask_every("no bytes", |side, v| {
        produce(side, v, "records", 0, 1, Some(Vec::new()))
    })?;
    // Null records are not asked for: Apache Kafka never answers them.
    pair.ask_every("internal topic", |side, v| match v {
        13.. => produce(side, v, "records", 1, 1, Some(batch(&["a"]))),
        _ => produce(side, v, "__consumer_offsets", 0, 1, Some(batch(&["a"]))),
    })?;
    Ok(())
}

/// Apache Kafka has none to give in its first moments.
fn wait_for_producer_ids(pair: &mut Pair) -> Result<()> {
    wait::until("wait for producer ids", PRODUCER_IDS_TIME_MAX, || {
        let both = pair.ask_quietly(1, |_| {
            InitProducerIdRequest::default().with_transactional_id(None)
        })?;
        let ready = both.kafka.is_some_and(|answer| answer.error_code == 0);
        Ok(ready.then_some(()))
    })
}

fn idempotence(pair: &mut Pair) -> Result<()> {
    make_topic(pair, "idempotent", 1, &[])?;
    wait_for_producer_ids(pair)?;
    for version in 0..=5 {
        let both = pair.ask(version, "a producer id", |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000)
        })?;
        pair.keep(&both, |side, answer| {
            side.numbers
                .insert("producer".to_owned(), answer.producer_id.0);
        });
    }
    for version in 3..=5 {
        pair.ask(version, "half an identity", |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(ProducerId(5))
                .with_producer_epoch(-1)
        })?;
        pair.ask(version, "an identity", |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(ProducerId(5))
                .with_producer_epoch(2)
        })?;
    }
    let steps: &[(&str, i16, i32, &[&str])] = &[
        ("first", 0, 0, &["a", "b"]),
        ("second", 0, 2, &["c"]),
        ("second again", 0, 2, &["c"]),
        ("first again", 0, 0, &["a", "b"]),
        ("a gap", 0, 9, &["z"]),
        ("part of a duplicate", 0, 1, &["b", "c"]),
        ("new epoch, not from zero", 1, 5, &["d"]),
        ("new epoch", 1, 0, &["d"]),
        ("old epoch", 0, 3, &["e"]),
        ("after it", 1, 1, &["f"]),
    ];
    for (what, epoch, sequence, values) in steps {
        for version in [8, 12, 13] {
            // Each version on a producer of its own.
            pair.ask(version, what, |side| {
                let id = side.number("producer") + i64::from(version);
                let builder = BatchBuilder::new(0).producer(id, *epoch, *sequence);
                produce(
                    side,
                    version,
                    "idempotent",
                    0,
                    -1,
                    Some(build(builder, values)),
                )
            })?;
        }
    }
    pair.ask(0, "who produced", |_| {
        let topic = |name: &str, indexes: &[i32]| {
            TopicRequest::default()
                .with_name(topic_name(name))
                .with_partition_indexes(indexes.to_vec())
        };
        DescribeProducersRequest::default().with_topics(vec![
            topic("idempotent", &[0, 5]),
            topic("records-missing", &[0]),
            topic("a b", &[0]),
        ])
    })?;
    Ok(())
}

fn fetch(side: &Side, version: i16, topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let named = FetchTopic::default().with_partitions(vec![partition]);
    let named = match version >= 13 {
        true => named.with_topic_id(match topic {
            "records-missing" => Uuid::from_u128(99),
            topic => side.topic_id(topic),
        }),
        false => named.with_topic(topic_name(topic)),
    };
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![named])
}

fn fetching(pair: &mut Pair) -> Result<()> {
    make_topic(pair, "fetched", 1, &[])?;
    for values in [&["a", "b", "c"][..], &["d"], &["e", "f"]] {
        pair.ask(9, "to be fetched", |side| {
            produce(side, 9, "fetched", 0, 1, Some(batch(values)))
        })?;
    }
    for (what, offset) in [
        ("from the start", 0),
        ("in the middle", 4),
        ("at the end", 6),
        ("behind it", 7),
        ("before the start", -1),
    ] {
        pair.ask_every(what, |side, v| fetch(side, v, "fetched", 0, offset))?;
        pair.ask_every("committed only", |side, v| {
            fetch(side, v, "fetched", 0, offset).with_isolation_level(1)
        })?;
    }
    pair.ask_every("missing topic", |side, v| {
        fetch(side, v, "records-missing", 0, 0)
    })?;
    pair.ask_every("missing partition", |side, v| {
        fetch(side, v, "fetched", 9, 0)
    })?;
    pair.ask_every("one byte", |side, v| {
        let mut request = fetch(side, v, "fetched", 0, 0).with_max_bytes(1);
        request.topics[0].partitions[0].partition_max_bytes = 1;
        request
    })?;
    for version in 9..=18 {
        for epoch in [0, 3] {
            pair.ask(version, "leader epoch", |side| {
                let mut request = fetch(side, version, "fetched", 0, 0);
                request.topics[0].partitions[0].current_leader_epoch = epoch;
                request
            })?;
        }
    }
    Ok(())
}

/// Fetch sessions: each version opens one, goes on with it, and ends it.
fn sessions(pair: &mut Pair) -> Result<()> {
    for version in 7..=18 {
        let topic = format!("session-v{version}");
        make_topic(pair, &topic, 2, &[])?;
        let both = |side: &Side, partitions: &[(i32, i64)]| {
            let mut request = fetch(side, version, &topic, 0, 0);
            let asked = partitions.iter().map(|(index, offset)| {
                FetchPartition::default()
                    .with_partition(*index)
                    .with_fetch_offset(*offset)
                    .with_partition_max_bytes(1 << 20)
            });
            request.topics[0].partitions = asked.collect();
            if partitions.is_empty() {
                request.topics.clear();
            }
            request
        };
        let opened = pair.ask(version, "open", |side| {
            both(side, &[(0, 0), (1, 0)]).with_session_epoch(0)
        })?;
        pair.keep(&opened, |side, answer| {
            side.numbers
                .insert("session".to_owned(), i64::from(answer.session_id));
        });
        let go_on = |side: &Side, epoch: i32, partitions: &[(i32, i64)]| {
            both(side, partitions)
                .with_session_id(side.number("session") as i32)
                .with_session_epoch(epoch)
        };
        pair.ask(version, "no news", |side| go_on(side, 1, &[]))?;
        pair.ask(9, "news", |side| {
            produce(side, 9, &topic, 1, 1, Some(batch(&["a"])))
        })?;
        pair.ask(version, "go on", |side| go_on(side, 2, &[]))?;
        pair.ask(version, "from another offset", |side| {
            go_on(side, 3, &[(1, 1)])
        })?;
        pair.ask(version, "no news again", |side| go_on(side, 4, &[]))?;
        pair.ask(version, "out of range", |side| go_on(side, 5, &[(0, 9)]))?;
        pair.ask(version, "still out of range", |side| go_on(side, 6, &[]))?;
        pair.ask(version, "in range again", |side| go_on(side, 7, &[(0, 0)]))?;
        pair.ask(version, "an epoch too early", |side| go_on(side, 9, &[]))?;
        pair.ask(version, "forget one", |side| {
            let forgotten = ForgottenTopic::default().with_partitions(vec![1]);
            let forgotten = match version >= 13 {
                true => forgotten.with_topic_id(side.topic_id(&topic)),
                false => forgotten.with_topic(topic_name(&topic)),
            };
            go_on(side, 8, &[]).with_forgotten_topics_data(vec![forgotten])
        })?;
        pair.ask(9, "unheard of", |side| {
            produce(side, 9, &topic, 1, 1, Some(batch(&["b"])))
        })?;
        pair.ask(version, "what was forgotten is not told", |side| {
            go_on(side, 9, &[])
        })?;
        pair.ask(version, "end it", |side| go_on(side, -1, &[(0, 0)]))?;
        pair.ask(version, "go on all the same", |side| go_on(side, 10, &[]))?;
    }
    Ok(())
}

fn offsets(pair: &mut Pair) -> Result<()> {
    let list = |topic: &str, index: i32, timestamp: i64, epoch: i32| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_current_leader_epoch(epoch)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic])
    };
    for timestamp in [
        -1,
        -2,
        -3,
        -4,
        -5,
        -6,
        -7,
        0,
        TIME,
        TIME + 1,
        TIME + 2,
        TIME + 99,
    ] {
        pair.ask_every(&format!("time {timestamp}"), |_, _| {
            list("fetched", 0, timestamp, -1)
        })?;
    }
    pair.ask_every("missing topic", |_, _| list("records-missing", 0, -1, -1))?;
    pair.ask_every("missing partition", |_, _| list("fetched", 9, -1, -1))?;
    for version in 4..=11 {
        for epoch in [0, 7] {
            pair.ask(version, "leader epoch", |_| list("fetched", 0, -1, epoch))?;
        }
    }
    make_topic(pair, "never-written", 1, &[])?;
    for timestamp in [-1, -2, -3, TIME] {
        pair.ask_every("nothing there", |_, _| {
            list("never-written", 0, timestamp, -1)
        })?;
    }
    let end = |topic: &str, index, current, epoch| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(index)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-2))
            .with_topics(vec![topic])
    };
    for (what, topic, index, current, epoch) in [
        ("this epoch", "fetched", 0, -1, 0),
        ("a later one", "fetched", 0, -1, 5),
        ("none", "fetched", 0, -1, -1),
        ("known epoch", "fetched", 0, 0, 0),
        ("unknown epoch", "fetched", 0, 7, 0),
        ("never written", "never-written", 0, -1, 0),
        ("missing topic", "records-missing", 0, -1, 0),
        ("missing partition", "fetched", 9, -1, 0),
    ] {
        pair.ask_every(what, |_, _| end(topic, index, current, epoch))?;
    }
    Ok(())
}

fn deleting(pair: &mut Pair) -> Result<()> {
    make_topic(pair, "compacted-only", 1, &[("cleanup.policy", "compact")])?;
    for version in 0..=2 {
        let topic = format!("shortened-v{version}");
        make_topic(pair, &topic, 1, &[])?;
        pair.ask(9, "to be deleted", |side| {
            produce(side, 9, &topic, 0, 1, Some(batch(&["a", "b", "c"])))
        })?;
        for (what, name, index, offset) in [
            ("below one", topic.as_str(), 0, 1),
            ("below it again", &topic, 0, 0),
            ("behind the end", &topic, 0, 9),
            ("minus two", &topic, 0, -2),
            ("all", &topic, 0, -1),
            ("missing topic", "records-missing", 0, 0),
            ("missing partition", &topic, 9, 0),
            ("compacted", "compacted-only", 0, 0),
        ] {
            pair.ask(version, what, |_| {
                let partition = DeleteRecordsPartition::default()
                    .with_partition_index(index)
                    .with_offset(offset);
                let topic = DeleteRecordsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(vec![partition]);
                DeleteRecordsRequest::default()
                    .with_topics(vec![topic])
                    .with_timeout_ms(10_000)
            })?;
        }
        pair.ask(11, "what is left", |side| fetch(side, 11, &topic, 0, 0))?;
    }
    Ok(())
}

//! Nanoseconds per request for the guard, the hand decoders and the codec crate.
//!
//! `cargo bench -p reka-protocol` prints a line each: the fastest of several rounds, as the machine
//! is shared and noise only adds.

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use reka_protocol::guard::check_request;
use reka_protocol::messages::TopicLabel;
use reka_protocol::messages::fetch::{self, FetchRequest};
use reka_protocol::messages::produce::{self, ProduceRequest};
use reka_protocol::versions::{FETCH, PRODUCE, by_name};
use reka_protocol::{ErrorCode, Limits};
use uuid::Uuid;

const ROUNDS: usize = 15;

/// The fastest round's time per call.
fn measure(name: &str, calls: u32, mut call: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    println!("{name:<58} {best:>9.1} ns");
}

fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("encodes");
    out.freeze()
}

fn produce_body(topics: usize, partitions: i32, records: usize) -> Bytes {
    let partition = |index| {
        m::produce_request::PartitionProduceData::default()
            .with_index(index)
            .with_records(Some(Bytes::from(vec![7; records])))
    };
    let topic = |n| {
        m::produce_request::TopicProduceData::default()
            .with_name(StrBytes::from_string(format!("orders-{n}")).into())
            .with_partition_data((0..partitions).map(partition).collect())
    };
    let request = m::ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data((0..topics).map(topic).collect());
    encoded(&request, 9)
}

fn fetch_body(partitions: i32) -> Bytes {
    let partition = |index| {
        m::fetch_request::FetchPartition::default()
            .with_partition(index)
            .with_partition_max_bytes(1 << 20)
    };
    let topic = m::fetch_request::FetchTopic::default()
        .with_topic(StrBytes::from_static_str("orders").into())
        .with_partitions((0..partitions).map(partition).collect());
    encoded(&m::FetchRequest::default().with_topics(vec![topic]), 12)
}

fn metadata_body(topics: usize) -> Bytes {
    let topic = |n| {
        let name = StrBytes::from_string(format!("orders-{n}"));
        m::metadata_request::MetadataRequestTopic::default().with_name(Some(name.into()))
    };
    let topics = (0..topics).map(topic).collect();
    encoded(&m::MetadataRequest::default().with_topics(Some(topics)), 12)
}

fn main() {
    let limits = Limits::default();
    for (topics, partitions) in [(1, 1), (1, 16), (10, 16)] {
        let body = produce_body(topics, partitions, 1024);
        let shape = format!("Produce v9, {topics} x {partitions}, 1 KiB");
        let calls = 400_000 / (topics as u32 * partitions as u32);
        measure(&format!("{shape}: hand parse"), calls, || {
            let request = ProduceRequest::parse(&body, 0, 9, &limits);
            black_box(request.expect("parses"));
        });
        measure(&format!("{shape}: hand parse and walk"), calls, || {
            let request = ProduceRequest::parse(&body, 0, 9, &limits).expect("parses");
            for topic in request.topics() {
                for partition in topic.partitions() {
                    black_box(partition.records());
                }
            }
        });
        measure(&format!("{shape}: guard"), calls, || {
            black_box(check_request(&PRODUCE, 9, &body, 0, &limits).expect("passes"));
        });
        measure(&format!("{shape}: codec decode"), calls, || {
            black_box(m::ProduceRequest::decode(&mut body.clone(), 9).expect("decodes"));
        });
    }
    let body = fetch_body(16);
    measure("Fetch v12, 1 x 16: hand parse", 50_000, || {
        black_box(FetchRequest::parse(body.clone(), 0, 12, &limits).expect("parses"));
    });
    measure("Fetch v12, 1 x 16: guard", 50_000, || {
        black_box(check_request(&FETCH, 12, &body, 0, &limits).expect("passes"));
    });
    measure("Fetch v12, 1 x 16: codec decode", 50_000, || {
        black_box(m::FetchRequest::decode(&mut body.clone(), 12).expect("decodes"));
    });
    let metadata = by_name("Metadata").expect("Metadata");
    for topics in [1, 10] {
        let body = metadata_body(topics);
        measure(
            &format!("Metadata v12, {topics} topics: guard"),
            200_000,
            || {
                black_box(check_request(metadata, 12, &body, 0, &limits).expect("passes"));
            },
        );
        measure(
            &format!("Metadata v12, {topics} topics: codec decode"),
            100_000,
            || {
                black_box(m::MetadataRequest::decode(&mut body.clone(), 12).expect("decodes"));
            },
        );
    }
    let topic = TopicLabel {
        name: "orders",
        id: Uuid::nil(),
    };
    let answers = [produce::PartitionAnswer::refused(0, ErrorCode::None); 1];
    let mut frame = BytesMut::new();
    measure("Produce response v9, 1 x 1: encode", 200_000, || {
        frame.clear();
        let partitions = answers.iter().copied();
        let response = produce::ProduceResponse {
            topics: std::iter::once(produce::TopicAnswer { topic, partitions }),
            throttle_time_ms: 0,
            node_endpoints: &[],
        };
        response.encode(9, 1, &mut frame).expect("encodes");
        black_box(&frame);
    });
    let fetched: Vec<fetch::FetchedPartition<'_>> = (0..16)
        .map(|index| fetch::FetchedPartition {
            records_len: 65_536,
            ..fetch::FetchedPartition::refused(index, ErrorCode::None)
        })
        .collect();
    let topics = [fetch::FetchedTopic {
        topic,
        partitions: &fetched,
    }];
    let response = fetch::FetchResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::None,
        session_id: 0,
        topics: &topics,
        node_endpoints: &[],
    };
    measure("Fetch response v12, 1 x 16 of 64 KiB: rope", 50_000, || {
        black_box(response.encode(12, 1).expect("encodes"));
    });
}

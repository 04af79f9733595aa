//! A node on a free port with data in a temporary folder, and a client that speaks to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use reka_broker::config::Sources;
use reka_broker::loggers::{Level, Loggers};
use reka_broker::{Config, Node};
use reka_protocol::codec::request_frame;
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::fetch_response::PartitionData;
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::produce_response::PartitionProduceResponse;
use reka_protocol::kafka_protocol::messages::{
    FetchRequest, ProduceRequest, ResponseHeader, TopicName,
};
use reka_protocol::kafka_protocol::protocol::{Decodable, Request, StrBytes};
use reka_protocol::versions;
use reka_records::{BatchBuilder, batches};

/// Longer than anything here takes; a hang fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

/// The configuration of a node with data in `dir`, on a free port.
pub(crate) fn config(dir: &Path, more: &[&str]) -> Config {
    let mut overrides = vec![
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        "reka.http.listener=127.0.0.1:0".to_owned(),
        format!("log.dirs={}", dir.display()),
    ];
    overrides.extend(more.iter().map(ToString::to_string));
    let sources = Sources {
        overrides,
        ..Sources::default()
    };
    Config::load(&sources).expect("a good configuration").config
}

/// Loggers whose warnings and errors are in a failed test's output.
pub(crate) fn loggers() -> Loggers {
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
    // The first test of the process does it for all.
    let _ = lines.with_test_writer().try_init();
    Loggers::new(Level::Warn, &[], Box::new(|_| {}))
}

/// A node with data in `dir`.
pub(crate) fn start(dir: &Path) -> Node {
    start_with(dir, &[])
}

/// The same with more settings.
pub(crate) fn start_with(dir: &Path, more: &[&str]) -> Node {
    Node::start(config(dir, more), loggers()).expect("a node that starts")
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(node: &Node) -> Client {
        let stream = TcpStream::connect(node.listeners()[0].bound).expect("a node that listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Client {
            stream,
            correlation_id: 0,
        }
    }

    /// Sends a request without waiting for its answer; its correlation id.
    pub(crate) fn send<R: Request + 'static>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation_id += 1;
        let api = versions::by_key(R::KEY).expect("a known api");
        let frame = request_frame(api, version, self.correlation_id, Some("test"), request)
            .expect("a request of this version");
        self.stream.write_all(&frame).expect("a connection");
        self.correlation_id
    }

    /// The answer that comes next, which must be the one to `correlation_id`.
    pub(crate) fn receive<R: Request>(&mut self, version: i16, correlation_id: i32) -> R::Response {
        let api = versions::by_key(R::KEY).expect("a known api");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("an answer");
        let mut frame = vec![0; i32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).expect("a whole answer");
        let mut frame = bytes::Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, api.response_header_version(version))
            .expect("a header");
        assert_eq!(header.correlation_id, correlation_id);
        let response = R::Response::decode(&mut frame, api.codec_version(version))
            .expect("an answer of this version");
        assert!(frame.is_empty(), "bytes behind the answer");
        response
    }

    pub(crate) fn call<R: Request + 'static>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation_id = self.send(version, request);
        self.receive::<R>(version, correlation_id)
    }

    /// The connection was closed without an answer.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 16]), Ok(0) | Err(_))
    }

    /// Produces one batch with acks=1.
    pub(crate) fn produce(
        &mut self,
        version: i16,
        topic: &str,
        batch: Vec<u8>,
    ) -> PartitionProduceResponse {
        let correlation_id = self.send(version, &produce_request(topic, batch));
        let mut response = self.receive::<ProduceRequest>(version, correlation_id);
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches partition 0 of a topic.
    pub(crate) fn fetch(
        &mut self,
        version: i16,
        topic: &str,
        offset: i64,
        wait_ms: i32,
    ) -> PartitionData {
        let correlation_id = self.send(version, &fetch_request(topic, offset, wait_ms));
        let mut response = self.receive::<FetchRequest>(version, correlation_id);
        response.responses.remove(0).partitions.remove(0)
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(crate) fn produce_request(topic: &str, batch: Vec<u8>) -> ProduceRequest {
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(batch.into()));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn fetch_request(topic: &str, offset: i64, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A batch of these values, from a producer if one is named (id, first sequence).
pub(crate) fn batch(values: &[&str], producer: Option<(i64, i32)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    let mut base_timestamp = 1_000;
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
        // A producer last heard of in 1970 is forgotten at the first look.
        base_timestamp = reka_broker::clock::Clock::System.now_ms();
    }
    for (offset, value) in values.iter().enumerate() {
        let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        builder
            .append(
                offset as i64,
                base_timestamp + offset as i64,
                None,
                Some(value.as_bytes()),
                headers,
            )
            .expect("a record that fits");
    }
    builder.finish()
}

/// Offsets and values in an answer to a fetch, checksums verified.
pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let mut scratch = Vec::new();
    let mut found = Vec::new();
    for batch in batches(data.records.as_deref().unwrap_or_default()) {
        let batch = batch.expect("a whole batch");
        batch.verify_crc().expect("an intact batch");
        for record in batch.records(&mut scratch, 1 << 20).expect("records") {
            let record = record.expect("a record");
            found.push((
                record.offset,
                String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
            ));
        }
    }
    found
}

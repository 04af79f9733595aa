//! A broker with one topic of one partition whose log a test writes and rewrites: for what a real
//! broker does only when things go very wrong.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use reka_protocol::kafka_protocol::messages::api_versions_response::ApiVersion;
use reka_protocol::kafka_protocol::messages::fetch_response::{
    FetchableTopicResponse, PartitionData,
};
use reka_protocol::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use reka_protocol::kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, MetadataResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName,
};
use reka_protocol::{ErrorCode, Request, codec, encode_response, versions};
use reka_records::BatchBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOPIC: &str = "scripted";

/// What the partition holds: a batch of one record per entry, with the epoch of its leader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) epoch: i32,
    pub(crate) records: Vec<(i32, String)>,
}

/// The broker. It ends with the runtime.
pub(crate) struct Scripted {
    pub(crate) address: String,
    log: Arc<Mutex<Log>>,
}

impl Scripted {
    pub(crate) async fn start(log: Log) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Mutex::new(log));
        let served = log.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let log = served.clone();
                tokio::spawn(async move { serve(stream, address.port(), &log).await });
            }
        });
        Scripted {
            address: address.to_string(),
            log,
        }
    }

    /// Another leader, with another log.
    pub(crate) fn change(&self, log: Log) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }
}

async fn serve(mut stream: TcpStream, port: u16, log: &Mutex<Log>) -> Option<()> {
    loop {
        let size = stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(size).ok()?];
        stream.read_exact(&mut frame).await.ok()?;
        let frame = Bytes::from(frame);
        let log = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = answer(&frame, port, &log);
        stream.write_all(&answer).await.ok()?;
    }
}

/// Answers in versions that call topics by names.
fn answer(frame: &Bytes, port: u16, log: &Log) -> BytesMut {
    let header = Request::header(frame).expect("a request");
    let (api, version, id) = (header.api, header.version, header.correlation_id);
    let mut body = frame.slice(header.body_at..);
    let name = || TopicName(TOPIC.to_owned().into());
    let encoded = match api.name {
        "ApiVersions" => {
            let range = |name: &str, min, max| {
                let key = versions::by_name(name).expect("an api").key;
                ApiVersion::default()
                    .with_api_key(key)
                    .with_min_version(min)
                    .with_max_version(max)
            };
            let answer = ApiVersionsResponse::default().with_api_keys(vec![
                range("ApiVersions", 0, 4),
                range("Metadata", 4, 8),
                range("Fetch", 4, 11),
                range("OffsetForLeaderEpoch", 2, 3),
            ]);
            encode_response(api, version, id, &answer)
        }
        "Metadata" => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(1))
                .with_host("127.0.0.1".into())
                .with_port(i32::from(port));
            let partition = MetadataResponsePartition::default()
                .with_leader_id(BrokerId(1))
                .with_leader_epoch(log.epoch)
                .with_replica_nodes(vec![BrokerId(1)])
                .with_isr_nodes(vec![BrokerId(1)]);
            let topic = MetadataResponseTopic::default()
                .with_name(Some(name()))
                .with_partitions(vec![partition]);
            let answer = MetadataResponse::default()
                .with_brokers(vec![broker])
                .with_topics(vec![topic]);
            encode_response(api, version, id, &answer)
        }
        "Fetch" => {
            let request: FetchRequest =
                codec::decode_request(api, version, &mut body).expect("a fetch");
            let data = fetched(&request, log);
            let topic = FetchableTopicResponse::default()
                .with_topic(name())
                .with_partitions(data.into_iter().collect());
            let answer = FetchResponse::default().with_responses(vec![topic]);
            encode_response(api, version, id, &answer)
        }
        "OffsetForLeaderEpoch" => {
            let request: OffsetForLeaderEpochRequest =
                codec::decode_request(api, version, &mut body).expect("a question");
            let epoch = request.topics[0].partitions[0].leader_epoch;
            // The largest epoch up to the one in question, and where it ended.
            let known = |record: &&(i32, String)| record.0 <= epoch;
            let end = log.records.iter().filter(known).count();
            let last = log.records[..end].last().map_or(-1, |record| record.0);
            let end = EpochEndOffset::default()
                .with_leader_epoch(last)
                .with_end_offset(if last < 0 { -1 } else { end as i64 });
            let topic = OffsetForLeaderTopicResult::default()
                .with_topic(name())
                .with_partitions(vec![end]);
            let answer = OffsetForLeaderEpochResponse::default().with_topics(vec![topic]);
            encode_response(api, version, id, &answer)
        }
        other => panic!("nobody asks for {other} here"),
    };
    encoded.expect("an answer")
}

fn fetched(request: &FetchRequest, log: &Log) -> Option<PartitionData> {
    let asked = request.topics.first()?.partitions.first()?;
    let end = log.records.len() as i64;
    let data = PartitionData::default()
        .with_high_watermark(end)
        .with_last_stable_offset(end);
    if asked.current_leader_epoch < log.epoch {
        return Some(data.with_error_code(ErrorCode::FencedLeaderEpoch.code()));
    }
    let mut bytes = Vec::new();
    for (offset, (epoch, value)) in (0..).zip(&log.records) {
        if offset >= asked.fetch_offset {
            let mut batch = BatchBuilder::new(offset).leader_epoch(*epoch);
            let none: [(&[u8], Option<&[u8]>); 0] = [];
            let value = Some(value.as_bytes());
            batch.append(offset, 0, None, value, none).expect("room");
            bytes.extend(batch.finish());
        }
    }
    Some(data.with_records(Some(bytes.into())))
}

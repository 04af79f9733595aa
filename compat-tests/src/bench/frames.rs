//! What the load sends, made before it is sent.

use bytes::{BufMut, Bytes, BytesMut};
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    FetchRequest, ProduceRequest, RequestHeader, TopicName,
};
use reka_protocol::kafka_protocol::protocol::{Encodable, Request, StrBytes};
use reka_protocol::versions;
use reka_records::BatchBuilder;

use crate::error::{Error, Result};

/// Produce in the version whose answer has its error code at [`Target::produce_error_at`].
pub const PRODUCE_VERSION: i16 = 9;
/// Fetch without topic ids, so that no metadata has to be asked for.
pub const FETCH_VERSION: i16 = 12;

/// One partition of a topic.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
}

impl Target<'_> {
    fn topic_name(&self) -> TopicName {
        TopicName(StrBytes::from_string(self.topic.to_owned()))
    }

    /// A whole Produce frame with one batch.
    pub fn produce(&self, acks: i16, batch: Bytes) -> Result<Bytes> {
        self.produce_in(PRODUCE_VERSION, acks, batch)
    }

    /// The same in another version.
    pub fn produce_in(&self, version: i16, acks: i16, batch: Bytes) -> Result<Bytes> {
        let data = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(batch));
        let topic = TopicProduceData::default()
            .with_name(self.topic_name())
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(acks)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        frame(version, &request)
    }

    /// A whole Fetch frame.
    pub fn fetch(&self, offset: i64, max_bytes: i32, max_wait_ms: i32) -> Result<Bytes> {
        self.fetch_at(offset, max_bytes, max_wait_ms, 0)
    }

    /// The same at an isolation level; 1 is committed data.
    pub fn fetch_at(
        &self,
        offset: i64,
        max_bytes: i32,
        max_wait_ms: i32,
        isolation_level: i8,
    ) -> Result<Bytes> {
        let partition = FetchPartition::default()
            .with_partition(self.partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(max_bytes);
        let topic = FetchTopic::default()
            .with_topic(self.topic_name())
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(max_bytes)
            .with_isolation_level(isolation_level)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        frame(FETCH_VERSION, &request)
    }

    /// Where the error code is in the answer to [`Self::produce`], behind its size.
    pub fn produce_error_at(&self) -> usize {
        // Correlation id, tags, topics, the name with its length, partitions, index.
        4 + 1 + 1 + 1 + self.topic.len() + 1 + 4
    }
}

/// Where the error code is in the answer to a Fetch, behind its size: correlation id, tags,
/// throttle time.
pub const FETCH_ERROR_AT: usize = 4 + 1 + 4;

/// A batch of `records` records of `value_bytes` each.
pub fn batch(records: usize, value_bytes: usize, timestamp_ms: i64) -> Result<Bytes> {
    let value: Vec<u8> = (0..value_bytes).map(|at| b'a' + (at % 23) as u8).collect();
    let mut builder = BatchBuilder::new(0);
    for offset in 0..records {
        let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        builder
            .append(offset as i64, timestamp_ms, None, Some(&value), none)
            .map_err(|error| Error::refused("make a batch", error.to_string()))?;
    }
    Ok(Bytes::from(builder.finish()))
}

/// A whole frame.
pub fn frame<R: Request>(version: i16, request: &R) -> Result<Bytes> {
    let step = format!("make a request for api {}", R::KEY);
    let refused = |why: String| Error::refused(step.as_str(), why);
    let api = versions::by_key(R::KEY).ok_or_else(|| refused("not in the table".into()))?;
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut body = BytesMut::new();
    header
        .encode(&mut body, api.request_header_version(version))
        .and_then(|()| request.encode(&mut body, api.codec_version(version)))
        .map_err(|error| refused(error.to_string()))?;
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.put_i32(body.len() as i32);
    frame.extend_from_slice(&body);
    Ok(frame.freeze())
}

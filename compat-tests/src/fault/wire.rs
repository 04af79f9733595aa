//! What a fault does to one request or one answer. Pure, but for what [`Names`] remembers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use reka_protocol::codec::decode_request;
use reka_protocol::kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use reka_protocol::kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{
    DescribeProducersRequest, FetchRequest, FetchResponse, MetadataRequest, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ProduceRequest,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use reka_protocol::kafka_protocol::protocol::Request;
use reka_protocol::response::{LIMITS, decode_response};
use reka_protocol::{Api, RequestHeader, encode_response, versions};
use reka_records::batches;
use reka_records::crc::crc32c;
use reka_records::layout::{
    ATTRIBUTES, BATCH_LENGTH, BATCH_LENGTH_MIN, CRC, HEADER_BYTES, RECORD_COUNT,
};
use uuid::Uuid;

use super::Fault;

/// One of so many is lost or forgotten.
const ONE_IN: i64 = 7;
/// Topics in which programs keep what they must find again: to lose it says nothing about the row.
const INTERNAL: [&str; 5] = [
    "-configs",
    "-offsets",
    "-status",
    "-changelog",
    "-repartition",
];

/// Names of topics, as newer requests only have their ids.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<Uuid, String>>);

impl Names {
    fn learn(&self, version: i16, frame: &Bytes) {
        let Ok(told) = decode_response::<MetadataRequest>(version, frame, &LIMITS) else {
            return;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in told.topics {
            if let Some(name) = topic.name {
                known.insert(topic.topic_id, name.0.to_string());
            }
        }
    }

    fn of(&self, id: Uuid) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned().unwrap_or_default()
    }
}

/// An answer to a request that the broker is not to see; nothing if it is.
pub(super) fn forget(
    fault: Fault,
    header: &RequestHeader<'_>,
    frame: &Bytes,
    commits: &mut i64,
) -> Option<BytesMut> {
    let (api, version) = (header.api, header.version);
    match fault {
        Fault::ForgetCommits if api.key == OffsetCommitRequest::KEY => {
            *commits += 1;
            if *commits % ONE_IN != 0 {
                return None;
            }
            let request: OffsetCommitRequest = body(api, version, header, frame)?;
            answer(api, header, &committed(request))
        }
        Fault::ForgetOffsetsOfTransactions if api.key == TxnOffsetCommitRequest::KEY => {
            let request: TxnOffsetCommitRequest = body(api, version, header, frame)?;
            answer(api, header, &committed_in_transaction(request))
        }
        _ => None,
    }
}

/// Whether a produce request says that it waits for no answer.
pub(super) fn wants_no_answer(header: &RequestHeader<'_>, frame: &Bytes) -> bool {
    let request = body::<ProduceRequest>(header.api, header.version, header, frame);
    request.is_some_and(|request| request.acks == 0)
}

fn body<T: Request + 'static>(
    api: &Api,
    version: i16,
    header: &RequestHeader<'_>,
    frame: &Bytes,
) -> Option<T> {
    decode_request(api, version, &mut frame.slice(header.body_at..)).ok()
}

fn answer<T: reka_protocol::kafka_protocol::protocol::Encodable>(
    api: &Api,
    header: &RequestHeader<'_>,
    answer: &T,
) -> Option<BytesMut> {
    encode_response(api, header.version, header.correlation_id, answer).ok()
}

fn committed(request: OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn committed_in_transaction(request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

/// Another answer instead of what the broker said in `frame`; nothing if it may pass as it is.
pub(super) fn alter(
    fault: Fault,
    names: &Names,
    (key, version, correlation_id): (i16, i16, i32),
    frame: &Bytes,
) -> Option<BytesMut> {
    let api = versions::by_key(key)?;
    match fault {
        Fault::LoseRecords { topics } => {
            if key == MetadataRequest::KEY {
                names.learn(version, frame);
            }
            if key != FetchRequest::KEY {
                return None;
            }
            let mut told = decode_response::<FetchRequest>(version, frame, &LIMITS).ok()?;
            if !lose_records(&mut told, names, topics) {
                return None;
            }
            encode_response(api, version, correlation_id, &told).ok()
        }
        Fault::TellLess if key == OffsetFetchRequest::KEY => {
            let mut told = decode_response::<OffsetFetchRequest>(version, frame, &LIMITS).ok()?;
            tell_less(&mut told);
            encode_response(api, version, correlation_id, &told).ok()
        }
        Fault::HideProducers if key == DescribeProducersRequest::KEY => {
            let told = decode_response::<DescribeProducersRequest>(version, frame, &LIMITS);
            let mut told = told.ok()?;
            for topic in &mut told.topics {
                for partition in &mut topic.partitions {
                    partition.active_producers.clear();
                }
            }
            encode_response(api, version, correlation_id, &told).ok()
        }
        Fault::TellLess
        | Fault::ForgetCommits
        | Fault::ForgetOffsetsOfTransactions
        | Fault::HideProducers => None,
    }
}

fn tell_less(told: &mut OffsetFetchResponse) {
    let less = |offset: &mut i64| *offset -= i64::from(*offset > 0);
    for topic in &mut told.topics {
        for partition in &mut topic.partitions {
            less(&mut partition.committed_offset);
        }
    }
    let groups = told.groups.iter_mut();
    for topic in groups.flat_map(|group| &mut group.topics) {
        for partition in &mut topic.partitions {
            less(&mut partition.committed_offset);
        }
    }
}

/// Whether any were lost.
fn lose_records(told: &mut FetchResponse, names: &Names, topics: &[&str]) -> bool {
    let mut lost = false;
    for topic in &mut told.responses {
        let name = match topic.topic.0.is_empty() {
            true => names.of(topic.topic_id),
            false => topic.topic.0.to_string(),
        };
        let internal = name.is_empty()
            || name.starts_with("__")
            || INTERNAL.iter().any(|end| name.ends_with(end));
        if internal || !(topics.is_empty() || topics.iter().any(|end| name.ends_with(end))) {
            continue;
        }
        for partition in &mut topic.partitions {
            if let Some(records) = &partition.records
                && let Some(fewer) = without_some(records)
            {
                partition.records = Some(fewer);
                lost = true;
            }
        }
    }
    lost
}

/// The same batches, of which some are empty, as compaction leaves them: readers go past them. Which
/// these are depends on their offset only, so that they are lost to all.
fn without_some(records: &Bytes) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(records.len());
    let mut at = 0;
    let mut lost = false;
    for batch in batches(records) {
        // What was cut off at the end passes as it is.
        let Ok(batch) = batch else { break };
        let header = batch.header();
        at += batch.bytes().len();
        if header.is_control() || header.base_offset % ONE_IN != ONE_IN / 2 {
            out.extend_from_slice(batch.bytes());
            continue;
        }
        lost = true;
        out.extend_from_slice(&emptied(batch.bytes()));
    }
    out.extend_from_slice(&records[at..]);
    lost.then(|| out.freeze())
}

/// A batch's header without its records: the length, the count and the checksum follow from that.
fn emptied(batch: &[u8]) -> Vec<u8> {
    const COMPRESSION_BITS: u8 = 7;
    let mut empty = batch[..HEADER_BYTES].to_vec();
    empty[BATCH_LENGTH.range()].copy_from_slice(&BATCH_LENGTH_MIN.to_be_bytes());
    empty[RECORD_COUNT.range()].copy_from_slice(&0_i32.to_be_bytes());
    // Nothing is compressed any more.
    empty[ATTRIBUTES.end() - 1] &= !COMPRESSION_BITS;
    let crc = crc32c(&empty[CRC.end()..]);
    empty[CRC.range()].copy_from_slice(&crc.to_be_bytes());
    empty
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_protocol::kafka_protocol::messages::TopicName;
    use reka_protocol::kafka_protocol::messages::fetch_response::{
        FetchableTopicResponse, PartitionData,
    };
    use reka_protocol::kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponsePartition, OffsetFetchResponseTopic,
    };
    use reka_protocol::kafka_protocol::protocol::StrBytes;
    use reka_records::BatchBuilder;

    fn fetched(topic: &'static str, offsets: std::ops::Range<i64>) -> Bytes {
        let mut records = Vec::new();
        for offset in offsets {
            let mut builder = BatchBuilder::new(offset);
            let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
            let appended = builder.append(offset, 0, None, Some(b"value"), none);
            appended.expect("a record");
            records.extend_from_slice(&builder.finish());
        }
        let partition = PartitionData::default().with_records(Some(records.into()));
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str(topic)))
            .with_partitions(vec![partition]);
        let told = FetchResponse::default().with_responses(vec![topic]);
        let frame = encode_response(&versions::FETCH, 11, 7, &told).expect("an answer");
        frame.freeze().slice(4..)
    }

    /// How many batches there are, and the offsets of those without records.
    fn batches_of(frame: BytesMut) -> (usize, Vec<i64>) {
        let frame = frame.freeze().slice(4..);
        let told = decode_response::<FetchRequest>(11, &frame, &LIMITS).expect("an answer");
        let records = told.responses[0].partitions[0].records.clone();
        let (mut count, mut empty) = (0, Vec::new());
        for batch in batches(&records.expect("records")) {
            let batch = batch.expect("a batch");
            batch.verify_crc().expect("its checksum");
            count += 1;
            if batch.records_bytes().is_empty() {
                empty.push(batch.header().base_offset);
            }
        }
        (count, empty)
    }

    #[test]
    fn one_batch_of_seven_loses_its_records_and_keeps_its_place() {
        let names = Names::default();
        let lose = |topic, topics| {
            let fault = Fault::LoseRecords { topics };
            alter(fault, &names, (1, 11, 7), &fetched(topic, 0..20))
        };
        let lost = lose("in", &["in"]).expect("another answer");
        assert_eq!(batches_of(lost), (20, vec![3, 10, 17]));
        assert!(lose("out", &["in"]).is_none());
        assert!(lose("any", &[]).is_some());
        assert!(lose("__consumer_offsets", &[]).is_none());
        assert!(lose("c-configs", &[]).is_none());
    }

    #[test]
    fn committed_offsets_are_one_less_but_for_those_that_are_none() {
        let partition =
            |offset| OffsetFetchResponsePartition::default().with_committed_offset(offset);
        let topic =
            OffsetFetchResponseTopic::default().with_partitions([-1, 0, 5].map(partition).to_vec());
        let mut told = OffsetFetchResponse::default().with_topics(vec![topic]);
        tell_less(&mut told);
        let partitions = told.topics[0].partitions.iter();
        let offsets: Vec<i64> = partitions.map(|told| told.committed_offset).collect();
        assert_eq!(offsets, [-1, 0, 4]);
    }
}

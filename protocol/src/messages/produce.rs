//! Produce: the request without copying or allocating per field, the response written directly.
//!
//! `ProduceRequest::parse` walks the body once and checks it; topics and partitions are then read
//! from the frame again as they are asked for, which costs a few nanoseconds each and no memory.
//! Versions 0 to 2 differ only in lacking the transactional id. They are parsed so that each
//! partition can be told UNSUPPORTED_VERSION; their records are in formats no longer accepted.

use std::ops::Range;

use bytes::BytesMut;

use super::{LeaderIdAndEpoch, NodeEndpoint, TopicLabel, TopicRef};
use crate::error::{DecodeError, EncodeError, Fault, InField, Problem, Read};
use crate::error_code::ErrorCode;
use crate::guard::Limits;
use crate::versions::PRODUCE;
use crate::wire::{Put, Reader, Writer};

/// First version that names topics by id.
const TOPIC_ID_FROM: i16 = 13;

/// A checked Produce request.
#[derive(Debug, Clone, Copy)]
pub struct ProduceRequest<'a> {
    frame: &'a [u8],
    version: i16,
    /// Set by transactional producers.
    pub transactional_id: Option<&'a str>,
    /// 0 for no answer at all, 1 for the leader's word, -1 for all in-sync replicas. Other values
    /// are for the handler to refuse.
    pub acks: i16,
    /// How long to wait for the replicas.
    pub timeout_ms: i32,
    /// Where the topics' count ends.
    topics_at: usize,
    topics: usize,
    partitions: usize,
}

impl<'a> ProduceRequest<'a> {
    /// Checks the body that starts at `body_at` of `frame`.
    pub fn parse(
        frame: &'a [u8],
        body_at: usize,
        version: i16,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        Self::read(frame, body_at, version, limits)
            .map_err(|fault| fault.of("Produce request", version))
    }

    /// Whether a request says that it is part of a transaction; nothing else is looked at.
    pub fn is_transactional(frame: &[u8], body_at: usize, version: i16) -> bool {
        let body = frame.get(body_at..).unwrap_or_default();
        version >= 3
            && match PRODUCE.is_flexible(version) {
                true => body.first().is_some_and(|length| *length != 0),
                false => body.first().is_some_and(|high| *high < 0x80),
            }
    }

    fn read(frame: &'a [u8], body_at: usize, version: i16, limits: &Limits) -> Read<Self> {
        let mut reader = Reader::new(frame, body_at, PRODUCE.is_flexible(version));
        let transactional_id = if version >= 3 {
            reader.nullable_string().field("transactional_id")?
        } else {
            None
        };
        let acks = reader.i16().field("acks")?;
        let timeout_ms = reader.i32().field("timeout_ms")?;
        let topics = reader.count(topic_bytes_min(version)).field("topic_data")?;
        let topics_at = reader.at();
        let mut partitions = 0_usize;
        let mut check_topics = || -> Read<()> {
            for _ in 0..topics {
                let topic = read_topic(&mut reader, version)?;
                partitions += topic.partitions;
                if topics + partitions > limits.elements_max {
                    let limit = limits.elements_max;
                    let problem = Problem::TooManyElements { limit };
                    return Err(Fault::new(reader.at(), problem).inside("partition_data"));
                }
                skip_partitions(&mut reader, topic.partitions).field("partition_data")?;
            }
            Ok(())
        };
        check_topics().field("topic_data")?;
        reader.skip_tags()?;
        Ok(ProduceRequest {
            version,
            transactional_id,
            acks,
            timeout_ms,
            topics_at,
            topics,
            partitions,
            frame,
        })
    }

    /// How many topics.
    pub fn topic_count(&self) -> usize {
        self.topics
    }

    /// How many partitions in all topics.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The topics, in the client's order; one may come twice.
    pub fn topics(&self) -> Topics<'a> {
        self.topics_at().of(self.frame)
    }

    /// Where the topics are, to find them again in the frame once records were written to.
    pub fn topics_at(&self) -> TopicsAt {
        TopicsAt {
            version: self.version,
            at: self.topics_at,
            count: self.topics,
        }
    }
}

/// Where in its frame a request has its topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicsAt {
    version: i16,
    at: usize,
    count: usize,
}

impl TopicsAt {
    /// The topics in the frame they were found in.
    pub fn of(self, frame: &[u8]) -> Topics<'_> {
        Topics {
            frame,
            version: self.version,
            reader: Reader::new(frame, self.at, PRODUCE.is_flexible(self.version)),
            left: self.count,
        }
    }
}

fn topic_bytes_min(version: i16) -> usize {
    let flexible = PRODUCE.is_flexible(version);
    let label = match version {
        TOPIC_ID_FROM.. => 16,
        _ if flexible => 1,
        _ => 2,
    };
    // The partitions' count, and in flexible versions the tagged fields' count.
    label + if flexible { 2 } else { 4 }
}

/// A topic up to its partitions.
struct TopicHead<'a> {
    topic: TopicRef<'a>,
    partitions: usize,
}

#[inline]
fn read_topic<'a>(reader: &mut Reader<'a>, version: i16) -> Read<TopicHead<'a>> {
    let topic = if version >= TOPIC_ID_FROM {
        TopicRef::Id(reader.uuid().field("topic_id")?)
    } else {
        TopicRef::Name(reader.string().field("name")?)
    };
    let partition_bytes_min = if reader.is_flexible() { 6 } else { 8 };
    let partitions = reader.count(partition_bytes_min).field("partition_data")?;
    Ok(TopicHead { topic, partitions })
}

#[inline]
fn read_partition(reader: &mut Reader<'_>) -> Read<(i32, Option<Range<usize>>)> {
    let index = reader.i32().field("index")?;
    let records = reader.nullable_bytes().field("records")?;
    reader.skip_tags()?;
    Ok((index, records))
}

/// The partitions of a topic and the end of the topic.
#[inline]
fn skip_partitions(reader: &mut Reader<'_>, count: usize) -> Read<()> {
    for _ in 0..count {
        read_partition(reader)?;
    }
    reader.skip_tags()
}

/// Iterates over the topics of a request.
#[derive(Debug, Clone)]
pub struct Topics<'a> {
    frame: &'a [u8],
    version: i16,
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Topics<'a> {
    type Item = Topic<'a>;

    // Parsing has read every byte here once, so `ok()?` never ends the iteration early.
    #[inline]
    fn next(&mut self) -> Option<Topic<'a>> {
        self.left = self.left.checked_sub(1)?;
        let head = read_topic(&mut self.reader, self.version).ok()?;
        let partitions = Partitions {
            frame: self.frame,
            reader: self.reader.clone(),
            left: head.partitions,
        };
        skip_partitions(&mut self.reader, head.partitions).ok()?;
        Some(Topic {
            topic: head.topic,
            partitions,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Topics<'_> {}

/// A topic of a request.
#[derive(Debug, Clone)]
pub struct Topic<'a> {
    /// Which topic.
    pub topic: TopicRef<'a>,
    partitions: Partitions<'a>,
}

impl<'a> Topic<'a> {
    /// The partitions, in the client's order; one may come twice.
    #[inline]
    pub fn partitions(&self) -> Partitions<'a> {
        self.partitions.clone()
    }
}

/// Iterates over the partitions of a topic.
#[derive(Debug, Clone)]
pub struct Partitions<'a> {
    frame: &'a [u8],
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Partitions<'a> {
    type Item = Partition<'a>;

    #[inline]
    fn next(&mut self) -> Option<Partition<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (index, range) = read_partition(&mut self.reader).ok()?;
        Some(Partition {
            frame: self.frame,
            index,
            range,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Partitions<'_> {}

/// A partition of a request: its number and where its records are.
#[derive(Debug, Clone)]
pub struct Partition<'a> {
    frame: &'a [u8],
    /// The number; may be negative or of a partition that does not exist.
    pub index: i32,
    range: Option<Range<usize>>,
}

impl<'a> Partition<'a> {
    /// The record batches, unchecked.
    #[inline]
    pub fn records(&self) -> Option<&'a [u8]> {
        self.frame.get(self.range.clone()?)
    }

    /// Where the record batches are in the frame, for writing into them.
    pub fn records_range(&self) -> Option<Range<usize>> {
        self.range.clone()
    }
}

/// What became of one record of a refused batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// The record's position in the batch.
    pub batch_index: i32,
    /// Why it was refused.
    pub message: Option<String>,
}

/// What became of one partition's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionAnswer<'a> {
    /// The number, as asked.
    pub index: i32,
    /// NONE when the records are in the log.
    pub error_code: ErrorCode,
    /// The offset of the first record, or -1.
    pub base_offset: i64,
    /// The broker's append time for topics that stamp it, or -1.
    pub log_append_time_ms: i64,
    /// The log start offset, or -1; from version 5.
    pub log_start_offset: i64,
    /// Which records were at fault; from version 8.
    pub record_errors: &'a [RecordError],
    /// What to tell the user; from version 8.
    pub error_message: Option<&'a str>,
    /// Where the leader is instead; from version 10.
    pub current_leader: Option<LeaderIdAndEpoch>,
}

impl PartitionAnswer<'_> {
    /// The answer for a partition nothing was appended to.
    pub fn refused(index: i32, error_code: ErrorCode) -> Self {
        PartitionAnswer {
            index,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: &[],
            error_message: None,
            current_leader: None,
        }
    }
}

/// The partitions of one topic in an answer.
#[derive(Debug, Clone, Copy)]
pub struct TopicAnswer<'a, P> {
    /// The topic, as asked.
    pub topic: TopicLabel<'a>,
    /// Its partitions, as asked: an iterator of [`PartitionAnswer`].
    pub partitions: P,
}

/// The answer.
#[derive(Debug, Clone, Copy)]
pub struct ProduceResponse<'a, T> {
    /// One per topic of the request: an iterator of [`TopicAnswer`].
    pub topics: T,
    /// How long the client was throttled; from version 1.
    pub throttle_time_ms: i32,
    /// The brokers named as current leaders; from version 10.
    pub node_endpoints: &'a [NodeEndpoint<'a>],
}

impl<'a, T, P> ProduceResponse<'a, T>
where
    T: ExactSizeIterator<Item = TopicAnswer<'a, P>>,
    P: ExactSizeIterator<Item = PartitionAnswer<'a>>,
{
    /// A whole response frame behind what is in `out`. Fields that a version lacks are left out:
    /// all of them only help.
    pub fn encode(
        self,
        version: i16,
        correlation_id: i32,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        super::response_into(out, &PRODUCE, version, correlation_id, |out| {
            self.put(out, version)
        })
    }

    fn put(self, out: &mut Writer<'_>, version: i16) -> Put {
        out.each(self.topics, |out, topic| {
            if version >= TOPIC_ID_FROM {
                out.uuid(topic.topic.id);
            } else {
                out.string(topic.topic.name)?;
            }
            out.each(topic.partitions, |out, partition| {
                put_partition(out, &partition, version)
            })?;
            out.no_tags();
            Ok(())
        })?;
        if version >= 1 {
            out.i32(self.throttle_time_ms);
        }
        if version >= 10 && !self.node_endpoints.is_empty() {
            out.tag_count(1);
            return out.tag(0, |out| super::put_node_endpoints(out, self.node_endpoints));
        }
        out.no_tags();
        Ok(())
    }
}

fn put_partition(out: &mut Writer<'_>, partition: &PartitionAnswer<'_>, version: i16) -> Put {
    out.i32(partition.index);
    out.i16(partition.error_code.code());
    out.i64(partition.base_offset);
    if version >= 2 {
        out.i64(partition.log_append_time_ms);
    }
    if version >= 5 {
        out.i64(partition.log_start_offset);
    }
    if version >= 8 {
        out.array(partition.record_errors, |out, error| {
            out.i32(error.batch_index);
            out.nullable_string(error.message.as_deref())?;
            out.no_tags();
            Ok(())
        })?;
        out.nullable_string(partition.error_message)?;
    }
    match partition.current_leader {
        Some(leader) if version >= 10 => {
            out.tag_count(1);
            out.tag(0, |out| super::put_leader(out, leader))
        }
        _ => {
            out.no_tags();
            Ok(())
        }
    }
}

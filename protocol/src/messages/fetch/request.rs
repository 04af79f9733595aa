//! The Fetch request: checked once, then read from the frame as it is asked for.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::TOPIC_ID_FROM;
use crate::error::{DecodeError, Fault, InField, Problem, Read};
use crate::guard::Limits;
use crate::messages::TopicRef;
use crate::versions::FETCH;
use crate::wire::{Reader, slice_text};

/// A checked Fetch request. Fields a version lacks have Kafka's defaults.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    frame: Bytes,
    version: i16,
    /// The cluster a follower believes to be in; from version 12.
    pub cluster_id: Option<StrBytes>,
    /// The follower, or -1 for a consumer. From version 15 it comes in another field; this is the
    /// one that counts.
    pub replica_id: i32,
    /// The follower's broker epoch, or -1; from version 15.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Fewest bytes worth an answer before `max_wait_ms`.
    pub min_bytes: i32,
    /// Most bytes in the answer, but for a first batch that is larger.
    pub max_bytes: i32,
    /// 0 reads everything up to the high watermark, 1 up to the last stable offset.
    pub isolation_level: i8,
    /// The fetch session, 0 for none; from version 7.
    pub session_id: i32,
    /// The epoch within the session, -1 for no session; from version 7.
    pub session_epoch: i32,
    /// The consumer's rack, or empty; from version 11.
    pub rack_id: StrBytes,
    topics_at: usize,
    topics: usize,
    forgotten_at: usize,
    forgotten: usize,
    partitions: usize,
}

impl FetchRequest {
    /// Checks the body that starts at `body_at` of `frame`.
    pub fn parse(
        frame: Bytes,
        body_at: usize,
        version: i16,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        Self::read(frame, body_at, version, limits)
            .map_err(|fault| fault.of("Fetch request", version))
    }

    fn read(frame: Bytes, body_at: usize, version: i16, limits: &Limits) -> Read<Self> {
        let flexible = FETCH.is_flexible(version);
        let mut reader = Reader::new(&frame, body_at, flexible);
        let mut elements = Elements {
            seen: 0,
            limit: limits.elements_max,
        };
        let mut replica_id = -1;
        if version <= 14 {
            replica_id = reader.i32().field("replica_id")?;
        }
        let max_wait_ms = reader.i32().field("max_wait_ms")?;
        let min_bytes = reader.i32().field("min_bytes")?;
        let max_bytes = reader.i32().field("max_bytes")?;
        let isolation_level = reader.i8().field("isolation_level")?;
        let (mut session_id, mut session_epoch) = (0, -1);
        if version >= 7 {
            session_id = reader.i32().field("session_id")?;
            session_epoch = reader.i32().field("session_epoch")?;
        }

        let topics = reader.count(topic_bytes_min(version)).field("topics")?;
        elements.add(topics, &reader).field("topics")?;
        let topics_at = reader.at();
        let mut partitions = 0;
        for _ in 0..topics {
            let topic =
                read_topic(&mut reader, partition_bytes_min(version), version).field("topics")?;
            elements.add(topic.count, &reader).field("topics")?;
            partitions += topic.count;
            skip_partitions(&mut reader, topic.count, version).field("topics")?;
        }

        let (mut forgotten, mut forgotten_at) = (0, 0);
        if version >= 7 {
            forgotten = reader
                .count(topic_bytes_min(version))
                .field("forgotten_topics_data")?;
            forgotten_at = reader.at();
            elements
                .add(forgotten, &reader)
                .field("forgotten_topics_data")?;
        }
        for _ in 0..forgotten {
            let topic = read_forgotten(&mut reader, version).field("forgotten_topics_data")?;
            elements
                .add(topic.partitions.left, &reader)
                .field("forgotten_topics_data")?;
        }

        let mut rack_id = StrBytes::new();
        if version >= 11 {
            rack_id = slice_text(&frame, reader.string().field("rack_id")?);
        }

        let mut cluster_id = None;
        let mut replica_epoch = -1;
        reader.tags(|tag, reader| match tag {
            0 => {
                let text = reader.nullable_string().field("cluster_id")?;
                cluster_id = text.map(|text| slice_text(&frame, text));
                Ok(true)
            }
            1 if version >= 15 => {
                replica_id = reader.i32().field("replica_state")?;
                replica_epoch = reader.i64().field("replica_state")?;
                reader.skip_tags().field("replica_state")?;
                Ok(true)
            }
            1 => Err(Fault::new(reader.at(), Problem::TagVersion(tag))),
            _ => Ok(false),
        })?;
        Ok(FetchRequest {
            version,
            cluster_id,
            replica_id,
            replica_epoch,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            rack_id,
            topics_at,
            topics,
            forgotten_at,
            forgotten,
            partitions,
            frame,
        })
    }

    /// How many topics.
    pub fn topic_count(&self) -> usize {
        self.topics
    }

    /// How many partitions in all topics, the forgotten ones not counted.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The topics, in the client's order, which is also the order of service.
    pub fn topics(&self) -> Topics<'_> {
        Topics {
            version: self.version,
            reader: self.reader_at(self.topics_at),
            left: self.topics,
        }
    }

    /// What leaves the fetch session.
    pub fn forgotten_topics(&self) -> impl Iterator<Item = ForgottenTopic<'_>> {
        let mut reader = self.reader_at(self.forgotten_at);
        (0..self.forgotten).map_while(move |_| read_forgotten(&mut reader, self.version).ok())
    }

    fn reader_at(&self, at: usize) -> Reader<'_> {
        Reader::new(&self.frame, at, FETCH.is_flexible(self.version))
    }
}

/// Counts elements towards their limit.
struct Elements {
    seen: usize,
    limit: usize,
}

impl Elements {
    fn add(&mut self, count: usize, reader: &Reader<'_>) -> Read<()> {
        self.seen += count;
        if self.seen > self.limit {
            let limit = self.limit;
            return Err(Fault::new(reader.at(), Problem::TooManyElements { limit }));
        }
        Ok(())
    }
}

fn topic_bytes_min(version: i16) -> usize {
    let flexible = FETCH.is_flexible(version);
    let label = match version {
        TOPIC_ID_FROM.. => 16,
        _ if flexible => 1,
        _ => 2,
    };
    label + if flexible { 2 } else { 4 }
}

fn partition_bytes_min(version: i16) -> usize {
    // Index, offset and limit are in all versions.
    let mut bytes = 4 + 8 + 4;
    if version >= 5 {
        bytes += 8;
    }
    if version >= 9 {
        bytes += 4;
    }
    if version >= 12 {
        bytes += 4 + 1;
    }
    bytes
}

/// A topic up to its partitions.
struct TopicHead<'a> {
    topic: TopicRef<'a>,
    count: usize,
}

#[inline]
fn read_topic<'a>(
    reader: &mut Reader<'a>,
    element_bytes_min: usize,
    version: i16,
) -> Read<TopicHead<'a>> {
    let topic = if version >= TOPIC_ID_FROM {
        TopicRef::Id(reader.uuid().field("topic_id")?)
    } else {
        TopicRef::Name(reader.string().field("topic")?)
    };
    let count = reader.count(element_bytes_min).field("partitions")?;
    Ok(TopicHead { topic, count })
}

#[inline]
fn read_partition(reader: &mut Reader<'_>, version: i16) -> Read<Partition> {
    let mut partition = Partition {
        index: reader.i32().field("partition")?,
        ..Partition::ABSENT
    };
    if version >= 9 {
        partition.current_leader_epoch = reader.i32().field("current_leader_epoch")?;
    }
    partition.fetch_offset = reader.i64().field("fetch_offset")?;
    if version >= 12 {
        partition.last_fetched_epoch = reader.i32().field("last_fetched_epoch")?;
    }
    if version >= 5 {
        partition.log_start_offset = reader.i64().field("log_start_offset")?;
    }
    partition.partition_max_bytes = reader.i32().field("partition_max_bytes")?;
    reader.tags(|tag, reader| match tag {
        0 if version >= 17 => {
            partition.replica_directory_id = reader.uuid().field("replica_directory_id")?;
            Ok(true)
        }
        1 if version >= 18 => {
            partition.high_watermark = reader.i64().field("high_watermark")?;
            Ok(true)
        }
        0 | 1 => Err(Fault::new(reader.at(), Problem::TagVersion(tag))),
        _ => Ok(false),
    })?;
    Ok(partition)
}

/// The partitions of a topic and the end of the topic.
#[inline]
fn skip_partitions(reader: &mut Reader<'_>, count: usize, version: i16) -> Read<()> {
    for _ in 0..count {
        read_partition(reader, version).field("partitions")?;
    }
    reader.skip_tags()
}

fn read_forgotten<'a>(reader: &mut Reader<'a>, version: i16) -> Read<ForgottenTopic<'a>> {
    let head = read_topic(reader, 4, version)?;
    let partitions = ForgottenPartitions {
        reader: reader.clone(),
        left: head.count,
    };
    reader.skip(head.count * 4).field("partitions")?;
    reader.skip_tags()?;
    Ok(ForgottenTopic {
        topic: head.topic,
        partitions,
    })
}

/// Iterates over the topics of a request.
#[derive(Debug, Clone)]
pub struct Topics<'a> {
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
        let bytes_min = partition_bytes_min(self.version);
        let head = read_topic(&mut self.reader, bytes_min, self.version).ok()?;
        let partitions = Partitions {
            version: self.version,
            reader: self.reader.clone(),
            left: head.count,
        };
        skip_partitions(&mut self.reader, head.count, self.version).ok()?;
        Some(Topic {
            topic: head.topic,
            partitions,
        })
    }
}

/// A topic of a request.
#[derive(Debug, Clone)]
pub struct Topic<'a> {
    /// Which topic.
    pub topic: TopicRef<'a>,
    partitions: Partitions<'a>,
}

impl<'a> Topic<'a> {
    /// The partitions, in the client's order, which is also the order of service.
    #[inline]
    pub fn partitions(&self) -> Partitions<'a> {
        self.partitions.clone()
    }
}

/// Iterates over the partitions of a topic.
#[derive(Debug, Clone)]
pub struct Partitions<'a> {
    version: i16,
    reader: Reader<'a>,
    left: usize,
}

impl Iterator for Partitions<'_> {
    type Item = Partition;

    #[inline]
    fn next(&mut self) -> Option<Partition> {
        self.left = self.left.checked_sub(1)?;
        read_partition(&mut self.reader, self.version).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Partitions<'_> {}

/// What is asked of one partition. Fields a version lacks have Kafka's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The number; may be negative or of a partition that does not exist.
    pub index: i32,
    /// The leader epoch the client knows, or -1; from version 9.
    pub current_leader_epoch: i32,
    /// Where to read from; may be negative.
    pub fetch_offset: i64,
    /// The epoch of the last record the client has, or -1; from version 12.
    pub last_fetched_epoch: i32,
    /// A follower's log start, or -1; from version 5.
    pub log_start_offset: i64,
    /// Most bytes from this partition, but for a first batch that is larger.
    pub partition_max_bytes: i32,
    /// A follower's directory, or nil; from version 17.
    pub replica_directory_id: Uuid,
    /// The high watermark a follower knows, `i64::MAX` if it does not say; from version 18.
    pub high_watermark: i64,
}

impl Partition {
    const ABSENT: Partition = Partition {
        index: 0,
        current_leader_epoch: -1,
        fetch_offset: 0,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 0,
        replica_directory_id: Uuid::nil(),
        high_watermark: i64::MAX,
    };
}

/// Partitions that leave the fetch session.
#[derive(Debug, Clone)]
pub struct ForgottenTopic<'a> {
    /// Which topic.
    pub topic: TopicRef<'a>,
    partitions: ForgottenPartitions<'a>,
}

#[derive(Debug, Clone)]
struct ForgottenPartitions<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> ForgottenTopic<'a> {
    /// The partitions' numbers.
    #[inline]
    pub fn partitions(&self) -> impl Iterator<Item = i32> + 'a {
        let ForgottenPartitions { mut reader, left } = self.partitions.clone();
        (0..left).map_while(move |_| reader.i32().ok())
    }
}

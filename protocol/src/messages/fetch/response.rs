//! The Fetch response as a rope: bytes written here, interleaved with gaps for records that go
//! from the log to the socket without passing through an encoder.
//!
//! The frame's size counts the gaps, so it is known, and sent, before any record is read. Whoever
//! sends the rope must fill each gap with exactly its length.

use bytes::{Bytes, BytesMut};

use super::TOPIC_ID_FROM;
use crate::error::{EncodeError, Unencodable};
use crate::error_code::ErrorCode;
use crate::frame;
use crate::header;
use crate::messages::{LeaderIdAndEpoch, NodeEndpoint, TopicLabel};
use crate::versions::FETCH;
use crate::wire::{Put, Writer};

/// A transaction whose records a read-committed consumer must drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// From this offset, up to its marker.
    pub first_offset: i64,
}

/// Where a log ends for an epoch, or where a snapshot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAndEpoch {
    /// The leader epoch.
    pub epoch: i32,
    /// Its end offset.
    pub end_offset: i64,
}

/// What one partition answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedPartition<'a> {
    /// The number, as asked.
    pub index: i32,
    /// NONE when the rest is meant.
    pub error_code: ErrorCode,
    /// The high watermark, or -1.
    pub high_watermark: i64,
    /// The last stable offset, or -1.
    pub last_stable_offset: i64,
    /// The log start offset, or -1; from version 5.
    pub log_start_offset: i64,
    /// Where a follower that has diverged should truncate to; from version 12.
    pub diverging_epoch: Option<OffsetAndEpoch>,
    /// Where the leader is instead; from version 12.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// `None` for readers that see uncommitted records.
    pub aborted_transactions: Option<&'a [AbortedTransaction]>,
    /// The replica to read from instead, or -1; from version 11.
    pub preferred_read_replica: i32,
    /// Bytes of whole batches that go into the gap; 0 for none, which makes no gap.
    pub records_len: usize,
}

impl FetchedPartition<'_> {
    /// The answer for a partition nothing can be read from.
    pub fn refused(index: i32, error_code: ErrorCode) -> Self {
        FetchedPartition {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records_len: 0,
        }
    }
}

/// The partitions of one topic in an answer.
#[derive(Debug, Clone, Copy)]
pub struct FetchedTopic<'a> {
    /// The topic, as asked.
    pub topic: TopicLabel<'a>,
    /// Its partitions.
    pub partitions: &'a [FetchedPartition<'a>],
}

/// The answer.
#[derive(Debug, Clone, Copy)]
pub struct FetchResponse<'a> {
    /// How long the client was throttled.
    pub throttle_time_ms: i32,
    /// An error of the whole session; from version 7, and NONE below.
    pub error_code: ErrorCode,
    /// The fetch session, or 0; from version 7.
    pub session_id: i32,
    /// The topics with something to say.
    pub topics: &'a [FetchedTopic<'a>],
    /// The brokers named as current leaders; from version 16.
    pub node_endpoints: &'a [NodeEndpoint<'a>],
}

/// A frame in pieces, in sending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rope {
    /// The pieces; the first holds the frame's size.
    pub segments: Vec<Segment>,
    /// Bytes of all pieces, gaps included.
    pub len: usize,
}

/// A piece of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Bytes to send as they are.
    Bytes(Bytes),
    /// A gap to fill with records.
    Records {
        /// Which partition, counted over all topics of the answer from 0.
        partition: usize,
        /// How many bytes; never 0.
        len: usize,
    },
}

/// Where a gap goes: before the byte at `at`.
struct Gap {
    at: usize,
    partition: usize,
    len: usize,
}

/// What is known about gaps while the answer is written.
#[derive(Default)]
struct Gaps {
    gaps: Vec<Gap>,
    partitions: usize,
    bytes: usize,
}

impl FetchResponse<'_> {
    /// A whole response frame. Fields that a version lacks are left out where they only help;
    /// a session error or a preferred replica that cannot be said is an error.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<Rope, EncodeError> {
        let mut out = BytesMut::with_capacity(self.size_hint());
        let mut gaps = Gaps::default();
        let header_version = FETCH.response_header_version(version);
        let start = header::start_response(&mut out, correlation_id, header_version);
        let mut writer = Writer::new(&mut out, FETCH.is_flexible(version));
        let len = self
            .put(&mut writer, &mut gaps, version)
            .and_then(|()| {
                frame::finish(&mut out, start, gaps.bytes).map_err(Unencodable::FrameTooLong)
            })
            .map_err(|reason| crate::messages::unencodable(&FETCH, version, reason))?;
        Ok(Rope {
            segments: cut(out.freeze(), &gaps.gaps),
            len,
        })
    }

    /// About the bytes outside the gaps, to allocate once.
    fn size_hint(&self) -> usize {
        let topic = |topic: &FetchedTopic<'_>| {
            let aborted: usize = topic
                .partitions
                .iter()
                .map(|partition| partition.aborted_transactions.map_or(0, <[_]>::len))
                .sum();
            32 + topic.topic.name.len() + topic.partitions.len() * 64 + aborted * 17
        };
        let topics: usize = self.topics.iter().map(topic).sum();
        64 + topics + self.node_endpoints.len() * 64
    }

    fn put(&self, out: &mut Writer<'_>, gaps: &mut Gaps, version: i16) -> Put {
        out.i32(self.throttle_time_ms);
        if version >= 7 {
            out.i16(self.error_code.code());
            out.i32(self.session_id);
        } else if self.error_code.is_error() {
            return Err(Unencodable::NotInVersion("error_code"));
        }
        out.array(self.topics, |out, topic| {
            if version >= TOPIC_ID_FROM {
                out.uuid(topic.topic.id);
            } else {
                out.string(topic.topic.name)?;
            }
            out.array(topic.partitions, |out, partition| {
                put_partition(out, gaps, partition, version)
            })?;
            out.no_tags();
            Ok(())
        })?;
        if version >= 16 && !self.node_endpoints.is_empty() {
            out.tag_count(1);
            return out.tag(0, |out| {
                crate::messages::put_node_endpoints(out, self.node_endpoints)
            });
        }
        out.no_tags();
        Ok(())
    }
}

fn put_partition(
    out: &mut Writer<'_>,
    gaps: &mut Gaps,
    partition: &FetchedPartition<'_>,
    version: i16,
) -> Put {
    out.i32(partition.index);
    out.i16(partition.error_code.code());
    out.i64(partition.high_watermark);
    out.i64(partition.last_stable_offset);
    if version >= 5 {
        out.i64(partition.log_start_offset);
    }
    match partition.aborted_transactions {
        Some(aborted) => out.array(aborted, |out, transaction| {
            out.i64(transaction.producer_id);
            out.i64(transaction.first_offset);
            out.no_tags();
            Ok(())
        })?,
        None => out.null(),
    }
    if version >= 11 {
        out.i32(partition.preferred_read_replica);
    } else if partition.preferred_read_replica != -1 {
        return Err(Unencodable::NotInVersion("preferred_read_replica"));
    }
    // Null records trip some consumers; no records are an empty field, as Kafka sends them.
    out.length(partition.records_len)?;
    gaps.add(out.position(), partition.records_len);
    put_partition_tags(out, partition)
}

fn put_partition_tags(out: &mut Writer<'_>, partition: &FetchedPartition<'_>) -> Put {
    if !out.is_flexible() {
        return Ok(());
    }
    let set = [
        partition.diverging_epoch.is_some(),
        partition.current_leader.is_some(),
    ];
    out.tag_count(set.into_iter().map(u32::from).sum());
    if let Some(diverging) = partition.diverging_epoch {
        out.tag(0, |out| {
            out.i32(diverging.epoch);
            out.i64(diverging.end_offset);
            out.no_tags();
            Ok(())
        })?;
    }
    match partition.current_leader {
        Some(leader) => out.tag(1, |out| crate::messages::put_leader(out, leader)),
        None => Ok(()),
    }
}

impl Gaps {
    fn add(&mut self, at: usize, len: usize) {
        let partition = self.partitions;
        self.partitions += 1;
        if len > 0 {
            self.bytes = self.bytes.saturating_add(len);
            self.gaps.push(Gap { at, partition, len });
        }
    }
}

/// Cuts what was written at the gaps.
fn cut(written: Bytes, gaps: &[Gap]) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(2 * gaps.len() + 1);
    let mut rest = written;
    let mut cut_to = 0;
    for gap in gaps {
        segments.push(Segment::Bytes(rest.split_to(gap.at - cut_to)));
        segments.push(Segment::Records {
            partition: gap.partition,
            len: gap.len,
        });
        cut_to = gap.at;
    }
    if !rest.is_empty() {
        segments.push(Segment::Bytes(rest));
    }
    segments
}

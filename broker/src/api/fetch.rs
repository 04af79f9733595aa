//! Fetch (1), versions 4-18.
//!
//! | version | adds |
//! |---|---|
//! | 4 | isolation level and aborted transactions (KIP-98) |
//! | 5 | log start offset |
//! | 7 | fetch sessions (KIP-227): answered with session 0, which every client takes for "none" |
//! | 9 | leader epoch (KIP-320) |
//! | 10 | zstd (KIP-110) |
//! | 11 | rack (KIP-392): no other replica is named |
//! | 12 | diverging epochs, flexible encoding |
//! | 13 | topic ids (KIP-516) |
//! | 15-18 | for followers and leader hints |
//!
//! An answer is complete when `min_bytes` are there, a partition has an error, or `max_wait_ms` is
//! over; until then the fetch is parked with every partition it asks for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::messages::TopicLabel;
use reka_protocol::messages::fetch::{
    AbortedTransaction, FetchRequest, FetchResponse, FetchedPartition, FetchedTopic, Segment,
};
use uuid::Uuid;

use super::{Call, Context};
use crate::dispatch::{Reply, refused};
use crate::net::answer::{Answer, Piece};
use crate::net::connection::Closed;
use crate::partition::Partition;
use crate::partition::read::{Isolation, ReadOutcome};

/// A session asked for or continued begins with this version.
const SESSION_EPOCH_FULL: [i32; 2] = [0, -1];

struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<Wanted>,
}

struct Wanted {
    index: i32,
    current_leader_epoch: i32,
    offset: i64,
    max_bytes: u64,
    here: Result<Arc<Partition>, ErrorCode>,
}

struct Fetch {
    topics: Vec<Topic>,
    min_bytes: u64,
    max_bytes: u64,
    isolation: Isolation,
}

/// Answers at once if there is enough, else waits.
pub fn start(context: &Rc<Context>, call: Call, request: &FetchRequest) -> Result<Reply, Closed> {
    // We hand out no sessions, so a request that continues one is mistaken.
    if call.version >= 7 && !SESSION_EPOCH_FULL.contains(&request.session_epoch) {
        let answer = encode(call, ErrorCode::FetchSessionIdNotFound, &[], Vec::new())?;
        return Ok(Reply::Now(answer));
    }
    let fetch = Fetch {
        topics: list(context, request),
        min_bytes: request.min_bytes.max(0) as u64,
        max_bytes: (request.max_bytes.max(0) as u64).min(context.services.config().fetch_max_bytes),
        isolation: match request.isolation_level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
    };
    let outcomes = fetch.read();
    let max_wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    if max_wait.is_zero() || fetch.is_complete(&outcomes) {
        return Ok(Reply::Now(encode(
            call,
            ErrorCode::None,
            &fetch.topics,
            outcomes,
        )?));
    }
    Ok(Reply::Later(Box::pin(async move {
        let outcomes = fetch.wait(max_wait).await;
        encode(call, ErrorCode::None, &fetch.topics, outcomes)
    })))
}

fn list(context: &Context, request: &FetchRequest) -> Vec<Topic> {
    request
        .topics()
        .map(|topic| {
            let (name, id) = context.services.name_topic(topic.topic);
            let partitions = topic
                .partitions()
                .map(|partition| Wanted {
                    index: partition.index,
                    current_leader_epoch: partition.current_leader_epoch,
                    offset: partition.fetch_offset,
                    max_bytes: partition.partition_max_bytes.max(0) as u64,
                    here: context
                        .services
                        .partitions
                        .get(&name, partition.index)
                        .ok_or({
                            if name.is_empty() && !id.is_nil() {
                                ErrorCode::UnknownTopicId
                            } else {
                                ErrorCode::UnknownTopicOrPartition
                            }
                        }),
                })
                .collect();
            Topic {
                name,
                id,
                partitions,
            }
        })
        .collect()
}

impl Fetch {
    fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    /// Reads every partition in turn while bytes are left; the first batch of all is returned
    /// whatever its size.
    fn read(&self) -> Vec<ReadOutcome> {
        let mut left = self.max_bytes;
        let mut first = true;
        self.wanted()
            .map(|wanted| {
                let partition = match &wanted.here {
                    Ok(partition) => partition,
                    Err(error_code) => return ReadOutcome::refused(*error_code),
                };
                let epoch = partition.check_epoch(wanted.current_leader_epoch);
                if epoch != ErrorCode::None {
                    return ReadOutcome::refused(epoch);
                }
                let outcome = partition.read(
                    wanted.offset,
                    wanted.max_bytes.min(left),
                    first,
                    self.isolation,
                );
                first &= outcome.is_empty();
                left = left.saturating_sub(outcome.len());
                outcome
            })
            .collect()
    }

    fn is_complete(&self, outcomes: &[ReadOutcome]) -> bool {
        let bytes: u64 = outcomes.iter().map(ReadOutcome::len).sum();
        outcomes.is_empty()
            || bytes >= self.min_bytes
            || outcomes
                .iter()
                .any(|outcome| outcome.error_code != ErrorCode::None)
    }

    async fn wait(&self, max_wait: Duration) -> Vec<ReadOutcome> {
        let mut timer = pin!(tokio::time::sleep(max_wait));
        poll_fn(|task| {
            for partition in self.wanted().filter_map(|wanted| wanted.here.as_ref().ok()) {
                partition.waiters().register(task.waker());
            }
            // Looked at after registering, so that no append in between is missed.
            let outcomes = self.read();
            if self.is_complete(&outcomes) || timer.as_mut().poll(task).is_ready() {
                return Poll::Ready(outcomes);
            }
            Poll::Pending
        })
        .await
    }
}

fn encode(
    call: Call,
    error_code: ErrorCode,
    topics: &[Topic],
    outcomes: Vec<ReadOutcome>,
) -> Result<Answer, Closed> {
    let aborted: Vec<Option<Vec<AbortedTransaction>>> = outcomes
        .iter()
        .map(|outcome| {
            let aborted = outcome.aborted.as_ref()?.iter();
            Some(
                aborted
                    .map(|txn| AbortedTransaction {
                        producer_id: txn.producer_id,
                        first_offset: txn.first_offset,
                    })
                    .collect(),
            )
        })
        .collect();
    let mut read = outcomes.iter().zip(&aborted);
    let partitions: Vec<Vec<FetchedPartition<'_>>> = topics
        .iter()
        .map(|topic| {
            let read = read.by_ref().take(topic.partitions.len());
            topic
                .partitions
                .iter()
                .zip(read)
                .map(|(wanted, read)| fetched(wanted, read))
                .collect()
        })
        .collect();
    let topics: Vec<FetchedTopic<'_>> = topics
        .iter()
        .zip(&partitions)
        .map(|(topic, partitions)| FetchedTopic {
            topic: TopicLabel {
                name: &topic.name,
                id: topic.id,
            },
            partitions,
        })
        .collect();
    let response = FetchResponse {
        throttle_time_ms: 0,
        error_code,
        session_id: 0,
        topics: &topics,
        node_endpoints: &[],
    };
    let rope = response
        .encode(call.version, call.correlation_id)
        .map_err(refused)?;
    drop(partitions);
    let mut slices: Vec<_> = outcomes.into_iter().map(|outcome| outcome.slice).collect();
    rope.segments
        .into_iter()
        .map(|segment| match segment {
            Segment::Bytes(bytes) => Ok(Piece::Bytes(bytes)),
            Segment::Records { partition, .. } => slices
                .get_mut(partition)
                .and_then(Option::take)
                .map(Piece::Records)
                .ok_or_else(|| refused("a gap in a fetch answer without records")),
        })
        .collect()
}

fn fetched<'a>(
    wanted: &Wanted,
    (outcome, aborted): (&'a ReadOutcome, &'a Option<Vec<AbortedTransaction>>),
) -> FetchedPartition<'a> {
    FetchedPartition {
        high_watermark: outcome.high_watermark,
        last_stable_offset: outcome.last_stable_offset,
        log_start_offset: outcome.log_start_offset,
        aborted_transactions: aborted.as_deref(),
        records_len: outcome.len() as usize,
        ..FetchedPartition::refused(wanted.index, outcome.error_code)
    }
}

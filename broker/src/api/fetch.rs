//! Fetch (1), versions 4-18.
//!
//! | version | adds |
//! |---|---|
//! | 4 | isolation level and aborted transactions (KIP-98) |
//! | 5 | log start offset |
//! | 7 | fetch sessions (KIP-227), see `fetch_session.rs` |
//! | 9 | leader epoch (KIP-320) |
//! | 10 | zstd (KIP-110) |
//! | 11 | rack (KIP-392): no other replica is named |
//! | 12 | diverging epochs, flexible encoding |
//! | 13 | topic ids (KIP-516) |
//! | 15-18 | for followers and leader hints |
//!
//! An answer is complete when `min_bytes` are there, a partition has an error, or `max_wait_ms` is
//! over, or the broker stops; until then the fetch is parked with every partition it asks for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::messages::fetch::{
    AbortedTransaction, FetchRequest, FetchResponse, FetchedPartition, FetchedTopic,
    OffsetAndEpoch, Rope, Segment,
};
use reka_protocol::messages::{TopicLabel, TopicRef};
use reka_storage::LogSlice;
use uuid::Uuid;

use super::{Call, Context};
use crate::dispatch::{Reply, refused};
use crate::fetch_session::{Asked, Plan, Session, Told, news};
use crate::net::answer::{Answer, Piece};
use crate::net::connection::Closed;
use crate::net::shard::Shard;
use crate::node::Services;
use crate::partition::Partition;
use crate::partition::read::{Isolation, ReadOutcome};

/// Topics are named by id from this version on.
const TOPIC_ID_FROM: i16 = 13;

struct Fetch {
    wanted: Vec<Wanted>,
    min_bytes: u64,
    max_bytes: u64,
    isolation: Isolation,
    tell: Tell,
}

/// One partition, found or not.
struct Wanted {
    asked: Asked,
    here: Result<Arc<Partition>, ErrorCode>,
}

/// What of what was read is told.
enum Tell {
    /// All of it.
    All,
    /// All of it, and a session is opened.
    AllAndOpen,
    /// What is news in a session.
    News(i32, Arc<Mutex<Session>>),
}

/// Answers at once if there is enough, else waits.
pub fn start(context: &Rc<Context>, call: Call, request: &FetchRequest) -> Result<Reply, Closed> {
    let services = &context.services;
    let now_ms = services.clock.now_ms();
    let mut asked = list(request);
    let plan = services.fetch_sessions.plan(
        request.session_id,
        request.session_epoch,
        &mut asked,
        &forgotten(request),
        call.version >= TOPIC_ID_FROM,
        now_ms,
    );
    let (asked, tell) = match plan {
        Ok(Plan::Full { open: true }) => (asked, Tell::AllAndOpen),
        Ok(Plan::Full { open: false }) => (asked, Tell::All),
        Ok(Plan::Incremental { id, session, asked }) => (asked, Tell::News(id, session)),
        Err(error_code) => {
            let answer = FetchResponse {
                throttle_time_ms: 0,
                error_code,
                session_id: 0,
                topics: &[],
                node_endpoints: &[],
            };
            let rope = answer
                .encode(call.version, call.correlation_id)
                .map_err(refused)?;
            return Ok(Reply::Now(fill(rope, Vec::new())?));
        }
    };
    let find = |asked: Asked| Wanted {
        here: find(services, &asked),
        asked,
    };
    let fetch = Fetch {
        wanted: asked.into_iter().map(find).collect(),
        min_bytes: request.min_bytes.max(0) as u64,
        max_bytes: (request.max_bytes.max(0) as u64).min(services.config().fetch_max_bytes),
        isolation: match request.isolation_level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
        tell,
    };
    let outcomes = fetch.read();
    let max_wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    if max_wait.is_zero() || fetch.is_complete(&outcomes) {
        return Ok(Reply::Now(fetch.answer(services, call, outcomes)?));
    }
    let context = context.clone();
    Ok(Reply::Later(Box::pin(async move {
        let outcomes = fetch.wait(max_wait, &context.shard).await;
        fetch.answer(&context.services, call, outcomes)
    })))
}

fn list(request: &FetchRequest) -> Vec<Asked> {
    let mut all = Vec::new();
    for topic in request.topics() {
        let (name, id): (Arc<str>, Uuid) = match topic.topic {
            TopicRef::Name(name) => (name.into(), Uuid::nil()),
            TopicRef::Id(id) => ("".into(), id),
        };
        all.extend(topic.partitions().map(|partition| Asked {
            name: name.clone(),
            id,
            index: partition.index,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes.max(0) as u64,
        }));
    }
    all
}

fn forgotten(request: &FetchRequest) -> Vec<(String, Uuid, i32)> {
    let mut all = Vec::new();
    for topic in request.forgotten_topics() {
        let (name, id) = match topic.topic {
            TopicRef::Name(name) => (name, Uuid::nil()),
            TopicRef::Id(id) => ("", id),
        };
        all.extend(topic.partitions().map(|index| (name.to_owned(), id, index)));
    }
    all
}

fn find(services: &Services, asked: &Asked) -> Result<Arc<Partition>, ErrorCode> {
    if asked.id.is_nil() {
        return services.partitions.find(&asked.name, asked.index);
    }
    let (name, _) = services.name_topic(TopicRef::Id(asked.id));
    if name.is_empty() {
        return Err(ErrorCode::UnknownTopicId);
    }
    services.partitions.find(&name, asked.index)
}

impl Fetch {
    /// Reads every partition in turn while bytes are left; the first batch of all is returned
    /// whatever its size.
    fn read(&self) -> Vec<ReadOutcome> {
        let mut left = self.max_bytes;
        let mut first = true;
        self.wanted
            .iter()
            .map(|wanted| {
                let outcome = wanted.read(left, first, self.isolation);
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
                .any(|outcome| outcome.error_code != ErrorCode::None || outcome.diverging.is_some())
    }

    async fn wait(&self, max_wait: Duration, shard: &Shard) -> Vec<ReadOutcome> {
        let mut timer = pin!(tokio::time::sleep(max_wait));
        poll_fn(|task| {
            for partition in self
                .wanted
                .iter()
                .filter_map(|wanted| wanted.here.as_ref().ok())
            {
                partition.waiters().register(task.waker());
            }
            // Looked at after registering, so that no append in between is missed.
            let outcomes = self.read();
            if self.is_complete(&outcomes)
                || shard.is_stopping()
                || timer.as_mut().poll(task).is_ready()
            {
                return Poll::Ready(outcomes);
            }
            Poll::Pending
        })
        .await
    }

    fn answer(
        self,
        services: &Services,
        call: Call,
        outcomes: Vec<ReadOutcome>,
    ) -> Result<Answer, Closed> {
        let metrics = &services.metrics.requests;
        for outcome in &outcomes {
            metrics.error(call.api, outcome.error_code.code());
        }
        let asked = self.wanted.iter().map(|wanted| &wanted.asked);
        let told = outcomes.iter().map(ReadOutcome::told);
        let (session_id, is_told) = match &self.tell {
            Tell::All => (0, None),
            Tell::AllAndOpen => {
                let uses_ids = call.version >= TOPIC_ID_FROM;
                let now_ms = services.clock.now_ms();
                let sessions = &services.fetch_sessions;
                let (asked, told): (_, Vec<Told>) = (asked.cloned().collect(), told.collect());
                (sessions.open(asked, &told, uses_ids, now_ms), None)
            }
            Tell::News(id, session) => (*id, Some(news(session, asked.zip(told)))),
        };
        let all = self.wanted.iter().zip(outcomes).enumerate();
        let answered = all.filter(|(at, _)| is_told.as_ref().is_none_or(|told| told[*at]));
        let answered: Vec<_> = answered.map(|(_, answered)| answered).collect();
        encode(call, session_id, answered)
    }
}

impl Wanted {
    fn read(&self, left: u64, at_least_one: bool, isolation: Isolation) -> ReadOutcome {
        let partition = match &self.here {
            Ok(partition) => partition,
            Err(error_code) => {
                // Kafka names no aborted transactions here, where it says nothing of them for a
                // partition that is there.
                let aborted = Some(Vec::new());
                return ReadOutcome {
                    aborted,
                    ..ReadOutcome::refused(*error_code)
                };
            }
        };
        let epoch = partition.check_epoch(self.asked.current_leader_epoch);
        if epoch != ErrorCode::None {
            return ReadOutcome::refused(epoch);
        }
        if let Some(diverged) =
            partition.divergence(self.asked.last_fetched_epoch, self.asked.offset)
        {
            return diverged;
        }
        let max_bytes = self.asked.max_bytes.min(left);
        partition.read(self.asked.offset, max_bytes, at_least_one, isolation)
    }
}

fn encode(
    call: Call,
    session_id: i32,
    answered: Vec<(&Wanted, ReadOutcome)>,
) -> Result<Answer, Closed> {
    let aborted: Vec<Option<Vec<AbortedTransaction>>> = answered
        .iter()
        .map(|(_, outcome)| {
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
    let fetched: Vec<FetchedPartition<'_>> = answered
        .iter()
        .zip(&aborted)
        .map(|((wanted, outcome), aborted)| fetched(wanted, outcome, aborted.as_deref()))
        .collect();
    // Partitions of one topic that follow each other are listed under it.
    let same_topic = |one: &Asked, other: &Asked| one.id == other.id && one.name == other.name;
    let mut topics = Vec::new();
    let mut rest = fetched.as_slice();
    let groups = answered.chunk_by(|(one, _), (other, _)| same_topic(&one.asked, &other.asked));
    for group in groups {
        let (partitions, others) = rest.split_at(group.len());
        rest = others;
        let asked = &group[0].0.asked;
        topics.push(FetchedTopic {
            topic: TopicLabel {
                name: &asked.name,
                id: asked.id,
            },
            partitions,
        });
    }
    let response = FetchResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::None,
        session_id,
        topics: &topics,
        node_endpoints: &[],
    };
    let rope = response
        .encode(call.version, call.correlation_id)
        .map_err(refused)?;
    let slices = answered.into_iter().map(|(_, outcome)| outcome.slice);
    fill(rope, slices.collect())
}

/// Puts the batches into the gaps of an answer.
fn fill(rope: Rope, mut slices: Vec<Option<LogSlice>>) -> Result<Answer, Closed> {
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
    outcome: &'a ReadOutcome,
    aborted: Option<&'a [AbortedTransaction]>,
) -> FetchedPartition<'a> {
    FetchedPartition {
        high_watermark: outcome.high_watermark,
        last_stable_offset: outcome.last_stable_offset,
        log_start_offset: outcome.log_start_offset,
        diverging_epoch: outcome.diverging.map(|end| OffsetAndEpoch {
            epoch: end.epoch,
            end_offset: end.end_offset,
        }),
        aborted_transactions: aborted,
        records_len: outcome.len() as usize,
        ..FetchedPartition::refused(wanted.asked.index, outcome.error_code)
    }
}

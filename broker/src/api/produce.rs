//! Produce (0), versions 3-13; 0-2 are advertised and refused.
//!
//! | version | adds |
//! |---|---|
//! | 3 | transactions and headers (KIP-98) |
//! | 7 | zstd (KIP-110) |
//! | 8 | record errors (KIP-467) |
//! | 9 | flexible encoding |
//! | 10 | leader hints (KIP-951) |
//! | 11, 12 | transaction errors and implicit partition add (KIP-890) |
//! | 13 | topic ids (KIP-516) |
//!
//! Each partition takes exactly one batch. With acks=0 nothing is answered; an error closes the
//! connection, which is all a client can notice. With one node acks=all is met by the append, or by the sync that
//! `flush.messages` calls for.
//!
//! The frame stays where it was read and its records are stamped there; what is needed beside it
//! is memory of the shard that is used again.

mod admission;

use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use reka_protocol::messages::produce::{
    PartitionAnswer, ProduceRequest, ProduceResponse, TopicAnswer, TopicsAt,
};
use reka_protocol::messages::{TopicLabel, TopicRef};
use reka_protocol::{ErrorCode, Limits, Request};
use reka_records::BatchHeader;
use reka_records::validate::Rules;
use uuid::Uuid;

use self::admission::Admission;
use super::{Call, Context};
use crate::dispatch::{Reply, refused};
use crate::metadata::is_internal_topic;
use crate::net::answer::Answer;
use crate::net::connection::Closed;
use crate::partition::Partition;
use crate::partition::append::{Refused, Written};
use crate::partition::sync;
use crate::partition::verify::Guard;

/// From here on zstd is known to the producer.
const ZSTD_FROM: i16 = 7;
/// So many batches behind one are looked at for more of its partition.
const RUN_MAX: usize = 64;
/// The one client that may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// One partition of a request, and what became of it.
#[derive(Clone, Debug)]
pub struct Produced {
    index: i32,
    /// Where its records lie in the frame.
    range: Option<Range<usize>>,
    /// Where they are to go.
    here: Option<Arc<Partition>>,
    /// The producer knows zstd.
    zstd_allowed: bool,
    /// What the coordinator's word is good for, where it has to be asked.
    guard: Option<Guard>,
    state: Progress,
    outcome: Result<Written, Refused>,
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its batch can be appended.
    Ready,
    /// The coordinator of its transaction is asked first.
    Asked,
    /// There is an outcome.
    Done,
}

/// Appends every partition, then answers.
pub fn start(
    context: &Rc<Context>,
    call: Call,
    frame: &mut [u8],
    body_at: usize,
) -> Result<Reply, Closed> {
    let request = ProduceRequest::parse(frame, body_at, call.version, &Limits::default());
    let request = request.map_err(refused)?;
    let (acks, topics_at) = (request.acks, request.topics_at());
    let transactional_id = request.transactional_id.map(ToOwned::to_owned);
    if acks == 0 && !call.api.serves(call.version) {
        let why = format!("Produce version {} is not served", call.version);
        return Err(Closed::Refused(why));
    }
    let mut produced = context.shard.take_produced();
    list(context, call, 0, &request, &mut produced);
    if !call.api.serves(call.version) {
        let why = "Produce before version 3 is not served";
        refuse_all(&mut produced, ErrorCode::UnsupportedVersion, why);
    } else if !(-1..=1).contains(&acks) {
        let why = "acks must be -1, 0 or 1";
        refuse_all(&mut produced, ErrorCode::InvalidRequiredAcks, why);
    } else {
        match Admission::needed(context, call, transactional_id, &mut produced, frame) {
            Ok(admission) => {
                append_all(context, &mut produced, frame);
                let syncs = Syncs::begin(context, &produced);
                // Without acks nobody waits; the syncs go on.
                if admission.is_some() || syncs.is_some() && acks != 0 {
                    let context = context.clone();
                    let mut frame = BytesMut::from(&*frame);
                    return Ok(Reply::Later(Box::pin(async move {
                        if let Some(admission) = admission {
                            admission.ask(&context, &mut produced).await;
                            append_all(&context, &mut produced, &mut frame);
                        }
                        if let Some(syncs) = syncs {
                            syncs.end(&mut produced).await;
                        }
                        // Of those that were asked for.
                        if let Some(syncs) = Syncs::begin(&context, &produced) {
                            syncs.end(&mut produced).await;
                        }
                        match reply(&context, call, acks, topics_at, &frame, &produced)? {
                            Reply::Now(answer) => Ok(answer),
                            _ => Ok(Answer::default()),
                        }
                    })));
                }
            }
            Err((code, why)) => refuse_all(&mut produced, code, why),
        }
    }
    let reply = reply(context, call, acks, topics_at, frame, &produced);
    context.shard.give_produced(produced);
    reply
}

/// What became of each.
type Synced = Vec<Result<(), Refused>>;

/// Syncs that `flush.messages` calls for before the answer.
struct Syncs {
    /// Which of the partitions of the request.
    of: Vec<usize>,
    done: Pin<Box<dyn Future<Output = Synced>>>,
}

impl Syncs {
    fn begin(context: &Context, produced: &[Produced]) -> Option<Syncs> {
        let due = |(at, one): (usize, &Produced)| {
            let offset = one.outcome.as_ref().ok()?.sync_below?;
            Some((at, (one.here.clone()?, offset)))
        };
        let due = || produced.iter().enumerate().filter_map(due);
        due().next()?;
        let (of, partitions) = due().unzip();
        let done = Box::pin(sync::begin_all(context.services.clone(), partitions));
        Some(Syncs { of, done })
    }

    async fn end(self, produced: &mut [Produced]) {
        for (at, synced) in self.of.into_iter().zip(self.done.await) {
            match (&mut produced[at].outcome, synced) {
                (Ok(written), Ok(())) => written.sync_below = None,
                (outcome, Err(refused)) => *outcome = Err(refused),
                (Err(_), Ok(())) => {}
            }
        }
    }
}

fn reply(
    context: &Context,
    call: Call,
    acks: i16,
    topics_at: TopicsAt,
    frame: &[u8],
    produced: &[Produced],
) -> Result<Reply, Closed> {
    let metrics = &context.services.metrics.requests;
    for partition in produced {
        if let Err(refused) = &partition.outcome {
            metrics.error(call.api, refused.error_code.code());
        }
    }
    if acks == 0 {
        return match produced.iter().any(|partition| partition.outcome.is_err()) {
            false => Ok(Reply::None),
            true => Err(Closed::Refused("a produce with acks=0 failed".to_owned())),
        };
    }
    let mut answer = context.shard.take_answer_buffer();
    encode(call, topics_at, frame, produced, &mut answer)?;
    Ok(Reply::Now(answer.into()))
}

/// One request of several that were read together.
#[derive(Debug)]
pub struct Asked {
    call: Call,
    acks: i16,
    topics_at: TopicsAt,
    frame: Range<usize>,
    /// Its partitions among those of all.
    produced: Range<usize>,
}

/// Starts requests that lie in `input` one behind the other, so that batches for one partition are
/// written together; each gets its answer. How many were started: one that needs more than that
/// is left, with those behind it, to be started by itself.
pub fn start_run(
    context: &Rc<Context>,
    input: &mut [u8],
    frames: &[Range<usize>],
    answer: &mut dyn FnMut(Reply) -> Result<(), Closed>,
) -> Result<usize, Closed> {
    let mut produced = context.shard.take_produced();
    let mut asked = context.shard.take_asked();
    for frame in frames {
        match ask(context, input, frame, &mut produced) {
            Some(one) => asked.push(one),
            None => break,
        }
    }
    append_all(context, &mut produced, input);
    let started = asked.len();
    for one in &asked {
        let metrics = &context.services.metrics.requests;
        metrics.received(one.call.api, one.frame.len());
        let frame = &input[one.frame.clone()];
        let of_one = &produced[one.produced.clone()];
        answer(match Syncs::begin(context, of_one) {
            None => reply(context, one.call, one.acks, one.topics_at, frame, of_one)?,
            Some(syncs) => one.reply_once_synced(context, frame, of_one, syncs),
        })?;
    }
    context.shard.give_produced(produced);
    context.shard.give_asked(asked);
    Ok(started)
}

/// A request with its partitions; `None` if it has to be started by itself.
fn ask(
    context: &Context,
    input: &[u8],
    frame: &Range<usize>,
    produced: &mut Vec<Produced>,
) -> Option<Asked> {
    let bytes = &input[frame.clone()];
    let header = Request::header(bytes).ok()?;
    let call = Call {
        api: header.api,
        version: header.version,
        correlation_id: header.correlation_id,
    };
    let limits = Limits::default();
    let request = ProduceRequest::parse(bytes, header.body_at, call.version, &limits).ok()?;
    if !call.api.serves(call.version) || !(-1..=1).contains(&request.acks) {
        return None;
    }
    let first = produced.len();
    list(context, call, frame.start, &request, produced);
    // It may have to wait for a sync.
    let waits = |one: &Produced| one.here.as_ref().is_some_and(|here| here.counts_unsynced());
    if produced[first..].iter().any(waits) {
        produced.truncate(first);
        return None;
    }
    let batches = produced[first..].iter().filter_map(|one| one.range.clone());
    let mut headers = batches.filter_map(|range| BatchHeader::parse(&input[range]).ok());
    if headers.any(|header| header.is_transactional()) {
        produced.truncate(first);
        return None;
    }
    context.note_client_id(header.client_id);
    Some(Asked {
        call,
        acks: request.acks,
        topics_at: request.topics_at(),
        frame: frame.clone(),
        produced: first..produced.len(),
    })
}

/// Partitions with where their records lie, so that the frame, which begins `at`, can be written
/// to.
fn list(
    context: &Context,
    call: Call,
    at: usize,
    request: &ProduceRequest<'_>,
    produced: &mut Vec<Produced>,
) {
    for topic in request.topics() {
        for partition in topic.partitions() {
            let here = context.services.partition(topic.topic, partition.index);
            let outcome = Err(match &here {
                Some(_) => Refused::new(ErrorCode::UnknownServerError, String::new()),
                None => unknown(context, topic.topic, partition.index),
            });
            produced.push(Produced {
                index: partition.index,
                range: partition
                    .records_range()
                    .map(|range| range.start + at..range.end + at),
                zstd_allowed: call.version >= ZSTD_FROM,
                state: match here {
                    Some(_) => Progress::Ready,
                    None => Progress::Done,
                },
                here,
                guard: None,
                outcome,
            });
        }
    }
}

fn append_all(context: &Context, produced: &mut [Produced], frame: &mut [u8]) {
    let now_ms = context.services.clock.now_ms();
    let is_admin = context.client_id().as_deref() == Some(ADMIN_CLIENT_ID);
    for at in 0..produced.len() {
        if produced[at].state != Progress::Ready {
            continue;
        }
        let Some(here) = produced[at].here.clone() else {
            continue;
        };
        if is_internal_topic(&here.topic) && !is_admin {
            let why = format!("{here} is of an internal topic");
            let refused = Refused::new(ErrorCode::InvalidTopicException, why);
            produced[at].end(Err(refused));
            continue;
        }
        let mut rules = context.services.rules_of(&here, now_ms);
        rules.zstd_allowed = produced[at].zstd_allowed;
        if append_run(context, &here, &mut produced[at..], frame, &rules) {
            continue;
        }
        let partition = &mut produced[at];
        let records = match partition.range.clone() {
            Some(range) => &mut frame[range],
            None => &mut [],
        };
        let mut scratch = context.shard.decompression_scratch();
        let outcome = here.append_verified(records, &rules, partition.guard, &mut scratch);
        partition.end(outcome);
    }
}

/// Appends the first batch together with those behind it that are for the same partition.
fn append_run(
    context: &Context,
    here: &Arc<Partition>,
    produced: &mut [Produced],
    frame: &[u8],
    rules: &Rules,
) -> bool {
    let is_of_run = |one: &Produced| {
        one.state == Progress::Ready
            && one.guard.is_none()
            && one.range.is_some()
            && one.zstd_allowed == rules.zstd_allowed
            && one
                .here
                .as_ref()
                .is_some_and(|other| Arc::ptr_eq(other, here))
    };
    let of_run = |one: &&Produced| is_of_run(one);
    let is_alone = produced.iter().take(RUN_MAX).filter(of_run).count() < 2;
    if is_alone || !is_of_run(&produced[0]) {
        return false;
    }
    let mut memory = context.shard.run_memory();
    let mut scratch = context.shard.decompression_scratch();
    let members = produced.iter().take(RUN_MAX).filter(of_run);
    let ranges = members.filter_map(|one| one.range.clone());
    if !here.append_run(frame, ranges, rules, &mut scratch, &mut memory) {
        return false;
    }
    let mut written = memory.written.iter();
    for one in produced.iter_mut().take(RUN_MAX) {
        if is_of_run(one)
            && let Some(written) = written.next()
        {
            one.end(Ok(*written));
        }
    }
    true
}

impl Asked {
    /// Its topic was given `flush.messages` after it was asked whether it has to wait.
    fn reply_once_synced(
        &self,
        context: &Rc<Context>,
        frame: &[u8],
        produced: &[Produced],
        syncs: Syncs,
    ) -> Reply {
        let (call, acks, topics_at) = (self.call, self.acks, self.topics_at);
        let (context, frame) = (context.clone(), frame.to_vec());
        let mut produced = produced.to_vec();
        Reply::Later(Box::pin(async move {
            syncs.end(&mut produced).await;
            match reply(&context, call, acks, topics_at, &frame, &produced)? {
                Reply::Now(answer) => Ok(answer),
                _ => Ok(Answer::default()),
            }
        }))
    }
}

impl Produced {
    fn end(&mut self, outcome: Result<Written, Refused>) {
        self.state = Progress::Done;
        self.outcome = outcome;
    }
}

fn unknown(context: &Context, topic: TopicRef<'_>, index: i32) -> Refused {
    let (name, id) = context.services.name_topic(topic);
    if !id.is_nil() && name.is_empty() {
        let why = format!("no topic has the id {id}");
        return Refused::new(ErrorCode::UnknownTopicId, why);
    }
    // Not opened so far, or just now.
    let found = context.services.partitions.find(&name, index);
    if !matches!(found, Err(ErrorCode::UnknownTopicOrPartition)) {
        let why = format!("the log of {name}-{index} could not be opened so far");
        return Refused::new(ErrorCode::KafkaStorageError, why);
    }
    let why = format!("no partition {name}-{index}");
    Refused::new(ErrorCode::UnknownTopicOrPartition, why)
}

fn refuse_all(produced: &mut [Produced], error_code: ErrorCode, message: &str) {
    for partition in produced {
        partition.outcome = Err(Refused::new(error_code, message));
    }
}

/// The answer, topic by topic as they were asked for.
fn encode(
    call: Call,
    topics_at: TopicsAt,
    frame: &[u8],
    produced: &[Produced],
    out: &mut BytesMut,
) -> Result<(), Closed> {
    let mut rest = produced;
    let topics = topics_at.of(frame).map(|topic| {
        let (of_topic, behind) = rest.split_at(topic.partitions().len());
        rest = behind;
        let (name, id) = match topic.topic {
            TopicRef::Name(name) => (name, Uuid::nil()),
            TopicRef::Id(id) => ("", id),
        };
        TopicAnswer {
            topic: TopicLabel { name, id },
            partitions: of_topic.iter().map(answer),
        }
    });
    let response = ProduceResponse {
        topics,
        throttle_time_ms: 0,
        node_endpoints: &[],
    };
    response
        .encode(call.version, call.correlation_id, out)
        .map_err(refused)
}

fn answer(partition: &Produced) -> PartitionAnswer<'_> {
    match &partition.outcome {
        Ok(written) => PartitionAnswer {
            base_offset: written.base_offset,
            log_append_time_ms: written.log_append_time_ms,
            log_start_offset: written.log_start_offset,
            ..PartitionAnswer::refused(partition.index, ErrorCode::None)
        },
        Err(refused) => PartitionAnswer {
            record_errors: &refused.records,
            error_message: Some(&refused.message),
            log_start_offset: refused.log_start_offset,
            ..PartitionAnswer::refused(partition.index, refused.error_code)
        },
    }
}

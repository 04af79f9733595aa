//! The task that sends batches to the leaders of their partitions and judges the answers.
//!
//! | Answer | Then |
//! |---|---|
//! | appended, or there from an earlier attempt | the batch is settled |
//! | the leader has moved, the connection is lost, not enough replicas, ... | the same bytes again, until the delivery time-out |
//! | too large for the topic | two halves in its place |
//! | out of order | again, behind what is missing |
//! | anything else | the batch has failed; what is behind it goes on |
//!
//! A batch that may be with the broker and is given up, or that failed with others behind it, leaves a
//! hole in the sequence numbers: the producer goes on under a new identity.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId, TransactionalId,
};
use reka_records::Compression;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::accumulator::{Identity, Ready, Taken};
use super::{Shared, transaction};
use crate::client::{ANY, Client, Target, agree, chance, no_answer, text, topic_name};
use crate::connection::Pending;
use crate::error::{ClientError, Outcome, Refusal, judge};
use crate::metadata::TopicPartition;
use crate::pool::Lane;

const API: &str = "Produce";
/// The first version that calls topics by ids.
const BY_ID: i16 = 13;

/// Batches of one request, together; a larger batch goes alone.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Looks after the accumulator as long as anybody holds the producer or anything is unsettled.
pub(super) async fn run(producer: Weak<Shared>) {
    let mut leaders = Leaders::default();
    loop {
        let Some(shared) = producer.upgrade() else {
            return;
        };
        let wake = shared.wake.notified();
        let (sent, again) = turn(&shared, &mut leaders).await;
        // What is behind a batch that was sent may go as well.
        if sent {
            continue;
        }
        // A producer nobody holds is looked at a last time when it is gone.
        let alone = Arc::strong_count(&shared) == 1;
        if alone && shared.lock().accumulator.unsettled == 0 {
            return;
        }
        let again = again.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            () = wake => {}
            () = tokio::time::sleep_until(again) => {}
        }
    }
}

/// Sends what can go: whether anything went, and when to look again.
async fn turn(shared: &Arc<Shared>, leaders: &mut Leaders) -> (bool, Option<Instant>) {
    let now = Instant::now();
    let flush = shared.flushes.load(Ordering::SeqCst) > 0 || Arc::strong_count(shared) == 1;
    let (ready, again) = shared.lock().accumulator.ready(now, flush);
    let ready: Vec<Ready> = ready
        .into_iter()
        .filter(|at| !expire(shared, at, now))
        .collect();
    if ready.is_empty() {
        return (false, again);
    }
    let identity = match identity(shared).await {
        Ok(identity) => identity,
        Err(error) => {
            let failed = ready.iter().map(|at| at.failed(&error));
            settle(shared, failed.collect());
            return (false, again);
        }
    };
    let mut by_leader: BTreeMap<i32, Vec<(Ready, Uuid)>> = BTreeMap::new();
    for at in ready {
        match leader(&shared.client, &at).await {
            Ok((leader, id)) => by_leader.entry(leader).or_default().push((at, id)),
            Err(error) => settle(shared, vec![at.failed(&error)]),
        }
    }
    let mut sent = false;
    for (leader, ready) in by_leader {
        let mut request: Vec<Outgoing> = Vec::new();
        let mut size = 0;
        for (at, topic_id) in ready {
            if size + at.bytes > REQUEST_BYTES_MAX && !request.is_empty() {
                leaders.hand_over(shared, leader, std::mem::take(&mut request));
                size = 0;
            }
            let mut state = shared.lock();
            let bytes = state.accumulator.send(&at.topic, at.partition, identity);
            if let Some((batch, bytes)) = bytes {
                size += bytes.len();
                request.push(Outgoing {
                    at: at.partition_of(),
                    topic_id,
                    batch,
                    bytes,
                });
            }
        }
        if !request.is_empty() {
            leaders.hand_over(shared, leader, request);
            sent = true;
        }
    }
    (sent, again)
}

/// A batch on its way.
#[derive(Debug)]
struct Outgoing {
    at: TopicPartition,
    /// Nil where the broker has told none.
    topic_id: Uuid,
    batch: u64,
    bytes: Bytes,
}

/// Whose it is and what came of it.
struct Sent {
    at: TopicPartition,
    batch: u64,
    outcome: Result<Option<i64>, ClientError>,
}

type Order = (Arc<Shared>, Vec<Outgoing>);

/// A task per leader, so that what is sent to one goes in order, and one that is not to be reached
/// holds up no other. What waits for them is bounded by what the accumulator lets go.
#[derive(Debug, Default)]
struct Leaders {
    tasks: HashMap<i32, mpsc::UnboundedSender<Order>>,
}

impl Leaders {
    fn hand_over(&mut self, shared: &Arc<Shared>, leader: i32, batches: Vec<Outgoing>) {
        let task = self.tasks.entry(leader).or_insert_with(|| {
            let (task, orders) = mpsc::unbounded_channel();
            tokio::spawn(serve(leader, orders));
            task
        });
        // The task ends only after its sender is gone.
        let _ = task.send((shared.clone(), batches));
    }
}

/// Sends requests to a leader one after the other, without waiting for answers between them.
async fn serve(leader: i32, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some((shared, batches)) = orders.recv().await {
        let asked: Vec<Asked> = batches.iter().map(Asked::of).collect();
        match send(&shared, leader, batches).await {
            Ok(Some(pending)) => {
                tokio::spawn(async move {
                    let outcomes = match pending.wait().await {
                        Ok(answer) => outcomes(&asked, &answer),
                        Err(error) => all(asked, &Err(error)),
                    };
                    settle(&shared, outcomes);
                });
            }
            // Nobody says anything with `acks=0`.
            Ok(None) => settle(&shared, all(asked, &Ok(None))),
            Err(error) => settle(&shared, all(asked, &Err(error))),
        }
    }
}

/// What is asked about, while its bytes are on their way.
struct Asked {
    at: TopicPartition,
    topic_id: Uuid,
    batch: u64,
}

impl Asked {
    fn of(outgoing: &Outgoing) -> Asked {
        Asked {
            at: outgoing.at.clone(),
            topic_id: outgoing.topic_id,
            batch: outgoing.batch,
        }
    }
}

fn all(asked: Vec<Asked>, outcome: &Result<Option<i64>, ClientError>) -> Vec<Sent> {
    let same = |Asked { at, batch, .. }| Sent {
        at,
        batch,
        outcome: outcome.clone(),
    };
    asked.into_iter().map(same).collect()
}

impl Ready {
    fn partition_of(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }

    fn failed(&self, error: &ClientError) -> Sent {
        Sent {
            at: self.partition_of(),
            batch: self.batch,
            outcome: Err(error.clone()),
        }
    }
}

/// Gives up a batch that has had its time.
fn expire(shared: &Shared, at: &Ready, now: Instant) -> bool {
    let mut state = shared.lock();
    if !state.accumulator.is_expired(at, now) {
        return false;
    }
    let taken = state
        .accumulator
        .take(&at.topic, at.partition, at.batch, false);
    let Some(Taken { batch, .. }) = taken else {
        return false;
    };
    if batch.sent && batch.identity == state.identity {
        state.identity = None;
    }
    drop(state);
    let error = ClientError::Deadline {
        what: format!("produce to partition {}", at.partition_of()),
        limit: shared.config.delivery_timeout,
        last: None,
    };
    transaction::note(shared, &error);
    batch.settled.settle(Err(error));
    shared.settled.notify_waiters();
    true
}

/// Who we are to the brokers, asked for once.
async fn identity(shared: &Shared) -> Result<Option<Identity>, ClientError> {
    if !shared.config.idempotent {
        return Ok(None);
    }
    let known = shared.lock().identity;
    if known.is_some() {
        return Ok(known);
    }
    if shared.config.transactional.is_some() {
        let reason = "the transaction has failed and is to be aborted".to_owned();
        return Err(ClientError::Config { reason });
    }
    let asked = shared.client.ask(Target::Any, ANY, |_| {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    });
    let answer = asked.await?;
    judge(
        "InitProducerId",
        || "a producer id".to_owned(),
        answer.error_code,
        None,
    )?;
    let identity = Some(Identity {
        id: answer.producer_id.0,
        epoch: answer.producer_epoch,
    });
    shared.lock().identity = identity;
    Ok(identity)
}

/// The leader of a partition, and the id of its topic.
async fn leader(client: &Client, at: &Ready) -> Result<(i32, Uuid), ClientError> {
    let partition = at.partition_of();
    let topic = client.topic(&at.topic).await?;
    let info = topic
        .partitions
        .iter()
        .find(|info| info.index == at.partition);
    let leader = info.and_then(|info| info.leader);
    let found = leader.map(|leader| (leader, topic.id));
    found.ok_or_else(|| {
        client.forget_topic(&at.topic);
        ClientError::Refused(Refusal {
            api: "Metadata",
            subject: format!("partition {partition}"),
            code: ErrorCode::LeaderNotAvailable.code(),
            message: None,
        })
    })
}

async fn send(
    shared: &Shared,
    leader: i32,
    batches: Vec<Outgoing>,
) -> Result<Option<Pending<ProduceRequest>>, ClientError> {
    let client = &shared.client;
    let transactional = shared.config.transactional.as_ref();
    let nameless = batches.iter().any(|batch| batch.topic_id.is_nil());
    // From version 13 on topics are called by ids: one that was created anew refuses what was for
    // the one before.
    let mut version_max = if nameless { BY_ID - 1 } else { i16::MAX };
    if transactional.is_some() {
        let partitions: Vec<TopicPartition> =
            batches.iter().map(|batch| batch.at.clone()).collect();
        transaction::add(shared, &partitions).await?;
        let by_itself = transaction::adds_by_itself(shared).await?;
        version_max = version_max.min(*transaction::versions(by_itself, 11).end());
    }
    let connection = client
        .connection(Target::Broker(leader), Lane::Produce)
        .await?;
    // Version 7 knows zstd.
    let version_min = match shared.config.compression {
        Compression::Zstd => 7,
        _ => 3,
    };
    let version = agree::<ProduceRequest>(&connection, &(version_min..=version_max))?;
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut last = None;
    for Outgoing {
        at,
        topic_id,
        bytes,
        ..
    } in batches
    {
        let data = PartitionProduceData::default()
            .with_index(at.partition)
            .with_records(Some(bytes));
        match topics
            .last_mut()
            .filter(|_| last.as_ref() == Some(&at.topic))
        {
            Some(topic) => topic.partition_data.push(data),
            None => {
                let topic = TopicProduceData::default().with_partition_data(vec![data]);
                topics.push(match version {
                    BY_ID.. => topic.with_topic_id(topic_id),
                    _ => topic.with_name(topic_name(&at.topic)),
                });
            }
        }
        last = Some(at.topic);
    }
    let acks = shared.config.acks.code();
    let id = transactional.map(|transactional| TransactionalId(text(&transactional.id)));
    let request = ProduceRequest::default()
        .with_transactional_id(id)
        .with_acks(acks)
        .with_timeout_ms(client.timeout_ms())
        .with_topic_data(topics);
    if acks == 0 {
        connection.send_unanswered(version, &request).await?;
        return Ok(None);
    }
    connection
        .send(version, &request, Duration::ZERO)
        .await
        .map(Some)
}

/// What the broker said of each partition that it was asked about.
fn outcomes(asked: &[Asked], answer: &ProduceResponse) -> Vec<Sent> {
    let mut said: BTreeMap<TopicPartition, Outcome<Option<i64>>> = BTreeMap::new();
    for topic in &answer.responses {
        let name = match topic.topic_id.is_nil() {
            true => Some(topic.name.as_str()),
            false => asked
                .iter()
                .find(|asked| asked.topic_id == topic.topic_id)
                .map(|asked| asked.at.topic.as_str()),
        };
        let Some(name) = name else {
            continue;
        };
        for partition in &topic.partition_responses {
            let at = TopicPartition::new(name, partition.index);
            let subject = || format!("partition {at}");
            let message = partition.record_errors.first();
            let message = message.and_then(|error| error.batch_index_error_message.as_deref());
            let message = partition.error_message.as_deref().or(message);
            let judged = judge(API, subject, partition.error_code, message);
            let offset = Some(partition.base_offset).filter(|offset| *offset >= 0);
            let outcome = match judged {
                // The broker has it from an earlier attempt.
                Err(refusal) if refusal.is(ErrorCode::DuplicateSequenceNumber) => Ok(None),
                other => other.map(|()| offset),
            };
            said.insert(at, outcome);
        }
    }
    asked
        .iter()
        .map(|Asked { at, batch, .. }| {
            let outcome = said.remove(at);
            let outcome = outcome.unwrap_or_else(|| Err(no_answer(API, format!("partition {at}"))));
            Sent {
                at: at.clone(),
                batch: *batch,
                outcome: outcome.map_err(ClientError::from),
            }
        })
        .collect()
}

/// Whether the same bytes may do better later.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(refusal) => {
            let again = [
                ErrorCode::UnknownTopicOrPartition,
                ErrorCode::KafkaStorageError,
                ErrorCode::CorruptMessage,
            ];
            refusal.is_transient() || again.iter().any(|code| refusal.is(*code))
        }
        ClientError::UnknownBroker { .. } | ClientError::Malformed { .. } => true,
        ClientError::Deadline { .. } => true,
        other => other.is_transient(),
    }
}

/// Whether the broker no longer takes our word for who we are.
fn lost_identity(error: &ClientError) -> bool {
    let refused = [
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::UnknownProducerId,
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::InvalidProducerIdMapping,
    ];
    match error {
        ClientError::Refused(refusal) => refused.iter().any(|code| refusal.is(*code)),
        _ => false,
    }
}

fn is(error: &ClientError, code: ErrorCode) -> bool {
    matches!(error, ClientError::Refused(refusal) if refusal.is(code))
}

fn settle(shared: &Shared, outcomes: Vec<Sent>) {
    let now = Instant::now();
    let backoff = shared.client.config().backoff;
    let later = |failures| now + backoff.after(failures, chance());
    let mut failed = Vec::new();
    for Sent { at, batch, outcome } in outcomes {
        let mut state = shared.lock();
        let state = &mut *state;
        let accumulator = &mut state.accumulator;
        let (topic, partition) = (&at.topic, at.partition);
        if let Err(error) = &outcome {
            if may_pass(error) {
                shared.client.forget_topic(topic);
                accumulator.again(topic, partition, batch, later);
                continue;
            }
            let out_of_order = is(error, ErrorCode::OutOfOrderSequenceNumber);
            if out_of_order && accumulator.out_of_order(topic, partition, batch, later) {
                continue;
            }
            let too_large = is(error, ErrorCode::MessageTooLarge);
            if too_large && accumulator.split(topic, partition, batch) {
                continue;
            }
        }
        let Some(taken) = accumulator.take(topic, partition, batch, outcome.is_ok()) else {
            continue;
        };
        let is_lost = taken.holed || outcome.as_ref().is_err_and(lost_identity);
        if is_lost && taken.batch.identity == state.identity {
            state.identity = None;
        }
        if let Err(error) = &outcome {
            failed.push(error.clone());
        }
        taken.batch.settled.settle(outcome);
    }
    for error in failed {
        transaction::note(shared, &error);
    }
    shared.settled.notify_waiters();
    shared.wake.notify_one();
}

//! The task that sends batches to the leaders of their partitions and judges the answers.
//!
//! | Answer | Then |
//! |---|---|
//! | appended, or there from an earlier attempt | the batch is settled |
//! | the leader has moved, the connection is lost, not enough replicas, ... | the same bytes again, until the delivery time-out |
//! | anything else | the batch has failed; what is behind it goes on |
//!
//! A batch that may be with the broker and is given up would leave a hole in the sequence numbers,
//! so the producer goes on under a new identity.

use std::collections::BTreeMap;
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
use tokio::time::Instant;

use super::accumulator::{Identity, Ready};
use super::{Shared, transaction};
use crate::client::{ANY, Client, Target, agree, chance, no_answer, text, topic_name};
use crate::error::{ClientError, Outcome, Refusal, judge};
use crate::metadata::TopicPartition;
use crate::pool::Lane;

const API: &str = "Produce";

/// Batches of one request, together; a larger batch goes alone.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Looks after the accumulator as long as anybody holds the producer or anything is unsettled.
pub(super) async fn run(producer: Weak<Shared>) {
    loop {
        let Some(shared) = producer.upgrade() else {
            return;
        };
        let again = turn(&shared).await;
        let wake = shared.wake.notified();
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

/// Sends what can go; when to look again.
async fn turn(shared: &Arc<Shared>) -> Option<Instant> {
    let now = Instant::now();
    let flush = shared.flushes.load(Ordering::SeqCst) > 0 || Arc::strong_count(shared) == 1;
    let (ready, again) = shared.lock().accumulator.ready(now, flush);
    let ready: Vec<Ready> = ready
        .into_iter()
        .filter(|at| !expire(shared, at, now))
        .collect();
    if ready.is_empty() {
        return again;
    }
    let identity = match identity(shared).await {
        Ok(identity) => identity,
        Err(error) => {
            let failed = ready
                .iter()
                .map(|at| (at.partition_of(), Err(error.clone())));
            settle(shared, failed.collect());
            return again;
        }
    };
    let mut by_leader: BTreeMap<i32, Vec<Ready>> = BTreeMap::new();
    for at in ready {
        match leader(&shared.client, &at).await {
            Ok(leader) => by_leader.entry(leader).or_default().push(at),
            Err(error) => settle(shared, vec![(at.partition_of(), Err(error))]),
        }
    }
    for (leader, ready) in by_leader {
        let mut request: Vec<(TopicPartition, Bytes)> = Vec::new();
        let mut size = 0;
        for at in ready {
            if size + at.bytes > REQUEST_BYTES_MAX && !request.is_empty() {
                dispatch(shared, leader, std::mem::take(&mut request));
                size = 0;
            }
            let mut state = shared.lock();
            let bytes = state.accumulator.send(&at.topic, at.partition, identity);
            if let Some(bytes) = bytes {
                size += bytes.len();
                request.push((at.partition_of(), bytes));
            }
        }
        if !request.is_empty() {
            dispatch(shared, leader, request);
        }
    }
    again
}

impl Ready {
    fn partition_of(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }
}

/// Gives up a batch that has had its time.
fn expire(shared: &Shared, at: &Ready, now: Instant) -> bool {
    let mut state = shared.lock();
    if !state.accumulator.is_expired(&at.topic, at.partition, now) {
        return false;
    }
    let Some(batch) = state.accumulator.take(&at.topic, at.partition, false) else {
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

async fn leader(client: &Client, at: &Ready) -> Result<i32, ClientError> {
    let partition = at.partition_of();
    let topic = client.topic(&at.topic).await?;
    let info = topic
        .partitions
        .iter()
        .find(|info| info.index == at.partition);
    let leader = info.and_then(|info| info.leader);
    leader.ok_or_else(|| {
        client.forget_topic(&at.topic);
        ClientError::Refused(Refusal {
            api: "Metadata",
            subject: format!("partition {partition}"),
            code: ErrorCode::LeaderNotAvailable.code(),
            message: None,
        })
    })
}

/// Sends a request without waiting here for its answer.
fn dispatch(shared: &Arc<Shared>, leader: i32, batches: Vec<(TopicPartition, Bytes)>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let partitions: Vec<TopicPartition> = batches.iter().map(|(at, _)| at.clone()).collect();
        let outcomes = match send(&shared, leader, batches).await {
            Ok(Some(answer)) => outcomes(&partitions, &answer),
            // Nobody says anything with `acks=0`.
            Ok(None) => partitions.into_iter().map(|at| (at, Ok(None))).collect(),
            Err(error) => {
                let failed = partitions.into_iter().map(|at| (at, Err(error.clone())));
                failed.collect()
            }
        };
        settle(&shared, outcomes);
    });
}

async fn send(
    shared: &Shared,
    leader: i32,
    batches: Vec<(TopicPartition, Bytes)>,
) -> Result<Option<ProduceResponse>, ClientError> {
    let client = &shared.client;
    let transactional = shared.config.transactional.as_ref();
    // Version 13 calls topics by ids.
    let mut version_max = 12;
    if transactional.is_some() {
        let partitions: Vec<TopicPartition> = batches.iter().map(|(at, _)| at.clone()).collect();
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
    for (at, records) in batches {
        let data = PartitionProduceData::default()
            .with_index(at.partition)
            .with_records(Some(records));
        match topics.last_mut().filter(|topic| *topic.name.0 == *at.topic) {
            Some(topic) => topic.partition_data.push(data),
            None => topics.push(
                TopicProduceData::default()
                    .with_name(topic_name(&at.topic))
                    .with_partition_data(vec![data]),
            ),
        }
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
    connection.call(version, &request).await.map(Some)
}

type Sent = (TopicPartition, Result<Option<i64>, ClientError>);

/// What the broker said of each partition that it was asked about.
fn outcomes(partitions: &[TopicPartition], answer: &ProduceResponse) -> Vec<Sent> {
    let mut said: BTreeMap<TopicPartition, Outcome<Option<i64>>> = BTreeMap::new();
    for topic in &answer.responses {
        for partition in &topic.partition_responses {
            let at = TopicPartition::new(topic.name.as_str(), partition.index);
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
    partitions
        .iter()
        .map(|at| {
            let outcome = said.remove(at);
            let outcome = outcome.unwrap_or_else(|| Err(no_answer(API, format!("partition {at}"))));
            (at.clone(), outcome.map_err(ClientError::from))
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

fn settle(shared: &Shared, outcomes: Vec<Sent>) {
    let now = Instant::now();
    let backoff = shared.client.config().backoff;
    let mut failed = Vec::new();
    for (at, outcome) in outcomes {
        let mut state = shared.lock();
        let state = &mut *state;
        let batch = match &outcome {
            Err(error) if may_pass(error) => {
                shared.client.forget_topic(&at.topic);
                let later = |failures| now + backoff.after(failures, chance());
                state.accumulator.again(&at.topic, at.partition, later);
                continue;
            }
            outcome => state
                .accumulator
                .take(&at.topic, at.partition, outcome.is_ok()),
        };
        let Some(batch) = batch else {
            continue;
        };
        if outcome.as_ref().is_err_and(lost_identity) && batch.identity == state.identity {
            state.identity = None;
        }
        if let Err(error) = &outcome {
            failed.push(error.clone());
        }
        batch.settled.settle(outcome);
    }
    for error in failed {
        transaction::note(shared, &error);
    }
    shared.settled.notify_waiters();
    shared.wake.notify_one();
}

//! Transactions: records in several partitions and offsets of a group that count together or not at
//! all.
//!
//! | `transaction.version` | A partition joins the transaction | The epoch |
//! |---|---|---|
//! | 2 (KIP-890) | with its first batch, by Produce 12 | rises with every transaction |
//! | 0, 1 | by AddPartitionsToTxn before its first batch | stays |
//!
//! Once anything in a transaction has failed it can only be aborted.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use reka_protocol::kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, GroupId,
    InitProducerIdRequest, ProducerId, TransactionalId, TxnOffsetCommitRequest,
};
use reka_protocol::kafka_protocol::protocol::Request;

use super::accumulator::Identity;
use super::{Producer, Shared};
use crate::admin::OffsetToCommit;
use crate::client::{ANY, Coordinator, Target, agree, text, topic_name};
use crate::error::{ClientError, judge};
use crate::metadata::TopicPartition;
use crate::pool::Lane;

/// Who a producer of transactions is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionalConfig {
    /// Of all producers with the same id the last one counts.
    pub id: String,
    /// How long a transaction may take before the broker aborts it.
    pub timeout: Duration,
}

/// The current transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// Partitions the coordinator knows of, or will by their first batch.
    added: HashSet<TopicPartition>,
    /// Whether the coordinator knows of anything.
    begun: bool,
    /// Why it can only be aborted.
    pub(super) failed: Option<ClientError>,
}

/// The feature that decides how partitions join.
const FEATURE: &str = "transaction.version";
/// The first Produce that adds partitions by itself.
const PRODUCE_ADDS: i16 = 12;

fn not_transactional() -> ClientError {
    ClientError::Config {
        reason: "the producer has no transactional id".to_owned(),
    }
}

impl Producer {
    /// Begins a transaction. The first one fences off earlier producers with the same id, and aborts
    /// what they left open.
    pub async fn begin(&self) -> Result<(), ClientError> {
        if self.shared.config.transactional.is_none() {
            return Err(not_transactional());
        }
        if let Some(error) = &self.shared.lock().fenced {
            return Err(error.clone());
        }
        if self.shared.lock().transaction.is_some() {
            let reason = "a transaction has begun already".to_owned();
            return Err(ClientError::Config { reason });
        }
        initialize(&self.shared).await?;
        self.shared.lock().transaction = Some(Transaction {
            added: HashSet::new(),
            begun: false,
            failed: None,
        });
        Ok(())
    }

    /// Makes offsets of a group part of the transaction. For a member of the group, say who it is:
    /// one that the group has given up is refused.
    pub async fn send_offsets(
        &self,
        group: &str,
        member: Option<(&str, i32)>,
        offsets: &[(TopicPartition, OffsetToCommit)],
    ) -> Result<(), ClientError> {
        let sent = self.offsets(group, member, offsets).await;
        if let Err(error) = &sent {
            note(&self.shared, error);
        }
        sent
    }

    async fn offsets(
        &self,
        group: &str,
        member: Option<(&str, i32)>,
        offsets: &[(TopicPartition, OffsetToCommit)],
    ) -> Result<(), ClientError> {
        let shared = &self.shared;
        let (id, identity) = current(shared)?;
        let by_itself = adds_by_itself(shared).await?;
        if !by_itself {
            ask(
                shared,
                Coordinator::Transaction,
                &id,
                |_| {
                    AddOffsetsToTxnRequest::default()
                        .with_transactional_id(TransactionalId(text(&id)))
                        .with_producer_id(ProducerId(identity.id))
                        .with_producer_epoch(identity.epoch)
                        .with_group_id(GroupId(text(group)))
                },
                |answer| {
                    let subject = || format!("group {group} in the transaction of {id}");
                    judge("AddOffsetsToTxn", subject, answer.error_code, None)
                },
            )
            .await?;
        }
        if let Some(transaction) = &mut shared.lock().transaction {
            transaction.begun = true;
        }
        ask_in(
            shared,
            Coordinator::Group,
            group,
            versions(by_itself, 4),
            |version| {
                let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
                for (at, offset) in offsets {
                    let mut partition = TxnOffsetCommitRequestPartition::default()
                        .with_partition_index(at.partition)
                        .with_committed_offset(offset.offset)
                        .with_committed_metadata(Some(text(&offset.metadata)));
                    if version >= 2 {
                        partition.committed_leader_epoch = offset.leader_epoch.unwrap_or(-1);
                    }
                    match topics.last_mut().filter(|topic| *topic.name.0 == *at.topic) {
                        Some(topic) => topic.partitions.push(partition),
                        None => topics.push(
                            TxnOffsetCommitRequestTopic::default()
                                .with_name(topic_name(&at.topic))
                                .with_partitions(vec![partition]),
                        ),
                    }
                }
                let request = TxnOffsetCommitRequest::default()
                    .with_transactional_id(TransactionalId(text(&id)))
                    .with_group_id(GroupId(text(group)))
                    .with_producer_id(ProducerId(identity.id))
                    .with_producer_epoch(identity.epoch)
                    .with_topics(topics);
                match member {
                    Some((member, epoch)) if version >= 3 => request
                        .with_member_id(text(member))
                        .with_generation_id(epoch),
                    _ => request,
                }
            },
            |answer| {
                for topic in &answer.topics {
                    for partition in &topic.partitions {
                        let index = partition.partition_index;
                        let name = topic.name.as_str();
                        let subject = || format!("partition {name}-{index} of group {group}");
                        judge("TxnOffsetCommit", subject, partition.error_code, None)?;
                    }
                }
                Ok(())
            },
        )
        .await
    }

    /// Makes everything in the transaction count. Where anything of it has failed it is not committed
    /// but stays to be aborted.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.flush().await;
        let failed = match &self.shared.lock().transaction {
            Some(transaction) => transaction.failed.clone(),
            None => return Err(none_has_begun()),
        };
        match failed {
            Some(error) => Err(error),
            None => self.end(true).await,
        }
    }

    /// Makes nothing of the transaction count.
    pub async fn abort(&self) -> Result<(), ClientError> {
        // What is not sent yet need not be: its outcome is told to whoever waits for it.
        self.flush().await;
        self.end(false).await
    }

    async fn end(&self, committed: bool) -> Result<(), ClientError> {
        let shared = &self.shared;
        let Some(begun) = shared.lock().transaction.as_ref().map(|t| t.begun) else {
            return Err(none_has_begun());
        };
        // Without an identity the next one is asked for by the transactional id, which aborts.
        let known = shared.lock().identity.is_some();
        if begun && known {
            let (id, identity) = current(shared)?;
            let by_itself = adds_by_itself(shared).await?;
            let kind = Coordinator::Transaction;
            let ended = ask_in(
                shared,
                kind,
                &id,
                versions(by_itself, 4),
                |_| {
                    EndTxnRequest::default()
                        .with_transactional_id(TransactionalId(text(&id)))
                        .with_producer_id(ProducerId(identity.id))
                        .with_producer_epoch(identity.epoch)
                        .with_committed(committed)
                },
                |answer| {
                    let subject = || format!("the transaction of {id}");
                    judge("EndTxn", subject, answer.error_code, None)?;
                    // From version 5 on the broker says who we are from here on.
                    let next = Identity {
                        id: answer.producer_id.0,
                        epoch: answer.producer_epoch,
                    };
                    Ok((next.id >= 0).then_some(next))
                },
            )
            .await;
            match ended {
                Ok(Some(next)) => shared.lock().identity = Some(next),
                // What was refused may have left a hole in the sequence numbers.
                Ok(None) if !committed => shared.lock().identity = None,
                Ok(None) => {}
                // There is nothing left to end; who asks for the id again aborts what may be.
                Err(error) => {
                    note(shared, &error);
                    let mut state = shared.lock();
                    state.identity = None;
                    state.transaction = None;
                    return Err(error);
                }
            }
        }
        shared.lock().transaction = None;
        Ok(())
    }
}

fn none_has_begun() -> ClientError {
    ClientError::Config {
        reason: "no transaction has begun".to_owned(),
    }
}

fn current(shared: &Shared) -> Result<(String, Identity), ClientError> {
    let transactional = shared.config.transactional.as_ref();
    let id = transactional.ok_or_else(not_transactional)?.id.clone();
    let state = shared.lock();
    match (&state.transaction, state.identity) {
        (Some(_), Some(identity)) => Ok((id, identity)),
        (Some(transaction), None) => Err(transaction.failed.clone().unwrap_or_else(none_has_begun)),
        (None, _) => Err(none_has_begun()),
    }
}

/// Who we are, by the transactional id.
async fn initialize(shared: &Shared) -> Result<(), ClientError> {
    let Some(transactional) = &shared.config.transactional else {
        return Err(not_transactional());
    };
    if shared.lock().identity.is_some() {
        return Ok(());
    }
    let id = &transactional.id;
    let timeout = i32::try_from(transactional.timeout.as_millis()).unwrap_or(i32::MAX);
    let identity = ask(
        shared,
        Coordinator::Transaction,
        id,
        |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text(id))))
                .with_transaction_timeout_ms(timeout)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
        },
        |answer| {
            let subject = || format!("transactional id {id}");
            judge("InitProducerId", subject, answer.error_code, None)?;
            Ok(Identity {
                id: answer.producer_id.0,
                epoch: answer.producer_epoch,
            })
        },
    )
    .await?;
    shared.lock().identity = Some(identity);
    Ok(())
}

/// Whether partitions and groups join a transaction by what is sent to them.
pub(super) async fn adds_by_itself(shared: &Shared) -> Result<bool, ClientError> {
    let connection = shared.client.connection(Target::Any, Lane::Control).await?;
    let versions = connection.versions();
    let produce = versions
        .offered(0)
        .is_some_and(|range| range.contains(&PRODUCE_ADDS));
    Ok(produce && versions.finalized(FEATURE) >= 2)
}

/// Makes partitions part of the transaction, before anything is sent to them.
pub(super) async fn add(shared: &Shared, partitions: &[TopicPartition]) -> Result<(), ClientError> {
    let (id, identity) = current(shared)?;
    let new: Vec<TopicPartition> = {
        let state = shared.lock();
        let known = state
            .transaction
            .as_ref()
            .map(|transaction| &transaction.added);
        let is_new = |at: &&TopicPartition| known.is_some_and(|known| !known.contains(*at));
        partitions.iter().filter(is_new).cloned().collect()
    };
    if new.is_empty() {
        return Ok(());
    }
    if !adds_by_itself(shared).await? {
        let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
        for at in &new {
            match topics.last_mut().filter(|topic| *topic.name.0 == *at.topic) {
                Some(topic) => topic.partitions.push(at.partition),
                None => topics.push(
                    AddPartitionsToTxnTopic::default()
                        .with_name(topic_name(&at.topic))
                        .with_partitions(vec![at.partition]),
                ),
            }
        }
        // Versions from 4 on are for brokers.
        let build = |_| {
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(TransactionalId(text(&id)))
                .with_v3_and_below_producer_id(ProducerId(identity.id))
                .with_v3_and_below_producer_epoch(identity.epoch)
                .with_v3_and_below_topics(topics.clone())
        };
        ask_in(
            shared,
            Coordinator::Transaction,
            &id,
            0..=3,
            build,
            |answer| {
                for topic in &answer.results_by_topic_v3_and_below {
                    for partition in &topic.results_by_partition {
                        let name = topic.name.as_str();
                        let index = partition.partition_index;
                        let subject =
                            || format!("partition {name}-{index} in the transaction of {id}");
                        let code = partition.partition_error_code;
                        judge("AddPartitionsToTxn", subject, code, None)?;
                    }
                }
                Ok(())
            },
        )
        .await?;
    }
    if let Some(transaction) = &mut shared.lock().transaction {
        transaction.begun = true;
        transaction.added.extend(new);
    }
    Ok(())
}

async fn ask<R: Request + 'static, T>(
    shared: &Shared,
    kind: Coordinator,
    key: &str,
    build: impl Fn(i16) -> R,
    read: impl Fn(&R::Response) -> Result<T, crate::error::Refusal>,
) -> Result<T, ClientError> {
    ask_in(shared, kind, key, ANY, build, read).await
}

/// Asks a coordinator until it answers in a way that stays.
async fn ask_in<R: Request + 'static, T>(
    shared: &Shared,
    kind: Coordinator,
    key: &str,
    versions: RangeInclusive<i16>,
    build: impl Fn(i16) -> R,
    read: impl Fn(&R::Response) -> Result<T, crate::error::Refusal>,
) -> Result<T, ClientError> {
    let client = &shared.client;
    let mut tries = client.tries(format!("ask the coordinator of {key}"));
    loop {
        let attempt = async {
            let broker = client.find_coordinator(kind, key).await?;
            let connection = client
                .connection(Target::Broker(broker.id), Lane::Control)
                .await?;
            let version = agree::<R>(&connection, &versions)?;
            let answer = connection.call(version, &build(version)).await?;
            Ok(read(&answer)?)
        };
        if let Some(done) = tries.run(attempt).await? {
            return Ok(done);
        }
    }
}

/// Something in the transaction has failed: it can only be aborted. A producer that another one with
/// its id has taken the place of can do nothing any more.
pub(super) fn note(shared: &Shared, error: &ClientError) {
    let mut state = shared.lock();
    if let Some(transaction) = &mut state.transaction {
        transaction.failed.get_or_insert_with(|| error.clone());
    }
    let fenced = [ErrorCode::InvalidProducerEpoch, ErrorCode::ProducerFenced];
    let refusal = error.refusal();
    if refusal.is_some_and(|refusal| fenced.iter().any(|code| refusal.is(*code))) {
        state.fenced = Some(error.clone());
    }
}

/// The versions of a request in which it belongs to a transaction of this kind: `last` is the last
/// that does not add partitions by itself.
pub(super) fn versions(adds_by_itself: bool, last: i16) -> RangeInclusive<i16> {
    match adds_by_itself {
        true => ANY,
        false => 0..=last,
    }
}

//! TxnOffsetCommit (28), versions 0-5.
//!
//! | version | adds |
//! |---|---|
//! | 0 | offsets in a transaction (KIP-98) |
//! | 2 | leader epochs (KIP-320); COORDINATOR_LOAD_IN_PROGRESS, older clients are told COORDINATOR_NOT_AVAILABLE |
//! | 3 | the member that commits (KIP-447), flexible encoding |
//! | 4 | transaction errors (KIP-890) |
//! | 5 | the group is added to the transaction on the way (KIP-890) |
//!
//! The offsets count once the transaction is committed. Partitions that do not exist are refused
//! one by one; if none is left, the group is not asked.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::{Call, Context, Handler};
use crate::coordinator::write::InTransaction;
use crate::group::ask::{Ask, Commit, CommitPartition, CommitTopic, PartitionCodes, Reply};
use crate::metadata::CONSUMER_OFFSETS;
use crate::txn::admit::{Ability, admit};
use crate::txn::ask::Producer;

/// Clients from here on can wait for a coordinator that loads.
const LOADING_FROM: i16 = 2;
/// Clients from here on know that a transaction may have to be aborted.
const ABORTABLE_FROM: i16 = 4;
/// From here on the group is added to the transaction for the client.
const ADDS_FROM: i16 = 5;
/// Kafka writes the time of the commit and lets the group's retention count.
const DEFAULT_RETENTION: i64 = -1;

/// Remembers how far a group has come, if the transaction is committed.
#[derive(Debug)]
pub struct TxnOffsetCommit;

impl Handler for TxnOffsetCommit {
    type Request = TxnOffsetCommitRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let (known, topics) = sort_out(&context, &request);
        let codes = match topics.is_empty() {
            true => PartitionCodes::error(ErrorCode::None),
            false => commit(&context, call, &request, topics).await,
        };
        respond(call, &request, &known, &codes)
    }
}

/// Which partitions there are, in the order asked, and what is left for the group.
fn sort_out(context: &Context, request: &TxnOffsetCommitRequest) -> (Vec<bool>, Vec<CommitTopic>) {
    let image = context.services.quorum.image();
    let mut is_known = Vec::new();
    let mut topics = Vec::new();
    for topic in &request.topics {
        let known = image.topics().get(topic.name.as_str());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let is_there = known.and_then(|topic| topic.partition(index)).is_some();
            is_known.push(is_there);
            if !is_there {
                continue;
            }
            let metadata = partition.committed_metadata.as_ref();
            partitions.push(CommitPartition {
                index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: metadata.map(ToString::to_string).unwrap_or_default(),
            });
        }
        if let Some(known) = known.filter(|_| !partitions.is_empty()) {
            topics.push(CommitTopic {
                name: known.name().to_owned(),
                id: known.id(),
                partitions,
            });
        }
    }
    (is_known, topics)
}

async fn commit(
    context: &Context,
    call: Call,
    request: &TxnOffsetCommitRequest,
    topics: Vec<CommitTopic>,
) -> PartitionCodes {
    let services = &context.services;
    let group = request.group_id.to_string();
    if group.is_empty() {
        return PartitionCodes::error(ErrorCode::InvalidGroupId);
    }
    let transaction = match verify(context, call, request).await {
        Ok(transaction) => transaction,
        Err(code) => return PartitionCodes::error(code),
    };
    let commit = Commit {
        group: group.clone(),
        generation: request.generation_id,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        retention_ms: DEFAULT_RETENTION,
        topics,
        knows_member_epochs: false,
    };
    let ask = Ask::CommitInTransaction(commit, transaction);
    match services.groups.ask(&group, ask).await {
        Reply::Partitions(codes) => codes,
        other => PartitionCodes::error(other.refusal()),
    }
}

/// Asks the transaction's coordinator about the partition that holds the group, unless it has been
/// asked before in this transaction.
async fn verify(
    context: &Context,
    call: Call,
    request: &TxnOffsetCommitRequest,
) -> Result<InTransaction, ErrorCode> {
    let services = &context.services;
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let not_here = ErrorCode::NotCoordinator;
    let index = services
        .groups
        .partition_of(&request.group_id)
        .ok_or(not_here)?;
    let partition = services
        .partitions
        .get(CONSUMER_OFFSETS, index)
        .ok_or(not_here)?;
    let guard = partition
        .begin_verification(producer.id, producer.epoch, 0)
        .map_err(|refused| refused.error_code)?;
    let transaction = InTransaction {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        guard,
    };
    let ability = match call.version {
        ADDS_FROM.. => Ability::IsAdded,
        ABORTABLE_FROM.. => Ability::AddsAndAborts,
        _ => Ability::Adds,
    };
    let is_asked = ability == Ability::IsAdded || services.config().transactions.verify_partitions;
    if guard.is_none() || !is_asked {
        return Ok(transaction);
    }
    let places = vec![(CONSUMER_OFFSETS.into(), index)];
    let codes = admit(
        services,
        &request.transactional_id,
        producer,
        places,
        ability,
    )
    .await;
    match codes.first() {
        Some(ErrorCode::None) => Ok(transaction),
        Some(code) => Err(*code),
        None => Err(ErrorCode::UnknownServerError),
    }
}

fn respond(
    call: Call,
    request: &TxnOffsetCommitRequest,
    is_known: &[bool],
    codes: &PartitionCodes,
) -> TxnOffsetCommitResponse {
    let mut is_known = is_known.iter();
    let told = codes.topics.iter().flat_map(|(_, partitions)| partitions);
    let mut told = told.map(|(_, code)| *code);
    let mut code = || match (is_known.next(), codes.error_code) {
        (Some(true), ErrorCode::None) => told.next().unwrap_or(ErrorCode::UnknownServerError),
        (Some(true), ErrorCode::CoordinatorLoadInProgress) if call.version < LOADING_FROM => {
            ErrorCode::CoordinatorNotAvailable
        }
        (Some(true), whole) => whole,
        _ => ErrorCode::UnknownTopicOrPartition,
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code().code())
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

//! AddPartitionsToTxn (24), versions 0-5.
//!
//! | version | adds |
//! |---|---|
//! | 0 | from clients, one transaction (KIP-98) |
//! | 2 | PRODUCER_FENCED; older clients are told INVALID_PRODUCER_EPOCH |
//! | 3 | flexible encoding |
//! | 4 | from brokers, many transactions, or only to look (KIP-890) |
//! | 5 | transaction errors (KIP-890) |
//!
//! All partitions are added or none: with one that does not exist the others are answered
//! OPERATION_NOT_ATTEMPTED.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use reka_protocol::kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use reka_protocol::kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
};

use super::{Call, Context, Handler};
use crate::txn::ask::{Add, Ask, Producer, Reply};
use crate::txn::record::Place;

/// From here on the request is a broker's.
const BROKERS_FROM: i16 = 4;
/// Clients from here on know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// The level of `transaction.version` that brokers speak for.
const BROKERS_LEVEL: i16 = 2;

/// Adds partitions to transactions, or tells whether they are part of them.
#[derive(Debug)]
pub struct AddPartitionsToTxn;

impl Handler for AddPartitionsToTxn {
    type Request = AddPartitionsToTxnRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        if call.version < BROKERS_FROM {
            let transaction = AddPartitionsToTxnTransaction::default()
                .with_transactional_id(request.v3_and_below_transactional_id)
                .with_producer_id(request.v3_and_below_producer_id)
                .with_producer_epoch(request.v3_and_below_producer_epoch)
                .with_topics(request.v3_and_below_topics);
            let topics = add(&context, call, &transaction).await;
            return AddPartitionsToTxnResponse::default()
                .with_results_by_topic_v3_and_below(topics);
        }
        let mut results = Vec::new();
        for transaction in request.transactions {
            let topics = add(&context, call, &transaction).await;
            let result = AddPartitionsToTxnResult::default()
                .with_transactional_id(transaction.transactional_id)
                .with_topic_results(topics);
            results.push(result);
        }
        AddPartitionsToTxnResponse::default().with_results_by_transaction(results)
    }
}

async fn add(
    context: &Context,
    call: Call,
    transaction: &AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let codes = decide(context, call, transaction).await;
    let mut codes = codes.into_iter();
    let mut told = |_: &i32| codes.next().unwrap_or(ErrorCode::UnknownServerError);
    let topics = transaction.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            let code = match told(index) {
                ErrorCode::ProducerFenced if call.version < FENCED_FROM => {
                    ErrorCode::InvalidProducerEpoch
                }
                code => code,
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(code.code())
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    topics.collect()
}

/// A code for each partition, in the order asked.
async fn decide(
    context: &Context,
    call: Call,
    transaction: &AddPartitionsToTxnTransaction,
) -> Vec<ErrorCode> {
    let services = &context.services;
    let partitions = places(&transaction.topics);
    let count = partitions.len();
    let missing = {
        let image = services.quorum.image();
        let is_there = |(topic, index): &Place| {
            let topic = image.topics().get(topic);
            topic.and_then(|topic| topic.partition(*index)).is_some()
        };
        partitions
            .iter()
            .map(|place| !is_there(place))
            .collect::<Vec<_>>()
    };
    if missing.contains(&true) {
        let code = |missing: &bool| match missing {
            true => ErrorCode::UnknownTopicOrPartition,
            false => ErrorCode::OperationNotAttempted,
        };
        return missing.iter().map(code).collect();
    }
    let id = transaction.transactional_id.to_string();
    if id.is_empty() {
        return vec![ErrorCode::InvalidRequest; count];
    }
    let add = Add {
        id: id.clone(),
        producer: Producer {
            id: transaction.producer_id.0,
            epoch: transaction.producer_epoch,
        },
        partitions,
        client_version: match call.version >= BROKERS_FROM {
            true => BROKERS_LEVEL,
            false => 0,
        },
    };
    let ask = match transaction.verify_only {
        true => Ask::Verify(add),
        false => Ask::Add(add),
    };
    match services.transactions.ask(&id, ask).await {
        Reply::Code(code) => vec![code; count],
        Reply::Verified(codes) => codes,
        other => vec![other.refusal(); count],
    }
}

fn places(topics: &[AddPartitionsToTxnTopic]) -> Vec<Place> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let name: std::sync::Arc<str> = topic.name.as_str().into();
        let indexes: Vec<Place> = topic
            .partitions
            .iter()
            .map(|index| (name.clone(), *index))
            .collect();
        indexes
    };
    topics.iter().flat_map(of_topic).collect()
}

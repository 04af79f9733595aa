//! DescribeTransactions (65), version 0: where transactional ids stand (KIP-664).

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_transactions_response::{
    TopicData, TransactionState,
};
use reka_protocol::kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId, TopicName,
    TransactionalId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::txn::ask::{Ask, Described, Reply};
use crate::txn::state::by_topic;

/// Tells where transactional ids stand.
#[derive(Debug)]
pub struct DescribeTransactions;

impl Handler for DescribeTransactions {
    type Request = DescribeTransactionsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: DescribeTransactionsRequest,
    ) -> DescribeTransactionsResponse {
        let mut states = Vec::with_capacity(request.transactional_ids.len());
        for id in request.transactional_ids {
            let state = match describe(&context, &id).await {
                Ok(described) => told(described),
                Err(code) => TransactionState::default().with_error_code(code.code()),
            };
            states.push(state.with_transactional_id(id));
        }
        DescribeTransactionsResponse::default().with_transaction_states(states)
    }
}

async fn describe(context: &Context, id: &TransactionalId) -> Result<Described, ErrorCode> {
    if id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let ask = Ask::Describe(id.to_string());
    match context.services.transactions.ask(id, ask).await {
        Reply::Describe(described) => described,
        other => Err(other.refusal()),
    }
}

fn told(described: Described) -> TransactionState {
    let topics = by_topic(&described.partitions).into_iter();
    let topics = topics.map(|(name, partitions)| {
        TopicData::default()
            .with_topic(TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions)
    });
    TransactionState::default()
        .with_transaction_state(StrBytes::from_static_str(described.state.name()))
        .with_transaction_timeout_ms(described.timeout_ms)
        .with_transaction_start_time_ms(described.started_ms)
        .with_producer_id(ProducerId(described.producer.id))
        .with_producer_epoch(described.producer.epoch)
        .with_topics(topics.collect())
}

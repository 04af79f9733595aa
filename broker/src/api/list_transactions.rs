//! ListTransactions (66), versions 0-2 (KIP-664).
//!
//! | version | adds |
//! |---|---|
//! | 0 | by state and by producer id |
//! | 1 | by how long they have been running (KIP-994) |
//! | 2 | by a pattern for the whole id (KIP-1152) |

use std::rc::Rc;

use regex::Regex;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::list_transactions_response::TransactionState;
use reka_protocol::kafka_protocol::messages::{
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::txn::ask::ListFilter;
use crate::txn::record::State;

/// States Kafka knows that no id here is ever seen in.
const NEVER_SEEN: [&str; 2] = ["Dead", "PrepareEpochFence"];
/// Memory an expression may take, compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Lists the transactional ids coordinated here.
#[derive(Debug)]
pub struct ListTransactions;

impl Handler for ListTransactions {
    type Request = ListTransactionsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: ListTransactionsRequest,
    ) -> ListTransactionsResponse {
        let refused =
            |code: ErrorCode| ListTransactionsResponse::default().with_error_code(code.code());
        let pattern = request.transactional_id_pattern.as_ref();
        let pattern = match pattern.filter(|p| !p.is_empty()).map(|p| whole(p)) {
            None => None,
            Some(Ok(pattern)) => Some(pattern),
            Some(Err(_)) => return refused(ErrorCode::InvalidRegularExpression),
        };
        let states = request.state_filters.iter();
        let filter = ListFilter {
            states: states.clone().filter_map(|s| State::from_name(s)).collect(),
            by_state: !request.state_filters.is_empty(),
            producer_ids: request.producer_id_filters.iter().map(|id| id.0).collect(),
            duration_ms: request.duration_filter,
            pattern,
        };
        let is_known = |name: &str| State::from_name(name).is_some() || NEVER_SEEN.contains(&name);
        let unknown = states.filter(|name| !is_known(name)).cloned().collect();
        let listed = match context.services.transactions.list(&filter).await {
            Ok(listed) => listed,
            Err(code) => return refused(code),
        };
        let listed = listed.into_iter().map(|listed| {
            let id = StrBytes::from_string(listed.id.to_string());
            TransactionState::default()
                .with_transactional_id(TransactionalId(id))
                .with_producer_id(ProducerId(listed.producer_id))
                .with_transaction_state(StrBytes::from_static_str(listed.state.name()))
        });
        ListTransactionsResponse::default()
            .with_unknown_state_filters(unknown)
            .with_transaction_states(listed.collect())
    }
}

fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(PATTERN_BYTES_MAX)
        .build()
}

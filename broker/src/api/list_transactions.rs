//! ListTransactions (66), versions 0-2 (KIP-664).
//!
//! | version | adds |
//! |---|---|
//! | 0 | by state and by producer id |
//! | 1 | by how long they have been running (KIP-994) |
//! | 2 | by a pattern for the whole id (KIP-1152) |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::list_transactions_response::TransactionState;
use reka_protocol::kafka_protocol::messages::{
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::consumer::Pattern;
use crate::txn::ask::{ListFilter, Listed};
use crate::txn::record::State;

/// States Kafka knows that no id here is ever seen in.
const NEVER_SEEN: [&str; 2] = ["Dead", "PrepareEpochFence"];

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
        let pattern = match pattern.filter(|pattern| !pattern.is_empty()) {
            None => None,
            Some(pattern) => match Pattern::new(pattern) {
                Ok(pattern) => Some(pattern),
                Err(_) => return refused(ErrorCode::InvalidRegularExpression),
            },
        };
        let states = request.state_filters.iter();
        let filter = ListFilter {
            states: states.clone().filter_map(|s| State::from_name(s)).collect(),
            by_state: !request.state_filters.is_empty(),
            producer_ids: request.producer_id_filters.iter().map(|id| id.0).collect(),
            duration_ms: request.duration_filter,
        };
        let is_known = |name: &str| State::from_name(name).is_some() || NEVER_SEEN.contains(&name);
        let unknown = states.filter(|name| !is_known(name)).cloned().collect();
        let listed = match context.services.transactions.list(&filter).await {
            Ok(listed) => listed,
            Err(code) => return refused(code),
        };
        let listed = match pattern {
            None => listed,
            Some(pattern) => {
                // With many ids it takes long, and nobody else is to wait for it.
                let matching = context.services.blocking.run(move || {
                    let matches = |listed: &Listed| pattern.is_match(&listed.id);
                    listed.into_iter().filter(matches).collect::<Vec<_>>()
                });
                match matching.await {
                    Ok(listed) => listed,
                    Err(error) => {
                        tracing::error!("matching transactional ids failed: {error}");
                        return refused(ErrorCode::UnknownServerError);
                    }
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_an_expression_of_re2_and_not_longer_than_a_subscription() {
        // The second would mean something else between the parentheses around it.
        for bad in ["(", "a)|(b", "(?=x)", "a**b(", &"a".repeat(4097)] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
        assert!(Pattern::new(r"\Qa.b\E|c").is_ok());
    }
}

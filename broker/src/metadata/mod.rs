//! The cluster's metadata as this broker sees it.

pub mod follow;
pub mod topics;

/// Groups' committed offsets.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Transactions' states.
pub const TRANSACTION_STATE: &str = "__transaction_state";

/// Topics that only the broker writes to.
pub fn is_internal_topic(name: &str) -> bool {
    name == CONSUMER_OFFSETS || name == TRANSACTION_STATE
}

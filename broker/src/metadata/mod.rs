//! The cluster's metadata as this broker sees it.

pub mod configs;
pub mod controller;
pub mod features;
pub mod follow;
pub mod partitions;
pub mod quotas;
mod refusal;
pub mod topics;

pub use controller::{ChangeError, Controller, Draft};
pub use refusal::Refusal;

/// Groups' committed offsets.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Transactions' states.
pub const TRANSACTION_STATE: &str = "__transaction_state";

/// Topics that only the broker writes to.
pub fn is_internal_topic(name: &str) -> bool {
    name == CONSUMER_OFFSETS || name == TRANSACTION_STATE
}

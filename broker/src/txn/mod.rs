//! Transactions: which partitions a producer's transaction has reached, and how it ends on all of them.
//!
//! ```text
//! api/<key>.rs ── Ask ──▶ coordinators.rs ── mailbox ──▶ shard.rs ── Ask, now ──▶ state.rs
//!                         which partition                one task each            decides: a record, a reply
//!                         of __transaction_state         appends, then            changes by records
//!                                                        answers, then
//!                                                        markers.rs: on every partition of it
//! ```
//!
//! | Module | Owns |
//! |---|---|
//! | [`ask`] | what can be asked, and the answers |
//! | [`record`] | where a transactional id stands, and how that is written to `__transaction_state` |
//! | [`state`] | all ids of one partition; pure |
//! | [`load`] | reading a partition back |
//! | [`markers`] | ending a transaction on its partitions |
//! | [`shard`] | the task of one partition: mailbox, append, reply, markers |
//! | [`coordinators`] | the front door, and creating the topic |
//! | [`late`] | transactions that hang |
//! | [`admit`] | asking the coordinator before a batch begins a transaction on a partition |
//!
//! The machine reads no clock and no random source: the time and fresh producer ids are arguments.
//! An end that is decided is written before anything of it is done; what a crash interrupts is
//! finished by whoever reads the partition back.

pub mod admit;
pub mod ask;
pub mod coordinators;
pub mod late;
pub mod load;
pub mod markers;
pub mod record;
pub mod shard;
pub mod state;

#[cfg(test)]
mod tests;

pub use coordinators::Coordinators;

use std::time::Duration;

use crate::config::Config;

/// From this level of `transaction.version` on every transaction takes its epoch out of use, and
/// partitions are added by those who lead them (KIP-890).
pub const EPOCH_BUMP_FROM: i16 = 2;
/// The feature's name.
pub const TRANSACTION_VERSION: &str = "transaction.version";

/// What transactions are held to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `transaction.max.timeout.ms`
    pub timeout_max_ms: i64,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `reka.transactional.ids.per.partition.max`
    pub ids_max: usize,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub abort_interval: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expire_interval: Duration,
    /// `request.timeout.ms`: how long an answer waits for the log to be replicated.
    pub commit_timeout: Duration,
}

impl Settings {
    /// From the broker's configuration.
    pub fn new(config: &Config) -> Settings {
        let transactions = &config.transactions;
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Settings {
            timeout_max_ms: ms(transactions.timeout_max),
            id_expiration_ms: ms(transactions.id_expiration),
            ids_max: transactions.ids_max,
            abort_interval: transactions.timeout_check_interval,
            expire_interval: transactions.id_check_interval,
            commit_timeout: COMMIT_TIMEOUT,
        }
    }
}

/// How long an answer waits for the log to be replicated, as Kafka's `request.timeout.ms` has it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

//! What coordinators have in common: one task owns what a partition of an internal topic says,
//! others ask it by a bounded mailbox, and it answers once what it decided is in the log.
//!
//! | Module | Owns |
//! |---|---|
//! | [`mailbox`] | the way in: which partition answers for a key, and its mailbox |
//! | [`tasks`] | the thread, and which partitions have a task on it |
//! | [`every`], [`seldom`] | work and lines of the log that come again and again; pure |
//! | [`mod@load`] | reading a partition back until that succeeds |
//! | [`replay`] | its batches one after the other |
//! | [`mod@write`] | appending records to it |
//! | [`topic`] | creating the topic |
//!
//! [`crate::group`] keeps groups in `__consumer_offsets` this way, [`crate::txn`] transactional ids in
//! `__transaction_state`.

pub mod every;
pub mod load;
pub mod mailbox;
pub mod replay;
pub mod seldom;
pub mod tasks;
pub mod topic;
pub mod write;

#[cfg(test)]
mod tests;

/// Somebody who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The partition of an internal topic that holds a key, as Kafka computes it.
pub fn partition_for(key: &str, partitions: usize) -> Option<i32> {
    let partitions = i32::try_from(partitions).ok().filter(|count| *count > 0)?;
    // The one number that has no absolute value counts as 0.
    Some(java_hash(key).checked_abs().unwrap_or(0) % partitions)
}

/// `java.lang.String.hashCode`.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

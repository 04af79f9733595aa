//! Groups: who reads what, and how far they have come.
//!
//! ```text
//! api/<key>.rs ── Ask ──▶ coordinators.rs ── mailbox ──▶ shard.rs ── Ask, now ──▶ state.rs
//!                         which partition                one task each            decides: records, replies
//!                         of __consumer_offsets          appends, then answers    changes by records
//! ```
//!
//! | Module | Owns |
//! |---|---|
//! | [`ask`] | what can be asked of a group, and the answers |
//! | [`record`] | what is written to `__consumer_offsets` |
//! | [`timers`] | what falls due when; pure |
//! | [`offsets`] | committed offsets, and those that wait for a transaction's end; pure |
//! | [`classic`] | a group of the classic protocol; pure |
//! | [`state`] | all groups of one partition; pure |
//! | [`load`] | reading a partition back |
//! | [`shard`] | the task of one partition: mailbox, append, reply |
//! | [`coordinators`] | the front door, and which partitions have a task |
//!
//! The state machines read no clock, no random source and no file: the time and fresh ids are
//! arguments. What must outlive the broker changes by [`state::Groups::apply`] alone, live and on
//! replay; where a rebalance of the classic protocol stands is not written, by Kafka neither, and
//! members begin anew after a crash.

pub mod ask;
pub mod classic;
pub mod coordinators;
pub mod load;
pub mod offsets;
pub mod record;
pub mod shard;
pub mod state;
pub mod timers;

#[cfg(test)]
mod tests;

pub use coordinators::Coordinators;

use std::time::Duration;

use crate::config::Config;

/// The time, twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds that never go back, for what falls due.
    pub steady_ms: i64,
    /// Milliseconds since 1970, for what is written.
    pub wall_ms: i64,
}

/// What groups are held to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`
    pub session_timeout_min_ms: i64,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max_ms: i64,
    /// `group.max.size`
    pub members_max: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`
    pub offset_retention_ms: i64,
    /// `max.message.bytes` of `__consumer_offsets`: the largest record a group is written with.
    pub record_bytes_max: usize,
}

impl Settings {
    /// From the broker's configuration.
    pub fn new(config: &Config) -> Settings {
        Settings {
            initial_rebalance_delay_ms: ms(config.groups.classic.initial_rebalance_delay),
            session_timeout_min_ms: ms(config.groups.classic.session_timeout_min),
            session_timeout_max_ms: ms(config.groups.classic.session_timeout_max),
            members_max: config.groups.classic.members_max,
            offset_metadata_max: config.offsets.metadata_max_bytes,
            offset_retention_ms: ms(config.offsets.retention),
            record_bytes_max: config.topic_defaults.max_message_bytes,
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The partition of `__consumer_offsets` that holds a group, as Kafka computes it.
pub fn partition_for(group: &str, partitions: usize) -> Option<i32> {
    let partitions = i32::try_from(partitions).ok().filter(|count| *count > 0)?;
    // java.lang.String.hashCode, then its absolute value; the one number that has none counts as 0.
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    Some(hash.checked_abs().unwrap_or(0) % partitions)
}

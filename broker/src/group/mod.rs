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
//! | [`memory`] | how much all that takes, and how much it may; pure |
//! | [`offsets`] | committed offsets, and those that wait for a transaction's end; pure |
//! | [`lag`] | how far groups are behind; pure |
//! | [`classic`] | a group of the classic protocol; pure |
//! | [`consumer`] | a group of KIP-848; pure |
//! | [`embedded`] | what classic consumers tell each other; pure |
//! | [`refusal`] | why a question is answered with an error |
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
pub mod consumer;
pub mod coordinators;
pub mod embedded;
pub mod lag;
pub mod load;
pub mod memory;
pub mod offsets;
pub mod record;
pub mod refusal;
pub mod shard;
pub mod state;
pub mod timers;

#[cfg(test)]
mod tests;

pub use crate::coordinator::partition_for;
pub use coordinators::Coordinators;

use std::time::Duration;

use reka_raft::MetadataImage;

use self::consumer::Assignor;
use crate::config::{Config, ConsumerGroupsConfig, Tunable};

/// The time, twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds that never go back, for what falls due.
    pub steady_ms: i64,
    /// Milliseconds since 1970, for what is written.
    pub wall_ms: i64,
}

/// Of one commit, whatever a segment holds.
const COMMIT_BYTES_MAX: usize = 64 << 20;

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
    /// What the records of one commit may take: every one of them names its group and topic, so a small
    /// request can stand for much, and all of it fits one segment. The members of a group that goes from one
    /// protocol to the other are held to the same, as they are written together.
    pub commit_bytes_max: usize,
    /// `offsets.retention.minutes`
    pub offset_retention_ms: i64,
    /// `group.consumer.max.size`
    pub consumer_members_max: usize,
    /// `group.consumer.assignors`
    pub assignors: Vec<String>,
    /// The first of them.
    pub default_assignor: Assignor,
    /// `group.consumer.regex.refresh.interval.ms`
    pub pattern_refresh_ms: i64,
    /// What consumer groups may set for themselves.
    pub consumer: ConsumerGroupsConfig,
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
            commit_bytes_max: usize::try_from(config.offsets.topic.segment_bytes / 2)
                .unwrap_or_default()
                .min(COMMIT_BYTES_MAX),
            offset_retention_ms: ms(config.offsets.retention),
            consumer_members_max: config.groups.consumer.members_max,
            assignors: config.groups.consumer.assignors.clone(),
            default_assignor: config
                .groups
                .consumer
                .assignors
                .first()
                .and_then(|name| Assignor::from_name(name))
                .unwrap_or(Assignor::Uniform),
            pattern_refresh_ms: ms(config.groups.consumer.pattern_refresh_interval),
            consumer: config.groups.consumer.clone(),
            record_bytes_max: config.topic_defaults.max_message_bytes,
        }
    }
}

/// What one consumer group is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Silence after which a member is out.
    pub session_timeout_ms: i64,
    /// How often members report.
    pub heartbeat_interval_ms: i32,
    /// Shortest time between two assignments.
    pub assignment_interval_ms: i64,
}

/// Kafka's number of a group's configuration.
const GROUP_RESOURCE: i8 = 32;

impl Settings {
    /// What a group has set for itself, within what the broker allows.
    pub fn of_group(&self, group: &str, image: &MetadataImage) -> GroupSettings {
        let own = image.configs().resource(GROUP_RESOURCE, group);
        let tuned = |key: &str, tunable: &Tunable| {
            let own = own.and_then(|own| own.iter().find(|(name, _)| **name == *key));
            let own = own.and_then(|(_, value)| value.parse::<i64>().ok());
            own.unwrap_or_else(|| ms(tunable.default))
                .clamp(ms(tunable.min), ms(tunable.max))
        };
        let heartbeat = tuned(
            "consumer.heartbeat.interval.ms",
            &self.consumer.heartbeat_interval,
        );
        GroupSettings {
            session_timeout_ms: tuned(
                "consumer.session.timeout.ms",
                &self.consumer.session_timeout,
            ),
            heartbeat_interval_ms: i32::try_from(heartbeat).unwrap_or(i32::MAX),
            assignment_interval_ms: tuned(
                "consumer.assignment.interval.ms",
                &self.consumer.assignment_interval,
            ),
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Where a name comes in what Kafka lists: its coordinators keep groups and members in a table
/// whose slots are the highest bits of this.
fn listing_order(name: &str) -> u64 {
    i64::from(crate::coordinator::java_hash(name)).wrapping_mul(-7_046_029_254_386_353_131) as u64
}

//! Committed offsets: keys 0 and 1.

use uuid::Uuid;

use super::record::{record, values};

record! {
    /// What a group has committed for one partition. Kafka writes version 4, or 1 where
    /// `expire_timestamp` is set.
    pub struct OffsetCommitValue {
        /// The next offset to read.
        offset: i64,
        /// The leader epoch of the last record read, or -1.
        leader_epoch: i32 = -1 => 3..,
        /// What the client wanted to remember; up to `offset.metadata.max.bytes`.
        metadata: String,
        /// When it was committed, in milliseconds since 1970.
        commit_timestamp: i64,
        /// When it expires, or -1: set only by clients from before retention was the broker's.
        expire_timestamp: i64 = -1 => 1..=1,
    }
    tagged {
        /// The topic, where the client named it by its id; since Kafka 4.1.
        0: topic_id: Uuid = Uuid::nil(),
    }
}

values! {
    OffsetCommitValue: 0..=4, flexible from 4;
}

//! Groups of the classic protocol: key 2.

use super::record::{Opaque, record, values};

record! {
    /// A group between two rebalances. Kafka writes version 3.
    pub struct GroupMetadataValue {
        /// What the members agree on being, such as `consumer`.
        protocol_type: String,
        /// Grows by one with every rebalance.
        generation: i32,
        /// The assignor the members agreed on.
        protocol: Option<String>,
        /// The member that assigns.
        leader: Option<String>,
        /// When the group came into its state, in milliseconds since 1970, or -1.
        current_state_timestamp: i64 = -1 => 2..,
        /// Who is in it.
        members: Vec<MemberMetadata>,
    }
}

record! {
    /// A member of a classic group.
    pub struct MemberMetadata {
        /// The id the coordinator gave.
        member_id: String,
        /// The id the member brought, for static membership.
        group_instance_id: Option<String> = None => 3..,
        /// As in the request header.
        client_id: String,
        /// Where it connects from.
        client_host: String,
        /// How long it may take to rejoin, in milliseconds, or -1.
        rebalance_timeout: i32 = -1 => 1..,
        /// How long it may be silent, in milliseconds.
        session_timeout: i32,
        /// Its half of the agreement.
        subscription: Opaque,
        /// What the leader gave it.
        assignment: Opaque,
    }
}

values! {
    GroupMetadataValue: 0..=4, flexible from 4;
}

//! A group as it is written between two rebalances, and read back.

use std::sync::Arc;

use reka_protocol::messages::coordinator::Opaque;
use reka_protocol::messages::coordinator::group::{GroupMetadataValue, MemberMetadata};

use super::{ClassicGroup, Member, State, Turn};
use crate::group::ask::{Caller, Protocol};
use crate::group::record::GroupRecord;

/// Of a member, beside its texts: lengths and numbers.
const MEMBER_BYTES: usize = 32;

impl ClassicGroup {
    /// Hands the group as it is now to the log. Between rebalances only.
    pub(in crate::group) fn write(&self, turn: &mut Turn<'_>) {
        debug_assert!(matches!(self.state, State::Empty | State::Stable));
        let value = self.to_value();
        if cfg!(debug_assertions) {
            let back = ClassicGroup::from_value(self.id.clone(), value.clone());
            assert_eq!(back.to_value(), value, "what is written is what is read");
            back.check_invariants();
        }
        turn.step
            .records
            .push(GroupRecord::classic(&self.id, Some(value)));
    }

    /// As it is written.
    pub fn to_value(&self) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &Member| MemberMetadata {
            member_id: member.id.to_string(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.caller.client_id.clone(),
            client_host: member.caller.host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: Opaque(member.metadata(protocol).to_vec()),
            assignment: Opaque(member.assignment.clone()),
        };
        GroupMetadataValue {
            protocol_type: self.protocol_type().to_owned(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self
                .leader
                .as_ref()
                .filter(|_| !self.is_inherited)
                .map(ToString::to_string),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: self.members.values().map(member).collect(),
        }
    }

    /// About how many bytes that takes, without making it.
    pub(in crate::group) fn stored_bytes(&self) -> usize {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &Member| {
            member.id.len()
                + member.instance_id.as_ref().map_or(0, String::len)
                + member.caller.client_id.len()
                + member.caller.host.len()
                + member.metadata(protocol).len()
                + member.assignment.len()
                + MEMBER_BYTES
        };
        self.members.values().map(member).sum()
    }

    /// As it was written.
    pub fn from_value(id: Arc<str>, value: GroupMetadataValue) -> ClassicGroup {
        let protocol = value.protocol.clone().unwrap_or_default();
        let mut group = ClassicGroup {
            state: match value.members.is_empty() {
                true => State::Empty,
                false => State::Stable,
            },
            state_since_ms: Some(value.current_state_timestamp).filter(|since| *since != -1),
            generation: value.generation,
            protocol_type: Some(value.protocol_type).filter(|name| !name.is_empty()),
            protocol: value.protocol,
            leader: None,
            is_inherited: value.leader.is_none() && !value.members.is_empty(),
            ..ClassicGroup::new(id, crate::group::Now::default())
        };
        if !value.members.is_empty() {
            // A group with members has agreed on something, whatever a damaged record says.
            group.protocol = Some(protocol.clone());
        }
        for member in value.members {
            group.add(Member {
                id: member.member_id.into(),
                instance_id: member.group_instance_id,
                caller: Caller {
                    client_id: member.client_id,
                    host: member.client_host,
                },
                rebalance_timeout_ms: match member.rebalance_timeout {
                    -1 => member.session_timeout,
                    timeout => timeout,
                },
                session_timeout_ms: member.session_timeout,
                protocols: vec![Protocol {
                    name: protocol.clone(),
                    metadata: member.subscription.0,
                }],
                assignment: member.assignment.0,
                awaits_join: None,
                awaits_sync: None,
                is_new: false,
            });
        }
        if let Some(leader) = value
            .leader
            .filter(|leader| group.members.contains_key(&**leader))
        {
            group.leader = Some(leader.into());
        }
        group.subscribed = group.read_subscriptions();
        group
    }

    /// The group was read back: its members are given their session time afresh.
    pub(in crate::group) fn resume(&mut self, turn: &mut Turn<'_>) {
        for member in self.members.values() {
            self.arm_session(turn, member);
        }
        if self.is_inherited {
            let cause = "the last member of the consumer protocol left".to_owned();
            self.prepare_rebalance(turn, cause, "");
        }
        let members_max = turn.settings.members_max;
        if self.members.len() > members_max && self.state == State::Stable {
            let cause = format!(
                "the group has {} members, at most {members_max} may be",
                self.members.len()
            );
            self.prepare_rebalance(turn, cause, "");
        }
    }
}

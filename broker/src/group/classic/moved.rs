//! A classic group that becomes a consumer group while members are in it, and the way back.

use std::sync::Arc;

use reka_protocol::ErrorCode;

use super::{ClassicGroup, Member, State, Turn};
use crate::group::Now;
use crate::group::ask::{Caller, Joined, Protocol, Reply};

/// A member on its way from one protocol's group to the other's.
#[derive(Clone, Debug)]
pub struct MovedMember {
    /// Its id.
    pub id: Arc<str>,
    /// For static membership.
    pub instance_id: Option<String>,
    /// Who it is.
    pub caller: Caller,
    /// How long it may take to join again.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// What it offers.
    pub protocols: Vec<Protocol>,
    /// What it offers in the protocol agreed on.
    pub metadata: Vec<u8>,
    /// What it was given.
    pub assignment: Vec<u8>,
}

impl ClassicGroup {
    /// The members as they move, if this is a group of consumers.
    pub(in crate::group) fn moved_members(&self) -> Option<Vec<MovedMember>> {
        if !self.is_of_consumers() {
            return None;
        }
        let members = self.members.values().map(|member| {
            // Before the first agreement, what the member likes best.
            let agreed = self.protocol.as_deref();
            let first = member.protocols.first().map(|offer| offer.name.as_str());
            let protocol = agreed.or(first).unwrap_or_default();
            MovedMember {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                caller: member.caller.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols.clone(),
                metadata: member.metadata(protocol).to_vec(),
                assignment: member.assignment.clone(),
            }
        });
        Some(members.collect())
    }

    /// The group ends as a classic one: whoever waits is told to join again.
    pub(in crate::group) fn end(&mut self, turn: &mut Turn<'_>) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.awaits_join.take() {
                let again = Joined::error(ErrorCode::RebalanceInProgress, member.id.to_string());
                turn.reply(ticket, Reply::Join(again));
            }
        }
        self.awaiting_join = 0;
        self.answer_syncs(turn, ErrorCode::RebalanceInProgress);
        turn.timers.disarm(&self.join_timer());
        turn.timers.disarm(&self.sync_timer());
        for id in self.members.keys().chain(&self.pending) {
            turn.timers.disarm(&self.session(id));
        }
    }

    /// A classic group of these members, who have what they were given; `None` if they agree on
    /// nothing.
    pub(in crate::group) fn from_members(
        id: Arc<str>,
        generation: i32,
        members: Vec<MovedMember>,
        now: Now,
    ) -> Option<ClassicGroup> {
        let mut group = ClassicGroup {
            generation,
            protocol_type: Some(super::CONSUMER.to_owned()),
            ..ClassicGroup::new(id, now)
        };
        for member in members {
            group.add(Member {
                id: member.id,
                instance_id: member.instance_id,
                caller: member.caller,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols,
                assignment: member.assignment,
                awaits_join: None,
                awaits_sync: None,
                is_new: false,
            });
        }
        group.protocol = Some(group.elect_protocol()?);
        group.subscribed = group.read_subscriptions();
        group.state = State::Stable;
        Some(group)
    }

    /// Writes the group as it came, then calls its members to join if there is a cause.
    pub(in crate::group) fn begin(&mut self, turn: &mut Turn<'_>, cause: Option<&str>) {
        self.is_inherited = true;
        self.write(turn);
        for member in self.members.values() {
            self.arm_session(turn, member);
        }
        if let Some(cause) = cause {
            self.prepare_rebalance(turn, cause.to_owned(), "");
        }
    }
}

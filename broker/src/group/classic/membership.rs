//! SyncGroup, Heartbeat, LeaveGroup, and members that fall silent.

use std::collections::HashMap;
use std::sync::Arc;

use reka_protocol::ErrorCode;

use super::{ClassicGroup, Event, State, Turn};
use crate::group::ask::{Heartbeat, Leave, Leaving, Left, Reply, Sync, Synced, Ticket};

impl ClassicGroup {
    /// A member wants its assignment; the leader brings everybody's.
    pub(in crate::group) fn sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, sync: Sync) {
        if let Err(code) = self.check_sync(&sync) {
            turn.reply(ticket, Reply::Sync(Synced::error(code)));
            return;
        }
        match self.state {
            State::Empty | State::PreparingRebalance => {
                let again = Synced::error(ErrorCode::RebalanceInProgress);
                turn.reply(ticket, Reply::Sync(again));
            }
            State::CompletingRebalance => {
                self.pending_sync.remove(&*sync.member_id);
                self.disarm_sync_if_done(turn);
                let member = self.members.get_mut(&*sync.member_id);
                let before = member.and_then(|member| member.awaits_sync.replace(ticket));
                if let Some(before) = before {
                    // The client asked again; nobody listens to the first answer.
                    let stale = Synced::error(ErrorCode::RebalanceInProgress);
                    turn.reply(before, Reply::Sync(stale));
                }
                if self.is_leader(&sync.member_id) {
                    self.take_plan(turn, sync);
                }
            }
            State::Stable => {
                self.pending_sync.remove(&*sync.member_id);
                self.disarm_sync_if_done(turn);
                let member = self.members.get(&*sync.member_id);
                let synced = Synced {
                    error_code: ErrorCode::None,
                    protocol_type: self.protocol_type.clone(),
                    protocol: self.protocol.clone(),
                    assignment: member.map_or_else(Vec::new, |member| member.assignment.clone()),
                };
                turn.reply(ticket, Reply::Sync(synced));
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), ErrorCode> {
        self.check_member(&sync.member_id, sync.instance_id.as_deref())?;
        if sync.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |believed: &Option<String>, agreed: &Option<String>| match (believed, agreed)
        {
            (Some(believed), Some(agreed)) => believed != agreed,
            _ => false,
        };
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// The leader's plan: from now on everybody has what it gives them.
    fn take_plan(&mut self, turn: &mut Turn<'_>, sync: Sync) {
        let mut plan: HashMap<String, Vec<u8>> = sync.assignments.into_iter().collect();
        for member in self.members.values_mut() {
            self.bytes -= member.assignment.len();
            member.assignment = plan.remove(&*member.id).unwrap_or_default();
            self.bytes += member.assignment.len();
        }
        let bytes_max = turn.settings.record_bytes_max;
        if self.stored_bytes() > bytes_max {
            // It could not be written. Kafka finds out by trying, with the same outcome.
            for member in self.members.values_mut() {
                self.bytes -= member.assignment.len();
                member.assignment = Vec::new();
            }
            self.answer_syncs(turn, ErrorCode::UnknownServerError);
            let cause = format!("the leader's plan does not fit a record of {bytes_max} bytes");
            self.prepare_rebalance(turn, cause, &sync.member_id);
            return;
        }
        self.answer_syncs(turn, ErrorCode::None);
        self.enter(State::Stable, turn.now);
        self.write(turn);
        self.end_rebalance(turn);
    }

    /// A member is alive, and learns what it should do.
    pub(in crate::group) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        heartbeat: &Heartbeat,
    ) -> ErrorCode {
        if let Err(code) = self.check_member(&heartbeat.member_id, heartbeat.instance_id.as_deref())
        {
            return code;
        }
        if heartbeat.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        if let Some(member) = self.members.get(&*heartbeat.member_id) {
            self.arm_session(turn, member);
        }
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::PreparingRebalance => ErrorCode::RebalanceInProgress,
            State::CompletingRebalance | State::Stable => ErrorCode::None,
        }
    }

    /// Members go.
    pub(in crate::group) fn leave(&mut self, turn: &mut Turn<'_>, leave: Leave) -> Left {
        let mut members = Vec::with_capacity(leave.members.len());
        let mut gone: Option<(String, String)> = None;
        for leaving in leave.members {
            let code = match self.leaves(&leaving) {
                Ok(member_id) => {
                    self.remove_with_answers(turn, &member_id, ErrorCode::UnknownMemberId);
                    let reason = leaving.reason.as_deref().unwrap_or("not provided");
                    let cause = format!("member left; client reason: {reason}");
                    gone.get_or_insert((cause, member_id.to_string()));
                    ErrorCode::None
                }
                Err(code) => code,
            };
            members.push((leaving, code));
        }
        if let Some((cause, member)) = gone {
            match self.state {
                State::Stable | State::CompletingRebalance | State::PreparingRebalance => {
                    self.rebalance_or_go_on(turn, cause, &member);
                }
                State::Empty => {}
            }
        }
        Left {
            error_code: ErrorCode::None,
            members,
        }
    }

    /// Who is meant.
    fn leaves(&self, leaving: &Leaving) -> Result<Arc<str>, ErrorCode> {
        let instance_id = leaving.instance_id.as_deref();
        if leaving.member_id.is_empty() {
            let known = instance_id.and_then(|id| self.static_members.get(id));
            return known.cloned().ok_or(ErrorCode::UnknownMemberId);
        }
        if let Some(pending) = self.pending.get(&*leaving.member_id) {
            return Ok(pending.clone());
        }
        self.check_member(&leaving.member_id, instance_id)?;
        Ok(leaving.member_id.as_str().into())
    }

    /// A member has been silent for too long.
    pub(in crate::group) fn session_is_due(&mut self, turn: &mut Turn<'_>, member_id: &str) {
        if self.pending.contains(member_id) {
            self.remove(member_id);
            self.complete_if_all_joined(turn);
            return;
        }
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        // Whoever waits for us is alive as long as its connection is, except a member that never
        // got an answer: its client may have gone long ago.
        let waits = member.awaits_join.is_some() || member.awaits_sync.is_some();
        if waits && !member.is_new {
            return;
        }
        turn.step.events.push(Event::Removed {
            group: self.id.clone(),
            members: vec![member_id.to_owned()],
            cause: "was silent for its session timeout",
        });
        self.remove_with_answers(turn, member_id, ErrorCode::UnknownMemberId);
        let cause = "member was silent for its session timeout".to_owned();
        if self.state != State::Empty {
            self.rebalance_or_go_on(turn, cause, member_id);
        }
    }

    /// An id that a client was given to join with is none any more, if it has not joined.
    pub(in crate::group) fn forget_given(&mut self, turn: &mut Turn<'_>, member_id: &Arc<str>) {
        if self.pending.contains(member_id) {
            turn.timers.disarm(&self.session(member_id));
            self.remove(member_id);
            self.complete_if_all_joined(turn);
        }
    }

    /// Members that joined have not asked for their assignment in time.
    pub(in crate::group) fn sync_is_due(&mut self, turn: &mut Turn<'_>) {
        if !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        let late: Vec<Arc<str>> = std::mem::take(&mut self.pending_sync).into_iter().collect();
        let Some(first) = late.first().cloned() else {
            return;
        };
        for member in &late {
            self.remove_with_answers(turn, member, ErrorCode::UnknownMemberId);
        }
        turn.step.events.push(Event::Removed {
            group: self.id.clone(),
            members: late.iter().map(ToString::to_string).collect(),
            cause: "did not ask for its assignment in time",
        });
        let cause = "member did not ask for its assignment in time".to_owned();
        self.prepare_rebalance(turn, cause, &first);
    }
}

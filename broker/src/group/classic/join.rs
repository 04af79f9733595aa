//! JoinGroup, and a rebalance from its beginning to the new generation.

use std::sync::Arc;

use reka_protocol::ErrorCode;

use super::{
    ClassicGroup, Event, InitialDelay, Member, NEW_MEMBER_TIMEOUT_MS, Rebalance, State, Turn,
};
use crate::group::ask::{Join, Joined, Reply, Synced, Ticket};
use crate::group::timers::Timer;

/// Why somebody is not let in.
struct Refusal {
    code: ErrorCode,
    /// The id to go by from now on.
    member_id: String,
}

impl Refusal {
    fn new(code: ErrorCode, member_id: impl Into<String>) -> Refusal {
        Refusal {
            code,
            member_id: member_id.into(),
        }
    }
}

impl ClassicGroup {
    /// A member wants in, or in again. Whether the group is written afresh is for the caller, who
    /// knows whether it is new.
    pub(in crate::group) fn join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: Join) {
        if let Err(Refusal { code, member_id }) = self.try_join(turn, ticket, join) {
            turn.reply(ticket, Reply::Join(Joined::error(code, member_id)));
        }
    }

    fn try_join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: Join) -> Result<(), Refusal> {
        if !self.has_room(turn, &join.member_id) {
            self.remove_with_answers(turn, &join.member_id, ErrorCode::GroupMaxSizeReached);
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, ""));
        }
        if !self.supports(&join.protocol_type, &join.protocols) {
            let code = ErrorCode::InconsistentGroupProtocol;
            return Err(Refusal::new(code, join.member_id));
        }
        if !join.member_id.is_empty() {
            return self.join_known(turn, ticket, join);
        }
        match join.instance_id.clone() {
            Some(instance_id) => {
                let id = format!("{instance_id}-{}", join.fresh_id);
                match self.static_members.get(&instance_id).cloned() {
                    Some(before) => self.replace(turn, ticket, join, &before, id.into()),
                    None => self.admit(turn, ticket, join, id.into()),
                }
            }
            None => {
                let id = format!("{}-{}", join.caller.client_id, join.fresh_id);
                if join.takes_id_first {
                    let member: Arc<str> = id.as_str().into();
                    turn.arm(self.session(&member), i64::from(join.session_timeout_ms));
                    self.pending.insert(member);
                    return Err(Refusal::new(ErrorCode::MemberIdRequired, id));
                }
                self.admit(turn, ticket, join, id.into());
            }
        }
        Ok(())
    }

    /// Whether the group may grow by this member, or has it already.
    fn has_room(&self, turn: &Turn<'_>, member_id: &str) -> bool {
        let members_max = turn.settings.members_max;
        let known = self.members.get(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                known.is_some_and(|member| member.awaits_join.is_some())
                    || self.awaiting_join < members_max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || self.members.len() < members_max
            }
        }
    }

    fn join_known(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        join: Join,
    ) -> Result<(), Refusal> {
        let member_id = join.member_id.clone();
        if self.pending.contains(&*member_id) {
            if join.instance_id.is_some() {
                // The id was given to a client that did not say it was a static member.
                return Err(Refusal::new(ErrorCode::UnknownMemberId, member_id));
            }
            self.admit(turn, ticket, join, member_id.into());
            return Ok(());
        }
        self.check_member(&member_id, join.instance_id.as_deref())
            .map_err(|code| Refusal::new(code, member_id.clone()))?;
        let same_offer = self
            .members
            .get(&*member_id)
            .is_some_and(|member| member.protocols == join.protocols);
        let reason = join.reason.as_deref().unwrap_or("not provided");
        let cause = match self.state {
            State::PreparingRebalance => {
                format!("member joins during a rebalance; client reason: {reason}")
            }
            State::Stable if self.is_leader(&member_id) => {
                format!("leader joins again; client reason: {reason}")
            }
            State::CompletingRebalance | State::Stable if same_offer => {
                // The answer to its first join was lost, or it only looks whether it is still in.
                let tell_members =
                    self.state == State::CompletingRebalance && self.is_leader(&member_id);
                let joined = self.joined(&member_id, tell_members);
                turn.reply(ticket, Reply::Join(joined));
                return Ok(());
            }
            State::CompletingRebalance | State::Stable => {
                format!("member changes what it offers; client reason: {reason}")
            }
            State::Empty => return Err(Refusal::new(ErrorCode::UnknownMemberId, member_id)),
        };
        self.update(turn, ticket, &join);
        self.rebalance_or_go_on(turn, cause, &member_id);
        Ok(())
    }

    /// The answer that lets a member into the present generation.
    fn joined(&self, member_id: &str, tell_members: bool) -> Joined {
        Joined {
            error_code: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader_id(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: match tell_members {
                true => self.everybody(),
                false => Vec::new(),
            },
        }
    }

    fn admit(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: Join, id: Arc<str>) {
        let reason = join.reason.as_deref().unwrap_or("not provided");
        let cause = format!("new member; client reason: {reason}");
        if let Some(initial) = &mut self.initial {
            initial.more_came = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        self.add(Member {
            id: id.clone(),
            instance_id: join.instance_id,
            caller: join.caller,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: Vec::new(),
            awaits_join: Some(ticket),
            awaits_sync: None,
            is_new: true,
        });
        // A client that went before it was answered must not hold the group up forever.
        turn.arm(self.session(&id), NEW_MEMBER_TIMEOUT_MS);
        self.rebalance_or_go_on(turn, cause, &id);
    }

    /// Takes over what a member says about itself, and lets it wait.
    fn update(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) {
        let Some(member) = self.members.get_mut(&*join.member_id) else {
            return;
        };
        Self::uncount_offers(&mut self.offered, &member.protocols);
        self.bytes -= member.bytes();
        member.protocols.clone_from(&join.protocols);
        self.bytes += member.bytes();
        Self::count_offers(&mut self.offered, &member.protocols);
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
        match member.awaits_join.replace(ticket) {
            None => self.awaiting_join += 1,
            Some(before) => {
                // The client asked again; nobody listens to the first answer.
                let code = ErrorCode::RebalanceInProgress;
                let stale = Joined::error(code, join.member_id.clone());
                turn.reply(before, Reply::Join(stale));
            }
        }
    }

    /// A static member is back under a new id. Its place is its own as long as it offers the same.
    fn replace(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        join: Join,
        before: &Arc<str>,
        id: Arc<str>,
    ) {
        let leader_before = self.leader_id();
        let (can_skip, reason) = (join.can_skip_assignment, join.reason.clone());
        self.rename(turn, before, &id);
        self.update(
            turn,
            ticket,
            &Join {
                member_id: id.to_string(),
                ..join
            },
        );
        if let Some(member) = self.members.get(&id) {
            self.arm_session(turn, member);
        }
        let reason = reason.as_deref().unwrap_or("not provided");
        match self.state {
            State::Stable if self.elect_protocol() == self.protocol => {
                self.stop_waiting(&id);
                self.write(turn);
                let is_leader = self.is_leader(&id);
                let mut joined = self.joined(&id, can_skip && is_leader);
                match can_skip {
                    true => joined.skip_assignment = is_leader,
                    // An older client that finds itself leader would assign; as long as the plan
                    // stands, the leader it is told of is the one it was before.
                    false => joined.leader = leader_before,
                }
                turn.reply(ticket, Reply::Join(joined));
            }
            State::Stable => {
                let cause =
                    format!("static member changes what is agreed on; client reason: {reason}");
                self.prepare_rebalance(turn, cause, &id);
            }
            State::CompletingRebalance => {
                let cause = format!("static member is back; client reason: {reason}");
                self.prepare_rebalance(turn, cause, &id);
            }
            State::PreparingRebalance | State::Empty => self.complete_if_all_joined(turn),
        }
    }

    fn stop_waiting(&mut self, member_id: &str) {
        let waits = self
            .members
            .get_mut(member_id)
            .and_then(|member| member.awaits_join.take());
        self.awaiting_join -= usize::from(waits.is_some());
    }

    /// Gives a static member's place to a new id; the old one is fenced.
    fn rename(&mut self, turn: &mut Turn<'_>, before: &Arc<str>, id: &Arc<str>) {
        let Some(mut member) = self.members.remove(before) else {
            return;
        };
        if let Some(waiting) = member.awaits_join.take() {
            self.awaiting_join -= 1;
            let fenced = Joined::error(ErrorCode::FencedInstanceId, before.to_string());
            turn.reply(waiting, Reply::Join(fenced));
        }
        if let Some(waiting) = member.awaits_sync.take() {
            let fenced = Synced::error(ErrorCode::FencedInstanceId);
            turn.reply(waiting, Reply::Sync(fenced));
        }
        turn.timers.disarm(&self.session(before));
        if self.is_leader(before) {
            self.leader = Some(id.clone());
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), id.clone());
        }
        if self.pending_sync.remove(before) {
            self.pending_sync.insert(id.clone());
        }
        member.id = id.clone();
        member.is_new = false;
        self.members.insert(id.clone(), member);
    }

    /// Something changed that calls for a rebalance; if one is under way, this may be what it
    /// waited for.
    pub(super) fn rebalance_or_go_on(&mut self, turn: &mut Turn<'_>, cause: String, member: &str) {
        match self.state {
            State::PreparingRebalance => self.complete_if_all_joined(turn),
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(turn, cause, member);
            }
        }
    }

    /// Calls everybody to join.
    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>, cause: String, member: &str) {
        if self.state == State::CompletingRebalance {
            for member in self.members.values_mut() {
                self.bytes -= member.assignment.len();
                member.assignment = Vec::new();
            }
            self.answer_syncs(turn, ErrorCode::RebalanceInProgress);
        }
        self.pending_sync.clear();
        turn.timers.disarm(&self.sync_timer());
        let was_empty = self.state == State::Empty;
        if self.rebalance.is_none() {
            self.rebalance = Some(Rebalance {
                cause,
                member: member.to_owned(),
                began_ms: turn.now.steady_ms,
            });
        }
        self.enter(State::PreparingRebalance, turn.now);
        if was_empty {
            // More members are likely to come: one rebalance for all of them.
            let delay_ms = turn.settings.initial_rebalance_delay_ms;
            self.initial = Some(InitialDelay {
                delay_ms,
                left_ms: (self.rebalance_timeout_ms() - delay_ms).max(0),
                more_came: false,
            });
            turn.arm(self.join_timer(), delay_ms);
        } else if self.has_everybody_joined() {
            self.complete_join(turn);
        } else {
            turn.arm(self.join_timer(), self.rebalance_timeout_ms());
        }
    }

    /// If nobody else is waited for, the new generation begins.
    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        let waits = self.state == State::PreparingRebalance && self.initial.is_none();
        if waits && self.has_everybody_joined() {
            self.complete_join(turn);
        }
    }

    /// Joining has taken long enough.
    pub(in crate::group) fn join_is_due(&mut self, turn: &mut Turn<'_>) {
        if self.state != State::PreparingRebalance {
            return;
        }
        match self.initial {
            Some(initial) if initial.more_came && initial.left_ms != 0 => {
                let delay_ms = turn
                    .settings
                    .initial_rebalance_delay_ms
                    .min(initial.left_ms);
                self.initial = Some(InitialDelay {
                    delay_ms,
                    left_ms: (initial.left_ms - initial.delay_ms).max(0),
                    more_came: false,
                });
                turn.arm(self.join_timer(), delay_ms);
            }
            _ => self.complete_join(turn),
        }
    }

    /// The new generation begins with those who joined. Static members stay in without joining.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        self.initial = None;
        turn.timers.disarm(&self.join_timer());
        let late: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.awaits_join.is_none() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for member in &late {
            turn.timers.disarm(&self.session(member));
            self.remove(member);
        }
        if !late.is_empty() {
            turn.step.events.push(Event::Removed {
                group: self.id.clone(),
                members: late.iter().map(ToString::to_string).collect(),
                cause: "did not join in time",
            });
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Only static members are left and none of them is here: they keep their places.
            turn.arm(self.join_timer(), self.rebalance_timeout_ms());
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.is_inherited = false;
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.subscribed = self.read_subscriptions();
            self.enter(State::Empty, turn.now);
            self.write(turn);
            self.end_rebalance(turn);
            return;
        }
        self.protocol = self.elect_protocol();
        self.subscribed = self.read_subscriptions();
        self.enter(State::CompletingRebalance, turn.now);
        self.answer_joins(turn);
        self.pending_sync = self.members.keys().cloned().collect();
        turn.arm(self.sync_timer(), self.rebalance_timeout_ms());
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        let waiting: Vec<(Arc<str>, Option<Ticket>)> = self
            .members
            .values_mut()
            .map(|member| {
                member.is_new = false;
                (member.id.clone(), member.awaits_join.take())
            })
            .collect();
        self.awaiting_join = 0;
        for (member_id, ticket) in waiting {
            if let Some(ticket) = ticket {
                let joined = self.joined(&member_id, self.is_leader(&member_id));
                turn.reply(ticket, Reply::Join(joined));
            }
            if let Some(member) = self.members.get(&member_id) {
                self.arm_session(turn, member);
            }
        }
    }

    /// The leader is somebody who joined. False if nobody did.
    fn elect_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaits_join.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|member| joined(member)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The rebalance is over.
    pub(super) fn end_rebalance(&mut self, turn: &mut Turn<'_>) {
        let Some(rebalance) = self.rebalance.take() else {
            return;
        };
        turn.step.events.push(Event::Rebalanced {
            group: self.id.clone(),
            generation: self.generation,
            members: self.members.len(),
            cause: rebalance.cause,
            member: rebalance.member,
            took_ms: turn.now.steady_ms - rebalance.began_ms,
        });
    }

    /// Takes a member out and tells it why, if it waits for anything.
    pub(super) fn remove_with_answers(
        &mut self,
        turn: &mut Turn<'_>,
        member_id: &str,
        code: ErrorCode,
    ) {
        let mut known: Arc<str> = member_id.into();
        if let Some(member) = self.members.get_mut(member_id) {
            known = member.id.clone();
            if let Some(ticket) = member.awaits_join.take() {
                self.awaiting_join -= 1;
                turn.reply(ticket, Reply::Join(Joined::error(code, "")));
            }
            if let Some(ticket) = member.awaits_sync.take() {
                turn.reply(ticket, Reply::Sync(Synced::error(code)));
            }
        }
        let session = Timer::Session {
            group: self.id.clone(),
            member: known,
        };
        turn.timers.disarm(&session);
        self.remove(member_id);
        self.disarm_sync_if_done(turn);
    }

    pub(super) fn disarm_sync_if_done(&mut self, turn: &mut Turn<'_>) {
        if self.pending_sync.is_empty() {
            turn.timers.disarm(&self.sync_timer());
        }
    }
}

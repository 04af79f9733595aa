//! ConsumerGroupHeartbeat: the one request of KIP-848, which joins, follows, and leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_raft::MetadataImage;
use uuid::Uuid;

use super::assignor::{Assignor, Candidate, Partitions, Problem};
use super::pattern::Matched;
use super::reconcile::Step;
use super::{ConsumerGroup, Member, MemberState, Resolved, STATIC_LEAVE_EPOCH};
use crate::group::ask::Beat;
use crate::group::classic::{Event, Turn};
use crate::group::record::GroupRecord;
use crate::group::refusal::Refusal;
use crate::group::timers::Timer;
use crate::group::{GroupSettings, Settings};

/// Expressions are matched again after a change of the metadata, but not more often than this.
const PATTERN_PAUSE_MS: i64 = 10_000;

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// The member's id.
    pub member_id: String,
    /// Its epoch from now on.
    pub epoch: i32,
    /// How often it is to report; 0 when it leaves.
    pub interval_ms: i32,
    /// What it has from now on; `None` if that is as it was.
    pub assignment: Option<Vec<(Uuid, Vec<i32>)>>,
}

/// A member as it was and as it is about to be.
pub(super) struct Change {
    pub(super) id: Arc<str>,
    pub(super) before: Option<Member>,
    pub(super) after: Member,
    /// The static member whose place it takes.
    replaces: Option<Arc<str>>,
}

/// What a member brings.
#[derive(Clone, Copy)]
pub(super) struct News {
    /// It reads something else from now on.
    pub(super) describes: bool,
    /// Expressions stand for other topics than before.
    pub(super) matches: bool,
}

/// Who reports.
pub(super) struct Who<'a> {
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a String>,
    /// It may be new.
    pub(super) joins: bool,
    /// The epoch it is in; `None` from members that speak the classic protocol.
    pub(super) epoch: Option<i32>,
    /// What it has.
    pub(super) owned: Option<&'a Partitions>,
    /// The id for one without.
    pub(super) fresh_id: Uuid,
}

impl<'a> Who<'a> {
    fn of(beat: &'a Beat) -> Who<'a> {
        Who {
            member_id: &beat.member_id,
            instance_id: beat.instance_id.as_ref(),
            joins: beat.epoch == 0,
            epoch: Some(beat.epoch),
            owned: beat.owned.as_ref(),
            fresh_id: beat.fresh_id,
        }
    }
}

impl ConsumerGroup {
    /// A member reports.
    pub(in crate::group) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        limits: &GroupSettings,
        beat: &Beat,
    ) -> Result<Beaten, Refusal> {
        let from = turn.step.records.len();
        let beaten = self.try_heartbeat(turn, image, limits, beat);
        if beaten.is_err() {
            turn.step.records.truncate(from);
        }
        beaten
    }

    fn try_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        limits: &GroupSettings,
        beat: &Beat,
    ) -> Result<Beaten, Refusal> {
        let mut change = self.find(turn, &Who::of(beat))?;
        let describes = self.describe_itself(turn, &mut change, beat);
        let bytes_max = turn.settings.record_bytes_max;
        let described = turn.step.records.iter().map(GroupRecord::bytes).max();
        if described.is_some_and(|bytes| bytes > bytes_max) {
            // The log would refuse it, and the groups beside this one would have to wait.
            return Err(Refusal::new(
                ErrorCode::UnknownServerError,
                format!("The member's subscription does not fit a record of {bytes_max} bytes."),
            ));
        }
        let matches = self.take_matches(turn, &change, beat.matched.as_ref())?;
        let news = News { describes, matches };
        let after = self.advance(turn, image, limits, &change, news, beat.owned.as_ref())?;
        self.arm(turn, limits, &change.id, change.before.as_ref(), &after);
        let is_full = beat.epoch == 0
            || (beat.rebalance_timeout_ms != -1 && beat.topics.is_some() && beat.owned.is_some());
        let moved = change
            .before
            .as_ref()
            .is_none_or(|before| before.assigned != after.assigned);
        let assignment = (is_full || moved).then(|| {
            let topics = after.assigned.iter();
            topics
                .map(|(topic, indexes)| (*topic, indexes.keys().copied().collect()))
                .collect()
        });
        Ok(Beaten {
            member_id: change.id.to_string(),
            epoch: after.epoch,
            interval_ms: limits.heartbeat_interval_ms,
            assignment,
        })
    }

    /// What follows from a member as it is about to be: epochs, a target, its next step towards
    /// it. The member after that.
    pub(super) fn advance(
        &mut self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        limits: &GroupSettings,
        change: &Change,
        news: News,
        owned: Option<&Partitions>,
    ) -> Result<Member, Refusal> {
        let News { describes, matches } = news;
        let mut cause = match (&change.before, describes, matches) {
            (None, true, _) | (None, _, true) => Some("new member"),
            (Some(_), true, _) => Some("member changes its subscription"),
            (_, false, true) => Some("topics of a subscription by expression changed"),
            (_, false, false) => None,
        };
        let patterns = self.patterns_after(turn);
        let mut epoch = self.epoch;
        let before = change.before.as_ref();
        let before = before.and_then(|member| member.about.subscribed_topic_regex.as_ref());
        let rephrased = before != change.after.about.subscribed_topic_regex.as_ref();
        if cause.is_some() || rephrased || self.seen != image.offset() {
            let hash = self.hash_topics(image, change, &patterns);
            if hash != self.metadata_hash && cause.is_none() {
                cause = Some("a topic that is read was created, deleted or given more partitions");
            }
            if let Some(cause) = cause {
                epoch += 1;
                self.bump(turn, epoch, hash, cause, &change.id);
            }
            self.seen = image.offset();
        }
        let (target_epoch, target) = self.retarget(turn, image, limits, change, &patterns, epoch);
        let reads = self.reads(image, &change.after, &patterns);
        let replaced = change.replaces.clone();
        let is_free = |topic, index| match self.owner(topic, index) {
            None => true,
            Some(owner) => Some(owner) == replaced.as_ref(),
        };
        let step = Step {
            target_epoch,
            target: &target,
            owned,
            is_free: &is_free,
            reads: &|topic| reads.contains(&topic),
        };
        let after = step.take(&change.after);
        let stands = change.before.as_ref().is_some_and(|before| {
            before.epoch == after.epoch
                && before.previous_epoch == after.previous_epoch
                && before.state == after.state
                && before.assigned == after.assigned
                && before.revoking == after.revoking
        });
        if let Some(holder) = &change.replaces {
            self.disarm(turn, holder);
        }
        if !stands || change.replaces.is_some() {
            let record = self.current_record(&change.id, Some(&after));
            turn.step.records.push(record);
        }
        Ok(after)
    }

    /// Which member reports, and whether it may.
    pub(super) fn find(&self, turn: &mut Turn<'_>, who: &Who<'_>) -> Result<Change, Refusal> {
        let joins = who.joins;
        let id: Arc<str> = match who.member_id.is_empty() {
            true => who.fresh_id.to_string().into(),
            false => who.member_id.into(),
        };
        let found = |member: &Member| Change {
            id: id.clone(),
            before: Some(member.clone()),
            after: member.clone(),
            replaces: None,
        };
        let place = who
            .instance_id
            .map(|instance| (instance, self.static_members.get(instance)));
        match (place, self.members.get(&id)) {
            (Some((instance, Some(holder))), _) if *holder != id => {
                let Some(before) = self.members.get(holder).filter(|_| joins) else {
                    return Err(Refusal::new(
                        ErrorCode::FencedInstanceId,
                        format!(
                            "Static member {id} with instance id {instance} was fenced by member {holder}."
                        ),
                    ));
                };
                let is_consumer = before.about.classic_member_metadata.is_none();
                if who.epoch.is_some() && is_consumer && before.epoch != STATIC_LEAVE_EPOCH {
                    return Err(Refusal::new(
                        ErrorCode::UnreleasedInstanceId,
                        format!(
                            "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by {holder} member."
                        ),
                    ));
                }
                // It comes back under a new id, to what it had.
                let after = Member {
                    epoch: 0,
                    previous_epoch: 0,
                    ..before.clone()
                };
                turn.step.records.extend(self.member_tombstones(holder));
                let member = self.member_record(&id, Some(&after.about));
                turn.step.records.push(member);
                let target = self.targets.get(holder).cloned().unwrap_or_default();
                let target = self.target_record(&id, Some(&target));
                turn.step.records.push(target);
                Ok(Change {
                    id,
                    before: Some(before.clone()),
                    after,
                    replaces: Some(holder.clone()),
                })
            }
            (Some((instance, None)), _) if !joins => Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Instance id {instance} is unknown."),
            )),
            (_, Some(member)) => {
                if let Some(epoch) = who.epoch {
                    check_epoch(member, epoch, who.owned)?;
                }
                Ok(found(member))
            }
            (_, None) if joins => {
                if self.members.len() >= turn.settings.consumer_members_max {
                    return Err(Refusal::new(
                        ErrorCode::GroupMaxSizeReached,
                        format!(
                            "The consumer group has reached its maximum capacity of {} members.",
                            turn.settings.consumer_members_max
                        ),
                    ));
                }
                Ok(Change {
                    id,
                    before: None,
                    after: Member::new(),
                    replaces: None,
                })
            }
            (_, None) => Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Member {id} is not a member of group {}.", self.id),
            )),
        }
    }

    /// Takes over what a member says about itself; true if it reads something else from now on. What
    /// an expression means that nobody has used yet is for [`Self::take_matches`] to say.
    fn describe_itself(&self, turn: &mut Turn<'_>, change: &mut Change, beat: &Beat) -> bool {
        let about = &mut change.after.about;
        let before = about.clone();
        if beat.instance_id.is_some() {
            about.instance_id.clone_from(&beat.instance_id);
        }
        if beat.rack_id.is_some() {
            about.rack_id.clone_from(&beat.rack_id);
        }
        if beat.rebalance_timeout_ms != -1 {
            about.rebalance_timeout_ms = beat.rebalance_timeout_ms;
        }
        if beat.assignor.is_some() {
            about.server_assignor.clone_from(&beat.assignor);
        }
        if let Some(topics) = &beat.topics {
            // As a set: the same names in another order are the same subscription.
            let topics: BTreeSet<&String> = topics.iter().collect();
            about.subscribed_topic_names = topics.into_iter().cloned().collect();
        }
        if let Some(pattern) = &beat.pattern {
            about.subscribed_topic_regex = Some(pattern.clone()).filter(|p| !p.is_empty());
        }
        about.client_id.clone_from(&beat.caller.client_id);
        about.client_host.clone_from(&beat.caller.host);
        about.classic_member_metadata = None;
        if *about != before || change.before.is_none() {
            let record = self.member_record(&change.id, Some(&change.after.about));
            turn.step.records.push(record);
        }
        let about = &change.after.about;
        let rephrased = about.subscribed_topic_regex != before.subscribed_topic_regex;
        let pattern = about.subscribed_topic_regex.as_ref();
        let is_known = pattern.is_none_or(|pattern| self.patterns.contains_key(pattern));
        about.subscribed_topic_names != before.subscribed_topic_names || (rephrased && is_known)
    }

    /// Expressions that have to be matched for this heartbeat: one nobody has used yet, and all of them when
    /// topics have changed or much time has passed.
    pub(in crate::group) fn patterns_wanted(
        &self,
        settings: &Settings,
        now_ms: i64,
        image: &MetadataImage,
        beat: &Beat,
    ) -> Vec<String> {
        let known = self.members.get(beat.member_id.as_str());
        let known = known.and_then(|member| member.about.subscribed_topic_regex.as_ref());
        let own = beat.pattern.as_ref().or(known);
        let own = own.filter(|own| !own.is_empty() && !self.patterns.contains_key(*own));
        let due = self.patterns_at_ms.is_none_or(|at_ms| {
            let since_ms = now_ms - at_ms;
            let new_topics = self.patterns_seen != image.offset();
            since_ms >= settings.pattern_refresh_ms || (new_topics && since_ms >= PATTERN_PAUSE_MS)
        });
        let all = self.patterns.keys().filter(|_| due);
        all.chain(own).cloned().collect()
    }

    /// Takes over what expressions stand for now; true if one stands for other topics than before.
    fn take_matches(
        &mut self,
        turn: &mut Turn<'_>,
        change: &Change,
        matched: Option<&Matched>,
    ) -> Result<bool, Refusal> {
        let wanted = change.after.about.subscribed_topic_regex.as_ref();
        let mut changed = false;
        if let Some(matched) = matched {
            changed = self.compare_matches(turn, wanted, matched)?;
            let all = self
                .patterns
                .keys()
                .all(|known| matched.get(known).is_some());
            if all {
                self.patterns_seen = matched.version();
                self.patterns_at_ms = Some(turn.now.wall_ms);
            }
        }
        self.drop_patterns(turn, &change.id, wanted);
        Ok(changed)
    }

    fn compare_matches(
        &self,
        turn: &mut Turn<'_>,
        wanted: Option<&String>,
        matched: &Matched,
    ) -> Result<bool, Refusal> {
        let mut changed = false;
        let looked_at: BTreeSet<&String> = self.patterns.keys().chain(wanted).collect();
        for pattern in looked_at {
            let topics = match matched.get(pattern) {
                None => continue,
                Some(Ok(topics)) => topics,
                Some(Err(why)) => {
                    let said = format!(
                        "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}."
                    );
                    return Err(Refusal::new(ErrorCode::InvalidRegularExpression, said));
                }
            };
            let known = self.patterns.get(pattern).map(|known| &known.topics);
            if known != Some(topics) {
                // A new one that matches nothing changes nothing.
                changed |= known.is_some() || !topics.is_empty();
                let resolved = Resolved {
                    topics: topics.clone(),
                    version: i64::try_from(matched.version()).unwrap_or(i64::MAX),
                    at_ms: turn.now.wall_ms,
                };
                let record = self.pattern_record(pattern, Some(&resolved));
                turn.step.records.push(record);
            }
        }
        Ok(changed)
    }

    /// Expressions that nobody subscribes by any more go.
    fn drop_patterns(&self, turn: &mut Turn<'_>, changed: &str, wanted: Option<&String>) {
        for pattern in self.patterns.keys() {
            let read = wanted == Some(pattern)
                || self.members.iter().any(|(id, member)| {
                    **id != *changed
                        && member.about.subscribed_topic_regex.as_ref() == Some(pattern)
                });
            if !read {
                turn.step.records.push(self.pattern_record(pattern, None));
            }
        }
    }

    /// What expressions stand for once the records so far are applied.
    fn patterns_after(&self, turn: &Turn<'_>) -> HashMap<String, BTreeSet<String>> {
        let mut patterns: HashMap<String, BTreeSet<String>> = self
            .patterns
            .iter()
            .map(|(pattern, resolved)| (pattern.clone(), resolved.topics.clone()))
            .collect();
        for record in &turn.step.records {
            if let Some((pattern, topics)) = super::as_pattern(record, &self.id) {
                match topics {
                    Some(topics) => {
                        patterns.insert(pattern.to_owned(), topics);
                    }
                    None => {
                        patterns.remove(pattern);
                    }
                }
            }
        }
        patterns
    }

    fn bump(&mut self, turn: &mut Turn<'_>, epoch: i32, hash: i64, cause: &str, member: &Arc<str>) {
        if self.has_old_topics {
            turn.step.records.push(self.old_topics_tombstone());
        }
        turn.step
            .records
            .push(self.epoch_record(Some((epoch, hash))));
        if self.rebalance.is_none() {
            let began_ms = turn.now.steady_ms;
            self.rebalance = Some((began_ms, cause.to_owned(), member.to_string()));
        }
    }

    /// Topics a member reads that exist.
    fn reads(
        &self,
        image: &MetadataImage,
        member: &Member,
        patterns: &HashMap<String, BTreeSet<String>>,
    ) -> BTreeSet<Uuid> {
        let pattern = member.about.subscribed_topic_regex.as_ref();
        let matched = pattern.and_then(|pattern| patterns.get(pattern));
        let named = member.about.subscribed_topic_names.iter();
        let names = named.chain(matched.into_iter().flatten());
        names
            .filter_map(|name| Some(image.topics().get(name)?.id()))
            .collect()
    }

    /// The members as they are about to be.
    fn members_after<'a>(
        &'a self,
        change: &'a Change,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Member)> {
        let others = self
            .members
            .iter()
            .filter(|(id, _)| **id != change.id && Some(*id) != change.replaces.as_ref());
        others.chain([(&change.id, &change.after)])
    }

    fn hash_topics(
        &self,
        image: &MetadataImage,
        change: &Change,
        patterns: &HashMap<String, BTreeSet<String>>,
    ) -> i64 {
        let read = self
            .members_after(change)
            .flat_map(|(_, member)| self.reads(image, member, patterns));
        hash(image, read.collect())
    }

    /// The target, made anew if the group has moved on and enough time has passed since the last.
    fn retarget(
        &self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        limits: &GroupSettings,
        change: &Change,
        patterns: &HashMap<String, BTreeSet<String>>,
        epoch: i32,
    ) -> (i32, Partitions) {
        let now_ms = turn.now.wall_ms;
        let holder = change.replaces.as_ref().unwrap_or(&change.id);
        let rested = self.target_epoch == 0
            || now_ms - self.target_at_ms >= limits.assignment_interval_ms
            || now_ms < self.target_at_ms;
        if epoch <= self.target_epoch || !rested {
            let target = self.targets.get(holder).cloned().unwrap_or_default();
            return (self.target_epoch, target);
        }
        let mut problem = Problem::default();
        for (id, member) in self.members_after(change) {
            let topics = self.reads(image, member, patterns);
            for topic in &topics {
                let there = image.topics().by_id(*topic);
                let count = there.map_or(0, |topic| topic.partition_count());
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                problem.partitions.insert(*topic, count);
            }
            let had = if *id == change.id { holder } else { id };
            let candidate = Candidate {
                instance_id: member.about.instance_id.clone(),
                topics,
                current: self.targets.get(had).cloned().unwrap_or_default(),
            };
            problem.members.insert(id.clone(), candidate);
        }
        let preferred = self.preferred_assignor(Some((&change.id, &change.after)));
        let assignor = preferred
            .as_deref()
            .and_then(Assignor::from_name)
            .unwrap_or(turn.settings.default_assignor);
        let mut plan = assignor.assign(&problem);
        for (id, target) in &plan {
            let unchanged = self.targets.get(id) == Some(target);
            if !unchanged {
                let record = self.target_record(id, Some(target));
                turn.step.records.push(record);
            }
        }
        turn.step
            .records
            .push(self.target_epoch_record(epoch, now_ms));
        (epoch, plan.remove(&change.id).unwrap_or_default())
    }

    fn arm(
        &self,
        turn: &mut Turn<'_>,
        limits: &GroupSettings,
        id: &Arc<str>,
        before: Option<&Member>,
        after: &Member,
    ) {
        if let Some(classic) = &after.about.classic_member_metadata {
            turn.arm(self.session(id), i64::from(classic.session_timeout_ms));
            return;
        }
        turn.arm(self.session(id), limits.session_timeout_ms);
        turn.timers.disarm(&self.rejoin(id));
        turn.timers.disarm(&self.fetch_assignment(id));
        let revocation = self.revocation(id);
        if after.state != MemberState::UnrevokedPartitions {
            turn.timers.disarm(&revocation);
        } else if before != Some(after) {
            turn.arm(revocation, i64::from(after.about.rebalance_timeout_ms));
        }
    }

    pub(super) fn session(&self, id: &Arc<str>) -> Timer {
        Timer::ConsumerSession {
            group: self.id.clone(),
            member: id.clone(),
        }
    }

    fn revocation(&self, id: &Arc<str>) -> Timer {
        Timer::Revocation {
            group: self.id.clone(),
            member: id.clone(),
        }
    }

    /// May a member go? A static one that only means to be away for a while is noted as such; to
    /// take out one that goes for good is for the caller, as that may change the group's protocol.
    pub(in crate::group) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        beat: &Beat,
    ) -> Result<Beaten, Refusal> {
        let id: Arc<str> = beat.member_id.as_str().into();
        if let Some(instance) = &beat.instance_id {
            match self.static_members.get(instance) {
                None => {
                    return Err(Refusal::new(
                        ErrorCode::UnknownMemberId,
                        format!("Instance id {instance} is unknown."),
                    ));
                }
                Some(holder) if *holder != id => {
                    return Err(Refusal::new(
                        ErrorCode::FencedInstanceId,
                        format!(
                            "Static member {id} with instance id {instance} was fenced by member {holder}."
                        ),
                    ));
                }
                Some(_) => {}
            }
        }
        let Some(member) = self.members.get(&id) else {
            return Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Member {id} is not a member of group {}.", self.id),
            ));
        };
        if beat.epoch == STATIC_LEAVE_EPOCH {
            let away = Member {
                epoch: STATIC_LEAVE_EPOCH,
                state: MemberState::Stable,
                revoking: BTreeMap::new(),
                ..member.clone()
            };
            turn.timers.disarm(&self.revocation(&id));
            let record = self.current_record(&id, Some(&away));
            turn.step.records.push(record);
        }
        Ok(Beaten {
            member_id: id.to_string(),
            epoch: beat.epoch,
            interval_ms: 0,
            assignment: None,
        })
    }

    /// Takes members out: a new assignment is called for.
    pub(in crate::group) fn put_out(
        &mut self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        ids: &[Arc<str>],
        cause: &str,
    ) {
        let Some(first) = ids.first() else {
            return;
        };
        for id in ids {
            self.disarm(turn, id);
            turn.step.records.extend(self.member_tombstones(id));
        }
        let others = || {
            self.members
                .iter()
                .filter(|(other, _)| !ids.contains(*other))
        };
        for pattern in self.patterns.keys() {
            let mut readers = others();
            if !readers.any(|(_, m)| m.about.subscribed_topic_regex.as_ref() == Some(pattern)) {
                turn.step.records.push(self.pattern_record(pattern, None));
            }
        }
        let patterns = self.patterns_after(turn);
        let read = others().flat_map(|(_, member)| self.reads(image, member, &patterns));
        let hash = hash(image, read.collect());
        self.bump(turn, self.epoch + 1, hash, cause, first);
    }

    /// Nothing is waited for from a member any more.
    pub(super) fn disarm(&self, turn: &mut Turn<'_>, id: &Arc<str>) {
        for timer in [
            self.session(id),
            self.revocation(id),
            self.rejoin(id),
            self.fetch_assignment(id),
        ] {
            turn.timers.disarm(&timer);
        }
    }

    /// Why a member has to go now that a timer of its has fallen due, if it has to.
    pub(in crate::group) fn overdue(&self, timer: &Timer) -> Option<(Arc<str>, &'static str)> {
        let (id, cause) = match timer {
            Timer::ConsumerSession { member, .. } => {
                (member, "member was silent for its session timeout")
            }
            Timer::Revocation { member, .. } => {
                let state = self.members.get(member)?.state;
                if state != MemberState::UnrevokedPartitions {
                    return None;
                }
                (member, "member did not give up its partitions in time")
            }
            Timer::Rejoin { member, .. } => (member, "classic member did not join again in time"),
            Timer::FetchAssignment { member, .. } => (
                member,
                "classic member did not ask for its assignment in time",
            ),
            Timer::Session { .. } | Timer::Join { .. } | Timer::Sync { .. } => return None,
        };
        self.members.contains_key(id).then(|| (id.clone(), cause))
    }

    /// For the log.
    pub(in crate::group) fn note_removed(
        &self,
        turn: &mut Turn<'_>,
        id: &Arc<str>,
        cause: &'static str,
    ) {
        turn.step.events.push(Event::Removed {
            group: self.id.clone(),
            members: vec![id.to_string()],
            cause,
        });
    }

    /// The group was read back: its members are given their time afresh.
    pub(in crate::group) fn resume(&self, turn: &mut Turn<'_>, limits: &GroupSettings) {
        for (id, member) in &self.members {
            self.arm(turn, limits, id, None, member);
        }
    }

    /// If a rebalance that was under way is over: what there is to say of it.
    pub(in crate::group) fn take_rebalance(&mut self, steady_ms: i64) -> Option<Event> {
        self.rebalance.as_ref()?;
        if !matches!(self.state(), "Stable" | "Empty") {
            return None;
        }
        let (began_ms, cause, member) = self.rebalance.take()?;
        Some(Event::Rebalanced {
            group: self.id.clone(),
            generation: self.epoch,
            members: self.members.len(),
            cause,
            member,
            took_ms: steady_ms - began_ms,
        })
    }
}

/// Is this the epoch the member is in, or the one before if the answer may have been lost?
fn check_epoch(member: &Member, told: i32, owned: Option<&Partitions>) -> Result<(), Refusal> {
    // Zero is a member that begins anew with nothing: what it had is still its own.
    if told == member.epoch || told == 0 {
        return Ok(());
    }
    let lost_answer = told < member.epoch
        && told == member.previous_epoch
        && owned.is_some_and(|owned| {
            owned.iter().all(|(topic, indexes)| {
                let held = member.assigned.get(topic);
                held.is_some_and(|held| indexes.iter().all(|index| held.contains_key(index)))
            })
        });
    if lost_answer {
        return Ok(());
    }
    let which = if told > member.epoch {
        "greater"
    } else {
        "smaller"
    };
    Err(Refusal::new(
        ErrorCode::FencedMemberEpoch,
        format!(
            "The consumer group member has a {which} member epoch ({told}) than the one known by \
             the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            member.epoch
        ),
    ))
}

/// FNV-1a over what an assignment depends on; 0 for no topics.
fn hash(image: &MetadataImage, read: BTreeSet<Uuid>) -> i64 {
    if read.is_empty() {
        return 0;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for id in read {
        let count = image
            .topics()
            .by_id(id)
            .map_or(0, |topic| topic.partition_count());
        eat(id.as_bytes());
        eat(&(count as u64).to_be_bytes());
    }
    hash as i64
}

//! All groups of one partition of `__consumer_offsets`. Pure: time, fresh ids and topics are
//! arguments, and what must outlive the broker leaves as records.
//!
//! A question leads to a [`Step`]: records to be written and answers to be given. The caller writes
//! the records, hands each to [`Groups::apply`] once it is in the log, then gives the answers.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::messages::coordinator::key::OffsetsKey;
use reka_protocol::messages::coordinator::offset::OffsetCommitValue;
use reka_records::control::TransactionResult;

use reka_raft::MetadataImage;
use uuid::Uuid;

use super::ask::{
    Ask, Beat, Commit, ConsumerDescribed, DeleteOffsets, Described, FetchOffsets, FetchedTopic,
    Heartbeat, Join, Joined, Leave, Left, ListFilter, Listed, PartitionCodes, Reply, Sync, Synced,
    Ticket,
};
use super::classic::{CONSUMER, ClassicGroup, Event, OffsetsAge, Step, Turn, newcomer_bytes};
use super::consumer::{Assignor, Beaten, ConsumerGroup, described_bytes};
use super::lag::Lags;
use super::memory::{self, Limits};
use super::offsets::{self, Offsets};
use super::record::{GroupRecord, GroupValue};
use super::refusal::Refusal;
use super::timers::{Timer, Timers};
use super::{Now, Settings, listing_order};
use crate::config::MigrationPolicy;

/// Kafka's name of a group that is not there.
const DEAD: &str = "Dead";
/// Groups and offsets that debug builds look through after every step.
const CHECKED_MAX: usize = 256;
/// The epoch of a member that leaves for good.
const LEAVE_EPOCH: i32 = -1;
/// "Keep the offsets as long as the broker says."
const DEFAULT_RETENTION: i64 = -1;

/// A group of either protocol.
#[derive(Debug)]
enum Group {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

impl Group {
    fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// About what it takes in memory, under a name of its own.
    fn bytes(&self, id: &str) -> usize {
        let members = match self {
            Group::Classic(group) => group.bytes(),
            Group::Consumer(group) => group.bytes(),
        };
        match members {
            0 => new_group_bytes(id),
            _ => joined_group_bytes(id) + members,
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state().name(),
            Group::Consumer(group) => group.state(),
        }
    }

    /// Kafka's name of the type.
    fn kind(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => "consumer",
        }
    }

    fn protocol_type(&self) -> &str {
        match self {
            Group::Classic(group) => group.protocol_type(),
            Group::Consumer(_) => CONSUMER,
        }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    fn offsets_age(&self) -> Option<OffsetsAge> {
        match self {
            Group::Classic(group) => group.offsets_age(),
            Group::Consumer(_) => Some(OffsetsAge::SinceCommit),
        }
    }

    /// The records that end it.
    fn tombstones(&self, id: &str) -> Vec<GroupRecord> {
        match self {
            Group::Classic(_) => vec![GroupRecord::classic(id, None)],
            Group::Consumer(group) => group.tombstones(),
        }
    }
}

/// What a group takes that nobody is in.
fn new_group_bytes(id: &str) -> usize {
    memory::GROUP + id.len()
}

/// What a group with members takes beside them.
fn joined_group_bytes(id: &str) -> usize {
    new_group_bytes(id) + memory::FIRST_MEMBER
}

/// All groups of one partition.
#[derive(Debug)]
pub struct Groups {
    settings: Arc<Settings>,
    /// The metadata as it was seen last: topics, their partitions, groups' own settings.
    image: Arc<MetadataImage>,
    groups: HashMap<Arc<str>, Group>,
    offsets: Offsets,
    timers: Timers,
    /// Ids that clients were given to join with, oldest first; by now some have. Group and member.
    given: VecDeque<(Arc<str>, Arc<str>)>,
    /// Records so far: the place of the next one.
    order: u64,
    /// About what groups and members take in memory; offsets have their own count.
    bytes: usize,
    limits: Limits,
}

/// Ids that are kept for clients to join with. Beyond it the oldest are forgotten, with groups that are
/// nothing else yet: whoever asks for ids and never joins fills no memory.
const GIVEN_MAX: usize = 20_000;

impl Groups {
    /// None yet.
    pub fn new(settings: Arc<Settings>) -> Groups {
        Groups {
            settings,
            image: Arc::new(MetadataImage::default()),
            groups: HashMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            given: VecDeque::new(),
            order: 0,
            bytes: 0,
            limits: Limits::NONE,
        }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Committed offsets.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// About what all of it takes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes + self.offsets.bytes()
    }

    /// How far it may grow from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A group of the classic protocol.
    pub fn classic(&self, id: &str) -> Option<&ClassicGroup> {
        match self.groups.get(id)? {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }

    /// A group of KIP-848.
    pub fn consumer(&self, id: &str) -> Option<&ConsumerGroup> {
        match self.groups.get(id)? {
            Group::Classic(_) => None,
            Group::Consumer(group) => Some(group),
        }
    }

    /// The metadata from now on.
    pub fn see(&mut self, image: Arc<MetadataImage>) {
        self.image = image;
    }

    /// What is armed.
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// A record was read back, written by a producer in a transaction if one is named.
    pub fn replay(&mut self, record: &GroupRecord, producer: Option<i64>) {
        if let (OffsetsKey::GroupMetadata { group }, Some(GroupValue::Classic(value))) =
            (&record.key, &record.value)
        {
            let id: Arc<str> = group.as_str().into();
            let group = ClassicGroup::from_value(id.clone(), value.clone());
            let before = self.bytes_of(&id);
            self.groups
                .insert(id.clone(), Group::Classic(Box::new(group)));
            self.count_again(&id, before);
        }
        self.take(record, producer);
    }

    /// The records of a step are in the log: offsets and consumer groups change by this alone,
    /// live, on replay and in tests.
    ///
    /// A classic group is the source of its record, not the other way round, so live there is
    /// nothing to do for it but to see it go.
    pub fn apply(&mut self, records: &[GroupRecord]) {
        for record in records {
            self.take(record, None);
        }
        self.check();
    }

    /// The same for records that count once the producer's transaction is committed.
    pub fn apply_in_transaction(&mut self, records: &[GroupRecord], producer: i64) {
        for record in records {
            self.take(record, Some(producer));
        }
        self.check();
    }

    fn bytes_of(&self, id: &str) -> usize {
        self.groups.get(id).map_or(0, |group| group.bytes(id))
    }

    /// A group that took this much before may have changed.
    fn count_again(&mut self, id: &str, before: usize) {
        self.bytes = self.bytes - before + self.bytes_of(id);
    }

    fn take(&mut self, record: &GroupRecord, producer: Option<i64>) {
        self.order += 1;
        match (&record.key, &record.value) {
            (
                OffsetsKey::OffsetCommit {
                    group,
                    topic,
                    partition,
                },
                Some(GroupValue::Offset(value)),
            ) => {
                if !self.groups.contains_key(group.as_str()) {
                    // Offsets without a group were committed by somebody who manages them alone.
                    let id: Arc<str> = group.as_str().into();
                    let bare = ClassicGroup::new(id.clone(), Now::default());
                    self.bytes += new_group_bytes(group);
                    self.groups.insert(id, Group::Classic(Box::new(bare)));
                }
                self.offsets
                    .apply_commit(group, topic, *partition, value, producer, self.order);
            }
            (
                OffsetsKey::OffsetCommit {
                    group,
                    topic,
                    partition,
                },
                None,
            ) => self.offsets.apply_tombstone(group, topic, *partition),
            (OffsetsKey::GroupMetadata { group }, None) => {
                if self.classic(group).is_some() {
                    self.bytes -= self.bytes_of(group);
                    self.groups.remove(group.as_str());
                }
            }
            (OffsetsKey::GroupMetadata { .. }, Some(_)) => {}
            _ => {
                if let Some(id) = record.consumer_group() {
                    let before = self.bytes_of(id);
                    self.take_of_consumers(id, record);
                    self.count_again(id, before);
                }
            }
        }
    }

    fn take_of_consumers(&mut self, id: &str, record: &GroupRecord) {
        if let Some(Group::Consumer(group)) = self.groups.get_mut(id) {
            if !group.apply(record) {
                self.groups.remove(id);
            }
            return;
        }
        if record.value.is_none() {
            return;
        }
        // The group is new, or was a classic one until now.
        let id: Arc<str> = id.into();
        let mut group = ConsumerGroup::new(id.clone());
        group.apply(record);
        self.groups.insert(id, Group::Consumer(Box::new(group)));
    }

    /// A transaction that may have committed offsets here ended.
    pub fn apply_marker(&mut self, producer: i64, commits: bool) {
        self.order += 1;
        self.offsets.apply_marker(producer, commits);
    }

    /// Everything was read back: members are given their time afresh.
    pub fn resume(&mut self, now: Now, step: &mut Step) {
        let Groups {
            settings,
            image,
            groups,
            timers,
            ..
        } = self;
        for (id, group) in groups {
            let mut turn = Turn {
                now,
                settings,
                timers,
                step,
            };
            match group {
                Group::Classic(group) => group.resume(&mut turn),
                Group::Consumer(group) => {
                    group.resume(&mut turn, &settings.of_group(id, image));
                }
            }
        }
        self.check();
    }

    /// When something falls due by itself.
    pub fn next_ms(&self) -> Option<i64> {
        self.timers.next_ms()
    }

    /// Answers a question, or keeps its ticket until it can be answered.
    pub fn handle(&mut self, now: Now, ticket: Ticket, ask: Ask, step: &mut Step) {
        let reshaped = ask.reshapes().map(str::to_owned);
        let before = reshaped.as_deref().map_or(0, |id| self.bytes_of(id));
        self.decide(now, ticket, ask, step);
        if let Some(id) = reshaped {
            self.count_again(&id, before);
        }
        self.check();
    }

    fn decide(&mut self, now: Now, ticket: Ticket, ask: Ask, step: &mut Step) {
        let reply = match ask {
            Ask::Join(join) => return self.join(now, ticket, join, step),
            Ask::Sync(sync) => return self.sync(now, ticket, sync, step),
            Ask::Heartbeat(heartbeat) => Reply::Code(self.heartbeat(now, &heartbeat, step)),
            Ask::Leave(leave) => Reply::Leave(self.leave(now, leave, step)),
            Ask::Commit(commit) => Reply::Partitions(self.commit(now, commit, false, step)),
            Ask::CommitInTransaction(commit, _) => {
                Reply::Partitions(self.commit(now, commit, true, step))
            }
            Ask::EndTransaction(marker) => {
                let commits = marker.end.result == TransactionResult::Commit;
                self.apply_marker(marker.producer_id, commits);
                Reply::Code(ErrorCode::None)
            }
            Ask::Fetch(fetch) => Reply::Fetch(self.fetch(&fetch)),
            Ask::DeleteOffsets(delete) => Reply::Partitions(self.delete_offsets(&delete, step)),
            Ask::Describe(group) => Reply::Describe(Box::new(self.describe(&group))),
            Ask::List(filter) => Reply::List(self.list(&filter)),
            Ask::Delete(group) => Reply::Code(self.delete(&group, step)),
            Ask::TopicsDeleted(topics) => Reply::Forgotten(self.forget_topics(topics, step)),
            Ask::Lags(ends, limit) => Reply::Lags(Lags::of(&self.offsets, &ends, limit)),
            Ask::Beat(beat) => match self.patterns_wanted(now, &beat) {
                patterns if patterns.is_empty() => Reply::Beat(self.beat(now, &beat, step)),
                patterns => Reply::NeedsPatterns(patterns),
            },
            Ask::ConsumerDescribe(group) => {
                Reply::ConsumerDescribe(Box::new(self.describe_consumers(&group)))
            }
        };
        step.replies.push((ticket, reply));
    }

    /// Takes something out that has fallen due, and does it. False if nothing has.
    pub fn expire(&mut self, now: Now, step: &mut Step) -> bool {
        let Some(timer) = self.timers.take_due(now.steady_ms) else {
            return false;
        };
        let before = self.bytes_of(timer.group());
        let mut goes = None;
        match (self.turn(now, timer.group(), step), &timer) {
            (Some((Group::Classic(group), mut turn)), Timer::Session { member, .. }) => {
                group.session_is_due(&mut turn, member);
            }
            (Some((Group::Classic(group), mut turn)), Timer::Join { .. }) => {
                group.join_is_due(&mut turn);
            }
            (Some((Group::Classic(group), mut turn)), Timer::Sync { .. }) => {
                group.sync_is_due(&mut turn);
            }
            (Some((Group::Consumer(group), mut turn)), timer) => {
                goes = group.overdue(timer);
                if let Some((member, cause)) = &goes {
                    group.note_removed(&mut turn, member, cause);
                }
            }
            // Armed before the group changed its protocol, or was deleted.
            (Some((Group::Classic(_), _)) | None, _) => {}
        }
        if let Some((member, cause)) = goes {
            self.put_out(now, timer.group(), &[member], cause, step);
        }
        self.count_again(timer.group(), before);
        self.check();
        true
    }

    /// Rebalances of consumer groups among these that have come to their end.
    pub fn take_rebalances(&mut self, now: Now, records: &[GroupRecord]) -> Vec<Event> {
        let ids: BTreeSet<&str> = records
            .iter()
            .filter_map(GroupRecord::consumer_group)
            .collect();
        let mut events = Vec::new();
        for id in ids {
            if let Some(Group::Consumer(group)) = self.groups.get_mut(id) {
                events.extend(group.take_rebalance(now.steady_ms));
            }
        }
        events
    }

    /// Forgets offsets that are too old, and groups that nobody is in and that have none.
    pub fn expire_offsets(&self, now: Now, step: &mut Step) -> usize {
        let mut records = Vec::new();
        for (id, group) in &self.groups {
            let before = records.len();
            let mut all = !self.offsets.has_open_transactions(id);
            let retention_ms = self.settings.offset_retention_ms;
            let age = group.offsets_age();
            for (topic, partition, committed) in self.offsets.committed(id) {
                let expired = age.is_some_and(|age| {
                    let since_ms = match age {
                        OffsetsAge::SinceCommit => committed.at_ms,
                        OffsetsAge::Since(since_ms) => since_ms,
                    };
                    let expires_ms = match committed.expires_ms {
                        -1 => since_ms.saturating_add(retention_ms),
                        expires_ms => expires_ms,
                    };
                    now.wall_ms >= expires_ms
                });
                if expired
                    && !group.is_subscribed_to(topic)
                    && !self.offsets.is_pending(id, topic, partition)
                {
                    records.push(GroupRecord::offset(id, topic, partition, None));
                } else {
                    all = false;
                }
            }
            // A group that is only just being made has neither members nor offsets: it is let be.
            let is_new = records.len() == before
                && matches!(group, Group::Classic(group) if group.has_pending());
            if all && group.is_empty() && !is_new {
                records.extend(group.tombstones(id));
            }
        }
        let count = records.len();
        step.records.extend(records);
        count
    }

    fn turn<'a>(
        &'a mut self,
        now: Now,
        group: &str,
        step: &'a mut Step,
    ) -> Option<(&'a mut Group, Turn<'a>)> {
        let Groups {
            settings,
            groups,
            timers,
            ..
        } = self;
        let turn = Turn {
            now,
            settings,
            timers,
            step,
        };
        Some((groups.get_mut(group)?, turn))
    }

    fn classic_turn<'a>(
        &'a mut self,
        now: Now,
        group: &str,
        step: &'a mut Step,
    ) -> Option<(&'a mut ClassicGroup, Turn<'a>)> {
        match self.turn(now, group, step)? {
            (Group::Classic(group), turn) => Some((group, turn)),
            (Group::Consumer(_), _) => None,
        }
    }

    fn consumer_turn<'a>(
        &'a mut self,
        now: Now,
        group: &str,
        step: &'a mut Step,
    ) -> Option<(&'a mut ConsumerGroup, Turn<'a>)> {
        match self.turn(now, group, step)? {
            (Group::Consumer(group), turn) => Some((group, turn)),
            (Group::Classic(_), _) => None,
        }
    }

    fn join(&mut self, now: Now, ticket: Ticket, join: Join, step: &mut Step) {
        let session_ms = i64::from(join.session_timeout_ms);
        let known = self.groups.get(join.group.as_str());
        let refusal = if join.group.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if session_ms < self.settings.session_timeout_min_ms
            || session_ms > self.settings.session_timeout_max_ms
        {
            Some(ErrorCode::InvalidSessionTimeout)
        } else {
            match known {
                None if !join.member_id.is_empty() => Some(ErrorCode::UnknownMemberId),
                Some(Group::Consumer(group))
                    if !group.is_empty()
                        && self.settings.consumer.migration == MigrationPolicy::Disabled =>
                {
                    Some(ErrorCode::InconsistentGroupProtocol)
                }
                Some(Group::Consumer(group)) if group.is_empty() && !join.member_id.is_empty() => {
                    Some(ErrorCode::UnknownMemberId)
                }
                // Whether it is let in is decided further on; what it may take is not.
                Some(Group::Consumer(_))
                    if join.member_id.is_empty()
                        && !self.has_memory(&join.group, newcomer_bytes(&join), step) =>
                {
                    Some(ErrorCode::GroupMaxSizeReached)
                }
                Some(Group::Classic(group))
                    if !self.has_memory(&join.group, group.growth(&join), step) =>
                {
                    Some(ErrorCode::GroupMaxSizeReached)
                }
                None if !self.has_memory(
                    &join.group,
                    joined_group_bytes(&join.group) + newcomer_bytes(&join),
                    step,
                ) =>
                {
                    Some(ErrorCode::GroupMaxSizeReached)
                }
                _ => None,
            }
        };
        if let Some(code) = refusal {
            let told = match code {
                ErrorCode::InconsistentGroupProtocol => String::new(),
                _ => join.member_id,
            };
            let joined = Joined::error(code, told);
            step.replies.push((ticket, Reply::Join(joined)));
            return;
        }
        if known.is_some_and(|group| matches!(group, Group::Consumer(_)) && !group.is_empty()) {
            let image = self.image.clone();
            let limits = self.settings.of_group(&join.group, &image);
            let id = join.group.clone();
            let classic = self
                .consumer_turn(now, &id, step)
                .and_then(|(group, mut turn)| {
                    group.join_classic(&mut turn, &image, &limits, ticket, join)
                });
            if let Some(classic) = classic {
                self.groups
                    .insert(id.into(), Group::Classic(Box::new(classic)));
            }
            return;
        }
        if self.classic(&join.group).is_none() {
            // That the group exists is written before anything becomes of it.
            if let Some(consumers) = known {
                step.records.extend(consumers.tombstones(&join.group));
            }
            let id: Arc<str> = join.group.as_str().into();
            let group = ClassicGroup::new(id.clone(), now);
            let record = GroupRecord::classic(&id, Some(group.to_value()));
            step.records.push(record);
            self.groups.insert(id, Group::Classic(Box::new(group)));
        }
        let id = join.group.clone();
        let from = step.replies.len();
        if let Some((group, mut turn)) = self.classic_turn(now, &id, step) {
            group.join(&mut turn, ticket, join);
        }
        let given = step.replies[from..]
            .iter()
            .find_map(|(_, reply)| match reply {
                Reply::Join(joined) if joined.error_code == ErrorCode::MemberIdRequired => {
                    Some(joined.member_id.as_str().into())
                }
                _ => None,
            });
        if let Some(member) = given {
            self.given.push_back((id.into(), member));
        }
        while self.given.len() > GIVEN_MAX {
            self.forget_oldest_given(now, step);
        }
    }

    /// Whether a group may grow by this much.
    fn has_memory(&self, group: &str, more: usize, step: &mut Step) -> bool {
        let is_known = self.groups.contains_key(group);
        let allowed = more == 0 || self.limits.allow(is_known, self.bytes() + more);
        if !allowed {
            let group = group.to_owned();
            step.events.push(Event::NoMemory { group });
        }
        allowed
    }

    /// As if its client had let its session time out; a group that is nothing else goes with it.
    fn forget_oldest_given(&mut self, now: Now, step: &mut Step) {
        let Some((id, member)) = self.given.pop_front() else {
            return;
        };
        let Some((group, mut turn)) = self.classic_turn(now, &id, step) else {
            return;
        };
        group.forget_given(&mut turn, &member);
        let is_new = group.is_empty() && !group.has_pending() && group.generation() == 0;
        let has_offsets =
            self.offsets.committed(&id).next().is_some() || self.offsets.has_open_transactions(&id);
        if is_new && !has_offsets {
            step.records.push(GroupRecord::classic(&id, None));
        }
    }

    fn sync(&mut self, now: Now, ticket: Ticket, sync: Sync, step: &mut Step) {
        let known = self.groups.get(sync.group.as_str());
        let refusal = if sync.group.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if known.is_none_or(Group::is_empty) {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(code) = refusal {
            let synced = Synced::error(code);
            step.replies.push((ticket, Reply::Sync(synced)));
            return;
        }
        let id = sync.group.clone();
        let image = self.image.clone();
        match self.turn(now, &id, step) {
            Some((Group::Classic(group), mut turn)) => group.sync(&mut turn, ticket, sync),
            Some((Group::Consumer(group), mut turn)) => {
                let synced = group.sync_classic(&mut turn, &image, sync);
                step.replies.push((ticket, Reply::Sync(synced)));
            }
            None => {}
        }
    }

    fn heartbeat(&mut self, now: Now, heartbeat: &Heartbeat, step: &mut Step) -> ErrorCode {
        if heartbeat.group.is_empty() {
            return ErrorCode::InvalidGroupId;
        }
        match self.turn(now, &heartbeat.group, step) {
            Some((Group::Classic(group), mut turn)) => group.heartbeat(&mut turn, heartbeat),
            Some((Group::Consumer(group), mut turn)) => {
                group.heartbeat_classic(&mut turn, heartbeat)
            }
            None => ErrorCode::UnknownMemberId,
        }
    }

    fn leave(&mut self, now: Now, leave: Leave, step: &mut Step) -> Left {
        if leave.group.is_empty() {
            return Left {
                error_code: ErrorCode::InvalidGroupId,
                members: Vec::new(),
            };
        }
        let id = leave.group.clone();
        match self.turn(now, &id, step) {
            Some((Group::Classic(group), mut turn)) => group.leave(&mut turn, leave),
            Some((Group::Consumer(group), _)) => {
                let (left, gone) = group.leaving(leave);
                self.put_out(now, &id, &gone, "member left by LeaveGroup", step);
                left
            }
            None => {
                let strangers = leave.members.into_iter();
                Left {
                    error_code: ErrorCode::None,
                    members: strangers
                        .map(|leaving| (leaving, ErrorCode::UnknownMemberId))
                        .collect(),
                }
            }
        }
    }

    fn beat(&mut self, now: Now, beat: &Beat, step: &mut Step) -> Result<Beaten, Refusal> {
        self.check_beat(beat)?;
        let leaves = beat.epoch < 0;
        let more = match self.groups.get(beat.group.as_str()) {
            _ if leaves => 0,
            Some(Group::Consumer(group)) if beat.epoch == 0 || beat.describes() => {
                group.growth(beat)
            }
            Some(Group::Classic(_)) if beat.epoch == 0 => described_bytes(beat),
            Some(_) => 0,
            None => joined_group_bytes(&beat.group) + described_bytes(beat),
        };
        if !self.has_memory(&beat.group, more, step) {
            let why = "The memory of this broker for groups is used up \
                       (reka.group.memory.max.bytes): delete groups that are not used, or raise it.";
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, why));
        }
        match self.groups.get(beat.group.as_str()) {
            Some(Group::Consumer(_)) => {}
            None if beat.epoch == 0 => return self.begin(now, beat, step),
            Some(Group::Classic(group)) if beat.epoch == 0 && group.is_empty() => {
                return self.begin(now, beat, step);
            }
            Some(Group::Classic(_)) if beat.epoch == 0 => return self.upgrade(now, beat, step),
            Some(Group::Classic(_)) => {
                let why = format!("Group {} is not a consumer group.", beat.group);
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
            }
            None => {
                let why = match leaves {
                    true => format!("Group {} not found.", beat.group),
                    false => format!("Consumer group {} not found.", beat.group),
                };
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
            }
        }
        let image = self.image.clone();
        let limits = self.settings.of_group(&beat.group, &image);
        let Some((group, mut turn)) = self.consumer_turn(now, &beat.group, step) else {
            return Err(Refusal::new(ErrorCode::UnknownServerError, "no group"));
        };
        if !leaves {
            return group.heartbeat(&mut turn, &image, &limits, beat);
        }
        let beaten = group.leave(&mut turn, beat)?;
        if beat.epoch == LEAVE_EPOCH {
            let member: Arc<str> = beat.member_id.as_str().into();
            self.put_out(now, &beat.group, &[member], "member left", step);
        }
        Ok(beaten)
    }

    /// The first member of a consumer group. There is no group until it is let in.
    fn begin(&mut self, now: Now, beat: &Beat, step: &mut Step) -> Result<Beaten, Refusal> {
        let image = self.image.clone();
        let limits = self.settings.of_group(&beat.group, &image);
        let id: Arc<str> = beat.group.as_str().into();
        let mut group = ConsumerGroup::new(id.clone());
        let from = step.records.len();
        if self.classic(&id).is_some() {
            // Nobody is left who speaks the classic protocol.
            step.records.push(GroupRecord::classic(&id, None));
        }
        let mut turn = Turn {
            now,
            settings: &self.settings,
            timers: &mut self.timers,
            step,
        };
        match group.heartbeat(&mut turn, &image, &limits, beat) {
            Ok(beaten) => {
                self.groups.insert(id, Group::Consumer(Box::new(group)));
                Ok(beaten)
            }
            Err(refusal) => {
                step.records.truncate(from);
                Err(refusal)
            }
        }
    }

    /// A member of the consumer protocol joins a group of classic ones: from now on they are
    /// classic members of a consumer group.
    fn upgrade(&mut self, now: Now, beat: &Beat, step: &mut Step) -> Result<Beaten, Refusal> {
        let image = self.image.clone();
        let limits = self.settings.of_group(&beat.group, &image);
        let policy = self.settings.consumer.migration;
        let allowed = matches!(
            policy,
            MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional
        );
        let members_max = self.settings.consumer_members_max;
        let settings = self.settings.clone();
        let refused = || {
            let why = format!("Group {} is not a consumer group.", beat.group);
            Refusal::new(ErrorCode::GroupIdNotFound, why)
        };
        let Some((classic, mut turn)) = self.classic_turn(now, &beat.group, step) else {
            return Err(refused());
        };
        let members = classic
            .moved_members()
            .filter(|members| allowed && members.len() <= members_max);
        let id: Arc<str> = beat.group.as_str().into();
        let members = members.ok_or_else(refused)?;
        let (mut group, records) =
            ConsumerGroup::from_classic(&id, classic.generation(), members, &image, &settings)?;
        // Nothing is changed yet: the member may be refused.
        let from = turn.step.records.len();
        turn.step.records.push(GroupRecord::classic(&id, None));
        turn.step.records.extend(records);
        let beaten = match group.heartbeat(&mut turn, &image, &limits, beat) {
            Ok(beaten) => beaten,
            Err(refusal) => {
                turn.step.records.truncate(from);
                return Err(refusal);
            }
        };
        classic.end(&mut turn);
        group.arm_classic_members(&mut turn);
        self.groups.insert(id, Group::Consumer(Box::new(group)));
        Ok(beaten)
    }

    /// Takes members out of a consumer group. If only classic ones are left, so is the group.
    fn put_out(&mut self, now: Now, id: &str, members: &[Arc<str>], cause: &str, step: &mut Step) {
        let image = self.image.clone();
        let allowed = self.settings.consumer.migration.downgrades();
        let Some((group, mut turn)) = self.consumer_turn(now, id, step) else {
            return;
        };
        let classic = allowed.then(|| group.to_classic(&mut turn, &image, members, None));
        let Some(mut classic) = classic.flatten() else {
            group.put_out(&mut turn, &image, members, cause);
            return;
        };
        turn.step.records.extend(group.tombstones());
        classic.begin(
            &mut turn,
            Some("the last member of the consumer protocol left"),
        );
        self.groups
            .insert(id.into(), Group::Classic(Box::new(classic)));
    }

    /// Expressions that somebody has to match before this heartbeat can be answered.
    fn patterns_wanted(&self, now: Now, beat: &Beat) -> Vec<String> {
        if beat.matched.is_some() || beat.epoch < 0 || self.check_beat(beat).is_err() {
            return Vec::new();
        }
        match self.groups.get(beat.group.as_str()) {
            Some(Group::Consumer(group)) => {
                group.patterns_wanted(&self.settings, now.wall_ms, &self.image, beat)
            }
            _ => {
                let asked = beat.pattern.iter().filter(|pattern| !pattern.is_empty());
                asked.cloned().collect()
            }
        }
    }

    /// Is it a heartbeat at all? The sentences are Kafka's.
    fn check_beat(&self, beat: &Beat) -> Result<(), Refusal> {
        let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
        let is_empty = |text: &Option<String>| text.as_deref() == Some("");
        if beat.group.is_empty() {
            return invalid("GroupId can't be empty.");
        }
        if is_empty(&beat.instance_id) {
            return invalid("InstanceId can't be empty.");
        }
        if is_empty(&beat.rack_id) {
            return invalid("RackId can't be empty.");
        }
        if beat.member_id.is_empty() && (beat.epoch != 0 || beat.chooses_id) {
            return invalid("MemberId can't be empty.");
        }
        match beat.epoch {
            0 => {
                if beat.rebalance_timeout_ms == -1 {
                    return invalid("RebalanceTimeoutMs must be provided in first request.");
                }
                if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
                    return invalid("TopicPartitions must be empty when (re-)joining.");
                }
                if beat.topics.is_none() && beat.pattern.is_none() {
                    return invalid(
                        "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null \
                         when (re-)joining.",
                    );
                }
            }
            -2 if beat.instance_id.is_none() => return invalid("InstanceId can't be null."),
            ..-2 => return invalid("MemberEpoch is invalid."),
            _ => {}
        }
        if let Some(assignor) = &beat.assignor
            && !(self.settings.assignors.contains(assignor)
                && Assignor::from_name(assignor).is_some())
        {
            let why = format!(
                "ServerAssignor {assignor} is not supported. Supported assignors: {}.",
                self.settings.assignors.join(", ")
            );
            return Err(Refusal::new(ErrorCode::UnsupportedAssignor, why));
        }
        Ok(())
    }

    fn describe_consumers(&self, id: &str) -> ConsumerDescribed {
        let error = |why: String| ConsumerDescribed::error(ErrorCode::GroupIdNotFound, Some(why));
        match self.groups.get(id) {
            Some(Group::Consumer(group)) => {
                let default = self.settings.assignors.first();
                let default = default.map(String::as_str).unwrap_or_default();
                group.describe(default, &self.image)
            }
            Some(Group::Classic(_)) => error(format!("Group {id} is not a consumer group.")),
            None => error(format!("Group {id} not found.")),
        }
    }

    fn commit(
        &mut self,
        now: Now,
        commit: Commit,
        in_transaction: bool,
        step: &mut Step,
    ) -> PartitionCodes {
        let image = self.image.clone();
        match self.turn(now, &commit.group, step) {
            Some((Group::Classic(group), mut turn)) => {
                if let Err(code) = group.check_commit(&commit, in_transaction) {
                    return PartitionCodes::error(code);
                }
                if !in_transaction {
                    group.note_commit(&mut turn, &commit.member_id);
                }
            }
            Some((Group::Consumer(group), _)) => {
                match group.check_commit(&commit, in_transaction, &image) {
                    Ok(()) => {}
                    // Producers know only the classic protocol's word for it.
                    Err(ErrorCode::StaleMemberEpoch) if in_transaction => {
                        return PartitionCodes::error(ErrorCode::IllegalGeneration);
                    }
                    Err(code) => return PartitionCodes::error(code),
                }
            }
            None if commit.generation < 0 => {
                // Whoever commits manages these offsets alone; the group comes with them.
            }
            None if commit.knows_member_epochs => {
                return PartitionCodes::error(ErrorCode::GroupIdNotFound);
            }
            None => return PartitionCodes::error(ErrorCode::IllegalGeneration),
        }
        let more = self.growth(&commit, in_transaction);
        if commit.bytes() > self.settings.commit_bytes_max
            || !self.has_memory(&commit.group, more, step)
        {
            // Kafka's code for what does not fit its log: no client takes it for a passing trouble.
            return PartitionCodes::error(ErrorCode::InvalidCommitOffsetSize);
        }
        let expire_timestamp = match commit.retention_ms {
            DEFAULT_RETENTION => -1,
            retention_ms => now.wall_ms.saturating_add(retention_ms),
        };
        let metadata_max = self.settings.offset_metadata_max;
        let mut topics = Vec::with_capacity(commit.topics.len());
        for topic in commit.topics {
            let mut codes = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                // Kafka counts the units of a Java string.
                let length = partition.metadata.encode_utf16().count();
                if length > metadata_max {
                    codes.push((partition.index, ErrorCode::OffsetMetadataTooLarge));
                    continue;
                }
                codes.push((partition.index, ErrorCode::None));
                let value = OffsetCommitValue {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    metadata: partition.metadata,
                    commit_timestamp: now.wall_ms,
                    expire_timestamp,
                    topic_id: topic.id,
                };
                let record =
                    GroupRecord::offset(&commit.group, &topic.name, partition.index, Some(value));
                step.records.push(record);
            }
            topics.push((topic.name, codes));
        }
        PartitionCodes {
            error_code: ErrorCode::None,
            topics,
        }
    }

    /// By how much a commit makes a group grow, if all of it is taken. In a transaction it is kept beside
    /// what is committed.
    fn growth(&self, commit: &Commit, in_transaction: bool) -> usize {
        let group = match self.groups.contains_key(commit.group.as_str()) {
            true => 0,
            false => new_group_bytes(&commit.group),
        };
        let each = commit.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let metadata = &partition.metadata;
                match in_transaction {
                    true => offsets::new_bytes(&topic.name, metadata),
                    false => {
                        let (group, index) = (&commit.group, partition.index);
                        self.offsets.growth(group, &topic.name, index, metadata)
                    }
                }
            })
        });
        group + each.sum::<usize>()
    }

    fn fetch(&self, fetch: &FetchOffsets) -> Result<Vec<FetchedTopic>, ErrorCode> {
        let wanted = fetch.topics.as_deref();
        match self.groups.get(fetch.group.as_str()) {
            // No group, no offsets, and no error.
            None => return Ok(Offsets::default().fetch(&fetch.group, wanted, false)),
            Some(Group::Classic(_)) => {}
            Some(Group::Consumer(group)) => {
                let member = fetch.member.as_ref();
                group.check_fetch(member.map(|(id, epoch)| (id.as_str(), *epoch)))?;
            }
        }
        let stable = fetch.require_stable;
        Ok(self.offsets.fetch(&fetch.group, wanted, stable))
    }

    fn delete_offsets(&self, delete: &DeleteOffsets, step: &mut Step) -> PartitionCodes {
        if delete.group.is_empty() {
            return PartitionCodes::error(ErrorCode::InvalidGroupId);
        }
        let Some(group) = self.groups.get(delete.group.as_str()) else {
            return PartitionCodes::error(ErrorCode::GroupIdNotFound);
        };
        if let Group::Classic(group) = group
            && let Err(code) = group.check_offset_delete()
        {
            return PartitionCodes::error(code);
        }
        let mut topics = Vec::new();
        for (topic, partitions) in &delete.topics {
            let code = match group.is_subscribed_to(topic) {
                true => ErrorCode::GroupSubscribedToTopic,
                false => ErrorCode::None,
            };
            let codes = partitions.iter().map(|index| (*index, code));
            topics.push((topic.clone(), codes.collect()));
            if code.is_error() {
                continue;
            }
            for index in partitions {
                let known = self.offsets.get(&delete.group, topic, *index).is_some()
                    || self.offsets.is_pending(&delete.group, topic, *index);
                if known {
                    let record = GroupRecord::offset(&delete.group, topic, *index, None);
                    step.records.push(record);
                }
            }
        }
        PartitionCodes {
            error_code: ErrorCode::None,
            topics,
        }
    }

    fn describe(&self, group: &str) -> Described {
        let why = match self.groups.get(group) {
            Some(Group::Classic(known)) => return known.describe(),
            Some(Group::Consumer(_)) => format!("Group {group} is not a classic group."),
            None => format!("Group {group} not found."),
        };
        Described {
            error_code: ErrorCode::GroupIdNotFound,
            error_message: Some(why),
            state: DEAD,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }

    fn list(&self, filter: &ListFilter) -> Vec<Listed> {
        let passes = |wanted: &[String], name: &str| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let all = self.groups.iter().map(|(id, group)| Listed {
            group: id.to_string(),
            protocol_type: group.protocol_type().to_owned(),
            state: group.state(),
            kind: group.kind(),
        });
        let mut listed: Vec<Listed> = all
            .filter(|listed| {
                passes(&filter.states, listed.state) && passes(&filter.types, listed.kind)
            })
            .collect();
        listed.sort_by_cached_key(|listed| listing_order(&listed.group));
        listed
    }

    fn delete(&self, group: &str, step: &mut Step) -> ErrorCode {
        let known = match self.groups.get(group) {
            None => return ErrorCode::GroupIdNotFound,
            Some(known) if !known.is_empty() => return ErrorCode::NonEmptyGroup,
            Some(known) => known,
        };
        for (topic, partition) in self.offsets.partitions(group) {
            let record = GroupRecord::offset(group, &topic, partition, None);
            step.records.push(record);
        }
        step.records.extend(known.tombstones(group));
        ErrorCode::None
    }

    fn forget_topics(&self, topics: Vec<(String, Uuid)>, step: &mut Step) -> usize {
        let forgotten = self.offsets.of_topics(&topics.into_iter().collect());
        let count = forgotten.len();
        for (group, topic, partition) in forgotten {
            let record = GroupRecord::offset(&group, &topic, partition, None);
            step.records.push(record);
        }
        count
    }

    fn check(&self) {
        // A walk over everything: only where everything is little.
        if cfg!(debug_assertions) && self.groups.len() + self.offsets.len() <= CHECKED_MAX {
            self.check_invariants();
        }
    }

    /// Panics on what only a bug can bring about.
    pub fn check_invariants(&self) {
        self.offsets.check_invariants();
        let bytes = self.groups.iter().map(|(id, group)| group.bytes(id));
        assert_eq!(bytes.sum::<usize>(), self.bytes, "memory of groups");
        for group in self.groups.values() {
            match group {
                Group::Classic(group) => group.check_invariants(),
                Group::Consumer(group) => group.check_invariants(),
            }
        }
    }
}

//! All groups of one partition of `__consumer_offsets`. Pure: time, fresh ids and topics are
//! arguments, and what must outlive the broker leaves as records.
//!
//! A question leads to a [`Step`]: records to be written and answers to be given. The caller writes
//! the records, hands each to [`Groups::apply`] once it is in the log, then gives the answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::messages::coordinator::key::OffsetsKey;
use reka_protocol::messages::coordinator::offset::OffsetCommitValue;

use super::ask::{
    Ask, Commit, DeleteOffsets, Described, FetchOffsets, FetchedTopic, Heartbeat, Join, Joined,
    Leave, Left, ListFilter, Listed, PartitionCodes, Reply, Sync, Synced, Ticket,
};
use super::classic::{ClassicGroup, OffsetsAge, Step, Turn};
use super::offsets::Offsets;
use super::record::{GroupRecord, GroupValue};
use super::timers::{Timer, Timers};
use super::{Now, Settings};

/// Kafka's name of a group that is not there.
const DEAD: &str = "Dead";
/// Groups and offsets that debug builds look through after every step.
const CHECKED_MAX: usize = 256;
/// "Keep the offsets as long as the broker says."
const DEFAULT_RETENTION: i64 = -1;

/// All groups of one partition.
#[derive(Debug)]
pub struct Groups {
    settings: Arc<Settings>,
    groups: HashMap<Arc<str>, ClassicGroup>,
    offsets: Offsets,
    timers: Timers,
    /// Records so far: the place of the next one.
    order: u64,
}

impl Groups {
    /// None yet.
    pub fn new(settings: Arc<Settings>) -> Groups {
        Groups {
            settings,
            groups: HashMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            order: 0,
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

    /// A group.
    pub fn group(&self, id: &str) -> Option<&ClassicGroup> {
        self.groups.get(id)
    }

    /// What is armed.
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// A record was read back, written by a producer in a transaction if one is named.
    pub fn replay(&mut self, record: &GroupRecord, producer: Option<i64>) {
        match (&record.key, &record.value) {
            (OffsetsKey::GroupMetadata { group }, Some(GroupValue::Classic(value))) => {
                let id: Arc<str> = group.as_str().into();
                let group = ClassicGroup::from_value(id.clone(), value.clone());
                self.groups.insert(id, group);
            }
            (OffsetsKey::GroupMetadata { group }, None) => {
                self.groups.remove(group.as_str());
            }
            _ => {}
        }
        self.apply(record, producer);
    }

    /// The only way offsets change: live, on replay and in tests.
    ///
    /// A classic group is the source of its record, not the other way round, so live there is
    /// nothing to do for it but to see it go.
    pub fn apply(&mut self, record: &GroupRecord, producer: Option<i64>) {
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
                    self.groups.insert(id, bare);
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
                self.groups.remove(group.as_str());
            }
            _ => {}
        }
        self.check();
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
            groups,
            timers,
            ..
        } = self;
        for group in groups.values_mut() {
            group.resume(&mut Turn {
                now,
                settings,
                timers,
                step,
            });
        }
        self.check();
    }

    /// When something falls due by itself.
    pub fn next_ms(&self) -> Option<i64> {
        self.timers.next_ms()
    }

    /// Answers a question, or keeps its ticket until it can be answered.
    pub fn handle(&mut self, now: Now, ticket: Ticket, ask: Ask, step: &mut Step) {
        let reply = match ask {
            Ask::Join(join) => return self.join(now, ticket, join, step),
            Ask::Sync(sync) => return self.sync(now, ticket, sync, step),
            Ask::Heartbeat(heartbeat) => Reply::Code(self.heartbeat(now, &heartbeat, step)),
            Ask::Leave(leave) => Reply::Leave(self.leave(now, leave, step)),
            Ask::Commit(commit) => Reply::Partitions(self.commit(now, commit, step)),
            Ask::Fetch(fetch) => Reply::Fetch(self.fetch(&fetch)),
            Ask::DeleteOffsets(delete) => Reply::Partitions(self.delete_offsets(&delete, step)),
            Ask::Describe(group) => Reply::Describe(Box::new(self.describe(&group))),
            Ask::List(filter) => Reply::List(self.list(&filter)),
            Ask::Delete(group) => Reply::Code(self.delete(&group, step)),
            Ask::TopicsDeleted(names) => Reply::Forgotten(self.forget_topics(names, step)),
        };
        step.replies.push((ticket, reply));
        self.check();
    }

    /// Does what has fallen due.
    pub fn expire(&mut self, now: Now, step: &mut Step) {
        while let Some(timer) = self.timers.take_due(now.steady_ms) {
            let (Timer::Session { group, .. } | Timer::Join { group } | Timer::Sync { group }) =
                &timer;
            let Some((group, mut turn)) = self.turn(now, group, step) else {
                continue;
            };
            match &timer {
                Timer::Session { member, .. } => group.session_is_due(&mut turn, member),
                Timer::Join { .. } => group.join_is_due(&mut turn),
                Timer::Sync { .. } => group.sync_is_due(&mut turn),
            }
        }
        self.check();
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
            let is_new = group.generation() == 0 && records.len() == before && group.has_pending();
            if all && group.is_empty() && !is_new {
                records.push(GroupRecord::classic(id, None));
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
    ) -> Option<(&'a mut ClassicGroup, Turn<'a>)> {
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

    /// Makes a group that is not there yet.
    fn make(&mut self, now: Now, id: &str) -> &mut ClassicGroup {
        let id: Arc<str> = id.into();
        let fresh = || ClassicGroup::new(id.clone(), now);
        self.groups.entry(id.clone()).or_insert_with(fresh)
    }

    fn join(&mut self, now: Now, ticket: Ticket, join: Join, step: &mut Step) {
        let session_ms = i64::from(join.session_timeout_ms);
        let refusal = if join.group.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if session_ms < self.settings.session_timeout_min_ms
            || session_ms > self.settings.session_timeout_max_ms
        {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if !join.member_id.is_empty() && !self.groups.contains_key(join.group.as_str()) {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(code) = refusal {
            let joined = Joined::error(code, join.member_id);
            step.replies.push((ticket, Reply::Join(joined)));
            return;
        }
        if !self.groups.contains_key(join.group.as_str()) {
            // That the group exists is written before anything becomes of it.
            let value = self.make(now, &join.group).to_value();
            let record = GroupRecord::classic(&join.group, Some(value));
            step.records.push(record);
        }
        let id = join.group.clone();
        if let Some((group, mut turn)) = self.turn(now, &id, step) {
            group.join(&mut turn, ticket, join);
        }
        self.check();
    }

    fn sync(&mut self, now: Now, ticket: Ticket, sync: Sync, step: &mut Step) {
        let known = self.groups.get(sync.group.as_str());
        let refusal = if sync.group.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if known.is_none_or(ClassicGroup::is_empty) {
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
        if let Some((group, mut turn)) = self.turn(now, &id, step) {
            group.sync(&mut turn, ticket, sync);
        }
        self.check();
    }

    fn heartbeat(&mut self, now: Now, heartbeat: &Heartbeat, step: &mut Step) -> ErrorCode {
        if heartbeat.group.is_empty() {
            return ErrorCode::InvalidGroupId;
        }
        match self.turn(now, &heartbeat.group, step) {
            Some((group, mut turn)) => group.heartbeat(&mut turn, heartbeat),
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
            Some((group, mut turn)) => group.leave(&mut turn, leave),
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

    fn commit(&mut self, now: Now, commit: Commit, step: &mut Step) -> PartitionCodes {
        match self.turn(now, &commit.group, step) {
            Some((group, mut turn)) => {
                if let Err(code) = group.check_commit(&commit, false) {
                    return PartitionCodes::error(code);
                }
                group.note_commit(&mut turn, &commit.member_id);
            }
            None if commit.generation < 0 => {
                // Whoever commits manages these offsets alone; the group comes with them.
            }
            None if commit.knows_member_epochs => {
                return PartitionCodes::error(ErrorCode::GroupIdNotFound);
            }
            None => return PartitionCodes::error(ErrorCode::IllegalGeneration),
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

    fn fetch(&self, fetch: &FetchOffsets) -> Result<Vec<FetchedTopic>, ErrorCode> {
        let wanted = fetch.topics.as_deref();
        if !self.groups.contains_key(fetch.group.as_str()) {
            // No group, no offsets, and no error.
            return Ok(Offsets::default().fetch(&fetch.group, wanted, false));
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
        if let Err(code) = group.check_offset_delete() {
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
        match self.groups.get(group) {
            Some(known) => known.describe(),
            None => Described {
                error_code: ErrorCode::GroupIdNotFound,
                error_message: Some(format!("Group {group} not found.")),
                state: DEAD,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            },
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
            state: group.state().name(),
            kind: "classic",
        });
        all.filter(|listed| {
            passes(&filter.states, listed.state) && passes(&filter.types, listed.kind)
        })
        .collect()
    }

    fn delete(&self, group: &str, step: &mut Step) -> ErrorCode {
        match self.groups.get(group) {
            None => return ErrorCode::GroupIdNotFound,
            Some(known) if !known.is_empty() => return ErrorCode::NonEmptyGroup,
            Some(_) => {}
        }
        for (topic, partition) in self.offsets.partitions(group) {
            let record = GroupRecord::offset(group, &topic, partition, None);
            step.records.push(record);
        }
        step.records.push(GroupRecord::classic(group, None));
        ErrorCode::None
    }

    fn forget_topics(&self, names: Vec<String>, step: &mut Step) -> usize {
        let names: BTreeSet<String> = names.into_iter().collect();
        let forgotten = self.offsets.of_topics(&names);
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
        for group in self.groups.values() {
            group.check_invariants();
        }
    }
}

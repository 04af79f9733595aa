//! A group of KIP-848: the broker says who reads what, members follow at their own pace.
//!
//! | Epoch | Grows when | Says |
//! |---|---|---|
//! | group | members, subscriptions or topics change | a new assignment is called for |
//! | target | an assignor has made one | what everybody shall have |
//! | member | a member has given up what it must and takes what it may | how far it has followed |
//!
//! A partition that moves is first given up by whom it is taken from, who says so in a heartbeat,
//! and only then given to whom it goes: nobody else waits.
//!
//! | File | Holds |
//! |---|---|
//! | `mod` | the group as its records make it |
//! | `heartbeat` | what a heartbeat leads to, leaving, silence |
//! | `reconcile` | a member's next step towards its target |
//! | `assignor` | `uniform` and `range` |
//! | `pattern`, `re2` | subscriptions by expression, and their language |
//! | `classic_members` | members that still speak the classic protocol, and the change between the two |
//!
//! All of it changes by [`ConsumerGroup::apply`] alone, live and on replay.

pub mod assignor;
mod classic_members;
mod heartbeat;
pub mod pattern;
mod re2;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::messages::coordinator::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
    CurrentTopicPartitions, TargetTopicPartitions,
};
use reka_protocol::messages::coordinator::key::OffsetsKey;
use reka_raft::MetadataImage;
use uuid::Uuid;

pub use self::assignor::{Assignor, Partitions};
pub use self::heartbeat::Beaten;
pub use self::pattern::{Matched, Pattern};
use super::ask::{Beat, Commit, ConsumerDescribed, ConsumerDescribedMember, TopicAssignment};
use super::record::{GroupRecord, GroupValue};
use super::{listing_order, memory};

/// The epoch of a static member that went and means to come back.
const STATIC_LEAVE_EPOCH: i32 = -2;

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it shall have, of the target it has followed.
    Stable,
    /// It has partitions it must give up first.
    UnrevokedPartitions,
    /// It waits for partitions others have not given up.
    UnreleasedPartitions,
}

impl MemberState {
    const fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
        }
    }

    /// A state of a newer broker is taken for stable: the member is reconciled afresh.
    const fn from_number(number: i8) -> MemberState {
        match number {
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Stable,
        }
    }
}

/// What a member has: by topic and partition, the epoch in which it came (KIP-1251).
pub type Held = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// As it described itself.
    pub about: ConsumerGroupMemberMetadataValue,
    /// The epoch expected in its next heartbeat.
    pub epoch: i32,
    /// The one before, accepted too: the answer with the new one may have been lost.
    pub previous_epoch: i32,
    /// Where it stands.
    pub state: MemberState,
    /// What it has.
    pub assigned: Held,
    /// What it is asked to give up.
    pub revoking: Held,
}

impl Member {
    fn new() -> Member {
        Member {
            about: ConsumerGroupMemberMetadataValue {
                instance_id: None,
                rack_id: None,
                client_id: String::new(),
                client_host: String::new(),
                subscribed_topic_names: Vec::new(),
                subscribed_topic_regex: None,
                rebalance_timeout_ms: -1,
                server_assignor: None,
                classic_member_metadata: None,
            },
            epoch: 0,
            previous_epoch: 0,
            state: MemberState::Stable,
            assigned: Held::new(),
            revoking: Held::new(),
        }
    }

    fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    fn holds(&self) -> impl Iterator<Item = (Uuid, i32)> {
        held_pairs(&self.assigned).chain(held_pairs(&self.revoking))
    }
}

/// About what a member that describes itself like this takes in memory, beside its partitions.
pub(super) fn described_bytes(beat: &Beat) -> usize {
    let names = beat.topics.iter().flatten();
    let names = names.map(|name| name.len() + size_of::<String>());
    let pattern = beat.pattern.as_ref().map_or(0, String::len);
    memory::MEMBER + names.sum::<usize>() + pattern
}

/// About what a member takes in memory, beside its partitions.
fn member_bytes(about: &ConsumerGroupMemberMetadataValue) -> usize {
    let names = about.subscribed_topic_names.iter().map(String::len);
    let pattern = about.subscribed_topic_regex.as_ref().map_or(0, String::len);
    let classic = about.classic_member_metadata.iter();
    let offers = classic.flat_map(|classic| &classic.supported_protocols);
    let offers = offers.map(|offer| offer.name.len() + offer.metadata.0.len());
    let texts = about.subscribed_topic_names.len() * size_of::<String>();
    memory::MEMBER + names.sum::<usize>() + texts + pattern + offers.sum::<usize>()
}

fn target_bytes(target: &Partitions) -> usize {
    let partitions = target.values().map(BTreeSet::len);
    partitions.sum::<usize>() * memory::PARTITION
}

fn pattern_bytes(pattern: &str, resolved: &Resolved) -> usize {
    let topics = resolved
        .topics
        .iter()
        .map(|topic| topic.len() + size_of::<String>());
    pattern.len() + topics.sum::<usize>()
}

/// One by one.
pub fn held_pairs(held: &Held) -> impl Iterator<Item = (Uuid, i32)> {
    held.iter()
        .flat_map(|(topic, indexes)| indexes.keys().map(move |index| (*topic, *index)))
}

/// What an expression stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The topics it matched.
    pub topics: BTreeSet<String>,
    /// The metadata it was matched against.
    pub version: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    id: Arc<str>,
    epoch: i32,
    metadata_hash: i64,
    target_epoch: i32,
    /// When the target was made, in milliseconds since 1970; 0 if nobody knows.
    target_at_ms: i64,
    members: BTreeMap<Arc<str>, Member>,
    targets: BTreeMap<Arc<str>, Partitions>,
    static_members: HashMap<String, Arc<str>>,
    /// Who has a partition, assigned or to be given up.
    owners: BTreeMap<Uuid, BTreeMap<i32, Arc<str>>>,
    patterns: BTreeMap<String, Resolved>,
    /// A record of an older broker that has to go with the next change.
    has_old_topics: bool,
    /// The metadata the subscribed topics were last compared with. Not written.
    seen: u64,
    /// The metadata expressions were last matched against, and when. Not written.
    patterns_seen: u64,
    patterns_at_ms: Option<i64>,
    /// When the group epoch last grew, and why; for the log. Not written.
    rebalance: Option<(i64, String, String)>,
    /// About what members, their partitions and expressions take in memory.
    bytes: usize,
}

/// Epoch of a group nobody has joined, and of the empty assignment it has. Not 0, which is a
/// member's that joins (KAFKA-20268).
const EPOCH_INITIAL: i32 = 1;

impl ConsumerGroup {
    /// A group nobody is in.
    pub fn new(id: Arc<str>) -> ConsumerGroup {
        ConsumerGroup {
            id,
            epoch: EPOCH_INITIAL,
            metadata_hash: 0,
            target_epoch: EPOCH_INITIAL,
            target_at_ms: 0,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            static_members: HashMap::new(),
            owners: BTreeMap::new(),
            patterns: BTreeMap::new(),
            has_old_topics: false,
            seen: 0,
            patterns_seen: 0,
            patterns_at_ms: None,
            rebalance: None,
            bytes: 0,
        }
    }

    /// Members in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// About what members, their partitions and expressions take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// By how much that would grow if a member joined that describes itself like this.
    pub fn growth(&self, beat: &Beat) -> usize {
        let place = beat.instance_id.as_ref();
        let holder = place.and_then(|instance| self.static_members.get(instance));
        let id = holder.map_or(beat.member_id.as_str(), |id| id);
        let known = self.members.get(id);
        described_bytes(beat).saturating_sub(known.map_or(0, |known| member_bytes(&known.about)))
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Its epoch.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The epoch of its target assignment.
    pub fn target_epoch(&self) -> i32 {
        self.target_epoch
    }

    /// A member.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Member)> {
        self.members.iter()
    }

    /// What a member shall have.
    pub fn target(&self, id: &str) -> Option<&Partitions> {
        self.targets.get(id)
    }

    /// Kafka's name of the state.
    pub fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self
            .members
            .values()
            .all(|member| member.is_reconciled_to(self.target_epoch))
        {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Topics a member reads: those it named and those its expression stands for.
    fn topics_of<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a str> {
        let named = member.about.subscribed_topic_names.iter();
        let pattern = member.about.subscribed_topic_regex.as_ref();
        let matched = pattern.and_then(|pattern| self.patterns.get(pattern));
        let matched = matched.into_iter().flat_map(|resolved| &resolved.topics);
        named.chain(matched).map(String::as_str)
    }

    /// Whether a member reads the topic.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members
            .values()
            .any(|member| self.topics_of(member).any(|name| name == topic))
    }

    /// May these offsets be committed?
    pub fn check_commit(
        &self,
        commit: &Commit,
        in_transaction: bool,
        image: &MetadataImage,
    ) -> Result<(), ErrorCode> {
        if commit.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self
            .members
            .get(commit.member_id.as_str())
            .ok_or(ErrorCode::UnknownMemberId)?;
        let classic = member.about.classic_member_metadata.is_some();
        if classic {
            return match commit.generation == member.epoch {
                true => Ok(()),
                false => Err(ErrorCode::IllegalGeneration),
            };
        }
        if !in_transaction && !commit.knows_member_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if commit.generation == member.epoch {
            return Ok(());
        }
        // A member that has not heard of its new epoch yet may still commit what it has had since
        // before the epoch it knows (KIP-1251).
        let had = |topic: Uuid, index: i32| {
            let came = member
                .assigned
                .get(&topic)
                .and_then(|held| held.get(&index));
            came.is_some_and(|came| *came <= commit.generation)
        };
        let all_had = commit.topics.iter().all(|topic| {
            let id = image.topics().get(&topic.name).map(|topic| topic.id());
            let mut partitions = topic.partitions.iter();
            id.is_some_and(|id| partitions.all(|partition| had(id, partition.index)))
        });
        match commit.generation > 0 && commit.generation < member.epoch && all_had {
            true => Ok(()),
            false => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    /// May a member be told offsets?
    pub fn check_fetch(&self, member: Option<(&str, i32)>) -> Result<(), ErrorCode> {
        let Some((id, epoch)) = member else {
            return Ok(());
        };
        let member = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch == epoch {
            return Ok(());
        }
        match member.about.classic_member_metadata.is_some() {
            true => Err(ErrorCode::IllegalGeneration),
            false => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    /// The records that end it.
    pub fn tombstones(&self) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        for id in self.members.keys() {
            records.extend(self.member_tombstones(id));
        }
        for pattern in self.patterns.keys() {
            records.push(self.pattern_record(pattern, None));
        }
        records.push(self.record(
            OffsetsKey::ConsumerGroupTargetAssignmentMetadata {
                group_id: self.id.to_string(),
            },
            None,
        ));
        if self.has_old_topics {
            records.push(self.old_topics_tombstone());
        }
        records.push(self.epoch_record(None));
        records
    }

    /// As ConsumerGroupDescribe shows it.
    pub fn describe(&self, default_assignor: &str, image: &MetadataImage) -> ConsumerDescribed {
        let named = |pairs: BTreeMap<Uuid, Vec<i32>>| {
            let topics = pairs.into_iter().filter_map(|(id, partitions)| {
                // A topic that is gone has no name any more.
                let name = image.topics().by_id(id)?.name().to_owned();
                Some(TopicAssignment {
                    id,
                    name,
                    partitions,
                })
            });
            topics.collect::<Vec<_>>()
        };
        // What a member is asked to give up it still has.
        let held = |member: &Member| {
            let mut held: BTreeMap<Uuid, BTreeSet<i32>> = BTreeMap::new();
            for (topic, index) in member.holds() {
                held.entry(topic).or_default().insert(index);
            }
            let topics = held.into_iter();
            topics
                .map(|(topic, indexes)| (topic, indexes.into_iter().collect()))
                .collect::<BTreeMap<_, _>>()
        };
        let target = |id: &Arc<str>| {
            let target = self.targets.get(id).into_iter().flatten();
            target
                .map(|(id, indexes)| (*id, indexes.iter().copied().collect()))
                .collect::<BTreeMap<_, _>>()
        };
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_cached_key(|(id, _)| listing_order(id));
        ConsumerDescribed {
            error_code: ErrorCode::None,
            error_message: None,
            state: self.state(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: self
                .preferred_assignor(None)
                .unwrap_or_else(|| default_assignor.to_owned()),
            members: members
                .into_iter()
                .map(|(id, member)| ConsumerDescribedMember {
                    member_id: id.to_string(),
                    about: member.about.clone(),
                    epoch: member.epoch,
                    assigned: named(held(member)),
                    target: named(target(id)),
                })
                .collect(),
        }
    }

    /// The assignor most members want, with `updated` as it is about to be.
    fn preferred_assignor(&self, updated: Option<(&Arc<str>, &Member)>) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let others = self
            .members
            .iter()
            .filter(|(id, _)| updated.is_none_or(|(updated, _)| *id != updated));
        for (_, member) in others.chain(updated) {
            if let Some(name) = &member.about.server_assignor {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name.to_owned())
    }

    /// Changes the group by one of its records; true unless the record ends it.
    pub fn apply(&mut self, record: &GroupRecord) -> bool {
        match (&record.key, &record.value) {
            (OffsetsKey::ConsumerGroupMetadata { .. }, Some(GroupValue::Epoch(value))) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            (OffsetsKey::ConsumerGroupMetadata { .. }, None) => return false,
            (OffsetsKey::ConsumerGroupPartitionMetadata { .. }, value) => {
                self.has_old_topics = value.is_some();
            }
            (
                OffsetsKey::ConsumerGroupMemberMetadata { member_id, .. },
                Some(GroupValue::Member(value)),
            ) => self.apply_member(member_id, value),
            (OffsetsKey::ConsumerGroupMemberMetadata { member_id, .. }, None) => {
                self.remove_member(member_id);
            }
            (
                OffsetsKey::ConsumerGroupTargetAssignmentMetadata { .. },
                Some(GroupValue::TargetEpoch(value)),
            ) => {
                self.target_epoch = value.assignment_epoch;
                self.target_at_ms = value.assignment_timestamp;
            }
            (OffsetsKey::ConsumerGroupTargetAssignmentMetadata { .. }, None) => {
                self.target_epoch = 0;
                self.target_at_ms = 0;
            }
            (
                OffsetsKey::ConsumerGroupTargetAssignmentMember { member_id, .. },
                Some(GroupValue::Target(value)),
            ) => {
                let target = value.topic_partitions.iter().map(|topic| {
                    let indexes: BTreeSet<i32> = topic.partitions.iter().copied().collect();
                    (topic.topic_id, indexes)
                });
                let target: Partitions = target.collect();
                self.bytes += target_bytes(&target);
                let before = self.targets.insert(member_id.as_str().into(), target);
                self.bytes -= before.as_ref().map_or(0, target_bytes);
            }
            (OffsetsKey::ConsumerGroupTargetAssignmentMember { member_id, .. }, None) => {
                let before = self.targets.remove(member_id.as_str());
                self.bytes -= before.as_ref().map_or(0, target_bytes);
            }
            (
                OffsetsKey::ConsumerGroupCurrentMemberAssignment { member_id, .. },
                Some(GroupValue::Current(value)),
            ) => self.apply_current(member_id, value),
            (OffsetsKey::ConsumerGroupCurrentMemberAssignment { member_id, .. }, None) => {
                // The member stays until its own tombstone, with nothing.
                self.disown(member_id);
                if let Some(member) = self.members.get_mut(member_id.as_str()) {
                    member.assigned.clear();
                    member.revoking.clear();
                    member.epoch = 0;
                    member.previous_epoch = 0;
                    member.state = MemberState::Stable;
                }
            }
            (
                OffsetsKey::ConsumerGroupRegularExpression {
                    regular_expression, ..
                },
                Some(GroupValue::Pattern(value)),
            ) => {
                let resolved = Resolved {
                    topics: value.topics.iter().cloned().collect(),
                    version: value.version_seen,
                    at_ms: value.timestamp,
                };
                self.bytes += pattern_bytes(regular_expression, &resolved);
                let before = self.patterns.insert(regular_expression.clone(), resolved);
                self.bytes -= before.map_or(0, |before| pattern_bytes(regular_expression, &before));
            }
            (
                OffsetsKey::ConsumerGroupRegularExpression {
                    regular_expression, ..
                },
                None,
            ) => {
                let before = self.patterns.remove(regular_expression);
                self.bytes -= before.map_or(0, |before| pattern_bytes(regular_expression, &before));
            }
            _ => {}
        }
        true
    }

    fn apply_member(&mut self, member_id: &str, value: &ConsumerGroupMemberMetadataValue) {
        let id: Arc<str> = member_id.into();
        if let Some(instance) = &value.instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        let known = self.members.get(&id);
        self.bytes -= known.map_or(0, |known| member_bytes(&known.about));
        let member = self.members.entry(id).or_insert_with(Member::new);
        member.about = value.clone();
        self.bytes += member_bytes(&member.about);
    }

    fn remove_member(&mut self, member_id: &str) {
        self.disown(member_id);
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        self.bytes -= member_bytes(&member.about);
        if let Some(instance) = &member.about.instance_id
            && self.static_members.get(instance).map(|id| &**id) == Some(member_id)
        {
            self.static_members.remove(instance);
        }
    }

    fn apply_current(
        &mut self,
        member_id: &str,
        value: &ConsumerGroupCurrentMemberAssignmentValue,
    ) {
        self.disown(member_id);
        let id: Arc<str> = member_id.into();
        if !self.members.contains_key(&id) {
            let member = Member::new();
            self.bytes += member_bytes(&member.about);
            self.members.insert(id.clone(), member);
        }
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.epoch = value.member_epoch;
        member.previous_epoch = value.previous_member_epoch;
        member.state = MemberState::from_number(value.state);
        member.assigned = read_held(&value.assigned_partitions, value.member_epoch);
        member.revoking = read_held(&value.partitions_pending_revocation, value.member_epoch);
        for (topic, index) in member.holds().collect::<Vec<_>>() {
            let owners = self.owners.entry(topic).or_default();
            owners.insert(index, id.clone());
        }
    }

    /// Nothing is this member's any more.
    fn disown(&mut self, member_id: &str) {
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        for (topic, index) in member.holds() {
            if let Some(owners) = self.owners.get_mut(&topic) {
                if owners.get(&index).map(|id| &**id) == Some(member_id) {
                    owners.remove(&index);
                }
                if owners.is_empty() {
                    self.owners.remove(&topic);
                }
            }
        }
    }

    fn owner(&self, topic: Uuid, index: i32) -> Option<&Arc<str>> {
        self.owners.get(&topic)?.get(&index)
    }

    fn record(&self, key: OffsetsKey, value: Option<GroupValue>) -> GroupRecord {
        GroupRecord::new(key, value)
    }

    fn epoch_record(&self, value: Option<(i32, i64)>) -> GroupRecord {
        let key = OffsetsKey::ConsumerGroupMetadata {
            group_id: self.id.to_string(),
        };
        let value = value.map(|(epoch, metadata_hash)| {
            GroupValue::Epoch(ConsumerGroupMetadataValue {
                epoch,
                metadata_hash,
            })
        });
        self.record(key, value)
    }

    fn old_topics_tombstone(&self) -> GroupRecord {
        let key = OffsetsKey::ConsumerGroupPartitionMetadata {
            group_id: self.id.to_string(),
        };
        self.record(key, None)
    }

    fn member_record(
        &self,
        id: &str,
        about: Option<&ConsumerGroupMemberMetadataValue>,
    ) -> GroupRecord {
        let key = OffsetsKey::ConsumerGroupMemberMetadata {
            group_id: self.id.to_string(),
            member_id: id.to_owned(),
        };
        let value = about.map(|about| GroupValue::Member(Box::new(about.clone())));
        self.record(key, value)
    }

    fn target_record(&self, id: &str, target: Option<&Partitions>) -> GroupRecord {
        let key = OffsetsKey::ConsumerGroupTargetAssignmentMember {
            group_id: self.id.to_string(),
            member_id: id.to_owned(),
        };
        let value = target.map(|target| {
            let topics = target
                .iter()
                .map(|(topic_id, indexes)| TargetTopicPartitions {
                    topic_id: *topic_id,
                    partitions: indexes.iter().copied().collect(),
                });
            GroupValue::Target(ConsumerGroupTargetAssignmentMemberValue {
                topic_partitions: topics.collect(),
            })
        });
        self.record(key, value)
    }

    fn target_epoch_record(&self, assignment_epoch: i32, at_ms: i64) -> GroupRecord {
        let key = OffsetsKey::ConsumerGroupTargetAssignmentMetadata {
            group_id: self.id.to_string(),
        };
        let value = GroupValue::TargetEpoch(ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch,
            assignment_timestamp: at_ms,
        });
        self.record(key, Some(value))
    }

    fn current_record(&self, id: &str, member: Option<&Member>) -> GroupRecord {
        let key = OffsetsKey::ConsumerGroupCurrentMemberAssignment {
            group_id: self.id.to_string(),
            member_id: id.to_owned(),
        };
        let value = member.map(|member| {
            GroupValue::Current(ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: member.epoch,
                previous_member_epoch: member.previous_epoch,
                state: member.state.number(),
                assigned_partitions: write_held(&member.assigned, member.epoch),
                partitions_pending_revocation: write_held(&member.revoking, member.epoch),
            })
        });
        self.record(key, value)
    }

    fn pattern_record(&self, pattern: &str, resolved: Option<&Resolved>) -> GroupRecord {
        let key = OffsetsKey::ConsumerGroupRegularExpression {
            group_id: self.id.to_string(),
            regular_expression: pattern.to_owned(),
        };
        let value = resolved.map(|resolved| {
            GroupValue::Pattern(ConsumerGroupRegularExpressionValue {
                topics: resolved.topics.iter().cloned().collect(),
                version_seen: resolved.version,
                timestamp: resolved.at_ms,
            })
        });
        self.record(key, value)
    }

    fn member_tombstones(&self, id: &str) -> [GroupRecord; 3] {
        [
            self.current_record(id, None),
            self.target_record(id, None),
            self.member_record(id, None),
        ]
    }

    /// Panics on what only a bug can bring about.
    pub fn check_invariants(&self) {
        let id = &self.id;
        let members = self.members.values();
        let members = members.map(|member| member_bytes(&member.about));
        let targets = self.targets.values().map(target_bytes);
        let patterns = self.patterns.iter();
        let patterns = patterns.map(|(pattern, resolved)| pattern_bytes(pattern, resolved));
        let bytes = members.chain(targets).chain(patterns).sum::<usize>();
        assert_eq!(bytes, self.bytes, "{id}: memory of members");
        let mut owners: BTreeMap<Uuid, BTreeMap<i32, Arc<str>>> = BTreeMap::new();
        for (member_id, member) in &self.members {
            for (topic, index) in member.holds() {
                let before = owners
                    .entry(topic)
                    .or_default()
                    .insert(index, member_id.clone());
                assert!(
                    before.is_none(),
                    "{id}: {topic}-{index} is {before:?}'s and {member_id}'s"
                );
            }
            assert!(
                member.epoch <= self.target_epoch,
                "{id}: {member_id} is ahead of the target"
            );
            assert_eq!(
                member.state == MemberState::UnrevokedPartitions,
                !member.revoking.is_empty(),
                "{id}: what {member_id} gives up"
            );
        }
        assert_eq!(owners, self.owners, "{id}: owners");
        assert!(
            self.target_epoch <= self.epoch,
            "{id}: the target is ahead of the group"
        );
        for (instance, member) in &self.static_members {
            let known = self.members.get(member);
            assert_eq!(
                known.and_then(|member| member.about.instance_id.as_ref()),
                Some(instance),
                "{id}: static member {instance}"
            );
        }
        let mut given = BTreeSet::new();
        for (member, target) in &self.targets {
            assert!(
                self.members.contains_key(member),
                "{id}: a target of a stranger"
            );
            for partition in assignor::pairs(target) {
                assert!(
                    given.insert(partition),
                    "{id}: {partition:?} is meant for two"
                );
            }
        }
        for pattern in self.patterns.keys() {
            let read = self
                .members
                .values()
                .any(|member| member.about.subscribed_topic_regex.as_ref() == Some(pattern));
            assert!(read, "{id}: nobody subscribes by {pattern}");
        }
    }
}

/// An expression of the group in a record, with what it stands for.
fn as_pattern<'a>(
    record: &'a GroupRecord,
    group: &str,
) -> Option<(&'a str, Option<BTreeSet<String>>)> {
    let OffsetsKey::ConsumerGroupRegularExpression {
        group_id,
        regular_expression,
    } = &record.key
    else {
        return None;
    };
    let topics = match &record.value {
        Some(GroupValue::Pattern(value)) => Some(value.topics.iter().cloned().collect()),
        _ => None,
    };
    (group_id == group).then_some((regular_expression.as_str(), topics))
}

/// Without epochs, as older brokers wrote it, partitions came with the member's.
fn read_held(topics: &[CurrentTopicPartitions], member_epoch: i32) -> Held {
    let mut held = Held::new();
    for topic in topics {
        let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
        let mut epochs = epochs.iter().copied();
        let into = held.entry(topic.topic_id).or_default();
        for index in &topic.partitions {
            into.insert(*index, epochs.next().unwrap_or(member_epoch));
        }
    }
    held.retain(|_, indexes| !indexes.is_empty());
    held
}

/// Epochs are left out where all are the member's.
fn write_held(held: &Held, member_epoch: i32) -> Vec<CurrentTopicPartitions> {
    let topics = held
        .iter()
        .map(|(topic_id, indexes)| CurrentTopicPartitions {
            topic_id: *topic_id,
            partitions: indexes.keys().copied().collect(),
            assignment_epochs: indexes
                .values()
                .any(|epoch| *epoch != member_epoch)
                .then(|| indexes.values().copied().collect()),
        });
    topics.collect()
}

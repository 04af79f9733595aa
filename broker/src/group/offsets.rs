//! Committed offsets, and those that wait for the end of a transaction. Pure.
//!
//! An offset that is committed in a transaction counts once its commit marker is read; until then
//! it is kept by producer. Which of two commits of a partition is the later one is decided by their
//! order in the log, not by when the transaction ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::messages::coordinator::offset::OffsetCommitValue;
use uuid::Uuid;

use super::ask::{FetchedPartition, FetchedTopic, WantedTopic};
use super::memory;

/// No offset.
const NONE: i64 = -1;

/// What was committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// What the client wanted to remember.
    pub metadata: Box<str>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it expires whatever the group does, or -1.
    pub expires_ms: i64,
    /// Of which topic of that name it is; nil for any.
    pub topic_id: Uuid,
    /// Its place among all records of the partition.
    pub order: u64,
}

impl Committed {
    fn new(value: &OffsetCommitValue, order: u64) -> Committed {
        Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.as_str().into(),
            at_ms: value.commit_timestamp,
            expires_ms: value.expire_timestamp,
            topic_id: value.topic_id,
            order,
        }
    }

    fn bytes(&self) -> usize {
        offset_bytes(&self.metadata)
    }

    /// Whether it is of the topic with this id; nil stands for whichever has the name.
    fn is_of(&self, topic_id: Uuid) -> bool {
        self.topic_id.is_nil() || topic_id.is_nil() || self.topic_id == topic_id
    }
}

/// Offsets by topic and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Topics {
    by_name: HashMap<Arc<str>, BTreeMap<i32, Committed>>,
    /// About what they take in memory.
    bytes: usize,
}

impl Topics {
    fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.by_name.get(topic)?.get(&partition)
    }

    fn insert(&mut self, topic: &str, partition: i32, committed: Committed) -> Option<Committed> {
        self.bytes += committed.bytes();
        let before = match self.by_name.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, committed),
            None => {
                self.bytes += topic_bytes(topic);
                let first = BTreeMap::from([(partition, committed)]);
                self.by_name.insert(topic.into(), first);
                None
            }
        };
        self.bytes -= before.as_ref().map_or(0, Committed::bytes);
        before
    }

    fn remove(&mut self, topic: &str, partition: i32) -> Option<Committed> {
        let partitions = self.by_name.get_mut(topic)?;
        let removed = partitions.remove(&partition);
        self.bytes -= removed.as_ref().map_or(0, Committed::bytes);
        if partitions.is_empty() && self.by_name.remove(topic).is_some() {
            self.bytes -= topic_bytes(topic);
        }
        removed
    }

    fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Committed)> {
        self.by_name.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(move |(partition, committed)| (topic, *partition, committed))
        })
    }
}

/// What a topic with offsets takes beside them.
fn topic_bytes(topic: &str) -> usize {
    memory::TOPIC + topic.len()
}

fn offset_bytes(metadata: &str) -> usize {
    memory::OFFSET + metadata.len()
}

/// What an offset takes of a topic that has none yet.
pub(super) fn new_bytes(topic: &str, metadata: &str) -> usize {
    topic_bytes(topic) + offset_bytes(metadata)
}

/// The offsets of all groups of a partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    committed: HashMap<Arc<str>, Topics>,
    /// By producer, then group.
    pending: HashMap<i64, HashMap<Arc<str>, Topics>>,
    /// Producers with pending offsets, by group.
    open: HashMap<Arc<str>, BTreeSet<i64>>,
    count: usize,
    /// About what all of it takes in memory.
    bytes: usize,
}

impl Offsets {
    /// How many are committed.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is committed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// About what they take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// By how much that would grow with a commit.
    pub fn growth(&self, group: &str, topic: &str, partition: i32, metadata: &str) -> usize {
        let topics = self.committed.get(group);
        let known = topics.and_then(|topics| topics.get(topic, partition));
        let offset = offset_bytes(metadata);
        match known {
            Some(known) => offset.saturating_sub(known.bytes()),
            None if topics.is_some_and(|topics| topics.by_name.contains_key(topic)) => offset,
            None => new_bytes(topic, metadata),
        }
    }

    /// Groups with committed offsets.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.committed.keys()
    }

    /// What is committed for a partition.
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.committed.get(group)?.get(topic, partition)
    }

    /// Whether an open transaction has an offset for a partition.
    pub fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let Some(producers) = self.open.get(group) else {
            return false;
        };
        producers.iter().any(|producer| {
            self.pending
                .get(producer)
                .and_then(|groups| groups.get(group))
                .is_some_and(|topics| topics.get(topic, partition).is_some())
        })
    }

    /// Whether an open transaction has offsets of the group.
    pub fn has_open_transactions(&self, group: &str) -> bool {
        self.open.contains_key(group)
    }

    /// A commit was written, by a producer in a transaction if one is named.
    pub fn apply_commit(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        value: &OffsetCommitValue,
        producer: Option<i64>,
        order: u64,
    ) {
        let committed = Committed::new(value, order);
        match producer {
            None => self.put(group, topic, partition, committed),
            Some(producer) => {
                let groups = self.pending.entry(producer).or_default();
                if !groups.contains_key(group) {
                    groups.insert(group.into(), Topics::default());
                }
                if let Some(topics) = groups.get_mut(group) {
                    self.bytes -= topics.bytes;
                    topics.insert(topic, partition, committed);
                    self.bytes += topics.bytes;
                }
                match self.open.get_mut(group) {
                    Some(producers) => {
                        producers.insert(producer);
                    }
                    None => {
                        self.open.insert(group.into(), BTreeSet::from([producer]));
                    }
                }
            }
        }
    }

    fn put(&mut self, group: &str, topic: &str, partition: i32, committed: Committed) {
        if !self.committed.contains_key(group) {
            self.committed.insert(group.into(), Topics::default());
        }
        if let Some(topics) = self.committed.get_mut(group) {
            self.bytes -= topics.bytes;
            let before = topics.insert(topic, partition, committed);
            self.bytes += topics.bytes;
            self.count += usize::from(before.is_none());
        }
    }

    /// A tombstone was written: committed and pending offsets of the partition are gone.
    pub fn apply_tombstone(&mut self, group: &str, topic: &str, partition: i32) {
        if let Some(topics) = self.committed.get_mut(group) {
            self.bytes -= topics.bytes;
            if topics.remove(topic, partition).is_some() {
                self.count -= 1;
            }
            self.bytes += topics.bytes;
            if topics.is_empty() {
                self.committed.remove(group);
            }
        }
        for producer in self.open.get(group).into_iter().flatten() {
            let topics = self
                .pending
                .get_mut(producer)
                .and_then(|groups| groups.get_mut(group));
            if let Some(topics) = topics {
                self.bytes -= topics.bytes;
                topics.remove(topic, partition);
                self.bytes += topics.bytes;
            }
        }
    }

    /// A transaction ended: its offsets count, or never did.
    pub fn apply_marker(&mut self, producer: i64, commits: bool) {
        let Some(groups) = self.pending.remove(&producer) else {
            return;
        };
        for (group, topics) in groups {
            self.bytes -= topics.bytes;
            if let Some(producers) = self.open.get_mut(&group) {
                producers.remove(&producer);
                if producers.is_empty() {
                    self.open.remove(&group);
                }
            }
            if !commits {
                continue;
            }
            for (topic, partitions) in topics.by_name {
                for (partition, committed) in partitions {
                    let later = self
                        .get(&group, &topic, partition)
                        .is_none_or(|known| known.order < committed.order);
                    if later {
                        self.put(&group, &topic, partition, committed);
                    }
                }
            }
        }
    }

    /// What the group is told: everything, or about the partitions it asks for.
    pub fn fetch(
        &self,
        group: &str,
        wanted: Option<&[WantedTopic]>,
        require_stable: bool,
    ) -> Vec<FetchedTopic> {
        let answer = |topic: &str, index, committed: Option<&Committed>| {
            let unstable = require_stable && self.is_pending(group, topic, index);
            match committed.filter(|_| !unstable) {
                Some(committed) => FetchedPartition {
                    index,
                    offset: committed.offset,
                    leader_epoch: committed.leader_epoch,
                    metadata: committed.metadata.to_string(),
                    error_code: ErrorCode::None,
                },
                None => FetchedPartition {
                    index,
                    offset: NONE,
                    leader_epoch: -1,
                    metadata: String::new(),
                    error_code: match unstable {
                        true => ErrorCode::UnstableOffsetCommit,
                        false => ErrorCode::None,
                    },
                },
            }
        };
        match wanted {
            Some(wanted) => wanted
                .iter()
                .map(|topic| FetchedTopic {
                    name: topic.name.clone(),
                    id: topic.id,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|index| {
                            let committed = self.get(group, &topic.name, *index);
                            let of_topic = committed.filter(|known| known.is_of(topic.id));
                            answer(&topic.name, *index, of_topic)
                        })
                        .collect(),
                })
                .collect(),
            None => {
                let topics = self.committed.get(group).map(|topics| &topics.by_name);
                topics
                    .into_iter()
                    .flatten()
                    .map(|(name, partitions)| FetchedTopic {
                        name: name.to_string(),
                        id: Uuid::nil(),
                        partitions: partitions
                            .iter()
                            .map(|(index, committed)| answer(name, *index, Some(committed)))
                            .collect(),
                    })
                    .collect()
            }
        }
    }

    /// All partitions the group has an offset for, committed or pending.
    pub fn partitions(&self, group: &str) -> BTreeSet<(Arc<str>, i32)> {
        let committed = self.committed.get(group).into_iter();
        let pending = self.open.get(group).into_iter().flatten();
        let pending = pending.filter_map(|producer| self.pending.get(producer)?.get(group));
        committed
            .chain(pending)
            .flat_map(Topics::iter)
            .map(|(topic, partition, _)| (topic.clone(), partition))
            .collect()
    }

    /// Committed offsets of a group.
    pub fn committed(&self, group: &str) -> impl Iterator<Item = (&Arc<str>, i32, &Committed)> {
        self.committed.get(group).into_iter().flat_map(Topics::iter)
    }

    /// Offsets of these topics, committed or pending, of all groups. Those of a later topic of the
    /// same name are not among them.
    pub fn of_topics(
        &self,
        topics: &BTreeSet<(String, Uuid)>,
    ) -> BTreeSet<(Arc<str>, Arc<str>, i32)> {
        let ids: BTreeMap<&str, Uuid> = topics.iter().map(|(name, id)| (&**name, *id)).collect();
        let pending = self.pending.values().flatten();
        self.committed
            .iter()
            .chain(pending)
            .flat_map(|(group, topics)| {
                topics
                    .iter()
                    .filter(|(topic, _, committed)| {
                        let id = ids.get(&***topic);
                        id.is_some_and(|id| committed.is_of(*id))
                    })
                    .map(|(topic, partition, _)| (group.clone(), topic.clone(), partition))
            })
            .collect()
    }

    /// Panics on what only a bug can bring about.
    pub fn check_invariants(&self) {
        let count: usize = self
            .committed
            .values()
            .map(|topics| topics.iter().count())
            .sum();
        assert_eq!(count, self.count, "offsets are counted");
        let pending = self.pending.values().flat_map(HashMap::values);
        let all = self.committed.values().chain(pending);
        let bytes = |topics: &Topics| {
            let names = topics.by_name.keys().map(|name| topic_bytes(name));
            let offsets = topics.iter().map(|(_, _, committed)| committed.bytes());
            names.sum::<usize>() + offsets.sum::<usize>()
        };
        let bytes: usize = all.map(bytes).sum();
        assert_eq!(bytes, self.bytes, "memory of offsets is counted");
        for (group, topics) in &self.committed {
            assert!(!topics.is_empty(), "{group} is kept without an offset");
            assert!(
                topics
                    .by_name
                    .values()
                    .all(|partitions| !partitions.is_empty()),
                "{group} keeps a topic without an offset"
            );
        }
        for (group, producers) in &self.open {
            assert!(!producers.is_empty(), "{group} has no open transaction");
            for producer in producers {
                assert!(
                    self.pending
                        .get(producer)
                        .is_some_and(|groups| groups.contains_key(group)),
                    "producer {producer} is open for {group} without its offsets"
                );
            }
        }
        for (producer, groups) in &self.pending {
            for group in groups.keys() {
                assert!(
                    self.open
                        .get(group)
                        .is_some_and(|producers| producers.contains(producer)),
                    "offsets of producer {producer} for {group} are not known as open"
                );
            }
        }
    }
}

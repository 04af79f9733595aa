//! The partitions on this broker, by topic and number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
#[cfg(test)]
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, PoisonError, RwLock};

use reka_protocol::ErrorCode;

use super::Partition;

type Topics = HashMap<String, Vec<Option<Arc<Partition>>>, Hashing>;

/// Names come from outside, so nobody is to know which of them are alike.
#[cfg(not(test))]
type Hashing = std::hash::RandomState;
/// In a simulation they come in the same order each time.
#[cfg(test)]
type Hashing = BuildHasherDefault<DefaultHasher>;

/// All partitions here; read on every request, changed by the one task that follows the metadata.
#[derive(Debug, Default)]
pub struct PartitionTable {
    topics: RwLock<Topics>,
    /// Those whose logs could not be opened; looked at only where a partition is not found.
    unopened: RwLock<BTreeMap<String, BTreeSet<i32>>>,
}

impl PartitionTable {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition, if it is here.
    pub fn get(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        let index = usize::try_from(index).ok()?;
        self.read().get(topic)?.get(index)?.clone()
    }

    /// A partition, or what a client is told who asks for it. As in Apache Kafka one whose log
    /// cannot be opened is a matter of storage: it is worth trying again.
    pub fn find(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        if let Some(partition) = self.get(topic, index) {
            return Ok(partition);
        }
        if self.is_unopened(topic, index) {
            return Err(ErrorCode::KafkaStorageError);
        }
        // It may have been opened in between.
        self.get(topic, index)
            .ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// Whether a partition belongs here and its log could not be opened.
    pub fn is_unopened(&self, topic: &str, index: i32) -> bool {
        let unopened = self.unopened.read();
        let unopened = unopened.unwrap_or_else(PoisonError::into_inner);
        let of_topic = unopened.get(topic);
        of_topic.is_some_and(|indexes| indexes.contains(&index))
    }

    /// A partition belongs here, and its log could not be opened.
    pub fn note_unopened(&self, topic: &str, index: i32) {
        let unopened = self.unopened.write();
        let mut unopened = unopened.unwrap_or_else(PoisonError::into_inner);
        unopened.entry(topic.to_owned()).or_default().insert(index);
    }

    /// Adds a partition, or replaces it.
    pub fn insert(&self, partition: Arc<Partition>) {
        let Ok(index) = usize::try_from(partition.index) else {
            return;
        };
        let mut topics = self.write();
        let partitions = topics.entry(partition.topic.clone()).or_default();
        if partitions.len() <= index {
            partitions.resize(index + 1, None);
        }
        partitions[index] = Some(partition.clone());
        drop(topics);
        // Only now: who does not find it hears that it is worth trying again.
        self.forget_unopened(&partition.topic, |other| other == partition.index);
    }

    fn forget_unopened(&self, topic: &str, which: impl Fn(i32) -> bool) {
        let unopened = self.unopened.write();
        let mut unopened = unopened.unwrap_or_else(PoisonError::into_inner);
        if let Some(indexes) = unopened.get_mut(topic) {
            indexes.retain(|index| !which(*index));
            if indexes.is_empty() {
                unopened.remove(topic);
            }
        }
    }

    /// Takes all partitions of a topic out.
    pub fn remove_topic(&self, topic: &str) -> Vec<Arc<Partition>> {
        self.forget_unopened(topic, |_| true);
        self.write()
            .remove(topic)
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .collect()
    }

    /// The partitions of a topic that are here.
    pub fn of_topic(&self, topic: &str) -> Vec<Arc<Partition>> {
        let topics = self.read();
        let partitions = topics.get(topic).into_iter().flatten();
        partitions.flatten().cloned().collect()
    }

    /// All partitions.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.read().values().flatten().flatten().cloned().collect()
    }
}

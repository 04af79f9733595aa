//! The partitions on this broker, by topic and number.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Partition;

type Topics = HashMap<String, Vec<Option<Arc<Partition>>>>;

/// All partitions here; read on every request, changed by the one task that follows the metadata.
#[derive(Debug, Default)]
pub struct PartitionTable {
    topics: RwLock<Topics>,
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
        partitions[index] = Some(partition);
    }

    /// Takes all partitions of a topic out.
    pub fn remove_topic(&self, topic: &str) -> Vec<Arc<Partition>> {
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

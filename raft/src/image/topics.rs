//! Topics by name and by id, with their partitions.

use std::borrow::Borrow;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use uuid::Uuid;

use super::{ApplyError, PartitionProblem};
use crate::record::{NO_LEADER, Partition, PartitionChange, Record, RemoveTopic, Topic};

/// One topic. Cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    name: Arc<str>,
    id: Uuid,
    /// By index, without gaps.
    partitions: Vector<Arc<Partition>>,
}

impl TopicImage {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name, shared with the image.
    pub fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Number of partitions.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// One partition.
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// All partitions, by index.
    pub fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.partitions.iter()
    }

    fn check(&self, partition: &Partition) -> Result<(), ApplyError> {
        check(partition).map_err(|problem| ApplyError::BadPartition {
            name: self.name.to_string(),
            partition: partition.partition,
            problem,
        })
    }
}

/// All topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topics {
    by_name: OrdMap<Arc<str>, Arc<TopicImage>>,
    /// Names, so that a change of a partition touches one map only.
    names: OrdMap<Uuid, Arc<str>>,
}

impl Topics {
    /// Number of topics.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// A topic by name.
    pub fn get(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name)
    }

    /// A topic by id.
    pub fn by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_name.get::<str>(self.names.get(&id)?.borrow())
    }

    /// A partition by topic name and index.
    pub fn partition(&self, name: &str, index: i32) -> Option<&Arc<Partition>> {
        self.get(name)?.partition(index)
    }

    /// All topics, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.values()
    }

    /// Topics from `name` on, by name: for paging.
    pub fn iter_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        use std::ops::Bound::{Included, Unbounded};
        self.by_name
            .range::<_, str>((Included(name), Unbounded))
            .map(|(_, topic)| topic)
    }

    /// Topics that are not the same in `earlier`: new, or with a partition changed.
    /// Costs as much as there are differences.
    pub fn changed_since<'a>(
        &'a self,
        earlier: &'a Topics,
    ) -> impl Iterator<Item = TopicChange<'a>> {
        use imbl::ordmap::DiffItem;
        earlier.by_name.diff(&self.by_name).flat_map(|item| {
            let (removed, now) = match item {
                DiffItem::Add(_, now) => (None, Some(now)),
                DiffItem::Remove(_, old) => (Some(old), None),
                // A topic of the same name, made anew.
                DiffItem::Update { old, new } if old.1.id != new.1.id => (Some(old.1), Some(new.1)),
                DiffItem::Update { new, .. } => (None, Some(new.1)),
            };
            let removed = removed.map(TopicChange::Removed);
            removed.into_iter().chain(now.map(TopicChange::Now))
        })
    }

    pub(super) fn create(&mut self, record: &Topic) -> Result<(), ApplyError> {
        if let Some(topic) = self.get(&record.name) {
            return Err(ApplyError::TopicExists {
                name: record.name.clone(),
                id: topic.id,
            });
        }
        if let Some(name) = self.names.get(&record.id) {
            return Err(ApplyError::TopicIdExists {
                id: record.id,
                name: name.to_string(),
            });
        }
        let name: Arc<str> = record.name.as_str().into();
        self.names.insert(record.id, name.clone());
        let topic = TopicImage {
            name: name.clone(),
            id: record.id,
            partitions: Vector::new(),
        };
        self.by_name.insert(name, Arc::new(topic));
        Ok(())
    }

    pub(super) fn remove(&mut self, record: &RemoveTopic) -> Result<Arc<str>, ApplyError> {
        let name = self
            .names
            .remove(&record.id)
            .ok_or(ApplyError::UnknownTopic { id: record.id })?;
        self.by_name.remove::<str>(&name);
        Ok(name)
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut TopicImage, ApplyError> {
        let unknown = ApplyError::UnknownTopic { id };
        let Some(name) = self.names.get(&id) else {
            return Err(unknown);
        };
        let topic = self.by_name.get_mut::<str>(name).ok_or(unknown)?;
        Ok(Arc::make_mut(topic))
    }

    pub(super) fn put_partition(&mut self, record: &Partition) -> Result<(), ApplyError> {
        let topic = self.topic_mut(record.topic_id)?;
        topic.check(record)?;
        let count = topic.partitions.len();
        match usize::try_from(record.partition) {
            Ok(index) if index < count => {
                topic.partitions.set(index, Arc::new(record.clone()));
            }
            Ok(index) if index == count => topic.partitions.push_back(Arc::new(record.clone())),
            _ => {
                return Err(ApplyError::PartitionGap {
                    name: topic.name.to_string(),
                    partition: record.partition,
                    count,
                });
            }
        }
        Ok(())
    }

    pub(super) fn change_partition(&mut self, record: &PartitionChange) -> Result<(), ApplyError> {
        let topic = self.topic_mut(record.topic_id)?;
        let Some(current) = topic.partition(record.partition) else {
            return Err(ApplyError::UnknownPartition {
                name: topic.name.to_string(),
                partition: record.partition,
                count: topic.partitions.len(),
            });
        };
        let changed = change(current, record);
        topic.check(&changed)?;
        topic
            .partitions
            .set(record.partition as usize, Arc::new(changed));
        Ok(())
    }

    /// What a broker leads it leads in a new epoch from here on: it has come back, maybe without
    /// records that it had not synced, and whoever has read those has to notice that others stand in
    /// their place.
    pub(super) fn lead_anew(&mut self, broker_id: i32) {
        let is_led = |partition: &Arc<Partition>| partition.leader == broker_id;
        let led = self.by_name.iter();
        let led: Vec<Arc<str>> = led
            .filter(|(_, topic)| topic.partitions.iter().any(is_led))
            .map(|(name, _)| name.clone())
            .collect();
        for name in led {
            let Some(topic) = self.by_name.get_mut::<str>(&name) else {
                continue;
            };
            for partition in &mut Arc::make_mut(topic).partitions {
                if is_led(partition) {
                    let led = Arc::make_mut(partition);
                    led.leader_epoch = led.leader_epoch.saturating_add(1);
                    led.partition_epoch = led.partition_epoch.saturating_add(1);
                }
            }
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.iter().flat_map(|topic| {
            let created = Record::Topic(Topic {
                name: topic.name.to_string(),
                id: topic.id,
            });
            let partitions = topic.partitions.iter();
            std::iter::once(created)
                .chain(partitions.map(|partition| Record::Partition((**partition).clone())))
        })
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.by_name.len(), self.names.len());
        for (id, name) in &self.names {
            assert_eq!(
                self.by_name.get::<str>(name).map(|topic| topic.id),
                Some(*id)
            );
        }
        for topic in self.by_name.values() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                assert_eq!(partition.partition as usize, index);
                assert_eq!(partition.topic_id, topic.id);
                assert_eq!(check(partition), Ok(()));
            }
        }
    }
}

/// A difference between two images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TopicChange<'a> {
    /// The topic is gone.
    Removed(&'a Arc<TopicImage>),
    /// The topic is new, or some of its partitions are.
    Now(&'a Arc<TopicImage>),
}

fn change(current: &Partition, record: &PartitionChange) -> Partition {
    fn or<T: Clone>(new: &Option<T>, current: &T) -> T {
        new.as_ref().unwrap_or(current).clone()
    }
    Partition {
        topic_id: current.topic_id,
        partition: current.partition,
        replicas: or(&record.replicas, &current.replicas),
        directories: or(&record.directories, &current.directories),
        isr: or(&record.isr, &current.isr),
        adding: or(&record.adding, &current.adding),
        removing: or(&record.removing, &current.removing),
        leader: or(&record.leader, &current.leader),
        leader_epoch: current
            .leader_epoch
            .saturating_add(i32::from(record.leader.is_some())),
        partition_epoch: current.partition_epoch.saturating_add(1),
        elr: or(&record.elr, &current.elr),
        last_known_elr: or(&record.last_known_elr, &current.last_known_elr),
        leader_recovery_state: or(
            &record.leader_recovery_state,
            &current.leader_recovery_state,
        ),
    }
}

fn check(partition: &Partition) -> Result<(), PartitionProblem> {
    if partition.replicas.is_empty() {
        return Err(PartitionProblem::NoReplicas);
    }
    if partition.directories.len() != partition.replicas.len() {
        return Err(PartitionProblem::Directories {
            directories: partition.directories.len(),
            replicas: partition.replicas.len(),
        });
    }
    let lists = [
        ("replicas", &partition.replicas),
        ("isr", &partition.isr),
        ("adding", &partition.adding),
        ("removing", &partition.removing),
        ("elr", &partition.elr),
    ];
    for (list, brokers) in lists {
        for (at, &broker_id) in brokers.iter().enumerate() {
            let list = || list.to_owned();
            // Lists are short: looking through them costs less than a set.
            if brokers[..at].contains(&broker_id) {
                return Err(PartitionProblem::Twice {
                    list: list(),
                    broker_id,
                });
            }
            if !partition.replicas.contains(&broker_id) {
                return Err(PartitionProblem::NotAReplica {
                    list: list(),
                    broker_id,
                });
            }
        }
    }
    if partition.leader != NO_LEADER && !partition.replicas.contains(&partition.leader) {
        return Err(PartitionProblem::NotAReplica {
            list: "leader".to_owned(),
            broker_id: partition.leader,
        });
    }
    if partition.leader_epoch < 0 || partition.partition_epoch < 0 {
        return Err(PartitionProblem::EpochBack);
    }
    Ok(())
}

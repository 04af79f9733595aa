//! Keeps the partitions on this broker in step with the metadata.
//!
//! One task reads each new image, opens logs of partitions that are new and deletes those of topics
//! that are gone, then says up to which offset it has followed. Whoever changed the metadata waits
//! for that before answering, so that a topic that was created can be written to at once.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use reka_raft::MetadataImage;
use reka_raft::image::TopicImage;
use reka_storage::log_dir::ToOpen;
use reka_storage::{LogDir, TopicPartition};
use tokio::sync::watch;
use uuid::Uuid;

use super::topics::TOPIC_RESOURCE;
use crate::clock::Clock;
use crate::config::{Config, Overrides, TopicConfig};
use crate::partition::Partition;
use crate::partition::table::PartitionTable;

/// Logs are opened on this many threads at start.
const OPEN_PARALLELISM: usize = 2;

/// What follows the metadata.
#[derive(Debug)]
pub struct Follower {
    config: Arc<Config>,
    log_dir: Arc<LogDir>,
    partitions: Arc<PartitionTable>,
    clock: Clock,
    names: Arc<TopicNames>,
    known: HashMap<Uuid, Known>,
    followed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known {
    name: String,
    partitions: usize,
}

/// Topic names by id, for requests that use ids.
#[derive(Debug, Default)]
pub struct TopicNames {
    names: RwLock<HashMap<Uuid, String>>,
}

impl TopicNames {
    /// The name of a topic.
    pub fn get(&self, id: Uuid) -> Option<String> {
        self.names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    fn set(&self, id: Uuid, name: &str) {
        self.names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, name.to_owned());
    }

    fn remove(&self, id: Uuid) {
        self.names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }
}

impl Follower {
    /// Follows from nothing; the first image brings everything.
    pub fn new(
        config: Arc<Config>,
        log_dir: Arc<LogDir>,
        partitions: Arc<PartitionTable>,
        names: Arc<TopicNames>,
        clock: Clock,
    ) -> (Follower, watch::Receiver<u64>) {
        let (followed, receiver) = watch::channel(0);
        let follower = Follower {
            config,
            log_dir,
            partitions,
            clock,
            names,
            known: HashMap::new(),
            followed,
        };
        (follower, receiver)
    }

    /// Blocking: opens and deletes logs until the partitions are those of `image`.
    pub fn follow(&mut self, image: &MetadataImage) {
        let gone: Vec<Uuid> = self
            .known
            .keys()
            .copied()
            .filter(|id| image.topics().by_id(*id).is_none())
            .collect();
        for id in gone {
            self.remove(id);
        }
        let mut wanted = Vec::new();
        for topic in image.topics().iter() {
            let known = self
                .known
                .get(&topic.id())
                .map_or(0, |known| known.partitions);
            for index in known..topic.partition_count() {
                wanted.push((topic.clone(), index as i32));
            }
        }
        self.open(image, &wanted);
        self.followed.send_replace(image.offset());
    }

    /// What the topic's own configuration comes to over the broker's.
    fn settings(&self, image: &MetadataImage, topic: &str) -> TopicConfig {
        let overrides: Overrides = image
            .configs()
            .resource(TOPIC_RESOURCE, topic)
            .into_iter()
            .flat_map(|entries| entries.iter())
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        self.config.topic(&overrides).unwrap_or_else(|error| {
            tracing::error!("the configuration of topic {topic} is left aside: {error}");
            self.config.topic_defaults.clone()
        })
    }

    fn open(&mut self, image: &MetadataImage, wanted: &[(Arc<TopicImage>, i32)]) {
        let expiration = self.config.logs.producer_id_expiration;
        let logs = wanted
            .iter()
            .map(|(topic, index)| ToOpen {
                partition: TopicPartition::new(topic.name(), *index),
                topic_id: Some(topic.id()),
                config: self.settings(image, topic.name()).to_log_config(expiration),
            })
            .collect();
        let mut opened: HashMap<TopicPartition, _> = self
            .log_dir
            .open_logs(logs, OPEN_PARALLELISM, self.clock.now_ms())
            .into_iter()
            .collect();
        for (topic, index) in wanted {
            let partition = TopicPartition::new(topic.name(), *index);
            let Some(result) = opened.remove(&partition) else {
                continue;
            };
            match result {
                Ok((log, report)) => {
                    if let Some((offset, why)) = report.cut {
                        tracing::warn!(
                            "{partition}: cut at offset {offset} after an unclean stop: {why}"
                        );
                    }
                    for warning in report.warnings {
                        tracing::warn!("{partition}: {warning}");
                    }
                    for offset in report.unusable_snapshots {
                        tracing::warn!(
                            "{partition}: the producer snapshot before offset {offset} was not \
                             what was written; it was removed and the batches replayed"
                        );
                    }
                    for base_offset in report.rebuilt_txn_indexes {
                        tracing::warn!(
                            "{partition}: the index of aborted transactions of segment \
                             {base_offset} did not agree with its markers; it was made anew"
                        );
                    }
                    if let Some(damage) = report.damage {
                        tracing::error!("{partition}: {damage}");
                    }
                    let epoch = topic
                        .partition(*index)
                        .map_or(0, |state| state.leader_epoch);
                    let name = topic.name().to_owned();
                    self.partitions.insert(Arc::new(Partition::lead(
                        name,
                        topic.id(),
                        *index,
                        log,
                        epoch,
                        self.settings(image, topic.name()),
                    )));
                }
                Err(error) => tracing::error!("{partition} is not served: {error}"),
            }
            self.names.set(topic.id(), topic.name());
            let known = Known {
                name: topic.name().to_owned(),
                partitions: topic.partition_count(),
            };
            self.known.insert(topic.id(), known);
        }
    }

    fn remove(&mut self, id: Uuid) {
        let Some(known) = self.known.remove(&id) else {
            return;
        };
        self.names.remove(id);
        for partition in self.partitions.remove_topic(&known.name) {
            let deleted = self.log_dir.delete(&partition.log());
            // Fetches that wait for it find out that it is gone.
            partition.waiters().wake();
            match deleted.map(|name| self.log_dir.unlink(&name)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!("a deleted partition's files stay behind: {error}");
                }
                Err(error) => tracing::error!(
                    "{}-{} is not deleted: {error}",
                    partition.topic,
                    partition.index
                ),
            }
        }
    }
}

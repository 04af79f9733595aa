//! Keeps the partitions on this broker in step with the metadata.
//!
//! One task reads each new image and looks at what differs from the one before: logs of partitions
//! that are new are opened, those of topics that are gone deleted, configurations that changed put
//! in force. Then it says up to which offset it has followed. Whoever changed the metadata waits for
//! that before answering, so that a topic that was created can be written to at once.
//!
//! A log that a disk does not let open (it is full, the process has no file handles left) is tried again
//! by the clock; until then whoever asks for the partition hears of the storage. Apache Kafka takes the
//! whole directory offline instead, until a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use reka_raft::MetadataImage;
use reka_raft::image::{BROKER, TOPIC, TopicChange, TopicImage};
use reka_storage::TopicPartition;
use reka_storage::checkpoint::CheckpointError;
use reka_storage::error::OpenError;
use reka_storage::format::UNUSABLE_SUFFIX;
use reka_storage::fs::DiskError;
use reka_storage::log_dir::{Opened, ToOpen};
use reka_storage::log_dirs::LogDirs;
use reka_storage::partition_metadata::PartitionMetadataError;
use reka_storage::recovery::RecoveryReport;
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::{Config, CurrentConfig, Overrides, TopicConfig};
use crate::partition::Partition;
use crate::partition::table::PartitionTable;

/// Where Apache Kafka keeps its metadata.
pub(crate) const CLUSTER_METADATA: &str = "__cluster_metadata";

/// A partition that is to be served here.
type Wanted = (Arc<TopicImage>, i32);

/// What follows the metadata.
#[derive(Debug)]
pub struct Follower {
    broker_id: i32,
    config: Arc<CurrentConfig>,
    log_dirs: Arc<LogDirs>,
    partitions: Arc<PartitionTable>,
    clock: Clock,
    names: Arc<TopicNames>,
    /// What was followed last.
    image: Arc<MetadataImage>,
    /// What the first image brings was there before this process.
    started: bool,
    /// Partitions whose logs a disk did not let open.
    unopened: BTreeMap<TopicPartition, Unopened>,
    followed: watch::Sender<u64>,
}

/// A partition whose log is to be opened again.
#[derive(Debug)]
struct Unopened {
    topic_id: Uuid,
    /// Nothing of it can lie anywhere.
    is_new: bool,
    /// Why, as it was said last.
    reason: std::io::ErrorKind,
}

/// Topic names by id, for requests that use ids.
#[derive(Debug, Default)]
pub struct TopicNames {
    names: RwLock<HashMap<Uuid, Arc<str>>>,
}

impl TopicNames {
    /// The name of a topic.
    pub fn get(&self, id: Uuid) -> Option<Arc<str>> {
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
            .insert(id, name.into());
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
        broker_id: i32,
        config: Arc<CurrentConfig>,
        log_dirs: Arc<LogDirs>,
        partitions: Arc<PartitionTable>,
        names: Arc<TopicNames>,
        clock: Clock,
    ) -> (Follower, watch::Receiver<u64>) {
        let (followed, receiver) = watch::channel(0);
        let follower = Follower {
            broker_id,
            config,
            log_dirs,
            partitions,
            clock,
            names,
            image: Arc::default(),
            started: false,
            unopened: BTreeMap::new(),
            followed,
        };
        (follower, receiver)
    }

    /// Blocking: opens and deletes logs until the partitions are those of `image`, and puts the
    /// configurations in force that are in it.
    pub fn follow(&mut self, image: &Arc<MetadataImage>) {
        let before = std::mem::replace(&mut self.image, image.clone());
        let reconfigured = self.follow_broker_config(&before);
        if !self.started {
            self.set_strays_aside();
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        for change in image.topics().changed_since(before.topics()) {
            match change {
                TopicChange::Removed(topic) => self.remove(topic),
                TopicChange::Now(topic) => {
                    let known = before
                        .topics()
                        .by_id(topic.id())
                        .map_or(0, |known| known.partition_count());
                    for index in known..topic.partition_count() {
                        wanted.push((topic.clone(), index as i32));
                    }
                }
            }
        }
        self.open(&wanted);
        self.started = true;
        match reconfigured {
            true => {
                for topic in image.topics().iter() {
                    self.configure(topic.name());
                }
            }
            false => self.follow_topic_configs(&before),
        }
        self.followed.send_replace(image.offset());
    }

    /// Puts in force what was set for all brokers and for this one; whether anything was.
    fn follow_broker_config(&self, before: &MetadataImage) -> bool {
        let set = |image: &MetadataImage, name: &str| {
            let entries = image.configs().resource(BROKER, name);
            entries
                .map(|entries| (**entries).clone())
                .unwrap_or_default()
        };
        let both =
            |image: &MetadataImage| (set(image, ""), set(image, &self.broker_id.to_string()));
        let now = both(&self.image);
        if both(before) == now {
            return false;
        }
        match self.config.get().with_dynamic(&now.0, &now.1) {
            Ok(config) => self.config.set(config),
            Err(errors) => {
                tracing::error!(
                    "the configuration that was set at run time is left aside: {errors}"
                );
                return false;
            }
        }
        true
    }

    /// Puts in force what was set for topics.
    fn follow_topic_configs(&self, before: &MetadataImage) {
        let mut earlier: HashMap<&str, _> = before.configs().resources(TOPIC).collect();
        for (topic, entries) in self.image.configs().resources(TOPIC) {
            let same = earlier
                .remove(topic)
                .is_some_and(|earlier| Arc::ptr_eq(earlier, entries));
            if !same {
                self.configure(topic);
            }
        }
        for topic in earlier.into_keys() {
            self.configure(topic);
        }
    }

    /// Brings the settings of a topic's partitions up to date.
    fn configure(&self, topic: &str) {
        let config = self.config.get();
        let settings = self.settings(&config, topic);
        let log_config = settings.to_log_config(config.logs.producer_ids);
        for partition in self.partitions.of_topic(topic) {
            partition.configure(settings.clone(), log_config.clone());
        }
    }

    /// What the topic's own configuration comes to over the broker's.
    fn settings(&self, config: &Config, topic: &str) -> Arc<TopicConfig> {
        let entries = self.image.configs().resource(TOPIC, topic);
        let overrides = entries.map(|entries| &**entries);
        let settings = config.topic(overrides.unwrap_or(&Overrides::new()));
        Arc::new(settings.unwrap_or_else(|error| {
            tracing::error!("the configuration of topic {topic} is left aside: {error}");
            config.topic_defaults.clone()
        }))
    }

    /// Opens what could not be opened so far; what is asked for meanwhile waits no longer than for
    /// that.
    pub fn open_again(&mut self) {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (partition, unopened) in &self.unopened {
            if let Some(topic) = self.image.topics().by_id(unopened.topic_id) {
                wanted.push((topic.clone(), partition.partition));
            }
        }
        self.open(&wanted);
    }

    /// Whether there is anything for [`Follower::open_again`].
    pub fn has_unopened(&self) -> bool {
        !self.unopened.is_empty()
    }

    /// Partitions that the metadata does not know: of topics that were deleted and whose files a crash
    /// left, or that are younger than the metadata. As in Apache Kafka they are not served and keep all
    /// they have. One that does not say which topic it is of is left alone, and so is Apache Kafka's
    /// metadata; one whose name another topic has is found when that one's is opened.
    fn set_strays_aside(&self) {
        let topics = self.image.topics();
        let is_unknown = |one: &TopicPartition| {
            one.topic != CLUSTER_METADATA && topics.partition(&one.topic, one.partition).is_none()
        };
        for (partition, topic_id) in self.log_dirs.found(is_unknown) {
            if let Some(topic_id) = topic_id {
                self.set_aside(&partition, topic_id);
            }
        }
    }

    /// Whether it is out of the way.
    fn set_aside(&self, partition: &TopicPartition, topic_id: Uuid) -> bool {
        let outcome = self.log_dirs.set_aside(partition);
        let is_away = outcome.is_ok();
        match outcome {
            Ok(Some(aside)) => tracing::warn!(
                "{partition} is of topic {topic_id}, which is not in the metadata: it was deleted while \
                 this directory was away, or the metadata is older than this directory; its files are in \
                 {} now, with all they had: remove them once nobody needs them, or give them their name \
                 back once the metadata is restored",
                aside.display()
            ),
            Ok(None) => {}
            Err(error) => tracing::error!("{partition} is in the way: {error}"),
        }
        is_away
    }

    fn open(&mut self, wanted: &[Wanted]) {
        let config = self.config.get();
        let mut settings: HashMap<Uuid, Arc<TopicConfig>> = HashMap::new();
        for (topic, _) in wanted {
            let resolve = || self.settings(&config, topic.name());
            settings.entry(topic.id()).or_insert_with(resolve);
            self.names.set(topic.id(), topic.name());
        }
        let producer_ids = config.logs.producer_ids;
        let to_open = |(topic, index): &Wanted| ToOpen {
            partition: TopicPartition::new(topic.name(), *index),
            topic_id: Some(topic.id()),
            config: settings[&topic.id()].to_log_config(producer_ids),
        };
        let threads = config.logs.recovery_threads;
        let mut opened = self.open_logs(wanted.iter().map(to_open).collect(), threads);
        let freed = self.free_names(&opened);
        if !freed.is_empty() {
            let again = wanted.iter().map(to_open);
            let again = again.filter(|wanted| freed.contains(&wanted.partition));
            opened.extend(self.open_logs(again.collect(), threads));
        }
        for (topic, index) in wanted {
            if let Some(opened) = opened.remove(&TopicPartition::new(topic.name(), *index)) {
                self.lead(topic, *index, opened, &settings[&topic.id()]);
            }
        }
    }

    fn open_logs(&self, wanted: Vec<ToOpen>, threads: usize) -> HashMap<TopicPartition, Opened> {
        let names = wanted.iter().map(|one| one.partition.clone());
        let new: BTreeSet<TopicPartition> = names.filter(|name| self.is_new(name)).collect();
        let now_ms = self.clock.now_ms();
        let opened = self.log_dirs.open_logs(wanted, &new, threads, now_ms);
        opened.into_iter().collect()
    }

    /// Whether nothing of it can lie anywhere: it was asked for while this process ran.
    fn is_new(&self, partition: &TopicPartition) -> bool {
        let unopened = self.unopened.get(partition);
        unopened.map_or(self.started, |unopened| unopened.is_new)
    }

    /// Where files of another topic have the name of one there is, they make room; which did.
    fn free_names(&self, opened: &HashMap<TopicPartition, Opened>) -> BTreeSet<TopicPartition> {
        let mut freed = BTreeSet::new();
        for (partition, result) in opened {
            if let Err(OpenError::PartitionMetadata(PartitionMetadataError::OtherTopic {
                found,
                ..
            })) = result
                && self.set_aside(partition, *found)
            {
                freed.insert(partition.clone());
            }
        }
        freed
    }

    /// Serves a partition from now on, or says why not.
    fn lead(
        &mut self,
        topic: &TopicImage,
        index: i32,
        opened: Opened,
        settings: &Arc<TopicConfig>,
    ) {
        let partition = TopicPartition::new(topic.name(), index);
        let (log, report) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.note_unopened(partition, topic.id(), &error),
        };
        if self.unopened.remove(&partition).is_some() {
            tracing::info!("{partition} is served now: its log could be opened");
        }
        for remark in remarks(log.dir(), &report) {
            tracing::warn!("{partition}: {remark}");
        }
        if let Some(damage) = report.damage {
            tracing::error!("{partition}: {damage}");
        }
        let epoch = topic.partition(index).map_or(0, |state| state.leader_epoch);
        self.partitions.insert(Arc::new(Partition::lead(
            partition.topic,
            topic.id(),
            index,
            log,
            epoch,
            settings.clone(),
        )));
    }

    /// Told of once, until there is another reason.
    fn note_unopened(&mut self, partition: TopicPartition, topic_id: Uuid, error: &OpenError) {
        self.partitions
            .note_unopened(&partition.topic, partition.partition);
        let Some(disk_error) = disk_error(error) else {
            self.unopened.remove(&partition);
            return tracing::error!("{partition} is not served: {error}");
        };
        let reason = disk_error.source.kind();
        let before = self.unopened.get(&partition);
        if before.is_none_or(|before| before.reason != reason) {
            tracing::error!("{partition} is not served until its log can be opened: {error}");
        }
        let unopened = Unopened {
            topic_id,
            is_new: self.is_new(&partition),
            reason,
        };
        self.unopened.insert(partition, unopened);
    }

    fn remove(&mut self, topic: &TopicImage) {
        self.names.remove(topic.id());
        self.unopened
            .retain(|_, unopened| unopened.topic_id != topic.id());
        let now_ms = self.clock.now_ms();
        for partition in self.partitions.remove_topic(topic.name()) {
            let deleted = partition.delete(|log| self.log_dirs.delete(log, now_ms));
            // Fetches that wait for it find out that it is gone.
            partition.waiters().wake();
            if let Err(error) = deleted {
                tracing::error!("{partition} is not deleted: {error}");
            }
        }
    }
}

/// What may pass of what keeps a log from being opened. Anything else is found again at the next start:
/// a person who mends files is not to be met halfway.
fn disk_error(error: &OpenError) -> Option<&DiskError> {
    match error {
        OpenError::Disk(error)
        | OpenError::Checkpoint(CheckpointError::Disk(error))
        | OpenError::PartitionMetadata(PartitionMetadataError::Disk(error)) => Some(error),
        _ => None,
    }
}

/// What a person should know of how a log was found, though it works.
fn remarks(dir: &Path, report: &RecoveryReport) -> Vec<String> {
    let mut remarks = Vec::new();
    let place = dir.display();
    if let Some((offset, why)) = &report.cut {
        remarks.push(format!(
            "{place} was cut at offset {offset} after an unclean stop: {why}; nothing from there on \
             was on disk for certain"
        ));
    }
    remarks.extend(report.warnings.iter().map(ToString::to_string));
    if !report.unknown_files.is_empty() {
        let shown = &report.unknown_files[..report.unknown_files.len().min(UNKNOWN_FILES_SHOWN)];
        remarks.push(format!(
            "{} files in {place} belong to nothing and were left alone ({}); an index \
             among them says that its data file is missing; move them away once they are explained",
            report.unknown_files.len(),
            shown.join(", ")
        ));
    }
    for offset in &report.unusable_snapshots {
        remarks.push(format!(
            "the producer snapshot before offset {offset} in {place} was not what was written: it is \
             <offset>.snapshot{UNUSABLE_SUFFIX} now, and the batches from the one before it on were \
             replayed; producers whose batches have all expired are forgotten; check the disk"
        ));
    }
    for base_offset in &report.rebuilt_txn_indexes {
        remarks.push(format!(
            "the index of aborted transactions {place}/{base_offset:020}.txnindex did not agree with \
             its segment's markers; it was made anew; check the disk"
        ));
    }
    remarks
}

/// A directory may hold any number of them; these are enough to find the others.
const UNKNOWN_FILES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_and_what_belongs_to_nothing_is_told_of() {
        let dir = Path::new("/data/t-0");
        assert_eq!(
            remarks(dir, &RecoveryReport::default()),
            Vec::<String>::new()
        );
        let report = RecoveryReport {
            cut: Some((25, "a checksum that does not match".into())),
            unusable_snapshots: vec![20],
            rebuilt_txn_indexes: vec![7],
            unknown_files: (0..12).map(|number| format!("{number}.txt")).collect(),
            ..RecoveryReport::default()
        };
        assert_eq!(
            remarks(dir, &report),
            [
                "/data/t-0 was cut at offset 25 after an unclean stop: a checksum that does not match; \
                 nothing from there on was on disk for certain",
                "12 files in /data/t-0 belong to nothing and were left alone (0.txt, 1.txt, 2.txt, \
                 3.txt, 4.txt, 5.txt, 6.txt, 7.txt, 8.txt, 9.txt); an index among them says that its \
                 data file is missing; move them away once they are explained",
                "the producer snapshot before offset 20 in /data/t-0 was not what was written: it is \
                 <offset>.snapshot.unusable now, and the batches from the one before it on were \
                 replayed; producers whose batches have all expired are forgotten; check the disk",
                "the index of aborted transactions /data/t-0/00000000000000000007.txnindex did not \
                 agree with its segment's markers; it was made anew; check the disk",
            ]
        );
    }
}

//! The cluster's metadata at one offset of the log.
//!
//! An image never changes. [`MetadataImage::apply`] makes the next one, sharing with
//! this one all that stays: a record about one topic among ten thousand copies a few
//! tree nodes. It is pure and deterministic, so equal logs give equal images on every
//! node, whether entries come one by one or a snapshot stands for them.
//!
//! Each part of the image has its own file, with its lookups and its rules for
//! records. A rule that a record breaks refuses the whole batch, on every node alike.

mod acls;
mod brokers;
mod configs;
mod features;
mod producer_ids;
mod quotas;
mod scram;
mod topics;

pub use acls::Acls;
pub use brokers::{Broker, Brokers};
pub use configs::{BROKER, Configs, TOPIC};
pub use features::Features;
pub use producer_ids::ProducerIdBlocks;
pub use quotas::{EntityKey, Quotas, entity_key};
pub use scram::ScramUsers;
pub use topics::{TopicChange, TopicImage, Topics};

use uuid::Uuid;

use crate::record::Record;

/// Why a batch cannot take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ApplyError {
    #[error("topic {name} exists already, with id {id}")]
    TopicExists { name: String, id: Uuid },
    #[error("topic id {id} exists already, it is {name}")]
    TopicIdExists { id: Uuid, name: String },
    #[error("no topic has id {id}")]
    UnknownTopic { id: Uuid },
    #[error("topic {name} has {count} partitions, {partition} is not among them")]
    UnknownPartition {
        name: String,
        partition: i32,
        count: usize,
    },
    #[error("topic {name} has {count} partitions, the next is not {partition}")]
    PartitionGap {
        name: String,
        partition: i32,
        count: usize,
    },
    #[error("partition {name}-{partition}: {problem}")]
    BadPartition {
        name: String,
        partition: i32,
        problem: PartitionProblem,
    },
    #[error("broker {broker_id} is not registered")]
    UnknownBroker { broker_id: i32 },
    #[error("broker {broker_id} has epoch {current}, not {stale}")]
    StaleBrokerEpoch {
        broker_id: i32,
        stale: i64,
        current: i64,
    },
    #[error("next producer id {next} is below {current}")]
    ProducerIdsBack { next: i64, current: i64 },
    #[error("feature {name} cannot have level {level}")]
    BadFeatureLevel { name: String, level: i16 },
    #[error("a quota entity needs one part of each kind at most, and one at least")]
    BadQuotaEntity,
    #[error("no access rule has id {id}")]
    UnknownAcl { id: Uuid },
    #[error("user {user} has no credential of mechanism {mechanism}")]
    UnknownScramUser { user: String, mechanism: i8 },
}

/// What is wrong with a partition's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PartitionProblem {
    #[error("it has no replicas")]
    NoReplicas,
    #[error("broker {broker_id} is named twice in {list}")]
    Twice { list: String, broker_id: i32 },
    #[error("broker {broker_id} in {list} is not a replica")]
    NotAReplica { list: String, broker_id: i32 },
    #[error("{directories} directories for {replicas} replicas")]
    Directories { directories: usize, replicas: usize },
    #[error("an epoch is negative or went down")]
    EpochBack,
}

/// The cluster's metadata at one offset. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataImage {
    offset: u64,
    topics: Topics,
    brokers: Brokers,
    configs: Configs,
    features: Features,
    producer_ids: ProducerIdBlocks,
    quotas: Quotas,
    acls: Acls,
    scram: ScramUsers,
}

impl MetadataImage {
    /// Index of the last log entry in it; 0 before the first.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Topics and their partitions.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Registered brokers.
    pub fn brokers(&self) -> &Brokers {
        &self.brokers
    }

    /// Dynamic configuration.
    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    /// Finalized features.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Producer ids handed out.
    pub fn producer_ids(&self) -> &ProducerIdBlocks {
        &self.producer_ids
    }

    /// Client quotas.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Access rules.
    pub fn acls(&self) -> &Acls {
        &self.acls
    }

    /// SCRAM credentials.
    pub fn scram(&self) -> &ScramUsers {
        &self.scram
    }

    /// The image after the entry at `offset`: all of its records, or an error and
    /// none of them.
    pub fn apply(&self, offset: u64, records: &[Record]) -> Result<MetadataImage, ApplyError> {
        let mut next = self.clone();
        for record in records {
            next.apply_record(offset, record)?;
        }
        next.offset = offset;
        Ok(next)
    }

    /// The same metadata at a later offset, behind an entry without records.
    #[must_use]
    pub fn at(&self, offset: u64) -> MetadataImage {
        MetadataImage {
            offset,
            ..self.clone()
        }
    }

    pub(crate) fn apply_record(&mut self, offset: u64, record: &Record) -> Result<(), ApplyError> {
        match record {
            Record::NoOp => Ok(()),
            Record::Topic(record) => self.topics.create(record),
            Record::RemoveTopic(record) => {
                let name = self.topics.remove(record)?;
                // Or a new topic of that name would inherit its configuration.
                self.configs.remove_topic(&name);
                Ok(())
            }
            Record::Partition(record) => self.topics.put_partition(record),
            Record::PartitionChange(record) => self.topics.change_partition(record),
            Record::Config(record) => {
                self.configs.set(record);
                Ok(())
            }
            Record::RegisterBroker(record) => {
                let before = self.brokers.get(record.broker_id);
                if before
                    .is_some_and(|before| before.registration.incarnation != record.incarnation)
                {
                    self.topics.lead_anew(record.broker_id);
                }
                self.brokers.register(offset, record);
                Ok(())
            }
            Record::BrokerChange(record) => self.brokers.change(record),
            Record::UnregisterBroker(record) => self.brokers.unregister(record),
            Record::ProducerIds(record) => self.producer_ids.hand_out(record),
            Record::FeatureLevel(record) => self.features.finalize(offset, record),
            Record::ClientQuota(record) => self.quotas.set(record),
            Record::Acl(record) => {
                self.acls.add(record);
                Ok(())
            }
            Record::RemoveAcl(record) => self.acls.remove(record),
            Record::ScramUser(record) => {
                self.scram.set(record);
                Ok(())
            }
            Record::RemoveScramUser(record) => self.scram.remove(record),
        }
    }

    /// The shortest log that leads to this image: records with the offsets at which
    /// they are to be applied. Offsets matter for broker and feature epochs.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, Record)> + '_ {
        let at_end = |record| (self.offset, record);
        self.features
            .records()
            .chain(self.brokers.records())
            .chain(self.producer_ids.records().map(at_end))
            .chain(self.topics.records().map(at_end))
            .chain(self.configs.records().map(at_end))
            .chain(self.quotas.records().map(at_end))
            .chain(self.acls.records().map(at_end))
            .chain(self.scram.records().map(at_end))
    }

    /// Walks the whole image and panics where parts contradict one another, which
    /// only a bug can bring about.
    pub fn check_invariants(&self) {
        self.topics.check_invariants();
        for broker in self.brokers.iter() {
            assert!(
                broker.epoch as u64 <= self.offset,
                "a broker epoch is an offset"
            );
        }
        assert!(self.features.epoch() <= self.offset);
    }
}

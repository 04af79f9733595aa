//! What may be a topic, and the records that make and unmake one. Pure.

use reka_protocol::ErrorCode;
use reka_raft::MetadataImage;
use reka_raft::image::TOPIC;
use reka_raft::record::{self, Config, LeaderRecoveryState, Partition, Record, RemoveTopic};
use uuid::Uuid;

use super::Refusal;
use crate::config::{Overrides, TopicsConfig, validate_topic_overrides};

/// Longest topic name; with a partition number it still is a file name.
const NAME_BYTES_MAX: usize = 249;
/// Partitions that may be asked for at once; an image of a million still fits.
pub(super) const PARTITIONS_MAX: i32 = 100_000;

/// A topic to be created.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Read from a source of randomness by the caller.
    pub id: Uuid,
    /// How many partitions; -1 for the default.
    pub partitions: i32,
    /// How many replicas; -1 for the default.
    pub replication_factor: i16,
    /// Which brokers hold which partition; then the two above must be -1.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Settings.
    pub configs: Vec<(String, Option<String>)>,
}

/// Is this a topic's name? The reasons are Kafka's.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidTopicException, why));
    if name.is_empty() {
        return invalid("the topic name is empty".to_owned());
    }
    if name == "." || name == ".." {
        return invalid(format!("the topic name cannot be {name:?}"));
    }
    if name.len() > NAME_BYTES_MAX {
        return invalid(format!(
            "the topic name has {} characters, at most {NAME_BYTES_MAX} may be",
            name.len()
        ));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|c| !legal(*c)) {
        None => Ok(()),
        Some(c) => invalid(format!(
            "the topic name {name:?} contains {c:?}; only letters, digits, '.', '_' and '-' may be"
        )),
    }
}

/// The records that create a topic on the one broker there is, led in epoch 0.
pub fn create(
    image: &MetadataImage,
    topic: &NewTopic,
    broker_id: i32,
    directory: Uuid,
    defaults: &TopicsConfig,
) -> Result<Vec<Record>, Refusal> {
    check_name(&topic.name)?;
    if image.topics().get(&topic.name).is_some() {
        let why = format!("topic '{}' already exists", topic.name);
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, why));
    }
    // Metric names turn dots into underscores, so the two must not both exist.
    let same =
        |one: u8, other: u8| one == other || (b"._".contains(&one) && b"._".contains(&other));
    let collides = |other: &str| {
        let (one, other) = (topic.name.as_bytes(), other.as_bytes());
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(*one, *other))
    };
    if let Some(other) = image.topics().iter().find(|other| collides(other.name())) {
        let why = format!(
            "topic '{}' collides with existing topic '{}'",
            topic.name,
            other.name()
        );
        return Err(Refusal::new(ErrorCode::InvalidTopicException, why));
    }
    let partitions = partition_count(topic, broker_id, defaults)?;
    let overrides: Overrides = topic
        .configs
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
        .collect();
    validate_topic_overrides(&overrides)
        .map_err(|error| Refusal::new(ErrorCode::InvalidConfig, error.to_string()))?;
    let mut records = vec![Record::Topic(record::Topic {
        name: topic.name.clone(),
        id: topic.id,
    })];
    for index in 0..partitions {
        records.push(Record::Partition(new_partition(
            topic.id, index, broker_id, directory,
        )));
    }
    for (key, value) in &topic.configs {
        records.push(Record::Config(Config {
            resource_type: TOPIC,
            resource_name: topic.name.clone(),
            key: key.clone(),
            value: value.clone(),
        }));
    }
    Ok(records)
}

fn partition_count(
    topic: &NewTopic,
    broker_id: i32,
    defaults: &TopicsConfig,
) -> Result<i32, Refusal> {
    if topic.assignments.is_empty() {
        let replicas = match topic.replication_factor {
            -1 => defaults.replication_factor,
            asked => asked,
        };
        if replicas != 1 {
            let why = format!(
                "unable to replicate the partition {replicas} time(s): only 1 broker is registered"
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, why));
        }
        return match topic.partitions {
            -1 => Ok(defaults.partitions),
            1..=PARTITIONS_MAX => Ok(topic.partitions),
            asked => Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                format!(
                    "the number of partitions was {asked}, it must be from 1 to {PARTITIONS_MAX}"
                ),
            )),
        };
    }
    if topic.partitions != -1 || topic.replication_factor != -1 {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "a manual partition assignment was specified, but the number of partitions or the replication factor was not -1",
        ));
    }
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|(index, _)| *index).collect();
    indexes.sort_unstable();
    if !indexes.iter().copied().eq(0..indexes.len() as i32) {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            "partitions must be numbered from 0 without gaps",
        ));
    }
    for (index, brokers) in &topic.assignments {
        if brokers.as_slice() != [broker_id] {
            let why = format!(
                "partition {index} is assigned to {brokers:?}, only broker {broker_id} is registered"
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
        }
    }
    Ok(indexes.len() as i32)
}

/// A partition of one replica, on this broker, which leads it.
pub fn new_partition(topic_id: Uuid, partition: i32, broker_id: i32, directory: Uuid) -> Partition {
    Partition {
        topic_id,
        partition,
        replicas: vec![broker_id],
        directories: vec![directory],
        isr: vec![broker_id],
        adding: Vec::new(),
        removing: Vec::new(),
        leader: broker_id,
        leader_epoch: 0,
        partition_epoch: 0,
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_recovery_state: LeaderRecoveryState::Recovered,
    }
}

/// The records that delete a topic.
pub fn remove(id: Uuid) -> Vec<Record> {
    vec![Record::RemoveTopic(RemoveTopic { id })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_kafkas() {
        for good in ["a", "A.b_c-1", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}

//! More partitions, other replicas, other leaders: what may be asked, and the records. Pure.
//!
//! With one broker registered there is one place for every replica, so a reassignment either
//! changes nothing or is refused, and no election is ever needed.

use reka_protocol::ErrorCode;
use reka_raft::MetadataImage;
use reka_raft::image::TopicImage;
use reka_raft::record::Record;
use uuid::Uuid;

use super::topics::{PARTITIONS_MAX, new_partition};
use super::{Draft, Refusal};

fn topic<'a>(image: &'a MetadataImage, name: &str) -> Result<&'a TopicImage, Refusal> {
    let found = image.topics().get(name).map(|topic| &**topic);
    found.ok_or_else(|| Refusal::plain(ErrorCode::UnknownTopicOrPartition))
}

/// Are these brokers registered, and each named once?
fn check_replicas(image: &MetadataImage, replicas: &[i32]) -> Result<(), Refusal> {
    let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return invalid(format!(
            "The manual partition assignment includes the broker {} more than once.",
            pair[0]
        ));
    }
    match replicas
        .iter()
        .find(|id| image.brokers().get(**id).is_none())
    {
        Some(id) => invalid(format!(
            "The manual partition assignment includes broker {id}, but no such broker is \
             registered."
        )),
        None => Ok(()),
    }
}

/// Raises the number of partitions of a topic to `count`.
pub fn grow(
    draft: &mut Draft,
    name: &str,
    count: i32,
    assignments: Option<&[Vec<i32>]>,
    broker_id: i32,
    directory: Uuid,
) -> Result<(), Refusal> {
    let image = draft.image();
    let topic = topic(image, name)?;
    let before = topic.partition_count() as i32;
    let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidPartitions, why));
    if count == before {
        return invalid(format!("Topic already has {count} partition(s)."));
    }
    if count < before {
        return invalid(format!(
            "The topic {name} currently has {before} partition(s); {count} would not be an \
             increase."
        ));
    }
    let more = count - before;
    if more > PARTITIONS_MAX {
        return invalid(format!(
            "{more} partitions are more than the {PARTITIONS_MAX} that may be added at once."
        ));
    }
    if let Some(assignments) = assignments {
        if assignments.len() != more as usize {
            let why = format!(
                "Attempted to add {more} additional partition(s), but only {} assignment(s) were \
                 specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
        }
        for replicas in assignments {
            check_replicas(image, replicas)?;
        }
    }
    let id = topic.id();
    let records = (before..count)
        .map(|index| Record::Partition(new_partition(id, index, broker_id, directory)))
        .collect();
    draft.add(records)
}

/// Moves a partition to other replicas, or, without any, ends a move.
pub fn reassign(
    image: &MetadataImage,
    name: &str,
    index: i32,
    replicas: Option<&[i32]>,
) -> Result<(), Refusal> {
    let found = image
        .topics()
        .get(name)
        .and_then(|topic| topic.partition(index));
    if found.is_none() {
        return Err(Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            match image.topics().get(name) {
                None => format!("Unable to find a topic named {name}."),
                Some(_) => format!("Unable to find partition {name}:{index}."),
            },
        ));
    }
    match replicas {
        Some(replicas) => check_replicas(image, replicas),
        // Nothing is ever being moved.
        None => Err(Refusal::plain(ErrorCode::NoReassignmentInProgress)),
    }
}

/// Elects a leader where one is needed.
pub fn elect(image: &MetadataImage, name: &str, index: i32) -> Result<(), Refusal> {
    let unknown = |why| Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, why));
    let Some(topic) = image.topics().get(name) else {
        return unknown(format!("No such topic as {name}"));
    };
    if topic.partition(index).is_none() {
        return unknown(format!("No such partition as {name}-{index}"));
    }
    Err(Refusal::new(
        ErrorCode::ElectionNotNeeded,
        "Leader election not needed for topic partition.",
    ))
}

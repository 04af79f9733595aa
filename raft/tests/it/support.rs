//! What several tests need.

use std::path::Path;

use reka_raft::record::{LeaderRecoveryState, Partition, Record, Topic};
use reka_raft::{QuorumOptions, Voter};
use reka_storage::fs::Disk;
use uuid::Uuid;

/// A voter of Kafka id `id`.
pub(crate) fn voter(id: i32) -> Voter {
    Voter {
        kafka_id: id,
        directory_id: Uuid::from_u128(0xd000 + id as u128),
        endpoints: Vec::new(),
    }
}

/// A quorum of one in `dir`.
pub(crate) fn single(disk: &Disk, dir: &Path) -> QuorumOptions {
    QuorumOptions::single(
        disk.clone(),
        dir.to_owned(),
        "the-cluster".to_owned(),
        voter(1),
    )
}

/// A topic's id, from its number.
pub(crate) fn topic_id(number: u32) -> Uuid {
    Uuid::from_u128(0x7000_0000_0000 + u128::from(number))
}

/// Creates topic `number` with one partition on broker 1.
pub(crate) fn create_topic(number: u32) -> Vec<Record> {
    let id = topic_id(number);
    vec![
        Topic {
            name: format!("topic-{number:05}"),
            id,
        }
        .into(),
        partition(id, 0).into(),
    ]
}

/// A partition of one replica on broker 1.
pub(crate) fn partition(topic_id: Uuid, index: i32) -> Partition {
    Partition {
        topic_id,
        partition: index,
        replicas: vec![1],
        directories: vec![Uuid::from_u128(1)],
        isr: vec![1],
        adding: Vec::new(),
        removing: Vec::new(),
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_recovery_state: LeaderRecoveryState::Recovered,
    }
}

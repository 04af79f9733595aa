//! What is asked, by subject: one file each. Scripts leave topics behind; each uses names of its own.

mod cluster;
mod configs;
mod groups;
mod members;
mod records;
mod topics;
mod transactions;

use std::time::Duration;

use reka_protocol::kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, ListOffsetsRequest, ListOffsetsResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::Pair;
use crate::error::Result;
use crate::wait;

const LED_TIME_MAX: Duration = Duration::from_secs(20);

/// A conversation with both brokers, and its name.
pub type Script = (&'static str, fn(&mut Pair) -> Result<()>);

/// All of them.
pub const SCRIPTS: &[Script] = &[
    ("topics", topics::script),
    ("configs", configs::script),
    ("records", records::script),
    // Before the quotas of the next: Apache Kafka makes clients wait for them.
    ("transactions", transactions::script),
    ("cluster", cluster::script),
    ("groups", groups::script),
    ("members", members::script),
    // a new script: its file, its `mod` line above, one line here
];

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn new_topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn config(key: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig::default()
        .with_name(text(key))
        .with_value(value.map(text))
}

fn assignment(index: i32, ids: &[i32]) -> CreatableReplicaAssignment {
    CreatableReplicaAssignment::default()
        .with_partition_index(index)
        .with_broker_ids(brokers(ids))
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(30_000)
}

/// Creates a topic, keeps its id, and waits until it is led: Apache Kafka answers before it is.
fn make_topic(
    pair: &mut Pair,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<()> {
    let configs: Vec<_> = configs
        .iter()
        .map(|(key, value)| config(key, Some(value)))
        .collect();
    let topic = new_topic(name, partitions, 1).with_configs(configs);
    let both = pair.ask_quietly(7, |_| create(vec![topic.clone()]))?;
    pair.keep(&both, |side, answer| {
        for topic in &answer.topics {
            side.topic_ids
                .insert(topic.name.to_string(), topic.topic_id);
        }
    });
    let all = (0..partitions).map(|index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_current_leader_epoch(-1)
            .with_timestamp(-1)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(name))
        .with_partitions(all.collect());
    let ends = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    wait::until(&format!("wait for {name}"), LED_TIME_MAX, || {
        let both = pair.ask_quietly(7, |_| ends.clone())?;
        let led = |answer: &ListOffsetsResponse| {
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.all(|partition| partition.error_code == 0)
        };
        let both = [&both.kafka, &both.reka];
        Ok(both
            .iter()
            .all(|side| side.as_ref().is_some_and(led))
            .then_some(()))
    })
}

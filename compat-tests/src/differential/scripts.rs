//! What is asked, by subject: one file each. Scripts leave topics behind; each uses names of its own.

mod cluster;
mod configs;
mod records;
mod topics;

use reka_protocol::kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use reka_protocol::kafka_protocol::messages::{BrokerId, CreateTopicsRequest, TopicName};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::Pair;
use super::pair::Both;
use crate::error::Result;

/// A conversation with both brokers, and its name.
pub type Script = (&'static str, fn(&mut Pair) -> Result<()>);

/// All of them.
pub const SCRIPTS: &[Script] = &[
    ("topics", topics::script),
    ("configs", configs::script),
    ("records", records::script),
    ("cluster", cluster::script),
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

/// Creates a topic and keeps its id.
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
    let both: Both<_> = pair.ask_quietly(7, |_| create(vec![topic.clone()]))?;
    pair.keep(
        &both,
        |side, answer: &reka_protocol::kafka_protocol::messages::CreateTopicsResponse| {
            for topic in &answer.topics {
                side.topic_ids
                    .insert(topic.name.to_string(), topic.topic_id);
            }
        },
    );
    Ok(())
}

//! `flush.messages` and `flush.ms`: when records reach the disk, and who waits for it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_broker::partition::Partition;
use reka_protocol::kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig,
};
use reka_protocol::kafka_protocol::messages::{CreateTopicsRequest, ProduceRequest};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_storage::LogConfig;

use crate::support::{Client, batch, produce_request, start_with, topic_name, values};

const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing else syncs.
const NO_GROUP: &str = "reka.flush.group.ms=0";

pub(crate) fn create(client: &mut Client, configs: &[(&'static str, &'static str)]) {
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_value(Some(StrBytes::from_static_str(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name("t"))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(client.call(5, &request).topics[0].error_code, 0);
}

fn with_topic(dir: &Path, configs: &[(&'static str, &'static str)]) -> (Node, Client) {
    let node = start_with(dir, &[NO_GROUP]);
    let mut client = Client::connect(&node);
    create(&mut client, configs);
    (node, client)
}

fn partition(node: &Node) -> Arc<Partition> {
    let partitions = &node.services().partitions;
    partitions.get("t", 0).expect("a partition")
}

fn syncs(node: &Node) -> u64 {
    let metrics = &node.services().metrics.requests;
    metrics.flush_seconds.get_sample_count()
}

fn produce(client: &mut Client, value: &str) {
    let answer = client.produce(9, "t", batch(&[value], None));
    assert_eq!(answer.error_code, 0);
}

fn wait_until_flushed(node: &Node, end: i64) {
    let deadline = Instant::now() + PATIENCE;
    let partition = partition(node);
    while partition.flushed() < end {
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
}

#[test]
fn with_flush_messages_a_producer_is_told_once_its_records_are_on_disk() {
    let place = tempfile::tempdir().expect("a folder");
    let (node, mut client) = with_topic(place.path(), &[("flush.messages", "1")]);
    for count in 1..=5 {
        produce(&mut client, "x");
        assert_eq!(partition(&node).flushed(), count);
        assert_eq!(syncs(&node), count as u64);
    }
    // Those that are on their way together may share a sync, and none is told before.
    let sent: Vec<i32> = (0..10)
        .map(|_| client.send(9, &produce_request("t", batch(&["x", "y"], None))))
        .collect();
    for (at, correlation_id) in sent.into_iter().enumerate() {
        let answer = client.receive::<ProduceRequest>(9, correlation_id);
        let written = &answer.responses[0].partition_responses[0];
        assert_eq!(
            (written.error_code, written.base_offset),
            (0, 5 + 2 * at as i64)
        );
        assert!(partition(&node).flushed() >= written.base_offset + 2);
    }
    assert_eq!(values(&client.fetch(11, "t", 0, 0)).len(), 25);
    node.stop().expect("a clean stop");
}

#[test]
fn a_sync_comes_when_the_number_of_records_is_reached() {
    let place = tempfile::tempdir().expect("a folder");
    let (node, mut client) = with_topic(place.path(), &[("flush.messages", "3")]);
    for flushed in [0, 0, 3, 3, 3, 6, 6] {
        produce(&mut client, "x");
        assert_eq!(partition(&node).flushed(), flushed);
    }
    // All of it is seen: what is below the number waits for nothing.
    assert_eq!(values(&client.fetch(11, "t", 0, 0)).len(), 7);
    node.stop().expect("a clean stop");
}

#[test]
fn records_that_nobody_is_told_of_are_synced_all_the_same() {
    let place = tempfile::tempdir().expect("a folder");
    let (node, mut client) = with_topic(place.path(), &[("flush.messages", "1")]);
    let request = produce_request("t", batch(&["x"], None)).with_acks(0);
    client.send(9, &request);
    wait_until_flushed(&node, 1);
    // The answer to the next request is the next answer.
    assert_eq!(values(&client.fetch(11, "t", 0, 0)), [(0, "x".to_owned())]);
    node.stop().expect("a clean stop");
}

/// What was read together goes without waiting, if it has not to wait when it is looked at.
#[test]
fn nor_is_one_told_before_whose_topic_is_given_flush_messages_meanwhile() {
    let place = tempfile::tempdir().expect("a folder");
    let (node, mut client) = with_topic(place.path(), &[]);
    let partition = partition(&node);
    // As between the two halves of a change of the configuration.
    let mut log = partition.log_to_change().expect("a partition");
    let config = LogConfig {
        flush_messages: 1,
        ..log.config().clone()
    };
    log.set_config(config);
    drop(log);
    assert!(!partition.counts_unsynced());
    for round in 1..=5 {
        let sent = [(); 4].map(|()| client.send(9, &produce_request("t", batch(&["x"], None))));
        for (at, correlation_id) in sent.into_iter().enumerate() {
            let answer = client.receive::<ProduceRequest>(9, correlation_id);
            let written = &answer.responses[0].partition_responses[0];
            assert_eq!(written.error_code, 0);
            assert!(partition.flushed() > written.base_offset, "{round} {at}");
        }
        assert_eq!(partition.high_watermark(), 4 * round);
    }
    node.stop().expect("a clean stop");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a type").is_dir() {
            true => copy_all(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name()))),
        }
    }
}

/// A process that is killed loses nothing that it wrote: the kernel has it. As in Apache Kafka a leader
/// without followers begins with all of its log visible, also what nobody was told of.
#[test]
fn what_was_written_and_not_synced_is_there_after_a_kill() {
    let place = tempfile::tempdir().expect("a folder");
    let (node, mut client) = with_topic(&place.path().join("a"), &[("flush.messages", "3")]);
    for _ in 0..5 {
        produce(&mut client, "x");
    }
    assert_eq!(partition(&node).flushed(), 3);
    // What the kernel has when the process is killed.
    copy_all(&place.path().join("a"), &place.path().join("b"));
    node.stop().expect("a clean stop");
    let node = start_with(&place.path().join("b"), &[NO_GROUP]);
    let mut client = Client::connect(&node);
    assert_eq!(values(&client.fetch(11, "t", 0, 0)).len(), 5);
    node.stop().expect("a clean stop");
}

/// What a start after a kill has to scan is bounded in bytes, however long it is to the next checkpoint.
#[test]
fn a_lot_that_was_flushed_is_known_to_be_long_before_checkpoints_are_due() {
    let place = tempfile::tempdir().expect("a folder");
    let node = start_with(
        place.path(),
        &[
            "reka.flush.group.ms=1",
            "log.flush.offset.checkpoint.interval.ms=3600000",
            "log.flush.start.offset.checkpoint.interval.ms=3600000",
        ],
    );
    let mut client = Client::connect(&node);
    create(&mut client, &[]);
    let large = "x".repeat(1_000_000);
    for _ in 0..140 {
        produce(&mut client, &large);
    }
    wait_until_flushed(&node, 140);
    let stored = || {
        let path = place.path().join("recovery-point-offset-checkpoint");
        let text = std::fs::read_to_string(path).expect("a checkpoint");
        let line = text.lines().find_map(|line| line.strip_prefix("t 0 "));
        line.map_or(0, |offset| offset.parse().expect("an offset"))
    };
    let deadline = Instant::now() + PATIENCE;
    // Less than 128 MiB are behind it.
    while stored() < 140 - 135 {
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
    node.stop().expect("a clean stop");
}

#[test]
fn records_older_than_flush_ms_are_synced() {
    let place = tempfile::tempdir().expect("a folder");
    let (node, mut client) = with_topic(place.path(), &[("flush.ms", "1")]);
    produce(&mut client, "x");
    wait_until_flushed(&node, 1);
    node.stop().expect("a clean stop");
}

#[test]
fn without_either_nobody_waits_and_nothing_is_synced() {
    let place = tempfile::tempdir().expect("a folder");
    // Looked for so often that a look comes by while this goes on. Were flush.ms not set, it would be as much.
    let node = start_with(
        place.path(),
        &[NO_GROUP, "log.flush.scheduler.interval.ms=1"],
    );
    let mut client = Client::connect(&node);
    create(&mut client, &[("flush.ms", "3600000")]);
    for _ in 0..500 {
        produce(&mut client, "x");
    }
    assert_eq!((partition(&node).flushed(), syncs(&node)), (0, 0));
    node.stop().expect("a clean stop");
}

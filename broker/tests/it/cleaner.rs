//! Compaction by the clock: how fast, on how many threads, and what it keeps waiting.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_broker::partition::Partition;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use reka_protocol::kafka_protocol::messages::{
    DeleteTopicsRequest, IncrementalAlterConfigsRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::BatchBuilder;
use reka_storage::TopicPartition;

use crate::flush::create;
use crate::support::{Client, start_with, topic_name};

const PATIENCE: Duration = Duration::from_secs(60);
const BROKER: i8 = 4;
const RATE: &str = "log.cleaner.io.max.bytes.per.second";

/// A node that looks for logs to compact all the time.
fn busy(dir: &Path, setting: &str) -> Node {
    start_with(
        dir,
        &[
            "log.initial.task.delay.ms=0",
            "log.cleaner.backoff.ms=1",
            "reka.flush.group.ms=1",
            setting,
        ],
    )
}

fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
}

fn produce(client: &mut Client) {
    let mut builder = BatchBuilder::new(0);
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    let now_ms = reka_broker::clock::Clock::System.now_ms();
    let appended = builder.append(0, now_ms, Some(b"k"), Some(b"v"), headers);
    appended.expect("a record that fits");
    assert_eq!(client.produce(9, "t", builder.finish()).error_code, 0);
}

/// A compacted topic of which all but the last record may go.
fn dirty(node: &Node) -> (Client, Arc<Partition>) {
    let mut client = Client::connect(node);
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    create(&mut client, &configs);
    for _ in 0..10 {
        produce(&mut client);
    }
    let partition = node.services().partitions.get("t", 0);
    let partition = partition.expect("a partition");
    let mut log = partition.log_to_change().expect("a partition");
    log.roll(0).expect("a roll");
    drop(log);
    produce(&mut client);
    wait_for(|| partition.flushed() == 11);
    (client, partition)
}

/// Below which offset the log is compacted.
fn clean_below(node: &Node) -> Option<i64> {
    let name = TopicPartition::new("t", 0);
    let dir = node.services().log_dirs().of(&name).cloned();
    dir.and_then(|dir| dir.env().cleaner_points.get(&name))
}

/// A pass is under way: nobody else may begin one.
fn is_under_way(partition: &Partition) -> bool {
    let plan = partition.log().plan_compaction(11, 0);
    plan.expect("a plan").is_none()
}

fn set(client: &mut Client, key: &'static str, value: &'static str) {
    let result = alter(client, key, value);
    assert_eq!(result.error_code, 0, "{result:?}");
}

fn alter(
    client: &mut Client,
    key: &'static str,
    value: &'static str,
) -> AlterConfigsResourceResponse {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(key))
        .with_value(Some(StrBytes::from_static_str(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(StrBytes::from_static_str(""))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(1, &request).responses.remove(0)
}

/// A byte a second: a pass does not end in the life of a test.
#[test]
fn a_pass_keeps_to_its_rate_and_keeps_neither_flushes_nor_a_deletion_waiting() {
    let place = tempfile::tempdir().expect("a folder");
    let node = busy(place.path(), "log.cleaner.io.max.bytes.per.second=1");
    let (mut client, partition) = dirty(&node);
    wait_for(|| is_under_way(&partition));
    for end in 12..20 {
        produce(&mut client);
        wait_for(|| partition.flushed() == end);
    }
    assert!(is_under_way(&partition));
    assert_eq!(clean_below(&node), None);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    assert_eq!(client.call(5, &request).responses[0].error_code, 0);
    node.stop().expect("a clean stop");
}

#[test]
fn the_rate_may_be_raised_while_a_pass_is_under_way() {
    let place = tempfile::tempdir().expect("a folder");
    let node = busy(place.path(), "log.cleaner.io.max.bytes.per.second=1");
    let (mut client, partition) = dirty(&node);
    wait_for(|| is_under_way(&partition));
    assert_eq!(clean_below(&node), None);
    set(&mut client, RATE, "1000000000");
    wait_for(|| clean_below(&node) == Some(10));
    node.stop().expect("a clean stop");
}

/// It is over at once, though the pass is not.
#[test]
fn a_stop_does_not_wait_for_a_pass() {
    let place = tempfile::tempdir().expect("a folder");
    let node = busy(place.path(), "log.cleaner.io.max.bytes.per.second=1");
    let (_, partition) = dirty(&node);
    wait_for(|| is_under_way(&partition));
    node.stop().expect("a clean stop");
    assert_eq!(
        clean_below(&busy(place.path(), "log.cleaner.threads=0")),
        None
    );
}

#[test]
fn without_threads_nothing_is_compacted_and_with_more_than_one_all_is() {
    let place = tempfile::tempdir().expect("a folder");
    let node = busy(place.path(), "log.cleaner.threads=0");
    let (mut client, partition) = dirty(&node);
    for end in 12..20 {
        assert!(!is_under_way(&partition));
        assert_eq!(clean_below(&node), None);
        produce(&mut client);
        wait_for(|| partition.flushed() == end);
    }
    node.stop().expect("a clean stop");
    let node = busy(place.path(), "log.cleaner.threads=3");
    wait_for(|| clean_below(&node) == Some(10));
    node.stop().expect("a clean stop");
}

/// As in Apache Kafka: a step down or up at a time, and never to none.
#[test]
fn threads_are_not_all_taken_away_at_run_time_and_at_most_doubled() {
    let place = tempfile::tempdir().expect("a folder");
    let node = busy(place.path(), "log.cleaner.threads=2");
    let mut client = Client::connect(&node);
    let mut say = |value| {
        let result = alter(&mut client, "log.cleaner.threads", value);
        let said = result.error_message.map(|said| said.to_string());
        (result.error_code, said.unwrap_or_default())
    };
    let refused = |why: &str| (ErrorCode::InvalidRequest.code(), why.to_owned());
    let taken = (0, String::new());
    assert_eq!(
        say("0"),
        refused("Log cleaner threads should be at least 1")
    );
    let more = "Log cleaner threads cannot be increased to more than double the current value 2";
    assert_eq!(say("5"), refused(more));
    assert_eq!(say("4"), taken);
    let less = "Log cleaner threads cannot be reduced to less than half the current value 4";
    assert_eq!(say("1"), refused(less));
    assert_eq!(say("2"), taken);
    assert_eq!(say("1"), taken);
    assert_eq!(node.services().config().logs.cleaner.threads, 1);
    node.stop().expect("a clean stop");
}

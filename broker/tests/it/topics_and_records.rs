//! Topics come and go, records go in and out, in old versions and in new ones.

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig,
};
use reka_protocol::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use reka_protocol::kafka_protocol::messages::describe_producers_request::TopicRequest;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeProducersRequest, FetchRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, ProduceRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use crate::support::{
    Client, batch, fetch_request, produce_request, start, start_with, topic_name, values,
};

pub(crate) fn create(client: &mut Client, name: &str, partitions: i32) -> i16 {
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    client.call(7, &request).topics[0].error_code
}

#[test]
fn what_is_produced_is_fetched_in_every_version_of_both() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let mut expected = Vec::new();
    for version in 3..=12 {
        let value = format!("produced in version {version}");
        let answer = client.produce(version, "t", batch(&[&value], None));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (0, expected.len() as i64),
            "version {version}"
        );
        expected.push((expected.len() as i64, value));
    }
    for version in 4..=12 {
        let data = client.fetch(version, "t", 0, 0);
        assert_eq!(
            (data.error_code, data.high_watermark),
            (0, expected.len() as i64),
            "version {version}"
        );
        assert_eq!(values(&data), expected, "version {version}");
    }
    node.stop().expect("a clean stop");
}

#[test]
fn newest_versions_name_topics_by_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1);
    let topics = client
        .call(12, &MetadataRequest::default().with_topics(None))
        .topics;
    let id = topics[0].topic_id;
    assert!(!id.is_nil());
    let mut produce = produce_request("", batch(&["by id"], None));
    produce.topic_data[0].topic_id = id;
    assert_eq!(
        client.call::<ProduceRequest>(13, &produce).responses[0].partition_responses[0].error_code,
        0
    );
    let mut fetch = fetch_request("", 0, 0);
    fetch.topics[0].topic_id = id;
    let data = client
        .call::<FetchRequest>(17, &fetch)
        .responses
        .remove(0)
        .partitions
        .remove(0);
    assert_eq!(values(&data), [(0, "by id".to_owned())]);
    fetch.topics[0].topic_id = uuid::Uuid::from_u128(1);
    let data = client
        .call::<FetchRequest>(17, &fetch)
        .responses
        .remove(0)
        .partitions
        .remove(0);
    assert_eq!(data.error_code, ErrorCode::UnknownTopicId.code());
}

#[test]
fn a_parked_fetch_is_answered_by_the_append_it_waits_for_and_in_its_turn() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut waiting = Client::connect(&node);
    create(&mut waiting, "t", 1);
    let parked = waiting.send(11, &fetch_request("t", 0, 15_000));
    // Pipelined behind it: answered at once, sent after.
    let behind = waiting.send(0, &ApiVersionsRequest::default());
    let mut producing = Client::connect(&node);
    producing.produce(9, "t", batch(&["awaited"], None));
    let answer = waiting.receive::<FetchRequest>(11, parked);
    assert_eq!(
        values(&answer.responses[0].partitions[0]),
        [(0, "awaited".to_owned())]
    );
    waiting.receive::<ApiVersionsRequest>(0, behind);
}

#[test]
fn a_retry_of_an_idempotent_batch_is_answered_with_its_first_offset() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1);
    let init = client.call(
        4,
        &InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000),
    );
    assert_eq!((init.error_code, init.producer_epoch), (0, 0));
    let id = init.producer_id.0;
    let mut send = |values: &[&str], sequence| {
        let answer = client.produce(9, "t", batch(values, Some((id, sequence))));
        (ErrorCode::from_code(answer.error_code), answer.base_offset)
    };
    assert_eq!(send(&["a", "b"], 0), (Some(ErrorCode::None), 0));
    assert_eq!(send(&["c"], 2), (Some(ErrorCode::None), 2));
    assert_eq!(send(&["a", "b"], 0), (Some(ErrorCode::None), 0));
    assert_eq!(send(&["e"], 4).0, Some(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(values(&client.fetch(11, "t", 0, 0)).len(), 3);
}

#[test]
fn offsets_are_found_by_time_and_by_their_special_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1);
    client.produce(9, "t", batch(&["a", "b", "c"], None));
    let mut find = |timestamp| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let found = client
            .call(7, &request)
            .topics
            .remove(0)
            .partitions
            .remove(0);
        (found.error_code, found.offset)
    };
    assert_eq!(find(-1), (0, 3));
    assert_eq!(find(-2), (0, 0));
    assert_eq!(find(-3), (0, 2));
    assert_eq!(find(1_001), (0, 1));
    assert_eq!(find(2_000), (0, -1));
}

#[test]
fn topics_are_created_listed_and_deleted_with_kafkas_errors() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "a.b", 3), 0);
    assert_eq!(
        create(&mut client, "a.b", 3),
        ErrorCode::TopicAlreadyExists.code()
    );
    assert_eq!(
        create(&mut client, "a_b", 1),
        ErrorCode::InvalidTopicException.code()
    );
    assert_eq!(
        create(&mut client, "a b", 1),
        ErrorCode::InvalidTopicException.code()
    );
    assert_eq!(
        create(&mut client, "none", 0),
        ErrorCode::InvalidPartitions.code()
    );
    let topics = client
        .call(9, &MetadataRequest::default().with_topics(None))
        .topics;
    assert_eq!(topics.len(), 1);
    assert_eq!(topics[0].partitions.len(), 3);
    let delete = |name: &str| {
        DeleteTopicsRequest::default()
            .with_topics(vec![
                DeleteTopicState::default().with_name(Some(topic_name(name))),
            ])
            .with_timeout_ms(10_000)
    };
    assert_eq!(client.call(6, &delete("a.b")).responses[0].error_code, 0);
    let gone = client.call(6, &delete("a.b")).responses[0].error_code;
    assert_eq!(gone, ErrorCode::UnknownTopicOrPartition.code());
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("the data directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        // Files that wait for the end of `file.delete.delay.ms` have another name.
        .filter(|name| name.starts_with("a.b") && !name.ends_with("-delete"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn asking_for_a_missing_topic_creates_it_if_asked_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    let mut ask = |create| {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name("auto")));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(create);
        let topic = client.call(9, &request).topics.remove(0);
        (topic.error_code, topic.partitions.len())
    };
    assert_eq!(ask(false), (ErrorCode::UnknownTopicOrPartition.code(), 0));
    assert_eq!(ask(true), (0, 1));
    assert_eq!(ask(false), (0, 1));
}

#[test]
fn the_cluster_is_described_by_the_address_it_was_reached_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    let cluster = client.call(1, &DescribeClusterRequest::default().with_endpoint_type(1));
    assert_eq!(cluster.brokers.len(), 1);
    assert_eq!(
        cluster.brokers[0].host,
        StrBytes::from_static_str("127.0.0.1")
    );
    assert_eq!(
        cluster.brokers[0].port,
        i32::from(node.listeners()[0].bound.port())
    );
}

#[test]
fn settings_of_a_topic_are_checked_when_it_is_created_and_obeyed_afterwards() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start_with(dir.path(), &["message.max.bytes=2000"]);
    let mut client = Client::connect(&node);
    let mut create = |name: &str, key: &'static str, value: &'static str| {
        let config = CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_value(Some(StrBytes::from_static_str(value)));
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![config]);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        client.call(7, &request).topics[0].error_code
    };
    assert_eq!(
        create("wrong", "retention.ms", "soon"),
        ErrorCode::InvalidConfig.code()
    );
    assert_eq!(
        create("unknown", "retention.mss", "1"),
        ErrorCode::InvalidConfig.code()
    );
    assert_eq!(create("compacted", "cleanup.policy", "compact"), 0);
    assert_eq!(create("large", "max.message.bytes", "10000"), 0);
    // The batches here have no keys.
    let refused = client
        .produce(9, "compacted", batch(&["x"], None))
        .error_code;
    assert_eq!(refused, ErrorCode::InvalidRecord.code());
    let large = "x".repeat(5_000);
    let refused = client
        .produce(9, "large", batch(&[&large, &large], None))
        .error_code;
    assert_eq!(refused, ErrorCode::MessageTooLarge.code());
    assert_eq!(
        client
            .produce(9, "large", batch(&[&large], None))
            .error_code,
        0
    );
}

#[test]
fn topics_are_not_deleted_where_that_is_forbidden() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start_with(dir.path(), &["delete.topic.enable=false"]);
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let request = DeleteTopicsRequest::default()
        .with_topics(vec![
            DeleteTopicState::default().with_name(Some(topic_name("t"))),
        ])
        .with_timeout_ms(10_000);
    let refused = client.call(6, &request).responses[0].error_code;
    assert_eq!(refused, ErrorCode::TopicDeletionDisabled.code());
}

#[test]
fn a_silent_producer_is_forgotten_after_its_time_and_not_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let often = [
        "log.initial.task.delay.ms=0",
        "producer.id.expiration.check.interval.ms=5",
    ];
    let producers = |client: &mut Client| {
        let topic = TopicRequest::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let mut answer = client.call(0, &request);
        let partition = answer.topics.remove(0).partitions.remove(0);
        assert_eq!(partition.error_code, 0);
        partition.active_producers.len()
    };
    let node = start_with(dir.path(), &often);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1);
    client.produce(9, "t", batch(&["a"], Some((77, 0))));
    assert_eq!(producers(&mut client), 1, "a day is not over");
    node.stop().expect("a clean stop");

    let soon = [&often[..], &["producer.id.expiration.ms=1"]].concat();
    let node = start_with(dir.path(), &soon);
    let mut client = Client::connect(&node);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while producers(&mut client) > 0 {
        assert!(std::time::Instant::now() < deadline, "never forgotten");
    }
}

#[test]
fn what_is_set_for_all_brokers_is_in_force_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1);
    let set = |client: &mut Client, op: i8, value: Option<&str>| {
        let config = AlterableConfig::default()
            .with_name(StrBytes::from_static_str("message.max.bytes"))
            .with_config_operation(op)
            .with_value(value.map(|value| StrBytes::from_string(value.to_owned())));
        let resource = AlterConfigsResource::default()
            .with_resource_type(4)
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        client.call(1, &request).responses[0].error_code
    };
    let produce = |client: &mut Client| {
        let large = "x".repeat(1_000);
        client.produce(9, "t", batch(&[&large], None)).error_code
    };
    assert_eq!(produce(&mut client), 0);
    assert_eq!(set(&mut client, 0, Some("500")), 0);
    assert_eq!(produce(&mut client), ErrorCode::MessageTooLarge.code());
    node.stop().expect("a clean stop");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    assert_eq!(produce(&mut client), ErrorCode::MessageTooLarge.code());
    assert_eq!(set(&mut client, 1, None), 0);
    assert_eq!(produce(&mut client), 0);
}

//! What was acknowledged is there after a restart.

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest};

use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest,
};

use crate::support::{
    Client, batch, config, fetch_request, loggers, start, start_with, topic_name, values,
};
use crate::topics_and_records::create;

#[test]
fn topics_records_producers_and_ids_survive_a_clean_stop() {
    let dir = tempfile::tempdir().expect("a folder");
    let init = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000);
    let mut ids = Vec::new();
    let mut cluster_ids = Vec::new();
    for round in 0..3 {
        let node = start(dir.path());
        let mut client = Client::connect(&node);
        // Created by the first round, found by the others.
        let metadata = client.call(9, &MetadataRequest::default().with_topics(Some(vec![
            reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
                .with_name(Some(topic_name("t"))),
        ])).with_allow_auto_topic_creation(true));
        cluster_ids.push(metadata.cluster_id.expect("a cluster id"));
        ids.push(client.call(4, &init).producer_id.0);
        let producer = Some((ids[0], round));
        let answer = client.produce(9, "t", batch(&[&format!("round {round}")], producer));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (0, i64::from(round))
        );
        // The batch of the round before is still known.
        if round > 0 {
            let retry = batch(
                &[&format!("round {}", round - 1)],
                Some((ids[0], round - 1)),
            );
            assert_eq!(
                client.produce(9, "t", retry).base_offset,
                i64::from(round - 1)
            );
        }
        let seen = values(&client.fetch(11, "t", 0, 0));
        assert_eq!(seen.len(), round as usize + 1);
        node.stop().expect("a clean stop");
    }
    assert!(ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
    assert!(cluster_ids.iter().all(|id| *id == cluster_ids[0]));
}

#[test]
fn a_data_directory_that_is_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let error = reka_broker::Node::start(config(dir.path(), &[]), loggers())
        .expect_err("the directory is taken");
    assert!(
        error.to_string().contains("is in use by another process"),
        "{error}"
    );
    // The first one is unharmed.
    let mut client = Client::connect(&node);
    let answer = client.produce(9, "missing", batch(&["x"], None));
    assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn topics_come_and_go_under_the_flusher_and_the_disk_stays_good() {
    // A flush that was under way when its partition was deleted found the directory gone, took
    // that for a failing disk and everything offline.
    let dir = tempfile::tempdir().expect("a folder");
    let node = start_with(dir.path(), &["reka.flush.group.ms=1"]);
    let mut client = Client::connect(&node);
    for round in 0..200 {
        let name = format!("t{round}");
        let topic = CreatableTopic::default()
            .with_name(topic_name(&name))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let create = CreateTopicsRequest::default().with_topics(vec![topic]);
        assert_eq!(client.call(5, &create).topics[0].error_code, 0, "{name}");
        let written = client.produce(9, &name, batch(&["a"], None));
        assert_eq!(written.error_code, 0, "{name}");
        let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(&name)]);
        assert_eq!(client.call(5, &delete).responses[0].error_code, 0, "{name}");
    }
    node.stop().expect("a clean stop");
}

/// A broker that comes back may lack what it had not synced, and others write in that place.
#[test]
fn whoever_read_what_is_gone_after_a_restart_is_told_where_its_epoch_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    client.produce(9, "t", batch(&["a", "b", "c"], None));
    node.stop().expect("a clean stop");

    let node = start(dir.path());
    let mut client = Client::connect(&node);
    client.produce(9, "t", batch(&["d", "e", "f"], None));
    let mut fetch = |last_fetched_epoch: i32| {
        let mut request = fetch_request("t", 5, 0);
        request.topics[0].partitions[0].last_fetched_epoch = last_fetched_epoch;
        let correlation_id = client.send(12, &request);
        let mut answer = client.receive::<FetchRequest>(12, correlation_id);
        answer.responses.remove(0).partitions.remove(0)
    };
    // Five offsets of the first epoch were read, of which there are three now.
    let diverges = fetch(0).diverging_epoch;
    assert_eq!((diverges.epoch, diverges.end_offset), (0, 3));
    let goes_on = fetch(1);
    assert_eq!(goes_on.diverging_epoch.epoch, -1);
    // The whole batch, as always.
    assert_eq!(values(&goes_on).last(), Some(&(5, "f".to_owned())));
    node.stop().expect("a clean stop");
}

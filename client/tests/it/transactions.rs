//! Records and offsets that count together or not at all.

use std::time::Duration;

use reka_client::admin::{FeatureChange, Isolation, NewTopic, OffsetToCommit};
use reka_client::{
    Client, Consumer, ConsumerConfig, OffsetReset, Producer, ProducerConfig, ProducerRecord,
    TopicPartition, TransactionalConfig,
};
use reka_protocol::ErrorCode;

use crate::admin_topics::client;
use crate::server::{Server, create};

const PATIENCE: Duration = Duration::from_secs(60);

fn producer(client: &Client, id: &str) -> Producer {
    let config = ProducerConfig {
        transactional: Some(TransactionalConfig {
            id: id.to_owned(),
            timeout: Duration::from_secs(60),
        }),
        ..ProducerConfig::default()
    };
    Producer::new(client.clone(), config).expect("a producer")
}

async fn send(producer: &Producer, topic: &str, partition: i32, value: &str) {
    let record = ProducerRecord::new(topic)
        .partition(partition)
        .value(value.to_owned());
    let _ = producer.send(record).await.expect("taken");
}

async fn read(client: &Client, topic: &str, isolation: Isolation, count: usize) -> Vec<String> {
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        isolation,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    consumer.assign([0, 1].map(|partition| TopicPartition::new(topic, partition)));
    let mut found = Vec::new();
    while found.len() < count {
        let fetched = consumer
            .poll(PATIENCE)
            .await
            .expect("records")
            .expect("in time");
        for record in fetched.records {
            let value = record.value.expect("a value");
            found.push(String::from_utf8_lossy(&value).into_owned());
        }
    }
    let more = consumer
        .poll(Duration::from_millis(100))
        .await
        .expect("no error");
    assert!(more.is_none(), "{more:?}");
    found.sort();
    found
}

async fn commit_and_abort(client: &Client, topic: &str) {
    let new = [NewTopic::new(topic).partitions(2)];
    create(client, &new).await;
    let producer = producer(client, topic);
    let refused = producer.send(ProducerRecord::new(topic)).await;
    assert!(refused.is_err(), "no transaction has begun");

    let at = TopicPartition::new(topic, 0);
    for round in 0..3 {
        producer.begin().await.expect("begun");
        send(&producer, topic, 0, &format!("kept {round} a")).await;
        send(&producer, topic, 1, &format!("kept {round} b")).await;
        let offset = [(at.clone(), OffsetToCommit::new(10 + round))];
        producer
            .send_offsets(topic, None, &offset)
            .await
            .expect("sent");
        producer.commit().await.expect("committed");

        producer.begin().await.expect("begun");
        send(&producer, topic, 0, &format!("dropped {round}")).await;
        let offset = [(at.clone(), OffsetToCommit::new(99))];
        producer
            .send_offsets(topic, None, &offset)
            .await
            .expect("sent");
        producer.abort().await.expect("aborted");
    }
    // One without anything in it is none.
    producer.begin().await.expect("begun");
    producer.commit().await.expect("committed");

    let committed = read(client, topic, Isolation::ReadCommitted, 6).await;
    assert!(
        committed.iter().all(|value| value.starts_with("kept")),
        "{committed:?}"
    );
    assert_eq!(
        read(client, topic, Isolation::ReadUncommitted, 9)
            .await
            .len(),
        9
    );
    let offsets = client.group_offsets(topic).await.expect("offsets");
    assert_eq!(offsets[&at].offset, 12);
}

#[tokio::test]
async fn what_is_committed_counts_with_its_offsets_and_what_is_aborted_does_not() {
    let server = Server::start();
    commit_and_abort(&client(&server), "ledger").await;
}

/// The same before KIP-890, where partitions and groups are added by requests of their own.
#[tokio::test]
async fn transactions_of_the_first_version_count_alike() {
    let server = Server::start_ours("127.0.0.1:0");
    let change = FeatureChange {
        name: "transaction.version".to_owned(),
        level: 1,
        allow_downgrade: true,
    };
    let changed = client(&server).update_features(&[change], false).await;
    changed.expect("answers")[0].1.as_ref().expect("downgraded");
    // Features are told when a connection is made.
    let client = client(&server);
    let features = client.features().await.expect("features");
    let version = features
        .iter()
        .find(|feature| feature.name == "transaction.version");
    assert_eq!(version.expect("transaction.version").finalized, 1);
    commit_and_abort(&client, "ledger-first").await;
}

/// The second producer with an id takes the place of the first, whose transaction is aborted.
#[tokio::test]
async fn a_producer_that_was_replaced_can_do_nothing_any_more() {
    let server = Server::start();
    let client = client(&server);
    let new = [NewTopic::new("replaced").partitions(2)];
    create(&client, &new).await;
    let first = producer(&client, "replaced");
    first.begin().await.expect("begun");
    send(&first, "replaced", 0, "of the first").await;
    first.flush().await;
    let second = producer(&client, "replaced");
    second.begin().await.expect("begun");
    send(&second, "replaced", 0, "of the second").await;
    second.commit().await.expect("committed");

    let refused = first
        .commit()
        .await
        .expect_err("it is not the one any more");
    let fenced = [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch];
    let refusal = refused.refusal().expect("a refusal");
    assert!(fenced.iter().any(|code| refusal.is(*code)), "{refused}");
    first.begin().await.expect_err("nor will it ever be");
    assert_eq!(
        read(&client, "replaced", Isolation::ReadCommitted, 1).await,
        ["of the second"]
    );
}

//! Refusals that pass: a broker that says "not now" is asked again, and nobody who uses the client
//! learns of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reka_client::admin::{NewTopic, OffsetToCommit};
use reka_client::{
    Client, ClientConfig, Consumer, ConsumerConfig, OffsetReset, Producer, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use reka_protocol::ErrorCode;

use crate::gates::behind_refusals;
use crate::server::create;

const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "refused";

fn client(address: &str) -> Client {
    let mut config = ClientConfig::new(address.parse().expect("an address"));
    config.backoff.first = Duration::from_millis(5);
    config.backoff.max = Duration::from_millis(20);
    Client::new(config)
}

/// Ten records go out, come back once each and in order, and a group commits where reading has come,
/// whatever was refused three times on the way.
async fn goes_through(api: &'static str, code: ErrorCode) {
    let (gate, left) = behind_refusals(api, code, 3).await;
    let client = client(&gate.address);
    create(&client, &[NewTopic::new(TOPIC)]).await;
    let producer = Producer::new(client.clone(), ProducerConfig::default()).expect("a producer");
    let mut deliveries = Vec::new();
    for number in 0..10 {
        let record = ProducerRecord::new(TOPIC).value(number.to_string());
        deliveries.push(producer.send(record).await.expect("taken"));
    }
    for (offset, delivery) in (0..).zip(deliveries) {
        let delivered = delivery.wait().await;
        let delivered = delivered.unwrap_or_else(|error| panic!("{api} {code}: {error}"));
        assert_eq!(delivered.offset, Some(offset), "{api} {code}");
    }
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    let at = TopicPartition::new(TOPIC, 0);
    consumer.assign([at.clone()]);
    let mut next = 0;
    while next < 10 {
        let fetched = consumer.poll(PATIENCE).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("{api} {code}: {error}"));
        for record in fetched.expect("as many as were sent").records {
            assert_eq!(record.offset, next, "{api} {code}");
            next += 1;
        }
    }
    let offsets = [(at.clone(), OffsetToCommit::new(10))];
    let committed = consumer.commit("refused-group", &offsets).await;
    committed.unwrap_or_else(|error| panic!("{api} {code}: {error}"));
    let found = client
        .group_offsets("refused-group")
        .await
        .expect("offsets");
    assert_eq!(found[&at].offset, 10, "{api} {code}");
    assert_eq!(left.load(Ordering::Relaxed), 0, "{api} was never refused");
}

#[tokio::test]
async fn batches_are_sent_again() {
    for code in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::NotEnoughReplicas,
        ErrorCode::RequestTimedOut,
        ErrorCode::LeaderNotAvailable,
    ] {
        goes_through("Produce", code).await;
    }
}

#[tokio::test]
async fn records_are_fetched_again() {
    for code in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::OffsetNotAvailable,
    ] {
        goes_through("Fetch", code).await;
    }
}

#[tokio::test]
async fn coordinators_are_looked_for_and_asked_again() {
    goes_through("FindCoordinator", ErrorCode::CoordinatorNotAvailable).await;
    for code in [
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::NotCoordinator,
    ] {
        goes_through("OffsetCommit", code).await;
    }
}

//! Records out and back in: order, keys, codecs, positions, kills.

use std::collections::BTreeMap;
use std::time::Duration;

use reka_client::admin::{NewTopic, OffsetSpec};
use reka_client::producer::partitioner;
use reka_client::{
    Client, ClientConfig, ClientError, Consumer, ConsumerConfig, ConsumerRecord, OffsetReset,
    Producer, ProducerConfig, ProducerRecord, TopicPartition,
};
use reka_protocol::ErrorCode;
use reka_records::Compression;

use crate::admin_topics::client;
use crate::server::{Server, create};

/// Longer than anything here takes; a hang fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

async fn topic(client: &Client, name: &str, partitions: i32) {
    let new = [NewTopic::new(name).partitions(partitions)];
    create(client, &new).await;
}

fn consumer(client: &Client, partitions: &[TopicPartition]) -> Consumer {
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    consumer.assign(partitions.iter().cloned());
    consumer
}

/// Reads until so many records are there.
async fn read(
    consumer: &mut Consumer,
    count: usize,
) -> BTreeMap<TopicPartition, Vec<ConsumerRecord>> {
    let mut found: BTreeMap<TopicPartition, Vec<ConsumerRecord>> = BTreeMap::new();
    let mut left = count;
    while left > 0 {
        let fetched = consumer.poll(PATIENCE).await.expect("records");
        let fetched = fetched.unwrap_or_else(|| panic!("{left} of {count} never came"));
        left = left
            .checked_sub(fetched.records.len())
            .expect("no more than were sent");
        found
            .entry(fetched.partition)
            .or_default()
            .extend(fetched.records);
    }
    found
}

fn text(record: &ConsumerRecord) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
}

#[tokio::test]
async fn records_come_back_in_order_with_all_they_had_in_every_codec() {
    let server = Server::start();
    let client = client(&server);
    for codec in Compression::ALL {
        let name = format!("codec-{codec}");
        topic(&client, &name, 1).await;
        let config = ProducerConfig {
            compression: codec,
            batch_bytes_max: 2000,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(client.clone(), config).expect("a producer");
        let mut deliveries = Vec::new();
        for number in 0..500 {
            let mut record = ProducerRecord::new(&name).value(format!("value {number}"));
            record.key = (number % 3 > 0).then(|| format!("key {number}").into());
            record.headers = vec![
                ("trace".to_owned(), Some("1".into())),
                ("trace".to_owned(), None),
            ];
            record.timestamp = Some(1_700_000_000_000 + number);
            deliveries.push(producer.send(record).await.expect("taken"));
        }
        producer.flush().await;
        for (offset, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.wait().await.expect("there").offset, Some(offset));
        }
        let at = TopicPartition::new(name, 0);
        let found = read(&mut consumer(&client, std::slice::from_ref(&at)), 500).await;
        for (number, record) in (0..).zip(&found[&at]) {
            assert_eq!(record.offset, number);
            assert_eq!(record.timestamp, 1_700_000_000_000 + number);
            assert_eq!(text(record), format!("value {number}"));
            assert_eq!(record.key.is_some(), number % 3 > 0);
            assert_eq!(record.headers.len(), 2);
        }
    }
}

#[tokio::test]
async fn keys_choose_partitions_as_java_does_and_records_without_one_spread() {
    let server = Server::start();
    let client = client(&server);
    topic(&client, "keyed", 4).await;
    let config = ProducerConfig {
        linger: Duration::ZERO,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client.clone(), config).expect("a producer");
    for number in 0..40 {
        let key = format!("key {number}");
        let record = ProducerRecord::new("keyed").key(key.clone()).value("v");
        let delivered = producer.send(record).await.expect("taken").wait().await;
        let expected = partitioner::for_key(key.as_bytes(), 4);
        assert_eq!(delivered.expect("there").partition.partition, expected);
    }
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let record = ProducerRecord::new("keyed").value("v");
        let delivered = producer.send(record).await.expect("taken").wait().await;
        used.insert(delivered.expect("there").partition.partition);
    }
    assert_eq!(
        used.len(),
        4,
        "each batch goes to another partition: {used:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_delivered_is_told_with_the_reason() {
    let server = Server::start();
    let client = client(&server);
    let mut new = NewTopic::new("small");
    new.configs = vec![("max.message.bytes".to_owned(), "1000".to_owned())];
    create(&client, &[new]).await;
    let producer = Producer::new(client.clone(), ProducerConfig::default()).expect("a producer");
    let large = ProducerRecord::new("small").value(vec![b'x'; 5000]);
    let refused = producer.send(large).await.expect("taken").wait().await;
    let refused = refused.expect_err("too large");
    assert!(
        refused
            .refusal()
            .expect("a refusal")
            .is(ErrorCode::MessageTooLarge),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("partition small-0"),
        "{refused}"
    );
    // What was refused has used no sequence number: the next goes through.
    let good = ProducerRecord::new("small").value("fits");
    assert_eq!(
        producer
            .send(good)
            .await
            .expect("taken")
            .wait()
            .await
            .expect("there")
            .offset,
        Some(0)
    );

    let far = ProducerRecord::new("small").value("v").partition(7);
    let refused = producer.send(far).await.expect_err("it has one");
    assert!(
        refused.to_string().contains("the topic has 1 partitions"),
        "{refused}"
    );
    let nowhere = ProducerRecord::new("no-such-topic").value("v");
    let refused = producer.send(nowhere).await.expect_err("not there");
    assert!(
        refused
            .refusal()
            .expect("a refusal")
            .is(ErrorCode::UnknownTopicOrPartition)
    );
    let config = ProducerConfig {
        acks: reka_client::Acks::Leader,
        ..ProducerConfig::default()
    };
    let refused = Producer::new(client, config).expect_err("idempotence needs all");
    assert!(matches!(refused, ClientError::Config { .. }));
}

/// A topic may take less than the producer's batches: they are divided until it does, in order and
/// each record once, and what is behind them on its way follows.
#[tokio::test]
async fn batches_that_are_too_large_for_their_topic_are_divided() {
    let server = Server::start();
    let client = client(&server);
    let mut new = NewTopic::new("narrow").partitions(1);
    new.configs = vec![("max.message.bytes".to_owned(), "1000".to_owned())];
    create(&client, &[new]).await;
    let config = ProducerConfig {
        batch_bytes_max: 16_000,
        linger: Duration::from_millis(20),
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client.clone(), config).expect("a producer");
    let mut deliveries = Vec::new();
    let value = |number: i64| format!("{number:0100}");
    for number in 0..600 {
        let record = ProducerRecord::new("narrow").value(value(number));
        deliveries.push(producer.send(record).await.expect("taken"));
        if number == 300 {
            // By now the topic is known to be narrow, and batches that fit are on their way.
            let large = ProducerRecord::new("narrow").value(vec![b'x'; 2000]);
            let refused = producer.send(large).await.expect("taken").wait().await;
            let refused = refused.expect_err("no topic that narrow takes it");
            let refusal = refused.refusal().expect("a refusal");
            assert!(refusal.is(ErrorCode::MessageTooLarge), "{refused}");
        }
    }
    for (number, delivery) in (0..).zip(deliveries) {
        let delivered = delivery.wait().await.expect("divided until it fits");
        assert_eq!(delivered.offset, Some(number));
    }
    let at = TopicPartition::new("narrow", 0);
    let found = read(&mut consumer(&client, std::slice::from_ref(&at)), 600).await;
    for (number, record) in (0..).zip(&found[&at]) {
        assert_eq!((record.offset, text(record)), (number, value(number)));
    }
}

/// A broker that is killed in the middle comes back: nothing is lost, nothing is there twice, and
/// order is kept.
#[tokio::test]
async fn a_kill_in_the_middle_loses_nothing_and_doubles_nothing() {
    let mut server = Server::start_ours("127.0.0.1:0");
    let client = client(&server);
    topic(&client, "killed", 2).await;
    let config = ProducerConfig {
        batch_bytes_max: 1000,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client.clone(), config).expect("a producer");
    let sending = tokio::spawn(async move {
        let mut deliveries = Vec::new();
        for number in 0..4000_i32 {
            let record = ProducerRecord::new("killed")
                .partition(number % 2)
                .value(number.to_string());
            deliveries.push(producer.send(record).await.expect("taken"));
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for delivery in deliveries {
            delivery.wait().await.expect("delivered in the end");
        }
    });
    let partitions = [0, 1].map(|partition| TopicPartition::new("killed", partition));
    let mut reader = consumer(&client, &partitions);
    let some = reader.poll(PATIENCE).await.expect("records");
    assert!(some.is_some(), "the load has begun");
    server.kill_and_restart();
    sending.await.expect("all delivered");
    let found = read(&mut consumer(&client, &partitions), 4000).await;
    for (partition, records) in found {
        let numbers: Vec<String> = records.iter().map(text).collect();
        let expected = (0..4000).filter(|number| number % 2 == partition.partition);
        let expected: Vec<String> = expected.map(|number| number.to_string()).collect();
        assert_eq!(numbers, expected, "{partition}");
    }
}

#[tokio::test]
async fn a_consumer_goes_where_it_is_told() {
    let server = Server::start();
    let client = client(&server);
    topic(&client, "sought", 1).await;
    let at = TopicPartition::new("sought", 0);
    let producer = Producer::new(client.clone(), ProducerConfig::default()).expect("a producer");
    for number in 0..10 {
        let mut record = ProducerRecord::new("sought").value(number.to_string());
        record.timestamp = Some(1_700_000_000_000 + number * 1000);
        let _ = producer.send(record).await.expect("taken");
    }
    producer.flush().await;
    let mut consumer = consumer(&client, std::slice::from_ref(&at));
    assert_eq!(read(&mut consumer, 10).await[&at].len(), 10);
    assert_eq!(consumer.position(&at), Some(10));
    consumer.seek(&at, 7);
    assert_eq!(read(&mut consumer, 3).await[&at][0].offset, 7);
    consumer.seek_to(&at, OffsetSpec::At(1_700_000_004_500));
    assert_eq!(read(&mut consumer, 5).await[&at][0].offset, 5);
    // Nothing is that late: it waits for what comes.
    consumer.seek_to(&at, OffsetSpec::At(1_800_000_000_000));
    let began = std::time::Instant::now();
    while consumer.position(&at).is_none() {
        assert!(began.elapsed() < PATIENCE, "it is never looked up");
        let none = consumer.poll(Duration::from_millis(50)).await;
        assert!(none.expect("no error").is_none());
    }
    assert_eq!(consumer.position(&at), Some(10));
    // An offset that is not there goes where the settings say.
    consumer.seek(&at, 99);
    assert_eq!(read(&mut consumer, 10).await[&at][0].offset, 0);
    consumer.pause(&at);
    consumer.seek(&at, 0);
    let none = consumer
        .poll(Duration::from_millis(50))
        .await
        .expect("no error");
    assert!(none.is_none(), "it is paused");
    consumer.resume(&at);
    assert_eq!(read(&mut consumer, 10).await[&at].len(), 10);
}

/// A poll that is given up at any of its waits, as a `select!` does, gives its records to the next.
#[tokio::test]
async fn a_poll_that_is_dropped_loses_nothing() {
    let server = Server::start();
    let mut config = ClientConfig::new(server.address().parse().expect("an address"));
    // So that each fetch has to look for leaders first, and waits for the answer.
    config.metadata_age_max = Duration::ZERO;
    let client = Client::new(config);
    topic(&client, "dropped", 2).await;
    let partitions = [0, 1].map(|partition| TopicPartition::new("dropped", partition));
    let sender = crate::admin_topics::client(&server);
    let producer = Producer::new(sender, ProducerConfig::default()).expect("a producer");
    for number in 0..200 {
        let record = ProducerRecord::new("dropped")
            .partition(number % 2)
            .value(number.to_string());
        let _ = producer.send(record).await.expect("taken");
    }
    producer.flush().await;
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        partition_bytes_max: 300,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client, config);
    consumer.assign(partitions);
    let mut seen = Vec::new();
    let mut attempts: u64 = 0;
    let began = std::time::Instant::now();
    while seen.len() < 200 {
        assert!(began.elapsed() < PATIENCE / 2, "{} of 200", seen.len());
        let mut poll = Box::pin(consumer.poll(PATIENCE));
        // From nothing to more than it takes, so that it is given up everywhere on its way.
        attempts = (attempts + 1) % 60;
        let patience = Duration::from_millis(attempts);
        if let Ok(fetched) = tokio::time::timeout(patience, &mut poll).await {
            let fetched = fetched.expect("no error").expect("records");
            seen.extend(fetched.records.iter().map(text));
        }
    }
    let mut numbers: Vec<i32> = seen
        .iter()
        .map(|text| text.parse().expect("a number"))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<i32>>());
}

//! What was read is not there any more: topics that are created anew, records that are lost.

use std::time::Duration;

use reka_client::admin::NewTopic;
use reka_client::{
    Client, ClientConfig, ClientError, Consumer, ConsumerConfig, OffsetReset, Producer,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use reka_protocol::ErrorCode;

use crate::admin_topics::client;
use crate::scripted::{Log, Scripted};
use crate::server::{Server, create, eventually, usable};

const PATIENCE: Duration = Duration::from_secs(60);

async fn produce(client: &Client, topic: &str, values: std::ops::Range<i32>) {
    let config = ProducerConfig {
        // A batch each.
        linger: Duration::ZERO,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client.clone(), config).expect("a producer");
    for value in values {
        let record = ProducerRecord::new(topic).value(value.to_string());
        let delivery = producer.send(record).await.expect("taken");
        delivery.wait().await.expect("delivered");
    }
}

fn consumer(client: &Client, topic: &str, offset_reset: OffsetReset) -> Consumer {
    let config = ConsumerConfig {
        offset_reset,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    consumer.assign([TopicPartition::new(topic, 0)]);
    consumer
}

async fn read(consumer: &mut Consumer, count: usize) -> Vec<i32> {
    let mut values = Vec::new();
    while values.len() < count {
        let fetched = consumer.poll(PATIENCE).await.expect("records");
        let fetched = fetched.unwrap_or_else(|| panic!("{values:?}, then nothing"));
        values.extend(fetched.records.iter().map(|record| {
            let value = record.value.as_deref().expect("a value");
            String::from_utf8_lossy(value)
                .parse::<i32>()
                .expect("a number")
        }));
    }
    values
}

/// Its records are others, wherever the reader had come in the topic of the same name before.
#[tokio::test]
async fn a_topic_that_was_created_anew_is_read_from_its_start() {
    let server = Server::start();
    let client = client(&server);
    let new = [NewTopic::new("anew").partitions(1)];
    create(&client, &new).await;
    produce(&client, "anew", 0..10).await;
    let at = TopicPartition::new("anew", 0);
    let mut goes_on = consumer(&client, "anew", OffsetReset::Latest);
    goes_on.seek(&at, 0);
    let mut stops = consumer(&client, "anew", OffsetReset::Fail);
    stops.seek(&at, 0);
    assert_eq!(read(&mut goes_on, 10).await.len(), 10);
    assert_eq!(read(&mut stops, 10).await.len(), 10);

    // Another client, so that this one has to find out by itself.
    let other = crate::admin_topics::client(&server);
    let names = ["anew".to_owned()];
    let deleted = other.delete_topics(&names).await.expect("answers");
    deleted[0].1.as_ref().expect("deleted");
    eventually("it is gone", async || {
        other.describe_topics(&names).await.expect("answers")[0]
            .1
            .is_err()
    })
    .await;
    create(&other, &new).await;
    usable(&other, "anew").await;
    // More than was read before, so that the position is within the new topic.
    produce(&other, "anew", 100..120).await;
    let expected: Vec<i32> = (100..120).collect();
    assert_eq!(read(&mut goes_on, 20).await, expected);
    let refused = stops.poll(PATIENCE).await;
    let refused = refused.expect_err("its records are another topic's");
    let unknown = ErrorCode::UnknownTopicId;
    assert!(
        refused.refusal().is_some_and(|r| r.is(unknown)),
        "{refused}"
    );
    assert!(refused.to_string().contains("created anew"), "{refused}");
    // A producer that knew the one before finds the new one, too.
    produce(&client, "anew", 120..121).await;
    assert_eq!(read(&mut goes_on, 1).await, [120]);
}

/// A leader that lacks the last records, as after an unclean election: who had read them goes back to
/// where the loss begins, and reads what came in their place.
#[tokio::test]
async fn a_reader_goes_back_to_where_records_were_lost() {
    let records = |epoch: i32, values: std::ops::Range<i32>| {
        values.map(move |value| (epoch, value.to_string()))
    };
    let before = Log {
        epoch: 0,
        records: records(0, 0..10).collect(),
    };
    let broker = Scripted::start(before).await;
    let client = Client::new(ClientConfig::new(
        broker.address.parse().expect("an address"),
    ));
    let at = TopicPartition::new("scripted", 0);
    let mut goes_on = consumer(&client, "scripted", OffsetReset::Earliest);
    let mut stops = consumer(&client, "scripted", OffsetReset::Fail);
    goes_on.seek(&at, 0);
    stops.seek(&at, 0);
    assert_eq!(read(&mut goes_on, 10).await, (0..10).collect::<Vec<i32>>());
    assert_eq!(read(&mut stops, 10).await.len(), 10);

    // More than was read before: the position is within the log, and only epochs tell.
    let after = Log {
        epoch: 1,
        records: records(0, 0..6).chain(records(1, 100..110)).collect(),
    };
    broker.change(after);
    assert_eq!(
        read(&mut goes_on, 10).await,
        (100..110).collect::<Vec<i32>>()
    );
    assert_eq!(goes_on.position(&at), Some(16));
    let refused = stops.poll(PATIENCE).await.expect_err("records are gone");
    assert!(
        matches!(
            &refused,
            ClientError::Truncated {
                offset: 10,
                end: Some(6),
                ..
            }
        ),
        "{refused:?}"
    );

    // A leader with all that was read is no reason to go back.
    let mut whole: Vec<(i32, String)> = records(0, 0..6).chain(records(1, 100..110)).collect();
    whole.extend(records(2, 200..201));
    broker.change(Log {
        epoch: 2,
        records: whole,
    });
    assert_eq!(read(&mut goes_on, 1).await, [200]);

    // One that knows nothing of what was read: from where there are records, as without a position.
    let committed = reka_client::admin::CommittedOffset {
        offset: 3,
        leader_epoch: Some(2),
        metadata: String::new(),
    };
    broker.change(Log {
        epoch: 3,
        records: records(3, 300..305).collect(),
    });
    stops.seek_committed(&at, &committed);
    let refused = stops.poll(PATIENCE).await.expect_err("nothing is known");
    assert!(
        matches!(
            &refused,
            ClientError::Truncated {
                offset: 3,
                end: None,
                ..
            }
        ),
        "{refused:?}"
    );
}

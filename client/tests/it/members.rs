//! Members of groups, by both protocols: partitions are shared, given up, taken over; nothing that
//! was committed is read again, and nothing is skipped.

use std::collections::BTreeSet;
use std::time::Duration;

use reka_client::admin::NewTopic;
use reka_client::consumer::{Event, GroupConfig, GroupConsumer, GroupProtocol};
use reka_client::{
    Client, ConsumerConfig, OffsetReset, Producer, ProducerConfig, ProducerRecord, TopicPartition,
};

use crate::admin_topics::client;
use crate::server::{Server, create, eventually};

const STEP: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

async fn prepare(client: &Client, topic: &str, records: i32) {
    let new = [NewTopic::new(topic).partitions(4)];
    create(client, &new).await;
    produce(client, topic, 0..records).await;
}

async fn produce(client: &Client, topic: &str, numbers: std::ops::Range<i32>) {
    let producer = Producer::new(client.clone(), ProducerConfig::default()).expect("a producer");
    for number in numbers {
        let record = ProducerRecord::new(topic)
            .partition(number % 4)
            .value(number.to_string());
        let _ = producer.send(record).await.expect("taken");
    }
    producer.flush().await;
}

fn member(client: &Client, group: &str, topic: &str, protocol: GroupProtocol) -> GroupConsumer {
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut member = GroupConfig::new(group, vec![topic.to_owned()]);
    member.protocol = protocol;
    // So that members of the classic protocol look often whether others have come.
    member.session_timeout = Duration::from_secs(6);
    GroupConsumer::join(client.clone(), config, member)
}

/// Polls once and notes what came.
async fn step(member: &mut GroupConsumer, seen: &mut Vec<i32>) {
    if let Some(Event::Records(fetched)) = member.poll(STEP).await.expect("no error") {
        for record in fetched.records {
            let value = record.value.expect("a value");
            seen.push(String::from_utf8_lossy(&value).parse().expect("a number"));
        }
    }
}

fn count(member: &GroupConsumer) -> usize {
    member.assignment().count()
}

async fn share_and_take_over(protocol: GroupProtocol, name: &str) {
    let server = Server::start();
    let client = client(&server);
    prepare(&client, name, 100).await;
    let mut seen = Vec::new();
    let began = std::time::Instant::now();
    let mut first = member(&client, name, name, protocol);
    while seen.len() < 100 {
        assert!(began.elapsed() < PATIENCE, "{seen:?}");
        step(&mut first, &mut seen).await;
    }
    assert_eq!(count(&first), 4, "who is alone has all");

    let mut second = member(&client, name, name, protocol);
    while count(&first) != 2 || count(&second) != 2 {
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "{} {}",
            count(&first),
            count(&second)
        );
        step(&mut first, &mut seen).await;
        step(&mut second, &mut seen).await;
    }
    let both: BTreeSet<TopicPartition> = first
        .assignment()
        .chain(second.assignment())
        .cloned()
        .collect();
    assert_eq!(both.len(), 4, "each partition has one reader");
    produce(&client, name, 100..200).await;
    while seen.len() < 200 {
        assert!(began.elapsed() < 3 * PATIENCE, "{} of 200", seen.len());
        step(&mut first, &mut seen).await;
        step(&mut second, &mut seen).await;
    }

    second.leave().await.expect("it leaves");
    while count(&first) != 4 {
        assert!(began.elapsed() < 4 * PATIENCE, "{}", count(&first));
        step(&mut first, &mut seen).await;
    }
    produce(&client, name, 200..240).await;
    while seen.len() < 240 {
        assert!(began.elapsed() < 5 * PATIENCE, "{} of 240", seen.len());
        step(&mut first, &mut seen).await;
    }
    first.leave().await.expect("it leaves");
    // What is given up in order is committed before another takes it: all once.
    seen.sort_unstable();
    assert_eq!(seen, (0..240).collect::<Vec<i32>>());
    let asked = [name.to_owned()];
    eventually("nobody is left", async || {
        let described = client.describe_groups(&asked).await.expect("answers");
        described[0]
            .1
            .as_ref()
            .is_ok_and(|group| group.members.is_empty())
    })
    .await;
    let committed = client.group_offsets(name).await.expect("offsets");
    let committed: i64 = committed.values().map(|offset| offset.offset).sum();
    assert_eq!(committed, 240);
}

#[tokio::test]
async fn members_of_the_newest_protocol_share_and_take_over() {
    share_and_take_over(GroupProtocol::Newest, "members-newest").await;
}

#[tokio::test]
async fn members_of_the_classic_protocol_share_and_take_over() {
    share_and_take_over(GroupProtocol::Classic, "members-classic").await;
}

/// The coordinator goes down with the broker and comes back: the member goes on.
#[tokio::test]
async fn a_member_outlives_its_broker() {
    let mut server = Server::start_ours("127.0.0.1:0");
    let client = client(&server);
    prepare(&client, "outlives", 40).await;
    let mut seen = Vec::new();
    let began = std::time::Instant::now();
    let mut only = member(&client, "outlives", "outlives", GroupProtocol::Newest);
    while seen.len() < 40 {
        assert!(began.elapsed() < PATIENCE, "{seen:?}");
        step(&mut only, &mut seen).await;
    }
    only.commit().await.expect("committed");
    server.kill_and_restart();
    produce(&client, "outlives", 40..80).await;
    while seen.iter().collect::<BTreeSet<_>>().len() < 80 {
        assert!(began.elapsed() < 2 * PATIENCE, "{} of 80", seen.len());
        step(&mut only, &mut seen).await;
    }
    only.leave().await.expect("it leaves");
}

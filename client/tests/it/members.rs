//! Members of groups, by both protocols: partitions are shared, given up, taken over; nothing that
//! was committed is read again, and nothing is skipped.

use std::collections::BTreeSet;
use std::time::Duration;

use reka_client::admin::NewTopic;
use reka_client::consumer::{Assignor, Event, GroupConfig, GroupConsumer, GroupProtocol};
use reka_client::{
    Client, ConsumerConfig, OffsetReset, Producer, ProducerConfig, ProducerRecord, TopicPartition,
};
use reka_protocol::ErrorCode;

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

fn group(name: &str, topic: &str, protocol: GroupProtocol) -> GroupConfig {
    let mut group = GroupConfig::new(name, vec![topic.to_owned()]);
    group.protocol = protocol;
    // So that members of the classic protocol look often whether others have come.
    group.session_timeout = Duration::from_secs(6);
    group
}

fn join(client: &Client, group: GroupConfig) -> GroupConsumer {
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    GroupConsumer::join(client.clone(), config, group)
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

async fn share_and_take_over(name: &str, config: GroupConfig) {
    let server = Server::start();
    let client = client(&server);
    prepare(&client, name, 100).await;
    let mut seen = Vec::new();
    let began = std::time::Instant::now();
    let mut first = join(&client, config.clone());
    while seen.len() < 100 {
        assert!(began.elapsed() < PATIENCE, "{seen:?}");
        step(&mut first, &mut seen).await;
    }
    assert_eq!(count(&first), 4, "who is alone has all");

    let mut second = join(&client, config.clone());
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
    let name = "members-newest";
    share_and_take_over(name, group(name, name, GroupProtocol::Newest)).await;
}

#[tokio::test]
async fn members_of_the_classic_protocol_share_and_take_over() {
    let name = "members-classic";
    share_and_take_over(name, group(name, name, GroupProtocol::Classic)).await;
}

#[tokio::test]
async fn members_that_keep_what_they_have_share_and_take_over() {
    let name = "members-cooperative";
    let mut config = group(name, name, GroupProtocol::Classic);
    config.assignor = Assignor::CooperativeSticky;
    share_and_take_over(name, config).await;
}

/// With the cooperative assignor who keeps a partition never stops reading it: of four partitions two
/// are given up when another comes, and the two others are not among what was revoked.
#[tokio::test]
async fn a_member_that_keeps_what_it_has_gives_up_only_what_moves() {
    let server = Server::start();
    let client = client(&server);
    let name = "members-keep";
    prepare(&client, name, 4).await;
    let mut config = group(name, name, GroupProtocol::Classic);
    config.assignor = Assignor::CooperativeSticky;
    let mut first = join(&client, config.clone());
    let began = std::time::Instant::now();
    while count(&first) != 4 {
        assert!(began.elapsed() < PATIENCE);
        first.poll(STEP).await.expect("no error");
    }
    let mut second = join(&client, config);
    let mut given_up = 0;
    while count(&second) != 2 {
        assert!(began.elapsed() < 2 * PATIENCE, "{}", count(&second));
        for member in [&mut first, &mut second] {
            if let Some(Event::Assigned { revoked, lost, .. }) =
                member.poll(STEP).await.expect("no error")
            {
                assert!(!lost);
                given_up += revoked.len();
            }
        }
    }
    assert_eq!((given_up, count(&first)), (2, 2));
    first.leave().await.expect("it leaves");
    second.leave().await.expect("it leaves");
}

/// A static member that goes and comes back has what it had, and the other notices nothing.
async fn come_back(name: &str, protocol: GroupProtocol) {
    let server = Server::start();
    let client = client(&server);
    prepare(&client, name, 40).await;
    let config = |instance: &str| {
        let mut config = group(name, name, protocol);
        config.instance_id = Some(instance.to_owned());
        config.session_timeout = Duration::from_secs(30);
        config
    };
    let mut seen = Vec::new();
    let began = std::time::Instant::now();
    let mut one = join(&client, config("one"));
    let mut two = join(&client, config("two"));
    while (count(&one), count(&two)) != (2, 2) || seen.len() < 40 {
        assert!(began.elapsed() < PATIENCE, "{} of 40", seen.len());
        step(&mut one, &mut seen).await;
        step(&mut two, &mut seen).await;
    }
    let had: Vec<TopicPartition> = one.assignment().cloned().collect();
    let member_id = one.member_id();
    one.leave().await.expect("it goes");
    let described = client.describe_groups(&[name.to_owned()]).await;
    let described = described.expect("answers").remove(0).1.expect("a group");
    assert_eq!(
        described.members.len(),
        2,
        "it is expected back: {described:?}"
    );
    let mut one = join(&client, config("one"));
    while count(&one) != 2 {
        assert!(began.elapsed() < 2 * PATIENCE, "it is back in time");
        step(&mut one, &mut seen).await;
        let event = two.poll(STEP).await.expect("no error");
        assert!(event.is_none(), "the other is left alone: {event:?}");
    }
    assert_eq!(one.assignment().cloned().collect::<Vec<_>>(), had);
    assert_ne!(one.member_id(), member_id);
    produce(&client, name, 40..80).await;
    while seen.len() < 80 {
        assert!(began.elapsed() < 3 * PATIENCE, "{} of 80", seen.len());
        step(&mut one, &mut seen).await;
        step(&mut two, &mut seen).await;
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..80).collect::<Vec<i32>>());
    // Whoever takes its name while it is there takes its place: with KIP-848's protocol not before it
    // has gone.
    if protocol == GroupProtocol::Classic {
        let mut other = join(&client, config("one"));
        let refused = loop {
            assert!(began.elapsed() < 4 * PATIENCE, "it is never told");
            let _ = other.poll(STEP).await;
            let _ = two.poll(STEP).await;
            if let Err(error) = one.poll(STEP).await {
                break error;
            }
        };
        let fenced = ErrorCode::FencedInstanceId;
        assert!(refused.refusal().is_some_and(|r| r.is(fenced)), "{refused}");
    }
}

#[tokio::test]
async fn a_static_member_that_comes_back_has_what_it_had() {
    come_back("static-newest", GroupProtocol::Newest).await;
}

#[tokio::test]
async fn a_static_member_of_the_classic_protocol_that_comes_back_has_what_it_had() {
    come_back("static-classic", GroupProtocol::Classic).await;
}

#[tokio::test]
async fn a_member_reads_the_topics_its_expression_matches() {
    let server = Server::start();
    let client = client(&server);
    for topic in ["matched-a", "matched-b", "unmatched"] {
        prepare(&client, topic, 20).await;
    }
    let mut config = group("matching", "", GroupProtocol::Consumer);
    config.topics.clear();
    config.topic_pattern = Some("matched-[a-z]".to_owned());
    let mut only = join(&client, config.clone());
    let mut seen = Vec::new();
    let began = std::time::Instant::now();
    while seen.len() < 40 {
        assert!(began.elapsed() < PATIENCE, "{} of 40", seen.len());
        step(&mut only, &mut seen).await;
    }
    assert_eq!(count(&only), 8);
    assert!(only.assignment().all(|at| at.topic.starts_with("matched-")));
    only.leave().await.expect("it leaves");

    config.protocol = GroupProtocol::Classic;
    let refused = join(&client, config).poll(PATIENCE).await;
    let refused = refused.expect_err("it knows no expressions").to_string();
    assert!(refused.contains("matched-[a-z]"), "{refused}");
}

/// The coordinator goes down with the broker and comes back: the member goes on.
#[tokio::test]
async fn a_member_outlives_its_broker() {
    let mut server = Server::start_ours("127.0.0.1:0");
    let client = client(&server);
    prepare(&client, "outlives", 40).await;
    let mut seen = Vec::new();
    let began = std::time::Instant::now();
    let mut only = join(
        &client,
        group("outlives", "outlives", GroupProtocol::Newest),
    );
    while seen.len() < 40 {
        assert!(began.elapsed() < PATIENCE, "{seen:?}");
        step(&mut only, &mut seen).await;
    }
    only.commit().await.expect("committed");
    server.kill();
    // Longer than from one heartbeat to the next: some come to nothing, and fetches as well.
    let down = std::time::Instant::now();
    while down.elapsed() < Duration::from_secs(6) {
        step(&mut only, &mut seen).await;
    }
    server.kill_and_restart();
    produce(&client, "outlives", 40..80).await;
    while seen.iter().collect::<BTreeSet<_>>().len() < 80 {
        assert!(began.elapsed() < 2 * PATIENCE, "{} of 80", seen.len());
        step(&mut only, &mut seen).await;
    }
    only.leave().await.expect("it leaves");
}

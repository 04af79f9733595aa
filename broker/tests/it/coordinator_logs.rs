//! What coordinators read back: logs that Apache Kafka wrote, and their own after a compaction.
//!
//! Groups and transactional ids are told as lines, in the form of `testdata/kafka-4.3.1/expected.txt`,
//! which is what Apache Kafka's own administrator said of the logs beside it (`Coordinators.java`).

use std::collections::BTreeSet;
use std::path::Path;

use reka_broker::Node;
use reka_broker::clock::Clock;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use reka_protocol::kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeTransactionsRequest, FindCoordinatorRequest, ListGroupsRequest,
    ListTransactionsRequest, OffsetFetchRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::batches;
use reka_storage::TopicPartition;

use crate::groups::{commit, commit_code, group, join_alone, joining, leave_alone, sync};
use crate::support::{Client, start_with};
use crate::topics_and_records::create;
use crate::transactions::{commit_offset, end, end_as, init, offset_commit, produce, until};

const OFFSETS: &str = "__consumer_offsets";
const TRANSACTIONS: &str = "__transaction_state";
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/kafka-4.3.1");
/// Of share groups Apache Kafka's logs have records, too; they are not served, and not in the way.
const NOT_SERVED: &str = "group share Share Empty protocol=share";

/// What is open stays open, however old the data is.
const ALIKE: &[&str] = &[
    "offsets.topic.num.partitions=1",
    "transaction.state.log.num.partitions=1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=86400000",
    "group.initial.rebalance.delay.ms=0",
];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A node whose coordinators have read everything.
fn coordinated(dir: &Path, more: &[&str]) -> (Node, Client) {
    let settings: Vec<&str> = ALIKE.iter().chain(more).copied().collect();
    let node = start_with(dir, &settings);
    let mut client = Client::connect(&node);
    for key_type in [0, 1] {
        let find = FindCoordinatorRequest::default()
            .with_key(text("x"))
            .with_key_type(key_type);
        assert_eq!(client.call(3, &find).error_code, 0);
    }
    until("the coordinators answer", || {
        let groups = client.call(5, &ListGroupsRequest::default()).error_code;
        let ids = client
            .call(1, &ListTransactionsRequest::default())
            .error_code;
        let here = &node.services().partitions;
        let are_here = [OFFSETS, TRANSACTIONS].map(|topic| here.get(topic, 0).is_some());
        groups == 0
            && ids == 0
            && are_here == [true; 2]
            && committed(&mut client, "nobody").is_some()
    });
    (node, client)
}

/// What a group has committed; `None` while nobody knows.
fn committed(client: &mut Client, name: &str) -> Option<Vec<String>> {
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(name))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let mut answer = client.call(8, &request).groups.remove(0);
    if answer.error_code != 0 {
        return None;
    }
    let topics = answer.topics.drain(..).flat_map(|topic| {
        topic.partitions.into_iter().map(move |partition| {
            assert_eq!(partition.error_code, 0);
            let (topic, index) = (&*topic.name, partition.partition_index);
            let metadata = partition.metadata.unwrap_or_default();
            let offset = partition.committed_offset;
            format!("{topic}-{index} {offset} metadata={metadata}")
        })
    });
    Some(topics.collect())
}

fn told(client: &mut Client) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let groups = client.call(5, &ListGroupsRequest::default());
    assert_eq!(groups.error_code, 0);
    for listed in groups.groups {
        let (name, state) = (&*listed.group_id, &*listed.group_state);
        let kind = match &*listed.group_type {
            "classic" => "Classic",
            "consumer" => "Consumer",
            other => other,
        };
        let protocol = &*listed.protocol_type;
        lines.insert(format!("group {name} {kind} {state} protocol={protocol}"));
        let offsets = committed(client, name).expect("a coordinator");
        lines.extend(
            offsets
                .iter()
                .map(|offset| format!("offset {name} {offset}")),
        );
    }
    let listed = client.call(1, &ListTransactionsRequest::default());
    assert_eq!(listed.error_code, 0);
    let ids = listed.transaction_states.into_iter();
    let ids = ids.map(|listed| listed.transactional_id).collect();
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    for state in client.call(0, &request).transaction_states {
        assert_eq!(state.error_code, 0);
        let mut partitions: Vec<String> = state
            .topics
            .iter()
            .flat_map(|topic| {
                let indexes = topic.partitions.iter();
                indexes.map(|index| format!("{}-{index}", &*topic.topic))
            })
            .collect();
        partitions.sort();
        lines.insert(format!(
            "transaction {} {} producer={} epoch={} timeout={} partitions={}",
            &*state.transactional_id,
            &*state.transaction_state,
            state.producer_id.0,
            state.producer_epoch,
            state.transaction_timeout_ms,
            partitions.join(",")
        ));
    }
    lines
}

/// Puts what Apache Kafka wrote in the place of the logs of a node that is stopped. That they are others is
/// not known to it: it scans them, as after a crash.
fn put_in(dir: &Path) {
    for topic in [OFFSETS, TRANSACTIONS] {
        let name = format!("{topic}-0");
        let (theirs, ours) = (Path::new(DATA).join(&name), dir.join(&name));
        for file in std::fs::read_dir(&ours).expect("a log") {
            let file = file.expect("a file");
            if file.file_name() != "partition.metadata" {
                std::fs::remove_file(file.path()).expect("a file that goes");
            }
        }
        for file in std::fs::read_dir(&theirs).expect("test data") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), ours.join(file.file_name())).expect("a copy");
        }
    }
    std::fs::remove_file(dir.join(".kafka_cleanshutdown")).expect("the mark of a clean stop");
}

#[test]
fn groups_and_transactions_that_apache_kafka_wrote_are_told_as_it_told_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let (node, mut client) = coordinated(dir.path(), &[]);
    assert_eq!(create(&mut client, "read", 2), 0);
    assert_eq!(told(&mut client), BTreeSet::new());
    node.stop().expect("a clean stop");
    put_in(dir.path());

    let (node, mut client) = coordinated(dir.path(), &[]);
    let expected = std::fs::read_to_string(format!("{DATA}/expected.txt")).expect("test data");
    let mut expected: BTreeSet<String> = expected.lines().map(str::to_owned).collect();
    assert!(expected.remove(NOT_SERVED), "a share group is in the logs");
    let found = told(&mut client);
    let lacks: Vec<_> = expected.difference(&found).collect();
    let has: Vec<_> = found.difference(&expected).collect();
    assert!(
        lacks.is_empty() && has.is_empty(),
        "lacks {lacks:#?}, has {has:#?}"
    );

    // The transaction that Apache Kafka left open goes on here, with the offset that waits in it.
    let of_group = |client: &mut Client| {
        let mut offsets = committed(client, "in-transactions").expect("a coordinator");
        offsets.sort();
        offsets
    };
    assert_eq!(of_group(&mut client), ["read-0 60 metadata=committed"]);
    let next = end_as(&mut client, 5, "open", (5, 0), true);
    assert_eq!(next, Ok((5, 1)));
    until("it is committed", || {
        told(&mut client).contains(
            "transaction open CompleteCommit producer=5 epoch=1 timeout=900000 partitions=",
        )
    });
    let both = ["read-0 60 metadata=committed", "read-1 77 metadata=open"];
    assert_eq!(of_group(&mut client), both);
    // And whoever had the other ids goes on with them, the one that was replaced excepted.
    assert_eq!(init(&mut client, "committed"), (1, 61));
    assert_eq!(
        end_as(&mut client, 5, "replaced", (4, 0), false),
        Err(ErrorCode::ProducerFenced)
    );
    let before = told(&mut client);
    node.stop().expect("a clean stop");

    // What was written behind it is read with it.
    let (node, mut client) = coordinated(dir.path(), &[]);
    assert_eq!(told(&mut client), before);
    node.stop().expect("a clean stop");
}

/// How many records a log has.
fn records_of(node: &Node, topic: &str) -> usize {
    let partition = node.services().partitions.get(topic, 0).expect("a log");
    let reader = partition.reader();
    let (mut offset, end) = (reader.log_start(), reader.log_end());
    let mut count = 0;
    while offset < end {
        let Some(slice) = reader.read(offset, 1 << 20, end).expect("a log") else {
            break;
        };
        for batch in batches(&slice.bytes().expect("a log")) {
            count += usize::try_from(batch.expect("a batch").header().record_count).unwrap_or(0);
        }
        offset = slice.next_offset;
    }
    count
}

/// Rolls a log and waits until all below is compacted.
fn compact(node: &Node, topic: &str) {
    let partition = node.services().partitions.get(topic, 0).expect("a log");
    let end = {
        let mut log = partition.log_to_change().expect("a log");
        log.roll(Clock::System.now_ms()).expect("a roll");
        partition.reader().log_end()
    };
    let name = TopicPartition::new(topic, 0);
    until("it is compacted", || {
        let dir = node.services().log_dirs().of(&name).cloned();
        let below = dir.and_then(|dir| dir.env().cleaner_points.get(&name));
        below.is_some_and(|below| below >= end)
    });
}

#[test]
fn groups_and_transactions_are_the_same_when_read_from_what_a_compaction_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = [
        "log.initial.task.delay.ms=0",
        "log.cleaner.backoff.ms=1",
        "log.cleaner.min.cleanable.ratio=0",
        "reka.flush.group.ms=1",
    ];
    let (node, mut client) = coordinated(dir.path(), &settings);
    for topic in ["t", "read"] {
        assert_eq!(create(&mut client, topic, 2), 0);
    }
    let mut commits = |name: &str, rounds: i64| {
        for round in 1..=rounds {
            let request = commit(name, 0, round, "");
            assert_eq!(commit_code(&mut client, 9, &request), ErrorCode::None);
        }
    };
    commits("alone", 50);
    commits("deleted", 3);
    let client = &mut client;
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("deleted")]);
    assert_eq!(client.call(2, &delete).results[0].error_code, 0);
    // A classic group with a member, one whose member left, and both of KIP-848.
    for name in ["classic", "classic-left"] {
        let joined = join_alone(client, 9, name);
        let member = joined.member_id.to_string();
        let synced = client.call(5, &sync(name, &member, 1, &[(&member, "all")]));
        assert_eq!(synced.error_code, 0);
        if name == "classic-left" {
            assert_eq!(leave_alone(client, name, &member), ErrorCode::None);
        }
    }
    for name in ["consumer", "consumer-left"] {
        assert_eq!(client.call(1, &joining(name, "m")).error_code, 0);
        if name == "consumer-left" {
            let leaves = joining(name, "m")
                .with_member_epoch(-1)
                .with_subscribed_topic_names(None)
                .with_topic_partitions(None);
            assert_eq!(client.call(1, &leaves).error_code, 0);
        }
    }
    for (name, commits, offset) in [("kept", true, 0), ("undone", false, 900)] {
        let mut producer = init(client, name);
        for round in 1..=10 {
            let request = offset_commit(5, name, producer, "kept", offset + round);
            assert_eq!(commit_offset(client, 5, &request), ErrorCode::None);
            assert_eq!(produce(client, name, "t", producer, "v"), ErrorCode::None);
            producer = end(client, name, producer, commits);
        }
    }
    let written = [OFFSETS, TRANSACTIONS].map(|topic| records_of(&node, topic));
    for topic in [OFFSETS, TRANSACTIONS] {
        compact(&node, topic);
    }
    let left = [OFFSETS, TRANSACTIONS].map(|topic| records_of(&node, topic));
    assert!(
        left[0] * 2 < written[0] && left[1] * 2 < written[1],
        "of {written:?} records {left:?} are left"
    );
    // One that is open keeps its offset out of what is compacted.
    let producer = init(client, "open");
    let request = offset_commit(5, "open", producer, "waiting", 7);
    assert_eq!(commit_offset(client, 5, &request), ErrorCode::None);
    let before = told(client);
    let lines = |name: &str| before.iter().filter(|line| line.contains(name)).count();
    for (name, count) in [
        ("group alone Classic Empty", 1),
        ("offset alone t-0 50 ", 1),
        (" deleted ", 0),
        ("group classic Classic Stable", 1),
        ("group classic-left Classic Empty", 1),
        ("group consumer Consumer Stable", 1),
        ("group consumer-left Consumer Empty", 1),
        ("offset kept read-0 10 ", 1),
        ("transaction kept CompleteCommit", 1),
        ("transaction undone CompleteAbort", 1),
        ("transaction open Ongoing", 1),
        ("offset waiting ", 0),
    ] {
        assert_eq!(lines(name), count, "{name} in {before:#?}");
    }
    node.stop().expect("a clean stop");

    let (node, mut client) = coordinated(dir.path(), &settings);
    assert_eq!(told(&mut client), before);
    end(&mut client, "open", producer, true);
    until("the offset counts", || {
        committed(&mut client, "waiting").expect("a coordinator") == ["read-0 7 metadata=m"]
    });
    node.stop().expect("a clean stop");
}

//! Topics come, grow, are described and go.

use reka_protocol::kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use reka_protocol::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use reka_protocol::kafka_protocol::messages::describe_topic_partitions_request::{
    Cursor, TopicRequest,
};
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, DescribeTopicPartitionsRequest, MetadataRequest,
};
use uuid::Uuid;

use super::{assignment, brokers, config, create, make_topic, new_topic, topic_name};
use crate::differential::Pair;
use crate::error::Result;

pub(super) fn script(pair: &mut Pair) -> Result<()> {
    creation(pair)?;
    metadata(pair)?;
    growth(pair)?;
    pages(pair)?;
    deletion(pair)
}

fn creation(pair: &mut Pair) -> Result<()> {
    let long = "x".repeat(250);
    let many = |version: i16| {
        let name = |what: &str| format!("create-{what}-v{version}");
        let two = new_topic(&name("assigned"), -1, -1)
            .with_assignments(vec![assignment(0, &[1]), assignment(1, &[1])]);
        let gap = new_topic(&name("gap"), -1, -1)
            .with_assignments(vec![assignment(0, &[1]), assignment(2, &[1])]);
        let unknown =
            new_topic(&name("unknown"), -1, -1).with_assignments(vec![assignment(0, &[9])]);
        let twice_in_one =
            new_topic(&name("twice"), -1, -1).with_assignments(vec![assignment(0, &[1, 1])]);
        let empty = new_topic(&name("empty"), -1, -1).with_assignments(vec![assignment(0, &[])]);
        let both = new_topic(&name("both"), 1, 1).with_assignments(vec![assignment(0, &[1])]);
        vec![
            new_topic(&name("plain"), 3, 1),
            new_topic(&name("plain.a"), 1, 1),
            new_topic(&name("zero"), 0, 1),
            new_topic(&name("negative"), -2, 1),
            new_topic(&name("replicas"), 1, 3),
            new_topic(&name("no-replicas"), 1, 0),
            new_topic("", 1, 1),
            new_topic(".", 1, 1),
            new_topic("a b", 1, 1),
            new_topic(&long, 1, 1),
            two,
            gap,
            unknown,
            twice_in_one,
            empty,
            both,
            new_topic(&name("good-config"), 1, 1).with_configs(vec![
                config("retention.ms", Some("1000")),
                config("cleanup.policy", Some("compact,delete")),
            ]),
            new_topic(&name("bad-value"), 1, 1)
                .with_configs(vec![config("retention.ms", Some("x"))]),
            new_topic(&name("bad-key"), 1, 1).with_configs(vec![config("nope", Some("x"))]),
            new_topic(&name("null-value"), 1, 1).with_configs(vec![config("retention.ms", None)]),
            new_topic(&name("said-twice"), 1, 1),
            new_topic(&name("said-twice"), 1, 1),
        ]
    };
    pair.ask_every("create many", |_, version| {
        let topics: Vec<_> = many(version);
        // Defaults may be asked for from version 4 on.
        create(topics)
    })?;
    pair.ask_every("create again", |_, version| {
        let again = new_topic(&format!("create-plain-v{version}"), 3, 1);
        let alike = new_topic(&format!("create_plain.v{version}"), 3, 1);
        create(vec![again, alike])
    })?;
    pair.ask_every("only validate", |_, version| {
        create(vec![
            new_topic(&format!("create-unreal-v{version}"), 3, 1),
            new_topic("a b", 1, 1),
        ])
        .with_validate_only(true)
    })?;
    for version in 4..=7 {
        pair.ask(version, "defaults", |_| {
            create(vec![new_topic(
                &format!("create-defaults-v{version}"),
                -1,
                -1,
            )])
        })?;
    }
    pair.ask(7, "none at all", |_| create(Vec::new()))?;
    Ok(())
}

fn named(names: &[&str]) -> Option<Vec<MetadataRequestTopic>> {
    let topics = names
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    Some(topics.collect())
}

fn metadata(pair: &mut Pair) -> Result<()> {
    make_topic(pair, "metadata", 2, &[])?;
    pair.ask_every("one topic", |_, _| {
        MetadataRequest::default().with_topics(named(&["metadata"]))
    })?;
    pair.ask_every("none", |_, version| match version {
        0 => MetadataRequest::default().with_topics(named(&["metadata"])),
        _ => MetadataRequest::default().with_topics(Some(Vec::new())),
    })?;
    for version in 4..=13 {
        pair.ask(version, "missing and illegal", |_| {
            MetadataRequest::default()
                .with_topics(named(&["metadata-missing", "a b", "metadata", ""]))
                .with_allow_auto_topic_creation(false)
        })?;
    }
    for version in 8..=10 {
        pair.ask(version, "with operations", |_| {
            MetadataRequest::default()
                .with_topics(named(&["metadata"]))
                .with_include_cluster_authorized_operations(true)
                .with_include_topic_authorized_operations(true)
        })?;
    }
    for version in 12..=13 {
        pair.ask(version, "by id", |side| {
            let by_id = |id| {
                MetadataRequestTopic::default()
                    .with_name(None)
                    .with_topic_id(id)
            };
            MetadataRequest::default().with_topics(Some(vec![
                by_id(side.topic_id("metadata")),
                by_id(Uuid::from_u128(77)),
            ]))
        })?;
    }
    Ok(())
}

fn grow(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignments = assignments.map(|all| {
        let of = |ids: &&[i32]| CreatePartitionsAssignment::default().with_broker_ids(brokers(ids));
        all.iter().map(of).collect()
    });
    CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(count)
        .with_assignments(assignments)
}

fn growth(pair: &mut Pair) -> Result<()> {
    for version in 0..=3 {
        let name = |what: &str| format!("grow-{what}-v{version}");
        for what in [
            "plain", "same", "fewer", "assigned", "wrong", "unknown", "twice",
        ] {
            make_topic(pair, &name(what), 2, &[])?;
        }
        for validate_only in [true, false] {
            pair.ask(version, "grow", |_| {
                CreatePartitionsRequest::default()
                    .with_timeout_ms(30_000)
                    .with_validate_only(validate_only)
                    .with_topics(vec![
                        grow(&name("plain"), 3, None),
                        grow(&name("same"), 2, None),
                        grow(&name("fewer"), 1, None),
                        grow(&name("assigned"), 3, Some(&[&[1]])),
                        grow(&name("wrong"), 3, Some(&[&[1], &[1]])),
                        grow(&name("unknown"), 3, Some(&[&[8]])),
                        grow(&name("missing"), 3, None),
                        grow(&name("twice"), 3, None),
                        grow(&name("twice"), 4, None),
                    ])
            })?;
        }
        pair.ask(12, "what became of it", |_| {
            MetadataRequest::default().with_topics(named(&[
                &name("plain"),
                &name("assigned"),
                &name("wrong"),
            ]))
        })?;
    }
    Ok(())
}

fn pages(pair: &mut Pair) -> Result<()> {
    make_topic(pair, "pages-a", 3, &[])?;
    make_topic(pair, "pages-b", 2, &[])?;
    let topics = |names: &[&str]| -> Vec<TopicRequest> {
        names
            .iter()
            .map(|name| TopicRequest::default().with_name(topic_name(name)))
            .collect()
    };
    let cursor = |name: &str, index| {
        Some(
            Cursor::default()
                .with_topic_name(topic_name(name))
                .with_partition_index(index),
        )
    };
    for (what, names, limit, from) in [
        (
            "all of two",
            vec!["pages-b", "pages-a", "pages-missing"],
            100,
            None,
        ),
        ("a page of two", vec!["pages-b", "pages-a"], 2, None),
        (
            "the page behind it",
            vec!["pages-b", "pages-a"],
            2,
            cursor("pages-a", 2),
        ),
        ("exactly full", vec!["pages-b", "pages-a"], 3, None),
        ("limit of zero", vec!["pages-b", "pages-a"], 0, None),
        (
            "cursor behind the end",
            vec!["pages-b", "pages-a"],
            2,
            cursor("pages-a", 7),
        ),
        (
            "cursor at another topic",
            vec!["pages-b", "pages-a"],
            9,
            cursor("pages-aa", 1),
        ),
        ("illegal name", vec!["a b"], 9, None),
    ] {
        pair.ask(0, what, |_| {
            DescribeTopicPartitionsRequest::default()
                .with_topics(topics(&names))
                .with_response_partition_limit(limit)
                .with_cursor(from.clone())
        })?;
    }
    Ok(())
}

fn deletion(pair: &mut Pair) -> Result<()> {
    for version in 1..=6 {
        let name = format!("delete-v{version}");
        make_topic(pair, &name, 1, &[])?;
        let by_id = format!("delete-by-id-v{version}");
        make_topic(pair, &by_id, 1, &[])?;
        for what in ["delete", "delete again"] {
            pair.ask(version, what, |side| {
                let request = DeleteTopicsRequest::default().with_timeout_ms(30_000);
                if version < 6 {
                    return request
                        .with_topic_names(vec![topic_name(&name), topic_name("delete-missing")]);
                }
                let state = |name: Option<&str>, id| {
                    DeleteTopicState::default()
                        .with_name(name.map(topic_name))
                        .with_topic_id(id)
                };
                request.with_topics(vec![
                    state(Some(&name), Uuid::nil()),
                    state(None, side.topic_id(&by_id)),
                    state(None, Uuid::from_u128(5)),
                    state(Some("delete-missing"), Uuid::nil()),
                ])
            })?;
        }
        pair.ask(12, "what became of it", |_| {
            MetadataRequest::default()
                .with_topics(named(&[&name]))
                .with_allow_auto_topic_creation(false)
        })?;
    }
    Ok(())
}

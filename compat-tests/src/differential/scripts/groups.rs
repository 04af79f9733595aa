//! Groups: members join and leave, offsets are committed and found, of both protocols.

use std::time::Duration;

use bytes::Bytes;
use reka_protocol::kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::leave_group_request::MemberIdentity;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use reka_protocol::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};

use uuid::Uuid;

use super::{make_topic, text, topic_name};
use crate::differential::Pair;
use crate::differential::side::Side;
use crate::error::Result;
use crate::wait;

const COORDINATOR_TIME_MAX: Duration = Duration::from_secs(30);
const TOPIC: &str = "grouped";

pub(super) fn script(pair: &mut Pair) -> Result<()> {
    make_topic(pair, TOPIC, 2, &[])?;
    coordinator(pair)?;
    offsets(pair)?;
    classic(pair)?;
    strangers(pair)?;
    consumer(pair)
}

pub(super) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Both have made their topic of offsets and read it.
fn coordinator(pair: &mut Pair) -> Result<()> {
    wait::until("wait for the coordinators", COORDINATOR_TIME_MAX, || {
        let found = pair.ask_quietly(3, |_| find(3, &["a"], 0))?;
        let loaded = pair.ask_quietly(7, |side| fetch_offsets(side, 7, "a", Some(&[0])))?;
        let is_found = [&found.kafka, &found.reka]
            .iter()
            .all(|side| side.as_ref().is_some_and(|answer| answer.error_code == 0));
        let is_loaded = [&loaded.kafka, &loaded.reka]
            .iter()
            .all(|side| side.as_ref().is_some_and(|answer| answer.error_code == 0));
        Ok((is_found && is_loaded).then_some(()))
    })?;
    pair.ask_every("of a group", |_, v| find(v, &["a", "b"], 0))?;
    pair.ask_every("of no group", |_, v| find(v, &[""], 0))?;
    for version in 1..=6 {
        pair.ask(version, "of what is not", |_| find(version, &["a"], 9))?;
    }
    Ok(())
}

fn find(version: i16, keys: &[&str], key_type: i8) -> FindCoordinatorRequest {
    let request = match version {
        ..4 => FindCoordinatorRequest::default().with_key(text(keys[0])),
        _ => {
            let keys = keys.iter().map(|key| text(key)).collect();
            FindCoordinatorRequest::default().with_coordinator_keys(keys)
        }
    };
    match version {
        0 => request,
        _ => request.with_key_type(key_type),
    }
}

pub(super) fn commit(
    side: &Side,
    version: i16,
    group_id: &str,
    (member, generation): (&str, i32),
    partitions: &[(i32, i64, &str)],
) -> OffsetCommitRequest {
    let partitions = partitions.iter().map(|(index, offset, metadata)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text(metadata)));
        match version {
            6.. => partition.with_committed_leader_epoch(0),
            _ => partition,
        }
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_topic_id(side.topic_id(TOPIC))
        .with_partitions(partitions.collect());
    OffsetCommitRequest::default()
        .with_group_id(group(group_id))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic])
}

const NOBODY: (&str, i32) = ("", -1);

pub(super) fn fetch_offsets(
    side: &Side,
    version: i16,
    group_id: &str,
    partitions: Option<&[i32]>,
) -> OffsetFetchRequest {
    let partitions = partitions.map(<[i32]>::to_vec);
    if version < 8 {
        let topics = partitions.map(|indexes| {
            let topic = OffsetFetchRequestTopic::default()
                .with_name(topic_name(TOPIC))
                .with_partition_indexes(indexes);
            vec![topic]
        });
        return OffsetFetchRequest::default()
            .with_group_id(group(group_id))
            .with_topics(topics);
    }
    let topics = partitions.map(|indexes| {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(TOPIC))
            .with_topic_id(side.topic_id(TOPIC))
            .with_partition_indexes(indexes);
        vec![topic]
    });
    let of_group = OffsetFetchRequestGroup::default()
        .with_group_id(group(group_id))
        .with_topics(topics);
    let of_group = match version {
        9.. => of_group.with_member_id(None).with_member_epoch(-1),
        _ => of_group,
    };
    OffsetFetchRequest::default().with_groups(vec![of_group])
}

fn offsets(pair: &mut Pair) -> Result<()> {
    pair.ask_every("commit without members", |side, v| {
        commit(
            side,
            v,
            &format!("offsets-v{v}"),
            NOBODY,
            &[(0, 5, "five"), (1, 6, "")],
        )
    })?;
    pair.ask_every("commit to a missing partition", |side, v| {
        commit(
            side,
            v,
            &format!("offsets-v{v}"),
            NOBODY,
            &[(0, 7, "seven"), (9, 7, "")],
        )
    })?;
    pair.ask_every("commit too much to say", |side, v| {
        let long = "x".repeat(5000);
        commit(side, v, &format!("offsets-v{v}"), NOBODY, &[(0, 8, &long)])
    })?;
    pair.ask_every("commit for no group", |side, v| {
        commit(side, v, "", NOBODY, &[(0, 8, "")])
    })?;
    pair.ask_every("commit by a stranger", |side, v| {
        commit(
            side,
            v,
            &format!("offsets-v{v}"),
            ("stranger", 3),
            &[(0, 9, "")],
        )
    })?;
    pair.ask_every("fetch what was committed", |side, v| {
        fetch_offsets(side, v, "offsets-v5", Some(&[0, 1, 9]))
    })?;
    for version in 2..=10 {
        pair.ask(version, "fetch everything", |side| {
            fetch_offsets(side, version, "offsets-v5", None)
        })?;
    }
    pair.ask_every("fetch of a missing group", |side, v| {
        fetch_offsets(side, v, "missing", Some(&[0]))
    })?;
    for (what, id) in [
        ("of no topic", Uuid::nil()),
        ("of an unknown topic", Uuid::from_bytes([9; 16])),
    ] {
        pair.ask(10, what, |side| {
            let mut request = commit(side, 10, "offsets-by-id", NOBODY, &[(0, 7, ""), (9, 7, "")]);
            request.topics[0].topic_id = id;
            request
        })?;
        pair.ask(10, what, |side| {
            let mut request = fetch_offsets(side, 10, "offsets-by-id", Some(&[0, 1]));
            for topic in request.groups[0].topics.iter_mut().flatten() {
                topic.topic_id = id;
            }
            request
        })?;
    }
    pair.ask(
        10,
        "commit for one topic that is and one that is not",
        |side| {
            let mut request = commit(side, 10, "offsets-by-id", NOBODY, &[(0, 7, "")]);
            let mut unknown = request.topics[0].clone();
            unknown.topic_id = Uuid::from_bytes([9; 16]);
            request.topics.insert(0, unknown);
            request
        },
    )?;
    pair.ask(
        10,
        "fetch of one topic that is and one that is not",
        |side| {
            let mut request = fetch_offsets(side, 10, "offsets-by-id", Some(&[0]));
            if let Some(topics) = &mut request.groups[0].topics {
                let mut unknown = topics[0].clone();
                unknown.topic_id = Uuid::from_bytes([9; 16]);
                topics.insert(0, unknown);
            }
            request
        },
    )?;
    recreated(pair)?;
    let delete = |group_id: &str, indexes: &[i32]| {
        let partitions = indexes
            .iter()
            .map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions(partitions.collect());
        OffsetDeleteRequest::default()
            .with_group_id(group(group_id))
            .with_topics(vec![topic])
    };
    pair.ask(0, "delete an offset", |_| delete("offsets-v5", &[0]))?;
    pair.ask(0, "delete it again", |_| delete("offsets-v5", &[0]))?;
    pair.ask(0, "delete of a missing group", |_| delete("missing", &[0]))?;
    for name in ["missing", ""] {
        pair.ask(0, "delete of a missing partition of no group", |_| {
            delete(name, &[7])
        })?;
    }
    pair.ask(0, "delete of a missing partition", |_| {
        delete("offsets-v5", &[7])
    })?;
    pair.ask(7, "what is left", |side| {
        fetch_offsets(side, 7, "offsets-v5", None)
    })?;
    Ok(())
}

/// An offset is of the topic it was committed for, not of a later one of the same name.
fn recreated(pair: &mut Pair) -> Result<()> {
    const AGAIN: &str = "grouped-again";
    make_topic(pair, AGAIN, 1, &[])?;
    let about = |side: &Side, mut request: OffsetCommitRequest| {
        request.topics[0].name = topic_name(AGAIN);
        request.topics[0].topic_id = side.topic_id(AGAIN);
        request
    };
    pair.ask(10, "commit for a topic that will go", |side| {
        about(side, commit(side, 10, "recreated", NOBODY, &[(0, 7, "")]))
    })?;
    pair.ask_quietly(6, |_| {
        let topic = DeleteTopicState::default().with_name(Some(topic_name(AGAIN)));
        DeleteTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000)
    })?;
    pair.ask(10, "commit for a topic that is gone", |side| {
        about(side, commit(side, 10, "recreated", NOBODY, &[(0, 8, "")]))
    })?;
    pair.ask(10, "fetch for a topic that is gone", |side| {
        let mut request = fetch_offsets(side, 10, "recreated", Some(&[0]));
        for topic in request.groups[0].topics.iter_mut().flatten() {
            topic.topic_id = side.topic_id(AGAIN);
        }
        request
    })?;
    make_topic(pair, AGAIN, 1, &[])?;
    pair.ask(10, "fetch for the topic made anew", |side| {
        let mut request = fetch_offsets(side, 10, "recreated", Some(&[0]));
        for topic in request.groups[0].topics.iter_mut().flatten() {
            topic.topic_id = side.topic_id(AGAIN);
        }
        request
    })?;
    Ok(())
}

fn join(version: i16, group_id: &str, member: &str, instance: Option<&str>) -> JoinGroupRequest {
    let protocol = |name: &str| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::from_static(
                b"\0\x01\0\0\0\x01\0\x07grouped\xff\xff\xff\xff",
            ))
    };
    let request = JoinGroupRequest::default()
        .with_group_id(group(group_id))
        .with_session_timeout_ms(30_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range"), protocol("roundrobin")]);
    let request = match version {
        0 => request,
        _ => request.with_rebalance_timeout_ms(30_000),
    };
    match version {
        5.. => request.with_group_instance_id(instance.map(text)),
        _ => request,
    }
}

fn sync(version: i16, group_id: &str, member: &str, generation: i32) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(text(member))
        .with_assignment(Bytes::from_static(b"\0\x01what the leader chose"));
    let request = SyncGroupRequest::default()
        .with_group_id(group(group_id))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_assignments(vec![assignment]);
    match version {
        5.. => request
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range"))),
        _ => request,
    }
}

pub(super) fn heartbeat(group_id: &str, member: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(group_id))
        .with_generation_id(generation)
        .with_member_id(text(member))
}

fn leave(version: i16, group_id: &str, member: &str) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(group(group_id));
    match version {
        ..3 => request.with_member_id(text(member)),
        _ => {
            let identity = MemberIdentity::default()
                .with_member_id(text(member))
                .with_group_instance_id(None);
            request.with_members(vec![identity])
        }
    }
}

/// A group with one member, from the first join to its deletion, for each version of JoinGroup.
fn classic(pair: &mut Pair) -> Result<()> {
    for version in 0..=9 {
        let name = format!("classic-v{version}");
        for step in ["join", "join again"] {
            let joined = pair.ask(version, step, |side| {
                join(version, &name, &side.text(&name), None)
            })?;
            pair.keep(&joined, |side, answer| {
                side.texts
                    .insert(name.clone(), answer.member_id.to_string());
                side.numbers
                    .insert(name.clone(), i64::from(answer.generation_id));
            });
        }
        let generation = |side: &Side| side.number(&name) as i32;
        pair.ask_every("heartbeat before the assignment", |side, _| {
            heartbeat(&name, &side.text(&name), generation(side))
        })?;
        pair.ask(version.min(5), "sync", |side| {
            sync(version.min(5), &name, &side.text(&name), generation(side))
        })?;
        pair.ask_every("sync again", |side, v| {
            sync(v, &name, &side.text(&name), generation(side))
        })?;
        pair.ask_every("heartbeat", |side, _| {
            heartbeat(&name, &side.text(&name), generation(side))
        })?;
        pair.ask_every("heartbeat of another generation", |side, _| {
            heartbeat(&name, &side.text(&name), generation(side) + 1)
        })?;
        pair.ask_every("commit as a member", |side, v| {
            let member = side.text(&name);
            commit(side, v, &name, (&member, generation(side)), &[(0, 3, "m")])
        })?;
        pair.ask_every("commit in another generation", |side, v| {
            let member = side.text(&name);
            commit(
                side,
                v,
                &name,
                (&member, generation(side) + 1),
                &[(0, 4, "m")],
            )
        })?;
        pair.ask_every("commit as nobody", |side, v| {
            commit(side, v, &name, NOBODY, &[(0, 4, "m")])
        })?;
        pair.ask_every("describe", |_, _| {
            DescribeGroupsRequest::default().with_groups(vec![group(&name), group("missing")])
        })?;
        pair.ask_every("delete while there are members", |_, _| {
            DeleteGroupsRequest::default().with_groups_names(vec![group(&name)])
        })?;
        pair.ask(version, "join with the same metadata", |side| {
            join(version, &name, &side.text(&name), None)
        })?;
        pair.ask(version.min(5), "a stranger leaves", |_| {
            leave(version.min(5), &name, "stranger")
        })?;
        pair.ask(version.min(5), "leave", |side| {
            leave(version.min(5), &name, &side.text(&name))
        })?;
        pair.ask_every("describe without members", |_, _| {
            DescribeGroupsRequest::default().with_groups(vec![group(&name)])
        })?;
        pair.ask_every("list", |_, _| ListGroupsRequest::default())?;
        pair.ask(version.min(2), "delete", |_| {
            DeleteGroupsRequest::default().with_groups_names(vec![group(&name), group("missing")])
        })?;
        pair.ask(7, "what is left of its offsets", |side| {
            fetch_offsets(side, 7, &name, None)
        })?;
    }
    for version in 5..=9 {
        let name = format!("static-v{version}");
        for step in ["join", "join again under another id"] {
            let joined = pair.ask(version, step, |_| join(version, &name, "", Some("one")))?;
            pair.keep(&joined, |side, answer| {
                side.texts
                    .insert(name.clone(), answer.member_id.to_string());
                side.numbers
                    .insert(name.clone(), i64::from(answer.generation_id));
            });
            pair.ask(5, "sync", |side| {
                sync(5, &name, &side.text(&name), side.number(&name) as i32)
            })?;
        }
        pair.ask_every("describe", |_, _| {
            DescribeGroupsRequest::default().with_groups(vec![group(&name)])
        })?;
        pair.ask(5, "leave by name", |_| {
            let identity = MemberIdentity::default()
                .with_member_id(text(""))
                .with_group_instance_id(Some(text("one")));
            LeaveGroupRequest::default()
                .with_group_id(group(&name))
                .with_members(vec![identity])
        })?;
    }
    for version in 4..=5 {
        for (what, states) in [
            ("empty", "Empty"),
            ("stable", "Stable"),
            ("strange", "Nope"),
        ] {
            pair.ask(version, what, |_| {
                ListGroupsRequest::default().with_states_filter(vec![text(states)])
            })?;
        }
    }
    for types in ["classic", "consumer", "nope"] {
        pair.ask(5, "by type", |_| {
            ListGroupsRequest::default().with_types_filter(vec![text(types)])
        })?;
    }
    Ok(())
}

/// Whoever is not a member is told so.
fn strangers(pair: &mut Pair) -> Result<()> {
    pair.ask_every("join no group", |_, v| join(v, "", "", None))?;
    pair.ask_every("join as somebody unknown", |_, v| {
        join(v, "strange", "unknown", None)
    })?;
    pair.ask_every("join for too short", |_, v| {
        join(v, "strange", "", None).with_session_timeout_ms(1)
    })?;
    pair.ask_every("join without a protocol", |_, v| {
        join(v, "strange", "", None).with_protocols(Vec::new())
    })?;
    pair.ask_every("sync", |_, v| sync(v, "strange", "unknown", 1))?;
    pair.ask_every("heartbeat", |_, _| heartbeat("strange", "unknown", 1))?;
    pair.ask_every("leave", |_, v| leave(v, "strange", "unknown"))?;
    pair.ask_every("heartbeat of no group", |_, _| heartbeat("", "unknown", 1))?;
    Ok(())
}

pub(super) fn beat(group_id: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(group_id))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

fn first_beat(group_id: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    beat(group_id, member, 0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
        .with_topic_partitions(Some(Vec::new()))
}

/// A group of KIP-848 with one member.
fn consumer(pair: &mut Pair) -> Result<()> {
    for version in 0..=1 {
        let name = format!("consumer-v{version}");
        let id = match version {
            0 => "",
            _ => "AAAAAAAAAAAAAAAAAAAAAQ",
        };
        let joined = pair.ask(version, "join", |_| first_beat(&name, id))?;
        pair.keep(&joined, |side, answer| {
            let id = answer.member_id.as_ref().map(ToString::to_string);
            side.texts.insert(name.clone(), id.unwrap_or_default());
            side.numbers
                .insert(name.clone(), i64::from(answer.member_epoch));
        });
        let epoch = |side: &Side| side.number(&name) as i32;
        pair.ask(version, "nothing new", |side| {
            beat(&name, &side.text(&name), epoch(side))
        })?;
        pair.ask(version, "owns what it was given", |side| {
            let owned = TopicPartitions::default()
                .with_topic_id(side.topic_id(TOPIC))
                .with_partitions(vec![0, 1]);
            beat(&name, &side.text(&name), epoch(side)).with_topic_partitions(Some(vec![owned]))
        })?;
        for (what, ahead) in [("an epoch ahead", 1), ("an epoch behind", -2)] {
            pair.ask(version, what, |side| {
                beat(&name, &side.text(&name), epoch(side) + ahead)
            })?;
        }
        pair.ask(version, "an unknown member", |_| {
            beat(&name, "AAAAAAAAAAAAAAAAAAAAAg", 3)
        })?;
        pair.ask(version, "an unknown assignor", |side| {
            beat(&name, &side.text(&name), epoch(side)).with_server_assignor(Some(text("nope")))
        })?;
        pair.ask_every("describe", |_, _| {
            ConsumerGroupDescribeRequest::default()
                .with_group_ids(vec![group(&name), group("missing")])
        })?;
        pair.ask_every("describe as a classic group", |_, _| {
            DescribeGroupsRequest::default().with_groups(vec![group(&name)])
        })?;
        pair.ask(10, "commit by id", |side| {
            let member = side.text(&name);
            commit(side, 10, &name, (&member, epoch(side)), &[(0, 3, "m")])
        })?;
        pair.ask(9, "commit", |side| {
            let member = side.text(&name);
            commit(side, 9, &name, (&member, epoch(side)), &[(0, 3, "m")])
        })?;
        pair.ask(9, "commit in another epoch", |side| {
            let member = side.text(&name);
            commit(side, 9, &name, (&member, epoch(side) + 1), &[(0, 4, "m")])
        })?;
        pair.ask(9, "fetch", |side| fetch_offsets(side, 9, &name, Some(&[0])))?;
        pair.ask(version, "leave", |side| beat(&name, &side.text(&name), -1))?;
        pair.ask_every("describe without members", |_, _| {
            ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(&name)])
        })?;
        pair.ask(2, "delete", |_| {
            DeleteGroupsRequest::default().with_groups_names(vec![group(&name)])
        })?;
    }
    for (what, request) in [
        ("no group", first_beat("", "AAAAAAAAAAAAAAAAAAAAAw")),
        ("no member id", first_beat("consumer-strange", "")),
        (
            "no time to rebalance",
            first_beat("consumer-strange", "AAAAAAAAAAAAAAAAAAAAAw").with_rebalance_timeout_ms(-1),
        ),
        (
            "no subscription",
            first_beat("consumer-strange", "AAAAAAAAAAAAAAAAAAAAAw")
                .with_subscribed_topic_names(None),
        ),
        (
            "a bad pattern",
            first_beat("consumer-strange", "AAAAAAAAAAAAAAAAAAAAAw")
                .with_subscribed_topic_names(None)
                .with_subscribed_topic_regex(Some(text("["))),
        ),
    ] {
        pair.ask(1, what, |_| request.clone())?;
    }
    expressions(pair)
}

/// Subscriptions that are RE2's or not. What they stand for Apache Kafka finds out later, so that is
/// compared by what `broker/tests/testdata/re2j-1.8.txt` says.
fn expressions(pair: &mut Pair) -> Result<()> {
    for expression in [
        "grouped.*",
        r"\Qgrouped\E.*",
        r"\Qgrouped",
        "(?i:GROUPED)",
        "(?ii)GROUPED",
        "a{",
        "a{,3}",
        "a{1000}",
        "a{1001}",
        "a{3,1}",
        "a**",
        "a{2}{3}",
        "*",
        "(?x)a b",
        "(?=a)",
        "(?<n>a)",
        "(?P<n>a)(?P<n>b)",
        r"(a)\1",
        r"\101",
        r"\u0061",
        r"\<a\>",
        r"\_",
        r"\Z",
        "[a&&b]",
        "[a--b]",
        "[a[b]c]",
        "[[:foo:]]",
        "[[:alpha:]]",
        "[z-a]",
        r"\p{Greek}",
        r"\p{Alphabetic}",
        r"\pL",
        "(",
        ")",
        "a\\",
    ] {
        let what = format!("subscribe to {expression}");
        let request = first_beat("consumer-expression", "AAAAAAAAAAAAAAAAAAAAAw")
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text(expression)));
        pair.ask_masked(
            1,
            &what,
            |_| request.clone(),
            |answer| {
                *answer =
                    ConsumerGroupHeartbeatResponse::default().with_error_code(answer.error_code);
            },
        )?;
        pair.ask_quietly(1, |_| {
            beat("consumer-expression", "AAAAAAAAAAAAAAAAAAAAAw", -1)
        })?;
    }
    Ok(())
}

//! Groups of two members, each on a connection of its own: rebalances, plans, who leaves, who is replaced
//! and what those that are behind are told, in both protocols.

use std::time::Duration;

use bytes::Bytes;
use reka_protocol::kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::leave_group_request::MemberIdentity;
use reka_protocol::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};

use super::groups::{beat, commit, group, heartbeat};
use super::{make_topic, text, topic_name};
use crate::differential::Pair;
use crate::differential::pair::Both;
use crate::differential::side::Side;
use crate::error::Result;
use crate::wait;

const SETTLE_TIME_MAX: Duration = Duration::from_secs(20);
const TOPIC: &str = "shared";
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

pub(super) fn script(pair: &mut Pair) -> Result<()> {
    make_topic(pair, TOPIC, 4, &[])?;
    for version in [0, 3, 4, 5, 9] {
        classic(pair, version)?;
    }
    for version in [5, 9] {
        replaced(pair, version)?;
    }
    for version in 0..=1 {
        consumer(pair, version)?;
        statics(pair, version)?;
    }
    Ok(())
}

/// What a side knows a member by.
fn known(name: &str, member: &str) -> String {
    format!("{name}/{member}")
}

fn join(side: &Side, version: i16, name: &str, member: &str, instance: bool) -> JoinGroupRequest {
    let protocol = |protocol: &str, topics: &'static [u8]| {
        JoinGroupRequestProtocol::default()
            .with_name(text(protocol))
            .with_metadata(Bytes::from_static(topics))
    };
    // Both can do `range`; each likes another one better.
    let subscription = b"\0\x01\0\0\0\x01\0\x06shared\xff\xff\xff\xff";
    let own = match member {
        "one" => "roundrobin",
        _ => "sticky",
    };
    let request = JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(30_000)
        .with_member_id(text(&side.text(&known(name, member))))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![
            protocol(own, subscription),
            protocol("range", subscription),
        ]);
    let request = match version {
        0 => request,
        _ => request.with_rebalance_timeout_ms(30_000),
    };
    match version {
        5.. => request.with_group_instance_id(instance.then(|| text(member))),
        _ => request,
    }
}

fn keep(pair: &mut Pair, both: &Both<JoinGroupResponse>, name: &str, member: &str) {
    pair.keep(both, |side, answer| {
        let id = answer.member_id.to_string();
        side.texts.insert(known(name, member), id);
        let generation = i64::from(answer.generation_id);
        side.numbers.insert(name.to_owned(), generation);
    });
}

/// A new member is told its id first, by those versions that do.
fn introduce(pair: &mut Pair, version: i16, name: &str, member: &'static str) -> Result<()> {
    if version < 4 {
        return Ok(());
    }
    let told = pair.ask_on(member, version, "be told an id", |side| {
        join(side, version, name, member, false)
    })?;
    let codes = [&told.kafka, &told.reka].map(|told| told.as_ref().map(|told| told.error_code));
    if codes == [Some(MEMBER_ID_REQUIRED); 2] {
        pair.keep(&told, |side, answer| {
            let id = answer.member_id.to_string();
            side.texts.insert(known(name, member), id);
        });
    }
    Ok(())
}

fn generation(side: &Side, name: &str) -> i32 {
    side.number(name) as i32
}

/// Asks a member's heartbeats until both brokers call it to a rebalance.
fn called(pair: &mut Pair, name: &str, member: &str) -> Result<()> {
    wait::until("wait for a rebalance", SETTLE_TIME_MAX, || {
        let both = pair.ask_quietly(4, |side| {
            heartbeat(
                name,
                &side.text(&known(name, member)),
                generation(side, name),
            )
        })?;
        let codes = [both.kafka, both.reka].map(|answer| answer.map(|answer| answer.error_code));
        Ok((codes == [Some(REBALANCE_IN_PROGRESS); 2]).then_some(()))
    })
}

/// The leader brings a plan for all, others none.
fn sync(side: &Side, version: i16, name: &str, member: &str, plan: &[&str]) -> SyncGroupRequest {
    let assignments = plan.iter().map(|planned| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&side.text(&known(name, planned))))
            .with_assignment(Bytes::from(format!("\0\x01for {planned}")))
    });
    let request = SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation(side, name))
        .with_member_id(text(&side.text(&known(name, member))))
        .with_assignments(assignments.collect());
    match version {
        5.. => request
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range"))),
        _ => request,
    }
}

fn beats(pair: &mut Pair, name: &str, member: &'static str, what: &str) -> Result<()> {
    pair.ask_every(what, |side, _| {
        heartbeat(
            name,
            &side.text(&known(name, member)),
            generation(side, name),
        )
    })
}

fn describe(pair: &mut Pair, name: &str, what: &str) -> Result<()> {
    pair.ask_every(what, |_, _| {
        DescribeGroupsRequest::default().with_groups(vec![group(name)])
    })
}

/// One member, then two, then the other one alone.
fn classic(pair: &mut Pair, version: i16) -> Result<()> {
    let name = &format!("two-classic-v{version}");
    let sync_version = version.min(5);
    introduce(pair, version, name, "one")?;
    let joined = pair.ask_on("one", version, "the first joins", |side| {
        join(side, version, name, "one", false)
    })?;
    keep(pair, &joined, name, "one");
    pair.ask_on("one", sync_version, "its plan", |side| {
        let mut plan = sync(side, sync_version, name, "one", &["one"]);
        if version >= 5 {
            plan.protocol_name = Some(text("roundrobin"));
        }
        plan
    })?;
    introduce(pair, version, name, "two")?;
    pair.send_on("two", version, "the second joins", |side| {
        join(side, version, name, "two", false)
    })?;
    called(pair, name, "one")?;
    beats(pair, name, "one", "called to a rebalance")?;
    describe(pair, name, "before all have joined")?;
    pair.ask_every("commit while a rebalance is prepared", |side, v| {
        let member = side.text(&known(name, "one"));
        commit(side, v, name, (&member, generation(side, name)), &[])
    })?;
    pair.ask_on(
        "one",
        sync_version,
        "sync while a rebalance is prepared",
        |side| sync(side, sync_version, name, "one", &["one"]),
    )?;
    let joined = pair.ask_on("one", version, "the first joins again", |side| {
        join(side, version, name, "one", false)
    })?;
    keep(pair, &joined, name, "one");
    let joined = pair.receive_on::<JoinGroupRequest>("two", version, "the second has joined")?;
    keep(pair, &joined, name, "two");
    pair.send_on("two", sync_version, "the second wants its plan", |side| {
        sync(side, sync_version, name, "two", &[])
    })?;
    describe(pair, name, "before there is a plan")?;
    pair.ask_on("one", sync_version, "the plan of the first", |side| {
        sync(side, sync_version, name, "one", &["one", "two"])
    })?;
    pair.receive_on::<SyncGroupRequest>("two", sync_version, "what the second is given")?;
    for member in ["one", "two"] {
        beats(pair, name, member, "all is well")?;
    }
    describe(pair, name, "with a plan")?;
    pair.ask_on("two", 4, "a heartbeat of the generation before", |side| {
        let member = side.text(&known(name, "two"));
        heartbeat(name, &member, generation(side, name) - 1)
    })?;
    pair.ask_on(
        "two",
        sync_version,
        "sync of the generation before",
        |side| {
            let mut request = sync(side, sync_version, name, "two", &[]);
            request.generation_id -= 1;
            request
        },
    )?;
    pair.ask_on("two", sync_version, "the plan again", |side| {
        sync(side, sync_version, name, "two", &[])
    })?;
    leave(pair, version, name, "two")?;
    called(pair, name, "one")?;
    beats(pair, name, "two", "a heartbeat of who has left")?;
    pair.ask_on("two", sync_version, "sync of who has left", |side| {
        sync(side, sync_version, name, "two", &[])
    })?;
    let joined = pair.ask_on("one", version, "the first is alone again", |side| {
        join(side, version, name, "one", false)
    })?;
    keep(pair, &joined, name, "one");
    describe(pair, name, "alone, before there is a plan")?;
    leave(pair, version, name, "one")?;
    describe(pair, name, "without members")
}

fn leave(pair: &mut Pair, version: i16, name: &str, member: &'static str) -> Result<()> {
    let version = version.min(5);
    pair.ask_on(member, version, "leave", |side| {
        let request = LeaveGroupRequest::default().with_group_id(group(name));
        let id = text(&side.text(&known(name, member)));
        match version {
            ..3 => request.with_member_id(id),
            _ => request.with_members(vec![MemberIdentity::default().with_member_id(id)]),
        }
    })?;
    Ok(())
}

/// A static member comes back under its name; whoever had the name is told that it is fenced.
fn replaced(pair: &mut Pair, version: i16) -> Result<()> {
    let name = &format!("two-static-v{version}");
    let joined = pair.ask_on("one", version, "the first joins", |side| {
        join(side, version, name, "one", true)
    })?;
    keep(pair, &joined, name, "one");
    pair.send_on("two", version, "the second joins", |side| {
        join(side, version, name, "two", true)
    })?;
    called(pair, name, "one")?;
    let joined = pair.ask_on("one", version, "the first joins again", |side| {
        join(side, version, name, "one", true)
    })?;
    keep(pair, &joined, name, "one");
    let joined = pair.receive_on::<JoinGroupRequest>("two", version, "the second has joined")?;
    keep(pair, &joined, name, "two");
    pair.ask_on("one", 5, "the plan of the first", |side| {
        sync(side, 5, name, "one", &["one", "two"])
    })?;
    pair.ask_on("two", 5, "what the second is given", |side| {
        sync(side, 5, name, "two", &[])
    })?;
    // Its successor knows no id, and is given what the second had, without a rebalance.
    let back = pair.ask_on(
        "three",
        version,
        "the second is back under its name",
        |side| join(side, version, name, "two", true).with_member_id(text("")),
    )?;
    pair.keep(&back, |side, answer| {
        let id = answer.member_id.to_string();
        side.texts.insert(known(name, "three"), id);
    });
    pair.ask_on("three", 5, "what it is given", |side| {
        sync(side, 5, name, "three", &[]).with_group_instance_id(Some(text("two")))
    })?;
    beats(pair, name, "one", "nobody is called")?;
    pair.ask_on("two", 4, "a heartbeat of who was replaced", |side| {
        let member = side.text(&known(name, "two"));
        let request: HeartbeatRequest = heartbeat(name, &member, generation(side, name));
        request.with_group_instance_id(Some(text("two")))
    })?;
    pair.ask_on("two", 5, "sync of who was replaced", |side| {
        sync(side, 5, name, "two", &[]).with_group_instance_id(Some(text("two")))
    })?;
    pair.ask_on("two", version, "join of who was replaced", |side| {
        join(side, version, name, "two", true)
    })?;
    pair.ask_on("two", 9, "commit of who was replaced", |side| {
        let member = side.text(&known(name, "two"));
        let request = commit(
            side,
            9,
            name,
            (&member, generation(side, name)),
            &[(0, 3, "")],
        );
        request.with_group_instance_id(Some(text("two")))
    })?;
    pair.ask_on("two", 5, "leave of who was replaced", |side| {
        let identity = MemberIdentity::default()
            .with_member_id(text(&side.text(&known(name, "two"))))
            .with_group_instance_id(Some(text("two")));
        LeaveGroupRequest::default()
            .with_group_id(group(name))
            .with_members(vec![identity])
    })?;
    describe(pair, name, "after that")?;
    pair.ask_on("one", 5, "an operator takes out both", |_| {
        let identity =
            |instance: &str| MemberIdentity::default().with_group_instance_id(Some(text(instance)));
        LeaveGroupRequest::default()
            .with_group_id(group(name))
            .with_members(vec![identity("one"), identity("two"), identity("nobody")])
    })?;
    describe(pair, name, "without members")
}

const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const TWO: &str = "AAAAAAAAAAAAAAAAAAAAAg";
const THREE: &str = "AAAAAAAAAAAAAAAAAAAAAw";

fn first(name: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    beat(name, member, 0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
        .with_topic_partitions(Some(Vec::new()))
}

fn owning(side: &Side, name: &str, member: &str, owned: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let owned = match owned {
        [] => Vec::new(),
        owned => vec![
            TopicPartitions::default()
                .with_topic_id(side.topic_id(TOPIC))
                .with_partitions(owned.to_vec()),
        ],
    };
    let epoch = side.number(&known(name, member)) as i32;
    beat(name, member, epoch).with_topic_partitions(Some(owned))
}

/// A heartbeat, whose epoch is kept.
fn heard(
    pair: &mut Pair,
    version: i16,
    what: &str,
    (name, member): (&str, &str),
    request: impl Fn(&Side) -> ConsumerGroupHeartbeatRequest,
) -> Result<()> {
    let both = pair.ask(version, what, request)?;
    pair.keep(&both, |side, answer| {
        if answer.error_code == 0 {
            let epoch = i64::from(answer.member_epoch);
            side.numbers.insert(known(name, member), epoch);
        }
    });
    Ok(())
}

fn describe_consumers(pair: &mut Pair, name: &str, what: &str) -> Result<()> {
    pair.ask_every(what, |_, _| {
        ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(name)])
    })
}

/// The second member is given what the first gives up, and back.
fn consumer(pair: &mut Pair, version: i16) -> Result<()> {
    let name = &format!("two-consumer-v{version}");
    let (one, two) = ((name.as_str(), ONE), (name.as_str(), TWO));
    let empty = |side: &Side, member| owning(side, name, member, &[]);
    heard(pair, version, "the first joins", one, |_| first(name, ONE))?;
    heard(pair, version, "it has everything", one, |side| {
        owning(side, name, ONE, &[0, 1, 2, 3])
    })?;
    heard(pair, version, "the second joins", two, |_| first(name, TWO))?;
    describe_consumers(pair, name, "before the first has heard of it")?;
    heard(pair, version, "the second waits", two, |side| {
        empty(side, TWO)
    })?;
    heard(pair, version, "the first is to give up half", one, |side| {
        owning(side, name, ONE, &[0, 1, 2, 3])
    })?;
    describe_consumers(pair, name, "before the first has given up anything")?;
    heard(pair, version, "the second waits on", two, |side| {
        empty(side, TWO)
    })?;
    // Which half that is, both have told alike, or there is a difference above.
    heard(pair, version, "the first has given up half", one, |side| {
        owning(side, name, ONE, &[0, 1])
    })?;
    heard(pair, version, "the second is given half", two, |side| {
        empty(side, TWO)
    })?;
    heard(pair, version, "the second has it", two, |side| {
        owning(side, name, TWO, &[2, 3])
    })?;
    describe_consumers(pair, name, "both have half")?;
    for (what, member, ahead) in [
        ("an epoch ahead", ONE, 1),
        ("an epoch long over", ONE, -2),
        ("an epoch of nobody", TWO, 7),
    ] {
        pair.ask(version, what, |side| {
            let mut request = beat(name, member, 0);
            request.member_epoch = side.number(&known(name, member)) as i32 + ahead;
            request
        })?;
        pair.ask(9, what, |side| {
            let epoch = side.number(&known(name, member)) as i32 + ahead;
            commit(side, 9, name, (member, epoch), &[(0, 1, "")])
        })?;
    }
    heard(pair, version, "the second leaves", two, |_| {
        beat(name, TWO, -1)
    })?;
    pair.ask(version, "a heartbeat of who has left", |_| {
        beat(name, TWO, 2)
    })?;
    heard(
        pair,
        version,
        "the first is given everything",
        one,
        |side| owning(side, name, ONE, &[0, 1]),
    )?;
    heard(pair, version, "the first has it", one, |side| {
        owning(side, name, ONE, &[0, 1, 2, 3])
    })?;
    describe_consumers(pair, name, "alone again")?;
    heard(pair, version, "the first leaves", one, |_| {
        beat(name, ONE, -1)
    })?;
    describe_consumers(pair, name, "without members")
}

/// Static members go for a while, come back under their names, and cannot be two.
fn statics(pair: &mut Pair, version: i16) -> Result<()> {
    let name = &format!("two-consumer-static-v{version}");
    let named = |request: ConsumerGroupHeartbeatRequest, instance: &str| {
        request.with_instance_id(Some(text(instance)))
    };
    let (one, two) = ((name.as_str(), ONE), (name.as_str(), TWO));
    heard(pair, version, "the first joins", one, |_| {
        named(first(name, ONE), "one")
    })?;
    heard(pair, version, "the second joins", two, |_| {
        named(first(name, TWO), "two")
    })?;
    heard(pair, version, "the first gives up half", one, |side| {
        owning(side, name, ONE, &[0, 1])
    })?;
    heard(pair, version, "the second is given half", two, |side| {
        owning(side, name, TWO, &[])
    })?;
    pair.ask(version, "a third under the name of the second", |_| {
        named(first(name, THREE), "two")
    })?;
    pair.ask(
        version,
        "the second goes under the name of the first",
        |_| named(beat(name, TWO, -2), "one"),
    )?;
    pair.ask(version, "the second goes for a while", |_| {
        named(beat(name, TWO, -2), "two")
    })?;
    describe_consumers(pair, name, "while it is away")?;
    let three = (name.as_str(), THREE);
    heard(pair, version, "the third is the second now", three, |_| {
        named(first(name, THREE), "two")
    })?;
    describe_consumers(pair, name, "when it is back")?;
    pair.ask(version, "a heartbeat of who was replaced", |side| {
        let epoch = side.number(&known(name, TWO)) as i32;
        named(beat(name, TWO, epoch), "two")
    })?;
    pair.ask(
        version,
        "the second goes for good, under another id",
        |_| named(beat(name, TWO, -1), "two"),
    )?;
    heard(pair, version, "the third goes for good", three, |_| {
        named(beat(name, THREE, -1), "two")
    })?;
    heard(
        pair,
        version,
        "the first is given everything",
        one,
        |side| owning(side, name, ONE, &[0, 1]),
    )?;
    describe_consumers(pair, name, "alone again")
}

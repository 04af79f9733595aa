//! Groups of KIP-848.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reka_raft::record::{LeaderRecoveryState, Partition, Record, RemoveTopic, Topic};

use super::*;
use crate::group::ask::Beat;
use crate::group::consumer::{Beaten, Matched, Partitions, held_pairs};
use crate::group::refusal::Refusal;

pub(super) fn topic_id(name: &str) -> Uuid {
    let bytes = name
        .bytes()
        .fold(1_u128, |id, byte| id * 257 + u128::from(byte));
    Uuid::from_u128(bytes)
}

impl World {
    /// Creates topics, or gives them more partitions.
    pub(super) fn topics(&mut self, topics: &[(&str, i32)]) {
        let mut records = Vec::new();
        for (name, count) in topics {
            let id = topic_id(name);
            let known = self.image.topics().by_id(id);
            let from = known.map_or(0, |topic| topic.partition_count() as i32);
            if known.is_none() {
                records.push(Record::Topic(Topic {
                    name: (*name).to_owned(),
                    id,
                }));
            }
            for partition in from..*count {
                records.push(Record::Partition(Partition {
                    topic_id: id,
                    partition,
                    replicas: vec![1],
                    directories: vec![Uuid::from_u128(9)],
                    isr: vec![1],
                    adding: Vec::new(),
                    removing: Vec::new(),
                    leader: 1,
                    leader_epoch: 0,
                    partition_epoch: 0,
                    elr: Vec::new(),
                    last_known_elr: Vec::new(),
                    leader_recovery_state: LeaderRecoveryState::Recovered,
                }));
            }
        }
        self.change(&records);
    }

    fn change(&mut self, records: &[Record]) {
        let next = self.image.offset() + 1;
        let image = self.image.apply(next, records).expect("records that fit");
        self.image = Arc::new(image);
        self.groups.see(self.image.clone());
    }

    /// With expressions matched, where that is asked for.
    pub(super) fn beat(&mut self, mut beat: Beat) -> Result<Beaten, Refusal> {
        let ticket = self.ask(Ask::Beat(Box::new(beat.clone())));
        let wanted = match self.answer(ticket) {
            Some(Reply::NeedsPatterns(patterns)) => Some(patterns.clone()),
            _ => None,
        };
        let ticket = match wanted {
            None => ticket,
            Some(patterns) => {
                beat.matched = Some(Matched::of(patterns, &self.image));
                self.ask(Ask::Beat(Box::new(beat)))
            }
        };
        match self.answer(ticket) {
            Some(Reply::Beat(beaten)) => beaten.clone(),
            other => panic!("expected the answer to a heartbeat, found {other:?}"),
        }
    }

    pub(super) fn code(&mut self, beat: Beat) -> ErrorCode {
        match self.beat(beat) {
            Ok(_) => ErrorCode::None,
            Err(refusal) => refusal.error_code,
        }
    }

    pub(super) fn consumers(&self) -> &ConsumerGroup {
        self.groups.consumer("g").expect("a consumer group")
    }

    /// `t/0 t/1`: what a member has.
    pub(super) fn has(&self, member: &str) -> String {
        let member = self.consumers().member(member).expect("a member");
        let names = held_pairs(&member.assigned).map(|(topic, index)| {
            let topic = self.image.topics().by_id(topic).expect("a topic");
            format!("{}/{index}", topic.name())
        });
        names
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(super) fn follow(&mut self, client: &mut Client) -> Result<(), Refusal> {
        let beaten = self.beat(client.next_beat())?;
        client.take(&beaten);
        Ok(())
    }

    /// Heartbeats of everybody until nobody has anything left to do.
    fn converge(&mut self, clients: &mut [Client]) {
        for _ in 0..20 {
            for client in &mut *clients {
                self.follow(client).expect("a good heartbeat");
            }
            if self.consumers().state() == "Stable" {
                return;
            }
        }
        panic!("the group does not settle: {:?}", self.consumers());
    }
}

/// A client as it sees itself.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) epoch: i32,
    pub(super) topics: Vec<String>,
    pub(super) owned: Partitions,
    /// When it was last answered.
    heard_ms: i64,
}

impl Client {
    pub(super) fn new(id: &str, topics: &[&str]) -> Client {
        Client {
            id: id.to_owned(),
            instance: None,
            epoch: 0,
            topics: topics.iter().map(ToString::to_string).collect(),
            owned: Partitions::new(),
            heard_ms: 0,
        }
    }

    fn static_member(id: &str, instance: &str, topics: &[&str]) -> Client {
        Client {
            instance: Some(instance.to_owned()),
            ..Client::new(id, topics)
        }
    }

    pub(super) fn next_beat(&self) -> Beat {
        Beat {
            group: "g".to_owned(),
            member_id: self.id.clone(),
            epoch: self.epoch,
            instance_id: self.instance.clone(),
            rebalance_timeout_ms: 60_000,
            caller: Caller::default(),
            topics: Some(self.topics.clone()),
            owned: Some(if self.epoch == 0 {
                Partitions::new()
            } else {
                self.owned.clone()
            }),
            ..Beat::default()
        }
    }

    pub(super) fn leave(&self, epoch: i32) -> Beat {
        Beat {
            epoch,
            rebalance_timeout_ms: -1,
            topics: None,
            owned: None,
            ..self.next_beat()
        }
    }

    /// Gives up at once what it is asked to.
    pub(super) fn take(&mut self, beaten: &Beaten) {
        self.id.clone_from(&beaten.member_id);
        self.epoch = beaten.epoch;
        if let Some(assignment) = &beaten.assignment {
            let topics = assignment.iter();
            self.owned = topics
                .map(|(topic, indexes)| (*topic, indexes.iter().copied().collect()))
                .filter(|(_, indexes): &(_, BTreeSet<i32>)| !indexes.is_empty())
                .collect();
        }
    }
}

#[test]
fn the_first_member_is_given_everything_at_once() {
    let mut world = World::new();
    world.topics(&[("t", 2), ("other", 1)]);
    let beaten = world
        .beat(Client::new("a", &["t"]).next_beat())
        .expect("in");
    assert_eq!((beaten.epoch, beaten.interval_ms), (2, 5_000));
    assert_eq!(beaten.assignment, Some(vec![(topic_id("t"), vec![0, 1])]));
    assert_eq!(world.consumers().state(), "Stable");
}

#[test]
fn a_partition_moves_only_after_it_was_given_up() {
    let mut world = World::new();
    world.topics(&[("t", 4)]);
    let mut one = Client::new("a", &["t"]);
    let mut two = Client::new("b", &["t"]);
    world.follow(&mut one).expect("in");
    world.follow(&mut two).expect("in");
    assert_eq!((world.has("b"), two.epoch), (String::new(), 3));
    assert_eq!(world.consumers().state(), "Reconciling");
    // The first one is told, and has not said yet that it has stopped.
    world.follow(&mut one).expect("in");
    let ticket = world.ask(Ask::ConsumerDescribe("g".to_owned()));
    let Some(Reply::ConsumerDescribe(described)) = world.answer(ticket) else {
        panic!("expected a description");
    };
    let members = &mut described.members.iter();
    let shown = members.find(|member| member.member_id == "a");
    let shown = &shown.expect("a member").assigned[0].partitions;
    assert_eq!(shown[..], [0, 1, 2, 3], "what it gives up it still has");
    assert_eq!(one.epoch, 2, "it stays in its epoch until it has");
    world.follow(&mut two).expect("in");
    assert_eq!(world.has("b"), "");
    world.follow(&mut one).expect("in");
    assert_eq!((one.epoch, world.has("a").as_str()), (3, "t/0 t/1"));
    world.follow(&mut two).expect("in");
    assert_eq!(
        (world.has("b").as_str(), world.state()),
        ("t/2 t/3", "Stable")
    );
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_out() {
    let mut world = World::new();
    world.topics(&[("t", 2)]);
    let mut one = Client::new("a", &["t"]);
    let mut two = Client::new("b", &["t"]);
    world.follow(&mut one).expect("in");
    world.follow(&mut two).expect("in");
    // It keeps what it has, whatever it is told.
    let stubborn = Beat {
        owned: Some(one.owned.clone()),
        ..one.next_beat()
    };
    for _ in 0..13 {
        world.beat(stubborn.clone()).ok();
        world.follow(&mut two).expect("in");
        world.pass(5_000);
    }
    assert_eq!(world.code(one.next_beat()), ErrorCode::UnknownMemberId);
    world.converge(std::slice::from_mut(&mut two));
    assert_eq!(world.has("b"), "t/0 t/1");
}

#[test]
fn silence_puts_a_member_out_and_its_partitions_go_to_the_others() {
    let mut world = World::new();
    world.topics(&[("t", 2)]);
    let mut clients = [Client::new("a", &["t"]), Client::new("b", &["t"])];
    world.converge(&mut clients);
    let [mut one, two] = clients;
    for _ in 0..10 {
        world.pass(5_000);
        world.follow(&mut one).expect("in");
    }
    assert_eq!(world.code(two.next_beat()), ErrorCode::UnknownMemberId);
    world.converge(std::slice::from_mut(&mut one));
    assert_eq!(world.has("a"), "t/0 t/1");
    let told = world.events.iter().any(|event| {
        matches!(event, Event::Rebalanced { cause, member, .. }
            if cause.contains("silent") && member == "b")
    });
    assert!(told, "{:?}", world.events);
}

#[test]
fn epochs_that_are_not_the_members_are_fenced_and_a_lost_answer_is_not() {
    let mut world = World::new();
    world.topics(&[("t", 2)]);
    let mut clients = [Client::new("a", &["t"]), Client::new("b", &["t"])];
    world.converge(&mut clients);
    let [one, _] = clients;
    let mut ahead = one.clone();
    ahead.epoch += 1;
    assert_eq!(world.code(ahead.next_beat()), ErrorCode::FencedMemberEpoch);
    let mut behind = one.clone();
    behind.epoch -= 1;
    assert_eq!(world.code(behind.next_beat()), ErrorCode::None);
    // With partitions that are no longer its own it cannot be a lost answer.
    behind.owned.insert(topic_id("t"), BTreeSet::from([0, 1]));
    assert_eq!(world.code(behind.next_beat()), ErrorCode::FencedMemberEpoch);
    let stranger = Client {
        epoch: 1,
        ..Client::new("x", &["t"])
    };
    assert_eq!(world.code(stranger.next_beat()), ErrorCode::UnknownMemberId);
    let again = Client {
        epoch: 0,
        ..one.clone()
    };
    assert_eq!(world.code(again.next_beat()), ErrorCode::None);
}

#[test]
fn what_is_no_heartbeat_is_refused_without_making_a_group() {
    let mut world = World::new();
    let good = Client::new("a", &["t"]).next_beat();
    let check = |world: &mut World, beat: Beat, expected: ErrorCode| {
        assert_eq!(world.code(beat), expected);
        assert!(world.groups.is_empty());
    };
    let invalid = ErrorCode::InvalidRequest;
    for beat in [
        Beat {
            group: String::new(),
            ..good.clone()
        },
        Beat {
            instance_id: Some(String::new()),
            ..good.clone()
        },
        Beat {
            rack_id: Some(String::new()),
            ..good.clone()
        },
        Beat {
            rebalance_timeout_ms: -1,
            ..good.clone()
        },
        Beat {
            owned: None,
            ..good.clone()
        },
        Beat {
            owned: Some(Partitions::from([(topic_id("t"), BTreeSet::from([0]))])),
            ..good.clone()
        },
        Beat {
            topics: None,
            ..good.clone()
        },
        Beat {
            member_id: String::new(),
            chooses_id: true,
            ..good.clone()
        },
        Beat {
            member_id: String::new(),
            epoch: 1,
            ..good.clone()
        },
        Beat {
            epoch: -2,
            ..good.clone()
        },
        Beat {
            epoch: -3,
            ..good.clone()
        },
    ] {
        check(&mut world, beat, invalid);
    }
    let beat = Beat {
        assignor: Some("sticky".to_owned()),
        ..good.clone()
    };
    check(&mut world, beat, ErrorCode::UnsupportedAssignor);
    let beat = Beat {
        epoch: 1,
        ..good.clone()
    };
    check(&mut world, beat, ErrorCode::GroupIdNotFound);
    let beat = Beat {
        pattern: Some("(".to_owned()),
        ..good.clone()
    };
    check(&mut world, beat, ErrorCode::InvalidRegularExpression);
}

#[test]
fn a_subscription_that_does_not_fit_a_record_is_refused_and_nothing_is_written() {
    let mut world = World::with(Settings {
        record_bytes_max: 2_000,
        ..settings()
    });
    world.topics(&[("t", 1)]);
    let large: Vec<String> = (0..100).map(|n| format!("{n:0>100}")).collect();
    let beat = Beat {
        topics: Some(large),
        ..Client::new("a", &["t"]).next_beat()
    };
    assert_eq!(world.code(beat), ErrorCode::UnknownServerError);
    assert!(world.log.is_empty() && world.groups.is_empty());
    assert_eq!(
        world.code(Client::new("a", &["t"]).next_beat()),
        ErrorCode::None
    );
}

#[test]
fn a_static_member_comes_back_to_what_it_had_and_nobody_else_moves() {
    let mut world = World::new();
    world.topics(&[("t", 4)]);
    let mut clients = [
        Client::static_member("a", "1", &["t"]),
        Client::static_member("b", "2", &["t"]),
    ];
    world.converge(&mut clients);
    let (epoch, had) = (world.consumers().epoch(), world.has("b"));
    let [one, two] = clients;
    let thief = Client::static_member("c", "2", &["t"]);
    assert_eq!(
        world.code(thief.next_beat()),
        ErrorCode::UnreleasedInstanceId
    );
    assert_eq!(world.code(two.leave(-2)), ErrorCode::None);
    let mut back = Client::static_member("c", "2", &["t"]);
    world.follow(&mut back).expect("in");
    assert_eq!((world.has("c"), world.consumers().epoch()), (had, epoch));
    assert_eq!(world.code(two.next_beat()), ErrorCode::FencedInstanceId);
    let mut one = one;
    world.follow(&mut one).expect("in");
    assert_eq!(world.state(), "Stable");
    // One that does not come back is out after its session.
    assert_eq!(world.code(back.leave(-2)), ErrorCode::None);
    for _ in 0..10 {
        world.pass(5_000);
        world.follow(&mut one).expect("in");
    }
    world.converge(std::slice::from_mut(&mut one));
    assert_eq!(world.has("a"), "t/0 t/1 t/2 t/3");
}

#[test]
fn new_topics_and_partitions_reach_members_with_a_heartbeat() {
    let mut world = World::new();
    world.topics(&[("t", 1)]);
    let mut client = Client::new("a", &["t", "later"]);
    world.follow(&mut client).expect("in");
    assert_eq!(world.has("a"), "t/0");
    world.topics(&[("later", 1), ("unrelated", 5)]);
    world.follow(&mut client).expect("in");
    assert_eq!(world.has("a"), "later/0 t/0");
    let epoch = world.consumers().epoch();
    world.topics(&[("unrelated", 6)]);
    world.follow(&mut client).expect("in");
    assert_eq!(world.consumers().epoch(), epoch, "nobody reads it");
    world.topics(&[("t", 3)]);
    world.follow(&mut client).expect("in");
    assert_eq!(world.has("a"), "later/0 t/0 t/1 t/2");
    world.change(&[Record::RemoveTopic(RemoveTopic { id: topic_id("t") })]);
    world.follow(&mut client).expect("in");
    world.follow(&mut client).expect("in");
    assert_eq!(world.has("a"), "later/0");
}

#[test]
fn a_subscription_by_expression_follows_the_topics_that_match() {
    let mut world = World::new();
    world.topics(&[("orders-eu", 1), ("payments", 1)]);
    let mut client = Client::new("a", &[]);
    let beat = |client: &Client, pattern: &str| Beat {
        pattern: Some(pattern.to_owned()),
        ..client.next_beat()
    };
    let bad = world
        .beat(beat(&client, "orders-("))
        .expect_err("no expression");
    assert_eq!(bad.error_code, ErrorCode::InvalidRegularExpression);
    let beaten = world.beat(beat(&client, "orders-.*")).expect("in");
    client.take(&beaten);
    assert_eq!(world.has("a"), "orders-eu/0");
    world.topics(&[("orders-us", 1), ("old-orders-us", 1)]);
    // Not matched again at every change.
    client.take(&world.beat(beat(&client, "orders-.*")).expect("in"));
    assert_eq!(world.has("a"), "orders-eu/0");
    world.pass(10_000);
    client.take(&world.beat(beat(&client, "orders-.*")).expect("in"));
    assert_eq!(world.has("a"), "orders-eu/0 orders-us/0");
    world.crash();
    client.take(&world.beat(beat(&client, "orders-.*")).expect("in"));
    assert_eq!(world.has("a"), "orders-eu/0 orders-us/0");
    // An empty one ends it; the expression goes with its last subscriber.
    client.topics = vec!["payments".to_owned()];
    for _ in 0..3 {
        client.take(&world.beat(beat(&client, "")).expect("in"));
    }
    assert_eq!(world.has("a"), "payments/0");
}

#[test]
fn expressions_are_matched_by_whoever_asks_and_nothing_is_done_until_then() {
    let mut world = World::new();
    world.topics(&[("orders-eu", 1)]);
    let mut client = Client::new("a", &[]);
    let beat = |client: &Client| Beat {
        pattern: Some("orders-.*".to_owned()),
        ..client.next_beat()
    };
    let wanted = |world: &mut World, beat: Beat| {
        let ticket = world.ask(Ask::Beat(Box::new(beat)));
        match world.answer(ticket) {
            Some(Reply::NeedsPatterns(patterns)) => patterns.clone(),
            Some(Reply::Beat(_)) => Vec::new(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wanted(&mut world, beat(&client)), ["orders-.*"]);
    assert_eq!(world.log.len(), 0);
    // Matched in vain: the topics are there with a later heartbeat, which asks again.
    let nothing = Beat {
        matched: Some(Matched::default()),
        ..beat(&client)
    };
    client.take(&world.beat(nothing).expect("in"));
    assert_eq!(world.has("a"), "");
    let silent = Beat {
        pattern: None,
        ..beat(&client)
    };
    assert_eq!(wanted(&mut world, silent.clone()), ["orders-.*"]);
    client.take(&world.beat(silent).expect("in"));
    assert_eq!(world.has("a"), "orders-eu/0");
    // From then on once in a while: when topics came, and not before some time has passed.
    world.topics(&[("orders-us", 1)]);
    assert!(wanted(&mut world, client.next_beat()).is_empty());
    world.pass(10_000);
    assert_eq!(wanted(&mut world, client.next_beat()), ["orders-.*"]);
    client.take(&world.beat(client.next_beat()).expect("in"));
    assert!(wanted(&mut world, client.next_beat()).is_empty());
    // One who leaves reads nothing any more.
    let leaves = Beat {
        epoch: -1,
        ..beat(&client)
    };
    assert!(wanted(&mut world, leaves).is_empty());
}

#[test]
fn an_expression_that_matches_nothing_yet_leaves_the_group_in_its_epoch() {
    let mut world = World::new();
    let mut client = Client::new("a", &[]);
    let beat = |client: &Client| Beat {
        pattern: Some("foo.*".to_owned()),
        topics: None,
        ..client.next_beat()
    };
    client.take(&world.beat(beat(&client)).expect("in"));
    assert_eq!((client.epoch, world.has("a").as_str()), (1, ""));
    assert_eq!((world.consumers().epoch(), world.state()), (1, "Stable"));
    world.crash();
    assert_eq!((world.consumers().len(), world.consumers().epoch()), (1, 1));
    world.topics(&[("foo", 3)]);
    world.pass(10_000);
    client.take(&world.beat(beat(&client)).expect("in"));
    assert_eq!(
        (client.epoch, world.has("a").as_str()),
        (2, "foo/0 foo/1 foo/2")
    );
}

#[test]
fn the_assignor_most_members_want_is_used() {
    let mut world = World::new();
    world.topics(&[("t", 3), ("u", 3)]);
    let beat = |client: &Client, assignor: &str| Beat {
        assignor: Some(assignor.to_owned()),
        ..client.next_beat()
    };
    let mut clients = [Client::new("a", &["t", "u"]), Client::new("b", &["t", "u"])];
    for _ in 0..6 {
        for client in &mut clients {
            let beaten = world.beat(beat(client, "range")).expect("in");
            client.take(&beaten);
        }
    }
    assert_eq!(
        (world.has("a").as_str(), world.has("b").as_str()),
        ("t/0 t/1 u/0 u/1", "t/2 u/2")
    );
}

#[test]
fn assignments_are_made_no_more_often_than_the_interval_allows() {
    let mut world = World::with(Settings {
        consumer: ConsumerGroupsConfig {
            assignment_interval: tunable(1_000),
            ..settings().consumer
        },
        ..settings()
    });
    world.topics(&[("t", 4)]);
    let mut one = Client::new("a", &["t"]);
    let mut two = Client::new("b", &["t"]);
    world.follow(&mut one).expect("in");
    world.follow(&mut two).expect("in");
    assert_eq!(
        (world.consumers().target_epoch(), world.state()),
        (2, "Assigning")
    );
    world.pass(1_000);
    world.converge(&mut [one, two]);
    assert_eq!(world.consumers().target_epoch(), 3);
}

#[test]
fn a_group_sets_its_own_times_within_what_the_broker_allows() {
    let mut world = World::new();
    world.topics(&[("t", 1)]);
    for (value, expected) in [("7000", 7_000), ("60000", 10_000)] {
        world.change(&[Record::Config(reka_raft::record::Config {
            resource_type: 32,
            resource_name: "g".to_owned(),
            key: "consumer.heartbeat.interval.ms".to_owned(),
            value: Some(value.to_owned()),
        })]);
        let beaten = world
            .beat(Client::new("a", &["t"]).next_beat())
            .expect("in");
        assert_eq!(beaten.interval_ms, expected);
    }
}

#[test]
fn offsets_are_committed_in_the_members_epoch_or_since_it_has_the_partition() {
    let mut world = World::new();
    world.topics(&[("t", 2), ("u", 1)]);
    let mut one = Client::new("a", &["t"]);
    world.follow(&mut one).expect("in");
    let by = |epoch, topic| Commit {
        knows_member_epochs: true,
        ..commit_by("a", epoch, topic, 5)
    };
    assert_eq!(code_of(&world.commit(by(2, "t"))), ErrorCode::None);
    assert_eq!(
        code_of(&world.commit(by(3, "t"))),
        ErrorCode::StaleMemberEpoch
    );
    assert_eq!(
        code_of(&world.commit(commit("g", "t", 1))),
        ErrorCode::UnknownMemberId
    );
    let old = Commit {
        knows_member_epochs: false,
        ..by(2, "t")
    };
    assert_eq!(code_of(&world.commit(old)), ErrorCode::UnsupportedVersion);
    // The member moves on and has not heard of it: what it has had all along still counts.
    one.topics.push("u".to_owned());
    world.follow(&mut one).expect("in");
    assert_eq!(one.epoch, 3);
    assert_eq!(code_of(&world.commit(by(2, "t"))), ErrorCode::None);
    assert_eq!(
        code_of(&world.commit(by(2, "u"))),
        ErrorCode::StaleMemberEpoch
    );
    world.crash();
    assert_eq!(code_of(&world.commit(by(2, "t"))), ErrorCode::None);
    assert_eq!(
        code_of(&world.commit(by(2, "u"))),
        ErrorCode::StaleMemberEpoch
    );
    let fetch = |world: &mut World, member: Option<(&str, i32)>| {
        let ticket = world.ask(Ask::Fetch(FetchOffsets {
            group: "g".to_owned(),
            member: member.map(|(id, epoch)| (id.to_owned(), epoch)),
            topics: None,
            require_stable: false,
        }));
        match world.answer(ticket) {
            Some(Reply::Fetch(fetched)) => fetched.clone().err().unwrap_or(ErrorCode::None),
            other => panic!("expected offsets, found {other:?}"),
        }
    };
    assert_eq!(fetch(&mut world, None), ErrorCode::None);
    assert_eq!(fetch(&mut world, Some(("a", 3))), ErrorCode::None);
    assert_eq!(
        fetch(&mut world, Some(("a", 2))),
        ErrorCode::StaleMemberEpoch
    );
    assert_eq!(
        fetch(&mut world, Some(("x", 2))),
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn an_empty_group_changes_its_protocol_and_keeps_its_offsets() {
    let mut world = World::new();
    world.topics(&[("t", 1)]);
    let (members, generation) = world.stable(1);
    world.commit(commit_by(&members[0], generation, "t", 7));
    let consumer = Client::new("a", &["t"]);
    world.leave(&members[0], None);
    assert_eq!(world.code(consumer.next_beat()), ErrorCode::None);
    assert_eq!((world.offset("g", "t"), world.groups.len()), (7, 1));
    world.crash();
    assert_eq!(world.consumers().len(), 1);
    assert_eq!(world.code(consumer.leave(-1)), ErrorCode::None);
    let classic = world.join(new_member());
    assert_eq!(
        world.joined(classic).error_code,
        ErrorCode::MemberIdRequired
    );
    assert_eq!((world.offset("g", "t"), world.state()), (7, "Empty"));
    world.crash();
    assert!(world.groups.classic("g").is_some());
    assert_eq!(world.offset("g", "t"), 7);
}

#[test]
fn a_consumer_group_is_described_listed_and_deleted() {
    let mut world = World::new();
    world.topics(&[("t", 2)]);
    let client = Client::new("a", &["t"]);
    world.beat(client.next_beat()).expect("in");
    let ticket = world.ask(Ask::ConsumerDescribe("g".to_owned()));
    let Some(Reply::ConsumerDescribe(described)) = world.answer(ticket) else {
        panic!("expected a description");
    };
    assert_eq!(
        (described.state, described.epoch, described.target_epoch),
        ("Stable", 2, 2)
    );
    assert_eq!(described.assignor, "uniform");
    assert_eq!(described.members[0].assigned, described.members[0].target);
    assert_eq!(described.members[0].assigned[0].partitions, [0, 1]);
    let ticket = world.ask(Ask::Describe("g".to_owned()));
    let Some(Reply::Describe(classic)) = world.answer(ticket) else {
        panic!("expected a description");
    };
    assert_eq!(
        (classic.state, classic.error_code),
        ("Dead", ErrorCode::GroupIdNotFound)
    );
    let delete = |world: &mut World| {
        let ticket = world.ask(Ask::Delete("g".to_owned()));
        world.answer(ticket).cloned()
    };
    assert_eq!(
        delete(&mut world),
        Some(Reply::Code(ErrorCode::NonEmptyGroup))
    );
    world.beat(client.leave(-1)).expect("out");
    assert_eq!(delete(&mut world), Some(Reply::Code(ErrorCode::None)));
    world.crash();
    assert!(world.groups.is_empty());
}

/// What may happen next. Clients are chosen by number among those there are.
#[derive(Clone, Debug)]
enum Act {
    Come {
        instance: Option<u8>,
        topics: u8,
    },
    Beat {
        who: u8,
    },
    /// The answer is lost.
    Lose {
        who: u8,
    },
    Subscribe {
        who: u8,
        topics: u8,
    },
    Leave {
        who: u8,
        for_a_while: bool,
    },
    Vanish {
        who: u8,
    },
    Grow {
        topic: u8,
    },
    Pass {
        ms: u16,
    },
    Crash,
}

/// How long the sessions of these groups last.
const SESSION_MS: i64 = 45_000;

const NAMES: [&str; 3] = ["x", "y", "z"];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (proptest::option::of(0..3_u8), 1..8_u8)
            .prop_map(|(instance, topics)| Act::Come { instance, topics }),
        16 => any::<u8>().prop_map(|who| Act::Beat { who }),
        2 => any::<u8>().prop_map(|who| Act::Lose { who }),
        2 => (any::<u8>(), 1..8_u8).prop_map(|(who, topics)| Act::Subscribe { who, topics }),
        1 => (any::<u8>(), any::<bool>())
            .prop_map(|(who, for_a_while)| Act::Leave { who, for_a_while }),
        1 => any::<u8>().prop_map(|who| Act::Vanish { who }),
        1 => (0..3_u8).prop_map(|topic| Act::Grow { topic }),
        3 => (0..9_000_u16).prop_map(|ms| Act::Pass { ms }),
        1 => Just(Act::Crash),
    ]
}

fn subscription(topics: u8) -> Vec<String> {
    let named = NAMES.iter().enumerate();
    let chosen = named.filter(|(bit, _)| topics & (1 << bit) != 0);
    chosen.map(|(_, name)| (*name).to_owned()).collect()
}

#[derive(Default)]
struct Life {
    clients: Vec<Client>,
    next: usize,
    partitions: BTreeMap<&'static str, i32>,
    epoch: i32,
}

impl Life {
    /// Nobody reads what another reads: what clients believe they own never overlaps.
    ///
    /// A client that heard nothing for as long as a session lasts may have lost its place without
    /// knowing it: what it reads, others read again, and what it commits is refused.
    fn check(&self, world: &World) {
        let mut owned = BTreeMap::new();
        let group = world.groups.consumer("g");
        for client in &self.clients {
            let is_member = group.is_some_and(|group| group.member(&client.id).is_some());
            let silent_ms = world.now.steady_ms - client.heard_ms;
            if !is_member && silent_ms >= SESSION_MS {
                continue;
            }
            for (topic, indexes) in &client.owned {
                for index in indexes {
                    let before = owned.insert((*topic, *index), &client.id);
                    assert!(
                        before.is_none(),
                        "{before:?} and {} read the same",
                        client.id
                    );
                }
            }
        }
    }

    fn beat(&mut self, world: &mut World, at: usize) {
        let client = &mut self.clients[at];
        match world.beat(client.next_beat()) {
            Ok(beaten) => {
                client.take(&beaten);
                client.heard_ms = world.now.steady_ms;
                for (topic, _) in beaten.assignment.into_iter().flatten() {
                    let name = world.image.topics().by_id(topic).expect("a topic").name();
                    assert!(
                        client.topics.iter().any(|read| read == name),
                        "{name} is not read"
                    );
                }
            }
            Err(refusal) => {
                // Abandon everything and begin anew, as clients do.
                client.owned.clear();
                client.epoch = 0;
                let code = refusal.error_code;
                if matches!(
                    code,
                    ErrorCode::FencedInstanceId | ErrorCode::UnreleasedInstanceId
                ) {
                    self.clients.remove(at);
                } else {
                    assert!(
                        matches!(
                            code,
                            ErrorCode::UnknownMemberId
                                | ErrorCode::FencedMemberEpoch
                                | ErrorCode::GroupIdNotFound
                        ),
                        "{refusal:?}"
                    );
                }
            }
        }
    }

    fn act(&mut self, world: &mut World, act: &Act) {
        let count = self.clients.len();
        let pick = |who: u8| (count > 0).then(|| usize::from(who) % count);
        match act {
            Act::Come { instance, topics } if count < 6 => {
                self.next += 1;
                let id = format!("m{}", self.next);
                self.clients.push(Client {
                    instance: instance.map(|number| number.to_string()),
                    topics: subscription(*topics),
                    ..Client::new(&id, &[])
                });
                self.beat(world, count);
            }
            Act::Come { .. } => {}
            Act::Beat { who } => {
                if let Some(at) = pick(*who) {
                    self.beat(world, at);
                }
            }
            Act::Lose { who } => {
                if let Some(at) = pick(*who) {
                    world.beat(self.clients[at].next_beat()).ok();
                }
            }
            Act::Subscribe { who, topics } => {
                if let Some(at) = pick(*who) {
                    self.clients[at].topics = subscription(*topics);
                }
            }
            Act::Leave { who, for_a_while } => {
                if let Some(at) = pick(*who) {
                    let client = self.clients.remove(at);
                    let a_while = *for_a_while && client.instance.is_some();
                    world.beat(client.leave(if a_while { -2 } else { -1 })).ok();
                }
            }
            Act::Vanish { who } => {
                if let Some(at) = pick(*who) {
                    self.clients.remove(at);
                }
            }
            Act::Grow { topic } => {
                let name = NAMES[usize::from(*topic)];
                let partitions = self.partitions.entry(name).or_insert(0);
                *partitions += 2;
                world.topics(&[(name, *partitions)]);
            }
            Act::Pass { ms } => world.pass(i64::from(*ms)),
            Act::Crash => world.crash(),
        }
        self.check(world);
        if let Some(group) = world.groups.consumer("g") {
            assert!(group.epoch() >= self.epoch, "epochs only grow");
            self.epoch = group.epoch();
        }
    }

    /// Everybody behaves from now on: the group must settle, with everything read.
    fn settle(&mut self, world: &mut World) {
        let mut instances = BTreeSet::new();
        self.clients.retain(|client| {
            client
                .instance
                .clone()
                .is_none_or(|name| instances.insert(name))
        });
        for _ in 0..30 {
            for at in (0..self.clients.len()).rev() {
                self.beat(world, at);
                self.check(world);
            }
            world.pass(5_000);
        }
        if self.clients.is_empty() {
            return;
        }
        let group = world.consumers();
        assert_eq!((group.state(), group.len()), ("Stable", self.clients.len()));
        for (name, count) in &self.partitions {
            let read = self
                .clients
                .iter()
                .any(|client| client.topics.iter().any(|read| read == name));
            let owned: usize = self
                .clients
                .iter()
                .filter_map(|client| client.owned.get(&topic_id(name)))
                .map(BTreeSet::len)
                .sum();
            assert_eq!(owned, if read { *count as usize } else { 0 }, "{name}");
        }
    }
}

fn live(acts: &[Act]) {
    let mut world = World::new();
    let mut life = Life::default();
    life.partitions.insert("x", 3);
    world.topics(&[("x", 3)]);
    for act in acts {
        life.act(&mut world, act);
    }
    life.settle(&mut world);
}

#[test]
fn what_a_silent_client_had_goes_to_others_and_it_comes_back_for_its_share() {
    let come = || Act::Come {
        instance: None,
        topics: 1,
    };
    // The first is not heard of for 45 s, the second joins in the meantime.
    let mut acts = vec![come(), come()];
    acts.extend([9_000, 9_000, 9_000, 9_000].map(|ms| Act::Pass { ms }));
    acts.extend([Act::Beat { who: 1 }, Act::Pass { ms: 9_000 }]);
    acts.extend([Act::Beat { who: 1 }, Act::Beat { who: 0 }]);
    live(&acts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_consumers_do_nobody_reads_what_another_reads_and_all_is_read_in_the_end(
        acts in proptest::collection::vec(act(), 0..100)
    ) {
        live(&acts);
    }
}

//! Groups with members of both protocols, and groups that change from one to the other.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::consumer::{Client, topic_id};
use super::*;
use crate::config::MigrationPolicy;
use crate::group::classic::ClassicGroup;
use crate::group::embedded::{ByName, Given, write_assignment};

/// A classic consumer that gives partitions up only when it is told to (cooperative).
#[derive(Clone, Debug, Default)]
struct Classic {
    id: String,
    generation: i32,
    owned: ByName,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    /// Everybody in the group, for a leader.
    others: Vec<String>,
    leads: bool,
}

/// A subscription in version 1: topics, and what is owned.
fn subscription(topics: &[&str], owned: &ByName) -> Vec<u8> {
    let mut bytes = offer("", topics).metadata;
    bytes[..2].copy_from_slice(&1_i16.to_be_bytes());
    let assignment = write_assignment(0, owned);
    // Without its version and its user data.
    bytes.extend(&assignment[2..assignment.len() - 4]);
    bytes
}

impl Classic {
    fn join(&mut self, world: &mut World) {
        let ticket = world.join(Join {
            protocols: vec![Protocol {
                name: "cooperative-sticky".to_owned(),
                metadata: subscription(&["t"], &self.owned),
            }],
            ..member(&self.id)
        });
        self.joining = Some(ticket);
    }

    /// Does what a classic client would do next.
    fn act(&mut self, world: &mut World, partitions: i32) {
        if let Some(joined) = self.joining.and_then(|ticket| world.answer(ticket)) {
            let Reply::Join(joined) = joined.clone() else {
                panic!("{joined:?}");
            };
            self.joining = None;
            match joined.error_code {
                ErrorCode::None => {
                    self.id.clone_from(&joined.member_id);
                    self.generation = joined.generation;
                    self.leads = joined.leader == joined.member_id;
                    let members = joined.members.iter();
                    self.others = members.map(|member| member.member_id.clone()).collect();
                    self.sync(world, partitions);
                }
                ErrorCode::MemberIdRequired => {
                    self.id.clone_from(&joined.member_id);
                    self.join(world);
                }
                ErrorCode::RebalanceInProgress => self.join(world),
                _ => self.begin_anew(world),
            }
            return;
        }
        if let Some(synced) = self.syncing.and_then(|ticket| world.answer(ticket)) {
            let Reply::Sync(synced) = synced.clone() else {
                panic!("{synced:?}");
            };
            self.syncing = None;
            match synced.error_code {
                ErrorCode::None => {
                    let given = Given::read(&synced.assignment).expect("an assignment");
                    let given: ByName = given
                        .partitions
                        .into_iter()
                        .filter(|(_, indexes)| !indexes.is_empty())
                        .collect();
                    let gives_up = self.owned.iter().any(|(topic, indexes)| {
                        let given = given.get(topic).cloned().unwrap_or_default();
                        !indexes.is_subset(&given)
                    });
                    self.owned = given;
                    if gives_up {
                        // What a cooperative client does to say so.
                        self.join(world);
                    }
                }
                ErrorCode::RebalanceInProgress => self.join(world),
                _ => self.begin_anew(world),
            }
            return;
        }
        if self.joining.is_some() || self.syncing.is_some() {
            return;
        }
        if self.generation == 0 {
            self.join(world);
            return;
        }
        match world.heartbeat(&self.id, self.generation) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => self.join(world),
            _ => self.begin_anew(world),
        }
    }

    fn begin_anew(&mut self, world: &mut World) {
        *self = Classic::default();
        self.join(world);
    }

    /// A leader shares out evenly, but gives nobody what another still has.
    fn sync(&mut self, world: &mut World, partitions: i32) {
        let mut plan: Vec<(String, Vec<u8>)> = Vec::new();
        if self.leads {
            for (place, id) in (0..).zip(&self.others) {
                let count = self.others.len() as i32;
                let share: BTreeSet<i32> = (0..partitions)
                    .filter(|index| index % count == place)
                    .collect();
                let share = ByName::from([("t".to_owned(), share)]);
                plan.push((id.clone(), write_assignment(1, &share)));
            }
        }
        let ticket = world.ask(Ask::Sync(Sync {
            group: "g".to_owned(),
            generation: self.generation,
            member_id: self.id.clone(),
            instance_id: None,
            protocol_type: None,
            protocol: None,
            assignments: plan,
        }));
        self.syncing = Some(ticket);
    }
}

/// A stable classic group of two, with four partitions between them.
fn two_classics(world: &mut World) -> Vec<Classic> {
    world.topics(&[("t", 4)]);
    let mut classics = vec![Classic::default(), Classic::default()];
    settle(world, &mut classics, &mut []);
    assert!(world.groups.classic("g").is_some());
    classics
}

/// Everybody does its part until everything is read, each partition by one.
fn settle(world: &mut World, classics: &mut [Classic], consumers: &mut [Client]) {
    for _ in 0..60 {
        for classic in &mut *classics {
            classic.act(world, 4);
        }
        for consumer in &mut *consumers {
            world.follow(consumer).expect("a good heartbeat");
        }
        world.pass(1_000);
        let all_read = owned(classics, consumers).len() == 4;
        let classic = world.groups.classic("g").map(ClassicGroup::len);
        let consumer = world.groups.consumer("g").map(ConsumerGroup::len);
        let all_in = classic.or(consumer) == Some(classics.len() + consumers.len());
        let all_told = classics
            .iter()
            .all(|classic| classic.joining.is_none() && classic.syncing.is_none());
        if all_read && all_in && all_told && world.state() == "Stable" {
            return;
        }
    }
    panic!("the group does not settle: {classics:?} {consumers:?}");
}

/// Who reads what, by what clients believe.
fn owned(classics: &[Classic], consumers: &[Client]) -> BTreeMap<i32, Vec<String>> {
    let mut owned: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for classic in classics {
        for index in classic.owned.get("t").into_iter().flatten() {
            owned.entry(*index).or_default().push(classic.id.clone());
        }
    }
    for consumer in consumers {
        for index in consumer.owned.get(&topic_id("t")).into_iter().flatten() {
            owned.entry(*index).or_default().push(consumer.id.clone());
        }
    }
    owned
}

#[test]
fn a_classic_group_takes_in_a_consumer_and_is_classic_again_when_it_leaves() {
    let mut world = World::new();
    let mut classics = two_classics(&mut world);
    let by = |classic: &Classic, offset| commit_by(&classic.id, classic.generation, "t", offset);
    assert_eq!(code_of(&world.commit(by(&classics[0], 5))), ErrorCode::None);
    let mut consumers = [Client::new("new", &["t"])];
    world.follow(&mut consumers[0]).expect("in");
    assert_eq!(world.consumers().len(), 3);
    // The classic members are still in, and called to join again.
    let called = world.heartbeat(&classics[0].id, classics[0].generation);
    assert_eq!(called, ErrorCode::RebalanceInProgress);
    world.crash();
    settle(&mut world, &mut classics, &mut consumers);
    let read = owned(&classics, &consumers);
    assert!(read.values().all(|readers| readers.len() == 1), "{read:?}");
    assert!(read.values().any(|readers| readers == &["new"]), "{read:?}");
    assert_eq!(code_of(&world.commit(by(&classics[0], 6))), ErrorCode::None);
    let mut stale = by(&classics[0], 7);
    stale.generation -= 1;
    assert_eq!(code_of(&world.commit(stale)), ErrorCode::IllegalGeneration);

    assert_eq!(world.code(consumers[0].leave(-1)), ErrorCode::None);
    let group = world.groups.classic("g").expect("a classic group");
    assert_eq!((group.len(), world.offset("g", "t")), (2, 6));
    world.crash();
    settle(&mut world, &mut classics, &mut []);
    assert!(world.groups.classic("g").is_some());
}

#[test]
fn a_classic_member_joins_a_consumer_group_and_leaves_it() {
    let mut world = World::new();
    world.topics(&[("t", 4)]);
    let mut consumers = [Client::new("a", &["t"])];
    world.follow(&mut consumers[0]).expect("in");
    let mut classics = [Classic::default()];
    settle(&mut world, &mut classics, &mut consumers);
    assert_eq!(
        (world.consumers().len(), world.has("a").as_str()),
        (2, "t/0 t/1")
    );
    let stranger = world.join(Join {
        protocol_type: "connect".to_owned(),
        ..new_member()
    });
    let refused = world.joined(stranger).error_code;
    assert_eq!(refused, ErrorCode::InconsistentGroupProtocol);
    let known = world.join(Join {
        protocol_type: "connect".to_owned(),
        ..member(&classics[0].id)
    });
    assert_eq!(
        world.joined(known),
        Joined::error(ErrorCode::InconsistentGroupProtocol, ""),
        "its id is not told"
    );
    let left = world.leave(&classics[0].id, None);
    assert_eq!(left.members[0].1, ErrorCode::None);
    settle(&mut world, &mut [], &mut consumers);
    assert_eq!(world.has("a"), "t/0 t/1 t/2 t/3");
}

#[test]
fn a_classic_member_is_told_its_id_before_anybody_looks_at_what_it_offers() {
    let mut world = World::new();
    world.topics(&[("t", 4)]);
    world.follow(&mut Client::new("a", &["t"])).expect("in");
    let join = |id: &str, metadata: &[u8]| Join {
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: metadata.to_vec(),
        }],
        ..member(id)
    };
    let asked = world.join(join("", b""));
    let told = world.joined(asked);
    assert_eq!(told.error_code, ErrorCode::MemberIdRequired);
    let asked = world.join(join(&told.member_id, b""));
    assert_eq!(
        world.joined(asked).error_code,
        ErrorCode::InconsistentGroupProtocol
    );
    let asked = world.join(join(&told.member_id, &offer("range", &["t"]).metadata));
    assert_eq!(world.joined(asked).error_code, ErrorCode::None);
}

/// A group of one classic member and one static consumer that has two partitions of four.
fn with_a_static_consumer(migration: MigrationPolicy) -> (World, [Classic; 1], Client) {
    let mut world = World::with(Settings {
        consumer: ConsumerGroupsConfig {
            migration,
            ..settings().consumer
        },
        ..settings()
    });
    world.topics(&[("t", 4)]);
    let mut consumers = [Client::new("a", &["t"])];
    consumers[0].instance = Some("i".to_owned());
    world.follow(&mut consumers[0]).expect("in");
    let mut classics = [Classic::default()];
    settle(&mut world, &mut classics, &mut consumers);
    let [consumer] = consumers;
    (world, classics, consumer)
}

fn static_join(topics: &[&str]) -> Join {
    Join {
        instance_id: Some("i".to_owned()),
        protocols: vec![Protocol {
            name: "cooperative-sticky".to_owned(),
            metadata: subscription(topics, &ByName::new()),
        }],
        ..new_member()
    }
}

#[test]
fn the_last_consumer_is_replaced_by_a_classic_member_and_the_group_goes_on_as_it_was() {
    let (mut world, classics, _) = with_a_static_consumer(MigrationPolicy::Downgrade);
    let epoch = world.consumers().epoch();
    let ticket = world.join(static_join(&["t"]));
    let joined = world.joined(ticket);
    assert_eq!(
        (joined.error_code, joined.generation),
        (ErrorCode::None, epoch)
    );
    let group = world.groups.classic("g").expect("a classic group");
    assert_eq!((group.len(), world.state()), (2, "Stable"));
    let well = world.heartbeat(&classics[0].id, classics[0].generation);
    assert_eq!(well, ErrorCode::None);
    let ticket = world.ask(Ask::Sync(Sync {
        group: "g".to_owned(),
        generation: epoch,
        member_id: joined.member_id,
        instance_id: Some("i".to_owned()),
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }));
    let Some(Reply::Sync(synced)) = world.answer(ticket) else {
        panic!("expected an assignment");
    };
    let given = Given::read(&synced.assignment).expect("an assignment");
    let mine = &given.partitions["t"];
    assert_eq!(mine.len(), 2, "what the consumer had");
    assert!(mine.is_disjoint(&classics[0].owned["t"]));
    world.crash();
    assert_eq!(world.groups.classic("g").map(ClassicGroup::len), Some(2));
}

#[test]
fn a_classic_member_that_reads_something_else_than_the_consumer_it_replaces_starts_a_rebalance() {
    let (mut world, classics, _) = with_a_static_consumer(MigrationPolicy::Bidirectional);
    let ticket = world.join(static_join(&["t", "u"]));
    assert_eq!(world.joined(ticket).error_code, ErrorCode::None);
    assert!(world.groups.classic("g").is_some());
    assert_eq!(world.state(), "PreparingRebalance");
    let called = world.heartbeat(&classics[0].id, classics[0].generation);
    assert_eq!(called, ErrorCode::RebalanceInProgress);
}

#[test]
fn a_replaced_consumer_leaves_a_consumer_group_where_it_may_not_become_a_classic_one() {
    let (mut world, _, _) = with_a_static_consumer(MigrationPolicy::Upgrade);
    let ticket = world.join(static_join(&["t"]));
    assert_eq!(world.joined(ticket).error_code, ErrorCode::None);
    assert_eq!(world.consumers().len(), 2);
}

#[test]
fn a_classic_member_waits_for_a_target_that_has_to_wait() {
    let interval = |ms| Tunable {
        default: Duration::from_millis(ms),
        ..tunable(15_000)
    };
    let mut world = World::with(Settings {
        consumer: ConsumerGroupsConfig {
            assignment_interval: interval(1_000),
            ..settings().consumer
        },
        ..settings()
    });
    world.topics(&[("t", 4)]);
    let mut consumer = Client::new("a", &["t"]);
    world.follow(&mut consumer).expect("in");
    let ticket = world.join(Join {
        protocols: vec![offer("range", &["t"])],
        takes_id_first: false,
        ..new_member()
    });
    let joined = world.joined(ticket);
    assert_eq!((joined.error_code, joined.generation), (ErrorCode::None, 2));
    world.sync(&joined.member_id, 2, &[]);
    assert_eq!(world.heartbeat(&joined.member_id, 2), ErrorCode::None);
    world.pass(1_000);
    world.follow(&mut consumer).expect("in");
    world.follow(&mut consumer).expect("in");
    assert_eq!(
        world.heartbeat(&joined.member_id, 2),
        ErrorCode::RebalanceInProgress
    );
    // Without the one that reports, whoever is left has to.
    assert_eq!(world.code(consumer.leave(-1)), ErrorCode::None);
}

#[test]
fn an_administrator_sends_the_last_consumer_away_and_the_group_is_classic_again() {
    let mut world = World::new();
    let mut classics = two_classics(&mut world);
    let mut consumers = [Client::new("new", &["t"])];
    settle(&mut world, &mut classics, &mut consumers);
    assert_eq!(
        world.leave("nobody", None).members[0].1,
        ErrorCode::UnknownMemberId
    );
    assert!(world.groups.consumer("g").is_some());
    assert_eq!(world.leave("new", None).members[0].1, ErrorCode::None);
    assert!(world.groups.classic("g").is_some());
    settle(&mut world, &mut classics, &mut []);
}

#[test]
fn a_classic_member_of_a_consumer_group_is_held_to_its_times() {
    let mut world = World::new();
    world.topics(&[("t", 4)]);
    let mut consumers = [Client::new("a", &["t"])];
    let mut classics = [Classic::default()];
    world.follow(&mut consumers[0]).expect("in");
    settle(&mut world, &mut classics, &mut consumers);
    // It beats and does not join again though it is called to.
    world.topics(&[("t", 5)]);
    for _ in 0..13 {
        world.follow(&mut consumers[0]).expect("in");
        world.heartbeat(&classics[0].id, classics[0].generation);
        world.pass(5_000);
    }
    let out = world.heartbeat(&classics[0].id, classics[0].generation);
    assert_eq!(out, ErrorCode::UnknownMemberId);
    // Another is silent for its own session, shorter than a consumer's.
    let mut classics = [Classic::default()];
    for _ in 0..20 {
        classics[0].act(&mut world, 5);
        world.follow(&mut consumers[0]).expect("in");
        world.pass(1_000);
    }
    assert_eq!(world.consumers().len(), 2);
    world.pass(10_000);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn groups_do_not_change_their_protocol_where_that_is_not_wanted() {
    let with = |migration| {
        World::with(Settings {
            consumer: ConsumerGroupsConfig {
                migration,
                ..settings().consumer
            },
            ..settings()
        })
    };
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let mut world = with(policy);
        two_classics(&mut world);
        let refused = world.code(Client::new("new", &["t"]).next_beat());
        assert_eq!(
            (refused, world.state()),
            (ErrorCode::GroupIdNotFound, "Stable")
        );
    }
    let mut world = with(MigrationPolicy::Upgrade);
    let mut classics = two_classics(&mut world);
    let mut consumers = [Client::new("new", &["t"])];
    settle(&mut world, &mut classics, &mut consumers);
    assert_eq!(world.code(consumers[0].leave(-1)), ErrorCode::None);
    settle(&mut world, &mut classics, &mut []);
    assert_eq!(
        world.consumers().len(),
        2,
        "it stays a consumer group of classic members"
    );
}

#[test]
fn a_consumer_that_is_refused_leaves_a_classic_group_as_it_was() {
    let mut world = World::new();
    let classics = two_classics(&mut world);
    let written = world.log.len();
    let bad = crate::group::ask::Beat {
        pattern: Some("(".to_owned()),
        ..Client::new("new", &["t"]).next_beat()
    };
    assert_eq!(world.code(bad), ErrorCode::InvalidRegularExpression);
    assert_eq!((world.log.len(), world.state()), (written, "Stable"));
    let well = world.heartbeat(&classics[0].id, classics[0].generation);
    assert_eq!(well, ErrorCode::None);
}

#[test]
fn a_classic_member_stays_out_of_a_consumer_group_where_no_group_may_change() {
    let mut world = World::with(Settings {
        consumer: ConsumerGroupsConfig {
            migration: MigrationPolicy::Disabled,
            ..settings().consumer
        },
        ..settings()
    });
    world.topics(&[("t", 4)]);
    let mut consumer = Client::new("a", &["t"]);
    world.follow(&mut consumer).expect("in");
    let joined = world.join(Join {
        protocols: vec![offer("range", &["t"])],
        ..new_member()
    });
    let joined = world.joined(joined);
    assert_eq!(
        (joined.error_code, joined.member_id.as_str()),
        (ErrorCode::InconsistentGroupProtocol, "")
    );
    assert_eq!(world.consumers().len(), 1);
    // Once it is empty it is anybody's.
    assert_eq!(world.code(consumer.leave(-1)), ErrorCode::None);
    let joined = world.join(new_member());
    assert_eq!(world.joined(joined).error_code, ErrorCode::MemberIdRequired);
}

#[test]
fn what_an_assignor_of_their_own_tells_members_keeps_a_group_classic() {
    let mut world = World::new();
    world.topics(&[("t", 4)]);
    let joined = world.join(Join {
        protocols: vec![offer("mine", &["t"])],
        takes_id_first: false,
        ..new_member()
    });
    world.pass(3_000);
    let joined = world.joined(joined);
    let mut given = write_assignment(1, &ByName::new());
    let end = given.len() - 4;
    given.splice(end.., [0, 0, 0, 1, 9]);
    world.ask(Ask::Sync(Sync {
        group: "g".to_owned(),
        generation: joined.generation,
        member_id: joined.member_id.clone(),
        instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: vec![(joined.member_id.clone(), given)],
    }));
    assert_eq!(world.state(), "Stable");
    let refused = world.beat(Client::new("new", &["t"]).next_beat());
    let refused = refused.expect_err("a refusal");
    assert_eq!(
        (refused.error_code, refused.message.as_str()),
        (
            ErrorCode::GroupIdNotFound,
            "Cannot upgrade classic group g to consumer group because an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade."
        )
    );
    assert!(world.groups.classic("g").is_some());
    world.leave(&joined.member_id, None);
    assert_eq!(
        world.code(Client::new("new", &["t"]).next_beat()),
        ErrorCode::None
    );
}

#[test]
fn who_leaves_by_name_is_told_so_as_it_was_named() {
    let mut world = World::new();
    world.topics(&[("t", 4)]);
    let mut one = Client::new("a", &["t"]);
    one.instance = Some("i".to_owned());
    world.follow(&mut one).expect("in");
    let named = Leaving {
        member_id: String::new(),
        instance_id: Some("i".to_owned()),
        reason: None,
    };
    let ticket = world.ask(Ask::Leave(Leave {
        group: "g".to_owned(),
        members: vec![named.clone(), named.clone()],
    }));
    let Some(Reply::Leave(left)) = world.answer(ticket) else {
        panic!("expected the answer to a leave");
    };
    let told = [(named.clone(), ErrorCode::None), (named, ErrorCode::None)];
    assert_eq!(left.members, told);
    assert!(world.consumers().is_empty());
}

#[test]
fn a_group_whose_members_are_no_consumers_takes_none_in() {
    let mut world = World::new();
    let joined = world.join(Join {
        protocol_type: "connect".to_owned(),
        protocols: vec![Protocol {
            name: "sessioned".to_owned(),
            metadata: b"opaque".to_vec(),
        }],
        takes_id_first: false,
        ..new_member()
    });
    world.pass(3_000);
    assert_eq!(world.joined(joined).error_code, ErrorCode::None);
    let refused = world.code(Client::new("new", &["t"]).next_beat());
    assert_eq!(refused, ErrorCode::GroupIdNotFound);
    assert!(world.groups.classic("g").is_some());
}

/// A subscription of `t` with so many bytes of the client's own.
fn with_user_data(name: &str, bytes: usize) -> Protocol {
    let mut offer = offer(name, &["t"]);
    let length = offer.metadata.len() - 4;
    offer.metadata.truncate(length);
    offer.metadata.extend((bytes as u32).to_be_bytes());
    offer.metadata.extend(vec![7; bytes]);
    offer
}

fn narrow() -> Settings {
    Settings {
        record_bytes_max: 2_000,
        commit_bytes_max: 6_000,
        ..settings()
    }
}

/// Classic members of a group that has agreed on a protocol, but not on who reads what.
fn joined_with(world: &mut World, members: usize, offers: &[Protocol]) -> Vec<String> {
    let tickets: Vec<Ticket> = (0..members)
        .map(|_| {
            world.join(Join {
                protocols: offers.to_vec(),
                takes_id_first: false,
                ..new_member()
            })
        })
        .collect();
    world.pass(10_000);
    let joined = tickets.into_iter().map(|ticket| world.joined(ticket));
    joined
        .map(|joined| {
            assert_eq!(joined.error_code, ErrorCode::None);
            joined.member_id
        })
        .collect()
}

#[test]
fn classic_members_that_offer_too_much_for_a_record_keep_their_group_classic() {
    // What is not agreed on moves, too.
    let large = [offer("range", &["t"]), with_user_data("other", 3_000)];
    let mut world = World::with(narrow());
    world.topics(&[("t", 4)]);
    let members = joined_with(&mut world, 2, &large);
    let written = world.log.len();
    let refused = world
        .beat(Client::new("new", &["t"]).next_beat())
        .expect_err("too large");
    assert_eq!(refused.error_code, ErrorCode::GroupIdNotFound);
    let told = refused.message;
    assert!(
        members.iter().any(|member| told.contains(member.as_str())) && told.contains("2000"),
        "{told}"
    );
    assert_eq!(world.log.len(), written, "nothing is written");
    for member in members {
        assert_eq!(world.heartbeat(&member, 1), ErrorCode::None);
    }
}

#[test]
fn classic_members_that_offer_too_much_together_keep_their_group_classic() {
    let mut world = World::with(narrow());
    world.topics(&[("t", 4)]);
    let members = joined_with(&mut world, 6, &[with_user_data("range", 1_200)]);
    let written = world.log.len();
    let refused = world
        .beat(Client::new("new", &["t"]).next_beat())
        .expect_err("too large");
    assert_eq!(refused.error_code, ErrorCode::GroupIdNotFound);
    let told = refused.message;
    assert!(
        told.contains("6 members") && told.contains("6000"),
        "{told}"
    );
    assert_eq!(world.log.len(), written, "nothing is written");
    assert_eq!(world.heartbeat(&members[0], 1), ErrorCode::None);
}

#[test]
fn a_classic_member_that_offers_too_much_for_a_record_is_not_let_in() {
    let mut world = World::with(narrow());
    world.topics(&[("t", 4)]);
    world.follow(&mut Client::new("a", &["t"])).expect("in");
    let written = world.log.len();
    let ticket = world.join(Join {
        protocols: vec![with_user_data("range", 3_000)],
        takes_id_first: false,
        ..new_member()
    });
    let refused = world.joined(ticket).error_code;
    assert_eq!(refused, ErrorCode::UnknownServerError);
    assert_eq!((world.log.len(), world.consumers().len()), (written, 1));
}

#[test]
fn a_group_whose_classic_members_do_not_fit_a_record_goes_on_as_it_is() {
    let mut world = World::with(narrow());
    world.topics(&[("t", 4)]);
    let mut consumer = Client::new("a", &["t"]);
    world.follow(&mut consumer).expect("in");
    for _ in 0..3 {
        let ticket = world.join(Join {
            protocols: vec![with_user_data("range", 900)],
            takes_id_first: false,
            ..new_member()
        });
        assert_eq!(world.joined(ticket).error_code, ErrorCode::None);
    }
    assert_eq!(world.code(consumer.leave(-1)), ErrorCode::None);
    assert_eq!(world.consumers().len(), 3);
    let largest = world.log.iter().map(GroupRecord::bytes).max();
    assert!(largest <= Some(2_000), "{largest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Classic and consumer clients come and go in any order; while anybody speaks the consumer
    /// protocol no partition has two readers, and in the end all is read.
    #[test]
    fn whoever_comes_and_goes_in_whichever_protocol_the_group_settles(
        acts in proptest::collection::vec((0..7_u8, any::<u8>()), 0..60)
    ) {
        let mut world = World::new();
        world.topics(&[("t", 4)]);
        let (mut classics, mut consumers): (Vec<Classic>, Vec<Client>) = Default::default();
        let mut next = 0;
        for (act, who) in acts {
            let who = usize::from(who);
            match act {
                0 if classics.len() < 3 => classics.push(Classic::default()),
                1 if consumers.len() < 3 => {
                    next += 1;
                    consumers.push(Client::new(&format!("m{next}"), &["t"]));
                }
                2 if !classics.is_empty() => {
                    let gone = classics.remove(who % classics.len());
                    world.leave(&gone.id, None);
                }
                3 if !consumers.is_empty() => {
                    let gone = consumers.remove(who % consumers.len());
                    world.beat(gone.leave(-1)).ok();
                }
                4 => {
                    world.crash();
                    for classic in &mut classics {
                        // Whoever waited loses its connection and asks again.
                        if classic.joining.take().is_some() || classic.syncing.take().is_some() {
                            classic.syncing = None;
                            classic.generation = 0;
                        }
                    }
                }
                _ => {
                    for classic in &mut classics {
                        classic.act(&mut world, 4);
                    }
                    for consumer in &mut consumers {
                        if world.follow(consumer).is_err() {
                            consumer.epoch = 0;
                            consumer.owned.clear();
                        }
                    }
                    world.pass(i64::from(who as u8) * 10);
                }
            }
        }
        for _ in 0..80 {
            for classic in &mut classics {
                classic.act(&mut world, 4);
            }
            for consumer in &mut consumers {
                if world.follow(consumer).is_err() {
                    consumer.epoch = 0;
                    consumer.owned.clear();
                }
            }
            world.pass(1_000);
        }
        let read = owned(&classics, &consumers);
        if classics.is_empty() && consumers.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(read.len(), 4, "{:?} {:?}", classics, consumers);
        prop_assert!(read.values().all(|readers| readers.len() == 1), "{read:?}");
        prop_assert_eq!(world.state(), "Stable");
    }
}

//! Random lives of a group: whatever members do and whenever, some things always hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What may happen next. Members are chosen by number among those there are.
#[derive(Clone, Debug)]
enum Act {
    Come { instance: Option<u8> },
    Rejoin { who: u8, other_topics: bool },
    Sync { who: u8 },
    Beat { who: u8 },
    Leave { who: u8 },
    Commit { who: u8, offset: u16 },
    Pass { ms: u16 },
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => proptest::option::of(0..3_u8).prop_map(|instance| Act::Come { instance }),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(who, other_topics)| Act::Rejoin { who, other_topics }),
        6 => any::<u8>().prop_map(|who| Act::Sync { who }),
        6 => any::<u8>().prop_map(|who| Act::Beat { who }),
        1 => any::<u8>().prop_map(|who| Act::Leave { who }),
        4 => (any::<u8>(), any::<u16>()).prop_map(|(who, offset)| Act::Commit { who, offset }),
        4 => (0..9_000_u16).prop_map(|ms| Act::Pass { ms }),
        1 => Just(Act::Crash),
    ]
}

/// A client as it sees itself.
#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    instance: Option<String>,
    generation: i32,
    is_leader: bool,
    others: Vec<String>,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
}

#[derive(Default)]
struct Life {
    clients: Vec<Client>,
    /// The group's own, where there is one.
    generation: Option<i32>,
    /// What was acknowledged last.
    committed: Option<i64>,
    /// By generation: who was given what.
    given: BTreeMap<i32, BTreeMap<Vec<u8>, String>>,
    leaders: BTreeMap<i32, BTreeSet<String>>,
}

impl Life {
    fn join(&mut self, world: &mut World, at: usize, topics: &[&str]) {
        let client = self.clients[at].clone();
        let ticket = world.join(Join {
            instance_id: client.instance.clone(),
            protocols: vec![offer("range", topics)],
            ..member(&client.id)
        });
        self.clients[at].joining = Some(ticket);
    }

    fn look(&mut self, world: &World) {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if let Some(joined) = client.joining.and_then(|ticket| world.answer(ticket)) {
                client.joining = None;
                let Reply::Join(joined) = joined else {
                    panic!("{joined:?}");
                };
                match joined.error_code {
                    ErrorCode::None => {
                        assert!(joined.generation >= 1);
                        assert!(
                            joined.generation >= client.generation,
                            "generations only grow"
                        );
                        client.id.clone_from(&joined.member_id);
                        client.generation = joined.generation;
                        client.is_leader = joined.leader == joined.member_id;
                        client.others =
                            joined.members.iter().map(|m| m.member_id.clone()).collect();
                        if client.is_leader && !joined.skip_assignment {
                            let leaders = self.leaders.entry(joined.generation).or_default();
                            leaders.insert(client.instance.clone().unwrap_or(client.id.clone()));
                            assert_eq!(leaders.len(), 1, "one leader per generation");
                            assert!(
                                client.others.contains(&client.id),
                                "a leader is among its members"
                            );
                        }
                    }
                    ErrorCode::MemberIdRequired => client.id.clone_from(&joined.member_id),
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                        client.id.clear();
                        client.generation = 0;
                    }
                    ErrorCode::RebalanceInProgress => {}
                    code => panic!("unexpected {code:?}"),
                }
            }
            let client = &mut self.clients[at];
            if let Some(synced) = client.syncing.and_then(|ticket| world.answer(ticket)) {
                client.syncing = None;
                let Reply::Sync(synced) = synced else {
                    panic!("{synced:?}");
                };
                if synced.error_code == ErrorCode::None && !synced.assignment.is_empty() {
                    // Every share of a generation's plan has at most one owner.
                    let given = self.given.entry(client.generation).or_default();
                    let owner = client.instance.clone().unwrap_or(client.id.clone());
                    let before = given.insert(synced.assignment.clone(), owner.clone());
                    assert!(
                        before.is_none_or(|before| before == owner),
                        "a share is owned twice"
                    );
                }
            }
        }
    }

    fn act(&mut self, world: &mut World, act: &Act) {
        let count = self.clients.len();
        let pick = |who: u8| (count > 0).then(|| usize::from(who) % count);
        match act {
            Act::Come { instance } => {
                if count < 6 {
                    self.clients.push(Client {
                        instance: instance.map(|number| format!("i{number}")),
                        ..Client::default()
                    });
                    self.join(world, count, &["t"]);
                }
            }
            Act::Rejoin { who, other_topics } => {
                if let Some(at) = pick(*who).filter(|at| self.clients[*at].joining.is_none()) {
                    let topics: &[&str] = if *other_topics { &["t", "u"] } else { &["t"] };
                    self.join(world, at, topics);
                }
            }
            Act::Sync { who } => {
                let ready = |at: &usize| {
                    let client = &self.clients[*at];
                    client.generation > 0 && client.syncing.is_none() && client.joining.is_none()
                };
                if let Some(at) = pick(*who).filter(ready) {
                    let client = self.clients[at].clone();
                    let shares: Vec<(String, String)> = (0..)
                        .zip(&client.others)
                        .map(|(share, id): (i32, _)| {
                            (id.clone(), format!("{}/{share}", client.generation))
                        })
                        .collect();
                    let plan: Vec<(&str, &str)> = shares
                        .iter()
                        .filter(|_| client.is_leader)
                        .map(|(id, share)| (id.as_str(), share.as_str()))
                        .collect();
                    let ticket = world.sync(&client.id, client.generation, &plan);
                    self.clients[at].syncing = Some(ticket);
                }
            }
            Act::Beat { who } => {
                if let Some(at) = pick(*who) {
                    let client = self.clients[at].clone();
                    world.heartbeat_as(&client.id, client.instance.as_deref(), client.generation);
                }
            }
            Act::Leave { who } => {
                if let Some(at) = pick(*who) {
                    let client = self.clients.remove(at);
                    world.leave(&client.id, client.instance.as_deref());
                }
            }
            Act::Commit { who, offset } => {
                if let Some(at) = pick(*who) {
                    let client = self.clients[at].clone();
                    let commit = Commit {
                        instance_id: client.instance.clone(),
                        ..commit_by(&client.id, client.generation, "t", i64::from(*offset))
                    };
                    if code_of(&world.commit(commit)) == ErrorCode::None {
                        self.committed = Some(i64::from(*offset));
                    }
                }
            }
            Act::Pass { ms } => world.pass(i64::from(*ms)),
            Act::Crash => {
                // Whoever waited loses its connection and asks again.
                for client in &mut self.clients {
                    client.joining = None;
                    client.syncing = None;
                    client.generation = 0;
                }
                // A generation whose plan was never written is counted again, as by Kafka; none of
                // its members is known any more.
                world.crash();
                self.given.clear();
                self.leaders.clear();
                self.generation = None;
            }
        }
        let group = world.groups.classic("g");
        let generation = group.map(crate::group::classic::ClassicGroup::generation);
        assert!(
            generation.is_none() || generation >= self.generation,
            "a group's generation only grows: {:?}, {generation:?}",
            self.generation
        );
        self.generation = generation;
        self.look(world);
        assert_eq!(
            world.offset("g", "t"),
            self.committed.unwrap_or(-1),
            "what was acknowledged last is what is there"
        );
    }

    /// Everybody behaves from now on: the group must settle with all of them in it.
    fn settle(&mut self, world: &mut World) {
        let mut instances = BTreeSet::new();
        self.clients.retain(|client| {
            client
                .instance
                .clone()
                .is_none_or(|name| instances.insert(name))
        });
        for _ in 0..60 {
            for at in 0..self.clients.len() {
                self.look(world);
                let client = self.clients[at].clone();
                if client.joining.is_some() || client.syncing.is_some() {
                    continue;
                }
                if client.generation == 0 {
                    self.join(world, at, &["t"]);
                    continue;
                }
                let code =
                    world.heartbeat_as(&client.id, client.instance.as_deref(), client.generation);
                match code {
                    ErrorCode::None => self.act(world, &Act::Sync { who: at as u8 }),
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                        self.clients[at].id.clear();
                        self.clients[at].generation = 0;
                        self.join(world, at, &["t"]);
                    }
                    _ => self.join(world, at, &["t"]),
                }
            }
            world.pass(3_000);
            self.look(world);
        }
        let group = world.groups.classic("g");
        if self.clients.is_empty() {
            assert!(
                group.is_none_or(|group| group.state() != crate::group::classic::State::Stable)
            );
            return;
        }
        assert_eq!(world.state(), "Stable");
        assert_eq!(
            group.map(crate::group::classic::ClassicGroup::len),
            Some(self.clients.len())
        );
    }
}

fn live(acts: &[Act]) {
    let mut world = World::new();
    let mut life = Life::default();
    for act in acts {
        life.act(&mut world, act);
    }
    life.settle(&mut world);
    // Another broker that reads the log finds the same.
    let reloaded = world.reloaded();
    assert_eq!(reloaded.offsets(), world.groups.offsets());
    for (ours, theirs) in [world.groups.classic("g"), reloaded.classic("g")]
        .into_iter()
        .zip([reloaded.classic("g"), world.groups.classic("g")])
    {
        let described = ours.map(crate::group::classic::ClassicGroup::describe);
        assert_eq!(
            described,
            theirs.map(crate::group::classic::ClassicGroup::describe)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_members_do_a_group_stays_sound_and_settles(
        acts in proptest::collection::vec(act(), 0..80)
    ) {
        live(&acts);
    }
}

//! Groups of the classic protocol.

use super::*;
use crate::group::classic::State;

#[test]
fn a_new_member_is_given_its_id_first_and_joins_after_the_initial_delay() {
    let mut world = World::new();
    let asked = world.join(new_member());
    let told = world.joined(asked);
    assert_eq!(told.error_code, ErrorCode::MemberIdRequired);
    assert!(told.member_id.starts_with("c-"), "{}", told.member_id);
    let ticket = world.join(member(&told.member_id));
    world.pass(2_999);
    assert_eq!(world.answer(ticket), None);
    world.pass(1);
    let joined = world.joined(ticket);
    assert_eq!(
        (joined.error_code, joined.generation, joined.members.len()),
        (ErrorCode::None, 1, 1)
    );
    assert_eq!(joined.leader, told.member_id);
    assert_eq!(world.state(), "CompletingRebalance");
}

#[test]
fn clients_that_cannot_be_given_an_id_first_join_at_once() {
    let mut world = World::new();
    let old = Join {
        takes_id_first: false,
        ..new_member()
    };
    let ticket = world.join(old);
    world.pass(3_000);
    assert_eq!(world.joined(ticket).error_code, ErrorCode::None);
}

#[test]
fn the_initial_delay_is_extended_while_members_come_up_to_the_rebalance_timeout() {
    let mut world = World::new();
    let join = |timeout| Join {
        takes_id_first: false,
        rebalance_timeout_ms: timeout,
        ..new_member()
    };
    let first = world.join(join(7_000));
    world.pass(2_000);
    world.join(join(7_000));
    // Somebody came: three more seconds from the end of the first three.
    world.pass(3_999);
    assert_eq!(world.answer(first), None);
    world.join(join(7_000));
    // And what is left of seven.
    world.pass(999);
    assert_eq!(world.answer(first), None);
    world.pass(2);
    assert_eq!(world.joined(first).generation, 1);
    assert_eq!(world.now.steady_ms, 7_000);
}

#[test]
fn assignments_reach_members_when_the_leader_has_brought_them() {
    let mut world = World::new();
    let (members, generation) = world.stable(3);
    assert_eq!(generation, 1);
    let group = world.groups.classic("g").expect("the group");
    assert_eq!((group.state(), group.len()), (State::Stable, 3));
    for id in &members {
        let again = world.sync(id, generation, &[]);
        let synced = world.synced(again);
        assert_eq!(synced.error_code, ErrorCode::None);
        assert_eq!(synced.assignment, id.as_bytes());
        assert_eq!(world.heartbeat(id, generation), ErrorCode::None);
    }
}

#[test]
fn a_follower_waits_for_the_leaders_plan_and_a_member_it_leaves_out_gets_nothing() {
    let mut world = World::new();
    let old = || Join {
        takes_id_first: false,
        ..new_member()
    };
    let tickets = [world.join(old()), world.join(old())];
    world.pass(10_000);
    let joined = tickets.map(|ticket| world.joined(ticket));
    let leader = joined[0].leader.clone();
    let follower = joined
        .iter()
        .find(|joined| joined.member_id != leader)
        .expect("a follower");
    assert!(follower.members.is_empty(), "only the leader sees members");
    let waiting = world.sync(&follower.member_id, 1, &[]);
    assert_eq!(world.answer(waiting), None);
    world.sync(&leader, 1, &[(&leader, "all")]);
    let synced = world.synced(waiting);
    assert_eq!(
        (synced.error_code, synced.assignment),
        (ErrorCode::None, vec![])
    );
}

#[test]
fn strangers_stale_generations_and_wrong_protocols_are_refused() {
    let mut world = World::new();
    assert_eq!(world.heartbeat("x", 1), ErrorCode::UnknownMemberId);
    let (members, generation) = world.stable(1);
    let id = members[0].clone();
    assert_eq!(world.heartbeat("x", 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.heartbeat(&id, 7), ErrorCode::IllegalGeneration);
    let stale = world.sync(&id, generation + 1, &[]);
    assert_eq!(world.synced(stale).error_code, ErrorCode::IllegalGeneration);
    let unknown = world.join(member("x"));
    assert_eq!(world.joined(unknown).error_code, ErrorCode::UnknownMemberId);
    let elsewhere = world.join(Join {
        group: "nowhere".to_owned(),
        ..member("x")
    });
    assert_eq!(
        world.joined(elsewhere).error_code,
        ErrorCode::UnknownMemberId
    );
    let connect = world.join(Join {
        protocol_type: "connect".to_owned(),
        ..new_member()
    });
    assert_eq!(
        world.joined(connect).error_code,
        ErrorCode::InconsistentGroupProtocol
    );
    let sticky = world.join(Join {
        protocols: vec![offer("sticky", &["t"])],
        ..new_member()
    });
    assert_eq!(
        world.joined(sticky).error_code,
        ErrorCode::InconsistentGroupProtocol
    );
}

#[test]
fn requests_that_cannot_be_right_are_refused_without_making_a_group() {
    let mut world = World::new();
    let check = |world: &mut World, join: Join, code| {
        let ticket = world.join(join);
        assert_eq!(world.joined(ticket).error_code, code);
        assert!(world.groups.is_empty());
    };
    let nameless = Join {
        group: String::new(),
        ..new_member()
    };
    check(&mut world, nameless, ErrorCode::InvalidGroupId);
    for session_timeout_ms in [5_999, 1_800_001, 0, -1] {
        let join = Join {
            session_timeout_ms,
            ..new_member()
        };
        check(&mut world, join, ErrorCode::InvalidSessionTimeout);
    }
}

#[test]
fn the_protocol_most_members_like_best_among_those_all_offer_is_chosen() {
    let mut world = World::new();
    let likes = |names: &[&str]| Join {
        takes_id_first: false,
        protocols: names.iter().map(|name| offer(name, &["t"])).collect(),
        ..new_member()
    };
    let ticket = world.join(likes(&["sticky", "range", "own"]));
    world.join(likes(&["range", "sticky"]));
    world.join(likes(&["range", "sticky"]));
    world.pass(10_000);
    assert_eq!(world.joined(ticket).protocol.as_deref(), Some("range"));
}

#[test]
fn a_member_that_comes_calls_the_others_to_join_and_those_that_do_not_are_out() {
    let mut world = World::new();
    let (members, generation) = world.stable(2);
    let asked = world.join(new_member());
    let id = world.joined(asked).member_id;
    let ticket = world.join(member(&id));
    assert_eq!(world.state(), "PreparingRebalance");
    for id in &members {
        assert_eq!(
            world.heartbeat(id, generation),
            ErrorCode::RebalanceInProgress
        );
    }
    let back = world.join(member(&members[0]));
    // The other one keeps sending heartbeats and never joins.
    for _ in 0..7 {
        world.pass(8_000);
        world.heartbeat(&members[1], generation);
    }
    assert_eq!(world.answer(back), None);
    world.pass(4_000);
    assert_eq!(world.joined(back).generation, generation + 1);
    assert_eq!(world.joined(ticket).generation, generation + 1);
    assert_eq!(
        world.heartbeat(&members[1], generation),
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn a_silent_member_is_out_after_its_session_and_the_cause_is_told() {
    let mut world = World::new();
    let (members, generation) = world.stable(2);
    world.pass(6_000);
    world.heartbeat(&members[0], generation);
    world.pass(4_000);
    assert_eq!(world.state(), "PreparingRebalance");
    let back = world.join(member(&members[0]));
    let joined = world.joined(back);
    assert_eq!(
        (joined.generation, joined.members.len()),
        (generation + 1, 1)
    );
    world.sync(&members[0], generation + 1, &[]);
    let last = world.events.last().expect("an event");
    assert!(
        matches!(last, Event::Rebalanced { cause, member, .. }
            if cause.contains("silent") && *member == members[1]),
        "{last:?}"
    );
}

#[test]
fn members_that_never_ask_for_their_assignment_are_out() {
    let mut world = World::new();
    let old = || Join {
        takes_id_first: false,
        ..new_member()
    };
    let tickets = [world.join(old()), world.join(old())];
    world.pass(10_000);
    let joined = tickets.map(|ticket| world.joined(ticket));
    let leader = joined[0].leader.clone();
    let lazy = joined
        .iter()
        .find(|joined| joined.member_id != leader)
        .expect("a follower");
    world.sync(&leader, 1, &[]);
    for _ in 0..10 {
        world.heartbeat(&leader, 1);
        world.heartbeat(&lazy.member_id, 1);
        world.pass(6_000);
    }
    assert_eq!(
        world.heartbeat(&lazy.member_id, 1),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(world.heartbeat(&leader, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_group_that_everybody_left_is_empty_and_written_so() {
    let mut world = World::new();
    let (members, generation) = world.stable(2);
    for id in &members {
        let left = world.leave(id, None);
        assert_eq!(left.members[0].1, ErrorCode::None);
    }
    assert_eq!(world.state(), "Empty");
    let reloaded = world.reloaded();
    let group = reloaded.classic("g").expect("an empty group");
    assert_eq!((group.state(), group.len()), (State::Empty, 0));
    assert_eq!(group.generation(), generation + 1);
    assert_eq!(
        world.leave(&members[0], None).members[0].1,
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn a_restart_keeps_members_generation_and_assignments() {
    let mut world = World::new();
    let (members, generation) = world.stable(3);
    world.crash();
    assert_eq!(world.state(), "Stable");
    for id in &members {
        assert_eq!(world.heartbeat(id, generation), ErrorCode::None);
        let ticket = world.sync(id, generation, &[]);
        assert_eq!(world.synced(ticket).assignment, id.as_bytes());
    }
    // And they are still held to their session.
    world.pass(10_000);
    world.pass(60_000);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn a_lost_answer_to_a_join_is_given_again() {
    let mut world = World::new();
    let old = Join {
        takes_id_first: false,
        ..new_member()
    };
    let ticket = world.join(old);
    world.pass(3_000);
    let joined = world.joined(ticket);
    let again = world.join(member(&joined.member_id));
    assert_eq!(world.joined(again), joined);
    assert_eq!(world.state(), "CompletingRebalance");
}

#[test]
fn a_follower_that_offers_the_same_again_is_let_be_and_a_leader_is_not() {
    let mut world = World::new();
    let (members, generation) = world.stable(2);
    let follower = world.join(member(&members[1]));
    assert_eq!(world.joined(follower).generation, generation);
    assert_eq!(world.state(), "Stable");
    let leader = world.join(member(&members[0]));
    assert_eq!(
        (world.answer(leader), world.state()),
        (None, "PreparingRebalance")
    );
}

#[test]
fn a_follower_that_changes_its_subscription_starts_a_rebalance() {
    let mut world = World::new();
    let (members, _) = world.stable(2);
    world.join(Join {
        protocols: vec![offer("range", &["t", "u"])],
        ..member(&members[1])
    });
    assert_eq!(world.state(), "PreparingRebalance");
}

/// Two static members, the first of them leader; their ids.
fn static_pair(world: &mut World) -> ([String; 2], i32) {
    let tickets = ["a", "b"].map(|instance| world.join(static_member("", instance)));
    world.pass(10_000);
    let joined = tickets.map(|ticket| world.joined(ticket));
    let leader = joined[0].leader.clone();
    let other = joined
        .iter()
        .find(|joined| joined.member_id != leader)
        .expect("a follower");
    let plan = [(leader.as_str(), "1"), (other.member_id.as_str(), "2")];
    let generation = joined[0].generation;
    world.sync_as(&other.member_id, generation, &[]);
    world.sync_as(&leader, generation, &plan);
    assert_eq!(world.state(), "Stable");
    ([leader.clone(), other.member_id.clone()], generation)
}

impl World {
    fn sync_as(&mut self, member: &str, generation: i32, plan: &[(&str, &str)]) -> Synced {
        let ticket = self.sync(member, generation, plan);
        match self.answer(ticket) {
            Some(Reply::Sync(synced)) => synced.clone(),
            _ => Synced::error(ErrorCode::None),
        }
    }
}

fn instance_of(id: &str) -> &str {
    id.split('-').next().expect("an id")
}

#[test]
fn a_static_member_that_comes_back_keeps_its_place_without_a_rebalance() {
    for can_skip_assignment in [true, false] {
        let mut world = World::new();
        let ([leader, follower], generation) = static_pair(&mut world);
        for (id, is_leader) in [(&leader, true), (&follower, false)] {
            let back = world.join(Join {
                can_skip_assignment,
                ..static_member("", instance_of(id))
            });
            let joined = world.joined(back);
            assert_eq!(
                (joined.error_code, joined.generation, world.state()),
                (ErrorCode::None, generation, "Stable")
            );
            assert_ne!(joined.member_id, *id);
            if can_skip_assignment {
                assert_eq!(joined.skip_assignment, is_leader);
                assert_eq!(joined.members.len(), if is_leader { 2 } else { 0 });
            } else if is_leader {
                assert_eq!(
                    joined.leader, *id,
                    "an old client must not take itself for leader"
                );
                assert!(joined.members.is_empty());
            }
            let given = world.sync_as(&joined.member_id, generation, &[]);
            assert_eq!(given.assignment, if is_leader { b"1" } else { b"2" });
            // Whoever had the place before is fenced, and nobody else.
            let instance = Some(instance_of(id));
            let fenced = world.heartbeat_as(id, instance, generation);
            assert_eq!(fenced, ErrorCode::FencedInstanceId);
            let well = world.heartbeat_as(&joined.member_id, instance, generation);
            assert_eq!(well, ErrorCode::None);
            // A restart finds the new id.
            world.crash();
            let well = world.heartbeat_as(&joined.member_id, instance, generation);
            assert_eq!(well, ErrorCode::None);
        }
    }
}

#[test]
fn a_static_member_is_not_put_out_by_a_rebalance_it_sleeps_through() {
    let mut world = World::new();
    let ([leader, follower], generation) = static_pair(&mut world);
    let back = world.join(static_member(&leader, instance_of(&leader)));
    for _ in 0..12 {
        world.heartbeat_as(&follower, Some(instance_of(&follower)), generation);
        world.pass(5_000);
    }
    let joined = world.joined(back);
    assert_eq!(
        (joined.generation, joined.members.len()),
        (generation + 1, 2)
    );
}

#[test]
fn an_administrator_sends_a_static_member_away_by_its_instance() {
    let mut world = World::new();
    let ([leader, _], _) = static_pair(&mut world);
    let unknown = world.leave("", Some("nobody"));
    assert_eq!(unknown.members[0].1, ErrorCode::UnknownMemberId);
    let left = world.leave("", Some(instance_of(&leader)));
    assert_eq!(left.members[0].1, ErrorCode::None);
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_group_that_is_full_refuses_new_members_and_keeps_its_own() {
    let mut world = World::with(Settings {
        members_max: 2,
        ..settings()
    });
    let (members, generation) = world.stable(2);
    let third = world.join(new_member());
    assert_eq!(
        world.joined(third).error_code,
        ErrorCode::GroupMaxSizeReached
    );
    for id in &members {
        assert_eq!(world.heartbeat(id, generation), ErrorCode::None);
    }
    let mut world = World::with(Settings {
        members_max: 2,
        ..settings()
    });
    let old = || Join {
        takes_id_first: false,
        ..new_member()
    };
    let tickets = [world.join(old()), world.join(old()), world.join(old())];
    world.pass(10_000);
    let codes = tickets.map(|ticket| world.joined(ticket).error_code);
    assert_eq!(
        codes,
        [
            ErrorCode::None,
            ErrorCode::None,
            ErrorCode::GroupMaxSizeReached
        ]
    );
}

#[test]
fn a_plan_that_does_not_fit_a_record_is_refused_and_the_group_begins_again() {
    let mut world = World::with(Settings {
        record_bytes_max: 2_000,
        ..settings()
    });
    let old = Join {
        takes_id_first: false,
        ..new_member()
    };
    let ticket = world.join(old);
    world.pass(3_000);
    let id = world.joined(ticket).member_id;
    let large = "x".repeat(3_000);
    let refused = world.sync(&id, 1, &[(&id, &large)]);
    assert_eq!(
        world.synced(refused).error_code,
        ErrorCode::UnknownServerError
    );
    assert_eq!(world.state(), "PreparingRebalance");
    let again = world.join(member(&id));
    assert_eq!(world.joined(again).generation, 2);
    let fits = world.sync(&id, 2, &[(&id, "x")]);
    assert_eq!(world.synced(fits).error_code, ErrorCode::None);
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten_after_the_session_timeout() {
    let mut world = World::new();
    let (members, generation) = world.stable(1);
    let asked = world.join(new_member());
    let id = world.joined(asked).member_id;
    // A rebalance waits for it, as it is expected to join.
    let back = world.join(member(&members[0]));
    assert_eq!(world.answer(back), None);
    world.pass(10_000);
    assert_eq!(world.joined(back).generation, generation + 1);
    let late = world.join(member(&id));
    assert_eq!(world.joined(late).error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn groups_are_described_with_what_members_offered_only_when_stable() {
    let mut world = World::new();
    let (members, _) = world.stable(2);
    let describe = |world: &mut World, group: &str| {
        let ticket = world.ask(Ask::Describe(group.to_owned()));
        match world.answer(ticket) {
            Some(Reply::Describe(described)) => (**described).clone(),
            other => panic!("expected a description, found {other:?}"),
        }
    };
    let stable = describe(&mut world, "g");
    assert_eq!(
        (stable.state, stable.protocol.as_str()),
        ("Stable", "range")
    );
    assert_eq!(stable.members.len(), 2);
    assert!(
        stable
            .members
            .iter()
            .all(|member| !member.metadata.is_empty()
                && member.assignment == member.member_id.as_bytes()
                && member.caller.host == "/127.0.0.1")
    );
    world.leave(&members[1], None);
    let moving = describe(&mut world, "g");
    assert_eq!(
        (moving.state, moving.protocol.as_str()),
        ("PreparingRebalance", "")
    );
    assert!(
        moving
            .members
            .iter()
            .all(|member| member.metadata.is_empty())
    );
    let gone = describe(&mut world, "nowhere");
    assert_eq!(
        (gone.state, gone.error_code),
        ("Dead", ErrorCode::GroupIdNotFound)
    );
}

#[test]
fn ids_that_nobody_joins_with_take_no_more_memory_than_as_many_as_are_kept() {
    let settings = Arc::new(settings());
    let mut groups = Groups::new(settings);
    let now = World::new().now;
    let mut handle = |group: String, member_id: String| {
        let join = Join {
            group,
            member_id,
            session_timeout_ms: 1_800_000,
            fresh_id: Uuid::new_v4(),
            ..new_member()
        };
        let mut step = Step::default();
        groups.handle(now, Ticket(1), Ask::Join(join), &mut step);
        groups.apply(&step.records);
        let told = step.replies.into_iter().find_map(|(_, reply)| match reply {
            Reply::Join(joined) => Some((joined.error_code, joined.member_id)),
            _ => None,
        });
        (groups.len(), groups.timers().len(), told)
    };
    let (_, _, kept) = handle("kept".to_owned(), String::new());
    let kept = kept.expect("an id").1;
    // Joined with, it is no longer one of them.
    let (_, _, joined) = handle("kept".to_owned(), kept);
    assert_eq!(joined, None, "it waits for the initial delay");
    let mut oldest = None;
    let mut most = (0, 0);
    let allocated = allocation_counter::measure(|| {
        for number in 0..100_000 {
            let (groups, timers, told) = handle(format!("flood-{number}"), String::new());
            most = (most.0.max(groups), most.1.max(timers));
            oldest = oldest.take().or(told);
        }
    });
    assert!(most.0 <= 20_002 && most.1 <= 20_004, "{most:?}");
    let bytes = allocated.bytes_current;
    assert!(bytes < 40 << 20, "{bytes} bytes");
    let (code, oldest) = oldest.expect("an id");
    assert_eq!(code, ErrorCode::MemberIdRequired);
    let (_, _, told) = handle("flood-0".to_owned(), oldest);
    assert_eq!(told.expect("an answer").0, ErrorCode::UnknownMemberId);
}

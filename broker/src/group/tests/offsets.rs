//! Commits, fetches, expiry.

use super::*;
use crate::group::ask::{DeleteOffsets, ListFilter, WantedTopic};
use crate::group::record::GroupValue;
use reka_protocol::messages::coordinator::offset::OffsetCommitValue;

const DAY_MS: i64 = 24 * 3_600_000;

#[test]
fn what_is_committed_is_fetched_with_epoch_and_metadata_also_after_a_restart() {
    let mut world = World::new();
    assert_eq!(
        code_of(&world.commit(commit("g", "t", 42))),
        ErrorCode::None
    );
    for _ in 0..2 {
        let topics = world.fetch("g", true);
        let partition = &topics[0].partitions[0];
        assert_eq!(
            (
                partition.offset,
                partition.leader_epoch,
                partition.metadata.as_str()
            ),
            (42, 3, "note")
        );
        world.crash();
    }
}

#[test]
fn partitions_without_an_offset_are_minus_one_and_no_error() {
    let mut world = World::new();
    for group in ["nowhere", "g"] {
        let ticket = world.ask(Ask::Fetch(FetchOffsets {
            group: group.to_owned(),
            member: None,
            topics: Some(vec![WantedTopic {
                name: "t".to_owned(),
                id: Uuid::nil(),
                partitions: vec![0, 9],
            }]),
            require_stable: false,
        }));
        let Some(Reply::Fetch(Ok(topics))) = world.answer(ticket) else {
            panic!("expected offsets");
        };
        assert_eq!(topics[0].partitions.len(), 2);
        assert!(topics[0].partitions.iter().all(|partition| {
            partition.offset == -1
                && partition.leader_epoch == -1
                && partition.metadata.is_empty()
                && partition.error_code == ErrorCode::None
        }));
        world.commit(commit("g", "other", 1));
    }
}

#[test]
fn who_may_commit_depends_on_where_the_group_stands() {
    let mut world = World::new();
    // Nobody is in the group: anybody may, but not as a member of some generation.
    assert_eq!(code_of(&world.commit(commit("g", "t", 1))), ErrorCode::None);
    let member_of_nothing = commit_by("x", 1, "t", 2);
    assert_eq!(
        code_of(&world.commit(member_of_nothing)),
        ErrorCode::UnknownMemberId
    );
    let (members, generation) = world.stable(1);
    let id = members[0].clone();
    let check = |world: &mut World, commit, expected| {
        assert_eq!(code_of(&world.commit(commit)), expected);
    };
    check(&mut world, commit("g", "t", 3), ErrorCode::UnknownMemberId);
    check(
        &mut world,
        commit_by(&id, generation, "t", 4),
        ErrorCode::None,
    );
    check(
        &mut world,
        commit_by(&id, generation + 1, "t", 5),
        ErrorCode::IllegalGeneration,
    );
    check(
        &mut world,
        commit_by("x", generation, "t", 6),
        ErrorCode::UnknownMemberId,
    );
    assert_eq!(world.offset("g", "t"), 4);
    // While others are called to join, a member may still save its work; not once it has joined.
    let asked = world.join(new_member());
    let other = world.joined(asked).member_id;
    world.join(member(&other));
    assert_eq!(world.state(), "PreparingRebalance");
    check(
        &mut world,
        commit_by(&id, generation, "t", 7),
        ErrorCode::None,
    );
    world.join(member(&id));
    assert_eq!(world.state(), "CompletingRebalance");
    check(
        &mut world,
        commit_by(&id, generation + 1, "t", 8),
        ErrorCode::RebalanceInProgress,
    );
    assert_eq!(world.offset("g", "t"), 7);
}

#[test]
fn a_commit_to_a_group_that_is_not_there_is_refused_by_what_the_client_knows() {
    let mut world = World::new();
    for (knows_member_epochs, expected) in [
        (false, ErrorCode::IllegalGeneration),
        (true, ErrorCode::GroupIdNotFound),
    ] {
        let refused = world.commit(Commit {
            knows_member_epochs,
            ..commit_by("x", 1, "t", 1)
        });
        assert_eq!(code_of(&refused), expected);
    }
    assert!(world.groups.is_empty());
}

#[test]
fn metadata_over_the_limit_is_refused_for_its_partition_alone() {
    let mut world = World::new();
    let mut large = commit("g", "t", 1);
    large.topics[0].partitions[0].metadata = "x".repeat(4_097);
    large.topics[0].partitions.push(CommitPartition {
        index: 1,
        offset: 2,
        leader_epoch: -1,
        metadata: "x".repeat(4_096),
    });
    let codes = world.commit(large);
    assert_eq!(
        codes.topics[0].1,
        [(0, ErrorCode::OffsetMetadataTooLarge), (1, ErrorCode::None)]
    );
    assert_eq!(world.offset("g", "t"), -1);
}

#[test]
fn a_commit_keeps_a_member_in() {
    let mut world = World::new();
    let (members, generation) = world.stable(1);
    for offset in 0..5 {
        world.pass(9_000);
        let kept = world.commit(commit_by(&members[0], generation, "t", offset));
        assert_eq!(code_of(&kept), ErrorCode::None);
    }
}

#[test]
fn offsets_of_an_empty_group_age_from_when_it_became_empty() {
    let mut world = World::new();
    let (members, generation) = world.stable(1);
    world.commit(commit_by(&members[0], generation, "t", 1));
    for _ in 0..8 * DAY_MS / 8_000 {
        world.pass(8_000);
        world.heartbeat(&members[0], generation);
    }
    world.expire_offsets();
    assert_eq!(
        world.offset("g", "t"),
        1,
        "a topic that is read keeps its offset"
    );
    world.leave(&members[0], None);
    world.pass(7 * DAY_MS - 1);
    world.expire_offsets();
    assert_eq!(world.offset("g", "t"), 1);
    world.pass(1);
    world.expire_offsets();
    assert_eq!((world.offset("g", "t"), world.state()), (-1, "Dead"));
    let reloaded = world.reloaded();
    assert!(reloaded.is_empty() && reloaded.offsets().is_empty());
}

#[test]
fn offsets_nobody_manages_age_from_their_commit() {
    let mut world = World::new();
    world.commit(commit("alone", "t", 1));
    world.pass(DAY_MS);
    world.commit(commit("alone", "u", 2));
    world.pass(6 * DAY_MS);
    world.expire_offsets();
    assert_eq!(
        (world.offset("alone", "t"), world.offset("alone", "u")),
        (-1, 2)
    );
    assert_eq!(world.groups.len(), 1);
    world.pass(DAY_MS);
    world.expire_offsets();
    assert!(world.groups.is_empty());
}

#[test]
fn groups_are_listed_in_the_order_of_kafkas_table() {
    // Told by Apache Kafka, which lists them so whatever the order they came in.
    let mut world = World::new();
    for group in ["grp-1", "grp-4"] {
        world.commit(commit(group, "t", 1));
    }
    let ticket = world.ask(Ask::List(ListFilter::default()));
    let Some(Reply::List(listed)) = world.answer(ticket) else {
        panic!("expected a list");
    };
    let ids: Vec<&str> = listed.iter().map(|listed| listed.group.as_str()).collect();
    assert_eq!(ids, ["grp-4", "grp-1"]);
}

#[test]
fn offsets_of_topics_a_stable_group_no_longer_reads_age_and_others_do_not() {
    let mut world = World::new();
    let (members, generation) = world.stable(1);
    world.commit(commit_by(&members[0], generation, "t", 1));
    world.commit(commit_by(&members[0], generation, "old", 2));
    world.now.wall_ms += 8 * DAY_MS;
    world.expire_offsets();
    assert_eq!((world.offset("g", "t"), world.offset("g", "old")), (1, -1));
    assert_eq!(world.state(), "Stable");
}

#[test]
fn an_expiry_the_client_asked_for_counts() {
    let mut world = World::new();
    let mut expiring = Commit {
        retention_ms: 1_000,
        ..commit("g", "t", 1)
    };
    // Clients that say how long to keep offsets are from before there were epochs.
    expiring.topics[0].partitions[0].leader_epoch = -1;
    world.commit(expiring);
    let expires = world.log.iter().any(|record| {
        matches!(&record.value, Some(GroupValue::Offset(value))
            if value.expire_timestamp == world.now.wall_ms + 1_000)
    });
    assert!(expires);
    world.pass(999);
    world.expire_offsets();
    assert_eq!(world.offset("g", "t"), 1);
    world.pass(1);
    world.expire_offsets();
    assert_eq!(world.offset("g", "t"), -1);
}

#[test]
fn offsets_of_deleted_topics_are_forgotten_and_others_kept() {
    let mut world = World::new();
    for group in ["a", "b"] {
        world.commit(commit(group, "t", 1));
        world.commit(commit(group, "kept", 2));
    }
    world.ask(Ask::TopicsDeleted(vec![("t".to_owned(), Uuid::nil())]));
    for group in ["a", "b"] {
        assert_eq!(
            (world.offset(group, "t"), world.offset(group, "kept")),
            (-1, 2)
        );
        assert_eq!(world.reloaded().offsets().get(group, "t", 0), None);
    }
}

fn commit_by_id(topic_id: Uuid, offset: i64) -> Commit {
    let mut by_id = commit("g", "t", offset);
    by_id.topics[0].id = topic_id;
    by_id
}

#[test]
fn an_offset_committed_by_id_is_not_that_of_another_topic_of_the_same_name() {
    let (old, new) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    let mut world = World::new();
    assert_eq!(
        code_of(&world.commit(commit_by_id(old, 5))),
        ErrorCode::None
    );
    world.crash();
    let mut told = |topic_id| {
        let ticket = world.ask(Ask::Fetch(FetchOffsets {
            group: "g".to_owned(),
            member: None,
            topics: Some(vec![WantedTopic {
                name: "t".to_owned(),
                id: topic_id,
                partitions: vec![0],
            }]),
            require_stable: false,
        }));
        let Some(Reply::Fetch(Ok(topics))) = world.answer(ticket) else {
            panic!("expected offsets");
        };
        assert_eq!(topics[0].id, topic_id);
        topics[0].partitions[0].offset
    };
    assert_eq!(
        (told(old), told(new), told(Uuid::nil())),
        (5, -1, 5),
        "a name alone stands for whichever has it"
    );
}

#[test]
fn what_is_committed_for_a_topic_made_anew_outlives_the_end_of_the_old_one() {
    let (old, new) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    for (committed, left) in [(new, 5), (old, -1), (Uuid::nil(), -1)] {
        let mut world = World::new();
        world.commit(commit_by_id(committed, 5));
        world.ask(Ask::TopicsDeleted(vec![("t".to_owned(), old)]));
        assert_eq!(world.offset("g", "t"), left, "{committed}");
    }
}

#[test]
fn a_group_is_deleted_with_its_offsets_if_nobody_is_in_it() {
    let mut world = World::new();
    let (members, generation) = world.stable(1);
    world.commit(commit_by(&members[0], generation, "t", 1));
    let delete = |world: &mut World, group: &str| {
        let ticket = world.ask(Ask::Delete(group.to_owned()));
        match world.answer(ticket) {
            Some(Reply::Code(code)) => *code,
            other => panic!("expected a code, found {other:?}"),
        }
    };
    assert_eq!(delete(&mut world, "nowhere"), ErrorCode::GroupIdNotFound);
    assert_eq!(delete(&mut world, "g"), ErrorCode::NonEmptyGroup);
    world.leave(&members[0], None);
    assert_eq!(delete(&mut world, "g"), ErrorCode::None);
    assert!(world.groups.is_empty() && world.groups.offsets().is_empty());
    world.crash();
    assert!(world.groups.is_empty() && world.groups.offsets().is_empty());
}

#[test]
fn offsets_are_deleted_unless_a_member_reads_the_topic() {
    let mut world = World::new();
    let delete = |world: &mut World, topic: &str| {
        let ticket = world.ask(Ask::DeleteOffsets(DeleteOffsets {
            group: "g".to_owned(),
            topics: vec![(topic.to_owned(), vec![0])],
        }));
        match world.answer(ticket) {
            Some(Reply::Partitions(codes)) => code_of(codes),
            other => panic!("expected codes, found {other:?}"),
        }
    };
    assert_eq!(delete(&mut world, "t"), ErrorCode::GroupIdNotFound);
    let (members, generation) = world.stable(1);
    world.commit(commit_by(&members[0], generation, "t", 1));
    world.commit(commit_by(&members[0], generation, "old", 2));
    assert_eq!(delete(&mut world, "t"), ErrorCode::GroupSubscribedToTopic);
    assert_eq!(delete(&mut world, "old"), ErrorCode::None);
    assert_eq!((world.offset("g", "t"), world.offset("g", "old")), (1, -1));
}

#[test]
fn groups_are_listed_by_state_and_type_in_any_case() {
    let mut world = World::new();
    world.stable(1);
    world.commit(commit("alone", "t", 1));
    let mut list = |states: &[&str], types: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let ticket = world.ask(Ask::List(ListFilter {
            states: owned(states),
            types: owned(types),
        }));
        let Some(Reply::List(listed)) = world.answer(ticket) else {
            panic!("expected a list");
        };
        let mut ids: Vec<String> = listed.iter().map(|listed| listed.group.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(list(&[], &[]), ["alone", "g"]);
    assert_eq!(list(&["stable"], &[]), ["g"]);
    assert_eq!(list(&["EMPTY"], &["Classic"]), ["alone"]);
    assert!(list(&[], &["consumer"]).is_empty());
}

fn pending(world: &mut World, producer: i64, offset: i64) {
    let value = OffsetCommitValue {
        offset,
        leader_epoch: -1,
        metadata: String::new(),
        commit_timestamp: world.now.wall_ms,
        expire_timestamp: -1,
        topic_id: Uuid::nil(),
    };
    let record = GroupRecord::offset("g", "t", 0, Some(value));
    world.groups.replay(&record, Some(producer));
}

#[test]
fn offsets_of_a_transaction_count_when_it_commits_and_are_unstable_until_then() {
    let mut world = World::new();
    world.commit(commit("g", "t", 1));
    pending(&mut world, 7, 5);
    assert_eq!(world.offset("g", "t"), 1);
    let unstable = world.fetch("g", true)[0].partitions[0].clone();
    assert_eq!(
        (unstable.error_code, unstable.offset),
        (ErrorCode::UnstableOffsetCommit, -1)
    );
    assert_eq!(world.fetch("g", false)[0].partitions[0].offset, 1);
    world.groups.apply_marker(7, true);
    assert_eq!(world.fetch("g", true)[0].partitions[0].offset, 5);
    pending(&mut world, 8, 6);
    world.groups.apply_marker(8, false);
    assert_eq!(world.fetch("g", true)[0].partitions[0].offset, 5);
    world.groups.check_invariants();
}

#[test]
fn a_transaction_that_ends_late_does_not_undo_a_later_commit() {
    let mut world = World::new();
    pending(&mut world, 7, 5);
    world.commit(commit("g", "t", 9));
    world.groups.apply_marker(7, true);
    assert_eq!(world.offset("g", "t"), 9);
}

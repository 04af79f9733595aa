//! What groups take in memory, and that it stays below what they may.

use super::*;
use crate::group::ask::Beat;
use crate::group::memory::Limits;

/// Groups without a clock, fed by one question after the other.
fn fed(asks: impl Iterator<Item = Ask>) -> Groups {
    let mut groups = Groups::new(Arc::new(settings()));
    for (number, ask) in asks.enumerate() {
        let mut step = Step::default();
        groups.handle(Now::default(), Ticket(number as u64), ask, &mut step);
        groups.apply(&step.records);
    }
    groups
}

fn commit_of(group: &str, topic: &str, partitions: std::ops::Range<i32>, metadata: &str) -> Ask {
    let mut commit = commit(group, topic, 7);
    let first = CommitPartition {
        metadata: metadata.to_owned(),
        ..commit.topics[0].partitions[0].clone()
    };
    let at = |index| CommitPartition {
        index,
        ..first.clone()
    };
    commit.topics[0].partitions = partitions.map(at).collect();
    Ask::Commit(commit)
}

fn join_of(group: usize, metadata: usize) -> Ask {
    Ask::Join(Join {
        group: format!("group-{group}"),
        takes_id_first: false,
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: vec![0; metadata],
        }],
        ..new_member()
    })
}

fn beat_of(group: usize, topic: &str) -> Ask {
    Ask::Beat(Box::new(Beat {
        group: format!("group-{group}"),
        member_id: String::new(),
        epoch: 0,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 60_000,
        caller: Caller::default(),
        topics: Some(vec![topic.to_owned()]),
        pattern: None,
        matched: None,
        assignor: None,
        owned: Some(Default::default()),
        fresh_id: Uuid::new_v4(),
        chooses_id: false,
    }))
}

#[test]
fn what_is_counted_is_about_what_the_allocator_gives() {
    let long = "m".repeat(3_000);
    type Asks = Box<dyn Iterator<Item = Ask>>;
    let shapes: Vec<(&str, Asks)> = vec![
        (
            "groups with an offset each",
            Box::new(
                (0..20_000).map(|number| commit_of(&format!("group-{number}"), "t", 0..1, "")),
            ),
        ),
        (
            "a group with many partitions",
            Box::new((0..200).map(|topic| commit_of("g", &format!("topic-{topic}"), 0..100, ""))),
        ),
        (
            "large metadata",
            Box::new((0..2_000).map(move |at| commit_of("g", "t", at..at + 1, &long))),
        ),
        (
            "groups of a classic member each",
            Box::new((0..5_000).map(|group| join_of(group, 40))),
        ),
        (
            "classic members with large metadata",
            Box::new((0..500).map(|_| join_of(0, 10_000))),
        ),
        (
            "groups of a member each",
            Box::new((0..5_000).map(|group| beat_of(group, "t"))),
        ),
        (
            "members of one group",
            Box::new((0..900).map(|_| beat_of(0, &"t".repeat(200)))),
        ),
    ];
    let mut strange = Vec::new();
    for (name, asks) in shapes {
        let mut counted = 0;
        let mut kept = None;
        let allocated = allocation_counter::measure(|| {
            let groups = fed(asks);
            counted = groups.bytes();
            kept = Some(groups);
        });
        let held = allocated.bytes_current as usize;
        let ratio = counted as f64 / held as f64;
        println!("{name}: {counted} counted, {held} held, ratio {ratio:.2}");
        strange.extend((!(0.6..1.7).contains(&ratio)).then_some(name));
        drop(kept);
    }
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn nothing_is_counted_of_what_is_gone() {
    let mut world = World::new();
    let (members, _) = world.stable(3);
    world.commit(commit("other", "t", 1));
    for member in &members {
        world.leave(member, None);
    }
    for group in ["g", "other"] {
        world.ask(Ask::Delete(group.to_owned()));
    }
    assert_eq!((world.groups.len(), world.groups.bytes()), (0, 0));
}

#[test]
fn without_memory_no_group_is_new_and_those_that_are_there_go_on() {
    let mut world = World::new();
    let (members, generation) = world.stable(1);
    for number in 0..20 {
        world.commit(commit(&format!("idle-{number}"), "t", 1));
    }
    world.commit(commit("offsets", "t", 1));
    let held = world.groups.bytes();
    // What is for all is used up; of the eighth for what is there already, nothing.
    world.groups.limit(Limits::new(held, held, held / 7 * 8));
    let refused = world.commit(commit("new", "t", 1));
    assert_eq!(refused.error_code, ErrorCode::InvalidCommitOffsetSize);
    let asked = world.ask(join_of(0, 10));
    assert_eq!(
        world.joined(asked).error_code,
        ErrorCode::GroupMaxSizeReached
    );
    let asked = world.ask(beat_of(1, "t"));
    let Some(Reply::Beat(Err(refusal))) = world.answer(asked) else {
        panic!("a heartbeat that is refused");
    };
    assert_eq!(refusal.error_code, ErrorCode::GroupMaxSizeReached);
    assert!(refusal.message.contains("reka.group.memory.max.bytes"));
    let told = world.events.iter();
    let told = told.filter(|event| matches!(event, Event::NoMemory { .. }));
    assert_eq!(told.count(), 3);

    assert_eq!(world.heartbeat(&members[0], generation), ErrorCode::None);
    for offset in 2..100 {
        let known = world.commit(commit("offsets", "t", offset));
        assert_eq!(code_of(&known), ErrorCode::None);
    }
    let more = world.commit(commit_by(&members[0], generation, "t", 5));
    assert_eq!(code_of(&more), ErrorCode::None, "the eighth is theirs");

    // Until that is used up too; what is known may still be committed.
    let held = world.groups.bytes();
    world.groups.limit(Limits::new(held, held, held));
    let more = world.commit(commit("offsets", "another", 5));
    assert_eq!(more.error_code, ErrorCode::InvalidCommitOffsetSize);
    let known = world.commit(commit("offsets", "t", 100));
    assert_eq!(code_of(&known), ErrorCode::None);
    assert_eq!(world.groups.bytes(), held);
    world.crash();
    assert_eq!(world.offset("offsets", "t"), 100);
}

#[test]
fn a_million_groups_take_no_more_than_they_may() {
    const MAX: usize = 8 << 20;
    let mut groups = Groups::new(Arc::new(settings()));
    let mut refused = 0;
    let allocated = allocation_counter::measure(|| {
        for number in 0..1_000_000_u64 {
            let held = groups.bytes();
            groups.limit(Limits::new(held, held, MAX));
            let mut step = Step::default();
            let ask = match number % 3 {
                0 => commit_of(&format!("committing-{number}"), "t", 0..1, ""),
                1 => join_of(number as usize, 40),
                _ => beat_of(number as usize, "t"),
            };
            groups.handle(Now::default(), Ticket(number), ask, &mut step);
            groups.apply(&step.records);
            refused += step.events.len();
        }
    });
    assert!(groups.bytes() <= MAX, "{} counted", groups.bytes());
    assert!(groups.bytes() > MAX / 8 * 6, "{} counted", groups.bytes());
    assert!(refused > 900_000, "{refused} refused");
    let bytes = allocated.bytes_current;
    assert!(bytes < 2 * MAX as i64, "{bytes} bytes");
}

/// Each of its records names the group again: a few bytes of a request can stand for very many.
#[test]
fn a_commit_that_stands_for_more_than_a_segment_takes_is_refused() {
    let mut world = World::new();
    let mut large = commit(&"g".repeat(30_000), "t", 1);
    let one = large.topics[0].partitions[0].clone();
    large.topics[0].partitions = vec![one; 1_000];
    let ticket = Ticket(u64::MAX);
    let mut step = Step::default();
    let allocated = allocation_counter::measure(|| {
        let now = world.now;
        world
            .groups
            .handle(now, ticket, Ask::Commit(large), &mut step);
    });
    assert!(step.records.is_empty(), "{} records", step.records.len());
    assert!(allocated.bytes_max < 1 << 20, "{allocated:?}");
    let Some((_, Reply::Partitions(codes))) = step.replies.pop() else {
        panic!("an answer");
    };
    assert_eq!(codes.error_code, ErrorCode::InvalidCommitOffsetSize);
}

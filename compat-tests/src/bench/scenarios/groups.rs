//! Groups: joins, commits, idle groups, loading what was committed, and how soon the newer protocol is at
//! rest.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest,
    SyncGroupRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::Scenario;
use crate::bench::contestant::Contestant;
use crate::bench::figures::{Figure, Unit};
use crate::bench::frames;
use crate::bench::load::{Load, Plan};
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::rows::raw::{answer, group_id, topic_name, wait_for_group};

pub(super) const GROUPS: Scenario = Scenario {
    name: "groups",
    about: "300 joins, commits of offsets, 10,000 idle groups, a million offsets loaded, KIP-848 at rest",
    settings: &[
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=1",
        "group.consumer.min.heartbeat.interval.ms=1000",
        "group.consumer.heartbeat.interval.ms=1000",
    ],
    floor: false,
    run,
};

const MEMBERS: usize = 300;
const COMMITTERS: usize = 16;
const COMMITS: u64 = 60_000;
const COMMITS_TIME_MAX: Duration = Duration::from_secs(20);
const OFFSETS: usize = 1_000_000;
const OFFSETS_PER_COMMIT: i32 = 1000;
const IDLE_GROUPS: usize = 10_000;
const TOPIC: &str = "bench-0";
const COMMIT_VERSION: i16 = 8;
/// Correlation id, tags, throttle time, topics, the name with its length, partitions, index.
const COMMIT_ERROR_AT: usize = 4 + 1 + 4 + 1 + 1 + TOPIC.len() + 1 + 4;
/// Members of the newer protocol, and how often each may ask until they are at rest.
const CONSUMERS: usize = 30;
const HEARTBEATS_MAX: u32 = 30;
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
const JOIN_TIME_MAX: Duration = Duration::from_secs(60);

fn run(contestant: &mut Contestant<'_>) -> Result<Vec<Figure>> {
    contestant.create_topics("bench", 1, OFFSETS_PER_COMMIT)?;
    let address = contestant.address()?;
    let mut side = Side::new("the broker", address);
    wait_for_group(&mut side, "warm", LOAD_TIME_MAX)?;
    // Both are warm when it counts.
    joins(contestant, "warm")?;
    let mut committers = committers(address)?;
    committers.run(COMMITS / 2, COMMITS_TIME_MAX)?;

    let (took, cpu) = joins(contestant, "joins")?;
    let before = contestant.cpu_seconds()?;
    let commits = committers.run(COMMITS, COMMITS_TIME_MAX)?;
    let commits_cpu = contestant.cpu_seconds()? - before;
    let heartbeats = heartbeats_to_rest(&mut side)?;

    let before = contestant.own_bytes()?;
    for group in 0..IDLE_GROUPS {
        commit(&mut side, &format!("idle-{group}"), 0, 1)?;
    }
    let idle = (contestant.own_bytes()? - before).max(0.0);

    for at in 0..OFFSETS / OFFSETS_PER_COMMIT as usize {
        commit(
            &mut side,
            &format!("many-{at}"),
            at as i64,
            OFFSETS_PER_COMMIT,
        )?;
    }
    contestant.stop()?;
    contestant.start_again()?;
    let mut side = Side::new("the broker", contestant.address()?);
    let from = Instant::now();
    wait_for_group(&mut side, "many-0", LOAD_TIME_MAX)?;
    let loaded = from.elapsed();
    let per_cpu_second = commits.requests as f64 / commits_cpu;
    Ok(vec![
        (
            "groups_300_joins",
            Unit::Milliseconds,
            took.as_secs_f64() * 1e3,
        ),
        ("groups_300_joins_cpu", Unit::Milliseconds, cpu * 1e3),
        (
            "groups_commits_cpu",
            Unit::RequestsPerCpuSecond,
            per_cpu_second,
        ),
        (
            "groups_commits_p99",
            Unit::Microseconds,
            commits.percentile_us(0.99),
        ),
        (
            "groups_848_to_rest",
            Unit::Heartbeats,
            f64::from(heartbeats),
        ),
        (
            "groups_10k_idle",
            Unit::Mebibytes,
            idle / f64::from(1 << 20),
        ),
        (
            "groups_1m_offsets_load",
            Unit::Milliseconds,
            loaded.as_secs_f64() * 1e3,
        ),
    ])
}

/// Connections that commit one offset at a time, each for a group of its own.
fn committers(address: SocketAddr) -> Result<Load> {
    let frames = |at: usize| {
        let request = commit_request(&format!("commits-{at:02}"), 7, 1);
        Ok(vec![frames::frame(COMMIT_VERSION, &request)?])
    };
    let plan = Plan {
        connections: (0..COMMITTERS).map(frames).collect::<Result<_>>()?,
        depth: 1,
        error_at: COMMIT_ERROR_AT,
    };
    Load::connect(address, &plan)
}

/// All members join at once; until each has its assignment in a generation that has them all. Time by the
/// clock, and processor time of the broker in all, in seconds. Connections are not what is measured.
fn joins(contestant: &mut Contestant<'_>, name: &str) -> Result<(Duration, f64)> {
    let address = contestant.address()?;
    let (connected, go) = (Barrier::new(MEMBERS + 1), Barrier::new(MEMBERS + 1));
    let joined = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let member = || -> Result<()> {
            let mut side = Side::new("the broker", address);
            let found = wait_for_group(&mut side, name, LOAD_TIME_MAX);
            connected.wait();
            go.wait();
            found.and_then(|()| join_until(&mut side, name, MEMBERS, &joined))
        };
        let threads: Vec<_> = (0..MEMBERS).map(|_| scope.spawn(member)).collect();
        connected.wait();
        let before = contestant.cpu_seconds();
        let begun = Instant::now();
        go.wait();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.map_err(|_| Error::refused("join", "a member panicked"))?
        })?;
        Ok((begun.elapsed(), contestant.cpu_seconds()? - before?))
    })
}

fn join_until(side: &mut Side, name: &str, members: usize, stable: &AtomicUsize) -> Result<()> {
    let deadline = Instant::now() + JOIN_TIME_MAX;
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(
            b"\0\0\0\0\0\x01\0\x07bench-0\xff\xff\xff\xff",
        ));
    let mut join = JoinGroupRequest::default()
        .with_group_id(group_id(name))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let mut counted = false;
    while Instant::now() < deadline {
        // Version 3 lets a member in at once, without an id of its own.
        let joined = answer(side.ask(3, &join)?, "join")?;
        if joined.error_code != 0 {
            return Err(Error::refused(
                "join",
                format!("error {}", joined.error_code),
            ));
        }
        join.member_id = joined.member_id.clone();
        let everybody = joined.members.len() == members;
        let plan = joined.members.iter().map(|member| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff"))
        });
        let sync = SyncGroupRequest::default()
            .with_group_id(group_id(name))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(plan.collect());
        let synced = answer(side.ask(2, &sync)?, "sync")?;
        if synced.error_code != 0 {
            continue;
        }
        if everybody {
            // The leader alone sees who is in it.
            stable.store(joined.generation_id as usize, Ordering::SeqCst);
        }
        loop {
            if stable.load(Ordering::SeqCst) == joined.generation_id as usize {
                return Ok(());
            }
            let beat = HeartbeatRequest::default()
                .with_group_id(group_id(name))
                .with_generation_id(joined.generation_id)
                .with_member_id(joined.member_id.clone());
            let beaten = answer(side.ask(3, &beat)?, "heartbeat")?;
            match ErrorCode::from_code(beaten.error_code) {
                Some(ErrorCode::None) if Instant::now() < deadline => {
                    // As often as a client that is in a hurry, not as fast as it can.
                    std::thread::sleep(Duration::from_millis(5));
                }
                Some(ErrorCode::None) => break,
                _ => break,
            }
        }
        counted = true;
    }
    let finding = format!("no generation of {members} members, synced before: {counted}");
    Err(Error::refused("join", finding))
}

/// Members of the newer protocol join one after the other; then each asks again and again, in turn, until
/// as many partitions are with each. How often each had to ask.
fn heartbeats_to_rest(side: &mut Side) -> Result<u32> {
    let mut members: Vec<(ConsumerGroupHeartbeatRequest, i32)> = Vec::new();
    for at in 0..CONSUMERS {
        let joins = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id("newer"))
            .with_member_id(StrBytes::from_string(format!("member-{at}")))
            .with_member_epoch(0)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
            .with_topic_partitions(Some(Vec::new()));
        members.push((joins, 0));
    }
    for member in &mut members {
        beat(side, member)?;
    }
    for heartbeats in 1..=HEARTBEATS_MAX {
        // As often as they are told to ask.
        std::thread::sleep(HEARTBEAT_EVERY);
        for member in &mut members {
            beat(side, member)?;
        }
        let owned = members.iter().map(|(_, owned)| *owned);
        let (least, most) = (owned.clone().min(), owned.clone().max());
        let is_spread = most
            .zip(least)
            .is_some_and(|(most, least)| most - least <= 1);
        if is_spread && owned.sum::<i32>() == OFFSETS_PER_COMMIT {
            return Ok(heartbeats);
        }
    }
    let finding = format!("not in {HEARTBEATS_MAX} heartbeats of each");
    Err(Error::refused("come to rest", finding))
}

/// A member says what it owns, and owns from then on what it is told to.
fn beat(side: &mut Side, member: &mut (ConsumerGroupHeartbeatRequest, i32)) -> Result<()> {
    let (request, owned) = member;
    let told = answer(side.ask(1, &*request)?, "heartbeat")?;
    if told.error_code != 0 {
        let finding = format!("error {}", told.error_code);
        return Err(Error::refused("heartbeat", finding));
    }
    request.member_epoch = told.member_epoch;
    if let Some(assignment) = told.assignment {
        let topics = assignment.topic_partitions.iter();
        *owned = topics
            .clone()
            .map(|topic| topic.partitions.len() as i32)
            .sum();
        let owned = topics.map(|topic| {
            TopicPartitions::default()
                .with_topic_id(topic.topic_id)
                .with_partitions(topic.partitions.clone())
        });
        request.topic_partitions = Some(owned.collect());
    }
    Ok(())
}

fn commit(side: &mut Side, name: &str, offset: i64, partitions: i32) -> Result<()> {
    let request = commit_request(name, offset, partitions);
    let committed = answer(side.ask(COMMIT_VERSION, &request)?, "commit")?;
    let mut partitions = committed.topics.iter().flat_map(|topic| &topic.partitions);
    match partitions.find(|partition| partition.error_code != 0) {
        None => Ok(()),
        Some(partition) => {
            let finding = format!("error {}", partition.error_code);
            Err(Error::refused("commit", finding))
        }
    }
}

fn commit_request(name: &str, offset: i64, partitions: i32) -> OffsetCommitRequest {
    let partitions = (0..partitions).map(|index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::new()))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(partitions.collect());
    OffsetCommitRequest::default()
        .with_group_id(group_id(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

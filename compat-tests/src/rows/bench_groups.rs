//! How fast groups are, beside Apache Kafka: both on the same machine, one after the other, with the
//! same settings and the same raw clients.
//!
//! A line per figure: `figure NAME VALUE UNIT ratio R`, where R is ours over Apache Kafka's.
//! `REKA_BENCH_PART` (a thousandth part to all, 1000) makes everything smaller, to try it out.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use reka_protocol::kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::raw::{answer, create_topic, group_id, number, topic_name, wait_for_group};
use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::reka::Reka;
use crate::rows::{Row, Verdict};

pub(super) const ROW: Row = Row {
    name: "bench-groups",
    tiers: &[],
    about: "joins, commits, loading offsets and idle groups, as figures beside Apache Kafka's",
    run,
};

const MEMBERS: usize = 300;
const COMMITTERS: usize = 16;
const COMMITS_EACH: usize = 4000;
const OFFSETS: usize = 1_000_000;
const OFFSETS_PER_COMMIT: usize = 1000;
const IDLE_GROUPS: usize = 10_000;
const TOPIC: &str = "bench";
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
const JOIN_TIME_MAX: Duration = Duration::from_secs(60);
const SETTINGS: [&str; 3] = [
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=1",
    // What is kept for them must not be cleaned away while it is counted.
    "log.cleaner.enable=true",
];

/// One of the two, started and stopped in the same way.
enum Broker {
    Kafka(Kafka),
    Reka(Reka),
}

impl Broker {
    fn address(&self) -> SocketAddr {
        match self {
            Broker::Kafka(kafka) => kafka.address(),
            Broker::Reka(reka) => reka.address(),
        }
    }

    fn process(&mut self) -> &mut Process {
        match self {
            Broker::Kafka(kafka) => kafka.process(),
            Broker::Reka(reka) => reka.process(),
        }
    }

    fn stop(self) -> Result<()> {
        match self {
            Broker::Kafka(kafka) => kafka.stop(),
            Broker::Reka(reka) => reka.stop(),
        }
    }
}

/// What was measured of one broker.
#[derive(Debug, Default)]
struct Figures(Vec<(&'static str, f64, &'static str)>);

fn run(ctx: &Context) -> Result<Verdict> {
    let part = number("REKA_BENCH_PART")?.unwrap_or(1000).clamp(1, 1000) as usize;
    let java = Java::kafka(ctx)?.for_measuring();
    let home = ctx.work().join("kafka");
    let kafka = measure(part, &home, |home| {
        Kafka::start(&java, home, &SETTINGS).map(Broker::Kafka)
    })?;
    let server = Reka::build_release(ctx)?;
    let home = ctx.work().join("reka");
    let reka = measure(part, &home, |home| {
        Reka::start_with(&server, home, &[], &SETTINGS).map(Broker::Reka)
    })?;
    for ((name, ours, unit), (_, theirs, _)) in reka.0.iter().zip(&kafka.0) {
        println!("figure {name} {ours:.2} {unit} ratio {:.3}", ours / theirs);
    }
    Ok(Verdict::Passed(format!("{} figures", reka.0.len())))
}

fn measure(part: usize, home: &Path, start: impl Fn(&Path) -> Result<Broker>) -> Result<Figures> {
    let of = |count: usize| (count * part / 1000).max(2);
    let mut figures = Figures::default();
    let mut broker = start(home)?;
    let mut side = Side::new("the broker", broker.address());
    create_topic(&mut side, TOPIC, OFFSETS_PER_COMMIT as i32)?;
    wait_for_group(&mut side, "warm", LOAD_TIME_MAX)?;
    // Both are warm when it counts.
    joins(&mut broker, of(MEMBERS), "warm")?;
    commits(&mut broker, of(COMMITS_EACH), "warm")?;

    let (took, cpu) = joins(&mut broker, of(MEMBERS), "joins")?;
    figures.add("groups-300-joins", took.as_secs_f64() * 1000.0, "ms");
    figures.add("groups-300-joins-cpu", cpu.as_secs_f64() * 1000.0, "ms");
    let done = commits(&mut broker, of(COMMITS_EACH), "commits")?;
    figures.add("groups-commits", done.per_second, "1/s");
    figures.add("groups-commits-per-cpu-second", done.per_cpu_second, "1/s");
    figures.add("groups-commits-p50", done.p50.as_secs_f64() * 1000.0, "ms");
    figures.add("groups-commits-p99", done.p99.as_secs_f64() * 1000.0, "ms");

    let before = broker.process().usage()?.own_bytes;
    let mut side = Side::new("the broker", broker.address());
    for group in 0..of(IDLE_GROUPS) {
        commit(&mut side, &format!("idle-{group}"), 0, 1)?;
    }
    let after = broker.process().usage()?.own_bytes;
    let mib = after.saturating_sub(before) as f64 / f64::from(1 << 20);
    figures.add("groups-10k-idle", mib, "MiB");

    for at in 0..of(OFFSETS).div_ceil(OFFSETS_PER_COMMIT) {
        commit(
            &mut side,
            &format!("many-{at}"),
            at as i64,
            OFFSETS_PER_COMMIT,
        )?;
    }
    broker.stop()?;
    let broker = start(home)?;
    let from = Instant::now();
    wait_for_group(
        &mut Side::new("the broker", broker.address()),
        "many-0",
        LOAD_TIME_MAX,
    )?;
    figures.add("groups-1m-offsets-load", from.elapsed().as_secs_f64(), "s");
    broker.stop()?;
    Ok(figures)
}

impl Figures {
    fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.0.push((name, value, unit));
    }
}

/// All members join at once; until each has its assignment in a generation that has them all.
/// Wall time from the last first join, and processor time of the broker in all.
fn joins(broker: &mut Broker, members: usize, name: &str) -> Result<(Duration, Duration)> {
    let address = broker.address();
    let before = broker.process().usage()?.cpu;
    let together = Barrier::new(members);
    let joined = AtomicUsize::new(0);
    let begun = std::sync::Mutex::new(None::<Instant>);
    std::thread::scope(|scope| {
        let member = || -> Result<()> {
            let mut side = Side::new("the broker", address);
            // The connection is not what is measured.
            wait_for_group(&mut side, name, LOAD_TIME_MAX)?;
            if together.wait().is_leader()
                && let Ok(mut begun) = begun.lock()
            {
                *begun = Some(Instant::now());
            }
            join_until(&mut side, name, members, &joined)
        };
        let threads: Vec<_> = (0..members).map(|_| scope.spawn(member)).collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.map_err(|_| Error::refused("join", "a member panicked"))?
        })
    })?;
    let begun = begun.lock().ok().and_then(|begun| *begun);
    let took = begun.map(|begun| begun.elapsed());
    let after = broker.process().usage()?.cpu;
    let took = took.ok_or_else(|| Error::refused("join", "nobody began"))?;
    Ok((took, after.saturating_sub(before)))
}

fn join_until(side: &mut Side, name: &str, members: usize, stable: &AtomicUsize) -> Result<()> {
    let deadline = Instant::now() + JOIN_TIME_MAX;
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(
            b"\0\0\0\0\0\x01\0\x05bench\xff\xff\xff\xff",
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

struct Committed {
    per_second: f64,
    per_cpu_second: f64,
    p50: Duration,
    p99: Duration,
}

/// Commits of one offset each, from several connections at once.
fn commits(broker: &mut Broker, each: usize, name: &str) -> Result<Committed> {
    let address = broker.address();
    let before = broker.process().usage()?.cpu;
    let from = Instant::now();
    let mut times = std::thread::scope(|scope| {
        let committer = |at: usize| {
            move || -> Result<Vec<Duration>> {
                let mut side = Side::new("the broker", address);
                let name = format!("{name}-{at}");
                let mut times = Vec::with_capacity(each);
                for offset in 0..each {
                    let from = Instant::now();
                    commit(&mut side, &name, offset as i64, 1)?;
                    times.push(from.elapsed());
                }
                Ok(times)
            }
        };
        let threads: Vec<_> = (0..COMMITTERS)
            .map(|at| scope.spawn(committer(at)))
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            let ended = thread.join();
            all.extend(ended.map_err(|_| Error::refused("commit", "a committer panicked"))??);
        }
        Ok::<_, Error>(all)
    })?;
    let took = from.elapsed().as_secs_f64();
    let after = broker.process().usage()?.cpu;
    let cpu = after.saturating_sub(before).as_secs_f64().max(0.01);
    times.sort_unstable();
    let at = |thousandth: usize| times[(times.len() - 1) * thousandth / 1000];
    Ok(Committed {
        per_second: times.len() as f64 / took,
        per_cpu_second: times.len() as f64 / cpu,
        p50: at(500),
        p99: at(990),
    })
}

fn commit(side: &mut Side, name: &str, offset: i64, partitions: usize) -> Result<()> {
    let partitions = (0..partitions as i32).map(|index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::new()))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(name))
        .with_topics(vec![topic]);
    let committed = answer(side.ask(9, &request)?, "commit")?;
    let partitions = committed.topics.iter().flat_map(|topic| &topic.partitions);
    match partitions
        .map(|partition| partition.error_code)
        .find(|code| *code != 0)
    {
        None => Ok(()),
        Some(code) => Err(Error::refused("commit", format!("error {code}"))),
    }
}

//! Members of groups are killed, paused and added while records come in: every record is processed
//! at least once by each group, and committed positions never go back.
//!
//! Three groups read one topic: classic members of six clients that agree on `range`, members of
//! KIP-848 of three, and kafkajs, whose assignors are its own. A member prints what it has processed
//! before it commits. `REKA_CHURN_SECONDS` sets for how long, `REKA_CHURN_SEED`
//! repeats what was done to whom, `--against kafka` asks Apache Kafka instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{OffsetFetchRequest, ProduceRequest};
use reka_records::BatchBuilder;
use rustix::process::Signal;

use super::raw::{Random, answer, create_topic, group_id, now, number, seed_of_now, topic_name};
use super::{go, node, python};
use crate::clients::prepare;
use crate::context::Context;
use crate::control::java::Java;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "churn",
    tiers: &[Tier::Nightly],
    about: "members of eight clients killed, paused, added: all is processed, positions never go back",
    judges: Judges::Any,
    run: |ctx| run(ctx, SECONDS),
};

/// For the commit tier: a dozen clients take a while to start and to catch up, too.
pub(super) const BRIEF: Row = Row {
    name: "churn-brief",
    tiers: &[Tier::Ci],
    about: "the same for a quarter of a minute",
    judges: Judges::Any,
    run: |ctx| run(ctx, SECONDS_BRIEF),
};

const SECONDS: u64 = 120;
const SECONDS_BRIEF: u64 = 15;
const TOPIC: &str = "churned";
const PARTITIONS: i32 = 6;
const RECORDS_PER_BATCH: i64 = 20;
/// Sixteen batches a second: slow members keep up, quick ones always have something to commit.
const BATCH_EVERY: Duration = Duration::from_millis(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ACT_EVERY_MS: std::ops::Range<u64> = 500..2500;
const PAUSE_MS: std::ops::Range<u64> = 500..9000;
/// Members start, sessions of those killed run out, and what is left is read.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(150);
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Who is killed is missed after six seconds, in every group.
const SETTINGS: [&str; 5] = [
    "group.initial.rebalance.delay.ms=100",
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
];

/// A group and the kinds of clients in it.
const GROUPS: [(&str, &[Kind]); 3] = [
    (
        "classic",
        &[
            Kind::Java,
            Kind::Confluent,
            Kind::KafkaPython,
            Kind::Aiokafka,
            Kind::Franz,
            Kind::Sarama,
        ],
    ),
    (
        "consumer",
        &[Kind::Java, Kind::Confluent, Kind::Franz, Kind::Confluent],
    ),
    ("kafkajs", &[Kind::Kafkajs, Kind::Kafkajs]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Java,
    Confluent,
    KafkaPython,
    Aiokafka,
    Kafkajs,
    Franz,
    Sarama,
}

fn run(ctx: &Context, seconds: u64) -> Result<Verdict> {
    let seconds = number("REKA_CHURN_SECONDS")?.unwrap_or(seconds);
    let seed = number("REKA_CHURN_SEED")?.unwrap_or_else(seed_of_now);
    let clients = Clients::prepare(ctx)?;
    let told = target::each_told(&ctx.reka_unless_chosen(), &SETTINGS, |target| {
        churn(target, &clients, seconds, seed)
    });
    let told =
        told.map_err(|error| Error::refused(format!("REKA_CHURN_SEED={seed}"), error.to_string()))?;
    Ok(Verdict::Passed(format!("{told}, seed {seed}")))
}

/// How each kind of client is started.
struct Clients {
    java: Java,
    python: PathBuf,
    python_program: PathBuf,
    node_packages: PathBuf,
    node_program: PathBuf,
    go_program: PathBuf,
}

impl Clients {
    fn prepare(ctx: &Context) -> Result<Clients> {
        let sources = ctx.client_sources("java");
        // Compiled against the old client, as in the row of the Java clients; run with the newest.
        let old = prepare::maven(ctx, "kafka-clients", &sources.join("pom.xml"))?;
        Java::with_classes_of(ctx, &old, &sources.join("src"))?;
        Ok(Clients {
            java: Java::with_compiled_classes(ctx)?,
            python: python::environment(ctx)?.join("bin/python"),
            python_program: ctx.client_sources("python").join("churn.py"),
            node_packages: node::packages(ctx)?.join("node_modules"),
            node_program: ctx.client_sources("node").join("churn.js"),
            go_program: go::build(ctx, &["churn"])?.join("churn"),
        })
    }

    fn command(&self, kind: Kind, group: &str, address: SocketAddr) -> Command {
        let mut command = match kind {
            Kind::Java => self.java.command("Churn", "ERROR"),
            Kind::Kafkajs => {
                let mut node = Command::new("node");
                node.env("NODE_PATH", &self.node_packages)
                    .arg(&self.node_program);
                node
            }
            Kind::Franz | Kind::Sarama => Command::new(&self.go_program),
            Kind::Confluent | Kind::KafkaPython | Kind::Aiokafka => {
                let mut python = Command::new(&self.python);
                python
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg(&self.python_program);
                python
            }
        };
        command.args([&address.to_string(), TOPIC, group]);
        match (kind, group) {
            (Kind::Java, _) => command.arg(group),
            (Kind::Confluent, "consumer") => command.arg("confluent-consumer"),
            (Kind::Confluent, _) => command.arg("confluent-classic"),
            (Kind::KafkaPython, _) => command.arg("kafka-python"),
            (Kind::Aiokafka, _) => command.arg("aiokafka"),
            (Kind::Kafkajs, _) => &mut command,
            (Kind::Franz, "consumer") => command.arg("franz-consumer"),
            (Kind::Franz, _) => command.arg("franz-classic"),
            (Kind::Sarama, _) => command.arg("sarama"),
        };
        command
    }
}

/// A running member, or a paused one.
struct Member {
    group: usize,
    kind: Kind,
    process: Process,
    paused_until: Option<Instant>,
}

/// Everything that goes on.
struct Churn<'a> {
    clients: &'a Clients,
    address: SocketAddr,
    work: PathBuf,
    random: Random,
    members: Vec<Member>,
    started: usize,
    killed: usize,
    paused: usize,
}

fn churn(target: &Target, clients: &Clients, seconds: u64, seed: u64) -> Result<String> {
    let address = target.address();
    let work = target.home().join("members");
    files::make_dir(&work)?;
    create_topic(&mut Side::new("the broker", address), TOPIC, PARTITIONS)?;
    let mut churn = Churn {
        clients,
        address,
        work,
        random: Random::new(seed),
        members: Vec::new(),
        started: 0,
        killed: 0,
        paused: 0,
    };
    let (stop_writing, stop_looking) = (AtomicBool::new(false), AtomicBool::new(false));
    let (ends, looks) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(address, &stop_writing));
        let looker = scope.spawn(|| look(address, &stop_looking));
        let judged = (|| {
            churn.start_all()?;
            churn.go_on(Duration::from_secs(seconds))?;
            stop_writing.store(true, Ordering::SeqCst);
            let ends = writer.join().map_err(panicked)??;
            churn.catch_up(&ends)?;
            Ok::<_, Error>(ends)
        })();
        stop_writing.store(true, Ordering::SeqCst);
        stop_looking.store(true, Ordering::SeqCst);
        let looks = looker.join().map_err(panicked)?;
        Ok::<_, Error>((judged?, looks?))
    })?;
    let records: i64 = ends.iter().sum();
    Ok(format!(
        "{} members, {} killed, {} paused, {records} records, {looks} looks at positions",
        churn.started, churn.killed, churn.paused
    ))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Error {
    Error::refused("churn", "a thread panicked")
}

impl Churn<'_> {
    fn start_all(&mut self) -> Result<()> {
        for (group, (_, kinds)) in GROUPS.iter().enumerate() {
            for kind in *kinds {
                self.start(group, *kind)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, group: usize, kind: Kind) -> Result<()> {
        let name = GROUPS[group].0;
        let file = format!("{name}-{}-{kind:?}", self.started);
        let mut command = self.clients.command(kind, name, self.address);
        let process = Process::start(
            &format!("member {file}"),
            &mut command,
            &self.work.join(format!("{file}.out")),
            &self.work.join(format!("{file}.err")),
        )?;
        self.started += 1;
        self.members.push(Member {
            group,
            kind,
            process,
            paused_until: None,
        });
        Ok(())
    }

    /// Does this and that to members until the time is over; everybody goes on then.
    fn go_on(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let pause = self.random.within(ACT_EVERY_MS);
            let until = Instant::now() + Duration::from_millis(pause);
            wait::until("let members work", time + STOP_TIME_MAX, || {
                Ok((Instant::now() >= until).then_some(()))
            })?;
            self.resume(|until| until <= Instant::now())?;
            self.check()?;
            self.act()?;
        }
        self.resume(|_| true)
    }

    fn act(&mut self) -> Result<()> {
        let chosen = self.random.within(0..self.members.len() as u64) as usize;
        match self.random.within(0..3) {
            0 => {
                let gone = self.members.swap_remove(chosen);
                gone.process.kill(STOP_TIME_MAX)?;
                self.killed += 1;
                self.start(gone.group, gone.kind)
            }
            1 if self.members[chosen].paused_until.is_none() => {
                let pause = Duration::from_millis(self.random.within(PAUSE_MS));
                let member = &mut self.members[chosen];
                member.process.signal(Signal::STOP)?;
                member.paused_until = Some(Instant::now() + pause);
                self.paused += 1;
                Ok(())
            }
            _ => {
                let Member { group, kind, .. } = self.members[chosen];
                let of_group = self.members.iter().filter(|other| other.group == group);
                // One more than at the start, for a while: the next kill is of somebody.
                if of_group.count() > GROUPS[group].1.len() {
                    let gone = self.members.swap_remove(chosen);
                    gone.process.kill(STOP_TIME_MAX)?;
                    self.killed += 1;
                    return Ok(());
                }
                self.start(group, kind)
            }
        }
    }

    fn resume(&mut self, due: impl Fn(Instant) -> bool) -> Result<()> {
        for member in &mut self.members {
            if member.paused_until.is_some_and(&due) {
                member.process.signal(Signal::CONT)?;
                member.paused_until = None;
            }
        }
        Ok(())
    }

    /// Nobody ends by itself.
    fn check(&mut self) -> Result<()> {
        for member in &mut self.members {
            member.process.expect_running()?;
        }
        Ok(())
    }

    /// Every group has processed and committed everything.
    fn catch_up(&mut self, ends: &[i64]) -> Result<()> {
        let mut side = Side::new("the broker", self.address);
        let work = self.work.clone();
        let mut left = String::new();
        let waited = wait::until("wait for the groups", CATCH_UP_TIME_MAX, || {
            self.check()?;
            left.clear();
            for (group, _) in GROUPS {
                let committed = positions(&mut side, group)?;
                for (partition, end) in (0..).zip(ends) {
                    let reached = committed.get(&partition).copied().unwrap_or(-1);
                    if reached < *end {
                        left += &format!(" {group}/{partition} at {reached} of {end}");
                    }
                }
            }
            Ok(left.is_empty().then_some(()))
        });
        waited.map_err(|error| Error::refused(error.to_string(), format!("behind:{left}")))?;
        for (group, _) in GROUPS {
            let seen = processed(&work, group)?;
            if let Some(missing) = first_missing(&seen, ends) {
                let finding = format!("{missing} was committed and not processed");
                return Err(Error::refused(format!("look at group {group}"), finding));
            }
        }
        Ok(())
    }
}

/// What members of a group printed: partitions and offsets.
fn processed(work: &Path, group: &str) -> Result<BTreeMap<i32, BTreeSet<i64>>> {
    let mut seen: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    for file in files::list(work)? {
        let name = files::name_of(&file);
        if !name.starts_with(&format!("{group}-")) || !name.ends_with(".out") {
            continue;
        }
        let text = files::read_text(&file)?;
        // What a kill cut off is no line.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let parsed = line.split_once(' ').and_then(|(partition, offset)| {
                Some((partition.parse().ok()?, offset.parse().ok()?))
            });
            let (partition, offset) = parsed
                .ok_or_else(|| Error::refused(format!("read {name}"), format!("line {line:?}")))?;
            seen.entry(partition).or_default().insert(offset);
        }
    }
    Ok(seen)
}

/// The first record below the ends that is not among those seen.
fn first_missing(seen: &BTreeMap<i32, BTreeSet<i64>>, ends: &[i64]) -> Option<String> {
    (0..).zip(ends).find_map(|(partition, end)| {
        let of_partition = seen.get(&partition);
        let missing = (0..*end)
            .find(|offset| !of_partition.is_some_and(|of_partition| of_partition.contains(offset)));
        missing.map(|offset| format!("record {offset} of partition {partition}"))
    })
}

/// Writes until it is told to stop; the ends of the partitions then.
fn write(address: SocketAddr, stop: &AtomicBool) -> Result<Vec<i64>> {
    let mut side = Side::new("the broker", address);
    let mut ends = vec![0; PARTITIONS as usize];
    for turn in 0_i64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let partition = (turn % i64::from(PARTITIONS)) as i32;
        let mut builder = BatchBuilder::new(0);
        // Old records would be removed under the readers.
        let now_ms = now().as_millis() as i64;
        for at in 0..RECORDS_PER_BATCH {
            let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
            let value = turn.to_be_bytes();
            let appended = builder.append(at, now_ms, None, Some(&value), none);
            appended.map_err(|error| Error::refused("make a batch", error.to_string()))?;
        }
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(builder.finish().into()));
        let topic = TopicProduceData::default()
            .with_name(topic_name(TOPIC))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        let produced = answer(side.ask(9, &request)?, "produce")?;
        let told = &produced.responses[0].partition_responses[0];
        if told.error_code != 0 {
            let finding = format!("error {}", told.error_code);
            return Err(Error::refused("produce", finding));
        }
        ends[partition as usize] = told.base_offset + RECORDS_PER_BATCH;
        // A pace, not a wait for something.
        std::thread::sleep(BATCH_EVERY);
    }
    Ok(ends)
}

/// Watches that no position goes back; how often it has looked.
fn look(address: SocketAddr, stop: &AtomicBool) -> Result<usize> {
    let mut side = Side::new("the broker", address);
    let mut known: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    let mut looks = 0;
    while !stop.load(Ordering::SeqCst) {
        for (group, _) in GROUPS {
            for (partition, found) in positions(&mut side, group)? {
                let before = known.insert((group, partition), found).unwrap_or(-1);
                if found < before {
                    let step = format!("look at group {group}, partition {partition}");
                    let finding = format!("its position went back from {before} to {found}");
                    return Err(Error::refused(step, finding));
                }
            }
        }
        looks += 1;
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(looks)
}

/// What a group has committed, by partition; nothing while its coordinator is not there yet.
fn positions(side: &mut Side, group: &'static str) -> Result<BTreeMap<i32, i64>> {
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id(group))
        .with_topics(None);
    let fetched = answer(side.ask(7, &request)?, "fetch offsets")?;
    let partitions = fetched.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions
        .map(|partition| (partition.partition_index, partition.committed_offset))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_nobody_processed_is_named() {
        let seen = BTreeMap::from([(0, BTreeSet::from([0, 1, 3])), (1, BTreeSet::from([0]))]);
        assert_eq!(first_missing(&seen, &[2, 1]), None);
        assert_eq!(
            first_missing(&seen, &[4, 1]).as_deref(),
            Some("record 2 of partition 0")
        );
        assert_eq!(
            first_missing(&seen, &[2, 1, 1]).as_deref(),
            Some("record 0 of partition 2")
        );
    }
}

//! `kill -9` of the broker and of its clients at random moments while they consume, transform and
//! produce in transactions: every record is transformed exactly once, and no transaction is torn.
//!
//! Four programs share a group: Java's client, new and old, librdkafka and franz-go, so that both versions
//! of the protocol are in it; each has a transactional id of its own, which the next one of its name takes over.
//! Each record moves money between two partitions: what readers of committed data find there adds up
//! to nothing. Of Apache Kafka only the clients are killed ([`Target::keeps_markers`]). `REKA_KILL_ROUNDS`
//! sets how many kills (100 on demand), `REKA_KILL_SEED` repeats their moments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::BatchBuilder;

use super::raw::{Random, answer, fetched, in_rounds, now, once_ready, rounds_of};
use crate::clients::prepare;
use crate::context::Context;
use crate::control::java::Java;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict, go, python};
use crate::target::{self, Target};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "kill-transactions",
    tiers: &[Tier::Ci],
    about: "kill -9 of broker and clients that consume, transform and produce: each record once, none torn",
    judges: Judges::Started,
    run,
};

const ROUNDS: u64 = 6;
pub(super) const WORKERS: usize = 4;
pub(super) const PARTITIONS: i32 = 4;
const TOPICS: [&str; 3] = ["in", "out", "money"];
/// Records that come in between two kills.
const RECORDS: u64 = 40;
/// A round lasts between these, in milliseconds.
const ROUND_MS: std::ops::Range<u64> = 300..2500;
/// Longer than a client may be stuck, be noticed to be, and come back into its group.
pub(super) const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(300);
const KILL_TIME_MAX: Duration = Duration::from_secs(20);
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Overdue transactions are looked for often, and groups do not wait.
pub(super) const BROKER: &[&str] = &[
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=2",
    "transaction.state.log.num.partitions=2",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=200",
];

fn run(ctx: &Context) -> Result<Verdict> {
    in_rounds(ROUNDS, |rounds, seed| {
        let clients = stock_clients(ctx)?;
        target::each_told(&ctx.reka_unless_chosen(), BROKER, |target| {
            kill_again_and_again(target, &clients, rounds, seed)
        })
    })
}

/// Makes the command line of a program that transforms; its id and the address come behind it.
pub(super) type StockClient = Box<dyn Fn() -> Command>;

/// Both versions of the protocol are spoken: the older by Java's old client and by librdkafka.
pub(super) fn stock_clients(ctx: &Context) -> Result<[StockClient; WORKERS]> {
    let sources = ctx.client_sources("java");
    let old_jars = prepare::maven(ctx, "kafka-clients", &sources.join("pom.xml"))?;
    let old = Java::with_classes_of(ctx, &old_jars, &sources.join("src"))?;
    let new = Java::with_compiled_classes(ctx)?;
    let python = python::environment(ctx)?.join("bin/python");
    let program = ctx.client_sources("python").join("transform_confluent.py");
    let franz = go::build(ctx, &["transform"])?.join("transform");
    Ok([
        Box::new(move || new.command("Transform", "WARN")),
        Box::new(move || old.command("Transform", "WARN")),
        Box::new(move || {
            let mut command = Command::new(&python);
            // The checkout is not ours to write into.
            command.env("PYTHONDONTWRITEBYTECODE", "1").arg(&program);
            command
        }),
        Box::new(move || Command::new(&franz)),
    ])
}

/// What is killed, and started again.
pub(super) struct World<'a> {
    target: &'a mut Target,
    pub(super) address: SocketAddr,
    clients: &'a [StockClient],
    pub(super) workers: Vec<Process>,
}

impl<'a> World<'a> {
    /// The topics, and every client.
    pub(super) fn start(target: &'a mut Target, clients: &'a [StockClient]) -> Result<World<'a>> {
        let mut world = World {
            address: target.address(),
            target,
            clients,
            workers: Vec::new(),
        };
        create_topics(world.address, &TOPICS)?;
        for index in 0..WORKERS {
            let worker = world.start_worker(index)?;
            world.workers.push(worker);
        }
        Ok(world)
    }

    /// `kill -9`, and a start on what it left.
    pub(super) fn restart_broker(&mut self) -> Result<()> {
        self.target.kill_and_start_again()
    }

    /// [`Target::keeps_markers`].
    pub(super) fn keeps_markers(&self) -> bool {
        self.target.keeps_markers()
    }

    /// The broker does nothing for a while, and does not know it.
    pub(super) fn pause_broker(&mut self, pause: Duration) -> Result<()> {
        self.target.pause(pause)
    }

    /// The next client of a name is there already when this one is killed: it takes over from one that
    /// still runs.
    pub(super) fn replace_worker(&mut self, index: usize, limit: Duration) -> Result<()> {
        let next = self.start_worker(index)?;
        std::mem::replace(&mut self.workers[index], next).kill(limit)
    }

    /// Kills every client and waits until what they left open is aborted: nothing is left that hides what
    /// comes behind it.
    pub(super) fn settle(&mut self) -> Result<()> {
        for worker in self.workers.drain(..) {
            worker.kill(KILL_TIME_MAX)?;
        }
        wait::until("wait for the last transactions", CATCH_UP_TIME_MAX, || {
            let settled = TOPICS.iter().map(|topic| is_settled(self.address, topic));
            let settled: Vec<bool> = settled.collect::<Result<_>>()?;
            Ok((!settled.contains(&false)).then_some(()))
        })
    }

    fn start_worker(&self, index: usize) -> Result<Process> {
        let mut command = self.clients[index]();
        command.args([format!("transform-{index}"), self.address.to_string()]);
        let log = self.target.home().join(format!("worker-{index}.log"));
        Process::start("run a transforming client", &mut command, &log, &log)
    }

    /// A client that has failed is started again, as its supervisor would.
    pub(super) fn revive(&mut self) -> Result<usize> {
        let mut revived = 0;
        for index in 0..self.workers.len() {
            if self.workers[index].expect_running().is_err() {
                self.workers[index] = self.start_worker(index)?;
                revived += 1;
            }
        }
        Ok(revived)
    }
}

fn kill_again_and_again(
    target: &mut Target,
    clients: &[StockClient],
    rounds: u64,
    seed: u64,
) -> Result<String> {
    let rounds = rounds_of(target, rounds)?;
    let mut world = World::start(target, clients)?;
    let mut random = Random::new(seed);
    let mut records = 0;
    let (mut brokers, mut killed, mut revived) = (0, 0, 0);
    feed(world.address, &mut records)?;
    wait::until("wait for the first record", CATCH_UP_TIME_MAX, || {
        world.revive()?;
        Ok((!committed(world.address, "out")?.is_empty()).then_some(()))
    })?;
    for _ in 0..rounds {
        feed(world.address, &mut records)?;
        // The moment of the kill is what is tried out here, not something that is waited for.
        std::thread::sleep(Duration::from_millis(random.within(ROUND_MS)));
        revived += world.revive()?;
        let first = if world.keeps_markers() { 0 } else { 2 };
        match random.within(first..2 + WORKERS as u64) {
            0 | 1 => {
                world.restart_broker()?;
                brokers += 1;
            }
            victim => {
                world.replace_worker(victim as usize - 2, KILL_TIME_MAX)?;
                killed += 1;
            }
        }
    }
    let wanted = records as usize;
    wait::until("wait for every record", CATCH_UP_TIME_MAX, || {
        revived += world.revive()?;
        let out = committed(world.address, "out")?;
        Ok((out.len() >= wanted).then_some(()))
    })?;
    world.settle()?;
    judge(world.address, records)?;
    Ok(format!(
        "{records} records, {brokers} kills of the broker and {killed} of clients, {revived} of which \
         failed and began again"
    ))
}

pub(super) fn judge(address: SocketAddr, records: u64) -> Result<()> {
    let refused = |step: &str, finding: String| Err(Error::refused(step, finding));
    let out = committed(address, "out")?;
    let once: BTreeSet<&String> = out.iter().collect();
    let expected: BTreeSet<String> = (0..records).map(|n| n.to_string()).collect();
    if once.len() != out.len() {
        let twice = out
            .iter()
            .filter(|value| out.iter().filter(|v| v == value).count() > 1);
        let twice: BTreeSet<&String> = twice.collect();
        return refused(
            "look for every record once",
            format!("more than once: {twice:?}"),
        );
    }
    let missing: Vec<&String> = expected.iter().filter(|n| !once.contains(n)).collect();
    if !missing.is_empty() || once.len() != expected.len() {
        return refused(
            "look for every record once",
            format!("missing: {missing:?}"),
        );
    }
    let mut sums: BTreeMap<String, (i64, usize)> = BTreeMap::new();
    for moved in committed(address, "money")? {
        let (number, amount) = moved.split_once(':').unwrap_or((&moved, "0"));
        let (sum, count) = sums.entry(number.to_owned()).or_default();
        *sum += amount.parse::<i64>().unwrap_or(i64::MAX / 4);
        *count += 1;
    }
    let torn: Vec<_> = sums.iter().filter(|(_, moved)| **moved != (0, 2)).collect();
    if !torn.is_empty() || sums.len() != expected.len() {
        let finding = format!(
            "{} of {} moved; wrong: {torn:?}",
            sums.len(),
            expected.len()
        );
        return refused("add up the money", finding);
    }
    Ok(())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Topics, as soon as they can be read: Apache Kafka answers before their partitions have leaders.
pub(super) fn create_topics(address: SocketAddr, names: &[&str]) -> Result<()> {
    let mut side = Side::new("the broker", address);
    let topics = names.iter().map(|name| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(1)
    });
    let request = CreateTopicsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(10_000);
    let created = answer(side.ask(7, &request)?, "create the topics")?;
    if let Some(topic) = created.topics.iter().find(|topic| topic.error_code != 0) {
        return Err(Error::refused(
            "create the topics",
            format!("{:?}: error {}", topic.name, topic.error_code),
        ));
    }
    names
        .iter()
        .try_for_each(|name| committed(address, name).map(drop))
}

/// More numbers to transform.
pub(super) fn feed(address: SocketAddr, records: &mut u64) -> Result<()> {
    let mut side = Side::new("the broker", address);
    for _ in 0..RECORDS {
        let partition = (*records % PARTITIONS as u64) as i32;
        send(&mut side, "in", partition, None, &records.to_string())?;
        *records += 1;
    }
    Ok(())
}

/// One record, outside any transaction.
pub(super) fn send(
    side: &mut Side,
    topic: &str,
    partition: i32,
    key: Option<&str>,
    value: &str,
) -> Result<()> {
    let mut builder = BatchBuilder::new(0);
    let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    let now_ms = now().as_millis() as i64;
    let appended = builder.append(
        0,
        now_ms,
        key.map(str::as_bytes),
        Some(value.as_bytes()),
        none,
    );
    debug_assert!(appended.is_ok());
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(builder.finish().into()));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    once_ready("send a record", || {
        let produced = answer(side.ask(9, &request)?, "send a record")?;
        let code = produced.responses[0].partition_responses[0].error_code;
        Ok((code, ()))
    })
}

/// Whether readers of committed data see as much of a topic as all others.
pub(super) fn is_settled(address: SocketAddr, topic: &str) -> Result<bool> {
    let mut side = Side::new("the broker", address);
    let mut ends = |isolation_level: i8| {
        let all = (0..PARTITIONS).map(|index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(-1)
                .with_timestamp(-1)
        });
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(all.collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation_level)
            .with_topics(vec![topic]);
        once_ready("ask for the ends", || {
            let answered = answer(side.ask(7, &request)?, "ask for the ends")?;
            let partitions = answered.topics.iter().flat_map(|topic| &topic.partitions);
            let refused = partitions.clone().find(|p| p.error_code != 0);
            let ends: Vec<i64> = partitions.map(|partition| partition.offset).collect();
            Ok((refused.map_or(0, |partition| partition.error_code), ends))
        })
    };
    Ok(ends(0)? == ends(1)?)
}

/// The values a reader of committed data makes of a topic.
pub(super) fn committed(address: SocketAddr, topic: &str) -> Result<Vec<String>> {
    let mut side = Side::new("the broker", address);
    let mut values = Vec::new();
    for partition in 0..PARTITIONS {
        read_partition(&mut side, topic, partition, &mut values)?;
    }
    Ok(values)
}

fn read_partition(
    side: &mut Side,
    topic: &str,
    partition: i32,
    values: &mut Vec<String>,
) -> Result<()> {
    let spoilt = |why: String| Error::refused("read what was fetched", why);
    let mut scratch = Vec::new();
    let mut next = 0;
    loop {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(next)
            .with_partition_max_bytes(1 << 20);
        let wanted = FetchTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_isolation_level(1)
            .with_topics(vec![wanted]);
        let data = once_ready("fetch", || {
            let mut answered = answer(side.ask(11, &request)?, "fetch")?;
            let data = answered.responses.remove(0).partitions.remove(0);
            Ok((data.error_code, data))
        })?;
        let records = data.records.unwrap_or_default();
        if records.is_empty() {
            return Ok(());
        }
        // As clients do: from its first offset on a producer's records are aborted, until its marker.
        // Apache Kafka tells of them in the order of their markers.
        let mut aborted = data.aborted_transactions.unwrap_or_default();
        aborted.sort_by_key(|txn| txn.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut skipped: BTreeSet<i64> = BTreeSet::new();
        for batch in fetched(&records)? {
            let header = *batch.header();
            while let Some(txn) = aborted.next_if(|txn| txn.first_offset <= header.last_offset()) {
                skipped.insert(txn.producer_id.0);
            }
            next = header.last_offset() + 1;
            if header.is_control() {
                skipped.remove(&header.producer_id);
                continue;
            }
            if header.is_transactional() && skipped.contains(&header.producer_id) {
                continue;
            }
            let all = batch.records(&mut scratch, RECORD_BYTES_MAX);
            for record in all.map_err(|error| spoilt(error.to_string()))? {
                let record = record.map_err(|error| spoilt(error.to_string()))?;
                let value = record.value.unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
    }
}

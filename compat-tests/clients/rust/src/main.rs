//! The crate rdkafka: named checks as `clients/README.md` says, each a line of JSON on standard output.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, Statistics};

type Outcome<T> = Result<T, String>;

const PREFIX: &str = "rdkafka-";
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const CODEC_PARTITIONS: i32 = 2;
const GROUP_PARTITIONS: i32 = 4;
const RECORDS: usize = 60;
const BEFORE: usize = 200;
const AFTER: usize = 100;
/// A machine five times slower than ours still keeps them.
const DEADLINE: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(60);

fn main() {
    let address = std::env::args().nth(1).unwrap_or_default();
    let mut checks = Checks { failed: Vec::new() };
    Client { address }.run(&mut checks);
    std::process::exit(i32::from(!checks.failed.is_empty()));
}

struct Checks {
    failed: Vec<String>,
}

impl Checks {
    fn run(&mut self, name: &str, step: impl FnOnce() -> Outcome<()>) {
        let mut line = serde_json::json!({"check": name, "ok": true});
        if let Err(why) = step() {
            eprintln!("{name}: {why}");
            let why: String = why.chars().take(600).collect();
            line = serde_json::json!({"check": name, "ok": false, "why": why});
            self.failed.push(name.to_owned());
        }
        println!("{line}");
    }

    /// One that looks for the traces of another: without them it would only tell the same finding again.
    fn run_after(&mut self, after: &str, name: &str, step: impl FnOnce() -> Outcome<()>) {
        let failed = self.failed.iter().any(|failed| failed == after);
        self.run(name, || match failed {
            true => Err(format!("not tried, as `{after}` failed")),
            false => step(),
        });
    }
}

struct Client {
    address: String,
}

/// A record as it is produced, and as it must come back: key, value, headers. `None` is null.
type Record = (Option<String>, Option<String>, Vec<(String, String)>);

fn record(codec: &str, i: usize) -> Record {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    (
        (!i.is_multiple_of(7)).then(|| format!("k{i}")),
        // Nulls are tombstones; the repetition makes it worth compressing.
        (i % 10 != 3).then(|| format!("{codec} {i} {}", "reka".repeat(50))),
        vec![
            header("n", &i.to_string()),
            header("same", "1"),
            header("same", "2"),
        ],
    )
}

/// Counts what was acknowledged, and keeps the errors of what was not.
#[derive(Default)]
struct Deliveries(Mutex<(usize, Vec<RDKafkaErrorCode>)>);

impl ClientContext for Deliveries {
    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => told.0 += 1,
            Err((error, _)) => told.1.extend(error.rdkafka_error_code()),
        }
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let end = Instant::now() + DEADLINE;
    while !condition()? {
        if Instant::now() > end {
            return Err(format!("not after {DEADLINE:?}: {what}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Outcome<()> {
    match expected == found {
        true => Ok(()),
        false => {
            let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
            Err(format!(
                "{what}: expected {expected:.300}, found {found:.300}"
            ))
        }
    }
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Outcome<T> {
    result.map_err(|error| error.to_string())
}

impl Client {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        // A topic that has just been created may not be known at once.
        config.set("topic.metadata.refresh.fast.interval.ms", "50");
        config
    }

    fn run(&self, checks: &mut Checks) {
        let admin: Outcome<AdminClient<DefaultClientContext>> = told(self.config().create());
        let Ok(admin) = admin else {
            return checks.run("create topics", || admin.map(drop));
        };
        let small = NewTopic::new("rdkafka-small", 1, TopicReplication::Fixed(1))
            .set("max.message.bytes", "1000");
        let names: Vec<(String, i32)> = CODECS
            .iter()
            .map(|codec| (format!("{PREFIX}{codec}"), CODEC_PARTITIONS))
            .chain(
                ["classic", "consumer"].map(|name| (format!("{PREFIX}{name}"), GROUP_PARTITIONS)),
            )
            .chain(["in", "out", "fenced"].map(|name| (format!("{PREFIX}{name}"), 1)))
            .collect();
        let mut topics: Vec<NewTopic<'_>> = names
            .iter()
            .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(1)))
            .collect();
        topics.push(small);
        let names: Vec<&str> = topics.iter().map(|topic| topic.name).collect();
        checks.run("create topics", || {
            let created = told(block_on(admin.create_topics(&topics, &AdminOptions::new())))?;
            for one in created {
                one.map_err(|(name, code)| format!("{name}: {code}"))?;
            }
            wait("the topics are listed", || {
                Ok(self.listed(&names)? == names.len())
            })
        });
        for codec in CODECS {
            checks.run(&format!("produce {codec}"), || self.produce_codec(codec));
            checks.run(&format!("consume {codec}"), || self.consume_codec(codec));
        }
        for protocol in ["classic", "consumer"] {
            let (group, resumes) = (
                format!("{protocol} group"),
                format!("{protocol} group resumes"),
            );
            checks.run(&group, || self.two_members(protocol));
            checks.run_after(&group, &resumes, || self.resumes(protocol));
            let describe = format!("describe {protocol} group");
            checks.run_after(&resumes, &describe, || self.describe_group(protocol));
        }
        checks.run("consume, transform, produce", || self.transform());
        checks.run("a fenced producer", || self.fenced());
        checks.run("describe topics", || self.describe(&admin));
        checks.run("unknown topic", || {
            let code = self.refusal("absent", "x")?;
            same("its error", RDKafkaErrorCode::UnknownTopicOrPartition, code)
        });
        checks.run("too large", || {
            let code = self.refusal("small", &"x".repeat(5000))?;
            same("its error", RDKafkaErrorCode::MessageSizeTooLarge, code)
        });
        checks.run("delete topics", || {
            let deleted = told(block_on(admin.delete_topics(&names, &AdminOptions::new())))?;
            for one in deleted {
                one.map_err(|(name, code)| format!("{name}: {code}"))?;
            }
            wait("the topics are gone", || Ok(self.listed(&names)? == 0))
        });
    }

    fn listed(&self, names: &[&str]) -> Outcome<usize> {
        let consumer: BaseConsumer = told(self.config().create())?;
        let metadata = told(consumer.fetch_metadata(None, ANSWER))?;
        let listed = metadata
            .topics()
            .iter()
            .filter(|topic| names.contains(&topic.name()));
        Ok(listed.count())
    }

    fn producer(&self, more: &[(&str, &str)]) -> Outcome<ThreadedProducer<Deliveries>> {
        let mut config = self.config();
        config.set("acks", "all").set("enable.idempotence", "true");
        for (name, value) in more {
            config.set(*name, *value);
        }
        told(config.create_with_context(Deliveries::default()))
    }

    fn deliver(
        &self,
        producer: &ThreadedProducer<Deliveries>,
        topic: &str,
        records: &[(i32, Record)],
    ) -> Outcome<()> {
        for (partition, (key, value, headers)) in records {
            let mut list = OwnedHeaders::new();
            for (key, value) in headers {
                list = list.insert(Header {
                    key,
                    value: Some(value),
                });
            }
            let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).headers(list);
            if *partition >= 0 {
                record = record.partition(*partition);
            }
            (record.key, record.payload) = (key.as_deref(), value.as_deref());
            told(producer.send(record).map_err(|(error, _)| error))?;
        }
        told(producer.flush(Timeout::After(ANSWER)))
    }

    fn produce(&self, topic: &str, codec: &str, records: &[(i32, Record)]) -> Outcome<()> {
        let producer = self.producer(&[("compression.type", codec)])?;
        self.deliver(&producer, topic, records)?;
        let told = producer
            .context()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        same(
            "acknowledged, refused",
            (records.len(), Vec::new()),
            (told.0, told.1.clone()),
        )
    }

    fn produce_codec(&self, codec: &str) -> Outcome<()> {
        let records: Vec<(i32, Record)> = (0..RECORDS)
            .map(|i| (i as i32 % CODEC_PARTITIONS, record(codec, i)))
            .collect();
        self.produce(&format!("{PREFIX}{codec}"), codec, &records)
    }

    /// By assignment, from the beginning.
    fn consume_codec(&self, codec: &str) -> Outcome<()> {
        let mut config = self.config();
        config
            .set("group.id", "rdkafka-reader")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = told(config.create())?;
        let mut from = TopicPartitionList::new();
        let topic = format!("{PREFIX}{codec}");
        for partition in 0..CODEC_PARTITIONS {
            told(from.add_partition_offset(&topic, partition, Offset::Beginning))?;
        }
        told(consumer.assign(&from))?;
        let mut found: BTreeMap<i32, Vec<(i64, Record)>> = BTreeMap::new();
        let mut count = 0;
        wait("every record is read", || {
            while let Some(message) = consumer.poll(Duration::from_millis(100)) {
                let message = told(message)?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let headers = message.headers().map_or_else(Vec::new, |headers| {
                    headers
                        .iter()
                        .map(|header| {
                            (
                                header.key.to_owned(),
                                text(header.value.unwrap_or_default()),
                            )
                        })
                        .collect()
                });
                let record = (
                    message.key().map(text),
                    message.payload().map(text),
                    headers,
                );
                found
                    .entry(message.partition())
                    .or_default()
                    .push((message.offset(), record));
                count += 1;
            }
            Ok(count >= RECORDS)
        })?;
        for partition in 0..CODEC_PARTITIONS {
            let mine = (partition as usize..RECORDS).step_by(CODEC_PARTITIONS as usize);
            let expected: Vec<(i64, Record)> = (0..).zip(mine.map(|i| record(codec, i))).collect();
            let found = found.remove(&partition).unwrap_or_default();
            same(&format!("partition {partition}"), expected, found)?;
        }
        Ok(())
    }

    fn to_group(&self, protocol: &str, start: usize, count: usize) -> Outcome<()> {
        let records: Vec<(i32, Record)> = (start..start + count)
            .map(|n| {
                (
                    n as i32 % GROUP_PARTITIONS,
                    (None, Some(format!("group {n}")), Vec::new()),
                )
            })
            .collect();
        self.produce(&format!("{PREFIX}{protocol}"), "none", &records)
    }

    fn member(&self, protocol: &str) -> Outcome<Member> {
        let mut config = self.config();
        config
            .set("group.id", format!("rdkafka-group-{protocol}"))
            .set("group.protocol", protocol)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        if protocol == "classic" {
            config
                .set("heartbeat.interval.ms", "300")
                .set("session.timeout.ms", "60000");
        }
        let consumer: BaseConsumer = told(config.create())?;
        told(consumer.subscribe(&[&format!("{PREFIX}{protocol}")]))?;
        Ok(Member::start(consumer))
    }

    fn two_members(&self, protocol: &str) -> Outcome<()> {
        let members = [self.member(protocol)?, self.member(protocol)?];
        let worked = (|| {
            wait("two members share the partitions", || {
                let mut all = Vec::new();
                for member in &members {
                    let state = member.state()?;
                    if state.assigned.is_empty() {
                        return Ok(false);
                    }
                    all.extend(state.assigned);
                }
                all.sort_unstable();
                Ok(all == [0, 1, 2, 3])
            })?;
            self.to_group(protocol, 0, BEFORE)?;
            wait("every record is seen", || {
                let seen: Outcome<usize> = members
                    .iter()
                    .map(|member| Ok(member.state()?.seen.len()))
                    .sum();
                Ok(seen? >= BEFORE)
            })
        })();
        // Both commit before either leaves and its partitions move.
        for member in &members {
            member.stop();
        }
        for member in &members {
            member.wait_for_commit()?;
        }
        let mut seen = Vec::new();
        for member in members {
            let own = member.leave()?;
            if own.is_empty() {
                return worked.and(Err("a member saw nothing".to_owned()));
            }
            seen.extend(own);
        }
        worked?;
        seen.sort();
        same("records seen", group_values(0, BEFORE), seen)
    }

    fn resumes(&self, protocol: &str) -> Outcome<()> {
        self.to_group(protocol, BEFORE, AFTER)?;
        let member = self.member(protocol)?;
        let worked = wait("the new records are seen", || {
            Ok(member.state()?.seen.len() >= AFTER)
        });
        member.stop();
        member.wait_for_commit()?;
        let mut seen = member.leave()?;
        worked?;
        seen.sort();
        same(
            "records seen after the restart",
            group_values(BEFORE, AFTER),
            seen,
        )
    }

    fn describe_group(&self, protocol: &str) -> Outcome<()> {
        let group = format!("rdkafka-group-{protocol}");
        let mut config = self.config();
        config.set("group.id", &group);
        let consumer: BaseConsumer = told(config.create())?;
        wait("the group is listed and empty", || {
            let listed = told(consumer.fetch_group_list(None, ANSWER))?;
            let mut own = listed.groups().iter().filter(|one| one.name() == group);
            // Groups of KIP-848 are not described by the API this list asks.
            Ok(own.any(|one| protocol == "consumer" || one.state() == "Empty"))
        })?;
        let mut asked = TopicPartitionList::new();
        let topic = format!("{PREFIX}{protocol}");
        asked.add_partition_range(&topic, 0, GROUP_PARTITIONS - 1);
        let committed = told(consumer.committed_offsets(asked, ANSWER))?;
        let each = ((BEFORE + AFTER) as i64) / i64::from(GROUP_PARTITIONS);
        let found: Vec<(i32, Offset)> = committed
            .elements()
            .iter()
            .map(|one| (one.partition(), one.offset()))
            .collect();
        let expected: Vec<(i32, Offset)> = (0..GROUP_PARTITIONS)
            .map(|partition| (partition, Offset::Offset(each)))
            .collect();
        same("committed offsets", expected, found)
    }

    fn transactional(&self, name: &str) -> Outcome<BaseProducer> {
        let mut config = self.config();
        config.set("transactional.id", format!("{PREFIX}{name}"));
        let producer: BaseProducer = told(config.create())?;
        told(producer.init_transactions(ANSWER))?;
        Ok(producer)
    }

    fn send(producer: &BaseProducer, topic: &str, value: &str) -> Outcome<()> {
        let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(0).payload(value);
        told(producer.send(record).map_err(|(error, _)| error))
    }

    /// Consumes, transforms and produces; every third transaction is taken back.
    fn transform(&self) -> Outcome<()> {
        let records: Vec<(i32, Record)> = (0..RECORDS)
            .map(|n| (0, (None, Some(n.to_string()), Vec::new())))
            .collect();
        self.produce("rdkafka-in", "none", &records)?;
        let mut config = self.config();
        config
            .set("group.id", "rdkafka-transform")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        let reader: BaseConsumer = told(config.create())?;
        told(reader.subscribe(&["rdkafka-in"]))?;
        let producer = self.transactional("transform")?;
        let (mut done, mut number) = (0, 0);
        wait("every record is transformed", || {
            let mut batch = Vec::new();
            while batch.len() < 7
                && let Some(message) = reader.poll(Duration::from_millis(200))
            {
                let message = told(message)?;
                let value =
                    String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                batch.push((message.offset(), value));
            }
            let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else {
                return Ok(false);
            };
            number += 1;
            told(producer.begin_transaction())?;
            for (_, value) in &batch {
                Self::send(&producer, "rdkafka-out", &format!("{value}!"))?;
            }
            let mut offsets = TopicPartitionList::new();
            told(offsets.add_partition_offset("rdkafka-in", 0, Offset::Offset(last + 1)))?;
            let group = reader.group_metadata().ok_or("no metadata of the group")?;
            told(producer.send_offsets_to_transaction(&offsets, &group, ANSWER))?;
            if number % 3 == 2 {
                told(producer.flush(ANSWER))?;
                told(producer.abort_transaction(ANSWER))?;
                told(reader.seek("rdkafka-in", 0, Offset::Offset(*first), ANSWER))?;
            } else {
                told(producer.commit_transaction(ANSWER))?;
                done += batch.len();
            }
            Ok(done >= RECORDS)
        })?;
        let expected: Vec<String> = (0..RECORDS).map(|n| format!("{n}!")).collect();
        same(
            "transformed records",
            expected,
            self.committed("rdkafka-out", RECORDS)?,
        )
    }

    /// What readers of committed data are given, up to the topic's end; `count` is waited for.
    fn committed(&self, topic: &str, count: usize) -> Outcome<Vec<String>> {
        let mut config = self.config();
        config
            .set("group.id", "rdkafka-committed")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true");
        let reader: BaseConsumer = told(config.create())?;
        let mut from = TopicPartitionList::new();
        told(from.add_partition_offset(topic, 0, Offset::Beginning))?;
        told(reader.assign(&from))?;
        let mut values = Vec::new();
        wait("the end of committed data", || {
            match reader.poll(Duration::from_millis(200)) {
                None => Ok(false),
                Some(Err(KafkaError::PartitionEOF(_))) => Ok(values.len() >= count),
                Some(message) => {
                    let message = told(message)?;
                    values.push(
                        String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned(),
                    );
                    Ok(false)
                }
            }
        })?;
        Ok(values)
    }

    fn fenced(&self) -> Outcome<()> {
        let first = self.transactional("fenced")?;
        told(first.begin_transaction())?;
        Self::send(&first, "rdkafka-fenced", "first")?;
        told(first.flush(ANSWER))?;
        let second = self.transactional("fenced")?;
        told(second.begin_transaction())?;
        Self::send(&second, "rdkafka-fenced", "second")?;
        let code = match first.commit_transaction(ANSWER) {
            Ok(()) => None,
            Err(error) => error.rdkafka_error_code(),
        };
        same(
            "the first producer's error",
            Some(RDKafkaErrorCode::Fenced),
            code,
        )?;
        told(second.commit_transaction(ANSWER))?;
        same(
            "records",
            vec!["second".to_owned()],
            self.committed("rdkafka-fenced", 1)?,
        )
    }

    fn describe(&self, admin: &AdminClient<DefaultClientContext>) -> Outcome<()> {
        let consumer: BaseConsumer = told(self.config().create())?;
        let metadata = told(consumer.fetch_metadata(Some("rdkafka-classic"), ANSWER))?;
        let partitions = metadata
            .topics()
            .iter()
            .map(|topic| topic.partitions().len());
        same(
            "partitions",
            vec![GROUP_PARTITIONS as usize],
            partitions.collect(),
        )?;
        let resource = [ResourceSpecifier::Topic("rdkafka-small")];
        let described = told(block_on(
            admin.describe_configs(&resource, &AdminOptions::new()),
        ))?;
        for one in described {
            let one = told(one)?;
            let value = one
                .get("max.message.bytes")
                .and_then(|entry| entry.value.clone());
            same("max.message.bytes", Some("1000".to_owned()), value)?;
        }
        Ok(())
    }

    /// The error of a record nobody takes.
    fn refusal(&self, topic: &str, value: &str) -> Outcome<RDKafkaErrorCode> {
        let producer = self.producer(&[("topic.metadata.propagation.max.ms", "1000")])?;
        let record = (-1, (None, Some(value.to_owned()), Vec::new()));
        if let Err(error) = self.deliver(&producer, &format!("{PREFIX}{topic}"), &[record]) {
            eprintln!("{topic}: {error}");
        }
        let told = producer
            .context()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        told.1
            .first()
            .copied()
            .ok_or_else(|| format!("{} acknowledged, none refused", told.0))
    }
}

fn group_values(start: usize, count: usize) -> Vec<String> {
    let mut values: Vec<String> = (start..start + count)
        .map(|n| format!("group {n}"))
        .collect();
    values.sort();
    values
}

/// A member of a group on a thread of its own: reads until told to stop, commits, and leaves when told to.
struct Member {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stopping: AtomicBool,
    leaving: AtomicBool,
}

#[derive(Clone, Default)]
struct State {
    assigned: Vec<i32>,
    seen: Vec<String>,
    committed: bool,
    error: Option<String>,
}

impl Member {
    fn start(consumer: BaseConsumer) -> Member {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let failed = own.read(&consumer).err();
            let mut state = own.state.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits for the commit learns about an error as well.
            (state.committed, state.error) = (true, failed);
            drop(state);
            let end = Instant::now() + DEADLINE;
            while !own.leaving.load(Ordering::SeqCst) && Instant::now() < end {
                thread::sleep(Duration::from_millis(20));
            }
        });
        Member { shared, thread }
    }

    fn state(&self) -> Outcome<State> {
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &state.error {
            Some(error) => Err(error.clone()),
            None => Ok(state.clone()),
        }
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
    }

    fn wait_for_commit(&self) -> Outcome<()> {
        wait("a member commits", || Ok(self.state()?.committed))
    }

    /// What it has seen.
    fn leave(self) -> Outcome<Vec<String>> {
        self.shared.leaving.store(true, Ordering::SeqCst);
        let seen = self.state()?.seen;
        self.thread.join().map_err(|_| "a member panicked")?;
        Ok(seen)
    }
}

impl Shared {
    fn read(&self, consumer: &BaseConsumer) -> Outcome<()> {
        while !self.stopping.load(Ordering::SeqCst) {
            let message = consumer.poll(Duration::from_millis(100));
            let assigned = told(consumer.assignment())?;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.assigned = assigned
                .elements()
                .iter()
                .map(|one| one.partition())
                .collect();
            if let Some(message) = message {
                let message = told(message)?;
                let value = String::from_utf8_lossy(message.payload().unwrap_or_default());
                state.seen.push(value.into_owned());
            }
        }
        told(consumer.commit_consumer_state(CommitMode::Sync))
    }
}

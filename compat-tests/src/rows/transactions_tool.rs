//! Apache Kafka's `kafka-transactions.sh`, unchanged, against a broker: an operator lists and describes
//! transactions, finds one that hangs, ends it, and terminates one whose producer is gone.
//!
//! The same steps run against Apache Kafka first: a step that fails there is a wrong step. Neither
//! verifies partitions here, so that a transaction can be made to hang.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    CreateTopicsRequest, FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest, ProducerId,
    TopicName, TransactionalId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::BatchBuilder;

use super::raw::{answer, now};
use crate::context::Context;
use crate::control::java::Java;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::files;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target;
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "transactions-tool",
    tiers: &[Tier::Ci],
    about: "kafka-transactions.sh lists, describes, finds what hangs, aborts and terminates",
    judges: Judges::Started,
    run,
};

const TOOL_TIME_MAX: Duration = Duration::from_secs(60);
const READY_TIME_MAX: Duration = Duration::from_secs(30);
const BROKER: &[&str] = &["transaction.partition.verification.enable=false"];
/// Partitions are added to the transaction on the way from this version on.
const ADDS: i16 = 12;
const HOUR_MS: i64 = 3_600_000;

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let told = target::each_told(ctx, BROKER, |target| {
        operate(&java, target.home().join("tool"), target.address())?;
        Ok("7 commands".to_owned())
    })?;
    Ok(Verdict::Passed(told))
}

struct Tool<'a> {
    java: &'a Java,
    work: PathBuf,
    address: SocketAddr,
}

impl Tool<'_> {
    /// Runs a command; the lines it prints.
    fn run(&self, name: &str, args: &[&str]) -> Result<String> {
        files::make_dir(&self.work)?;
        let address = self.address.to_string();
        let mut all = vec!["--bootstrap-server", &address];
        all.extend(args);
        let main = "org.apache.kafka.tools.TransactionsCommand";
        Ok(self
            .java
            .run(name, main, all, &self.work, TOOL_TIME_MAX)?
            .out)
    }

    /// Runs a command, one line of whose output must have all of `words`.
    fn expect(&self, name: &str, args: &[&str], words: &[&str]) -> Result<()> {
        let out = self.run(name, args)?;
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        match out.lines().any(has_all) {
            true => Ok(()),
            false => Err(Error::refused(
                format!("{name} at {}", self.address),
                format!("no line has {words:?}:\n{out}"),
            )),
        }
    }
}

fn operate(java: &Java, work: PathBuf, address: SocketAddr) -> Result<()> {
    let mut side = Side::new("a broker", address);
    create_topics(&mut side)?;
    let open = begin(&mut side, "open")?;
    let now_ms = now().as_millis() as i64;
    produce(&mut side, ADDS, "open", open, now_ms)?;
    // Nobody knows of this one but the partition, and it has been silent for long.
    let lost = begin(&mut side, "lost")?;
    produce(&mut side, ADDS - 1, "lost", lost, now_ms - HOUR_MS)?;

    let tool = Tool {
        java,
        work,
        address,
    };
    tool.expect("list", &["list"], &["open", "Ongoing"])?;
    let of_open = ["describe", "--transactional-id", "open"];
    tool.expect("describe", &of_open, &["Ongoing", "open-0"])?;
    let of_lost = ["--topic", "lost", "--partition", "0"];
    let producers = [&["describe-producers"], &of_lost[..]].concat();
    let producer = lost.0.to_string();
    tool.expect("describe-producers", &producers, &[&producer])?;
    let hanging = ["find-hanging", "--topic", "lost"];
    tool.expect("find-hanging", &hanging, &["lost", &producer])?;
    let abort = [&["abort"], &of_lost[..], &["--start-offset", "0"]].concat();
    tool.run("abort", &abort)?;
    let found = tool.run("find-hanging-again", &hanging)?;
    if found.contains(&producer) {
        let finding = format!("it is still found:\n{found}");
        return Err(Error::refused(format!("abort at {address}"), finding));
    }
    let terminate = ["forceTerminateTransaction", "--transactionalId", "open"];
    tool.run("terminate", &terminate)?;
    wait::until("wait for the terminated", READY_TIME_MAX, || {
        let told = tool.run("describe-terminated", &of_open)?;
        let ended = ["CompleteAbort", "Empty"]
            .iter()
            .any(|state| told.contains(state));
        Ok(ended.then_some(()))
    })
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn create_topics(side: &mut Side) -> Result<()> {
    let topics = ["open", "lost"].map(|name| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(1)
            .with_replication_factor(1)
    });
    let request = CreateTopicsRequest::default()
        .with_topics(topics.to_vec())
        .with_timeout_ms(10_000);
    answer(side.ask(7, &request)?, "create the topics").map(drop)
}

/// A producer with a transactional id, once the coordinator gives one.
fn begin(side: &mut Side, name: &str) -> Result<(i64, i16)> {
    wait::until("wait for a producer", READY_TIME_MAX, || {
        let find = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(name.to_owned()))
            .with_key_type(1);
        answer(side.ask(3, &find)?, "find the coordinator")?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(StrBytes::from_string(
                name.to_owned(),
            ))))
            .with_transaction_timeout_ms(600_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let begun = answer(side.ask(4, &request)?, "ask for a producer")?;
        Ok((begun.error_code == 0).then_some((begun.producer_id.0, begun.producer_epoch)))
    })
}

/// One record in a transaction, into the topic of the id's name, once somebody leads it.
fn produce(
    side: &mut Side,
    version: i16,
    name: &str,
    producer: (i64, i16),
    time_ms: i64,
) -> Result<()> {
    let mut builder = BatchBuilder::new(0)
        .producer(producer.0, producer.1, 0)
        .transactional();
    let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    let appended = builder.append(0, time_ms, None, Some(b"v"), none);
    debug_assert!(appended.is_ok());
    let data = PartitionProduceData::default().with_records(Some(builder.finish().into()));
    let topic = TopicProduceData::default()
        .with_name(topic_name(name))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_string(
            name.to_owned(),
        ))))
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    wait::until("wait for a record", READY_TIME_MAX, || {
        let produced = answer(side.ask(version, &request)?, "produce")?;
        let code = produced.responses[0].partition_responses[0].error_code;
        Ok((code == 0).then_some(()))
    })
}

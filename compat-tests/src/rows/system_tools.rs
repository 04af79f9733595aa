//! The programs Apache Kafka's own system tests are made of, unchanged, against a broker: its verifiable
//! producer and consumer, the transactional copier with aborts at random, the tester of compaction, the check
//! of clients' features, the measurements of throughput and of latency.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::kill_transactions::{committed, create_topics, is_settled};
use crate::context::Context;
use crate::control::java::{Java, Output};
use crate::error::{Error, Result};
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::{files, wait};

pub(super) const ROW: Row = Row {
    name: "system-tools",
    // Not in the commit tier: nine JVMs and a pause for compaction, on each broker.
    tiers: &[Tier::Nightly],
    about: "VerifiableProducer and -Consumer, TransactionalMessageCopier, LogCompactionTester and others",
    judges: Judges::Any,
    run,
};

const TOOL_TIME_MAX: Duration = Duration::from_secs(180);
const READY_TIME_MAX: Duration = Duration::from_secs(60);
const MESSAGES: usize = 5000;
const PERFORMED: usize = 20_000;
/// Compaction rests for a moment only.
const BROKER: &[&str] = &[
    "group.initial.rebalance.delay.ms=0",
    "log.cleaner.backoff.ms=100",
    "log.segment.bytes=1048576",
    "transaction.state.log.num.partitions=2",
];

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let told = target::each_told(ctx, BROKER, |target| Tools::new(&java, target)?.all())?;
    Ok(Verdict::Passed(told))
}

struct Tools<'a> {
    java: &'a Java,
    work: PathBuf,
    address: SocketAddr,
}

impl<'a> Tools<'a> {
    fn new(java: &'a Java, target: &Target) -> Result<Tools<'a>> {
        let work = target.home().join("tools");
        files::make_dir(&work)?;
        Ok(Tools {
            java,
            work,
            address: target.address(),
        })
    }

    fn all(&self) -> Result<String> {
        create_topics(
            self.address,
            &["verified", "copied", "measured", "performed"],
        )?;
        self.verify()?;
        self.copy()?;
        let compaction = self.compact()?;
        self.features()?;
        self.performance()?;
        let latency = self.latency()?;
        Ok(format!(
            "{MESSAGES} verified and copied, {compaction}, {PERFORMED} produced and consumed for speed, {latency}"
        ))
    }

    fn tool(&self, name: &str, main: &str, args: &[&str]) -> Result<Output> {
        let main = format!("org.apache.kafka.tools.{main}");
        self.java.run(name, &main, args, &self.work, TOOL_TIME_MAX)
    }

    /// What the producer says was acknowledged is what consumers of both protocols see.
    fn verify(&self) -> Result<()> {
        let (broker, messages) = (self.address.to_string(), MESSAGES.to_string());
        let broker = ["--bootstrap-server", broker.as_str(), "--topic", "verified"];
        let more = ["--max-messages", messages.as_str(), "--acks", "-1"];
        let produced = self.tool(
            "produce",
            "VerifiableProducer",
            &[&broker[..], &more].concat(),
        )?;
        let events = events("VerifiableProducer", &produced.out)?;
        let acked = events
            .iter()
            .filter(|event| event["name"] == "producer_send_success");
        expect("count what was acknowledged", acked.count(), MESSAGES)?;
        let values = committed(self.address, "verified")?;
        expect("count what was written", values.len(), MESSAGES)?;
        for protocol in ["classic", "consumer"] {
            let more = ["--max-messages", messages.as_str(), "--group-id", protocol];
            let group = ["--group-protocol", protocol, "--verbose"];
            let name = format!("consume-{protocol}");
            let consumed = self.tool(
                &name,
                "VerifiableConsumer",
                &[&broker[..], &more, &group].concat(),
            )?;
            let events = self::events(&name, &consumed.out)?;
            let mut seen: Vec<&str> = events
                .iter()
                .filter(|event| event["name"] == "record_data")
                .filter_map(|event| event["value"].as_str())
                .collect();
            seen.sort_unstable();
            let mut written: Vec<&str> = values.iter().map(String::as_str).collect();
            written.sort_unstable();
            if seen != written {
                let finding = format!("{} records of {} seen", seen.len(), written.len());
                return Err(Error::refused(format!("compare what {name} saw"), finding));
            }
            if !events
                .iter()
                .any(|event| event["name"] == "offsets_committed" && event["success"] == true)
            {
                return Err(Error::refused(name, "it committed nothing"));
            }
        }
        Ok(())
    }

    /// All of a partition, in transactions of which some are taken back at random.
    fn copy(&self) -> Result<()> {
        let before = committed(self.address, "verified")?;
        let broker = self.address.to_string();
        let args = [
            "--broker-list",
            broker.as_str(),
            "--input-topic",
            "verified",
            "--input-partition",
            "0",
            "--output-topic",
            "copied",
            "--transactional-id",
            "copier",
            "--consumer-group",
            "copiers",
            "--transaction-size",
            "50",
            "--enable-random-aborts",
            "--use-group-metadata",
            "--group-mode",
        ];
        self.tool("copy", "TransactionalMessageCopier", &args)?;
        wait::until("wait for the last transaction", READY_TIME_MAX, || {
            Ok(is_settled(self.address, "copied")?.then_some(()))
        })?;
        let mut after = committed(self.address, "copied")?;
        let mut before = before;
        before.sort_unstable();
        after.sort_unstable();
        if before != after {
            let finding = format!("{} of {} are there", after.len(), before.len());
            return Err(Error::refused(
                "look for every message copied once",
                finding,
            ));
        }
        Ok(())
    }

    /// It exits with another status than 0 where the newest values of its keys are not all there is.
    fn compact(&self) -> Result<String> {
        let broker = self.address.to_string();
        let args = [
            "--bootstrap-server",
            broker.as_str(),
            "--messages",
            "100000",
            "--duplicates",
            "5",
            "--percent-deletes",
            "10",
            "--sleep",
            "20",
        ];
        let tested = self.tool("compact", "LogCompactionTester", &args)?;
        // "… rows of data consumed (79.9% reduction)."
        let reduced = tested.out.lines().find_map(|line| {
            let (rest, _) = line.split_once("% reduction")?;
            rest.rsplit_once('(')?.1.parse::<f64>().ok()
        });
        match reduced {
            Some(percent) if percent > 0.0 => Ok(format!("compacted by {percent} %")),
            _ => Err(Error::refused(
                "test compaction",
                format!("it said {:?}", tested.out),
            )),
        }
    }

    fn features(&self) -> Result<()> {
        let broker = self.address.to_string();
        let mut args = vec![
            "--bootstrap-server",
            broker.as_str(),
            "--topic",
            "features",
            "--num-cluster-nodes",
            "1",
            "--expect-record-too-large-exception",
            "false",
        ];
        for feature in [
            "--offsets-for-times-supported",
            "--cluster-id-supported",
            "--create-topics-supported",
            "--describe-acls-supported",
            "--describe-configs-supported",
            "--idempotent-producer-supported",
        ] {
            args.extend([feature, "true"]);
        }
        let tested = self.tool("features", "ClientCompatibilityTest", &args)?;
        match tested.out.contains("SUCCESS") {
            true => Ok(()),
            false => Err(Error::refused(
                "test what clients may do",
                format!("it said {:?}", tested.out),
            )),
        }
    }

    /// What the one writes as fast as it can the other reads so, all of it.
    fn performance(&self) -> Result<()> {
        let (broker, records) = (self.address.to_string(), PERFORMED.to_string());
        let topic = [
            "--bootstrap-server",
            broker.as_str(),
            "--topic",
            "performed",
            "--num-records",
            records.as_str(),
        ];
        let more = ["--record-size", "200", "--throughput", "-1"];
        let more = [&more[..], &["--command-property", "acks=all"]].concat();
        let args = [&topic[..], &more].concat();
        let produced = self.tool("perf-produce", "ProducerPerformance", &args)?;
        let told = produced.out.lines().last().unwrap_or_default();
        if !told.starts_with(&format!("{PERFORMED} records sent, ")) {
            let finding = format!("it said {:?}", produced.out);
            return Err(Error::refused("produce for speed", finding));
        }
        let args = [&topic[..], &["--timeout", "60000"]].concat();
        let consumed = self.tool("perf-consume", "ConsumerPerformance", &args)?;
        // "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, …" and the numbers.
        let numbers = consumed.out.lines().last().unwrap_or_default();
        let count = numbers
            .split(", ")
            .nth(4)
            .and_then(|count| count.parse().ok());
        match count {
            Some(PERFORMED) => Ok(()),
            _ => Err(Error::refused(
                "consume for speed",
                format!("expected {PERFORMED} records, it said {:?}", consumed.out),
            )),
        }
    }

    fn latency(&self) -> Result<String> {
        let broker = self.address.to_string();
        let args = [
            "--bootstrap-server",
            broker.as_str(),
            "--topic",
            "measured",
            "--num-records",
            "1000",
            "--producer-acks",
            "all",
            "--record-size",
            "100",
        ];
        let measured = self.tool("latency", "EndToEndLatency", &args)?;
        let line = measured.out.lines().find(|line| line.contains("50th"));
        line.map(|line| line.trim().to_owned())
            .ok_or_else(|| Error::refused("measure latency", format!("it said {:?}", measured.out)))
    }
}

fn events(step: &str, printed: &str) -> Result<Vec<Value>> {
    let event = |line: &str| {
        serde_json::from_str(line).map_err(|error| {
            Error::refused(format!("read what {step} said"), format!("{error}: {line}"))
        })
    };
    printed.lines().map(event).collect()
}

fn expect(step: &str, found: usize, expected: usize) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::refused(
            step,
            format!("expected {expected}, found {found}"),
        )),
    }
}

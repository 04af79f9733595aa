//! Apache Kafka's own command line tools, unchanged, against a broker: topics are created, listed and
//! deleted, records go in through the performance tool and the console producer and come out of the
//! console consumer, offsets add up; and all of it is there after a clean stop and after a kill.
//!
//! The same steps run against Apache Kafka first: a step that fails there is a wrong step.

use std::net::SocketAddr;
use std::time::Duration;

use crate::context::Context;
use crate::control::java::{Java, Output};
use crate::error::{Error, Result};
use crate::files;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Against};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "kafka-tools",
    tiers: &[Tier::Ci],
    about: "Apache Kafka's own tools create topics, produce and consume, across a stop and a kill",
    judges: Judges::Any,
    run,
};

const TOOL_TIME_MAX: Duration = Duration::from_secs(60);
const RECORDS: usize = 20_000;
const PARTITIONS: usize = 3;

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let kafka_chosen = ctx.against() == Against::Kafka;
    let told = target::each_told(ctx, &[], |target| {
        let tools = Tools {
            java: &java,
            work: ctx.work().join(format!("against-{}", target.name())),
            address: target.address(),
        };
        tools.write_and_read()?;
        let mut ends = "no end of the broker";
        if target.comes_back_soon() || kafka_chosen {
            target.stop()?;
            target.start()?;
            tools.check_what_was_written("after-a-stop")?;
            target.kill_and_start_again()?;
            tools.check_what_was_written("after-a-kill")?;
            ends = "a stop and a kill";
        }
        tools.delete()?;
        Ok(format!(
            "{RECORDS} records in {PARTITIONS} partitions, {ends}"
        ))
    })?;
    Ok(Verdict::Passed(told))
}

struct Tools<'a> {
    java: &'a Java,
    work: std::path::PathBuf,
    address: SocketAddr,
}

impl Tools<'_> {
    fn tool(&self, name: &str, main: &str, args: &[&str]) -> Result<Output> {
        files::make_dir(&self.work)?;
        let address = self.address.to_string();
        let mut all = vec!["--bootstrap-server", &address];
        all.extend(args);
        let main = format!("org.apache.kafka.tools.{main}");
        self.java.run(name, &main, all, &self.work, TOOL_TIME_MAX)
    }

    fn write_and_read(&self) -> Result<()> {
        let partitions = PARTITIONS.to_string();
        let create = [
            "--create",
            "--topic",
            "perf",
            "--partitions",
            &partitions,
            "--replication-factor",
            "1",
        ];
        self.tool("create", "TopicCommand", &create)?;
        let again = self.tool("create-again", "TopicCommand", &create);
        if again.is_ok() {
            return Err(Error::refused(
                "create a topic twice",
                "the second time succeeded",
            ));
        }
        self.tool(
            "create-lines",
            "TopicCommand",
            &["--create", "--topic", "lines"],
        )?;
        let records = RECORDS.to_string();
        self.tool(
            "produce",
            "ProducerPerformance",
            &[
                "--topic",
                "perf",
                "--num-records",
                &records,
                "--record-size",
                "200",
                "--throughput",
                "-1",
                "--command-property",
                "acks=all",
                "compression.type=lz4",
            ],
        )?;
        self.check_what_was_written("first")
    }

    /// Names of topics, sums of offsets, and records one by one.
    fn check_what_was_written(&self, when: &str) -> Result<()> {
        let step = |what: &str| format!("{what} {when}, {}", self.address);
        let topics = self.tool(&format!("list-{when}"), "TopicCommand", &["--list"])?;
        for topic in ["perf", "lines"] {
            expect(&step("list topics"), &topics.out, |line| line == topic)?;
        }
        let offsets = self.tool(
            &format!("offsets-{when}"),
            "GetOffsetShell",
            &["--topic", "perf"],
        )?;
        let ends: Vec<usize> = offsets
            .out
            .lines()
            .filter_map(|line| line.strip_prefix("perf:")?.split_once(':')?.1.parse().ok())
            .collect();
        if ends.len() != PARTITIONS || ends.iter().sum::<usize>() != RECORDS {
            let finding = format!("{RECORDS} records were written, the ends are {ends:?}");
            return Err(Error::refused(step("sum up the offsets"), finding));
        }
        for (partition, end) in ends.iter().enumerate() {
            let (partition, end) = (partition.to_string(), end.to_string());
            let read = self.tool(
                &format!("consume-{partition}-{when}"),
                "consumer.ConsoleConsumer",
                &[
                    "--topic",
                    "perf",
                    "--partition",
                    &partition,
                    "--offset",
                    "earliest",
                    "--max-messages",
                    &end,
                    "--timeout-ms",
                    "15000",
                    "--formatter-property",
                    "print.offset=true",
                    "--formatter-property",
                    "print.value=false",
                ],
            )?;
            let offsets: Vec<&str> = read.out.lines().collect();
            let expected =
                (0..end.parse().unwrap_or(0)).map(|offset: usize| format!("Offset:{offset}"));
            if !expected.eq(offsets.iter().map(|line| (*line).to_owned())) {
                let finding = format!(
                    "partition {partition}: {} lines, {end} offsets",
                    offsets.len()
                );
                return Err(Error::refused(
                    step("consume every record in order"),
                    finding,
                ));
            }
        }
        Ok(())
    }

    fn delete(&self) -> Result<()> {
        for topic in ["perf", "lines"] {
            self.tool("delete", "TopicCommand", &["--delete", "--topic", topic])?;
        }
        // Apache Kafka's brokers learn of it a moment after it is acknowledged.
        wait::until("delete topics", TOOL_TIME_MAX, || {
            let left = self.tool("list-after-delete", "TopicCommand", &["--list"])?;
            let gone = !left
                .out
                .lines()
                .any(|line| line == "perf" || line == "lines");
            Ok(gone.then_some(()))
        })
    }
}

fn expect(step: &str, text: &str, line: impl Fn(&str) -> bool) -> Result<()> {
    if text.lines().any(line) {
        return Ok(());
    }
    Err(Error::refused(step, format!("not among:\n{text}")))
}

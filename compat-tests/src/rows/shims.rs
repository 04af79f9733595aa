//! `rkctl` called by the names of Apache Kafka's shell tools, beside the tools themselves: the same
//! commands, each side with topics of its own, have to print the same lines and end alike.
//!
//! Said to Reka, and on demand to Apache Kafka.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::reka::Reka;
use crate::rows::{Row, Tier, Verdict};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "shims",
    tiers: &[Tier::Ci],
    about: "rkctl as kafka-topics.sh and kafka-get-offsets.sh prints what the tools print",
    run,
};

const TOOL_TIME_MAX: Duration = Duration::from_secs(60);
const BUILD_TIME_MAX: Duration = Duration::from_secs(1800);
/// Apache Kafka's brokers learn of a change a moment after it is acknowledged.
const VISIBLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Commands; `@` stands for what the names of a side's topics begin with.
const SCRIPT: &[&str] = &[
    "kafka-topics --create --topic @one --partitions 2 --config retention.ms=1000 --config cleanup.policy=compact",
    "kafka-topics --create --topic @two",
    "kafka-topics --create --topic @two --if-not-exists",
    "kafka-topics --create --topic @three --replica-assignment 1,1",
    "kafka-topics --list --topic @.*",
    "kafka-topics --list --topic @none",
    "kafka-topics --describe --topic @.*",
    "kafka-topics --describe --topic @none",
    "kafka-topics --describe --topic @none --if-exists",
    "kafka-topics --describe --topic @.* --topics-with-overrides",
    "kafka-topics --describe --topic @.* --under-replicated-partitions",
    "kafka-topics --describe --topic @.* --at-min-isr-partitions",
    "kafka-topics --alter --topic @two --partitions 3",
    "kafka-topics --describe --topic @two",
    "kafka-topics --alter --topic @none --partitions 3",
    "kafka-topics --create --topic @four --partitions 0",
    "kafka-topics --create --topic @four --partitions x",
    "kafka-get-offsets --topic @.*",
    "kafka-get-offsets --topic @.* --partitions 1 --time -2",
    "kafka-get-offsets --topic-partitions @one:0-1,@two:2 --time earliest",
    "kafka-get-offsets --topic @one --time 5",
    "kafka-get-offsets --topic @none",
    "kafka-topics --delete --topic @none",
    "kafka-topics --delete --topic @t.*",
    "kafka-topics --list --topic @.*",
];

/// The same commands, said to Apache Kafka: a JVM starts for each, so this is not for every commit.
pub(super) const AGAINST_KAFKA: Row = Row {
    name: "shims-kafka",
    tiers: &[],
    about: "the same commands as shims, said to Apache Kafka",
    run: run_against_kafka,
};

fn run_against_kafka(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let shims = shims(ctx)?;
    let control = Kafka::start(&java, &ctx.work().join("kafka"), &[])?;
    compare(ctx, &java, &shims, control.address())?;
    control.stop()?;
    Ok(Verdict::Passed(format!("{} commands", SCRIPT.len())))
}

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let shims = shims(ctx)?;
    let server = Reka::build(ctx)?;
    let reka = Reka::start(&server, &ctx.work().join("reka"))?;
    compare(ctx, &java, &shims, reka.address())?;
    reka.stop()?;
    Ok(Verdict::Passed(format!("{} commands", SCRIPT.len())))
}

/// Builds `rkctl` and lets it make its links.
fn shims(ctx: &Context) -> Result<PathBuf> {
    let log = ctx.work().join("build.log");
    let mut cargo = Command::new("cargo");
    let dir = ctx.work().join("shims");
    cargo
        .current_dir(ctx.checkout())
        .args(["run", "--locked", "--quiet", "--package", "rkctl", "--"])
        .arg("shims")
        .arg(&dir);
    Process::start("make the links", &mut cargo, &log, &log)?.finish(BUILD_TIME_MAX)?;
    Ok(dir)
}

/// What a command said, without the names that differ and without what no two runs share.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    out: String,
    code: Option<i32>,
}

fn said(out: &str, err: &str, code: Option<i32>, prefix: &str) -> Said {
    let mut lines = Vec::new();
    // One tool tells its errors on standard error; what else is there is Java's.
    let told = err
        .lines()
        .filter(|line| line.starts_with("Error occurred: "));
    for line in out.lines().chain(told) {
        // Stack traces are not copied, nor what a log line says of the same error again.
        let trace = line.starts_with("\tat ")
            || line.contains("] ERROR ")
            || line.starts_with("Caused by: ");
        if trace || line.starts_with(" (org.apache.kafka") {
            continue;
        }
        let line = match line.split_once("TopicId: ") {
            Some((before, after)) => {
                format!("{before}TopicId: ID{}", after.get(22..).unwrap_or_default())
            }
            None => line.to_owned(),
        };
        lines.push(line.trim_end_matches('.').replace(prefix, "@"));
    }
    Said {
        out: lines.join("\n"),
        code,
    }
}

fn compare(ctx: &Context, java: &Java, shims: &Path, address: SocketAddr) -> Result<()> {
    let work = ctx.work().join(format!("tools-{}", address.port()));
    files::make_dir(&work)?;
    let server = address.to_string();
    for command in SCRIPT {
        let (tool, args) = command.split_once(' ').unwrap_or((command, ""));
        let of = |prefix: &str| -> Vec<String> {
            let args = args.replace('@', prefix);
            let args = args.split(' ').map(str::to_owned);
            ["--bootstrap-server".to_owned(), server.clone()]
                .into_iter()
                .chain(args)
                .collect()
        };
        let main = match tool {
            "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
            _ => "org.apache.kafka.tools.GetOffsetShell",
        };
        let shim = || -> Result<Said> {
            let output = Command::new(shims.join(format!("{tool}.sh")))
                .args(of("s-"))
                .output()
                .map_err(Error::io(format!("run {tool}.sh")))?;
            let out = String::from_utf8_lossy(&output.stdout);
            let err = String::from_utf8_lossy(&output.stderr);
            Ok(said(&out, &err, output.status.code(), "s-"))
        };
        let tool_said = || -> Result<Said> {
            let output = java.capture(command, main, of("j-"), &work, TOOL_TIME_MAX)?;
            Ok(said(&output.out, &output.err, output.status.code(), "j-"))
        };
        let changes = ["--create", "--alter", "--delete"]
            .iter()
            .any(|word| command.contains(word));
        let (theirs, ours) = (tool_said()?, shim()?);
        if theirs == ours {
            continue;
        }
        let differ = |theirs: &Said, ours: &Said| {
            Error::refused(
                format!("compare {command} at {server}"),
                format!("the tool said {theirs:?}, ours said {ours:?}"),
            )
        };
        if changes {
            return Err(differ(&theirs, &ours));
        }
        let settled = wait::until(command, VISIBLE_TIME_MAX, || {
            Ok((tool_said()? == shim()?).then_some(()))
        });
        settled.map_err(|_| differ(&theirs, &ours))?;
    }
    Ok(())
}

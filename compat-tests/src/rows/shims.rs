//! `rkctl` called by the names of Apache Kafka's shell tools, beside the tools themselves: the same
//! commands, each side with topics of its own, have to print the same lines and end alike.
//!
//! Said to Reka, and on demand to Apache Kafka.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::context::Context;
use crate::control::java::Java;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Against};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "shims",
    tiers: &[Tier::Ci],
    about: "rkctl as kafka-topics.sh and kafka-get-offsets.sh prints what the tools print",
    judges: Judges::Any,
    run: |ctx| run(ctx, &[TOPICS]),
};

/// A JVM starts for each command, so this is not for every commit.
pub(super) const ALL: Row = Row {
    name: "shims-all",
    tiers: &[Tier::Nightly],
    about: "rkctl as Apache Kafka's thirteen shell tools prints what the tools print",
    judges: Judges::Any,
    run: |ctx| run(ctx, &[TOPICS, OTHERS]),
};

/// A tool that is killed for being late has said something else.
const TOOL_TIME_MAX: Duration = Duration::from_secs(180);
const BUILD_TIME_MAX: Duration = Duration::from_secs(1800);
/// Apache Kafka's brokers learn of a change a moment after it is acknowledged.
const VISIBLE_TIME_MAX: Duration = Duration::from_secs(10);

/// Commands; `@` stands for what the names of a side's topics, groups and files begin with. What is
/// behind `<` is standard input.
const TOPICS: &[&str] = &[
    "kafka-topics --create --topic @one --partitions 2 --config retention.ms=1000 --config cleanup.policy=compact",
    "kafka-topics --create --topic @two",
    "kafka-topics --create --topic @two --if-not-exists",
    "kafka-topics --create --topic @three --replica-assignment 1,1",
    "kafka-topics --create --topic @in --partitions 1",
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
];

/// What comes behind them.
const OTHERS: &[&str] = &[
    // records in and out; partition 0 is named where the order of partitions would show
    "kafka-console-producer --topic @in < a\\nb\\nc\\n",
    "kafka-console-producer --topic @in --sync --compression-codec zstd --reader-property parse.key=true --reader-property key.separator=: < k:v\\nn:w\\n",
    "kafka-console-producer --topic @in --reader-property parse.key=true --reader-property null.marker=NULL --reader-property parse.headers=true < h:1,i:2\\tk\\tNULL\\n",
    "kafka-console-consumer --topic @in --from-beginning --max-messages 6",
    "kafka-console-consumer --topic @in --partition 0 --offset 3 --max-messages 3 --formatter-property print.key=true --formatter-property print.partition=true --formatter-property print.offset=true --formatter-property print.headers=true --formatter-property null.literal=NIL",
    "kafka-console-consumer --include @i.* --from-beginning --timeout-ms 25000 --isolation-level read_committed",
    "kafka-console-consumer --topic @in --from-beginning --group @group --max-messages 2",
    // groups
    "kafka-consumer-groups --describe --group @group",
    "kafka-consumer-groups --describe --group @group --verbose",
    "kafka-consumer-groups --describe --group @group --state",
    "kafka-consumer-groups --describe --group @group --state --verbose",
    "kafka-consumer-groups --describe --group @group --members",
    "kafka-consumer-groups --describe --group @group --members --verbose",
    "kafka-consumer-groups --describe --group @nope",
    "kafka-consumer-groups --list --state nonsense",
    "kafka-consumer-groups --reset-offsets --group @group --topic @in --to-earliest",
    "kafka-consumer-groups --reset-offsets --group @group --topic @in --to-earliest --execute",
    "kafka-consumer-groups --reset-offsets --group @group --topic @in:0 --shift-by 4 --execute",
    "kafka-consumer-groups --reset-offsets --group @group --all-topics --to-offset 99 --export --dry-run",
    "kafka-consumer-groups --reset-offsets --group @group --topic @in --to-datetime 2020-01-01T00:00:00.000 --dry-run",
    "kafka-consumer-groups --reset-offsets --group @group --topic @in --to-latest --dry-run",
    "kafka-consumer-groups --reset-offsets --group @group --topic @in --to-current --dry-run",
    "kafka-consumer-groups --reset-offsets --group @group --topic @in --by-duration PT1H --dry-run",
    "kafka-consumer-groups --reset-offsets --group @group --all-topics --from-file @reset.csv --dry-run",
    "kafka-consumer-groups --describe --group @group",
    "kafka-consumer-groups --delete-offsets --group @group --topic @in:0",
    "kafka-consumer-groups --delete --group @nope",
    // configurations
    "kafka-configs --describe --entity-type topics --entity-name @one",
    "kafka-configs --alter --entity-type topics --entity-name @one --add-config retention.ms=2000,cleanup.policy=[compact,delete]",
    "kafka-configs --describe --topic @one",
    "kafka-configs --alter --topic @one --delete-config retention.ms",
    "kafka-configs --alter --topic @one --add-config nonsense=1",
    "kafka-configs --alter --topic @one --add-config retention.ms",
    "kafka-configs --describe --topic @none",
    "kafka-configs --alter --entity-type users --entity-name @alice --add-config producer_byte_rate=1024,consumer_byte_rate=2048",
    "kafka-configs --describe --entity-type users --entity-name @alice",
    "kafka-configs --alter --entity-type users --entity-name @alice --entity-type clients --entity-default --add-config request_percentage=50",
    "kafka-configs --describe --entity-type users --entity-name @alice --entity-type clients",
    "kafka-configs --alter --entity-type users --entity-name @alice --delete-config producer_byte_rate",
    "kafka-configs --describe --entity-type users --entity-name @alice",
    // deleting records, electing leaders, moving partitions
    "kafka-delete-records --offset-json-file @delete.json",
    "kafka-delete-records --offset-json-file @twice.json",
    "kafka-delete-records --offset-json-file @broken.json",
    "kafka-leader-election --election-type preferred --topic @in --partition 0",
    "kafka-leader-election --election-type preferred --topic @in --partition 9",
    "kafka-leader-election --election-type unclean --path-to-json-file @elect.json",
    "kafka-leader-election --election-type preferred",
    "kafka-reassign-partitions --generate --topics-to-move-json-file @topics.json --broker-list 1",
    "kafka-reassign-partitions --execute --reassignment-json-file @plan.json",
    "kafka-reassign-partitions --verify --reassignment-json-file @plan.json",
    "kafka-reassign-partitions --cancel --reassignment-json-file @plan.json",
    "kafka-reassign-partitions --list",
    // transactions, quorum, directories, versions
    "kafka-transactions list",
    "kafka-transactions describe --transactional-id @none",
    "kafka-transactions describe-producers --topic @two --partition 0",
    "kafka-transactions find-hanging --topic @in",
    "kafka-transactions find-hanging",
    "kafka-transactions abort --topic @in --partition 0 --start-offset 3",
    "kafka-metadata-quorum describe --status",
    "kafka-metadata-quorum describe --replication",
    "kafka-log-dirs --describe --topic-list @in",
    "kafka-log-dirs --describe --broker-list 9",
    "kafka-broker-api-versions",
    "kafka-topics --delete --topic @none",
    "kafka-topics --delete --topic @t.*",
    "kafka-topics --delete --topic @in",
    "kafka-topics --list --topic @.*",
];

/// Files the commands read, by what is behind a side's names.
const FILES: &[(&str, &str)] = &[
    ("reset.csv", "@in,0,2\n"),
    (
        "delete.json",
        r#"{"partitions":[{"topic":"@in","partition":0,"offset":1}],"version":1}"#,
    ),
    (
        "twice.json",
        r#"{"partitions":[{"topic":"@in","partition":0,"offset":1},{"topic":"@in","partition":0,"offset":2}]}"#,
    ),
    ("broken.json", r#"{"partitions":[{"#),
    (
        "elect.json",
        r#"{"partitions":[{"topic":"@one","partition":0},{"topic":"@one","partition":1}]}"#,
    ),
    (
        "topics.json",
        r#"{"topics":[{"topic":"@one"}],"version":1}"#,
    ),
    (
        "plan.json",
        r#"{"version":1,"partitions":[{"topic":"@one","partition":0,"replicas":[1]},{"topic":"@one","partition":1,"replicas":[1]}]}"#,
    ),
];

/// The same commands, said to Apache Kafka.
pub(super) const AGAINST_KAFKA: Row = Row {
    name: "shims-kafka",
    tiers: &[],
    about: "the same commands as shims-all, said to Apache Kafka",
    judges: Judges::Kafka,
    run: run_against_kafka,
};

fn run_against_kafka(ctx: &Context) -> Result<Verdict> {
    let ctx = ctx.clone().against_those(Some(Against::Kafka));
    run(&ctx, &[TOPICS, OTHERS])
}

fn run(ctx: &Context, scripts: &[&[&str]]) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let shims = shims(ctx)?;
    let told = target::each_told(&ctx.reka_unless_chosen(), &[], |target| {
        let compared = compare(
            ctx,
            &java,
            &shims,
            (target.name(), target.address()),
            scripts,
        )?;
        let said = |known: &&Differ| scripts.iter().any(|script| script.contains(&known.command));
        let here = |known: &&Differ| known.on.is_none_or(|on| on == target.name());
        let known: BTreeSet<&str> = DIFFER
            .iter()
            .filter(said)
            .filter(here)
            .map(|known| known.why)
            .collect();
        let known: Vec<&str> = known.into_iter().collect();
        Ok(match known.is_empty() {
            true => format!("{compared} commands"),
            false => format!(
                "{compared} commands, some of which may differ: {}",
                known.join("; ")
            ),
        })
    })?;
    Ok(Verdict::Passed(told))
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
    out: Vec<String>,
    code: Option<i32>,
}

fn said(out: &str, err: &str, code: Option<i32>, prefix: &str) -> Said {
    let mut lines: Vec<String> = out.lines().map(|line| comparable(line, prefix)).collect();
    // What a failure is told with: the rest of standard error is Java's own, or the list of options.
    if code != Some(0) {
        let told = err.lines().find(|line| !is_of_java(line));
        lines.extend(told.map(|line| comparable(line, prefix)));
    }
    lines.retain(|line| !is_of_java(line));
    Said { out: lines, code }
}

/// A line that ends with a list of partitions, with that in order.
fn partitions_sorted(line: &str) -> String {
    match line.rsplit_once("partitions ") {
        Some((before, listed)) => {
            let mut listed: Vec<&str> = listed.split(", ").collect();
            listed.sort_unstable();
            format!("{before}partitions {}", listed.join(", "))
        }
        None => line.to_owned(),
    }
}

/// Stack traces, and what a log line says of the same error again.
fn is_of_java(line: &str) -> bool {
    line.starts_with("\tat ")
        || line.starts_with("\t... ")
        || line.starts_with("Caused by: ")
        || line.starts_with(" (org.apache.kafka")
        || line.starts_with("org.apache.kafka.")
        || line.contains("] ERROR ")
        || line.contains("] WARN ")
        || line.starts_with("Option ")
        // What the tools advise while they do as they were told.
        || line.starts_with("WARN: ")
}

/// A line without what no two runs share, and without a final stop.
fn comparable(line: &str, prefix: &str) -> String {
    let line = match line.split_once("TopicId: ") {
        Some((before, after)) => {
            format!("{before}TopicId: ID{}", after.get(22..).unwrap_or_default())
        }
        None => line.to_owned(),
    };
    // Each client makes batches of its own size.
    let line = match line.split_once("\"size\":") {
        Some((before, after)) => {
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}\"size\":...{after}")
        }
        None => line,
    };
    // The metadata log goes on while the tools look at it.
    let moving = ["HighWatermark: ", "LeaderEpoch: ", "MaxFollowerLag"];
    if let Some(name) = moving.iter().find(|name| line.starts_with(**name)) {
        return format!("{name}...");
    }
    if line.ends_with("\tLeader\t") {
        return "the leader's row".to_owned();
    }
    if line.starts_with("Error while executing config command with args") {
        return "Error while executing config command".to_owned();
    }
    line.trim_end_matches('.').replace(prefix, "@")
}

/// How many commands were said, if all ended alike.
fn compare(
    ctx: &Context,
    java: &Java,
    shims: &Path,
    (broker, address): (&str, SocketAddr),
    scripts: &[&[&str]],
) -> Result<usize> {
    let work = ctx.work().join(format!("tools-{}", address.port()));
    files::make_dir(&work)?;
    let server = address.to_string();
    for prefix in PREFIXES {
        for (name, text) in FILES {
            let path = work.join(format!("{prefix}{name}"));
            files::write(&path, text.replace('@', prefix))?;
        }
    }
    let mut differences = Vec::new();
    let script = scripts.concat();
    for command in &script {
        let (command, input) = command.split_once(" < ").unwrap_or((command, ""));
        let input = input.replace("\\n", "\n").replace("\\t", "\t");
        let (tool, args) = command.split_once(' ').unwrap_or((command, ""));
        let of = |prefix: &str| -> Vec<String> {
            let args = args.replace('@', prefix);
            let args = args.split(' ').filter(|arg| !arg.is_empty());
            ["--bootstrap-server".to_owned(), server.clone()]
                .into_iter()
                .chain(args.map(str::to_owned))
                .collect()
        };
        let Some((_, main)) = MAINS.iter().find(|(name, _)| *name == tool) else {
            return Err(Error::refused(command, "no tool has this name"));
        };
        let run = |mut process: Command, prefix: &str| -> Result<Said> {
            let output = fed(process.args(of(prefix)).current_dir(&work), &input)
                .map_err(Error::io(format!("run {tool}")))?;
            let out = String::from_utf8_lossy(&output.stdout);
            let err = String::from_utf8_lossy(&output.stderr);
            let mut said = said(&out, &err, output.status.code(), prefix);
            // The tools print several topics in the order of a hash map.
            if command.contains("--describe --topic @.*") {
                said.out.sort();
            }
            // And several partitions in that of another.
            if command.contains("kafka-leader-election") {
                said.out = said
                    .out
                    .iter()
                    .map(|line| partitions_sorted(line))
                    .collect();
            }
            Ok(said)
        };
        let shim = || run(Command::new(shims.join(format!("{tool}.sh"))), OURS);
        let tool_said = || run(java.command(main, "WARN"), THEIRS);
        let changes = CHANGES.iter().any(|word| command.contains(word));
        let (theirs, ours) = (tool_said()?, shim()?);
        if theirs == ours {
            continue;
        }
        let mut last = (theirs, ours);
        if !changes {
            let settled = wait::until(command, VISIBLE_TIME_MAX, || {
                last = (tool_said()?, shim()?);
                Ok((last.0 == last.1).then_some(()))
            });
            if settled.is_ok() {
                continue;
            }
        }
        let known = DIFFER.iter().find(|known| known.command == command);
        if known.is_some_and(|known| known.on.is_none_or(|on| on == broker)) {
            continue;
        }
        differences.push(format!(
            "{command}: the tool said {:?}, ours said {:?}",
            last.0, last.1
        ));
    }
    match differences.is_empty() {
        true => Ok(script.len()),
        false => Err(Error::refused(
            format!("compare {} commands at {server}", script.len()),
            differences.join("\n"),
        )),
    }
}

const THEIRS: &str = "zt-";
const OURS: &str = "zo-";
const PREFIXES: [&str; 2] = [THEIRS, OURS];

/// A command of which the two may say different things.
struct Differ {
    command: &'static str,
    /// The broker it is so on; nothing for any.
    on: Option<&'static str>,
    why: &'static str,
}

const DIFFER: &[Differ] = &[
    Differ {
        command: "kafka-consumer-groups --describe --group @group --state",
        on: None,
        why: KINDS_OF_GROUPS,
    },
    Differ {
        command: "kafka-consumer-groups --describe --group @group --state --verbose",
        on: None,
        why: KINDS_OF_GROUPS,
    },
    Differ {
        command: "kafka-configs --describe --entity-type users --entity-name @alice",
        on: Some("reka"),
        why: "the tool asks for credentials of SCRAM as well, which Reka does not have",
    },
];
const KINDS_OF_GROUPS: &str = "the console consumer of the tools joins by the classic protocol, that of \
                               rkctl by KIP-848";

/// Words of commands that change something: what they say is not asked for again.
const CHANGES: [&str; 9] = [
    "--create",
    "--alter",
    "--delete",
    "--execute",
    "--cancel",
    "--group @group --max-messages",
    "producer",
    "delete-records",
    "abort",
];

const MAINS: [(&str, &str); 13] = [
    (
        "kafka-broker-api-versions",
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
    ),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    (
        "kafka-console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ),
    (
        "kafka-console-producer",
        "org.apache.kafka.tools.ConsoleProducer",
    ),
    (
        "kafka-consumer-groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    ),
    (
        "kafka-delete-records",
        "org.apache.kafka.tools.DeleteRecordsCommand",
    ),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    (
        "kafka-leader-election",
        "org.apache.kafka.tools.LeaderElectionCommand",
    ),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    (
        "kafka-metadata-quorum",
        "org.apache.kafka.tools.MetadataQuorumCommand",
    ),
    (
        "kafka-reassign-partitions",
        "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    ),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    (
        "kafka-transactions",
        "org.apache.kafka.tools.TransactionsCommand",
    ),
];

/// Runs a command to its end, with something to read, or kills it when it takes too long.
fn fed(command: &mut Command, input: &str) -> std::io::Result<Output> {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = process.stdin.take() {
        // A tool that ends before it has read everything has said why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let [out, err] = [
        process.stdout.take().map(|out| drain(Box::new(out))),
        process.stderr.take().map(|err| drain(Box::new(err))),
    ];
    let ended = wait::until("a tool ends", TOOL_TIME_MAX, || {
        process.try_wait().map_err(Error::io("wait for a tool"))
    });
    if ended.is_err() {
        let _ = process.kill();
    }
    let status = process.wait()?;
    let text = |read: Option<JoinHandle<Vec<u8>>>| {
        let read = read.and_then(|read| read.join().ok());
        read.unwrap_or_default()
    };
    Ok(Output {
        status,
        stdout: text(out),
        stderr: text(err),
    })
}

fn drain(mut from: Box<dyn Read + Send>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

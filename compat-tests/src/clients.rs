//! Stock clients against a broker: programs that print named checks, run against Apache Kafka and
//! then against Reka.
//!
//! A program is given an address and prints a line of JSON per check (`clients/README.md`).
//! [`checks`] reads the lines and judges: a check that fails on Apache Kafka is a wrong check, one
//! that passes there and not on Reka is a wrong Reka. [`prepare`] makes, once per lock file, what
//! the programs need.

pub mod checks;
pub mod prepare;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::checks::Run;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::matrix;
use crate::process::Process;
use crate::rows::Verdict;
use crate::target::{self, Target};
use crate::wait;

/// Above the deadlines of the programs themselves, so that a check says what it waited for.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(600);

/// What both brokers are told besides their addresses: topics appear only when created, and groups
/// settle within a second.
const BROKER: [&str; 5] = [
    "auto.create.topics.enable=false",
    "group.initial.rebalance.delay.ms=0",
    "group.consumer.heartbeat.interval.ms=500",
    "group.consumer.min.heartbeat.interval.ms=500",
    "offsets.topic.num.partitions=1",
];

/// Every stock client there is a program for, as it is called in reports: the lines of
/// `docs/compatibility.md`.
pub const NAMES: [&str; 14] = [
    "@platformatic/kafka 1.35.0",
    "aiokafka 0.14.0",
    "confluent-kafka 2.16.1",
    "confluent-kafka-go 2.11.1",
    "franz-go 1.22.2",
    "kafka-clients 2.8.2",
    "kafka-clients 3.9.1",
    "kafka-clients 4.3.1",
    "kafka-go 0.4.51",
    "kafka-python 3.0.12",
    "kafkajs 2.2.4",
    "node-rdkafka 3.6.1",
    "rdkafka 0.39.0",
    "sarama 1.61.1",
];

/// A program with a stock client in it.
pub struct Client {
    name: &'static str,
    command: Box<dyn Fn() -> Command + Sync>,
}

impl Client {
    /// `name` is what it is called in reports, with its version; `command` makes its command line,
    /// behind which the broker's address comes.
    pub fn new(name: &'static str, command: impl Fn() -> Command + Sync + 'static) -> Self {
        Self {
            name,
            command: Box::new(command),
        }
    }
}

/// Runs all of an ecosystem's clients, side by side, against the one broker and then the other.
pub fn run(ctx: &Context, clients: &[Client]) -> Result<Verdict> {
    if let Some(unknown) = clients.iter().find(|client| !NAMES.contains(&client.name)) {
        let finding = "not among the clients of the matrix: NAMES of clients.rs";
        return Err(Error::refused(unknown.name, finding));
    }
    let found = target::each(ctx, &BROKER, |target| {
        let runs = against(target, ctx, clients)?;
        // Before Reka is asked anything: a wrong check proves nothing about it.
        if target.name() == "kafka" {
            runs.iter().try_for_each(Run::judge_control)?;
        }
        Ok(runs)
    })?;
    let mut notes = Vec::new();
    let mut wrong = Vec::new();
    let control = found.iter().find(|(broker, _)| *broker == "kafka");
    for (broker, runs) in &found {
        for (index, run) in runs.iter().enumerate() {
            let judged = match control {
                Some((_, control)) => run.judge(&control[index]),
                None => run.judge_alone(),
            };
            match judged {
                Ok(()) => notes.push(format!(
                    "{} on {broker} {} checks ({:.0} s)",
                    run.client,
                    run.checks.len(),
                    run.seconds,
                )),
                Err(error) => wrong.push(error.to_string()),
            }
        }
    }
    if !wrong.is_empty() {
        return Err(Error::refused("judge the clients", wrong.join("; ")));
    }
    if let (Some(_), Some((_, runs))) = (control, found.iter().find(|(name, _)| *name == "reka")) {
        matrix::expect_recorded(runs)?;
    }
    Ok(Verdict::Passed(notes.join(", ")))
}

/// One program per thread, as most of their time is waiting for rebalances. Without their broker they would wait in
/// vain: its end is theirs.
fn against(target: &mut Target, ctx: &Context, clients: &[Client]) -> Result<Vec<Run>> {
    let (broker, address) = (target.name(), target.address());
    let logs = ctx.work().join(format!("against-{broker}"));
    files::make_dir(&logs)?;
    let gone = AtomicBool::new(false);
    thread::scope(|scope| {
        let started: Vec<_> = clients
            .iter()
            .map(|client| scope.spawn(|| one(broker, address, &logs, client, &gone)))
            .collect();
        let ended = wait::until_stopped("watch the broker", Duration::MAX, || {
            let done = started.iter().all(|thread| thread.is_finished());
            target.expect_running()?;
            Ok(done.then_some(()))
        });
        gone.store(ended.is_err(), Ordering::SeqCst);
        started
            .into_iter()
            .map(|thread| {
                let panicked = |_| Error::refused("run a client", "its thread panicked");
                thread.join().map_err(panicked)?
            })
            .collect()
    })
}

fn one(
    broker: &str,
    address: SocketAddr,
    logs: &Path,
    client: &Client,
    gone: &AtomicBool,
) -> Result<Run> {
    let step = format!("run {} against {broker}", client.name);
    let file = client.name.replace([' ', '/'], "-");
    let out = logs.join(format!("{file}.out"));
    let log = logs.join(format!("{file}.err"));
    let mut command = (client.command)();
    command.arg(address.to_string());
    let start = Instant::now();
    let program = Process::start(&step, &mut command, &out, &log)?;
    let status = program.end_while(CLIENT_TIME_MAX, || match gone.load(Ordering::SeqCst) {
        true => Err(Error::refused(
            &step,
            format!("without its broker; log: {}", log.display()),
        )),
        false => Ok(()),
    })?;
    Ok(Run {
        client: client.name,
        seconds: start.elapsed().as_secs_f64(),
        success: status.success(),
        checks: checks::parse(&step, &files::read_text(&out)?)?,
        log,
    })
}

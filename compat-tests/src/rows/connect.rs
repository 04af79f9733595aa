//! Kafka Connect's distributed worker with its file connectors, killed at random moments and started
//! again: the source, exactly once, brings every line of a file into a topic once; the sink brings every
//! committed line of the topic into another file, some of them again after a kill.
//!
//! The worker keeps all it knows in topics of the broker under judgement: its connectors, its offsets,
//! written in the same transactions as the lines, and its membership of a group.
//! Apache Kafka is asked on demand (`--against kafka`, and by `connect-kills`).
//! `REKA_KILL_ROUNDS` sets how many kills, `REKA_KILL_SEED` repeats their moments.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::kill_transactions::{committed, create_topics};
use super::raw::{Random, in_rounds};
use crate::clients::prepare;
use crate::context::Context;
use crate::control::java::Java;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::{files, http, ports, wait};

pub(super) const ROW: Row = Row {
    name: "connect",
    tiers: &[Tier::Ci],
    about: "Kafka Connect's worker with an exactly-once source and a sink of files, under kill -9",
    judges: Judges::Any,
    run: |ctx| run(&ctx.reka_unless_chosen(), 1),
};

pub(super) const MORE_KILLS: Row = Row {
    name: "connect-kills",
    // Not in the commit tier: minutes.
    tiers: &[Tier::Nightly],
    about: "the same with more kills, of the broker too",
    judges: Judges::Any,
    run: |ctx| run(ctx, 6),
};

/// Lines that come in between two kills.
const LINES: usize = 3000;
/// A kill comes so many milliseconds after the first of them.
const MOMENT_MS: std::ops::Range<u64> = 0..1500;
/// A worker starts, misses the one before it, and catches up.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(240);
const KILL_TIME_MAX: Duration = Duration::from_secs(20);
const TOPIC: &str = "connected";
const BROKER: &[&str] = &[
    "auto.create.topics.enable=false",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=2",
    "transaction.state.log.num.partitions=2",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=200",
];

fn run(ctx: &Context, rounds: u64) -> Result<Verdict> {
    in_rounds(rounds, |rounds, seed| {
        let java = java(ctx)?;
        target::each_told(ctx, BROKER, |target| {
            let began = Instant::now();
            let told = World::new(&java, target, seed)?.kill_again_and_again(rounds)?;
            Ok(format!("{told} ({:.0} s)", began.elapsed().as_secs_f64()))
        })
    })
}

/// Apache Kafka's Connect and MirrorMaker.
pub(super) fn java(ctx: &Context) -> Result<Java> {
    let pom = ctx.client_sources("connect").join("pom.xml");
    Ok(Java::of_jars(
        ctx,
        &prepare::maven(ctx, "kafka-connect", &pom)?,
    ))
}

struct World<'a> {
    java: &'a Java,
    target: &'a mut Target,
    home: PathBuf,
    rest: SocketAddr,
    topic: String,
    lines: usize,
    lives: usize,
    random: Random,
}

impl<'a> World<'a> {
    fn new(java: &'a Java, target: &'a mut Target, seed: u64) -> Result<World<'a>> {
        let home = target.home().join("connect");
        files::make_dir(&home)?;
        let [port] = ports::free().map_err(Error::io("find a free port"))?;
        Ok(World {
            java,
            target,
            home,
            rest: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            // A broker that stays has seen other runs.
            topic: format!("{TOPIC}-{seed:x}"),
            lines: 0,
            lives: 0,
            random: Random::new(seed),
        })
    }

    fn kill_again_and_again(&mut self, rounds: u64) -> Result<String> {
        create_topics(self.target.address(), &[&self.topic])?;
        self.write_lines()?;
        let mut worker = self.start_worker()?;
        self.configure("source", &self.source())?;
        self.configure("sink", &self.sink())?;
        let (mut workers, mut brokers) = (0, 0);
        for round in 0..rounds {
            self.wait_for_lines(&mut worker, 1)?;
            self.write_lines()?;
            // The moment of the kill is what is tried out here, not something that is waited for.
            std::thread::sleep(Duration::from_millis(self.random.within(MOMENT_MS)));
            if round % 2 == 1 && self.target.comes_back_soon() {
                self.target.kill_and_start_again()?;
                brokers += 1;
            } else {
                worker.kill(KILL_TIME_MAX)?;
                worker = self.start_worker()?;
                workers += 1;
            }
            self.write_lines()?;
        }
        self.wait_for_lines(&mut worker, self.lines)?;
        let told = committed(self.target.address(), &self.topic)?;
        judge_topic(&told, self.lines)?;
        let again = judge_sink(&self.sunk()?, self.lines)?;
        worker.kill(KILL_TIME_MAX)?;
        Ok(format!(
            "{} lines, {workers} kills of the worker and {brokers} of the broker, {again} lines sunk again",
            self.lines
        ))
    }

    fn write_lines(&mut self) -> Result<()> {
        let path = self.home.join("source.txt");
        let step = || Error::io(format!("write {}", path.display()));
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(&path)
            .map_err(step())?;
        let lines: String = (self.lines..self.lines + LINES)
            .map(|number| line(number) + "\n")
            .collect();
        self.lines += LINES;
        file.write_all(lines.as_bytes()).map_err(step())
    }

    fn start_worker(&mut self) -> Result<Process> {
        let config = self.home.join("worker.properties");
        let address = self.target.address();
        files::write(&config, worker(address, self.rest, &self.topic))?;
        let main = "org.apache.kafka.connect.cli.ConnectDistributed";
        let mut command = self.java.command(main, "WARN");
        command.current_dir(&self.home).arg(&config);
        self.lives += 1;
        let log = self.home.join(format!("worker-{}.log", self.lives));
        let mut worker = Process::start("run the worker of Connect", &mut command, &log, &log)?;
        let step = format!("wait for the worker, log {}", log.display());
        wait::until(&step, CATCH_UP_TIME_MAX, || {
            worker.expect_running()?;
            Ok(
                matches!(http::ask(self.rest, "GET", "/connectors", ""), Ok((200, _)))
                    .then_some(()),
            )
        })?;
        Ok(worker)
    }

    /// Asks until the worker takes it: it refuses while it rebalances.
    fn configure(&self, name: &str, config: &str) -> Result<()> {
        let path = format!("/connectors/{name}/config");
        let mut last = String::new();
        let asked = wait::until("configure a connector", CATCH_UP_TIME_MAX, || {
            let (status, answer) = http::ask(self.rest, "PUT", &path, config)?;
            last = format!("{status} {answer}");
            match status {
                200 | 201 => Ok(Some(())),
                409 | 500 | 503 => Ok(None),
                _ => Err(Error::refused(format!("configure {name}"), last.clone())),
            }
        });
        asked.map_err(|error| Error::refused(error.to_string(), format!("its last word: {last}")))
    }

    fn source(&self) -> String {
        let file = self.home.join("source.txt");
        let topic = &self.topic;
        format!(
            r#"{{"connector.class":"org.apache.kafka.connect.file.FileStreamSourceConnector",
            "tasks.max":"1","file":"{}","topic":"{topic}","batch.size":"100",
            "exactly.once.support":"required","transaction.boundary":"poll"}}"#,
            file.display()
        )
    }

    fn sink(&self) -> String {
        let file = self.home.join("sink.txt");
        let topic = &self.topic;
        format!(
            r#"{{"connector.class":"org.apache.kafka.connect.file.FileStreamSinkConnector",
            "tasks.max":"2","file":"{}","topics":"{topic}",
            "consumer.override.isolation.level":"read_committed"}}"#,
            file.display()
        )
    }

    fn sunk(&self) -> Result<String> {
        let path = self.home.join("sink.txt");
        match path.exists() {
            true => files::read_text(&path),
            false => Ok(String::new()),
        }
    }

    /// So many lines are in the topic, and in the file of the sink.
    fn wait_for_lines(&self, worker: &mut Process, wanted: usize) -> Result<()> {
        let mut seen = (0, 0);
        let waited = wait::until("wait for lines", CATCH_UP_TIME_MAX, || {
            worker.expect_running()?;
            seen.0 = committed(self.target.address(), &self.topic)?.len();
            if seen.0 < wanted {
                return Ok(None);
            }
            seen.1 = whole_lines(&self.sunk()?).len();
            Ok((seen.1 >= wanted).then_some(()))
        });
        waited.map_err(|error| {
            let (topic, sink) = seen;
            let logs = self.home.display();
            let finding =
                format!("of {wanted} lines {topic} are in the topic, {sink} sunk; logs in {logs}");
            Error::refused(error.to_string(), finding)
        })
    }
}

fn worker(broker: SocketAddr, rest: SocketAddr, name: &str) -> String {
    // Who was killed is missed after six seconds, and its work is given to others at once.
    format!(
        "bootstrap.servers={broker}
group.id={name}-worker
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
config.storage.topic={name}-configs
offset.storage.topic={name}-offsets
status.storage.topic={name}-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=5
status.storage.partitions=2
offset.flush.interval.ms=500
listeners=http://{rest}
plugin.discovery=hybrid_warn
exactly.once.source.support=enabled
session.timeout.ms=6000
heartbeat.interval.ms=500
scheduled.rebalance.max.delay.ms=0
consumer.session.timeout.ms=6000
consumer.heartbeat.interval.ms=500
reconnect.backoff.max.ms=200
"
    )
}

fn line(number: usize) -> String {
    format!("<{number:07}>")
}

/// The lines that are whole, by number: what a kill cut off is no line.
fn whole_lines(text: &str) -> BTreeMap<usize, usize> {
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    let between = text.split('<').filter_map(|rest| rest.split_once('>'));
    for (digits, _) in between {
        if let (7, Ok(number)) = (digits.len(), digits.parse()) {
            *found.entry(number).or_default() += 1;
        }
    }
    found
}

/// Every line is in the topic once.
fn judge_topic(told: &[String], lines: usize) -> Result<()> {
    let refused = |finding: String| Err(Error::refused("look for every line once", finding));
    let mut sorted: Vec<&String> = told.iter().collect();
    sorted.sort();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return refused(format!("{} is in the topic more than once", pair[0]));
    }
    for number in 0..lines {
        match sorted.get(number) {
            Some(found) if **found == line(number) => {}
            found => {
                let expected = line(number);
                return refused(format!("expected {expected}, found {found:?}"));
            }
        }
    }
    match sorted.get(lines) {
        None => Ok(()),
        Some(more) => refused(format!("{more:?} is no line of the file")),
    }
}

/// Every line is in the file of the sink; how many are there again.
fn judge_sink(text: &str, lines: usize) -> Result<usize> {
    let refused =
        |finding: String| Err(Error::refused("look for every line that was sunk", finding));
    let found = whole_lines(text);
    if let Some(missing) = (0..lines).find(|number| !found.contains_key(number)) {
        return refused(format!("{} is missing", line(missing)));
    }
    if let Some(more) = found.keys().find(|number| **number >= lines) {
        return refused(format!("{} was never written", line(*more)));
    }
    Ok(found.values().map(|times| times - 1).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
        numbers.into_iter().map(line).collect()
    }

    #[test]
    fn lines_of_a_topic_are_there_once_in_any_order() {
        judge_topic(&lines([2, 0, 1]), 3).expect("all of them");
        let finding = |told: &[String]| judge_topic(told, 3).expect_err("a refusal").to_string();
        assert!(finding(&lines([0, 1, 1, 2])).contains("<0000001> is in the topic more than once"));
        assert!(finding(&lines([0, 2])).contains("expected <0000001>, found Some(\"<0000002>\")"));
        assert!(finding(&lines([0, 1])).contains("expected <0000002>, found None"));
        assert!(finding(&lines([0, 1, 2, 3])).contains("is no line"));
    }

    #[test]
    fn lines_of_a_sink_may_be_there_again_and_none_is_missing() {
        let text = lines([0, 1, 1, 2]).join("\n");
        assert_eq!(judge_sink(&text, 3).expect("all of them"), 1);
        // A line that a kill cut off, with another behind it.
        let torn = format!("{}\n<0000{}\n", line(0), lines([1, 2]).join("\n"));
        assert_eq!(judge_sink(&torn, 3).expect("all that are whole"), 0);
        let finding = |text: &str| judge_sink(text, 3).expect_err("a refusal").to_string();
        assert!(finding(&lines([0, 2]).join("\n")).contains("<0000001> is missing"));
        assert!(finding(&lines([0, 1, 2, 5]).join("\n")).contains("<0000005> was never written"));
    }
}

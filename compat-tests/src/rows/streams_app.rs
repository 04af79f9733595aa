//! A Kafka Streams application of more than one part: a join with a table, a join of two streams, counts in windows
//! behind a topic of its own, exactly once, with standby replicas. An instance is killed and loses its
//! state, the broker is killed, where it is ours; every result is told once. Then the application is reset
//! with Apache Kafka's tool, which removes its topics and its positions, and tells everything once more.
//!
//! `REKA_KILL_ROUNDS` sets how many kills, `REKA_KILL_SEED` repeats their moments.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reka_protocol::kafka_protocol::messages::MetadataRequest;

use super::kill_transactions::{BROKER, PARTITIONS, committed, create_topics, send};
use super::raw::{Random, answer, in_rounds, now};
use crate::clients::prepare;
use crate::context::Context;
use crate::control::java::Java;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::{files, wait};

pub(super) const ROW: Row = Row {
    name: "streams-app",
    tiers: &[Tier::Nightly],
    about: "Kafka Streams joins, counts in windows, restarts in the middle, uses standbys, and is reset",
    judges: Judges::Any,
    run,
};

const ROUNDS: u64 = 3;
const INSTANCES: usize = 2;
/// As in the program.
const WINDOW_MS: u64 = 60;
const PEOPLE: u64 = 5;
const KEYS: u64 = 6;
/// Orders that come in between two kills; a whole number of windows.
const ORDERS: u64 = 600;
const MOMENT_MS: std::ops::Range<u64> = 20..1500;
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(240);
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
const TOPICS: [&str; 6] = ["orders", "payments", "people", "joined", "paid", "windows"];

fn run(ctx: &Context) -> Result<Verdict> {
    in_rounds(ROUNDS, |rounds, seed| {
        let sources = ctx.client_sources("streams");
        let jars = prepare::maven(ctx, "kafka-streams", &sources.join("pom.xml"))?;
        let java = Java::with_classes_of(ctx, &jars, &sources.join("src"))?;
        let tools = Java::kafka(ctx)?;
        target::each_told(ctx, BROKER, |target| {
            World::new(&java, &tools, target, seed)?.go_on(rounds)
        })
    })
}

struct World<'a> {
    java: &'a Java,
    tools: &'a Java,
    target: &'a mut Target,
    home: PathBuf,
    /// In milliseconds; order n is of the n-th after it.
    beginning: u64,
    orders: u64,
    lives: usize,
    instances: Vec<Process>,
    random: Random,
}

impl<'a> World<'a> {
    fn new(
        java: &'a Java,
        tools: &'a Java,
        target: &'a mut Target,
        seed: u64,
    ) -> Result<World<'a>> {
        let home = target.home().join("streams");
        files::make_dir(&home)?;
        // Windows begin with it.
        let now_ms = now().as_millis() as u64;
        Ok(World {
            java,
            tools,
            target,
            home,
            beginning: now_ms - now_ms % WINDOW_MS,
            orders: 0,
            lives: 0,
            instances: Vec::new(),
            random: Random::new(seed),
        })
    }

    fn go_on(&mut self, rounds: u64) -> Result<String> {
        let address = self.target.address();
        create_topics(address, &TOPICS)?;
        let mut side = Side::new("the broker", address);
        for person in 0..PEOPLE {
            let (key, name) = (format!("p{person}"), format!("person {person}"));
            send(&mut side, "people", 0, Some(&key), &name)?;
        }
        for index in 0..INSTANCES {
            let instance = self.start_instance(index)?;
            self.instances.push(instance);
        }
        self.feed()?;
        self.catch_up(1)?;
        let (mut killed, mut brokers) = (0, 0);
        for round in 0..rounds {
            self.feed()?;
            // The moment of the kill is what is tried out here, not something that is waited for.
            std::thread::sleep(Duration::from_millis(self.random.within(MOMENT_MS)));
            if round % 2 == 1 && self.target.comes_back_soon() {
                self.target.kill_and_start_again()?;
                brokers += 1;
            } else {
                let index = self.random.within(0..INSTANCES as u64) as usize;
                self.instances.remove(index).kill(STOP_TIME_MAX)?;
                // Its standby has what it kept.
                self.forget(index)?;
                let instance = self.start_instance(index)?;
                self.instances.insert(index, instance);
                killed += 1;
            }
            self.catch_up(1)?;
        }
        self.judge(1)?;
        self.reset()?;
        self.catch_up(2)?;
        self.judge(2)?;
        for instance in self.instances.drain(..) {
            instance.kill(STOP_TIME_MAX)?;
        }
        Ok(format!(
            "{} orders, {killed} kills of instances and {brokers} of the broker, told once and once more after a reset",
            self.orders
        ))
    }

    fn state(&self, index: usize) -> PathBuf {
        self.home.join(format!("state-{index}"))
    }

    /// Removes what an instance kept, if it lived long enough to keep anything.
    fn forget(&self, index: usize) -> Result<()> {
        let state = self.state(index);
        match state.exists() {
            true => files::remove_dir(&state),
            false => Ok(()),
        }
    }

    fn start_instance(&mut self, index: usize) -> Result<Process> {
        let mut command = self.java.command("Shop", "WARN");
        command.arg(self.state(index)).args([
            self.beginning.to_string(),
            self.target.address().to_string(),
        ]);
        self.lives += 1;
        let log = self.home.join(format!("instance-{}.log", self.lives));
        Process::start("run a Streams instance", &mut command, &log, &log)
    }

    /// Orders, and a payment for each.
    fn feed(&mut self) -> Result<()> {
        let mut side = Side::new("the broker", self.target.address());
        for number in self.orders..self.orders + ORDERS {
            let partition = (number % PARTITIONS as u64) as i32;
            let (key, value) = (format!("o{number}"), number.to_string());
            for topic in ["orders", "payments"] {
                send(&mut side, topic, partition, Some(&key), &value)?;
            }
        }
        self.orders += ORDERS;
        Ok(())
    }

    /// Waits until everything is told so many times.
    fn catch_up(&mut self, times: usize) -> Result<()> {
        let wanted = self.orders as usize * times;
        let address = self.target.address();
        let mut seen = [0; 3];
        let waited = wait::until("wait for every result", CATCH_UP_TIME_MAX, || {
            for instance in &mut self.instances {
                instance.expect_running()?;
            }
            for (seen, topic) in seen.iter_mut().zip(&TOPICS[3..]) {
                *seen = committed(address, topic)?.len();
            }
            Ok(seen.iter().all(|seen| *seen >= wanted).then_some(()))
        });
        waited.map_err(|error| {
            let finding = format!("of {wanted} each, {seen:?} of {:?}", &TOPICS[3..]);
            Error::refused(error.to_string(), finding)
        })
    }

    fn judge(&self, times: usize) -> Result<()> {
        let address = self.target.address();
        let told = |topic| committed(address, topic);
        let joined = |n: u64| format!("{n} of person {}", n % PEOPLE);
        judge_each("joined", &told("joined")?, self.orders, times, joined)?;
        let paid = |n: u64| format!("{n} paid {n}");
        judge_each("paid", &told("paid")?, self.orders, times, paid)?;
        judge_windows(&told("windows")?, self.beginning, self.orders, times)
    }

    /// As an operator does: everything is stopped, the tool is run, what instances kept is removed.
    fn reset(&mut self) -> Result<()> {
        for instance in self.instances.drain(..) {
            instance.terminate(STOP_TIME_MAX)?;
        }
        let address = self.target.address();
        let broker = address.to_string();
        let args = [
            "--bootstrap-server",
            broker.as_str(),
            "--application-id",
            "shop",
            "--input-topics",
            "orders,payments,people",
            // Instances that stop do not leave their group, to be back before they are missed.
            "--force",
        ];
        let main = "org.apache.kafka.tools.StreamsResetter";
        self.tools
            .run("reset", main, args, &self.home, CATCH_UP_TIME_MAX)?;
        let left = own_topics(address)?;
        if !left.is_empty() {
            return Err(Error::refused(
                "reset the application",
                format!("{left:?} are left"),
            ));
        }
        for index in 0..INSTANCES {
            self.forget(index)?;
            let instance = self.start_instance(index)?;
            self.instances.push(instance);
        }
        Ok(())
    }
}

/// Topics the application has made for itself.
fn own_topics(address: SocketAddr) -> Result<Vec<String>> {
    let mut side = Side::new("the broker", address);
    let request = MetadataRequest::default().with_topics(None);
    let told = answer(side.ask(9, &request)?, "list topics")?;
    let names = told.topics.into_iter().filter_map(|topic| topic.name);
    Ok(names
        .map(|name| name.0.to_string())
        .filter(|name| name.starts_with("shop-"))
        .collect())
}

/// A result for each order, so many times, and no other.
fn judge_each(
    topic: &str,
    told: &[String],
    orders: u64,
    times: usize,
    expected: impl Fn(u64) -> String,
) -> Result<()> {
    let refused = |finding: String| Err(Error::refused(format!("look at {topic}"), finding));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for result in told {
        *counts.entry(result).or_default() += 1;
    }
    for order in 0..orders {
        let expected = expected(order);
        let found = counts.remove(expected.as_str()).unwrap_or_default();
        if found != times {
            return refused(format!(
                "{expected:?} is told {found} times, expected {times}"
            ));
        }
    }
    match counts.first_key_value() {
        None => Ok(()),
        Some((other, _)) => refused(format!("{other:?} is no result")),
    }
}

/// The counts of each window of each key are 1, 2, 3, … up to what it has, and so once more each time.
fn judge_windows(told: &[String], beginning: u64, orders: u64, times: usize) -> Result<()> {
    let refused = |finding: String| Err(Error::refused("look at windows", finding));
    let each = WINDOW_MS / KEYS;
    let mut last: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for result in told {
        let (window, count) = result.rsplit_once(':').unwrap_or((result, "0"));
        let (before, done) = last.entry(window).or_default();
        if count.parse() != Ok(*before + 1) {
            return refused(format!("{result} follows {before}"));
        }
        *before += 1;
        if *before == each {
            (*before, *done) = (0, *done + 1);
        }
    }
    for start in (0..orders).step_by(WINDOW_MS as usize) {
        for key in 0..KEYS {
            let window = format!("w{key}@{}", beginning + start);
            match last.remove(window.as_str()) {
                Some((0, done)) if done == times => {}
                found => {
                    return refused(format!(
                        "{window}: expected {each} counts {times} times, found {found:?}"
                    ));
                }
            }
        }
    }
    match last.first_key_value() {
        None => Ok(()),
        Some((other, _)) => refused(format!("{other} is no window")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_as_often_as_expected_and_no_others() {
        let name = |n: u64| format!("r{n}");
        let told = |numbers: &[u64]| numbers.iter().map(|n| name(*n)).collect::<Vec<_>>();
        let judged = |numbers: &[u64], times| judge_each("t", &told(numbers), 3, times, name);
        judged(&[2, 0, 1], 1).expect("each once");
        judged(&[2, 0, 1, 0, 1, 2], 2).expect("each twice");
        let finding = |numbers: &[u64], times| {
            let error = judged(numbers, times).expect_err("a refusal");
            error.to_string()
        };
        assert!(finding(&[0, 1, 1, 2], 1).contains("\"r1\" is told 2 times, expected 1"));
        assert!(finding(&[0, 2], 1).contains("\"r1\" is told 0 times"));
        assert!(finding(&[0, 1, 2, 7], 1).contains("\"r7\" is no result"));
    }

    #[test]
    fn windows_count_up_to_what_they_have() {
        let all = |times: usize| -> Vec<String> {
            let of = |window: u64| {
                (1..=10).flat_map(move |count| {
                    (0..KEYS).map(move |key| format!("w{key}@{}:{count}", 600 + window * WINDOW_MS))
                })
            };
            let once: Vec<String> = (0..2).flat_map(of).collect();
            (0..times).flat_map(|_| once.clone()).collect()
        };
        judge_windows(&all(1), 600, 120, 1).expect("once");
        judge_windows(&all(2), 600, 120, 2).expect("twice");
        let finding = |told: &[String], times| {
            let error = judge_windows(told, 600, 120, times).expect_err("a refusal");
            error.to_string()
        };
        let mut doubled = all(1);
        doubled.insert(0, doubled[0].clone());
        assert!(finding(&doubled, 1).contains("w0@600:1 follows 1"));
        assert!(finding(&all(1)[..119], 1).contains("w5@660: expected 10 counts 1 times"));
        assert!(finding(&all(1), 2).contains("expected 10 counts 2 times"));
        let mut more = all(1);
        more.push("w0@900:1".into());
        assert!(finding(&more, 1).contains("w0@900 is no window"));
    }
}

//! Flink jobs that read, put into windows and write exactly once, killed at random moments and restored
//! from their newest checkpoints: every window of every key is told exactly once, with every record in it.
//!
//! Two jobs, one for each way of Flink's sink to name its transactions, run in one JVM (a MiniCluster each).
//! It is killed and started again in every other round; in those between them the broker is, where it is
//! ours. The same against Apache Kafka, which goes first, says that the judgement is right.
//! `REKA_KILL_ROUNDS` sets how many rounds, `REKA_KILL_SEED` repeats their moments.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::kill_transactions::{BROKER, PARTITIONS, committed, create_topics, is_settled, send};
use super::raw::{Random, in_rounds};
use crate::clients::prepare;
use crate::context::Context;
use crate::control::java::Java;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "flink",
    tiers: &[Tier::Ci],
    about: "Flink's exactly-once sink, both namings of transactions, under kill -9 of JVM and broker",
    judges: Judges::Any,
    run: |ctx| run(ctx, 2, &LINES[..1]),
};

pub(super) const LINES_OF_FLINK: Row = Row {
    name: "flink-lines",
    // Not in the commit tier: minutes.
    tiers: &[Tier::Nightly],
    about: "the same for Flink 2.2 and 1.20, with more kills",
    judges: Judges::Any,
    run: |ctx| run(ctx, 4, &LINES),
};

/// A line of Flink: its folder of `clients/flink`, and the output topics, which are called as its ways to name
/// transactions.
struct Line {
    folder: &'static str,
    outputs: &'static [&'static str],
}

const LINES: [Line; 2] = [
    Line {
        folder: "2.2",
        outputs: &["incrementing", "pooling"],
    },
    Line {
        folder: "1.20",
        outputs: &["incrementing"],
    },
];
pub(super) const KEYS: u64 = 6;
/// The length of a window, in milliseconds; a record is of the millisecond of its number.
pub(super) const WINDOW: u64 = 60;
/// Records that come in between two kills.
const RECORDS: u64 = 1800;
/// A kill comes so many milliseconds into what the jobs are given to do: before, in or after a checkpoint.
const MOMENT_MS: std::ops::Range<u64> = 50..700;
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(300);
const TICK_EVERY: Duration = Duration::from_secs(1);
const KILL_TIME_MAX: Duration = Duration::from_secs(60);

/// Flink writes records with the times of its windows, which begin in 1970 here.
pub(super) fn settings() -> Vec<&'static str> {
    [BROKER, &["log.retention.ms=-1"]].concat()
}

fn run(ctx: &Context, rounds: u64, lines: &[Line]) -> Result<Verdict> {
    in_rounds(rounds, |rounds, seed| {
        let mut told = Vec::new();
        for line in lines {
            let flink = of_line(ctx, line.folder)?;
            // A broker of its own for each line, as both have topics and transactions of the same names.
            let ctx = ctx.below(line.folder);
            files::make_dir(ctx.work())?;
            let seen = target::each_told(&ctx, &settings(), |target| {
                World::new(&flink, line.outputs, target, seed).restore_again_and_again(rounds)
            });
            let named =
                |error: Error| Error::refused(format!("Flink {}", line.folder), error.to_string());
            told.push(format!("Flink {} {}", line.folder, seen.map_err(named)?));
        }
        Ok(told.join("; "))
    })
}

/// The jars of a line, with the program compiled against them.
pub(super) fn of_line(ctx: &Context, folder: &str) -> Result<Java> {
    let sources = ctx.client_sources("flink");
    let line = sources.join(folder);
    // The name of its cache folder from before there were two lines.
    let name = match folder {
        "2.2" => "flink".to_owned(),
        other => format!("flink-{other}"),
    };
    let jars = prepare::maven(ctx, &name, &line.join("pom.xml"))?;
    let sources = [sources.join("src"), line.join("src")];
    Java::with_classes_named(ctx, folder, &jars, &sources)
}

/// The jobs, what they were given, and the broker they run against.
struct World<'a> {
    flink: &'a Java,
    outputs: &'static [&'static str],
    target: &'a mut Target,
    home: PathBuf,
    address: SocketAddr,
    jobs: Option<Process>,
    lives: usize,
    records: u64,
    random: Random,
}

impl<'a> World<'a> {
    fn new(
        flink: &'a Java,
        outputs: &'static [&'static str],
        target: &'a mut Target,
        seed: u64,
    ) -> World<'a> {
        World {
            flink,
            outputs,
            home: target.home().to_owned(),
            address: target.address(),
            target,
            jobs: None,
            lives: 0,
            records: 0,
            random: Random::new(seed),
        }
    }

    fn restore_again_and_again(&mut self, rounds: u64) -> Result<String> {
        let topics = [&["in"], self.outputs].concat();
        create_topics(self.address, &topics)?;
        self.start_jobs()?;
        self.feed(RECORDS)?;
        let mut over = self.catch_up()?;
        let (mut jvms, mut left_open, mut brokers) = (0, 0, 0);
        for round in 0..rounds {
            // The moment of the kill is what is tried out here, not something that is waited for.
            let moment = Duration::from_millis(self.random.within(MOMENT_MS));
            match self.target.comes_back_soon() && round % 2 == 1 {
                true => {
                    self.feed(RECORDS)?;
                    std::thread::sleep(moment / 4);
                    self.target.kill_and_start_again()?;
                    brokers += 1;
                }
                false => {
                    let (address, records, jobs) =
                        (self.address, &mut self.records, &mut self.jobs);
                    std::thread::scope(|scope| {
                        let feeding = scope.spawn(|| feed(address, records, RECORDS));
                        std::thread::sleep(moment);
                        let killed = jobs.take().map(|jobs| jobs.kill(KILL_TIME_MAX));
                        let panicked = |_| Error::refused("feed", "its thread panicked");
                        feeding.join().map_err(panicked)??;
                        killed.transpose()
                    })?;
                    jvms += 1;
                    for topic in self.outputs {
                        left_open += usize::from(!is_settled(self.address, topic)?);
                    }
                    self.start_jobs()?;
                    // Only the restored jobs can tell of these.
                    self.feed(2 * WINDOW)?;
                }
            }
            over = self.catch_up()?;
        }
        let maybe = windows(self.records);
        for topic in self.outputs {
            judge(topic, &committed(self.address, topic)?, &over, &maybe)?;
        }
        Ok(format!(
            "{} records for each output, {jvms} kills of the JVM that left {left_open} outputs with open \
             transactions, {brokers} of the broker",
            self.records
        ))
    }

    fn start_jobs(&mut self) -> Result<()> {
        let mut command = self.flink.command("Windows", "WARN");
        command
            .arg(self.home.join("checkpoints"))
            .args([WINDOW.to_string(), self.address.to_string()]);
        let log = self.home.join(format!("flink-{}.log", self.lives));
        self.lives += 1;
        self.jobs = Some(Process::start("run Flink", &mut command, &log, &log)?);
        Ok(())
    }

    fn feed(&mut self, count: u64) -> Result<()> {
        feed(self.address, &mut self.records, count)
    }

    fn catch_up(&mut self) -> Result<BTreeSet<String>> {
        let jobs = &mut self.jobs;
        catch_up(self.address, self.outputs, &mut self.records, || {
            jobs.iter_mut().try_for_each(Process::expect_running)
        })
    }
}

/// Waits until every window that is over is told: which these are. A partition's time is that of its last
/// record; no checkpoint remembers it, so that a restored job needs another record to know that a
/// window is over. `running` is asked whether whoever tells them still runs.
pub(super) fn catch_up(
    address: SocketAddr,
    outputs: &[&str],
    records: &mut u64,
    mut running: impl FnMut() -> Result<()>,
) -> Result<BTreeSet<String>> {
    let over = windows(*records - KEYS);
    let mut ticked = Instant::now();
    wait::until("wait for every window", CATCH_UP_TIME_MAX, || {
        if ticked.elapsed() > TICK_EVERY {
            feed(address, records, KEYS)?;
            ticked = Instant::now();
        }
        running()?;
        for topic in outputs {
            if committed(address, topic)?.len() < over.len() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    Ok(over)
}

/// More records, each key in one partition.
pub(super) fn feed(address: SocketAddr, records: &mut u64, count: u64) -> Result<()> {
    let mut side = Side::new("the broker", address);
    for _ in 0..count {
        let key = *records % KEYS;
        let partition = (key % PARTITIONS as u64) as i32;
        let value = format!("k{key},{records}");
        send(&mut side, "in", partition, None, &value)?;
        *records += 1;
    }
    Ok(())
}

/// What is to be told of all windows so many records are enough for.
pub(super) fn windows(records: u64) -> BTreeSet<String> {
    let of = |start: u64, key: u64| {
        let numbers = (start..start + WINDOW).filter(|number| number % KEYS == key);
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        format!("k{key}@{start}: {}", numbers.join(" "))
    };
    let starts = (0..records / WINDOW).map(|window| window * WINDOW);
    starts
        .flat_map(|start| (0..KEYS).map(move |key| of(start, key)))
        .collect()
}

/// Every window that is over was told, once; one that may be over was told once or not at all.
pub(super) fn judge(
    topic: &str,
    told: &[String],
    over: &BTreeSet<String>,
    maybe: &BTreeSet<String>,
) -> Result<()> {
    let refused = |finding: String| {
        let step = format!("look for every window once in {topic}");
        Err(Error::refused(step, finding))
    };
    let mut once = BTreeSet::new();
    for window in told {
        if !maybe.contains(window) {
            return refused(format!("{window:?} is no window"));
        }
        if !once.insert(window.clone()) {
            return refused(format!("{window:?} more than once"));
        }
    }
    match over.difference(&once).next() {
        None => Ok(()),
        Some(missing) => refused(format!("{missing:?} is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl FnOnce(&mut Vec<String>)) -> Result<()> {
        let (over, maybe) = (windows(200), windows(300));
        let mut told: Vec<String> = over.iter().cloned().collect();
        change(&mut told);
        judge("t", &told, &over, &maybe)
    }

    fn finding(change: impl FnOnce(&mut Vec<String>)) -> String {
        judged(change).expect_err("a refusal").to_string()
    }

    #[test]
    fn a_window_that_may_be_over_is_welcome() {
        judged(|_| ()).expect("all of it");
        judged(|told| told.extend(windows(300).difference(&windows(200)).cloned())).expect("more");
    }

    #[test]
    fn windows_told_twice_torn_or_not_at_all_are_found() {
        assert!(finding(|told| told.push(told[3].clone())).contains("more than once"));
        assert!(finding(|told| drop(told.remove(3))).contains("is missing"));
        assert!(finding(|told| told[3].truncate(8)).contains("is no window"));
        assert!(finding(Vec::clear).contains("is missing"));
    }
}

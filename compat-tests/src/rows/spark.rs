//! Spark's structured streams from Kafka to Kafka, whose JVM is killed at random moments and which go on
//! from their checkpoints: every record is copied and counted exactly, as far as Spark's sink can: it
//! writes a batch that was cut off again, so a record may be there twice, and only under one number of a
//! batch. Then reads that are no streams, by offsets and timestamps, over gaps that transactions and
//! compaction left, and over records that are gone.
//!
//! Apache Kafka is asked on demand (`--against kafka`, and by `spark-lines`): a minute on each broker is
//! too long for every commit. `REKA_KILL_ROUNDS` sets how many kills, `REKA_KILL_SEED` repeats their moments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::kill_transactions::{PARTITIONS, committed, create_topics, send};
use super::python;
use super::raw::{Random, in_rounds};
use crate::clients::{checks, prepare};
use crate::context::Context;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "spark",
    tiers: &[Tier::Ci],
    about: "Spark 3.5 streams Kafka to Kafka under kill -9, then reads by offsets, times and over gaps",
    judges: Judges::Any,
    run: |ctx| run(&ctx.reka_unless_chosen(), 1, &LINES[..1]),
};

pub(super) const LINES_OF_SPARK: Row = Row {
    name: "spark-lines",
    // Not in the commit tier: minutes.
    tiers: &[Tier::Nightly],
    about: "the same for Spark 3.5 and 4.0, with more kills, of the broker too",
    judges: Judges::Any,
    run: |ctx| run(ctx, 4, &LINES),
};

/// A release of Spark: its name in reports, its folder of `clients/spark`.
const LINES: [(&str, &str); 2] = [("pyspark 3.5.7", "3.5"), ("pyspark 4.0.0", "4.0")];
const KEYS: u64 = 10;
/// Records that come in between two kills.
const RECORDS: u64 = 500;
/// A kill comes so many milliseconds after the streams were seen to go on.
const MOMENT_MS: std::ops::Range<u64> = 0..1500;
const PROGRESS_TIME_MAX: Duration = Duration::from_secs(180);
/// The last life reads all that is left, and makes every check.
const FINISH_TIME_MAX: Duration = Duration::from_secs(600);
const KILL_TIME_MAX: Duration = Duration::from_secs(20);
/// Compaction rests for a moment only, and topics appear only when they are created.
const BROKER: &[&str] = &[
    "auto.create.topics.enable=false",
    "log.cleaner.backoff.ms=100",
    "transaction.state.log.num.partitions=2",
];

fn run(ctx: &Context, rounds: u64, lines: &[(&'static str, &str)]) -> Result<Verdict> {
    in_rounds(rounds, |rounds, seed| {
        let mut releases = Vec::new();
        for (name, folder) in lines {
            releases.push(Release::prepare(ctx, name, folder)?);
        }
        target::each_told(ctx, BROKER, |target| {
            let told = releases
                .iter()
                .map(|release| of_release(release, target, rounds, seed));
            Ok(told.collect::<Result<Vec<String>>>()?.join(", "))
        })
    })
}

/// Spark with what it needs to speak to Kafka.
pub(super) struct Release {
    name: &'static str,
    python: PathBuf,
    home: PathBuf,
    pub(super) jars: PathBuf,
    pub(super) program: PathBuf,
}

impl Release {
    pub(super) fn prepare(ctx: &Context, name: &'static str, folder: &str) -> Result<Release> {
        let sources = ctx.client_sources("spark").join(folder);
        let cached = format!("spark-{folder}");
        let jars = prepare::maven(ctx, &cached, &sources.join("pom.xml"))?;
        let venv = python::environment_of(ctx, &cached, &sources.join("requirements.txt"))?;
        let packages = venv.join("lib");
        let found = files::list(&packages)?
            .into_iter()
            .map(|python| python.join("site-packages/pyspark"))
            .find(|spark| spark.is_dir());
        let home = found
            .ok_or_else(|| Error::refused(format!("find Spark in {}", packages.display()), name))?;
        Ok(Release {
            name,
            python: venv.join("bin/python"),
            home,
            jars,
            program: ctx.client_sources("spark").join("job.py"),
        })
    }

    /// What is started is a script that becomes the JVM, so that a kill is one of the JVM.
    pub(super) fn submit(&self, work: &Path) -> Command {
        let mut command = Command::new(self.home.join("bin/spark-submit"));
        let temporary = work.join("tmp");
        command
            .current_dir(work)
            .env("SPARK_HOME", &self.home)
            .env("PYSPARK_PYTHON", &self.python)
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            // The checkout is not ours to write into.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["--master", "local[2]", "--driver-memory", "1g"])
            .arg("--driver-class-path")
            .arg(self.jars.join("*"));
        for option in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"] {
            command.env_remove(option);
        }
        let temporary = temporary.display();
        for setting in [
            "spark.ui.enabled=false".to_owned(),
            "spark.driver.host=127.0.0.1".to_owned(),
            "spark.driver.bindAddress=127.0.0.1".to_owned(),
            "spark.sql.shuffle.partitions=2".to_owned(),
            "spark.log.level=WARN".to_owned(),
            format!("spark.local.dir={temporary}"),
            format!(
                "spark.driver.extraJavaOptions=-Djava.io.tmpdir={temporary} -XX:TieredStopAtLevel=1"
            ),
        ] {
            command.args(["--conf", &setting]);
        }
        command.arg(&self.program);
        command
    }
}

fn of_release(release: &Release, target: &mut Target, rounds: u64, seed: u64) -> Result<String> {
    let named = |error: Error| Error::refused(release.name, error.to_string());
    let began = Instant::now();
    let mut world = World::new(release, target, seed).map_err(named)?;
    let told = world.kill_again_and_again(rounds).map_err(named)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!("{} {told} ({seconds:.0} s)", release.name))
}

struct World<'a> {
    release: &'a Release,
    target: &'a mut Target,
    work: PathBuf,
    prefix: String,
    records: u64,
    lives: usize,
    random: Random,
}

impl<'a> World<'a> {
    fn new(release: &'a Release, target: &'a mut Target, seed: u64) -> Result<World<'a>> {
        let work = target.home().join(release.name.replace(' ', "-"));
        files::make_dir(&work.join("tmp"))?;
        // A broker that stays has seen other runs, and other releases.
        let prefix = format!("{}-{seed:x}-", release.name.replace(' ', "-"));
        Ok(World {
            release,
            target,
            work,
            prefix,
            records: 0,
            lives: 0,
            random: Random::new(seed),
        })
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn kill_again_and_again(&mut self, rounds: u64) -> Result<String> {
        let topics = ["in", "copies", "counts"].map(|name| self.topic(name));
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        create_topics(self.target.address(), &names)?;
        self.feed(RECORDS)?;
        let (mut jvms, mut brokers) = (0, 0);
        for round in 0..rounds {
            let mut job = self.start("follow")?;
            self.expect_progress(&mut job)?;
            self.feed(RECORDS)?;
            // The moment of the kill is what is tried out here, not something that is waited for.
            std::thread::sleep(Duration::from_millis(self.random.within(MOMENT_MS)));
            if round % 2 == 1 && self.target.comes_back_soon() {
                self.target.kill_and_start_again()?;
                brokers += 1;
                self.feed(RECORDS)?;
                self.expect_progress(&mut job)?;
            }
            job.kill(KILL_TIME_MAX)?;
            jvms += 1;
        }
        self.feed(RECORDS)?;
        let (success, printed) = self.finish()?;
        let address = self.target.address();
        let lives = jvms + brokers + 1;
        let copies = committed(address, &self.topic("copies"))?;
        let again = judge_copies(&copies, self.records, lives)?;
        let counts = committed(address, &self.topic("counts"))?;
        judge_counts(&counts, self.records)?;
        let checks = checks::parse("read what the job printed", &printed)?;
        let failed = checks.iter().filter(|check| !check.ok);
        let failed: Vec<String> = failed
            .map(|check| format!("`{}` ({})", check.check, check.why))
            .collect();
        if !failed.is_empty() || checks.is_empty() || !success {
            let finding = format!("of {} checks failed: {}", checks.len(), failed.join(", "));
            return Err(Error::refused("read in other ways", finding));
        }
        Ok(format!(
            "{} records, {jvms} kills of the JVM and {brokers} of the broker, {again} records twice, {} checks",
            self.records,
            checks.len()
        ))
    }

    fn command(&mut self, how: &str) -> (Command, PathBuf, PathBuf) {
        let mut command = self.release.submit(&self.work);
        command
            .args([how, &self.prefix])
            .arg(self.work.join("checkpoints"))
            .arg(self.target.address().to_string());
        self.lives += 1;
        let file = |ending| self.work.join(format!("life-{}.{ending}", self.lives));
        (command, file("out"), file("log"))
    }

    fn start(&mut self, how: &str) -> Result<Process> {
        let (mut command, out, log) = self.command(how);
        Process::start("run Spark", &mut command, &out, &log)
    }

    /// A life that ends by itself: whether with success, and what it printed.
    fn finish(&mut self) -> Result<(bool, String)> {
        let (mut command, out, log) = self.command("finish");
        let job = Process::start("run Spark to its end", &mut command, &out, &log)?;
        let status = job.end(FINISH_TIME_MAX)?;
        let printed = files::read_text(&out)?;
        if printed.is_empty() && !status.success() {
            let step = "run Spark to its end".to_owned();
            return Err(Error::Ended { step, status, log });
        }
        Ok((status.success(), printed))
    }

    /// More than there was when it was started is copied and counted: both streams go on.
    fn expect_progress(&self, job: &mut Process) -> Result<()> {
        let address = self.target.address();
        let topics = [self.topic("copies"), self.topic("counts")];
        let told = || -> Result<Vec<usize>> {
            let told = topics.iter().map(|topic| committed(address, topic));
            told.map(|told| Ok(told?.len())).collect()
        };
        let before = told()?;
        wait::until("wait for both streams to go on", PROGRESS_TIME_MAX, || {
            job.expect_running()?;
            let more = told()?
                .iter()
                .zip(&before)
                .all(|(now, before)| now > before);
            Ok(more.then_some(()))
        })
    }

    fn feed(&mut self, count: u64) -> Result<()> {
        let topic = self.topic("in");
        feed(self.target.address(), &topic, &mut self.records, count)
    }
}

/// More records: number n is the value of record n / 4 of partition n mod 4.
fn feed(address: SocketAddr, topic: &str, records: &mut u64, count: u64) -> Result<()> {
    let mut side = Side::new("the broker", address);
    for _ in 0..count {
        let key = format!("k{}", *records % KEYS);
        let partition = (*records % PARTITIONS as u64) as i32;
        send(
            &mut side,
            topic,
            partition,
            Some(&key),
            &records.to_string(),
        )?;
        *records += 1;
    }
    Ok(())
}

/// Every record is there, all its copies under one number of a batch; batches that are there in part twice
/// are at most one per life. How many records are there twice.
fn judge_copies(copies: &[String], records: u64, lives: usize) -> Result<usize> {
    let refused = |finding: String| Err(Error::refused("look for a copy of every record", finding));
    let mut batches: BTreeMap<u64, u64> = BTreeMap::new();
    let mut written_again = BTreeSet::new();
    let mut again = 0;
    for copy in copies {
        let fields: Vec<u64> = copy.split(':').flat_map(str::parse).collect();
        let [batch, partition, offset, value] = fields[..] else {
            return refused(format!("{copy:?} is no copy"));
        };
        let expected = offset * PARTITIONS as u64 + partition;
        if value != expected || value >= records {
            return refused(format!("{copy:?} is of no record that was written"));
        }
        match batches.insert(value, batch) {
            None => {}
            Some(before) if before == batch => {
                again += 1;
                written_again.insert(batch);
            }
            Some(before) => {
                return refused(format!("record {value} is in batches {before} and {batch}"));
            }
        }
    }
    if let Some(missing) = (0..records).find(|value| !batches.contains_key(value)) {
        return refused(format!("record {missing} of {records} is missing"));
    }
    if written_again.len() > lives {
        return refused(format!(
            "{} batches were written again in {lives} lives: {written_again:?}",
            written_again.len()
        ));
    }
    Ok(again)
}

/// The counts of a key never go back and end at what was written of it.
fn judge_counts(counts: &[String], records: u64) -> Result<()> {
    let refused = |finding: String| Err(Error::refused("look at the counts", finding));
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for told in counts {
        let parsed = told
            .split_once(':')
            .and_then(|(key, count)| Some((key, count.parse::<u64>().ok()?)));
        let Some((key, count)) = parsed else {
            return refused(format!("{told:?} is no count"));
        };
        let before = last.insert(key, count).unwrap_or_default();
        if count < before {
            return refused(format!("{told} follows {before}"));
        }
    }
    for key in 0..KEYS {
        let expected = (records + KEYS - 1 - key) / KEYS;
        let name = format!("k{key}");
        let found = last.get(name.as_str()).copied().unwrap_or_default();
        if found != expected {
            return refused(format!("expected {expected} of {name}, found {found}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies of forty records in batches of eight.
    fn copies(change: impl FnOnce(&mut Vec<String>)) -> Result<usize> {
        let copy = |n: u64| format!("{}:{}:{}:{n}", n / 8, n % 4, n / 4);
        let mut copies: Vec<String> = (0..40).map(copy).collect();
        change(&mut copies);
        judge_copies(&copies, 40, 1)
    }

    #[test]
    fn a_batch_that_was_cut_off_may_be_there_twice() {
        assert_eq!(copies(|_| ()).expect("each once"), 0);
        let again = copies(|copies| copies.extend_from_within(8..11));
        assert_eq!(again.expect("three of one batch again"), 3);
    }

    #[test]
    fn copies_that_are_lost_doubled_or_wrong_are_found() {
        let finding =
            |change: fn(&mut Vec<String>)| copies(change).expect_err("a refusal").to_string();
        let lost = finding(|copies| drop(copies.remove(7)));
        assert!(lost.contains("record 7 of 40 is missing"), "{lost}");
        let doubled = finding(|copies| copies.push("3:0:0:0".into()));
        assert!(doubled.contains("is in batches 0 and 3"), "{doubled}");
        let batches = finding(|copies| copies.extend_from_within(7..9));
        assert!(
            batches.contains("2 batches were written again"),
            "{batches}"
        );
        let moved = finding(|copies| copies[5] = "0:1:2:5".into());
        assert!(moved.contains("of no record"), "{moved}");
        assert!(finding(|copies| copies[5] = "spark".into()).contains("is no copy"));
    }

    #[test]
    fn counts_that_go_back_or_end_too_early_are_found() {
        let mut counts: Vec<String> = (0..10).map(|key| format!("k{key}:2")).collect();
        counts.extend((0..5).map(|key| format!("k{key}:3")));
        judge_counts(&counts, 25).expect("each as often as it was written");
        counts.push("k3:3".into());
        judge_counts(&counts, 25).expect("a batch again");
        let finding = |counts: &[String], records| {
            let error = judge_counts(counts, records).expect_err("a refusal");
            error.to_string()
        };
        assert!(finding(&counts, 26).contains("expected 3 of k5, found 2"));
        counts.push("k3:2".into());
        assert!(finding(&counts, 25).contains("k3:2 follows 3"));
    }
}

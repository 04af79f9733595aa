//! Spark's structured streams from Kafka into Cassandra with its connector: what users do, and how often, in
//! tables whose keys make a batch that is written again the same rows. Their JVM is killed at random moments and
//! goes on from checkpoints, the broker is killed, where it is ours; then every record is a row, and every
//! user has been counted exactly.
//!
//! `REKA_KILL_ROUNDS` sets how many kills, `REKA_KILL_SEED` repeats their moments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::kill_transactions::{PARTITIONS, create_topics, send};
use super::raw::{Random, in_rounds};
use super::spark::Release;
use crate::cassandra::Cassandra;
use crate::clients::prepare;
use crate::context::Context;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "spark-cassandra",
    // Not in the commit tier: minutes, and a gigabyte of memory beside the brokers.
    tiers: &[Tier::Nightly],
    about: "Spark 3.5 streams users from Kafka into Cassandra with its connector under kill -9: exact rows",
    judges: Judges::Any,
    run,
};

const ROUNDS: u64 = 2;
const USERS: u64 = 25;
/// Records that come in between two kills.
const RECORDS: u64 = 500;
/// A kill comes so many milliseconds after the streams were seen to go on.
const MOMENT_MS: std::ops::Range<u64> = 0..1500;
const PROGRESS_TIME_MAX: Duration = Duration::from_secs(240);
const FINISH_TIME_MAX: Duration = Duration::from_secs(400);
const KILL_TIME_MAX: Duration = Duration::from_secs(20);
const BROKER: &[&str] = &["auto.create.topics.enable=false"];

fn run(ctx: &Context) -> Result<Verdict> {
    in_rounds(ROUNDS, |rounds, seed| {
        let sources = ctx.client_sources("spark");
        let mut release = Release::prepare(ctx, "pyspark 3.5.7", "3.5")?;
        let pom = sources.join("cassandra/pom.xml");
        release.jars = prepare::maven(ctx, "spark-cassandra", &pom)?;
        release.program = sources.join("cassandra.py");
        target::each_told(ctx, BROKER, |target| {
            let began = Instant::now();
            let cassandra = Cassandra::start(ctx, &target.home().join("cassandra"))?;
            let world = World::new(&release, &cassandra, target, seed);
            let told = world?.kill_again_and_again(rounds)?;
            cassandra.kill()?;
            Ok(format!("{told} ({:.0} s)", began.elapsed().as_secs_f64()))
        })
    })
}

struct World<'a> {
    release: &'a Release,
    cassandra: &'a Cassandra,
    target: &'a mut Target,
    work: PathBuf,
    prefix: String,
    records: u64,
    lives: usize,
    random: Random,
}

impl<'a> World<'a> {
    fn new(
        release: &'a Release,
        cassandra: &'a Cassandra,
        target: &'a mut Target,
        seed: u64,
    ) -> Result<World<'a>> {
        let work = target.home().join("spark");
        files::make_dir(&work.join("tmp"))?;
        Ok(World {
            release,
            cassandra,
            target,
            work,
            // A broker that stays has seen other runs.
            prefix: format!("users-{seed:x}-"),
            records: 0,
            lives: 0,
            random: Random::new(seed),
        })
    }

    fn kill_again_and_again(&mut self, rounds: u64) -> Result<String> {
        let topic = format!("{}in", self.prefix);
        create_topics(self.target.address(), &[&topic])?;
        self.feed()?;
        let (mut jvms, mut brokers) = (0, 0);
        for round in 0..rounds {
            let mut job = self.start("follow")?;
            self.expect_progress(&mut job)?;
            self.feed()?;
            // The moment of the kill is what is tried out here, not something that is waited for.
            std::thread::sleep(Duration::from_millis(self.random.within(MOMENT_MS)));
            if round % 2 == 1 && self.target.comes_back_soon() {
                self.target.kill_and_start_again()?;
                brokers += 1;
                self.feed()?;
                job.expect_running()?;
            }
            job.kill(KILL_TIME_MAX)?;
            jvms += 1;
        }
        self.feed()?;
        let printed = self.finish()?;
        judge(&printed, self.records)?;
        Ok(format!(
            "{} records of {USERS} users, {jvms} kills of the JVM and {brokers} of the broker",
            self.records
        ))
    }

    /// Record n is of user n mod [`USERS`], and the n / 4th of partition n mod 4.
    fn feed(&mut self) -> Result<()> {
        let topic = format!("{}in", self.prefix);
        let mut side = Side::new("the broker", self.target.address());
        for _ in 0..RECORDS {
            let number = self.records;
            let user = number % USERS;
            let value = format!(r#"{{"user":{user},"name":"user {user}","number":{number}}}"#);
            let partition = (number % PARTITIONS as u64) as i32;
            send(
                &mut side,
                &topic,
                partition,
                Some(&user.to_string()),
                &value,
            )?;
            self.records += 1;
        }
        Ok(())
    }

    fn command(&mut self, how: &str) -> (Command, PathBuf, PathBuf) {
        let mut command = self.release.submit(&self.work);
        command
            .args([how, &self.prefix])
            .arg(self.work.join("checkpoints"))
            .arg(self.target.address().to_string())
            .arg(self.cassandra.port().to_string());
        self.lives += 1;
        let file = |ending| self.work.join(format!("life-{}.{ending}", self.lives));
        (command, file("out"), file("log"))
    }

    fn start(&mut self, how: &str) -> Result<Process> {
        let (mut command, out, log) = self.command(how);
        Process::start("run Spark", &mut command, &out, &log)
    }

    /// Both streams have finished another batch: what their checkpoints note when it is in Cassandra.
    fn expect_progress(&self, job: &mut Process) -> Result<()> {
        let commits = |table: &str| -> Result<usize> {
            let folder = self.work.join("checkpoints").join(table).join("commits");
            match folder.is_dir() {
                true => Ok(files::list(&folder)?.len()),
                false => Ok(0),
            }
        };
        let tables = ["events", "users"];
        let told = || {
            tables
                .iter()
                .map(|table| commits(table))
                .collect::<Result<Vec<_>>>()
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

    /// A life that ends by itself: what it printed.
    fn finish(&mut self) -> Result<String> {
        let (mut command, out, log) = self.command("finish");
        let job = Process::start("run Spark to its end", &mut command, &out, &log)?;
        job.finish(FINISH_TIME_MAX)?;
        files::read_text(&out)
    }
}

/// A row of a table.
#[derive(Debug, Deserialize)]
#[serde(tag = "table", rename_all = "lowercase")]
enum Told {
    Events {
        part: i32,
        off: u64,
        number: u64,
        name: String,
    },
    Users {
        id: u64,
        name: String,
        records: u64,
    },
}

/// A row for every record, at its place, and every user counted as often as he did something.
fn judge(printed: &str, records: u64) -> Result<()> {
    let refused = |finding: String| Err(Error::refused("look at the rows", finding));
    let (mut events, mut users) = (BTreeMap::new(), BTreeMap::new());
    for line in printed.lines() {
        let told = serde_json::from_str(line);
        let told =
            told.map_err(|error| Error::refused("read a row", format!("{line}: {error}")))?;
        match told {
            Told::Events {
                part,
                off,
                number,
                name,
            } => {
                events.insert(number, (part, off, name));
            }
            Told::Users { id, name, records } => {
                users.insert(id, (name, records));
            }
        }
    }
    for number in 0..records {
        let user = number % USERS;
        let each = PARTITIONS as u64;
        let expected = (
            (number % each) as i32,
            number / each,
            format!("user {user}"),
        );
        match events.remove(&number) {
            Some(found) if found == expected => {}
            Some(found) => {
                return refused(format!(
                    "record {number}: expected {expected:?}, found {found:?}"
                ));
            }
            None => return refused(format!("record {number} of {records} is missing")),
        }
    }
    if let Some((number, row)) = events.first_key_value() {
        return refused(format!("{row:?} is of record {number}, which nobody wrote"));
    }
    for user in 0..USERS {
        let expected = (format!("user {user}"), (records + USERS - 1 - user) / USERS);
        match users.remove(&user) {
            Some(found) if found == expected => {}
            found => {
                return refused(format!(
                    "user {user}: expected {expected:?}, found {found:?}"
                ));
            }
        }
    }
    match users.first_key_value() {
        None => Ok(()),
        Some((user, _)) => refused(format!("there is no user {user}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables after sixty records.
    fn judged(change: impl FnOnce(&mut Vec<String>)) -> Result<()> {
        let event = |n: u64| {
            let (part, off, user) = (n % 4, n / 4, n % USERS);
            format!(
                r#"{{"table":"events","part":{part},"off":{off},"number":{n},"name":"user {user}"}}"#
            )
        };
        let user = |id: u64| {
            let records = if id < 10 { 3 } else { 2 };
            format!(r#"{{"table":"users","id":{id},"name":"user {id}","records":{records}}}"#)
        };
        let mut rows: Vec<String> = (0..60).map(event).chain((0..USERS).map(user)).collect();
        change(&mut rows);
        judge(&rows.join("\n"), 60)
    }

    fn finding(change: impl FnOnce(&mut Vec<String>)) -> String {
        judged(change).expect_err("a refusal").to_string()
    }

    #[test]
    fn rows_that_are_missing_foreign_or_wrong_are_found() {
        judged(|_| ()).expect("all of it");
        judged(|rows| rows.reverse()).expect("in any order");
        assert!(finding(|rows| drop(rows.remove(7))).contains("record 7 of 60 is missing"));
        let moved = finding(|rows| rows[5] = rows[5].replace("\"off\":1", "\"off\":2"));
        assert!(
            moved.contains("record 5: expected (1, 1, \"user 5\"), found (1, 2"),
            "{moved}"
        );
        let more = finding(|rows| rows.push(rows[0].replace("\"number\":0", "\"number\":60")));
        assert!(more.contains("record 60, which nobody wrote"), "{more}");
        let counted = finding(|rows| rows[60] = rows[60].replace("\"records\":3", "\"records\":4"));
        assert!(
            counted.contains("user 0: expected (\"user 0\", 3)"),
            "{counted}"
        );
        assert!(finding(|rows| drop(rows.pop())).contains("user 24: expected"));
        assert!(finding(|rows| rows.push("spark".into())).contains("read a row"));
    }
}

//! A Kafka Streams application with `exactly_once_v2`, a stateful count with a changelog, whose broker and
//! instances are killed at random moments: every count of every key is told exactly once, in order. Of
//! Apache Kafka only the instances are killed ([`Target::keeps_markers`]).
//!
//! `REKA_KILL_ROUNDS` sets how many kills, `REKA_KILL_SEED` repeats their moments.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::kill_transactions::{BROKER, committed, create_topics, send};
use super::raw::{Random, in_rounds, rounds_of};
use crate::clients::prepare;
use crate::context::Context;
use crate::control::java::Java;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "streams",
    tiers: &[Tier::Ci],
    about: "Kafka Streams counts exactly once under kill -9 of the broker and of its instances",
    judges: Judges::Started,
    run,
};

const ROUNDS: u64 = 4;
const INSTANCES: usize = 2;
const KEYS: u64 = 10;
/// Records that come in between two kills.
const RECORDS: u64 = 1000;
/// An instance is killed so many milliseconds into a round.
const ROUND_MS: std::ops::Range<u64> = 20..600;
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(120);
const KILL_TIME_MAX: Duration = Duration::from_secs(20);

fn run(ctx: &Context) -> Result<Verdict> {
    in_rounds(ROUNDS, |rounds, seed| {
        let sources = ctx.client_sources("streams");
        let jars = prepare::maven(ctx, "kafka-streams", &sources.join("pom.xml"))?;
        let java = Java::with_classes_of(ctx, &jars, &sources.join("src"))?;
        target::each_told(&ctx.reka_unless_chosen(), BROKER, |target| {
            kill_again_and_again(&java, target, rounds, seed)
        })
    })
}

fn start_instance(java: &Java, home: &Path, address: SocketAddr, index: usize) -> Result<Process> {
    let mut command = java.command("Count", "WARN");
    let state = home.join(format!("state-{index}"));
    command.arg(&state).arg(address.to_string());
    let log = home.join(format!("streams-{index}.log"));
    Process::start("run a Streams instance", &mut command, &log, &log)
}

fn kill_again_and_again(
    java: &Java,
    target: &mut Target,
    rounds: u64,
    seed: u64,
) -> Result<String> {
    let rounds = rounds_of(target, rounds)?;
    let (home, address) = (target.home().to_owned(), target.address());
    create_topics(address, &["in", "counts"])?;
    let mut instances = Vec::new();
    for index in 0..INSTANCES {
        instances.push(start_instance(java, &home, address, index)?);
    }
    let mut random = Random::new(seed);
    let mut records = 0;
    let (mut brokers, mut clients) = (0, 0);
    feed(address, &mut records)?;
    wait::until("wait for the first count", CATCH_UP_TIME_MAX, || {
        Ok((!committed(address, "counts")?.is_empty()).then_some(()))
    })?;
    for _ in 0..rounds {
        // The moment of the kill is what is tried out here, not something that is waited for: some
        // time into what the instances are given to do.
        let moment = Duration::from_millis(random.within(ROUND_MS));
        let first = if target.keeps_markers() { 0 } else { 1 };
        match random.within(first..1 + INSTANCES as u64) {
            0 => {
                feed(address, &mut records)?;
                std::thread::sleep(moment / 4);
                target.kill_and_start_again()?;
                brokers += 1;
            }
            victim => {
                let index = victim as usize - 1;
                std::thread::scope(|scope| {
                    let feeding = scope.spawn(|| feed(address, &mut records));
                    std::thread::sleep(moment);
                    // Its state stays where it was: what it holds must fit the changelog.
                    let killed = instances.remove(index).kill(KILL_TIME_MAX);
                    let panicked = |_| Error::refused("feed", "its thread panicked");
                    feeding.join().map_err(panicked)??;
                    killed
                })?;
                instances.insert(index, start_instance(java, &home, address, index)?);
                clients += 1;
            }
        }
        let wanted = records as usize;
        wait::until("wait for every count", CATCH_UP_TIME_MAX, || {
            for instance in &mut instances {
                instance.expect_running()?;
            }
            Ok((committed(address, "counts")?.len() >= wanted).then_some(()))
        })?;
    }
    for instance in instances {
        instance.kill(KILL_TIME_MAX)?;
    }
    judge(&committed(address, "counts")?, records)?;
    Ok(format!(
        "{records} records counted, {brokers} kills of the broker and {clients} of instances"
    ))
}

/// More records: as many of each key, each key in one partition.
fn feed(address: SocketAddr, records: &mut u64) -> Result<()> {
    let mut side = Side::new("the broker", address);
    for _ in 0..RECORDS {
        let key = format!("k{}", *records % KEYS);
        let partition = (*records % KEYS % 2) as i32;
        send(&mut side, "in", partition, Some(&key), "v")?;
        *records += 1;
    }
    Ok(())
}

/// The counts of each key are 1, 2, 3, … in this order.
fn judge(counts: &[String], records: u64) -> Result<()> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for told in counts {
        let (key, count) = told.split_once(':').unwrap_or((told, "0"));
        let before = last.entry(key).or_default();
        if count.parse() != Ok(*before + 1) {
            let finding = format!("{told} follows {before}");
            return Err(Error::refused(
                "look for every count once and in order",
                finding,
            ));
        }
        *before += 1;
    }
    let each = records / KEYS;
    match last.values().all(|count| *count == each) && last.len() as u64 == KEYS {
        true => Ok(()),
        false => Err(Error::refused(
            "look for the last counts",
            format!("expected {each} of each of {KEYS} keys, found {last:?}"),
        )),
    }
}

//! A mixed load while the broker and its clients are killed and paused at random, for a bounded time: what
//! `cargo compat chaos` runs, and the row of the nightly tier.
//!
//! The clients are those of `kill-transactions`, which consume, transform and produce in transactions, and
//! the idempotent producers of `kill`; what they must find at the end is judged as there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::kill;
use super::kill_transactions::{self as transactions, CATCH_UP_TIME_MAX, WORKERS, World};
use super::raw::{Random, create_topic, number, seed_of_now};
use crate::context::Context;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::{interrupt, wait};

pub(super) const ROW: Row = Row {
    name: "chaos",
    tiers: &[Tier::Nightly],
    about: "broker and clients killed and paused at random under a mixed load: nothing lost, doubled or torn",
    judges: Judges::Started,
    run: |ctx| {
        let seed = number("REKA_KILL_SEED")?.unwrap_or_else(seed_of_now);
        run(ctx, SECONDS, seed).map(Verdict::Passed)
    },
};

/// For how long things happen unless somebody says otherwise; what is left is then caught up with.
pub const SECONDS: u64 = 120;
const PRODUCERS: usize = 3;
/// Records to transform that come in between two events.
const EVENT_EVERY_MS: std::ops::Range<u64> = 200..2500;
/// Longer than heartbeats, shorter than sessions, and longer than these.
const PAUSE_MS: std::ops::Range<u64> = 300..9000;
/// A broker that does not answer for long is one that is gone.
const BROKER_PAUSE_MS: std::ops::Range<u64> = 100..4000;
const KILL_TIME_MAX: Duration = Duration::from_secs(20);
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// What was done, by its name.
type Done = BTreeMap<&'static str, usize>;

/// Runs for `seconds`, with the events of `seed`; what was done and seen.
pub fn run(ctx: &Context, seconds: u64, seed: u64) -> Result<String> {
    let seen = target::each_told(&ctx.reka_unless_chosen(), transactions::BROKER, |target| {
        go_on(ctx, target, Duration::from_secs(seconds), seed)
    });
    let seen = seen.map_err(|error| {
        Error::refused(
            format!("cargo compat chaos --seconds {seconds} --seed {seed}"),
            error.to_string(),
        )
    })?;
    Ok(format!("{seen}, seed {seed}"))
}

fn go_on(ctx: &Context, target: &mut Target, time: Duration, seed: u64) -> Result<String> {
    let clients = transactions::stock_clients(ctx)?;
    let mut world = World::start(target, &clients)?;
    let mut side = Side::new("the broker", world.address);
    create_topic(&mut side, kill::TOPIC, 1)?;
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        producers.push(kill::Producer::new(&mut side)?);
    }
    drop(side);
    let stop = AtomicBool::new(false);
    let (address, stop) = (world.address, &stop);
    let mut records = 0;
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = producers
            .iter_mut()
            .map(|producer| scope.spawn(move || produce(producer, address, stop)))
            .collect();
        let done = disturb(&mut world, time, seed, &mut records);
        stop.store(true, Ordering::SeqCst);
        for thread in threads {
            let ended = thread.join();
            ended.map_err(|_| Error::refused("produce", "a thread panicked"))??;
        }
        done
    })?;
    let wanted = records as usize;
    wait::until("wait for every record", CATCH_UP_TIME_MAX, || {
        world.revive()?;
        let out = transactions::committed(world.address, "out")?;
        Ok((out.len() >= wanted).then_some(()))
    })?;
    world.settle()?;
    transactions::judge(world.address, records)?;
    let mut side = Side::new("the broker", world.address);
    for producer in &mut producers {
        producer.finish(&mut side)?;
    }
    let found = kill::read_all(&mut side)?;
    kill::judge(&producers, &found)?;
    let done: Vec<String> = done
        .iter()
        .map(|(what, times)| format!("{times} times {what}"))
        .collect();
    Ok(format!(
        "{records} records transformed, {} produced; {}",
        found.len(),
        done.join(", ")
    ))
}

/// Sends batch after batch, over every end of the broker, until it is told to stop.
fn produce(
    producer: &mut kill::Producer,
    address: std::net::SocketAddr,
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        producer.produce(address, stop)?;
        // The broker is gone; a pace, not a wait for it.
        std::thread::sleep(RETRY_EVERY);
    }
    Ok(())
}

/// One event after the other, each at a moment of chance; everybody goes on at the end.
fn disturb(world: &mut World<'_>, time: Duration, seed: u64, records: &mut u64) -> Result<Done> {
    let mut random = Random::new(seed);
    let mut done = Done::new();
    let mut paused: BTreeMap<usize, Instant> = BTreeMap::new();
    let end = Instant::now() + time;
    while Instant::now() < end && !interrupt::requested() {
        transactions::feed(world.address, records)?;
        // The moment of an event is what is tried out here, not something that is waited for.
        std::thread::sleep(Duration::from_millis(random.within(EVENT_EVERY_MS)));
        resume(world, &mut paused, |until| until <= Instant::now())?;
        let revived = world.revive()?;
        *done.entry("a client began again by itself").or_default() += revived;
        let victim = random.within(0..WORKERS as u64) as usize;
        let first = if world.keeps_markers() { 0 } else { 1 };
        let what = match random.within(first..6) {
            0 => {
                world.restart_broker()?;
                "the broker was killed"
            }
            1 => {
                let pause = Duration::from_millis(random.within(BROKER_PAUSE_MS));
                world.pause_broker(pause)?;
                "the broker was paused"
            }
            2 | 3 => {
                paused.remove(&victim);
                world.replace_worker(victim, KILL_TIME_MAX)?;
                "a client was killed"
            }
            _ if paused.contains_key(&victim) => continue,
            _ => {
                let pause = Duration::from_millis(random.within(PAUSE_MS));
                world.workers[victim].signal(Signal::STOP)?;
                paused.insert(victim, Instant::now() + pause);
                "a client was paused"
            }
        };
        *done.entry(what).or_default() += 1;
    }
    resume(world, &mut paused, |_| true)?;
    Ok(done)
}

fn resume(
    world: &mut World<'_>,
    paused: &mut BTreeMap<usize, Instant>,
    due: impl Fn(Instant) -> bool,
) -> Result<()> {
    let over: Vec<usize> = paused
        .iter()
        .filter(|(_, until)| due(**until))
        .map(|(worker, _)| *worker)
        .collect();
    for worker in over {
        paused.remove(&worker);
        world.workers[worker].signal(Signal::CONT)?;
    }
    Ok(())
}

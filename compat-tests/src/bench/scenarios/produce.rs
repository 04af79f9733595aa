//! Produce over raw sockets: batches of three sizes, and a thousand connections.

use std::time::Duration;

use super::Scenario;
use crate::bench::contestant::{Contestant, warm_page_cache};
use crate::bench::figures::Unit;
use crate::bench::frames::{self, Target};
use crate::bench::load::{Load, Plan};
use crate::error::Result;

/// Before anything is measured: a JVM compiles in this time what it is going to run.
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(6);
/// What is measured ends before the kernel begins to throttle writers.
const MEASURED_BYTES: u64 = 2 << 30;
const TIMESTAMP_MS: i64 = 1_700_000_000_000;
/// Apache Kafka leaves it to the kernel when records reach the disk; Reka alone on its node syncs them
/// within 100 ms. What is compared must do the same.
const UNSYNCED: &str = "reka.flush.group.ms=0";
/// Both do it: this is what Reka does anyway, and Apache Kafka when it is told to.
const SYNCED: &str = "log.flush.interval.ms=100";

pub(super) const BATCHES_1_MIB: Scenario = Scenario {
    name: "produce-1mib",
    about: "batches of 1 MiB, 4 connections, 4 in flight each, acks=1, never synced",
    settings: &["message.max.bytes=2097152", UNSYNCED],
    floor: true,
    run: |contestant| {
        let reached = run(contestant, 1023, 1024, 4, 4)?;
        Ok(vec![(
            "produce_1mib_bytes",
            Unit::GigabytesPerCpuSecond,
            reached.bytes,
        )])
    },
};

pub(super) const BATCHES_16_KIB: Scenario = Scenario {
    name: "produce-16kib",
    about: "batches of 16 KiB, 4 connections, 8 in flight each, acks=1, never synced",
    settings: &[UNSYNCED],
    floor: true,
    run: |contestant| {
        let reached = run(contestant, 15, 1073, 4, 8)?;
        Ok(vec![
            (
                "produce_16kib_bytes",
                Unit::GigabytesPerCpuSecond,
                reached.bytes,
            ),
            (
                "produce_16kib_requests",
                Unit::RequestsPerCpuSecond,
                reached.requests,
            ),
        ])
    },
};

pub(super) const SYNCED_16_KIB: Scenario = Scenario {
    name: "produce-synced",
    about: "batches of 16 KiB, 4 connections, 8 in flight each, acks=1, synced within 100 ms",
    settings: &[SYNCED],
    floor: false,
    run: |contestant| {
        let reached = run(contestant, 15, 1073, 4, 8)?;
        Ok(vec![
            (
                "produce_synced_bytes",
                Unit::GigabytesPerCpuSecond,
                reached.bytes,
            ),
            (
                "produce_synced_wall",
                Unit::GigabytesPerSecond,
                reached.wall,
            ),
        ])
    },
};

pub(super) const BATCHES_1_KIB: Scenario = Scenario {
    name: "produce-1kib",
    about: "batches of 1 KiB, 4 connections, 32 in flight each, acks=1, never synced",
    settings: &[UNSYNCED],
    floor: true,
    run: |contestant| {
        let reached = run(contestant, 9, 96, 4, 32)?;
        Ok(vec![(
            "produce_1kib_requests",
            Unit::RequestsPerCpuSecond,
            reached.requests,
        )])
    },
};

pub(super) const CONNECTIONS_1000: Scenario = Scenario {
    name: "produce-1000-connections",
    about: "1,000 connections with one small batch in flight each, acks=1, never synced",
    settings: &["max.connections.per.ip=2000", UNSYNCED],
    floor: true,
    run: |contestant| {
        let reached = run(contestant, 1, 100, 1000, 1)?;
        Ok(vec![
            (
                "connections_1000_requests",
                Unit::RequestsPerCpuSecond,
                reached.requests,
            ),
            ("connections_1000_p50", Unit::Microseconds, reached.p50_us),
            ("connections_1000_p99", Unit::Microseconds, reached.p99_us),
        ])
    },
};

struct Reached {
    bytes: f64,
    wall: f64,
    requests: f64,
    p50_us: f64,
    p99_us: f64,
}

fn run(
    contestant: &mut Contestant<'_>,
    records: usize,
    value_bytes: usize,
    connections: usize,
    depth: usize,
) -> Result<Reached> {
    contestant.create_topics("load", 1, 4)?;
    let batch = frames::batch(records, value_bytes, TIMESTAMP_MS)?;
    let target = |partition| Target {
        topic: "load-0",
        partition,
    };
    let mut plan = Plan {
        connections: Vec::new(),
        depth,
        error_at: target(0).produce_error_at(),
    };
    for connection in 0..connections {
        let frame = target((connection % 4) as i32).produce(1, batch.clone())?;
        plan.connections.push(vec![frame]);
    }
    let mut load = Load::connect(contestant.address()?, &plan)?;
    let requests = MEASURED_BYTES / batch.len() as u64;
    load.run(requests / 4, WARM_UP)?;
    warm_page_cache(contestant.home(), MEASURED_BYTES + MEASURED_BYTES / 4)?;
    let before = contestant.cpu_seconds()?;
    let reached = load.run(requests, MEASURED)?;
    let cpu_seconds = contestant.cpu_seconds()? - before;
    let done = reached.requests as f64;
    Ok(Reached {
        bytes: done * batch.len() as f64 / 1e9 / cpu_seconds,
        wall: done * batch.len() as f64 / 1e9 / reached.seconds,
        requests: done / cpu_seconds,
        p50_us: reached.percentile_us(0.5),
        p99_us: reached.percentile_us(0.99),
    })
}

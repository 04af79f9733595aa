//! Fetch over raw sockets of what was just written.

use std::time::Duration;

use super::Scenario;
use crate::bench::contestant::Contestant;
use crate::bench::figures::{Figure, Unit};
use crate::bench::frames::{self, FETCH_ERROR_AT, Target};
use crate::bench::load::{Load, Plan};
use crate::error::Result;

const FETCH_BYTES: i32 = 1 << 20;
const FETCHES: i64 = 64;
const WARM_UP: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(5);
const MEASURED_REQUESTS: u64 = 40_000;
const TIMESTAMP_MS: i64 = 1_700_000_000_000;

pub(super) const HOT: Scenario = Scenario {
    name: "consume-hot",
    about: "fetches of 1 MiB from the page cache, 4 connections, 2 in flight each",
    settings: &["message.max.bytes=2097152"],
    floor: true,
    run,
};

fn run(contestant: &mut Contestant<'_>) -> Result<Vec<Figure>> {
    let target = Target {
        topic: "load-0",
        partition: 0,
    };
    contestant.create_topics("load", 1, 1)?;
    // Batches of a quarter of a fetch less what the answer around them takes.
    let batch = frames::batch(64, 4000, TIMESTAMP_MS)?;
    let per_fetch = i64::from(FETCH_BYTES) / batch.len() as i64;
    let fill = Plan {
        connections: vec![vec![target.produce(1, batch)?]],
        depth: 1,
        error_at: target.produce_error_at(),
    };
    let address = contestant.address()?;
    let batches = (per_fetch * (FETCHES + 1)) as u64;
    Load::connect(address, &fill)?.run(batches, Duration::from_secs(60))?;

    let frames = (0..FETCHES)
        .map(|at| target.fetch(at * per_fetch * 64, FETCH_BYTES, 500))
        .collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        connections: vec![frames; 4],
        depth: 2,
        error_at: FETCH_ERROR_AT,
    };
    let mut load = Load::connect(address, &plan)?;
    load.run(MEASURED_REQUESTS / 4, WARM_UP)?;
    let before = contestant.cpu_seconds()?;
    let reached = load.run(MEASURED_REQUESTS, MEASURED)?;
    let cpu_seconds = contestant.cpu_seconds()? - before;
    let bytes = reached.received_bytes as f64 / 1e9;
    Ok(vec![
        (
            "consume_hot_cpu",
            Unit::GigabytesPerCpuSecond,
            bytes / cpu_seconds,
        ),
        (
            "consume_hot_wall",
            Unit::GigabytesPerSecond,
            bytes / reached.seconds,
        ),
    ])
}

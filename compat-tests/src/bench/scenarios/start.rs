//! From nothing to a produce that was answered, and what an idle broker holds.

use std::time::{Duration, Instant};

use super::Scenario;
use crate::bench::contestant::Contestant;
use crate::bench::figures::{Figure, Unit};
use crate::bench::frames::{self, Target};
use crate::bench::load::{Load, Plan};
use crate::error::Result;
use crate::wait;

/// How much log there is when the broker is killed.
const LOG_BYTES: u64 = 10 << 30;
const TIME_MAX: Duration = Duration::from_secs(300);
const TIMESTAMP_MS: i64 = 1_700_000_000_000;

pub(super) const START: Scenario = Scenario {
    name: "start",
    about: "start to the first produce: empty, and after kill -9 with 10 GiB of log; idle memory",
    settings: &["message.max.bytes=2097152"],
    floor: false,
    run,
};

fn run(contestant: &mut Contestant<'_>) -> Result<Vec<Figure>> {
    let idle_bytes = contestant.memory_bytes()?;
    contestant.create_topics("load", 1, 1)?;
    contestant.kill()?;
    let empty = until_produced(contestant, "load-0")?;
    let target = Target {
        topic: "load-0",
        partition: 0,
    };
    let batch = frames::batch(1023, 1024, TIMESTAMP_MS)?;
    let batches = LOG_BYTES / batch.len() as u64;
    let plan = Plan {
        connections: vec![vec![target.produce(1, batch)?]],
        depth: 2,
        error_at: target.produce_error_at(),
    };
    Load::connect(contestant.address()?, &plan)?.run(batches, TIME_MAX)?;
    contestant.kill()?;
    let after_kill = until_produced(contestant, "load-0")?;
    Ok(vec![
        ("idle_memory", Unit::Mebibytes, idle_bytes / 1048576.0),
        ("start_empty", Unit::Milliseconds, empty * 1e3),
        (
            "start_after_kill_10gib",
            Unit::Milliseconds,
            after_kill * 1e3,
        ),
    ])
}

/// Starts the broker; seconds until it answered a produce.
pub(super) fn until_produced(contestant: &mut Contestant<'_>, topic: &str) -> Result<f64> {
    let target = Target {
        topic,
        partition: 0,
    };
    let plan = Plan {
        connections: vec![vec![
            target.produce(1, frames::batch(1, 100, TIMESTAMP_MS)?)?,
        ]],
        depth: 1,
        error_at: target.produce_error_at(),
    };
    let began = contestant.start_again()?;
    let started = Instant::now();
    let address = contestant.address()?;
    wait::until("wait for a produce that is taken", TIME_MAX, || {
        // A broker that has just started may not lead the partition yet.
        let produced = Load::connect(address, &plan)?.run(1, TIME_MAX);
        Ok(produced.ok().map(drop))
    })?;
    Ok(began + started.elapsed().as_secs_f64())
}

//! Ten thousand partitions: making them, holding them, starting with them.

use std::time::Instant;

use super::Scenario;
use super::start::until_produced;
use crate::bench::contestant::Contestant;
use crate::bench::figures::{Figure, Unit};
use crate::error::Result;

/// Apache Kafka takes less than 10,000 partitions in one request.
const REQUESTS: usize = 10;
const TOPICS_EACH: usize = 10;
const PARTITIONS_EACH: i32 = 100;

pub(super) const PARTITIONS: Scenario = Scenario {
    name: "partitions",
    about: "10,000 partitions: created, held in memory, started with",
    settings: &[],
    floor: false,
    run,
};

fn run(contestant: &mut Contestant<'_>) -> Result<Vec<Figure>> {
    let idle_bytes = contestant.memory_bytes()?;
    let began = Instant::now();
    for request in 0..REQUESTS {
        let prefix = format!("many-{request}");
        contestant.create_topics(&prefix, TOPICS_EACH, PARTITIONS_EACH)?;
    }
    contestant.expect_partitions(REQUESTS * TOPICS_EACH * PARTITIONS_EACH as usize)?;
    let created = began.elapsed().as_secs_f64();
    let held = contestant.memory_bytes()? - idle_bytes;
    contestant.kill()?;
    let started = until_produced(contestant, "many-0-0")?;
    Ok(vec![
        ("create_10k_partitions", Unit::Milliseconds, created * 1e3),
        (
            "memory_10k_partitions",
            Unit::KibibytesEach,
            held / 1024.0 / 1e4,
        ),
        ("start_10k_partitions", Unit::Milliseconds, started * 1e3),
    ])
}

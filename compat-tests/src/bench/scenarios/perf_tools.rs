//! Apache Kafka's own ProducerPerformance and ConsumerPerformance, default settings.

use std::time::Duration;

use super::Scenario;
use crate::bench::contestant::Contestant;
use crate::bench::figures::{Figure, Unit};
use crate::error::Result;

const RECORDS: u64 = 1_000_000;
const WARM_UP_RECORDS: u64 = 300_000;
const RECORD_BYTES: u64 = 1024;
const TIME_MAX: Duration = Duration::from_secs(180);

pub(super) const PERF_TOOLS: Scenario = Scenario {
    name: "perf-tools",
    about: "ProducerPerformance and ConsumerPerformance, records of 1 KiB, default settings",
    settings: &[],
    floor: false,
    run,
};

fn run(contestant: &mut Contestant<'_>) -> Result<Vec<Figure>> {
    contestant.create_topics("perf", 1, 1)?;
    produce(contestant, WARM_UP_RECORDS)?;
    let before = contestant.cpu_seconds()?;
    produce(contestant, RECORDS)?;
    let produced = contestant.cpu_seconds()? - before;
    consume(contestant, WARM_UP_RECORDS)?;
    let before = contestant.cpu_seconds()?;
    consume(contestant, RECORDS)?;
    let consumed = contestant.cpu_seconds()? - before;
    let bytes = (RECORDS * RECORD_BYTES) as f64 / 1e9;
    Ok(vec![
        (
            "producer_performance",
            Unit::GigabytesPerCpuSecond,
            bytes / produced,
        ),
        (
            "consumer_performance",
            Unit::GigabytesPerCpuSecond,
            bytes / consumed,
        ),
    ])
}

fn produce(contestant: &Contestant<'_>, records: u64) -> Result<()> {
    let bootstrap = format!("bootstrap.servers={}", contestant.address()?);
    let arguments = [
        "--topic",
        "perf-0",
        "--num-records",
        &records.to_string(),
        "--record-size",
        &RECORD_BYTES.to_string(),
        "--throughput",
        "-1",
        "--producer-props",
        &bootstrap,
        "acks=1",
    ];
    let main = "org.apache.kafka.tools.ProducerPerformance";
    let work = contestant.home();
    let tools = contestant.tools()?;
    tools.run("producer-performance", main, arguments, work, TIME_MAX)?;
    Ok(())
}

fn consume(contestant: &Contestant<'_>, records: u64) -> Result<()> {
    let arguments = [
        "--bootstrap-server",
        &contestant.address()?.to_string(),
        "--topic",
        "perf-0",
        "--num-records",
        &records.to_string(),
    ];
    let main = "org.apache.kafka.tools.ConsumerPerformance";
    let work = contestant.home();
    let tools = contestant.tools()?;
    tools.run("consumer-performance", main, arguments, work, TIME_MAX)?;
    Ok(())
}

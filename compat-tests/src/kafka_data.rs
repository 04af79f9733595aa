//! Makes the test data that the storage engine is held against: directories written by Apache
//! Kafka, and what its own consumer and admin client say is in them.
//!
//! One broker, two lives. `clean` is what it left after the first, stopped with SIGTERM; `killed`
//! is what was there after more was written in the second, ended with SIGKILL. In each,
//! `log-dir/` is the log directory and `expected/` what must be found in it. What every topic holds
//! is in `storage-engine/tests/testdata/kafka-4.3.1/README.md`.

use std::path::Path;
use std::time::Duration;

use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::dump::judge;
use crate::error::{Error, Result};
use crate::files;

const WRITE_TIME_MAX: Duration = Duration::from_secs(300);

/// Small indexes, because an unclean stop leaves them at their full, preallocated size; a cleaner
/// that looks often, because we wait for it; room for a transaction that nobody ends.
const CONFIG: &[&str] = &[
    "log.index.size.max.bytes=4096",
    "log.cleaner.backoff.ms=200",
    "log.cleaner.threads=1",
    "transaction.max.timeout.ms=900000",
];

/// The compacted ones, and the coordinator's own, which is compacted too.
const WITH_GAPS: &[&str] = &[
    "__transaction_state",
    "compacted",
    "compacted-no-tombstones",
    "compacted-transactional",
];

/// Writes `clean/` and `killed/` below `target`, which must not have them yet.
pub fn make(ctx: &Context, target: &Path) -> Result<()> {
    let clean = target.join("clean");
    let killed = target.join("killed");
    for dir in [&clean, &killed] {
        if dir.exists() {
            let step = format!("make {}", dir.display());
            return Err(Error::refused(step, "it is already there; remove it first"));
        }
    }
    let java = Java::with_our_classes(ctx)?;
    let home = ctx.work().join("kafka");

    let kafka = Kafka::start(&java, &home, CONFIG)?;
    run(ctx, &java, &kafka, "FirstLife", kafka.log_dir())?;
    run(ctx, &java, &kafka, "Expect", &clean.join("expected"))?;
    let log_dir = kafka.log_dir().to_owned();
    kafka.stop()?;
    keep(&java, ctx, &log_dir, &clean)?;

    let kafka = Kafka::start(&java, &home, CONFIG)?;
    run(ctx, &java, &kafka, "SecondLife", kafka.log_dir())?;
    run(ctx, &java, &kafka, "Expect", &killed.join("expected"))?;
    kafka.kill()?;
    keep(&java, ctx, &log_dir, &killed)
}

/// A cleaner that is never content, segments that end soon, and members that nobody misses.
const COORDINATORS: &[&str] = &[
    "log.index.size.max.bytes=4096",
    "log.roll.ms=2000",
    "log.cleaner.backoff.ms=200",
    "log.cleaner.min.cleanable.ratio=0.01",
    "share.coordinator.state.topic.num.partitions=1",
    "group.consumer.max.session.timeout.ms=1800000",
    "group.consumer.session.timeout.ms=1800000",
];

/// Writes the logs of coordinators, and what is told of them, below `target`, which must not have them yet.
pub fn make_coordinators(ctx: &Context, target: &Path) -> Result<()> {
    let topics = ["__consumer_offsets-0", "__transaction_state-0"];
    if let Some(dir) = topics
        .map(|topic| target.join(topic))
        .iter()
        .find(|dir| dir.exists())
    {
        let step = format!("make {}", dir.display());
        return Err(Error::refused(step, "it is already there; remove it first"));
    }
    let java = Java::with_our_classes(ctx)?;
    let home = ctx.work().join("kafka");
    let kafka = Kafka::start(&java, &home, COORDINATORS)?;
    let log_dir = kafka.log_dir().to_owned();
    files::make_dir(target)?;
    let expected = target.join("expected.txt");
    let args = [
        kafka.address().to_string(),
        log_dir.display().to_string(),
        expected.display().to_string(),
    ];
    java.run(
        "Coordinators",
        "Coordinators",
        args,
        ctx.work(),
        WRITE_TIME_MAX,
    )?;
    kafka.stop()?;
    for topic in topics {
        files::copy_dir(&log_dir.join(topic), &target.join(topic), &|name| {
            name != "partition.metadata"
        })?;
    }
    Ok(())
}

fn run(ctx: &Context, java: &Java, kafka: &Kafka, main: &str, path: &Path) -> Result<()> {
    eprintln!("{main}");
    let args = [kafka.address().to_string(), path.display().to_string()];
    java.run(main, main, args, ctx.work(), WRITE_TIME_MAX)
        .map(drop)
}

/// Copies the log directory and writes the manifest of what it holds.
fn keep(java: &Java, ctx: &Context, log_dir: &Path, target: &Path) -> Result<()> {
    let copy = target.join("log-dir");
    files::copy_dir(log_dir, &copy, &|name| {
        name != ".lock" && name != "bootstrap.checkpoint"
    })?;
    let manifest = judge::observe(java, &copy, WITH_GAPS, &ctx.work().join("observe"))?;
    files::write_json(&target.join("expected/manifest.json"), &manifest)
}

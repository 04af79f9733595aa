//! Our own client against Apache Kafka: the tests of `reka-client`, which run against our broker with
//! `cargo test`, run here against the control, unchanged.

use std::process::Command;
use std::time::Duration;

use crate::context::Context;
use crate::control::java::Java;
use crate::control::secure::{self, Secure};
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "client",
    tiers: &[Tier::Ci],
    about: "the tests of our own client, against Apache Kafka",
    judges: Judges::Kafka,
    run,
};

const TESTS_TIME_MAX: Duration = Duration::from_secs(1800);

fn run(ctx: &Context) -> Result<Verdict> {
    own_tests(ctx, "reka-client")
}

/// Runs the tests of a crate that has a client's tests, against a fresh Apache Kafka.
pub(super) fn own_tests(ctx: &Context, package: &str) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let Secure { kafka, settings } = secure::start(&java, &ctx.work().join("kafka"))?;
    let log = ctx.work().join("tests.log");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(ctx.checkout())
        .args(["test", "--locked", "--package", package, "--test", "it"])
        .env("REKA_TEST_BOOTSTRAP", kafka.address().to_string())
        .env("REKA_TEST_SECURE", settings);
    let step = format!("test {package} against Apache Kafka");
    Process::start(&step, &mut cargo, &log, &log)?.finish(TESTS_TIME_MAX)?;
    kafka.stop()?;
    let passed = passed(&files::read_text(&log)?);
    match passed {
        Some(tests @ 1..) => Ok(Verdict::Passed(format!("{tests} tests"))),
        _ => Err(Error::refused(step, "no test ran")),
    }
}

/// How many tests a log of `cargo test` says have passed.
fn passed(log: &str) -> Option<u64> {
    let line = log.lines().find(|line| line.starts_with("test result: "))?;
    let (_, after) = line.split_once("ok. ")?;
    after.split_whitespace().next()?.parse().ok()
}

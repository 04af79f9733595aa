//! librdkafka's own tests, as they come along in the crate rdkafka-sys, against a broker: those that need one and
//! neither a second broker nor a script that starts it. `REKA_LIBRDKAFKA_TESTS` runs some, by number: `0012,0017`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::rdkafka;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Verdict};
use crate::target::{self, Target};

pub(super) const ROW: Row = Row {
    name: "librdkafka-suite",
    tiers: &[],
    about: "librdkafka's own tests, as the crate rdkafka-sys brings them along",
    judges: Judges::Any,
    run,
};

const BUILD_TIME_MAX: Duration = Duration::from_secs(2400);
const SUITE_TIME_MAX: Duration = Duration::from_secs(3600);
/// As its README wants a broker.
const BROKER: &[&str] = &[
    "auto.create.topics.enable=true",
    "num.partitions=4",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
];
/// What is not run, by number, and why.
const SKIPPED: &[(&str, &str)] = &[];

fn run(ctx: &Context) -> Result<Verdict> {
    let runner = build(ctx)?;
    let told = target::each_told(ctx, BROKER, |target| {
        let began = Instant::now();
        let report = run_against(&runner, target)?;
        let passed = judge(&report)?;
        Ok(format!(
            "{passed} tests ({:.0} s)",
            began.elapsed().as_secs_f64()
        ))
    })?;
    let skipped = SKIPPED.iter().map(|(test, why)| format!("{test} {why}"));
    let skipped: Vec<String> = skipped.collect();
    Ok(Verdict::Passed(format!(
        "{told}; not run: {}",
        skipped.join(", ")
    )))
}

/// Builds the tests beside the librdkafka that the crate was built with; the folder of the runner.
fn build(ctx: &Context) -> Result<PathBuf> {
    let builds = rdkafka::build(ctx)?.join("debug/build");
    let out_of = |name: &str| -> Result<PathBuf> {
        let mut found = files::list(&builds)?.into_iter().filter(|folder| {
            files::name_of(folder).starts_with(name) && folder.join("out").is_dir()
        });
        let found = found.next().map(|folder| folder.join("out"));
        found.ok_or_else(|| {
            let finding = format!("no {name}*; remove the folder to build it again");
            Error::refused(format!("look into {}", builds.display()), finding)
        })
    };
    let (library, zstd) = (out_of("rdkafka-sys-")?, out_of("zstd-sys-")?);
    let tests = library.join("tests");
    let log = ctx.work().join("make.log");
    let mut make = Command::new("make");
    // What its configuration has of these names a folder that has been renamed since. Said here they stand
    // instead of what the folders below add, so that they are no relative paths.
    let (c, cpp) = (library.join("src"), library.join("src-cpp"));
    make.arg("-C")
        .arg(&tests)
        .args(["-j2", "test-runner"])
        .arg(format!(
            "CFLAGS=-I{} -I{}",
            c.display(),
            zstd.join("include").display()
        ))
        .arg(format!(
            "LDFLAGS=-rdynamic -L{} -L{} -L{}",
            c.display(),
            cpp.display(),
            zstd.display()
        ));
    Process::start("build librdkafka's tests", &mut make, &log, &log)?.finish(BUILD_TIME_MAX)?;
    Ok(tests)
}

#[derive(Deserialize)]
struct Report {
    tests: BTreeMap<String, Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    state: String,
}

fn run_against(tests: &Path, target: &Target) -> Result<Report> {
    let work = target.home().join("librdkafka");
    files::make_dir(&work)?;
    files::write(
        &work.join("test.conf"),
        format!(
            "bootstrap.servers={}\nbroker.address.family=v4\n",
            target.address()
        ),
    )?;
    let libraries = format!(
        "{}:{}",
        tests.join("../src").display(),
        tests.join("../src-cpp").display()
    );
    let skipped: Vec<&str> = SKIPPED.iter().map(|(test, _)| *test).collect();
    let log = work.join("tests.log");
    let mut command = Command::new(tests.join("test-runner"));
    command
        .current_dir(&work)
        // Quick, one at a time, not those that need no broker or slow the network down.
        .args(["-Q", "-p1", "-L", "-E"])
        .env("LD_LIBRARY_PATH", libraries)
        .env("RDKAFKA_TEST_CONF", "test.conf")
        .env("TEST_KAFKA_VERSION", "4.0.0")
        .env("TEST_REPORT", "report.json")
        .env("TESTS_SKIP", skipped.join(","))
        .env_remove("CI");
    match std::env::var("REKA_LIBRDKAFKA_TESTS") {
        Ok(chosen) => command.env("TESTS", chosen),
        Err(_) => command.env_remove("TESTS"),
    };
    let step = format!("run librdkafka's tests against {}", target.name());
    // How it ends is in its report, test by test.
    Process::start(&step, &mut command, &log, &log)?.end(SUITE_TIME_MAX)?;
    files::read_json(&work.join("report.json"))
        .map_err(|error| Error::refused(step, format!("{error}; log: {}", log.display())))
}

/// How many passed, if none failed.
fn judge(report: &Report) -> Result<usize> {
    // The first of them is the runner itself.
    let tests = report.tests.iter().filter(|(name, _)| *name != "<MAIN>");
    let tests: Vec<(&String, &str)> = tests
        .map(|(name, outcome)| (name, outcome.state.as_str()))
        .collect();
    let bad = tests
        .iter()
        .filter(|(_, state)| !["PASSED", "SKIPPED", "DNS"].contains(state));
    let bad: Vec<String> = bad.map(|(name, state)| format!("{name} {state}")).collect();
    let passed = tests.iter().filter(|(_, state)| *state == "PASSED").count();
    match (bad.is_empty(), passed) {
        (true, 1..) => Ok(passed),
        (true, 0) => Err(Error::refused("judge librdkafka's tests", "none was run")),
        (false, _) => Err(Error::refused(
            "judge librdkafka's tests",
            format!("{} failed: {}", bad.len(), bad.join(", ")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Result<usize> {
        judge(&serde_json::from_str(text).expect("a report"))
    }

    #[test]
    fn what_failed_or_was_not_run_is_no_pass() {
        let report = |state: &str| {
            format!(
                r#"{{"tests":{{"<MAIN>":{{"state":"PASSED"}},"0012_produce":{{"state":"{state}"}}}}}}"#
            )
        };
        assert_eq!(judged(&report("PASSED")).expect("one"), 1);
        for (state, why) in [
            ("FAILED", "1 failed: 0012_produce FAILED"),
            ("RUNNING", "1 failed: 0012_produce RUNNING"),
            ("SKIPPED", "none was run"),
        ] {
            let error = judged(&report(state)).expect_err("no pass").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}

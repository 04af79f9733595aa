//! The crate rdkafka's own integration tests, as the crate brings them along, against a broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::suite::{Seen, Suite};
use crate::clients::prepare;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::Target;

pub(super) const ROW: Row = Row {
    name: "rdkafka-suite",
    tiers: &[Tier::Nightly],
    about: "the integration tests of the crate rdkafka, as it brings them along",
    judges: Judges::Any,
    run,
};

const ASK_TIME_MAX: Duration = Duration::from_secs(120);
const BUILD_TIME_MAX: Duration = Duration::from_secs(3600);
const TESTS_TIME_MAX: Duration = Duration::from_secs(600);
const SUITE: Suite = Suite {
    name: "the tests of rdkafka",
    // As the compose file beside them configures a broker.
    broker: &[
        "auto.create.topics.enable=true",
        "num.partitions=3",
        "group.initial.rebalance.delay.ms=0",
    ],
    skipped: &[
        ("test_configs", "asks for a broker whose id is 0"),
        ("test_topics", "asks for a broker whose id is 0"),
        (
            "test_metadata",
            "asks for a broker whose id is 0 and whose port is 9092",
        ),
        (
            "test_future_producer_send",
            "asks for a broker at port 9092 of localhost",
        ),
        (
            "test_future_producer_send_fail",
            "asks for a broker at port 9092 of localhost",
        ),
        (
            "test_base_producer_timeout",
            "hopes that a topic takes longer than 100 ms to appear",
        ),
    ],
};

/// They wait for a second, not until something is so: a machine that does something else too can be late.
const IN_TIME: &[&str] = &["test_produce_consume_message_queue_nonempty_callback"];

fn run(ctx: &Context) -> Result<Verdict> {
    let programs = build(ctx)?;
    SUITE.judge(ctx, |target| {
        let mut all = Seen::default();
        for program in &programs {
            let seen = run_against(program, target)?;
            all.passed += seen.passed;
            all.failed.extend(seen.failed);
        }
        Ok(all)
    })
}

/// The programs of the tests, built from the sources that the client program of `rdkafka` is built from.
fn build(ctx: &Context) -> Result<Vec<PathBuf>> {
    let sources = sources(ctx)?;
    let key = files::read(&sources.join("Cargo.lock"))?;
    let built = prepare::once(ctx, "rdkafka-suite", &key, "built", |partial| {
        // Away from the registry's folder, which is not ours to write into.
        let own = ctx.work().join("rdkafka");
        files::copy_dir(&sources, &own, &|_| true)?;
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&own)
            .env_remove("CARGO_TARGET_DIR")
            .args([
                "test",
                "--quiet",
                "--locked",
                "--no-run",
                "--tests",
                "--target-dir",
            ])
            .arg(partial);
        let log = ctx.work().join("cargo-rdkafka-suite.log");
        let step = "build the tests of rdkafka";
        Process::start(step, &mut cargo, &log, &log)?.finish(BUILD_TIME_MAX)
    })?;
    let is_test =
        |file: &PathBuf| files::name_of(file).starts_with("test_") && file.extension().is_none();
    let programs = files::list(&built.join("debug/deps"))?;
    let programs: Vec<PathBuf> = programs.into_iter().filter(is_test).collect();
    match programs.is_empty() {
        false => Ok(programs),
        true => Err(Error::refused(
            format!("look into {}", built.display()),
            "no program of a test; remove the folder to build it again",
        )),
    }
}

/// Where cargo keeps the sources of the crate.
fn sources(ctx: &Context) -> Result<PathBuf> {
    let step = "ask cargo for the sources of rdkafka";
    let out = ctx.work().join("metadata.json");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(ctx.client_sources("rust")).args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
    ]);
    let log = ctx.work().join("metadata.log");
    Process::start(step, &mut cargo, &out, &log)?.finish(ASK_TIME_MAX)?;
    let told: Value = files::read_json(&out)?;
    let packages = told["packages"].as_array().cloned().unwrap_or_default();
    let found = packages.iter().find(|package| package["name"] == "rdkafka");
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
    let folder = folder.ok_or_else(|| Error::refused(step, "no package of this name"))?;
    Ok(folder.to_owned())
}

/// Those of [`IN_TIME`] that failed are asked once more, one at a time.
fn run_against(program: &Path, target: &Target) -> Result<Seen> {
    let mut seen = run_tests(program, target, "together", &["--test-threads=2"])?;
    let late = |test: &String| IN_TIME.contains(&test.as_str());
    let (late, failed): (Vec<_>, Vec<_>) = seen.failed.into_iter().partition(late);
    let mut named = at(failed, &log(program, target, "together"));
    if !late.is_empty() {
        let names = late.iter().map(String::as_str);
        let again: Vec<&str> = std::iter::once("--test-threads=1").chain(names).collect();
        let alone = run_tests(program, target, "alone", &again)?;
        seen.passed += alone.passed;
        named.extend(at(alone.failed, &log(program, target, "alone")));
    }
    seen.failed = named;
    Ok(seen)
}

fn at(failed: Vec<String>, log: &Path) -> Vec<String> {
    let failed = failed.into_iter();
    failed
        .map(|test| format!("{test}, log: {}", log.display()))
        .collect()
}

fn log(program: &Path, target: &Target, how: &str) -> PathBuf {
    let name = files::name_of(program);
    target.home().join(format!("{name}-{how}.log"))
}

fn run_tests(program: &Path, target: &Target, how: &str, chosen: &[&str]) -> Result<Seen> {
    let name = files::name_of(program);
    let log = log(program, target, how);
    let mut command = Command::new(program);
    command
        .current_dir(target.home())
        .env("KAFKA_HOST", target.address().to_string())
        .env("RUST_LOG", "off")
        .arg("--exact")
        .args(chosen);
    for (test, _) in SUITE.skipped {
        command.args(["--skip", test]);
    }
    let step = format!("run {name} {how} against {}", target.name());
    let status = Process::start(&step, &mut command, &log, &log)?.end(TESTS_TIME_MAX)?;
    let seen = judge(&files::read_text(&log)?);
    if !status.success() && seen.failed.is_empty() {
        let finding = format!("it ended with {status}; log: {}", log.display());
        return Err(Error::refused(step, finding));
    }
    Ok(seen)
}

/// Lines such as "test test_metadata ... ok".
fn judge(printed: &str) -> Seen {
    let tests = printed
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    let mut seen = Seen::default();
    for (name, end) in tests {
        match end.trim_end().ends_with("ok") {
            true => seen.passed += 1,
            false => seen.failed.push(name.to_owned()),
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_lines() {
        let printed = "running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ok\n\ntest result: FAILED. 2 passed\n";
        let seen = Seen {
            passed: 2,
            failed: vec!["b".to_owned()],
        };
        assert_eq!(judge(printed), seen);
    }
}

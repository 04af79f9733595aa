//! The crate rdkafka's own integration tests, as the crate brings them along, against a broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::clients::prepare;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Verdict};
use crate::target::{self, Target};

pub(super) const ROW: Row = Row {
    name: "rdkafka-suite",
    tiers: &[],
    about: "the integration tests of the crate rdkafka, as it brings them along",
    judges: Judges::Any,
    run,
};

const ASK_TIME_MAX: Duration = Duration::from_secs(120);
const BUILD_TIME_MAX: Duration = Duration::from_secs(3600);
const TESTS_TIME_MAX: Duration = Duration::from_secs(600);
/// As the compose file beside the tests configures a broker.
const BROKER: &[&str] = &[
    "auto.create.topics.enable=true",
    "num.partitions=3",
    "group.initial.rebalance.delay.ms=0",
];
/// What is not run, and why.
const SKIPPED: &[(&str, &str)] = &[("test_configs", "asks for a broker whose id is 0")];

fn run(ctx: &Context) -> Result<Verdict> {
    let programs = build(ctx)?;
    let told = target::each_told(ctx, BROKER, |target| {
        let mut passed = 0;
        let mut failed = Vec::new();
        for program in &programs {
            let (count, wrong) = run_against(program, target)?;
            passed += count;
            failed.extend(wrong);
        }
        if failed.is_empty() && passed > 0 {
            return Ok(format!("{passed} tests"));
        }
        let finding = format!(
            "{passed} passed, {} failed: {}",
            failed.len(),
            failed.join("; ")
        );
        Err(Error::refused("judge the tests of rdkafka", finding))
    })?;
    let skipped = SKIPPED.iter().map(|(test, why)| format!("{test} {why}"));
    let skipped: Vec<String> = skipped.collect();
    Ok(Verdict::Passed(format!(
        "{told}; not run: {}",
        skipped.join(", ")
    )))
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

/// How many passed, and what failed.
fn run_against(program: &Path, target: &Target) -> Result<(usize, Vec<String>)> {
    let name = files::name_of(program);
    let log = target.home().join(format!("{name}.log"));
    let mut command = Command::new(program);
    command
        .current_dir(target.home())
        .env("KAFKA_HOST", target.address().to_string())
        .env("RUST_LOG", "off")
        .arg("--test-threads=2");
    for (test, _) in SKIPPED {
        command.args(["--skip", test]);
    }
    let step = format!("run {name} against {}", target.name());
    let status = Process::start(&step, &mut command, &log, &log)?.end(TESTS_TIME_MAX)?;
    let (passed, mut failed) = judge(&files::read_text(&log)?);
    if !status.success() && failed.is_empty() {
        failed.push(format!("{name} ended with {status}"));
    }
    let failed = failed
        .iter()
        .map(|test| format!("{test}, log: {}", log.display()));
    Ok((passed, failed.collect()))
}

/// Lines such as "test test_metadata ... ok".
fn judge(printed: &str) -> (usize, Vec<String>) {
    let tests = printed.lines().filter_map(|line| {
        let (name, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
        Some((name, end))
    });
    let (passed, failed): (Vec<_>, Vec<_>) =
        tests.partition(|(_, end)| end.trim_end().ends_with("ok"));
    (
        passed.len(),
        failed.iter().map(|(name, _)| (*name).to_owned()).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_lines() {
        let printed = "running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ok\n\ntest result: FAILED. 2 passed\n";
        assert_eq!(judge(printed), (2, vec!["b".to_owned()]));
    }
}

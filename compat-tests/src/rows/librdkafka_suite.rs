//! librdkafka's own tests, as they come along in the crate rdkafka-sys, against a broker: those that need one and
//! neither a second broker nor a script that starts it. `REKA_LIBRDKAFKA_TESTS` runs some, by number: `0012,0017`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::rdkafka;
use super::suite::{Seen, Suite};
use crate::context::Context;
use crate::control::java::Java;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::Target;

pub(super) const ROW: Row = Row {
    name: "librdkafka-suite",
    tiers: &[Tier::Nightly],
    about: "librdkafka's own tests, as the crate rdkafka-sys brings them along",
    judges: Judges::Any,
    run,
};

const BUILD_TIME_MAX: Duration = Duration::from_secs(2400);
const SUITE_TIME_MAX: Duration = Duration::from_secs(5400);
/// How many times as long as on the machine they were written on a test may take.
const PATIENCE: u32 = 4;
const SUITE: Suite = Suite {
    name: "librdkafka's tests",
    // As its README wants a broker.
    broker: &[
        "auto.create.topics.enable=true",
        "num.partitions=4",
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=4",
        "transaction.state.log.num.partitions=4",
    ],
    skipped: SKIPPED,
};
/// By number.
const SKIPPED: &[(&str, &str)] = &[
    (
        "0077",
        "creates a topic with segments smaller than Apache Kafka 4.3.1 allows",
    ),
    ("0081", ACLS),
    ("0103", "creates topics of three replicas"),
    ("0109", ACLS),
    ("0115", ACLS),
    (
        "0118",
        "expects a commit to fail that Apache Kafka 4.3.1 takes too",
    ),
    ("0119", ACLS),
    (
        "0129",
        "creates a topic with segments smaller than Apache Kafka 4.3.1 allows",
    ),
];

const ACLS: &str = "sets ACLs, which Reka does not have yet";

/// By number, too: they want things done within a second, and are asked once more where they were not.
const IN_TIME: &[&str] = &["0001"];

fn run(ctx: &Context) -> Result<Verdict> {
    let runner = build(ctx)?;
    let java = Java::kafka(ctx)?;
    SUITE.judge(ctx, |target| {
        let mut report = run_against(&runner, &java, target, None)?;
        let late: Vec<&str> = report
            .failed()
            .filter(|test| IN_TIME.contains(test))
            .collect();
        if !late.is_empty() {
            let again = run_against(&runner, &java, target, Some(&late.join(",")))?;
            report.tests.extend(again.ended());
        }
        Ok(report.seen())
    })
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

fn run_against(tests: &Path, java: &Java, target: &Target, again: Option<&str>) -> Result<Report> {
    let work = target.home().join(match again {
        None => "librdkafka",
        Some(_) => "librdkafka-again",
    });
    files::make_dir(&work)?;
    files::write(
        &work.join("test.conf"),
        format!(
            "bootstrap.servers={}\nbroker.address.family=v4\ntest.timeout.multiplier={PATIENCE}\n",
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
        .env("KAFKA_PATH", tools(java, &work)?)
        .env("BROKERS", target.address().to_string())
        .env("TEST_REPORT", "report.json")
        .env("TESTS_SKIP", skipped.join(","))
        .env_remove("CI");
    let chosen = std::env::var("REKA_LIBRDKAFKA_TESTS").ok();
    match again.map(str::to_owned).or(chosen) {
        Some(chosen) => command.env("TESTS", chosen),
        None => command.env_remove("TESTS"),
    };
    let step = format!("run librdkafka's tests against {}", target.name());
    // How it ends is in its report, test by test.
    Process::start(&step, &mut command, &log, &log)?.end(SUITE_TIME_MAX)?;
    files::read_json(&work.join("report.json"))
        .map_err(|error| Error::refused(step, format!("{error}; log: {}", log.display())))
}

impl Report {
    /// The numbers of what failed.
    fn failed(&self) -> impl Iterator<Item = &str> {
        let bad = |state: &str| !["PASSED", "SKIPPED", "DNS"].contains(&state);
        let failed = self.tests.iter().filter(move |(_, end)| bad(&end.state));
        failed.filter_map(|(name, _)| name.split_once('_').map(|(number, _)| number))
    }

    /// What was run at all.
    fn ended(self) -> impl Iterator<Item = (String, Outcome)> {
        let ran = |state: &str| !["SKIPPED", "DNS"].contains(&state);
        self.tests
            .into_iter()
            .filter(move |(_, end)| ran(&end.state))
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for (name, Outcome { state }) in &self.tests {
            match state.as_str() {
                // The runner itself.
                _ if name == "<MAIN>" => {}
                "PASSED" => seen.passed += 1,
                "SKIPPED" | "DNS" => {}
                state => seen.failed.push(format!("{name} {state}")),
            }
        }
        seen
    }
}

/// The shell tool of Apache Kafka that some of the tests call, where they look for it.
fn tools(java: &Java, work: &Path) -> Result<PathBuf> {
    let home = work.join("kafka");
    let bin = home.join("bin");
    files::make_dir(&bin)?;
    let command = java.command("org.apache.kafka.tools.TopicCommand", "WARN");
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
    files::write_program(&bin.join("kafka-topics.sh"), script)?;
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_once_more_ends_as_it_did_then() {
        let report = |text: &str| -> Report { serde_json::from_str(text).expect("a report") };
        let mut first = report(
            r#"{"tests":{"0001_multiobj":{"state":"FAILED"},"0012_produce":{"state":"PASSED"},
            "0017_x":{"state":"RUNNING"}}}"#,
        );
        assert_eq!(first.failed().collect::<Vec<_>>(), ["0001", "0017"]);
        let again = report(
            r#"{"tests":{"0001_multiobj":{"state":"PASSED"},"0012_produce":{"state":"SKIPPED"}}}"#,
        );
        first.tests.extend(again.ended());
        let Seen { passed, failed } = first.seen();
        assert_eq!(
            (passed, failed.as_slice()),
            (2, &["0017_x RUNNING".to_owned()][..])
        );
    }

    #[test]
    fn only_what_passed_counts_and_what_never_ended_has_failed() {
        let seen = |state: &str| {
            let text = format!(
                r#"{{"tests":{{"<MAIN>":{{"state":"PASSED"}},"0012_produce":{{"state":"{state}"}}}}}}"#
            );
            let report: Report = serde_json::from_str(&text).expect("a report");
            let Seen { passed, failed } = report.seen();
            (passed, failed.join(", "))
        };
        assert_eq!(seen("PASSED"), (1, String::new()));
        assert_eq!(seen("SKIPPED"), (0, String::new()));
        assert_eq!(seen("FAILED"), (0, "0012_produce FAILED".to_owned()));
        assert_eq!(seen("RUNNING"), (0, "0012_produce RUNNING".to_owned()));
    }
}

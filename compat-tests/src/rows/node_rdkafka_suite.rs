//! node-rdkafka's own end-to-end tests, as the package brings them along, against a broker.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reka_protocol::kafka_protocol::messages::CreateTopicsRequest;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use serde::Deserialize;

use super::node;
use super::raw::{answer, topic_name};
use super::suite::{Seen, Suite};
use crate::context::Context;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::Target;

pub(super) const ROW: Row = Row {
    name: "node-rdkafka-suite",
    tiers: &[Tier::Nightly],
    about: "the end-to-end tests of node-rdkafka, as the package brings them along",
    judges: Judges::Any,
    run,
};

const ATTEMPTS: u32 = 4;
const CUT_OFF: &str = "cut off:";
const SPEC_TIME_MAX: Duration = Duration::from_secs(420);
/// As the script beside the tests makes them.
const TOPICS: [&str; 6] = ["test", "test2", "test3", "test4", "test5", "test6"];
const SUITE: Suite = Suite {
    name: "the tests of node-rdkafka",
    broker: &[
        "auto.create.topics.enable=true",
        "num.partitions=1",
        "group.initial.rebalance.delay.ms=0",
    ],
    skipped: SKIPPED,
};

/// By title, to its end.
const SKIPPED: &[(&str, &str)] = &[
    (
        "should be able to produce and consume messages: empty buffer key and empty value",
        NULLED,
    ),
    (
        "should be able to produce and consume messages: empty key and empty value",
        NULLED,
    ),
    (
        "should produce a message with an empty payload and empty key \
         (https://github.com/Blizzard/node-rdkafka/issues/117)",
        NULLED,
    ),
    (
        "should be able to seek",
        "gives librdkafka one millisecond to seek",
    ),
];
const NULLED: &str = "this Node's library hands on null for what is empty, from Apache Kafka too";

fn run(ctx: &Context) -> Result<Verdict> {
    let package = node::rdkafka_packages(ctx)?.join("node_modules/node-rdkafka");
    let mocha = ctx.client_sources("node").join("mocha");
    let mocha = node::packages_of(ctx, "mocha", &mocha)?.join("node_modules/mocha/bin/mocha.js");
    SUITE.judge(ctx, |target| {
        create_topics(target.address())?;
        run_against(&mocha, &package, target)
    })
}

fn create_topics(address: SocketAddr) -> Result<()> {
    let mut side = Side::new("the broker", address);
    let topics = TOPICS.map(|name| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(1)
            .with_replication_factor(1)
    });
    let request = CreateTopicsRequest::default()
        .with_topics(topics.to_vec())
        .with_timeout_ms(10_000);
    let created = answer(side.ask(7, &request)?, "create the topics")?;
    match created.topics.iter().find(|topic| topic.error_code != 0) {
        None => Ok(()),
        Some(topic) => Err(Error::refused(
            "create the topics",
            format!("{:?}: error {}", topic.name, topic.error_code),
        )),
    }
}

/// Each file of tests in a process of its own. One that crashed, or in which nothing failed but the closing of clients
/// between two tests, is run again: this library now and then does not end closing, or ends there with SIGSEGV, on
/// Apache Kafka too.
fn run_against(mocha: &Path, package: &Path, target: &Target) -> Result<Seen> {
    let mut all = Seen::default();
    let mut specs = files::list(&package.join("e2e"))?;
    specs.retain(|spec| files::name_of(spec).ends_with(".spec.js"));
    for spec in &specs {
        let mut seen = run_spec(mocha, spec, target, 1)?;
        for attempt in 2..=ATTEMPTS {
            if seen.failed.is_empty() || !seen.failed.iter().all(|failed| is_of_closing(failed)) {
                break;
            }
            seen = run_spec(mocha, spec, target, attempt)?;
        }
        all.passed += seen.passed;
        all.failed.extend(seen.failed);
    }
    Ok(all)
}

fn is_of_closing(failed: &str) -> bool {
    failed.contains("\"after each\" hook") || failed.starts_with(CUT_OFF)
}

fn run_spec(mocha: &Path, spec: &Path, target: &Target, attempt: u32) -> Result<Seen> {
    let name = format!("{}-{attempt}", files::name_of(spec));
    let home = target.home().join("node-rdkafka");
    files::make_dir(&home)?;
    let (out, log) = (
        home.join(format!("{name}.out")),
        home.join(format!("{name}.err")),
    );
    let mut command = Command::new("node");
    command
        .current_dir(&home)
        .env("KAFKA_HOST", target.address().to_string())
        .arg(mocha)
        // As its Makefile does; what is told test by test is not lost with a process that crashes.
        .args(["--exit", "--timeout", "120000"])
        .args(["--reporter", "json-stream"]);
    let titles = SUITE.skipped.iter().map(|(title, _)| escaped(title));
    let titles: Vec<String> = titles.collect();
    command
        .args(["--invert", "--grep", &format!("({})$", titles.join("|"))])
        .arg(spec);
    let step = format!("run {name} of node-rdkafka against {}", target.name());
    let ended = Process::start(&step, &mut command, &out, &log)?.end(SPEC_TIME_MAX);
    let status = match ended {
        Ok(status) => status.to_string(),
        // It waits for a thread of librdkafka that does not end.
        Err(Error::Deadline { limit, .. }) => format!("nothing within {} s", limit.as_secs()),
        Err(other) => return Err(other),
    };
    let (mut seen, ended) = judge(&files::read_text(&out)?);
    if !ended {
        let finding = format!(
            "{CUT_OFF} {name}, which ended with {status}; log: {}",
            log.display()
        );
        seen.failed.push(finding);
    }
    Ok(seen)
}

/// A title as an expression that is found nowhere else.
fn escaped(title: &str) -> String {
    title
        .chars()
        .flat_map(|char| {
            let plain = char.is_alphanumeric() || char == ' ';
            (!plain).then_some('\\').into_iter().chain([char])
        })
        .collect()
}

#[derive(Deserialize)]
struct Test {
    #[serde(rename = "fullTitle", default)]
    title: String,
    #[serde(default)]
    err: String,
}

/// What lines such as `["pass",{"fullTitle":"…"}]` tell, and whether they tell of the end.
fn judge(told: &str) -> (Seen, bool) {
    let events: Vec<(String, Test)> = told
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of = |kind: &'static str| {
        let events = events.iter().filter(move |(event, _)| event == kind);
        events.map(|(_, test)| test)
    };
    // One that called back more than once is told of twice.
    let failed = |test: &&Test| of("fail").any(|failed| failed.title == test.title);
    let seen = Seen {
        passed: of("pass").filter(|test| !failed(test)).count(),
        failed: of("fail")
            .map(|test| format!("{}: {}", test.title, test.err))
            .collect(),
    };
    (seen, of("end").next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_passed_and_failed_has_failed() {
        let told = r#"["start",{"total":2}]
["pass",{"title":"b","fullTitle":"a b"}]
something it printed
["pass",{"title":"c","fullTitle":"a c"}]
["fail",{"title":"c","fullTitle":"a c","err":"done() called twice","stack":null}]
"#;
        let failed = vec!["a c: done() called twice".to_owned()];
        let (seen, ended) = judge(told);
        assert_eq!(seen, Seen { passed: 1, failed });
        assert!(!ended, "it was cut off");
        assert!(judge("[\"end\",{\"tests\":2}]\n").1);
    }

    #[test]
    fn only_the_closing_of_clients_may_be_tried_again() {
        let closing = "Consumer/Producer \"after each\" hook for \"should …\": Timeout";
        assert!(is_of_closing(closing));
        assert!(is_of_closing(
            "cut off: a.spec.js-1, which ended with signal: 11"
        ));
        assert!(!is_of_closing(
            "Consumer/Producer should …: invalid message value"
        ));
    }

    #[test]
    fn a_title_is_no_expression() {
        assert_eq!(escaped("read (it)."), "read \\(it\\)\\.");
    }
}

//! Apache Kafka's own integration tests against a process of ours: run by `kafka-it/`, judged here.
//!
//! `kafka-it/expected.toml` lists what need not pass, each with its reason. Everything else must;
//! and what is listed must not pass, so that the list never says less than is so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use toml::de::DeTable;

use crate::clients::prepare;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::reka::Reka;

/// A whole suite takes a quarter of an hour; one class that hangs is cut off long before.
const SUITE_TIME_MAX: Duration = Duration::from_secs(3600);
const CLASS_SECONDS_MAX: &str = "600";

/// One call of a test method.
#[derive(Clone, Debug, Deserialize)]
pub struct Invocation {
    /// The test class, with its package.
    pub class: String,
    /// The method and which of its invocations; `(class)` where the class as a whole broke.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// First line of what went wrong, or why it was skipped.
    #[serde(default)]
    pub why: String,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All it asked for was so.
    Passed,
    /// Something was not.
    Failed,
    /// It cannot be asked of a process.
    Skipped,
}

#[derive(Deserialize)]
struct Run {
    results: Vec<Invocation>,
}

/// What need not pass: patterns with their reasons.
#[derive(Debug, Default)]
pub struct Expected {
    exceptions: Vec<(String, String)>,
    /// What may run out of time through no fault of the broker, and passes otherwise.
    races: Vec<(String, String)>,
}

/// What JUnit says of a test that ran out of time.
const OUT_OF_TIME: &str = "timed out after";

impl Expected {
    /// Reads the list of one suite: in the table `[suite]`, `"reason" = ["Class.method", "Class.*"]`;
    /// in `[races.suite]` the same of what may run out of time.
    pub fn parse(text: &str, suite: &str) -> Result<Expected> {
        let step = "read kafka-it/expected.toml";
        let wrong = |finding: String| Error::refused(step, finding);
        let table = DeTable::parse(text).map_err(|error| wrong(error.to_string()))?;
        let table_of = |table: Option<&DeTable<'_>>| -> Result<Vec<(String, String)>> {
            let of_suite = table.and_then(|table| table.get(suite));
            let of_suite = of_suite.and_then(|suite| suite.get_ref().as_table());
            let mut listed = Vec::new();
            for (reason, patterns) in of_suite.into_iter().flatten() {
                let reason = reason.get_ref();
                let patterns = patterns.get_ref().as_array();
                let patterns = patterns.ok_or_else(|| wrong(format!("{reason:?} has no list")))?;
                for pattern in patterns {
                    let pattern = pattern.get_ref().as_str();
                    let pattern = pattern
                        .ok_or_else(|| wrong(format!("{reason:?} lists what is no text")))?;
                    listed.push((pattern.to_owned(), reason.to_string()));
                }
            }
            Ok(listed)
        };
        let races = table.get_ref().get("races");
        Ok(Expected {
            exceptions: table_of(Some(table.get_ref()))?,
            races: table_of(races.and_then(|races| races.get_ref().as_table()))?,
        })
    }

    fn race(&self, invocation: &Invocation) -> Option<&(String, String)> {
        let ran_out = invocation.status == Status::Failed && invocation.why.contains(OUT_OF_TIME);
        let mut races = self.races.iter().filter(|_| ran_out);
        races.find(|(pattern, _)| matches(pattern, invocation))
    }

    fn reason(&self, invocation: &Invocation) -> Option<&(String, String)> {
        let mut exceptions = self.exceptions.iter();
        exceptions.find(|(pattern, _)| matches(pattern, invocation))
    }
}

/// `Class.*`, `Class.method` or one invocation, `Class.method()#2`. The class without its package.
fn matches(pattern: &str, invocation: &Invocation) -> bool {
    let Some((class, method)) = pattern.split_once('.') else {
        return false;
    };
    let short = invocation.class.rsplit('.').next().unwrap_or_default();
    let name = invocation.name.as_str();
    class == short
        && (method == "*"
            || method == name
            || name
                .split_once('(')
                .is_some_and(|(known, _)| known == method))
}

/// What a run showed.
#[derive(Debug, PartialEq, Eq)]
pub struct Score {
    /// How many passed.
    pub passed: usize,
    /// How many did not and need not, by reason.
    pub excepted: BTreeMap<String, usize>,
}

/// Judges a run; `control` is what passed with Apache Kafka, where that is known.
pub fn judge(
    expected: &Expected,
    control: Option<&[Invocation]>,
    found: &[Invocation],
) -> std::result::Result<Score, Vec<String>> {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let mut score = Score {
        passed: 0,
        excepted: BTreeMap::new(),
    };
    for invocation in found {
        let name = format!("{}.{}", invocation.class, invocation.name);
        match (expected.reason(invocation), invocation.status) {
            (None, Status::Passed) => score.passed += 1,
            (None, _) if let Some((_, reason)) = expected.race(invocation) => {
                *score.excepted.entry(reason.clone()).or_default() += 1;
            }
            (None, status) => wrong.push(format!("{name} {status:?}: {}", invocation.why)),
            (Some((pattern, reason)), Status::Passed) => {
                used.insert(pattern);
                wrong.push(format!("{name} passed, and is listed: {reason}"));
            }
            (Some((pattern, reason)), _) => {
                used.insert(pattern);
                *score.excepted.entry(reason.clone()).or_default() += 1;
            }
        }
    }
    let classes: BTreeSet<&str> = found.iter().map(|found| found.class.as_str()).collect();
    let names: BTreeSet<(&str, &str)> = found
        .iter()
        .map(|found| (found.class.as_str(), found.name.as_str()))
        .collect();
    for known in control.into_iter().flatten() {
        if known.status == Status::Passed
            && classes.contains(known.class.as_str())
            && !names.contains(&(known.class.as_str(), known.name.as_str()))
        {
            wrong.push(format!("{}.{} was not run", known.class, known.name));
        }
    }
    let ran = |class: &str| {
        let mut classes = classes.iter();
        classes.any(|known| known.rsplit('.').next() == Some(class))
    };
    for (pattern, reason) in &expected.exceptions {
        let class = pattern.split('.').next().unwrap_or_default();
        if !used.contains(pattern) && ran(class) {
            wrong.push(format!("{pattern} is listed and was not run: {reason}"));
        }
    }
    if wrong.is_empty() && score.passed == 0 {
        wrong.push("nothing passed".to_owned());
    }
    match wrong.is_empty() {
        true => Ok(score),
        false => Err(wrong),
    }
}

/// Runs the classes of a suite whose names match, and judges them.
pub fn run(ctx: &Context, suite: &str, classes: &str) -> Result<Score> {
    let home = ctx.checkout().join("compat-tests/kafka-it");
    let server = Reka::build(ctx)?;
    let libs = prepare::maven(ctx, "kafka-it", &home.join("pom.xml"))?;
    let out = ctx.work().join(format!("{suite}.json"));
    let log = ctx.work().join(format!("{suite}.txt"));
    let mut command = Command::new("sh");
    command
        .arg(home.join("run.sh"))
        .args(["--suite", suite, "--class", classes])
        .args(["--timeout", CLASS_SECONDS_MAX, "--out"])
        .arg(&out)
        .env("KIT_LIBS", libs)
        .env("KIT_BUILD", ctx.work().join("build"))
        .env("KIT_START", start(&server))
        .env("KIT_HOST", "localhost")
        .env("KIT_STOP", "kill")
        .env("KIT_ISOLATED", "combine");
    // That something failed is for the list to judge.
    Process::start("run Kafka's tests", &mut command, &log, &log)?.end(SUITE_TIME_MAX)?;
    let found: Run = files::read_json(&out)?;
    let expected = Expected::parse(&files::read_text(&home.join("expected.toml"))?, suite)?;
    let control = home.join(format!("results/kafka-4.3.1-{suite}.json"));
    let control: Option<Run> = match control.is_file() {
        true => Some(files::read_json(&control)?),
        false => None,
    };
    let control = control.map(|run| run.results);
    judge(&expected, control.as_deref(), &found.results).map_err(|wrong| {
        let finding = format!("{}\n  output: {}", wrong.join("\n  "), log.display());
        Error::refused(format!("judge suite {suite}"), finding)
    })
}

/// The command of one node; the listener for metrics would be the same for all.
fn start(server: &Path) -> String {
    format!(
        "{} --config {{props}} -o reka.http.listener=",
        server.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(name: &str, status: Status) -> Invocation {
        let (class, name) = name.split_once('.').expect("a class and a method");
        Invocation {
            class: format!("a.package.{class}"),
            name: name.to_owned(),
            status,
            why: "why".to_owned(),
        }
    }

    const LIST: &str = r#"
[core]
"not served" = ["A.*", "B.one"]
"needs the JVM" = ["B.two()#2"]
[tools]
"another suite" = ["C.*"]
"#;

    fn judged(found: &[(&str, Status)]) -> std::result::Result<Score, Vec<String>> {
        let expected = Expected::parse(LIST, "core").expect("a list");
        let found: Vec<_> = found
            .iter()
            .map(|(name, status)| invocation(name, *status))
            .collect();
        let control = [
            invocation("C.three()#1", Passed),
            invocation("D.four()#1", Passed),
        ];
        judge(&expected, Some(&control), &found)
    }

    use Status::{Failed, Passed, Skipped};

    const GOOD: &[(&str, Status)] = &[
        ("A.any()#1", Failed),
        ("B.one()#1", Failed),
        ("B.one(cluster)#2", Skipped),
        ("B.two()#1", Passed),
        ("B.two()#2", Failed),
        ("C.three()#1", Passed),
    ];

    fn with(changed: &[(&str, Status)]) -> Vec<String> {
        let mut all: Vec<_> = GOOD.to_vec();
        for (name, status) in changed {
            all.retain(|(known, _)| known != name);
            all.push((name, *status));
        }
        judged(&all).expect_err("something is wrong")
    }

    #[test]
    fn what_is_not_listed_passes_and_what_is_listed_does_not() {
        let score = judged(GOOD).expect("as it should be");
        assert_eq!(score.passed, 2);
        let excepted = [
            ("needs the JVM".to_owned(), 1),
            ("not served".to_owned(), 3),
        ];
        assert_eq!(score.excepted, BTreeMap::from(excepted));
    }

    #[test]
    fn each_way_to_differ_from_the_list_is_told() {
        assert_eq!(
            with(&[("B.two()#1", Failed)]),
            ["a.package.B.two()#1 Failed: why"]
        );
        assert_eq!(
            with(&[("C.three()#1", Skipped)]),
            ["a.package.C.three()#1 Skipped: why"]
        );
        assert_eq!(
            with(&[("B.two()#2", Passed)]),
            ["a.package.B.two()#2 passed, and is listed: needs the JVM"]
        );
        assert_eq!(
            with(&[("A.any()#1", Passed)]),
            ["a.package.A.any()#1 passed, and is listed: not served"]
        );
    }

    #[test]
    fn what_disappears_is_told() {
        let gone = |name: &str| {
            let left: Vec<_> = GOOD.iter().filter(|(n, _)| *n != name).copied().collect();
            judged(&left).err()
        };
        assert_eq!(
            gone("B.two()#2").expect("stale"),
            ["B.two()#2 is listed and was not run: needs the JVM"]
        );
        // A class that was not run at all is not missed: a run may be of some classes only.
        assert_eq!(gone("A.any()#1"), None);
        let other: Vec<_> = GOOD
            .iter()
            .map(|(name, status)| match *name {
                "C.three()#1" => ("C.other()#1", *status),
                name => (name, *status),
            })
            .collect();
        assert_eq!(
            judged(&other).expect_err("missed"),
            ["a.package.C.three()#1 was not run"]
        );
        assert_eq!(judged(&[]).expect_err("empty"), ["nothing passed"]);
    }

    #[test]
    fn a_race_may_run_out_of_time_and_may_not_fail_otherwise() {
        let list = "[races.core]\n\"a client's race\" = [\"C.*\"]\n";
        let expected = Expected::parse(list, "core").expect("a list");
        let judged = |status, why: &str| {
            let mut found = [
                invocation("B.one()#1", Passed),
                invocation("C.three()#1", status),
            ];
            found[1].why = why.to_owned();
            judge(&expected, None, &found).is_ok()
        };
        assert!(judged(Passed, ""));
        assert!(judged(
            Failed,
            "TimeoutException: three() timed out after 60 seconds"
        ));
        assert!(!judged(Failed, "expected: <1> but was: <2>"));
        assert!(!judged(Skipped, "timed out after"));
    }

    #[test]
    fn a_list_that_is_none_is_named() {
        for bad in ["[core", "[core]\n\"why\" = 3", "[core]\n\"why\" = [3]"] {
            let error = Expected::parse(bad, "core").expect_err("no list");
            assert!(error.to_string().contains("expected.toml"), "{error}");
        }
    }
}

//! What a client program printed, and what follows from it. Pure.
//!
//! One line per check: `{"check":"produce zstd","ok":true}`, or `"ok":false` with `"why"`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};

/// A line of a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its name; the same on both brokers.
    pub check: String,
    /// Whether it held.
    pub ok: bool,
    /// What was found instead.
    #[serde(default)]
    pub why: String,
}

/// A program, run to its end.
#[derive(Debug)]
pub struct Run {
    /// The client, with its version.
    pub client: &'static str,
    /// Wall time.
    pub seconds: f64,
    /// Whether it ended with status 0.
    pub success: bool,
    /// What it printed.
    pub checks: Vec<Check>,
    /// What it said besides.
    pub log: PathBuf,
}

/// Reads what a program printed.
pub fn parse(step: &str, printed: &str) -> Result<Vec<Check>> {
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            let finding = format!("line {} of its output is no check: {error}", number + 1);
            Error::refused(step, finding)
        })
    };
    printed.lines().enumerate().map(line).collect()
}

impl Run {
    /// Against Apache Kafka: everything must hold, or a check is wrong.
    pub fn judge_control(&self) -> Result<()> {
        self.judge_each("on Apache Kafka, so these checks are wrong")
    }

    /// Without Apache Kafka to compare with: everything must hold.
    pub fn judge_alone(&self) -> Result<()> {
        self.judge_each("without Apache Kafka to compare with, failed")
    }

    fn judge_each(&self, place: &str) -> Result<()> {
        let finding = if let Some(failed) = self.failed() {
            format!("{place}: {failed}")
        } else if self.checks.is_empty() {
            "printed no check".to_owned()
        } else if !self.success {
            "ended without success although no check failed".to_owned()
        } else {
            return Ok(());
        };
        Err(self.refused(finding))
    }

    /// Against Reka: what `control` did, with the same outcome.
    pub fn judge(&self, control: &Run) -> Result<()> {
        let names = |run: &Run| -> Vec<String> {
            run.checks.iter().map(|check| check.check.clone()).collect()
        };
        let (expected, found) = (names(control), names(self));
        let finding = if let Some(failed) = self.failed() {
            format!("passed on Apache Kafka, not here: {failed}")
        } else if expected != found {
            format!("the checks on Apache Kafka were {expected:?}, here {found:?}")
        } else if !self.success {
            "ended without success although no check failed".to_owned()
        } else {
            return Ok(());
        };
        Err(self.refused(finding))
    }

    fn failed(&self) -> Option<String> {
        let failed: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| format!("`{}` ({})", check.check, check.why))
            .collect();
        (!failed.is_empty()).then(|| failed.join(", "))
    }

    fn refused(&self, finding: String) -> Error {
        Error::refused(
            self.client,
            format!("{finding}; log: {}", self.log.display()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(printed: &str, success: bool) -> Run {
        Run {
            client: "a client",
            seconds: 1.0,
            success,
            checks: parse("run it", printed).expect("lines of checks"),
            log: PathBuf::from("its.err"),
        }
    }

    const GOOD: &str = "{\"check\":\"produce\",\"ok\":true}\n{\"check\":\"consume\",\"ok\":true}\n";
    const BAD: &str = "{\"check\":\"produce\",\"ok\":true}
{\"check\":\"consume\",\"ok\":false,\"why\":\"offset 7\"}\n";

    fn refusal(result: Result<()>) -> String {
        result.expect_err("a refusal").to_string()
    }

    #[test]
    fn a_client_passes_when_both_brokers_hold_every_check() {
        let good = run(GOOD, true);
        good.judge_control().expect("all hold");
        run(GOOD, true).judge(&good).expect("all hold");
    }

    #[test]
    fn a_check_that_fails_on_the_control_is_called_wrong() {
        let text = refusal(run(BAD, false).judge_control());
        assert!(
            text.contains("these checks are wrong: `consume` (offset 7)"),
            "{text}"
        );
    }

    #[test]
    fn a_check_that_fails_on_reka_alone_is_named_with_its_reason_and_log() {
        let text = refusal(run(BAD, false).judge(&run(GOOD, true)));
        assert!(
            text.contains("not here: `consume` (offset 7); log: its.err"),
            "{text}"
        );
    }

    #[test]
    fn a_check_that_was_not_run_is_no_pass() {
        let half = &GOOD[..GOOD.find('\n').expect("two lines")];
        let text = refusal(run(half, true).judge(&run(GOOD, true)));
        assert!(text.contains("here [\"produce\"]"), "{text}");
        assert!(refusal(run("", true).judge_control()).contains("no check"));
    }

    #[test]
    fn a_program_that_ends_badly_after_good_checks_is_no_pass() {
        let good = run(GOOD, true);
        assert!(refusal(run(GOOD, false).judge_control()).contains("without success"));
        assert!(refusal(run(GOOD, false).judge(&good)).contains("without success"));
    }

    #[test]
    fn a_line_that_is_no_check_is_named() {
        let error = parse("run it", "{\"check\":\"a\",\"ok\":true}\nTraceback\n");
        assert!(error.expect_err("no JSON").to_string().contains("line 2"));
    }
}

//! Runs rows one after the other, reports each, and cleans up behind those that pass.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use tempfile::TempDir;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::interrupt;
use crate::rows::{ROWS, Row, Tier, Verdict};
use crate::target::Against;

/// How a run of a row ended, as in the JSON report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub row: &'static str,
    /// Passed, failed or skipped.
    pub outcome: Outcome,
    /// Wall time.
    pub seconds: f64,
    /// What was seen, what is wrong, or why it was skipped.
    pub note: String,
    /// Its files, where it failed.
    pub kept: Option<PathBuf>,
}

/// The three ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Run and right.
    Passed,
    /// Run and wrong, or not run although it had to be.
    Failed,
    /// Not run.
    Skipped,
}

/// Runs `rows` against the brokers that were chosen, telling about each on standard output as it ends.
pub fn run(rows: &[&'static Row], against: Option<Against>, brokers: u16) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for row in rows {
        let report = run_row(row, against, brokers)?;
        println!("{}", line(&report));
        reports.push(report);
        if interrupt::requested() {
            break;
        }
    }
    Ok(reports)
}

/// A temporary folder for the files of `name`, in the system's place for such.
pub fn folder(name: &str) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("reka-compat-{name}-"))
        .tempdir()
        .map_err(Error::io("make a temporary folder"))
}

/// Removes it, and says so if that fails, as `Drop` would not.
pub fn remove(folder: TempDir) -> Result<()> {
    folder
        .close()
        .map_err(Error::io("remove the temporary folder"))
}

/// The last line of a run; machines look for exactly this form.
#[must_use]
pub fn summary(reports: &[Report]) -> String {
    let count = |outcome| reports.iter().filter(|r| r.outcome == outcome).count();
    let (passed, failed) = (count(Outcome::Passed), count(Outcome::Failed));
    match count(Outcome::Skipped) {
        0 => format!("{passed} passed, {failed} failed"),
        skipped => format!("{passed} passed, {failed} failed, {skipped} skipped"),
    }
}

/// How long the rows of a tier took, those that were skipped apart.
#[must_use]
pub fn time_of(tier: Tier, reports: &[Report]) -> String {
    let of_tier = |report: &&Report| {
        let mut rows = ROWS.iter().filter(|row| row.name == report.row);
        rows.any(|row| row.tiers.contains(&tier)) && report.outcome != Outcome::Skipped
    };
    let ran: Vec<&Report> = reports.iter().filter(of_tier).collect();
    // A sum of nothing is -0.
    let seconds = ran.iter().fold(0.0, |sum, report| sum + report.seconds);
    let (name, rows) = (tier.name(), ran.len());
    format!("tier {name}: {rows} rows in {seconds:.0} s")
}

/// Whether the run as a whole is good.
#[must_use]
pub fn all_good(reports: &[Report]) -> bool {
    reports.iter().all(|r| r.outcome != Outcome::Failed)
}

/// Writes the reports where `--json` asked for them.
pub fn write_json(reports: &[Report], file: &Path) -> Result<()> {
    files::write_json(file, &reports)
}

fn run_row(row: &'static Row, against: Option<Against>, brokers: u16) -> Result<Report> {
    let start = Instant::now();
    // A tier is also run against one broker; what compares two has nothing to say about it.
    let refused = against.and_then(|against| row.judges.refuses(against));
    if let Some(why) = refused.or_else(|| row.refuses_brokers(brokers)) {
        return Ok(Report {
            row: row.name,
            outcome: Outcome::Skipped,
            seconds: 0.0,
            note: why.to_owned(),
            kept: None,
        });
    }
    let folder = folder(row.name)?;
    let ctx = Context::new(folder.path())
        .against_those(against)
        .of_brokers(brokers);
    let (outcome, note) = judge(ctx.expect_broker().and_then(|()| (row.run)(&ctx)));
    let kept = if outcome == Outcome::Failed {
        Some(folder.keep())
    } else {
        remove(folder)?;
        None
    };
    Ok(Report {
        row: row.name,
        outcome,
        seconds: start.elapsed().as_secs_f64(),
        note,
        kept,
    })
}

fn judge(result: Result<Verdict>) -> (Outcome, String) {
    match result {
        Ok(Verdict::Passed(note)) => (Outcome::Passed, note),
        Ok(Verdict::Skipped(why)) => (Outcome::Skipped, why),
        // On a developer's machine a missing toolchain is no news; where the verdict counts, a
        // row that did not run must not look as if it had passed.
        Err(error @ Error::MissingTool { .. }) if !in_ci() => (Outcome::Skipped, error.to_string()),
        Err(error) => (Outcome::Failed, error.to_string()),
    }
}

fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

fn line(report: &Report) -> String {
    let outcome = match report.outcome {
        Outcome::Passed => "passed ",
        Outcome::Failed => "FAILED ",
        Outcome::Skipped => "skipped",
    };
    let Report {
        row, seconds, note, ..
    } = report;
    let kept = match &report.kept {
        Some(folder) => format!("; files: {}", folder.display()),
        None => String::new(),
    };
    format!("{outcome} {row} ({seconds:.1} s): {note}{kept}")
}

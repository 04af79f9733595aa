//! What is shown, in the form that was asked for.
//!
//! Every report has fields with fixed names and one order: JSON, YAML and lines of JSON are the same
//! fields, the table is for people and may change.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Page;
use crate::yaml;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// A line of JSON for each thing
    Jsonl,
}

/// Something to show.
pub(crate) trait Report: Serialize {
    /// As people see it.
    fn page(&self) -> Page;
}

/// Writes a report to standard output.
pub(crate) fn show<R: Report>(report: &R, format: Format) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(render(report, format)?.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn render<R: Report>(report: &R, format: Format) -> Result<String, Failure> {
    let unwritable = |error| Failure::other(format!("cannot write the output: {error}"));
    Ok(match format {
        Format::Table => report.page().to_string(),
        Format::Json => serde_json::to_string_pretty(report).map_err(unwritable)? + "\n",
        Format::Yaml => yaml::write(&serde_json::to_value(report).map_err(unwritable)?),
        Format::Jsonl => match serde_json::to_value(report).map_err(unwritable)? {
            serde_json::Value::Array(rows) => rows.iter().map(|row| format!("{row}\n")).collect(),
            one => format!("{one}\n"),
        },
    })
}

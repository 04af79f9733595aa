//! What can be run: one file and one line in [`ROWS`] per row.

pub mod chaos;
mod churn;
mod client;
mod connect;
mod control;
mod differential;
mod dump_log;
mod flink;
mod floods;
mod go;
mod java_clients;
mod kafka_it;
mod kafka_log_dir;
mod kafka_serves_kafka;
mod kafka_serves_ours;
mod kafka_tools;
mod kill;
mod kill_groups;
mod kill_transactions;
mod mirror_maker;
mod node;
mod python;
pub(crate) mod raw;
mod rdkafka;
mod rkctl;
mod shims;
mod spark;
mod streams;
mod streams_app;
mod system_tools;
mod transactions_tool;

pub use raw::seed_of_now;

use crate::context::Context;
use crate::error::{Error, Result};

/// One thing the runner can run and judge.
#[derive(Debug)]
pub struct Row {
    /// What it is called on the command line and in reports.
    pub name: &'static str,
    /// The tiers that include it.
    pub tiers: &'static [Tier],
    /// One line for `list`.
    pub about: &'static str,
    /// Runs it. An error is a failure.
    pub run: fn(&Context) -> Result<Verdict>,
}

/// A named set of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// What every commit runs.
    Ci,
    /// What runs every night beside that: the same in its long form, and what takes minutes.
    Nightly,
    /// What runs before a release beside those: hours.
    Release,
}

impl Tier {
    /// All of them.
    pub const ALL: [Tier; 3] = [Tier::Ci, Tier::Nightly, Tier::Release];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Nightly => "nightly",
            Self::Release => "release",
        }
    }
}

/// How a row ended when nothing was wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Run and found right; with what was seen.
    Passed(String),
    /// Not run, for this reason.
    Skipped(String),
}

/// Every row, in the order `ci` runs them.
pub const ROWS: &[Row] = &[
    control::ROW,
    kafka_log_dir::ROW,
    kafka_serves_kafka::ROW,
    dump_log::ROW,
    kafka_serves_ours::ROW,
    kafka_serves_ours::AFTER_A_KILL,
    kafka_tools::ROW,
    transactions_tool::ROW,
    system_tools::ROW,
    differential::ROW,
    client::ROW,
    rkctl::ROW,
    shims::ROW,
    shims::ALL,
    shims::AGAINST_KAFKA,
    kafka_it::ROW,
    kafka_it::CORE,
    kafka_it::TOOLS,
    kafka_it::SERVER,
    kill::ROW,
    kill_groups::ROW,
    churn::ROW,
    chaos::ROW,
    floods::ROW,
    kill_transactions::ROW,
    streams::ROW,
    streams_app::ROW,
    flink::ROW,
    spark::ROW,
    spark::LINES_OF_SPARK,
    connect::ROW,
    connect::MORE_KILLS,
    mirror_maker::ROW,
    java_clients::ROW,
    python::ROW,
    go::ROW,
    go::SEGMENTIO,
    node::ROW,
    rdkafka::ROW,
    // a new row: its file, its `mod` line above, one line here
];

/// The rows that `--against` chooses the broker of; the others need theirs to be what it is.
pub const AGAINST_ANY: &[&str] = &[
    "java-clients",
    "python",
    "go",
    "go-segmentio",
    "node",
    "rdkafka",
    "system-tools",
    "churn",
    "streams-app",
    "flink",
    "spark",
    "spark-lines",
    "connect",
    "connect-kills",
];

/// The rows a name stands for: itself, its tier's, or all of them. Empty for an unknown name.
#[must_use]
pub fn named(name: &str) -> Vec<&'static Row> {
    let tier = |row: &&Row| row.tiers.iter().any(|tier| tier.name() == name);
    ROWS.iter()
        .filter(|row| name == "all" || row.name == name || tier(row))
        .collect()
}

/// An error if one of these rows has a broker of its own.
pub fn expect_choice(rows: &[&Row]) -> Result<()> {
    match rows.iter().find(|row| !AGAINST_ANY.contains(&row.name)) {
        None => Ok(()),
        Some(row) => {
            let known = AGAINST_ANY.join(", ");
            let finding =
                format!("`--against` does not choose the broker of this row; it does of {known}");
            Err(Error::refused(row.name, finding))
        }
    }
}

//! What can be run: one file and one line in [`ROWS`] per row.

pub mod chaos;
mod churn;
mod client;
mod connect;
mod control;
mod differential;
mod dump_log;
mod flink;
mod flink_cluster;
mod flink_sql;
mod floods;
mod go;
mod java_clients;
mod kafka_it;
mod kafka_log_dir;
mod kafka_python_suite;
mod kafka_serves_kafka;
mod kafka_serves_ours;
mod kafka_tools;
mod kill;
mod kill_groups;
mod kill_transactions;
mod librdkafka_suite;
mod mirror_maker;
mod node;
mod node_rdkafka_suite;
mod python;
pub(crate) mod raw;
mod rdkafka;
mod rdkafka_suite;
mod rkctl;
mod shims;
mod spark;
mod spark_cassandra;
mod streams;
mod streams_app;
mod suite;
mod system_tools;
mod transactions_tool;
mod voters;

pub use raw::seed_of_now;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::target::Against;

/// One thing the runner can run and judge.
#[derive(Debug)]
pub struct Row {
    /// What it is called on the command line and in reports.
    pub name: &'static str,
    /// The tiers that include it.
    pub tiers: &'static [Tier],
    /// One line for `list`.
    pub about: &'static str,
    /// Which brokers it may be run against.
    pub judges: Judges,
    /// Runs it. An error is a failure.
    pub run: fn(&Context) -> Result<Verdict>,
}

/// The rows that ask each broker of a cluster for what it leads, as they do so through clients only. The others
/// speak the protocol themselves, with one broker, or kill and look into the files of the one they started.
const OF_CLIENTS: &[&str] = &[
    "java-clients",
    "python",
    "go",
    "go-segmentio",
    "go-confluent",
    "node",
    "rdkafka",
];

impl Row {
    /// Why a row cannot be asked of a cluster of so many brokers; nothing if it can.
    #[must_use]
    pub fn refuses_brokers(&self, brokers: u16) -> Option<&'static str> {
        let can = brokers == 1 || OF_CLIENTS.contains(&self.name);
        (!can).then_some("it asks one broker for everything: `--brokers 1`")
    }
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

/// What a row can be asked of: whether `--against` chooses its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judges {
    /// Whatever speaks the protocol.
    Any,
    /// Apache Kafka or Reka, which it starts itself, as it configures them its way or kills them.
    Started,
    /// Apache Kafka alone: its files, or our client beside it.
    Kafka,
    /// Reka alone: its files, or a process that Apache Kafka's own tests start.
    Reka,
    /// One beside the other.
    Both,
}

impl Judges {
    /// Why a row cannot be asked of the broker that was chosen; nothing if it can.
    #[must_use]
    pub fn refuses(self, against: Against) -> Option<&'static str> {
        match (self, against) {
            (Judges::Any, _)
            | (_, Against::Both)
            | (Judges::Started | Judges::Kafka, Against::Kafka)
            | (Judges::Started | Judges::Reka, Against::Reka) => None,
            (Judges::Started, Against::Address(_)) => {
                Some("it starts its broker, to configure or to kill it: kafka or reka")
            }
            (Judges::Kafka, _) => Some("it judges what Apache Kafka wrote or answers: kafka"),
            (Judges::Reka, _) => Some("it judges what Reka wrote, or starts it itself: reka"),
            (Judges::Both, _) => Some("it holds Apache Kafka and Reka beside each other"),
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
    voters::ROW,
    shims::ROW,
    shims::ALL,
    shims::AGAINST_KAFKA,
    kafka_it::ROW,
    kafka_it::CORE,
    kafka_it::TOOLS,
    kafka_it::SERVER,
    kafka_it::CONNECT,
    kill::ROW,
    kill_groups::ROW,
    churn::ROW,
    churn::BRIEF,
    chaos::ROW,
    floods::ROW,
    kill_transactions::ROW,
    streams::ROW,
    streams_app::ROW,
    flink::ROW,
    flink::LINES_OF_FLINK,
    flink_cluster::ROW,
    flink_sql::ROW,
    spark::ROW,
    spark::LINES_OF_SPARK,
    spark_cassandra::ROW,
    connect::ROW,
    connect::MORE_KILLS,
    mirror_maker::ROW,
    java_clients::ROW,
    python::ROW,
    go::ROW,
    go::SEGMENTIO,
    go::CONFLUENT,
    node::ROW,
    node::RDKAFKA,
    rdkafka::ROW,
    rdkafka_suite::ROW,
    kafka_python_suite::ROW,
    node_rdkafka_suite::ROW,
    librdkafka_suite::ROW,
    // a new row: its file, its `mod` line above, one line here
];

/// The rows a name stands for: itself, its tier's, or all of them. Empty for an unknown name.
#[must_use]
pub fn named(name: &str) -> Vec<&'static Row> {
    let tier = |row: &&Row| row.tiers.iter().any(|tier| tier.name() == name);
    ROWS.iter()
        .filter(|row| name == "all" || row.name == name || tier(row))
        .collect()
}

/// An error if Reka would have to be started as a cluster, which it cannot be, or if one of these names is of a row
/// that cannot be asked of a cluster. Rows of a tier that cannot be are left out by the runner, which says so.
pub fn expect_brokers(names: &[String], against: Option<Against>, brokers: u16) -> Result<()> {
    let starts_reka = matches!(against.unwrap_or_default(), Against::Both | Against::Reka);
    if brokers > 1 && starts_reka {
        return Err(Error::refused(
            format!("start {brokers} brokers of Reka"),
            "one broker is all there is yet; say `--brokers 1`, or `--against kafka`",
        ));
    }
    for row in ROWS
        .iter()
        .filter(|row| names.iter().any(|n| n == row.name))
    {
        if let Some(why) = row.refuses_brokers(brokers) {
            return Err(Error::refused(row.name, why));
        }
    }
    Ok(())
}

/// An error if one of these names is of a row that cannot be asked of the broker that was chosen. Rows of a
/// tier that cannot be are left out by the runner, which says so.
pub fn expect_choice(names: &[String], against: Against) -> Result<()> {
    let rows = ROWS
        .iter()
        .filter(|row| names.iter().any(|n| n == row.name));
    for row in rows {
        if let Some(why) = row.judges.refuses(against) {
            let finding = format!("`--against` cannot choose its broker: {why}");
            return Err(Error::refused(row.name, finding));
        }
    }
    Ok(())
}

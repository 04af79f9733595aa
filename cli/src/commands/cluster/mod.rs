//! `rkctl cluster`.

mod balance;
mod brokers;
mod config;
mod config_diff;
mod config_edit;
pub(crate) mod config_report;
mod explain;
mod features;
pub(crate) mod health;
mod info;
mod logdirs;
mod loggers;
mod partitions;
mod quorum;
mod quotas;
mod voters;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the cluster in a few lines
    Info(info::Info),
    /// Show what is wrong, and what to do
    Health(health::Health),
    /// List brokers
    Brokers(brokers::Brokers),
    /// Read and change the configuration of brokers
    #[command(subcommand)]
    Config(config::Command),
    /// Show the directories of brokers, how full they are and what is in them
    Logdirs(logdirs::Logdirs),
    /// Read and change how much brokers log
    #[command(subcommand)]
    Loggers(loggers::Command),
    /// Show the metadata quorum, add and remove voters
    Quorum(quorum::Quorum),
    /// List partitions, elect leaders, watch moves
    #[command(subcommand)]
    Partitions(partitions::Command),
    /// Show features and their levels
    Features(features::Features),
    /// Read and change quotas
    #[command(subcommand)]
    Quotas(quotas::Command),
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Info(command) => command.run(session).await,
            Command::Health(command) => command.run(session).await,
            Command::Brokers(command) => command.run(session).await,
            Command::Config(command) => command.run(session).await,
            Command::Logdirs(command) => command.run(session).await,
            Command::Loggers(command) => command.run(session).await,
            Command::Quorum(command) => command.run(session).await,
            Command::Partitions(command) => command.run(session).await,
            Command::Features(command) => command.run(session).await,
            Command::Quotas(command) => command.run(session).await,
        }
    }
}

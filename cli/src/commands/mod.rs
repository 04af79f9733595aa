//! Every command: a folder per group, a file per command, a line in its group's list.

pub(crate) mod cluster;
mod declared;
pub(crate) mod dev;
mod generate;
pub(crate) mod group;
mod shims;
pub(crate) mod topic;
pub(crate) mod txn;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

/// The groups of commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Topics, their partitions, records and configuration
    #[command(subcommand)]
    Topic(topic::Command),
    /// Consumer groups, their members and offsets
    #[command(subcommand)]
    Group(group::Command),
    /// The cluster: brokers, configuration, partitions, directories, quorum, features, quotas
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Transactions
    #[command(subcommand)]
    Txn(txn::Command),
    /// Show what has to be done for a cluster to be as a file says
    Plan(declared::plan::Plan),
    /// Do it
    Apply(declared::apply::Apply),
    /// Write the file for a cluster as it is
    Export(declared::export::Export),
    /// Write settings for programs that use the cluster
    #[command(subcommand)]
    Generate(generate::Command),
    /// A broker on this machine, to try things on
    #[command(subcommand)]
    Dev(dev::Command),
    /// Make links by which this is called as Apache Kafka's shell tools
    Shims(shims::Shims),
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Topic(command) => command.run(session).await,
            Command::Group(command) => command.run(session).await,
            Command::Cluster(command) => command.run(session).await,
            Command::Txn(command) => command.run(session).await,
            Command::Plan(command) => command.run(session).await,
            Command::Apply(command) => command.run(session).await,
            Command::Export(command) => command.run(session).await,
            Command::Generate(command) => command.run(session).await,
            Command::Dev(command) => command.run(session).await,
            Command::Shims(command) => command.run(session),
        }
    }
}

//! Every command: a folder per group, a file per command, a line in its group's list.

mod bench;
mod bundle;
pub(crate) mod cluster;
mod declared;
pub(crate) mod dev;
mod doctor;
mod generate;
pub(crate) mod group;
mod profile;
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
    /// Clusters with names, and the settings to come to them
    #[command(subcommand)]
    Profile(profile::Command),
    /// Write settings for programs that use the cluster
    #[command(subcommand)]
    Generate(generate::Command),
    /// Check the cluster and the settings of a client, and say what to change
    Doctor(doctor::Doctor),
    /// Write what helps to find out what is wrong, but no secrets, into one file
    Bundle(bundle::Bundle),
    /// Put a small load on the cluster and say how it takes it
    Bench(bench::Bench),
    /// A broker on this machine, to try things on
    #[command(subcommand)]
    Dev(dev::Command),
    /// Make links by which this is called as Apache Kafka's shell tools
    Shims(shims::Shims),
}

impl Command {
    /// Whether it is about this machine alone.
    pub(crate) fn needs_no_cluster(&self) -> bool {
        match self {
            Command::Profile(_) | Command::Shims(_) => true,
            Command::Generate(command) => command.needs_no_cluster(),
            _ => false,
        }
    }

    /// Runs a command that is about this machine alone.
    pub(crate) fn run_alone(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Profile(command) => command.run(session),
            Command::Shims(command) => command.run(session),
            Command::Generate(command) => command.run_alone(),
            _ => Ok(()),
        }
    }

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
            Command::Doctor(command) => command.run(session).await,
            Command::Bundle(command) => command.run(session).await,
            Command::Bench(command) => command.run(session).await,
            Command::Dev(command) => command.run(session).await,
            Command::Profile(_) | Command::Shims(_) => self.run_alone(session),
        }
    }
}

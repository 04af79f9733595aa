//! `rkctl txn`.

mod abort;
mod describe;
mod find_hanging;
mod list;
mod producers;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List transactional ids
    List(list::List),
    /// Show transactional ids with their current transaction
    Describe(describe::Describe),
    /// Show the producers that partitions remember
    Producers(producers::Producers),
    /// Find transactions whose coordinator has forgotten them: they hold up committed readers
    FindHanging(find_hanging::FindHanging),
    /// End a hanging transaction in a partition, as aborted
    Abort(abort::Abort),
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::List(command) => command.run(session).await,
            Command::Describe(command) => command.run(session).await,
            Command::Producers(command) => command.run(session).await,
            Command::FindHanging(command) => command.run(session).await,
            Command::Abort(command) => command.run(session).await,
        }
    }
}

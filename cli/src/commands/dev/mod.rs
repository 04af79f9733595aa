//! `rkctl dev`: a cluster on this machine, to try things on.

mod down;
mod kill;
mod local;
mod logs;
mod restart;
mod status;
mod up;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a broker on a free port, with its data kept from one time to the next
    Up(up::Up),
    /// Stop it
    Down(down::Down),
    /// Show whether it runs, and where
    Status(status::Status),
    /// Show what it logs
    Logs(logs::Logs),
    /// Kill it without warning, as a crash would
    Kill(kill::Kill),
    /// Stop it if it runs, and start it where it was
    Restart(restart::Restart),
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Up(command) => command.run(session).await,
            Command::Down(command) => command.run(session).await,
            Command::Status(command) => command.run(session).await,
            Command::Logs(command) => command.run(session).await,
            Command::Kill(command) => command.run(session).await,
            Command::Restart(command) => command.run(session).await,
        }
    }
}

//! `rkctl cluster loggers`.

use clap::{Args, Subcommand};
use reka_client::admin::{Resource, ResourceKind};

use super::config_report::{self, Changed};
use crate::command_line::{Change, key_value};
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the levels of a broker's loggers
    Get(Get),
    /// Set levels: ERROR, WARN, INFO, DEBUG, TRACE
    Set(Set),
    /// Take levels away, so that those of the logger above count
    Unset(Unset),
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The broker's id
    broker: i32,
    /// Only these loggers
    #[arg(value_name = "LOGGER")]
    loggers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The broker's id
    broker: i32,
    /// Loggers with their levels
    #[arg(required = true, value_name = "LOGGER=LEVEL", value_parser = key_value)]
    levels: Vec<(String, String)>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Unset {
    /// The broker's id
    broker: i32,
    /// Loggers to take the levels of
    #[arg(required = true, value_name = "LOGGER")]
    loggers: Vec<String>,
    #[command(flatten)]
    change: Change,
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let (Command::Get(Get { broker, .. })
        | Command::Set(Set { broker, .. })
        | Command::Unset(Unset { broker, .. })) = self;
        let resource = Resource {
            kind: ResourceKind::BrokerLogger,
            name: broker.to_string(),
        };
        match self {
            Command::Get(get) => config_report::show(session, &resource, &get.loggers, true).await,
            Command::Set(set) => {
                let changes = Changed::set(&set.levels);
                config_report::change(session, &resource, changes, set.change.dry_run).await
            }
            Command::Unset(unset) => {
                let changes = Changed::unset(&unset.loggers);
                config_report::change(session, &resource, changes, unset.change.dry_run).await
            }
        }
    }
}

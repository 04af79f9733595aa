//! `rkctl topic config`.

use clap::{Args, Subcommand};
use reka_client::admin::Resource;

use crate::command_line::{Change, key_value};
use crate::commands::cluster::config_report::{self, Changed};
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the configuration of a topic
    Get(Get),
    /// Set keys
    Set(Set),
    /// Take values away, so that the default counts
    Unset(Unset),
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Name of the topic
    #[arg(add = crate::completion::topics())]
    topic: String,
    /// Only these keys
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Every key, not only those that were set for the topic
    #[arg(short, long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Name of the topic
    #[arg(add = crate::completion::topics())]
    topic: String,
    /// Keys with their values
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = key_value)]
    values: Vec<(String, String)>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Unset {
    /// Name of the topic
    #[arg(add = crate::completion::topics())]
    topic: String,
    /// Keys to take the values of
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    change: Change,
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let (Command::Get(Get { topic, .. })
        | Command::Set(Set { topic, .. })
        | Command::Unset(Unset { topic, .. })) = self;
        session.topics(std::slice::from_ref(topic)).await?;
        let resource = Resource::topic(topic);
        match self {
            Command::Get(get) => config_report::show(session, &resource, &get.keys, get.all).await,
            Command::Set(set) => {
                let changes = Changed::set(&set.values);
                config_report::change(session, &resource, changes, set.change.dry_run).await
            }
            Command::Unset(unset) => {
                let changes = Changed::unset(&unset.keys);
                config_report::change(session, &resource, changes, unset.change.dry_run).await
            }
        }
    }
}

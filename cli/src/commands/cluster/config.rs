//! `rkctl cluster config`.

use clap::{Args, Subcommand};
use reka_client::admin::Resource;

use super::config_report::{self, Changed};
use super::{config_diff, config_edit};
use crate::command_line::{Change, key_value};
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the configuration of a broker, or what was set for all brokers
    Get(Get),
    /// Set keys for a broker, or for all
    Set(Set),
    /// Take values away, so that the default counts
    Unset(Unset),
    /// Change in an editor what was set
    Edit(config_edit::Edit),
    /// Show where two brokers differ, or one from the defaults
    Diff(config_diff::Diff),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// The broker's id; all brokers without
    #[arg(long, value_name = "ID", add = crate::completion::brokers())]
    broker: Option<i32>,
}

impl Which {
    pub(super) fn subject(&self) -> String {
        match self.broker {
            Some(id) => format!("broker {id}"),
            None => "all brokers".to_owned(),
        }
    }

    pub(super) fn resource(&self) -> Resource {
        match self.broker {
            Some(id) => Resource::broker(id),
            None => Resource::all_brokers(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Only these keys
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Every key of the broker, not only those that were set while it ran
    #[arg(short, long, requires = "broker")]
    all: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Keys with their values
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = key_value)]
    values: Vec<(String, String)>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Unset {
    /// Keys to take the values of
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Get(get) => {
                let resource = get.which.resource();
                config_report::show(session, &resource, &get.keys, get.all).await
            }
            Command::Set(set) => {
                let changes = Changed::set(&set.values);
                let resource = set.which.resource();
                config_report::change(session, &resource, changes, set.change.dry_run).await
            }
            Command::Unset(unset) => {
                let changes = Changed::unset(&unset.keys);
                let resource = unset.which.resource();
                config_report::change(session, &resource, changes, unset.change.dry_run).await
            }
            Command::Edit(edit) => edit.run(session).await,
            Command::Diff(diff) => diff.run(session).await,
        }
    }
}

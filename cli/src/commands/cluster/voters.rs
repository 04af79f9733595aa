//! `rkctl cluster quorum add-voter` and `remove-voter`.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use reka_client::admin::QuorumReplica;
use reka_client::config::Address;
use serde::Serialize;
use uuid::Uuid;

use crate::command_line::{Change, Destruction};
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let a controller vote that follows the quorum
    AddVoter(Add),
    /// Take a controller its vote
    RemoveVoter(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Id of the controller
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    node: i32,
    /// Where the other voters reach it, such as CONTROLLER://host:9093
    #[arg(long = "listener", required = true, value_name = "NAME://HOST:PORT", value_parser = listener)]
    listeners: Vec<(String, Address)>,
    /// Id of its metadata directory; what the quorum knows of it where this is not said
    #[arg(long, value_name = "ID", value_parser = directory)]
    directory_id: Option<Uuid>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Id of the controller
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    node: i32,
    /// Id of its metadata directory; what the quorum knows of it where this is not said
    #[arg(long, value_name = "ID", value_parser = directory)]
    directory_id: Option<Uuid>,
    #[command(flatten)]
    destruction: Destruction,
}

#[derive(Debug, Serialize)]
struct Done {
    node: i32,
    directory: String,
    status: &'static str,
}

impl Report for Done {
    fn page(&self) -> Page {
        let mut table = Table::new(["NODE", "STATUS"]);
        table.row([self.node.to_string(), self.status.to_owned()]);
        table.into()
    }
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::AddVoter(command) => command.run(session).await,
            Command::RemoveVoter(command) => command.run(session).await,
        }
    }
}

impl Add {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let directory = match self.directory_id {
            Some(directory) => directory,
            None => {
                let observers = client.describe_quorum().await?.observers;
                known(&observers, self.node).ok_or_else(|| {
                    let text = format!("node {} does not follow the metadata quorum", self.node);
                    let hint = "start it first; rkctl cluster quorum lists who follows";
                    Failure::not_found(text).hint(hint)
                })?
            }
        };
        if !self.change.dry_run {
            let added = client.add_voter(self.node, directory, &self.listeners);
            added.await?;
        }
        session.show(&Done {
            node: self.node,
            directory: directory.to_string(),
            status: if self.change.dry_run {
                "would vote"
            } else {
                "votes"
            },
        })
    }
}

impl Remove {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let directory = match self.directory_id {
            Some(directory) => directory,
            None => {
                let voters = client.describe_quorum().await?.voters;
                known(&voters, self.node).ok_or_else(|| {
                    let text = format!("node {} does not vote in the metadata quorum", self.node);
                    Failure::not_found(text).hint("rkctl cluster quorum lists who votes")
                })?
            }
        };
        self.destruction
            .consent(&format!("remove voter {}", self.node))?;
        let dry_run = self.destruction.dry_run;
        if !dry_run {
            client.remove_voter(self.node, directory).await?;
        }
        session.show(&Done {
            node: self.node,
            directory: directory.to_string(),
            status: if dry_run {
                "would vote no more"
            } else {
                "votes no more"
            },
        })
    }
}

/// The directory of a node among these.
fn known(replicas: &[QuorumReplica], node: i32) -> Option<Uuid> {
    let replica = replicas.iter().find(|replica| replica.id == node)?;
    Some(replica.directory)
}

fn listener(text: &str) -> Result<(String, Address), String> {
    let expected = || format!("expected NAME://HOST:PORT, found {text:?}");
    let (name, address) = text.split_once("://").ok_or_else(expected)?;
    if name.is_empty() {
        return Err(expected());
    }
    let address = Address::from_str(address).map_err(|_| expected())?;
    Ok((name.to_owned(), address))
}

/// As rkctl writes ids of directories, or as Apache Kafka does.
fn directory(text: &str) -> Result<Uuid, String> {
    let as_kafka = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Uuid::from_slice(&bytes).ok()
    };
    let read = Uuid::from_str(text).ok().or_else(as_kafka);
    read.ok_or_else(|| {
        "expected an id such as 01020304-0506-4708-890a-0b0c0d0e0f10, or 22 letters as Apache Kafka \
         writes it"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_as_both_write_them() {
        let id = Uuid::from_bytes(*b"abcdefghijklmnop");
        assert_eq!(directory(&id.to_string()), Ok(id));
        assert_eq!(directory("YWJjZGVmZ2hpamtsbW5vcA"), Ok(id));
        for wrong in ["", "YWJj", "node-1"] {
            assert!(directory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_has_a_name_and_an_address() {
        let (name, address) = listener("CONTROLLER://a:93").expect("a listener");
        assert_eq!(
            (name.as_str(), address.to_string().as_str()),
            ("CONTROLLER", "a:93")
        );
        for wrong in ["a:93", "://a:93", "C://a:b"] {
            assert!(listener(wrong).is_err(), "{wrong}");
        }
    }
}

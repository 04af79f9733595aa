//! `rkctl group`.

mod delete;
mod describe;
mod list;
mod members;
mod offset_delete;
mod seek;
mod watch;

use std::collections::BTreeMap;

use clap::Subcommand;
use reka_client::admin::GroupDescription;
use reka_client::admin::OffsetSpec;
use reka_client::{Client, TopicPartition};
use reka_protocol::ErrorCode;

use crate::commands::topic::offsets;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List groups
    List(list::List),
    /// Show what groups have read and how far they are behind
    Describe(describe::Describe),
    /// Show the members of groups with what they have
    Members(members::Members),
    /// Show how far a group is behind, again and again
    Watch(watch::Watch),
    /// Let a group go on from somewhere else
    Seek(seek::Seek),
    /// Delete groups that have no members
    Delete(delete::Delete),
    /// Forget how far a group has read topics
    OffsetDelete(offset_delete::OffsetDelete),
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::List(command) => command.run(session).await,
            Command::Describe(command) => command.run(session).await,
            Command::Members(command) => command.run(session).await,
            Command::Watch(command) => command.run(session).await,
            Command::Seek(command) => command.run(session).await,
            Command::Delete(command) => command.run(session).await,
            Command::OffsetDelete(command) => command.run(session).await,
        }
    }
}

/// Groups by id. One that is not there is told with names that are near.
pub(crate) async fn groups(
    session: &Session,
    ids: &[String],
) -> Result<Vec<GroupDescription>, Failure> {
    let client = session.client().await?;
    let mut groups = Vec::with_capacity(ids.len());
    for (id, described) in client.describe_groups(ids).await? {
        match described {
            // Brokers before 4.0 say this of a group that is not there.
            Ok(group) if group.state == "Dead" => return Err(session.unknown_group(&id).await),
            Ok(group) => groups.push(group),
            Err(refusal) if refusal.is(ErrorCode::GroupIdNotFound) => {
                return Err(session.unknown_group(&id).await);
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(groups)
}

/// Where partitions end; those that cannot be asked for are left out.
pub(crate) async fn ends(
    client: &Client,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let ends = offsets(client, partitions, OffsetSpec::Latest).await?;
    let known = partitions.iter().zip(ends).filter_map(|(at, end)| {
        let end = end.ok().flatten()?;
        Some((at.clone(), end))
    });
    Ok(known.collect())
}

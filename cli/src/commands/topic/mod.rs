//! `rkctl topic`.

mod add_partitions;
mod analyze;
mod config;
mod consume;
mod copy;
mod create;
mod delete;
mod describe;
mod diff;
mod du;
mod list;
mod offsets;
pub(crate) mod produce;
mod trim;

use clap::Subcommand;
use reka_client::admin::{Isolation, OffsetSpec};
use reka_client::{Client, Outcome, TopicInfo, TopicPartition};

use crate::failure::Failure;
use crate::names::TopicSelection;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create topics
    Create(create::Create),
    /// List topics
    List(list::List),
    /// Show topics with their configuration and partitions
    Describe(describe::Describe),
    /// Delete topics with all their records
    Delete(delete::Delete),
    /// Give a topic more partitions
    AddPartitions(add_partitions::AddPartitions),
    /// Read and change the configuration of a topic
    #[command(subcommand)]
    Config(config::Command),
    /// Delete the oldest records of a topic
    Trim(trim::Trim),
    /// Show first, last or timed offsets
    Offsets(offsets::Offsets),
    /// Write records to a topic
    Produce(produce::Produce),
    /// Show records of topics
    Consume(consume::Consume),
    /// Copy a topic with its records and its configuration
    Copy(copy::Copy),
    /// Show in what two topics differ
    Diff(diff::Diff),
    /// Show how much room topics take
    Du(du::Du),
    /// Look at the last records: rates, sizes, keys, compression
    Analyze(analyze::Analyze),
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Create(command) => command.run(session).await,
            Command::List(command) => command.run(session).await,
            Command::Describe(command) => command.run(session).await,
            Command::Delete(command) => command.run(session).await,
            Command::AddPartitions(command) => command.run(session).await,
            Command::Config(command) => command.run(session).await,
            Command::Trim(command) => command.run(session).await,
            Command::Offsets(command) => command.run(session).await,
            Command::Produce(command) => command.run(session).await,
            Command::Consume(command) => command.run(session).await,
            Command::Copy(command) => command.run(session).await,
            Command::Diff(command) => command.run(session).await,
            Command::Du(command) => command.run(session).await,
            Command::Analyze(command) => command.run(session).await,
        }
    }
}

/// The partitions that selections name; all of a topic where none are named.
pub(crate) async fn partitions(
    session: &Session,
    selections: &[TopicSelection],
) -> Result<Vec<TopicPartition>, Failure> {
    let names: Vec<String> = selections.iter().map(|s| s.topic.clone()).collect();
    let topics = session.topics(&names).await?;
    let mut partitions = Vec::new();
    for selection in selections {
        let topic = topics.iter().find(|topic| topic.name == selection.topic);
        let all = topic.map(|topic| topic.partitions.iter().map(|p| p.index).collect());
        let all: Vec<i32> = all.unwrap_or_default();
        let wanted = selection.partitions.as_ref().unwrap_or(&all);
        if let Some(missing) = wanted.iter().find(|index| !all.contains(index)) {
            let text = format!(
                "topic {} has no partition {missing}, it has {}",
                selection.topic,
                all.len()
            );
            return Err(Failure::not_found(text));
        }
        let of = |index: &i32| TopicPartition::new(selection.topic.clone(), *index);
        partitions.extend(wanted.iter().map(of));
    }
    partitions.sort();
    partitions.dedup();
    Ok(partitions)
}

/// All partitions of a topic.
pub(crate) fn partitions_of(topic: &TopicInfo) -> Vec<TopicPartition> {
    let of = |partition: &reka_client::PartitionInfo| {
        TopicPartition::new(topic.name.clone(), partition.index)
    };
    topic.partitions.iter().map(of).collect()
}

/// One kind of offset of partitions, in their order.
pub(crate) async fn offsets(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<Vec<Outcome<Option<i64>>>, Failure> {
    let wanted: Vec<(TopicPartition, OffsetSpec)> =
        partitions.iter().map(|at| (at.clone(), spec)).collect();
    let listed = client.list_offsets(&wanted, Isolation::default()).await?;
    let offset = |(_, outcome): (TopicPartition, Outcome<reka_client::admin::ListedOffset>)| {
        outcome.map(|listed| listed.offset)
    };
    Ok(listed.into_iter().map(offset).collect())
}

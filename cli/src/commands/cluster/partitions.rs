//! `rkctl cluster partitions`.

use clap::{Args, Subcommand};
use reka_client::admin::Election;
use reka_client::{PartitionInfo, TopicPartition};
use reka_protocol::ErrorCode;
use serde::Serialize;

use super::{balance, explain};
use crate::command_line::Change;
use crate::failure::Failure;
use crate::names::{matches_any, partition};
use crate::output::Report;
use crate::session::{ErrorField, PartitionRow, Session};
use crate::table::{Page, Table, list, or_none};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List partitions with where they are
    List(List),
    /// Make the first replica of partitions their leader
    Elect(Elect),
    /// Move partitions to other brokers
    Move(MoveTo),
    /// Show moves between brokers that are under way
    Status(Status),
    /// Give up moves that are under way
    Cancel(Cancel),
    /// Say why replicas are not in sync, and what to do
    Explain(explain::Explain),
    /// Spread replicas and leaders evenly over the brokers
    Balance(balance::Balance),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only partitions with replicas that are not in sync
    #[arg(long)]
    under_replicated: bool,
    /// Only partitions without a leader
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Elect {
    /// Partitions such as orders:3
    #[arg(required_unless_present = "all", value_name = "TOPIC:PARTITION", value_parser = partition)]
    partitions: Vec<TopicPartition>,
    /// All partitions
    #[arg(long, conflicts_with = "partitions")]
    all: bool,
}

/// The first broker of a list is to lead. Moves go on after the command has ended: status shows them.
#[derive(Debug, Args)]
pub(crate) struct MoveTo {
    /// Partitions with the brokers that are to hold them, such as orders:3=1,2
    #[arg(required = true, value_name = "TOPIC:PARTITION=BROKER,...", value_parser = placement)]
    moves: Vec<(TopicPartition, Vec<i32>)>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Partitions such as orders:3
    #[arg(required_unless_present = "all", value_name = "TOPIC:PARTITION", value_parser = partition)]
    partitions: Vec<TopicPartition>,
    /// All moves there are
    #[arg(long, conflicts_with = "partitions")]
    all: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Status {}

/// Reads `orders:3=1,2`.
fn placement(text: &str) -> Result<(TopicPartition, Vec<i32>), String> {
    let wrong = || format!("expected TOPIC:PARTITION=BROKER,..., found {text:?}");
    let (at, brokers) = text.rsplit_once('=').ok_or_else(wrong)?;
    let brokers = brokers.split(',').map(|id| id.trim().parse());
    let brokers: Vec<i32> = brokers.collect::<Result<_, _>>().map_err(|_| wrong())?;
    let mut distinct = brokers.clone();
    distinct.sort_unstable();
    distinct.dedup();
    match distinct.len() == brokers.len() {
        true => Ok((partition(at)?, brokers)),
        false => Err(format!("{text:?} names a broker twice")),
    }
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    offline: Vec<i32>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new([
            "TOPIC",
            "PARTITION",
            "LEADER",
            "EPOCH",
            "REPLICAS",
            "IN SYNC",
            "OFFLINE",
        ]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                or_none(row.leader),
                row.leader_epoch.to_string(),
                list(&row.replicas),
                list(&row.in_sync),
                list(&row.offline),
            ]);
        }
        table.into()
    }
}

#[derive(Debug, Serialize)]
struct Move {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

impl Report for Vec<Move> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITION", "REPLICAS", "ADDING", "REMOVING"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                list(&row.replicas),
                list(&row.adding),
                list(&row.removing),
            ]);
        }
        table.into()
    }
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::List(list) => list.run(session).await,
            Command::Elect(elect) => elect.run(session).await,
            Command::Move(moves) => moves.run(session).await,
            Command::Status(status) => status.run(session).await,
            Command::Cancel(cancel) => cancel.run(session).await,
            Command::Explain(explain) => explain.run(session).await,
            Command::Balance(balance) => balance.run(session).await,
        }
    }
}

impl List {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let topics = session.client().await?.list_topics().await?;
        let wanted = |partition: &PartitionInfo| {
            let behind = partition.in_sync.len() < partition.replicas.len();
            let leaderless = partition.leader.is_none();
            (!self.under_replicated || behind) && (!self.offline || leaderless)
        };
        let mut rows = Vec::new();
        for topic in topics {
            if !matches_any(&self.patterns, &topic.name) {
                continue;
            }
            for partition in topic.partitions.into_iter().filter(wanted) {
                rows.push(Row {
                    topic: topic.name.clone(),
                    partition: partition.index,
                    leader: partition.leader,
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replicas,
                    in_sync: partition.in_sync,
                    offline: partition.offline,
                });
            }
        }
        session.show(&rows)
    }
}

impl Elect {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let partitions = (!self.all).then_some(self.partitions.as_slice());
        let outcomes = client
            .elect_leaders(Election::Preferred, partitions)
            .await?;
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for (at, outcome) in outcomes {
            let leads = |refusal: &reka_client::Refusal| refusal.is(ErrorCode::ElectionNotNeeded);
            let (status, failure) = match &outcome {
                Ok(()) => ("elected", None),
                Err(refusal) if leads(refusal) => ("leads already", None),
                Err(refusal) => ("failed", Some(Failure::from(refusal.clone()))),
            };
            rows.push(PartitionRow {
                topic: at.topic,
                partition: at.partition,
                status,
                error: if failure.is_some() {
                    ErrorField::of(&outcome)
                } else {
                    None
                },
            });
            failures.push(failure);
        }
        session.show_outcomes(&rows, &failures)
    }
}

/// Shows what became of changes of partitions; a dry run has changed nothing.
fn show(
    session: &Session,
    outcomes: Vec<(TopicPartition, reka_client::Outcome<()>)>,
    done: &'static str,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (at, outcome) in outcomes {
        rows.push(PartitionRow {
            topic: at.topic,
            partition: at.partition,
            status: if outcome.is_ok() { done } else { "failed" },
            error: ErrorField::of(&outcome),
        });
        failures.push(outcome.err().map(Failure::from));
    }
    session.show_outcomes(&rows, &failures)
}

impl MoveTo {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let mut names: Vec<String> = self.moves.iter().map(|(at, _)| at.topic.clone()).collect();
        names.dedup();
        let topics = session.topics(&names).await?;
        let known: Vec<i32> = client.brokers().await?.iter().map(|b| b.id).collect();
        for (at, brokers) in &self.moves {
            let topic = topics.iter().find(|topic| topic.name == at.topic);
            let is_there = |topic: &&reka_client::TopicInfo| {
                topic
                    .partitions
                    .iter()
                    .any(|info| info.index == at.partition)
            };
            if topic.filter(is_there).is_none() {
                return Err(Failure::not_found(format!("there is no partition {at}")));
            }
            if let Some(unknown) = brokers.iter().find(|id| !known.contains(id)) {
                let text = format!("broker {unknown} is not in the cluster; it has {known:?}");
                return Err(Failure::not_found(text));
            }
        }
        let moves = self.moves.iter().cloned();
        if self.change.dry_run {
            let would = moves.map(|(at, _)| (at, Ok(()))).collect();
            return show(session, would, "would begin");
        }
        let moves: Vec<_> = moves.map(|(at, brokers)| (at, Some(brokers))).collect();
        let outcomes = client.alter_reassignments(&moves).await?;
        show(session, outcomes, "began")
    }
}

impl Cancel {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let partitions: Vec<TopicPartition> = match self.all {
            true => client.list_reassignments().await?.into_keys().collect(),
            false => self.partitions.clone(),
        };
        if self.change.dry_run {
            let would = partitions.into_iter().map(|at| (at, Ok(()))).collect();
            return show(session, would, "would be cancelled");
        }
        let wanted: Vec<_> = partitions.into_iter().map(|at| (at, None)).collect();
        let outcomes = client.alter_reassignments(&wanted).await?;
        show(session, outcomes, "cancelled")
    }
}

impl Status {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let moves = session.client().await?.list_reassignments().await?;
        let rows: Vec<Move> = moves
            .into_iter()
            .map(|(at, under_way)| Move {
                topic: at.topic,
                partition: at.partition,
                replicas: under_way.replicas,
                adding: under_way.adding,
                removing: under_way.removing,
            })
            .collect();
        session.show(&rows)
    }
}

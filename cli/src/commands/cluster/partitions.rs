//! `rkctl cluster partitions`.

use clap::{Args, Subcommand};
use reka_client::admin::Election;
use reka_client::{PartitionInfo, TopicPartition};
use reka_protocol::ErrorCode;
use serde::Serialize;

use crate::failure::Failure;
use crate::names::{matches_any, partition};
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table, list, or_none};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List partitions with where they are
    List(List),
    /// Make the first replica of partitions their leader
    Elect(Elect),
    /// Show moves between brokers that are under way
    Status(Status),
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

#[derive(Debug, Args)]
pub(crate) struct Status {}

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
struct Elected {
    topic: String,
    partition: i32,
    status: &'static str,
    error: Option<ErrorField>,
}

impl Report for Vec<Elected> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITION", "STATUS", "ERROR"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.status.to_owned(),
                ErrorField::name(&row.error),
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
            Command::Status(status) => status.run(session).await,
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
            rows.push(Elected {
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

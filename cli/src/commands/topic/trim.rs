//! `rkctl topic trim`.

use clap::Args;
use reka_client::TopicPartition;
use reka_client::admin::OffsetSpec;
use serde::Serialize;

use super::{offsets, partitions};
use crate::command_line::Destruction;
use crate::failure::Failure;
use crate::moment;
use crate::names::{TopicSelection, selection};
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table, or_none};

#[derive(Debug, Args)]
pub(crate) struct Trim {
    /// The topic, or some of its partitions: orders:0,2-4
    #[arg(value_parser = selection)]
    topic: TopicSelection,
    /// Delete the records before this offset
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..), required_unless_present_any = ["before_time", "all"])]
    before: Option<i64>,
    /// Delete the records before the first one of this time or later
    #[arg(
        long,
        value_name = "TIME",
        conflicts_with = "before",
        allow_hyphen_values = true
    )]
    before_time: Option<String>,
    /// Delete all records there are
    #[arg(long, conflicts_with_all = ["before", "before_time"])]
    all: bool,
    #[command(flatten)]
    destruction: Destruction,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    status: &'static str,
    start_offset_before: Option<i64>,
    start_offset: Option<i64>,
    error: Option<ErrorField>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITION", "STATUS", "BEFORE", "START", "ERROR"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.status.to_owned(),
                or_none(row.start_offset_before),
                or_none(row.start_offset),
                ErrorField::name(&row.error),
            ]);
        }
        table.into()
    }
}

impl Trim {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let partitions = partitions(session, std::slice::from_ref(&self.topic)).await?;
        let client = session.client().await?;
        let starts = offsets(client, &partitions, OffsetSpec::Earliest).await?;
        let ends = offsets(client, &partitions, OffsetSpec::Latest).await?;
        let timed = match &self.before_time {
            Some(time) => {
                let at = moment::read(time, moment::now_ms()).map_err(Failure::usage)?;
                Some(offsets(client, &partitions, OffsetSpec::At(at)).await?)
            }
            None => None,
        };
        let mut wanted: Vec<(TopicPartition, i64)> = Vec::new();
        for (at, partition) in partitions.iter().enumerate() {
            let start = starts[at].clone()?.unwrap_or(0);
            let end = ends[at].clone()?.unwrap_or(start);
            let before = match (&timed, self.before) {
                // No record is that late, so all are earlier.
                (Some(timed), _) => timed[at].clone()?.unwrap_or(end),
                (None, Some(before)) => before,
                (None, None) => end,
            };
            wanted.push((partition.clone(), before.max(start)));
        }
        let what = format!("delete the oldest records of {} partitions", wanted.len());
        self.destruction.consent(&what)?;
        let outcomes = match self.destruction.dry_run {
            true => wanted
                .into_iter()
                .map(|(at, offset)| (at, Ok(offset)))
                .collect(),
            false => client.delete_records(&wanted).await?,
        };
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for ((partition, outcome), start) in outcomes.into_iter().zip(starts) {
            let status = match (&outcome, self.destruction.dry_run) {
                (Err(_), _) => "failed",
                (Ok(_), true) => "would be trimmed",
                (Ok(_), false) => "trimmed",
            };
            rows.push(Row {
                topic: partition.topic,
                partition: partition.partition,
                status,
                start_offset_before: start.ok().flatten(),
                start_offset: outcome.as_ref().ok().copied(),
                error: ErrorField::of(&outcome),
            });
            failures.push(outcome.err().map(Failure::from));
        }
        session.show_outcomes(&rows, &failures)
    }
}

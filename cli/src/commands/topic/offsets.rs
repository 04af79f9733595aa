//! `rkctl topic offsets`.

use clap::Args;
use reka_client::admin::OffsetSpec;
use serde::Serialize;

use super::{offsets, partitions};
use crate::failure::Failure;
use crate::moment;
use crate::names::{TopicSelection, selection};
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table, or_none};

#[derive(Debug, Args)]
pub(crate) struct Offsets {
    /// Topics, or some of their partitions: orders:0,2-4
    #[arg(required = true, value_name = "TOPIC", add = crate::completion::topics(), value_parser = selection)]
    topics: Vec<TopicSelection>,
    /// Also the first offset of this time or later: 2026-11-21T10:00:00Z, -2h, milliseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
    /// At the time that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset_at: Option<Option<i64>>,
    error: Option<ErrorField>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        if self.iter().any(|row| row.offset_at.is_some()) {
            let mut table = Table::new(["TOPIC", "PARTITION", "START", "END", "AT", "ERROR"]);
            for row in self {
                table.row([
                    row.topic.clone(),
                    row.partition.to_string(),
                    or_none(row.start_offset),
                    or_none(row.end_offset),
                    or_none(row.offset_at.flatten()),
                    ErrorField::name(&row.error),
                ]);
            }
            return table.into();
        }
        let mut table = Table::new(["TOPIC", "PARTITION", "START", "END", "ERROR"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                or_none(row.start_offset),
                or_none(row.end_offset),
                ErrorField::name(&row.error),
            ]);
        }
        table.into()
    }
}

impl Offsets {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let at = match &self.at {
            Some(time) => Some(moment::read(time, moment::now_ms()).map_err(Failure::usage)?),
            None => None,
        };
        let partitions = partitions(session, &self.topics).await?;
        let client = session.client().await?;
        let starts = offsets(client, &partitions, OffsetSpec::Earliest).await?;
        let ends = offsets(client, &partitions, OffsetSpec::Latest).await?;
        let timed = match at {
            Some(at) => Some(offsets(client, &partitions, OffsetSpec::At(at)).await?),
            None => None,
        };
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for (nth, partition) in partitions.into_iter().enumerate() {
            let (start, end) = (starts[nth].clone(), ends[nth].clone());
            let error = ErrorField::of(&end).or_else(|| ErrorField::of(&start));
            rows.push(Row {
                topic: partition.topic,
                partition: partition.partition,
                start_offset: start.as_ref().ok().copied().flatten(),
                end_offset: end.as_ref().ok().copied().flatten(),
                offset_at: timed
                    .as_ref()
                    .map(|timed| timed[nth].as_ref().ok().copied().flatten()),
                error,
            });
            failures.push(end.and(start).err().map(Failure::from));
        }
        session.show_outcomes(&rows, &failures)
    }
}

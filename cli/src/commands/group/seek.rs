//! `rkctl group seek`.

use std::collections::BTreeMap;

use clap::Args;
use reka_client::TopicPartition;
use reka_client::admin::{OffsetSpec, OffsetToCommit};
use serde::Serialize;

use crate::command_line::Destruction;
use crate::commands::topic::{offsets, partitions};
use crate::failure::Failure;
use crate::moment;
use crate::names::{TopicSelection, selection};
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table, or_none};

/// The group must have no members while this is done. What it had committed is shown first: with
/// --output json that is a record to go back to.
#[derive(Debug, Args)]
pub(crate) struct Seek {
    /// Name of the group; one that is not there yet is made
    group: String,
    /// Where to: start, end, an offset, +N or -N from where it is, a time
    /// (2026-11-21T10:00:00Z, -2h), or group:NAME for where another group is
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = destination)]
    to: Destination,
    /// Only these topics, or some of their partitions: orders:0,2-4; without, what it has committed
    #[arg(short, long, value_name = "TOPIC", value_parser = selection)]
    topic: Vec<TopicSelection>,
    #[command(flatten)]
    destruction: Destruction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Start,
    End,
    Offset(i64),
    By(i64),
    Time(String),
    Group(String),
}

fn destination(text: &str) -> Result<Destination, String> {
    let number = |text: &str| text.parse::<i64>().ok();
    Ok(match text {
        "start" => Destination::Start,
        "end" => Destination::End,
        _ if text.starts_with("group:") && text.len() > 6 => {
            Destination::Group(text[6..].to_owned())
        }
        _ if text.starts_with(['+', '-']) && number(text).is_some() => {
            Destination::By(number(text).unwrap_or_default())
        }
        _ => match number(text) {
            Some(offset) => Destination::Offset(offset),
            None => {
                moment::read(text, 0).map_err(|_| expected(text))?;
                Destination::Time(text.to_owned())
            }
        },
    })
}

fn expected(text: &str) -> String {
    format!(
        "expected start, end, an offset, +N, -N, a time such as -2h, or group:NAME, found {text:?}"
    )
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    status: &'static str,
    offset_before: Option<i64>,
    offset: Option<i64>,
    error: Option<ErrorField>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITION", "STATUS", "FROM", "TO", "ERROR"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.status.to_owned(),
                or_none(row.offset_before),
                or_none(row.offset),
                ErrorField::name(&row.error),
            ]);
        }
        table.into()
    }
}

impl Seek {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let before: BTreeMap<TopicPartition, i64> = client
            .group_offsets(&self.group)
            .await?
            .into_iter()
            .map(|(at, committed)| (at, committed.offset))
            .collect();
        let wanted = self.wanted(session, &before).await?;
        let what = format!(
            "let group {} go on elsewhere in {} partitions",
            self.group,
            wanted.len()
        );
        self.destruction.consent(&what)?;
        let commits: Vec<(TopicPartition, OffsetToCommit)> = wanted
            .iter()
            .map(|(at, offset)| (at.clone(), OffsetToCommit::new(*offset)))
            .collect();
        let outcomes = match self.destruction.dry_run {
            true => commits.into_iter().map(|(at, _)| (at, Ok(()))).collect(),
            false => client.commit_group_offsets(&self.group, &commits).await?,
        };
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for (at, outcome) in outcomes {
            let status = match (&outcome, self.destruction.dry_run) {
                (Err(_), _) => "failed",
                (Ok(()), true) => "would be moved",
                (Ok(()), false) => "moved",
            };
            rows.push(Row {
                status,
                offset_before: before.get(&at).copied(),
                offset: wanted.get(&at).copied(),
                error: ErrorField::of(&outcome),
                topic: at.topic,
                partition: at.partition,
            });
            failures.push(outcome.err().map(|refusal| {
                Failure::from(refusal).hint("a group can be moved only while it has no members")
            }));
        }
        session.show_outcomes(&rows, &failures)
    }

    /// Where each partition is to go.
    async fn wanted(
        &self,
        session: &Session,
        before: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
        let client = session.client().await?;
        if let Destination::Group(other) = &self.to {
            let theirs = client.group_offsets(other).await?;
            let chosen = match self.topic.is_empty() {
                true => None,
                false => Some(partitions(session, &self.topic).await?),
            };
            let is_chosen = |at: &TopicPartition| chosen.as_ref().is_none_or(|c| c.contains(at));
            let wanted: BTreeMap<TopicPartition, i64> = theirs
                .into_iter()
                .filter(|(at, _)| is_chosen(at))
                .map(|(at, committed)| (at, committed.offset))
                .collect();
            return match wanted.is_empty() {
                true => Err(Failure::not_found(format!(
                    "group {other} has committed nothing there"
                ))),
                false => Ok(wanted),
            };
        }
        let chosen: Vec<TopicPartition> = match self.topic.is_empty() {
            true if before.is_empty() => {
                let text = format!("group {} has committed nothing", self.group);
                return Err(Failure::not_found(text).hint("say which topics with --topic"));
            }
            true => before.keys().cloned().collect(),
            false => partitions(session, &self.topic).await?,
        };
        let starts = offsets(client, &chosen, OffsetSpec::Earliest).await?;
        let ends = offsets(client, &chosen, OffsetSpec::Latest).await?;
        let timed = match &self.to {
            Destination::Time(time) => {
                let at = moment::read(time, moment::now_ms()).map_err(Failure::usage)?;
                offsets(client, &chosen, OffsetSpec::At(at)).await?
            }
            _ => Vec::new(),
        };
        let mut wanted = BTreeMap::new();
        for (nth, at) in chosen.into_iter().enumerate() {
            let start = starts[nth].clone()?.unwrap_or(0);
            let end = ends[nth].clone()?.unwrap_or(start);
            let to = match &self.to {
                Destination::Start => start,
                Destination::Offset(offset) => *offset,
                Destination::By(by) => match before.get(&at) {
                    Some(offset) => offset.saturating_add(*by),
                    None => {
                        let text = format!("group {} has committed nothing for {at}", self.group);
                        return Err(Failure::not_found(text));
                    }
                },
                // No record is that late: the next one will be.
                Destination::Time(_) => timed[nth].clone()?.unwrap_or(end),
                Destination::End | Destination::Group(_) => end,
            };
            // Outside the log a consumer would go where its own settings say.
            wanted.insert(at, to.clamp(start, end));
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_and_others_refused() {
        let check = |text: &str, expected: Destination| {
            assert_eq!(destination(text), Ok(expected), "{text}");
        };
        check("start", Destination::Start);
        check("end", Destination::End);
        check("42", Destination::Offset(42));
        check("+7", Destination::By(7));
        check("-7", Destination::By(-7));
        check("-2h", Destination::Time("-2h".to_owned()));
        check("2026-11-21", Destination::Time("2026-11-21".to_owned()));
        check("group:other", Destination::Group("other".to_owned()));
        for text in ["", "beginning", "-2x", "group:", "2026-99-99"] {
            assert!(destination(text).is_err(), "{text}");
        }
    }
}

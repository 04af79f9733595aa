//! `rkctl group seek`.

use std::collections::BTreeMap;

use clap::Args;
use reka_client::Outcome;
use reka_client::TopicPartition;
use reka_client::admin::{OffsetSpec, OffsetToCommit};
use serde::{Deserialize, Serialize};

use crate::command_line::Destruction;
use crate::commands::topic::{offsets, partitions};
use crate::failure::Failure;
use crate::moment;
use crate::names::{TopicSelection, selection};
use crate::output::Report;
use crate::session::{ErrorField, Session, state_dir};
use crate::table::{Page, Table, or_none};

/// The group must have no members while this is done. Where it was before is remembered on this machine:
/// --to undo takes the last seek back, and said again does it once more.
#[derive(Debug, Args)]
pub(crate) struct Seek {
    /// Name of the group; one that is not there yet is made
    #[arg(add = crate::completion::groups())]
    group: String,
    /// Where to: start, end, an offset, +N or -N from where it is, a time
    /// (2026-11-21T10:00:00Z, -2h), group:NAME for where another group is, file:PATH for what a file
    /// says (lines of topic,partition,offset, or what -o json has shown), undo for where it was before
    /// the last seek
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = destination)]
    to: Destination,
    /// Only these topics, or some of their partitions: orders:0,2-4; without, what it has committed
    #[arg(short, long, value_name = "TOPIC", add = crate::completion::topics(), value_parser = selection)]
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
    File(String),
    Undo,
}

fn destination(text: &str) -> Result<Destination, String> {
    let number = |text: &str| text.parse::<i64>().ok();
    Ok(match text {
        "start" => Destination::Start,
        "end" => Destination::End,
        "undo" => Destination::Undo,
        _ if text.starts_with("file:") && text.len() > 5 => Destination::File(text[5..].to_owned()),
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
        "expected start, end, an offset, +N, -N, a time such as -2h, group:NAME, file:PATH or undo, found {text:?}"
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
        let history = History::of(session, &self.group).await?;
        let wanted = match &self.to {
            Destination::Undo => self.chosen(session, history.last()?).await?,
            Destination::File(path) => {
                let read = read_file(path)?.into_iter();
                self.chosen(
                    session,
                    read.map(|(at, offset)| (at, Some(offset))).collect(),
                )
                .await?
            }
            _ => {
                let wanted = self.wanted(session, &before).await?.into_iter();
                wanted.map(|(at, offset)| (at, Some(offset))).collect()
            }
        };
        let what = format!(
            "let group {} go on elsewhere in {} partitions",
            self.group,
            wanted.len()
        );
        self.destruction.consent(&what)?;
        let outcomes = match self.destruction.dry_run {
            true => wanted.keys().map(|at| (at.clone(), Ok(()))).collect(),
            false => {
                history.remember(&wanted, &before)?;
                self.move_all(session, &wanted).await?
            }
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
                offset: wanted.get(&at).copied().flatten(),
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

    /// Commits offsets, and forgets those there were none of.
    async fn move_all(
        &self,
        session: &Session,
        wanted: &Offsets,
    ) -> Result<Vec<(TopicPartition, Outcome<()>)>, Failure> {
        let client = session.client().await?;
        let commits: Vec<(TopicPartition, OffsetToCommit)> = wanted
            .iter()
            .filter_map(|(at, offset)| Some((at.clone(), OffsetToCommit::new((*offset)?))))
            .collect();
        let without = wanted.iter().filter(|(_, offset)| offset.is_none());
        let without: Vec<TopicPartition> = without.map(|(at, _)| at.clone()).collect();
        let mut outcomes = Vec::new();
        if !commits.is_empty() {
            outcomes.extend(client.commit_group_offsets(&self.group, &commits).await?);
        }
        if !without.is_empty() {
            outcomes.extend(client.delete_group_offsets(&self.group, &without).await?);
        }
        outcomes.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(outcomes)
    }

    /// What of these was chosen with --topic.
    async fn chosen(&self, session: &Session, mut offsets: Offsets) -> Result<Offsets, Failure> {
        if !self.topic.is_empty() {
            let chosen = partitions(session, &self.topic).await?;
            offsets.retain(|at, _| chosen.contains(at));
        }
        match offsets.is_empty() {
            true => Err(Failure::not_found("nothing is said about these partitions")),
            false => Ok(offsets),
        }
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
                Destination::End
                | Destination::Group(_)
                | Destination::File(_)
                | Destination::Undo => end,
            };
            // Outside the log a consumer would go where its own settings say.
            wanted.insert(at, to.clamp(start, end));
        }
        Ok(wanted)
    }
}

/// Offsets by partition; none where there was none.
type Offsets = BTreeMap<TopicPartition, Option<i64>>;

/// Where a group was before the last seek, in a file of this machine.
struct History {
    path: std::path::PathBuf,
    group: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    topic: String,
    partition: i32,
    offset: Option<i64>,
}

impl History {
    async fn of(session: &Session, group: &str) -> Result<Self, Failure> {
        let cluster = session.client().await?.cluster_id().await?;
        // A group may be called anything, a file may not.
        let name: String = group
            .bytes()
            .map(|byte| match byte.is_ascii_alphanumeric() || byte == b'-' {
                true => char::from(byte).to_string(),
                false => format!("_{byte:02x}"),
            })
            .collect();
        let cluster = cluster.unwrap_or_default();
        let dir = state_dir()?.join("seeks").join(cluster);
        Ok(History {
            path: dir.join(format!("{name}.json")),
            group: group.to_owned(),
        })
    }

    fn last(&self) -> Result<Offsets, Failure> {
        let none = || {
            let text = format!(
                "no seek of group {} is remembered on this machine",
                self.group
            );
            Failure::not_found(text)
        };
        let text = std::fs::read_to_string(&self.path).map_err(|_| none())?;
        let rows: Vec<Remembered> = serde_json::from_str(&text)
            .map_err(|error| Failure::other(format!("read {}: {error}", self.path.display())))?;
        let row = |row: Remembered| (TopicPartition::new(row.topic, row.partition), row.offset);
        Ok(rows.into_iter().map(row).collect())
    }

    /// Before anything is moved: what is moved in part can be taken back as well.
    fn remember(
        &self,
        wanted: &Offsets,
        before: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), Failure> {
        let rows: Vec<Remembered> = wanted
            .keys()
            .map(|at| Remembered {
                topic: at.topic.clone(),
                partition: at.partition,
                offset: before.get(at).copied(),
            })
            .collect();
        let unwritable = |error: std::io::Error| {
            Failure::other(format!("write {}: {error}", self.path.display()))
        };
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(unwritable)?;
        }
        let text = serde_json::to_string(&rows)
            .map_err(|error| Failure::other(format!("remember where the group was: {error}")))?;
        std::fs::write(&self.path, text).map_err(unwritable)
    }
}

/// Offsets a file says: lines of `topic,partition,offset`, or JSON with these fields.
fn read_file(path: &str) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?;
    parse_offsets(&text).map_err(|wrong| Failure::usage(format!("{path} {wrong}")))
}

fn parse_offsets(text: &str) -> Result<BTreeMap<TopicPartition, i64>, String> {
    if text.trim_start().starts_with('[') {
        let rows: Vec<Remembered> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let offset = |row: Remembered| {
            let at = TopicPartition::new(row.topic, row.partition);
            row.offset.map(|offset| (at, offset))
        };
        return Ok(rows.into_iter().filter_map(offset).collect());
    }
    let mut offsets = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let mut cells = line
            .rsplitn(3, ',')
            .map(|cell| cell.trim().trim_matches('"'));
        let (offset, partition, topic) = (cells.next(), cells.next(), cells.next());
        let offset = offset.and_then(|offset| offset.parse::<i64>().ok());
        let partition = partition.and_then(|partition| partition.parse().ok());
        match (topic, partition, offset) {
            (Some(topic), Some(partition), Some(offset @ 0..)) => {
                offsets.insert(TopicPartition::new(topic, partition), offset);
            }
            _ => {
                return Err(format!(
                    "line {number}: expected topic,partition,offset, found {line:?}"
                ));
            }
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_offsets_in_lines_or_in_json() {
        let expected: BTreeMap<TopicPartition, i64> = [
            (TopicPartition::new("a", 0), 5),
            (TopicPartition::new("a", 1), 7),
        ]
        .into();
        assert_eq!(
            parse_offsets("a,0,5\n\n\"a\", 1, 7\n"),
            Ok(expected.clone())
        );
        let json = r#"[{"topic":"a","partition":0,"status":"moved","offset":5},
            {"topic":"a","partition":1,"offset":7},{"topic":"b","partition":0,"offset":null}]"#;
        assert_eq!(parse_offsets(json), Ok(expected));
        let wrong = parse_offsets("a,0,5\na,b,5\n").expect_err("no partition");
        assert!(wrong.starts_with("line 2: expected"), "{wrong}");
        assert!(parse_offsets("a,0,-5").is_err());
        assert!(parse_offsets("[{}]").is_err());
    }

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
        check("undo", Destination::Undo);
        check("file:a/b", Destination::File("a/b".to_owned()));
        for text in ["", "beginning", "-2x", "group:", "file:", "2026-99-99"] {
            assert!(destination(text).is_err(), "{text}");
        }
    }
}

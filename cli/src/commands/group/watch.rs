//! `rkctl group watch`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use reka_client::admin::{Isolation, OffsetSpec};
use reka_client::{Consumer, ConsumerConfig, OffsetReset, TopicPartition};
use serde::Serialize;
use tokio::time::Instant;

use super::ends;
use crate::command_line::duration;
use crate::failure::Failure;
use crate::moment;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

/// A line per look, until it is interrupted. The lag in seconds is the age of the oldest record that is
/// not committed; the time to drain is told while the group gains on the writers.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Name of the group
    #[arg(add = crate::completion::groups())]
    group: String,
    /// How long between two looks
    #[arg(short, long, value_parser = duration, default_value = "2s", value_name = "TIME")]
    interval: Duration,
    /// End after so many looks
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A look at a group.
#[derive(Debug, Serialize)]
struct Look {
    time: String,
    group: String,
    state: String,
    members: usize,
    lag: i64,
    lag_seconds: Option<f64>,
    written_per_second: Option<f64>,
    read_per_second: Option<f64>,
    drained_in_seconds: Option<f64>,
}

impl Report for Look {
    fn page(&self) -> Page {
        let mut table = Table::new(HEAD);
        table.row(self.cells());
        table.into()
    }
}

const HEAD: [&str; 8] = [
    "TIME",
    "STATE",
    "MEMBERS",
    "LAG",
    "LAG S",
    "WRITTEN/S",
    "READ/S",
    "DRAINED IN S",
];

impl Look {
    fn cells(&self) -> [String; 8] {
        let rounded = |number: Option<f64>| or_none(number.map(|number| format!("{number:.1}")));
        [
            self.time.clone(),
            self.state.clone(),
            self.members.to_string(),
            self.lag.to_string(),
            rounded(self.lag_seconds),
            rounded(self.written_per_second),
            rounded(self.read_per_second),
            rounded(self.drained_in_seconds),
        ]
    }
}

/// Where everything was.
struct Seen {
    at: Instant,
    ends: i64,
    committed: i64,
}

/// How fast, and when it is through.
#[derive(Debug, PartialEq)]
struct Speed {
    written: f64,
    read: f64,
    drained_in: Option<f64>,
}

fn speed(before: (i64, i64), now: (i64, i64), seconds: f64) -> Option<Speed> {
    if seconds <= 0.0 {
        return None;
    }
    let written = (now.0 - before.0) as f64 / seconds;
    let read = (now.1 - before.1) as f64 / seconds;
    let lag = (now.0 - now.1) as f64;
    let drained_in = match read > written {
        true => Some(lag / (read - written)),
        false => (lag <= 0.0).then_some(0.0),
    };
    Some(Speed {
        written,
        read,
        drained_in,
    })
}

impl Watch {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.expect_lines()?;
        let mut before: Option<Seen> = None;
        let mut looks = 0;
        loop {
            let look = self.look(session, &mut before).await?;
            let mut out = std::io::stdout();
            if session.is_json() {
                let line = serde_json::to_string(&look)
                    .map_err(|error| Failure::other(format!("cannot write the output: {error}")))?;
                writeln!(out, "{line}")?;
            } else {
                if looks == 0 {
                    writeln!(out, "{}", line(&HEAD.map(str::to_owned)))?;
                }
                writeln!(out, "{}", line(&look.cells()))?;
            }
            out.flush()?;
            looks += 1;
            if self.count.is_some_and(|count| looks >= count) {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }

    async fn look(&self, session: &Session, before: &mut Option<Seen>) -> Result<Look, Failure> {
        let groups = super::groups(session, std::slice::from_ref(&self.group)).await?;
        let client = session.client().await?;
        let committed = client.group_offsets(&self.group).await?;
        let partitions: Vec<TopicPartition> = committed.keys().cloned().collect();
        let ends = ends(client, &partitions).await?;
        let mut behind: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let (mut all_ends, mut all_committed) = (0, 0);
        for (at, end) in &ends {
            let offset = committed[at].offset;
            all_ends += end;
            all_committed += offset;
            if offset < *end {
                behind.insert(at.clone(), offset);
            }
        }
        let now = Instant::now();
        let speed = before.as_ref().and_then(|before| {
            let seconds = now.duration_since(before.at).as_secs_f64();
            let then = (before.ends, before.committed);
            speed(then, (all_ends, all_committed), seconds)
        });
        *before = Some(Seen {
            at: now,
            ends: all_ends,
            committed: all_committed,
        });
        let oldest = self.oldest(session, behind).await?;
        let group = groups.into_iter().next();
        Ok(Look {
            time: moment::written(moment::now_ms()),
            group: self.group.clone(),
            state: group
                .as_ref()
                .map_or(String::new(), |group| group.state.clone()),
            members: group.map_or(0, |group| group.members.len()),
            lag: all_ends - all_committed,
            lag_seconds: oldest,
            written_per_second: speed.as_ref().map(|speed| speed.written),
            read_per_second: speed.as_ref().map(|speed| speed.read),
            drained_in_seconds: speed.and_then(|speed| speed.drained_in),
        })
    }

    /// How old the oldest record is that was not committed, in seconds; 0 without any.
    async fn oldest(
        &self,
        session: &Session,
        mut behind: BTreeMap<TopicPartition, i64>,
    ) -> Result<Option<f64>, Failure> {
        let client = session.client().await?;
        if behind.is_empty() {
            return Ok(Some(0.0));
        }
        // What was deleted before the group came to it is not waited for.
        let starts: Vec<_> = behind
            .keys()
            .map(|at| (at.clone(), OffsetSpec::Earliest))
            .collect();
        for (at, start) in client.list_offsets(&starts, Isolation::default()).await? {
            if let (Some(offset), Ok(Some(start))) =
                (behind.get_mut(&at), start.map(|start| start.offset))
            {
                *offset = start.max(*offset);
            }
        }
        let config = ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            partition_bytes_max: 1,
            ..ConsumerConfig::default()
        };
        let mut consumer = Consumer::new(client.clone(), config);
        consumer.assign(behind.keys().cloned());
        for (at, offset) in &behind {
            consumer.seek(at, *offset);
        }
        let now = moment::now_ms();
        let mut oldest: Option<i64> = None;
        let until = Instant::now()
            + client
                .config()
                .request_timeout
                .min(self.interval.max(SECOND));
        while !behind.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Some(fetched) = consumer.poll(left).await? else {
                // What has only markers left has nothing to wait for.
                break;
            };
            behind.remove(&fetched.partition);
            consumer.pause(&fetched.partition);
            let first = fetched.records.first();
            if let Some(time) = first
                .map(|record| record.timestamp)
                .filter(|time| *time >= 0)
            {
                oldest = Some(oldest.map_or(time, |oldest| oldest.min(time)));
            }
        }
        Ok(oldest.map(|time| now.saturating_sub(time).max(0) as f64 / 1000.0))
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Lines come one by one, so that widths are given.
fn line(cells: &[String; 8]) -> String {
    let widths = [24, 12, 7, 10, 8, 10, 10, 12];
    let cells = cells.iter().zip(widths).enumerate();
    let cells: Vec<String> = cells
        .map(|(at, (cell, width))| match at {
            0 | 1 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        })
        .collect();
    cells.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_gains_on_the_writers_is_through_some_time() {
        let check = |before, now, expected: (f64, f64, Option<f64>)| {
            let (written, read, drained_in) = expected;
            let expected = Speed {
                written,
                read,
                drained_in,
            };
            assert_eq!(speed(before, now, 2.0), Some(expected));
        };
        // 100 written, 300 read in two seconds; 100 are left.
        check((500, 200), (600, 500), (50.0, 150.0, Some(1.0)));
        check((500, 200), (900, 400), (200.0, 100.0, None));
        check((500, 500), (500, 500), (0.0, 0.0, Some(0.0)));
        assert_eq!(speed((0, 0), (1, 1), 0.0), None);
    }
}

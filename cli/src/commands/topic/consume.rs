//! `rkctl topic consume`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::{Args, ValueEnum};
use reka_client::admin::{Isolation, OffsetSpec, OffsetToCommit};
use reka_client::{
    Consumer, ConsumerConfig, ConsumerRecord, Event, Fetched, GroupConfig, GroupConsumer,
    OffsetReset, TopicPartition,
};
use serde_json::{Map, Value};

use super::{offsets, partitions};
use crate::failure::Failure;
use crate::moment;
use crate::names::{TopicSelection, selection};
use crate::session::Session;
use crate::table::{NONE, shown};

/// Records are shown as lines; with -o json or jsonl each is a line of JSON.
///
/// Ends at the end of the topics as it was when the command began, unless told to go on. With --group and
/// --follow it is a member of the group, which deals the partitions out; Ctrl-C commits where reading has
/// come and leaves the group.
#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// Topics, or some of their partitions: orders:0,2-4
    #[arg(required = true, value_name = "TOPIC", add = crate::completion::topics(), value_parser = selection)]
    topics: Vec<TopicSelection>,
    /// Where to begin: start, end, an offset, -N for the last N of each partition, a time
    /// (2026-11-21T10:00:00Z, -2h), or group:NAME for where a group is
    #[arg(short, long, default_value = "start", allow_hyphen_values = true, value_name = "WHERE", value_parser = place)]
    from: Place,
    /// Where to end: an offset, which is not shown, or a time
    #[arg(short, long, value_name = "WHERE", value_parser = place)]
    to: Option<Place>,
    /// Go on and show what comes
    #[arg(short = 'F', long)]
    follow: bool,
    /// Begin at the end and go on: short for --from end --follow
    #[arg(long, conflicts_with_all = ["from", "to", "follow"])]
    tail: bool,
    /// At most so many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
    /// Only records of which this holds: key=TEXT, value=TEXT, header.NAME=TEXT, json.FIELD.FIELD=TEXT;
    /// != for other than, ~ for contains; may be given again, and all must hold
    #[arg(short, long = "where", value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<Condition>,
    /// How a record is shown as text
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Shown,
    /// Commit where reading has come for this group, and begin there
    #[arg(short, long, value_name = "GROUP", add = crate::completion::groups(), conflicts_with_all = ["from", "tail"])]
    group: Option<String>,
    /// Leave out what is in transactions that were aborted or are undecided
    #[arg(long)]
    committed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Shown {
    /// The value
    #[default]
    Value,
    /// Key and value with a tab between them
    KeyValue,
    /// Topic, partition, offset, time, key and value with tabs between them
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Start,
    End,
    Offset(i64),
    Last(i64),
    Time(String),
    Group(String),
}

fn place(text: &str) -> Result<Place, String> {
    let wrong = || {
        format!(
            "expected start, end, an offset, -N, a time such as -2h, or group:NAME, found {text:?}"
        )
    };
    if let Some(group) = text
        .strip_prefix("group:")
        .filter(|group| !group.is_empty())
    {
        return Ok(Place::Group(group.to_owned()));
    }
    Ok(match text {
        "start" => Place::Start,
        "end" => Place::End,
        _ => match text.parse::<i64>() {
            Ok(offset @ 0..) => Place::Offset(offset),
            Ok(last) => Place::Last(last.saturating_neg()),
            Err(_) => {
                moment::read(text, 0).map_err(|_| wrong())?;
                Place::Time(text.to_owned())
            }
        },
    })
}

/// What has to hold of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    part: Part,
    test: Test,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key,
    Value,
    Header(String),
    Json(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Is,
    IsNot,
    Contains,
}

fn condition(text: &str) -> Result<Condition, String> {
    let wrong = || {
        format!(
            "expected key, value, header.NAME or json.FIELD, then =, != or ~ and a text, found {text:?}"
        )
    };
    let at = text.find(['=', '~', '!']).ok_or_else(wrong)?;
    let (part, rest) = text.split_at(at);
    let (test, wanted) = match (
        rest.strip_prefix("!="),
        rest.strip_prefix('='),
        rest.strip_prefix('~'),
    ) {
        (Some(wanted), _, _) => (Test::IsNot, wanted),
        (_, Some(wanted), _) => (Test::Is, wanted),
        (_, _, Some(wanted)) => (Test::Contains, wanted),
        _ => return Err(wrong()),
    };
    let part = match part.split_once('.') {
        None if part == "key" => Part::Key,
        None if part == "value" => Part::Value,
        Some(("header", name)) if !name.is_empty() => Part::Header(name.to_owned()),
        Some(("json", path)) if !path.is_empty() => {
            Part::Json(path.split('.').map(str::to_owned).collect())
        }
        _ => return Err(wrong()),
    };
    Ok(Condition {
        part,
        test,
        text: wanted.to_owned(),
    })
}

impl Condition {
    fn holds(&self, record: &ConsumerRecord) -> bool {
        let found: Vec<String> = match &self.part {
            Part::Key => record.key.iter().map(|key| lossy(key)).collect(),
            Part::Value => record.value.iter().map(|value| lossy(value)).collect(),
            Part::Header(name) => {
                let named = record.headers.iter().filter(|(header, _)| header == name);
                let values = named.filter_map(|(_, value)| value.as_ref());
                values.map(|value| lossy(value)).collect()
            }
            Part::Json(path) => {
                let value = record.value.as_deref().unwrap_or_default();
                let json = serde_json::from_slice::<Value>(value).ok();
                let found = json.as_ref().and_then(|json| {
                    path.iter().try_fold(json, |json, field| match json {
                        Value::Array(items) => items.get(field.parse::<usize>().ok()?),
                        other => other.get(field),
                    })
                });
                let text = |found: &Value| match found {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                found.map(text).into_iter().collect()
            }
        };
        match self.test {
            Test::Is => found.contains(&self.text),
            Test::IsNot => !found.contains(&self.text),
            Test::Contains => found.iter().any(|found| found.contains(&self.text)),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Consume {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.expect_lines()?;
        if let (Some(group), true) = (&self.group, self.follow) {
            return self.run_as_member(session, group).await;
        }
        let partitions = partitions(session, &self.topics).await?;
        let client = session.client().await?;
        let follow = self.follow || self.tail;
        let starts = offsets(client, &partitions, OffsetSpec::Earliest).await?;
        let ends = offsets(client, &partitions, OffsetSpec::Latest).await?;
        let mut range = BTreeMap::new();
        let from = match (&self.group, self.tail) {
            (Some(group), _) => Place::Group(group.clone()),
            (None, true) => Place::End,
            (None, false) => self.from.clone(),
        };
        for (nth, at) in partitions.iter().enumerate() {
            let start = starts[nth].clone()?.unwrap_or(0);
            let end = ends[nth].clone()?.unwrap_or(start);
            range.insert(at.clone(), (start, end));
        }
        let begin = self.resolve(session, &from, &range).await?;
        let stop = match &self.to {
            Some(to) => Some(self.resolve(session, to, &range).await?),
            None if follow => None,
            None => Some(
                range
                    .iter()
                    .map(|(at, (_, end))| (at.clone(), *end))
                    .collect(),
            ),
        };
        let mut consumer = Consumer::new(client.clone(), self.config());
        let is_over = |at: &TopicPartition, next: i64| {
            let stop: Option<&BTreeMap<TopicPartition, i64>> = stop.as_ref();
            stop.is_some_and(|stop| stop.get(at).is_none_or(|stop| next >= *stop))
        };
        let mut open: Vec<TopicPartition> = begin
            .iter()
            .filter(|(at, offset)| !is_over(at, **offset))
            .map(|(at, _)| at.clone())
            .collect();
        consumer.assign(open.iter().cloned());
        for at in &open {
            consumer.seek(at, begin[at]);
        }
        let mut out = Printer::new(self, session);
        let mut reached: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
        while !open.is_empty() && out.left > 0 {
            let fetched = tokio::select! {
                fetched = consumer.poll(STEP) => fetched?,
                _ = &mut stop => break,
            };
            if let Some(Fetched {
                partition, records, ..
            }) = fetched
            {
                for record in records {
                    if out.left == 0 || is_over(&partition, record.offset) {
                        break;
                    }
                    reached.insert(partition.clone(), record.offset + 1);
                    out.show(&partition, &record)?;
                }
                out.out.flush()?;
            }
            // Records may be gone before the end, or the last may be a marker: the position tells.
            let before = open.len();
            open.retain(|at| !consumer.position(at).is_some_and(|next| is_over(at, next)));
            if open.len() < before {
                consumer.assign(open.iter().cloned());
            }
        }
        if let Some(group) = &self.group {
            let offsets: Vec<(TopicPartition, OffsetToCommit)> = reached
                .into_iter()
                .map(|(at, offset)| (at, OffsetToCommit::new(offset)))
                .collect();
            consumer.commit(group, &offsets).await?;
        }
        Ok(())
    }

    fn config(&self) -> ConsumerConfig {
        ConsumerConfig {
            isolation: match self.committed {
                true => Isolation::ReadCommitted,
                false => Isolation::ReadUncommitted,
            },
            offset_reset: OffsetReset::Earliest,
            ..ConsumerConfig::default()
        }
    }

    /// Joins the group and shows what it is given, until Ctrl-C or as many records as were asked for.
    async fn run_as_member(&self, session: &Session, group: &str) -> Result<(), Failure> {
        if self.to.is_some() {
            return Err(Failure::usage(
                "--to says where to end, and --follow goes on",
            ));
        }
        if let Some(some) = self.topics.iter().find(|topic| topic.partitions.is_some()) {
            let text = format!("a group deals out the partitions of {} itself", some.topic);
            return Err(Failure::usage(text).hint("name the topic alone, or leave out --follow"));
        }
        let names: Vec<String> = self
            .topics
            .iter()
            .map(|topic| topic.topic.clone())
            .collect();
        session.topics(&names).await?;
        let client = session.client().await?.clone();
        let mut member = GroupConsumer::join(client, self.config(), GroupConfig::new(group, names));
        let shown = self.show_what_is_given(session, &mut member).await;
        // The group is told whatever has happened.
        let left = member.leave().await;
        shown?;
        Ok(left?)
    }

    async fn show_what_is_given(
        &self,
        session: &Session,
        member: &mut GroupConsumer,
    ) -> Result<(), Failure> {
        let mut out = Printer::new(self, session);
        let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
        while out.left > 0 {
            let event = tokio::select! {
                event = member.poll(STEP) => event?,
                _ = &mut stop => return Ok(()),
            };
            let Some(Event::Records(fetched)) = event else {
                continue;
            };
            for record in &fetched.records {
                if out.left == 0 {
                    // The group is told of what was shown, and of no more.
                    member.seek(&fetched.partition, record.offset);
                    break;
                }
                out.show(&fetched.partition, record)?;
            }
            out.out.flush()?;
        }
        Ok(())
    }

    /// Where a place is in each partition.
    async fn resolve(
        &self,
        session: &Session,
        place: &Place,
        range: &BTreeMap<TopicPartition, (i64, i64)>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
        let client = session.client().await?;
        let partitions: Vec<TopicPartition> = range.keys().cloned().collect();
        let mut found = BTreeMap::new();
        let timed = match place {
            Place::Time(time) => {
                let at = moment::read(time, moment::now_ms()).map_err(Failure::usage)?;
                offsets(client, &partitions, OffsetSpec::At(at)).await?
            }
            _ => Vec::new(),
        };
        let committed = match place {
            Place::Group(group) => client.group_offsets(group).await?,
            _ => BTreeMap::new(),
        };
        for (nth, (at, (start, end))) in range.iter().enumerate() {
            let offset = match place {
                Place::Start => *start,
                Place::End => *end,
                Place::Offset(offset) => *offset,
                Place::Last(count) => end.saturating_sub(*count),
                Place::Time(_) => timed[nth].clone()?.unwrap_or(*end),
                Place::Group(_) => committed
                    .get(at)
                    .map_or(*start, |committed| committed.offset),
            };
            found.insert(at.clone(), offset.clamp(*start, *end));
        }
        Ok(found)
    }

    fn write(
        &self,
        out: &mut impl Write,
        partition: &TopicPartition,
        record: &ConsumerRecord,
        several: bool,
    ) -> std::io::Result<()> {
        let key = record.key.as_deref().unwrap_or_default();
        let value = record.value.as_deref().unwrap_or_default();
        match self.format {
            Shown::Value if several => write!(out, "{}\t", partition.topic)?,
            Shown::Value => {}
            Shown::KeyValue => {
                out.write_all(key)?;
                out.write_all(b"\t")?;
            }
            Shown::Full => {
                let time = match record.timestamp {
                    0.. => moment::written(record.timestamp),
                    _ => NONE.to_owned(),
                };
                write!(
                    out,
                    "{}\t{}\t{}\t{time}\t",
                    partition.topic, partition.partition, record.offset
                )?;
                out.write_all(key)?;
                out.write_all(b"\t")?;
            }
        }
        out.write_all(value)?;
        out.write_all(b"\n")
    }
}

/// How long to wait for records before looking around.
const STEP: Duration = Duration::from_secs(1);

/// Shows records for which every condition holds, as many as were asked for.
struct Printer<'a> {
    consume: &'a Consume,
    json: bool,
    /// What steers a terminal is shown there, and left alone everywhere else.
    plain: bool,
    out: std::io::BufWriter<std::io::StdoutLock<'static>>,
    line: Vec<u8>,
    /// How many more are to be shown.
    left: u64,
}

impl<'a> Printer<'a> {
    fn new(consume: &'a Consume, session: &Session) -> Self {
        Printer {
            consume,
            json: session.is_json(),
            plain: !std::io::stdout().is_terminal(),
            out: std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock()),
            line: Vec::new(),
            left: consume.count.unwrap_or(u64::MAX),
        }
    }

    fn show(&mut self, at: &TopicPartition, record: &ConsumerRecord) -> std::io::Result<()> {
        let conditions = &self.consume.conditions;
        if !conditions.iter().all(|condition| condition.holds(record)) {
            return Ok(());
        }
        self.left -= 1;
        if self.json {
            return writeln!(self.out, "{}", json(at, record));
        }
        self.line.clear();
        let several = self.consume.topics.len() > 1;
        self.consume.write(&mut self.line, at, record, several)?;
        if self.plain {
            return self.out.write_all(&self.line);
        }
        let line = lossy(&self.line);
        let cells = line.trim_end_matches('\n').split('\t');
        let cells: Vec<String> = cells.map(shown).collect();
        writeln!(self.out, "{}", cells.join("\t"))
    }
}

/// A record as a line of JSON; `topic produce --format json` reads it.
fn json(partition: &TopicPartition, record: &ConsumerRecord) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| lossy(bytes).into());
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| Value::Array(vec![name.clone().into(), text(value.as_deref())]))
        .collect();
    let fields = [
        ("topic", partition.topic.clone().into()),
        ("partition", partition.partition.into()),
        ("offset", record.offset.into()),
        ("timestamp_ms", record.timestamp.into()),
        ("key", text(record.key.as_deref())),
        ("value", text(record.value.as_deref())),
        ("headers", Value::Array(headers)),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Value::Object(Map::from_iter(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_look_at_keys_headers_and_fields() {
        let record = ConsumerRecord {
            offset: 0,
            timestamp: 0,
            is_append_time: false,
            key: Some("k1".into()),
            value: Some(r#"{"user":{"name":"ada","ids":[1,22]},"ok":true}"#.into()),
            headers: vec![
                ("trace".to_owned(), Some("abc".into())),
                ("none".to_owned(), None),
            ],
        };
        let check = |text: &str, expected: bool| {
            let condition = condition(text).expect(text);
            assert_eq!(condition.holds(&record), expected, "{text}");
        };
        check("key=k1", true);
        check("key!=k1", false);
        check("key~1", true);
        check("value~ada", true);
        check("header.trace=abc", true);
        check("header.none=", false);
        check("header.other!=x", true);
        check("json.user.name=ada", true);
        check("json.user.ids.1=22", true);
        check("json.ok=true", true);
        check("json.missing=1", false);
        for text in ["", "key", "name=x", "json=1", "header.=1", "key!x"] {
            assert!(condition(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_are_read_and_others_refused() {
        assert_eq!(place("-5"), Ok(Place::Last(5)));
        assert_eq!(place("5"), Ok(Place::Offset(5)));
        assert_eq!(place("-1h"), Ok(Place::Time("-1h".to_owned())));
        assert_eq!(place("group:g"), Ok(Place::Group("g".to_owned())));
        for text in ["", "begin", "group:", "-1x", "2026-99-99"] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}

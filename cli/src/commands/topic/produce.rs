//! `rkctl topic produce`.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use reka_client::producer::{Acks, Delivery};
use reka_client::{Producer, ProducerConfig, ProducerRecord};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::command_line::key_value;
use crate::failure::Failure;
use crate::session::Session;

/// How many deliveries are waited for at a time.
const WINDOW: usize = 100_000;

/// Reads lines, or JSON as consume -o jsonl writes it, so that topics pipe into topics. What was sent
/// is told on standard error; with -o json or jsonl where each record went, on standard output.
#[derive(Debug, Args)]
pub(crate) struct Produce {
    /// Name of the topic
    #[arg(add = crate::completion::topics())]
    topic: String,
    /// Read this file in place of standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<std::path::PathBuf>,
    /// How records are written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Input,
    /// The key ends where this is: what is behind it is the value
    #[arg(short = 'K', long, value_name = "TEXT", conflicts_with = "key")]
    key_separator: Option<String>,
    /// The key of every record
    #[arg(short, long)]
    key: Option<String>,
    /// A header of every record; may be given again
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = key_value)]
    header: Vec<(String, String)>,
    /// The partition of every record
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// none, gzip, snappy, lz4, zstd
    #[arg(short = 'z', long, value_parser = codec, default_value = "none", value_name = "CODEC")]
    compression: reka_records::Compression,
    /// Whose word counts that a record is there
    #[arg(long, value_enum, default_value_t, value_name = "WHO")]
    acks: Who,
    /// An empty line is a record without a value, which deletes its key from a compacted topic
    #[arg(short = 'Z', long)]
    tombstones: bool,
    /// At most so many records a second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "RECORDS")]
    rate: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Input {
    /// A record is a line
    #[default]
    Lines,
    /// A record is a line of JSON with the fields key, value, headers, timestamp_ms, to_partition
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Who {
    /// All replicas in sync
    #[default]
    All,
    /// The leader
    Leader,
    /// Nobody
    None,
}

fn codec(text: &str) -> Result<reka_records::Compression, String> {
    let all = reka_records::Compression::ALL;
    let found = all.into_iter().find(|codec| codec.name() == text);
    found.ok_or_else(|| format!("expected none, gzip, snappy, lz4 or zstd, found {text:?}"))
}

/// A record as JSON. What else is in it, such as its offset in another topic, is left alone.
#[derive(Debug, Deserialize)]
struct Written {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Option<String>)>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default)]
    to_partition: Option<i32>,
}

/// What is read at once, and how much of it may wait.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_MAX: usize = 8;

/// The lines of a chunk, without their ends.
pub(crate) fn lines(chunk: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = chunk.get(at..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|byte| *byte == b'\n');
        let text = &rest[..length.unwrap_or(rest.len())];
        at += length.map_or(rest.len(), |length| length + 1);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        Some(chunk.slice_ref(text))
    })
}

/// Reads whole lines on a thread of its own: a terminal may make it wait for ever, and what was typed
/// before is to be sent meanwhile.
pub(crate) fn chunks(mut input: Box<dyn Read + Send>) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (chunks, read) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut held: Vec<u8> = Vec::new();
        loop {
            let before = held.len();
            held.resize(before + CHUNK_BYTES, 0);
            let length = match input.read(&mut held[before..]) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    let _ = chunks.blocking_send(Err(error));
                    return;
                }
            };
            held.truncate(before + length);
            let whole = held
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map(|at| at + 1);
            let (whole, over) = match (whole, length) {
                // The last line may have no end.
                (_, 0) => (held.len(), true),
                (Some(whole), _) => (whole, false),
                (None, _) => continue,
            };
            let rest = held.split_off(whole);
            let chunk = std::mem::replace(&mut held, rest);
            let gone = !chunk.is_empty() && chunks.blocking_send(Ok(chunk.into())).is_err();
            if over || gone {
                return;
            }
        }
    });
    read
}

impl Produce {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.topics(std::slice::from_ref(&self.topic)).await?;
        let client = session.client().await?.clone();
        let config = ProducerConfig {
            acks: match self.acks {
                Who::All => Acks::All,
                Who::Leader => Acks::Leader,
                Who::None => Acks::None,
            },
            idempotent: self.acks == Who::All,
            compression: self.compression,
            delivery_timeout: client.config().deadline,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(client, config)?;
        let mut under_way: VecDeque<Delivery> = VecDeque::new();
        let mut sent: u64 = 0;
        let done = self
            .pour(session, &producer, &mut under_way, &mut sent)
            .await;
        // What was read before a mistake is sent, and told.
        producer.flush().await;
        let settled = self.settle(session, &mut under_way, 0).await;
        match (done, settled) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Ok(())) => {
                return Err(failure.and(&format!("{sent} records before it were sent")));
            }
            (_, Err(failure)) => return Err(failure),
        }
        writeln!(std::io::stderr(), "{sent} records sent to {}", self.topic)?;
        Ok(())
    }

    async fn pour(
        &self,
        session: &Session,
        producer: &Producer,
        under_way: &mut VecDeque<Delivery>,
        sent: &mut u64,
    ) -> Result<(), Failure> {
        let mut chunks = self.read()?;
        let mut number: u64 = 0;
        let began = Instant::now();
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.map_err(|error| Failure::other(format!("cannot read: {error}")))?;
            for line in lines(&chunk) {
                number += 1;
                let record = match self.format {
                    Input::Lines => self.parse_line(&line, number)?,
                    Input::Json if line.is_empty() => continue,
                    Input::Json => self.parse_json(&line, number)?,
                };
                under_way.push_back(producer.send(record).await?);
                *sent += 1;
                if under_way.len() >= WINDOW {
                    self.settle(session, under_way, WINDOW / 2).await?;
                }
                if let Some(rate) = self.rate {
                    let due = Duration::from_secs_f64(*sent as f64 / f64::from(rate));
                    tokio::time::sleep_until(began + due).await;
                }
            }
            // Batches leave while the next lines are read.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn read(&self) -> Result<mpsc::Receiver<std::io::Result<Bytes>>, Failure> {
        let input: Box<dyn Read + Send> = match &self.file {
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|error| {
                    Failure::usage(format!("cannot read {}: {error}", path.display()))
                })?;
                Box::new(file)
            }
            None => Box::new(std::io::stdin()),
        };
        Ok(chunks(input))
    }

    /// Waits until no more than `left` records are under way.
    async fn settle(
        &self,
        session: &Session,
        under_way: &mut VecDeque<Delivery>,
        left: usize,
    ) -> Result<(), Failure> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        while under_way.len() > left {
            let Some(delivery) = under_way.pop_front() else {
                break;
            };
            let there = delivery.wait().await?;
            if session.is_json() {
                let offset = there
                    .offset
                    .map_or("null".to_owned(), |offset| offset.to_string());
                let partition = there.partition.partition;
                writeln!(out, "{{\"partition\":{partition},\"offset\":{offset}}}")?;
            }
        }
        out.flush()?;
        Ok(())
    }

    fn base(&self) -> ProducerRecord {
        let mut record = ProducerRecord::new(&self.topic);
        record.partition = self.partition;
        record.key = self.key.clone().map(Into::into);
        record.headers = self
            .header
            .iter()
            .map(|(name, value)| (name.clone(), Some(value.clone().into())))
            .collect();
        record
    }

    fn parse_line(&self, line: &Bytes, number: u64) -> Result<ProducerRecord, Failure> {
        let mut record = self.base();
        let mut value = line.clone();
        if let Some(separator) = &self.key_separator {
            let separator = separator.as_bytes();
            let at = line
                .windows(separator.len().max(1))
                .position(|window| window == separator);
            let Some(at) = at else {
                let text = format!(
                    "line {number}: there is no {:?} behind a key",
                    self.key_separator.as_deref().unwrap_or_default()
                );
                return Err(Failure::usage(text));
            };
            record.key = Some(line.slice(..at));
            value = line.slice(at + separator.len()..);
        }
        if !(self.tombstones && value.is_empty()) {
            record.value = Some(value);
        }
        Ok(record)
    }

    fn parse_json(&self, line: &[u8], number: u64) -> Result<ProducerRecord, Failure> {
        let written: Written = serde_json::from_slice(line).map_err(|error| {
            let text = format!("line {number} column {}: {error}", error.column());
            Failure::usage(text)
                .hint(r#"expected such as {"key":"k","value":"v","headers":[["h","1"]]}"#)
        })?;
        let mut record = self.base();
        record.partition = record.partition.or(written.to_partition);
        record.key = written.key.map(Into::into).or(record.key);
        record.value = written.value.map(Into::into);
        record.timestamp = written.timestamp_ms;
        let headers = written.headers.into_iter();
        record
            .headers
            .extend(headers.map(|(name, value)| (name, value.map(Into::into))));
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        produce: Produce,
    }

    fn produce(args: &[&str]) -> Produce {
        let args = ["produce", "t"].iter().chain(args);
        Line::parse_from(args).produce
    }

    #[test]
    fn lines_are_split_at_the_first_separator() {
        let line = |args: &[&str], text: &str| {
            let text = Bytes::copy_from_slice(text.as_bytes());
            produce(args).parse_line(&text, 7)
        };
        let record = line(&["-K", "::"], "a::b::c").expect("a record");
        assert_eq!(record.key.as_deref(), Some(&b"a"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"b::c"[..]));
        let record = line(&["-K", ":", "-Z"], "a:").expect("a record");
        assert_eq!(record.value, None);
        let record = line(&["-k", "x", "-H", "h=1"], "").expect("a record");
        assert_eq!(
            (record.key.as_deref(), record.value.as_deref()),
            (Some(&b"x"[..]), Some(&b""[..]))
        );
        assert_eq!(record.headers, [("h".to_owned(), Some("1".into()))]);
        let refused = line(&["-K", ":"], "abc").expect_err("no key").to_string();
        assert!(refused.contains("line 7"), "{refused}");
    }

    #[test]
    fn chunks_are_cut_into_lines() {
        let found: Vec<Bytes> = lines(&Bytes::from_static(b"a\r\n\nlast")).collect();
        assert_eq!(found, [&b"a"[..], b"", b"last"]);
        assert_eq!(lines(&Bytes::new()).count(), 0);
    }

    #[test]
    fn json_is_read_as_consume_writes_it_and_mistakes_are_placed() {
        let line = |text: &str| produce(&["--format", "json"]).parse_json(text.as_bytes(), 3);
        let text = r#"{"offset":9,"key":null,"value":"v","headers":[["h",null]],"timestamp_ms":5}"#;
        let record = line(text).expect("a record");
        assert_eq!(
            (record.key, record.value.as_deref()),
            (None, Some(&b"v"[..]))
        );
        assert_eq!(record.headers, [("h".to_owned(), None)]);
        assert_eq!(record.timestamp, Some(5));
        let refused = line(r#"{"key":7}"#).expect_err("a number").to_string();
        assert!(refused.contains("line 3 column"), "{refused}");
    }
}

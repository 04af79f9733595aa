//! `kafka-console-producer.sh`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use reka_client::producer::{Acks, Delivery};
use reka_client::{Client, Producer, ProducerConfig, ProducerRecord};
use reka_records::Compression;

use super::Wrong;
use super::arguments::{Arguments, Known, flag, option, perhaps};
use crate::commands::topic::produce::{chunks, lines};

pub(super) const OPTIONS: &[Known] = &[
    option("batch-size"),
    option("bootstrap-server"),
    option("command-config"),
    perhaps("compression-codec"),
    option("max-memory-bytes"),
    option("property"),
    option("reader-property"),
    option("request-required-acks"),
    flag("sync"),
    option("timeout"),
    option("topic"),
];

/// How many deliveries are waited for at a time.
const WINDOW: usize = 100_000;

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let topic = arguments.required("topic")?;
    let mut properties: BTreeMap<String, String> = BTreeMap::new();
    properties.extend(arguments.pairs("property")?);
    properties.extend(arguments.pairs("reader-property")?);
    let mut reader = Reader::new(topic, properties)?;
    let acks = match arguments.value("request-required-acks").unwrap_or("-1") {
        "-1" | "all" => Acks::All,
        "0" => Acks::None,
        "1" => Acks::Leader,
        other => {
            let text = format!("Invalid value {other} for configuration acks");
            return Err(Wrong::Failed(text));
        }
    };
    // Named without a value it is gzip.
    let codec = match (
        arguments.has("compression-codec"),
        arguments.value("compression-codec"),
    ) {
        (false, _) => "none",
        (true, codec) => codec.unwrap_or("gzip"),
    };
    let found = Compression::ALL
        .into_iter()
        .find(|known| known.name() == codec);
    let Some(compression) = found else {
        let text = format!("Unknown compression name: {codec}");
        return Err(Wrong::Failed(text));
    };
    let mut config = ProducerConfig {
        acks,
        idempotent: acks == Acks::All,
        compression,
        linger: Duration::from_millis(arguments.number("timeout")?.unwrap_or(1000)),
        ..ProducerConfig::default()
    };
    if let Some(bytes) = arguments.number("batch-size")? {
        config.batch_bytes_max = bytes;
    }
    if let Some(bytes) = arguments.number("max-memory-bytes")? {
        config.buffer_bytes_max = bytes;
    }
    let producer = Producer::new(client.clone(), config)?;
    let sync = arguments.has("sync");
    let prompt = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut under_way: VecDeque<Delivery> = VecDeque::new();
    let mut read = chunks(Box::new(std::io::stdin()));
    let show_prompt = || -> std::io::Result<()> {
        if prompt {
            write!(std::io::stdout(), ">")?;
            std::io::stdout().flush()?;
        }
        Ok(())
    };
    show_prompt()?;
    let mut failed = Ok(());
    'reading: while let Some(chunk) = read.recv().await {
        for line in lines(&chunk?) {
            let record = match reader.record(&line) {
                Ok(record) => record,
                Err(wrong) => {
                    failed = Err(wrong);
                    break 'reading;
                }
            };
            let delivery = producer.send(record).await?;
            if sync {
                delivery.wait().await?;
            } else {
                under_way.push_back(delivery);
            }
            while under_way.len() > WINDOW {
                if let Some(delivery) = under_way.pop_front() {
                    delivery.wait().await?;
                }
            }
            show_prompt()?;
        }
        // Batches leave while the next lines are read.
        tokio::task::yield_now().await;
    }
    producer.flush().await;
    for delivery in under_way {
        delivery.wait().await?;
    }
    failed
}

/// What makes records of lines.
struct Reader {
    topic: String,
    key_separator: Option<String>,
    /// Between headers and the rest, between headers, between a header's name and its value.
    headers: Option<(String, String, String)>,
    ignore_error: bool,
    null_marker: Option<String>,
    number: u64,
}

impl Reader {
    fn new(topic: &str, mut properties: BTreeMap<String, String>) -> Result<Self, Wrong> {
        let is_true = |value: Option<String>| {
            value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
        };
        let parse_key = is_true(properties.remove("parse.key"));
        let parse_headers = is_true(properties.remove("parse.headers"));
        let ignore_error = is_true(properties.remove("ignore.error"));
        let mut text =
            |name: &str, other: &str| properties.remove(name).unwrap_or_else(|| other.to_owned());
        let key_separator = text("key.separator", "\t");
        let headers = (
            text("headers.delimiter", "\t"),
            text("headers.separator", ","),
            text("headers.key.separator", ":"),
        );
        let null_marker = properties.remove("null.marker");
        if let Some((name, _)) = properties.first_key_value() {
            return Err(Wrong::Failed(format!(
                "the property {name} is not known here"
            )));
        }
        let named = [
            ("headers.delimiter", &headers.0),
            ("headers.separator", &headers.1),
            ("headers.key.separator", &headers.2),
        ];
        for (nth, (name, one)) in named.iter().enumerate() {
            for (other_name, other) in &named[nth + 1..] {
                if one == other {
                    let text = format!("{name} and {other_name} may not be equal");
                    return Err(Wrong::Failed(text));
                }
            }
            if Some(*one) == null_marker.as_ref() {
                return Err(Wrong::Failed(format!(
                    "null.marker and {name} may not be equal"
                )));
            }
        }
        if Some(&key_separator) == null_marker.as_ref() {
            let text = "null.marker and key.separator may not be equal";
            return Err(Wrong::Failed(text.to_owned()));
        }
        Ok(Reader {
            topic: topic.to_owned(),
            key_separator: parse_key.then_some(key_separator),
            headers: parse_headers.then_some(headers),
            ignore_error,
            null_marker,
            number: 0,
        })
    }

    fn record(&mut self, line: &Bytes) -> Result<ProducerRecord, Wrong> {
        self.number += 1;
        let mut rest = line.clone();
        let mut record = ProducerRecord::new(&self.topic);
        if let Some((delimiter, separator, key_separator)) = &self.headers {
            let headers = self.part(&mut rest, line, delimiter, "headers delimiter")?;
            if let Some(headers) = headers.filter(|headers| !self.is_null(headers)) {
                let headers = String::from_utf8_lossy(&headers).into_owned();
                for pair in headers.split(separator.as_str()) {
                    record.headers.push(self.header(pair, key_separator)?);
                }
            }
        }
        if let Some(separator) = &self.key_separator {
            let key = self.part(&mut rest, line, separator, "key separator")?;
            record.key = key.filter(|key| !self.is_null(key));
        }
        record.value = Some(rest).filter(|value| !self.is_null(value));
        Ok(record)
    }

    fn is_null(&self, bytes: &[u8]) -> bool {
        let marker = self.null_marker.as_deref();
        marker.is_some_and(|marker| marker.as_bytes() == bytes)
    }

    /// What is before a separator, which is taken off `rest` with it.
    fn part(
        &self,
        rest: &mut Bytes,
        line: &Bytes,
        separator: &str,
        what: &str,
    ) -> Result<Option<Bytes>, Wrong> {
        let wanted = separator.as_bytes();
        let at = match wanted.is_empty() {
            true => Some(0),
            false => rest.windows(wanted.len()).position(|found| found == wanted),
        };
        match at {
            Some(at) => {
                let part = rest.slice(..at);
                *rest = rest.slice(at + wanted.len()..);
                Ok(Some(part))
            }
            None if self.ignore_error => Ok(None),
            None => Err(Wrong::Failed(format!(
                "No {what} found on line number {}: '{}'",
                self.number,
                String::from_utf8_lossy(line)
            ))),
        }
    }

    fn header(&self, pair: &str, separator: &str) -> Result<(String, Option<Bytes>), Wrong> {
        match pair.split_once(separator) {
            Some((name, value)) => {
                if self.is_null(name.as_bytes()) {
                    return Err(Wrong::Failed(format!(
                        "Header keys should not be equal to the null marker '{name}' as they can't be null"
                    )));
                }
                let value = Some(Bytes::from(value.to_owned()));
                Ok((name.to_owned(), value.filter(|value| !self.is_null(value))))
            }
            None if self.ignore_error => Ok((pair.to_owned(), None)),
            None => Err(Wrong::Failed(format!(
                "No header key separator found in pair '{pair}' on line number {}",
                self.number
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(properties: &[(&str, &str)]) -> Result<Reader, Wrong> {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Reader::new("t", properties.iter().map(pair).collect())
    }

    fn read(properties: &[(&str, &str)], line: &str) -> Option<ProducerRecord> {
        let mut reader = reader(properties).ok()?;
        reader.record(&Bytes::from(line.to_owned())).ok()
    }

    #[test]
    fn lines_are_taken_apart_as_the_tool_does() {
        let record = read(&[], "a\tb").expect("a record");
        assert_eq!((record.key, record.value), (None, Some("a\tb".into())));
        let keyed = [("parse.key", "true"), ("key.separator", "::")];
        let record = read(&keyed, "k::v::w").expect("a record");
        assert_eq!(
            (record.key, record.value),
            (Some("k".into()), Some("v::w".into()))
        );
        assert!(read(&keyed, "v").is_none());
        let lenient = [keyed[0], keyed[1], ("ignore.error", "true")];
        assert_eq!(read(&lenient, "v").expect("a record").key, None);
        let all = [
            ("parse.key", "true"),
            ("parse.headers", "true"),
            ("null.marker", "NULL"),
        ];
        let record = read(&all, "h:1,n:NULL\tNULL\tNULL").expect("a record");
        let headers = vec![("h".to_owned(), Some("1".into())), ("n".to_owned(), None)];
        assert_eq!(
            (record.key, record.value, record.headers),
            (None, None, headers)
        );
        assert!(reader(&[("headers.separator", ":")]).is_err());
        assert!(reader(&[("nonsense", "1")]).is_err());
    }
}

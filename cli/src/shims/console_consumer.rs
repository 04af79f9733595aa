//! `kafka-console-consumer.sh`. Without `--group` it reads all partitions by itself and makes no group.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use reka_client::admin::{Isolation, OffsetSpec};
use reka_client::consumer::{Event, GroupConfig, GroupConsumer};
use reka_client::{
    Client, Consumer, ConsumerConfig, ConsumerRecord, Fetched, OffsetReset, TopicPartition,
};

use super::arguments::{Arguments, Known, flag, option};
use super::{Wrong, pattern};

pub(super) const OPTIONS: &[Known] = &[
    option("bootstrap-server"),
    option("command-config"),
    option("formatter-property"),
    flag("from-beginning"),
    option("group"),
    option("include"),
    option("isolation-level"),
    option("max-messages"),
    option("offset"),
    option("partition"),
    option("property"),
    option("timeout-ms"),
    option("topic"),
];

/// How long to wait for records before looking whether time is up.
const STEP: Duration = Duration::from_millis(200);

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let mut properties: BTreeMap<String, String> = BTreeMap::new();
    properties.extend(arguments.pairs("property")?);
    properties.extend(arguments.pairs("formatter-property")?);
    let format = Format::new(properties)?;
    let isolation = match arguments
        .value("isolation-level")
        .unwrap_or("read_uncommitted")
    {
        "read_uncommitted" => Isolation::ReadUncommitted,
        "read_committed" => Isolation::ReadCommitted,
        other => {
            let text = format!("Invalid value {other} for configuration isolation.level");
            return Err(Wrong::Failed(text));
        }
    };
    let from_beginning = arguments.has("from-beginning");
    let config = ConsumerConfig {
        isolation,
        offset_reset: match from_beginning {
            true => OffsetReset::Earliest,
            false => OffsetReset::Latest,
        },
        ..ConsumerConfig::default()
    };
    let topics = topics(client, arguments).await?;
    let mut source = match arguments.value("group") {
        Some(_) if arguments.has("partition") => {
            let text = "Options group and partition cannot be specified together.";
            return Err(Wrong::Usage(text.to_owned()));
        }
        Some(group) => {
            let group = GroupConfig::new(group, topics);
            Source::Group(Box::new(GroupConsumer::join(client.clone(), config, group)))
        }
        None => Source::All(Box::new(
            assigned(client, arguments, config, &topics).await?,
        )),
    };
    let limit: Option<u64> = arguments.number("max-messages")?;
    let timeout: Option<u64> = arguments.number("timeout-ms")?;
    let timeout = timeout.map(Duration::from_millis);
    let mut count = 0;
    let shown = show(&mut source, &format, limit, timeout, &mut count).await;
    if let Source::Group(member) = source {
        member.leave().await?;
    }
    let _ = writeln!(std::io::stderr(), "Processed a total of {count} messages");
    shown
}

enum Source {
    All(Box<Consumer>),
    Group(Box<GroupConsumer>),
}

impl Source {
    async fn next(&mut self) -> Result<Option<Fetched>, Wrong> {
        match self {
            Source::All(consumer) => Ok(consumer.poll(STEP).await?),
            Source::Group(member) => Ok(match member.poll(STEP).await? {
                Some(Event::Records(fetched)) => Some(fetched),
                Some(Event::Assigned { .. }) | None => None,
            }),
        }
    }
}

async fn show(
    source: &mut Source,
    format: &Format,
    limit: Option<u64>,
    timeout: Option<Duration>,
    count: &mut u64,
) -> Result<(), Wrong> {
    let mut last = tokio::time::Instant::now();
    let is_done = |count: u64| limit.is_some_and(|limit| count >= limit);
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    while !is_done(*count) {
        let fetched = tokio::select! {
            fetched = source.next() => fetched?,
            _ = &mut stop => return Ok(()),
        };
        let Some(fetched) = fetched else {
            if timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
                return Ok(());
            }
            continue;
        };
        last = tokio::time::Instant::now();
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for record in &fetched.records {
            if is_done(*count) {
                // The group is told of what was shown, and of no more.
                if let Source::Group(member) = source {
                    member.seek(&fetched.partition, record.offset);
                }
                break;
            }
            format.write(&mut out, fetched.partition.partition, record)?;
            *count += 1;
        }
        out.flush()?;
    }
    Ok(())
}

async fn topics(client: &Client, arguments: &Arguments) -> Result<Vec<String>, Wrong> {
    match arguments.those(&["topic", "include"])[..] {
        ["topic"] => Ok(vec![
            arguments.value("topic").unwrap_or_default().to_owned(),
        ]),
        ["include"] => {
            let pattern = pattern(arguments.value("include").unwrap_or_default())?;
            let topics = client.list_topics().await?;
            let names = topics.into_iter().map(|topic| topic.name);
            Ok(names.filter(|name| pattern.is_match(name)).collect())
        }
        _ => {
            let text = "Exactly one of --include/--topic is required.";
            Err(Wrong::Usage(text.to_owned()))
        }
    }
}

/// A consumer of all partitions, or of one from an offset.
async fn assigned(
    client: &Client,
    arguments: &Arguments,
    config: ConsumerConfig,
    topics: &[String],
) -> Result<Consumer, Wrong> {
    let partition: Option<i32> = arguments.number("partition")?;
    let offset = arguments.value("offset");
    if offset.is_some() && partition.is_none() {
        let text = "The partition is required when offset is specified.";
        return Err(Wrong::Usage(text.to_owned()));
    }
    let from_beginning = config.offset_reset == OffsetReset::Earliest;
    if from_beginning && offset.is_some() {
        let text = "Options from-beginning and offset cannot be specified together.";
        return Err(Wrong::Usage(text.to_owned()));
    }
    let mut partitions = Vec::new();
    for (name, described) in client.describe_topics(topics).await? {
        for info in described?.partitions {
            if partition.is_none_or(|partition| partition == info.index) {
                partitions.push(TopicPartition::new(name.clone(), info.index));
            }
        }
    }
    let mut consumer = Consumer::new(client.clone(), config);
    consumer.assign(partitions.iter().cloned());
    for at in &partitions {
        match offset {
            None => {
                let spec = match from_beginning {
                    true => OffsetSpec::Earliest,
                    false => OffsetSpec::Latest,
                };
                consumer.seek_to(at, spec);
            }
            Some("earliest") => consumer.seek_to(at, OffsetSpec::Earliest),
            Some("latest") => consumer.seek_to(at, OffsetSpec::Latest),
            Some(text) => match text.parse::<u32>() {
                Ok(offset) => consumer.seek(at, i64::from(offset)),
                Err(_) => {
                    return Err(Wrong::Usage(format!(
                        "The provided offset value '{text}' is incorrect. Valid values are \
                         'earliest', 'latest', or a non-negative long."
                    )));
                }
            },
        }
    }
    Ok(consumer)
}

/// What is shown of a record.
struct Format {
    timestamp: bool,
    partition: bool,
    offset: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null_literal: String,
}

impl Format {
    fn new(mut properties: BTreeMap<String, String>) -> Result<Self, Wrong> {
        let mut is_true = |name: &str, other: bool| match properties.remove(name) {
            Some(value) => value.trim().eq_ignore_ascii_case("true"),
            None => other,
        };
        let [timestamp, partition, offset, headers, key, value] = [
            ("print.timestamp", false),
            ("print.partition", false),
            ("print.offset", false),
            ("print.headers", false),
            ("print.key", false),
            ("print.value", true),
        ]
        .map(|(name, other)| is_true(name, other));
        let mut text =
            |name: &str, other: &str| properties.remove(name).unwrap_or_else(|| other.to_owned());
        let format = Format {
            timestamp,
            partition,
            offset,
            headers,
            key,
            value,
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null_literal: text("null.literal", "null"),
        };
        match properties.first_key_value() {
            None => Ok(format),
            Some((name, _)) => Err(Wrong::Failed(format!(
                "the property {name} is not known here"
            ))),
        }
    }

    fn write(
        &self,
        out: &mut impl Write,
        partition: i32,
        record: &ConsumerRecord,
    ) -> std::io::Result<()> {
        let null = self.null_literal.as_bytes();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            let kind = match record.is_append_time {
                true => "LogAppendTime",
                false => "CreateTime",
            };
            parts.push(format!("{kind}:{}", record.timestamp).into_bytes());
        }
        if self.partition {
            parts.push(format!("Partition:{partition}").into_bytes());
        }
        if self.offset {
            parts.push(format!("Offset:{}", record.offset).into_bytes());
        }
        if self.headers {
            let mut headers: Vec<Vec<u8>> = Vec::new();
            for (name, value) in &record.headers {
                let value = value.as_deref().unwrap_or(null);
                headers.push([name.as_bytes(), b":", value].concat());
            }
            parts.push(match headers.is_empty() {
                true => b"NO_HEADERS".to_vec(),
                false => headers.join(self.headers_separator.as_bytes()),
            });
        }
        if self.key {
            parts.push(record.key.as_deref().unwrap_or(null).to_vec());
        }
        if self.value {
            parts.push(record.value.as_deref().unwrap_or(null).to_vec());
        }
        out.write_all(&parts.join(self.key_separator.as_bytes()))?;
        out.write_all(self.line_separator.as_bytes())
    }
}

//! `kafka-get-offsets.sh`.

use std::io::Write;

use reka_client::admin::{Isolation, OffsetSpec};
use reka_client::{Client, TopicPartition};

use super::arguments::{Arguments, Known, flag, option};
use super::{Wrong, pattern};

pub(super) const OPTIONS: &[Known] = &[
    option("bootstrap-server"),
    option("command-config"),
    flag("exclude-internal-topics"),
    option("partitions"),
    option("time"),
    option("topic"),
    option("topic-partitions"),
];

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let spec = time(arguments.value("time").unwrap_or("latest"))?;
    let mut rules = Vec::new();
    match (
        arguments.value("topic-partitions"),
        arguments.value("topic"),
    ) {
        (Some(_), Some(_)) => {
            let text = "--topic-partitions cannot be used with --topic or --partitions";
            return Err(Wrong::Failed(text.to_owned()));
        }
        (Some(list), None) => {
            for rule in list.split(',') {
                rules.push(Rule::parse(rule)?);
            }
        }
        (None, topic) => {
            let partitions = match arguments.value("partitions") {
                Some(list) => list.split(',').map(Span::one).collect::<Result<_, _>>()?,
                None => Vec::new(),
            };
            rules.push(Rule {
                topic: pattern(topic.unwrap_or(".*"))?,
                spans: partitions,
            });
        }
    }
    let internal = !arguments.has("exclude-internal-topics");
    let topics = client.list_topics().await?;
    let wanted: Vec<(TopicPartition, OffsetSpec)> = topics
        .iter()
        .filter(|topic| internal || !topic.is_internal)
        .flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p.index)))
        .filter(|(topic, index)| rules.iter().any(|rule| rule.holds(&topic.name, *index)))
        .map(|(topic, index)| (TopicPartition::new(topic.name.clone(), index), spec))
        .collect();
    if wanted.is_empty() {
        let text = "Could not match any topic-partitions with the specified filters";
        return Err(Wrong::Failed(text.to_owned()));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (at, listed) in client.list_offsets(&wanted, Isolation::default()).await? {
        match listed {
            Ok(listed) => {
                // Where no record is that late there is nothing to say.
                if let Some(offset) = listed.offset {
                    writeln!(out, "{}:{}:{offset}", at.topic, at.partition)?;
                }
            }
            Err(refusal) => writeln!(
                std::io::stderr(),
                "Skip getting offsets for topic-partition {at} due to error: {refusal}"
            )?,
        }
    }
    out.flush()?;
    Ok(())
}

fn time(text: &str) -> Result<OffsetSpec, Wrong> {
    Ok(match text {
        "earliest" | "-2" => OffsetSpec::Earliest,
        "latest" | "-1" => OffsetSpec::Latest,
        "max-timestamp" | "-3" => OffsetSpec::MaxTimestamp,
        // What is asked of tiered storage is told by the same numbers.
        "earliest-local" => OffsetSpec::At(-4),
        "latest-tiered" => OffsetSpec::At(-5),
        "earliest-pending-upload" => OffsetSpec::At(-6),
        _ => match text.parse() {
            Ok(time) => OffsetSpec::At(time),
            Err(_) => {
                return Err(Wrong::Failed(format!(
                    "Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 \
                     or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or \
                     earliest-pending-upload, or a specified long format timestamp"
                )));
            }
        },
    })
}

/// Partitions of topics.
struct Rule {
    topic: regex::Regex,
    /// All partitions where there are none.
    spans: Vec<Span>,
}

/// From one partition up to, and without, another.
struct Span {
    first: i32,
    end: i32,
}

impl Rule {
    /// Reads `topic`, `topic:2`, `topic:0-3`, `topic:2-`, `topic:-3` or `:1`.
    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::Failed(format!("Invalid rule specification: {text}"));
        let (topic, span) = match text.split_once(':') {
            Some((topic, span)) => (topic, Some(span)),
            None => (text, None),
        };
        let number = |text: &str, other: i32| match text {
            "" => Ok(other),
            text => text.parse().map_err(|_| wrong()),
        };
        let spans = match span {
            None | Some("") => Vec::new(),
            Some(span) => vec![match span.split_once('-') {
                Some((first, end)) => Span {
                    first: number(first, 0)?,
                    end: number(end, i32::MAX)?,
                },
                None => Span::one(span).map_err(|_| wrong())?,
            }],
        };
        Ok(Rule {
            topic: pattern(if topic.is_empty() { ".*" } else { topic })?,
            spans,
        })
    }

    fn holds(&self, topic: &str, partition: i32) -> bool {
        let within = |span: &Span| (span.first..span.end).contains(&partition);
        self.topic.is_match(topic) && (self.spans.is_empty() || self.spans.iter().any(within))
    }
}

impl Span {
    fn one(text: &str) -> Result<Self, Wrong> {
        let wrong = || {
            let text = format!(
                "--partitions expects a comma separated list of numeric partition ids, but received: {text}"
            );
            Wrong::Failed(text)
        };
        let first: i32 = text.trim().parse().map_err(|_| wrong())?;
        Ok(Span {
            first,
            end: first.saturating_add(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_partitions_as_the_tool_does() {
        let check = |rule: &str, topic: &str, partition: i32, expected: bool| {
            let Ok(read) = Rule::parse(rule) else {
                panic!("{rule}");
            };
            assert_eq!(
                read.holds(topic, partition),
                expected,
                "{rule} {topic} {partition}"
            );
        };
        check("a", "a", 9, true);
        check("a", "ab", 0, false);
        check("a.*:1", "ab", 1, true);
        check("a:0-2", "a", 1, true);
        check("a:0-2", "a", 2, false);
        check("a:1-", "a", 7, true);
        check("a:-1", "a", 0, true);
        check(":1", "any", 1, true);
        assert!(Rule::parse("a:x").is_err());
    }
}

//! What a cluster is to have, in a file: `rkctl plan`, `apply` and `export`.
//!
//! ```toml
//! [topics.orders]
//! partitions = 3
//! replication_factor = 1
//! configs = { "retention.ms" = 60000, "cleanup.policy" = "compact" }
//!
//! [[quotas]]
//! user = "alice"
//! limits = { producer_byte_rate = 1048576 }
//! ```
//!
//! The same as YAML where the file's name ends so. Topics and users that the file does not name are left
//! alone. Of those it names, keys that it does not name lose what was set. Nothing is deleted, and
//! partitions only become more.

pub(crate) mod apply;
pub(crate) mod export;
pub(crate) mod plan;
mod quotas;

use std::collections::BTreeMap;
use std::path::Path;

use quotas::Quotas;
use reka_client::admin::{ConfigSource, NewTopic, Resource};
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};
use crate::yaml;

/// A topic as the file has it, or as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Topic {
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    configs: BTreeMap<String, String>,
}

type Topics = BTreeMap<String, Topic>;

/// Everything a file has.
#[derive(Debug, Clone, Default, PartialEq)]
struct Declared {
    topics: Topics,
    quotas: Quotas,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Step {
    /// Null where it is about a quota.
    topic: Option<String>,
    /// Whom a quota is for, such as `user=alice`.
    quota: Option<String>,
    what: What,
    key: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Create,
    Partitions,
    Set,
    Unset,
    /// Nobody can do it: the file or the cluster has to be changed otherwise.
    Impossible,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Create => "create",
            What::Partitions => "add partitions",
            What::Set => "set",
            What::Unset => "unset",
            What::Impossible => "impossible",
        }
    }
}

impl Report for Vec<Step> {
    fn page(&self) -> Page {
        if self.is_empty() {
            return Page::default().line("no difference");
        }
        let mut table = Table::new(["FOR", "STEP", "KEY", "BEFORE", "AFTER"]);
        for step in self {
            let quota = if step.quota.is_some() { " quota" } else { "" };
            table.row([
                or_none(step.topic.as_ref().or(step.quota.as_ref())),
                format!("{}{quota}", step.what.name()),
                or_none(step.key.as_ref()),
                or_none(step.before.as_ref()),
                or_none(step.after.as_ref()),
            ]);
        }
        table.into()
    }
}

/// Reads a file. What is wrong is told with its place.
fn read(path: &Path) -> Result<Declared, Failure> {
    let text = std::fs::read_to_string(path);
    let text =
        text.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let end = path.extension().and_then(|end| end.to_str());
    let parsed = match end {
        // JSON is YAML as well.
        Some("yaml" | "yml" | "json") => parse_yaml(&text),
        _ => parse(&text),
    };
    parsed.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn parse_yaml(text: &str) -> Result<Declared, String> {
    match as_toml(&yaml::read(text)?, "the document")? {
        toml::Value::Table(table) => declared(&table),
        _ => Err("expected topics and quotas".to_owned()),
    }
}

/// The same value as TOML has it, which knows no null.
fn as_toml(value: &Value, at: &str) -> Result<toml::Value, String> {
    Ok(match value {
        Value::Null => return Err(format!("{at}: there is no value")),
        Value::Bool(yes) => toml::Value::Boolean(*yes),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => toml::Value::Integer(number),
            (None, Some(number)) => toml::Value::Float(number),
            (None, None) => return Err(format!("{at}: {number} is out of range")),
        },
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(items) => {
            let items = items.iter().map(|item| as_toml(item, at));
            toml::Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let mut table = toml::Table::new();
            for (name, value) in fields {
                let inner = match at {
                    "the document" => name.clone(),
                    _ => format!("{at}.{name}"),
                };
                // A topic of which nothing is said is written as its name alone.
                let value = match (value, at) {
                    (Value::Null, "topics") => toml::Value::Table(toml::Table::new()),
                    _ => as_toml(value, &inner)?,
                };
                table.insert(name.clone(), value);
            }
            toml::Value::Table(table)
        }
    })
}

fn parse(text: &str) -> Result<Declared, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = &text.as_bytes()[..at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        format!("line {line} column {}: {}", at - start + 1, error.message())
    })?;
    declared(&table)
}

fn declared(table: &toml::Table) -> Result<Declared, String> {
    let mut found = Declared::default();
    for (section, value) in table {
        match section.as_str() {
            "topics" => {
                let named = value.as_table().ok_or("topics: expected [topics.NAME]")?;
                for (name, value) in named {
                    let fields = value.as_table();
                    let fields =
                        fields.ok_or_else(|| format!("topics.{name}: expected a table"))?;
                    found.topics.insert(name.clone(), topic(name, fields)?);
                }
            }
            "quotas" => found.quotas = quotas::parse(value)?,
            _ => {
                let known = "only topics and quotas can be declared";
                return Err(format!("{section}: {known}"));
            }
        }
    }
    Ok(found)
}

fn topic(name: &str, fields: &toml::Table) -> Result<Topic, String> {
    let mut topic = Topic::default();
    for (field, value) in fields {
        let at = format!("topics.{name}.{field}");
        let count = || {
            let count = value.as_integer().filter(|count| *count > 0);
            count.ok_or_else(|| format!("{at}: expected a number from 1 on, found {value}"))
        };
        let large = |count: i64| format!("{at}: {count} is too large");
        match field.as_str() {
            "partitions" => {
                let count = count()?;
                topic.partitions = Some(count.try_into().map_err(|_| large(count))?);
            }
            "replication_factor" => {
                let count = count()?;
                topic.replication_factor = Some(count.try_into().map_err(|_| large(count))?);
            }
            "configs" => {
                let configs = value.as_table();
                let configs = configs.ok_or_else(|| format!("{at}: expected keys with values"))?;
                for (key, value) in configs {
                    let text = match value {
                        toml::Value::String(text) => text.clone(),
                        toml::Value::Integer(number) => number.to_string(),
                        toml::Value::Float(number) => number.to_string(),
                        toml::Value::Boolean(yes) => yes.to_string(),
                        other => return Err(format!("{at}.{key}: found {other}, expected a text")),
                    };
                    topic.configs.insert(key.clone(), text);
                }
            }
            _ => {
                let known = "partitions, replication_factor and configs";
                return Err(format!("{at}: there is no such field, there are {known}"));
            }
        }
    }
    Ok(topic)
}

/// The cluster as it is: what of it is declared; without a declaration everything but what is the
/// cluster's own.
async fn live(session: &Session, declared: Option<&Declared>) -> Result<Declared, Failure> {
    let topics = live_topics(session, declared.map(|declared| &declared.topics)).await?;
    // Not every cluster knows quotas, and not every file has any.
    let quotas = match declared.is_some_and(|declared| declared.quotas.is_empty()) {
        true => Quotas::new(),
        false => quotas::live(session).await?,
    };
    Ok(Declared { topics, quotas })
}

async fn live_topics(session: &Session, names: Option<&Topics>) -> Result<Topics, Failure> {
    let client = session.client().await?;
    let mut topics = Topics::new();
    for topic in client.list_topics().await? {
        let wanted = names.map_or(!topic.is_internal, |names| names.contains_key(&topic.name));
        if !wanted {
            continue;
        }
        let entries = client
            .describe_config(&Resource::topic(&topic.name), false)
            .await?;
        let set = entries
            .into_iter()
            .filter(|entry| entry.source == ConfigSource::Topic);
        let count = topic
            .partitions
            .first()
            .map_or(0, |first| first.replicas.len());
        let found = Topic {
            partitions: i32::try_from(topic.partitions.len()).ok(),
            replication_factor: i16::try_from(count).ok(),
            configs: set
                .map(|entry| (entry.name, entry.value.unwrap_or_default()))
                .collect(),
        };
        topics.insert(topic.name, found);
    }
    Ok(topics)
}

/// What has to be done. Pure; after it is done there is nothing left to do.
fn difference(declared: &Declared, live: &Declared) -> Vec<Step> {
    let mut steps = topics_differ(&declared.topics, &live.topics);
    steps.extend(quotas::difference(&declared.quotas, &live.quotas));
    steps
}

fn topics_differ(declared: &Topics, live: &Topics) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, wanted) in declared {
        let mut step = |what, key: Option<&str>, before: Option<String>, after: Option<String>| {
            steps.push(Step {
                topic: Some(name.clone()),
                quota: None,
                what,
                key: key.map(str::to_owned),
                before,
                after,
            });
        };
        let Some(found) = live.get(name) else {
            let count = wanted.partitions.map(|count| count.to_string());
            step(What::Create, None, None, count);
            for (key, value) in &wanted.configs {
                step(What::Set, Some(key), None, Some(value.clone()));
            }
            continue;
        };
        if let (Some(wanted), Some(found)) = (wanted.partitions, found.partitions)
            && wanted != found
        {
            let what = if wanted > found {
                What::Partitions
            } else {
                What::Impossible
            };
            let (before, after) = (found.to_string(), wanted.to_string());
            step(what, Some("partitions"), Some(before), Some(after));
        }
        if let (Some(wanted), Some(found)) = (wanted.replication_factor, found.replication_factor)
            && wanted != found
        {
            let (before, after) = (found.to_string(), wanted.to_string());
            let key = Some("replication_factor");
            step(What::Impossible, key, Some(before), Some(after));
        }
        for (key, value) in &wanted.configs {
            let before = found.configs.get(key);
            if before != Some(value) {
                step(What::Set, Some(key), before.cloned(), Some(value.clone()));
            }
        }
        for (key, value) in &found.configs {
            if !wanted.configs.contains_key(key) {
                step(What::Unset, Some(key), Some(value.clone()), None);
            }
        }
    }
    steps
}

fn new_topic(name: &str, wanted: &Topic) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: wanted.partitions,
        replication_factor: wanted.replication_factor,
        assignment: Vec::new(),
        configs: wanted.configs.clone().into_iter().collect(),
    }
}

/// The same as JSON has it, and YAML.
fn value(declared: &Declared) -> Value {
    let mut topics = serde_json::Map::new();
    for (name, topic) in &declared.topics {
        let mut fields = serde_json::Map::new();
        if let Some(count) = topic.partitions {
            fields.insert("partitions".to_owned(), count.into());
        }
        if let Some(count) = topic.replication_factor {
            fields.insert("replication_factor".to_owned(), count.into());
        }
        if !topic.configs.is_empty() {
            let configs = topic.configs.iter();
            let configs = configs.map(|(key, value)| (key.clone(), value.clone().into()));
            fields.insert("configs".to_owned(), Value::Object(configs.collect()));
        }
        topics.insert(name.clone(), Value::Object(fields));
    }
    let mut sections = serde_json::Map::new();
    sections.insert("topics".to_owned(), Value::Object(topics));
    if !declared.quotas.is_empty() {
        sections.insert("quotas".to_owned(), quotas::value(&declared.quotas));
    }
    Value::Object(sections)
}

/// The file for a cluster that is like this.
fn written(declared: &Declared) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut out = String::new();
    for (name, topic) in &declared.topics {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &format!("[topics.{}]\n", quoted(name));
        if let Some(count) = topic.partitions {
            out += &format!("partitions = {count}\n");
        }
        if let Some(count) = topic.replication_factor {
            out += &format!("replication_factor = {count}\n");
        }
        if !topic.configs.is_empty() {
            out += &format!("[topics.{}.configs]\n", quoted(name));
            for (key, value) in &topic.configs {
                out += &format!("{} = {}\n", quoted(key), quoted(value));
            }
        }
    }
    out + &quotas::written(&declared.quotas)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[topics.orders]
partitions = 3
configs = { "retention.ms" = 60000, "cleanup.policy" = "compact" }
[topics."a b"]
replication_factor = 1
[[quotas]]
user = "alice"
client_id = "*"
limits = { producer_byte_rate = 1024, request_percentage = 12.5 }
[[quotas]]
ip = "10.0.0.1"
limits = { connection_creation_rate = 5 }
"#;

    const YAML: &str = r#"
topics:
  orders:
    partitions: 3
    configs: {retention.ms: 60000, cleanup.policy: compact}
  a b:
    replication_factor: 1
quotas:
- user: alice
  client_id: "*"
  limits: {producer_byte_rate: 1024, request_percentage: 12.5}
- ip: 10.0.0.1
  limits:
    connection_creation_rate: 5
"#;

    #[test]
    fn what_is_exported_is_read_again_and_differs_from_nothing() {
        let declared = parse(FILE).expect("topics");
        assert_eq!(declared.topics["orders"].configs["retention.ms"], "60000");
        let again = parse(&written(&declared)).expect("topics");
        assert_eq!(again, declared);
        let yaml = parse_yaml(&yaml::write(&value(&declared))).expect("topics");
        assert_eq!(yaml, declared);
        assert_eq!(difference(&declared, &declared), []);
    }

    #[test]
    fn yaml_says_the_same() {
        assert_eq!(parse_yaml(YAML), parse(FILE));
        let bare = parse_yaml("topics:\n  a:\n").expect("a name alone will do");
        assert_eq!(bare.topics["a"], Topic::default());
    }

    #[test]
    fn quotas_differ_by_limits() {
        let declared = parse(FILE).expect("quotas");
        let mut live = declared.clone();
        let (alice, limits) = live.quotas.pop_first().expect("alice");
        assert_eq!(alice.len(), 2);
        let mut changed = limits.clone();
        changed.insert("producer_byte_rate".to_owned(), 1.0);
        changed.insert("consumer_byte_rate".to_owned(), 2.0);
        live.quotas.insert(alice, changed);
        let found = difference(&declared, &live);
        let found: Vec<_> = found
            .iter()
            .map(|step| (step.what, step.key.as_deref().unwrap_or_default()))
            .collect();
        let expected = [
            (What::Set, "producer_byte_rate"),
            (What::Unset, "consumer_byte_rate"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn differences_are_steps_and_what_cannot_be_done_is_said() {
        let declared = parse(FILE).expect("topics");
        let mut live = declared.clone();
        live.topics.remove("a b");
        let orders = live.topics.get_mut("orders").expect("orders");
        orders.partitions = Some(2);
        orders.configs = [("retention.ms", "1"), ("segment.ms", "9")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let found = difference(&declared, &live);
        let kinds: Vec<What> = found.iter().map(|step| step.what).collect();
        let expected = [
            What::Create,
            What::Partitions,
            What::Set,
            What::Set,
            What::Unset,
        ];
        assert_eq!(kinds, expected);
        live.topics.get_mut("orders").expect("orders").partitions = Some(9);
        let found = difference(&declared, &live);
        assert!(found.iter().any(|step| step.what == What::Impossible));
    }

    #[test]
    fn mistakes_are_placed() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        };
        check("[topics.a]\npartitions = = 3", "line 2 column 14");
        check(
            "[topics.a]\npartitions = 0",
            "topics.a.partitions: expected a number from 1 on",
        );
        check("[topics.a]\npartition = 3", "there is no such field");
        check("[acls.a]", "only topics and quotas can be declared");
        check("quotas = 3", "expected [[quotas]]");
        check("[[quotas]]\nlimits = {}", "quotas.0: it is for nobody");
        check("[[quotas]]\nuser = \"a\"", "quotas.0: there are no limits");
        check("[[quotas]]\nuser = 1", "quotas.0.user: expected a name");
        check(
            "[[quotas]]\nname = 1",
            "quotas.0.name: there is no such field",
        );
        let limit = "[[quotas]]\nuser = \"a\"\nlimits = { rate = \"x\" }";
        check(limit, "quotas.0.limits.rate: expected a number");
        let twice = "[[quotas]]\nuser = \"a\"\nlimits = { r = 1 }\n".repeat(2);
        check(&twice, "quotas.1: user=a was named before");
        check("topics = 3", "expected [topics.NAME]");
        check("[topics.a.configs]\nx = [1]", "topics.a.configs.x");
    }
}

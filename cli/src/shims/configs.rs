//! `kafka-configs.sh`.

use std::io::Write;

use reka_client::Client;
use reka_client::admin::{
    ConfigChange, ConfigEntry, ConfigSource, QuotaEntity, QuotaFilter, Resource, ResourceKind,
};

use super::Wrong;
use super::arguments::{Arguments, Known, flag, option};
use crate::properties;

pub(super) const OPTIONS: &[Known] = &[
    option("add-config"),
    option("add-config-file"),
    flag("all"),
    flag("alter"),
    option("bootstrap-server"),
    option("broker"),
    flag("broker-defaults"),
    option("broker-logger"),
    option("client"),
    flag("client-defaults"),
    option("client-metrics"),
    option("command-config"),
    option("delete-config"),
    flag("describe"),
    flag("entity-default"),
    option("entity-name"),
    option("entity-type"),
    option("group"),
    option("ip"),
    flag("ip-defaults"),
    option("topic"),
    option("user"),
    flag("user-defaults"),
];

/// What a command is about: a kind and a name, empty for the default and none where none was given.
type Entity = (&'static str, Option<String>);

/// Options that name a kind and a thing of it at once.
const SHORT: [(&str, &str); 7] = [
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
    ("group", "groups"),
];
const DEFAULTS: [(&str, &str); 4] = [
    ("client-defaults", "clients"),
    ("user-defaults", "users"),
    ("broker-defaults", "brokers"),
    ("ip-defaults", "ips"),
];
const KINDS: [&str; 8] = [
    "topics",
    "clients",
    "users",
    "brokers",
    "ips",
    "client-metrics",
    "groups",
    "broker-loggers",
];

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let usage = |text: &str| Err(Wrong::Usage(text.to_owned()));
    let entities = entities(arguments)?;
    let Some((kind, name)) = entities.first().cloned() else {
        return usage("At least one entity type must be specified");
    };
    match arguments.those(&["alter", "describe"])[..] {
        ["describe"] => match quota_part(kind) {
            Some(_) => describe_quotas(client, &entities).await,
            None => describe(client, kind, name, arguments.has("all")).await,
        },
        ["alter"] => {
            let Some(name) = name else {
                return usage("an entity name must be specified with --alter of the entity types");
            };
            let added = added(arguments)?;
            let deleted: Vec<String> = arguments
                .values("delete-config")
                .flat_map(|list| list.split(','))
                .map(|key| key.trim().to_owned())
                .collect();
            if added.is_empty() && deleted.is_empty() {
                return usage(
                    "At least one of --add-config, --add-config-file, or --delete-config must be \
                     specified with --alter",
                );
            }
            match quota_part(kind) {
                Some(_) => alter_quotas(client, &entities, &added, &deleted).await?,
                None => alter(client, kind, &name, added, deleted).await?,
            }
            let mut out = std::io::stdout();
            match name.is_empty() {
                true => writeln!(
                    out,
                    "Completed updating default config for {kind} in the cluster."
                )?,
                false => writeln!(
                    out,
                    "Completed updating config for {} {name}.",
                    singular(kind)
                )?,
            }
            Ok(())
        }
        _ => usage("Command must include exactly one action: --describe, --alter"),
    }
}

fn singular(kind: &str) -> &str {
    kind.strip_suffix('s').unwrap_or(kind)
}

fn entities(arguments: &Arguments) -> Result<Vec<Entity>, Wrong> {
    let mut found: Vec<Entity> = Vec::new();
    let mut names = arguments.values("entity-name").map(str::to_owned);
    let mut defaults = usize::from(arguments.has("entity-default"));
    for kind in arguments.values("entity-type") {
        let Some(kind) = KINDS.iter().find(|known| **known == kind) else {
            let text = format!(
                "Invalid entity type {kind}, the entity type must be one of {} with a \
                 --bootstrap-server or --bootstrap-controller argument",
                KINDS.join(", ")
            );
            return Err(Wrong::Usage(text));
        };
        let name = names.next().or_else(|| {
            let is_default = defaults > 0;
            defaults = defaults.saturating_sub(1);
            is_default.then(String::new)
        });
        found.push((kind, name));
    }
    for (option, kind) in SHORT {
        found.extend(
            arguments
                .values(option)
                .map(|name| (kind, Some(name.to_owned()))),
        );
    }
    if let Some(name) = arguments.value("client-metrics") {
        found.push(("client-metrics", Some(name.to_owned())));
    }
    for (option, kind) in DEFAULTS {
        if arguments.has(option) {
            found.push((kind, Some(String::new())));
        }
    }
    Ok(found)
}

/// What is set: `a=1,b=[2,3]`, or the lines of a file.
fn added(arguments: &Arguments) -> Result<Vec<(String, String)>, Wrong> {
    let mut added = Vec::new();
    if let Some(path) = arguments.value("add-config-file") {
        let read = properties::read(std::path::Path::new(path)).map_err(Wrong::Failed)?;
        added.extend(read);
    }
    if let Some(list) = arguments.value("add-config") {
        for pair in outside_brackets(list) {
            let Some((key, value)) = pair.split_once('=') else {
                let text = "requirement failed: Invalid entity config: all configs to be added must \
                            be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which \
                            contain commas.";
                return Err(Wrong::Usage(text.to_owned()));
            };
            let value = value.replace(['[', ']'], "");
            added.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Ok(added)
}

/// The parts between commas that are in no brackets.
fn outside_brackets(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_u32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn resource(kind: &str, name: &str) -> Resource {
    Resource {
        kind: match kind {
            "topics" => ResourceKind::Topic,
            "brokers" => ResourceKind::Broker,
            "broker-loggers" => ResourceKind::BrokerLogger,
            "groups" => ResourceKind::Group,
            _ => ResourceKind::ClientMetrics,
        },
        name: name.to_owned(),
    }
}

async fn alter(
    client: &Client,
    kind: &'static str,
    name: &str,
    added: Vec<(String, String)>,
    deleted: Vec<String>,
) -> Result<(), Wrong> {
    let added = added
        .into_iter()
        .map(|(key, value)| ConfigChange::Set(key, value));
    let deleted = deleted.into_iter().map(ConfigChange::Delete);
    let changes: Vec<ConfigChange> = added.chain(deleted).collect();
    let resource = resource(kind, name);
    client.alter_config(&resource, &changes, false).await?;
    Ok(())
}

async fn describe(
    client: &Client,
    kind: &'static str,
    name: Option<String>,
    all: bool,
) -> Result<(), Wrong> {
    let names = match (name, kind) {
        (Some(name), _) => vec![name],
        (None, "brokers" | "broker-loggers") => {
            let mut ids: Vec<String> = client
                .brokers()
                .await?
                .iter()
                .map(|broker| broker.id.to_string())
                .collect();
            if kind == "brokers" {
                ids.push(String::new());
            }
            ids
        }
        (None, "topics") => {
            let topics = client.list_topics().await?;
            topics.into_iter().map(|topic| topic.name).collect()
        }
        (None, _) => {
            let kind = resource(kind, "").kind;
            client.list_config_resources(kind).await?
        }
    };
    let mut out = std::io::stdout();
    for name in names {
        let described = client.describe_config(&resource(kind, &name), false).await;
        let mut entries: Vec<ConfigEntry> = match described {
            Ok(entries) => entries,
            Err(error) if kind == "topics" && is_unknown(&error) => {
                let has = "doesn't exist and doesn't have dynamic config";
                writeln!(out, "The topic '{name}' {has}.")?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let which = match (name.as_str(), all) {
            ("", _) => format!("Default configs for {kind} in the cluster are:"),
            (name, true) => format!("All configs for {} {name} are:", singular(kind)),
            (name, false) => format!("Dynamic configs for {} {name} are:", singular(kind)),
        };
        writeln!(out, "{which}")?;
        let own = match (kind, name.as_str()) {
            ("topics", _) => ConfigSource::Topic,
            ("brokers", "") => ConfigSource::AllBrokers,
            ("brokers", _) => ConfigSource::Broker,
            ("broker-loggers", _) => ConfigSource::Logger,
            ("groups", _) => ConfigSource::Group,
            _ => ConfigSource::ClientMetrics,
        };
        // A logger has no level but its own.
        entries.retain(|entry| all || entry.source == own || own == ConfigSource::Logger);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in &entries {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
            let synonyms: Vec<String> = entry
                .synonyms
                .iter()
                .map(|synonym| {
                    let source = synonym.source.name();
                    format!("{source}:{}={}", synonym.name, value(&synonym.value))
                })
                .collect();
            writeln!(
                out,
                "  {}={} sensitive={} synonyms={{{}}}",
                entry.name,
                value(&entry.value),
                entry.sensitive,
                synonyms.join(", ")
            )?;
        }
    }
    Ok(())
}

fn is_unknown(error: &reka_client::ClientError) -> bool {
    let unknown = reka_protocol::ErrorCode::UnknownTopicOrPartition;
    error.refusal().is_some_and(|refusal| refusal.is(unknown))
}

/// In the order the tool tells them.
const QUOTA_PARTS: [&str; 3] = ["user", "client-id", "ip"];

/// What quotas call a kind.
fn quota_part(kind: &str) -> Option<&'static str> {
    match kind {
        "users" => Some("user"),
        "clients" => Some("client-id"),
        "ips" => Some("ip"),
        _ => None,
    }
}

async fn alter_quotas(
    client: &Client,
    entities: &[Entity],
    added: &[(String, String)],
    deleted: &[String],
) -> Result<(), Wrong> {
    let mut entity: QuotaEntity = Vec::new();
    for (kind, name) in entities {
        let Some(part) = quota_part(kind) else {
            let text = format!("Unsupported entity type: {kind}");
            return Err(Wrong::Usage(text));
        };
        entity.push((
            part.to_owned(),
            name.clone().filter(|name| !name.is_empty()),
        ));
    }
    let mut changes = Vec::new();
    for (key, value) in added {
        if key.starts_with("SCRAM-") {
            let text = format!("{key} is a credential: only quotas are changed here");
            return Err(Wrong::Usage(text));
        }
        let number = value.parse::<f64>().map_err(|_| {
            Wrong::Usage(format!(
                "Cannot parse quota configuration value for {key}: {value}"
            ))
        })?;
        changes.push((key.clone(), Some(number)));
    }
    changes.extend(deleted.iter().map(|key| (key.clone(), None)));
    client.alter_quotas(&entity, &changes, false).await?;
    Ok(())
}

async fn describe_quotas(client: &Client, entities: &[Entity]) -> Result<(), Wrong> {
    let mut filters = Vec::new();
    for (kind, name) in entities {
        let part = quota_part(kind).unwrap_or_default().to_owned();
        filters.push(match name.as_deref() {
            None => QuotaFilter::Any(part),
            Some("") => QuotaFilter::Default(part),
            Some(name) => QuotaFilter::Name(part, name.to_owned()),
        });
    }
    let mut out = std::io::stdout();
    for entry in client.describe_quotas(&filters).await? {
        // Of these kinds and of no other, as the tool asks for it.
        if entry.entity.len() != filters.len() {
            continue;
        }
        let mut entity: Vec<&(String, Option<String>)> = entry.entity.iter().collect();
        entity.sort_by_key(|(part, _)| QUOTA_PARTS.iter().position(|known| known == part));
        let parts: Vec<String> = entity
            .into_iter()
            .map(|(part, name)| {
                let part = match part.as_str() {
                    "user" => "user-principal",
                    other => other,
                };
                match name {
                    Some(name) => format!("{part} '{name}'"),
                    None => format!("the default {part}"),
                }
            })
            .collect();
        let mut limits: Vec<String> = entry
            .values
            .iter()
            .map(|(key, limit)| format!("{key}={limit:?}"))
            .collect();
        limits.sort();
        writeln!(
            out,
            "Quota configs for {} are {}",
            parts.join(", "),
            limits.join(", ")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::outside_brackets;

    #[test]
    fn commas_in_brackets_belong_to_values() {
        let check = |text, expected: &[&str]| assert_eq!(outside_brackets(text), expected);
        check("a=1", &["a=1"]);
        check("a=1,b=[2,3],c=", &["a=1", "b=[2,3]", "c="]);
        check("a=[1,2", &["a=[1,2"]);
    }
}

//! Configurations as they are shown and changed: of topics, brokers and loggers alike.

use reka_client::admin::{ConfigChange, ConfigEntry, ConfigSource, Resource, ResourceKind};
use serde::Serialize;

use crate::failure::Failure;
use crate::nearest;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    sensitive: bool,
}

impl Report for Vec<Entry> {
    fn page(&self) -> Page {
        let mut table = Table::new(["KEY", "VALUE", "SOURCE"]);
        for entry in self {
            let value = match entry.sensitive {
                true => "(secret)".to_owned(),
                false => or_none(entry.value.as_ref()),
            };
            table.row([entry.name.clone(), value, entry.source.to_owned()]);
        }
        table.into()
    }
}

/// Shows keys; where none are named, those that were set, or all.
pub(crate) async fn show(
    session: &Session,
    resource: &Resource,
    keys: &[String],
    all: bool,
) -> Result<(), Failure> {
    let client = session.client().await?;
    let mut entries = client.describe_config(resource, false).await?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for key in keys {
        if !entries.iter().any(|entry| &entry.name == key) {
            return Err(unknown_key(key, &entries));
        }
    }
    let rows: Vec<Entry> = entries
        .into_iter()
        .filter(|entry| match keys.is_empty() {
            true => all || is_own(resource, entry.source),
            false => keys.contains(&entry.name),
        })
        .map(|entry| Entry {
            name: entry.name,
            value: entry.value,
            source: entry.source.name(),
            read_only: entry.read_only,
            sensitive: entry.sensitive,
        })
        .collect();
    session.show(&rows)
}

/// Whether a value was set for this very thing.
pub(crate) fn is_own(resource: &Resource, source: ConfigSource) -> bool {
    match (resource.kind, resource.name.as_str()) {
        (ResourceKind::Topic, _) => source == ConfigSource::Topic,
        (ResourceKind::Broker, "") => source == ConfigSource::AllBrokers,
        (ResourceKind::Broker, _) => source == ConfigSource::Broker,
        _ => source.is_dynamic(),
    }
}

fn unknown_key(key: &str, entries: &[ConfigEntry]) -> Failure {
    let failure = Failure::not_found(format!("there is no key {key}"));
    match nearest::question(key, entries.iter().map(|entry| entry.name.as_str())) {
        Some(question) => failure.hint(question),
        None => failure,
    }
}

/// Changes with what is shown of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed(Vec<(String, Option<String>)>);

impl Changed {
    /// Keys with what they are to be; no value takes theirs away.
    pub(crate) fn new(changes: Vec<(String, Option<String>)>) -> Self {
        Changed(changes)
    }

    pub(crate) fn set(values: &[(String, String)]) -> Self {
        let values = values.iter();
        Changed(
            values
                .map(|(key, value)| (key.clone(), Some(value.clone())))
                .collect(),
        )
    }

    pub(crate) fn unset(keys: &[String]) -> Self {
        Changed(keys.iter().map(|key| (key.clone(), None)).collect())
    }
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    status: &'static str,
    value_before: Option<String>,
    value: Option<String>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["KEY", "STATUS", "BEFORE", "VALUE"]);
        for row in self {
            table.row([
                row.name.clone(),
                row.status.to_owned(),
                or_none(row.value_before.as_ref()),
                or_none(row.value.as_ref()),
            ]);
        }
        table.into()
    }
}

/// Changes keys, all or none, and shows what they were before.
pub(crate) async fn change(
    session: &Session,
    resource: &Resource,
    changed: Changed,
    dry_run: bool,
) -> Result<(), Failure> {
    let client = session.client().await?;
    if changed.0.is_empty() {
        return session.show(&Vec::<Row>::new());
    }
    let before = client.describe_config(resource, false).await?;
    let changes: Vec<ConfigChange> = changed
        .0
        .iter()
        .map(|(key, value)| match value {
            Some(value) => ConfigChange::Set(key.clone(), value.clone()),
            None => ConfigChange::Delete(key.clone()),
        })
        .collect();
    client.alter_config(resource, &changes, dry_run).await?;
    let rows: Vec<Row> = changed
        .0
        .into_iter()
        .map(|(name, value)| {
            let was = before.iter().find(|entry| entry.name == name);
            let status = match (&value, dry_run) {
                (Some(_), false) => "set",
                (Some(_), true) => "would be set",
                (None, false) => "unset",
                (None, true) => "would be unset",
            };
            Row {
                value_before: was.and_then(|entry| entry.value.clone()),
                name,
                status,
                value,
            }
        })
        .collect();
    session.show(&rows)
}

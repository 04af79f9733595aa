//! `rkctl cluster config diff`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use reka_client::admin::{ConfigEntry, ConfigSource, Resource};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

/// Two brokers that should be alike, or one and what it would be if nobody had set anything. Secrets
/// are not compared.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A broker
    #[arg(value_name = "ID", add = crate::completion::brokers())]
    left: i32,
    /// Another; the defaults without
    #[arg(value_name = "OTHER", add = crate::completion::brokers())]
    right: Option<i32>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: String,
    left: Option<String>,
    left_source: Option<&'static str>,
    right: Option<String>,
    right_source: Option<&'static str>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        if self.is_empty() {
            return Page::default().line("no difference");
        }
        let mut table = Table::new(["KEY", "LEFT", "SOURCE", "RIGHT", "SOURCE"]);
        for row in self {
            table.row([
                row.name.clone(),
                or_none(row.left.as_ref()),
                or_none(row.left_source),
                or_none(row.right.as_ref()),
                or_none(row.right_source),
            ]);
        }
        table.into()
    }
}

impl Diff {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let left = client
            .describe_config(&Resource::broker(self.left), false)
            .await?;
        let right = match self.right {
            Some(id) => client.describe_config(&Resource::broker(id), false).await?,
            None => left.iter().map(by_default).collect(),
        };
        session.show(&difference(&left, &right))
    }
}

/// The same key as it would be if nobody had set it.
fn by_default(entry: &ConfigEntry) -> ConfigEntry {
    let is_default = |source| source == ConfigSource::Default;
    let default = entry
        .synonyms
        .iter()
        .find(|synonym| is_default(synonym.source));
    let value = match is_default(entry.source) {
        true => entry.value.clone(),
        false => default.and_then(|synonym| synonym.value.clone()),
    };
    ConfigEntry {
        value,
        source: ConfigSource::Default,
        ..entry.clone()
    }
}

fn difference(left: &[ConfigEntry], right: &[ConfigEntry]) -> Vec<Row> {
    fn by_name(entries: &[ConfigEntry]) -> BTreeMap<&str, &ConfigEntry> {
        let plain = entries.iter().filter(|entry| !entry.sensitive);
        plain.map(|entry| (entry.name.as_str(), entry)).collect()
    }
    let (left, right) = (by_name(left), by_name(right));
    let names: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    let differ = names.into_iter().filter(|name| {
        let value =
            |side: &BTreeMap<&str, &ConfigEntry>| side.get(name).map(|entry| entry.value.clone());
        value(&left) != value(&right)
    });
    differ
        .map(|name| {
            let (left, right) = (left.get(name), right.get(name));
            Row {
                name: name.to_owned(),
                left: left.and_then(|entry| entry.value.clone()),
                left_source: left.map(|entry| entry.source.name()),
                right: right.and_then(|entry| entry.value.clone()),
                right_source: right.map(|entry| entry.source.name()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_client::admin::{ConfigSynonym, ConfigType};

    fn entry(name: &str, value: &str, source: ConfigSource) -> ConfigEntry {
        ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source,
            read_only: false,
            sensitive: false,
            kind: ConfigType::String,
            documentation: None,
            synonyms: vec![
                ConfigSynonym {
                    name: name.to_owned(),
                    value: Some(value.to_owned()),
                    source,
                },
                ConfigSynonym {
                    name: name.to_owned(),
                    value: Some("default".to_owned()),
                    source: ConfigSource::Default,
                },
            ],
        }
    }

    #[test]
    fn brokers_differ_by_values_and_from_defaults_by_what_was_set() {
        let same = entry("same", "1", ConfigSource::Static);
        let mut secret = entry("secret", "1", ConfigSource::Static);
        secret.sensitive = true;
        let left = [same.clone(), entry("a", "1", ConfigSource::Broker), secret];
        let right = [same.clone(), entry("a", "2", ConfigSource::Static)];
        let rows = difference(&left, &right);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].left.as_deref(), rows[0].right.as_deref()),
            (Some("1"), Some("2"))
        );
        assert_eq!(difference(&left, &left), []);
        let rows = difference(&left, &left.clone().map(|entry| by_default(&entry)));
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (&*row.name, row.right.as_deref()))
            .collect();
        assert_eq!(rows, [("a", Some("default")), ("same", Some("default"))]);
    }
}

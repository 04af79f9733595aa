//! `rkctl topic diff`.

use std::collections::BTreeSet;

use clap::Args;
use reka_client::TopicInfo;
use reka_client::admin::{OffsetSpec, Resource};
use serde::Serialize;

use super::{offsets, partitions_of};
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

/// Shape, configuration and how many offsets they span. Nothing is shown where they are alike.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Name of a topic
    left: String,
    /// Name of the other
    right: String,
}

#[derive(Debug, Serialize)]
struct Row {
    what: String,
    left: Option<String>,
    right: Option<String>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["WHAT", "LEFT", "RIGHT"]);
        for row in self {
            table.row([
                row.what.clone(),
                or_none(row.left.as_ref()),
                or_none(row.right.as_ref()),
            ]);
        }
        table.into()
    }
}

impl Diff {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let names = [self.left.clone(), self.right.clone()];
        let topics = session.topics(&names).await?;
        let (Some(left), Some(right)) = (topics.first(), topics.get(1)) else {
            return Err(Failure::usage("these are the same topic"));
        };
        let (left, right) = (facts(session, left).await?, facts(session, right).await?);
        let names: BTreeSet<&String> = left.iter().chain(&right).map(|(name, _)| name).collect();
        let of = |facts: &[(String, String)], name: &str| {
            let found = facts.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let rows: Vec<Row> = names
            .into_iter()
            .map(|name| Row {
                what: name.clone(),
                left: of(&left, name),
                right: of(&right, name),
            })
            .filter(|row| row.left != row.right)
            .collect();
        session.show(&rows)
    }
}

/// What can differ, by name.
async fn facts(session: &Session, topic: &TopicInfo) -> Result<Vec<(String, String)>, Failure> {
    let client = session.client().await?;
    let partitions = partitions_of(topic);
    let starts = offsets(client, &partitions, OffsetSpec::Earliest).await?;
    let ends = offsets(client, &partitions, OffsetSpec::Latest).await?;
    let mut span = 0;
    for (start, end) in starts.into_iter().zip(ends) {
        span += end?.unwrap_or(0) - start?.unwrap_or(0);
    }
    let replicas = topic
        .partitions
        .first()
        .map_or(0, |info| info.replicas.len());
    let mut facts = vec![
        ("partitions".to_owned(), partitions.len().to_string()),
        ("replicas".to_owned(), replicas.to_string()),
        ("offsets".to_owned(), span.to_string()),
    ];
    let entries = client
        .describe_config(&Resource::topic(&topic.name), false)
        .await?;
    for entry in entries {
        let value = entry.value.unwrap_or_default();
        facts.push((format!("config {}", entry.name), value));
    }
    Ok(facts)
}

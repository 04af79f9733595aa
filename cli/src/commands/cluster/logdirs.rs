//! `rkctl cluster logdirs`.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::names::matches_any;
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table, or_none};

#[derive(Debug, Args)]
pub(crate) struct Logdirs {
    /// Only this broker; may be given again
    #[arg(long, value_name = "ID", add = crate::completion::brokers())]
    broker: Vec<i32>,
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(long, value_name = "PATTERN")]
    topic: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    broker: i32,
    path: String,
    total_bytes: Option<i64>,
    usable_bytes: Option<i64>,
    log_bytes: i64,
    topics: Vec<Topic>,
    error: Option<ErrorField>,
}

#[derive(Debug, Serialize)]
struct Topic {
    topic: String,
    partitions: usize,
    bytes: i64,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut dirs = Table::new(["BROKER", "DIRECTORY", "TOTAL", "FREE", "LOGS", "ERROR"]);
        let mut topics = Table::new(["BROKER", "DIRECTORY", "TOPIC", "PARTITIONS", "BYTES"]);
        for row in self {
            dirs.row([
                row.broker.to_string(),
                row.path.clone(),
                or_none(row.total_bytes),
                or_none(row.usable_bytes),
                row.log_bytes.to_string(),
                ErrorField::name(&row.error),
            ]);
            for topic in &row.topics {
                topics.row([
                    row.broker.to_string(),
                    row.path.clone(),
                    topic.topic.clone(),
                    topic.partitions.to_string(),
                    topic.bytes.to_string(),
                ]);
            }
        }
        Page::from(dirs).table(topics)
    }
}

impl Logdirs {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let brokers = match self.broker.is_empty() {
            true => client
                .brokers()
                .await?
                .iter()
                .map(|broker| broker.id)
                .collect(),
            false => self.broker.clone(),
        };
        let mut rows = Vec::new();
        for broker in brokers {
            for (path, dir) in client.describe_log_dirs(broker).await? {
                let error = ErrorField::of(&dir);
                let dir = dir.ok();
                let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
                for log in dir.iter().flat_map(|dir| &dir.partitions) {
                    let name = &log.partition.topic;
                    if !matches_any(&self.topic, name) {
                        continue;
                    }
                    let topic = topics.entry(name.clone()).or_insert_with(|| Topic {
                        topic: name.clone(),
                        partitions: 0,
                        bytes: 0,
                    });
                    topic.partitions += 1;
                    topic.bytes += log.size;
                }
                rows.push(Row {
                    broker,
                    path,
                    total_bytes: dir.as_ref().and_then(|dir| dir.total_bytes),
                    usable_bytes: dir.as_ref().and_then(|dir| dir.usable_bytes),
                    log_bytes: topics.values().map(|topic| topic.bytes).sum(),
                    topics: topics.into_values().collect(),
                    error,
                });
            }
        }
        session.show(&rows)
    }
}

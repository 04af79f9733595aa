//! `rkctl topic du`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::names::matches_any;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

/// Sizes are those of the segments on disk. The largest topic comes first.
#[derive(Debug, Args)]
pub(crate) struct Du {
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partitions: usize,
    replicas: usize,
    /// Once each, as the largest replica has it.
    bytes: i64,
    /// On all brokers together.
    bytes_with_replicas: i64,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITIONS", "REPLICAS", "BYTES", "WITH REPLICAS"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partitions.to_string(),
                row.replicas.to_string(),
                row.bytes.to_string(),
                row.bytes_with_replicas.to_string(),
            ]);
        }
        table.into()
    }
}

#[derive(Default)]
struct Sizes {
    partitions: BTreeMap<i32, i64>,
    replicas: usize,
    all: i64,
}

impl Du {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let brokers: BTreeSet<i32> = client.brokers().await?.iter().map(|b| b.id).collect();
        let mut topics: BTreeMap<String, Sizes> = BTreeMap::new();
        for broker in brokers {
            for (_, dir) in client.describe_log_dirs(broker).await? {
                // A directory that has failed says nothing of what is in it.
                let Ok(dir) = dir else {
                    continue;
                };
                for log in dir.partitions {
                    if log.is_future || !matches_any(&self.patterns, &log.partition.topic) {
                        continue;
                    }
                    let sizes = topics.entry(log.partition.topic).or_default();
                    let largest = sizes.partitions.entry(log.partition.partition).or_default();
                    *largest = log.size.max(*largest);
                    sizes.replicas += 1;
                    sizes.all += log.size;
                }
            }
        }
        let mut rows: Vec<Row> = topics
            .into_iter()
            .map(|(topic, sizes)| Row {
                topic,
                partitions: sizes.partitions.len(),
                replicas: sizes.replicas,
                bytes: sizes.partitions.values().sum(),
                bytes_with_replicas: sizes.all,
            })
            .collect();
        rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.topic.cmp(&b.topic)));
        session.show(&rows)
    }
}

//! `rkctl topic list`.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::names::matches_any;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Also the cluster's own topics
    #[arg(short, long)]
    internal: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    id: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITIONS", "REPLICAS"]);
        for row in self {
            table.row([
                row.name.clone(),
                row.partitions.to_string(),
                row.replication_factor.to_string(),
            ]);
        }
        table.into()
    }
}

impl List {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let topics = session.client().await?.list_topics().await?;
        let rows: Vec<Row> = topics
            .into_iter()
            .filter(|topic| self.internal || !topic.is_internal)
            .filter(|topic| matches_any(&self.patterns, &topic.name))
            .map(|topic| Row {
                id: topic.id.to_string(),
                partitions: topic.partitions.len(),
                replication_factor: topic.partitions.first().map_or(0, |p| p.replicas.len()),
                internal: topic.is_internal,
                name: topic.name,
            })
            .collect();
        session.show(&rows)
    }
}

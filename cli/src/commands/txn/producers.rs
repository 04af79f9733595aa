//! `rkctl txn producers`.

use clap::Args;
use serde::Serialize;

use crate::commands::topic::partitions;
use crate::failure::Failure;
use crate::moment;
use crate::names::{TopicSelection, selection};
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

#[derive(Debug, Args)]
pub(crate) struct Producers {
    /// Topics, or some of their partitions: orders:0,2-4
    #[arg(required = true, value_name = "TOPIC", add = crate::completion::topics(), value_parser = selection)]
    topics: Vec<TopicSelection>,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    producer_id: i64,
    producer_epoch: i32,
    last_sequence: i32,
    last_written: String,
    coordinator_epoch: Option<i32>,
    transaction_start_offset: Option<i64>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new([
            "TOPIC",
            "PARTITION",
            "PRODUCER",
            "EPOCH",
            "SEQUENCE",
            "LAST WRITTEN",
            "TXN START",
        ]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.producer_id.to_string(),
                row.producer_epoch.to_string(),
                row.last_sequence.to_string(),
                row.last_written.clone(),
                or_none(row.transaction_start_offset),
            ]);
        }
        table.into()
    }
}

impl Producers {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let partitions = partitions(session, &self.topics).await?;
        let client = session.client().await?;
        let mut rows = Vec::new();
        for (at, producers) in client.describe_producers(&partitions).await? {
            for producer in producers? {
                rows.push(Row {
                    topic: at.topic.clone(),
                    partition: at.partition,
                    producer_id: producer.producer_id,
                    producer_epoch: producer.producer_epoch,
                    last_sequence: producer.last_sequence,
                    last_written: moment::written(producer.last_timestamp),
                    coordinator_epoch: producer.coordinator_epoch,
                    transaction_start_offset: producer.transaction_start,
                });
            }
        }
        session.show(&rows)
    }
}

//! `rkctl txn find-hanging`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use clap::Args;
use reka_client::TopicPartition;
use serde::Serialize;

use crate::command_line::duration;
use crate::commands::topic::partitions_of;
use crate::failure::Failure;
use crate::moment;
use crate::names::matches_any;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

#[derive(Debug, Args)]
pub(crate) struct FindHanging {
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only what has not written for this long: longer than any transaction may take
    #[arg(long, value_parser = duration, default_value = "15m", value_name = "TIME")]
    older_than: Duration,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    producer_id: i64,
    producer_epoch: i32,
    coordinator_epoch: Option<i32>,
    transaction_start_offset: i64,
    last_written: String,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new([
            "TOPIC",
            "PARTITION",
            "PRODUCER",
            "EPOCH",
            "COORDINATOR EPOCH",
            "TXN START",
            "LAST WRITTEN",
        ]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.producer_id.to_string(),
                row.producer_epoch.to_string(),
                or_none(row.coordinator_epoch),
                row.transaction_start_offset.to_string(),
                row.last_written.clone(),
            ]);
        }
        table.into()
    }
}

impl FindHanging {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let topics = client.list_topics().await?;
        let partitions: Vec<TopicPartition> = topics
            .iter()
            .filter(|topic| matches_any(&self.patterns, &topic.name))
            .flat_map(partitions_of)
            .collect();
        let limit = i64::try_from(self.older_than.as_millis()).unwrap_or(i64::MAX);
        let oldest = moment::now_ms().saturating_sub(limit);
        let mut open = Vec::new();
        for (at, producers) in client.describe_producers(&partitions).await? {
            for producer in producers? {
                if let Some(start) = producer.transaction_start
                    && producer.last_timestamp <= oldest
                {
                    open.push((at.clone(), producer, start));
                }
            }
        }
        // What its coordinator still has among the partitions of its transaction will be ended.
        let known = self
            .known(
                session,
                open.iter().map(|(_, producer, _)| producer.producer_id),
            )
            .await?;
        let rows: Vec<Row> = open
            .into_iter()
            .filter(|(at, producer, _)| {
                let partitions = known.get(&producer.producer_id);
                !partitions.is_some_and(|partitions| partitions.contains(at))
            })
            .map(|(at, producer, start)| Row {
                topic: at.topic,
                partition: at.partition,
                producer_id: producer.producer_id,
                producer_epoch: producer.producer_epoch,
                coordinator_epoch: producer.coordinator_epoch,
                transaction_start_offset: start,
                last_written: moment::written(producer.last_timestamp),
            })
            .collect();
        session.show(&rows)
    }

    /// The partitions of current transactions, by producer.
    async fn known(
        &self,
        session: &Session,
        producers: impl Iterator<Item = i64>,
    ) -> Result<HashMap<i64, Vec<TopicPartition>>, Failure> {
        let wanted: HashSet<i64> = producers.collect();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let client = session.client().await?;
        let listed = client.list_transactions().await?;
        let ids: Vec<String> = listed
            .into_iter()
            .filter(|listed| wanted.contains(&listed.producer_id))
            .map(|listed| listed.transactional_id)
            .collect();
        let mut known = HashMap::new();
        for (_, described) in client.describe_transactions(&ids).await? {
            // An id that went away meanwhile has no transaction.
            if let Ok(found) = described {
                known.insert(found.producer_id, found.partitions);
            }
        }
        Ok(known)
    }
}

//! `rkctl txn abort`.

use clap::Args;
use reka_client::TopicPartition;
use reka_client::admin::TransactionAbort;
use serde::Serialize;

use crate::command_line::Destruction;
use crate::failure::Failure;
use crate::names::partition;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

/// For what find-hanging finds. A transaction whose coordinator knows it ends by itself, and aborting
/// it in one partition alone would tear it.
#[derive(Debug, Args)]
pub(crate) struct Abort {
    /// The partition, such as orders:3
    #[arg(value_name = "TOPIC:PARTITION", value_parser = partition)]
    partition: TopicPartition,
    /// Where the transaction starts, as find-hanging shows it
    #[arg(long, value_name = "OFFSET")]
    start_offset: i64,
    #[command(flatten)]
    destruction: Destruction,
}

#[derive(Debug, Serialize)]
struct Aborted {
    topic: String,
    partition: i32,
    producer_id: i64,
    producer_epoch: i16,
    status: &'static str,
}

impl Report for Aborted {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITION", "PRODUCER", "EPOCH", "STATUS"]);
        table.row([
            self.topic.clone(),
            self.partition.to_string(),
            self.producer_id.to_string(),
            self.producer_epoch.to_string(),
            self.status.to_owned(),
        ]);
        table.into()
    }
}

impl Abort {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let asked = std::slice::from_ref(&self.partition);
        let mut found = None;
        for (_, producers) in client.describe_producers(asked).await? {
            let starts = |producer: &reka_client::admin::ActiveProducer| {
                producer.transaction_start == Some(self.start_offset)
            };
            found = producers?.into_iter().find(starts);
        }
        let Some(producer) = found else {
            let text = format!(
                "no transaction starts at offset {} of {}",
                self.start_offset, self.partition
            );
            return Err(Failure::not_found(text).hint("rkctl txn producers shows where they start"));
        };
        let epoch = i16::try_from(producer.producer_epoch).map_err(|_| {
            Failure::other(format!("epoch {} is no epoch", producer.producer_epoch))
        })?;
        let abort = TransactionAbort {
            producer_id: producer.producer_id,
            producer_epoch: epoch,
            // A coordinator that never wrote here has had no epoch.
            coordinator_epoch: producer.coordinator_epoch.unwrap_or(0),
        };
        let what = format!("abort the transaction of producer {}", producer.producer_id);
        self.destruction.consent(&what)?;
        if !self.destruction.dry_run {
            client.abort_transaction(&self.partition, abort).await??;
        }
        session.show(&Aborted {
            topic: self.partition.topic.clone(),
            partition: self.partition.partition,
            producer_id: producer.producer_id,
            producer_epoch: epoch,
            status: match self.destruction.dry_run {
                true => "would be aborted",
                false => "aborted",
            },
        })
    }
}

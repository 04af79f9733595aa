//! `rkctl topic add-partitions`.

use clap::Args;
use serde::Serialize;

use crate::command_line::Change;
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct AddPartitions {
    /// Name of the topic
    #[arg(add = crate::completion::topics())]
    topic: String,
    /// How many to add
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..), conflicts_with = "to", required_unless_present = "to")]
    count: Option<i32>,
    /// How many there are to be in all
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    to: Option<i32>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Serialize)]
struct Grown {
    name: String,
    status: &'static str,
    partitions_before: i32,
    partitions: i32,
}

impl Report for Grown {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "STATUS", "BEFORE", "PARTITIONS"]);
        table.row([
            self.name.clone(),
            self.status.to_owned(),
            self.partitions_before.to_string(),
            self.partitions.to_string(),
        ]);
        table.into()
    }
}

impl AddPartitions {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let topics = session.topics(std::slice::from_ref(&self.topic)).await?;
        let before = topics.first().map_or(0, |topic| topic.partitions.len());
        let before = i32::try_from(before).unwrap_or(i32::MAX);
        let after = match (self.count, self.to) {
            (Some(count), _) => before.saturating_add(count),
            (None, Some(to)) => to,
            (None, None) => return Err(Failure::usage("say --count or --to")),
        };
        let client = session.client().await?;
        let wanted = [(self.topic.clone(), after)];
        let outcomes = client
            .create_partitions(&wanted, self.change.dry_run)
            .await?;
        for (_, outcome) in outcomes {
            outcome?;
        }
        session.show(&Grown {
            name: self.topic.clone(),
            status: if self.change.dry_run {
                "would be added"
            } else {
                "added"
            },
            partitions_before: before,
            partitions: after,
        })
    }
}

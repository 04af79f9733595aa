//! `rkctl group offset-delete`.

use clap::Args;
use serde::Serialize;

use crate::command_line::Destruction;
use crate::commands::topic::partitions;
use crate::failure::Failure;
use crate::names::{TopicSelection, selection};
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct OffsetDelete {
    /// Name of the group
    group: String,
    /// Topics, or some of their partitions: orders:0,2-4
    #[arg(required = true, value_name = "TOPIC", value_parser = selection)]
    topics: Vec<TopicSelection>,
    #[command(flatten)]
    destruction: Destruction,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    status: &'static str,
    error: Option<ErrorField>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITION", "STATUS", "ERROR"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.status.to_owned(),
                ErrorField::name(&row.error),
            ]);
        }
        table.into()
    }
}

impl OffsetDelete {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        super::groups(session, std::slice::from_ref(&self.group)).await?;
        let partitions = partitions(session, &self.topics).await?;
        let what = format!(
            "forget how far group {} has read {} partitions",
            self.group,
            partitions.len()
        );
        self.destruction.consent(&what)?;
        let client = session.client().await?;
        let outcomes = match self.destruction.dry_run {
            true => partitions.into_iter().map(|at| (at, Ok(()))).collect(),
            false => {
                client
                    .delete_group_offsets(&self.group, &partitions)
                    .await?
            }
        };
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for (at, outcome) in outcomes {
            rows.push(Row {
                topic: at.topic,
                partition: at.partition,
                status: match (&outcome, self.destruction.dry_run) {
                    (Err(_), _) => "failed",
                    (Ok(()), true) => "would be deleted",
                    (Ok(()), false) => "deleted",
                },
                error: ErrorField::of(&outcome),
            });
            failures.push(outcome.err().map(Failure::from));
        }
        session.show_outcomes(&rows, &failures)
    }
}

//! `rkctl group offset-delete`.

use clap::Args;

use crate::command_line::Destruction;
use crate::commands::topic::partitions;
use crate::failure::Failure;
use crate::names::{TopicSelection, selection};
use crate::session::{ErrorField, PartitionRow, Session};

#[derive(Debug, Args)]
pub(crate) struct OffsetDelete {
    /// Name of the group
    #[arg(add = crate::completion::groups())]
    group: String,
    /// Topics, or some of their partitions: orders:0,2-4
    #[arg(required = true, value_name = "TOPIC", add = crate::completion::topics(), value_parser = selection)]
    topics: Vec<TopicSelection>,
    #[command(flatten)]
    destruction: Destruction,
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
            rows.push(PartitionRow {
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

//! `rkctl group delete`.

use clap::Args;
use reka_protocol::ErrorCode;
use serde::Serialize;

use crate::command_line::Destruction;
use crate::failure::Failure;
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP", add = crate::completion::groups())]
    groups: Vec<String>,
    #[command(flatten)]
    destruction: Destruction,
}

#[derive(Debug, Serialize)]
struct Row {
    group: String,
    status: &'static str,
    error: Option<ErrorField>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["GROUP", "STATUS", "ERROR"]);
        for row in self {
            let error = ErrorField::name(&row.error);
            table.row([row.group.clone(), row.status.to_owned(), error]);
        }
        table.into()
    }
}

impl Delete {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        if self.destruction.dry_run {
            let groups = super::groups(session, &self.groups).await?;
            let rows: Vec<Row> = groups
                .into_iter()
                .map(|group| Row {
                    status: match group.members.len() {
                        0 => "would be deleted",
                        _ => "has members",
                    },
                    group: group.id,
                    error: None,
                })
                .collect();
            return session.show(&rows);
        }
        let client = session.client().await?;
        self.destruction
            .consent(&format!("delete {}", self.groups.join(", ")))?;
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for (group, outcome) in client.delete_groups(&self.groups).await? {
            let error = ErrorField::of(&outcome);
            let status = if outcome.is_ok() { "deleted" } else { "failed" };
            failures.push(match outcome {
                Ok(()) => None,
                Err(refusal) if refusal.is(ErrorCode::GroupIdNotFound) => {
                    Some(session.unknown_group(&group).await)
                }
                Err(refusal) => Some(refusal.into()),
            });
            rows.push(Row {
                group,
                status,
                error,
            });
        }
        session.show_outcomes(&rows, &failures)
    }
}

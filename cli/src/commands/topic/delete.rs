//! `rkctl topic delete`.

use clap::Args;
use serde::Serialize;

use crate::command_line::Destruction;
use crate::failure::Failure;
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC", add = crate::completion::topics())]
    topics: Vec<String>,
    #[command(flatten)]
    destruction: Destruction,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    status: &'static str,
    error: Option<ErrorField>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "STATUS", "ERROR"]);
        for row in self {
            let error = ErrorField::name(&row.error);
            table.row([row.name.clone(), row.status.to_owned(), error]);
        }
        table.into()
    }
}

impl Delete {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        // Before anybody is asked for consent, what is not there is named.
        let mut there = Vec::new();
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for (name, described) in client.describe_topics(&self.topics).await? {
            let error = ErrorField::of(&described);
            match described {
                Ok(_) => there.push(name),
                Err(refusal) => {
                    failures.push(Some(session.unknown_topic(&name, refusal).await));
                    let status = "failed";
                    rows.push(Row {
                        name,
                        status,
                        error,
                    });
                }
            }
        }
        if !there.is_empty() {
            self.destruction
                .consent(&format!("delete {}", there.join(", ")))?;
        }
        if self.destruction.dry_run {
            for name in there {
                let status = "would be deleted";
                rows.push(Row {
                    name,
                    status,
                    error: None,
                });
                failures.push(None);
            }
        } else {
            for (name, outcome) in client.delete_topics(&there).await? {
                let error = ErrorField::of(&outcome);
                let status = if outcome.is_ok() { "deleted" } else { "failed" };
                rows.push(Row {
                    name,
                    status,
                    error,
                });
                failures.push(outcome.err().map(Failure::from));
            }
        }
        session.show_outcomes(&rows, &failures)
    }
}

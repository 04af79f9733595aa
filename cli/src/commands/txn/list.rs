//! `rkctl txn list`.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::names::matches_any;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only ids that match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only ids in this state, such as Ongoing; may be given again
    #[arg(long)]
    state: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    transactional_id: String,
    state: String,
    producer_id: i64,
    coordinator: i32,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TRANSACTIONAL ID", "STATE", "PRODUCER", "COORDINATOR"]);
        for row in self {
            table.row([
                row.transactional_id.clone(),
                row.state.clone(),
                row.producer_id.to_string(),
                row.coordinator.to_string(),
            ]);
        }
        table.into()
    }
}

impl List {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let listed = session.client().await?.list_transactions().await?;
        let in_state = |state: &str| {
            self.state.is_empty() || self.state.iter().any(|one| one.eq_ignore_ascii_case(state))
        };
        let rows: Vec<Row> = listed
            .into_iter()
            .filter(|listed| matches_any(&self.patterns, &listed.transactional_id))
            .filter(|listed| in_state(&listed.state))
            .map(|listed| Row {
                transactional_id: listed.transactional_id,
                state: listed.state,
                producer_id: listed.producer_id,
                coordinator: listed.coordinator,
            })
            .collect();
        session.show(&rows)
    }
}

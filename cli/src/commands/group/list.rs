//! `rkctl group list`.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::names::matches_any;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only groups whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only groups in this state, such as Stable or Empty; may be given again
    #[arg(long)]
    state: Vec<String>,
    /// Only groups of this type, such as classic or consumer; may be given again
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    group: String,
    #[serde(rename = "type")]
    kind: String,
    protocol_type: String,
    state: String,
    coordinator: i32,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["GROUP", "TYPE", "PROTOCOL", "STATE", "COORDINATOR"]);
        for row in self {
            table.row([
                row.group.clone(),
                row.kind.clone(),
                row.protocol_type.clone(),
                row.state.clone(),
                row.coordinator.to_string(),
            ]);
        }
        table.into()
    }
}

impl List {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let groups = session.client().await?.list_groups().await?;
        let among = |wanted: &[String], found: &str| {
            wanted.is_empty() || wanted.iter().any(|one| one.eq_ignore_ascii_case(found))
        };
        let rows: Vec<Row> = groups
            .into_iter()
            .filter(|group| matches_any(&self.patterns, &group.id))
            .filter(|group| among(&self.state, &group.state) && among(&self.kind, &group.kind))
            .map(|group| Row {
                group: group.id,
                kind: group.kind,
                protocol_type: group.protocol_type,
                state: group.state,
                coordinator: group.coordinator,
            })
            .collect();
        session.show(&rows)
    }
}

//! `rkctl cluster features`.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

#[derive(Debug, Args)]
pub(crate) struct Features {}

#[derive(Debug, Serialize)]
struct Row {
    feature: String,
    level: i16,
    supported_min: i16,
    supported_max: i16,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["FEATURE", "LEVEL", "SUPPORTED"]);
        for row in self {
            table.row([
                row.feature.clone(),
                row.level.to_string(),
                format!("{} to {}", row.supported_min, row.supported_max),
            ]);
        }
        table.into()
    }
}

impl Features {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let features = session.client().await?.features().await?;
        let rows: Vec<Row> = features
            .into_iter()
            .map(|feature| Row {
                feature: feature.name,
                level: feature.finalized,
                supported_min: feature.supported_min,
                supported_max: feature.supported_max,
            })
            .collect();
        session.show(&rows)
    }
}

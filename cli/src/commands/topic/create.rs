//! `rkctl topic create`.

use clap::Args;
use reka_client::admin::NewTopic;
use reka_protocol::ErrorCode;
use serde::Serialize;

use crate::command_line::{Change, key_value};
use crate::failure::Failure;
use crate::output::Report;
use crate::session::{ErrorField, Session};
use crate::table::{Page, Table, or_none};

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// How many partitions each gets; the broker's default without
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas each partition gets; the broker's default without
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A key of its configuration, such as retention.ms=60000; may be given again
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Do not fail where a topic is there already
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    status: &'static str,
    id: Option<String>,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    error: Option<ErrorField>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "STATUS", "PARTITIONS", "REPLICAS", "ERROR"]);
        for row in self {
            table.row([
                row.name.clone(),
                row.status.to_owned(),
                or_none(row.partitions),
                or_none(row.replication_factor),
                ErrorField::name(&row.error),
            ]);
        }
        table.into()
    }
}

impl Create {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let topics: Vec<NewTopic> = self
            .topics
            .iter()
            .map(|name| NewTopic {
                name: name.clone(),
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                assignment: Vec::new(),
                configs: self.config.clone(),
            })
            .collect();
        let created = client.create_topics(&topics, self.change.dry_run).await?;
        let mut rows = Vec::with_capacity(created.len());
        let mut failures = Vec::with_capacity(created.len());
        for (name, outcome) in created {
            let error = ErrorField::of(&outcome);
            let is_there =
                |refusal: &reka_client::Refusal| refusal.is(ErrorCode::TopicAlreadyExists);
            let (status, made, failure) = match outcome {
                Ok(made) if self.change.dry_run => ("would be created", Some(made), None),
                Ok(made) => ("created", Some(made), None),
                Err(refusal) if self.if_not_exists && is_there(&refusal) => ("exists", None, None),
                Err(refusal) => ("failed", None, Some(Failure::from(refusal))),
            };
            rows.push(Row {
                name,
                status,
                // A topic that is not created has no id.
                id: made
                    .filter(|made| !made.id.is_nil())
                    .map(|made| made.id.to_string()),
                partitions: made.map(|made| made.partitions).filter(|count| *count >= 0),
                replication_factor: made
                    .map(|made| made.replication_factor)
                    .filter(|count| *count >= 0),
                error: if failure.is_some() { error } else { None },
            });
            failures.push(failure);
        }
        session.show_outcomes(&rows, &failures)
    }
}

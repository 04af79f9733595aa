//! `rkctl cluster brokers`.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none, yes_no};

#[derive(Debug, Args)]
pub(crate) struct Brokers {}

#[derive(Debug, Serialize)]
struct Row {
    broker: i32,
    host: String,
    port: i32,
    rack: Option<String>,
    controller: bool,
    fenced: bool,
    leaders: usize,
    replicas: usize,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new([
            "BROKER",
            "ADDRESS",
            "RACK",
            "CONTROLLER",
            "FENCED",
            "LEADERS",
            "REPLICAS",
        ]);
        for row in self {
            table.row([
                row.broker.to_string(),
                format!("{}:{}", row.host, row.port),
                or_none(row.rack.as_ref()),
                yes_no(row.controller),
                yes_no(row.fenced),
                row.leaders.to_string(),
                row.replicas.to_string(),
            ]);
        }
        table.into()
    }
}

impl Brokers {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let cluster = client.describe_cluster().await?;
        let topics = client.list_topics().await?;
        let partitions = || topics.iter().flat_map(|topic| &topic.partitions);
        let rows: Vec<Row> = cluster
            .brokers
            .into_iter()
            .map(|broker| Row {
                leaders: partitions().filter(|p| p.leader == Some(broker.id)).count(),
                replicas: partitions()
                    .filter(|p| p.replicas.contains(&broker.id))
                    .count(),
                controller: cluster.controller == Some(broker.id),
                broker: broker.id,
                host: broker.host,
                port: broker.port,
                rack: broker.rack,
                fenced: broker.is_fenced,
            })
            .collect();
        session.show(&rows)
    }
}

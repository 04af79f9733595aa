//! `rkctl cluster quotas`.

use clap::{Args, Subcommand};
use reka_client::admin::{QuotaEntity, QuotaFilter};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::command_line::{Change, key_value};
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List quotas
    List(List),
    /// Set limits
    Set(Set),
    /// Take limits away
    Unset(Unset),
}

/// Who quotas are for. A name of * is the default: for all who have no quota of their own.
#[derive(Debug, Args)]
struct Entity {
    /// A user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A client id
    #[arg(long = "for-client-id", value_name = "NAME")]
    for_client_id: Option<String>,
    /// An address
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["user", "for_client_id"])]
    ip: Option<String>,
}

impl Entity {
    fn parts(&self) -> QuotaEntity {
        let named = [
            ("user", &self.user),
            ("client-id", &self.for_client_id),
            ("ip", &self.ip),
        ];
        let part = |(part, name): (&str, &Option<String>)| {
            let name = name.clone()?;
            Some((part.to_owned(), Some(name).filter(|name| name != "*")))
        };
        named.into_iter().filter_map(part).collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    entity: Entity,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Limits: producer_byte_rate, consumer_byte_rate, request_percentage,
    /// controller_mutation_rate, connection_creation_rate
    #[arg(required = true, value_name = "KEY=NUMBER", value_parser = key_value)]
    limits: Vec<(String, String)>,
    #[command(flatten)]
    entity: Entity,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Unset {
    /// Limits to take away
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    entity: Entity,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Serialize)]
struct Row {
    /// A part without a name is the default.
    entity: Map<String, Value>,
    limits: Map<String, Value>,
}

fn entity_text(entity: &Map<String, Value>) -> String {
    let parts: Vec<String> = entity
        .iter()
        .map(|(part, name)| format!("{part}={}", name.as_str().unwrap_or("*")))
        .collect();
    parts.join(",")
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["FOR", "KEY", "LIMIT"]);
        for row in self {
            for (key, limit) in &row.limits {
                let limit = limit.as_f64().map(|limit| limit.to_string());
                table.row([entity_text(&row.entity), key.clone(), or_none(limit)]);
            }
        }
        table.into()
    }
}

#[derive(Debug, Serialize)]
struct Changed {
    entity: Map<String, Value>,
    key: String,
    status: &'static str,
    limit: Option<f64>,
}

impl Report for Vec<Changed> {
    fn page(&self) -> Page {
        let mut table = Table::new(["FOR", "KEY", "STATUS", "LIMIT"]);
        for row in self {
            table.row([
                entity_text(&row.entity),
                row.key.clone(),
                row.status.to_owned(),
                or_none(row.limit),
            ]);
        }
        table.into()
    }
}

impl Command {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::List(list) => list.run(session).await,
            Command::Set(set) => {
                let mut changes = Vec::with_capacity(set.limits.len());
                for (key, limit) in &set.limits {
                    let number = limit.parse::<f64>().ok().filter(|n| n.is_finite());
                    let number = number.ok_or_else(|| {
                        Failure::usage(format!("{key}: expected a number, found {limit:?}"))
                    })?;
                    changes.push((key.clone(), Some(number)));
                }
                change(session, &set.entity, &changes, set.change.dry_run).await
            }
            Command::Unset(unset) => {
                let changes: Vec<_> = unset.keys.iter().map(|key| (key.clone(), None)).collect();
                change(session, &unset.entity, &changes, unset.change.dry_run).await
            }
        }
    }
}

impl List {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let filter = |(part, name): (String, Option<String>)| match name {
            Some(name) => QuotaFilter::Name(part, name),
            None => QuotaFilter::Default(part),
        };
        let filters: Vec<QuotaFilter> = self.entity.parts().into_iter().map(filter).collect();
        let quotas = session.client().await?.describe_quotas(&filters).await?;
        let rows: Vec<Row> = quotas
            .into_iter()
            .map(|entry| Row {
                entity: entity_map(&entry.entity),
                limits: entry
                    .values
                    .into_iter()
                    .map(|(key, limit)| (key, limit.into()))
                    .collect(),
            })
            .collect();
        session.show(&rows)
    }
}

fn entity_map(entity: &QuotaEntity) -> Map<String, Value> {
    let part = |(part, name): &(String, Option<String>)| (part.clone(), name.clone().into());
    entity.iter().map(part).collect()
}

async fn change(
    session: &Session,
    entity: &Entity,
    changes: &[(String, Option<f64>)],
    dry_run: bool,
) -> Result<(), Failure> {
    let parts = entity.parts();
    if parts.is_empty() {
        let text = "say who the quota is for: --user, --for-client-id or --ip, * for the default";
        return Err(Failure::usage(text));
    }
    let client = session.client().await?;
    client.alter_quotas(&parts, changes, dry_run).await?;
    let rows: Vec<Changed> = changes
        .iter()
        .map(|(key, limit)| Changed {
            entity: entity_map(&parts),
            key: key.clone(),
            status: match (limit, dry_run) {
                (Some(_), false) => "set",
                (Some(_), true) => "would be set",
                (None, false) => "unset",
                (None, true) => "would be unset",
            },
            limit: *limit,
        })
        .collect();
    session.show(&rows)
}

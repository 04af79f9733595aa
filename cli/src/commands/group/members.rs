//! `rkctl group members`.

use clap::Args;
use reka_client::admin::MemberAssignment;
use serde::Serialize;

use super::groups;
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, list, or_none};

#[derive(Debug, Args)]
pub(crate) struct Members {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP", add = crate::completion::groups())]
    groups: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    group: String,
    member: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    epoch: Option<i32>,
    /// `None` where the assignment is not one of consumers.
    partitions: Option<Vec<String>>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new([
            "GROUP",
            "MEMBER",
            "INSTANCE",
            "CLIENT",
            "HOST",
            "EPOCH",
            "PARTITIONS",
        ]);
        for row in self {
            table.row([
                row.group.clone(),
                row.member.clone(),
                or_none(row.instance_id.as_ref()),
                row.client_id.clone(),
                row.host.clone(),
                or_none(row.epoch),
                match &row.partitions {
                    Some(partitions) => list(partitions),
                    None => "?".to_owned(),
                },
            ]);
        }
        table.into()
    }
}

impl Members {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for group in groups(session, &self.groups).await? {
            for member in group.members {
                rows.push(Row {
                    group: group.id.clone(),
                    member: member.id,
                    instance_id: member.instance_id,
                    client_id: member.client_id,
                    host: member.host,
                    epoch: member.epoch,
                    partitions: match member.assignment {
                        MemberAssignment::Partitions(partitions) => {
                            Some(partitions.iter().map(ToString::to_string).collect())
                        }
                        MemberAssignment::Opaque(_) => None,
                    },
                });
            }
        }
        session.show(&rows)
    }
}

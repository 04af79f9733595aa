//! `rkctl group describe`.

use std::collections::BTreeMap;

use clap::Args;
use reka_client::TopicPartition;
use reka_client::admin::{GroupDescription, GroupMember};
use serde::Serialize;

use super::{ends, groups};
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP", add = crate::completion::groups())]
    groups: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Group {
    group: String,
    #[serde(rename = "type")]
    kind: &'static str,
    state: String,
    assignor: String,
    coordinator: i32,
    members: usize,
    /// Of the partitions whose end is known.
    lag: i64,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    committed_offset: Option<i64>,
    end_offset: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
    client_id: Option<String>,
    host: Option<String>,
}

impl Report for Vec<Group> {
    fn page(&self) -> Page {
        self.iter().map(group_page).fold(Page::default(), Page::and)
    }
}

fn group_page(group: &Group) -> Page {
    let page = Page::default().pairs(vec![
        ("group", group.group.clone()),
        ("type", group.kind.to_owned()),
        ("state", group.state.clone()),
        (
            "assignor",
            or_none(Some(&group.assignor).filter(|name| !name.is_empty())),
        ),
        ("coordinator", group.coordinator.to_string()),
        ("members", group.members.to_string()),
        ("lag", group.lag.to_string()),
    ]);
    if group.partitions.is_empty() {
        return page;
    }
    let mut table = Table::new([
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "END",
        "LAG",
        "MEMBER",
        "CLIENT",
        "HOST",
    ]);
    for row in &group.partitions {
        table.row([
            row.topic.clone(),
            row.partition.to_string(),
            or_none(row.committed_offset),
            or_none(row.end_offset),
            or_none(row.lag),
            or_none(row.member.as_ref()),
            or_none(row.client_id.as_ref()),
            or_none(row.host.as_ref()),
        ]);
    }
    page.table(table)
}

impl Describe {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut described = Vec::new();
        for group in groups(session, &self.groups).await? {
            described.push(describe(session, group).await?);
        }
        session.show(&described)
    }
}

async fn describe(session: &Session, group: GroupDescription) -> Result<Group, Failure> {
    let client = session.client().await?;
    let committed = client.group_offsets(&group.id).await?;
    let mut owners: BTreeMap<&TopicPartition, &GroupMember> = BTreeMap::new();
    for member in &group.members {
        for partition in member.assignment.partitions() {
            owners.insert(partition, member);
        }
    }
    // What is assigned and not committed is read from wherever the member's settings say.
    let mut all: Vec<TopicPartition> = committed.keys().cloned().collect();
    all.extend(owners.keys().map(|partition| (*partition).clone()));
    all.sort();
    all.dedup();
    let ends = ends(client, &all).await?;
    let partitions: Vec<Partition> = all
        .iter()
        .map(|at| {
            let offset = committed.get(at).map(|committed| committed.offset);
            let end = ends.get(at).copied();
            let owner = owners.get(at);
            Partition {
                topic: at.topic.clone(),
                partition: at.partition,
                committed_offset: offset,
                end_offset: end,
                lag: offset.zip(end).map(|(offset, end)| (end - offset).max(0)),
                member: owner.map(|member| member.id.clone()),
                client_id: owner.map(|member| member.client_id.clone()),
                host: owner.map(|member| member.host.clone()),
            }
        })
        .collect();
    Ok(Group {
        kind: group.kind,
        assignor: group.assignor,
        coordinator: group.coordinator,
        members: group.members.len(),
        lag: partitions
            .iter()
            .filter_map(|partition| partition.lag)
            .sum(),
        partitions,
        state: group.state,
        group: group.id,
    })
}

//! What a group has read, who its members are, and in which state it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use reka_client::admin::{CommittedOffset, GroupDescription, GroupMember, Isolation, OffsetSpec};
use reka_client::{Client, TopicPartition};
use reka_protocol::ErrorCode;

use super::super::arguments::Arguments;
use super::super::{Wrong, column, exception};
use super::{chosen_groups, tell};

const MISSING: &str = "-";

pub(super) async fn describe(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let ids = chosen_groups(client, arguments, "describe").await?;
    let mut groups = Vec::new();
    for (id, described) in client.describe_groups(&ids).await? {
        groups.push(described.map_err(|refusal| {
            let text = match refusal.is(ErrorCode::GroupIdNotFound) {
                true => format!(
                    "org.apache.kafka.common.errors.GroupIdNotFoundException: Group {id} not found."
                ),
                false => exception(&refusal),
            };
            Wrong::Failed(text)
        })?);
    }
    let verbose = arguments.has("verbose");
    for group in &groups {
        match arguments.those(&["members", "offsets", "state"])[..] {
            [] | ["offsets"] => offsets(client, group, verbose).await?,
            ["members"] => members(group, verbose)?,
            ["state"] => state(client, group, verbose).await?,
            _ => {
                let text = "Option [describe] takes at most one of these options: [members], \
                            [offsets], [state]";
                return Err(Wrong::Usage(text.to_owned()));
            }
        }
    }
    Ok(())
}

/// Tells what state a group is in, unless that is nothing to be told; whether there is more to say.
fn may_show(group: &GroupDescription) -> Result<bool, Wrong> {
    let id = &group.id;
    match group.state.as_str() {
        "Dead" => {
            tell(&format!("Consumer group '{id}' does not exist."))?;
            return Ok(false);
        }
        "Empty" => {
            let text = format!("\nConsumer group '{id}' has no active members.");
            writeln!(std::io::stderr(), "{text}")?;
        }
        "Stable" => {}
        _ => {
            let text = format!("\nWarning: Consumer group '{id}' is rebalancing.");
            writeln!(std::io::stderr(), "{text}")?;
        }
    }
    Ok(true)
}

/// A line of what a group has read.
struct Row<'a> {
    at: Option<TopicPartition>,
    committed: Option<&'a CommittedOffset>,
    end: Option<i64>,
    member: Option<&'a GroupMember>,
}

async fn offsets(client: &Client, group: &GroupDescription, verbose: bool) -> Result<(), Wrong> {
    let committed = client.group_offsets(&group.id).await?;
    let mut members: Vec<&GroupMember> = group
        .members
        .iter()
        .filter(|member| !member.assignment.partitions().is_empty())
        .collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.partitions().len()));
    let mut rows = Vec::new();
    let mut assigned = BTreeSet::new();
    for member in members {
        for at in member.assignment.partitions() {
            assigned.insert(at.clone());
            rows.push((at.clone(), Some(member)));
        }
    }
    let unassigned = committed.keys().filter(|at| !assigned.contains(*at));
    rows.extend(unassigned.map(|at| (at.clone(), None)));
    let wanted: Vec<(TopicPartition, OffsetSpec)> = rows
        .iter()
        .map(|(at, _)| (at.clone(), OffsetSpec::Latest))
        .collect();
    let mut ends = BTreeMap::new();
    for (at, listed) in client.list_offsets(&wanted, Isolation::default()).await? {
        if let Ok(Some(end)) = listed.map(|listed| listed.offset) {
            ends.insert(at, end);
        }
    }
    if !may_show(group)? || rows.is_empty() {
        return Ok(());
    }
    let rows = rows.into_iter().map(|(at, member)| Row {
        committed: committed.get(&at),
        end: ends.get(&at).copied(),
        at: Some(at),
        member,
    });
    print_offsets(&group.id, rows.collect(), verbose)
}

fn or_missing<T: ToString>(value: Option<T>) -> String {
    value.map_or(MISSING.to_owned(), |value| value.to_string())
}

fn print_offsets(group: &str, rows: Vec<Row<'_>>, verbose: bool) -> Result<(), Wrong> {
    let mut lines = vec![
        [
            "GROUP",
            "TOPIC",
            "PARTITION",
            "LEADER-EPOCH",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
        ]
        .map(str::to_owned),
    ];
    for row in rows {
        let offset = row.committed.map(|committed| committed.offset);
        let epoch = row.committed.and_then(|committed| committed.leader_epoch);
        let lag = offset.zip(row.end).map(|(offset, end)| end - offset);
        lines.push([
            group.to_owned(),
            or_missing(row.at.as_ref().map(|at| &at.topic)),
            or_missing(row.at.as_ref().map(|at| at.partition)),
            or_missing(epoch),
            or_missing(offset),
            or_missing(row.end),
            or_missing(lag),
            or_missing(row.member.map(|member| &member.id)),
            or_missing(row.member.map(|member| &member.host)),
            or_missing(row.member.map(|member| &member.client_id)),
        ]);
    }
    let width = |at: usize| {
        let longest = lines.iter().skip(1).map(|line| line[at].len()).max();
        longest.unwrap_or(0).max(15)
    };
    let widths = [
        width(0),
        width(1),
        10,
        15,
        15,
        15,
        15,
        width(7),
        width(8),
        0,
    ];
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate();
        let shown = cells.filter(|(at, _)| verbose || *at != 3);
        let cells: Vec<String> = shown
            .map(|(_, (cell, width))| column(cell, width))
            .collect();
        write!(out, "\n{}", cells.join(" "))?;
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Partitions by topic: `a:0,1;b:2`.
fn listed(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for at in partitions {
        topics
            .entry(&at.topic)
            .or_default()
            .push(at.partition.to_string());
    }
    let topics: Vec<String> = topics
        .into_iter()
        .map(|(topic, indexes)| format!("{topic}:{}", indexes.join(",")))
        .collect();
    match topics.is_empty() {
        true => MISSING.to_owned(),
        false => topics.join(";"),
    }
}

fn members(group: &GroupDescription, verbose: bool) -> Result<(), Wrong> {
    if !may_show(group)? {
        return Ok(());
    }
    let mut lines = vec![
        [
            "GROUP",
            "CONSUMER-ID",
            "GROUP-INSTANCE-ID",
            "HOST",
            "CLIENT-ID",
            "#PARTITIONS",
            "CURRENT-EPOCH",
            "CURRENT-ASSIGNMENT",
            "TARGET-EPOCH",
            "TARGET-ASSIGNMENT",
        ]
        .map(str::to_owned),
    ];
    let mut named = false;
    for member in &group.members {
        named |= member.instance_id.is_some();
        let has = member.assignment.partitions();
        lines.push([
            group.id.clone(),
            member.id.clone(),
            member.instance_id.clone().unwrap_or_default(),
            member.host.clone(),
            member.client_id.clone(),
            has.len().to_string(),
            or_missing(member.epoch),
            listed(has),
            or_missing(group.assignment_epoch),
            listed(member.target.as_deref().unwrap_or_default()),
        ]);
    }
    let width = |at: usize, least: usize| {
        let longest = lines.iter().skip(1).map(|line| line[at].len()).max();
        longest.unwrap_or(0).max(least)
    };
    let widths = [
        width(0, 15),
        width(1, 15),
        width(2, 17),
        width(3, 15),
        width(4, 15),
        15,
        15,
        width(7, 20),
        15,
        width(9, 20),
    ];
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out)?;
    for line in &lines {
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            if (at == 2 && !named) || (at > 5 && !verbose) {
                continue;
            }
            // What is last of all has nothing behind it, what is last without more has.
            let behind = if at == 9 { "" } else { " " };
            write!(out, "{cell:width$}{behind}")?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

async fn state(client: &Client, group: &GroupDescription, verbose: bool) -> Result<(), Wrong> {
    if !may_show(group)? {
        return Ok(());
    }
    let brokers = client.brokers().await?;
    let coordinator = brokers.iter().find(|broker| broker.id == group.coordinator);
    let coordinator = match coordinator {
        Some(broker) => format!("{}  ({})", broker.address, broker.id),
        None => format!("({})", group.coordinator),
    };
    let strategy = match group.assignor.as_str() {
        "" => MISSING,
        assignor => assignor,
    };
    let lines = [
        [
            "GROUP",
            "COORDINATOR (ID)",
            "ASSIGNMENT-STRATEGY",
            "STATE",
            "GROUP-EPOCH",
            "TARGET-ASSIGNMENT-EPOCH",
            "#MEMBERS",
        ]
        .map(str::to_owned),
        [
            group.id.clone(),
            coordinator.clone(),
            strategy.to_owned(),
            group.state.clone(),
            or_missing(group.epoch),
            or_missing(group.assignment_epoch),
            group.members.len().to_string(),
        ],
    ];
    let widths = [
        group.id.len().max(15),
        coordinator.len().max(25),
        20,
        20,
        15,
        25,
        0,
    ];
    let mut out = std::io::stdout();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate();
        let shown = cells.filter(|(at, _)| verbose || !(4..=5).contains(at));
        let cells: Vec<String> = shown
            .map(|(_, (cell, width))| column(cell, width))
            .collect();
        write!(out, "\n{}", cells.join(" "))?;
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_listed_by_topic() {
        let at = |topic: &str, partition| TopicPartition::new(topic, partition);
        assert_eq!(listed(&[at("a", 0), at("a", 2), at("b", 1)]), "a:0,2;b:1");
        assert_eq!(listed(&[]), "-");
    }
}

//! `kafka-consumer-groups.sh`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use reka_client::admin::{
    CommittedOffset, GroupDescription, GroupListing, GroupMember, Isolation, OffsetSpec,
    OffsetToCommit,
};
use reka_client::{Client, TopicPartition};
use reka_protocol::ErrorCode;

use super::arguments::{Arguments, Known, flag, option, perhaps};
use super::{Wrong, column, exception, java_message};
use crate::moment;

pub(super) const OPTIONS: &[Known] = &[
    flag("all-groups"),
    flag("all-topics"),
    option("bootstrap-server"),
    option("by-duration"),
    option("command-config"),
    flag("delete"),
    flag("delete-offsets"),
    flag("describe"),
    flag("dry-run"),
    flag("execute"),
    flag("export"),
    option("from-file"),
    option("group"),
    flag("list"),
    flag("members"),
    flag("offsets"),
    flag("reset-offsets"),
    option("shift-by"),
    perhaps("state"),
    flag("to-current"),
    option("to-datetime"),
    flag("to-earliest"),
    flag("to-latest"),
    option("to-offset"),
    option("topic"),
    perhaps("type"),
    flag("verbose"),
];

const ACTIONS: [&str; 5] = [
    "list",
    "describe",
    "delete",
    "reset-offsets",
    "delete-offsets",
];
const MISSING: &str = "-";

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let [action] = arguments.those(&ACTIONS)[..] else {
        let text = "Command must include exactly one action: --list, --describe, --delete, \
                    --reset-offsets, --delete-offsets";
        return Err(Wrong::Usage(text.to_owned()));
    };
    match action {
        "list" => list(client, arguments).await,
        "describe" => describe(client, arguments).await,
        "delete" => delete(client, arguments).await,
        "reset-offsets" => reset(client, arguments).await,
        _ => delete_offsets(client, arguments).await,
    }
}

/// What went wrong with a group, where the tool tells it and goes on.
fn tell(text: &str) -> Result<(), Wrong> {
    writeln!(std::io::stdout(), "\nError: {text}")?;
    Ok(())
}

/// Groups of consumers: not those of connect workers or of other kinds.
async fn consumer_groups(client: &Client) -> Result<Vec<GroupListing>, Wrong> {
    let mut groups = client.list_groups().await?;
    groups.retain(|group| {
        let kind = group.kind.to_lowercase();
        let of_consumers = group.protocol_type.is_empty() || group.protocol_type == "consumer";
        kind == "consumer" || (of_consumers && (kind.is_empty() || kind == "classic"))
    });
    Ok(groups)
}

const STATES: [&str; 7] = [
    "Stable",
    "Empty",
    "CompletingRebalance",
    "Assigning",
    "Dead",
    "Reconciling",
    "PreparingRebalance",
];
const TYPES: [&str; 2] = ["Consumer", "Classic"];

/// The names a list has, as they are written; `what` is what the tool calls the list.
fn chosen(text: Option<&str>, known: &[&str], what: &str) -> Result<Vec<String>, Wrong> {
    let text = text.unwrap_or_default();
    let mut chosen = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        match known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) => chosen.push((*known).to_owned()),
            None => {
                let valid = known.join(", ");
                let text = format!("Invalid {what} list '{text}'. Valid {what}s are: {valid}");
                return Err(Wrong::Usage(text));
            }
        }
    }
    Ok(chosen)
}

async fn list(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let (by_type, by_state) = (arguments.has("type"), arguments.has("state"));
    let types = chosen(arguments.value("type"), &TYPES, "type")?;
    let states = chosen(arguments.value("state"), &STATES, "state")?;
    let is_chosen = |chosen: &[String], value: &str| {
        chosen.is_empty() || chosen.iter().any(|one| one.eq_ignore_ascii_case(value))
    };
    let mut groups = consumer_groups(client).await?;
    groups.retain(|group| is_chosen(&types, &group.kind) && is_chosen(&states, &group.state));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if !by_type && !by_state {
        for group in groups {
            writeln!(out, "{}", group.id)?;
        }
        out.flush()?;
        return Ok(());
    }
    let longest = groups.iter().map(|group| group.id.len()).max();
    let width = longest.unwrap_or(0).max(15) + 10;
    let head = ("GROUP".to_owned(), "TYPE".to_owned(), "STATE".to_owned());
    let rows = groups.into_iter().map(|group| {
        let mut kind = group.kind;
        kind.get_mut(..1).map(str::make_ascii_uppercase);
        (group.id, kind, group.state)
    });
    for (id, kind, state) in std::iter::once(head).chain(rows) {
        write!(out, "{id:width$}")?;
        if by_type {
            write!(out, " {kind:20}")?;
        }
        if by_state {
            write!(out, " {state:20}")?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

/// The groups that `action` is about, each once.
async fn chosen_groups(
    client: &Client,
    arguments: &Arguments,
    action: &str,
) -> Result<Vec<String>, Wrong> {
    let mut ids: BTreeSet<String> = arguments.values("group").map(str::to_owned).collect();
    if arguments.has("all-groups") {
        let groups = consumer_groups(client).await?.into_iter();
        ids.extend(groups.map(|group| group.id));
    } else if ids.is_empty() {
        let text = format!("Option [{action}] takes one of these options: [all-groups], [group]");
        return Err(Wrong::Usage(text));
    }
    Ok(ids.into_iter().collect())
}

async fn describe(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
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

async fn delete(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let ids = chosen_groups(client, arguments, "delete").await?;
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for (id, outcome) in client.delete_groups(&ids).await? {
        match outcome {
            Ok(()) => deleted.push(id),
            Err(refusal) => failed.push((id, refusal)),
        }
    }
    let mut out = std::io::stdout();
    if failed.is_empty() {
        let deleted = deleted.join(", ");
        writeln!(
            out,
            "Deletion of requested consumer groups ('{deleted}') was successful."
        )?;
        return Ok(());
    }
    tell("Deletion of some consumer groups failed:")?;
    for (id, refusal) in failed {
        let why = exception(&refusal);
        writeln!(out, "* Group '{id}' could not be deleted due to: {why}")?;
    }
    if !deleted.is_empty() {
        let deleted = deleted.join("'");
        writeln!(
            out,
            "\nThese consumer groups were deleted successfully: '{deleted}'"
        )?;
    }
    Ok(())
}

/// Partitions as `--topic` names them: `orders`, `orders:0,1`. A topic that is not there has none.
async fn named(client: &Client, topics: &[&str]) -> Result<Vec<TopicPartition>, Wrong> {
    let mut named = BTreeSet::new();
    for topic in topics {
        match topic.split_once(':') {
            Some((topic, indexes)) => {
                for index in indexes.split(',') {
                    let wrong = || {
                        Wrong::Usage(format!(
                            "Invalid partition '{index}' specified in topic arg '{topic}''"
                        ))
                    };
                    let index = index.trim().parse().map_err(|_| wrong())?;
                    named.insert(TopicPartition::new(topic, index));
                }
            }
            None => {
                for (name, described) in client.describe_topics(&[(*topic).to_owned()]).await? {
                    let found = described.map_err(|refusal| Wrong::Failed(exception(&refusal)))?;
                    let of = |info: &reka_client::PartitionInfo| {
                        TopicPartition::new(name.clone(), info.index)
                    };
                    named.extend(found.partitions.iter().map(of));
                }
            }
        }
    }
    Ok(named.into_iter().collect())
}

async fn delete_offsets(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let Some(group) = arguments.value("group") else {
        let text = "Option [delete-offsets] takes the following options: [group], [topic]";
        return Err(Wrong::Usage(text.to_owned()));
    };
    let topics: Vec<&str> = arguments.values("topic").collect();
    if topics.is_empty() {
        let text = "Option [delete-offsets] takes the following options: [group], [topic]";
        return Err(Wrong::Usage(text.to_owned()));
    }
    let mut rows: BTreeMap<(String, i32), String> = BTreeMap::new();
    let mut partitions = Vec::new();
    let mut partial = false;
    for topic in topics {
        match named(client, &[topic]).await {
            Ok(found) => partitions.extend(found),
            Err(Wrong::Failed(why)) => {
                partial = true;
                rows.insert((topic.to_owned(), -1), format!("Error: :{why}"));
            }
            Err(other) => return Err(other),
        }
    }
    let mut refused = None;
    match client.delete_group_offsets(group, &partitions).await {
        Ok(outcomes) => {
            for (at, outcome) in outcomes {
                let status = match outcome {
                    Ok(()) => "Successful".to_owned(),
                    Err(refusal) => {
                        partial = true;
                        format!("Error: :{}", java_message(&refusal))
                    }
                };
                rows.insert((at.topic, at.partition), status);
            }
        }
        Err(error) => match error.refusal() {
            Some(refusal) => {
                for at in partitions {
                    let status = format!("Error: :{}", java_message(refusal));
                    rows.insert((at.topic, at.partition), status);
                }
                refused = Some(refusal.clone());
            }
            None => return Err(error.into()),
        },
    }
    let mut out = std::io::stdout();
    match refused {
        None if partial => {
            tell("Encountered some partition-level error, see the follow-up details.")?;
        }
        None => writeln!(
            out,
            "Request succeeded for deleting offsets from group {group}."
        )?,
        Some(refusal) => match refusal.error() {
            Some(ErrorCode::GroupIdNotFound) => tell(&format!("'{group}' does not exist."))?,
            Some(ErrorCode::InvalidGroupId) => tell(&format!("'{group}' is not valid."))?,
            Some(ErrorCode::NonEmptyGroup) => tell(&format!(
                "Deleting offsets of a consumer group '{group}' is forbidden if the group is not empty."
            ))?,
            _ => tell(&format!("Encounter some unknown error: {refusal}"))?,
        },
    }
    let width = rows.keys().map(|(topic, _)| topic.len()).max();
    let width = width.unwrap_or(0).max(15);
    write!(
        out,
        "\n{} {:10} {:15}",
        column("TOPIC", width),
        "PARTITION",
        "STATUS"
    )?;
    for ((topic, partition), status) in rows {
        let partition = match partition {
            -1 => "Not Provided".to_owned(),
            index => index.to_string(),
        };
        write!(out, "\n{topic:width$} {partition:10} {status:15}")?;
    }
    writeln!(out)?;
    Ok(())
}

const SCENARIOS: [&str; 8] = [
    "to-offset",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "shift-by",
    "from-file",
    "to-current",
];
const NOT_EXECUTED: &str = "WARN: No action will be performed as the --execute option is missing. \
    In version 5.0, this command will require either --dry-run or --execute to be specified. You \
    should add the --dry-run option explicitly if you are scripting this command and want to keep \
    the current default behavior without prompting.";

async fn reset(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let usage = |text: &str| Err(Wrong::Usage(text.to_owned()));
    let groups: Vec<&str> = arguments.values("group").collect();
    if groups.is_empty() {
        return usage("Option [reset-offsets] takes one of these options: [all-groups], [group]");
    }
    let execute = arguments.has("execute");
    if execute && arguments.has("dry-run") {
        return usage("Option [reset-offsets] only accepts one of [execute], [dry-run]");
    }
    if !execute && !arguments.has("dry-run") {
        writeln!(std::io::stderr(), "{NOT_EXECUTED}")?;
    }
    let [scenario] = arguments.those(&SCENARIOS)[..] else {
        let names: Vec<String> = SCENARIOS.iter().map(|name| format!("[{name}]")).collect();
        return usage(&format!(
            "Option '[reset-offsets]' requires one of the following scenarios: {}",
            names.join(", ")
        ));
    };
    let mut plans = Vec::new();
    for group in groups {
        let ids = [group.to_owned()];
        let described = client.describe_groups(&ids).await?;
        let state = match described.into_iter().next() {
            Some((_, Ok(group))) => group.state,
            Some((_, Err(refusal))) if refusal.is(ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
            Some((_, Err(refusal))) => return Err(Wrong::Failed(exception(&refusal))),
            None => "Dead".to_owned(),
        };
        if state != "Empty" && state != "Dead" {
            tell(&format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current \
                 state is {state}."
            ))?;
            continue;
        }
        let plan = plan(client, arguments, group, scenario).await?;
        if execute {
            let offsets: Vec<(TopicPartition, OffsetToCommit)> = plan
                .iter()
                .map(|(at, offset)| (at.clone(), OffsetToCommit::new(*offset)))
                .collect();
            for (_, outcome) in client.commit_group_offsets(group, &offsets).await? {
                outcome.map_err(|refusal| Wrong::Failed(exception(&refusal)))?;
            }
        }
        plans.push((group.to_owned(), plan));
    }
    print_plans(&plans, arguments.has("export"))
}

type Plan = BTreeMap<TopicPartition, i64>;

fn print_plans(plans: &[(String, Plan)], export: bool) -> Result<(), Wrong> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if export {
        for (group, plan) in plans {
            for (at, offset) in plan {
                // Where there is one group it is not named.
                if plans.len() > 1 {
                    write!(out, "{group},")?;
                }
                writeln!(out, "{},{},{offset}", at.topic, at.partition)?;
            }
        }
        writeln!(out)?;
        out.flush()?;
        return Ok(());
    }
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0).max(15);
    let group_width = longest(&mut plans.iter().map(|(group, _)| group.len()));
    let topics = plans.iter().flat_map(|(_, plan)| plan.keys());
    let topic_width = longest(&mut topics.map(|at| at.topic.len()));
    if !plans.is_empty() {
        write!(
            out,
            "\n{} {} {:10} NEW-OFFSET",
            column("GROUP", group_width),
            column("TOPIC", topic_width),
            "PARTITION"
        )?;
    }
    for (group, plan) in plans {
        for (at, offset) in plan {
            let (topic, partition) = (&at.topic, at.partition);
            write!(
                out,
                "\n{group:group_width$} {topic:topic_width$} {partition:<10} {offset}"
            )?;
        }
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Where a group is to go on.
async fn plan(
    client: &Client,
    arguments: &Arguments,
    group: &str,
    scenario: &str,
) -> Result<Plan, Wrong> {
    let committed = client.group_offsets(group).await?;
    let mut wanted = Plan::new();
    if scenario == "from-file" {
        let path = arguments.value("from-file").unwrap_or_default();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Wrong::Failed(format!("Unable to read file {path}: {error}")))?;
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let cells: Vec<&str> = line
                .split(',')
                .map(|cell| cell.trim().trim_matches('"'))
                .collect();
            let row = match cells[..] {
                [topic, partition, offset] => Some((group, topic, partition, offset)),
                [group, topic, partition, offset] => Some((group, topic, partition, offset)),
                _ => None,
            };
            let read = row.and_then(|(named, topic, partition, offset)| {
                let at = TopicPartition::new(topic, partition.parse().ok()?);
                Some((named, at, offset.parse::<i64>().ok()?))
            });
            let Some((named, at, offset)) = read else {
                return Err(Wrong::Failed(format!(
                    "{path} line {number}: expected topic,partition,offset, found {line:?}"
                )));
            };
            if named == group {
                wanted.insert(at, offset);
            }
        }
        return clamped(client, wanted).await;
    }
    let topics: Vec<&str> = arguments.values("topic").collect();
    let partitions: Vec<TopicPartition> = match (arguments.has("all-topics"), topics.is_empty()) {
        (true, _) => committed.keys().cloned().collect(),
        (false, false) => named(client, &topics).await?,
        (false, true) => {
            let text = "One of the reset scopes should be defined: --all-topics, --topic.";
            return Err(Wrong::Usage(text.to_owned()));
        }
    };
    let listed = async |spec: OffsetSpec| -> Result<Plan, Wrong> {
        let wanted: Vec<_> = partitions.iter().map(|at| (at.clone(), spec)).collect();
        let mut plan = Plan::new();
        for (at, listed) in client.list_offsets(&wanted, Isolation::default()).await? {
            let listed = listed.map_err(|refusal| Wrong::Failed(exception(&refusal)))?;
            if let Some(offset) = listed.offset {
                plan.insert(at, offset);
            }
        }
        Ok(plan)
    };
    match scenario {
        "to-earliest" => listed(OffsetSpec::Earliest).await,
        "to-latest" => listed(OffsetSpec::Latest).await,
        "to-datetime" | "by-duration" => {
            let time = match scenario {
                "to-datetime" => datetime(arguments.value("to-datetime").unwrap_or_default())?,
                _ => {
                    let text = arguments.value("by-duration").unwrap_or_default();
                    moment::now_ms() - duration(text)?
                }
            };
            let mut plan = listed(OffsetSpec::At(time)).await?;
            for (at, end) in listed(OffsetSpec::Latest).await? {
                let Entry::Vacant(free) = plan.entry(at) else {
                    continue;
                };
                let (partition, topic) = (free.key().partition, &free.key().topic);
                writeln!(
                    std::io::stdout(),
                    "\nWarn: Partition {partition} from topic {topic} is empty. Falling back to \
                     latest known offset."
                )?;
                free.insert(end);
            }
            Ok(plan)
        }
        "to-current" => {
            let ends = listed(OffsetSpec::Latest).await?;
            let of = |at: &TopicPartition| {
                let offset = committed.get(at).map(|committed| committed.offset);
                offset
                    .or_else(|| ends.get(at).copied())
                    .map(|offset| (at.clone(), offset))
            };
            Ok(partitions.iter().filter_map(of).collect())
        }
        "to-offset" => {
            let offset: i64 = arguments.number("to-offset")?.unwrap_or_default();
            wanted.extend(partitions.iter().map(|at| (at.clone(), offset)));
            clamped(client, wanted).await
        }
        _ => {
            let by: i64 = arguments.number("shift-by")?.unwrap_or_default();
            for at in &partitions {
                let Some(committed) = committed.get(at) else {
                    return Err(Wrong::Usage(format!(
                        "Cannot shift offset for partition {at} since there is no current committed offset"
                    )));
                };
                wanted.insert(at.clone(), committed.offset.saturating_add(by));
            }
            clamped(client, wanted).await
        }
    }
}

/// What is outside the log goes to the end of it that is nearer.
async fn clamped(client: &Client, wanted: Plan) -> Result<Plan, Wrong> {
    let mut plan = Plan::new();
    let mut bounds = Vec::new();
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
        let asked: Vec<_> = wanted.keys().map(|at| (at.clone(), spec)).collect();
        let listed = client.list_offsets(&asked, Isolation::default()).await?;
        let listed: Plan = listed
            .into_iter()
            .filter_map(|(at, listed)| Some((at, listed.ok()?.offset?)))
            .collect();
        bounds.push(listed);
    }
    for (at, offset) in wanted {
        let (start, end) = (bounds[0].get(&at), bounds[1].get(&at));
        if let (Some(start), Some(end)) = (start, end) {
            plan.insert(at, offset.clamp(*start, (*end).max(*start)));
        }
    }
    Ok(plan)
}

/// `2020-01-01T00:00:00.000`, in UTC unless it says another zone.
fn datetime(text: &str) -> Result<i64, Wrong> {
    let wrong = || {
        Wrong::Usage(format!(
            "Error resetting offsets: {text:?} is no time such as 2020-01-01T00:00:00.000"
        ))
    };
    if !text.contains('T') {
        return Err(wrong());
    }
    moment::read(text, 0).map_err(|_| wrong())
}

/// `P7DT1H2M3S` and the like, in milliseconds.
fn duration(text: &str) -> Result<i64, Wrong> {
    let wrong = || Wrong::Usage(format!("Text cannot be parsed to a Duration: {text}"));
    let parse = || -> Option<i64> {
        let rest = text.strip_prefix('P')?;
        let (days, times) = rest.split_once('T').unwrap_or((rest, ""));
        let mut total: i64 = 0;
        for (part, units) in [
            (days, &[('D', 86_400_000)][..]),
            (times, &[('H', 3_600_000), ('M', 60_000), ('S', 1000)][..]),
        ] {
            let mut rest = part;
            for (unit, milliseconds) in units {
                if let Some((number, after)) = rest.split_once(*unit) {
                    let number: i64 = number.parse().ok()?;
                    total = total.checked_add(number.checked_mul(*milliseconds)?)?;
                    rest = after;
                }
            }
            if !rest.is_empty() {
                return None;
            }
        }
        (text.len() > 1).then_some(total)
    };
    parse().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_java() {
        let check = |text: &str, expected: i64| {
            let Ok(read) = duration(text) else {
                panic!("{text}");
            };
            assert_eq!(read, expected, "{text}");
        };
        check("P7D", 604_800_000);
        check("PT1H30M", 5_400_000);
        check("P1DT2S", 86_402_000);
        for text in ["", "P", "7D", "PT1X", "P1H"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn partitions_are_listed_by_topic() {
        let at = |topic: &str, partition| TopicPartition::new(topic, partition);
        assert_eq!(listed(&[at("a", 0), at("a", 2), at("b", 1)]), "a:0,2;b:1");
        assert_eq!(listed(&[]), "-");
    }
}

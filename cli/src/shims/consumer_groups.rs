//! `kafka-consumer-groups.sh`: which groups, and what becomes of them. What is shown of one is in
//! `describe`, where one is made to go on in `reset`.

mod describe;
mod reset;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use reka_client::admin::GroupListing;
use reka_client::{Client, TopicPartition};
use reka_protocol::ErrorCode;

use super::arguments::{Arguments, Known, flag, option, perhaps};
use super::{Wrong, column, exception, java_message};

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

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let [action] = arguments.those(&ACTIONS)[..] else {
        let text = "Command must include exactly one action: --list, --describe, --delete, \
                    --reset-offsets, --delete-offsets";
        return Err(Wrong::Usage(text.to_owned()));
    };
    match action {
        "list" => list(client, arguments).await,
        "describe" => describe::describe(client, arguments).await,
        "delete" => delete(client, arguments).await,
        "reset-offsets" => reset::reset(client, arguments).await,
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

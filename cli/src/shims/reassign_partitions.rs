//! `kafka-reassign-partitions.sh`, but for throttles and moves between the directories of a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use reka_client::{Client, PartitionInfo, TopicPartition};
use reka_protocol::ErrorCode;
use serde_json::json;

use super::arguments::{Arguments, Known, flag, option};
use super::{Wrong, java_message, json};

pub(super) const OPTIONS: &[Known] = &[
    flag("additional"),
    option("bootstrap-server"),
    option("broker-list"),
    flag("cancel"),
    option("command-config"),
    flag("disable-rack-aware"),
    flag("execute"),
    flag("generate"),
    flag("list"),
    flag("preserve-throttles"),
    option("reassignment-json-file"),
    option("topics-to-move-json-file"),
    flag("verify"),
];

const ACTIONS: [&str; 5] = ["generate", "execute", "verify", "cancel", "list"];

type Plan = BTreeMap<TopicPartition, Vec<i32>>;

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let chosen = arguments.those(&ACTIONS);
    let [action] = chosen[..] else {
        let names: Vec<String> = ACTIONS.iter().map(|name| format!("--{name}")).collect();
        return Err(Wrong::Usage(format!(
            "Command must include exactly one action: {}",
            names.join(", ")
        )));
    };
    match action {
        "generate" => generate(client, arguments).await,
        "execute" => execute(client, arguments).await,
        "verify" => verify(client, arguments).await,
        "cancel" => cancel(client, arguments).await,
        _ => list(client).await,
    }
}

/// The file of a plan.
fn plan(arguments: &Arguments) -> Result<Plan, Wrong> {
    let file = json::file(arguments.required("reassignment-json-file")?)?;
    json::version_one(&file)?;
    let mut plan = Plan::new();
    let missing = "Partition reassignment data file is empty";
    for row in json::rows(&file, "partitions", missing)? {
        let at = json::partition(row)?;
        let mut replicas = Vec::new();
        for id in json::rows(row, "replicas", "No such field exists: `replicas`")? {
            let id = id.as_i64().and_then(|id| i32::try_from(id).ok());
            let wrong = || Wrong::Failed(format!("the replicas of {at} are no ids of brokers"));
            replicas.push(id.ok_or_else(wrong)?);
        }
        let distinct: BTreeSet<&i32> = replicas.iter().collect();
        if distinct.len() < replicas.len() {
            return Err(Wrong::Failed(format!(
                "Partition replica lists may not contain duplicate entries: {at} contains multiple \
                 entries for {}",
                text(&replicas)
            )));
        }
        if let Some(dirs) = row.get("log_dirs").and_then(|dirs| dirs.as_array())
            && dirs.iter().any(|dir| dir != "any")
        {
            return Err(Wrong::Failed(format!(
                "the directories of {at} are named: replicas are not moved between directories here"
            )));
        }
        if plan.insert(at.clone(), replicas).is_some() {
            return Err(Wrong::Failed(format!(
                "Partition reassignment contains duplicate topic partitions: {at}"
            )));
        }
    }
    if plan.is_empty() {
        return Err(Wrong::Failed(missing.to_owned()));
    }
    Ok(plan)
}

fn text(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(",")
}

/// The partitions of topics as they are.
async fn partitions(
    client: &Client,
    topics: &BTreeSet<String>,
) -> Result<BTreeMap<TopicPartition, PartitionInfo>, Wrong> {
    let names: Vec<String> = topics.iter().cloned().collect();
    let mut found = BTreeMap::new();
    for (name, described) in client.describe_topics(&names).await? {
        match described {
            Ok(topic) => {
                for info in topic.partitions {
                    found.insert(TopicPartition::new(name.clone(), info.index), info);
                }
            }
            Err(refusal) if refusal.is(ErrorCode::UnknownTopicOrPartition) => {
                return Err(Wrong::Failed(format!("Topic {name} not found.")));
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(found)
}

fn topics_of(plan: &Plan) -> BTreeSet<String> {
    plan.keys().map(|at| at.topic.clone()).collect()
}

/// Where every replica of partitions is: the directory by broker.
async fn directories(
    client: &Client,
    brokers: &BTreeSet<i32>,
) -> Result<BTreeMap<(TopicPartition, i32), String>, Wrong> {
    let mut found = BTreeMap::new();
    for broker in brokers {
        for (path, dir) in client.describe_log_dirs(*broker).await? {
            let Ok(dir) = dir else {
                continue;
            };
            for log in dir.partitions.into_iter().filter(|log| !log.is_future) {
                found.insert((log.partition, *broker), path.clone());
            }
        }
    }
    Ok(found)
}

/// A plan as the file that says it.
fn written(plan: &Plan, directories: &BTreeMap<(TopicPartition, i32), String>) -> String {
    let rows: Vec<serde_json::Value> = plan
        .iter()
        .map(|(at, replicas)| {
            let dir = |id: &i32| match directories.get(&(at.clone(), *id)) {
                Some(dir) => dir.clone(),
                None => "any".to_owned(),
            };
            json!({
                "topic": at.topic,
                "partition": at.partition,
                "replicas": replicas,
                "log_dirs": replicas.iter().map(dir).collect::<Vec<String>>(),
            })
        })
        .collect();
    json!({"version": 1, "partitions": rows}).to_string()
}

async fn as_it_is(client: &Client, plan: &Plan) -> Result<String, Wrong> {
    let found = partitions(client, &topics_of(plan)).await?;
    let current: Plan = found
        .into_iter()
        .filter(|(at, _)| plan.contains_key(at))
        .map(|(at, info)| (at, info.replicas))
        .collect();
    let brokers = current.values().flatten().copied().collect();
    Ok(written(&current, &directories(client, &brokers).await?))
}

async fn generate(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let file = json::file(arguments.required("topics-to-move-json-file")?)?;
    json::version_one(&file)?;
    let mut topics = BTreeSet::new();
    for row in json::rows(&file, "topics", "No topics field found")? {
        topics.insert(json::text(row, "topic")?.to_owned());
    }
    let mut brokers: Vec<i32> = Vec::new();
    for id in arguments.required("broker-list")?.split(',') {
        let wrong = || Wrong::Failed(format!("For input string: \"{id}\""));
        brokers.push(id.trim().parse().map_err(|_| wrong())?);
    }
    let found = partitions(client, &topics).await?;
    let current: Plan = found
        .iter()
        .map(|(at, info)| (at.clone(), info.replicas.clone()))
        .collect();
    let mut proposed = Plan::new();
    for (nth, (at, replicas)) in current.iter().enumerate() {
        if replicas.len() > brokers.len() {
            return Err(Wrong::Failed(format!(
                "Replication factor: {} larger than available brokers: {}.",
                replicas.len(),
                brokers.len()
            )));
        }
        // One further for each partition, so that leaders and replicas spread.
        let chosen = (0..replicas.len()).map(|replica| brokers[(nth + replica) % brokers.len()]);
        proposed.insert(at.clone(), chosen.collect());
    }
    let holders = current.values().flatten().copied().collect();
    let directories = directories(client, &holders).await?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "Current partition replica assignment\n{}\n",
        written(&current, &directories)
    )?;
    writeln!(
        out,
        "Proposed partition reassignment configuration\n{}",
        written(&proposed, &BTreeMap::new())
    )?;
    Ok(())
}

async fn execute(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let plan = plan(arguments)?;
    if !arguments.has("additional") && !client.list_reassignments().await?.is_empty() {
        let text = "Cannot execute because there is an existing partition assignment.  Use \
                    --additional to override this and create a new partition assignment in \
                    addition to the existing one. The --additional flag can also be used to change \
                    the throttle by resubmitting the current reassignment.";
        return Err(Wrong::Failed(text.to_owned()));
    }
    let known: BTreeSet<i32> = client.brokers().await?.iter().map(|b| b.id).collect();
    if let Some(unknown) = plan.values().flatten().find(|id| !known.contains(id)) {
        return Err(Wrong::Failed(format!("Unknown broker id {unknown}")));
    }
    let before = as_it_is(client, &plan).await?;
    let mut out = std::io::stdout();
    writeln!(out, "Current partition replica assignment\n\n{before}\n")?;
    writeln!(
        out,
        "Save this to use as the --reassignment-json-file option during rollback"
    )?;
    let moves: Vec<(TopicPartition, Option<Vec<i32>>)> = plan
        .into_iter()
        .map(|(at, replicas)| (at, Some(replicas)))
        .collect();
    let (mut started, mut failed) = (Vec::new(), Vec::new());
    for (at, outcome) in client.alter_reassignments(&moves).await? {
        match outcome {
            Ok(()) => started.push(at.to_string()),
            Err(refusal) => failed.push(format!(
                "{at}: {}",
                refusal
                    .message
                    .clone()
                    .unwrap_or_else(|| java_message(&refusal))
            )),
        }
    }
    if !failed.is_empty() {
        return Err(Wrong::Failed(format!(
            "Error reassigning partition(s):\n{}",
            failed.join("\n")
        )));
    }
    writeln!(
        out,
        "Successfully started partition reassignment{} for {}",
        if started.len() == 1 { "" } else { "s" },
        started.join(",")
    )?;
    Ok(())
}

async fn verify(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let plan = plan(arguments)?;
    let found = partitions(client, &topics_of(&plan)).await?;
    let moves = client.list_reassignments().await?;
    let mut out = std::io::stdout();
    writeln!(out, "Status of partition reassignment:")?;
    let mut is_done = true;
    for (at, replicas) in &plan {
        let is_moving = moves.contains_key(at);
        is_done &= !is_moving;
        match found.get(at) {
            _ if is_moving => {
                writeln!(out, "Reassignment of partition {at} is still in progress.")?;
            }
            Some(info) if info.replicas == *replicas => {
                writeln!(out, "Reassignment of partition {at} is completed.")?;
            }
            current => {
                let current = current.map_or(String::new(), |info| text(&info.replicas));
                writeln!(
                    out,
                    "There is no active reassignment of partition {at}, but replica set is \
                     {current} rather than {}.",
                    text(replicas)
                )?;
            }
        }
    }
    writeln!(out)?;
    if is_done && !arguments.has("preserve-throttles") {
        clear_throttles(client, &plan).await?;
    }
    Ok(())
}

async fn cancel(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let plan = plan(arguments)?;
    let moves = client.list_reassignments().await?;
    let active: Vec<(TopicPartition, Option<Vec<i32>>)> = plan
        .keys()
        .filter(|at| moves.contains_key(at))
        .map(|at| (at.clone(), None))
        .collect();
    let mut out = std::io::stdout();
    let mut cancelled = Vec::new();
    for (at, outcome) in client.alter_reassignments(&active).await? {
        outcome?;
        cancelled.push(at.to_string());
    }
    match cancelled.len() {
        0 => writeln!(
            out,
            "None of the specified partition reassignments are active."
        )?,
        count => writeln!(
            out,
            "Successfully cancelled partition reassignment{} for: {}",
            if count == 1 { "" } else { "s" },
            cancelled.join(",")
        )?,
    }
    // The tool ends no line here.
    write!(out, "None of the specified partition moves are active.")?;
    if !arguments.has("preserve-throttles") {
        clear_throttles(client, &plan).await?;
    }
    Ok(())
}

const BROKER_THROTTLES: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
const TOPIC_THROTTLES: [&str; 2] = [
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
];

/// Takes away what `--throttle` of the tool itself may have left.
async fn clear_throttles(client: &Client, plan: &Plan) -> Result<(), Wrong> {
    use reka_client::admin::{ConfigChange, Resource};
    let delete = |keys: &[&str]| -> Vec<ConfigChange> {
        let keys = keys.iter();
        keys.map(|key| ConfigChange::Delete((*key).to_owned()))
            .collect()
    };
    let brokers: Vec<i32> = client.brokers().await?.iter().map(|b| b.id).collect();
    let mut out = std::io::stdout();
    let plural = if brokers.len() == 1 { "" } else { "s" };
    writeln!(
        out,
        "Clearing broker-level throttles on broker{plural} {}",
        text(&brokers)
    )?;
    for id in brokers {
        let changes = delete(&BROKER_THROTTLES);
        client
            .alter_config(&Resource::broker(id), &changes, false)
            .await?;
    }
    let topics: Vec<String> = topics_of(plan).into_iter().collect();
    let plural = if topics.len() == 1 { "" } else { "s" };
    writeln!(
        out,
        "Clearing topic-level throttles on topic{plural} {}",
        topics.join(",")
    )?;
    for topic in topics {
        let changes = delete(&TOPIC_THROTTLES);
        client
            .alter_config(&Resource::topic(&topic), &changes, false)
            .await?;
    }
    Ok(())
}

async fn list(client: &Client) -> Result<(), Wrong> {
    let moves = client.list_reassignments().await?;
    let mut out = std::io::stdout();
    if moves.is_empty() {
        writeln!(out, "No partition reassignments found.")?;
        return Ok(());
    }
    writeln!(out, "Current partition reassignments:")?;
    for (at, under_way) in moves {
        write!(out, "{at}: replicas: {}.", text(&under_way.replicas))?;
        if !under_way.adding.is_empty() {
            write!(out, " adding: {}.", text(&under_way.adding))?;
        }
        if !under_way.removing.is_empty() {
            write!(out, " removing: {}.", text(&under_way.removing))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

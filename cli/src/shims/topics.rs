//! `kafka-topics.sh`.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reka_client::admin::{
    ConfigEntry, ConfigSource, EligibleLeaders, NewTopic, Reassignment, Resource,
};
use reka_client::{Client, PartitionInfo, TopicInfo, TopicPartition};
use reka_protocol::ErrorCode;

use super::arguments::{Arguments, Known, flag, option};
use super::{Wrong, pattern};

pub(super) const OPTIONS: &[Known] = &[
    option("bootstrap-server"),
    option("command-config"),
    flag("alter"),
    flag("at-min-isr-partitions"),
    option("config"),
    flag("create"),
    flag("delete"),
    flag("describe"),
    flag("exclude-internal"),
    flag("if-exists"),
    flag("if-not-exists"),
    flag("list"),
    option("partitions"),
    option("replica-assignment"),
    option("replication-factor"),
    option("topic"),
    option("topic-id"),
    flag("topics-with-overrides"),
    flag("unavailable-partitions"),
    flag("under-min-isr-partitions"),
    flag("under-replicated-partitions"),
];

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let actions = ["create", "list", "alter", "describe", "delete"];
    let chosen: Vec<&str> = actions
        .into_iter()
        .filter(|name| arguments.has(name))
        .collect();
    let [action] = chosen[..] else {
        let text = "Command must include exactly one action: \
                    --list, --describe, --create, --alter or --delete";
        return Err(Wrong::Usage(text.to_owned()));
    };
    if matches!(action, "create" | "delete" | "alter") && arguments.value("topic").is_none() {
        return Err(Wrong::Usage(
            "Missing required argument \"[topic]\"".to_owned(),
        ));
    }
    match action {
        "create" => create(client, arguments).await,
        "list" => list(client, arguments).await,
        "alter" => alter(client, arguments).await,
        "describe" => describe(client, arguments).await,
        _ => delete(client, arguments).await,
    }
}

async fn create(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let name = arguments.value("topic").unwrap_or_default();
    let partitions: Option<i32> = arguments.number("partitions")?;
    let replication_factor: Option<i16> = arguments.number("replication-factor")?;
    if partitions.is_some_and(|count| count < 1) {
        return Err(Wrong::Failed(
            "The partitions must be greater than 0".to_owned(),
        ));
    }
    if replication_factor.is_some_and(|count| count < 1) {
        let text = "The replication factor must be between 1 and 32767 inclusive";
        return Err(Wrong::Failed(text.to_owned()));
    }
    let mut configs = Vec::new();
    for config in arguments.values("config") {
        let Some((key, value)) = config.split_once('=') else {
            let text = "requirement failed: Invalid topic config: all configs to be added must be \
                        in the format \"key=val\".";
            return Err(Wrong::Failed(text.to_owned()));
        };
        configs.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    let assignment = match arguments.value("replica-assignment") {
        Some(text) => assignment(text)?,
        None => Vec::new(),
    };
    let new = NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor,
        assignment,
        configs,
    };
    for (_, outcome) in client.create_topics(&[new], false).await? {
        match outcome {
            Ok(_) => writeln!(std::io::stdout(), "Created topic {name}.")?,
            Err(refusal)
                if refusal.is(ErrorCode::TopicAlreadyExists) && arguments.has("if-not-exists") => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(())
}

/// Brokers of partitions: `1:2,2:3`.
fn assignment(text: &str) -> Result<Vec<Vec<i32>>, Wrong> {
    let wrong = |id: &str| Wrong::Failed(format!("For input string: \"{id}\""));
    let id = |id: &str| id.trim().parse().map_err(|_| wrong(id));
    let ids = |brokers: &str| brokers.split(':').map(id).collect();
    text.split(',').map(ids).collect()
}

/// The topics an option names, all without one.
async fn chosen(client: &Client, arguments: &Arguments) -> Result<Vec<TopicInfo>, Wrong> {
    let mut topics = client.list_topics().await?;
    if let Some(text) = arguments.value("topic") {
        let pattern = pattern(text)?;
        topics.retain(|topic| pattern.is_match(&topic.name));
    }
    if let Some(id) = arguments.value("topic-id") {
        topics.retain(|topic| kafka_id(topic) == id);
    }
    if arguments.has("exclude-internal") {
        topics.retain(|topic| !topic.is_internal);
    }
    Ok(topics)
}

fn expect_some(topics: &[TopicInfo], arguments: &Arguments) -> Result<(), Wrong> {
    if !topics.is_empty() || arguments.has("if-exists") {
        return Ok(());
    }
    match (arguments.value("topic"), arguments.value("topic-id")) {
        (Some(name), _) => {
            let text = format!("Topic '{name}' does not exist as expected");
            Err(Wrong::Failed(text))
        }
        (None, Some(id)) => {
            let text = format!("TopicId '{id}' does not exist as expected");
            Err(Wrong::Failed(text))
        }
        (None, None) => Ok(()),
    }
}

async fn list(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let topics = chosen(client, arguments).await?;
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    writeln!(std::io::stdout(), "{}", names.join("\n"))?;
    Ok(())
}

async fn alter(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let Some(count) = arguments.number::<i32>("partitions")? else {
        return Err(Wrong::Usage(
            "Missing required argument \"[partitions]\"".to_owned(),
        ));
    };
    let topics = chosen(client, arguments).await?;
    expect_some(&topics, arguments)?;
    let wanted: Vec<(String, i32)> = topics
        .into_iter()
        .map(|topic| (topic.name, count))
        .collect();
    for (_, outcome) in client.create_partitions(&wanted, false).await? {
        outcome?;
    }
    Ok(())
}

async fn delete(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let topics = chosen(client, arguments).await?;
    expect_some(&topics, arguments)?;
    let names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    for (_, outcome) in client.delete_topics(&names).await? {
        outcome?;
    }
    Ok(())
}

/// Which partitions are asked for; all without any.
const FILTERS: [&str; 4] = [
    "under-replicated-partitions",
    "unavailable-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
];

async fn describe(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let topics = chosen(client, arguments).await?;
    expect_some(&topics, arguments)?;
    let overrides = arguments.has("topics-with-overrides");
    let filters: Vec<&str> = FILTERS
        .into_iter()
        .filter(|name| arguments.has(name))
        .collect();
    let moves = client.list_reassignments().await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for topic in &topics {
        let entries = client
            .describe_config(&Resource::topic(&topic.name), false)
            .await?;
        let eligible = client.eligible_leaders(&topic.name).await?;
        let set: Vec<String> = entries
            .iter()
            .filter(|entry| entry.source != ConfigSource::Default)
            .map(|entry| {
                format!(
                    "{}={}",
                    entry.name,
                    entry.value.as_deref().unwrap_or("null")
                )
            })
            .collect();
        let replicas = topic.partitions.first();
        if filters.is_empty() && (!overrides || !set.is_empty()) {
            let factor = replicas.map_or(0, |first| {
                let at = TopicPartition::new(topic.name.clone(), first.index);
                let leaving = moves.get(&at).map_or(0, |under_way| under_way.adding.len());
                first.replicas.len() - leaving.min(first.replicas.len())
            });
            writeln!(
                out,
                "Topic: {}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}",
                topic.name,
                kafka_id(topic),
                topic.partitions.len(),
                set.join(",")
            )?;
        }
        if overrides {
            continue;
        }
        let in_sync_min = in_sync_min(&entries);
        for partition in &topic.partitions {
            if !filters
                .iter()
                .all(|name| matches(name, partition, in_sync_min))
            {
                continue;
            }
            let at = TopicPartition::new(topic.name.clone(), partition.index);
            let line = line(&at, partition, moves.get(&at), eligible.as_ref());
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    Ok(())
}

fn in_sync_min(entries: &[ConfigEntry]) -> usize {
    let entry = entries
        .iter()
        .find(|entry| entry.name == "min.insync.replicas");
    let value = entry.and_then(|entry| entry.value.as_ref()?.parse().ok());
    value.unwrap_or(1)
}

fn matches(filter: &str, partition: &PartitionInfo, in_sync_min: usize) -> bool {
    let in_sync = partition.in_sync.len();
    match filter {
        "under-replicated-partitions" => in_sync < partition.replicas.len(),
        "unavailable-partitions" => partition.leader.is_none(),
        "under-min-isr-partitions" => in_sync < in_sync_min,
        _ => in_sync == in_sync_min,
    }
}

fn line(
    at: &TopicPartition,
    partition: &PartitionInfo,
    under_way: Option<&Reassignment>,
    eligible: Option<&EligibleLeaders>,
) -> String {
    let list = |ids: &[i32]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.join(",")
    };
    let leader = partition
        .leader
        .map_or("none".to_owned(), |id| id.to_string());
    let mut line = format!(
        "\tTopic: {}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
        at.topic,
        at.partition,
        list(&partition.replicas),
        list(&partition.in_sync)
    );
    if let Some(under_way) = under_way {
        line += &format!("\tAdding Replicas: {}", list(&under_way.adding));
        line += &format!("\tRemoving Replicas: {}", list(&under_way.removing));
    }
    match eligible.and_then(|eligible| eligible.get(&at.partition)) {
        Some((eligible, last)) => {
            line += &format!("\tElr: {}\tLastKnownElr: {}", list(eligible), list(last));
        }
        None => line += "\tElr: N/A\tLastKnownElr: N/A",
    }
    line
}

/// Ids as Apache Kafka writes them.
fn kafka_id(topic: &TopicInfo) -> String {
    URL_SAFE_NO_PAD.encode(topic.id.as_bytes())
}

//! `kafka-transactions.sh`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use reka_client::admin::{ActiveProducer, TransactionAbort};
use reka_client::{Client, TopicPartition};

use super::arguments::{Arguments, Known, option};
use super::{Wrong, exception};
use crate::moment;

pub(super) const COMMANDS: &[&str] = &[
    "abort",
    "describe",
    "describe-producers",
    "find-hanging",
    "list",
];

pub(super) const OPTIONS: &[Known] = &[
    option("bootstrap-server"),
    option("broker-id"),
    option("command-config"),
    option("coordinator-epoch"),
    option("max-transaction-timeout"),
    option("partition"),
    option("producer-epoch"),
    option("producer-id"),
    option("start-offset"),
    option("topic"),
    option("transactional-id"),
];

/// How long a transaction may take, in minutes, if nobody has said more.
const TIMEOUT_MINUTES: i64 = 15;

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    match arguments.word() {
        Some("abort") => abort(client, arguments).await,
        Some("describe") => describe(client, arguments).await,
        Some("describe-producers") => describe_producers(client, arguments).await,
        Some("find-hanging") => find_hanging(client, arguments).await,
        Some(_) => list(client).await,
        None => Err(Wrong::Usage("too few arguments".to_owned())),
    }
}

/// A table as these tools print it: cells filled up to their column's width, each with a tab behind it.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Wrong> {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(String::len).fold(name.len(), usize::max)
        })
        .collect();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        for (cell, width) in row.iter().zip(&widths) {
            write!(out, "{cell:width$}\t")?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

async fn list(client: &Client) -> Result<(), Wrong> {
    let listed = client.list_transactions().await?;
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .map(|listed| {
            vec![
                listed.transactional_id,
                listed.coordinator.to_string(),
                listed.producer_id.to_string(),
                listed.state,
            ]
        })
        .collect();
    let head = [
        "TransactionalId",
        "Coordinator",
        "ProducerId",
        "TransactionState",
    ];
    table(&head, &rows)
}

async fn describe(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let Some(id) = arguments.value("transactional-id") else {
        let text = "argument --transactional-id is required";
        return Err(Wrong::Usage(text.to_owned()));
    };
    let mut rows = Vec::new();
    for (id, described) in client.describe_transactions(&[id.to_owned()]).await? {
        let found = described.map_err(|refusal| {
            let not_found = reka_protocol::ErrorCode::TransactionalIdNotFound;
            let why = match refusal.is(not_found) {
                true => format!(
                    "DescribeTransactions request for transactionalId `{id}` failed because the ID \
                     could not be found"
                ),
                false => exception(&refusal),
            };
            Wrong::Failed(format!(
                "Failed to describe transaction state of transactional-id `{id}`: {why}. Enable \
                 debug logging for additional detail."
            ))
        })?;
        let now = moment::now_ms();
        let none = || "None".to_owned();
        let partitions: Vec<String> = found.partitions.iter().map(ToString::to_string).collect();
        rows.push(vec![
            found.coordinator.to_string(),
            id,
            found.producer_id.to_string(),
            found.producer_epoch.to_string(),
            found.state,
            found.timeout_ms.to_string(),
            found.start_time.map_or_else(none, |time| time.to_string()),
            found
                .start_time
                .map_or_else(none, |time| (now - time).to_string()),
            partitions.join(","),
        ]);
    }
    let head = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    table(&head, &rows)
}

fn partition(arguments: &Arguments) -> Result<TopicPartition, Wrong> {
    let missing = |name: &str| Wrong::Usage(format!("argument --{name} is required"));
    let topic = arguments.value("topic").ok_or_else(|| missing("topic"))?;
    let index = arguments.number("partition")?;
    let index = index.ok_or_else(|| missing("partition"))?;
    Ok(TopicPartition::new(topic, index))
}

async fn producers(client: &Client, at: &TopicPartition) -> Result<Vec<ActiveProducer>, Wrong> {
    let mut found = Vec::new();
    for (_, described) in client.describe_producers(std::slice::from_ref(at)).await? {
        found.extend(described.map_err(|refusal| {
            Wrong::Failed(format!(
                "Failed to describe producers for partition {at} on any broker: {}. Enable debug \
                 logging for additional detail.",
                exception(&refusal)
            ))
        })?);
    }
    Ok(found)
}

async fn describe_producers(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let at = partition(arguments)?;
    let rows: Vec<Vec<String>> = producers(client, &at)
        .await?
        .into_iter()
        .map(|producer| {
            vec![
                producer.producer_id.to_string(),
                producer.producer_epoch.to_string(),
                producer.coordinator_epoch.unwrap_or(-1).to_string(),
                producer.last_sequence.to_string(),
                producer.last_timestamp.to_string(),
                producer
                    .transaction_start
                    .map_or("None".to_owned(), |start| start.to_string()),
            ]
        })
        .collect();
    let head = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    table(&head, &rows)
}

async fn abort(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let at = partition(arguments)?;
    let abort = match (
        arguments.number::<i64>("start-offset")?,
        arguments.number::<i64>("producer-id")?,
    ) {
        (Some(start), _) => {
            let all = producers(client, &at).await?;
            let found = all
                .into_iter()
                .find(|producer| producer.transaction_start == Some(start));
            let Some(producer) = found else {
                return Err(Wrong::Failed(format!(
                    "Could not find any open transactions starting at offset {start} on partition \
                     {at}"
                )));
            };
            TransactionAbort {
                producer_id: producer.producer_id,
                producer_epoch: i16::try_from(producer.producer_epoch).unwrap_or(i16::MAX),
                coordinator_epoch: producer.coordinator_epoch.unwrap_or(0),
            }
        }
        (None, Some(producer_id)) => {
            let missing = |name: &str| Wrong::Failed(format!("Missing required argument --{name}"));
            TransactionAbort {
                producer_id,
                producer_epoch: arguments
                    .number("producer-epoch")?
                    .ok_or_else(|| missing("producer-epoch"))?,
                coordinator_epoch: arguments
                    .number::<i32>("coordinator-epoch")?
                    .ok_or_else(|| missing("coordinator-epoch"))?
                    .max(0),
            }
        }
        (None, None) => {
            return Err(Wrong::Failed(
                "The transaction to abort must be identified either with --start-offset (for \
                 brokers on 3.0 or above) or with --producer-id, --producer-epoch, and \
                 --coordinator-epoch (for older brokers)"
                    .to_owned(),
            ));
        }
    };
    client
        .abort_transaction(&at, abort)
        .await?
        .map_err(|refusal| {
            Wrong::Failed(format!(
                "Failed to abort the transaction on partition {at}: {}. Enable debug logging for \
             additional detail.",
                exception(&refusal)
            ))
        })
}

async fn find_hanging(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let broker: Option<i32> = arguments.number("broker-id")?;
    let partition: Option<i32> = arguments.number("partition")?;
    let topic = arguments.value("topic");
    if broker.is_none() && topic.is_none() {
        return Err(Wrong::Failed(
            "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search"
                .to_owned(),
        ));
    }
    if partition.is_some() && topic.is_none() {
        let text = "The --partition argument requires --topic to be provided";
        return Err(Wrong::Failed(text.to_owned()));
    }
    let minutes = arguments.number::<i64>("max-transaction-timeout")?;
    let limit = minutes.unwrap_or(TIMEOUT_MINUTES).saturating_mul(60_000);
    let mut wanted = Vec::new();
    for found in client.list_topics().await? {
        if topic.is_some_and(|topic| topic != found.name) {
            continue;
        }
        for info in &found.partitions {
            let here = broker.is_none_or(|broker| info.replicas.contains(&broker));
            if here && partition.is_none_or(|partition| partition == info.index) {
                wanted.push(TopicPartition::new(found.name.clone(), info.index));
            }
        }
    }
    let now = moment::now_ms();
    let mut open: Vec<(TopicPartition, ActiveProducer, i64)> = Vec::new();
    for (at, described) in client.describe_producers(&wanted).await? {
        for producer in described? {
            if let Some(start) = producer.transaction_start
                && now.saturating_sub(producer.last_timestamp) > limit
            {
                open.push((at.clone(), producer, start));
            }
        }
    }
    // What a coordinator still has among the partitions of a transaction it will end.
    let suspects: BTreeSet<i64> = open.iter().map(|(_, p, _)| p.producer_id).collect();
    let mut known: BTreeMap<i64, Vec<TopicPartition>> = BTreeMap::new();
    if !suspects.is_empty() {
        let listed = client.list_transactions().await?;
        let ids: Vec<String> = listed
            .into_iter()
            .filter(|listed| suspects.contains(&listed.producer_id))
            .map(|listed| listed.transactional_id)
            .collect();
        for (_, described) in client.describe_transactions(&ids).await? {
            if let Ok(found) = described {
                known.insert(found.producer_id, found.partitions);
            }
        }
    }
    let rows: Vec<Vec<String>> = open
        .into_iter()
        .filter(|(at, producer, _)| {
            let partitions = known.get(&producer.producer_id);
            !partitions.is_some_and(|partitions| partitions.contains(at))
        })
        .map(|(at, producer, start)| {
            vec![
                at.topic,
                at.partition.to_string(),
                producer.producer_id.to_string(),
                producer.producer_epoch.to_string(),
                producer.coordinator_epoch.unwrap_or(-1).to_string(),
                start.to_string(),
                producer.last_timestamp.to_string(),
                ((now - producer.last_timestamp) / 60_000).to_string(),
            ]
        })
        .collect();
    let head = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    table(&head, &rows)
}

//! `rkctl cluster partitions explain`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use reka_client::{Client, PartitionInfo, TopicPartition};
use serde::Serialize;

use crate::failure::Failure;
use crate::names::partition;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

/// For each replica that is not in sync: where it is, what is the matter with it, and what to do.
/// Nothing is shown of partitions that have all their replicas.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Partitions such as orders:3; all without
    #[arg(value_name = "TOPIC:PARTITION", value_parser = partition)]
    partitions: Vec<TopicPartition>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    state: &'static str,
    broker: Option<i32>,
    reason: String,
    advice: String,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        if self.is_empty() {
            return Page::default().line("every partition has all its replicas in sync");
        }
        let mut table = Table::new(["TOPIC", "PARTITION", "STATE", "BROKER", "WHY", "WHAT TO DO"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.state.to_owned(),
                or_none(row.broker),
                row.reason.clone(),
                row.advice.clone(),
            ]);
        }
        table.into()
    }
}

/// What is known of a broker.
#[derive(Debug, Default)]
struct Known {
    fenced: bool,
    /// Why it does not answer.
    silent: Option<String>,
    failed_dirs: Vec<String>,
    /// How far each of its replicas is behind.
    lags: BTreeMap<TopicPartition, i64>,
}

impl Explain {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let topics = client.list_topics().await?;
        let mut found = Vec::new();
        for topic in &topics {
            for info in &topic.partitions {
                found.push((TopicPartition::new(&topic.name, info.index), info));
            }
        }
        for wanted in &self.partitions {
            if !found.iter().any(|(at, _)| at == wanted) {
                return Err(Failure::not_found(format!(
                    "there is no partition {wanted}"
                )));
            }
        }
        found.retain(|(at, info)| {
            let asked = self.partitions.is_empty() || self.partitions.contains(at);
            asked && (info.leader.is_none() || info.in_sync.len() < info.replicas.len())
        });
        let concerned: BTreeSet<i32> = found
            .iter()
            .flat_map(|(_, info)| info.replicas.iter().copied())
            .collect();
        let brokers = known(client, &concerned).await?;
        let moving = match found.is_empty() {
            true => BTreeSet::new(),
            false => client.list_reassignments().await?.into_keys().collect(),
        };
        let rows: Vec<Row> = found
            .iter()
            .flat_map(|(at, info)| explain(at, info, &brokers, moving.contains(at)))
            .collect();
        session.show(&rows)
    }
}

/// What brokers say of themselves; those that are not in the cluster are not in the answer.
async fn known(client: &Client, ids: &BTreeSet<i32>) -> Result<BTreeMap<i32, Known>, Failure> {
    let mut brokers = BTreeMap::new();
    if ids.is_empty() {
        return Ok(brokers);
    }
    for broker in client.describe_cluster().await?.brokers {
        if !ids.contains(&broker.id) {
            continue;
        }
        let mut known = Known {
            fenced: broker.is_fenced,
            ..Known::default()
        };
        match client.describe_log_dirs(broker.id).await {
            Err(error) => known.silent = Some(error.to_string()),
            Ok(dirs) => {
                for (path, dir) in dirs {
                    match dir {
                        Err(_) => known.failed_dirs.push(path),
                        Ok(dir) => known.lags.extend(
                            dir.partitions
                                .into_iter()
                                .filter(|log| !log.is_future)
                                .map(|log| (log.partition, log.offset_lag)),
                        ),
                    }
                }
            }
        }
        brokers.insert(broker.id, known);
    }
    Ok(brokers)
}

/// Pure: why a partition is not as it should be.
fn explain(
    at: &TopicPartition,
    info: &PartitionInfo,
    brokers: &BTreeMap<i32, Known>,
    moving: bool,
) -> Vec<Row> {
    let state = match info.leader {
        None => "no leader",
        Some(_) => "under-replicated",
    };
    let row = |broker: Option<i32>, reason: String, advice: &str| Row {
        topic: at.topic.clone(),
        partition: at.partition,
        state,
        broker,
        reason,
        advice: advice.to_owned(),
    };
    let mut rows = Vec::new();
    let behind = info.replicas.iter().filter(|id| !info.in_sync.contains(id));
    for id in behind {
        let (reason, advice) = why(at, brokers.get(id), moving);
        rows.push(row(Some(*id), reason, advice));
    }
    if info.leader.is_none() {
        // Whoever was in sync last may lead, and nobody else has everything.
        for id in &info.in_sync {
            let (reason, advice) = match brokers.get(id) {
                Some(known) if !known.fenced && known.silent.is_none() => (
                    "it was in sync and could lead".to_owned(),
                    "rkctl cluster partitions elect; see the controller's log if that is refused",
                ),
                known => why(at, known, moving),
            };
            rows.push(row(Some(*id), reason, advice));
        }
        if info.in_sync.is_empty() {
            let reason = "no replica is known to have everything".to_owned();
            let advice = "start the brokers that had it last; an unclean election loses records";
            rows.push(row(None, reason, advice));
        }
    }
    rows
}

fn why(at: &TopicPartition, broker: Option<&Known>, moving: bool) -> (String, &'static str) {
    let Some(known) = broker else {
        let reason = "the broker is not in the cluster: it does not run, or cannot reach it";
        return (reason.to_owned(), "start it, and see its log");
    };
    if known.fenced {
        let reason = "the broker is fenced: the controller has not heard of it for a session";
        return (reason.to_owned(), "see its log for heartbeats that fail");
    }
    if let Some(error) = &known.silent {
        return (
            format!("the broker does not answer: {error}"),
            "see whether it runs, and its log",
        );
    }
    match known.lags.get(at) {
        None if !known.failed_dirs.is_empty() => {
            let reason = format!("its log is gone with {}", known.failed_dirs.join(", "));
            (
                reason,
                "replace the disk and restart the broker, or move the partition",
            )
        }
        None => (
            "the broker has no log of it".to_owned(),
            "see the broker's log for why it was not made",
        ),
        Some(0) => (
            "it has everything and is about to be taken in".to_owned(),
            "wait a moment",
        ),
        Some(lag) if moving => (
            format!("it is being filled: {lag} records to go"),
            "wait; rkctl cluster partitions status shows the move",
        ),
        Some(lag) => (
            format!("it is {lag} records behind"),
            "wait if that becomes less; else see the load and the network of its broker",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(leader: Option<i32>, in_sync: &[i32]) -> PartitionInfo {
        PartitionInfo {
            index: 0,
            leader,
            leader_epoch: 0,
            replicas: vec![1, 2],
            in_sync: in_sync.to_vec(),
            offline: Vec::new(),
        }
    }

    #[test]
    fn every_way_to_fall_behind_has_a_reason() {
        let at = TopicPartition::new("t", 0);
        let check = |known: Option<Known>, moving: bool, expected: &str| {
            let mut brokers = BTreeMap::from([(1, Known::default())]);
            brokers.extend(known.map(|known| (2, known)));
            let rows = explain(&at, &info(Some(1), &[1]), &brokers, moving);
            assert_eq!(rows.len(), 1, "{rows:?}");
            assert_eq!(
                (rows[0].state, rows[0].broker),
                ("under-replicated", Some(2))
            );
            assert!(rows[0].reason.contains(expected), "{rows:?}");
        };
        let lag = |lag| Known {
            lags: [(at.clone(), lag)].into(),
            ..Known::default()
        };
        check(None, false, "not in the cluster");
        let fenced = Known {
            fenced: true,
            ..Known::default()
        };
        check(Some(fenced), false, "fenced");
        let silent = Known {
            silent: Some("no answer".to_owned()),
            ..Known::default()
        };
        check(Some(silent), false, "does not answer: no answer");
        let failed = Known {
            failed_dirs: vec!["/disk".to_owned()],
            ..Known::default()
        };
        check(Some(failed), false, "gone with /disk");
        check(Some(Known::default()), false, "no log of it");
        check(Some(lag(7)), false, "7 records behind");
        check(Some(lag(7)), true, "7 records to go");
        check(Some(lag(0)), false, "about to be taken in");
    }

    #[test]
    fn without_a_leader_it_is_told_who_could_lead() {
        let at = TopicPartition::new("t", 0);
        let brokers = BTreeMap::from([(1, Known::default())]);
        let rows = explain(&at, &info(None, &[2]), &brokers, false);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.state == "no leader"), "{rows:?}");
        assert!(rows[1].reason.contains("not in the cluster"), "{rows:?}");
        let rows = explain(&at, &info(None, &[1]), &brokers, false);
        assert!(
            rows.iter().any(|row| row.reason.contains("could lead")),
            "{rows:?}"
        );
        let rows = explain(&at, &info(None, &[]), &brokers, false);
        assert!(rows.iter().any(|row| row.broker.is_none()), "{rows:?}");
    }
}

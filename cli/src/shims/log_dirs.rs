//! `kafka-log-dirs.sh`.

use std::collections::BTreeSet;
use std::io::Write;

use reka_client::Client;
use serde_json::{Value, json};

use super::arguments::{Arguments, Known, flag, option};
use super::{Wrong, exception_class};

pub(super) const OPTIONS: &[Known] = &[
    option("bootstrap-server"),
    option("broker-list"),
    option("command-config"),
    flag("describe"),
    option("topic-list"),
];

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    if !arguments.has("describe") {
        let text = "Missing required argument \"[describe]\"";
        return Err(Wrong::Usage(text.to_owned()));
    }
    let list = |name: &str| -> BTreeSet<String> {
        let list = arguments.value(name).unwrap_or_default().split(',');
        list.filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let topics = list("topic-list");
    let mut wanted = BTreeSet::new();
    for id in list("broker-list") {
        let wrong = || Wrong::Failed(format!("For input string: \"{id}\""));
        wanted.insert(id.parse::<i32>().map_err(|_| wrong())?);
    }
    let there: BTreeSet<i32> = client.brokers().await?.iter().map(|b| b.id).collect();
    let text = |ids: &BTreeSet<i32>| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.join(",")
    };
    let absent: BTreeSet<i32> = wanted.difference(&there).copied().collect();
    if !absent.is_empty() {
        return Err(Wrong::Failed(format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent \
             brokers: {}",
            text(&absent),
            text(&there)
        )));
    }
    let asked = if wanted.is_empty() { there } else { wanted };
    let mut out = std::io::stdout();
    writeln!(out, "Querying brokers for log directories information")?;
    let mut brokers = Vec::new();
    for broker in &asked {
        let mut dirs = Vec::new();
        for (path, dir) in client.describe_log_dirs(*broker).await? {
            let error = dir.as_ref().err().map(exception_class);
            let logs = dir.map(|dir| dir.partitions).unwrap_or_default();
            let logs: Vec<Value> = logs
                .iter()
                .filter(|log| topics.is_empty() || topics.contains(&log.partition.topic))
                .map(|log| {
                    json!({
                        "partition": log.partition.to_string(),
                        "size": log.size,
                        "offsetLag": log.offset_lag,
                        "isFuture": log.is_future,
                    })
                })
                .collect();
            dirs.push(json!({"partitions": logs, "error": error, "logDir": path}));
        }
        brokers.push(json!({"broker": broker, "logDirs": dirs}));
    }
    writeln!(
        out,
        "Received log directory information from brokers {}",
        text(&asked)
    )?;
    writeln!(out, "{}", json!({"brokers": brokers, "version": 1}))?;
    Ok(())
}

//! `rkctl bundle`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use reka_client::admin::{ConfigEntry, Resource};
use reka_client::{Client, ClientError, Target};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cluster::health;
use crate::failure::Failure;
use crate::moment;
use crate::output::Report;
use crate::session::Session;
use crate::table::Page;

/// One file of JSON, which nobody else can read: the cluster, its brokers with versions, directories and
/// configurations, topics, groups, moves, transactions, and what health finds. No records, and no values
/// that are secrets or look like it. A part that cannot be had is in it with the reason.
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The file; rkctl-bundle-TIME.json without
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Written {
    file: String,
    bytes: usize,
    /// Parts that could not be had.
    missing: Vec<String>,
}

impl Report for Written {
    fn page(&self) -> Page {
        Page::default().pairs(vec![
            ("file", self.file.clone()),
            ("bytes", self.bytes.to_string()),
            ("missing", crate::table::list(&self.missing)),
        ])
    }
}

impl Bundle {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let now = moment::now_ms();
        let mut parts = Map::new();
        let mut missing = Vec::new();
        let mut add = |name: &str, part: Result<Value, ClientError>| {
            let part = part.unwrap_or_else(|error| {
                missing.push(name.to_owned());
                json!({ "error": error.to_string() })
            });
            parts.insert(name.to_owned(), part);
        };
        add("rkctl", Ok(json!(env!("CARGO_PKG_VERSION"))));
        add("written", Ok(json!(moment::written(now))));
        add("cluster", cluster(client).await);
        add("quorum", quorum(client).await);
        add("features", features(client).await);
        add(
            "all_brokers_config",
            config(client, &Resource::all_brokers()).await,
        );
        add("brokers", brokers(client).await);
        add("topics", topics(client).await);
        add("groups", groups(client).await);
        add("moves", moves(client).await);
        add("transactions", transactions(client).await);
        let findings = health::look(client).await?;
        add("findings", Ok(json!(findings)));

        let name = format!("rkctl-bundle-{now}.json");
        let path = self.file.clone().unwrap_or_else(|| PathBuf::from(name));
        let text = format!("{:#}\n", Value::Object(parts));
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error: std::io::Error| {
            Failure::other(format!("write {}: {error}", path.display()))
        })?;
        session.show(&Written {
            file: path.display().to_string(),
            bytes: text.len(),
            missing,
        })
    }
}

/// Whether a key's value may be a secret though the broker does not say so.
fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "jaas", "token", "credential", ".key"]
        .iter()
        .any(|word| key.contains(word))
}

fn shown(entries: Vec<ConfigEntry>) -> Value {
    let rows = entries.into_iter().map(|entry| {
        let secret = entry.sensitive || looks_secret(&entry.name);
        let value = match secret {
            true => json!("(secret)"),
            false => json!(entry.value),
        };
        (
            entry.name,
            json!({ "value": value, "source": entry.source.name() }),
        )
    });
    Value::Object(rows.collect())
}

async fn config(client: &Client, resource: &Resource) -> Result<Value, ClientError> {
    Ok(shown(client.describe_config(resource, false).await?))
}

async fn cluster(client: &Client) -> Result<Value, ClientError> {
    let cluster = client.describe_cluster().await?;
    let brokers = cluster.brokers.into_iter().map(|broker| {
        json!({
            "broker": broker.id, "host": broker.host, "port": broker.port,
            "rack": broker.rack, "fenced": broker.is_fenced,
        })
    });
    let brokers: Vec<Value> = brokers.collect();
    Ok(json!({ "id": cluster.id, "controller": cluster.controller, "brokers": brokers }))
}

async fn quorum(client: &Client) -> Result<Value, ClientError> {
    let quorum = client.describe_quorum().await?;
    let replica = |replica: reka_client::admin::QuorumReplica| json!({ "node": replica.id, "log_end_offset": replica.log_end_offset });
    let voters: Vec<Value> = quorum.voters.into_iter().map(replica).collect();
    let observers: Vec<Value> = quorum.observers.into_iter().map(replica).collect();
    Ok(json!({
        "leader": quorum.leader, "epoch": quorum.leader_epoch,
        "high_watermark": quorum.high_watermark, "voters": voters, "observers": observers,
    }))
}

async fn features(client: &Client) -> Result<Value, ClientError> {
    let features = client.features().await?.into_iter();
    Ok(Value::Object(
        features
            .map(|feature| (feature.name, feature.finalized.into()))
            .collect(),
    ))
}

async fn brokers(client: &Client) -> Result<Value, ClientError> {
    let mut all = Map::new();
    for broker in client.brokers().await? {
        let versions = client.broker_versions(Target::Broker(broker.id)).await?;
        let versions = versions.all().into_iter();
        let versions: Map<String, Value> = versions
            .map(|(key, range)| (key.to_string(), json!([range.start(), range.end()])))
            .collect();
        let mut dirs = Map::new();
        for (path, dir) in client.describe_log_dirs(broker.id).await? {
            let told = match dir {
                Ok(dir) => json!({
                    "total_bytes": dir.total_bytes, "usable_bytes": dir.usable_bytes,
                    "partitions": dir.partitions.len(),
                    "bytes": dir.partitions.iter().map(|log| log.size).sum::<i64>(),
                }),
                Err(refusal) => json!({ "error": refusal.to_string() }),
            };
            dirs.insert(path, told);
        }
        let config = config(client, &Resource::broker(broker.id)).await?;
        let told = json!({ "config": config, "directories": dirs, "versions": versions });
        all.insert(broker.id.to_string(), told);
    }
    Ok(Value::Object(all))
}

async fn topics(client: &Client) -> Result<Value, ClientError> {
    let mut all = Map::new();
    for topic in client.list_topics().await? {
        let partitions = topic.partitions.iter().map(|info| {
            json!({
                "partition": info.index, "leader": info.leader, "epoch": info.leader_epoch,
                "replicas": info.replicas, "in_sync": info.in_sync, "offline": info.offline,
            })
        });
        let partitions: Vec<Value> = partitions.collect();
        let entries = client
            .describe_config(&Resource::topic(&topic.name), false)
            .await?;
        let own = entries.into_iter();
        let own = own.filter(|entry| entry.source == reka_client::admin::ConfigSource::Topic);
        let config = shown(own.collect());
        let told = json!({
            "id": topic.id.to_string(), "internal": topic.is_internal,
            "partitions": partitions, "config": config,
        });
        all.insert(topic.name, told);
    }
    Ok(Value::Object(all))
}

async fn groups(client: &Client) -> Result<Value, ClientError> {
    let mut all = Map::new();
    for group in client.list_groups().await? {
        let offsets = client.group_offsets(&group.id).await?;
        let offsets: Map<String, Value> = offsets
            .into_iter()
            .map(|(at, committed)| (at.to_string(), committed.offset.into()))
            .collect();
        all.insert(
            group.id,
            json!({ "state": group.state, "committed": offsets }),
        );
    }
    Ok(Value::Object(all))
}

async fn moves(client: &Client) -> Result<Value, ClientError> {
    let moves = client.list_reassignments().await?.into_iter();
    let moves = moves.map(|(at, under_way)| {
        let told = json!({
            "replicas": under_way.replicas, "adding": under_way.adding,
            "removing": under_way.removing,
        });
        (at.to_string(), told)
    });
    Ok(Value::Object(moves.collect()))
}

async fn transactions(client: &Client) -> Result<Value, ClientError> {
    let listed = client.list_transactions().await?.into_iter();
    let listed: Map<String, Value> = listed
        .map(|listed| (listed.transactional_id, json!({ "state": listed.state })))
        .collect();
    Ok(Value::Object(listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_may_hold_secrets_are_known_by_their_names() {
        for key in [
            "ssl.keystore.password",
            "sasl.jaas.config",
            "listener.name.x.sasl.jaas.config",
            "password.encoder.SECRET",
            "ssl.keystore.key",
        ] {
            assert!(looks_secret(key), "{key}");
        }
        for key in ["log.dirs", "retention.ms", "num.partitions"] {
            assert!(!looks_secret(key), "{key}");
        }
    }
}

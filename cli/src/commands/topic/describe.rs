//! `rkctl topic describe`.

use clap::Args;
use reka_client::admin::{OffsetSpec, Resource};
use reka_client::{Outcome, TopicInfo};
use serde::Serialize;

use super::{offsets, partitions_of};
use crate::commands::cluster::config_report::is_own;
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, list, or_none, yes_no};

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC", add = crate::completion::topics())]
    topics: Vec<String>,
    /// Every key of the configuration, not only those that were set for the topic
    #[arg(short, long)]
    all_configs: bool,
}

#[derive(Debug, Serialize)]
struct Topic {
    name: String,
    id: String,
    internal: bool,
    replication_factor: usize,
    configs: Vec<Config>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Config {
    name: String,
    value: Option<String>,
    source: &'static str,
}

#[derive(Debug, Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    offline: Vec<i32>,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
}

impl Report for Vec<Topic> {
    fn page(&self) -> Page {
        self.iter().map(topic_page).fold(Page::default(), Page::and)
    }
}

fn topic_page(topic: &Topic) -> Page {
    let page = Page::default().pairs(vec![
        ("topic", topic.name.clone()),
        ("id", topic.id.clone()),
        ("internal", yes_no(topic.internal)),
        ("partitions", topic.partitions.len().to_string()),
        ("replicas", topic.replication_factor.to_string()),
    ]);
    let mut configs = Table::new(["KEY", "VALUE", "SOURCE"]);
    for config in &topic.configs {
        let value = or_none(config.value.as_ref());
        configs.row([config.name.clone(), value, config.source.to_owned()]);
    }
    let mut partitions = Table::new([
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "IN SYNC",
        "OFFLINE",
        "START",
        "END",
    ]);
    for partition in &topic.partitions {
        partitions.row([
            partition.partition.to_string(),
            or_none(partition.leader),
            partition.leader_epoch.to_string(),
            list(&partition.replicas),
            list(&partition.in_sync),
            list(&partition.offline),
            or_none(partition.start_offset),
            or_none(partition.end_offset),
        ]);
    }
    let page = match topic.configs.is_empty() {
        true => page,
        false => page.table(configs),
    };
    page.table(partitions)
}

impl Describe {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut described = Vec::new();
        for topic in session.topics(&self.topics).await? {
            described.push(self.describe(session, topic).await?);
        }
        session.show(&described)
    }

    async fn describe(&self, session: &Session, topic: TopicInfo) -> Result<Topic, Failure> {
        let client = session.client().await?;
        let resource = Resource::topic(&topic.name);
        let mut entries = client.describe_config(&resource, false).await?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let configs = entries
            .into_iter()
            .filter(|entry| self.all_configs || is_own(&resource, entry.source))
            .map(|entry| Config {
                name: entry.name,
                value: entry.value,
                source: entry.source.name(),
            })
            .collect();
        let at = partitions_of(&topic);
        let start = offsets(client, &at, OffsetSpec::Earliest).await?;
        let end = offsets(client, &at, OffsetSpec::Latest).await?;
        // A partition without a leader has no offsets to tell.
        let known = |offset: &Outcome<Option<i64>>| offset.as_ref().ok().copied().flatten();
        let replication_factor = topic.partitions.first().map_or(0, |p| p.replicas.len());
        let partitions = topic.partitions.into_iter().zip(start.iter().zip(&end));
        let partitions = partitions.map(|(partition, (start, end))| Partition {
            partition: partition.index,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas,
            in_sync: partition.in_sync,
            offline: partition.offline,
            start_offset: known(start),
            end_offset: known(end),
        });
        Ok(Topic {
            name: topic.name,
            id: topic.id.to_string(),
            internal: topic.is_internal,
            replication_factor,
            configs,
            partitions: partitions.collect(),
        })
    }
}

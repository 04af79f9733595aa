//! `rkctl cluster info`.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, or_none};

#[derive(Debug, Args)]
pub(crate) struct Info {}

#[derive(Debug, Serialize)]
struct Cluster {
    cluster_id: String,
    controller: Option<i32>,
    brokers: usize,
    topics: usize,
    partitions: usize,
    internal_topics: usize,
    metadata_version: i16,
}

impl Report for Cluster {
    fn page(&self) -> Page {
        Page::default().pairs(vec![
            ("cluster", self.cluster_id.clone()),
            ("controller", or_none(self.controller)),
            ("brokers", self.brokers.to_string()),
            ("topics", self.topics.to_string()),
            ("partitions", self.partitions.to_string()),
            ("internal topics", self.internal_topics.to_string()),
            ("metadata version", self.metadata_version.to_string()),
        ])
    }
}

impl Info {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let cluster = client.describe_cluster().await?;
        let topics = client.list_topics().await?;
        let features = client.features().await?;
        let version = features
            .iter()
            .find(|feature| feature.name == "metadata.version");
        let own = topics.iter().filter(|topic| !topic.is_internal);
        session.show(&Cluster {
            cluster_id: cluster.id,
            controller: cluster.controller,
            brokers: cluster.brokers.len(),
            topics: own.clone().count(),
            partitions: own.map(|topic| topic.partitions.len()).sum(),
            internal_topics: topics.iter().filter(|topic| topic.is_internal).count(),
            metadata_version: version.map_or(0, |feature| feature.finalized),
        })
    }
}

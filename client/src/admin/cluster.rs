//! The cluster: its brokers, its metadata quorum, its features.

use reka_protocol::kafka_protocol::messages::add_raft_voter_request::Listener;
use reka_protocol::kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use reka_protocol::kafka_protocol::messages::describe_quorum_response::{Node, ReplicaState};
use reka_protocol::kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use reka_protocol::kafka_protocol::messages::{
    AddRaftVoterRequest, DescribeClusterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest,
    UpdateFeaturesRequest,
};
use uuid::Uuid;

use crate::client::{ANY, Client, Target, Topics, no_answer, text, topic_name};
use crate::config::Address;
use crate::error::{ClientError, Outcome, judge};
use crate::negotiate::{BrokerVersions, Feature};
use crate::pool::Lane;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub id: String,
    /// The broker changes go to, if the brokers name one.
    pub controller: Option<i32>,
    /// Its brokers, by id.
    pub brokers: Vec<NodeDescription>,
}

/// A broker of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// Its id.
    pub id: i32,
    /// Where it listens.
    pub host: String,
    /// Its port there.
    pub port: i32,
    /// Its rack, if it has said one.
    pub rack: Option<String>,
    /// Whether it is shut out until it has caught up.
    pub is_fenced: bool,
}

/// The metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Who leads, if anybody does.
    pub leader: Option<i32>,
    /// Rises with every election.
    pub leader_epoch: i32,
    /// How far the log is committed.
    pub high_watermark: i64,
    /// Those who vote.
    pub voters: Vec<QuorumReplica>,
    /// Those who follow.
    pub observers: Vec<QuorumReplica>,
}

/// One of those who hold the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReplica {
    /// Its node id.
    pub id: i32,
    /// Its directory's id; nil where it is not told.
    pub directory: Uuid,
    /// How far its log goes, if the leader knows.
    pub log_end_offset: Option<i64>,
    /// When it fetched last, in milliseconds.
    pub last_fetch: Option<i64>,
    /// When it was last at the log's end, in milliseconds.
    pub last_caught_up: Option<i64>,
    /// Where it listens for the others, by listener, as far as it is told.
    pub listeners: Vec<(String, Address)>,
}

/// A change of a feature's level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureChange {
    /// The feature.
    pub name: String,
    /// The level to have; 0 takes the feature away.
    pub level: i16,
    /// Whether the level may be lower than the one in force.
    pub allow_downgrade: bool,
}

impl Client {
    /// The cluster as any broker sees it.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        const API: &str = "DescribeCluster";
        let mut tries = self.tries("describe the cluster");
        let answer = loop {
            let attempt = async {
                let answer = self
                    .ask(Target::Any, ANY, |_| DescribeClusterRequest::default())
                    .await?;
                let message = answer.error_message.as_deref();
                let subject = || "the cluster".to_owned();
                judge(API, subject, answer.error_code, message)?;
                Ok(answer)
            };
            match tries.run(attempt).await {
                Ok(Some(answer)) => break answer,
                Ok(None) => {}
                // Brokers older than 2.8 tell the same in metadata.
                Err(ClientError::Unsupported { .. }) => return self.cluster_by_metadata().await,
                Err(error) => return Err(error),
            }
        };
        let mut brokers: Vec<NodeDescription> = answer
            .brokers
            .iter()
            .map(|broker| NodeDescription {
                id: broker.broker_id.0,
                host: broker.host.to_string(),
                port: broker.port,
                rack: broker.rack.as_ref().map(ToString::to_string),
                is_fenced: broker.is_fenced,
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        Ok(ClusterDescription {
            id: answer.cluster_id.to_string(),
            controller: Some(answer.controller_id.0).filter(|id| *id >= 0),
            brokers,
        })
    }

    async fn cluster_by_metadata(&self) -> Result<ClusterDescription, ClientError> {
        let brokers = self.brokers().await?;
        let view = self.view();
        Ok(ClusterDescription {
            id: view.cluster_id().unwrap_or_default().to_owned(),
            controller: view.controller().map(|broker| broker.id),
            brokers: brokers
                .into_iter()
                .map(|broker| NodeDescription {
                    id: broker.id,
                    host: broker.address.host,
                    port: i32::from(broker.address.port),
                    rack: broker.rack,
                    is_fenced: false,
                })
                .collect(),
        })
    }

    /// Which versions of which APIs a broker speaks, and the cluster's features as it knows them.
    pub async fn broker_versions(&self, to: Target) -> Result<BrokerVersions, ClientError> {
        let mut tries = self.tries("ask for versions");
        loop {
            let attempt = self.connection(to, Lane::Control);
            if let Some(connection) = tries.run(attempt).await? {
                return Ok(connection.versions().clone());
            }
        }
    }

    /// The cluster's features, by name.
    pub async fn features(&self) -> Result<Vec<Feature>, ClientError> {
        Ok(self.broker_versions(Target::Any).await?.features())
    }

    /// Changes levels of features, or only says what would come of it.
    pub async fn update_features(
        &self,
        changes: &[FeatureChange],
        validate_only: bool,
    ) -> Result<Vec<(String, Outcome<()>)>, ClientError> {
        const API: &str = "UpdateFeatures";
        let versions = if validate_only { 1..=i16::MAX } else { ANY };
        let answer = self
            .call(Target::Controller, versions, |version| {
                let updates = changes.iter().map(|change| {
                    let update = FeatureUpdateKey::default()
                        .with_feature(text(&change.name))
                        .with_max_version_level(change.level);
                    match version {
                        0 => update.with_allow_downgrade(change.allow_downgrade),
                        // 1 only upgrades, 2 also goes down where nothing is lost.
                        _ => update.with_upgrade_type(if change.allow_downgrade { 2 } else { 1 }),
                    }
                });
                let request = UpdateFeaturesRequest::default()
                    .with_timeout_ms(self.timeout_ms())
                    .with_feature_updates(updates.collect());
                match version {
                    0 => request,
                    _ => request.with_validate_only(validate_only),
                }
            })
            .await?;
        let message = answer.error_message.as_deref();
        judge(API, || "features".to_owned(), answer.error_code, message)?;
        // From version 2 on there is one outcome for all.
        if answer.results.is_empty() {
            return Ok(changes
                .iter()
                .map(|change| (change.name.clone(), Ok(())))
                .collect());
        }
        let results = answer.results.iter().map(|result| {
            let name = result.feature.to_string();
            let message = result.error_message.as_deref();
            let subject = || format!("feature {name}");
            let judged = judge(API, subject, result.error_code, message);
            (name, judged)
        });
        Ok(results.collect())
    }

    /// The metadata quorum as its leader sees it.
    pub async fn describe_quorum(&self) -> Result<Quorum, ClientError> {
        const API: &str = "DescribeQuorum";
        let subject = || "the metadata quorum".to_owned();
        let topic = TopicData::default()
            .with_topic_name(topic_name("__cluster_metadata"))
            .with_partitions(vec![PartitionData::default()]);
        let mut tries = self.tries("describe the metadata quorum");
        let answer = loop {
            let attempt = async {
                let request = DescribeQuorumRequest::default().with_topics(vec![topic.clone()]);
                let answer = self.ask(Target::Any, ANY, |_| request).await?;
                let message = answer.error_message.as_deref();
                judge(API, subject, answer.error_code, message)?;
                let partition = answer
                    .topics
                    .first()
                    .and_then(|topic| topic.partitions.first());
                let Some(partition) = partition else {
                    return Err(no_answer(API, subject()).into());
                };
                let message = partition.error_message.as_deref();
                judge(API, subject, partition.error_code, message)?;
                Ok((partition.clone(), answer.nodes))
            };
            if let Some(answer) = tries.run(attempt).await? {
                break answer;
            }
        };
        let (answer, nodes) = answer;
        let replica = |state: &ReplicaState| replica(state, &nodes);
        Ok(Quorum {
            leader: Some(answer.leader_id.0).filter(|id| *id >= 0),
            leader_epoch: answer.leader_epoch,
            high_watermark: answer.high_watermark,
            voters: answer.current_voters.iter().map(replica).collect(),
            observers: answer.observers.iter().map(replica).collect(),
        })
    }

    /// Lets a controller vote from now on.
    pub async fn add_voter(
        &self,
        id: i32,
        directory: Uuid,
        listeners: &[(String, Address)],
    ) -> Result<(), ClientError> {
        const API: &str = "AddRaftVoter";
        let listeners: Vec<Listener> = listeners
            .iter()
            .map(|(name, address)| {
                Listener::default()
                    .with_name(text(name))
                    .with_host(text(&address.host))
                    .with_port(address.port)
            })
            .collect();
        let answer = self
            .call(Target::Any, ANY, |_| {
                // No id is any cluster's; the codec's default is an empty one, which is none's.
                AddRaftVoterRequest::default()
                    .with_cluster_id(None)
                    .with_timeout_ms(self.timeout_ms())
                    .with_voter_id(id)
                    .with_voter_directory_id(directory)
                    .with_listeners(listeners.clone())
            })
            .await?;
        let message = answer.error_message.as_deref();
        judge(API, || format!("voter {id}"), answer.error_code, message)?;
        Ok(())
    }

    /// Takes a controller its vote.
    pub async fn remove_voter(&self, id: i32, directory: Uuid) -> Result<(), ClientError> {
        const API: &str = "RemoveRaftVoter";
        let answer = self
            .call(Target::Any, ANY, |_| {
                RemoveRaftVoterRequest::default()
                    .with_cluster_id(None)
                    .with_voter_id(id)
                    .with_voter_directory_id(directory)
            })
            .await?;
        let message = answer.error_message.as_deref();
        judge(API, || format!("voter {id}"), answer.error_code, message)?;
        Ok(())
    }

    /// The cluster's id, asked anew.
    pub async fn cluster_id(&self) -> Result<Option<String>, ClientError> {
        let mut tries = self.tries("ask for the cluster's id");
        while tries.run(self.refresh(Topics::None)).await?.is_none() {}
        Ok(self.view().cluster_id().map(str::to_owned))
    }
}

fn replica(state: &ReplicaState, nodes: &[Node]) -> QuorumReplica {
    let known = |number: i64| Some(number).filter(|number| *number >= 0);
    let node = nodes.iter().find(|node| node.node_id == state.replica_id);
    let listeners = node.iter().flat_map(|node| &node.listeners);
    QuorumReplica {
        id: state.replica_id.0,
        directory: state.replica_directory_id,
        log_end_offset: known(state.log_end_offset),
        last_fetch: known(state.last_fetch_timestamp),
        last_caught_up: known(state.last_caught_up_timestamp),
        listeners: listeners
            .map(|listener| {
                let host = listener.host.to_string();
                let port = listener.port;
                (listener.name.to_string(), Address { host, port })
            })
            .collect(),
    }
}

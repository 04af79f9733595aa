//! What is known of the cluster: brokers, topics, leaders. Pure: answers and times are arguments.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use reka_protocol::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{BrokerId, MetadataResponse};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Address;
use crate::error::{Outcome, judge};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl TopicPartition {
    /// Both together.
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where it listens.
    pub address: Address,
    /// Its rack, if it has said one.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id; nil where the broker tells none.
    pub id: Uuid,
    /// Whether it belongs to the cluster itself.
    pub is_internal: bool,
    /// By index.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its index.
    pub index: i32,
    /// Its leader, if it has one.
    pub leader: Option<i32>,
    /// The leader's epoch; -1 where the broker tells none.
    pub leader_epoch: i32,
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub in_sync: Vec<i32>,
    /// Those of them that are not there.
    pub offline: Vec<i32>,
}

/// What is known, and since when.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    brokers: BTreeMap<i32, Broker>,
    controller: Option<i32>,
    cluster_id: Option<String>,
    topics: HashMap<String, Known>,
    names: HashMap<Uuid, String>,
    /// When the brokers were told last.
    asked: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Known {
    topic: TopicInfo,
    since: Instant,
}

impl ClusterView {
    /// Takes an answer in. A topic that is refused is forgotten.
    pub fn apply(&mut self, answer: &MetadataResponse, now: Instant) {
        let brokers = brokers(answer);
        // A broker that has just started may not know of anybody yet.
        if !brokers.is_empty() {
            self.brokers = brokers
                .into_iter()
                .map(|broker| (broker.id, broker))
                .collect();
        }
        self.controller = Some(answer.controller_id.0).filter(|id| self.brokers.contains_key(id));
        self.cluster_id = answer.cluster_id.as_ref().map(ToString::to_string);
        self.asked = Some(now);
        for answered in &answer.topics {
            match topic(answered) {
                Ok(topic) => self.learn(topic, now),
                Err(_) => {
                    if let Some(name) = &answered.name {
                        self.forget(name.as_str());
                    }
                }
            }
        }
    }

    fn learn(&mut self, mut topic: TopicInfo, now: Instant) {
        if let Some(known) = self.topics.get(&topic.name) {
            if known.topic.id != topic.id {
                self.names.remove(&known.topic.id);
            } else {
                // A broker that lags behind may still name a leader of the past.
                for (new, old) in topic.partitions.iter_mut().zip(&known.topic.partitions) {
                    if new.index == old.index && new.leader_epoch < old.leader_epoch {
                        *new = old.clone();
                    }
                }
            }
        }
        if !topic.id.is_nil() {
            self.names.insert(topic.id, topic.name.clone());
        }
        let name = topic.name.clone();
        self.topics.insert(name, Known { topic, since: now });
    }

    /// Forgets a topic: who needs it asks again.
    pub fn forget(&mut self, name: &str) {
        if let Some(known) = self.topics.remove(name) {
            self.names.remove(&known.topic.id);
        }
    }

    /// Forgets everything but the brokers: who needs it asks again.
    pub fn forget_topics(&mut self) {
        self.topics.clear();
        self.names.clear();
    }

    /// The brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// A broker.
    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// The broker to send changes of the cluster to.
    #[must_use]
    pub fn controller(&self) -> Option<&Broker> {
        self.brokers.get(&self.controller?)
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// When any broker answered last.
    #[must_use]
    pub fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// A topic that was told of at `oldest` or later.
    #[must_use]
    pub fn topic(&self, name: &str, oldest: Option<Instant>) -> Option<&TopicInfo> {
        let known = self.topics.get(name)?;
        let fresh = oldest.is_none_or(|oldest| known.since >= oldest);
        fresh.then_some(&known.topic)
    }

    /// The name of the topic with this id.
    #[must_use]
    pub fn name(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }
}

/// The brokers of an answer that can be connected to.
fn brokers(answer: &MetadataResponse) -> Vec<Broker> {
    let usable = |broker: &&MetadataResponseBroker| {
        !broker.host.is_empty() && u16::try_from(broker.port).is_ok_and(|port| port > 0)
    };
    answer
        .brokers
        .iter()
        .filter(usable)
        .map(|broker| Broker {
            id: broker.node_id.0,
            address: Address {
                host: broker.host.to_string(),
                port: broker.port as u16,
            },
            rack: broker.rack.as_ref().map(ToString::to_string),
        })
        .collect()
}

/// A topic of an answer, or why there is none. Partitions come by index.
pub(crate) fn topic(answered: &MetadataResponseTopic) -> Outcome<TopicInfo> {
    let name = answered.name.as_deref().map(ToString::to_string);
    let subject = || match &name {
        Some(name) => format!("topic {name}"),
        None => format!("topic with id {}", answered.topic_id),
    };
    judge("Metadata", subject, answered.error_code, None)?;
    let mut partitions: Vec<PartitionInfo> = answered
        .partitions
        .iter()
        .map(|partition| PartitionInfo {
            index: partition.partition_index,
            leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: ids(&partition.replica_nodes),
            in_sync: ids(&partition.isr_nodes),
            offline: ids(&partition.offline_replicas),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    Ok(TopicInfo {
        name: name.unwrap_or_default(),
        id: answered.topic_id,
        is_internal: answered.is_internal,
        partitions,
    })
}

pub(crate) fn ids(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_protocol::kafka_protocol::messages::TopicName;
    use reka_protocol::kafka_protocol::messages::metadata_response::MetadataResponsePartition;
    use reka_protocol::kafka_protocol::protocol::StrBytes;

    fn answer(id: u128, leader: i32, epoch: i32) -> MetadataResponse {
        let partition = MetadataResponsePartition::default()
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(epoch);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("orders"))))
            .with_topic_id(Uuid::from_u128(id))
            .with_partitions(vec![partition]);
        let broker = |id: i32, port| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_static_str("h"))
                .with_port(port)
        };
        MetadataResponse::default()
            .with_controller_id(BrokerId(2))
            .with_brokers(vec![broker(1, 9092), broker(2, 9093), broker(3, 70_000)])
            .with_topics(vec![topic])
    }

    fn leader(view: &ClusterView) -> Option<i32> {
        view.topic("orders", None).expect("known").partitions[0].leader
    }

    #[test]
    fn an_older_leader_is_not_taken_for_the_newer_one_unless_the_topic_is_another() {
        let now = Instant::now();
        let mut view = ClusterView::default();
        view.apply(&answer(7, 1, 5), now);
        view.apply(&answer(7, 2, 4), now);
        assert_eq!(leader(&view), Some(1));
        view.apply(&answer(7, 2, 6), now);
        assert_eq!(leader(&view), Some(2));
        view.apply(&answer(8, 1, 0), now);
        assert_eq!(leader(&view), Some(1));
        assert_eq!(view.name(Uuid::from_u128(7)), None);
        assert_eq!(view.name(Uuid::from_u128(8)), Some("orders"));
        view.apply(&answer(8, -1, 1), now);
        assert_eq!(leader(&view), None);
    }

    #[test]
    fn brokers_that_cannot_be_connected_to_are_left_out() {
        let mut view = ClusterView::default();
        view.apply(&answer(7, 1, 5), Instant::now());
        let ids: Vec<i32> = view.brokers().map(|broker| broker.id).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(view.controller().map(|broker| broker.id), Some(2));
        view.apply(&MetadataResponse::default(), Instant::now());
        assert_eq!(view.brokers().count(), 2, "an empty answer tells nothing");
    }

    #[test]
    fn a_topic_is_known_only_as_long_as_it_is_fresh_and_not_refused() {
        let now = Instant::now();
        let mut view = ClusterView::default();
        view.apply(&answer(7, 1, 5), now);
        let later = now + std::time::Duration::from_secs(1);
        assert!(view.topic("orders", Some(now)).is_some());
        assert!(view.topic("orders", Some(later)).is_none());
        let mut refused = answer(7, 1, 5);
        refused.topics[0].error_code = 3;
        view.apply(&refused, later);
        assert!(view.topic("orders", None).is_none());
        assert_eq!(view.name(Uuid::from_u128(7)), None);
    }
}

//! ListPartitionReassignments (46), version 0: what is being moved (KIP-455).

use std::collections::BTreeMap;
use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use reka_protocol::kafka_protocol::messages::{
    BrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use reka_raft::record::Partition;

use super::text::topic_name;
use super::{Call, Context, Handler};

/// Partitions that are being moved.
#[derive(Debug)]
pub struct ListPartitionReassignments;

impl Handler for ListPartitionReassignments {
    type Request = ListPartitionReassignmentsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let image = context.services.quorum.image();
        let wanted = |name: &str, index: i32| match &request.topics {
            None => true,
            Some(topics) => topics.iter().any(|topic| {
                topic.name.as_str() == name && topic.partition_indexes.contains(&index)
            }),
        };
        let mut moving: BTreeMap<&str, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
        for topic in image.topics().iter() {
            for partition in topic.partitions() {
                if is_moving(partition) && wanted(topic.name(), partition.partition) {
                    let listed = moving.entry(topic.name()).or_default();
                    listed.push(describe(partition));
                }
            }
        }
        let topics = moving.into_iter().map(|(name, partitions)| {
            OngoingTopicReassignment::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        });
        ListPartitionReassignmentsResponse::default().with_topics(topics.collect())
    }
}

fn is_moving(partition: &Partition) -> bool {
    !partition.adding.is_empty() || !partition.removing.is_empty()
}

fn describe(partition: &Partition) -> OngoingPartitionReassignment {
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    OngoingPartitionReassignment::default()
        .with_partition_index(partition.partition)
        .with_replicas(ids(&partition.replicas))
        .with_adding_replicas(ids(&partition.adding))
        .with_removing_replicas(ids(&partition.removing))
}

//! DescribeQuorum (55), versions 0-2: who leads the metadata, and how far its voters are.
//!
//! | version | adds |
//! |---|---|
//! | 1 | when each voter last fetched and was caught up (KIP-836) |
//! | 2 | directory ids, addresses of voters, error messages (KIP-853) |
//!
//! Offsets are those of this quorum's log: one per batch of changes, where Kafka counts records.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use reka_protocol::kafka_protocol::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse,
};
use reka_raft::QuorumStatus;

use super::text::{message, text};
use super::{Call, Context, Handler};

/// The topic the metadata would be, if it were one.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Earlier versions have no room for directories.
const DIRECTORIES_FROM: i16 = 2;

/// The state of the metadata quorum.
#[derive(Debug)]
pub struct DescribeQuorum;

impl Handler for DescribeQuorum {
    type Request = DescribeQuorumRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: DescribeQuorumRequest,
    ) -> DescribeQuorumResponse {
        let status = context.services.quorum.status();
        let now_ms = context.services.clock.now_ms();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                match topic.topic_name.as_str() == CLUSTER_METADATA && index == 0 {
                    true => describe(call.version, &status, now_ms),
                    false => {
                        let unknown = ErrorCode::UnknownTopicOrPartition;
                        let said = match call.version >= 2 {
                            true => "This server does not host this topic-partition.",
                            false => "",
                        };
                        PartitionData::default()
                            .with_partition_index(index)
                            .with_error_code(unknown.code())
                            .with_error_message(message(said))
                    }
                }
            });
            TopicData::default()
                .with_topic_name(topic.topic_name.clone())
                .with_partitions(partitions.collect())
        });
        let response = DescribeQuorumResponse::default().with_topics(topics.collect());
        let described = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .any(|partition| partition.error_code == 0);
        match described && call.version >= 2 {
            true => response.with_nodes(nodes(&context, &status)),
            false => response,
        }
    }
}

fn describe(version: i16, status: &QuorumStatus, now_ms: i64) -> PartitionData {
    let end_of = |index: Option<u64>| index.map_or(-1, |index| index as i64 + 1);
    let voters = status.voters.iter().map(|voter| {
        let state = match version >= DIRECTORIES_FROM {
            true => ReplicaState::default().with_replica_directory_id(voter.voter.directory_id),
            false => ReplicaState::default(),
        };
        state
            .with_replica_id(BrokerId(voter.voter.kafka_id))
            .with_log_end_offset(end_of(voter.matched_index))
            .with_last_fetch_timestamp(now_ms)
            .with_last_caught_up_timestamp(now_ms)
    });
    let leader = status
        .leader
        .as_ref()
        .map_or(-1, |(_, voter)| voter.kafka_id);
    PartitionData::default()
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(i32::try_from(status.epoch).unwrap_or(i32::MAX))
        .with_high_watermark(end_of(status.committed_index))
        .with_current_voters(voters.collect())
}

/// Voters and where they are: this node, as the client sees it.
fn nodes(context: &Context, status: &QuorumStatus) -> Vec<Node> {
    let (host, port) = context.advertised();
    let here = Listener::default()
        .with_name(text(&context.listener.name))
        .with_host(text(host))
        .with_port(port);
    let nodes = status.voters.iter().map(|voter| {
        Node::default()
            .with_node_id(BrokerId(voter.voter.kafka_id))
            .with_listeners(vec![here.clone()])
    });
    nodes.collect()
}

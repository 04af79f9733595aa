//! One file per API, and the one table that lists them.
//!
//! ApiVersions is derived from the table: what is not in it is not advertised. Produce, Fetch and
//! ApiVersions are decoded by hand and dispatched before the table is asked.

mod config_resource;
mod error_codes;
mod handler;
mod named;
mod operations;
mod text;

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_client_quotas;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod elect_leaders;
pub mod end_txn;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod update_features;
pub mod write_txn_markers;

pub use handler::{Call, Context, Handler, Start};

use std::sync::OnceLock;

use reka_protocol::Api;
use reka_protocol::messages::api_versions::ApiRange;
use reka_protocol::versions;

use handler::entry;

/// Handlers by API key.
fn table() -> &'static [(i16, Start)] {
    static TABLE: OnceLock<Vec<(i16, Start)>> = OnceLock::new();
    TABLE.get_or_init(|| {
        vec![
            entry::<list_offsets::ListOffsets>(),
            entry::<metadata::Metadata>(),
            entry::<create_topics::CreateTopics>(),
            entry::<delete_topics::DeleteTopics>(),
            entry::<delete_records::DeleteRecords>(),
            entry::<init_producer_id::InitProducerId>(),
            entry::<offset_for_leader_epoch::OffsetForLeaderEpoch>(),
            entry::<describe_acls::DescribeAcls>(),
            entry::<create_acls::CreateAcls>(),
            entry::<delete_acls::DeleteAcls>(),
            entry::<describe_configs::DescribeConfigs>(),
            entry::<alter_configs::AlterConfigs>(),
            entry::<alter_replica_log_dirs::AlterReplicaLogDirs>(),
            entry::<describe_log_dirs::DescribeLogDirs>(),
            entry::<create_partitions::CreatePartitions>(),
            entry::<elect_leaders::ElectLeaders>(),
            entry::<incremental_alter_configs::IncrementalAlterConfigs>(),
            entry::<alter_partition_reassignments::AlterPartitionReassignments>(),
            entry::<list_partition_reassignments::ListPartitionReassignments>(),
            entry::<describe_client_quotas::DescribeClientQuotas>(),
            entry::<alter_client_quotas::AlterClientQuotas>(),
            entry::<describe_quorum::DescribeQuorum>(),
            entry::<update_features::UpdateFeatures>(),
            entry::<describe_cluster::DescribeCluster>(),
            entry::<find_coordinator::FindCoordinator>(),
            entry::<join_group::JoinGroup>(),
            entry::<sync_group::SyncGroup>(),
            entry::<heartbeat::Heartbeat>(),
            entry::<leave_group::LeaveGroup>(),
            entry::<offset_commit::OffsetCommit>(),
            entry::<offset_fetch::OffsetFetch>(),
            entry::<offset_delete::OffsetDelete>(),
            entry::<describe_groups::DescribeGroups>(),
            entry::<list_groups::ListGroups>(),
            entry::<delete_groups::DeleteGroups>(),
            entry::<describe_producers::DescribeProducers>(),
            entry::<list_config_resources::ListConfigResources>(),
            entry::<describe_topic_partitions::DescribeTopicPartitions>(),
            entry::<consumer_group_heartbeat::ConsumerGroupHeartbeat>(),
            entry::<consumer_group_describe::ConsumerGroupDescribe>(),
            entry::<add_partitions_to_txn::AddPartitionsToTxn>(),
            entry::<add_offsets_to_txn::AddOffsetsToTxn>(),
            entry::<txn_offset_commit::TxnOffsetCommit>(),
            entry::<end_txn::EndTxn>(),
            entry::<write_txn_markers::WriteTxnMarkers>(),
            entry::<describe_transactions::DescribeTransactions>(),
            entry::<list_transactions::ListTransactions>(),
            // A new API: its file, then one line here.
        ]
    })
}

/// The handler of an API.
pub(crate) fn handler_of(key: i16) -> Option<Start> {
    table()
        .iter()
        .find(|(known, _)| *known == key)
        .map(|(_, start)| *start)
}

/// What is advertised, by key.
pub fn advertised() -> &'static [ApiRange] {
    static ADVERTISED: OnceLock<Vec<ApiRange>> = OnceLock::new();
    ADVERTISED.get_or_init(|| {
        let by_hand = [
            versions::PRODUCE.key,
            versions::FETCH.key,
            versions::API_VERSIONS.key,
        ];
        let served = |api: &&Api| by_hand.contains(&api.key) || handler_of(api.key).is_some();
        versions::APIS
            .iter()
            .filter(served)
            .map(ApiRange::from)
            .collect()
    })
}

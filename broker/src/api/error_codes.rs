//! The error codes in an answer, for metrics: where each API has them.

use reka_protocol::kafka_protocol::messages::*;

/// Tells the codes of an answer, also those that mean none.
pub trait ErrorCodes {
    /// Calls `tell` with each code.
    fn error_codes(&self, tell: &mut dyn FnMut(i16));
}

/// Lists where the codes are: `.path` of lists, and the field at the end.
macro_rules! error_codes {
    ($( $response:ident: $( [$($list:ident).+] $field:ident ),* ; )*) => {
        $( impl ErrorCodes for $response {
            fn error_codes(&self, tell: &mut dyn FnMut(i16)) {
                $( error_codes!(@walk self, tell, $field, $($list).+); )*
            }
        } )*
    };
    (@walk $of:expr, $tell:ident, $field:ident, here) => {
        $tell($of.$field);
    };
    (@walk $of:expr, $tell:ident, $field:ident, $list:ident) => {
        for item in &$of.$list {
            $tell(item.$field);
        }
    };
    (@walk $of:expr, $tell:ident, $field:ident, $list:ident . $($more:ident).+) => {
        for item in &$of.$list {
            error_codes!(@walk item, $tell, $field, $($more).+);
        }
    };
}

error_codes! {
    AddOffsetsToTxnResponse: [here] error_code;
    AddPartitionsToTxnResponse: [here] error_code, [results_by_topic_v3_and_below.results_by_partition] partition_error_code, [results_by_transaction.topic_results.results_by_partition] partition_error_code;
    AlterClientQuotasResponse: [entries] error_code;
    AlterConfigsResponse: [responses] error_code;
    AlterPartitionReassignmentsResponse: [here] error_code, [responses.partitions] error_code;
    AlterReplicaLogDirsResponse: [results.partitions] error_code;
    ConsumerGroupDescribeResponse: [groups] error_code;
    ConsumerGroupHeartbeatResponse: [here] error_code;
    CreateAclsResponse: [results] error_code;
    CreatePartitionsResponse: [results] error_code;
    CreateTopicsResponse: [topics] error_code;
    DeleteAclsResponse: [filter_results] error_code;
    DeleteGroupsResponse: [results] error_code;
    DeleteRecordsResponse: [topics.partitions] error_code;
    DeleteTopicsResponse: [responses] error_code;
    DescribeAclsResponse: [here] error_code;
    DescribeClientQuotasResponse: [here] error_code;
    DescribeClusterResponse: [here] error_code;
    DescribeConfigsResponse: [results] error_code;
    DescribeGroupsResponse: [groups] error_code;
    DescribeLogDirsResponse: [here] error_code, [results] error_code;
    DescribeProducersResponse: [topics.partitions] error_code;
    DescribeQuorumResponse: [here] error_code, [topics.partitions] error_code;
    DescribeTopicPartitionsResponse: [topics] error_code;
    DescribeTransactionsResponse: [transaction_states] error_code;
    ElectLeadersResponse: [here] error_code, [replica_election_results.partition_result] error_code;
    EndTxnResponse: [here] error_code;
    FindCoordinatorResponse: [here] error_code, [coordinators] error_code;
    HeartbeatResponse: [here] error_code;
    IncrementalAlterConfigsResponse: [responses] error_code;
    InitProducerIdResponse: [here] error_code;
    JoinGroupResponse: [here] error_code;
    LeaveGroupResponse: [here] error_code, [members] error_code;
    ListConfigResourcesResponse: [here] error_code;
    ListGroupsResponse: [here] error_code;
    ListOffsetsResponse: [topics.partitions] error_code;
    ListPartitionReassignmentsResponse: [here] error_code;
    ListTransactionsResponse: [here] error_code;
    MetadataResponse: [topics] error_code;
    OffsetCommitResponse: [topics.partitions] error_code;
    OffsetDeleteResponse: [here] error_code, [topics.partitions] error_code;
    OffsetFetchResponse: [here] error_code, [topics.partitions] error_code, [groups] error_code;
    OffsetForLeaderEpochResponse: [topics.partitions] error_code;
    SyncGroupResponse: [here] error_code;
    TxnOffsetCommitResponse: [topics.partitions] error_code;
    UpdateFeaturesResponse: [here] error_code;
    WriteTxnMarkersResponse: [markers.topics.partitions] error_code;
    // a new API: where its codes are
}

//! The differences that are right.
//!
//! One line each: where it may be, what is compared instead, and why. A line that no run needs is
//! stale and fails the row.

use super::tree::Tree;

/// What is compared instead of the value itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// Whether there is one: not `None`, not nil, not 0 or -1, not empty.
    Presence,
    /// Nothing.
    Nothing,
    /// The elements in any order.
    AnyOrder,
}

/// A difference that may be.
#[derive(Debug)]
pub(super) struct Allowed {
    /// In answers of this API; empty for all.
    pub api: &'static str,
    /// How the path of the field ends.
    pub path: &'static str,
    /// What is compared.
    pub instead: Instead,
    /// Why the values differ.
    pub why: &'static str,
}

const fn allow(
    api: &'static str,
    path: &'static str,
    instead: Instead,
    why: &'static str,
) -> Allowed {
    Allowed {
        api,
        path,
        instead,
        why,
    }
}

use Instead::{AnyOrder, Nothing, Presence};

/// All of them.
#[rustfmt::skip]
pub(super) const ALLOWED: &[Allowed] = &[
    allow("", "error_message", Presence, "sentences are for people; the code is for clients"),
    allow("", "topic_id", Presence, "random"),
    allow("", "host", Nothing, "two processes, two addresses"),
    allow("", "port", Nothing, "two processes, two addresses"),
    allow("", "throttle_time_ms", Nothing, "depends on the moment"),
    allow("Metadata", "topics", AnyOrder, "Apache Kafka lists those it knows before those it does not"),
    allow("CreateTopics", "topics", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DeleteTopics", "responses", AnyOrder, "Apache Kafka's order is random on purpose"),
    allow("CreatePartitions", "results", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("CreateTopics", "topics[].configs", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DescribeConfigs", "results[].configs", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DescribeConfigs", "documentation", Presence, "written in our own words"),
    allow("DescribeLogDirs", "partitions", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DescribeLogDirs", "log_dir", Nothing, "two processes, two directories"),
    allow("DescribeLogDirs", "usable_bytes", Presence, "depends on the moment"),
    allow("AlterClientQuotas", "entity", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DescribeClientQuotas", "entity", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DescribeClientQuotas", "values", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DescribeClientQuotas", "entries", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("Fetch", "session_id", Presence, "random"),
    allow("", "member_id", Presence, "random"),
    allow("JoinGroup", "leader", Presence, "random"),
    allow("JoinGroup", "members", AnyOrder, "Apache Kafka's order is that of a hash map of random ids"),
    allow("DescribeGroups", "members", AnyOrder, "Apache Kafka's order is that of a hash map of random ids"),
    allow("ConsumerGroupDescribe", "members", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("ListGroups", "groups", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("OffsetCommit", "partitions", AnyOrder, "Apache Kafka lists those it refuses first"),
    allow("DeleteGroups", "results", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("OffsetFetch", "topics", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("OffsetFetch", "partitions", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("InitProducerId", "producer_id", Presence, "taken from blocks, of which each has its own"),
    allow("EndTxn", "producer_id", Presence, "taken from blocks, of which each has its own"),
    allow("WriteTxnMarkers", "producer_id", Presence, "taken from blocks, of which each has its own"),
    allow("DescribeTransactions", "producer_id", Presence, "taken from blocks, of which each has its own"),
    allow("ListTransactions", "producer_id", Presence, "taken from blocks, of which each has its own"),
    allow("Fetch", "producer_id", Presence, "taken from blocks, of which each has its own"),
    allow("DescribeTransactions", "transaction_start_time_ms", Presence, "depends on the moment"),
    allow("ListTransactions", "transaction_states", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("AddPartitionsToTxn", "results_by_topic_v3_and_below", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("AddPartitionsToTxn", "topic_results", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("WriteTxnMarkers", "topics", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("TxnOffsetCommit", "topics", AnyOrder, "Apache Kafka lists those it refuses first"),
    allow("TxnOffsetCommit", "partitions", AnyOrder, "Apache Kafka lists those it refuses first"),
    allow("DescribeProducers", "producer_id", Presence, "taken from blocks, of which each has its own"),
    allow("DescribeProducers", "last_timestamp", Presence, "depends on the moment"),
    allow("DescribeProducers", "active_producers", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("ElectLeaders", "replica_election_results", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("DescribeQuorum", "high_watermark", Nothing, "two logs: Apache Kafka counts records, Reka batches of changes"),
    allow("DescribeQuorum", "log_end_offset", Nothing, "two logs: Apache Kafka counts records, Reka batches of changes"),
    allow("DescribeQuorum", "leader_epoch", Presence, "how many elections it took"),
    allow("DescribeQuorum", "last_fetch_timestamp", Presence, "depends on the moment"),
    allow("DescribeQuorum", "last_caught_up_timestamp", Presence, "depends on the moment"),
    allow("DescribeQuorum", "replica_directory_id", Nothing, "Apache Kafka has none for voters that are configured by address"),
    allow("DescribeQuorum", "listeners[].name", Nothing, "a node alone has no listener for other controllers"),
    allow("AlterReplicaLogDirs", "results", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("ListConfigResources", "config_resources", AnyOrder, "Apache Kafka's order is that of a hash map"),
    allow("Produce", "partition_responses[].error_message", Nothing, "a reason is given also where Apache Kafka gives none"),
    allow("Produce", "batch_index_error_message", Presence, "sentences are for people; the code is for clients"),
];

/// Brings an answer into the form in which it is compared; which lines were used is noted.
pub(super) fn normalise(api: &str, tree: &mut Tree, used: &mut [bool]) {
    tree.visit("", &mut |path, value| {
        for (at, allowed) in ALLOWED.iter().enumerate() {
            let here = (allowed.api.is_empty() || allowed.api == api)
                && path
                    .strip_suffix(allowed.path)
                    .is_some_and(|before| before.is_empty() || before.ends_with('.'));
            if here {
                used[at] = true;
                replace(value, allowed.instead);
            }
        }
    });
}

fn replace(value: &mut Tree, instead: Instead) {
    match (instead, value) {
        (Presence, Tree::Value(text)) => {
            let absent = [
                "None",
                "0",
                "-1",
                "\"\"",
                "00000000-0000-0000-0000-000000000000",
            ];
            *text = match absent.contains(&text.as_str()) {
                true => "(none)".to_owned(),
                false => "(some)".to_owned(),
            };
        }
        (AnyOrder, Tree::List(items)) => items.sort(),
        (Nothing, value) => *value = Tree::Value("(any)".to_owned()),
        (Presence | AnyOrder, _) => {}
    }
}

//! What a client may do, where it asks: everything, as long as there is no authorizer.
//!
//! A bit for each of Kafka's operations: READ is 3, WRITE 4, and so on.

/// "Not asked for."
const NOT_ASKED: i32 = i32::MIN;
/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const ALL_OF_TOPIC: i32 = 0b1101_1111_1000;
/// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
const ALL_OF_CLUSTER: i32 = 0b1_1111_1010_0000;

/// Operations on a topic.
pub(super) fn of_topic(asked: bool) -> i32 {
    match asked {
        true => ALL_OF_TOPIC,
        false => NOT_ASKED,
    }
}

/// Operations on the cluster.
pub(super) fn of_cluster(asked: bool) -> i32 {
    match asked {
        true => ALL_OF_CLUSTER,
        false => NOT_ASKED,
    }
}

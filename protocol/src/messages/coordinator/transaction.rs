//! Transactions: key 0 of `__transaction_state`.

use super::record::{record, values};

record! {
    /// Where a transactional id stands. Kafka writes version 1 once `transaction.version` is at
    /// least 1, and 0 before; only version 1 can carry the tagged fields.
    pub struct TransactionLogValue {
        /// The producer in use.
        producer_id: i64,
        /// Its epoch.
        producer_epoch: i16,
        /// How long a transaction may stay open.
        transaction_timeout_ms: i32,
        /// Kafka's number of the state.
        transaction_status: i8,
        /// The partitions written to; `None` when there can be none.
        transaction_partitions: Option<Vec<TransactionPartitions>>,
        /// When this last changed, in milliseconds since 1970.
        transaction_last_update_timestamp_ms: i64,
        /// When the transaction began, in milliseconds since 1970, or -1.
        transaction_start_timestamp_ms: i64,
    }
    tagged {
        /// The producer of the last committed transaction, or -1.
        0: previous_producer_id: i64 = -1,
        /// The producer id handed out last, or -1.
        1: next_producer_id: i64 = -1,
        /// The transaction version of the client.
        2: client_transaction_version: i16 = 0,
    }
}

record! {
    /// Partitions of a topic in a transaction.
    pub struct TransactionPartitions {
        /// The topic.
        topic: String,
        /// Its partitions.
        partition_ids: Vec<i32>,
    }
}

values! {
    TransactionLogValue: 0..=1, flexible from 1;
}

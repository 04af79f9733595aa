//! Kafka record batches (magic 2).

//! A Kafka client in pure Rust, for everything inside that speaks to a broker: `rkctl`, and later
//! the registry, the connect workers and the console. It works against Apache Kafka as against Reka.
//!
//! | Read | For |
//! |---|---|
//! | [`config`] | where the cluster is and how patient the client is |
//! | [`security`] | TLS, logins, and the same from settings under Kafka's names |
//! | [`error`] | what can go wrong, and whether trying again can help |
//! | [`client`] | the way a request takes: pick a broker, send, try again until the deadline |
//! | [`metadata`] | what is known of the cluster; pure |
//! | [`pool`], [`connection`] | connections by broker; one connection with requests in flight |
//! | [`negotiate`], [`backoff`] | which version to speak, how long to wait; pure |
//! | [`producer`] | records into batches, batches to leaders, none lost and none twice |
//! | [`consumer`] | records of partitions, from positions that can be moved and kept |
//! | [`embedded`] | what members of classic groups tell each other; pure |
//! | [`admin`] | topics, configurations, groups, transactions, the cluster: a file per subject |
//!
//! What servers send is trusted no more than what clients send: frames are bounded, and every answer
//! goes through the bounds guard before it is decoded. Nothing waits without a deadline.
//!
//! ```no_run
//! # async fn example() -> Result<(), reka_client::ClientError> {
//! use reka_client::{Client, ClientConfig};
//!
//! let client = Client::new(ClientConfig::new("localhost:9092".parse()?));
//! for topic in client.list_topics().await? {
//!     println!("{} has {} partitions", topic.name, topic.partitions.len());
//! }
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod client;
pub mod config;
pub mod consumer;
pub mod error;
pub mod metadata;
pub mod producer;
pub mod security;

pub mod backoff;
pub mod connection;
pub mod embedded;
pub mod negotiate;
pub mod pool;

pub use client::{Client, Coordinator, Target};
pub use config::{Address, Bootstrap, ClientConfig};
pub use consumer::{
    Assignor, Consumer, ConsumerConfig, ConsumerRecord, Event, Fetched, GroupConfig, GroupConsumer,
    GroupProtocol, OffsetReset,
};
pub use error::{ClientError, Outcome, Refusal};
pub use metadata::{Broker, PartitionInfo, TopicInfo, TopicPartition};
pub use producer::{
    Acks, Delivered, Delivery, Producer, ProducerConfig, ProducerRecord, TransactionalConfig,
};
pub use security::Security;

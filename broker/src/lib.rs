//! The broker: a Kafka that stock clients cannot tell from Apache Kafka.
//!
//! In reading order, which is the order a request takes:
//!
//! | Module | Owns |
//! |---|---|
//! | [`config`] | typed configuration |
//! | [`node`] | the one place where parts are built and joined, and shut down in reverse |
//! | [`net`] | listeners, shards, connections: frames in, answers out, in order |
//! | [`dispatch`] | from a frame to its handler |
//! | [`api`] | one file per API key, one table that lists them |
//! | [`partition`] | a partition's log, how far it is visible, who waits for it |
//! | [`group`] | who reads what, and how far they have come |
//! | [`metadata`] | reading the cluster's metadata, and keeping the partitions here in step with it |
//! | [`background`] | what happens by the clock: flush, retention, compaction, checkpoints |
//! | [`loggers`] | how much each part tells, changeable at run time |
//! | [`clock`] | the one clock |
//!
//! Nothing depends on this crate but the executable.

pub mod api;
pub mod background;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod group;
pub mod loggers;
pub mod metadata;
pub mod net;
pub mod node;
pub mod partition;

pub use config::Config;
pub use node::Node;

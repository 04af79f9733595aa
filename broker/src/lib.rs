//! The broker: a Kafka that stock clients cannot tell from Apache Kafka.
//!
//! In reading order, which is the order a request takes:
//!
//! | Module | Owns |
//! |---|---|
//! | [`config`] | typed configuration |
//! | [`node`] | the one place where parts are built and joined, and shut down in reverse |
//! | `directories`, `beginning` | which data directories there are, and whether metadata may begin |
//! | [`net`] | listeners, shards, connections: frames in, answers out, in order |
//! | [`dispatch`] | from a frame to its handler |
//! | [`api`] | one file per API key, one table that lists them |
//! | [`partition`] | a partition's log, how far it is visible, who waits for it |
//! | [`fetch_session`] | what a client fetches again and again |
//! | [`coordinator`] | what coordinators have in common |
//! | [`group`] | who reads what, and how far they have come |
//! | [`txn`] | what a producer's transaction has reached, and how it ends |
//! | [`metadata`] | reading the cluster's metadata, and keeping the partitions here in step with it |
//! | [`background`], `cleaner` | what happens by the clock: flush, retention, checkpoints; compaction |
//! | [`metrics`], [`http`] | what is told of all this, and where |
//! | [`loggers`] | how much each part tells, changeable at run time |
//! | [`seams`], [`clock`] | what a node takes from the world |
//!
//! Nothing depends on this crate but the executable.

pub mod api;
pub mod background;
mod beginning;
mod cleaner;
pub mod clock;
pub mod config;
pub mod coordinator;
mod directories;
pub mod dispatch;
pub mod fetch_session;
pub mod group;
pub mod http;
pub mod loggers;
pub mod metadata;
pub mod metrics;
pub mod net;
pub mod node;
pub mod partition;
pub mod seams;
#[cfg(test)]
mod simulation;
pub mod txn;

pub use config::Config;
pub use node::Node;

//! Partition logs in Apache Kafka's on-disk format.
//!
//! The engine is synchronous and knows record batches, not requests. In reading
//! order:
//!
//! - [`mod@format`]: names and sizes; [`fs`]: the one door to the disk, with a disk
//!   in memory whose power can be cut and one that fails on demand; `mapped`: the
//!   only `unsafe`, `living_maps`: why it is sound, [`map_budget`]: how many maps.
//! - [`error`]: what can go wrong, by what was being done; [`config`]: a topic's settings.
//! - `segment`: a data file with its indexes (`offset_index` and `time_index` over
//!   `index_file`, [`txn_index`]).
//! - [`producer_state`] and its stored form `producer_snapshot`, [`epochs`],
//!   [`partition_metadata`]: what a partition remembers beside its batches.
//! - [`checkpoint`]: offsets of many partitions in one file; [`env`](mod@env): what the
//!   logs of a directory share.
//! - [`log`]: append, roll, truncate, raise the start; [`append`]: what may be
//!   appended; [`reader`]: what everyone else may do, without the writer's lock.
//! - [`recovery`]: what is left after a crash: scan, decide, act.
//! - [`retention`], [`compaction`]: which segments go, which records stay.
//! - [`flush`]: when to sync, and what a failed sync means ([`health`]).
//! - [`log_dir`]: a directory of partitions: lock, identity, checkpoints, loading.

pub mod append;
pub mod checkpoint;
pub mod compaction;
pub mod config;
pub mod env;
pub mod epochs;
pub mod error;
pub mod flush;
pub mod format;
pub mod fs;
pub mod health;
mod index_file;
mod living_maps;
pub mod log;
pub mod log_dir;
pub mod log_dirs;
pub mod map_budget;
mod mapped;
mod offset_index;
pub mod partition_metadata;
mod producer_snapshot;
pub mod producer_state;
pub mod reader;
pub mod recovery;
pub mod retention;
mod segment;
mod time_index;
pub mod txn_index;

pub use append::{Appended, CheckedBatches};
pub use config::LogConfig;
pub use env::Env;
pub use error::{AppendError, Corruption, LogError, OpenError, ReadError};
pub use format::TopicPartition;
pub use log::Log;
pub use log_dir::LogDir;
pub use mapped::EXIT_UNREADABLE;
pub use reader::{FoundTimestamp, LogReader, LogSlice};
pub use time_index::TimestampOffset;

//! The broker's tests, one binary: a node in this process, spoken to over TCP as clients do.

mod bad_input;
mod cleaner;
mod coordinator_logs;
mod every_version;
mod flush;
mod group_memory;
mod groups;
mod http;
mod log_dirs;
mod restart;
#[path = "../../../storage-engine/tests/it/small_disk.rs"]
mod small_disk;
mod stop;
mod support;
mod topics_and_records;
mod transactions;

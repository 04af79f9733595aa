//! Judges Reka with software nobody here wrote, with Apache Kafka as the control.
//!
//! In reading order: [`rows`] is the list of what can be run and [`runner`] runs it; a row gets a
//! [`context`] and uses the pieces below it. [`control`] is Apache Kafka as a process, with its
//! tools; [`dump`] lets its `DumpLogSegments` judge a directory of partitions; [`kafka_data`] makes
//! the test data that the storage engine is held against; [`serve`] lets it serve a directory that
//! another broker wrote, as [`our_log_dir`] is; [`reka`] is our broker as a process; [`target`] says which
//! broker a row is run against; [`clients`] runs
//! stock clients against both, [`matrix`] tells what they did; [`mod@bench`] measures both; [`fault`]
//! breaks our broker on purpose. [`process`], [`wait`], [`interrupt`] and [`ports`] are what every
//! started process needs.
//!
//! Nothing here is a broker or a client of ours: this crate starts programs, reads what they wrote
//! and judges it. How to run it and how to add a row: `README.md`.

pub mod rows;
pub mod runner;

pub mod context;
pub mod error;

pub mod bench;
pub mod cassandra;
pub mod clients;
pub mod control;
pub mod differential;
pub mod dump;
pub mod fault;
pub mod kafka_data;
pub mod kafka_it;
pub mod matrix;
pub mod our_log_dir;
pub mod reka;
pub mod serve;
pub mod target;

pub mod files;
pub mod http;
pub mod interrupt;
pub mod ports;
pub mod process;
pub mod wait;

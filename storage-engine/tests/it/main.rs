//! The engine's tests, one binary. Each file is one way of looking at it.

mod compaction;
mod crash;
mod documentation;
mod golden;
mod kafka_files;
mod model;
#[path = "../../examples/write-kafka-dir/seen.rs"]
mod seen;
mod support;

//! The engine's tests, one binary. Each file is one way of looking at it.

mod allocation;
mod bad_input;
mod compaction;
mod corruption;
mod crash;
mod documentation;
mod exhausted;
mod faults;
mod golden;
mod kafka_files;
mod lookups;
mod missing;
mod model;
mod passes;
mod policy;
mod producers;
mod real_disk;
mod reopening;
mod replay;
#[path = "../../examples/write-kafka-dir/seen.rs"]
mod seen;
mod several_dirs;
mod small_disk;
mod support;
mod texts;
mod unreadable;

//! Tests that need neither Java nor a broker: what the runner reads is captured under `testdata/`.

mod broken;
mod dump_output;
mod kafka_data;
mod runner;

//! A log directory written by our storage engine, for Apache Kafka to judge.
//!
//! The contract: `cargo run -p reka-storage --example write-kafka-dir -- DIR` writes partitions
//! `DIR/<topic>-0/` as cleanly closed logs leave them, or with a second argument `killed` as a process
//! leaves them that dies after its checkpoints were stored (every codec, committed and aborted
//! transactions, several segments, a compacted topic), all in leader epoch 0, and
//!
//! - `DIR/manifest.json`, see [`crate::dump::manifest`];
//! - `DIR/expected/<topic>-0.jsonl`: the records as our own reader gives them, in the form of
//!   `storage-engine/tests/testdata/kafka-4.3.1/README.md`; a field left out is not compared.
//!
//! `expected/` is no partition: it has no files the dump tool reads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::context::Context;
use crate::dump::judge::Stop;
use crate::error::Result;
use crate::process::Process;

const EXAMPLE: &str = "write-kafka-dir";
const WRITE_TIME_MAX: Duration = Duration::from_secs(900);

/// Builds and runs it; gives the folder it filled.
pub fn write(ctx: &Context, stop: Stop) -> Result<PathBuf> {
    let dir = ctx.work().join("reka");
    let log = ctx.work().join("write.log");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(ctx.checkout())
        .args(["run", "--locked", "-q", "-p", "reka-storage"])
        .args(["--example", EXAMPLE, "--"])
        .arg(&dir);
    if stop == Stop::Killed {
        cargo.arg("killed");
    }
    let step = "write a log directory with our storage engine";
    Process::start(step, &mut cargo, Path::new(&log), &log)?.finish(WRITE_TIME_MAX)?;
    Ok(dir)
}

//! Apache Kafka's `DumpLogSegments` on segments written by our storage engine.
//!
//! The contract: `cargo run -p reka-storage --example write-kafka-dir -- DIR` writes partitions
//! `DIR/<topic>-0/` as a cleanly closed log leaves them: every codec, committed and aborted
//! transactions, several segments, a compacted topic; and `DIR/manifest.json`, see
//! [`crate::dump::manifest`]. At least one topic without gaps must have an aborted transaction and
//! indexes of four entries, or the sabotage finds nothing to break and the row fails.

use std::process::Command;
use std::time::Duration;

use crate::context::Context;
use crate::control::java::Java;
use crate::dump::judge::{Stop, judge, sum};
use crate::dump::manifest::Manifest;
use crate::dump::sabotage;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Row, Tier, Verdict};

const EXAMPLE: &str = "write-kafka-dir";
const WRITE_TIME_MAX: Duration = Duration::from_secs(900);

pub(super) const ROW: Row = Row {
    name: "dump-log",
    tiers: &[Tier::Ci],
    about: "DumpLogSegments accepts what our storage engine wrote, and refuses it broken",
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let examples = ctx.checkout().join("storage-engine/examples");
    let single = examples.join(format!("{EXAMPLE}.rs"));
    if !single.exists() && !examples.join(EXAMPLE).is_dir() {
        let why = format!("{} does not exist yet", single.display());
        return Ok(Verdict::Skipped(why));
    }
    let log_dir = ctx.work().join("reka");
    let log = ctx.work().join("write.log");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(ctx.checkout())
        .args(["run", "--locked", "-q", "-p", "reka-storage"])
        .args(["--example", EXAMPLE, "--"])
        .arg(&log_dir);
    Process::start(
        "write a log directory with our storage engine",
        &mut cargo,
        &log,
        &log,
    )?
    .finish(WRITE_TIME_MAX)?;

    let java = Java::kafka(ctx)?;
    let manifest: Manifest = files::read_json(&log_dir.join("manifest.json"))?;
    let work = ctx.work().join("judge");
    let findings = judge(&java, &log_dir, &manifest, Stop::Clean, &work)?;
    if let Some(first) = findings.first() {
        let finding = format!("{first} (and {} more)", findings.len() - 1);
        return Err(Error::refused(
            "judge what our storage engine wrote",
            finding,
        ));
    }
    let tried = sabotage::prove(&java, &log_dir, &manifest, &work)?;
    Ok(Verdict::Passed(format!(
        "{:?}, {tried} breakages seen",
        sum(&manifest)
    )))
}

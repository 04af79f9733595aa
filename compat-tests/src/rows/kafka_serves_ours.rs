//! Apache Kafka serves a directory our storage engine wrote: its broker trusts our indexes and
//! producer snapshots, and its consumer reads what our reader reads.

use crate::context::Context;
use crate::control::java::Java;
use crate::dump::manifest::Manifest;
use crate::error::Result;
use crate::files;
use crate::our_log_dir;
use crate::rows::{Row, Tier, Verdict};
use crate::serve;

pub(super) const ROW: Row = Row {
    name: "kafka-serves-ours",
    tiers: &[Tier::Ci],
    about: "Apache Kafka serves what our storage engine wrote, record for record",
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    if let Some(source) = our_log_dir::missing(ctx) {
        return Ok(Verdict::Skipped(format!(
            "{} does not exist yet",
            source.display()
        )));
    }
    let dir = our_log_dir::write(ctx)?;
    let java = Java::with_our_classes(ctx)?;
    let manifest: Manifest = files::read_json(&dir.join("manifest.json"))?;
    let topics: Vec<String> = manifest.into_keys().collect();
    let seen = serve::serve(ctx, &java, &dir, &topics)?;
    let records = serve::compare(&dir.join("expected"), &seen, &topics)?;
    Ok(Verdict::Passed(format!(
        "{records} records in {} topics",
        topics.len()
    )))
}

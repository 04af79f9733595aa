//! Apache Kafka serves a directory our storage engine wrote: its broker trusts our indexes and
//! producer snapshots, and its consumer reads what our reader reads. And the same with a directory
//! that a kill of ours left: then Kafka recovers it first.

use crate::context::Context;
use crate::control::java::Java;
use crate::dump::judge::Stop;
use crate::dump::manifest::Manifest;
use crate::error::Result;
use crate::files;
use crate::our_log_dir;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::serve;

pub(super) const ROW: Row = Row {
    name: "kafka-serves-ours",
    tiers: &[Tier::Ci],
    about: "Apache Kafka serves what our storage engine wrote, record for record",
    judges: Judges::Reka,
    run: |ctx| run(ctx, Stop::Clean),
};

pub(super) const AFTER_A_KILL: Row = Row {
    name: "kafka-recovers-ours",
    tiers: &[Tier::Ci],
    about: "Apache Kafka recovers and serves what our storage engine left when it was killed",
    judges: Judges::Reka,
    run: |ctx| run(ctx, Stop::Killed),
};

fn run(ctx: &Context, stop: Stop) -> Result<Verdict> {
    let dir = our_log_dir::write(ctx, stop)?;
    let java = Java::with_our_classes(ctx)?;
    let manifest: Manifest = files::read_json(&dir.join("manifest.json"))?;
    let topics: Vec<String> = manifest.into_keys().collect();
    let seen = serve::serve(ctx, &java, &dir, stop, &topics)?;
    let records = serve::compare(&dir.join("expected"), &seen, &topics)?;
    Ok(Verdict::Passed(format!(
        "{records} records in {} topics",
        topics.len()
    )))
}

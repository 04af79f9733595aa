//! Apache Kafka's `DumpLogSegments` on segments written by our storage engine. At least one of its
//! topics without gaps must have an aborted transaction and indexes of four entries, or the
//! sabotage finds nothing to break and the row fails.

use crate::context::Context;
use crate::control::java::Java;
use crate::dump::judge::{Stop, accept, sum};
use crate::dump::manifest::Manifest;
use crate::dump::sabotage;
use crate::error::Result;
use crate::files;
use crate::our_log_dir;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "dump-log",
    tiers: &[Tier::Ci],
    about: "DumpLogSegments accepts what our storage engine wrote, and refuses it broken",
    judges: Judges::Reka,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let dir = our_log_dir::write(ctx, Stop::Clean)?;
    let java = Java::kafka(ctx)?;
    let manifest: Manifest = files::read_json(&dir.join("manifest.json"))?;
    let work = ctx.work().join("judge");
    accept(&java, &dir, &manifest, Stop::Clean, &work)?;
    let tried = sabotage::prove(&java, &dir, &manifest, &work)?;
    Ok(Verdict::Passed(format!(
        "{}, {tried} breakages seen",
        sum(&manifest)
    )))
}

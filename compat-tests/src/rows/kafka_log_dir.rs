//! The judges of log directories before anything of ours is judged: they accept what Apache Kafka
//! wrote, and refuse the same once something in it is broken.

use crate::context::Context;
use crate::control::java::Java;
use crate::dump::judge::{Stop, accept, sum};
use crate::dump::manifest::Manifest;
use crate::dump::sabotage;
use crate::error::Result;
use crate::files;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "kafka-log-dir",
    tiers: &[Tier::Ci],
    about: "DumpLogSegments accepts the committed data of Apache Kafka, and refuses it broken",
    judges: Judges::Kafka,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let mut seen = Vec::new();
    for (name, stop) in [("clean", Stop::Clean), ("killed", Stop::Killed)] {
        let life = ctx.kafka_data().join(name);
        let log_dir = life.join("log-dir");
        let manifest: Manifest = files::read_json(&life.join("expected/manifest.json"))?;
        let work = ctx.work().join(name);
        accept(&java, &log_dir, &manifest, stop, &work)?;
        seen.push(format!("{name}: {}", sum(&manifest)));
        if stop == Stop::Clean {
            let tried = sabotage::prove(&java, &log_dir, &manifest, &work)?;
            seen.push(format!("{tried} breakages seen"));
        }
    }
    Ok(Verdict::Passed(seen.join(", ")))
}

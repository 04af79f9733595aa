//! The judge of log directories before anything of ours is judged: it accepts what Apache Kafka
//! wrote, and refuses the same once something in it is broken.

use crate::context::Context;
use crate::control::java::Java;
use crate::dump::judge::{Stop, judge, sum};
use crate::dump::manifest::Manifest;
use crate::dump::sabotage;
use crate::error::{Error, Result};
use crate::files;
use crate::rows::{Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "kafka-log-dir",
    tiers: &[Tier::Ci],
    about: "DumpLogSegments accepts the committed data of Apache Kafka, and refuses it broken",
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let mut seen = Vec::new();
    for (name, stop) in [("clean", Stop::Clean), ("killed", Stop::Killed)] {
        let dir = ctx.kafka_data().join(name);
        let manifest: Manifest = files::read_json(&dir.join("expected/manifest.json"))?;
        let work = ctx.work().join(name);
        let findings = judge(&java, &dir.join("log-dir"), &manifest, stop, &work)?;
        if let Some(first) = findings.first() {
            let finding = format!("{first} (and {} more)", findings.len() - 1);
            return Err(Error::refused(format!("judge {}", dir.display()), finding));
        }
        if stop == Stop::Clean {
            let tried = sabotage::prove(&java, &dir.join("log-dir"), &manifest, &work)?;
            seen.push(format!("{tried} breakages seen"));
        }
        seen.push(format!("{name}: {} records", sum(&manifest).records));
    }
    Ok(Verdict::Passed(seen.join(", ")))
}

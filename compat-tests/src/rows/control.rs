//! The control itself: Apache Kafka comes up, answers, and stops cleanly.

use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::error::Result;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "control",
    tiers: &[Tier::Ci],
    about: "Apache Kafka 4.3.1 starts, answers a metadata request and stops cleanly",
    judges: Judges::Kafka,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let kafka = Kafka::start(&java, &ctx.work().join("kafka"), &[])?;
    let address = kafka.address();
    kafka.stop()?;
    Ok(Verdict::Passed(format!("answered on {address}")))
}

//! Apache Kafka's own integration tests against our process, by suite; and of the suite `core` what
//! is quick enough for every commit. `REKA_KIT_CLASS` runs only the classes whose names match.

use crate::context::Context;
use crate::error::Result;
use crate::kafka_it;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "kafka-it",
    tiers: &[Tier::Ci],
    about: "Apache Kafka's own tests of committed offsets and of joining groups pass against Reka",
    judges: Judges::Reka,
    run: |ctx| judge(ctx, "core", QUICK),
};

pub(super) const CORE: Row = Row {
    name: "kafka-it-core",
    tiers: &[Tier::Release],
    about: "Apache Kafka's own tests of single requests (suite core), but for what is listed",
    judges: Judges::Reka,
    run: |ctx| judge(ctx, "core", &wanted()),
};

pub(super) const TOOLS: Row = Row {
    name: "kafka-it-tools",
    tiers: &[Tier::Release],
    about: "Apache Kafka's own tests of its command line tools (suite tools), but for what is listed",
    judges: Judges::Reka,
    run: |ctx| judge(ctx, "tools", &wanted()),
};

pub(super) const SERVER: Row = Row {
    name: "kafka-it-server",
    tiers: &[Tier::Release],
    about: "Apache Kafka's own tests of the server (suite server), but for what is listed",
    judges: Judges::Reka,
    run: |ctx| judge(ctx, "server", &wanted()),
};

pub(super) const CONNECT: Row = Row {
    name: "kafka-it-connect",
    tiers: &[Tier::Release],
    about: "Apache Kafka's own tests of Connect's workers (suite connect) pass against Reka",
    judges: Judges::Reka,
    run: |ctx| judge(ctx, "connect", &wanted()),
};

/// About a minute and a half.
const QUICK: &str = "server.(OffsetCommit|OffsetFetch|OffsetDelete|DeleteGroups|JoinGroup|\
                     ConsumerGroupDescribe|ConsumerGroupHeartbeat)RequestTest$";

fn wanted() -> String {
    let chosen = std::env::var("REKA_KIT_CLASS");
    chosen
        .ok()
        .filter(|classes| !classes.is_empty())
        .unwrap_or_else(|| ".".to_owned())
}

fn judge(ctx: &Context, suite: &str, classes: &str) -> Result<Verdict> {
    let score = kafka_it::run(ctx, suite, classes)?;
    let excepted: usize = score.excepted.values().sum();
    let reasons = score.excepted.iter();
    let reasons: Vec<String> = reasons
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    Ok(Verdict::Passed(format!(
        "{} passed, {excepted} listed ({})",
        score.passed,
        reasons.join("; ")
    )))
}

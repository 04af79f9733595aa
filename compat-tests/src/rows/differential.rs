//! The same requests to Apache Kafka and to Reka: the answers must be the same.

use std::collections::BTreeSet;

use reka_protocol::kafka_protocol::messages::ApiVersionsRequest;

use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::{CLUSTER_ID, Kafka};
use crate::differential::{Outcome, Pair, SCRIPTS};
use crate::error::{Error, Result};
use crate::files;
use crate::reka::Reka;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "differential",
    tiers: &[Tier::Ci],
    about: "the same requests to Apache Kafka and to Reka, answers compared field by field",
    judges: Judges::Both,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    // With eligible leader replicas Apache Kafka sets min.insync.replicas for the cluster itself.
    let features = ["eligible.leader.replicas.version=0"];
    let home = ctx.work().join("kafka");
    let kafka = Kafka::start_with_features(&java, &home, OVERDUE_AT_ONCE, &features)?;
    let server = Reka::build(ctx)?;
    let cluster = [("CLUSTER_ID", CLUSTER_ID)];
    let reka = Reka::start_with(
        &server,
        &ctx.work().join("reka"),
        &cluster,
        LIKE_THE_CONTROL,
    )?;
    let mut pair = Pair::new(kafka.address(), reka.address());
    // What Reka advertises has to be asked for; ApiVersions itself lists what differs on purpose.
    let told = pair.ask_quietly(4, |_| ApiVersionsRequest::default())?;
    let advertised: BTreeSet<(i16, i16)> = told
        .reka
        .iter()
        .flat_map(|answer| &answer.api_keys)
        .filter(|api| !NOT_COMPARED.contains(&api.api_key))
        .flat_map(|api| (api.min_version..=api.max_version).map(|version| (api.api_key, version)))
        .collect();
    for (name, script) in SCRIPTS {
        pair.begin(name);
        script(&mut pair)?;
    }
    let Outcome {
        score,
        asked,
        stale,
    } = pair.finish();
    kafka.stop()?;
    reka.stop()?;
    let report = ctx.work().join("differences.txt");
    files::write(&report, score.differences.join("\n"))?;
    let missed: Vec<_> = advertised.difference(&asked).collect();
    if !missed.is_empty() {
        let finding = format!("api and version: {missed:?}");
        return Err(Error::refused(
            "ask for everything that is advertised",
            finding,
        ));
    }
    if !score.differences.is_empty() {
        let finding = format!(
            "{} differences in {} requests (Apache Kafka | Reka), all in {}:\n{}",
            score.differences.len(),
            score.requests,
            report.display(),
            score.differences[..score.differences.len().min(SHOWN)].join("\n")
        );
        return Err(Error::refused("compare the answers", finding));
    }
    if !stale.is_empty() {
        let finding = format!("no answer needed them: {stale:?}");
        return Err(Error::refused("allow differences", finding));
    }
    Ok(Verdict::Passed(format!("{} requests", score.requests)))
}

/// What the control is configured with, where that is not the default.
const LIKE_THE_CONTROL: &[&str] = &[
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=100",
];

/// Overdue transactions are looked for all the time.
const OVERDUE_AT_ONCE: &[&str] =
    &["transaction.abort.timed.out.transaction.cleanup.interval.ms=100"];

const SHOWN: usize = 20;

/// ApiVersions: its answer is what Reka is able to do. Produce before version 3, which is
/// advertised for old clients and refused by both, in words that cannot be decoded.
const NOT_COMPARED: [i16; 1] = [18];

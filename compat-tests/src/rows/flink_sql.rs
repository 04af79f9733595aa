//! Flink SQL over the connectors `kafka` and `upsert-kafka`, and reads of Flink's source that end, that find
//! partitions and that find topics: the checks of one program, on Apache Kafka and then on Reka.

use std::time::Duration;

use super::flink::settings;
use super::raw::seed_of_now;
use crate::clients::{checks, prepare};
use crate::context::Context;
use crate::control::java::Java;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target;

pub(super) const ROW: Row = Row {
    name: "flink-sql",
    // Not in the commit tier: a minute on each broker.
    tiers: &[Tier::Nightly],
    about: "Flink SQL with kafka and upsert-kafka, bounded reads, partitions and topics that appear",
    judges: Judges::Any,
    run,
};

/// Above the deadlines of the program itself, so that a check says what it waited for.
const TIME_MAX: Duration = Duration::from_secs(900);

fn run(ctx: &Context) -> Result<Verdict> {
    let sources = ctx.client_sources("flink-sql");
    let jars = prepare::maven(ctx, "flink-sql", &sources.join("pom.xml"))?;
    let java = Java::with_classes_of(ctx, &jars, &sources.join("src"))?;
    let told = target::each_told(ctx, &settings(), |target| {
        let step = format!("run Flink SQL against {}", target.name());
        let (out, log) = (target.home().join("sql.out"), target.home().join("sql.log"));
        let mut command = java.command("Sql", "WARN");
        // A broker that stays has seen other runs.
        let prefix = format!("sql-{:x}-", seed_of_now());
        command.arg(prefix).arg(target.address().to_string());
        let status = Process::start(&step, &mut command, &out, &log)?.end(TIME_MAX)?;
        let made = checks::parse(&step, &files::read_text(&out)?)?;
        let failed = made.iter().filter(|check| !check.ok);
        let failed: Vec<String> = failed
            .map(|check| format!("`{}` ({})", check.check, check.why))
            .collect();
        if !failed.is_empty() || made.is_empty() || !status.success() {
            let (count, failed, log) = (made.len(), failed.join(", "), log.display());
            let finding = format!("of {count} checks failed: {failed}; log: {log}");
            return Err(Error::refused(step, finding));
        }
        Ok(format!("{} checks", made.len()))
    })?;
    Ok(Verdict::Passed(told))
}

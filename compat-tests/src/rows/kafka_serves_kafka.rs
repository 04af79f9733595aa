//! The method of [`super::kafka_serves_ours`] on data Apache Kafka itself wrote, so that a failure
//! of that row says something about our files; and proof that it can fail.

use crate::context::Context;
use crate::control::java::Java;
use crate::dump::judge::Stop;
use crate::dump::manifest::Manifest;
use crate::error::{Error, Result};
use crate::files;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::serve;

pub(super) const ROW: Row = Row {
    name: "kafka-serves-kafka",
    tiers: &[Tier::Ci],
    about: "Apache Kafka serves its committed data out of a directory copied into place",
    judges: Judges::Kafka,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::with_our_classes(ctx)?;
    let life = ctx.kafka_data().join("clean");
    let expected = life.join("expected");
    let manifest: Manifest = files::read_json(&expected.join("manifest.json"))?;
    // The coordinator's own topic is not one a client may create.
    let topics: Vec<String> = manifest
        .into_keys()
        .filter(|topic| !topic.starts_with("__"))
        .collect();
    let seen = serve::serve(ctx, &java, &life.join("log-dir"), Stop::Clean, &topics)?;
    let records = serve::compare(&expected, &seen, &topics)?;
    notices_a_change(&expected, &seen, &topics)?;
    Ok(Verdict::Passed(format!(
        "{records} records in {} topics",
        topics.len()
    )))
}

/// One offset changed, one record left out: both must be noticed.
fn notices_a_change(
    expected: &std::path::Path,
    seen: &std::path::Path,
    topics: &[String],
) -> Result<()> {
    let Some(topic) = topics.first() else {
        return Err(Error::refused("serve", "the manifest names no topic"));
    };
    let name = format!("{topic}-0.jsonl");
    let good = files::read_text(&seen.join(&name))?;
    let shorter = good.lines().skip(1).collect::<Vec<_>>().join("\n");
    for bad in [good.replacen("\"offset\":3,", "\"offset\":4,", 1), shorter] {
        let altered = seen.join("altered");
        files::make_dir(&altered)?;
        files::write(&altered.join(&name), bad)?;
        if serve::compare(expected, &altered, &topics[..1]).is_ok() {
            let finding = "an altered record was taken for the expected one";
            return Err(Error::refused(
                "prove that the comparison can fail",
                finding,
            ));
        }
    }
    Ok(())
}

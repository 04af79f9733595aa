//! Lets Apache Kafka serve a log directory that another broker wrote.
//!
//! A KRaft broker keeps only partitions whose topic id its metadata knows. So the topics are
//! created first, the broker is stopped, every file but `partition.metadata` (which holds the id)
//! is replaced, and it is started again. If the other broker stopped cleanly, the clean-shutdown
//! marker stays: Kafka trusts the indexes and producer snapshots it finds after its sanity check,
//! which is what they are to be tested by. If it was killed the marker goes, and Kafka recovers the
//! logs before it serves them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::dump::judge::Stop;
use crate::error::{Error, Result};
use crate::files;

const CLIENT_TIME_MAX: Duration = Duration::from_secs(300);
const TOPIC_ID: &str = "partition.metadata";
/// Where a log begins if not at its first segment; Kafka reads it on every start.
const LOG_START: &str = "log-start-offset-checkpoint";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// Serves `topics` out of `log_dir` and writes down what clients see, as `Expect.java` does.
/// Gives the folder it wrote.
pub fn serve(
    ctx: &Context,
    java: &Java,
    log_dir: &Path,
    stop: Stop,
    topics: &[String],
) -> Result<PathBuf> {
    let home = ctx.work().join("serve");
    let kafka = Kafka::start(java, &home, &[])?;
    let mut args = vec![kafka.address().to_string()];
    args.extend(topics.iter().cloned());
    java.run("CreateTopics", "CreateTopics", args, &home, CLIENT_TIME_MAX)?;
    let theirs = kafka.log_dir().to_owned();
    kafka.stop()?;

    for topic in topics {
        let folder = super::dump::manifest::folder(topic);
        replace(&log_dir.join(&folder), &theirs.join(&folder))?;
    }
    if log_dir.join(LOG_START).exists() {
        files::copy(&log_dir.join(LOG_START), &theirs.join(LOG_START))?;
    }

    if stop == Stop::Killed {
        let mark = theirs.join(CLEAN_SHUTDOWN);
        fs::remove_file(&mark).map_err(Error::io(format!("remove {}", mark.display())))?;
    }

    let kafka = Kafka::start(java, &home, &[])?;
    let seen = home.join("seen");
    let args = [kafka.address().to_string(), seen.display().to_string()];
    java.run("Expect", "Expect", args, &home, CLIENT_TIME_MAX)?;
    kafka.stop()?;
    Ok(seen)
}

fn replace(ours: &Path, theirs: &Path) -> Result<()> {
    for file in files::list(theirs)? {
        if files::name_of(&file) != TOPIC_ID {
            fs::remove_file(&file).map_err(Error::io(format!("remove {}", file.display())))?;
        }
    }
    files::copy_dir(ours, theirs, &|name| name != TOPIC_ID)
}

/// Compares what was seen of each topic with what is expected of it, record by record. Only the
/// fields which the expectation names are compared.
pub fn compare(expected: &Path, seen: &Path, topics: &[String]) -> Result<usize> {
    let mut records = 0;
    for topic in topics {
        let name = format!("{}.jsonl", super::dump::manifest::folder(topic));
        let expected = files::read_json_lines(&expected.join(&name))?;
        let seen = files::read_json_lines(&seen.join(&name))?;
        let step = format!("compare what Apache Kafka serves of {topic}");
        for (number, (expected, seen)) in expected.iter().zip(&seen).enumerate() {
            for (field, value) in expected.as_object().into_iter().flatten() {
                if seen.get(field) != Some(value) {
                    let finding = format!("record {number}: expected {expected}, seen {seen}");
                    return Err(Error::refused(step, finding));
                }
            }
        }
        if expected.len() != seen.len() {
            let finding = format!("expected {} records, seen {}", expected.len(), seen.len());
            return Err(Error::refused(step, finding));
        }
        records += seen.len();
    }
    Ok(records)
}

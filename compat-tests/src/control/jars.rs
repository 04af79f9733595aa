//! The jars of the control, fetched once.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;

const FETCH_TIME_MAX: Duration = Duration::from_secs(600);

/// The folder with the jars `kafka/pom.xml` asks for; Maven is only needed the first time.
pub fn fetch(ctx: &Context) -> Result<PathBuf> {
    let pom = ctx.kafka_sources().join("pom.xml");
    let home = ctx
        .cache()?
        .join(format!("kafka-{:016x}", fnv1a(&files::read(&pom)?)));
    let jars = home.join("libs");
    if jars.is_dir() {
        return Ok(jars);
    }
    files::make_dir(&home)?;
    // Under another name until it is whole: an interrupted download must not look like a cache,
    // and two runs at once must not write into one folder.
    let partial = home.join(format!("libs.{}", process::id()));
    let log = ctx.work().join("maven.log");
    eprintln!("fetching Apache Kafka with Maven into {}", jars.display());
    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", partial.display()));
    Process::start("fetch Apache Kafka with Maven", &mut maven, &log, &log)?
        .finish(FETCH_TIME_MAX)?;
    if let Err(error) = fs::rename(&partial, &jars) {
        if !jars.is_dir() {
            return Err(Error::io(format!("rename {}", partial.display()))(error));
        }
        // Another run was first; its jars are the same.
        fs::remove_dir_all(&partial).map_err(Error::io(format!("remove {}", partial.display())))?;
    }
    Ok(jars)
}

/// FNV-1a: only names a folder, and must be the same tomorrow.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

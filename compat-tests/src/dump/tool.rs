//! Runs `DumpLogSegments` over every file of some partitions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::java::{Java, Output};
use crate::dump::parse::{Dump, parse};
use crate::error::{Error, Result};
use crate::files;

const MAIN: &str = "org.apache.kafka.tools.DumpLogSegments";
const DUMP_TIME_MAX: Duration = Duration::from_secs(300);
const STEP: &str = "run DumpLogSegments";

/// Everything the tool can print.
pub const ALL: &[&str] = &["log", "index", "timeindex", "txnindex", "snapshot"];
/// What a broker checks when it opens it after a clean stop.
pub const INDEXES: &[&str] = &["index", "timeindex"];

/// The partitions in a log directory: its folders.
pub fn partitions(log_dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = files::list(log_dir)?;
    found.retain(|path| path.is_dir());
    Ok(found)
}

/// The files of every partition in `log_dir` with one of these extensions, sorted.
pub fn files(log_dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut wanted = Vec::new();
    for partition in partitions(log_dir)? {
        wanted.extend(files::list(&partition)?);
    }
    let extension = |file: &Path| Some(file.extension()?.to_str()?.to_owned());
    wanted.retain(|file| extension(file).is_some_and(|e| extensions.contains(&e.as_str())));
    Ok(wanted)
}

/// Prints everything in `files`. Printing an index also verifies it against its log.
pub fn dump(java: &Java, files: &[PathBuf], work: &Path) -> Result<Dump> {
    run(java, "dump", &["--deep-iteration"], files, work)
}

/// Verifies the indexes among `files` against their logs, and prints only what is wrong.
pub fn verify(java: &Java, files: &[PathBuf], work: &Path) -> Result<Dump> {
    let flags = ["--deep-iteration", "--verify-index-only"];
    run(java, "verify", &flags, files, work)
}

/// The check a broker makes of each index when it opens it after a clean stop.
pub fn sanity(java: &Java, files: &[PathBuf], work: &Path) -> Result<Dump> {
    run(java, "sanity", &["--index-sanity-check"], files, work)
}

fn run(java: &Java, name: &str, flags: &[&str], files: &[PathBuf], work: &Path) -> Result<Dump> {
    if files.is_empty() {
        return Err(Error::refused(STEP, "there is no file to look at"));
    }
    let list: Vec<_> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let list = list.join(",");
    let args = flags.iter().copied().chain(["--files", &list]);
    let output = java.capture(name, MAIN, args, work, DUMP_TIME_MAX)?;
    read(&output, files.len())
}

/// A failed run is a complaint and not an error: an exception is one way the tool has to say that
/// a file is bad.
fn read(output: &Output, files_asked: usize) -> Result<Dump> {
    let mut dump = parse(&output.out, &output.err)
        .map_err(|unknown| Error::refused(STEP, unknown.to_string()))?;
    if !output.status.success() {
        let file = dump.files.last().map(|file| file.path.display());
        let file = file.map_or_else(String::new, |path| format!(" at {path}"));
        let complaint = format!("the tool gave up{file}: {}", output.status);
        dump.complaints.insert(0, complaint);
        dump.gave_up = true;
    } else if dump.files.len() != files_asked {
        let finding = format!("asked for {files_asked} files, got {}", dump.files.len());
        return Err(Error::refused(STEP, finding));
    }
    Ok(dump)
}

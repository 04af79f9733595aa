//! One verdict on one log directory: the tool, the rules and the manifest together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::control::java::Java;
use crate::dump::manifest::{self, Manifest, Written};
use crate::dump::parse::Dump;
use crate::dump::rules::{self, Counts, Finding, Judged};
use crate::dump::tool;
use crate::error::{Error, Result};
use crate::files;

/// How the writer of the directory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It closed its files, so its indexes are cut to what they hold.
    Clean,
    /// It was killed, so its newest indexes end in zeros, which a broker's own sanity check
    /// refuses on opening and rebuilds.
    Killed,
}

/// Everything wrong with the partitions in `log_dir`.
pub fn judge(
    java: &Java,
    log_dir: &Path,
    manifest: &Manifest,
    stop: Stop,
    work: &Path,
) -> Result<Vec<Finding>> {
    files::make_dir(work)?;
    let mut wanted = tool::files(log_dir, tool::ALL)?;
    if stop == Stop::Killed {
        leave_out_unused_indexes(&mut wanted)?;
    }
    let dump = tool::dump(java, &wanted, work)?;
    let mut findings = complaints("DumpLogSegments", &dump);
    if dump.gave_up {
        // What it did not get to would look as if it were missing.
        return Ok(findings);
    }
    findings.extend(gaps(&dump, manifest));
    let verified = tool::verify(java, &wanted, work)?;
    findings.extend(complaints("DumpLogSegments --verify-index-only", &verified));
    let mut counts = BTreeMap::new();
    for (partition, files) in by_partition(&dump)? {
        findings.extend(rules::check(&partition, &files));
        counts.insert(partition, rules::count(&files));
    }
    findings.extend(manifest::compare(manifest, &counts));
    findings.extend(missing_indexes(log_dir)?);
    if stop == Stop::Clean {
        let sanity = tool::sanity(java, &tool::files(log_dir, tool::INDEXES)?, work)?;
        findings.extend(complaints("index sanity check", &sanity));
    }
    Ok(findings)
}

/// The same as a step of a row: anything found is an error.
pub fn accept(
    java: &Java,
    log_dir: &Path,
    manifest: &Manifest,
    stop: Stop,
    work: &Path,
) -> Result<()> {
    let findings = judge(java, log_dir, manifest, stop, work)?;
    let Some(first) = findings.first() else {
        return Ok(());
    };
    let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let list = work.join("findings.txt");
    files::write(&list, all.join("\n"))?;
    let finding = format!("{first}; {} findings in {}", all.len(), list.display());
    Err(Error::refused(
        format!("judge {}", log_dir.display()),
        finding,
    ))
}

/// The manifest of a directory somebody else wrote, from the tool's own count. Each topic in
/// `with_gaps` may miss offsets.
pub fn observe(java: &Java, log_dir: &Path, with_gaps: &[&str], work: &Path) -> Result<Manifest> {
    files::make_dir(work)?;
    let dump = tool::dump(java, &tool::files(log_dir, &["log"])?, work)?;
    if let Some(complaint) = dump.complaints.first() {
        return Err(Error::refused(
            format!("count what is in {}", log_dir.display()),
            complaint,
        ));
    }
    let mut manifest = Manifest::new();
    for (partition, files) in by_partition(&dump)? {
        let topic = partition.strip_suffix("-0").unwrap_or(&partition);
        let written = Written {
            counts: rules::count(&files),
            gaps: with_gaps.contains(&topic),
        };
        manifest.insert(topic.into(), written);
    }
    Ok(manifest)
}

fn complaints(place: &str, dump: &Dump) -> Vec<Finding> {
    let complaints = dump.complaints.iter();
    complaints
        .map(|what| Finding {
            place: place.into(),
            what: what.clone(),
        })
        .collect()
}

fn gaps(dump: &Dump, manifest: &Manifest) -> Vec<Finding> {
    let expected = |partition: &str| {
        let topic = partition.strip_suffix("-0").unwrap_or(partition);
        manifest.get(topic).is_some_and(|written| written.gaps)
    };
    let mut findings = Vec::new();
    for gap in &dump.gaps {
        let partition = gap.path.parent().map(files::name_of).unwrap_or_default();
        if gap.before >= 0 && !expected(&partition) {
            findings.push(Finding {
                place: format!("{partition}/{}", files::name_of(&gap.path)),
                what: format!("offset {} is followed by {}", gap.before, gap.after),
            });
        }
    }
    findings
}

fn by_partition(dump: &Dump) -> Result<BTreeMap<String, Vec<Judged<'_>>>> {
    let mut partitions: BTreeMap<String, Vec<Judged<'_>>> = BTreeMap::new();
    for file in &dump.files {
        let partition = file.path.parent().map(files::name_of).unwrap_or_default();
        partitions.entry(partition).or_default().push(Judged {
            dump: file,
            content: files::read(&file.path)?,
        });
    }
    Ok(partitions)
}

/// The tool takes the first entry for a real one, whatever it holds, so that it finds fault with
/// an index that was preallocated and not used before the kill.
fn leave_out_unused_indexes(wanted: &mut Vec<PathBuf>) -> Result<()> {
    let mut used = Vec::new();
    for file in wanted.drain(..) {
        let is_index = file
            .extension()
            .is_some_and(|e| e == "index" || e == "timeindex");
        let content = files::read(&file)?;
        let unused = is_index && !content.is_empty() && content.iter().all(|byte| *byte == 0);
        if !unused {
            used.push(file);
        }
    }
    *wanted = used;
    Ok(())
}

/// A log without its two indexes is one a broker would have to repair.
fn missing_indexes(log_dir: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for log in tool::files(log_dir, &["log"])? {
        for extension in tool::INDEXES {
            let index = log.with_extension(extension);
            if !index.exists() {
                let partition = index.parent().map(files::name_of).unwrap_or_default();
                findings.push(Finding {
                    place: format!("{partition}/{}", files::name_of(&index)),
                    what: "is missing".into(),
                });
            }
        }
    }
    Ok(findings)
}

/// The counts as one line for a report.
#[must_use]
pub fn sum(manifest: &Manifest) -> Counts {
    manifest
        .values()
        .fold(Counts::default(), |sum, written| Counts {
            records: sum.records + written.counts.records,
            batches: sum.batches + written.counts.batches,
            segments: sum.segments + written.counts.segments,
        })
}

//! Proof that the judge can fail: copies of a good directory, each with one thing broken.

use std::path::{Path, PathBuf};

use crate::control::java::Java;
use crate::dump::judge::{self, Stop};
use crate::dump::manifest::Manifest;
use crate::dump::tool;
use crate::error::{Error, Result};
use crate::files;

/// One way to break a file.
struct Breakage {
    name: &'static str,
    /// Part of what the judge says, one of these, so that it does not refuse for another reason.
    seen_as: &'static [&'static str],
    extension: &'static str,
    /// The file must be this long for the breakage to hit something.
    size_min: usize,
    apply: fn(&mut Vec<u8>),
}

const BREAKAGES: &[Breakage] = &[
    Breakage {
        name: "a byte of a record flipped",
        // The tool itself stops where a codec does.
        seen_as: &["checksum is wrong", "the tool gave up"],
        extension: "log",
        size_min: 100,
        apply: |log| log[99] ^= 0x01,
    },
    Breakage {
        name: "the last batch cut short",
        seen_as: &["of which batches fill"],
        extension: "log",
        size_min: 100,
        apply: |log| log.truncate(log.len() - 7),
    },
    Breakage {
        name: "zeros behind the last batch",
        seen_as: &["CorruptRecordException"],
        extension: "log",
        size_min: 100,
        apply: |log| log.resize(log.len() + 4096, 0),
    },
    Breakage {
        name: "an index entry with a wrong offset",
        seen_as: &["Mismatches in"],
        extension: "index",
        size_min: 16,
        apply: |index| index[3] ^= 0x01,
    },
    Breakage {
        name: "an index entry with a wrong position",
        // What is read one byte off may be taken for a batch, or not.
        seen_as: &["the tool gave up", "Mismatches in"],
        extension: "index",
        size_min: 16,
        apply: |index| index[7] ^= 0x01,
    },
    Breakage {
        name: "an index entry of zeros in front of others",
        seen_as: &["behind the last entry"],
        extension: "index",
        size_min: 32,
        apply: |index| index[8..16].fill(0),
    },
    Breakage {
        name: "a time index entry with a wrong time",
        seen_as: &["Found timestamp mismatch"],
        extension: "timeindex",
        size_min: 24,
        apply: |index| index[7] ^= 0x01,
    },
    Breakage {
        name: "a time index entry with a wrong offset",
        seen_as: &["are not found in", "Found timestamp mismatch"],
        extension: "timeindex",
        size_min: 24,
        apply: |index| index[11] ^= 0x01,
    },
    Breakage {
        name: "an aborted transaction left out of the index",
        seen_as: &["no transaction index knows"],
        extension: "txnindex",
        size_min: 34,
        apply: |index| index.truncate(index.len() - 34),
    },
    Breakage {
        name: "a producer snapshot with a wrong byte",
        seen_as: &["Snapshot is corrupt"],
        extension: "snapshot",
        size_min: 30,
        apply: |snapshot| snapshot[20] ^= 0x01,
    },
];

/// Breaks copies of `log_dir` one by one; an error names the first that the judge lets pass.
/// Gives the number of breakages tried.
pub fn prove(java: &Java, log_dir: &Path, manifest: &Manifest, work: &Path) -> Result<usize> {
    for (number, breakage) in BREAKAGES.iter().enumerate() {
        let step = format!("prove that the judge sees {}", breakage.name);
        let victim = victim(log_dir, breakage, manifest, &step)?;
        let work = work.join(format!("sabotage-{number}"));
        let copy = work.join("log-dir");
        // Only the partition concerned: the others are as good as before.
        let folder = victim.parent().map(files::name_of).unwrap_or_default();
        files::copy_dir(&log_dir.join(&folder), &copy.join(&folder), &|_| true)?;
        let target = copy.join(&folder).join(files::name_of(&victim));
        let mut content = files::read(&target)?;
        (breakage.apply)(&mut content);
        files::write(&target, content)?;
        let mut only = manifest.clone();
        only.retain(|topic, _| *folder == super::manifest::folder(topic));
        let findings = judge::judge(java, &copy, &only, Stop::Killed, &work)?;
        let expected = |what: &str| breakage.seen_as.iter().any(|seen| what.contains(seen));
        if !findings.iter().any(|finding| expected(&finding.what)) {
            let finding = format!("broken: {}, found: {findings:?}", target.display());
            return Err(Error::refused(step, finding));
        }
    }
    Ok(BREAKAGES.len())
}

/// The first file that is long enough, in a topic without gaps: there the judge knows most.
fn victim(log_dir: &Path, breakage: &Breakage, manifest: &Manifest, step: &str) -> Result<PathBuf> {
    for partition in tool::partitions(log_dir)? {
        let name = files::name_of(&partition);
        let topic = name.strip_suffix("-0").unwrap_or(&name);
        if manifest.get(topic).is_none_or(|written| written.gaps) {
            continue;
        }
        for file in files::list(&partition)? {
            let fits = file.extension().is_some_and(|e| e == breakage.extension)
                && files::read(&file)?.len() >= breakage.size_min;
            if fits {
                return Ok(file);
            }
        }
    }
    let finding = format!(
        "no .{} of {} bytes in {}",
        breakage.extension,
        breakage.size_min,
        log_dir.display()
    );
    Err(Error::refused(step, finding))
}

//! What the writer of a log directory says it wrote: `manifest.json`, topic by topic.
//!
//! ```json
//! { "orders": { "records": 640, "batches": 80, "segments": 4, "gaps": false } }
//! ```
//!
//! The partition's folder is `<topic>-0`. `gaps` (false if absent) says that offsets may be
//! missing, as after compaction. `records` counts what is in the files: no markers, but aborted
//! records, and records below a log start offset that was moved up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dump::rules::{Counts, Finding};

/// By topic.
pub type Manifest = BTreeMap<String, Written>;

/// What was written to one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// How much.
    #[serde(flatten)]
    pub counts: Counts,
    /// Whether offsets may be missing.
    #[serde(default)]
    pub gaps: bool,
}

/// The folder of a topic's only partition.
#[must_use]
pub fn folder(topic: &str) -> String {
    format!("{topic}-0")
}

/// Compares, both ways: a topic too many is as wrong as one too few.
#[must_use]
pub fn compare(manifest: &Manifest, found: &BTreeMap<String, Counts>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (topic, written) in manifest {
        let place = folder(topic);
        match found.get(&place) {
            None => findings.push(Finding {
                place,
                what: "is in the manifest, not in the directory".into(),
            }),
            Some(counts) if *counts != written.counts => findings.push(Finding {
                place,
                what: format!("written {}, found {counts}", written.counts),
            }),
            Some(_) => {}
        }
    }
    for place in found.keys() {
        if !manifest.keys().any(|topic| folder(topic) == *place) {
            findings.push(Finding {
                place: place.clone(),
                what: "is in the directory, not in the manifest".into(),
            });
        }
    }
    findings
}

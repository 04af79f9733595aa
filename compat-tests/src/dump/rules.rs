//! What must be true of any partition, over what the tool printed about it. Pure.
//!
//! The tool compares an index with its log, but stops at the first entry of zeros, does not look
//! from one segment into the next, and says nothing about the transaction index: that is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dump::parse::{Aborted, Batch, FileDump, Line, Marker, Producer, Record};
use crate::files;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The partition's folder, and the file where there is one.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A file with its bytes beside what the tool said.
#[derive(Debug)]
pub struct Judged<'a> {
    /// The tool's output.
    pub dump: &'a FileDump,
    /// The file itself.
    pub content: Vec<u8>,
}

/// What is in a partition's logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Records which are not markers, aborted ones included.
    pub records: u64,
    /// Batches of any kind, also those that compaction emptied.
    pub batches: u64,
    /// Log files, also empty ones.
    pub segments: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            batches,
            segments,
        } = self;
        write!(
            f,
            "{records} records, {batches} batches, {segments} segments"
        )
    }
}

/// Counts what the tool listed.
#[must_use]
pub fn count(files: &[Judged<'_>]) -> Counts {
    let mut counts = Counts::default();
    for file in of_kind(files, "log") {
        counts.segments += 1;
        let mut is_control = false;
        for line in &file.dump.lines {
            match line {
                Line::Batch(batch) => {
                    counts.batches += 1;
                    is_control = batch.is_control;
                }
                Line::Record(_) if !is_control => counts.records += 1,
                _ => {}
            }
        }
    }
    counts
}

/// Holds one partition's files, sorted by name, against the rules.
#[must_use]
pub fn check(partition: &str, files: &[Judged<'_>]) -> Vec<Finding> {
    let mut check = Check {
        partition,
        findings: Vec::new(),
        logs: BTreeMap::new(),
        aborted_by_log: BTreeSet::new(),
    };
    check.logs(files);
    check.offset_indexes(files);
    check.time_indexes(files);
    check.txn_indexes(files);
    check.snapshots(files);
    check.findings
}

struct Check<'a> {
    partition: &'a str,
    findings: Vec<Finding>,
    /// Batches by the base offset in the file's name.
    logs: BTreeMap<i64, Vec<&'a Batch>>,
    /// Producer, first offset and marker offset of every transaction seen to begin and abort.
    aborted_by_log: BTreeSet<(i64, i64, i64)>,
}

impl<'a> Check<'a> {
    fn find(&mut self, file: &Judged<'_>, what: String) {
        let place = format!("{}/{}", self.partition, files::name_of(&file.dump.path));
        self.findings.push(Finding { place, what });
    }

    fn logs(&mut self, files: &[Judged<'a>]) {
        let mut previous: Option<&Batch> = None;
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        for file in of_kind(files, "log") {
            let base = file_offset(file);
            let mut batches = Vec::new();
            let mut end = 0;
            for (batch, records) in batches_of(file) {
                self.batch(file, batch, &records, end);
                if previous.is_some_and(|p| batch.base_offset <= p.last_offset) {
                    self.find(file, format!("offset {} goes back", batch.base_offset));
                }
                if previous.is_some_and(|p| batch.leader_epoch < p.leader_epoch) {
                    self.find(file, format!("epoch goes back at {}", batch.base_offset));
                }
                if batch.base_offset < base {
                    let what = format!("offset {} is below its file's", batch.base_offset);
                    self.find(file, what);
                }
                self.transaction(batch, &records, &mut open);
                end = batch.position + batch.size;
                previous = Some(batch);
                batches.push(batch);
            }
            if end != file.content.len() as u64 {
                let what = format!("{} bytes, of which batches fill {end}", file.content.len());
                self.find(file, what);
            }
            self.logs.insert(base, batches);
        }
    }

    fn batch(&mut self, file: &Judged<'_>, batch: &Batch, records: &[&Record], end: u64) {
        let at = batch.base_offset;
        if !batch.is_valid {
            self.find(file, format!("batch {at}: checksum is wrong"));
        }
        if batch.magic != 2 {
            self.find(file, format!("batch {at}: magic {}", batch.magic));
        }
        if batch.position != end {
            let what = format!("batch {at}: at {}, expected at {end}", batch.position);
            self.find(file, what);
        }
        if batch.count != records.len() as u64 {
            let what = format!("batch {at}: {} records of {}", records.len(), batch.count);
            self.find(file, what);
        }
        let rising = records.windows(2).all(|w| w[0].offset < w[1].offset);
        let range = batch.base_offset..=batch.last_offset;
        if !rising || !records.iter().all(|r| range.contains(&r.offset)) {
            self.find(
                file,
                format!("batch {at}: offsets of its records are wrong"),
            );
        }
        let newest = records.iter().map(|r| r.timestamp).max();
        if newest.is_some_and(|newest| newest != batch.max_timestamp) {
            let what = format!(
                "batch {at}: largest timestamp is not {}",
                batch.max_timestamp
            );
            self.find(file, what);
        }
    }

    fn transaction(&mut self, batch: &Batch, records: &[&Record], open: &mut BTreeMap<i64, i64>) {
        if batch.is_transactional && !batch.is_control {
            open.entry(batch.producer_id).or_insert(batch.base_offset);
        }
        for record in records {
            if let Some(marker) = record.marker
                && let Some(first) = open.remove(&batch.producer_id)
                && marker == Marker::Abort
            {
                let aborted = (batch.producer_id, first, record.offset);
                self.aborted_by_log.insert(aborted);
            }
        }
    }

    fn offset_indexes(&mut self, files: &[Judged<'_>]) {
        for file in of_kind(files, "index") {
            let mut entries = 0;
            let mut last = (i64::MIN, None);
            for line in &file.dump.lines {
                let Line::OffsetEntry { offset, position } = *line else {
                    continue;
                };
                entries += 1;
                if (offset, Some(position)) <= last || Some(position) <= last.1 {
                    self.find(file, format!("entry {offset} does not rise"));
                }
                last = (offset, Some(position));
                let fits = |b: &&Batch| b.position == position && b.last_offset == offset;
                if !self.batches(file).iter().any(fits) {
                    let what = format!("no batch ending in offset {offset} at {position}");
                    self.find(file, what);
                }
            }
            self.zeros_behind(file, entries * 8);
        }
    }

    fn time_indexes(&mut self, files: &[Judged<'_>]) {
        for file in of_kind(files, "timeindex") {
            let mut entries = 0;
            let mut last = (i64::MIN, i64::MIN);
            for line in &file.dump.lines {
                let Line::TimeEntry { timestamp, offset } = *line else {
                    continue;
                };
                entries += 1;
                if timestamp <= last.0 || offset < last.1 {
                    self.find(file, format!("entry {timestamp} does not rise"));
                }
                last = (timestamp, offset);
                let fits = |b: &&Batch| b.max_timestamp == timestamp && b.last_offset == offset;
                if !self.batches(file).iter().any(fits) {
                    let what = format!("no batch ending in offset {offset} has time {timestamp}");
                    self.find(file, what);
                }
            }
            self.zeros_behind(file, entries * 12);
        }
    }

    /// The index against the markers, both ways. A compacted log may have lost the data of a
    /// transaction, so that only its entry still tells where it began; then the marker must do.
    fn txn_indexes(&mut self, files: &[Judged<'_>]) {
        let mut indexed = BTreeSet::new();
        for file in of_kind(files, "txnindex") {
            let mut entries = 0;
            for line in &file.dump.lines {
                let Line::Aborted(entry) = line else { continue };
                entries += 1;
                self.aborted(file, entry);
                indexed.insert((entry.producer_id, entry.last_offset));
            }
            if file.content.len() != entries * 34 {
                let what = format!("{} bytes for {entries} entries", file.content.len());
                self.find(file, what);
            }
        }
        for &(producer, first, last) in &self.aborted_by_log {
            if !indexed.contains(&(producer, last)) {
                self.findings.push(Finding {
                    place: self.partition.into(),
                    what: format!(
                        "producer {producer} aborted {first}..{last}, no transaction index knows"
                    ),
                });
            }
        }
    }

    fn aborted(&mut self, file: &Judged<'_>, entry: &Aborted) {
        let Aborted {
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset,
        } = *entry;
        if first_offset >= last_offset || last_stable_offset > last_offset + 1 {
            let what = format!("entry {first_offset}..{last_offset} is not a range");
            self.find(file, what);
        }
        let has_marker = self
            .batches(file)
            .iter()
            .any(|b| b.is_control && b.producer_id == producer_id && b.last_offset == last_offset);
        if !has_marker {
            let what = format!("no marker of producer {producer_id} at {last_offset}");
            self.find(file, what);
        }
    }

    fn snapshots(&mut self, files: &[Judged<'_>]) {
        for file in of_kind(files, "snapshot") {
            let taken_at = file_offset(file);
            let mut seen = BTreeSet::new();
            for line in &file.dump.lines {
                let Line::Producer(entry) = line else {
                    continue;
                };
                let Producer {
                    producer_id,
                    txn_first_offset,
                    last,
                    ..
                } = entry;
                if !seen.insert(producer_id) {
                    self.find(file, format!("producer {producer_id} twice"));
                }
                let offsets = txn_first_offset.iter().chain(last.as_ref().map(|l| &l.1));
                if offsets.into_iter().any(|offset| *offset >= taken_at) {
                    let what = format!("producer {producer_id} is ahead of the snapshot");
                    self.find(file, what);
                }
            }
        }
    }

    fn batches(&self, file: &Judged<'_>) -> &[&'a Batch] {
        self.logs
            .get(&file_offset(file))
            .map_or(&[], |batches| batches.as_slice())
    }

    /// The tool stops at an entry of zeros: behind it there must be nothing else.
    fn zeros_behind(&mut self, file: &Judged<'_>, used: usize) {
        let rest = file.content.get(used..).unwrap_or_default();
        if rest.iter().any(|byte| *byte != 0) {
            self.find(file, format!("bytes behind the last entry, at {used}"));
        }
    }
}

fn of_kind<'f, 'a>(
    files: &'f [Judged<'a>],
    extension: &'static str,
) -> impl Iterator<Item = &'f Judged<'a>> {
    files
        .iter()
        .filter(move |file| file.dump.path.extension().is_some_and(|e| e == extension))
}

/// The offset a file is named for; -1 fits no segment.
fn file_offset(file: &Judged<'_>) -> i64 {
    let stem = file.dump.path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok()).unwrap_or(-1)
}

fn batches_of<'a>(file: &Judged<'a>) -> Vec<(&'a Batch, Vec<&'a Record>)> {
    let mut batches: Vec<(&Batch, Vec<&Record>)> = Vec::new();
    for line in &file.dump.lines {
        match line {
            Line::Batch(batch) => batches.push((batch, Vec::new())),
            Line::Record(record) => {
                if let Some((_, records)) = batches.last_mut() {
                    records.push(record);
                }
            }
            _ => {}
        }
    }
    batches
}

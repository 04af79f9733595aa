//! Reads what `DumpLogSegments` of Apache Kafka 4.3.1 prints. Strict: a line of another form is
//! an error, so that a change in the tool is noticed and never taken for "nothing found".

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What the tool said about some files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// One entry per file, in the order asked for.
    pub files: Vec<FileDump>,
    /// Offsets which do not follow one another, from its standard error.
    pub gaps: Vec<Gap>,
    /// Everything else on standard error: mismatches, corruption, exceptions.
    pub complaints: Vec<String>,
    /// It ended with a failure, and has not looked at everything.
    pub gave_up: bool,
}

/// What it said about one file.
#[derive(Debug, PartialEq, Eq)]
pub struct FileDump {
    /// As given to the tool.
    pub path: PathBuf,
    /// Line by line.
    pub lines: Vec<Line>,
}

/// A jump in the offsets of a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap {
    /// The log.
    pub path: PathBuf,
    /// The offset before the jump; -1 where the file does not begin at offset 0, which the tool
    /// reports as if it were one.
    pub before: i64,
    /// The offset after it.
    pub after: i64,
}

/// One line of output.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The offset in a log's file name.
    LogStart(i64),
    /// A batch header.
    Batch(Batch),
    /// A record (with `--deep-iteration`).
    Record(Record),
    /// Bytes behind the last whole batch.
    InvalidTail(u64),
    /// An entry of an offset index.
    OffsetEntry {
        /// Last offset of the batch at `position`.
        offset: i64,
        /// Where in the log that batch begins.
        position: u64,
    },
    /// An entry of a time index.
    TimeEntry {
        /// The largest timestamp so far.
        timestamp: i64,
        /// Last offset of the batch that holds it.
        offset: i64,
    },
    /// An aborted transaction.
    Aborted(Aborted),
    /// A producer in a snapshot.
    Producer(Producer),
    /// An index without entries.
    Empty,
    /// `--index-sanity-check` found nothing.
    Sane,
}

/// A batch header, as far as it is judged.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Offset of its first record, before any compaction.
    pub base_offset: i64,
    /// Offset of its last record, before any compaction.
    pub last_offset: i64,
    /// How many records it says it has.
    pub count: u64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// Part of a transaction.
    pub is_transactional: bool,
    /// Holds a marker instead of data.
    pub is_control: bool,
    /// Where in the file it begins.
    pub position: u64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Bytes, header included.
    pub size: u64,
    /// Format version.
    pub magic: u8,
    /// Codec name.
    pub codec: String,
    /// Whether the checksum fits.
    pub is_valid: bool,
}

/// A record, as far as it is judged.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp; the batch's, under `LogAppendTime`.
    pub timestamp: i64,
    /// The kind of marker, in a control batch.
    pub marker: Option<Marker>,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Its records count.
    Commit,
    /// Its records are to be skipped.
    Abort,
}

/// An entry of a transaction index.
#[derive(Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose it was.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
    /// The last stable offset once it was decided.
    pub last_stable_offset: i64,
}

/// An entry of a producer snapshot, as far as it is judged.
#[derive(Debug, PartialEq, Eq)]
pub struct Producer {
    /// Whose it is.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Where its open transaction begins.
    pub txn_first_offset: Option<i64>,
    /// Last sequence and last offset of its newest batch; the snapshot of a producer whose last
    /// act was a marker under a new epoch has none.
    pub last: Option<(i32, i64)>,
}

/// A line that is not in the tool's known language.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("DumpLogSegments printed a line we do not know, about {about}: {line:?}")]
pub struct UnknownLine {
    /// The file it was busy with.
    pub about: String,
    /// The line.
    pub line: String,
}

/// Reads both streams.
pub fn parse(out: &str, err: &str) -> Result<Dump, UnknownLine> {
    let mut dump = Dump::default();
    for text in out.lines() {
        let unknown = |about: &Path| UnknownLine {
            about: about.display().to_string(),
            line: text.into(),
        };
        if let Some(path) = text.strip_prefix("Dumping ") {
            dump.files.push(FileDump {
                path: path.into(),
                lines: Vec::new(),
            });
            continue;
        }
        let Some(file) = dump.files.last_mut() else {
            return Err(unknown(Path::new("no file yet")));
        };
        let line = line(&file.path, text).ok_or_else(|| unknown(&file.path))?;
        file.lines.push(line);
    }
    parse_errors(err, &mut dump);
    Ok(dump)
}

fn parse_errors(err: &str, dump: &mut Dump) {
    let mut gaps_in: Option<PathBuf> = None;
    for text in err.lines() {
        if let Some(path) = text.strip_prefix("Non-consecutive offsets in ") {
            gaps_in = Some(path.into());
        } else if let Some((path, gap)) = gaps_in.as_ref().zip(gap(text)) {
            let (before, after) = gap;
            let path = path.clone();
            dump.gaps.push(Gap {
                path,
                before,
                after,
            });
        } else if !text.starts_with("\tat ") && !text.trim().is_empty() {
            gaps_in = None;
            dump.complaints.push(text.trim().into());
        }
    }
}

fn gap(text: &str) -> Option<(i64, i64)> {
    let (before, after) = text.strip_prefix("  ")?.split_once(" is followed by ")?;
    Some((before.parse().ok()?, after.parse().ok()?))
}

fn line(path: &Path, text: &str) -> Option<Line> {
    if text == format!("{} is empty.", path.display()) {
        return Some(Line::Empty);
    }
    if text == format!("{} passed sanity check.", path.display()) {
        return Some(Line::Sane);
    }
    match path.extension()?.to_str()? {
        "log" => log_line(text),
        "index" => offset_entry(text),
        "timeindex" => time_entry(text),
        "txnindex" => aborted(text).map(Line::Aborted),
        "snapshot" => producer(text).map(Line::Producer),
        _ => None,
    }
}

fn log_line(text: &str) -> Option<Line> {
    if let Some(offset) = text.strip_prefix("Log starting offset: ") {
        return offset.parse().ok().map(Line::LogStart);
    }
    if let Some(record) = text.strip_prefix("| ") {
        return self::record(record).map(Line::Record);
    }
    if let Some(rest) = text.strip_prefix("Found ") {
        let (bytes, _) = rest.split_once(" invalid bytes at the end of ")?;
        return bytes.parse().ok().map(Line::InvalidTail);
    }
    batch(text).map(Line::Batch)
}

fn batch(text: &str) -> Option<Batch> {
    let mut fields = Fields(text);
    let batch = Batch {
        base_offset: fields.take("baseOffset")?,
        last_offset: fields.take("lastOffset")?,
        count: fields.take("count")?,
        producer_id: {
            fields.skip("baseSequence")?;
            fields.skip("lastSequence")?;
            fields.take("producerId")?
        },
        leader_epoch: {
            fields.skip("producerEpoch")?;
            fields.take("partitionLeaderEpoch")?
        },
        is_transactional: fields.take("isTransactional")?,
        is_control: fields.take("isControl")?,
        position: {
            fields.skip("deleteHorizonMs")?;
            fields.take("position")?
        },
        max_timestamp: fields.take_timestamp()?,
        size: fields.take("size")?,
        magic: fields.take("magic")?,
        codec: fields.take("compresscodec")?,
        is_valid: {
            fields.skip("crc")?;
            fields.take("isvalid")?
        },
    };
    fields.end().then_some(batch)
}

fn record(text: &str) -> Option<Record> {
    // Header keys are free text and may hold anything but are in brackets; what is judged stands
    // before and behind them.
    let (before, headers) = text.split_once(" headerKeys: [")?;
    let (_, behind) = headers.rsplit_once(']')?;
    let mut fields = Fields(before);
    let offset = fields.take("offset")?;
    let timestamp = fields.take_timestamp()?;
    for name in ["keySize", "valueSize", "sequence"] {
        fields.skip(name)?;
    }
    if !fields.end() {
        return None;
    }
    Some(Record {
        offset,
        timestamp,
        marker: marker(behind.trim())?,
    })
}

/// `Some(None)` where there is none; `None` where there is something else.
fn marker(text: &str) -> Option<Option<Marker>> {
    if text.is_empty() {
        return Some(None);
    }
    let mut fields = Fields(text);
    let kind: String = fields.take("endTxnMarker")?;
    fields.skip("coordinatorEpoch")?;
    match (kind.as_str(), fields.end()) {
        ("COMMIT", true) => Some(Some(Marker::Commit)),
        ("ABORT", true) => Some(Some(Marker::Abort)),
        _ => None,
    }
}

fn offset_entry(text: &str) -> Option<Line> {
    let mut fields = Fields(text);
    let entry = Line::OffsetEntry {
        offset: fields.take("offset")?,
        position: fields.take("position")?,
    };
    fields.end().then_some(entry)
}

fn time_entry(text: &str) -> Option<Line> {
    let mut fields = Fields(text);
    let entry = Line::TimeEntry {
        timestamp: fields.take("timestamp")?,
        offset: fields.take("offset")?,
    };
    fields.end().then_some(entry)
}

fn aborted(text: &str) -> Option<Aborted> {
    let mut fields = Fields(text);
    let version: u16 = fields.take("version")?;
    let entry = Aborted {
        producer_id: fields.take("producerId")?,
        first_offset: fields.take("firstOffset")?,
        last_offset: fields.take("lastOffset")?,
        last_stable_offset: fields.take("lastStableOffset")?,
    };
    (version == 0 && fields.end()).then_some(entry)
}

fn producer(text: &str) -> Option<Producer> {
    let mut fields = Fields(text);
    let producer_id = fields.take("producerId")?;
    let epoch = fields.take("producerEpoch")?;
    fields.skip("coordinatorEpoch")?;
    let txn_first_offset = optional_long(fields.next("currentTxnFirstOffset")?)?;
    fields.skip("lastTimestamp")?;
    let last = if fields.end() {
        None
    } else {
        fields.skip("firstSequence")?;
        let sequence = fields.take("lastSequence")?;
        let offset = fields.take("lastOffset")?;
        fields.skip("offsetDelta")?;
        fields.skip("timestamp")?;
        Some((sequence, offset))
    };
    fields.end().then_some(Producer {
        producer_id,
        epoch,
        txn_first_offset,
        last,
    })
}

/// How Java prints an `OptionalLong`.
fn optional_long(text: &str) -> Option<Option<i64>> {
    if text == "OptionalLong.empty" {
        return Some(None);
    }
    let number = text.strip_prefix("OptionalLong[")?.strip_suffix(']')?;
    number.parse().ok().map(Some)
}

/// `name: value` pairs, taken in the order they are printed in.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn next(&mut self, name: &str) -> Option<&'a str> {
        let rest = self.0.strip_prefix(name)?.strip_prefix(": ")?;
        let (value, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        self.0 = rest;
        Some(value)
    }

    fn take<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.next(name)?.parse().ok()
    }

    fn skip(&mut self, name: &str) -> Option<()> {
        self.next(name).map(drop)
    }

    /// The field's name is the type of the timestamp.
    fn take_timestamp(&mut self) -> Option<i64> {
        self.take("CreateTime")
            .or_else(|| self.take("LogAppendTime"))
    }

    fn end(&self) -> bool {
        self.0.trim().is_empty()
    }
}

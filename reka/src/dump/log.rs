//! Data files: batches and their records.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use reka_records::control::{ControlRecord, TransactionResult, Voter};
use reka_records::{BatchHeader, BatchView, Compression, HEADER_BYTES, Record, TimestampType};

use super::{ALL_BYTES, BATCH_BYTES_MAX, Complaints, DECOMPRESSED_BYTES_MAX, Options, Stopped};
use super::{absolute, offset_of, open};

/// The batches of a data file, one after the other, up to one that is cut short.
pub(super) struct Batches {
    path: PathBuf,
    file: File,
    position: u64,
    end: u64,
    bytes: Vec<u8>,
}

impl Batches {
    pub(super) fn open(path: &Path, bytes_max: u64) -> Result<Batches, Stopped> {
        let file = open(path)?;
        let len = file
            .metadata()
            .map_err(|error| Stopped::Read(path.to_owned(), error));
        Ok(Batches {
            path: path.to_owned(),
            end: len?.len().min(bytes_max),
            file,
            position: 0,
            bytes: Vec::new(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From here on, and no further than that many bytes.
    pub(super) fn seek(&mut self, position: u64, bytes_max: u64) -> Result<(), Stopped> {
        let read = |error| Stopped::Read(self.path.clone(), error);
        let len = self.file.metadata().map_err(read)?.len();
        if position > len {
            return Err(Stopped::Malformed(
                self.path.clone(),
                format!("an index names position {position}, the file has {len} bytes"),
            ));
        }
        self.position = position;
        self.end = len.min(position.saturating_add(bytes_max));
        Ok(())
    }

    fn left(&self) -> u64 {
        self.end - self.position
    }

    /// The header of the next batch, if all of the batch is there, and where it begins.
    pub(super) fn next(&mut self) -> Result<Option<(u64, BatchHeader)>, Stopped> {
        let position = self.position;
        if self.left() < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut head = [0; HEADER_BYTES];
        self.read(&mut head, position)?;
        let header = BatchHeader::parse(&head).map_err(|error| {
            let what = format!("at position {position}: {error}");
            Stopped::Malformed(self.path.clone(), what)
        })?;
        if header.size() as u64 > self.left() {
            return Ok(None);
        }
        self.position += header.size() as u64;
        Ok(Some((position, header)))
    }

    fn read(&self, bytes: &mut [u8], position: u64) -> Result<(), Stopped> {
        let read = self.file.read_exact_at(bytes, position);
        read.map_err(|error| Stopped::Read(self.path.clone(), error))
    }

    /// A batch that [`Batches::next`] found.
    pub(super) fn load(
        &mut self,
        position: u64,
        header: &BatchHeader,
    ) -> Result<BatchView<'_>, Stopped> {
        let malformed = |what: String| {
            let what = format!("at position {position}: {what}");
            Stopped::Malformed(self.path.clone(), what)
        };
        if header.size() > BATCH_BYTES_MAX {
            let size = header.size();
            return Err(malformed(format!(
                "a batch of {size} bytes, more than the {BATCH_BYTES_MAX} that are shown"
            )));
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(header.size(), 0);
        self.read(&mut bytes, position)?;
        self.bytes = bytes;
        BatchView::parse(&self.bytes).map_err(|error| malformed(error.to_string()))
    }
}

pub(super) fn show(
    options: &Options,
    path: &Path,
    out: &mut dyn Write,
    complaints: &mut Complaints,
) -> Result<(), Stopped> {
    writeln!(out, "Log starting offset: {}", offset_of(path)?)?;
    let mut batches = Batches::open(path, options.bytes_max)?;
    let mut last_offset = -1;
    let mut scratch = Vec::new();
    while let Some((position, header)) = batches.next()? {
        let batch = batches.load(position, &header)?;
        show_batch(&batch, position, out)?;
        if !options.deep {
            continue;
        }
        let malformed = |error: &dyn std::fmt::Display| {
            let what = format!("a record of the batch at position {position}: {error}");
            Stopped::Malformed(path.to_owned(), what)
        };
        let records = batch.records(&mut scratch, DECOMPRESSED_BYTES_MAX);
        for record in records.map_err(|error| malformed(&error))? {
            let record = record.map_err(|error| malformed(&error))?;
            if record.offset != last_offset + 1 {
                let gaps = complaints.gaps.entry(absolute(path)).or_default();
                gaps.insert(last_offset, record.offset);
            }
            last_offset = record.offset;
            show_record(options, &header, &record, out)
                .map_err(|unreadable| unreadable.into_stopped(&malformed))?;
        }
    }
    let trailing = batches.left();
    if trailing > 0 && options.bytes_max == ALL_BYTES {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(out, "Found {trailing} invalid bytes at the end of {name}")?;
    }
    Ok(())
}

fn codec(header: &BatchHeader) -> &'static str {
    match header.compression() {
        Ok(Compression::None) => "none",
        Ok(Compression::Gzip) => "gzip",
        Ok(Compression::Snappy) => "snappy",
        Ok(Compression::Lz4) => "lz4",
        Ok(Compression::Zstd) => "zstd",
        Err(_) => "unknown",
    }
}

fn clock(header: &BatchHeader) -> &'static str {
    match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn show_batch(batch: &BatchView<'_>, position: u64, out: &mut dyn Write) -> io::Result<()> {
    let header = batch.header();
    let horizon = optional(header.delete_horizon());
    writeln!(
        out,
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} \
         deleteHorizonMs: {horizon} position: {position} {}: {} size: {} magic: {} compresscodec: {} \
         crc: {} isvalid: {}",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.leader_epoch,
        header.is_transactional(),
        header.is_control(),
        clock(header),
        header.max_timestamp,
        header.size(),
        header.magic,
        codec(header),
        header.crc,
        batch.verify_crc().is_ok(),
    )
}

/// As Java shows an `OptionalLong`.
pub(super) fn optional(value: Option<i64>) -> String {
    match value {
        Some(value) => format!("OptionalLong[{value}]"),
        None => "OptionalLong.empty".to_owned(),
    }
}

/// Why a record is not shown.
enum Unshown {
    Unreadable(String),
    Write(io::Error),
}

impl From<io::Error> for Unshown {
    fn from(error: io::Error) -> Unshown {
        Unshown::Write(error)
    }
}

impl Unshown {
    fn into_stopped(self, malformed: &dyn Fn(&dyn std::fmt::Display) -> Stopped) -> Stopped {
        match self {
            Unshown::Unreadable(what) => malformed(&what),
            Unshown::Write(error) => Stopped::Write(error),
        }
    }
}

fn show_record(
    options: &Options,
    header: &BatchHeader,
    record: &Record<'_>,
    out: &mut dyn Write,
) -> Result<(), Unshown> {
    if !options.skip_metadata {
        let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        let sequence = match header.base_sequence {
            base @ 0.. => {
                let delta = (record.offset - header.base_offset) as i32;
                reka_records::view::increment_sequence(base, delta)
            }
            none => none,
        };
        let mut keys = Vec::new();
        for (key, _) in record.headers.clone() {
            keys.push(String::from_utf8_lossy(key).into_owned());
        }
        write!(
            out,
            "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
            record.offset,
            clock(header),
            record.timestamp,
            size(record.key),
            size(record.value),
            keys.join(","),
        )?;
        if header.is_control() {
            show_control(record, out)?;
        }
    }
    if options.print_data && !header.is_control() {
        let mut before = if options.skip_metadata { "| " } else { " " };
        if let Some(key) = record.key {
            write!(out, "{before}key: {}", String::from_utf8_lossy(key))?;
            before = " ";
        }
        if let Some(value) = record.value {
            write!(out, "{before}payload: {}", String::from_utf8_lossy(value))?;
        }
    }
    Ok(writeln!(out)?)
}

fn show_control(record: &Record<'_>, out: &mut dyn Write) -> Result<(), Unshown> {
    let control = ControlRecord::parse(record);
    match control.map_err(|error| Unshown::Unreadable(error.to_string()))? {
        ControlRecord::EndTxn(marker) => {
            let result = match marker.result {
                TransactionResult::Commit => "COMMIT",
                TransactionResult::Abort => "ABORT",
            };
            write!(
                out,
                " endTxnMarker: {result} coordinatorEpoch: {}",
                marker.coordinator_epoch
            )?;
        }
        ControlRecord::LeaderChange(change) => {
            let ids = |voters: &[Voter]| {
                let ids: Vec<String> = voters.iter().map(|voter| voter.id.to_string()).collect();
                ids.join(",")
            };
            write!(
                out,
                " LeaderChange: version: {} leaderId: {} voters: [{}] grantingVoters: [{}]",
                change.version,
                change.leader_id,
                ids(&change.voters),
                ids(&change.granting_voters),
            )?;
        }
        ControlRecord::Other { control_type, .. } => {
            write!(out, " controlType: {control_type:?}")?;
        }
    }
    Ok(())
}

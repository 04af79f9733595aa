//! Indexes: offset to position, timestamp to offset, and aborted transactions. The first two are
//! compared with the log beside them.

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use reka_storage::format::{
    OFFSET_INDEX_ENTRY_BYTES, TIME_INDEX_ENTRY_BYTES, TXN_INDEX_ENTRY_BYTES, TXN_INDEX_VERSION,
};

use super::log::Batches;
use super::{ALL_BYTES, Complaints, DECOMPRESSED_BYTES_MAX, Options, Stopped};
use super::{absolute, offset_of, open};

/// The entries of an index, one after the other.
struct Entries<const N: usize> {
    path: PathBuf,
    input: BufReader<std::fs::File>,
    left: u64,
}

impl<const N: usize> Entries<N> {
    fn open(path: &Path) -> Result<Entries<N>, Stopped> {
        let file = open(path)?;
        let metadata = file.metadata();
        let bytes = metadata
            .map_err(|error| Stopped::Read(path.to_owned(), error))?
            .len();
        Ok(Entries {
            path: path.to_owned(),
            input: BufReader::new(file),
            left: bytes / N as u64,
        })
    }

    fn next(&mut self) -> Result<Option<[u8; N]>, Stopped> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut entry = [0; N];
        let read = self.input.read_exact(&mut entry);
        read.map_err(|error| Stopped::Read(self.path.clone(), error))?;
        Ok(Some(entry))
    }
}

/// A big-endian number at a place in an entry.
fn number<const AT: usize, const LEN: usize>(entry: &[u8]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes.copy_from_slice(&entry[AT..AT + LEN]);
    bytes
}

fn sibling(path: &Path, kind: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = name.split('.').next().unwrap_or_default();
    path.with_file_name(format!("{digits}.{kind}"))
}

/// What makes a broker rebuild an index: no whole entries, or a last one before the segment.
fn check_sanity(
    path: &Path,
    entry_bytes: usize,
    base_offset: i64,
    last_offset: Option<i64>,
) -> Result<(), Stopped> {
    let malformed = |what: String| Err(Stopped::Malformed(path.to_owned(), what));
    let bytes = std::fs::metadata(path).map_err(|error| Stopped::Read(path.to_owned(), error))?;
    if bytes.len() % entry_bytes as u64 != 0 {
        return malformed(format!(
            "{} bytes, expected a multiple of {entry_bytes}: the index is rebuilt at the next start",
            bytes.len()
        ));
    }
    match last_offset {
        Some(last) if last < base_offset => malformed(format!(
            "the last entry is of offset {last}, the segment begins at {base_offset}: the index is \
             rebuilt at the next start"
        )),
        _ => Ok(()),
    }
}

fn offset_entry(base_offset: i64, entry: &[u8; OFFSET_INDEX_ENTRY_BYTES]) -> (i64, u64) {
    let relative = i32::from_be_bytes(number::<0, 4>(entry));
    let position = i32::from_be_bytes(number::<4, 4>(entry));
    let offset = base_offset.wrapping_add(i64::from(relative));
    // A negative position is behind the end of any file.
    (offset, u64::from(position as u32))
}

fn time_entry(base_offset: i64, entry: &[u8; TIME_INDEX_ENTRY_BYTES]) -> (i64, i64) {
    let timestamp = i64::from_be_bytes(number::<0, 8>(entry));
    let relative = i32::from_be_bytes(number::<8, 4>(entry));
    (timestamp, base_offset.wrapping_add(i64::from(relative)))
}

pub(super) fn show_offsets(
    options: &Options,
    path: &Path,
    out: &mut dyn Write,
    complaints: &mut Complaints,
) -> Result<(), Stopped> {
    let base_offset = offset_of(path)?;
    let mut log = Batches::open(&sibling(path, "log"), ALL_BYTES)?;
    let mut entries = Entries::<OFFSET_INDEX_ENTRY_BYTES>::open(path)?;
    if entries.left == 0 {
        writeln!(out, "{} is empty.", path.display())?;
        return Ok(());
    }
    if options.sanity_only {
        let mut last = None;
        while let Some(entry) = entries.next()? {
            last = Some(offset_entry(base_offset, &entry).0);
        }
        check_sanity(path, OFFSET_INDEX_ENTRY_BYTES, base_offset, last)?;
        writeln!(out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    let mut is_first = true;
    while let Some(entry) = entries.next()? {
        let (offset, position) = offset_entry(base_offset, &entry);
        // Zeros that a crash left, or that the file was made with.
        if offset == base_offset && !is_first {
            return Ok(());
        }
        is_first = false;
        log.seek(position, options.message_bytes_max)?;
        let Some((_, header)) = log.next()? else {
            let what = format!("no whole batch at position {position}, which offset {offset} has");
            return Err(Stopped::Malformed(path.to_owned(), what));
        };
        if header.last_offset() != offset {
            let mismatches = complaints.index_mismatches.entry(absolute(path));
            mismatches.or_default().insert(offset, header.last_offset());
        }
        if !options.verify_only {
            writeln!(out, "offset: {offset} position: {position}")?;
        }
    }
    Ok(())
}

/// Where the last batch at or before an offset begins, as far as the index knows.
fn positions(path: &Path, base_offset: i64) -> Result<Vec<(i64, u64)>, Stopped> {
    let mut entries = Entries::<OFFSET_INDEX_ENTRY_BYTES>::open(path)?;
    let mut positions: Vec<(i64, u64)> = Vec::new();
    while let Some(entry) = entries.next()? {
        let (offset, position) = offset_entry(base_offset, &entry);
        if positions.last().is_some_and(|(last, _)| *last >= offset) {
            break;
        }
        positions.push((offset, position));
    }
    Ok(positions)
}

pub(super) fn show_times(
    options: &Options,
    path: &Path,
    out: &mut dyn Write,
    complaints: &mut Complaints,
) -> Result<(), Stopped> {
    let base_offset = offset_of(path)?;
    let mut log = Batches::open(&sibling(path, "log"), ALL_BYTES)?;
    let positions = positions(&sibling(path, "index"), base_offset)?;
    let mut entries = Entries::<TIME_INDEX_ENTRY_BYTES>::open(path)?;
    if options.sanity_only {
        let (mut first, mut last) = (None, None);
        while let Some(entry) = entries.next()? {
            last = Some(time_entry(base_offset, &entry));
            first = first.or(last);
        }
        if let (Some((first, _)), Some((last, _))) = (first, last)
            && last < first
        {
            let what = format!(
                "the last entry is of timestamp {last}, the first of {first}: the index is rebuilt \
                 at the next start"
            );
            return Err(Stopped::Malformed(path.to_owned(), what));
        }
        let last = last.map(|(_, offset)| offset);
        check_sanity(path, TIME_INDEX_ENTRY_BYTES, base_offset, last)?;
        writeln!(out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    let mut before = -1;
    let mut is_first = true;
    while let Some(entry) = entries.next()? {
        let (timestamp, offset) = time_entry(base_offset, &entry);
        if offset == base_offset && !is_first {
            return Ok(());
        }
        is_first = false;
        let floor = positions.partition_point(|(indexed, _)| *indexed <= offset);
        let position = floor.checked_sub(1).map_or(0, |floor| positions[floor].1);
        log.seek(position, ALL_BYTES)?;
        match batch_up_to(&mut log, offset)? {
            Some((position, header)) if header.last_offset() == offset => {
                let largest = largest_timestamp(&mut log, position, &header)?;
                if largest != timestamp {
                    let mismatches = complaints.timestamp_mismatches.entry(absolute(path));
                    mismatches.or_default().push((timestamp, largest));
                }
                if before >= timestamp {
                    let disorder = complaints.out_of_order.entry(absolute(path));
                    disorder.or_default().push((timestamp, before));
                }
            }
            found => {
                let found = found.map_or(-1, |(_, header)| header.last_offset());
                let not_found = complaints.not_found.entry(absolute(path));
                not_found.or_default().push((offset, found));
            }
        }
        if !options.verify_only {
            writeln!(out, "timestamp: {timestamp} offset: {offset}")?;
        }
        before = timestamp;
    }
    Ok(())
}

/// The first batch that does not end before an offset.
fn batch_up_to(
    log: &mut Batches,
    offset: i64,
) -> Result<Option<(u64, reka_records::BatchHeader)>, Stopped> {
    while let Some((position, header)) = log.next()? {
        if header.last_offset() >= offset {
            return Ok(Some((position, header)));
        }
    }
    Ok(None)
}

fn largest_timestamp(
    log: &mut Batches,
    position: u64,
    header: &reka_records::BatchHeader,
) -> Result<i64, Stopped> {
    let path = log.path().to_owned();
    let malformed = |error: reka_records::BatchError| {
        let what = format!("a record of the batch at position {position}: {error}");
        Stopped::Malformed(path.clone(), what)
    };
    let batch = log.load(position, header)?;
    let mut scratch = Vec::new();
    let mut largest = -1;
    let records = batch.records(&mut scratch, DECOMPRESSED_BYTES_MAX);
    for record in records.map_err(malformed)? {
        largest = largest.max(record.map_err(malformed)?.timestamp);
    }
    Ok(largest)
}

pub(super) fn show_transactions(path: &Path, out: &mut dyn Write) -> Result<(), Stopped> {
    let mut entries = Entries::<TXN_INDEX_ENTRY_BYTES>::open(path)?;
    while let Some(entry) = entries.next()? {
        let version = i16::from_be_bytes(number::<0, 2>(&entry));
        if version != TXN_INDEX_VERSION {
            let what = format!("an entry of version {version}, expected {TXN_INDEX_VERSION}");
            return Err(Stopped::Malformed(path.to_owned(), what));
        }
        writeln!(
            out,
            "version: {version} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            i64::from_be_bytes(number::<2, 8>(&entry)),
            i64::from_be_bytes(number::<10, 8>(&entry)),
            i64::from_be_bytes(number::<18, 8>(&entry)),
            i64::from_be_bytes(number::<26, 8>(&entry)),
        )?;
    }
    Ok(())
}

//! Small files: producer snapshots, checkpoints, `partition.metadata`.

use std::io::{Read, Write};
use std::path::Path;

use reka_storage::format::{
    CLEANER_CHECKPOINT, LEADER_EPOCH_CHECKPOINT, LOG_START_CHECKPOINT, PARTITION_METADATA,
    RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT, SNAPSHOT_ENTRY_BYTES, SNAPSHOT_HEADER_BYTES,
    SNAPSHOT_VERSION,
};

use super::log::optional;
use super::{Stopped, open};

/// More producers than any partition has.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;
/// A checkpoint of 200,000 partitions with long topic names stays below this.
const TEXT_BYTES_MAX: u64 = 64 << 20;
const CRC_COVERS_FROM: usize = 6;

/// The producers of a partition before an offset. One that is damaged is a complaint and no
/// failure, as with Apache Kafka's tool.
pub(super) fn show_producers(
    path: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Stopped> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(SNAPSHOT_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| Stopped::Read(path.to_owned(), error))?;
    let entries = match entries_of(&bytes) {
        Ok(entries) => entries,
        Err(what) => {
            out.flush()?;
            writeln!(err, "{}: {what}", path.display())?;
            return Ok(());
        }
    };
    for entry in entries {
        let mut fields = Fields(entry);
        let (producer_id, epoch) = (fields.i64(), fields.i16());
        let (last_sequence, last_offset, offset_delta) = (fields.i32(), fields.i64(), fields.i32());
        let (timestamp, coordinator_epoch, first) = (fields.i64(), fields.i32(), fields.i64());
        write!(
            out,
            "producerId: {producer_id} producerEpoch: {epoch} coordinatorEpoch: \
             {coordinator_epoch} currentTxnFirstOffset: {} lastTimestamp: {timestamp}",
            optional((first >= 0).then_some(first)),
        )?;
        if last_offset >= 0 {
            let first_sequence = sequence_before(last_sequence, offset_delta);
            write!(
                out,
                " firstSequence: {first_sequence} lastSequence: {last_sequence} lastOffset: \
                 {last_offset} offsetDelta: {offset_delta} timestamp: {timestamp}"
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Sequence numbers start over at 0 behind 2^31 - 1.
fn sequence_before(sequence: i32, by: i32) -> i64 {
    let before = i64::from(sequence) - i64::from(by);
    if before < 0 {
        before + (1 << 31)
    } else {
        before
    }
}

fn entries_of(bytes: &[u8]) -> Result<&[[u8; SNAPSHOT_ENTRY_BYTES]], String> {
    let Some((head, entries)) = bytes.split_first_chunk::<SNAPSHOT_HEADER_BYTES>() else {
        return Err(format!(
            "{} bytes, a snapshot has at least {SNAPSHOT_HEADER_BYTES}",
            bytes.len()
        ));
    };
    let mut fields = Fields(head);
    let (version, crc, count) = (fields.i16(), fields.i32() as u32, fields.i32());
    if version != SNAPSHOT_VERSION {
        return Err(format!("version {version}, expected {SNAPSHOT_VERSION}"));
    }
    let found = reka_records::crc::crc32c(&bytes[CRC_COVERS_FROM..]);
    if found != crc {
        return Err(format!(
            "the checksum is {found}, the file says {crc}: it is damaged, and the next start makes \
             it anew"
        ));
    }
    match entries.as_chunks() {
        (entries, []) if entries.len() as i64 == i64::from(count) => Ok(entries),
        _ => Err(format!(
            "{} bytes of entries, expected {count} of {SNAPSHOT_ENTRY_BYTES}",
            entries.len()
        )),
    }
}

/// Big-endian numbers, one after the other; there are enough of them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *bytes
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }
}

const OFFSET_CHECKPOINTS: [&str; 4] = [
    RECOVERY_POINT_CHECKPOINT,
    LOG_START_CHECKPOINT,
    REPLICATION_CHECKPOINT,
    CLEANER_CHECKPOINT,
];

pub(super) fn is_known(name: &str) -> bool {
    OFFSET_CHECKPOINTS.contains(&name)
        || [LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA].contains(&name)
}

/// A checkpoint or `partition.metadata`.
pub(super) fn show(path: &Path, name: &str, out: &mut dyn Write) -> Result<(), Stopped> {
    let mut text = String::new();
    let read = open(path)?.take(TEXT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Stopped::Read(path.to_owned(), error))?;
    let malformed = |line: usize, expected: &str, found: Option<&str>| {
        let found = found.unwrap_or("end of file");
        let what = format!("line {line}: expected {expected}, found {found:?}");
        Stopped::Malformed(path.to_owned(), what)
    };
    let mut lines = text.lines().zip(1..);
    if name == PARTITION_METADATA {
        for (line, number) in lines {
            let expected = "a name, a colon and a value";
            let field = line.split_once(": ");
            let (key, value) = field.ok_or_else(|| malformed(number, expected, Some(line)))?;
            match key {
                "version" => writeln!(out, "version: {value}")?,
                "topic_id" => writeln!(out, "topicId: {value}")?,
                _ => return Err(malformed(number, "version or topic_id", Some(line))),
            }
        }
        return Ok(());
    }
    // An empty one is what Apache Kafka begins with.
    let Some((version, _)) = lines.next() else {
        return Ok(());
    };
    if version != "0" {
        return Err(malformed(1, "version 0", Some(version)));
    }
    let count = lines.next().map(|(line, _)| line);
    let expected = "the number of lines that follow";
    let count: usize = count
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| malformed(2, expected, count))?;
    for index in 0..count {
        let line = lines.next().map(|(line, _)| line);
        let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
        match (name == LEADER_EPOCH_CHECKPOINT, words.as_slice()) {
            (true, [epoch, offset]) => writeln!(out, "epoch: {epoch} startOffset: {offset}")?,
            (false, [topic, partition, offset]) => {
                writeln!(
                    out,
                    "topic: {topic} partition: {partition} offset: {offset}"
                )?;
            }
            (is_epochs, _) => {
                let expected = match is_epochs {
                    true => "an epoch and its start offset",
                    false => "a topic, a partition and an offset",
                };
                return Err(malformed(index + 3, expected, line));
            }
        }
    }
    match lines.next() {
        None => Ok(()),
        Some((line, number)) => Err(malformed(number, "the end of the file", Some(line))),
    }
}

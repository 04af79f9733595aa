//! `<offset>.snapshot`: the producers of a partition before an offset.
//!
//! | bytes | field   | type | meaning                                        |
//! |-------|---------|------|------------------------------------------------|
//! | 0..2  | version | i16  | 1                                              |
//! | 2..6  | crc     | u32  | CRC-32C of everything behind it                |
//! | 6..10 | count   | i32  | entries that follow                            |
//!
//! and per producer, 46 bytes:
//!
//! | bytes  | field             | type | meaning                                |
//! |--------|-------------------|------|----------------------------------------|
//! | 0..8   | producer id       | i64  |                                        |
//! | 8..10  | producer epoch    | i16  |                                        |
//! | 10..14 | last sequence     | i32  | of its last batch; -1 when it has none |
//! | 14..22 | last offset       | i64  | of that batch; -1                      |
//! | 22..26 | offset delta      | i32  | of that batch; 0                       |
//! | 26..34 | timestamp         | i64  | when it was last heard of              |
//! | 34..38 | coordinator epoch | i32  | of its last marker; -1                 |
//! | 38..46 | txn first offset  | i64  | of its open transaction; -1            |
//!
//! Big-endian. Written when a segment is begun and on a clean stop, so that a
//! restart replays at most one segment. One that cannot be right (length, checksum,
//! version) is set aside as `.unusable`, and the one before it is used, or the log
//! itself; so is one that says what no log could have led to. There may be as many
//! entries as a count can say: a file is read in
//! pieces, and nothing is made of it before its checksum was found right, so memory is
//! bounded by what was really stored.

use std::path::Path;

use reka_records::crc::{Crc32c, crc32c};

use crate::format::{
    FileKind, FileName, SNAPSHOT_ENTRY_BYTES, SNAPSHOT_HEADER_BYTES, SNAPSHOT_VERSION,
};
use crate::fs::{Disk, DiskResult, File};
use crate::producer_state::{BatchMeta, ProducerEntry, ProducerState};

const CRC_COVERS_FROM: usize = 6;
/// Entries read at a time.
const ENTRIES_READ: usize = 1024;

/// Writes the snapshot of `state` before `offset`.
pub(crate) fn store(disk: &Disk, dir: &Path, offset: i64, state: &ProducerState) -> DiskResult<()> {
    disk.replace_small(
        &FileName::live(offset, FileKind::Snapshot).in_dir(dir),
        &encode(state),
    )
}

/// What became of reading a snapshot.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// There is no such file.
    Missing,
    /// The file is not what was written.
    Unusable,
    /// The producers.
    Producers(ProducerState),
}

/// Reads the snapshot before `offset`.
pub(crate) fn load(disk: &Disk, dir: &Path, offset: i64) -> DiskResult<Loaded> {
    let path = FileName::live(offset, FileKind::Snapshot).in_dir(dir);
    let Some(file) = disk.open_if_exists(&path)? else {
        return Ok(Loaded::Missing);
    };
    let mut head = [0; SNAPSHOT_HEADER_BYTES];
    if file.read_up_to(&mut head, 0)? < head.len() {
        return Ok(Loaded::Unusable);
    }
    let Some(header) = Header::parse(&head, file.size()?) else {
        return Ok(Loaded::Unusable);
    };
    let mut crc = Crc32c::default();
    crc.update(&head[CRC_COVERS_FROM..]);
    for_each_piece(&file, header.count, |piece| crc.update(piece))?;
    if crc.value() != header.crc {
        return Ok(Loaded::Unusable);
    }
    let mut state = ProducerState::with_room_for(header.count);
    let mut usable = true;
    for_each_piece(&file, header.count, |piece| {
        for entry in piece.as_chunks::<SNAPSHOT_ENTRY_BYTES>().0 {
            usable = usable
                && decode_entry(entry, offset)
                    .is_some_and(|(producer_id, entry)| state.restore(producer_id, entry));
        }
    })?;
    Ok(match usable {
        true => Loaded::Producers(state),
        false => Loaded::Unusable,
    })
}

fn for_each_piece(file: &File, count: usize, mut visit: impl FnMut(&[u8])) -> DiskResult<()> {
    let mut buffer = vec![0; count.min(ENTRIES_READ) * SNAPSHOT_ENTRY_BYTES];
    let mut position = SNAPSHOT_HEADER_BYTES as u64;
    let mut left = count;
    while left > 0 {
        let entries = left.min(ENTRIES_READ);
        let piece = &mut buffer[..entries * SNAPSHOT_ENTRY_BYTES];
        file.read_exact_at(piece, position)?;
        visit(piece);
        position += piece.len() as u64;
        left -= entries;
    }
    Ok(())
}

struct Header {
    crc: u32,
    count: usize,
}

impl Header {
    /// `None` unless the count says how long the file is.
    fn parse(bytes: &[u8; SNAPSHOT_HEADER_BYTES], file_bytes: u64) -> Option<Header> {
        let mut input = Input(bytes);
        if i16::from_be_bytes(input.take()) != SNAPSHOT_VERSION {
            return None;
        }
        let crc = u32::from_be_bytes(input.take());
        let count = usize::try_from(i32::from_be_bytes(input.take())).ok()?;
        let entry_bytes = file_bytes.checked_sub(SNAPSHOT_HEADER_BYTES as u64)?;
        let expected = (count as u64).checked_mul(SNAPSHOT_ENTRY_BYTES as u64)?;
        (entry_bytes == expected).then_some(Header { crc, count })
    }
}

/// The stored form.
pub(crate) fn encode(state: &ProducerState) -> Vec<u8> {
    let mut producers: Vec<_> = state.iter().collect();
    // The order does not matter to a reader; a fixed one makes equal states equal files.
    producers.sort_unstable_by_key(|(id, _)| *id);
    let mut out =
        Vec::with_capacity(SNAPSHOT_HEADER_BYTES + producers.len() * SNAPSHOT_ENTRY_BYTES);
    out.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let count = i32::try_from(producers.len()).expect("memory ends before a count does");
    out.extend_from_slice(&count.to_be_bytes());
    for (producer_id, entry) in producers {
        let last = entry.batches().last();
        out.extend_from_slice(&producer_id.to_be_bytes());
        out.extend_from_slice(&entry.epoch.to_be_bytes());
        out.extend_from_slice(&entry.last_sequence().to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset).to_be_bytes());
        out.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&entry.txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c(&out[CRC_COVERS_FROM..]);
    out[2..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
    out
}

/// `None` for what cannot be said of a producer before `offset`.
fn decode_entry(bytes: &[u8; SNAPSHOT_ENTRY_BYTES], offset: i64) -> Option<(i64, ProducerEntry)> {
    let mut input = Input(bytes);
    let producer_id = i64::from_be_bytes(input.take());
    let mut entry = ProducerEntry::new(i16::from_be_bytes(input.take()));
    let last_sequence = i32::from_be_bytes(input.take());
    let last_offset = i64::from_be_bytes(input.take());
    let offset_delta = i32::from_be_bytes(input.take());
    let timestamp = i64::from_be_bytes(input.take());
    entry.last_timestamp = timestamp;
    entry.coordinator_epoch = i32::from_be_bytes(input.take());
    let first = i64::from_be_bytes(input.take());
    entry.txn_first_offset = (first >= 0).then_some(first);
    if first >= offset || last_offset >= offset {
        return None;
    }
    if last_offset >= 0 {
        if last_sequence < 0 || !(0..=last_offset).contains(&i64::from(offset_delta)) {
            return None;
        }
        entry.push(BatchMeta {
            last_sequence,
            last_offset,
            offset_delta,
            timestamp,
        });
    }
    Some((producer_id, entry))
}

/// Fields taken one by one from bytes that hold them all.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (value, rest) = self.0.split_first_chunk().expect("the fields fit");
        self.0 = rest;
        *value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimDisk;

    #[test]
    fn a_snapshot_round_trips_and_any_flipped_bit_makes_it_unusable() {
        let mut state = ProducerState::default();
        let mut entry = ProducerEntry::new(3);
        entry.push(BatchMeta {
            last_sequence: 9,
            last_offset: 99,
            offset_delta: 4,
            timestamp: 1_000,
        });
        entry.last_timestamp = 1_000;
        entry.txn_first_offset = Some(95);
        assert!(state.restore(42, entry));
        assert!(state.restore(43, ProducerEntry::new(0)));
        let bytes = encode(&state);
        assert_eq!(
            bytes.len(),
            SNAPSHOT_HEADER_BYTES + 2 * SNAPSHOT_ENTRY_BYTES
        );
        assert_eq!(loaded(&bytes).as_ref(), Some(&state));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(loaded(&flipped), None, "bit {bit}");
        }
    }

    const OFFSET: i64 = 100;

    /// `None` for a snapshot that cannot be used.
    fn loaded(bytes: &[u8]) -> Option<ProducerState> {
        let disk = Disk::new(SimDisk::new());
        let dir = Path::new("/");
        let path = FileName::live(OFFSET, FileKind::Snapshot).in_dir(dir);
        disk.replace_small(&path, bytes).expect("a sound disk");
        match load(&disk, dir, OFFSET).expect("a sound disk") {
            Loaded::Producers(state) => Some(state),
            Loaded::Unusable => None,
            Loaded::Missing => panic!("it was just written"),
        }
    }

    #[test]
    fn more_producers_than_are_read_at_a_time_come_back() {
        let mut state = ProducerState::default();
        for id in 0..3 * ENTRIES_READ as i64 + 1 {
            let mut entry = ProducerEntry::new((id % 7) as i16);
            entry.last_timestamp = id;
            assert!(state.restore(id, entry));
        }
        assert_eq!(loaded(&encode(&state)).as_ref(), Some(&state));
    }

    fn entry(first_offset: i64, last_offset: i64, sequence: i32, delta: i32) -> ProducerEntry {
        let mut entry = ProducerEntry::new(0);
        entry.txn_first_offset = (first_offset >= 0).then_some(first_offset);
        if last_offset >= 0 {
            entry.push(BatchMeta {
                last_sequence: sequence,
                last_offset,
                offset_delta: delta,
                timestamp: 5,
            });
            entry.last_timestamp = 5;
        }
        entry
    }

    #[test]
    fn what_no_log_could_have_led_to_is_unusable_though_its_checksum_is_right() {
        let usable = |entries: &[(i64, ProducerEntry)]| {
            let mut bytes = encode(&ProducerState::default());
            for (id, entry) in entries {
                let mut one = ProducerState::default();
                assert!(one.restore(*id, entry.clone()));
                bytes.extend_from_slice(&encode(&one)[SNAPSHOT_HEADER_BYTES..]);
            }
            bytes[CRC_COVERS_FROM..SNAPSHOT_HEADER_BYTES]
                .copy_from_slice(&(entries.len() as i32).to_be_bytes());
            let crc = crc32c(&bytes[CRC_COVERS_FROM..]);
            bytes[2..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
            loaded(&bytes).is_some()
        };
        assert!(usable(&[(1, entry(90, 99, 9, 9)), (2, entry(0, 0, 0, 0))]));
        assert!(
            !usable(&[(1, entry(OFFSET, -1, 0, 0))]),
            "begins behind the snapshot"
        );
        assert!(
            !usable(&[(1, entry(-1, OFFSET, 0, 0))]),
            "ends behind the snapshot"
        );
        assert!(!usable(&[(1, entry(-1, 5, -1, 0))]), "no sequence");
        for delta in [-1, i32::MIN, 6] {
            assert!(!usable(&[(1, entry(-1, 5, 0, delta))]), "delta {delta}");
        }
        let twice = [(1, entry(-1, 5, 0, 0)), (1, entry(-1, 6, 1, 0))];
        assert!(!usable(&twice), "one producer twice");
        let same = [(1, entry(5, 5, 0, 0)), (2, entry(5, 6, 1, 0))];
        assert!(!usable(&same), "two transactions from one offset");
    }
}

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
//! restart replays at most one segment. One that fails its checksum is passed
//! over for the one before it.

use std::path::Path;

use reka_records::crc::crc32c;

use crate::format::{
    FileKind, FileName, SNAPSHOT_ENTRY_BYTES, SNAPSHOT_HEADER_BYTES, SNAPSHOT_VERSION,
};
use crate::fs::{Disk, DiskResult};
use crate::producer_state::{BatchMeta, ProducerEntry, ProducerState};

/// A million producers fit.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
const CRC_COVERS_FROM: usize = 6;

/// Writes the snapshot of `state` before `offset`.
pub(crate) fn store(disk: &Disk, dir: &Path, offset: i64, state: &ProducerState) -> DiskResult<()> {
    disk.replace_small(
        &FileName::live(offset, FileKind::Snapshot).in_dir(dir),
        &encode(state),
    )
}

/// Reads the snapshot before `offset`; `None` when it is missing or unusable.
pub(crate) fn load(disk: &Disk, dir: &Path, offset: i64) -> DiskResult<Option<ProducerState>> {
    let path = FileName::live(offset, FileKind::Snapshot).in_dir(dir);
    Ok(disk
        .read_small(&path, FILE_BYTES_MAX)?
        .as_deref()
        .and_then(decode))
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
    out.extend_from_slice(&(producers.len() as i32).to_be_bytes());
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

/// `None` for anything that is not exactly a snapshot.
pub(crate) fn decode(bytes: &[u8]) -> Option<ProducerState> {
    let mut input = Input(bytes);
    if i16::from_be_bytes(input.take()?) != SNAPSHOT_VERSION {
        return None;
    }
    let crc = u32::from_be_bytes(input.take()?);
    if crc != crc32c(input.0) {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(input.take()?)).ok()?;
    if input.0.len() != count.checked_mul(SNAPSHOT_ENTRY_BYTES)? {
        return None;
    }
    let mut state = ProducerState::default();
    for _ in 0..count {
        let producer_id = i64::from_be_bytes(input.take()?);
        let mut entry = ProducerEntry::new(i16::from_be_bytes(input.take()?));
        let last_sequence = i32::from_be_bytes(input.take()?);
        let last_offset = i64::from_be_bytes(input.take()?);
        let offset_delta = i32::from_be_bytes(input.take()?);
        let timestamp = i64::from_be_bytes(input.take()?);
        entry.last_timestamp = timestamp;
        entry.coordinator_epoch = i32::from_be_bytes(input.take()?);
        let first = i64::from_be_bytes(input.take()?);
        entry.txn_first_offset = (first >= 0).then_some(first);
        if last_offset >= 0 {
            entry.push(BatchMeta {
                last_sequence,
                last_offset,
                offset_delta,
                timestamp,
            });
        }
        state.restore(producer_id, entry);
    }
    Some(state)
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        state.restore(42, entry);
        state.restore(43, ProducerEntry::new(0));
        let bytes = encode(&state);
        assert_eq!(
            bytes.len(),
            SNAPSHOT_HEADER_BYTES + 2 * SNAPSHOT_ENTRY_BYTES
        );
        assert_eq!(decode(&bytes).as_ref(), Some(&state));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }
}

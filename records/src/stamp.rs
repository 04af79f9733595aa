//! What a broker writes into a batch that is otherwise kept as the producer sent it.
//!
//! [`set_base_offset`] and [`set_leader_epoch`] touch bytes outside the checksum and cost nothing.
//! The others lie inside it and compute it anew, over the whole batch. None of them moves or
//! resizes anything, so a compressed body stays compressed.
//!
//! All take one whole batch, as [`crate::BatchView::bytes`] gives it, and panic on less than a
//! header: the caller has parsed it.

use crate::attributes::{Attributes, TimestampType};
use crate::crc::crc32c;
use crate::layout::{self, Field};

/// Moves the batch to `offset`. Record offsets follow, they are relative.
pub fn set_base_offset(batch: &mut [u8], offset: i64) {
    put(batch, layout::BASE_OFFSET, offset.to_be_bytes());
}

/// Stamps the epoch of the leader that appends the batch.
pub fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    put(batch, layout::LEADER_EPOCH, epoch.to_be_bytes());
}

/// Makes `now_ms` the timestamp of every record. Base timestamp and deltas stay as they are;
/// readers look at the attribute and report the max timestamp instead.
pub fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    set_timestamps(batch, TimestampType::LogAppendTime, now_ms);
}

/// Sets the largest timestamp, for records that keep their own.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    let timestamp_type = attributes(batch).timestamp_type();
    set_timestamps(batch, timestamp_type, max_timestamp);
}

/// Sets type and largest timestamp together. Nothing is written, and no checksum computed, when
/// both are as wanted: the case of nearly every batch, as clients fill them in correctly.
pub fn set_timestamps(batch: &mut [u8], timestamp_type: TimestampType, max_timestamp: i64) {
    let before = attributes(batch);
    let wanted = before.with_timestamp_type(timestamp_type);
    if before == wanted && batch[layout::MAX_TIMESTAMP.range()] == max_timestamp.to_be_bytes() {
        return;
    }
    put(batch, layout::ATTRIBUTES, wanted.0.to_be_bytes());
    put(batch, layout::MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    refresh_crc(batch);
}

/// Stamps when tombstones and markers of this batch may go.
///
/// This overwrites the base timestamp, and record timestamps are counted from it: only for batches
/// with log append time, whose records all have the max timestamp. All others, markers as well, are
/// built anew with [`crate::BatchBuilder::delete_horizon`], which counts the records from the
/// horizon and keeps their timestamps, as Apache Kafka's cleaner does for every batch it stamps.
pub fn set_delete_horizon(batch: &mut [u8], horizon_ms: i64) {
    let wanted = attributes(batch).with(Attributes::DELETE_HORIZON);
    put(batch, layout::ATTRIBUTES, wanted.0.to_be_bytes());
    put(batch, layout::BASE_TIMESTAMP, horizon_ms.to_be_bytes());
    refresh_crc(batch);
}

/// Computes the checksum anew after a change inside its range.
pub fn refresh_crc(batch: &mut [u8]) {
    let crc = crc32c(&batch[layout::CRC.end()..]);
    put(batch, layout::CRC, crc.to_be_bytes());
}

fn attributes(batch: &[u8]) -> Attributes {
    let at = layout::ATTRIBUTES.at;
    Attributes(i16::from_be_bytes([batch[at], batch[at + 1]]))
}

/// Writes one header field.
pub(crate) fn put<const N: usize>(batch: &mut [u8], field: Field, value: [u8; N]) {
    batch[field.range()].copy_from_slice(&value);
}

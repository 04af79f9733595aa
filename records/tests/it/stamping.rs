//! What a broker writes in place, and what it must not touch.

use reka_records::{BatchHeader, BatchView, Compression, TimestampType, layout, stamp};

use crate::support::{NOW, plain, read};

/// Positions at which two batches of the same length differ.
fn differences(before: &[u8], after: &[u8]) -> Vec<usize> {
    assert_eq!(before.len(), after.len());
    (0..before.len())
        .filter(|&at| before[at] != after[at])
        .collect()
}

#[test]
fn base_offset_and_leader_epoch_leave_the_checksum_alone() {
    let before = plain(3, Compression::Zstd);
    let mut after = before.clone();
    stamp::set_base_offset(&mut after, 0x0102_0304_0506_0708);
    stamp::set_leader_epoch(&mut after, 0x0a0b_0c0d);
    let changed: Vec<usize> = layout::BASE_OFFSET.range().chain(12..16).collect();
    assert_eq!(differences(&before, &after), changed);
    assert_eq!(read(&after)[2].offset, 0x0102_0304_0506_0708 + 2);
    assert_eq!(
        BatchHeader::parse(&after).unwrap().leader_epoch,
        0x0a0b_0c0d
    );
}

#[test]
fn log_append_time_is_what_readers_report_for_every_record() {
    let mut batch = plain(3, Compression::Lz4);
    let before = *BatchView::parse(&batch).unwrap().header();
    stamp::set_log_append_time(&mut batch, NOW + 77);
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, NOW + 77);
    assert_eq!(header.base_timestamp, before.base_timestamp);
    assert!(
        read(&batch)
            .iter()
            .all(|record| record.timestamp == NOW + 77)
    );
}

#[test]
fn timestamps_that_are_right_already_cost_no_write() {
    let before = plain(3, Compression::None);
    let mut after = before.clone();
    // A wrong checksum stays wrong: proof that nothing was computed.
    after[layout::CRC.at] ^= 1;
    let wrong = after.clone();
    stamp::set_timestamps(&mut after, TimestampType::CreateTime, NOW + 2);
    assert_eq!(after, wrong);
    stamp::set_max_timestamp(&mut after, NOW + 3);
    BatchView::parse(&after).unwrap().verify_crc().unwrap();
}

#[test]
fn a_delete_horizon_takes_the_place_of_the_base_timestamp() {
    let mut batch = plain(1, Compression::None);
    stamp::set_delete_horizon(&mut batch, NOW + 5);
    BatchView::parse(&batch).unwrap().verify_crc().unwrap();
    assert_eq!(
        BatchHeader::parse(&batch).unwrap().delete_horizon(),
        Some(NOW + 5)
    );
}

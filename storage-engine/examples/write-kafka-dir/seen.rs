//! A log as Apache Kafka's consumer sees it, record by record, in the form of
//! `tests/testdata/kafka-4.3.1/README.md`.
//!
//! Two passes, as there are two isolation levels. The one for committed records is
//! the client's own algorithm: fetch below the last stable offset, and skip what the
//! aborted transactions that came with the fetch say.

use std::collections::{BTreeSet, HashSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reka_records::control::{TransactionResult, end_txn_marker};
use reka_records::{BatchView, Record, TimestampType, batches};
use reka_storage::LogReader;
use serde_json::{Value, json};

/// Far above what any record here needs.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// What stopped the reading, in words; a reader here only wants to fail with them.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Where readers of committed records stop.
pub(crate) fn last_stable(reader: &LogReader) -> i64 {
    reader.first_unstable().unwrap_or(reader.log_end())
}

/// Every record from the log's start to its end, fetched in answers of about `fetch_bytes`.
pub(crate) fn records(reader: &LogReader, fetch_bytes: u64) -> Result<Vec<Value>, Failure> {
    let committed = committed_offsets(reader, fetch_bytes)?;
    let (start, mut seen) = (reader.log_start(), Vec::new());
    each_batch(reader, fetch_bytes, reader.log_end(), |batch, _| {
        let header = batch.header();
        if header.is_control() {
            return Ok(());
        }
        let timestamp_type = match header.timestamp_type() {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        let mut scratch = Vec::new();
        for record in batch.records(&mut scratch, DECOMPRESSED_BYTES_MAX)? {
            let record = record?;
            if record.offset < start {
                continue;
            }
            seen.push(json!({
                "partition": 0,
                "offset": record.offset,
                "timestamp": record.timestamp,
                "timestampType": timestamp_type,
                "leaderEpoch": header.leader_epoch,
                "readCommitted": committed.contains(&record.offset),
                "key": bytes(record.key),
                "value": bytes(record.value),
                "headers": headers(&record),
            }));
        }
        Ok(())
    })?;
    Ok(seen)
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| STANDARD.encode(bytes).into())
}

fn headers(record: &Record<'_>) -> Value {
    let header = |(name, value): (&[u8], Option<&[u8]>)| {
        json!([String::from_utf8_lossy(name), bytes(value)])
    };
    record.headers.clone().map(header).collect()
}

/// Offsets of the records that a `read_committed` consumer is given.
fn committed_offsets(reader: &LogReader, fetch_bytes: u64) -> Result<HashSet<i64>, Failure> {
    let (start, mut offsets) = (reader.log_start(), HashSet::new());
    let mut fetch = None;
    let mut ahead = VecDeque::new();
    let mut aborting = BTreeSet::new();
    each_batch(
        reader,
        fetch_bytes,
        last_stable(reader),
        |batch, fetched| {
            if fetch.replace(fetched) != Some(fetched) {
                let aborted = reader.aborted_transactions(fetched.from, fetched.upto)?;
                if !aborted.is_sorted_by_key(|txn| txn.first_offset) {
                    return Err("aborted transactions out of order".into());
                }
                ahead = aborted.into();
                aborting.clear();
            }
            let header = batch.header();
            while ahead
                .front()
                .is_some_and(|txn| txn.first_offset <= header.last_offset())
            {
                aborting.extend(ahead.pop_front().map(|txn| txn.producer_id));
            }
            if header.is_control() {
                let marker = end_txn_marker(batch)?;
                if marker.is_some_and(|marker| marker.result == TransactionResult::Abort) {
                    aborting.remove(&header.producer_id);
                }
                return Ok(());
            }
            if header.is_transactional() && aborting.contains(&header.producer_id) {
                return Ok(());
            }
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, DECOMPRESSED_BYTES_MAX)? {
                let offset = record?.offset;
                if offset >= start {
                    offsets.insert(offset);
                }
            }
            Ok(())
        },
    )?;
    Ok(offsets)
}

/// What one fetch was for and gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    from: i64,
    upto: i64,
}

/// Calls `visit` with each batch below `upto`, checksum verified, as fetches return them.
pub(crate) fn each_batch(
    reader: &LogReader,
    fetch_bytes: u64,
    upto: i64,
    mut visit: impl FnMut(&BatchView<'_>, Fetched) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut from = reader.log_start();
    while let Some(slice) = reader.read(from, fetch_bytes, upto)? {
        let fetched = Fetched {
            from,
            upto: slice.next_offset,
        };
        let bytes = slice.bytes()?;
        for batch in batches(&bytes) {
            let batch = batch?;
            batch.verify_crc()?;
            visit(&batch, fetched)?;
        }
        if slice.next_offset <= from {
            return Err(format!("a fetch from offset {from} does not get on").into());
        }
        from = slice.next_offset;
    }
    Ok(())
}

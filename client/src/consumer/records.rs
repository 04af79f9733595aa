//! What is in an answer to a fetch. Pure, and trusting nothing: checksums are compared, bodies are
//! uncompressed up to a cap, records stay slices of what arrived.

use std::collections::HashSet;

use bytes::Bytes;
use reka_protocol::kafka_protocol::messages::fetch_response::PartitionData;
use reka_records::control::end_txn_marker;
use reka_records::{BatchError, BatchView, Compression, Records, TimestampType, batches};

use super::{ConsumerConfig, Payload};
use crate::admin::Isolation;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Where it is in its partition.
    pub offset: i64,
    /// Milliseconds since 1970; -1 where it has no time.
    pub timestamp: i64,
    /// Whether that is when the broker appended it, and not when it was made.
    pub is_append_time: bool,
    /// What it is about.
    pub key: Option<Bytes>,
    /// What it says.
    pub value: Option<Bytes>,
    /// In order; names may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) records: Vec<ConsumerRecord>,
    pub(super) next_offset: i64,
    /// The epoch of the leader that wrote the last batch, where it is said.
    pub(super) leader_epoch: Option<i32>,
}

/// Reads the records from `offset` on.
pub(super) fn read(
    data: &PartitionData,
    offset: i64,
    config: &ConsumerConfig,
) -> Result<Read, String> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut aborted = Aborted::new(data, config.isolation);
    let mut found = Read {
        records: Vec::new(),
        next_offset: offset,
        leader_epoch: None,
    };
    for batch in batches(&bytes) {
        let batch = match batch {
            Ok(batch) => batch,
            // The broker cuts where its limit is; the rest comes with the next answer.
            Err(BatchError::Incomplete { .. }) if found.next_offset > offset => break,
            Err(error) => return Err(error.to_string()),
        };
        batch.verify_crc().map_err(|error| error.to_string())?;
        let header = batch.header();
        if header.last_offset() < offset {
            continue;
        }
        if !aborted.skips(&batch)? && !header.is_control() {
            add(&bytes, &batch, offset, config, &mut found.records)?;
        }
        found.next_offset = header.next_offset();
        found.leader_epoch = Some(header.leader_epoch).filter(|epoch| *epoch >= 0);
    }
    Ok(found)
}

fn add(
    frame: &Bytes,
    batch: &BatchView<'_>,
    offset: i64,
    config: &ConsumerConfig,
    out: &mut Vec<ConsumerRecord>,
) -> Result<(), String> {
    let text = |error: BatchError| error.to_string();
    let header = batch.header();
    let body = match header.compression().map_err(text)? {
        Compression::None => frame.slice_ref(batch.records_bytes()),
        _ => {
            let mut body = Vec::new();
            batch
                .uncompressed(&mut body, config.decompressed_bytes_max)
                .map_err(text)?;
            Bytes::from(body)
        }
    };
    // A count is believed as far as there are bytes for it.
    let count = usize::try_from(header.record_count).unwrap_or(0);
    let is_append_time = header.timestamp_type() == TimestampType::LogAppendTime;
    out.reserve(count.min(body.len() / RECORD_BYTES_MIN));
    for record in Records::new(header, &body).map_err(text)? {
        let record = record.map_err(text)?;
        if record.offset < offset {
            continue;
        }
        let kept = |slice: Option<&[u8]>| -> Payload { slice.map(|slice| body.slice_ref(slice)) };
        out.push(ConsumerRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            is_append_time,
            key: kept(record.key),
            value: kept(record.value),
            headers: record
                .headers
                .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), kept(value)))
                .collect(),
        });
    }
    Ok(())
}

/// Length, attributes, two deltas, two null lengths and a count.
const RECORD_BYTES_MIN: usize = 7;

/// Which transactions were aborted, and which of them are under way.
struct Aborted {
    /// By where they start, the last first.
    coming: Vec<(i64, i64)>,
    open: HashSet<i64>,
    isolation: Isolation,
}

impl Aborted {
    fn new(data: &PartitionData, isolation: Isolation) -> Self {
        let listed = data.aborted_transactions.iter().flatten();
        let mut coming: Vec<(i64, i64)> = listed
            .map(|aborted| (aborted.first_offset, aborted.producer_id.0))
            .collect();
        // Some brokers do not sort them.
        coming.sort_unstable_by(|a, b| b.cmp(a));
        Aborted {
            coming,
            open: HashSet::new(),
            isolation,
        }
    }

    /// Whether a batch, met in the order of the log, belongs to a transaction that was aborted.
    fn skips(&mut self, batch: &BatchView<'_>) -> Result<bool, String> {
        if self.isolation == Isolation::ReadUncommitted {
            return Ok(false);
        }
        let header = batch.header();
        while let Some((first, producer)) = self.coming.last().copied()
            && first <= header.last_offset()
        {
            self.open.insert(producer);
            self.coming.pop();
        }
        if header.is_control() {
            // A marker ends its producer's transaction, however it ended.
            let marker = end_txn_marker(batch).map_err(|error| error.to_string())?;
            if marker.is_some() {
                self.open.remove(&header.producer_id);
            }
            return Ok(false);
        }
        Ok(header.is_transactional() && self.open.contains(&header.producer_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_protocol::kafka_protocol::messages::ProducerId;
    use reka_protocol::kafka_protocol::messages::fetch_response::AbortedTransaction;
    use reka_records::BatchBuilder;
    use reka_records::control::{EndTxnMarker, MarkerBatch, TransactionResult};

    fn batch(offset: i64, values: &[&str], codec: Compression, producer: Option<i64>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(offset).compression(codec);
        if let Some(id) = producer {
            builder = builder.producer(id, 0, 0).transactional();
        }
        for (offset, value) in (offset..).zip(values) {
            let headers = [(&b"h"[..], Some(&b"1"[..])), (&b"h"[..], None)];
            let value = Some(value.as_bytes());
            builder
                .append(offset, 7, Some(b"k"), value, headers)
                .expect("room");
        }
        builder.finish()
    }

    fn marker(offset: i64, producer: i64, result: TransactionResult) -> Vec<u8> {
        let marker = EndTxnMarker {
            result,
            coordinator_epoch: 0,
        };
        marker.to_batch(MarkerBatch {
            base_offset: offset,
            leader_epoch: 0,
            producer_id: producer,
            producer_epoch: 0,
            timestamp: 7,
        })
    }

    fn data(bytes: Vec<u8>) -> PartitionData {
        PartitionData::default().with_records(Some(bytes.into()))
    }

    fn values(read: &Read) -> Vec<(i64, String)> {
        let value = |record: &ConsumerRecord| {
            let value = record.value.clone().unwrap_or_default();
            (record.offset, String::from_utf8_lossy(&value).into_owned())
        };
        read.records.iter().map(value).collect()
    }

    #[test]
    fn records_of_every_codec_are_read_from_the_offset_on() {
        let config = ConsumerConfig::default();
        for codec in Compression::ALL {
            let data = data(batch(10, &["a", "b", "c"], codec, None));
            let read = read(&data, 11, &config).expect("records");
            assert_eq!(values(&read), [(11, "b".to_owned()), (12, "c".to_owned())]);
            assert_eq!(read.next_offset, 13);
            let headers = &read.records[0].headers;
            assert_eq!(headers.len(), 2, "names may repeat");
            assert_eq!((headers[1].0.as_str(), &headers[1].1), ("h", &None));
        }
    }

    #[test]
    fn a_batch_that_is_cut_is_left_for_the_next_answer_unless_it_is_all_there_is() {
        let config = ConsumerConfig::default();
        let mut bytes = batch(0, &["a"], Compression::None, None);
        let whole = bytes.len();
        bytes.extend(batch(1, &["b"], Compression::None, None));
        for cut in whole..bytes.len() {
            let read = read(&data(bytes[..cut].to_vec()), 0, &config).expect("the first");
            assert_eq!(
                (values(&read).len(), read.next_offset),
                (1, 1),
                "cut at {cut}"
            );
        }
        assert!(read(&data(bytes[..whole - 1].to_vec()), 0, &config).is_err());
    }

    #[test]
    fn flipped_bits_and_bombs_are_errors() {
        let mut config = ConsumerConfig::default();
        let bytes = batch(0, &["aaaaaaaaaaaaaaaa"], Compression::Gzip, None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The base offset and the leader's epoch are outside the checksum.
            let at = bit / 8;
            let unchecked = at < 8 || (12..16).contains(&at);
            assert!(
                unchecked || read(&data(flipped), 0, &config).is_err(),
                "bit {bit}"
            );
        }
        config.decompressed_bytes_max = 8;
        let refused = read(&data(bytes), 0, &config).expect_err("it is larger");
        assert!(refused.contains("more than 8 bytes"), "{refused}");
    }

    #[test]
    fn committed_readers_do_not_see_what_was_aborted() {
        let mut bytes = batch(0, &["gone"], Compression::None, Some(7));
        bytes.extend(batch(1, &["other"], Compression::None, Some(8)));
        bytes.extend(batch(2, &["plain"], Compression::None, None));
        bytes.extend(marker(3, 7, TransactionResult::Abort));
        bytes.extend(batch(4, &["again"], Compression::None, Some(7)));
        bytes.extend(marker(5, 7, TransactionResult::Commit));
        let aborted = AbortedTransaction::default()
            .with_producer_id(ProducerId(7))
            .with_first_offset(0);
        let data = data(bytes).with_aborted_transactions(Some(vec![aborted]));
        let mut config = ConsumerConfig::default();
        assert_eq!(values(&read(&data, 0, &config).expect("records")).len(), 4);
        config.isolation = Isolation::ReadCommitted;
        let committed = read(&data, 0, &config).expect("records");
        let expected = [(1, "other"), (2, "plain"), (4, "again")];
        let expected = expected.map(|(offset, value)| (offset, value.to_owned()));
        assert_eq!(values(&committed), expected);
        assert_eq!(committed.next_offset, 6, "markers are passed");
    }
}

//! New batches: what tests, internal producers, recompression and the log cleaner write.
//!
//! Records are encoded as they are appended; [`BatchBuilder::finish`] compresses them and writes
//! the header. The cleaner's needs are covered: offsets with gaps, a last offset beyond the last
//! record kept, a delete horizon in place of the base timestamp, and batches with no record left
//! that still say up to where a producer's sequence went.

use crate::attributes::{Attributes, TimestampType};
use crate::compression::{Compression, compress_into};
use crate::iter::Record;
use crate::layout::{self, HEADER_BYTES};
use crate::stamp::{put, refresh_crc};
use crate::varint::{put_varint, put_varlong, varint_bytes, varlong_bytes};
use crate::view::BatchHeader;
use crate::{NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP};

/// The largest body a builder takes, before compression. Far above any topic's limit, and far
/// enough below 2^31 that no codec can push a batch over what its length field holds.
pub const BODY_BYTES_MAX: usize = 1 << 30;

/// A record that does not fit the batch being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Offsets must rise.
    #[error("offset {offset} is below {lowest}, the lowest that can follow")]
    OffsetOrder {
        /// Of the record refused.
        offset: i64,
        /// The base offset for the first record, else one above the record before.
        lowest: i64,
    },
    /// Too far from the base offset for a 32-bit delta.
    #[error("offset {offset} is more than 2^31 - 1 above base offset {base_offset}")]
    OffsetRange {
        /// Of the record refused.
        offset: i64,
        /// Of the batch.
        base_offset: i64,
    },
    /// The body would be larger than any batch may be.
    #[error("records of {bytes} bytes, at most {BODY_BYTES_MAX} allowed")]
    TooLarge {
        /// With the record refused.
        bytes: usize,
    },
}

/// Builds one batch.
///
/// ```
/// use reka_records::{BatchBuilder, BatchView, Compression};
///
/// let mut builder = BatchBuilder::new(100).compression(Compression::Lz4);
/// builder.append(100, 1_700_000_000_000, Some(b"key"), Some(b"value"), [])?;
/// builder.append(101, 1_700_000_000_001, None, None, [(&b"trace"[..], Some(&b"1"[..]))])?;
/// let bytes = builder.finish();
///
/// let batch = BatchView::parse(&bytes)?;
/// batch.verify_crc()?;
/// assert_eq!(batch.header().last_offset(), 101);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    base_offset: i64,
    leader_epoch: i32,
    attributes: Attributes,
    compression: Compression,
    level: Option<i32>,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    /// From the first record or the delete horizon; what deltas are relative to.
    base_timestamp: Option<i64>,
    /// Of the records so far.
    largest_timestamp: i64,
    /// Says so whatever the records say.
    max_timestamp: Option<i64>,
    /// Of the last record.
    previous_offset: Option<i64>,
    /// Says so whatever the records say.
    last_offset: Option<i64>,
    count: i32,
    body: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch at `base_offset`: not compressed, create time, no producer.
    pub fn new(base_offset: i64) -> BatchBuilder {
        BatchBuilder {
            base_offset,
            leader_epoch: NO_LEADER_EPOCH,
            attributes: Attributes::default(),
            compression: Compression::None,
            level: None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            base_timestamp: None,
            largest_timestamp: NO_TIMESTAMP,
            max_timestamp: None,
            previous_offset: None,
            last_offset: None,
            count: 0,
            body: Vec::new(),
        }
    }

    /// A batch to hold some or all records of another: same offsets covered, producer, sequence,
    /// epoch, flags, codec and timestamp type. This is how the cleaner rewrites a batch, and how a
    /// batch changes its codec. A delete horizon is kept as well.
    pub fn like(header: &BatchHeader, compression: Compression) -> BatchBuilder {
        let builder = BatchBuilder {
            leader_epoch: header.leader_epoch,
            attributes: header.attributes.without(Attributes::DELETE_HORIZON),
            compression,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            max_timestamp: header.log_append_time(),
            last_offset: Some(header.last_offset()),
            ..BatchBuilder::new(header.base_offset)
        };
        match header.delete_horizon() {
            Some(horizon) => builder.delete_horizon(horizon),
            None => builder,
        }
    }

    /// The epoch of the leader that appends it.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: i32) -> BatchBuilder {
        self.leader_epoch = epoch;
        self
    }

    /// The idempotent producer it is from.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Makes it part of its producer's transaction.
    #[must_use]
    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes = self.attributes.with(Attributes::TRANSACTIONAL);
        self
    }

    /// Makes its records markers; see [`crate::control`].
    #[must_use]
    pub fn control(mut self) -> BatchBuilder {
        self.attributes = self.attributes.with(Attributes::CONTROL);
        self
    }

    /// The codec of the body.
    #[must_use]
    pub fn compression(mut self, codec: Compression) -> BatchBuilder {
        self.compression = codec;
        self
    }

    /// The codec's level; its default without.
    #[must_use]
    pub fn compression_level(mut self, level: i32) -> BatchBuilder {
        self.level = Some(level);
        self
    }

    /// All records get the broker's time.
    #[must_use]
    pub fn log_append_time(mut self, now_ms: i64) -> BatchBuilder {
        self.attributes = self
            .attributes
            .with_timestamp_type(TimestampType::LogAppendTime);
        self.max_timestamp = Some(now_ms);
        self
    }

    /// Records keep their own time.
    #[must_use]
    pub fn create_time(mut self) -> BatchBuilder {
        self.attributes = self
            .attributes
            .with_timestamp_type(TimestampType::CreateTime);
        self.max_timestamp = None;
        self
    }

    /// A largest timestamp other than that of the records: an empty batch keeps the one it had.
    #[must_use]
    pub fn max_timestamp(mut self, max_timestamp: i64) -> BatchBuilder {
        self.max_timestamp = Some(max_timestamp);
        self
    }

    /// When tombstones and markers of this batch may go. It takes the place of the base timestamp,
    /// so it has to be known before the first record.
    ///
    /// # Panics
    /// If a record has been appended.
    #[must_use]
    pub fn delete_horizon(mut self, horizon_ms: i64) -> BatchBuilder {
        assert!(
            self.count == 0,
            "the delete horizon comes before the records"
        );
        self.attributes = self.attributes.with(Attributes::DELETE_HORIZON);
        self.base_timestamp = Some(horizon_ms);
        self
    }

    /// A last offset beyond that of the records: the cleaner keeps the original, because the last
    /// sequence number of the producer hangs on it.
    ///
    /// # Panics
    /// If it is below the base offset or too far above it.
    #[must_use]
    pub fn last_offset(mut self, last_offset: i64) -> BatchBuilder {
        let delta = last_offset.checked_sub(self.base_offset).map(i32::try_from);
        assert!(
            matches!(delta, Some(Ok(0..))),
            "last offset {last_offset} of a batch at {}",
            self.base_offset
        );
        self.last_offset = Some(last_offset);
        self
    }

    /// Appends a record. Offsets rise, with gaps as wanted.
    pub fn append<'h, H>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<(), BuildError>
    where
        H: IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
        H::IntoIter: Clone,
    {
        let offset_delta = self.next_delta(offset)?;
        let base_timestamp = self.base_timestamp.unwrap_or(timestamp);
        // The reader adds it back with the same wrap.
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);

        let headers = headers.into_iter();
        let (header_count, headers_bytes) = measure(headers.clone());
        let length = [
            1 + varlong_bytes(timestamp_delta) + varint_bytes(offset_delta),
            nullable_bytes(key),
            nullable_bytes(value),
            headers_bytes,
        ]
        .into_iter()
        .fold(0, usize::saturating_add);
        // The checks of the whole cover every part: nothing below exceeds 2^30.
        let bytes = self.body.len().saturating_add(length);
        if bytes > BODY_BYTES_MAX {
            return Err(BuildError::TooLarge { bytes });
        }

        let body = &mut self.body;
        body.reserve(length + crate::varint::VARINT_BYTES_MAX);
        put_varint(body, length as i32);
        body.push(0);
        put_varlong(body, timestamp_delta);
        put_varint(body, offset_delta);
        put_nullable(body, key);
        put_nullable(body, value);
        put_varint(body, header_count as i32);
        for (key, value) in headers {
            put_nullable(body, Some(key));
            put_nullable(body, value);
        }

        self.base_timestamp = Some(base_timestamp);
        self.largest_timestamp = self.largest_timestamp.max(timestamp);
        self.previous_offset = Some(offset);
        self.count += 1;
        Ok(())
    }

    /// Appends a record of another batch at its own offset.
    pub fn append_record(&mut self, record: &Record<'_>) -> Result<(), BuildError> {
        let headers = record.headers.clone();
        self.append(
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            headers,
        )
    }

    /// Records appended so far.
    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch if it were not compressed.
    pub fn uncompressed_size(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The whole batch.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.finish_into(&mut out);
        out
    }

    /// Appends the whole batch to `out`.
    ///
    /// A batch without records says so plainly, as Kafka's cleaner writes it: no codec, no base
    /// timestamp, no delete horizon. It covers its base offset unless
    /// [`last_offset`](BatchBuilder::last_offset) says more.
    pub fn finish_into(self, out: &mut Vec<u8>) {
        let empty = self.count == 0;
        let codec = if empty {
            Compression::None
        } else {
            self.compression
        };
        let mut attributes = self.attributes.with_compression(codec);
        if empty {
            attributes = attributes.without(Attributes::DELETE_HORIZON);
        }
        let base_timestamp = self
            .base_timestamp
            .filter(|_| !empty)
            .unwrap_or(NO_TIMESTAMP);
        let last_offset = self
            .last_offset
            .max(self.previous_offset)
            .unwrap_or(self.base_offset);

        let start = out.len();
        out.reserve(self.uncompressed_size());
        out.resize(start + HEADER_BYTES, 0);
        compress_into(codec, self.level, &self.body, out);

        let batch = &mut out[start..];
        let batch_length = (batch.len() - layout::LOG_OVERHEAD_BYTES) as i32;
        let last_offset_delta = last_offset.wrapping_sub(self.base_offset) as i32;
        let max_timestamp = self.max_timestamp.unwrap_or(self.largest_timestamp);
        put(batch, layout::BASE_OFFSET, self.base_offset.to_be_bytes());
        put(batch, layout::BATCH_LENGTH, batch_length.to_be_bytes());
        put(batch, layout::LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(batch, layout::MAGIC, crate::MAGIC.to_be_bytes());
        put(batch, layout::ATTRIBUTES, attributes.0.to_be_bytes());
        put(
            batch,
            layout::LAST_OFFSET_DELTA,
            last_offset_delta.to_be_bytes(),
        );
        put(batch, layout::BASE_TIMESTAMP, base_timestamp.to_be_bytes());
        put(batch, layout::MAX_TIMESTAMP, max_timestamp.to_be_bytes());
        put(batch, layout::PRODUCER_ID, self.producer_id.to_be_bytes());
        put(
            batch,
            layout::PRODUCER_EPOCH,
            self.producer_epoch.to_be_bytes(),
        );
        put(
            batch,
            layout::BASE_SEQUENCE,
            self.base_sequence.to_be_bytes(),
        );
        put(batch, layout::RECORD_COUNT, self.count.to_be_bytes());
        refresh_crc(batch);
    }

    fn next_delta(&self, offset: i64) -> Result<i32, BuildError> {
        let base_offset = self.base_offset;
        let lowest = self
            .previous_offset
            .map_or(base_offset, |previous| previous.saturating_add(1));
        if offset < lowest || self.previous_offset == Some(offset) {
            return Err(BuildError::OffsetOrder { offset, lowest });
        }
        let delta = offset
            .checked_sub(base_offset)
            .and_then(|delta| i32::try_from(delta).ok());
        delta.ok_or(BuildError::OffsetRange {
            offset,
            base_offset,
        })
    }
}

/// How many headers, and the bytes of their count and all of them.
fn measure<'h>(headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> (usize, usize) {
    let (count, bytes) = headers.fold((0, 0), |(count, bytes): (usize, usize), (key, value)| {
        let more = nullable_bytes(Some(key)).saturating_add(nullable_bytes(value));
        (count + 1, bytes.saturating_add(more))
    });
    (
        count,
        bytes.saturating_add(varint_bytes(i32::try_from(count).unwrap_or(i32::MAX))),
    )
}

/// Bytes of a length and what follows it. Lengths beyond 2^30 are refused by the sum they are in.
fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    let length = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    bytes
        .map_or(0, <[u8]>::len)
        .saturating_add(varint_bytes(length))
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

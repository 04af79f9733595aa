//! The records of a batch with their offsets and timestamps, as slices of the batch.
//!
//! An uncompressed batch is walked where it lies and nothing is allocated. A compressed one is
//! decompressed into a buffer the caller keeps from batch to batch, up to the caller's cap.

use crate::compression::{Compression, decompress_into};
use crate::error::{BatchError, RecordFault};
use crate::view::{BatchHeader, BatchView};
use crate::walk::{Headers, RawRecord, Walk};

/// One record.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Absolute offset in the partition.
    pub offset: i64,
    /// Milliseconds, or -1; the batch's max timestamp when the broker's clock set it.
    pub timestamp: i64,
    /// `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// `None` is null: a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// In order, repeated keys included.
    pub headers: Headers<'a>,
}

impl<'a> BatchView<'a> {
    /// The records, in order. `scratch` holds the decompressed body of a compressed batch and is
    /// left alone otherwise; a body of more than `max_decompressed` bytes is an error before that
    /// much is allocated.
    pub fn records<'b>(
        &'b self,
        scratch: &'b mut Vec<u8>,
        max_decompressed: usize,
    ) -> Result<Records<'b>, BatchError> {
        let body = self.uncompressed(scratch, max_decompressed)?;
        Records::new(self.header(), body)
    }

    /// The body without compression: the batch's own bytes, or `scratch` after decompressing.
    pub fn uncompressed<'b>(
        &'b self,
        scratch: &'b mut Vec<u8>,
        max_decompressed: usize,
    ) -> Result<&'b [u8], BatchError> {
        match self.header().compression()? {
            Compression::None => Ok(self.records_bytes()),
            // Kafka does not open an empty batch's body either: the cleaner leaves none.
            _ if self.header().record_count == 0 => Ok(&[]),
            codec => {
                decompress_into(codec, self.records_bytes(), scratch, max_decompressed)?;
                Ok(scratch)
            }
        }
    }
}

/// Iterator over the records of one batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    walk: Walk<'a>,
    base_offset: i64,
    base_timestamp: i64,
    log_append_time: Option<i64>,
}

impl<'a> Records<'a> {
    /// The records of a body that is already uncompressed.
    pub fn new(header: &BatchHeader, body: &'a [u8]) -> Result<Records<'a>, BatchError> {
        Ok(Records {
            walk: Walk::new(body, header.record_count)?,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            log_append_time: header.log_append_time(),
        })
    }

    #[inline]
    fn resolve(&self, raw: RawRecord<'a>) -> Result<Record<'a>, RecordFault> {
        let delta = raw.offset_delta;
        let offset = self
            .base_offset
            .checked_add(i64::from(delta))
            .ok_or(RecordFault::OffsetOverflow { delta })?;
        // Timestamps wrap, as with Kafka: any 64 bits are some point in time, and whether it is a
        // sensible one is the topic's business.
        let timestamp = self
            .log_append_time
            .unwrap_or(self.base_timestamp.wrapping_add(raw.timestamp_delta));
        Ok(Record {
            offset,
            timestamp,
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    // As in `walk`: out of line this costs twice as much.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (index, at) = (self.walk.read_so_far(), self.walk.bytes_read());
        let raw = match self.walk.next()? {
            Ok(raw) => raw,
            Err(error) => return Some(Err(error)),
        };
        Some(self.resolve(raw).map_err(|fault| {
            self.walk.stop();
            BatchError::Record { index, at, fault }
        }))
    }
}

impl std::iter::FusedIterator for Records<'_> {}

//! A batch as a view over bytes: the parsed header, and the slice it came from.
//!
//! Parsing checks structure only: enough bytes, the right magic, a length that can hold a header,
//! offsets that fit. Whether the content is intact is [`BatchView::verify_crc`]; whether a broker
//! may append it is [`mod@crate::validate`]. The byte table is in [`crate::layout`].

use crate::attributes::{Attributes, TimestampType};
use crate::compression::Compression;
use crate::crc::crc32c;
use crate::error::BatchError;
use crate::layout::{self, Field};
use crate::{NO_PRODUCER_ID, NO_SEQUENCE};

pub use crate::layout::{HEADER_BYTES, LOG_OVERHEAD_BYTES};

/// Sequence numbers live in `0..=i32::MAX` and start over at 0.
const SEQUENCE_COUNT: i64 = 1 << 31;

/// The header of a batch, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record the batch was written with (cleaning may have removed it).
    pub base_offset: i64,
    /// Bytes after the length field; at least 49.
    pub batch_length: i32,
    /// Epoch of the leader that appended it; meaningless before that.
    pub leader_epoch: i32,
    /// Always 2.
    pub magic: i8,
    /// CRC-32C over the bytes from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Last offset minus base offset. As stored: a hostile one may be negative.
    pub last_offset_delta: i32,
    /// What record timestamps are relative to; the delete horizon when the attributes say so.
    pub base_timestamp: i64,
    /// Largest timestamp, or the log append time.
    pub max_timestamp: i64,
    /// -1 without.
    pub producer_id: i64,
    /// -1 without.
    pub producer_epoch: i16,
    /// Sequence number of the first record; -1 without.
    pub base_sequence: i32,
    /// Records in the body. As stored: a hostile one may be negative.
    pub record_count: i32,
}

/// The first bytes of a header, up to its last offset delta.
pub const SPAN_BYTES: usize = layout::LAST_OFFSET_DELTA.end();

/// How long a batch is and which offsets it spans: all that going from batch to batch takes,
/// from the beginning of the header, which lies in fewer cache lines than the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpan {
    /// Offset of the first record the batch was written with.
    pub base_offset: i64,
    /// Last offset minus base offset. As stored: a hostile one may be negative.
    pub last_offset_delta: i32,
    /// Bytes of the whole batch, header included.
    pub size: usize,
}

impl BatchSpan {
    /// Checks what [`BatchHeader::parse`] checks, but that the header is all there.
    #[inline]
    pub fn parse(bytes: &[u8; SPAN_BYTES]) -> Result<BatchSpan, BatchError> {
        let length = get_i32(bytes, layout::BATCH_LENGTH);
        check_format(get_i8(bytes, layout::MAGIC), length)?;
        let span = BatchSpan {
            base_offset: get_i64(bytes, layout::BASE_OFFSET),
            last_offset_delta: get_i32(bytes, layout::LAST_OFFSET_DELTA),
            size: LOG_OVERHEAD_BYTES.saturating_add(length.max(0) as usize),
        };
        check_offsets(span.base_offset, span.last_offset_delta)?;
        Ok(span)
    }

    /// Offset of the last record the batch was written with.
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }
}

impl BatchHeader {
    /// Parses the header at the start of `bytes` and checks its structure: enough bytes for a
    /// header, magic 2, a length that can hold one, offsets that do not overflow. The batch itself
    /// may be longer or shorter than `bytes`; the CRC is not looked at.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(why_no_header(bytes));
        };
        check_format(
            get_i8(header, layout::MAGIC),
            get_i32(header, layout::BATCH_LENGTH),
        )?;
        let header = BatchHeader {
            base_offset: get_i64(header, layout::BASE_OFFSET),
            batch_length: get_i32(header, layout::BATCH_LENGTH),
            leader_epoch: get_i32(header, layout::LEADER_EPOCH),
            magic: get_i8(header, layout::MAGIC),
            crc: get_i32(header, layout::CRC) as u32,
            attributes: Attributes(get_i16(header, layout::ATTRIBUTES)),
            last_offset_delta: get_i32(header, layout::LAST_OFFSET_DELTA),
            base_timestamp: get_i64(header, layout::BASE_TIMESTAMP),
            max_timestamp: get_i64(header, layout::MAX_TIMESTAMP),
            producer_id: get_i64(header, layout::PRODUCER_ID),
            producer_epoch: get_i16(header, layout::PRODUCER_EPOCH),
            base_sequence: get_i32(header, layout::BASE_SEQUENCE),
            record_count: get_i32(header, layout::RECORD_COUNT),
        };
        check_offsets(header.base_offset, header.last_offset_delta)?;
        Ok(header)
    }

    /// Size and offsets alone.
    pub fn span(&self) -> BatchSpan {
        BatchSpan {
            base_offset: self.base_offset,
            last_offset_delta: self.last_offset_delta,
            size: self.size(),
        }
    }

    /// Bytes of the whole batch, header included.
    pub fn size(&self) -> usize {
        LOG_OVERHEAD_BYTES.saturating_add(self.batch_length.max(0) as usize)
    }

    /// Offset of the last record the batch was written with.
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence number of the last record; -1 without. Wraps from 2^31-1 to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NO_SEQUENCE;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The codec of the body; an error for an id nobody has defined.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        self.attributes.compression()
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// Part of a transaction; markers are too.
    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Holds markers rather than data.
    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// From an idempotent or transactional producer.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Has a sequence number; markers have a producer id and none.
    pub fn has_sequence(&self) -> bool {
        self.base_sequence >= 0
    }

    /// When tombstones and markers of this batch may go, in milliseconds, once the cleaner has
    /// decided. It takes the place of the base timestamp.
    pub fn delete_horizon(&self) -> Option<i64> {
        self.attributes
            .has_delete_horizon()
            .then_some(self.base_timestamp)
    }

    /// The timestamp all records share when the broker's clock set it.
    pub fn log_append_time(&self) -> Option<i64> {
        (self.timestamp_type() == TimestampType::LogAppendTime).then_some(self.max_timestamp)
    }
}

/// The sequence number `increment` records after `sequence`. 2^31-1 is followed by 0.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    (i64::from(sequence) + i64::from(increment)).rem_euclid(SEQUENCE_COUNT) as i32
}

/// One whole batch: header and body.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Takes the first batch of `bytes`, which may be followed by anything.
    pub fn parse(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size();
        match bytes.get(..needed) {
            Some(bytes) => Ok(BatchView { header, bytes }),
            None => Err(BatchError::Incomplete {
                needed,
                found: bytes.len(),
            }),
        }
    }

    /// The parsed header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The body as stored: compressed if the header says so.
    pub fn records_bytes(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Compares the stored checksum with the bytes.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c(&self.bytes[layout::CRC.end()..]);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchError::Crc {
                found: self.header.crc,
                computed,
            })
        }
    }
}

/// Walks the batches of a contiguous range, such as a segment or an answer to a fetch.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches {
        bytes,
        at: 0,
        failed: false,
    }
}

/// Iterator over contiguous batches. A batch cut off by the end of the range is the error
/// [`BatchError::Incomplete`]; after any error the iterator ends, since nothing says where the
/// next batch would start.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    at: usize,
    failed: bool,
}

impl Batches<'_> {
    /// Bytes of the batches so far: where the next one starts, or after an error the bad one.
    pub fn bytes_read(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        if self.failed || rest.is_empty() {
            return None;
        }
        let parsed = BatchView::parse(rest);
        match &parsed {
            Ok(batch) => self.at += batch.bytes.len(),
            Err(_) => self.failed = true,
        }
        Some(parsed)
    }
}

impl std::iter::FusedIterator for Batches<'_> {}

/// Magic before length: a message set of an old format must be called that, not damaged.
fn check_format(magic: i8, length: i32) -> Result<(), BatchError> {
    if length < layout::LEGACY_LENGTH_MIN {
        return Err(BatchError::LengthTooSmall {
            length,
            min: layout::BATCH_LENGTH_MIN,
        });
    }
    match magic {
        crate::MAGIC => {}
        0 | 1 => return Err(BatchError::LegacyMagic { magic }),
        _ => return Err(BatchError::UnknownMagic { magic }),
    }
    if length < layout::BATCH_LENGTH_MIN {
        return Err(BatchError::LengthTooSmall {
            length,
            min: layout::BATCH_LENGTH_MIN,
        });
    }
    Ok(())
}

/// Fewer bytes than a header: say what is wrong with those there are, else that more are needed.
#[cold]
fn why_no_header(bytes: &[u8]) -> BatchError {
    let found = bytes.len();
    if found < LOG_OVERHEAD_BYTES {
        return BatchError::Incomplete {
            needed: HEADER_BYTES,
            found,
        };
    }
    let length = get_i32(bytes, layout::BATCH_LENGTH);
    let magic = match found {
        found if found < layout::MAGIC.end() => crate::MAGIC,
        _ => get_i8(bytes, layout::MAGIC),
    };
    match check_format(magic, length) {
        Err(error) => error,
        Ok(()) => BatchError::Incomplete {
            needed: HEADER_BYTES,
            found,
        },
    }
}

fn get_i8(header: &[u8], field: Field) -> i8 {
    header[field.at] as i8
}

fn get_i16(header: &[u8], field: Field) -> i16 {
    i16::from_be_bytes(get(header, field))
}

fn get_i32(header: &[u8], field: Field) -> i32 {
    i32::from_be_bytes(get(header, field))
}

fn get_i64(header: &[u8], field: Field) -> i64 {
    i64::from_be_bytes(get(header, field))
}

/// Checks that the offset after a batch is a number.
#[inline]
fn check_offsets(base_offset: i64, last_offset_delta: i32) -> Result<(), BatchError> {
    let last = base_offset.checked_add(i64::from(last_offset_delta));
    match last.and_then(|last| last.checked_add(1)) {
        Some(_) => Ok(()),
        None => Err(BatchError::OffsetOverflow {
            base_offset,
            last_offset_delta,
        }),
    }
}

#[inline]
fn get<const N: usize>(header: &[u8], field: Field) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&header[field.range()]);
    value
}

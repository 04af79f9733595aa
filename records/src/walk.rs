//! The shape of records: lengths, deltas and slices, before offsets and timestamps are worked out.
//!
//! One record, after its batch is decompressed:
//!
//! | Field | Type |
//! |---|---|
//! | length | varint, bytes after this field |
//! | attributes | 1 byte, unused |
//! | timestamp delta | varlong, to the base timestamp |
//! | offset delta | varint, to the base offset |
//! | key | varint length (negative is null) and bytes |
//! | value | varint length (negative is null) and bytes |
//! | header count | varint |
//! | per header | key: varint length and bytes; value: varint length (negative is null) and bytes |
//!
//! [`Walk`] checks all of it and allocates nothing. [`crate::iter`] adds the batch's base offset
//! and timestamps.

use crate::error::{BatchError, RecordFault};
use crate::varint::Reader;

/// One record as it lies in the body.
#[derive(Clone, Debug)]
pub struct RawRecord<'a> {
    /// Bytes it takes, its length field included.
    pub size: usize,
    /// Relative to the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Relative to the batch's base offset.
    pub offset_delta: i32,
    /// `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// `None` is null: a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Checked already, so iterating over them cannot fail.
    pub headers: Headers<'a>,
}

/// Walks the uncompressed records of a batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    reader: Reader<'a>,
    count: i32,
    read: i32,
}

impl<'a> Walk<'a> {
    /// Expects exactly `count` records in `body`. A batch of no records may hold anything, as with
    /// Kafka: nobody looks.
    pub fn new(body: &'a [u8], count: i32) -> Result<Walk<'a>, BatchError> {
        if count < 0 {
            return Err(BatchError::NegativeRecordCount { count });
        }
        Ok(Walk {
            reader: Reader::new(body),
            count,
            read: 0,
        })
    }

    /// Records read so far, which is the index of the next one.
    pub fn read_so_far(&self) -> usize {
        self.read as usize
    }

    /// Where the next record starts in the uncompressed records.
    pub fn bytes_read(&self) -> usize {
        self.reader.position()
    }

    /// Ends the walk, as an error does.
    pub(crate) fn stop(&mut self) {
        self.read = self.count;
    }

    #[cold]
    fn fail(&mut self, at: usize, fault: RecordFault) -> BatchError {
        let index = self.read_so_far();
        self.stop();
        BatchError::Record { index, at, fault }
    }

    #[cold]
    fn trailing(&self) -> BatchError {
        BatchError::TrailingBytes {
            at: self.bytes_read(),
            left: self.reader.left(),
            count: self.count,
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<RawRecord<'a>, BatchError>;

    // Out of line, a record is stored field by field and copied in wide loads that stall on those
    // stores: more than half the cost of the walk.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.read >= self.count {
            return None;
        }
        let at = self.bytes_read();
        Some(match read_record(&mut self.reader) {
            Err(fault) => Err(self.fail(at, fault)),
            Ok(record) => {
                self.read += 1;
                let trailing = self.read == self.count && self.reader.left() > 0;
                if trailing {
                    Err(self.trailing())
                } else {
                    Ok(record)
                }
            }
        })
    }
}

impl std::iter::FusedIterator for Walk<'_> {}

#[inline(always)]
fn read_record<'a>(reader: &mut Reader<'a>) -> Result<RawRecord<'a>, RecordFault> {
    let start = reader.position();
    let length = reader.varint()?;
    let length = usize::try_from(length).map_err(|_| RecordFault::NegativeLength { length })?;
    // From here on nothing can reach past this record, whatever its inner lengths say.
    let mut fields = Reader::new(reader.take(length)?);
    let _attributes = fields.byte()?;
    let timestamp_delta = fields.varlong()?;
    let offset_delta = fields.varint()?;
    let key = fields.nullable_bytes()?;
    let value = fields.nullable_bytes()?;
    let headers = read_headers(&mut fields)?;
    if fields.left() > 0 {
        return Err(RecordFault::LengthMismatch {
            declared: length,
            read: fields.position(),
        });
    }
    let size = reader.position() - start;
    Ok(RawRecord {
        size,
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
    })
}

#[inline]
fn read_headers<'a>(fields: &mut Reader<'a>) -> Result<Headers<'a>, RecordFault> {
    let count = fields.varint()?;
    let left = fields.left();
    match usize::try_from(count) {
        Err(_) => return Err(RecordFault::NegativeHeaderCount { count }),
        Ok(count_wide) if count_wide > left => {
            return Err(RecordFault::TooManyHeaders { count, left });
        }
        Ok(_) => {}
    }
    let headers = Headers {
        reader: fields.clone(),
        left: count,
    };
    for _ in 0..count {
        read_header(fields)?;
    }
    Ok(headers)
}

fn read_header<'a>(fields: &mut Reader<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), RecordFault> {
    let length = fields.varint()?;
    let length = usize::try_from(length).map_err(|_| RecordFault::NegativeHeaderKey { length })?;
    let key = fields.take(length)?;
    let value = fields.nullable_bytes()?;
    Ok((key, value))
}

/// The headers of one record in order, repeated keys included.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    reader: Reader<'a>,
    left: i32,
}

impl Headers<'_> {
    /// No headers.
    pub const EMPTY: Headers<'static> = Headers {
        reader: Reader::new(&[]),
        left: 0,
    };
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        // Checked when the record was read; should that ever be wrong, the headers end early.
        read_header(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left.max(0) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

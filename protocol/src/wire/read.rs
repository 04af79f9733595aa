//! Reads primitives from a slice; every length is checked against the bytes that are there.

use std::ops::Range;

use uuid::Uuid;

use super::MAX_STRING_BYTES;
use crate::error::{Fault, Problem, Read};

/// A position in a frame. It never moves past the end, and positions in faults count from the
/// start of the whole slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from position `at`.
    pub(crate) fn new(bytes: &'a [u8], at: usize, flexible: bool) -> Self {
        let at = at.min(bytes.len());
        Reader {
            bytes,
            at,
            flexible,
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn is_flexible(&self) -> bool {
        self.flexible
    }

    #[cold]
    fn truncated(&self, needed: usize) -> Box<Fault> {
        let left = self.left();
        Fault::new(self.at, Problem::Truncated { needed, left })
    }

    /// The next `length` bytes.
    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        match self.bytes[self.at..].get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => Err(self.truncated(length)),
        }
    }

    #[inline]
    pub(crate) fn skip(&mut self, length: usize) -> Read<()> {
        self.take(length).map(|_| ())
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.truncated(N)),
        }
    }

    #[inline]
    pub(crate) fn i8(&mut self) -> Read<i8> {
        self.array().map(i8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i16(&mut self) -> Read<i16> {
        self.array().map(i16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    #[inline]
    pub(crate) fn uuid(&mut self) -> Read<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    /// At most five bytes and 32 bits. Longer spellings of small numbers are accepted up to five
    /// bytes, as Kafka does: some writers pad a varint to fill it in later.
    #[inline]
    pub(crate) fn uvarint(&mut self) -> Read<u32> {
        let start = self.at;
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(self.truncated(1));
            };
            self.at += 1;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(Fault::new(start, Problem::VarintTooLong));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault::new(start, Problem::VarintTooLong))
    }

    /// A length or count: `None` is null.
    #[inline]
    fn length(&mut self, fixed_width: usize) -> Read<Option<usize>> {
        let start = self.at;
        if self.flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        let length = match fixed_width {
            2 => i64::from(self.i16()?),
            _ => i64::from(self.i32()?),
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(Fault::new(start, Problem::NegativeLength(length))),
        }
    }

    #[inline]
    fn not_null<T>(start: usize, value: Option<T>) -> Read<T> {
        value.ok_or_else(|| Fault::new(start, Problem::Null))
    }

    #[inline]
    pub(crate) fn nullable_string(&mut self) -> Read<Option<&'a str>> {
        let start = self.at;
        let Some(length) = self.length(2)? else {
            return Ok(None);
        };
        if length > MAX_STRING_BYTES {
            let limit = MAX_STRING_BYTES;
            return Err(Fault::new(start, Problem::StringTooLong { length, limit }));
        }
        let text_at = self.at;
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(Fault::new(text_at + error.valid_up_to(), Problem::NotUtf8)),
        }
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Read<&'a str> {
        let start = self.at;
        let text = self.nullable_string()?;
        Self::not_null(start, text)
    }

    /// The range of a byte field in the whole slice.
    #[inline]
    pub(crate) fn nullable_bytes(&mut self) -> Read<Option<Range<usize>>> {
        let Some(length) = self.length(4)? else {
            return Ok(None);
        };
        let start = self.at;
        self.skip(length)?;
        Ok(Some(start..self.at))
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Read<Range<usize>> {
        let start = self.at;
        let range = self.nullable_bytes()?;
        Self::not_null(start, range)
    }

    /// A copy of a byte field, for what outlives the slice.
    pub(crate) fn owned_bytes(&mut self) -> Read<Vec<u8>> {
        let range = self.bytes()?;
        Ok(self.bytes[range].to_vec())
    }

    /// A count of elements that take at least `element_bytes_min` each. A count that passes fits
    /// the bytes left, so reserving for it is safe.
    #[inline]
    pub(crate) fn nullable_count(&mut self, element_bytes_min: usize) -> Read<Option<usize>> {
        let start = self.at;
        let Some(count) = self.length(4)? else {
            return Ok(None);
        };
        let left = self.left();
        match count.checked_mul(element_bytes_min) {
            Some(needed) if needed <= left => Ok(Some(count)),
            _ => Err(Fault::new(
                start,
                Problem::CountTooLarge {
                    count,
                    element_bytes_min,
                    left,
                },
            )),
        }
    }

    #[inline]
    pub(crate) fn count(&mut self, element_bytes_min: usize) -> Read<usize> {
        let start = self.at;
        let count = self.nullable_count(element_bytes_min)?;
        Self::not_null(start, count)
    }

    /// Walks the tagged fields of a flexible message; in others there are none. `known` gets the
    /// tag and a reader at its field, and says whether it read it; fields it does not know are
    /// skipped within their size.
    #[inline]
    pub(crate) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Read<bool>,
    ) -> Read<()> {
        self.sized_tags(|tag, _, reader| known(tag, reader))
    }

    /// Tagged fields of a struct that knows none, for whoever keeps them.
    pub(crate) fn unknown_tags(&mut self, mut keep: impl FnMut(u32, &'a [u8])) -> Read<()> {
        self.sized_tags(|tag, size, reader| {
            keep(tag, reader.take(size)?);
            Ok(true)
        })
    }

    #[inline]
    fn sized_tags(
        &mut self,
        mut known: impl FnMut(u32, usize, &mut Reader<'a>) -> Read<bool>,
    ) -> Read<()> {
        if !self.flexible {
            return Ok(());
        }
        let start = self.at;
        let count = self.uvarint()? as usize;
        if count == 0 {
            return Ok(());
        }
        // A tag and a size take a byte each.
        if count > self.left() / 2 {
            let left = self.left();
            let element_bytes_min = 2;
            return Err(Fault::new(
                start,
                Problem::CountTooLarge {
                    count,
                    element_bytes_min,
                    left,
                },
            ));
        }
        let mut previous = None;
        for _ in 0..count {
            let tag_at = self.at;
            let tag = self.uvarint()?;
            if let Some(previous) = previous.filter(|&previous| previous >= tag) {
                return Err(Fault::new(tag_at, Problem::TagOrder { tag, previous }));
            }
            previous = Some(tag);
            let declared = self.uvarint()? as usize;
            let field_at = self.at;
            if declared > self.left() {
                return Err(self.truncated(declared));
            }
            if known(tag, declared, self)? {
                let used = self.at - field_at;
                if used != declared {
                    return Err(Fault::new(
                        field_at,
                        Problem::TagSize {
                            tag,
                            declared,
                            used,
                        },
                    ));
                }
            } else {
                self.skip(declared)?;
            }
        }
        Ok(())
    }

    /// Tagged fields of a struct that knows none.
    #[inline]
    pub(crate) fn skip_tags(&mut self) -> Read<()> {
        self.tags(|_, _| Ok(false))
    }

    /// A message ends where its frame ends.
    #[inline]
    pub(crate) fn finish(&self) -> Read<()> {
        match self.left() {
            0 => Ok(()),
            left => Err(Fault::new(self.at, Problem::Trailing(left))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uvarint(bytes: &[u8]) -> Result<u32, Problem> {
        Reader::new(bytes, 0, true)
            .uvarint()
            .map_err(|fault| fault.problem)
    }

    #[test]
    fn varints_end_after_five_bytes_and_32_bits() {
        assert_eq!(uvarint(&[0]), Ok(0));
        assert_eq!(uvarint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(uvarint(&[0x80, 0x80, 0x80, 0x80, 0x00]), Ok(0));
        for long in [
            &[0xff, 0xff, 0xff, 0xff, 0x1f][..],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x80; 10],
        ] {
            assert_eq!(uvarint(long), Err(Problem::VarintTooLong), "{long:?}");
        }
        assert_eq!(
            uvarint(&[0x80]),
            Err(Problem::Truncated { needed: 1, left: 0 })
        );
    }

    #[test]
    fn counts_fit_the_bytes_left_exactly_or_are_refused() {
        let check = |bytes: &[u8], flexible, element_bytes_min, fits: bool| {
            let count = Reader::new(bytes, 0, flexible).count(element_bytes_min);
            assert_eq!(count.is_ok(), fits, "{bytes:?} of {element_bytes_min}");
        };
        // Two elements, four bytes left.
        check(&[0, 0, 0, 2, 9, 9, 9, 9], false, 2, true);
        check(&[0, 0, 0, 2, 9, 9, 9, 9], false, 3, false);
        check(&[3, 9, 9, 9, 9], true, 2, true);
        check(&[3, 9, 9, 9], true, 2, false);
        check(&[1], true, usize::MAX, true);
        check(&[3], true, usize::MAX, false);
        check(&[0], true, 1, false);
    }

    #[test]
    fn a_start_past_the_end_reads_as_truncated() {
        let mut reader = Reader::new(&[1, 2], 9, false);
        assert!(matches!(
            reader.i8().map_err(|fault| fault.problem),
            Err(Problem::Truncated { needed: 1, left: 0 })
        ));
    }
}

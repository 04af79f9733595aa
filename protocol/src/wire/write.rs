//! Writes primitives to the end of a buffer, in the same encodings the reader reads.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::MAX_STRING_BYTES;
use crate::error::Unencodable;

pub(crate) type Put = Result<(), Unencodable>;

/// Appends to a buffer; `flexible` chooses varint lengths and tagged fields.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut BytesMut,
    flexible: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut BytesMut, flexible: bool) -> Self {
        Writer { out, flexible }
    }

    /// Bytes in the buffer, those before this message included.
    pub(crate) fn position(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn is_flexible(&self) -> bool {
        self.flexible
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.out.put_slice(value.as_bytes());
    }

    pub(crate) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    pub(crate) fn string(&mut self, text: &str) -> Put {
        let length = text.len();
        if length > MAX_STRING_BYTES {
            let limit = MAX_STRING_BYTES;
            return Err(Unencodable::StringTooLong { length, limit });
        }
        if self.flexible {
            self.uvarint(length as u32 + 1);
        } else {
            self.out.put_i16(length as i16);
        }
        self.out.put_slice(text.as_bytes());
        Ok(())
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>) -> Put {
        match text {
            Some(text) => self.string(text),
            None if self.flexible => {
                self.uvarint(0);
                Ok(())
            }
            None => {
                self.out.put_i16(-1);
                Ok(())
            }
        }
    }

    /// The length of a byte field or the count of an array; the elements follow.
    pub(crate) fn length(&mut self, length: usize) -> Put {
        let Some(fits) = i32::try_from(length).ok().filter(|&fits| fits < i32::MAX) else {
            return Err(Unencodable::TooLong(length));
        };
        if self.flexible {
            self.uvarint(fits as u32 + 1);
        } else {
            self.out.put_i32(fits);
        }
        Ok(())
    }

    /// The null of byte fields and arrays.
    pub(crate) fn null(&mut self) {
        if self.flexible {
            self.uvarint(0);
        } else {
            self.out.put_i32(-1);
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Put {
        self.length(bytes.len())?;
        self.out.put_slice(bytes);
        Ok(())
    }

    /// Bytes whose length is known without being written.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    pub(crate) fn array<T>(
        &mut self,
        items: &[T],
        mut item: impl FnMut(&mut Self, &T) -> Put,
    ) -> Put {
        self.length(items.len())?;
        items.iter().try_for_each(|element| item(self, element))
    }

    /// The same for elements that are made as they are written.
    pub(crate) fn each<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T) -> Put,
    ) -> Put {
        self.length(items.len())?;
        let mut items = items;
        items.try_for_each(|element| item(self, element))
    }

    /// Ends a struct that sets no tagged fields.
    pub(crate) fn no_tags(&mut self) {
        self.tag_count(0);
    }

    /// How many tagged fields follow.
    pub(crate) fn tag_count(&mut self, count: u32) {
        if self.flexible {
            self.uvarint(count);
        }
    }

    /// A tagged field: its content is written aside first, as its size goes before it.
    pub(crate) fn tag(&mut self, tag: u32, content: impl FnOnce(&mut Writer<'_>) -> Put) -> Put {
        let mut aside = BytesMut::new();
        content(&mut Writer::new(&mut aside, self.flexible))?;
        let size = u32::try_from(aside.len()).map_err(|_| Unencodable::TooLong(aside.len()))?;
        self.uvarint(tag);
        self.uvarint(size);
        self.out.put_slice(&aside);
        Ok(())
    }
}

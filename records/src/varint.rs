//! The integers inside records: zigzag, seven bits to a byte, low bits first.
//!
//! [`Reader`] walks a slice and reports the position of whatever does not fit. Like Kafka it
//! accepts longer encodings than needed, as long as they end within 5 bytes (10 for 64 bits), and
//! drops bits beyond the type's width.

use crate::error::RecordFault;

/// Bytes of the longest 32-bit varint.
pub const VARINT_BYTES_MAX: usize = 5;
/// Bytes of the longest 64-bit varint.
pub const VARLONG_BYTES_MAX: usize = 10;

/// A cursor over bytes that are not trusted.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            rest: bytes,
            total: bytes.len(),
        }
    }

    /// Bytes consumed so far.
    pub const fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Bytes not consumed yet.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, RecordFault> {
        match self.rest {
            &[byte, ref rest @ ..] => {
                self.rest = rest;
                Ok(byte)
            }
            [] => Err(RecordFault::Truncated { needed: 1, left: 0 }),
        }
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RecordFault> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(RecordFault::Truncated {
                needed: count,
                left: self.left(),
            }),
        }
    }

    /// A 32-bit varint.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, RecordFault> {
        match self.short() {
            Some(raw) => Ok(unzigzag32(raw)),
            None => self
                .long(VARINT_BYTES_MAX)
                .map(|raw| unzigzag32(raw as u32)),
        }
    }

    /// A 64-bit varint.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, RecordFault> {
        match self.short() {
            Some(raw) => Ok(unzigzag64(u64::from(raw))),
            None => self.long(VARLONG_BYTES_MAX).map(unzigzag64),
        }
    }

    /// A 32-bit varint without zigzag, as messages use it for counts.
    pub fn unsigned(&mut self) -> Result<u32, RecordFault> {
        match self.short() {
            Some(raw) => Ok(raw),
            None => self.long(VARINT_BYTES_MAX).map(|raw| raw as u32),
        }
    }

    /// The next `N` bytes, by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordFault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length and that many bytes; any negative length is null.
    #[inline]
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        let length = self.varint()?;
        usize::try_from(length)
            .ok()
            .map(|length| self.take(length))
            .transpose()
    }

    /// One or two bytes, which nearly all varints are; `None` consumes nothing.
    #[inline]
    fn short(&mut self) -> Option<u32> {
        match self.rest {
            [first @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(u32::from(*first))
            }
            [first, second @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(u32::from(first & 0x7f) | u32::from(*second) << 7)
            }
            _ => None,
        }
    }

    #[cold]
    fn long(&mut self, bytes_max: usize) -> Result<u64, RecordFault> {
        let mut raw = 0;
        for index in 0..bytes_max as u32 {
            let byte = self.byte()?;
            raw |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(raw);
            }
        }
        Err(RecordFault::VarintTooLong { bytes_max })
    }
}

/// Appends a 32-bit varint.
pub fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_raw(out, u64::from(zigzag32(value)));
}

/// Appends a 64-bit varint.
pub fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_raw(out, zigzag64(value));
}

/// Appends a 32-bit varint without zigzag.
pub fn put_unsigned(out: &mut Vec<u8>, value: u32) {
    put_raw(out, u64::from(value));
}

/// Bytes [`put_varint`] would append.
pub const fn varint_bytes(value: i32) -> usize {
    raw_bytes(zigzag32(value) as u64)
}

/// Bytes [`put_varlong`] would append.
pub const fn varlong_bytes(value: i64) -> usize {
    raw_bytes(zigzag64(value))
}

fn put_raw(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

const fn raw_bytes(raw: u64) -> usize {
    let bits = 64 - (raw | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

const fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

const fn unzigzag64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

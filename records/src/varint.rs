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
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes consumed so far.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Bytes not consumed yet.
    pub const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, RecordFault> {
        match self.bytes.get(self.at) {
            Some(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(RecordFault::Truncated { needed: 1, left: 0 }),
        }
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RecordFault> {
        match self.bytes[self.at..].get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(RecordFault::Truncated {
                needed: count,
                left: self.left(),
            }),
        }
    }

    /// A 32-bit varint. Nearly all of them are one byte, which is the path kept inline.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, RecordFault> {
        let first = self.byte()?;
        let raw = if first < 0x80 {
            u32::from(first)
        } else {
            self.varint_tail(first)?
        };
        Ok(unzigzag32(raw))
    }

    /// A 64-bit varint.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, RecordFault> {
        let first = self.byte()?;
        let raw = if first < 0x80 {
            u64::from(first)
        } else {
            self.varlong_tail(first)?
        };
        Ok(unzigzag64(raw))
    }

    /// A 32-bit varint without zigzag, as messages use it for counts.
    pub fn unsigned(&mut self) -> Result<u32, RecordFault> {
        let first = self.byte()?;
        if first < 0x80 {
            Ok(u32::from(first))
        } else {
            self.varint_tail(first)
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

    fn varint_tail(&mut self, first: u8) -> Result<u32, RecordFault> {
        let mut raw = u32::from(first & 0x7f);
        for index in 1..VARINT_BYTES_MAX as u32 {
            let byte = self.byte()?;
            raw |= u32::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(raw);
            }
        }
        Err(RecordFault::VarintTooLong {
            bytes_max: VARINT_BYTES_MAX,
        })
    }

    fn varlong_tail(&mut self, first: u8) -> Result<u64, RecordFault> {
        let mut raw = u64::from(first & 0x7f);
        for index in 1..VARLONG_BYTES_MAX as u32 {
            let byte = self.byte()?;
            raw |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(raw);
            }
        }
        Err(RecordFault::VarintTooLong {
            bytes_max: VARLONG_BYTES_MAX,
        })
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

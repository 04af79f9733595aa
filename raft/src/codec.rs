//! The stored form of small values: what every file and record of this crate is
//! made of.
//!
//! | Type            | Bytes                                                       |
//! |-----------------|-------------------------------------------------------------|
//! | `bool`          | 1: 0 or 1                                                   |
//! | `u8`, `i8`      | 1                                                           |
//! | `u16` … `u64`   | unsigned LEB128, shortest form, within the type's range      |
//! | `i16` … `i64`   | zigzag, then as above                                       |
//! | `f64`           | 8, IEEE 754 bits, big-endian                                |
//! | `Uuid`          | 16                                                          |
//! | `String`        | length as `u32`, UTF-8                                      |
//! | `Vec<T>`        | count as `u32`, the elements                                |
//! | `Option<T>`     | 0, or 1 and the value                                       |
//! | struct          | its fields in the order they are declared                   |
//!
//! Reading trusts nothing: a length is compared with what is left before anything
//! is reserved, and an error says where.

use uuid::Uuid;

/// Why bytes are not what they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {position}: {problem}")]
pub struct DecodeError {
    /// Offset into the bytes that were being read.
    pub position: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("{wanted} bytes wanted, {left} left")]
    Short { wanted: u64, left: usize },
    #[error("{value} does not fit the field")]
    OutOfRange { value: u64 },
    #[error("a number in more bytes than it needs")]
    NotShortest,
    #[error("{value} where 0 or 1 is expected")]
    NotBool { value: u8 },
    #[error("a string that is not UTF-8")]
    NotUtf8,
    #[error("{value} is no {what}")]
    UnknownCode { what: &'static str, value: u8 },
    #[error("{left} bytes left over")]
    Trailing { left: usize },
    #[error("record kind {kind} version {version} is unknown to this release")]
    UnknownRecord { kind: u16, version: u8 },
    #[error("{count} records, at most {limit} belong together")]
    TooMany { count: u64, limit: usize },
}

/// A value with a stored form.
pub trait Stored: Sized {
    /// Appends the stored form.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it back.
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Bytes being read.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// From the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// `problem` at the current position.
    pub fn error(&self, problem: Problem) -> DecodeError {
        DecodeError {
            position: self.position,
            problem,
        }
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        if len > self.left() as u64 {
            return Err(self.error(Problem::Short {
                wanted: len,
                left: self.left(),
            }));
        }
        let start = self.position;
        self.position += len as usize;
        Ok(&self.bytes[start..self.position])
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64)?);
        Ok(array)
    }

    /// An unsigned number in its shortest form.
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(self.error(Problem::OutOfRange { value: bits }));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error(Problem::NotShortest));
                }
                return Ok(value);
            }
        }
        Err(self.error(Problem::OutOfRange { value }))
    }

    /// Ends the reading; all must have been read.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.error(Problem::Trailing { left })),
        }
    }
}

/// Appends an unsigned number in its shortest form.
pub fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

macro_rules! unsigned {
    ($($kind:ty),*) => {$(
        impl Stored for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                put_number(u64::from(*self), out);
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let value = from.number()?;
                <$kind>::try_from(value).map_err(|_| from.error(Problem::OutOfRange { value }))
            }
        }
    )*};
}
unsigned!(u16, u32, u64);

macro_rules! signed {
    ($($kind:ty),*) => {$(
        impl Stored for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                let value = i64::from(*self);
                put_number(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let raw = from.number()?;
                let value = (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed();
                <$kind>::try_from(value).map_err(|_| from.error(Problem::OutOfRange { value: raw }))
            }
        }
    )*};
}
signed!(i16, i32, i64);

impl Stored for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [byte] = from.array()?;
        Ok(byte)
    }
}

impl Stored for i8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.cast_unsigned());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u8::take(from).map(u8::cast_signed)
    }
}

impl Stored for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(from.error(Problem::NotBool { value })),
        }
    }
}

impl Stored for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_be_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(f64::from_bits(u64::from_be_bytes(from.array()?)))
    }
}

impl Stored for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Uuid::from_bytes(from.array()?))
    }
}

impl Stored for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = u32::take(from)?;
        let bytes = from.bytes(u64::from(len))?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(from.error(Problem::NotUtf8)),
        }
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        for element in self {
            element.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u32::take(from)?;
        // Each element takes a byte at least, so a count above what is left lies.
        if count as usize > from.left() {
            return Err(from.error(Problem::Short {
                wanted: u64::from(count),
                left: from.left(),
            }));
        }
        // Not reserved ahead: elements are larger in memory than in the file.
        (0..count).map(|_| T::take(from)).collect()
    }
}

impl<T: Stored> Stored for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        bool::take(from)?
            .then(|| <T as Stored>::take(from))
            .transpose()
    }
}

/// Declares structs whose stored form is their fields in order.
macro_rules! stored {
    ($(
        $(#[$outer:meta])*
        pub struct $name:ident {
            $( $(#[$inner:meta])* pub $field:ident : $kind:ty, )*
        }
    )*) => {$(
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$inner])* pub $field: $kind, )*
        }

        impl $crate::codec::Stored for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $( self.$field.put(out); )*
            }
            fn take(from: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name { $( $field: <$kind as $crate::codec::Stored>::take(from)?, )* })
            }
        }
    )*};
}
pub(crate) use stored;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Stored + PartialEq + std::fmt::Debug>(value: T, bytes: &[u8]) {
        let mut out = Vec::new();
        value.put(&mut out);
        assert_eq!(out, bytes, "{value:?}");
        let mut reader = Reader::new(bytes);
        assert_eq!(T::take(&mut reader).unwrap(), value);
        reader.finish().unwrap();
    }

    #[test]
    fn numbers_have_their_shortest_form() {
        check(0_u64, &[0]);
        check(127_u16, &[0x7f]);
        check(128_u32, &[0x80, 1]);
        check(
            u64::MAX,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        );
        check(-1_i32, &[1]);
        check(
            i64::MIN,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        );
        check(-2_i8, &[0xfe]);
        check(Some(true), &[1, 1]);
        check("é".to_owned(), &[2, 0xc3, 0xa9]);
    }

    #[test]
    fn lies_are_found_where_they_are() {
        fn refused<T: Stored + std::fmt::Debug>(bytes: &[u8], position: usize, problem: Problem) {
            let error = T::take(&mut Reader::new(bytes)).unwrap_err();
            assert_eq!(error, DecodeError { position, problem });
        }
        refused::<u64>(&[0x80, 0], 2, Problem::NotShortest);
        refused::<u16>(&[0x80, 0x80, 4], 3, Problem::OutOfRange { value: 65536 });
        refused::<u64>(&[0xff; 10], 10, Problem::OutOfRange { value: 127 });
        refused::<bool>(&[2], 1, Problem::NotBool { value: 2 });
        refused::<String>(&[1, 0xff], 2, Problem::NotUtf8);
        refused::<Uuid>(
            &[1, 2],
            0,
            Problem::Short {
                wanted: 16,
                left: 2,
            },
        );
        // A count of four billion in five bytes reserves nothing.
        refused::<Vec<u8>>(
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            5,
            Problem::Short {
                wanted: u64::from(u32::MAX),
                left: 0,
            },
        );
    }
}

//! What stored fields are made of, and the `record!` table that lists a record's fields once for
//! reading and writing.

use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::error::{DecodeError, EncodeError, Fault, InField, Problem, Read};
use crate::wire::{Put, Reader, Writer};

/// The value of a stored record: a version, then its fields.
pub trait Value: Sized {
    /// Kafka's name of the record.
    const NAME: &'static str;
    /// The versions that are read and written.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with varint lengths and tagged fields.
    const FLEXIBLE_FROM: i16;

    /// Reads a whole value, its version first. Fields the version lacks have their defaults.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// A whole value in `version`, its version first. Fields the version lacks are left out.
    ///
    /// # Panics
    ///
    /// If `version` is not in `VERSIONS`.
    fn encode(&self, version: i16) -> Result<Bytes, EncodeError>;
}

/// Makes records values: their versions, and the first flexible one.
macro_rules! values {
    ($($name:ident: $versions:expr, flexible from $flexible:literal;)*) => {
        $(
            impl $crate::messages::coordinator::record::Value for $name {
                const NAME: &'static str = stringify!($name);
                const VERSIONS: std::ops::RangeInclusive<i16> = $versions;
                const FLEXIBLE_FROM: i16 = $flexible;

                fn decode(bytes: &[u8]) -> Result<Self, $crate::error::DecodeError> {
                    $crate::messages::coordinator::record::decode(bytes)
                }

                fn encode(
                    &self,
                    version: i16,
                ) -> Result<bytes::Bytes, $crate::error::EncodeError> {
                    $crate::messages::coordinator::record::encode(self, version)
                }
            }
        )*
    };
}
pub(super) use values;

pub(super) fn decode<T: Value + Field>(bytes: &[u8]) -> Result<T, DecodeError> {
    let version = Reader::new(bytes, 0, false)
        .i16()
        .map_err(|fault| fault.inside("version").of(T::NAME, -1))?;
    let read = || -> Read<T> {
        if !T::VERSIONS.contains(&version) {
            return Err(Fault::new(0, Problem::RecordVersion).inside("version"));
        }
        let mut reader = Reader::new(bytes, 2, version >= T::FLEXIBLE_FROM);
        let value = T::read(&mut reader, version)?;
        reader.finish()?;
        Ok(value)
    };
    read().map_err(|fault| fault.of(T::NAME, version))
}

pub(super) fn encode<T: Value + Field>(value: &T, version: i16) -> Result<Bytes, EncodeError> {
    assert!(T::VERSIONS.contains(&version), "{} v{version}", T::NAME);
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out, version >= T::FLEXIBLE_FROM);
    writer.i16(version);
    value
        .put(&mut writer, version)
        .map_err(|reason| EncodeError {
            message: T::NAME.to_owned(),
            version,
            reason,
        })?;
    Ok(out.freeze())
}

/// Something a stored record is made of.
pub(crate) trait Field: Sized {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self>;
    fn put(&self, out: &mut Writer<'_>, version: i16) -> Put;
}

macro_rules! number_fields {
    ($($type:ty: $method:ident;)*) => {
        $(
            impl Field for $type {
                fn read(reader: &mut Reader<'_>, _version: i16) -> Read<Self> {
                    reader.$method()
                }

                fn put(&self, out: &mut Writer<'_>, _version: i16) -> Put {
                    out.$method(*self);
                    Ok(())
                }
            }
        )*
    };
}

number_fields! {
    i8: i8;
    i16: i16;
    i32: i32;
    i64: i64;
    Uuid: uuid;
}

impl Field for String {
    fn read(reader: &mut Reader<'_>, _version: i16) -> Read<Self> {
        reader.string().map(str::to_owned)
    }

    fn put(&self, out: &mut Writer<'_>, _version: i16) -> Put {
        out.string(self)
    }
}

impl Field for Option<String> {
    fn read(reader: &mut Reader<'_>, _version: i16) -> Read<Self> {
        Ok(reader.nullable_string()?.map(str::to_owned))
    }

    fn put(&self, out: &mut Writer<'_>, _version: i16) -> Put {
        out.nullable_string(self.as_deref())
    }
}

/// Bytes with a length: what members say to each other through the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opaque(pub Vec<u8>);

impl Field for Opaque {
    fn read(reader: &mut Reader<'_>, _version: i16) -> Read<Self> {
        reader.owned_bytes().map(Opaque)
    }

    fn put(&self, out: &mut Writer<'_>, _version: i16) -> Put {
        out.bytes(&self.0)
    }
}

/// Elements to reserve for at most before any has been read.
const RESERVED_MAX: usize = 64;

impl<T: Field> Field for Vec<T> {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let count = reader.count(1)?;
        read_elements(reader, version, count)
    }

    fn put(&self, out: &mut Writer<'_>, version: i16) -> Put {
        out.array(self, |out, element| element.put(out, version))
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        match reader.nullable_count(1)? {
            Some(count) => read_elements(reader, version, count).map(Some),
            None => Ok(None),
        }
    }

    fn put(&self, out: &mut Writer<'_>, version: i16) -> Put {
        match self {
            Some(elements) => elements.put(out, version),
            None => {
                out.null();
                Ok(())
            }
        }
    }
}

fn read_elements<T: Field>(reader: &mut Reader<'_>, version: i16, count: usize) -> Read<Vec<T>> {
    let mut elements = Vec::with_capacity(count.min(RESERVED_MAX));
    for _ in 0..count {
        elements.push(T::read(reader, version)?);
    }
    Ok(elements)
}

/// A struct and its fields in wire order. A field that is not in all versions says what it is in
/// the others and which versions have it; tagged fields come last, with their tags and defaults:
///
/// ```text
/// pub struct Name {
///     everywhere: i64,
///     newer: i32 = -1 => 3..,
/// }
/// tagged {
///     0: hash: i64 = 0,
/// }
/// ```
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty $(= $absent:expr => $versions:expr)?,
            )*
        }
        $(tagged {
            $(
                $(#[$tagged_meta:meta])*
                $tag:literal: $tagged:ident: $tagged_type:ty = $default:expr,
            )*
        })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $($($(#[$tagged_meta])* pub $tagged: $tagged_type,)*)?
        }

        impl $crate::messages::coordinator::record::Field for $name {
            fn read(
                reader: &mut $crate::wire::Reader<'_>,
                version: i16,
            ) -> $crate::error::Read<Self> {
                $(
                    let present = true $(&& ($versions).contains(&version))?;
                    let $field = $crate::messages::coordinator::record::read_field::<$type>(
                        reader,
                        version,
                        stringify!($field),
                        present,
                        None $(.or(Some($absent)))?,
                    )?;
                )*
                $($(let mut $tagged: $tagged_type = $default;)*)?
                reader.tags(|tag, _reader| match tag {
                    $($($tag => {
                        $tagged = $crate::messages::coordinator::record::read_field(
                            _reader,
                            version,
                            stringify!($tagged),
                            true,
                            None,
                        )?;
                        Ok(true)
                    })*)?
                    _ => Ok(false),
                })?;
                Ok($name { $($field,)* $($($tagged,)*)? })
            }

            fn put(&self, out: &mut $crate::wire::Writer<'_>, version: i16) -> $crate::wire::Put {
                use $crate::messages::coordinator::record::Field;
                $(
                    if true $(&& ($versions).contains(&version))? {
                        Field::put(&self.$field, out, version)?;
                    }
                )*
                if out.is_flexible() {
                    let set: &[bool] = &[$($(self.$tagged != $default,)*)?];
                    out.tag_count(set.iter().copied().map(u32::from).sum());
                    $($(if self.$tagged != $default {
                        out.tag($tag, |out| Field::put(&self.$tagged, out, version))?;
                    })*)?
                }
                Ok(())
            }
        }
    };
}
pub(super) use record;

/// Reads a field, or takes what it is in versions that lack it.
pub(super) fn read_field<T: Field>(
    reader: &mut Reader<'_>,
    version: i16,
    name: &'static str,
    present: bool,
    absent: Option<T>,
) -> Read<T> {
    match absent {
        Some(absent) if !present => Ok(absent),
        _ => T::read(reader, version).field(name),
    }
}

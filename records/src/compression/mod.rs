//! The five codecs of a batch body: one way in, one way out, and a cap nothing passes.
//!
//! | Id | Name | Body is |
//! |---|---|---|
//! | 0 | none | the records |
//! | 1 | gzip | gzip members |
//! | 2 | snappy | xerial's framing, or one raw snappy block |
//! | 3 | lz4 | an lz4 frame of independent blocks |
//! | 4 | zstd | zstd frames |
//!
//! Decompression believes no declared size. Output grows as it arrives and stops at the caller's
//! cap, so a bomb costs what the cap allows and an error.

mod capped;
mod gzip;
mod lz4;
mod snappy;
mod zstd;

use crate::error::ErrorKind;

/// How a batch body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in xerial's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// All of them, by id.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The number in a batch's attributes.
    pub const fn id(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec with this number.
    pub fn from_id(id: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(id)).copied()
    }

    /// The name in Kafka's configuration (`compression.type`).
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The levels Kafka's configuration allows (`compression.<name>.level`), for codecs that have
    /// any. Kafka's -1 for gzip means its default, so it is not among them.
    pub const fn levels(self) -> Option<std::ops::RangeInclusive<i32>> {
        match self {
            Compression::None | Compression::Snappy => None,
            Compression::Gzip => Some(1..=9),
            Compression::Lz4 => Some(1..=17),
            Compression::Zstd => Some(-131_072..=22),
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A body that cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// More output than the caller allows, really or as declared by a codec that must declare.
    #[error("{codec} body decompresses to more than {cap} bytes")]
    TooLarge {
        /// Which codec.
        codec: Compression,
        /// What the caller allows.
        cap: usize,
    },
    /// Not what the codec's format says.
    #[error("{codec} body is malformed at byte {at}: {reason}")]
    Malformed {
        /// Which codec.
        codec: Compression,
        /// Where in the body, as near as is known.
        at: usize,
        /// What is wrong.
        reason: String,
    },
}

impl CompressionError {
    /// What the producer of such a body is told.
    pub fn kind(&self) -> ErrorKind {
        match self {
            CompressionError::TooLarge { .. } => ErrorKind::MessageTooLarge,
            // Its checksum was right, so sending it again would not help: not "corrupt".
            CompressionError::Malformed { .. } => ErrorKind::InvalidRecord,
        }
    }

    fn malformed(codec: Compression, at: usize, reason: impl Into<String>) -> CompressionError {
        CompressionError::Malformed {
            codec,
            at,
            reason: reason.into(),
        }
    }
}

/// Replaces the contents of `out` with `input` decompressed. Never writes more than `cap` bytes
/// nor reserves much more than has really arrived. After an error `out` holds a part of the output.
pub fn decompress_into(
    codec: Compression,
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    out.clear();
    match codec {
        Compression::None if input.len() > cap => Err(CompressionError::TooLarge {
            codec: Compression::None,
            cap,
        }),
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => gzip::decompress(input, out, cap),
        Compression::Snappy => snappy::decompress(input, out, cap),
        Compression::Lz4 => lz4::decompress(input, out, cap),
        Compression::Zstd => zstd::decompress(input, out, cap),
    }
}

/// Appends `input` compressed to `out`. A level outside [`Compression::levels`] is moved to the
/// nearest inside; `None` is the codec's default. lz4 has one speed here, whatever the level.
pub fn compress_into(codec: Compression, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
    let level = level
        .zip(codec.levels())
        .map(|(level, levels)| level.clamp(*levels.start(), *levels.end()));
    match codec {
        Compression::None => out.extend_from_slice(input),
        Compression::Gzip => gzip::compress(input, level, out),
        Compression::Snappy => snappy::compress(input, out),
        Compression::Lz4 => lz4::compress(input, out),
        Compression::Zstd => zstd::compress(input, level, out),
    }
}

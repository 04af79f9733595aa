//! The same records in another shape: another codec, or offsets without gaps.
//!
//! Changing the codec does not touch the records: their bytes are decompressed and compressed
//! again, and only codec, length and checksum of the header change. Renumbering encodes each
//! record anew; it serves clients that number the records of a batch wrongly, so that what lies in
//! the log is right whoever wrote it.

use crate::build::{BatchBuilder, BuildError};
use crate::compression::{Compression, compress_into};
use crate::error::BatchError;
use crate::iter::Records;
use crate::layout::{self, HEADER_BYTES};
use crate::stamp::{put, refresh_crc};
use crate::view::BatchView;

/// A batch that cannot be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// The records cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records do not fit a batch.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The codec to rebuild with, and how much it may take to get there.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What the body becomes.
    pub compression: Compression,
    /// The codec's level; its default without.
    pub level: Option<i32>,
    /// Cap on the uncompressed body.
    pub decompressed_bytes_max: usize,
}

/// Appends `batch` to `out` with its body in another codec. Everything else stays, checksum and
/// length apart. `scratch` holds the uncompressed body meanwhile.
pub fn recompress(
    batch: &BatchView<'_>,
    target: Target,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), RebuildError> {
    let body = batch.uncompressed(scratch, target.decompressed_bytes_max)?;
    if body.len() > crate::build::BODY_BYTES_MAX {
        return Err(BuildError::TooLarge { bytes: body.len() }.into());
    }
    let start = out.len();
    out.extend_from_slice(&batch.bytes()[..HEADER_BYTES]);
    compress_into(target.compression, target.level, body, out);

    let rebuilt = &mut out[start..];
    let attributes = batch
        .header()
        .attributes
        .with_compression(target.compression);
    let batch_length = (rebuilt.len() - layout::LOG_OVERHEAD_BYTES) as i32;
    put(rebuilt, layout::ATTRIBUTES, attributes.0.to_be_bytes());
    put(rebuilt, layout::BATCH_LENGTH, batch_length.to_be_bytes());
    refresh_crc(rebuilt);
    Ok(())
}

/// Appends `batch` to `out` with its records numbered from the base offset on, without gaps.
pub fn renumber(
    batch: &BatchView<'_>,
    target: Target,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), RebuildError> {
    let header = batch.header();
    let body = batch.uncompressed(scratch, target.decompressed_bytes_max)?;
    let mut builder = BatchBuilder::like(header, target.compression);
    if let Some(level) = target.level {
        builder = builder.compression_level(level);
    }
    for (record, offset) in Records::new(header, body)?.zip(header.base_offset..) {
        let record = record?;
        builder.append(
            offset,
            record.timestamp,
            record.key,
            record.value,
            record.headers,
        )?;
    }
    builder.finish_into(out);
    Ok(())
}

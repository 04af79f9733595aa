//! Reading a partition of an internal topic back, batch by batch.

use reka_records::{BatchError, BatchView, batches};
use reka_storage::ReadError;

use crate::partition::Partition;

/// Bytes read at a time.
const READ_BYTES: u64 = 5 << 20;
/// A batch is at most so large when opened.
pub const BATCH_BYTES_MAX: usize = 256 << 20;

/// Why a partition cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log cannot be read.
    #[error("offset {offset}: {source}")]
    Read {
        /// From here on.
        offset: i64,
        /// Why, with the file.
        source: ReadError,
    },
    /// A batch is damaged.
    #[error("offset {offset}: {source}")]
    Batch {
        /// It, or the first after the last good one.
        offset: i64,
        /// How.
        source: BatchError,
    },
}

/// Blocking: hands every batch of the partition to `take`, with its checksum verified.
pub fn replay(
    partition: &Partition,
    mut take: impl FnMut(&BatchView<'_>) -> Result<(), BatchError>,
) -> Result<(), LoadError> {
    let reader = partition.reader();
    // All of it: what a leader has is what will be committed.
    let end = reader.log_end();
    let mut offset = reader.log_start();
    while offset < end {
        let failed = |source: ReadError| LoadError::Read { offset, source };
        let slice = reader.read(offset, READ_BYTES, end).map_err(failed)?;
        let Some(slice) = slice else {
            break;
        };
        let bytes = slice.bytes().map_err(failed)?;
        for batch in batches(&bytes) {
            let batch = batch.map_err(|source| LoadError::Batch { offset, source })?;
            let base_offset = batch.header().base_offset;
            let taken = batch.verify_crc().and_then(|()| take(&batch));
            taken.map_err(|source| LoadError::Batch {
                offset: base_offset,
                source,
            })?;
        }
        offset = slice.next_offset;
    }
    Ok(())
}

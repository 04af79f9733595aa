//! Reading a partition of `__consumer_offsets` back.

use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_records::control::{TransactionResult, end_txn_marker};
use reka_records::{BatchView, batches};

use super::Settings;
use super::record::GroupRecord;
use super::state::Groups;
use crate::partition::Partition;
use crate::partition::read::read_error_code;

/// Bytes read at a time.
const READ_BYTES: u64 = 5 << 20;
/// A batch of groups is at most so large when opened.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// The groups.
    pub groups: Groups,
    /// Records that count.
    pub records: u64,
    /// Records that make no sense; each has a line in the log.
    pub damaged: u64,
}

/// Why a partition cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log cannot be read.
    #[error("offset {offset}: {}", .error_code.name())]
    Read {
        /// From here on.
        offset: i64,
        /// Kafka's code.
        error_code: ErrorCode,
    },
    /// A batch is damaged.
    #[error("offset {offset}: {source}")]
    Batch {
        /// It, or the first after the last good one.
        offset: i64,
        /// How.
        source: reka_records::BatchError,
    },
}

/// Blocking: reads the whole partition.
pub fn load(partition: &Partition, settings: Arc<Settings>) -> Result<Loaded, LoadError> {
    let mut loading = Loading {
        loaded: Loaded {
            groups: Groups::new(settings),
            records: 0,
            damaged: 0,
        },
        scratch: Vec::new(),
        partition: partition.index,
    };
    let reader = partition.reader();
    // All of it: what a leader has is what will be committed.
    let end = reader.log_end();
    let mut offset = reader.log_start();
    while offset < end {
        let failed = |error: &reka_storage::ReadError| LoadError::Read {
            offset,
            error_code: read_error_code(error),
        };
        let slice = reader
            .read(offset, READ_BYTES, end)
            .map_err(|error| failed(&error))?;
        let Some(slice) = slice else {
            break;
        };
        let bytes = slice.bytes().map_err(|error| failed(&error))?;
        for batch in batches(&bytes) {
            let batch = batch.map_err(|source| LoadError::Batch { offset, source })?;
            let base_offset = batch.header().base_offset;
            loading.take(&batch).map_err(|source| LoadError::Batch {
                offset: base_offset,
                source,
            })?;
        }
        offset = slice.next_offset;
    }
    Ok(loading.loaded)
}

struct Loading {
    loaded: Loaded,
    scratch: Vec<u8>,
    partition: i32,
}

impl Loading {
    fn take(&mut self, batch: &BatchView<'_>) -> Result<(), reka_records::BatchError> {
        batch.verify_crc()?;
        let header = batch.header();
        if header.is_control() {
            if let Ok(Some(marker)) = end_txn_marker(batch) {
                let commits = marker.result == TransactionResult::Commit;
                self.loaded.groups.apply_marker(header.producer_id, commits);
            }
            return Ok(());
        }
        let producer = header.is_transactional().then_some(header.producer_id);
        for record in batch.records(&mut self.scratch, BATCH_BYTES_MAX)? {
            let record = record?;
            let decoded = GroupRecord::decode(record.key.unwrap_or_default(), record.value);
            match decoded {
                Ok(Some(group_record)) => {
                    self.loaded.groups.replay(&group_record, producer);
                    self.loaded.records += 1;
                }
                Ok(None) => {}
                Err(error) => {
                    self.loaded.damaged += 1;
                    tracing::error!(
                        "__consumer_offsets-{} offset {}: the record is left aside: {error}",
                        self.partition,
                        record.offset
                    );
                }
            }
        }
        Ok(())
    }
}

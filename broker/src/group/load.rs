//! Reading a partition of `__consumer_offsets` back.

use std::sync::Arc;

use reka_records::BatchView;
use reka_records::control::{TransactionResult, end_txn_marker};

use super::Settings;
use super::record::GroupRecord;
use super::state::Groups;
use crate::coordinator::replay::{BATCH_BYTES_MAX, LoadError, replay};
use crate::partition::Partition;

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
    replay(partition, |batch| loading.take(batch))?;
    Ok(loading.loaded)
}

struct Loading {
    loaded: Loaded,
    scratch: Vec<u8>,
    partition: i32,
}

impl Loading {
    fn take(&mut self, batch: &BatchView<'_>) -> Result<(), reka_records::BatchError> {
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

//! Reading a partition of `__transaction_state` back.

use reka_records::BatchView;

use super::record::TxnRecord;
use super::state::Transactions;
use crate::coordinator::replay::{BATCH_BYTES_MAX, LoadError, replay};
use crate::partition::Partition;

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The transactional ids.
    pub transactions: Transactions,
    /// Records that count.
    pub records: u64,
}

/// Blocking: reads the whole partition.
pub fn load(partition: &Partition) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    let mut scratch = Vec::new();
    replay(partition, |batch| {
        take(partition, batch, &mut scratch, &mut loaded)
    })?;
    Ok(loaded)
}

fn take(
    partition: &Partition,
    batch: &BatchView<'_>,
    scratch: &mut Vec<u8>,
    loaded: &mut Loaded,
) -> Result<(), reka_records::BatchError> {
    if batch.header().is_control() {
        return Ok(());
    }
    for record in batch.records(scratch, BATCH_BYTES_MAX)? {
        let record = record?;
        match TxnRecord::decode(record.key.unwrap_or_default(), record.value) {
            Ok(Some(decoded)) => {
                loaded.transactions.apply(decoded);
                loaded.records += 1;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(
                "{partition} offset {}: the record is left aside: {error}",
                record.offset
            ),
        }
    }
    Ok(())
}

//! Producer ids handed out so far.

use super::ApplyError;
use crate::record::{ProducerIds, Record};

/// The last block handed out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProducerIdBlocks {
    last: Option<ProducerIds>,
}

impl ProducerIdBlocks {
    /// First id of the next block.
    pub fn next(&self) -> i64 {
        self.last.as_ref().map_or(0, |last| last.next_producer_id)
    }

    /// Who got the last block.
    pub fn last(&self) -> Option<&ProducerIds> {
        self.last.as_ref()
    }

    pub(super) fn hand_out(&mut self, record: &ProducerIds) -> Result<(), ApplyError> {
        // An id used twice would mix up the sequences of two producers.
        if record.next_producer_id < self.next() {
            return Err(ApplyError::ProducerIdsBack {
                next: record.next_producer_id,
                current: self.next(),
            });
        }
        self.last = Some(record.clone());
        Ok(())
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.last.iter().cloned().map(Record::ProducerIds)
    }
}

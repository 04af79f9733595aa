//! Batches that were checked before they reach the log.
//!
//! Checking costs a pass over every byte (the checksum), so it is done before the
//! partition's lock is taken, on bytes that are still in the cache, and the log
//! takes nothing but the proof.

use reka_records::control::{EndTxnMarker, end_txn_marker};
use reka_records::validate::Accepted;
use reka_records::{BatchHeader, BatchView};

use crate::error::AppendError;
use crate::producer_state::BatchMeta;

/// Whole batches with valid structure and checksums, at least one.
#[derive(Debug)]
pub struct CheckedBatches<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// Sum of the offsets the batches span.
    pub(crate) offsets: i64,
}

impl<'a> CheckedBatches<'a> {
    /// Checks every batch of `bytes`.
    pub fn check(bytes: &'a mut [u8]) -> Result<CheckedBatches<'a>, AppendError> {
        let mut position = 0;
        let mut offsets = 0_i64;
        for (index, batch) in reka_records::batches(bytes).enumerate() {
            let refused = |source| AppendError::Batch {
                index,
                position,
                source,
            };
            let batch = batch.map_err(refused)?;
            batch.verify_crc().map_err(refused)?;
            let header = batch.header();
            if header.last_offset_delta < 0 {
                return Err(refused(reka_records::BatchError::OffsetOverflow {
                    base_offset: header.base_offset,
                    last_offset_delta: header.last_offset_delta,
                }));
            }
            offsets += i64::from(header.last_offset_delta) + 1;
            position += header.size();
        }
        if position == 0 {
            return Err(AppendError::Empty);
        }
        Ok(CheckedBatches { bytes, offsets })
    }

    /// One client's batch that [`reka_records::validate()`] accepted, after the changes it
    /// called for: structure and checksum are known to be right, so the bytes are not
    /// read again.
    pub fn accepted(batch: &'a mut [u8], accepted: &Accepted) -> CheckedBatches<'a> {
        let offsets = i64::from(accepted.header.last_offset_delta) + 1;
        CheckedBatches {
            bytes: batch,
            offsets,
        }
    }

    /// Several of them, end to end.
    pub fn accepted_run(batches: &'a mut [u8], all: &[Accepted]) -> CheckedBatches<'a> {
        let spans = all
            .iter()
            .map(|accepted| i64::from(accepted.header.last_offset_delta) + 1);
        CheckedBatches {
            bytes: batches,
            offsets: spans.sum(),
        }
    }

    /// Bytes of all batches.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: that is an error of [`CheckedBatches::check`].
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether a batch is a retry is answered for the whole append, and what may follow
    /// a batch depends on its being applied: so one of a producer stands alone.
    pub(crate) fn check_alone(&self) -> Result<(), AppendError> {
        let mut headers = self.headers().enumerate();
        let produced = headers.find(|(_, (_, header))| header.has_producer_id());
        match produced {
            Some((index, (_, header))) if index > 0 || headers.next().is_some() => {
                Err(AppendError::NotAlone {
                    index,
                    batches: self.headers().count(),
                    producer_id: header.producer_id,
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether what goes for the first batch goes for all: each follows the one before it in the
    /// sequence of one producer, or none has a producer, and none says anything of a transaction.
    pub(crate) fn is_run(&self) -> bool {
        let follows = |(_, before): (usize, BatchHeader), (_, next): (usize, BatchHeader)| {
            let sequence = match before.last_sequence() {
                i32::MAX => 0,
                last => last + 1,
            };
            before.producer_id == next.producer_id
                && (!next.has_producer_id()
                    || (before.producer_epoch == next.producer_epoch
                        && before.has_sequence()
                        && next.base_sequence == sequence))
        };
        self.headers()
            .all(|(_, header)| !header.is_control() && !header.is_transactional())
            && self
                .headers()
                .zip(self.headers().skip(1))
                .all(|(before, next)| follows(before, next))
    }

    /// Headers with their positions.
    pub(crate) fn headers(&self) -> Headers<'_> {
        Headers {
            bytes: self.bytes,
            position: 0,
        }
    }
}

/// Iterates headers of bytes known to be whole batches.
#[derive(Clone, Debug)]
pub(crate) struct Headers<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Headers<'a> {
    /// The headers of `bytes`, which hold whole batches.
    pub(crate) fn of(bytes: &'a [u8]) -> Headers<'a> {
        Headers { bytes, position: 0 }
    }
}

impl Iterator for Headers<'_> {
    type Item = (usize, BatchHeader);

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.position;
        // Checked before: an error here could only be the end.
        let header = BatchHeader::parse(self.bytes.get(position..)?).ok()?;
        self.position += header.size();
        Some((position, header))
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The batches are in the log.
    New {
        /// Offset of the first record.
        first_offset: i64,
        /// Offset of the last record.
        last_offset: i64,
    },
    /// A retry: the batch is in the log since before.
    Duplicate(BatchMeta),
}

/// The marker in a control batch, if it is one that ends a transaction.
pub(crate) fn marker(batch: &BatchView<'_>) -> Option<EndTxnMarker> {
    if !batch.header().is_control() {
        return None;
    }
    end_txn_marker(batch).ok().flatten()
}

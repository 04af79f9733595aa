//! What may this reader see, and is it there?

use reka_protocol::ErrorCode;
use reka_storage::epochs::EpochEnd;
use reka_storage::txn_index::AbortedTxn;
use reka_storage::{LogSlice, ReadError};

use super::Partition;
use crate::fetch_session::Told;

/// Which records a reader is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset, with the aborted transactions named.
    ReadCommitted,
}

/// What a read found.
#[derive(Debug)]
pub struct ReadOutcome {
    /// NONE when the rest is meant.
    pub error_code: ErrorCode,
    /// The high watermark; -1 with an error.
    pub high_watermark: i64,
    /// The last stable offset; -1 with an error.
    pub last_stable_offset: i64,
    /// First offset of the log; -1 with an error.
    pub log_start_offset: i64,
    /// Whole batches, if there are any.
    pub slice: Option<LogSlice>,
    /// For readers of committed data: the aborted transactions the slice touches.
    pub aborted: Option<Vec<AbortedTxn>>,
    /// The reader has records of an epoch that went on otherwise: where its history ends here.
    pub diverging: Option<EpochEnd>,
}

impl ReadOutcome {
    /// Nothing can be read.
    pub fn refused(error_code: ErrorCode) -> ReadOutcome {
        ReadOutcome {
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            slice: None,
            aborted: None,
            diverging: None,
        }
    }

    /// What makes news in a fetch session.
    pub fn told(&self) -> Told {
        Told {
            is_news: !self.is_empty()
                || self.error_code != ErrorCode::None
                || self.diverging.is_some(),
            high_watermark: self.high_watermark,
            log_start_offset: self.log_start_offset,
        }
    }

    /// Bytes of the batches.
    pub fn len(&self) -> u64 {
        self.slice.as_ref().map_or(0, LogSlice::len)
    }

    /// Whether no batch was found.
    pub fn is_empty(&self) -> bool {
        self.slice.is_none()
    }
}

impl Partition {
    /// Is the epoch a client knows the one this broker leads in?
    pub fn check_epoch(&self, current_leader_epoch: i32) -> ErrorCode {
        let leads_in = self.leader_epoch();
        match current_leader_epoch {
            -1 => ErrorCode::None,
            asked if asked < leads_in => ErrorCode::FencedLeaderEpoch,
            asked if asked > leads_in => ErrorCode::UnknownLeaderEpoch,
            _ => ErrorCode::None,
        }
    }

    /// What a reader is told whose last record, of `last_fetched_epoch`, is not one of ours
    /// (KIP-320); -1 is a reader that does not say.
    pub fn divergence(&self, last_fetched_epoch: i32, offset: i64) -> Option<ReadOutcome> {
        if last_fetched_epoch < 0 {
            return None;
        }
        let log = self.log();
        let end = match last_fetched_epoch == self.leader_epoch() {
            true => Some(EpochEnd {
                epoch: last_fetched_epoch,
                end_offset: log.log_end(),
            }),
            false => log.epochs().end_of(last_fetched_epoch, log.log_end()),
        };
        let Some(end) = end else {
            return Some(ReadOutcome::refused(ErrorCode::OffsetOutOfRange));
        };
        (end.epoch < last_fetched_epoch || end.end_offset < offset).then(|| ReadOutcome {
            error_code: ErrorCode::None,
            high_watermark: self.high_watermark(),
            last_stable_offset: self.last_stable_offset(),
            log_start_offset: log.log_start(),
            slice: None,
            aborted: None,
            diverging: Some(end),
        })
    }

    /// Reads whole batches from `offset` on. At least one is returned if there is one and
    /// `at_least_one` is asked for, however large.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: u64,
        at_least_one: bool,
        isolation: Isolation,
    ) -> ReadOutcome {
        let high_watermark = self.high_watermark();
        let last_stable_offset = self.last_stable_offset();
        let upto = match isolation {
            Isolation::ReadUncommitted => high_watermark,
            Isolation::ReadCommitted => last_stable_offset,
        };
        let read = self.reader().read(offset, max_bytes, upto);
        let slice = match read {
            Ok(slice) => slice.filter(|slice| at_least_one || slice.len() <= max_bytes),
            Err(error) => return ReadOutcome::refused(read_error_code(&error)),
        };
        let aborted = match (&slice, isolation) {
            (_, Isolation::ReadUncommitted) => None,
            (None, Isolation::ReadCommitted) => Some(Vec::new()),
            (Some(slice), Isolation::ReadCommitted) => {
                match self
                    .reader()
                    .aborted_transactions(offset, slice.next_offset)
                {
                    Ok(aborted) => Some(aborted),
                    Err(error) => return ReadOutcome::refused(read_error_code(&error)),
                }
            }
        };
        ReadOutcome {
            error_code: ErrorCode::None,
            high_watermark,
            last_stable_offset,
            log_start_offset: self.reader().log_start(),
            slice,
            aborted,
            diverging: None,
        }
    }
}

/// Kafka's code for a failed read.
pub fn read_error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt(_) => ErrorCode::CorruptMessage,
        ReadError::Offline(_) | ReadError::Disk(_) => ErrorCode::KafkaStorageError,
    }
}

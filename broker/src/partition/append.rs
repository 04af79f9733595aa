//! May these records be written, and where did they go?
//!
//! What does not need the partition is checked before its lock is taken, while the bytes are still
//! in the cache: structure, checksum, timestamps, what the topic demands of records.

use std::ops::Range;

use reka_protocol::ErrorCode;
use reka_protocol::messages::produce::RecordError;
use reka_records::validate::{Accepted, Change, Rejection, Rules, validate};
use reka_records::{ErrorKind, TimestampType};
use reka_storage::producer_state::ProducerError;
use reka_storage::{AppendError, Appended, CheckedBatches};

use super::Partition;
use super::verify::Guard;

/// Where a batch was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Offset of its first record.
    pub base_offset: i64,
    /// When the topic stamps records itself: the time it stamped; -1 otherwise.
    pub log_append_time_ms: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
    /// `flush.messages` calls for a sync up to here before anybody is told.
    pub sync_below: Option<i64>,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Kafka's code.
    pub error_code: ErrorCode,
    /// For people.
    pub message: String,
    /// Records that are wrong each for itself.
    pub records: Vec<RecordError>,
    /// First offset of the log where single records are to blame, as Kafka has it; -1 otherwise.
    pub log_start_offset: i64,
}

impl Refused {
    /// Without records to blame.
    pub fn new(error_code: ErrorCode, message: impl ToString) -> Refused {
        Refused {
            error_code,
            message: message.to_string(),
            records: Vec::new(),
            log_start_offset: -1,
        }
    }
}

impl Refused {
    /// Names the partition it is about.
    pub(super) fn on(self, partition: &Partition) -> Refused {
        let message = format!("{partition}: {}", self.message);
        Refused { message, ..self }
    }

    /// Names the first offset of the log, where single records are to blame.
    fn at(mut self, log_start_offset: i64) -> Refused {
        if !self.records.is_empty() {
            self.log_start_offset = log_start_offset;
        }
        self
    }
}

impl Partition {
    /// Appends one client's batch. `scratch` is the shard's, for bodies that must be opened.
    pub fn append(
        &self,
        records: &mut [u8],
        rules: &Rules,
        scratch: &mut Vec<u8>,
    ) -> Result<Written, Refused> {
        self.append_verified(records, rules, None, scratch)
    }

    /// The same; `guard` is what the coordinator's word is good for, if the batch is transactional.
    pub fn append_verified(
        &self,
        records: &mut [u8],
        rules: &Rules,
        guard: Option<Guard>,
        scratch: &mut Vec<u8>,
    ) -> Result<Written, Refused> {
        let accepted = validate(records, rules, scratch)
            .map_err(|rejection| rejected(&rejection).at(self.reader().log_start()))?;
        let mut rebuilt = Vec::new();
        let batch = prepare(&accepted, records, scratch, &mut rebuilt)?;
        let mut log_append_time_ms = append_time(&accepted);

        let Some(mut log) = self.log_to_change() else {
            let why = format!("{self} is deleted");
            return Err(Refused::new(ErrorCode::UnknownTopicOrPartition, why));
        };
        self.verifying
            .check(log.producers(), &accepted.header, guard)
            .map_err(|refused| refused.on(self))?;
        let checked = CheckedBatches::accepted(batch, &accepted);
        let appended = log
            .append(checked, self.leader_epoch(), rules.now_ms)
            .map_err(|error| refused(&error, self.reader().log_start()))?;
        let base_offset = match appended {
            Appended::New { first_offset, .. } => {
                if accepted.header.is_transactional() {
                    self.verifying.end(accepted.header.producer_id);
                }
                first_offset
            }
            Appended::Duplicate(known) => {
                // As Kafka has it: a retry is told the time of what it repeats.
                log_append_time_ms = known.timestamp;
                known.first_offset()
            }
        };
        let log_start_offset = log.log_start();
        let sync_below = self.advance_unless_to_be_synced(&mut log);
        drop(log);
        self.waiters.wake();
        Ok(Written {
            base_offset,
            log_append_time_ms,
            log_start_offset,
            sync_below,
        })
    }
}

impl Partition {
    /// Appends several clients' batches of one turn with one write: `ranges` of `frame`, in the
    /// order they came, none of a transaction. True, and `memory` says where they went, if that
    /// comes to the same as one after the other; else nothing is appended and they have to come one
    /// by one, so the frame stays as it came: what a topic stamps is stamped where the run is put
    /// together.
    pub fn append_run(
        &self,
        frame: &[u8],
        ranges: impl Iterator<Item = Range<usize>>,
        rules: &Rules,
        scratch: &mut Vec<u8>,
        memory: &mut RunMemory,
    ) -> bool {
        memory.clear();
        for range in ranges {
            let records = &frame[range];
            let Ok(accepted) = validate(records, rules, scratch) else {
                return false;
            };
            if !matches!(accepted.change, Change::Nothing | Change::Timestamps) {
                return false;
            }
            let at = memory.run.len();
            memory.run.extend_from_slice(&records[..accepted.size()]);
            accepted.stamp(&mut memory.run[at..]);
            memory.accepted.push(accepted);
        }
        let Some(mut log) = self.log_to_change() else {
            return false;
        };
        let may = |accepted: &Accepted| {
            let verified = self
                .verifying
                .check(log.producers(), &accepted.header, None);
            verified.is_ok()
        };
        if !memory.accepted.iter().all(may) {
            return false;
        }
        let checked = CheckedBatches::accepted_run(&mut memory.run, &memory.accepted);
        let appended = log.append_run(checked, self.leader_epoch(), rules.now_ms);
        let Ok(Some(Appended::New { first_offset, .. })) = appended else {
            return false;
        };
        let sync_below = self.advance_unless_to_be_synced(&mut log);
        let log_start_offset = log.log_start();
        drop(log);
        self.waiters.wake();
        let mut base_offset = first_offset;
        for accepted in &memory.accepted {
            memory.written.push(Written {
                base_offset,
                log_append_time_ms: append_time(accepted),
                log_start_offset,
                sync_below,
            });
            base_offset += i64::from(accepted.header.last_offset_delta) + 1;
        }
        true
    }
}

/// What a run of batches is put together in; used again.
#[derive(Debug, Default)]
pub struct RunMemory {
    run: Vec<u8>,
    accepted: Vec<Accepted>,
    /// Where the batches went.
    pub written: Vec<Written>,
}

impl RunMemory {
    fn clear(&mut self) {
        self.run.clear();
        self.accepted.clear();
        self.written.clear();
    }
}

/// When the topic stamps records itself: the time it stamped; -1 otherwise.
fn append_time(accepted: &Accepted) -> i64 {
    match accepted.timestamp_type {
        TimestampType::LogAppendTime => accepted.max_timestamp,
        TimestampType::CreateTime => -1,
    }
}

/// The batch with every change made that its topic calls for: in place where that is possible.
fn prepare<'a>(
    accepted: &Accepted,
    records: &'a mut [u8],
    scratch: &mut Vec<u8>,
    rebuilt: &'a mut Vec<u8>,
) -> Result<&'a mut [u8], Refused> {
    match accepted.change {
        Change::Nothing | Change::Timestamps => {
            accepted.stamp(records);
            Ok(&mut records[..accepted.size()])
        }
        Change::Recompress | Change::Renumber => {
            accepted
                .rebuild(records, scratch, rebuilt)
                .map_err(|rejection| rejected(&rejection))?;
            Ok(rebuilt)
        }
    }
}

fn rejected(rejection: &Rejection) -> Refused {
    let error_code = match rejection.kind() {
        ErrorKind::CorruptMessage => ErrorCode::CorruptMessage,
        ErrorKind::InvalidRecord => ErrorCode::InvalidRecord,
        ErrorKind::InvalidTimestamp => ErrorCode::InvalidTimestamp,
        ErrorKind::MessageTooLarge => ErrorCode::MessageTooLarge,
        ErrorKind::UnsupportedCompressionType => ErrorCode::UnsupportedCompressionType,
        ErrorKind::UnsupportedForMessageFormat => ErrorCode::UnsupportedForMessageFormat,
    };
    let records = rejection
        .record_errors()
        .iter()
        .map(|error| RecordError {
            batch_index: error.index as i32,
            message: Some(error.reason.to_string()),
        })
        .collect();
    Refused {
        error_code,
        message: rejection.to_string(),
        records,
        log_start_offset: -1,
    }
}

pub(super) fn refused(error: &AppendError, log_start_offset: i64) -> Refused {
    let error_code = match error {
        AppendError::Batch { .. } | AppendError::Empty | AppendError::NotAlone { .. } => {
            ErrorCode::InvalidRecord
        }
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::OffsetSpan { .. } | AppendError::OutOfOrder { .. } => ErrorCode::InvalidRecord,
        // The client looks up who leads the partition now.
        AppendError::Deleted(_) | AppendError::OlderEpoch { .. } => ErrorCode::NotLeaderOrFollower,
        AppendError::Producer(error) => match error {
            ProducerError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            ProducerError::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
            ProducerError::NotTransactional { .. } => ErrorCode::InvalidTxnState,
            ProducerError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        },
        AppendError::DirectoryFull { .. }
        | AppendError::Offline(_)
        | AppendError::Damaged(_)
        | AppendError::Corrupt(_)
        | AppendError::Disk(_) => ErrorCode::KafkaStorageError,
    };
    let refused = Refused::new(error_code, error);
    match error {
        // A producer that got out of step is told where the log begins, to find out why.
        AppendError::Producer(_) => Refused {
            log_start_offset,
            ..refused
        },
        _ => refused,
    }
}

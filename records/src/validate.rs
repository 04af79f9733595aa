//! What a leader demands of a batch before it appends it.
//!
//! A pure decision over bytes: [`validate`] says whether the batch may be appended, and what has
//! to change in it first. Authorisation, sequence numbers and the partition's state are decided
//! elsewhere. The checks and their order are Kafka's; a batch with two faults gets the same answer
//! from both.
//!
//! | Check | Answer |
//! |---|---|
//! | at least one whole batch; magic 0 and 1 are named | InvalidRecord |
//! | a length or magic that no format has | CorruptMessage |
//! | zstd before Produce 7 | UnsupportedCompressionType |
//! | nothing after it but a torn rest, which is ignored | InvalidRecord |
//! | base offset 0 | InvalidRecord |
//! | size within the topic's limit | MessageTooLarge |
//! | checksum | CorruptMessage |
//! | codec known | UnsupportedCompressionType |
//! | record count above 0 and equal to last offset delta + 1 | InvalidRecord |
//! | not a control batch | InvalidRecord |
//! | a sequence number if there is a producer id | InvalidRecord |
//! | every record well-formed, exactly as many as counted | InvalidRecord |
//! | compacted topic: every record has a key | InvalidRecord, per record |
//! | timestamps within the topic's range | InvalidTimestamp, per record |
//!
//! Where the answer is not Kafka's, on purpose:
//!
//! - A body over the caller's decompression cap is MessageTooLarge. Kafka has no cap.
//! - A body that its codec cannot read is InvalidRecord. Kafka says unknown server error.
//! - A codec nobody has defined is UnsupportedCompressionType, once the checksum is right. Kafka
//!   says unknown server error.
//! - A record in a compressed body whose declared length is not what its fields take is
//!   InvalidRecord. Kafka looks at that in uncompressed bodies only, stores it, and its consumers
//!   fail later.
//! - Records not numbered 0, 1, 2 are renumbered. Kafka stores them so when uncompressed, and
//!   fails when compressed; only old formats are repaired.

use crate::attributes::TimestampType;
use crate::compression::Compression;
use crate::error::{BatchError, ErrorKind};
use crate::layout::{BATCH_LENGTH, LEGACY_LENGTH_MIN};
use crate::rebuild::{RebuildError, Target, recompress, renumber};
use crate::view::{BatchHeader, BatchView};
use crate::walk::Walk;
use crate::{NO_TIMESTAMP, stamp};

/// Record errors kept of one batch; the rest is only counted. Each one travels to the client.
pub const RECORD_ERRORS_MAX: usize = 10_000;

/// The default cap on an uncompressed body: what a whole request may hold
/// (`socket.request.max.bytes`).
pub const DECOMPRESSED_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Who hands in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Produce request: everything is checked.
    Client,
    /// A group or transaction coordinator of ours: markers are allowed.
    Coordinator,
}

/// What the topic and the request ask of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Who hands it in.
    pub origin: Origin,
    /// `cleanup.policy` includes compact.
    pub compacted: bool,
    /// `max.message.bytes`: of the batch as sent, and again after a rebuild.
    pub batch_bytes_max: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// The broker's clock.
    pub now_ms: i64,
    /// The request is new enough for zstd.
    pub zstd_allowed: bool,
    /// `compression.type`; `None` is `producer`: as it came.
    pub compression: Option<Compression>,
    /// `compression.<type>.level`.
    pub compression_level: Option<i32>,
    /// Cap on the uncompressed body.
    pub decompressed_bytes_max: usize,
}

impl Rules {
    /// Kafka's defaults for a topic, for a client's batch at `now_ms`.
    pub fn new(now_ms: i64) -> Rules {
        Rules {
            origin: Origin::Client,
            compacted: false,
            batch_bytes_max: 1024 * 1024 + crate::LOG_OVERHEAD_BYTES,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 60 * 60 * 1000,
            now_ms,
            zstd_allowed: true,
            compression: None,
            compression_level: None,
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        }
    }
}

/// What has to be done to an accepted batch before base offset and leader epoch are stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the checksum stays the producer's.
    Nothing,
    /// Timestamp type or max timestamp, in place: [`Accepted::stamp`].
    Timestamps,
    /// The body changes codec: [`Accepted::rebuild`].
    Recompress,
    /// The records are not numbered 0, 1, 2: [`Accepted::rebuild`].
    Renumber,
}

/// A batch that may be appended.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Its header as it came.
    pub header: BatchHeader,
    /// What has to change.
    pub change: Change,
    /// What its timestamp type becomes.
    pub timestamp_type: TimestampType,
    /// What its max timestamp becomes: computed, not believed.
    pub max_timestamp: i64,
    target: Target,
    batch_bytes_max: usize,
}

impl Accepted {
    /// Bytes of the batch; anything after it in the request is to be ignored.
    pub fn size(&self) -> usize {
        self.header.size()
    }

    /// Makes the in-place change, if one is needed, to the batch that was validated.
    pub fn stamp(&self, batch: &mut [u8]) {
        stamp::set_timestamps(
            &mut batch[..self.size()],
            self.timestamp_type,
            self.max_timestamp,
        );
    }

    /// Appends the batch to `out` with every change made. `bytes` is what was validated.
    pub fn rebuild(
        &self,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let batch = BatchView::parse(bytes)?;
        let start = out.len();
        match self.change {
            Change::Nothing | Change::Timestamps => out.extend_from_slice(batch.bytes()),
            Change::Recompress => recompress(&batch, self.target, scratch, out)?,
            Change::Renumber => renumber(&batch, self.target, scratch, out)?,
        }
        let rebuilt = &mut out[start..];
        let size = rebuilt.len();
        if size > self.batch_bytes_max {
            return Err(Rejection::TooLarge {
                size,
                max: self.batch_bytes_max,
            });
        }
        stamp::set_timestamps(rebuilt, self.timestamp_type, self.max_timestamp);
        Ok(())
    }
}

/// Why a batch may not be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is malformed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// There is nothing.
    #[error("no record batch")]
    NoBatch,
    /// There is more than one.
    #[error("a second record batch at byte {at}")]
    SecondBatch {
        /// Where it starts.
        at: usize,
    },
    /// zstd in a request too old for it.
    #[error("zstd needs Produce version 7")]
    ZstdTooEarly,
    /// Clients number from 0; the leader assigns.
    #[error("base offset is {found}, expected 0")]
    BaseOffset {
        /// As sent.
        found: i64,
    },
    /// Larger than the topic allows.
    #[error("batch of {size} bytes, at most {max} allowed")]
    TooLarge {
        /// Of the batch, as sent or as rebuilt.
        size: usize,
        /// The topic's limit.
        max: usize,
    },
    /// Last offset below base offset.
    #[error("last offset delta is {last_offset_delta}")]
    OffsetRange {
        /// As sent.
        last_offset_delta: i32,
    },
    /// No records, or fewer.
    #[error("record count is {count}")]
    RecordCount {
        /// As sent.
        count: i32,
    },
    /// Count and offsets disagree.
    #[error("record count is {count}, last offset delta {last_offset_delta}")]
    CountMismatch {
        /// As sent.
        count: i32,
        /// As sent.
        last_offset_delta: i32,
    },
    /// Markers are the broker's to write.
    #[error("control batch from a client")]
    Control,
    /// An idempotent producer numbers its records.
    #[error("producer {producer_id} sent base sequence {base_sequence}")]
    Sequence {
        /// As sent.
        producer_id: i64,
        /// As sent.
        base_sequence: i32,
    },
    /// Records that this topic does not take.
    #[error("{total} records refused, the first at index {}: {}", .first.index, .first.reason)]
    Records {
        /// The one with the lowest index.
        first: RecordError,
        /// The first [`RECORD_ERRORS_MAX`] of them, by index.
        errors: Vec<RecordError>,
        /// How many there are.
        total: usize,
    },
    /// The records fit no batch once rebuilt.
    #[error("rebuild: {0}")]
    Build(crate::BuildError),
}

/// One record that this topic does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Which record of the batch, from 0.
    pub index: usize,
    /// Why.
    pub reason: RecordReason,
}

/// Why a record is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordReason {
    /// A compacted topic keeps the last value per key.
    #[error("a compacted topic takes no record without a key")]
    MissingKey,
    /// Too old, or too far ahead.
    #[error("timestamp {timestamp} is outside [{earliest}, {latest}]")]
    Timestamp {
        /// Of the record.
        timestamp: i64,
        /// The topic's lower bound.
        earliest: i64,
        /// The topic's upper bound.
        latest: i64,
    },
    /// Log append time is the broker's to set.
    #[error("a producer may not set log append time")]
    LogAppendTime,
}

impl Rejection {
    /// What the producer is told.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Rejection::Batch(error) => error.kind(),
            Rejection::ZstdTooEarly => ErrorKind::UnsupportedCompressionType,
            Rejection::TooLarge { .. } | Rejection::Build(_) => ErrorKind::MessageTooLarge,
            Rejection::Records { errors, .. } => {
                let keys_only = errors
                    .iter()
                    .all(|error| error.reason == RecordReason::MissingKey);
                if keys_only {
                    ErrorKind::InvalidRecord
                } else {
                    ErrorKind::InvalidTimestamp
                }
            }
            Rejection::NoBatch
            | Rejection::SecondBatch { .. }
            | Rejection::BaseOffset { .. }
            | Rejection::OffsetRange { .. }
            | Rejection::RecordCount { .. }
            | Rejection::CountMismatch { .. }
            | Rejection::Control
            | Rejection::Sequence { .. } => ErrorKind::InvalidRecord,
        }
    }

    /// The records at fault, for answers that name them (Produce 8 and later).
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Rejection::Records { errors, .. } => errors,
            _ => &[],
        }
    }
}

impl From<RebuildError> for Rejection {
    fn from(error: RebuildError) -> Rejection {
        match error {
            RebuildError::Batch(error) => Rejection::Batch(error),
            RebuildError::Build(error) => Rejection::Build(error),
        }
    }
}

/// Checks the one batch in `bytes` against `rules`. `scratch` holds the body of a compressed batch
/// meanwhile.
pub fn validate(bytes: &[u8], rules: &Rules, scratch: &mut Vec<u8>) -> Result<Accepted, Rejection> {
    let batch = the_batch(bytes, rules)?;
    let header = *batch.header();
    if rules.origin == Origin::Client && header.base_offset != 0 {
        return Err(Rejection::BaseOffset {
            found: header.base_offset,
        });
    }
    if header.size() > rules.batch_bytes_max {
        return Err(Rejection::TooLarge {
            size: header.size(),
            max: rules.batch_bytes_max,
        });
    }
    batch.verify_crc()?;
    let source = header.compression()?;
    if rules.origin == Origin::Client {
        check_client_header(&header)?;
    }
    let body = batch.uncompressed(scratch, rules.decompressed_bytes_max)?;
    let found = check_records(&header, body, rules)?;

    let max_timestamp = match rules.timestamp_type {
        TimestampType::LogAppendTime => rules.now_ms,
        TimestampType::CreateTime => found.max_timestamp,
    };
    // Markers stay as their coordinator wrote them, whatever the topic's codec.
    let target = match rules.compression {
        Some(target) if !(header.is_control() && source == Compression::None) => target,
        _ => source,
    };
    let timestamps_right =
        header.timestamp_type() == rules.timestamp_type && header.max_timestamp == max_timestamp;
    let change = if !found.consecutive {
        Change::Renumber
    } else if target != source {
        Change::Recompress
    } else if !timestamps_right {
        Change::Timestamps
    } else {
        Change::Nothing
    };
    Ok(Accepted {
        header,
        change,
        timestamp_type: rules.timestamp_type,
        max_timestamp,
        target: Target {
            compression: target,
            level: rules.compression_level,
            decompressed_bytes_max: rules.decompressed_bytes_max,
        },
        batch_bytes_max: rules.batch_bytes_max,
    })
}

/// The first batch, if it is whole and the only one. A torn rest is no batch and is ignored, as
/// Kafka trims it.
fn the_batch<'a>(bytes: &'a [u8], rules: &Rules) -> Result<BatchView<'a>, Rejection> {
    if bytes.is_empty() {
        return Err(Rejection::NoBatch);
    }
    let batch = BatchView::parse(bytes)?;
    if !rules.zstd_allowed && batch.header().compression() == Ok(Compression::Zstd) {
        return Err(Rejection::ZstdTooEarly);
    }
    let at = batch.bytes().len();
    if another_batch(&bytes[at..])? {
        return Err(Rejection::SecondBatch { at });
    }
    Ok(batch)
}

/// Whether `rest` begins with what Kafka counts as a batch: a length and a magic that some format
/// has, and as many bytes as the length says. Anything shorter is torn and no batch.
fn another_batch(rest: &[u8]) -> Result<bool, BatchError> {
    match BatchView::parse(rest) {
        Err(error @ BatchError::UnknownMagic { .. }) => Err(error),
        Err(error @ BatchError::LengthTooSmall { length, .. }) if length < LEGACY_LENGTH_MIN => {
            Err(error)
        }
        Err(BatchError::Incomplete { .. }) => Ok(false),
        _ => Ok(whole(rest)),
    }
}

fn whole(rest: &[u8]) -> bool {
    let length = rest
        .get(BATCH_LENGTH.range())
        .and_then(|field| field.first_chunk::<4>());
    let length = length.and_then(|field| usize::try_from(i32::from_be_bytes(*field)).ok());
    length.is_some_and(|length| rest.len() - BATCH_LENGTH.end() >= length)
}

fn check_client_header(header: &BatchHeader) -> Result<(), Rejection> {
    let BatchHeader {
        record_count: count,
        last_offset_delta,
        base_sequence,
        ..
    } = *header;
    if last_offset_delta < 0 {
        return Err(Rejection::OffsetRange { last_offset_delta });
    }
    if count <= 0 {
        return Err(Rejection::RecordCount { count });
    }
    if count - 1 != last_offset_delta {
        return Err(Rejection::CountMismatch {
            count,
            last_offset_delta,
        });
    }
    if header.is_control() {
        return Err(Rejection::Control);
    }
    if header.has_producer_id() && base_sequence < 0 {
        return Err(Rejection::Sequence {
            producer_id: header.producer_id,
            base_sequence,
        });
    }
    Ok(())
}

/// What the walk over the records found.
struct Found {
    max_timestamp: i64,
    consecutive: bool,
}

fn check_records(header: &BatchHeader, body: &[u8], rules: &Rules) -> Result<Found, Rejection> {
    let log_append_time = header.log_append_time();
    let mut found = Found {
        max_timestamp: NO_TIMESTAMP,
        consecutive: true,
    };
    let mut errors = Vec::new();
    let mut total = 0;
    for (index, record) in Walk::new(body, header.record_count)?.enumerate() {
        let record = record?;
        let timestamp =
            log_append_time.unwrap_or(header.base_timestamp.wrapping_add(record.timestamp_delta));
        if let Some(reason) = refuse(header, record.key.is_some(), timestamp, rules) {
            total += 1;
            if errors.len() < RECORD_ERRORS_MAX {
                errors.push(RecordError { index, reason });
            }
        }
        found.max_timestamp = found.max_timestamp.max(timestamp);
        found.consecutive &= usize::try_from(record.offset_delta) == Ok(index);
    }
    match errors.first() {
        Some(&first) => Err(Rejection::Records {
            first,
            errors,
            total,
        }),
        None => Ok(found),
    }
}

fn refuse(
    header: &BatchHeader,
    has_key: bool,
    timestamp: i64,
    rules: &Rules,
) -> Option<RecordReason> {
    if rules.compacted && !has_key {
        return Some(RecordReason::MissingKey);
    }
    if rules.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
        return (!in_range(timestamp, rules)).then(|| RecordReason::Timestamp {
            timestamp,
            earliest: rules.now_ms.saturating_sub(rules.timestamp_before_max_ms),
            latest: rules.now_ms.saturating_add(rules.timestamp_after_max_ms),
        });
    }
    // Kafka asks this only here. On a create-time topic it judges the claimed time instead, and
    // clears the flag.
    (header.timestamp_type() == TimestampType::LogAppendTime).then_some(RecordReason::LogAppendTime)
}

fn in_range(timestamp: i64, rules: &Rules) -> bool {
    // An age that does not fit 64 bits is out of any range.
    rules.now_ms.checked_sub(timestamp).is_some_and(|age| {
        age <= rules.timestamp_before_max_ms && age >= rules.timestamp_after_max_ms.saturating_neg()
    })
}

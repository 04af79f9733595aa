//! Control records: what brokers write between the data.
//!
//! | Part | Field | Type |
//! |---|---|---|
//! | key | version | i16, 0 |
//! | key | type | i16: 0 abort, 1 commit, 2 leader change, 3 snapshot header, 4 snapshot footer, 5 kraft version, 6 kraft voters |
//! | value of abort and commit | version | i16, 0 |
//! | value of abort and commit | coordinator epoch | i32 |
//!
//! Readers take newer versions as version 0 with more at the end, and leave unknown types alone,
//! so that a log written by a newer broker can still be read.

use crate::NO_SEQUENCE;
use crate::build::BatchBuilder;
use crate::error::{BatchError, RecordFault};
use crate::iter::Record;
use crate::varint::Reader;
use crate::view::BatchView;

const KEY_VERSION: i16 = 0;
const KEY_BYTES: usize = 4;
const MARKER_VERSION: i16 = 0;
const MARKER_BYTES: usize = 6;
/// Control batches are written uncompressed; should one not be, this is plenty.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// What a control record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A quorum has a new leader.
    LeaderChange,
    /// A metadata snapshot begins.
    SnapshotHeader,
    /// A metadata snapshot ends.
    SnapshotFooter,
    /// The quorum's feature level.
    KRaftVersion,
    /// The quorum's voters.
    KRaftVoters,
    /// One that came after this was written.
    Unknown(i16),
}

impl ControlType {
    /// The number in the key.
    pub const fn id(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KRaftVersion => 5,
            ControlType::KRaftVoters => 6,
            ControlType::Unknown(id) => id,
        }
    }

    /// The type with this number.
    pub const fn from_id(id: i16) -> ControlType {
        match id {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KRaftVersion,
            6 => ControlType::KRaftVoters,
            id => ControlType::Unknown(id),
        }
    }

    /// The type in a control record's key.
    pub fn from_key(key: Option<&[u8]>) -> Result<ControlType, ControlError> {
        let key = key.unwrap_or_default();
        let found = key.len();
        let &[v0, v1, t0, t1] = key.first_chunk::<KEY_BYTES>().ok_or(ControlError::Short {
            part: "key",
            needed: KEY_BYTES,
            found,
        })?;
        check_version("key", i16::from_be_bytes([v0, v1]))?;
        Ok(ControlType::from_id(i16::from_be_bytes([t0, t1])))
    }

    /// The key of such a record.
    pub fn to_key(self) -> [u8; KEY_BYTES] {
        let [v0, v1] = KEY_VERSION.to_be_bytes();
        let [t0, t1] = self.id().to_be_bytes();
        [v0, v1, t0, t1]
    }
}

/// A control record that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Key or value ends early.
    #[error("control record {part} needs {needed} bytes, found {found}")]
    Short {
        /// Key or value.
        part: &'static str,
        /// At least.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Versions start at 0.
    #[error("control record {part} has version {version}")]
    NegativeVersion {
        /// Key or value.
        part: &'static str,
        /// As stored.
        version: i16,
    },
    /// A control batch without a record. The cleaner leaves them behind.
    #[error("control batch without a record")]
    Empty,
    /// A field of the value does not fit.
    #[error("control record value at byte {at}: {fault}")]
    Value {
        /// Where.
        at: usize,
        /// What.
        fault: RecordFault,
    },
    /// The batch itself is malformed.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionResult {
    /// Its records do not count.
    Abort,
    /// Its records count.
    Commit,
}

/// The marker that ends a transaction on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndTxnMarker {
    /// How it ended.
    pub result: TransactionResult,
    /// Epoch of the coordinator that decided; older ones are fenced.
    pub coordinator_epoch: i32,
}

/// Where a marker goes and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerBatch {
    /// 0 before a leader assigns one.
    pub base_offset: i64,
    /// -1 before a leader stamps its own.
    pub leader_epoch: i32,
    /// Whose transaction it is.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// When it was decided, in milliseconds.
    pub timestamp: i64,
}

impl EndTxnMarker {
    /// The marker as a batch of its own, as it lies in a log.
    pub fn to_batch(self, at: MarkerBatch) -> Vec<u8> {
        let control_type = match self.result {
            TransactionResult::Abort => ControlType::Abort,
            TransactionResult::Commit => ControlType::Commit,
        };
        let mut value = [0; MARKER_BYTES];
        value[..2].copy_from_slice(&MARKER_VERSION.to_be_bytes());
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let builder = BatchBuilder::new(at.base_offset)
            .leader_epoch(at.leader_epoch)
            .producer(at.producer_id, at.producer_epoch, NO_SEQUENCE)
            .transactional();
        control_batch(builder, at.base_offset, at.timestamp, control_type, &value)
    }

    fn from_value(result: TransactionResult, value: &[u8]) -> Result<EndTxnMarker, ControlError> {
        let found = value.len();
        let &[v0, v1, e0, e1, e2, e3] =
            value
                .first_chunk::<MARKER_BYTES>()
                .ok_or(ControlError::Short {
                    part: "value",
                    needed: MARKER_BYTES,
                    found,
                })?;
        check_version("value", i16::from_be_bytes([v0, v1]))?;
        Ok(EndTxnMarker {
            result,
            coordinator_epoch: i32::from_be_bytes([e0, e1, e2, e3]),
        })
    }
}

/// A control record, read as far as this crate knows its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord<'a> {
    /// Abort or commit.
    EndTxn(EndTxnMarker),
    /// A quorum's new leader.
    LeaderChange(LeaderChange),
    /// Anything else, untouched.
    Other {
        /// Of the key.
        control_type: ControlType,
        /// As stored.
        value: Option<&'a [u8]>,
    },
}

impl<'a> ControlRecord<'a> {
    /// Reads a record of a control batch.
    pub fn parse(record: &Record<'a>) -> Result<ControlRecord<'a>, ControlError> {
        let value = record.value;
        let bytes = value.unwrap_or_default();
        Ok(match ControlType::from_key(record.key)? {
            ControlType::Abort => {
                ControlRecord::EndTxn(EndTxnMarker::from_value(TransactionResult::Abort, bytes)?)
            }
            ControlType::Commit => {
                ControlRecord::EndTxn(EndTxnMarker::from_value(TransactionResult::Commit, bytes)?)
            }
            ControlType::LeaderChange => {
                ControlRecord::LeaderChange(LeaderChange::from_value(bytes)?)
            }
            control_type => ControlRecord::Other {
                control_type,
                value,
            },
        })
    }
}

/// The transaction marker in a control batch; `None` if the batch is about something else.
pub fn end_txn_marker(batch: &BatchView<'_>) -> Result<Option<EndTxnMarker>, ControlError> {
    let mut scratch = Vec::new();
    let first = batch.records(&mut scratch, CONTROL_BYTES_MAX)?.next();
    match ControlRecord::parse(&first.ok_or(ControlError::Empty)??)? {
        ControlRecord::EndTxn(marker) => Ok(Some(marker)),
        ControlRecord::LeaderChange(_) | ControlRecord::Other { .. } => Ok(None),
    }
}

/// A voter as a leader change names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Voter {
    /// Its node id.
    pub id: i32,
    /// Its log directory, since version 1.
    pub directory: Option<[u8; 16]>,
}

/// The first record of a quorum leader's term.
///
/// | Field | Type |
/// |---|---|
/// | version | i16 |
/// | leader id | i32 |
/// | voters | compact array of voters |
/// | granting voters | compact array of voters |
/// | tagged fields | |
///
/// A voter is an id (i32), from version 1 on a directory id (16 bytes), and tagged fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// 0, or 1 with directory ids.
    pub version: i16,
    /// Who leads.
    pub leader_id: i32,
    /// Who may vote.
    pub voters: Vec<Voter>,
    /// Who voted for the leader.
    pub granting_voters: Vec<Voter>,
}

impl LeaderChange {
    /// The record as a batch of its own.
    pub fn to_batch(&self, base_offset: i64, leader_epoch: i32, timestamp: i64) -> Vec<u8> {
        let mut value = Vec::new();
        value.extend_from_slice(&self.version.to_be_bytes());
        value.extend_from_slice(&self.leader_id.to_be_bytes());
        self.put_voters(&mut value, &self.voters);
        self.put_voters(&mut value, &self.granting_voters);
        value.push(0);
        let builder = BatchBuilder::new(base_offset).leader_epoch(leader_epoch);
        control_batch(
            builder,
            base_offset,
            timestamp,
            ControlType::LeaderChange,
            &value,
        )
    }

    fn put_voters(&self, value: &mut Vec<u8>, voters: &[Voter]) {
        crate::varint::put_unsigned(value, voters.len() as u32 + 1);
        for voter in voters {
            value.extend_from_slice(&voter.id.to_be_bytes());
            if self.version >= 1 {
                value.extend_from_slice(&voter.directory.unwrap_or_default());
            }
            value.push(0);
        }
    }

    fn from_value(value: &[u8]) -> Result<LeaderChange, ControlError> {
        let mut reader = Reader::new(value);
        let parsed = read_leader_change(&mut reader);
        let at = reader.position();
        let parsed = parsed.map_err(|fault| ControlError::Value { at, fault })?;
        check_version("value", parsed.version)?;
        Ok(parsed)
    }
}

fn read_leader_change(reader: &mut Reader<'_>) -> Result<LeaderChange, RecordFault> {
    let version = i16::from_be_bytes(reader.array()?);
    let leader_id = i32::from_be_bytes(reader.array()?);
    let voters = read_voters(reader, version)?;
    let granting_voters = read_voters(reader, version)?;
    // Tagged fields of a later version may follow.
    Ok(LeaderChange {
        version,
        leader_id,
        voters,
        granting_voters,
    })
}

fn read_voters(reader: &mut Reader<'_>, version: i16) -> Result<Vec<Voter>, RecordFault> {
    // Grows as voters arrive; the count alone reserves nothing.
    let mut voters = Vec::new();
    for _ in 1..reader.unsigned()? {
        let id = i32::from_be_bytes(reader.array()?);
        let directory = if version >= 1 {
            Some(reader.array()?)
        } else {
            None
        };
        skip_tagged_fields(reader)?;
        voters.push(Voter { id, directory });
    }
    Ok(voters)
}

fn skip_tagged_fields(reader: &mut Reader<'_>) -> Result<(), RecordFault> {
    for _ in 0..reader.unsigned()? {
        let _tag = reader.unsigned()?;
        let bytes = reader.unsigned()?;
        reader.take(bytes as usize)?;
    }
    Ok(())
}

fn control_batch(
    builder: BatchBuilder,
    offset: i64,
    timestamp: i64,
    control_type: ControlType,
    value: &[u8],
) -> Vec<u8> {
    let mut builder = builder.control();
    builder
        .append(
            offset,
            timestamp,
            Some(&control_type.to_key()),
            Some(value),
            [],
        )
        .expect("one small record at the base offset fits any batch");
    builder.finish()
}

fn check_version(part: &'static str, version: i16) -> Result<(), ControlError> {
    if version < 0 {
        return Err(ControlError::NegativeVersion { part, version });
    }
    Ok(())
}

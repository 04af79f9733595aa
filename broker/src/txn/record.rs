//! Where a transactional id stands, and how that is written to `__transaction_state`, in Kafka's
//! schemas.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use reka_protocol::messages::coordinator::Value;
use reka_protocol::messages::coordinator::key::TransactionLogKey;
use reka_protocol::messages::coordinator::transaction::{
    TransactionLogValue, TransactionPartitions,
};
use reka_protocol::{DecodeError, EncodeError};

use super::ask::Producer;
use crate::coordinator::write::KeyValue;

/// A partition: its topic and number.
pub type Place = (Arc<str>, i32);

/// No producer id, or no time.
pub const NONE: i64 = -1;
/// No epoch.
pub const NO_EPOCH: i16 = -1;

/// Where a transaction stands. The numbers are those of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum State {
    /// None has begun since the producer did.
    Empty = 0,
    /// Under way.
    Ongoing = 1,
    /// It counts; not every partition has been told.
    PrepareCommit = 2,
    /// It does not count; not every partition has been told.
    PrepareAbort = 3,
    /// It counts.
    CompleteCommit = 4,
    /// It does not count.
    CompleteAbort = 5,
}

impl State {
    /// Those a log can hold, by number. Kafka's 6 and 7 are never written.
    pub const ALL: [State; 6] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
        }
    }

    /// By Kafka's name.
    pub fn from_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    fn from_number(number: i8) -> Option<State> {
        let index = usize::try_from(number).ok()?;
        State::ALL.get(index).copied()
    }

    /// The end is decided, and partitions are being told.
    pub fn is_ending(self) -> bool {
        matches!(self, State::PrepareCommit | State::PrepareAbort)
    }

    /// Nothing is under way.
    pub fn is_idle(self) -> bool {
        matches!(
            self,
            State::Empty | State::CompleteCommit | State::CompleteAbort
        )
    }
}

/// A transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// Its producer. While a transaction ends with a bumped epoch, that epoch.
    pub producer: Producer,
    /// The producer id before the last change.
    pub previous_producer_id: i64,
    /// The producer id that follows when the transaction has ended, because epochs are used up; or -1.
    pub next_producer_id: i64,
    /// The epoch before the last bump, for a producer that did not hear of it; or -1. Not written,
    /// by Kafka neither: after a restart such a producer is fenced.
    pub last_epoch: i16,
    /// How long a transaction may take.
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: State,
    /// What the transaction under way has reached.
    pub partitions: BTreeSet<Place>,
    /// When the transaction began, or -1.
    pub started_ms: i64,
    /// When this changed last.
    pub updated_ms: i64,
    /// The client's level of `transaction.version` in the last transaction.
    pub client_version: i16,
    /// The last transaction was aborted by the coordinator, not its producer. Not written.
    pub is_fenced: bool,
}

/// A record of `__transaction_state`. Without a value it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRecord {
    /// The transactional id.
    pub id: Arc<str>,
    /// Where it stands from now on.
    pub txn: Option<Txn>,
}

/// What makes no sense in a record.
#[derive(Debug, thiserror::Error)]
pub enum TxnRecordError {
    /// It cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It stands where nobody can.
    #[error("transactional id {id} is in state {found}, expected 0 to 5")]
    State {
        /// Whose.
        id: String,
        /// The number found.
        found: i8,
    },
}

impl TxnRecord {
    /// Reads a record; `None` for a key of a newer version.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<TxnRecord>, TxnRecordError> {
        let Some(TransactionLogKey { transactional_id }) = TransactionLogKey::decode(key)? else {
            return Ok(None);
        };
        let Some(value) = value else {
            let id = transactional_id.into();
            return Ok(Some(TxnRecord { id, txn: None }));
        };
        let value = TransactionLogValue::decode(value)?;
        let found = value.transaction_status;
        let state = State::from_number(found).ok_or_else(|| TxnRecordError::State {
            id: transactional_id.clone(),
            found,
        })?;
        let topics = value.transaction_partitions.unwrap_or_default();
        let partitions = topics.into_iter().flat_map(|topic| {
            let name: Arc<str> = topic.topic.into();
            let numbers = topic.partition_ids.into_iter();
            numbers.map(move |number| (name.clone(), number))
        });
        let txn = Txn {
            producer: Producer {
                id: value.producer_id,
                epoch: value.producer_epoch,
            },
            previous_producer_id: value.previous_producer_id,
            next_producer_id: value.next_producer_id,
            last_epoch: NO_EPOCH,
            timeout_ms: value.transaction_timeout_ms,
            state,
            partitions: partitions.collect(),
            started_ms: value.transaction_start_timestamp_ms,
            updated_ms: value.transaction_last_update_timestamp_ms,
            client_version: value.client_transaction_version,
            is_fenced: false,
        };
        Ok(Some(TxnRecord {
            id: transactional_id.into(),
            txn: Some(txn),
        }))
    }

    /// Key and value as they are written where `transaction.version` is at `level`.
    pub fn encode(&self, level: i16) -> Result<KeyValue, EncodeError> {
        let key = TransactionLogKey {
            transactional_id: self.id.to_string(),
        };
        let value = self.txn.as_ref().map(|txn| txn.encode(level)).transpose()?;
        Ok((key.encode()?, value))
    }
}

impl Txn {
    /// Whether the transaction counts, or shall.
    pub fn is_commit(&self) -> bool {
        matches!(self.state, State::PrepareCommit | State::CompleteCommit)
    }

    fn encode(&self, level: i16) -> Result<Bytes, EncodeError> {
        let mut topics: Vec<TransactionPartitions> = Vec::new();
        for (topic, number) in &self.partitions {
            match topics.last_mut() {
                Some(last) if *last.topic == **topic => last.partition_ids.push(*number),
                _ => topics.push(TransactionPartitions {
                    topic: topic.to_string(),
                    partition_ids: vec![*number],
                }),
            }
        }
        let mut value = TransactionLogValue {
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            transaction_timeout_ms: self.timeout_ms,
            transaction_status: self.state as i8,
            transaction_partitions: (self.state != State::Empty).then_some(topics),
            transaction_last_update_timestamp_ms: self.updated_ms,
            transaction_start_timestamp_ms: self.started_ms,
            previous_producer_id: NONE,
            next_producer_id: NONE,
            client_transaction_version: 0,
        };
        if level == 0 {
            return value.encode(0);
        }
        value.previous_producer_id = self.previous_producer_id;
        value.next_producer_id = self.next_producer_id;
        value.client_transaction_version = self.client_version;
        value.encode(1)
    }
}

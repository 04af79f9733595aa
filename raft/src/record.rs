//! What may be written to the metadata log.
//!
//! A log entry carries a batch of records that take effect together. Records are
//! facts, not commands: nodes of different releases that replay them reach the same
//! image. Clocks and random ids are read before proposing.
//!
//! Stored form of a batch:
//!
//! | Field   | Type          | Holds                                        |
//! |---------|---------------|----------------------------------------------|
//! | count   | number        | records, at most [`BATCH_RECORDS_MAX`]       |
//! | records | see below     |                                              |
//!
//! and of a record:
//!
//! | Field   | Type          | Holds                                        |
//! |---------|---------------|----------------------------------------------|
//! | kind    | number, `u16` | see [`Record::kind`]; a number is never reused |
//! | version | `u8`          | of this kind's body; 0 so far                |
//! | length  | number, `u32` | bytes of the body                            |
//! | body    |               | the fields in the order declared here, see [`crate::codec`] |
//!
//! A kind or version this release does not know is an error, never skipped: a node
//! that passed over a record would hold another image than its peers.

use bytes::Bytes;
use uuid::Uuid;

use crate::codec::{DecodeError, Problem, Reader, Stored, put_number, stored};

/// Records that may take effect together. Creating a topic of 50,000 partitions fits.
pub const BATCH_RECORDS_MAX: usize = 65_536;
/// Bytes a batch may take.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// "No leader" in [`Partition::leader`].
pub const NO_LEADER: i32 = -1;

stored! {
    /// A topic exists. Its partitions follow, from 0 up, without gaps.
    pub struct Topic {
        /// Unique among the topics that exist.
        pub name: String,
        /// Never reused.
        pub id: Uuid,
    }

    /// A topic, its partitions and its configuration are gone.
    pub struct RemoveTopic {
        /// Which one.
        pub id: Uuid,
    }

    /// A partition exists, in full. Replaces what was known of it.
    pub struct Partition {
        /// Its topic, which exists.
        pub topic_id: Uuid,
        /// At most the number of partitions the topic has so far.
        pub partition: i32,
        /// Broker ids, the preferred leader first.
        pub replicas: Vec<i32>,
        /// The log directory of each replica, in the order of `replicas`.
        pub directories: Vec<Uuid>,
        /// In-sync replicas, a subset of `replicas`.
        pub isr: Vec<i32>,
        /// Replicas a reassignment adds.
        pub adding: Vec<i32>,
        /// Replicas a reassignment removes.
        pub removing: Vec<i32>,
        /// A replica, or [`NO_LEADER`].
        pub leader: i32,
        /// Goes up with each election.
        pub leader_epoch: i32,
        /// Goes up with each change.
        pub partition_epoch: i32,
        /// Eligible leader replicas (KIP-966).
        pub elr: Vec<i32>,
        /// The last leader known when ISR and ELR became empty.
        pub last_known_elr: Vec<i32>,
        /// Whether an unclean election is still being recovered from.
        pub leader_recovery_state: LeaderRecoveryState,
    }

    /// Some fields of a partition change; the partition epoch goes up by one.
    pub struct PartitionChange {
        /// Its topic.
        pub topic_id: Uuid,
        /// Which partition.
        pub partition: i32,
        /// New in-sync replicas.
        pub isr: Option<Vec<i32>>,
        /// Elected now, also when it is the same broker again: the leader epoch goes
        /// up by one.
        pub leader: Option<i32>,
        /// New assignment.
        pub replicas: Option<Vec<i32>>,
        /// Replicas being removed.
        pub removing: Option<Vec<i32>>,
        /// Replicas being added.
        pub adding: Option<Vec<i32>>,
        /// New log directories, as many as replicas.
        pub directories: Option<Vec<Uuid>>,
        /// Eligible leader replicas.
        pub elr: Option<Vec<i32>>,
        /// Last known leader.
        pub last_known_elr: Option<Vec<i32>>,
        /// Recovery state.
        pub leader_recovery_state: Option<LeaderRecoveryState>,
    }

    /// One configuration key of one resource is set or unset.
    pub struct Config {
        /// Kafka's code: 2 topic, 4 broker, 16 client metrics, 32 group.
        pub resource_type: i8,
        /// Name of the resource; empty for the default of all brokers.
        pub resource_name: String,
        /// The key.
        pub key: String,
        /// The value; without one the key falls back to its default.
        pub value: Option<String>,
    }

    /// A broker registered. The offset of this record is its broker epoch.
    pub struct RegisterBroker {
        /// Kafka's broker id.
        pub broker_id: i32,
        /// New with each start of the process.
        pub incarnation: Uuid,
        /// Where clients and brokers reach it.
        pub endpoints: Vec<BrokerEndpoint>,
        /// Its rack.
        pub rack: Option<String>,
        /// Feature levels it supports.
        pub features: Vec<FeatureRange>,
        /// Ids of its log directories that are online.
        pub directories: Vec<Uuid>,
        /// Not serving until it has caught up.
        pub fenced: bool,
        /// On its way out.
        pub in_controlled_shutdown: bool,
    }

    /// One listener of a broker.
    pub struct BrokerEndpoint {
        /// Listener name.
        pub name: String,
        /// Host name or address.
        pub host: String,
        /// Port.
        pub port: u16,
        /// Kafka's code: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
        pub security_protocol: i16,
    }

    /// Levels of one feature that a broker supports.
    pub struct FeatureRange {
        /// Feature name.
        pub name: String,
        /// Lowest level.
        pub min: i16,
        /// Highest level.
        pub max: i16,
    }

    /// The state of a registered broker changed.
    pub struct BrokerChange {
        /// Which broker.
        pub broker_id: i32,
        /// The registration this is about; another one is refused.
        pub broker_epoch: i64,
        /// Fenced or unfenced.
        pub fenced: Option<bool>,
        /// Began to shut down.
        pub in_controlled_shutdown: Option<bool>,
        /// The log directories that are online now.
        pub directories: Option<Vec<Uuid>>,
    }

    /// A broker is gone for good.
    pub struct UnregisterBroker {
        /// Which broker.
        pub broker_id: i32,
        /// The registration this is about; another one is refused.
        pub broker_epoch: i64,
    }

    /// A block of producer ids was handed out: all below `next_producer_id` are used.
    pub struct ProducerIds {
        /// To this broker.
        pub broker_id: i32,
        /// In this registration.
        pub broker_epoch: i64,
        /// First id of the next block; never goes down.
        pub next_producer_id: i64,
    }

    /// A feature is finalized at a level.
    pub struct FeatureLevel {
        /// Feature name, such as `metadata.version`.
        pub name: String,
        /// The level; 0 removes it.
        pub level: i16,
    }

    /// One quota of one entity is set or unset.
    pub struct ClientQuota {
        /// Who is limited.
        pub entity: Vec<QuotaEntity>,
        /// Quota name, such as `producer_byte_rate`.
        pub key: String,
        /// The limit; none removes it.
        pub value: Option<f64>,
    }

    /// A part of who is limited.
    pub struct QuotaEntity {
        /// `user`, `client-id` or `ip`.
        pub kind: String,
        /// Its name; none is the default of this kind.
        pub name: Option<String>,
    }

    /// An access rule exists.
    pub struct Acl {
        /// Identifies the rule.
        pub id: Uuid,
        /// Kafka's code of the resource type.
        pub resource_type: i8,
        /// Name or prefix.
        pub resource_name: String,
        /// Kafka's code: 3 literal, 4 prefixed.
        pub pattern_type: i8,
        /// Such as `User:alice`.
        pub principal: String,
        /// Address, or `*`.
        pub host: String,
        /// Kafka's code of the operation.
        pub operation: i8,
        /// Kafka's code: 2 deny, 3 allow.
        pub permission: i8,
    }

    /// An access rule is gone.
    pub struct RemoveAcl {
        /// Which one.
        pub id: Uuid,
    }

    /// A user's SCRAM credential is set.
    pub struct ScramUser {
        /// User name.
        pub user: String,
        /// Kafka's code: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        pub mechanism: i8,
        /// Salt.
        pub salt: Vec<u8>,
        /// Stored key.
        pub stored_key: Vec<u8>,
        /// Server key.
        pub server_key: Vec<u8>,
        /// Iterations.
        pub iterations: i32,
    }

    /// A user's SCRAM credential is gone.
    pub struct RemoveScramUser {
        /// User name.
        pub user: String,
        /// Of this mechanism.
        pub mechanism: i8,
    }
}

/// Whether the leader's log is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    /// Elected from the in-sync or eligible replicas.
    #[default]
    Recovered,
    /// Elected uncleanly, and not yet through with the consequences.
    Recovering,
}

impl LeaderRecoveryState {
    /// Kafka's code.
    pub const fn code(self) -> u8 {
        match self {
            LeaderRecoveryState::Recovered => 0,
            LeaderRecoveryState::Recovering => 1,
        }
    }
}

impl Stored for LeaderRecoveryState {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.code());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::take(from)? {
            0 => Ok(LeaderRecoveryState::Recovered),
            1 => Ok(LeaderRecoveryState::Recovering),
            value => Err(from.error(Problem::UnknownCode {
                what: "leader recovery state",
                value,
            })),
        }
    }
}

/// The table of kinds: number and version of each. A number is never reused.
macro_rules! kinds {
    ($( $(#[$doc:meta])* $name:ident = $kind:literal version $version:literal; )*) => {
        /// One fact about the cluster.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            /// Nothing; shows that the log moves.
            NoOp,
            $( $(#[$doc])* $name($name), )*
        }

        impl Record {
            /// The number this kind has in the log.
            pub const fn kind(&self) -> u16 {
                match self {
                    Record::NoOp => 0,
                    $( Record::$name(_) => $kind, )*
                }
            }

            /// The version of the body this release writes.
            pub const fn version(&self) -> u8 {
                match self {
                    Record::NoOp => 0,
                    $( Record::$name(_) => $version, )*
                }
            }

            fn put_body(&self, out: &mut Vec<u8>) {
                match self {
                    Record::NoOp => {}
                    $( Record::$name(body) => body.put(out), )*
                }
            }

            fn take_body(kind: u16, version: u8, from: &mut Reader<'_>) -> Result<Record, DecodeError> {
                match (kind, version) {
                    (0, 0) => Ok(Record::NoOp),
                    $( ($kind, $version) => Ok(Record::$name($name::take(from)?)), )*
                    _ => Err(from.error(Problem::UnknownRecord { kind, version })),
                }
            }
        }

        $( impl From<$name> for Record {
            fn from(body: $name) -> Record {
                Record::$name(body)
            }
        } )*
    };
}

kinds! {
    /// See [`Topic`].
    Topic = 1 version 0;
    /// See [`RemoveTopic`].
    RemoveTopic = 2 version 0;
    /// See [`Partition`].
    Partition = 3 version 0;
    /// See [`PartitionChange`].
    PartitionChange = 4 version 0;
    /// See [`Config`].
    Config = 5 version 0;
    /// See [`RegisterBroker`].
    RegisterBroker = 6 version 0;
    /// See [`BrokerChange`].
    BrokerChange = 7 version 0;
    /// See [`UnregisterBroker`].
    UnregisterBroker = 8 version 0;
    /// See [`ProducerIds`].
    ProducerIds = 9 version 0;
    /// See [`FeatureLevel`].
    FeatureLevel = 10 version 0;
    /// See [`ClientQuota`].
    ClientQuota = 11 version 0;
    /// See [`Acl`].
    Acl = 12 version 0;
    /// See [`RemoveAcl`].
    RemoveAcl = 13 version 0;
    /// See [`ScramUser`].
    ScramUser = 14 version 0;
    /// See [`RemoveScramUser`].
    RemoveScramUser = 15 version 0;
}

impl Stored for Record {
    fn put(&self, out: &mut Vec<u8>) {
        self.kind().put(out);
        out.push(self.version());
        // Bodies are mostly below 128 bytes: guess one byte of length, and make room
        // for more when the guess was wrong.
        let length_at = out.len();
        out.push(0);
        self.put_body(out);
        let len = (out.len() - length_at - 1) as u64;
        if len < 0x80 {
            out[length_at] = len as u8;
        } else {
            let mut length = Vec::with_capacity(5);
            put_number(len, &mut length);
            out.splice(length_at..=length_at, length);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = u16::take(from)?;
        let version = u8::take(from)?;
        let len = u32::take(from)?;
        let start = from.position();
        let mut body = Reader::new(from.bytes(u64::from(len))?);
        let record = Record::take_body(kind, version, &mut body);
        record
            .and_then(|record| body.finish().map(|()| record))
            .map_err(|error| DecodeError {
                position: start + error.position,
                ..error
            })
    }
}

/// Records that take effect together, in their stored form.
///
/// Kept as bytes: the log copies them, replication shares them, and only applying
/// reads them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecordBatch(Bytes);

impl RecordBatch {
    /// Packs records; `None` when they are more than belong into one batch.
    pub fn pack(records: &[Record]) -> Option<RecordBatch> {
        if records.len() > BATCH_RECORDS_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(16 + records.len() * 64);
        put_number(records.len() as u64, &mut out);
        for record in records {
            record.put(&mut out);
        }
        (out.len() <= BATCH_BYTES_MAX).then(|| RecordBatch(out.into()))
    }

    /// A batch as it lies in a log; read when it is unpacked.
    pub fn from_stored(bytes: Bytes) -> RecordBatch {
        RecordBatch(bytes)
    }

    /// Its stored form.
    pub fn stored(&self) -> &Bytes {
        &self.0
    }

    /// The records.
    pub fn unpack(&self) -> Result<Vec<Record>, DecodeError> {
        let mut from = Reader::new(&self.0);
        let count = from.number()?;
        if count > BATCH_RECORDS_MAX as u64 {
            return Err(from.error(Problem::TooMany {
                count,
                limit: BATCH_RECORDS_MAX,
            }));
        }
        let records = (0..count)
            .map(|_| Record::take(&mut from))
            .collect::<Result<_, _>>()?;
        from.finish()?;
        Ok(records)
    }
}

//! The types consensus is spoken in.

use uuid::Uuid;

use crate::codec::{DecodeError, Reader, Stored};
use crate::image::ApplyError;
use crate::record::RecordBatch;

/// Identifies a voter to the others. Never reused: a voter whose disk was wiped comes
/// back under a new one, or it could vote twice in one term. What people call it by
/// is [`Voter::kafka_id`].
pub type VoterId = u64;

/// A member of the quorum.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Voter {
    /// Kafka's node id.
    pub kafka_id: i32,
    /// Identifies its disk.
    pub directory_id: Uuid,
    /// Where it is reached.
    pub endpoints: Vec<VoterEndpoint>,
}

/// A listener of a voter.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct VoterEndpoint {
    /// Listener name.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Stored for VoterEndpoint {
    fn put(&self, out: &mut Vec<u8>) {
        self.name.put(out);
        self.host.put(out);
        self.port.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(VoterEndpoint {
            name: String::take(from)?,
            host: String::take(from)?,
            port: u16::take(from)?,
        })
    }
}

impl Stored for Voter {
    fn put(&self, out: &mut Vec<u8>) {
        self.kafka_id.put(out);
        self.directory_id.put(out);
        self.endpoints.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Voter {
            kafka_id: i32::take(from)?,
            directory_id: Uuid::take(from)?,
            endpoints: Vec::take(from)?,
        })
    }
}

/// What applying an entry came to, the same on every node.
pub type Outcome = Result<(), ApplyError>;

openraft::declare_raft_types!(
    /// The types openraft is told.
    pub Types:
        D = RecordBatch,
        R = Outcome,
        NodeId = VoterId,
        Node = Voter,
        Entry = openraft::Entry<Types>,
        SnapshotData = bytes::Bytes,
);

pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<VoterId>;
pub(crate) type Vote = openraft::Vote<VoterId>;
pub(crate) type Membership = openraft::Membership<VoterId, Voter>;
pub(crate) type StoredMembership = openraft::StoredMembership<VoterId, Voter>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<VoterId, Voter>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type StorageError = openraft::StorageError<VoterId>;
pub(crate) type StorageIoError = openraft::StorageIOError<VoterId>;

/// The id of an entry: openraft keeps more in it when a term can have several leaders.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(term, 0), index)
}

/// Stored form of a membership: the joint configurations, each a list of voter ids,
/// then all members by id.
pub(crate) fn put_membership(membership: &Membership, out: &mut Vec<u8>) {
    let configs = membership.get_joint_config();
    let configs: Vec<Vec<u64>> = configs
        .iter()
        .map(|config| config.iter().copied().collect())
        .collect();
    configs.put(out);
    let nodes: Vec<_> = membership.nodes().collect();
    (nodes.len() as u32).put(out);
    for (id, node) in nodes {
        id.put(out);
        node.put(out);
    }
}

pub(crate) fn take_membership(from: &mut Reader<'_>) -> Result<Membership, DecodeError> {
    let configs: Vec<Vec<u64>> = Vec::take(from)?;
    let count = u32::take(from)?;
    let mut nodes = std::collections::BTreeMap::new();
    for _ in 0..count {
        nodes.insert(u64::take(from)?, Voter::take(from)?);
    }
    let configs = configs
        .into_iter()
        .map(|config| config.into_iter().collect())
        .collect();
    Ok(Membership::new(configs, nodes))
}

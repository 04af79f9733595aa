//! What can be asked of a group, and the answers: our own types, without versions of the protocol.
//!
//! Everything here owns its bytes: what is asked becomes long-lived state, which must not pin a
//! request's frame.

use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::messages::coordinator::consumer_group::ConsumerGroupMemberMetadataValue;
use uuid::Uuid;

use super::consumer::{Beaten, Matched, Partitions};
use super::lag::{Ends, Lags};
use super::record::GroupRecord;
use super::refusal::Refusal;
pub use crate::coordinator::Ticket;
use crate::coordinator::mailbox::Answer;
use crate::coordinator::write::InTransaction;
use crate::partition::verify::Marker;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// What the client calls itself; empty if it does not.
    pub client_id: String,
    /// Where it is, as Kafka writes it: `/10.0.0.1`.
    pub host: String,
}

/// A question to one partition's groups.
#[derive(Clone, Debug)]
pub enum Ask {
    /// JoinGroup.
    Join(Join),
    /// SyncGroup.
    Sync(Sync),
    /// Heartbeat.
    Heartbeat(Heartbeat),
    /// LeaveGroup.
    Leave(Leave),
    /// OffsetCommit.
    Commit(Commit),
    /// TxnOffsetCommit.
    CommitInTransaction(Commit, InTransaction),
    /// A transaction ended that may have committed offsets here.
    EndTransaction(Marker),
    /// OffsetFetch.
    Fetch(FetchOffsets),
    /// OffsetDelete.
    DeleteOffsets(DeleteOffsets),
    /// DescribeGroups, of one group.
    Describe(String),
    /// ListGroups.
    List(ListFilter),
    /// DeleteGroups, of one group.
    Delete(String),
    /// Topics were deleted: their names and ids.
    TopicsDeleted(Vec<(String, Uuid)>),
    /// ConsumerGroupHeartbeat.
    Beat(Box<Beat>),
    /// ConsumerGroupDescribe, of one group.
    ConsumerDescribe(String),
    /// How far groups are behind: these are the ends, and that many are told one by one.
    Lags(Arc<Ends>, usize),
}

impl Ask {
    /// The group whose members may be others once this is answered. What is written changes it later,
    /// by its records.
    pub fn reshapes(&self) -> Option<&str> {
        match self {
            Ask::Join(join) => Some(&join.group),
            Ask::Sync(sync) => Some(&sync.group),
            Ask::Leave(leave) => Some(&leave.group),
            Ask::Beat(beat) => Some(&beat.group),
            _ => None,
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To [`Ask::Join`].
    Join(Joined),
    /// To [`Ask::Sync`].
    Sync(Synced),
    /// To [`Ask::Heartbeat`], [`Ask::Delete`] and [`Ask::EndTransaction`].
    Code(ErrorCode),
    /// To [`Ask::Leave`].
    Leave(Left),
    /// To [`Ask::Commit`], [`Ask::CommitInTransaction`] and [`Ask::DeleteOffsets`].
    Partitions(PartitionCodes),
    /// To [`Ask::Fetch`].
    Fetch(Result<Vec<FetchedTopic>, ErrorCode>),
    /// To [`Ask::Describe`].
    Describe(Box<Described>),
    /// To [`Ask::List`].
    List(Vec<Listed>),
    /// To [`Ask::TopicsDeleted`]: how many offsets went.
    Forgotten(usize),
    /// To [`Ask::Beat`].
    Beat(Result<Beaten, Refusal>),
    /// To [`Ask::Beat`]: it takes these expressions matched, which is too long for here, in
    /// [`Beat::matched`].
    NeedsPatterns(Vec<String>),
    /// To [`Ask::ConsumerDescribe`].
    ConsumerDescribe(Box<ConsumerDescribed>),
    /// To [`Ask::Lags`].
    Lags(Lags),
    /// To anything: this broker does not answer for the group now.
    Refused(ErrorCode),
}

/// A protocol a member offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// The member's part of the agreement.
    pub metadata: Vec<u8>,
}

/// A member wants in, or in again.
#[derive(Clone, Debug)]
pub struct Join {
    /// The group.
    pub group: String,
    /// Empty for a new member.
    pub member_id: String,
    /// For static membership.
    pub instance_id: Option<String>,
    /// Who asks.
    pub caller: Caller,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long it may take to join again.
    pub rebalance_timeout_ms: i32,
    /// Such as `consumer`.
    pub protocol_type: String,
    /// In the order the member likes them.
    pub protocols: Vec<Protocol>,
    /// Why, in the client's words.
    pub reason: Option<String>,
    /// The id for a new member.
    pub fresh_id: Uuid,
    /// The client can be told its id before it joins (JoinGroup 4, KIP-394).
    pub takes_id_first: bool,
    /// The client can be told not to assign (JoinGroup 9, KIP-814).
    pub can_skip_assignment: bool,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// NONE when the rest is meant.
    pub error_code: ErrorCode,
    /// The generation that begins; -1 with an error.
    pub generation: i32,
    /// What the members agree on being.
    pub protocol_type: Option<String>,
    /// What they agreed on.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: String,
    /// The leader need not assign: nothing has changed.
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: String,
    /// For the leader: everybody, with what they offered.
    pub members: Vec<JoinedMember>,
}

impl Joined {
    /// An error.
    pub fn error(error_code: ErrorCode, member_id: impl Into<String>) -> Joined {
        Joined {
            error_code,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// For static membership.
    pub instance_id: Option<String>,
    /// What it offered in the protocol agreed on.
    pub metadata: Vec<u8>,
}

/// A member wants its assignment; the leader brings everybody's.
#[derive(Clone, Debug)]
pub struct Sync {
    /// The group.
    pub group: String,
    /// The generation the member joined.
    pub generation: i32,
    /// The member.
    pub member_id: String,
    /// For static membership.
    pub instance_id: Option<String>,
    /// What the member believes the protocol type to be, if it says so.
    pub protocol_type: Option<String>,
    /// The same of the protocol.
    pub protocol: Option<String>,
    /// By member id; from the leader.
    pub assignments: Vec<(String, Vec<u8>)>,
}

/// The answer to a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// NONE when the rest is meant.
    pub error_code: ErrorCode,
    /// What the members agree on being.
    pub protocol_type: Option<String>,
    /// What they agreed on.
    pub protocol: Option<String>,
    /// What the leader gave this member.
    pub assignment: Vec<u8>,
}

impl Synced {
    /// An error.
    pub fn error(error_code: ErrorCode) -> Synced {
        Synced {
            error_code,
            protocol_type: None,
            protocol: None,
            assignment: Vec::new(),
        }
    }
}

/// A member is alive.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The group.
    pub group: String,
    /// The generation it is in.
    pub generation: i32,
    /// The member.
    pub member_id: String,
    /// For static membership.
    pub instance_id: Option<String>,
}

/// Members go.
#[derive(Clone, Debug)]
pub struct Leave {
    /// The group.
    pub group: String,
    /// Which.
    pub members: Vec<Leaving>,
}

/// A member goes, or is sent away by an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Empty when only the instance is known.
    pub member_id: String,
    /// For static membership.
    pub instance_id: Option<String>,
    /// Why, in the client's words.
    pub reason: Option<String>,
}

/// The answer to a leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Of the request as a whole.
    pub error_code: ErrorCode,
    /// In the order asked.
    pub members: Vec<(Leaving, ErrorCode)>,
}

/// Offsets to be remembered.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The group.
    pub group: String,
    /// The generation or member epoch; negative when no member commits.
    pub generation: i32,
    /// The member; empty when no member commits.
    pub member_id: String,
    /// For static membership.
    pub instance_id: Option<String>,
    /// How long to keep the offsets, from clients that still say so; else -1.
    pub retention_ms: i64,
    /// What is committed.
    pub topics: Vec<CommitTopic>,
    /// The client knows the errors of KIP-848 (OffsetCommit 9).
    pub knows_member_epochs: bool,
}

/// Offsets of one topic.
#[derive(Clone, Debug)]
pub struct CommitTopic {
    /// Its name.
    pub name: String,
    /// Its id; nil for whichever has the name.
    pub id: Uuid,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// The offset of one partition.
#[derive(Clone, Debug)]
pub struct CommitPartition {
    /// Its number.
    pub index: i32,
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// What the client wants to remember.
    pub metadata: String,
}

/// A code for each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCodes {
    /// Of the request as a whole; counts for every partition.
    pub error_code: ErrorCode,
    /// By topic, in the order asked; empty with an error of the whole.
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

impl PartitionCodes {
    /// Nothing was done.
    pub fn error(error_code: ErrorCode) -> PartitionCodes {
        PartitionCodes {
            error_code,
            topics: Vec::new(),
        }
    }
}

/// Which offsets are wanted.
#[derive(Clone, Debug)]
pub struct FetchOffsets {
    /// The group.
    pub group: String,
    /// The member that asks, if one does, and its epoch (KIP-848).
    pub member: Option<(String, i32)>,
    /// `None` is all there are.
    pub topics: Option<Vec<WantedTopic>>,
    /// Offsets that an open transaction may change are not to be told (KIP-447).
    pub require_stable: bool,
}

/// Partitions of a topic whose offsets are wanted.
#[derive(Clone, Debug)]
pub struct WantedTopic {
    /// Its name.
    pub name: String,
    /// Its id, where the client named it by that; else nil.
    pub id: Uuid,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// Offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Its name.
    pub name: String,
    /// Its id as it was asked for; else nil.
    pub id: Uuid,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// The offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// Its number.
    pub index: i32,
    /// The offset; -1 for none.
    pub offset: i64,
    /// Epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// What the client wanted to remember.
    pub metadata: String,
    /// NONE, or why it is not told.
    pub error_code: ErrorCode,
}

/// Which offsets are to be forgotten.
#[derive(Clone, Debug)]
pub struct DeleteOffsets {
    /// The group.
    pub group: String,
    /// By topic.
    pub topics: Vec<(String, Vec<i32>)>,
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// NONE, or GROUP_ID_NOT_FOUND.
    pub error_code: ErrorCode,
    /// Why, for people.
    pub error_message: Option<String>,
    /// Kafka's name of the state.
    pub state: &'static str,
    /// What the members agree on being.
    pub protocol_type: String,
    /// What they agreed on.
    pub protocol: String,
    /// Who is in it.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// For static membership.
    pub instance_id: Option<String>,
    /// Who it is.
    pub caller: Caller,
    /// What it offered in the protocol agreed on.
    pub metadata: Vec<u8>,
    /// What the leader gave it.
    pub assignment: Vec<u8>,
}

/// Which groups are wanted. Empty lists are all.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// In these states, in any case.
    pub states: Vec<String>,
    /// Of these types, in any case.
    pub types: Vec<String>,
}

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub group: String,
    /// What its members agree on being.
    pub protocol_type: String,
    /// Kafka's name of the state.
    pub state: &'static str,
    /// Kafka's name of the type.
    pub kind: &'static str,
}

/// A member of a consumer group reports.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// The group.
    pub group: String,
    /// The member; empty from clients that let the broker choose.
    pub member_id: String,
    /// The epoch it is in; 0 joins, -1 leaves, -2 leaves for a while.
    pub epoch: i32,
    /// For static membership.
    pub instance_id: Option<String>,
    /// Where it runs.
    pub rack_id: Option<String>,
    /// How long it may take to give up partitions; -1 is as before.
    pub rebalance_timeout_ms: i32,
    /// Who asks.
    pub caller: Caller,
    /// Topics by name; `None` is as before.
    pub topics: Option<Vec<String>>,
    /// Topics by expression; `None` is as before, an empty one is none.
    pub pattern: Option<String>,
    /// What expressions stand for, where that was asked for.
    pub matched: Option<Matched>,
    /// The assignor it wants; `None` is as before.
    pub assignor: Option<String>,
    /// What it has; `None` is as before.
    pub owned: Option<Partitions>,
    /// The id for a member without one.
    pub fresh_id: Uuid,
    /// The client must choose its own id (ConsumerGroupHeartbeat 1, KIP-1082).
    pub chooses_id: bool,
}

impl Commit {
    /// About what its records take, each with the names of its group and topic.
    pub fn bytes(&self) -> usize {
        let of_topic = |topic: &CommitTopic| {
            let metadata = topic.partitions.iter().map(|one| one.metadata.len());
            let count = topic.partitions.len();
            GroupRecord::offsets_bytes(&self.group, &topic.name, count, metadata.sum())
        };
        self.topics.iter().map(of_topic).sum()
    }
}

impl Beat {
    /// Whether it says what the member reads.
    pub fn describes(&self) -> bool {
        self.topics.is_some() || self.pattern.is_some()
    }
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerDescribed {
    /// NONE, or GROUP_ID_NOT_FOUND.
    pub error_code: ErrorCode,
    /// Why, for people.
    pub error_message: Option<String>,
    /// Kafka's name of the state.
    pub state: &'static str,
    /// The group's epoch.
    pub epoch: i32,
    /// The epoch of its target assignment.
    pub target_epoch: i32,
    /// The assignor in use.
    pub assignor: String,
    /// Who is in it.
    pub members: Vec<ConsumerDescribedMember>,
}

impl ConsumerDescribed {
    /// There is nothing to show.
    pub fn error(error_code: ErrorCode, message: Option<String>) -> ConsumerDescribed {
        ConsumerDescribed {
            error_code,
            error_message: message,
            state: "",
            epoch: 0,
            target_epoch: 0,
            assignor: String::new(),
            members: Vec::new(),
        }
    }
}

/// A member as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerDescribedMember {
    /// Its id.
    pub member_id: String,
    /// As it described itself.
    pub about: ConsumerGroupMemberMetadataValue,
    /// Its epoch.
    pub epoch: i32,
    /// What it has.
    pub assigned: Vec<TopicAssignment>,
    /// What it shall have.
    pub target: Vec<TopicAssignment>,
}

/// Partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAssignment {
    /// The topic's id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The partitions.
    pub partitions: Vec<i32>,
}

impl Answer for Reply {
    fn refused(code: ErrorCode) -> Reply {
        Reply::Refused(code)
    }
}

impl Reply {
    /// The code of an answer that is not the one that was asked for.
    pub fn refusal(&self) -> ErrorCode {
        match self {
            Reply::Refused(code) => *code,
            _ => ErrorCode::UnknownServerError,
        }
    }
}

//! What is written to `__consumer_offsets`: Kafka's keys and values, as one type.

use bytes::Bytes;
use reka_protocol::messages::coordinator::Value;
use reka_protocol::messages::coordinator::consumer_group::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
};
use reka_protocol::messages::coordinator::group::{GroupMetadataValue, MemberMetadata};
use reka_protocol::messages::coordinator::key::OffsetsKey;
use reka_protocol::messages::coordinator::offset::OffsetCommitValue;
use reka_protocol::{DecodeError, EncodeError};

/// Versions that Apache Kafka writes. The older one of offsets is for those that carry their own
/// time of expiry.
const OFFSET_VERSION: i16 = 4;
const OFFSET_WITH_EXPIRY_VERSION: i16 = 1;
const CLASSIC_GROUP_VERSION: i16 = 3;
const CONSUMER_GROUP_VERSION: i16 = 0;

/// A record. Without a value it is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRecord {
    /// What it is about.
    pub key: OffsetsKey,
    /// What is so from now on.
    pub value: Option<GroupValue>,
}

/// The value of a record, by the type of its key.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupValue {
    /// A committed offset.
    Offset(OffsetCommitValue),
    /// A group of the classic protocol.
    Classic(GroupMetadataValue),
    /// A consumer group's epoch.
    Epoch(ConsumerGroupMetadataValue),
    /// Its topics, as older brokers wrote them.
    Topics(ConsumerGroupPartitionMetadataValue),
    /// A member of it.
    Member(Box<ConsumerGroupMemberMetadataValue>),
    /// The epoch of its target assignment.
    TargetEpoch(ConsumerGroupTargetAssignmentMetadataValue),
    /// What a member shall have.
    Target(ConsumerGroupTargetAssignmentMemberValue),
    /// What a member has.
    Current(ConsumerGroupCurrentMemberAssignmentValue),
    /// What an expression stands for.
    Pattern(ConsumerGroupRegularExpressionValue),
}

/// Of a record, beside the names of its group and topic and its value.
const RECORD_BYTES: usize = 128;
/// Of an offset, beside its metadata.
const OFFSET_BYTES: usize = 32;

impl GroupRecord {
    /// A committed offset.
    pub fn offset(
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<OffsetCommitValue>,
    ) -> GroupRecord {
        GroupRecord {
            key: OffsetsKey::OffsetCommit {
                group: group.to_owned(),
                topic: topic.to_owned(),
                partition,
            },
            value: value.map(GroupValue::Offset),
        }
    }

    /// A classic group, or its end.
    pub fn classic(group: &str, value: Option<GroupMetadataValue>) -> GroupRecord {
        GroupRecord {
            key: OffsetsKey::GroupMetadata {
                group: group.to_owned(),
            },
            value: value.map(GroupValue::Classic),
        }
    }

    /// Of a consumer group.
    pub fn new(key: OffsetsKey, value: Option<GroupValue>) -> GroupRecord {
        GroupRecord { key, value }
    }

    /// About how many bytes it takes; for sizing batches.
    pub fn bytes(&self) -> usize {
        let value = match &self.value {
            Some(GroupValue::Offset(value)) => value.metadata.len() + OFFSET_BYTES,
            Some(GroupValue::Classic(value)) => {
                let member = |member: &MemberMetadata| {
                    member.subscription.0.len() + member.assignment.0.len() + 128
                };
                value.members.iter().map(member).sum::<usize>() + 64
            }
            Some(GroupValue::Member(value)) => {
                let names = value.subscribed_topic_names.iter();
                let classic = value.classic_member_metadata.iter();
                let offers = classic.flat_map(|classic| &classic.supported_protocols);
                let texts = [
                    &value.instance_id,
                    &value.rack_id,
                    &value.subscribed_topic_regex,
                    &value.server_assignor,
                ];
                let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
                names.map(|name| name.len() + 4).sum::<usize>()
                    + offers
                        .map(|offer| offer.name.len() + offer.metadata.0.len() + 16)
                        .sum::<usize>()
                    + texts
                    + value.client_id.len()
                    + value.client_host.len()
                    + 256
            }
            Some(GroupValue::Target(value)) => {
                let topics = value.topic_partitions.iter();
                topics.map(|topic| topic.partitions.len() * 4 + 20).sum()
            }
            Some(GroupValue::Current(value)) => {
                let assigned = value.assigned_partitions.iter();
                let topics = assigned.chain(&value.partitions_pending_revocation);
                topics.map(|topic| topic.partitions.len() * 8 + 20).sum()
            }
            Some(GroupValue::Pattern(value)) => {
                value
                    .topics
                    .iter()
                    .map(|name| name.len() + 4)
                    .sum::<usize>()
                    + 32
            }
            Some(GroupValue::Topics(_) | GroupValue::Epoch(_) | GroupValue::TargetEpoch(_)) => 32,
            None => 0,
        };
        value + self.key_bytes()
    }

    /// About how many bytes the key takes, with what every record has.
    fn key_bytes(&self) -> usize {
        let more = match &self.key {
            OffsetsKey::OffsetCommit { topic, .. } => topic.len(),
            OffsetsKey::ConsumerGroupMemberMetadata { member_id, .. }
            | OffsetsKey::ConsumerGroupTargetAssignmentMember { member_id, .. }
            | OffsetsKey::ConsumerGroupCurrentMemberAssignment { member_id, .. } => member_id.len(),
            OffsetsKey::ConsumerGroupRegularExpression {
                regular_expression, ..
            } => regular_expression.len(),
            _ => 0,
        };
        RECORD_BYTES + self.group().len() + more
    }

    /// About how many bytes so many records of offsets take, which have this much metadata in all.
    pub fn offsets_bytes(group: &str, topic: &str, offsets: usize, metadata: usize) -> usize {
        offsets * (RECORD_BYTES + group.len() + topic.len() + OFFSET_BYTES) + metadata
    }

    /// Whether the group may already have gone on as if this were written. True of all but
    /// offsets: a classic group is the source of its records, and a consumer group remembers what
    /// it has looked at.
    pub fn is_ahead_of_log(&self) -> bool {
        !matches!(self.key, OffsetsKey::OffsetCommit { .. })
    }

    /// The group it is about.
    pub fn group(&self) -> &str {
        match &self.key {
            OffsetsKey::OffsetCommit { group, .. } | OffsetsKey::GroupMetadata { group } => group,
            OffsetsKey::ConsumerGroupMetadata { group_id }
            | OffsetsKey::ConsumerGroupPartitionMetadata { group_id }
            | OffsetsKey::ConsumerGroupMemberMetadata { group_id, .. }
            | OffsetsKey::ConsumerGroupTargetAssignmentMetadata { group_id }
            | OffsetsKey::ConsumerGroupTargetAssignmentMember { group_id, .. }
            | OffsetsKey::ConsumerGroupCurrentMemberAssignment { group_id, .. }
            | OffsetsKey::ConsumerGroupRegularExpression { group_id, .. } => group_id,
        }
    }

    /// The consumer group it is about, if it is about one.
    pub fn consumer_group(&self) -> Option<&str> {
        match &self.key {
            OffsetsKey::OffsetCommit { .. } | OffsetsKey::GroupMetadata { .. } => None,
            _ => Some(self.group()),
        }
    }

    /// Reads a record; `None` for those of share and streams groups and of newer brokers, which
    /// stay in the log for whoever wrote them.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<GroupRecord>, DecodeError> {
        let Some(key) = OffsetsKey::decode(key)? else {
            return Ok(None);
        };
        let value = match value {
            None => None,
            Some(value) => Some(match &key {
                OffsetsKey::OffsetCommit { .. } => GroupValue::Offset(Value::decode(value)?),
                OffsetsKey::GroupMetadata { .. } => GroupValue::Classic(Value::decode(value)?),
                OffsetsKey::ConsumerGroupMetadata { .. } => {
                    GroupValue::Epoch(Value::decode(value)?)
                }
                OffsetsKey::ConsumerGroupPartitionMetadata { .. } => {
                    GroupValue::Topics(Value::decode(value)?)
                }
                OffsetsKey::ConsumerGroupMemberMetadata { .. } => {
                    let mut member = ConsumerGroupMemberMetadataValue::decode(value)?;
                    // Written so by our earlier releases for none at all; Apache Kafka has no member that
                    // speaks the classic protocol in no way.
                    if member.classic_member_metadata == Some(ClassicMemberMetadata::EMPTY) {
                        member.classic_member_metadata = None;
                    }
                    GroupValue::Member(Box::new(member))
                }
                OffsetsKey::ConsumerGroupTargetAssignmentMetadata { .. } => {
                    GroupValue::TargetEpoch(Value::decode(value)?)
                }
                OffsetsKey::ConsumerGroupTargetAssignmentMember { .. } => {
                    GroupValue::Target(Value::decode(value)?)
                }
                OffsetsKey::ConsumerGroupCurrentMemberAssignment { .. } => {
                    GroupValue::Current(Value::decode(value)?)
                }
                OffsetsKey::ConsumerGroupRegularExpression { .. } => {
                    GroupValue::Pattern(Value::decode(value)?)
                }
            }),
        };
        Ok(Some(GroupRecord { key, value }))
    }

    /// Key and value as they are written.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let value = match &self.value {
            None => None,
            Some(GroupValue::Offset(value)) => Some(match value.expire_timestamp {
                -1 => value.encode(OFFSET_VERSION)?,
                _ => value.encode(OFFSET_WITH_EXPIRY_VERSION)?,
            }),
            Some(GroupValue::Classic(value)) => Some(value.encode(CLASSIC_GROUP_VERSION)?),
            Some(GroupValue::Epoch(value)) => Some(value.encode(CONSUMER_GROUP_VERSION)?),
            Some(GroupValue::Topics(value)) => Some(value.encode(CONSUMER_GROUP_VERSION)?),
            Some(GroupValue::Member(value)) => Some(value.encode(CONSUMER_GROUP_VERSION)?),
            Some(GroupValue::TargetEpoch(value)) => Some(value.encode(CONSUMER_GROUP_VERSION)?),
            Some(GroupValue::Target(value)) => Some(value.encode(CONSUMER_GROUP_VERSION)?),
            Some(GroupValue::Current(value)) => Some(value.encode(CONSUMER_GROUP_VERSION)?),
            Some(GroupValue::Pattern(value)) => Some(value.encode(CONSUMER_GROUP_VERSION)?),
        };
        Ok((self.key.encode()?, value))
    }
}

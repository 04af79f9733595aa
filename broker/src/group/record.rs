//! What is written to `__consumer_offsets`: Kafka's keys and values, as one type.

use bytes::Bytes;
use reka_protocol::messages::coordinator::Value;
use reka_protocol::messages::coordinator::group::{GroupMetadataValue, MemberMetadata};
use reka_protocol::messages::coordinator::key::OffsetsKey;
use reka_protocol::messages::coordinator::offset::OffsetCommitValue;
use reka_protocol::{DecodeError, EncodeError};

/// Versions that Apache Kafka writes. The older one of offsets is for those that carry their own
/// time of expiry.
const OFFSET_VERSION: i16 = 3;
const OFFSET_WITH_EXPIRY_VERSION: i16 = 1;
const CLASSIC_GROUP_VERSION: i16 = 3;

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
}

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

    /// About how many bytes it takes; for sizing batches.
    pub fn bytes(&self) -> usize {
        let value = match &self.value {
            Some(GroupValue::Offset(value)) => value.metadata.len() + 32,
            Some(GroupValue::Classic(value)) => {
                let member = |member: &MemberMetadata| {
                    member.subscription.0.len() + member.assignment.0.len() + 128
                };
                value.members.iter().map(member).sum::<usize>() + 64
            }
            None => 0,
        };
        value + 128
    }

    /// Whether the group may already be in the state this record says, before it is written. True
    /// of classic groups, which are the source of their records.
    pub fn is_ahead_of_log(&self) -> bool {
        matches!(self.value, Some(GroupValue::Classic(_)))
    }

    /// Reads a record; `None` for those of share and streams groups and of newer brokers, which
    /// stay in the log for whoever wrote them.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<GroupRecord>, DecodeError> {
        let Some(key) = OffsetsKey::decode(key)? else {
            return Ok(None);
        };
        let value = match (&key, value) {
            (_, None) => None,
            (OffsetsKey::OffsetCommit { .. }, Some(value)) => {
                Some(GroupValue::Offset(Value::decode(value)?))
            }
            (OffsetsKey::GroupMetadata { .. }, Some(value)) => {
                Some(GroupValue::Classic(Value::decode(value)?))
            }
            (_, Some(_)) => return Ok(None),
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
        };
        Ok((self.key.encode()?, value))
    }
}

//! Record keys: a type, then its fields with fixed-width lengths.
//!
//! A reader meets types it does not know, those of share and streams groups and of newer brokers.
//! They decode to `None`: skip the record, and leave it in the log for whoever wrote it.

use bytes::{Bytes, BytesMut};

use crate::error::{DecodeError, EncodeError, InField, Read};
use crate::wire::{Put, Reader, Writer};

/// A key of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OffsetsKey {
    /// 1, and 0 in old logs: what a group has committed for a partition.
    OffsetCommit {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// 2: a classic group.
    GroupMetadata {
        /// The group.
        group: String,
    },
    /// 3: a KIP-848 group.
    ConsumerGroupMetadata {
        /// The group.
        group_id: String,
    },
    /// 4: its subscribed topics.
    ConsumerGroupPartitionMetadata {
        /// The group.
        group_id: String,
    },
    /// 5: a member of it.
    ConsumerGroupMemberMetadata {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
    },
    /// 6: its target assignment.
    ConsumerGroupTargetAssignmentMetadata {
        /// The group.
        group_id: String,
    },
    /// 7: a member's part of that.
    ConsumerGroupTargetAssignmentMember {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
    },
    /// 8: what a member has.
    ConsumerGroupCurrentMemberAssignment {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
    },
    /// 16: an expression its members subscribe by.
    ConsumerGroupRegularExpression {
        /// The group.
        group_id: String,
        /// The expression.
        regular_expression: String,
    },
}

impl OffsetsKey {
    /// Reads a key; `None` for types this crate does not know.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let read = || -> Read<Option<Self>> {
            let mut reader = Reader::new(bytes, 0, false);
            let key_type = reader.i16().field("type")?;
            let Some(key) = Self::read(key_type, &mut reader)? else {
                return Ok(None);
            };
            reader.finish()?;
            Ok(Some(key))
        };
        read().map_err(|fault| fault.of("consumer offsets key", key_type(bytes)))
    }

    fn read(key_type: i16, reader: &mut Reader<'_>) -> Read<Option<Self>> {
        let mut text = |field| reader.string().map(str::to_owned).field(field);
        Ok(Some(match key_type {
            0 | 1 => OffsetsKey::OffsetCommit {
                group: text("group")?,
                topic: text("topic")?,
                partition: reader.i32().field("partition")?,
            },
            2 => OffsetsKey::GroupMetadata {
                group: text("group")?,
            },
            3 => OffsetsKey::ConsumerGroupMetadata {
                group_id: text("group_id")?,
            },
            4 => OffsetsKey::ConsumerGroupPartitionMetadata {
                group_id: text("group_id")?,
            },
            5 => OffsetsKey::ConsumerGroupMemberMetadata {
                group_id: text("group_id")?,
                member_id: text("member_id")?,
            },
            6 => OffsetsKey::ConsumerGroupTargetAssignmentMetadata {
                group_id: text("group_id")?,
            },
            7 => OffsetsKey::ConsumerGroupTargetAssignmentMember {
                group_id: text("group_id")?,
                member_id: text("member_id")?,
            },
            8 => OffsetsKey::ConsumerGroupCurrentMemberAssignment {
                group_id: text("group_id")?,
                member_id: text("member_id")?,
            },
            16 => OffsetsKey::ConsumerGroupRegularExpression {
                group_id: text("group_id")?,
                regular_expression: text("regular_expression")?,
            },
            _ => return Ok(None),
        }))
    }

    /// The type this key is written with.
    pub fn key_type(&self) -> i16 {
        match self {
            OffsetsKey::OffsetCommit { .. } => 1,
            OffsetsKey::GroupMetadata { .. } => 2,
            OffsetsKey::ConsumerGroupMetadata { .. } => 3,
            OffsetsKey::ConsumerGroupPartitionMetadata { .. } => 4,
            OffsetsKey::ConsumerGroupMemberMetadata { .. } => 5,
            OffsetsKey::ConsumerGroupTargetAssignmentMetadata { .. } => 6,
            OffsetsKey::ConsumerGroupTargetAssignmentMember { .. } => 7,
            OffsetsKey::ConsumerGroupCurrentMemberAssignment { .. } => 8,
            OffsetsKey::ConsumerGroupRegularExpression { .. } => 16,
        }
    }

    /// A whole key.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        encode("consumer offsets key", self.key_type(), |out| match self {
            OffsetsKey::OffsetCommit {
                group,
                topic,
                partition,
            } => {
                out.string(group)?;
                out.string(topic)?;
                out.i32(*partition);
                Ok(())
            }
            OffsetsKey::GroupMetadata { group: group_id }
            | OffsetsKey::ConsumerGroupMetadata { group_id }
            | OffsetsKey::ConsumerGroupPartitionMetadata { group_id }
            | OffsetsKey::ConsumerGroupTargetAssignmentMetadata { group_id } => {
                out.string(group_id)
            }
            OffsetsKey::ConsumerGroupMemberMetadata {
                group_id,
                member_id: second,
            }
            | OffsetsKey::ConsumerGroupTargetAssignmentMember {
                group_id,
                member_id: second,
            }
            | OffsetsKey::ConsumerGroupCurrentMemberAssignment {
                group_id,
                member_id: second,
            }
            | OffsetsKey::ConsumerGroupRegularExpression {
                group_id,
                regular_expression: second,
            } => {
                out.string(group_id)?;
                out.string(second)
            }
        })
    }
}

/// A key of `__transaction_state`, type 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransactionLogKey {
    /// Whose transactions.
    pub transactional_id: String,
}

impl TransactionLogKey {
    /// Reads a key; `None` for types this crate does not know.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let read = || -> Read<Option<Self>> {
            let mut reader = Reader::new(bytes, 0, false);
            if reader.i16().field("type")? != 0 {
                return Ok(None);
            }
            let transactional_id = reader.string().field("transactional_id")?.to_owned();
            reader.finish()?;
            Ok(Some(TransactionLogKey { transactional_id }))
        };
        read().map_err(|fault| fault.of("transaction log key", key_type(bytes)))
    }

    /// A whole key.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        encode("transaction log key", 0, |out| {
            out.string(&self.transactional_id)
        })
    }
}

/// For error messages; -1 where there is none.
fn key_type(bytes: &[u8]) -> i16 {
    bytes
        .first_chunk()
        .map_or(-1, |bytes| i16::from_be_bytes(*bytes))
}

fn encode(
    message: &str,
    key_type: i16,
    fields: impl FnOnce(&mut Writer<'_>) -> Put,
) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out, false);
    writer.i16(key_type);
    fields(&mut writer).map_err(|reason| EncodeError {
        message: message.to_owned(),
        version: key_type,
        reason,
    })?;
    Ok(out.freeze())
}

//! Groups of KIP-848: keys 3 to 8 and 16. All values have one version and grow by tagged fields.

use uuid::Uuid;

use super::record::{Field, Opaque, record, values};
use crate::error::Read;
use crate::wire::{Put, Reader, Writer};

record! {
    /// Key 3: the group.
    pub struct ConsumerGroupMetadataValue {
        /// Grows when members or their subscriptions change.
        epoch: i32,
    }
    tagged {
        /// Hash of the subscribed topics, 0 for none; since Kafka 4.1.
        0: metadata_hash: i64 = 0,
    }
}

record! {
    /// Key 4: the topics the group has subscribed to. Kafka 4.1 reads it and keeps a hash instead.
    pub struct ConsumerGroupPartitionMetadataValue {
        /// By topic.
        topics: Vec<TopicMetadata>,
    }
}

record! {
    /// A subscribed topic.
    pub struct TopicMetadata {
        /// Its id.
        topic_id: Uuid,
        /// Its name.
        topic_name: String,
        /// How many partitions it has.
        num_partitions: i32,
        /// The racks of its partitions; empty since Kafka 4.0.
        partition_metadata: Vec<PartitionMetadata>,
    }
}

record! {
    /// A partition and its racks.
    pub struct PartitionMetadata {
        /// The partition.
        partition: i32,
        /// The racks of its replicas.
        racks: Vec<String>,
    }
}

record! {
    /// Key 5: a member, as it described itself.
    pub struct ConsumerGroupMemberMetadataValue {
        /// For static membership.
        instance_id: Option<String>,
        /// Where it runs.
        rack_id: Option<String>,
        /// As in the request header.
        client_id: String,
        /// Where it connects from.
        client_host: String,
        /// Topics by name.
        subscribed_topic_names: Vec<String>,
        /// Topics by expression.
        subscribed_topic_regex: Option<String>,
        /// How long it may take to give up partitions, or -1.
        rebalance_timeout_ms: i32,
        /// The assignor it wants.
        server_assignor: Option<String>,
    }
    tagged {
        /// Set while the member still speaks the classic protocol. In Apache Kafka's schema a value that
        /// lacks the field has an empty struct there, not none: none is written.
        0: classic_member_metadata: Option<ClassicMemberMetadata> = Some(ClassicMemberMetadata::EMPTY),
    }
}

record! {
    /// What a member of the classic protocol needs on top.
    pub struct ClassicMemberMetadata {
        /// How long it may be silent.
        session_timeout_ms: i32,
        /// The protocols it offers.
        supported_protocols: Vec<ClassicProtocol>,
    }
}

record! {
    /// A protocol of the classic kind.
    pub struct ClassicProtocol {
        /// Its name.
        name: String,
        /// The member's subscription in it.
        metadata: Opaque,
    }
}

impl ClassicMemberMetadata {
    /// What a value has that does not name one.
    pub const EMPTY: ClassicMemberMetadata = ClassicMemberMetadata {
        session_timeout_ms: 0,
        supported_protocols: Vec::new(),
    };
}

/// A struct that may be null, as a tagged field: a varint that is 0, or another and the struct.
impl Field for Option<ClassicMemberMetadata> {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        if reader.uvarint()? == 0 {
            return Ok(None);
        }
        ClassicMemberMetadata::read(reader, version).map(Some)
    }

    fn put(&self, out: &mut Writer<'_>, version: i16) -> Put {
        match self {
            Some(metadata) => {
                out.uvarint(1);
                metadata.put(out, version)
            }
            None => {
                out.uvarint(0);
                Ok(())
            }
        }
    }
}

record! {
    /// Key 6: the assignment the group moves to.
    pub struct ConsumerGroupTargetAssignmentMetadataValue {
        /// The group epoch it was made for.
        assignment_epoch: i32,
    }
    tagged {
        /// When it was made, or 0; since Kafka 4.3.
        0: assignment_timestamp: i64 = 0,
    }
}

record! {
    /// Key 7: what a member shall have.
    pub struct ConsumerGroupTargetAssignmentMemberValue {
        /// By topic.
        topic_partitions: Vec<TargetTopicPartitions>,
    }
}

record! {
    /// Partitions of a topic a member shall have.
    pub struct TargetTopicPartitions {
        /// The topic.
        topic_id: Uuid,
        /// Its partitions.
        partitions: Vec<i32>,
    }
}

record! {
    /// Key 8: what a member has.
    pub struct ConsumerGroupCurrentMemberAssignmentValue {
        /// The epoch expected in its next heartbeat.
        member_epoch: i32,
        /// The epoch before: accepted too, as the answer with the new one may have been lost.
        previous_member_epoch: i32,
        /// Kafka's number of the member's state.
        state: i8,
        /// What it has.
        assigned_partitions: Vec<CurrentTopicPartitions>,
        /// What it is asked to give up.
        partitions_pending_revocation: Vec<CurrentTopicPartitions>,
    }
}

record! {
    /// Partitions of a topic a member has.
    pub struct CurrentTopicPartitions {
        /// The topic.
        topic_id: Uuid,
        /// Its partitions.
        partitions: Vec<i32>,
    }
    tagged {
        /// When each partition came to the member, in the order of `partitions` (KIP-1251).
        0: assignment_epochs: Option<Vec<i32>> = None,
    }
}

record! {
    /// Key 16: the topics a subscription by expression stood for when it was last looked at.
    pub struct ConsumerGroupRegularExpressionValue {
        /// Their names.
        topics: Vec<String>,
        /// The metadata version looked at.
        version_seen: i64,
        /// When, in milliseconds since 1970.
        timestamp: i64,
    }
}

values! {
    ConsumerGroupMetadataValue: 0..=0, flexible from 0;
    ConsumerGroupPartitionMetadataValue: 0..=0, flexible from 0;
    ConsumerGroupMemberMetadataValue: 0..=0, flexible from 0;
    ConsumerGroupTargetAssignmentMetadataValue: 0..=0, flexible from 0;
    ConsumerGroupTargetAssignmentMemberValue: 0..=0, flexible from 0;
    ConsumerGroupCurrentMemberAssignmentValue: 0..=0, flexible from 0;
    ConsumerGroupRegularExpressionValue: 0..=0, flexible from 0;
}

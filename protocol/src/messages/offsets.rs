//! Requests of OffsetCommit and OffsetFetch in version 10, which call topics by id.
//!
//! The codec crate has the fields and refuses the version; of the answers it knows it. Read and
//! written here into the crate's own structs, so that a handler and a client see one type whatever
//! the version. Names are left empty.
//!
//! ```text
//! commit  group | epoch i32 | member | instance? | [ topic uuid | [ partition i32 | offset i64
//!         | leader epoch i32 | metadata? | tags ] | tags ] | tags
//! fetch   [ group | member? | epoch i32 | [ topic uuid | [ partition i32 ] | tags ]? | tags ]
//!         | require stable bool | tags
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};

use crate::error::{InField, Read, Unencodable};
use crate::wire::{Put, Reader, Writer, slice_text};

/// Tagged fields nobody knows, by tag.
type Tags = BTreeMap<i32, Bytes>;

/// The fewest bytes a topic takes: an id, two counts.
const TOPIC_BYTES_MIN: usize = 18;
/// The fewest bytes a committed partition takes: its numbers, a length, a count.
const COMMITTED_BYTES_MIN: usize = 18;
/// The fewest bytes a group takes: two lengths, an epoch, two counts.
const GROUP_BYTES_MIN: usize = 8;
const INDEX_BYTES: usize = 4;

/// Reads an OffsetCommit body.
pub(crate) fn read_commit(frame: &Bytes, reader: &mut Reader<'_>) -> Read<OffsetCommitRequest> {
    let text = |text: &str| slice_text(frame, text);
    let group_id = GroupId(text(reader.string().field("group_id")?));
    let epoch = reader.i32().field("generation_id_or_member_epoch")?;
    let member_id = text(reader.string().field("member_id")?);
    let instance_id = reader.nullable_string().field("group_instance_id")?;
    let topics = array(reader, TOPIC_BYTES_MIN, |reader| {
        let topic_id = reader.uuid().field("topic_id")?;
        let partitions = array(reader, COMMITTED_BYTES_MIN, |reader| {
            let index = reader.i32().field("partition_index")?;
            let offset = reader.i64().field("committed_offset")?;
            let leader_epoch = reader.i32().field("committed_leader_epoch")?;
            let metadata = reader.nullable_string().field("committed_metadata")?;
            Ok(OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(leader_epoch)
                .with_committed_metadata(metadata.map(text))
                .with_unknown_tagged_fields(tags(frame, reader)?))
        });
        Ok(OffsetCommitRequestTopic::default()
            .with_topic_id(topic_id)
            .with_partitions(partitions.field("partitions")?)
            .with_unknown_tagged_fields(tags(frame, reader)?))
    });
    Ok(OffsetCommitRequest::default()
        .with_group_id(group_id)
        .with_generation_id_or_member_epoch(epoch)
        .with_member_id(member_id)
        .with_group_instance_id(instance_id.map(text))
        .with_topics(topics.field("topics")?)
        .with_unknown_tagged_fields(tags(frame, reader)?))
}

/// Writes an OffsetCommit body.
pub(crate) fn put_commit(request: &OffsetCommitRequest, out: &mut Writer<'_>) -> Put {
    out.string(&request.group_id)?;
    out.i32(request.generation_id_or_member_epoch);
    out.string(&request.member_id)?;
    out.nullable_string(request.group_instance_id.as_deref())?;
    out.array(&request.topics, |out, topic| {
        out.uuid(topic.topic_id);
        out.array(&topic.partitions, |out, partition| {
            out.i32(partition.partition_index);
            out.i64(partition.committed_offset);
            out.i32(partition.committed_leader_epoch);
            out.nullable_string(partition.committed_metadata.as_deref())?;
            put_tags(&partition.unknown_tagged_fields, out)
        })?;
        put_tags(&topic.unknown_tagged_fields, out)
    })?;
    put_tags(&request.unknown_tagged_fields, out)
}

/// Reads an OffsetFetch body.
pub(crate) fn read_fetch(frame: &Bytes, reader: &mut Reader<'_>) -> Read<OffsetFetchRequest> {
    let text = |text: &str| slice_text(frame, text);
    let groups = array(reader, GROUP_BYTES_MIN, |reader| {
        let group_id = GroupId(text(reader.string().field("group_id")?));
        let member_id = reader.nullable_string().field("member_id")?;
        let epoch = reader.i32().field("member_epoch")?;
        let topics = nullable_array(reader, TOPIC_BYTES_MIN, |reader| {
            let topic_id = reader.uuid().field("topic_id")?;
            let indexes = array(reader, INDEX_BYTES, Reader::i32).field("partition_indexes")?;
            Ok(OffsetFetchRequestTopics::default()
                .with_topic_id(topic_id)
                .with_partition_indexes(indexes)
                .with_unknown_tagged_fields(tags(frame, reader)?))
        });
        Ok(OffsetFetchRequestGroup::default()
            .with_group_id(group_id)
            .with_member_id(member_id.map(text))
            .with_member_epoch(epoch)
            .with_topics(topics.field("topics")?)
            .with_unknown_tagged_fields(tags(frame, reader)?))
    });
    let groups = groups.field("groups")?;
    let require_stable = reader.i8().field("require_stable")? != 0;
    Ok(OffsetFetchRequest::default()
        .with_groups(groups)
        .with_require_stable(require_stable)
        .with_unknown_tagged_fields(tags(frame, reader)?))
}

/// Writes an OffsetFetch body.
pub(crate) fn put_fetch(request: &OffsetFetchRequest, out: &mut Writer<'_>) -> Put {
    out.array(&request.groups, |out, group| {
        out.string(&group.group_id)?;
        out.nullable_string(group.member_id.as_deref())?;
        out.i32(group.member_epoch);
        match &group.topics {
            None => out.null(),
            Some(topics) => out.array(topics, |out, topic| {
                out.uuid(topic.topic_id);
                out.array(&topic.partition_indexes, |out, index| {
                    out.i32(*index);
                    Ok(())
                })?;
                put_tags(&topic.unknown_tagged_fields, out)
            })?,
        }
        put_tags(&group.unknown_tagged_fields, out)
    })?;
    out.i8(i8::from(request.require_stable));
    put_tags(&request.unknown_tagged_fields, out)
}

fn array<'a, T>(
    reader: &mut Reader<'a>,
    element_bytes_min: usize,
    element: impl FnMut(&mut Reader<'a>) -> Read<T>,
) -> Read<Vec<T>> {
    let count = reader.count(element_bytes_min)?;
    elements(reader, count, element)
}

fn nullable_array<'a, T>(
    reader: &mut Reader<'a>,
    element_bytes_min: usize,
    element: impl FnMut(&mut Reader<'a>) -> Read<T>,
) -> Read<Option<Vec<T>>> {
    match reader.nullable_count(element_bytes_min)? {
        Some(count) => elements(reader, count, element).map(Some),
        None => Ok(None),
    }
}

fn elements<'a, T>(
    reader: &mut Reader<'a>,
    count: usize,
    mut element: impl FnMut(&mut Reader<'a>) -> Read<T>,
) -> Read<Vec<T>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(element(reader)?);
    }
    Ok(all)
}

fn tags(frame: &Bytes, reader: &mut Reader<'_>) -> Read<Tags> {
    let mut found = Tags::new();
    reader.unknown_tags(|tag, content| {
        found.insert(tag as i32, frame.slice_ref(content));
    })?;
    Ok(found)
}

fn put_tags(tags: &Tags, out: &mut Writer<'_>) -> Put {
    out.tag_count(u32::try_from(tags.len()).map_err(|_| Unencodable::TooLong(tags.len()))?);
    tags.iter().try_for_each(|(tag, content)| {
        out.tag(*tag as u32, |out| {
            out.raw(content);
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::StrBytes;
    use uuid::Uuid;

    use super::*;

    fn text(text: &str) -> StrBytes {
        StrBytes::from_string(text.to_owned())
    }

    /// Written out by hand from Kafka's definition of the message.
    #[test]
    fn a_commit_by_id_has_these_bytes() {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(1)
            .with_committed_offset(7)
            .with_committed_leader_epoch(2)
            .with_committed_metadata(None);
        let topic = OffsetCommitRequestTopic::default()
            .with_topic_id(Uuid::from_bytes([9; 16]))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id_or_member_epoch(3)
            .with_member_id(text("m"))
            .with_topics(vec![topic]);
        let expected = [
            &[2, b'g', 0, 0, 0, 3, 2, b'm', 0, 2][..],
            &[9; 16],
            &[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0],
            &[0, 0, 0],
        ];
        let mut out = BytesMut::new();
        put_commit(&request, &mut Writer::new(&mut out, true)).expect("encodes");
        assert_eq!(out, expected.concat());
        let frame = out.freeze();
        let read = read_commit(&frame, &mut Reader::new(&frame, 0, true)).expect("reads");
        assert_eq!(read, request);
    }

    #[test]
    fn a_fetch_by_id_has_these_bytes() {
        let topic = OffsetFetchRequestTopics::default()
            .with_topic_id(Uuid::from_bytes([9; 16]))
            .with_partition_indexes(vec![1, 2]);
        let some = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text("g")))
            .with_member_id(Some(text("m")))
            .with_member_epoch(3)
            .with_topics(Some(vec![topic]));
        let all = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text("h")))
            .with_member_id(None)
            .with_member_epoch(-1)
            .with_topics(None);
        let request = OffsetFetchRequest::default()
            .with_groups(vec![some, all])
            .with_require_stable(true);
        let expected = [
            &[3, 2, b'g', 2, b'm', 0, 0, 0, 3, 2][..],
            &[9; 16],
            &[3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0],
            &[2, b'h', 0, 255, 255, 255, 255, 0, 0],
            &[1, 0],
        ];
        let mut out = BytesMut::new();
        put_fetch(&request, &mut Writer::new(&mut out, true)).expect("encodes");
        assert_eq!(out, expected.concat());
        let frame = out.freeze();
        let read = read_fetch(&frame, &mut Reader::new(&frame, 0, true)).expect("reads");
        assert_eq!(read, request);
    }
}

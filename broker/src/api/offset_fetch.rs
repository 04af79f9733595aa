//! OffsetFetch (9), versions 1-10.
//!
//! | version | adds |
//! |---|---|
//! | 2 | null asks for all, an error code of the whole |
//! | 3 | throttle time |
//! | 5 | leader epochs (KIP-320) |
//! | 6 | flexible encoding |
//! | 7 | not to be told what an open transaction may change (KIP-447) |
//! | 8 | many groups at once (KIP-709) |
//! | 9 | member epochs (KIP-848) |
//! | 10 | topics by id |
//!
//! Topics whose id is unknown come last in the answer, and without an answer where the group has
//! an error of its own, as in Apache Kafka.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics;
use reka_protocol::kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use reka_protocol::kafka_protocol::messages::{
    GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_raft::MetadataImage;
use uuid::Uuid;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, FetchOffsets, FetchedPartition, FetchedTopic, Reply, WantedTopic};

/// From here on null asks for all, and an error is one of the whole.
const WHOLE_FROM: i16 = 2;
/// From here on many groups are asked at once.
const BATCHED_FROM: i16 = 8;
/// From here on topics are called by id.
const TOPIC_IDS_FROM: i16 = 10;

/// Says how far a group has come.
#[derive(Debug)]
pub struct OffsetFetch;

impl Handler for OffsetFetch {
    type Request = OffsetFetchRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        if call.version >= BATCHED_FROM {
            return batched(&context, call, request).await;
        }
        let topics = request.topics.as_ref().map(|topics| {
            let topics = topics.iter();
            let wanted = topics.map(|t| WantedTopic {
                name: t.name.to_string(),
                id: Uuid::nil(),
                partitions: t.partition_indexes.clone(),
            });
            wanted.collect::<Vec<_>>()
        });
        let fetch = FetchOffsets {
            group: request.group_id.to_string(),
            member: None,
            topics: topics.clone(),
            require_stable: request.require_stable,
        };
        drop(request);
        let response = OffsetFetchResponse::default();
        match ask(&context, fetch).await {
            Ok(topics) => response.with_topics(topics.into_iter().map(single_topic).collect()),
            Err(code) if call.version >= WHOLE_FROM => response.with_error_code(code.code()),
            Err(code) => {
                let each = topics.into_iter().flatten();
                let each = each.map(|topic| single_topic(refused(topic, code)));
                response.with_topics(each.collect())
            }
        }
    }
}

async fn batched(
    context: &Context,
    call: Call,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let by_id = call.version >= TOPIC_IDS_FROM;
    let image = context.services.quorum.image();
    let fetches: Vec<(FetchOffsets, Vec<WantedTopic>)> = request
        .groups
        .iter()
        .map(|group| {
            let (known, unknown) = match &group.topics {
                Some(topics) => sort_out(&image, topics, by_id),
                None => (None, Vec::new()),
            };
            let fetch = FetchOffsets {
                group: group.group_id.to_string(),
                member: group
                    .member_id
                    .as_ref()
                    .map(|member| (member.to_string(), group.member_epoch)),
                topics: known,
                require_stable: request.require_stable,
            };
            (fetch, unknown)
        })
        .collect();
    drop(image);
    drop(request);
    let mut response = OffsetFetchResponse::default();
    for (fetch, unknown) in fetches {
        let id = GroupId(StrBytes::from_string(fetch.group.clone()));
        let group = OffsetFetchResponseGroup::default().with_group_id(id);
        let all = fetch.topics.is_none();
        response.groups.push(match ask(context, fetch).await {
            Ok(mut topics) => {
                if by_id && all {
                    name_by_id(&context.services.quorum.image(), &mut topics);
                }
                let unknown = unknown.into_iter();
                topics.extend(unknown.map(|topic| refused(topic, ErrorCode::UnknownTopicId)));
                group.with_topics(topics.into_iter().map(topic).collect())
            }
            Err(code) => group.with_error_code(code.code()),
        });
    }
    response
}

/// What the group is asked for, and what nobody knows.
fn sort_out(
    image: &MetadataImage,
    topics: &[OffsetFetchRequestTopics],
    by_id: bool,
) -> (Option<Vec<WantedTopic>>, Vec<WantedTopic>) {
    let mut known = Vec::with_capacity(topics.len());
    let mut unknown = Vec::new();
    for topic in topics {
        let mut wanted = WantedTopic {
            name: topic.name.to_string(),
            id: topic.topic_id,
            partitions: topic.partition_indexes.clone(),
        };
        if !by_id {
            known.push(wanted);
            continue;
        }
        match image.topics().by_id(topic.topic_id) {
            Some(topic) => {
                topic.name().clone_into(&mut wanted.name);
                known.push(wanted);
            }
            None => unknown.push(wanted),
        }
    }
    (Some(known), unknown)
}

/// Topics that are gone have no id to be called by, so they are left out.
fn name_by_id(image: &MetadataImage, topics: &mut Vec<FetchedTopic>) {
    topics.retain_mut(|fetched| match image.topics().get(&fetched.name) {
        Some(topic) => {
            fetched.id = topic.id();
            true
        }
        None => false,
    });
}

/// The same code for every partition of a topic.
fn refused(topic: WantedTopic, error_code: ErrorCode) -> FetchedTopic {
    let partitions = topic.partitions.into_iter().map(|index| FetchedPartition {
        index,
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
        error_code,
    });
    FetchedTopic {
        name: topic.name,
        id: topic.id,
        partitions: partitions.collect(),
    }
}

async fn ask(context: &Context, fetch: FetchOffsets) -> Result<Vec<FetchedTopic>, ErrorCode> {
    let group = fetch.group.clone();
    match context.services.groups.ask(&group, Ask::Fetch(fetch)).await {
        Reply::Fetch(fetched) => fetched,
        other => Err(other.refusal()),
    }
}

fn single_topic(fetched: FetchedTopic) -> OffsetFetchResponseTopic {
    let partitions = fetched.partitions.into_iter().map(|partition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.index)
            .with_committed_offset(partition.offset)
            .with_committed_leader_epoch(partition.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(partition.metadata)))
            .with_error_code(partition.error_code.code())
    });
    OffsetFetchResponseTopic::default()
        .with_name(TopicName(StrBytes::from_string(fetched.name)))
        .with_partitions(partitions.collect())
}

fn topic(fetched: FetchedTopic) -> OffsetFetchResponseTopics {
    let partitions = fetched.partitions.into_iter().map(|partition| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(partition.index)
            .with_committed_offset(partition.offset)
            .with_committed_leader_epoch(partition.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(partition.metadata)))
            .with_error_code(partition.error_code.code())
    });
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(StrBytes::from_string(fetched.name)))
        .with_topic_id(fetched.id)
        .with_partitions(partitions.collect())
}

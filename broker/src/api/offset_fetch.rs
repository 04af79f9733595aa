//! OffsetFetch (9), versions 1-9.
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

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use reka_protocol::kafka_protocol::messages::{
    GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, FetchOffsets, FetchedPartition, FetchedTopic, Reply};

/// From here on null asks for all, and an error is one of the whole.
const WHOLE_FROM: i16 = 2;
/// From here on many groups are asked at once.
const BATCHED_FROM: i16 = 8;

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
            return batched(&context, request).await;
        }
        let topics = request.topics.as_ref().map(|topics| {
            let topics = topics.iter();
            let wanted = topics.map(|t| (t.name.to_string(), t.partition_indexes.clone()));
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
                let each = topics.into_iter().flatten().map(|(name, indexes)| {
                    let refused = indexes.into_iter().map(|index| FetchedPartition {
                        index,
                        offset: -1,
                        leader_epoch: -1,
                        metadata: String::new(),
                        error_code: code,
                    });
                    single_topic(FetchedTopic {
                        name,
                        partitions: refused.collect(),
                    })
                });
                response.with_topics(each.collect())
            }
        }
    }
}

async fn batched(context: &Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let fetches: Vec<FetchOffsets> = request
        .groups
        .iter()
        .map(|group| FetchOffsets {
            group: group.group_id.to_string(),
            member: group
                .member_id
                .as_ref()
                .map(|member| (member.to_string(), group.member_epoch)),
            topics: group.topics.as_ref().map(|topics| {
                let topics = topics.iter();
                let wanted = topics.map(|t| (t.name.to_string(), t.partition_indexes.clone()));
                wanted.collect()
            }),
            require_stable: request.require_stable,
        })
        .collect();
    drop(request);
    let mut response = OffsetFetchResponse::default();
    for fetch in fetches {
        let id = GroupId(StrBytes::from_string(fetch.group.clone()));
        let group = OffsetFetchResponseGroup::default().with_group_id(id);
        response.groups.push(match ask(context, fetch).await {
            Ok(topics) => group.with_topics(topics.into_iter().map(topic).collect()),
            Err(code) => group.with_error_code(code.code()),
        });
    }
    response
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
        .with_partitions(partitions.collect())
}

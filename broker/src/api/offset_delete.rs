//! OffsetDelete (47), version 0 (KIP-496).
//!
//! Offsets of topics that a member reads are kept; partitions that do not exist are refused one by
//! one.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{
    OffsetDeleteRequest, OffsetDeleteResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, DeleteOffsets, PartitionCodes, Reply};

/// Forgets how far a group has come.
#[derive(Debug)]
pub struct OffsetDelete;

type Codes = Vec<(String, Vec<(i32, ErrorCode)>)>;

impl Handler for OffsetDelete {
    type Request = OffsetDeleteRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let group = request.group_id.to_string();
        let image = context.services.quorum.image();
        let mut unknown: Codes = Vec::new();
        let mut topics = Vec::new();
        for topic in &request.topics {
            let known = image.topics().get(topic.name.as_str());
            let exists = |index: &i32| known.and_then(|topic| topic.partition(*index)).is_some();
            let indexes = topic.partitions.iter().map(|p| p.partition_index);
            let (there, missing): (Vec<i32>, Vec<i32>) = indexes.partition(exists);
            let name = topic.name.to_string();
            if !missing.is_empty() {
                let code = ErrorCode::UnknownTopicOrPartition;
                let missing = missing.into_iter().map(|index| (index, code));
                unknown.push((name.clone(), missing.collect()));
            }
            if !there.is_empty() {
                topics.push((name, there));
            }
        }
        drop((image, request));
        // Asked even if nothing is left: the group may have an error of its own.
        let ask = Ask::DeleteOffsets(DeleteOffsets {
            group: group.clone(),
            topics,
        });
        let codes = match context.services.groups.ask(&group, ask).await {
            Reply::Partitions(codes) => codes,
            other => PartitionCodes::error(other.refusal()),
        };
        if codes.error_code.is_error() {
            return OffsetDeleteResponse::default().with_error_code(codes.error_code.code());
        }
        let mut all = unknown;
        for (name, partitions) in codes.topics {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.extend(partitions),
                None => all.push((name, partitions)),
            }
        }
        respond(all)
    }
}

fn respond(codes: Codes) -> OffsetDeleteResponse {
    let topics = codes.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, code)| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code.code())
        });
        OffsetDeleteResponseTopic::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}

//! OffsetCommit (8), versions 2-9.
//!
//! | version | adds |
//! |---|---|
//! | 2-4 | retention per commit |
//! | 3 | throttle time |
//! | 6 | leader epochs (KIP-320) |
//! | 7 | static members (KIP-345) |
//! | 8 | flexible encoding |
//! | 9 | member epochs (KIP-848) |
//!
//! Partitions that do not exist are refused one by one; if none is left, the group is not asked.
//! Answers are in the order asked; Kafka's begin with the partitions refused.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_raft::MetadataImage;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Commit, CommitPartition, CommitTopic, PartitionCodes, Reply};

/// Clients from here on know the errors of KIP-848.
const MEMBER_EPOCHS_FROM: i16 = 9;

/// Remembers how far a group has come.
#[derive(Debug)]
pub struct OffsetCommit;

impl Handler for OffsetCommit {
    type Request = OffsetCommitRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let group = request.group_id.to_string();
        let image = context.services.quorum.image();
        let (mut answers, topics) = sort_out(&image, &request);
        drop(image);
        if !topics.is_empty() {
            let ask = Ask::Commit(Commit {
                group: group.clone(),
                generation: request.generation_id_or_member_epoch,
                member_id: request.member_id.to_string(),
                instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
                retention_ms: request.retention_time_ms,
                topics,
                knows_member_epochs: call.version >= MEMBER_EPOCHS_FROM,
            });
            drop(request);
            let codes = match context.services.groups.ask(&group, ask).await {
                Reply::Partitions(codes) => codes,
                other => PartitionCodes::error(other.refusal()),
            };
            fill_in(&mut answers, &codes);
        }
        respond(answers)
    }
}

/// A topic of the answer; `None` is for the group to say.
type Answer = (String, Vec<(i32, Option<ErrorCode>)>);

/// What is refused for lack of a partition, and what is left for the group.
fn sort_out(
    image: &MetadataImage,
    request: &OffsetCommitRequest,
) -> (Vec<Answer>, Vec<CommitTopic>) {
    let mut answers = Vec::with_capacity(request.topics.len());
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let known = image.topics().get(topic.name.as_str());
        let mut codes = Vec::with_capacity(topic.partitions.len());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            if known.and_then(|topic| topic.partition(index)).is_none() {
                codes.push((index, Some(ErrorCode::UnknownTopicOrPartition)));
                continue;
            }
            codes.push((index, None));
            let metadata = partition.committed_metadata.as_ref();
            partitions.push(CommitPartition {
                index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: metadata.map(ToString::to_string).unwrap_or_default(),
            });
        }
        let name = topic.name.to_string();
        answers.push((name.clone(), codes));
        if !partitions.is_empty() {
            topics.push(CommitTopic { name, partitions });
        }
    }
    (answers, topics)
}

/// The group's codes come in the order it was asked.
fn fill_in(answers: &mut [Answer], codes: &PartitionCodes) {
    let told = codes.topics.iter().flat_map(|(_, partitions)| partitions);
    let mut told = told.map(|(_, code)| *code);
    let open = answers.iter_mut().flat_map(|(_, partitions)| partitions);
    for (_, code) in open.filter(|(_, code)| code.is_none()) {
        *code = Some(match codes.error_code {
            ErrorCode::None => told.next().unwrap_or(ErrorCode::UnknownServerError),
            whole => whole,
        });
    }
}

fn respond(answers: Vec<Answer>) -> OffsetCommitResponse {
    let topics = answers.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, code)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code.unwrap_or(ErrorCode::UnknownServerError).code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

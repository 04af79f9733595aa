//! OffsetCommit (8), versions 2-10.
//!
//! | version | adds |
//! |---|---|
//! | 2-4 | retention per commit |
//! | 3 | throttle time |
//! | 6 | leader epochs (KIP-320) |
//! | 7 | static members (KIP-345) |
//! | 8 | flexible encoding |
//! | 9 | member epochs (KIP-848) |
//! | 10 | topics by id |
//!
//! Partitions that do not exist are refused one by one; if none is left, the group is not asked.
//! Answers are in the order asked; Kafka's begin with the partitions refused.
//!
//! What is written names the topic by its id also where the client named it by its name only: an offset
//! committed for a topic that was made anew does not go with the one before, however late that is heard of.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TopicName,
};
use reka_raft::MetadataImage;
use uuid::Uuid;

use super::{Call, Context, Handler};
use crate::group::ask::{Ask, Commit, CommitPartition, CommitTopic, PartitionCodes, Reply};

/// Clients from here on know the errors of KIP-848.
const MEMBER_EPOCHS_FROM: i16 = 9;
/// From here on topics are called by id.
const TOPIC_IDS_FROM: i16 = 10;

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
        let (mut answers, topics) = sort_out(&image, &request, call.version >= TOPIC_IDS_FROM);
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

/// A topic of the answer.
struct Answer {
    name: TopicName,
    id: Uuid,
    /// `None` is for the group to say.
    partitions: Vec<(i32, Option<ErrorCode>)>,
}

/// What is refused for lack of a partition, and what is left for the group.
fn sort_out(
    image: &MetadataImage,
    request: &OffsetCommitRequest,
    by_id: bool,
) -> (Vec<Answer>, Vec<CommitTopic>) {
    let mut answers = Vec::with_capacity(request.topics.len());
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let (known, unknown) = match by_id {
            true => (
                image.topics().by_id(topic.topic_id),
                ErrorCode::UnknownTopicId,
            ),
            false => (
                image.topics().get(topic.name.as_str()),
                ErrorCode::UnknownTopicOrPartition,
            ),
        };
        let mut codes = Vec::with_capacity(topic.partitions.len());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let refused = match known {
                None => Some(unknown),
                Some(topic) if topic.partition(index).is_none() => {
                    Some(ErrorCode::UnknownTopicOrPartition)
                }
                Some(_) => None,
            };
            if refused.is_some() {
                codes.push((index, refused));
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
        answers.push(Answer {
            name: topic.name.clone(),
            id: topic.topic_id,
            partitions: codes,
        });
        if let Some(known) = known.filter(|_| !partitions.is_empty()) {
            topics.push(CommitTopic {
                name: known.name().to_owned(),
                id: known.id(),
                partitions,
            });
        }
    }
    (answers, topics)
}

/// The group's codes come in the order it was asked.
fn fill_in(answers: &mut [Answer], codes: &PartitionCodes) {
    let told = codes.topics.iter().flat_map(|(_, partitions)| partitions);
    let mut told = told.map(|(_, code)| *code);
    let open = answers.iter_mut().flat_map(|answer| &mut answer.partitions);
    for (_, code) in open.filter(|(_, code)| code.is_none()) {
        *code = Some(match codes.error_code {
            ErrorCode::None => told.next().unwrap_or(ErrorCode::UnknownServerError),
            whole => whole,
        });
    }
}

fn respond(answers: Vec<Answer>) -> OffsetCommitResponse {
    let topics = answers.into_iter().map(|answer| {
        let partitions = answer.partitions.into_iter().map(|(index, code)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code.unwrap_or(ErrorCode::UnknownServerError).code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(answer.name)
            .with_topic_id(answer.id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

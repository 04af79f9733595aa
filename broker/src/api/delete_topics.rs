//! DeleteTopics (20), versions 1-6.
//!
//! | version | adds |
//! |---|---|
//! | 4 | flexible encoding |
//! | 5 | error messages |
//! | 6 | by id (KIP-516) |

use std::rc::Rc;
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use reka_protocol::kafka_protocol::messages::{
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use reka_raft::MetadataImage;
use reka_raft::image::TopicImage;
use uuid::Uuid;

use super::text::{message, topic_name};
use super::{Call, Context, Handler};
use crate::metadata::{Refusal, topics};

/// Deletes topics, by name or by id.
#[derive(Debug)]
pub struct DeleteTopics;

impl Handler for DeleteTopics {
    type Request = DeleteTopicsRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: DeleteTopicsRequest,
    ) -> DeleteTopicsResponse {
        let mut wanted: Vec<(Option<TopicName>, Uuid)> = request
            .topic_names
            .into_iter()
            .map(|name| (Some(name), Uuid::nil()))
            .collect();
        if call.version >= 6 {
            wanted.extend(
                request
                    .topics
                    .into_iter()
                    .map(|topic| (topic.name, topic.topic_id)),
            );
        }
        let deletable = context.services.config().topics.deletable;
        let outcomes = context
            .services
            .controller
            .change_each(false, &wanted, |draft, (name, id)| {
                let topic = find(draft.image(), name.as_ref(), *id)?;
                if !deletable {
                    let why = "Topic deletion is disabled.";
                    return Err(Refusal::new(ErrorCode::TopicDeletionDisabled, why));
                }
                draft.add(topics::remove(topic.id()))?;
                Ok(topic)
            })
            .await;
        let results = wanted
            .into_iter()
            .zip(outcomes)
            .map(|((name, id), outcome)| {
                let result = DeletableTopicResult::default();
                match outcome {
                    Ok(topic) => result
                        .with_name(Some(topic_name(topic.name())))
                        .with_topic_id(topic.id()),
                    Err(refusal) => result
                        .with_name(name)
                        .with_topic_id(id)
                        .with_error_code(refusal.error_code.code())
                        .with_error_message(message(refusal.message)),
                }
            });
        DeleteTopicsResponse::default().with_responses(results.collect())
    }
}

fn find(
    image: &MetadataImage,
    name: Option<&TopicName>,
    id: Uuid,
) -> Result<Arc<TopicImage>, Refusal> {
    let (found, error_code) = match name {
        Some(name) => (
            image.topics().get(name.as_str()),
            ErrorCode::UnknownTopicOrPartition,
        ),
        None => (image.topics().by_id(id), ErrorCode::UnknownTopicId),
    };
    found.cloned().ok_or_else(|| {
        let why = match error_code {
            ErrorCode::UnknownTopicId => "This server does not host this topic ID.",
            _ => "This server does not host this topic-partition.",
        };
        Refusal::new(error_code, why)
    })
}

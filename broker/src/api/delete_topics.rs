//! DeleteTopics (20), versions 1-6.
//!
//! | version | adds |
//! |---|---|
//! | 4 | flexible encoding |
//! | 5 | error messages |
//! | 6 | by id (KIP-516) |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use reka_protocol::kafka_protocol::messages::{
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Call, Context, Handler};
use crate::node::CreateError;

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
        let mut results = Vec::new();
        for (name, id) in wanted {
            results.push(delete(&context, name, id).await);
        }
        DeleteTopicsResponse::default().with_responses(results)
    }
}

async fn delete(context: &Context, name: Option<TopicName>, id: Uuid) -> DeletableTopicResult {
    let image = context.services.quorum.image();
    let found = match &name {
        Some(name) => image.topics().get(name.as_str()),
        None => image.topics().by_id(id),
    };
    let result = DeletableTopicResult::default()
        .with_name(name.clone())
        .with_topic_id(id);
    let Some(topic) = found else {
        let error_code = match name {
            Some(_) => ErrorCode::UnknownTopicOrPartition,
            None => ErrorCode::UnknownTopicId,
        };
        return result.with_error_code(error_code.code());
    };
    let result = result
        .with_name(Some(TopicName(StrBytes::from_string(
            topic.name().to_owned(),
        ))))
        .with_topic_id(topic.id());
    match context.services.delete_topic(topic.id()).await {
        Ok(()) => result,
        Err(error) => {
            let (error_code, message) = CreateError::to_kafka(&error);
            result
                .with_error_code(error_code.code())
                .with_error_message(Some(StrBytes::from_string(message)))
        }
    }
}

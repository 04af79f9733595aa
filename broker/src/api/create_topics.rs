//! CreateTopics (19), versions 2-7.
//!
//! | version | adds |
//! |---|---|
//! | 4 | -1 for default partitions and replicas (KIP-464) |
//! | 5 | partitions, replicas and configs in the answer (KIP-525), flexible encoding |
//! | 6 | may be throttled |
//! | 7 | topic ids (KIP-516) |
//!
//! Each topic is a batch of records of its own: one that is refused does not hold the others.

use std::collections::HashMap;
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use reka_protocol::kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Call, Context, Handler};
use crate::metadata::topics::{NewTopic, Refusal};
use crate::node::CreateError;

/// Creates topics, or only says whether it would.
#[derive(Debug)]
pub struct CreateTopics;

impl Handler for CreateTopics {
    type Request = CreateTopicsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: CreateTopicsRequest,
    ) -> CreateTopicsResponse {
        let mut times_named: HashMap<String, usize> = HashMap::new();
        for topic in &request.topics {
            *times_named.entry(topic.name.to_string()).or_default() += 1;
        }
        let mut results = Vec::new();
        for topic in &request.topics {
            let outcome = if times_named
                .get(topic.name.as_str())
                .is_some_and(|times| *times > 1)
            {
                let why = format!("topic {} is named more than once", topic.name.as_str());
                Err(CreateError::Refused(Refusal::new(
                    ErrorCode::InvalidRequest,
                    why,
                )))
            } else {
                context
                    .services
                    .create_topic(new_topic(topic), request.validate_only)
                    .await
            };
            results.push(result(topic, outcome));
        }
        CreateTopicsResponse::default().with_topics(results)
    }
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        id: Uuid::new_v4(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|assignment| {
                (
                    assignment.partition_index,
                    assignment.broker_ids.iter().map(|id| id.0).collect(),
                )
            })
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| {
                (
                    config.name.to_string(),
                    config.value.as_ref().map(ToString::to_string),
                )
            })
            .collect(),
    }
}

fn result(
    topic: &CreatableTopic,
    outcome: Result<(Uuid, i32), CreateError>,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(topic.name.clone());
    match outcome {
        Ok((id, partitions)) => result
            .with_topic_id(id)
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(Some(Vec::new())),
        Err(error) => {
            let (error_code, message) = error.to_kafka();
            result
                .with_error_code(error_code.code())
                .with_error_message(Some(StrBytes::from_string(message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
        }
    }
}

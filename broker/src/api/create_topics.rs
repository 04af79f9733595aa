//! CreateTopics (19), versions 2-7.
//!
//! | version | adds |
//! |---|---|
//! | 4 | -1 for default partitions and replicas (KIP-464) |
//! | 5 | partitions, replicas and configs in the answer (KIP-525), flexible encoding |
//! | 6 | may be throttled |
//! | 7 | topic ids (KIP-516) |
//!
//! All topics of a request are one change of the metadata; one that is refused does not hold the
//! others.

use std::collections::HashSet;
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use reka_protocol::kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use uuid::Uuid;

use super::text::{message, text};
use super::{Call, Context, Handler};
use crate::config::Config;
use crate::metadata::topics::NewTopic;
use crate::metadata::{Draft, Refusal};
use crate::node::Services;

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
        let services = &context.services;
        // A topic that is named more than once is answered once.
        let mut named = HashSet::new();
        let first = |topic: &&CreatableTopic| named.insert(topic.name.clone());
        let topics: Vec<&CreatableTopic> = request.topics.iter().filter(first).collect();
        let outcomes = services
            .controller
            .change_or_consider(request.validate_only, |draft| {
                let created = topics
                    .iter()
                    .map(|topic| create(services, draft, &request.topics, topic));
                created.collect::<Vec<_>>()
            })
            .await;
        let config = services.config();
        let results = topics.iter().enumerate().map(|(at, topic)| {
            let (error_code, said) = match &outcomes {
                Ok(outcomes) => match &outcomes[at] {
                    Ok((id, partitions)) => return created(&config, topic, *id, *partitions),
                    Err(refusal) => (refusal.error_code, refusal.message.clone()),
                },
                Err(error) => (error.error_code(), error.to_string()),
            };
            CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(error_code.code())
                .with_error_message(message(said))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
        });
        CreateTopicsResponse::default().with_topics(results.collect())
    }
}

fn create(
    services: &Services,
    draft: &mut Draft,
    all: &[CreatableTopic],
    topic: &CreatableTopic,
) -> Result<(Uuid, i32), Refusal> {
    if all.iter().filter(|other| other.name == topic.name).count() > 1 {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "Duplicate topic name.",
        ));
    }
    let nothing = topic.configs.iter().find(|config| config.value.is_none());
    if let Some(config) = nothing {
        let why = format!(
            "Null value not supported for topic configs: {}",
            config.name.as_str()
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, why));
    }
    services.draft_topic(draft, &new_topic(topic))
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

fn created(
    config: &Config,
    topic: &CreatableTopic,
    id: Uuid,
    partitions: i32,
) -> CreatableTopicResult {
    let overrides = topic
        .configs
        .iter()
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
        .collect();
    let configs = config.describe_topic(&overrides).into_iter().map(|key| {
        CreatableTopicConfigs::default()
            .with_name(text(key.name))
            .with_value(key.value.map(text))
            .with_read_only(key.read_only)
            .with_config_source(key.source.number())
            .with_is_sensitive(key.sensitive)
    });
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(id)
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(Some(configs.collect()))
}

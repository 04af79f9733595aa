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

use super::named::Named;
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
        let mut answered = HashSet::new();
        let first = |topic: &&CreatableTopic| answered.insert(topic.name.clone());
        let topics: Vec<&CreatableTopic> = request.topics.iter().filter(first).collect();
        let named: Named<_> = request.topics.iter().map(|topic| &topic.name).collect();
        let outcomes = services
            .controller
            .change_each(request.validate_only, &topics, |draft, topic| {
                match named.repeats(&&topic.name) {
                    true => Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        "Duplicate topic name.",
                    )),
                    false => create(services, draft, topic),
                }
            })
            .await;
        let config = services.config();
        let results = topics.iter().zip(outcomes).map(|(topic, outcome)| {
            let refusal = match outcome {
                Ok((id, partitions)) => return created(&config, topic, id, partitions),
                Err(refusal) => refusal,
            };
            CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(refusal.error_code.code())
                .with_error_message(message(refusal.message))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
        });
        CreateTopicsResponse::default().with_topics(results.collect())
    }
}

fn create(
    services: &Services,
    draft: &mut Draft,
    topic: &CreatableTopic,
) -> Result<(Uuid, i32), Refusal> {
    let nothing = topic.configs.iter().find(|config| config.value.is_none());
    if let Some(config) = nothing {
        let why = format!(
            "Null value not supported for topic configs: {}",
            config.name.as_str()
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, why));
    }
    services.draft_topic(draft, &new_topic(topic, services.chance.uuid()))
}

fn new_topic(topic: &CreatableTopic, id: Uuid) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        id,
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

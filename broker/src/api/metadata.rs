//! Metadata (3), versions 0-13.
//!
//! | version | adds |
//! |---|---|
//! | 1 | controller id; null means all topics, empty means none |
//! | 4 | whether a missing topic may be created |
//! | 5 | offline replicas |
//! | 7 | leader epochs (KIP-320) |
//! | 8-10 | authorised operations (KIP-430) |
//! | 10 | topic ids (KIP-516) |
//! | 11-12 | fetching by id without a name |
//! | 13 | rebootstrap (KIP-1102): never asked for |
//!
//! Brokers are named by the address the client reached this one at, unless another is configured:
//! a broker in a container or behind a tunnel is then found by everyone who got here.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{
    BrokerId, MetadataRequest, MetadataResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_raft::MetadataImage;
use reka_raft::image::TopicImage;
use uuid::Uuid;

use super::{Call, Context, Handler, operations};
use crate::metadata::ChangeError;
use crate::metadata::is_internal_topic;
use crate::metadata::topics::check_name;

/// Answers from the image, after creating what may be created.
#[derive(Debug)]
pub struct Metadata;

impl Handler for Metadata {
    type Request = MetadataRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: MetadataRequest,
    ) -> MetadataResponse {
        // Version 0 had no null: empty means all.
        let all = match &request.topics {
            None => true,
            Some(topics) => call.version == 0 && topics.is_empty(),
        };
        let cluster_operations = request.include_cluster_authorized_operations;
        let topic_operations = operations::of_topic(request.include_topic_authorized_operations);
        let mut topics = Vec::new();
        if !all {
            let may_create = call.version < 4 || request.allow_auto_topic_creation;
            for wanted in request.topics.into_iter().flatten() {
                topics.push(match wanted.name {
                    Some(name) => by_name(&context, &name, may_create).await,
                    None => by_id(&context.services.quorum.image(), wanted.topic_id),
                });
            }
        }
        let image = context.services.quorum.image();
        if all {
            topics.extend(image.topics().iter().map(|topic| describe(topic)));
        }
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = topic_operations;
        }
        MetadataResponse::default()
            .with_brokers(brokers(&context, &image))
            .with_cluster_id(Some(StrBytes::from_string(
                context.services.cluster_id.clone(),
            )))
            .with_controller_id(BrokerId(context.services.broker_id))
            .with_topics(topics)
            .with_cluster_authorized_operations(operations::of_cluster(cluster_operations))
    }
}

/// The brokers as this client reaches them.
pub(super) fn brokers(context: &Context, image: &MetadataImage) -> Vec<MetadataResponseBroker> {
    let (host, port) = context.advertised();
    image
        .brokers()
        .iter()
        .map(|broker| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.id()))
                .with_host(StrBytes::from_string(host.clone()))
                .with_port(i32::from(port))
                .with_rack(broker.registration.rack.clone().map(StrBytes::from_string))
        })
        .collect()
}

async fn by_name(context: &Context, name: &str, may_create: bool) -> MetadataResponseTopic {
    if let Some(topic) = context.services.quorum.image().topics().get(name) {
        return describe(topic);
    }
    if check_name(name).is_err() {
        return missing(ErrorCode::InvalidTopicException).with_name(Some(topic_name(name)));
    }
    if !may_create || !context.services.config().topics.auto_create {
        return missing(ErrorCode::UnknownTopicOrPartition).with_name(Some(topic_name(name)));
    }
    let created = context.services.create_topic_by_default(name).await;
    let image = context.services.quorum.image();
    match (created, image.topics().get(name)) {
        // Also when somebody else was faster.
        (_, Some(topic)) => describe(topic),
        (Err(ChangeError::Refused(refusal)), None) => {
            missing(refusal.error_code).with_name(Some(topic_name(name)))
        }
        (_, None) => missing(ErrorCode::LeaderNotAvailable).with_name(Some(topic_name(name))),
    }
}

fn by_id(image: &MetadataImage, id: Uuid) -> MetadataResponseTopic {
    match image.topics().by_id(id) {
        Some(topic) => describe(topic),
        None => missing(ErrorCode::UnknownTopicId)
            .with_topic_id(id)
            .with_name(None),
    }
}

fn missing(error_code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(error_code.code())
}

fn describe(topic: &TopicImage) -> MetadataResponseTopic {
    let broker_ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let partitions = topic
        .partitions()
        .map(|partition| {
            MetadataResponsePartition::default()
                .with_partition_index(partition.partition)
                .with_leader_id(BrokerId(partition.leader))
                .with_leader_epoch(partition.leader_epoch)
                .with_replica_nodes(broker_ids(&partition.replicas))
                .with_isr_nodes(broker_ids(&partition.isr))
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(topic.name())))
        .with_topic_id(topic.id())
        .with_is_internal(is_internal_topic(topic.name()))
        .with_partitions(partitions)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

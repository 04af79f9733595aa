//! DescribeTopicPartitions (75), version 0: topics page by page, with eligible leader replicas
//! (KIP-966).

use std::collections::BTreeSet;
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_topic_partitions_request::{
    Cursor as From, TopicRequest,
};
use reka_protocol::kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use reka_protocol::kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use reka_raft::image::TopicImage;
use reka_raft::record::Partition;

use super::text::topic_name;
use super::{Call, Context, Handler, operations};
use crate::metadata::is_internal_topic;
use crate::metadata::topics::check_name;

/// Topics and their partitions, a page at a time.
#[derive(Debug)]
pub struct DescribeTopicPartitions;

impl Handler for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        if let Some(cursor) = &request.cursor
            && !is_valid(cursor, &request.topics)
        {
            let refused = request.topics.iter().map(|topic| {
                DescribeTopicPartitionsResponseTopic::default()
                    .with_error_code(ErrorCode::InvalidRequest.code())
                    .with_name(Some(topic.name.clone()))
            });
            return DescribeTopicPartitionsResponse::default().with_topics(refused.collect());
        }
        let image = context.services.quorum.image();
        let (first_topic, first_partition) = match &request.cursor {
            Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index.max(0)),
            None => ("", 0),
        };
        let limit = context.services.config().requests.described_partitions_max;
        let mut page = Page {
            left: request.response_partition_limit.min(limit).max(1) as usize,
            topics: Vec::new(),
            next: None,
        };
        let from = |name: &str| match name == first_topic {
            true => first_partition,
            false => 0,
        };
        if request.topics.is_empty() {
            for topic in image.topics().iter_from(first_topic) {
                if !page.add(topic, from(topic.name())) {
                    break;
                }
            }
        } else {
            let named: BTreeSet<&str> = request.topics.iter().map(|t| t.name.as_str()).collect();
            for name in named.range(first_topic..) {
                let more = match image.topics().get(name) {
                    Some(topic) => page.add(topic, from(name)),
                    None => page.add_missing(name),
                };
                if !more {
                    break;
                }
            }
        }
        DescribeTopicPartitionsResponse::default()
            .with_topics(page.topics)
            .with_next_cursor(page.next)
    }
}

/// A cursor points into what is asked for.
fn is_valid(cursor: &From, topics: &[TopicRequest]) -> bool {
    let named = |topic: &TopicRequest| topic.name == cursor.topic_name;
    cursor.partition_index >= 0 && (topics.is_empty() || topics.iter().any(named))
}

/// An answer with room for so many partitions.
struct Page {
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page {
    /// Adds what fits of a topic; whether there is room for another.
    fn add(&mut self, topic: &TopicImage, from: i32) -> bool {
        if self.left == 0 {
            self.next = Some(cursor(topic.name(), 0));
            return false;
        }
        let rest = topic.partitions().skip(from as usize);
        let partitions: Vec<_> = rest.take(self.left).map(|p| describe(p)).collect();
        self.left -= partitions.len();
        let next = from as usize + partitions.len();
        self.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(topic_name(topic.name())))
                .with_topic_id(topic.id())
                .with_is_internal(is_internal_topic(topic.name()))
                .with_partitions(partitions)
                .with_topic_authorized_operations(operations::of_topic(true)),
        );
        if next < topic.partition_count() {
            self.next = Some(cursor(topic.name(), next as i32));
            return false;
        }
        true
    }

    fn add_missing(&mut self, name: &str) -> bool {
        if self.left == 0 {
            self.next = Some(cursor(name, 0));
            return false;
        }
        let error_code = match check_name(name) {
            Ok(()) => ErrorCode::UnknownTopicOrPartition,
            Err(refusal) => refusal.error_code,
        };
        self.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(topic_name(name)))
                .with_error_code(error_code.code())
                .with_topic_authorized_operations(operations::of_topic(true)),
        );
        true
    }
}

fn cursor(topic: &str, partition_index: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(topic_name(topic))
        .with_partition_index(partition_index)
}

fn describe(partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(partition.partition)
        .with_leader_id(BrokerId(partition.leader))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr))
        .with_eligible_leader_replicas(Some(ids(&partition.elr)))
        .with_last_known_elr(Some(ids(&partition.last_known_elr)))
}

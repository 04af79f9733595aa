//! DescribeProducers (61), version 0: the idempotent and transactional producers a partition
//! remembers (KIP-664).

use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use reka_protocol::kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, ProducerId,
};

use super::text::message;
use super::{Call, Context, Handler};
use crate::metadata::topics::check_name;
use crate::partition::Partition;

/// Producers by partition.
#[derive(Debug)]
pub struct DescribeProducers;

impl Handler for DescribeProducers {
    type Request = DescribeProducersRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: DescribeProducersRequest,
    ) -> DescribeProducersResponse {
        let image = context.services.quorum.image();
        let topics = request.topics.into_iter().map(|topic| {
            let invalid = check_name(&topic.name).err();
            let partitions = topic.partition_indexes.iter().map(|index| {
                let answer = PartitionResponse::default().with_partition_index(*index);
                let here = context
                    .services
                    .partitions
                    .find(topic.name.as_str(), *index);
                match (&invalid, here) {
                    (Some(refusal), _) => answer
                        .with_error_code(refusal.error_code.code())
                        .with_error_message(message(&refusal.message)),
                    (None, Err(code)) => {
                        // As Kafka has it: no word about a missing partition of a topic there is.
                        let said = match image.topics().get(&topic.name) {
                            Some(_) => "",
                            None => "This server does not host this topic-partition.",
                        };
                        answer
                            .with_error_code(code.code())
                            .with_error_message(message(said))
                    }
                    (None, Ok(partition)) => answer.with_active_producers(producers(&partition)),
                }
            });
            TopicResponse::default()
                .with_partitions(partitions.collect())
                .with_name(topic.name)
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }
}

fn producers(partition: &Partition) -> Vec<ProducerState> {
    let log = partition.log();
    let states = log.producers().iter().map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(i32::from(producer.epoch))
            .with_last_sequence(producer.last_sequence())
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.txn_first_offset.unwrap_or(-1))
    });
    states.collect()
}

//! ElectLeaders (43), versions 0-2.
//!
//! | version | adds |
//! |---|---|
//! | 1 | unclean elections (KIP-460) |
//! | 2 | flexible encoding |

use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::elect_leaders_response::{
    PartitionResult, ReplicaElectionResult,
};
use reka_protocol::kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::text::{message, topic_name};
use super::{Call, Context, Handler};
use crate::metadata::partitions;

/// Elects leaders where that is needed. One broker leads all there is, so it never is.
#[derive(Debug)]
pub struct ElectLeaders;

impl Handler for ElectLeaders {
    type Request = ElectLeadersRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: ElectLeadersRequest,
    ) -> ElectLeadersResponse {
        let image = context.services.quorum.image();
        let topics = request.topic_partitions.unwrap_or_else(|| {
            // Null means all, and tells only of partitions for which something was to do: none.
            let all = image.topics().iter();
            all.map(|topic| TopicPartitions::default().with_topic(topic_name(topic.name())))
                .collect()
        });
        let results = topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|index| {
                let result = PartitionResult::default().with_partition_id(*index);
                match partitions::elect(&image, topic.topic.as_str(), *index) {
                    Ok(()) => result,
                    Err(refusal) => result
                        .with_error_code(refusal.error_code.code())
                        .with_error_message(message(refusal.message)),
                }
            });
            ReplicaElectionResult::default()
                .with_partition_result(partitions.collect())
                .with_topic(topic.topic)
        });
        ElectLeadersResponse::default().with_replica_election_results(results.collect())
    }
}

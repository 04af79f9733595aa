//! AlterPartitionReassignments (45), versions 0-1.
//!
//! | version | adds |
//! |---|---|
//! | 1 | whether the number of replicas may change (KIP-860) |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use reka_protocol::kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use super::text::message;
use super::{Call, Context, Handler};
use crate::metadata::{Refusal, partitions};

/// Moves partitions. With one broker there is nowhere to move to: what is asked for is what is
/// there already, or refused.
#[derive(Debug)]
pub struct AlterPartitionReassignments;

impl Handler for AlterPartitionReassignments {
    type Request = AlterPartitionReassignmentsRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: AlterPartitionReassignmentsRequest,
    ) -> AlterPartitionReassignmentsResponse {
        let image = context.services.quorum.image();
        let may_change = call.version < 1 || request.allow_replication_factor_change;
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let replicas = partition.replicas.as_ref();
                let replicas: Option<Vec<i32>> =
                    replicas.map(|ids| ids.iter().map(|id| id.0).collect());
                let index = partition.partition_index;
                let outcome =
                    partitions::reassign(&image, topic.name.as_str(), index, replicas.as_deref())
                        .and_then(|()| match replicas {
                            Some(replicas) if !may_change && replicas.len() != 1 => {
                                Err(Refusal::new(
                                    ErrorCode::InvalidReplicationFactor,
                                    "The replication factor is changed from 1",
                                ))
                            }
                            _ => Ok(()),
                        });
                let response = ReassignablePartitionResponse::default().with_partition_index(index);
                match outcome {
                    Ok(()) => response,
                    Err(refusal) => response
                        .with_error_code(refusal.error_code.code())
                        .with_error_message(message(refusal.message)),
                }
            });
            ReassignableTopicResponse::default()
                .with_partitions(partitions.collect())
                .with_name(topic.name)
        });
        AlterPartitionReassignmentsResponse::default()
            .with_allow_replication_factor_change(request.allow_replication_factor_change)
            .with_responses(topics.collect())
    }
}

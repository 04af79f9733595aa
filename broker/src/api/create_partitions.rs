//! CreatePartitions (37), versions 0-3.
//!
//! | version | adds |
//! |---|---|
//! | 2 | flexible encoding |
//! | 3 | may be throttled |

use std::collections::HashSet;
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use reka_protocol::kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use reka_protocol::kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::named::Named;
use super::text::message;
use super::{Call, Context, Handler};
use crate::metadata::{Draft, Refusal, partitions};

/// Adds partitions to topics.
#[derive(Debug)]
pub struct CreatePartitions;

impl Handler for CreatePartitions {
    type Request = CreatePartitionsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let services = &context.services;
        // A topic that is named more than once is answered once.
        let mut answered = HashSet::new();
        let first = |topic: &&CreatePartitionsTopic| answered.insert(topic.name.clone());
        let topics: Vec<&CreatePartitionsTopic> = request.topics.iter().filter(first).collect();
        let named: Named<_> = request.topics.iter().map(|topic| &topic.name).collect();
        let outcomes = services
            .controller
            .change_each(request.validate_only, &topics, |draft, topic| {
                match named.repeats(&&topic.name) {
                    true => Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        "Duplicate topic name.",
                    )),
                    false => grow(&context, draft, topic),
                }
            })
            .await;
        let results = topics.iter().zip(outcomes).map(|(topic, outcome)| {
            let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
            match outcome {
                Ok(()) => result,
                Err(refusal) => result
                    .with_error_code(refusal.error_code.code())
                    .with_error_message(message(refusal.message)),
            }
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }
}

fn grow(
    context: &Context,
    draft: &mut Draft,
    topic: &CreatePartitionsTopic,
) -> Result<(), Refusal> {
    let assignments: Option<Vec<Vec<i32>>> = topic.assignments.as_ref().map(|assignments| {
        let brokers = assignments.iter().map(|assignment| &assignment.broker_ids);
        brokers
            .map(|ids| ids.iter().map(|id| id.0).collect())
            .collect()
    });
    partitions::grow(
        draft,
        topic.name.as_str(),
        topic.count,
        assignments.as_deref(),
        context.services.broker_id,
        context.services.directory_of_new(),
    )
}

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
        let mut named = HashSet::new();
        let first = |topic: &&CreatePartitionsTopic| named.insert(topic.name.clone());
        let topics: Vec<&CreatePartitionsTopic> = request.topics.iter().filter(first).collect();
        let outcomes = services
            .controller
            .change_or_consider(request.validate_only, |draft| {
                let grown = topics
                    .iter()
                    .map(|topic| grow(&context, draft, &request.topics, topic));
                grown.collect::<Vec<_>>()
            })
            .await;
        let results = topics.iter().enumerate().map(|(at, topic)| {
            let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
            let (error_code, said) = match &outcomes {
                Ok(outcomes) => match &outcomes[at] {
                    Ok(()) => return result,
                    Err(refusal) => (refusal.error_code, refusal.message.clone()),
                },
                Err(error) => (error.error_code(), error.to_string()),
            };
            result
                .with_error_code(error_code.code())
                .with_error_message(message(said))
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }
}

fn grow(
    context: &Context,
    draft: &mut Draft,
    all: &[CreatePartitionsTopic],
    topic: &CreatePartitionsTopic,
) -> Result<(), Refusal> {
    if all.iter().filter(|other| other.name == topic.name).count() > 1 {
        let why = "Duplicate topic name.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
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
        context.services.directory_id(),
    )
}

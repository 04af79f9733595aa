//! Produce (0), versions 3-13; 0-2 are advertised and refused.
//!
//! | version | adds |
//! |---|---|
//! | 3 | transactions and headers (KIP-98) |
//! | 7 | zstd (KIP-110) |
//! | 8 | record errors (KIP-467) |
//! | 9 | flexible encoding |
//! | 10 | leader hints (KIP-951) |
//! | 11, 12 | transaction errors and implicit partition add (KIP-890) |
//! | 13 | topic ids (KIP-516) |
//!
//! Each partition takes exactly one batch. With acks=0 nothing is answered; an error closes the
//! connection, which is all a client can notice. With one node acks=all is met by the append.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use reka_protocol::ErrorCode;
use reka_protocol::messages::produce::{
    PartitionAnswer, ProduceRequest, ProduceResponse, RecordError, TopicAnswer,
};
use reka_protocol::messages::{TopicLabel, TopicRef};
use uuid::Uuid;

use super::{Call, Context};
use crate::dispatch::{Reply, refused};
use crate::metadata::is_internal_topic;
use crate::net::connection::Closed;
use crate::partition::append::{Refused, Written};

/// From here on zstd is known to the producer.
const ZSTD_FROM: i16 = 7;
/// The one client that may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<Partition>,
}

struct Partition {
    index: i32,
    range: Option<std::ops::Range<usize>>,
    outcome: Result<Written, Refused>,
}

/// Appends every partition, then answers.
pub fn start(context: &Rc<Context>, call: Call, request: ProduceRequest) -> Result<Reply, Closed> {
    let acks = request.acks;
    let transactional = request.transactional_id.is_some();
    let mut topics = list(context, &request);
    if !(-1..=1).contains(&acks) {
        refuse_all(
            &mut topics,
            ErrorCode::InvalidRequiredAcks,
            "acks must be -1, 0 or 1",
        );
    } else if transactional {
        // Not advertised; nobody who negotiates gets here.
        refuse_all(
            &mut topics,
            ErrorCode::InvalidTxnState,
            "transactions are not served yet",
        );
    } else {
        let mut frame = owned(request.into_frame());
        append_all(context, call, &mut topics, &mut frame);
    }
    let metrics = &context.services.metrics.requests;
    for partition in topics.iter().flat_map(|topic| &topic.partitions) {
        if let Err(refused) = &partition.outcome {
            metrics.error(call.api, refused.error_code.code());
        }
    }
    if acks == 0 {
        return match topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .find(|p| p.outcome.is_err())
        {
            None => Ok(Reply::None),
            Some(_) => Err(Closed::Refused("a produce with acks=0 failed".to_owned())),
        };
    }
    Ok(Reply::Now(encode(call, &topics)?.into()))
}

/// Versions 0-2: each partition is told.
pub fn refuse_retired(call: Call, request: &ProduceRequest) -> Result<Reply, Closed> {
    if request.acks == 0 {
        return Err(Closed::Refused(format!(
            "Produce version {} is not served",
            call.version
        )));
    }
    let mut topics: Vec<Topic> = request
        .topics()
        .map(|topic| Topic {
            name: match topic.topic {
                TopicRef::Name(name) => name.to_owned(),
                TopicRef::Id(_) => String::new(),
            },
            id: Uuid::nil(),
            partitions: topic
                .partitions()
                .map(|partition| untouched(partition.index, None))
                .collect(),
        })
        .collect();
    let why = "Produce before version 3 is not served";
    refuse_all(&mut topics, ErrorCode::UnsupportedVersion, why);
    Ok(Reply::Now(encode(call, &topics)?.into()))
}

fn untouched(index: i32, range: Option<std::ops::Range<usize>>) -> Partition {
    let outcome = Err(Refused::new(ErrorCode::UnknownServerError, "not started"));
    Partition {
        index,
        range,
        outcome,
    }
}

/// Topics and partitions with where their records lie, so that the frame can be taken apart.
fn list(context: &Context, request: &ProduceRequest) -> Vec<Topic> {
    request
        .topics()
        .map(|topic| {
            let (name, id) = context.services.name_topic(topic.topic);
            let partitions = topic
                .partitions()
                .map(|partition| untouched(partition.index, partition.records_range()))
                .collect();
            Topic {
                name,
                id,
                partitions,
            }
        })
        .collect()
}

fn append_all(context: &Context, call: Call, topics: &mut [Topic], frame: &mut BytesMut) {
    let now_ms = context.services.clock.now_ms();
    let is_admin = context.client_id().as_deref() == Some(ADMIN_CLIENT_ID);
    for topic in topics {
        let is_closed = is_internal_topic(&topic.name) && !is_admin;
        for partition in &mut topic.partitions {
            partition.outcome = match context
                .services
                .partitions
                .get(&topic.name, partition.index)
            {
                None => Err(unknown(topic.id, &topic.name, partition.index)),
                Some(here) if is_closed => Err(Refused::new(
                    ErrorCode::InvalidTopicException,
                    format!("{here} is of an internal topic"),
                )),
                Some(here) => {
                    let mut rules = context.services.rules_of(&here, now_ms);
                    rules.zstd_allowed = call.version >= ZSTD_FROM;
                    let records = match partition.range.clone() {
                        Some(range) => &mut frame[range],
                        None => &mut [],
                    };
                    here.append(records, &rules, &mut context.shard.decompression_scratch())
                }
            };
        }
    }
}

fn unknown(id: Uuid, name: &str, index: i32) -> Refused {
    if !id.is_nil() && name.is_empty() {
        return Refused::new(
            ErrorCode::UnknownTopicId,
            format!("no topic has the id {id}"),
        );
    }
    Refused::new(
        ErrorCode::UnknownTopicOrPartition,
        format!("no partition {name}-{index}"),
    )
}

fn refuse_all(topics: &mut [Topic], error_code: ErrorCode, message: &str) {
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.outcome = Err(Refused::new(error_code, message));
    }
}

/// The frame to write in: its own bytes when nobody else holds it, as is the rule.
fn owned(frame: Bytes) -> BytesMut {
    frame
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

fn encode(call: Call, topics: &[Topic]) -> Result<BytesMut, Closed> {
    let refusals: Vec<Vec<Vec<RecordError<'_>>>> = topics
        .iter()
        .map(|topic| {
            topic
                .partitions
                .iter()
                .map(|partition| record_errors(&partition.outcome))
                .collect()
        })
        .collect();
    let answers: Vec<Vec<PartitionAnswer<'_>>> = topics
        .iter()
        .zip(&refusals)
        .map(|(topic, refusals)| {
            let partitions = topic.partitions.iter().zip(refusals);
            partitions
                .map(|(partition, records)| answer(partition, records))
                .collect()
        })
        .collect();
    let topics: Vec<TopicAnswer<'_>> = topics
        .iter()
        .zip(&answers)
        .map(|(topic, partitions)| TopicAnswer {
            topic: TopicLabel {
                name: &topic.name,
                id: topic.id,
            },
            partitions,
        })
        .collect();
    let response = ProduceResponse {
        topics: &topics,
        throttle_time_ms: 0,
        node_endpoints: &[],
    };
    response
        .encode(call.version, call.correlation_id)
        .map_err(refused)
}

fn record_errors(outcome: &Result<Written, Refused>) -> Vec<RecordError<'_>> {
    match outcome {
        Ok(_) => Vec::new(),
        Err(refused) => refused
            .records
            .iter()
            .map(|(index, reason)| RecordError {
                batch_index: *index,
                message: Some(reason),
            })
            .collect(),
    }
}

fn answer<'a>(
    partition: &'a Partition,
    record_errors: &'a [RecordError<'a>],
) -> PartitionAnswer<'a> {
    match &partition.outcome {
        Ok(written) => PartitionAnswer {
            base_offset: written.base_offset,
            log_append_time_ms: written.log_append_time_ms,
            log_start_offset: written.log_start_offset,
            ..PartitionAnswer::refused(partition.index, ErrorCode::None)
        },
        Err(refused) => PartitionAnswer {
            record_errors,
            error_message: Some(&refused.message),
            log_start_offset: refused.log_start_offset,
            ..PartitionAnswer::refused(partition.index, refused.error_code)
        },
    }
}

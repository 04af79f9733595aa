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
use reka_records::BatchHeader;
use uuid::Uuid;

use super::{Call, Context};
use crate::dispatch::{Reply, refused};
use crate::metadata::is_internal_topic;
use crate::net::answer::Answer;
use crate::net::connection::Closed;
use crate::partition::append::{Refused, Written};
use crate::partition::verify::Guard;
use crate::txn::admit::{Ability, admit};
use crate::txn::ask::Producer;
use crate::txn::record::Place;

/// From here on zstd is known to the producer.
const ZSTD_FROM: i16 = 7;
/// From here on producers know that a transaction may have to be aborted.
const ABORTABLE_FROM: i16 = 11;
/// From here on partitions are added to transactions for the producer.
const IS_ADDED_FROM: i16 = 12;
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
    /// What the coordinator's word is good for, where it has to be asked.
    guard: Option<Guard>,
    state: Progress,
    outcome: Result<Written, Refused>,
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its batch can be appended.
    Ready,
    /// The coordinator of its transaction is asked first.
    Asked,
    /// There is an outcome.
    Done,
}

/// Appends every partition, then answers.
pub fn start(context: &Rc<Context>, call: Call, request: ProduceRequest) -> Result<Reply, Closed> {
    let acks = request.acks;
    let mut topics = list(context, &request);
    if !(-1..=1).contains(&acks) {
        refuse_all(
            &mut topics,
            ErrorCode::InvalidRequiredAcks,
            "acks must be -1, 0 or 1",
        );
    } else {
        // A copy: a slice would keep the frame from being written in.
        let transactional_id = request.transactional_id.as_ref().map(ToString::to_string);
        let mut frame = owned(request.into_frame());
        match Admission::needed(context, call, transactional_id, &mut topics, &frame) {
            Ok(admission) => {
                append_all(context, call, &mut topics, &mut frame);
                if let Some(admission) = admission {
                    let context = context.clone();
                    return Ok(Reply::Later(Box::pin(async move {
                        admission.ask(&context, &mut topics).await;
                        append_all(&context, call, &mut topics, &mut frame);
                        match answer_all(&context, call, acks, &topics)? {
                            Reply::Now(answer) => Ok(answer),
                            _ => Ok(Answer::default()),
                        }
                    })));
                }
            }
            Err((code, why)) => refuse_all(&mut topics, code, why),
        }
    }
    answer_all(context, call, acks, &topics)
}

fn answer_all(context: &Context, call: Call, acks: i16, topics: &[Topic]) -> Result<Reply, Closed> {
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
    Ok(Reply::Now(encode(call, topics)?.into()))
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
        guard: None,
        state: Progress::Ready,
        outcome,
    }
}

/// The question to a transaction's coordinator (KIP-890).
struct Admission {
    transactional_id: String,
    producer: Producer,
    ability: Ability,
    partitions: Vec<Place>,
}

impl Admission {
    /// Whether batches begin a transaction on their partitions; those wait for the answer.
    fn needed(
        context: &Context,
        call: Call,
        transactional_id: Option<String>,
        topics: &mut [Topic],
        frame: &[u8],
    ) -> Result<Option<Admission>, (ErrorCode, &'static str)> {
        let mut producer = None;
        let mut partitions = Vec::new();
        let services = &context.services;
        let ability = match call.version {
            IS_ADDED_FROM.. => Ability::IsAdded,
            ABORTABLE_FROM.. => Ability::AddsAndAborts,
            _ => Ability::Adds,
        };
        let is_asked =
            ability == Ability::IsAdded || services.config().transactions.verify_partitions;
        for topic in topics {
            for partition in &mut topic.partitions {
                let records = partition.range.clone().and_then(|range| frame.get(range));
                let header = records.and_then(|records| BatchHeader::parse(records).ok());
                let Some(header) = header.filter(BatchHeader::is_transactional) else {
                    continue;
                };
                if transactional_id.is_none() {
                    return Err((
                        ErrorCode::TransactionalIdAuthorizationFailed,
                        "a transactional batch needs a transactional id",
                    ));
                }
                let of_batch = Producer {
                    id: header.producer_id,
                    epoch: header.producer_epoch,
                };
                if *producer.get_or_insert(of_batch) != of_batch {
                    return Err((
                        ErrorCode::InvalidProducerIdMapping,
                        "a transaction has one producer",
                    ));
                }
                let Some(here) = services.partitions.get(&topic.name, partition.index) else {
                    continue;
                };
                let sequence = header.base_sequence;
                match here.begin_verification(of_batch.id, of_batch.epoch, sequence) {
                    Ok(None) => {}
                    Ok(guard) => {
                        partition.guard = guard;
                        if is_asked {
                            partition.state = Progress::Asked;
                            partitions.push((topic.name.as_str().into(), partition.index));
                        }
                    }
                    Err(refused) => {
                        partition.state = Progress::Done;
                        partition.outcome = Err(refused);
                    }
                }
            }
        }
        let asked = producer
            .zip(transactional_id)
            .filter(|_| !partitions.is_empty());
        Ok(asked.map(|(producer, transactional_id)| Admission {
            transactional_id,
            producer,
            ability,
            partitions,
        }))
    }

    /// Asks; what is not part of the transaction is refused.
    async fn ask(self, context: &Context, topics: &mut [Topic]) {
        let Admission {
            transactional_id: id,
            producer,
            ability,
            partitions,
        } = self;
        let codes = admit(&context.services, &id, producer, partitions, ability).await;
        let asked = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        let asked = asked.filter(|partition| partition.state == Progress::Asked);
        for (partition, code) in asked.zip(codes) {
            partition.state = match code {
                ErrorCode::None => Progress::Ready,
                code => {
                    partition.outcome = Err(not_admitted(&id, ability, code));
                    Progress::Done
                }
            };
        }
    }
}

/// In words the producer knows.
fn not_admitted(id: &str, ability: Ability, code: ErrorCode) -> Refused {
    let told = match code {
        ErrorCode::ConcurrentTransactions if ability == Ability::IsAdded => code,
        ErrorCode::ConcurrentTransactions
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        code => code,
    };
    Refused::new(
        told,
        format!(
            "the partition is not known to be part of the transaction of {id}: {}",
            code.name()
        ),
    )
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
        let ready = |partition: &&mut Partition| partition.state == Progress::Ready;
        for partition in topic.partitions.iter_mut().filter(ready) {
            partition.state = Progress::Done;
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
                    let scratch = &mut context.shard.decompression_scratch();
                    here.append_verified(records, &rules, partition.guard, scratch)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// KAFKA-18575 for the producers that are added to their transaction: the one before is just
    /// about to end. To older ones it is something they know how to wait for.
    #[test]
    fn a_producer_is_told_in_its_own_words_why_its_batch_begins_no_transaction() {
        let told = |ability, code| not_admitted("x", ability, code).error_code;
        let concurrent = ErrorCode::ConcurrentTransactions;
        assert_eq!(told(Ability::IsAdded, concurrent), concurrent);
        let wait = ErrorCode::NotEnoughReplicas;
        for ability in [Ability::Adds, Ability::AddsAndAborts] {
            assert_eq!(told(ability, concurrent), wait);
        }
        for ability in [Ability::Adds, Ability::AddsAndAborts, Ability::IsAdded] {
            for code in [
                ErrorCode::NotCoordinator,
                ErrorCode::CoordinatorNotAvailable,
                ErrorCode::CoordinatorLoadInProgress,
            ] {
                assert_eq!(told(ability, code), wait);
            }
            for code in [
                ErrorCode::InvalidProducerEpoch,
                ErrorCode::TransactionAbortable,
            ] {
                assert_eq!(told(ability, code), code);
            }
        }
    }
}

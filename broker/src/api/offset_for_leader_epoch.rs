//! OffsetForLeaderEpoch (23), versions 2-4.
//!
//! | version | adds |
//! |---|---|
//! | 3 | who asks: a replica or a client (KIP-320) |
//! | 4 | flexible encoding |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use reka_protocol::kafka_protocol::messages::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

use super::{Call, Context, Handler};
use crate::partition::Partition;

const UNDEFINED: i32 = -1;

/// Where an epoch ended.
#[derive(Debug)]
pub struct OffsetForLeaderEpoch;

impl Handler for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = wanted.partition;
                match context
                    .services
                    .partitions
                    .find(topic.topic.as_str(), index)
                {
                    Ok(partition) => find(&partition, wanted),
                    Err(code) => answer(index, code),
                }
            });
            OffsetForLeaderTopicResult::default()
                .with_partitions(partitions.collect())
                .with_topic(topic.topic)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}

fn answer(index: i32, error_code: ErrorCode) -> EpochEndOffset {
    EpochEndOffset::default()
        .with_partition(index)
        .with_error_code(error_code.code())
        .with_leader_epoch(UNDEFINED)
        .with_end_offset(i64::from(UNDEFINED))
}

fn find(partition: &Partition, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let epoch = partition.check_epoch(wanted.current_leader_epoch);
    if epoch != ErrorCode::None {
        return answer(wanted.partition, epoch);
    }
    let log = partition.log();
    // The epoch in force may not have written yet; it ends where the log does all the same.
    let end = match wanted.leader_epoch {
        UNDEFINED => None,
        epoch if epoch == partition.leader_epoch() => Some((epoch, log.log_end())),
        _ => log
            .epochs()
            .end_of(wanted.leader_epoch, log.log_end())
            .map(|end| (end.epoch, end.end_offset)),
    };
    let found = answer(wanted.partition, ErrorCode::None);
    match end {
        Some((epoch, offset)) => found.with_leader_epoch(epoch).with_end_offset(offset),
        None => found,
    }
}

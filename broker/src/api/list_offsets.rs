//! ListOffsets (2), versions 1-11.
//!
//! | version | adds |
//! |---|---|
//! | 2 | isolation level (KIP-98) |
//! | 4 | leader epochs (KIP-320) |
//! | 6 | flexible encoding |
//! | 7 | -3, the record with the greatest timestamp (KIP-734) |
//! | 8 | -4, the earliest local offset (KIP-405) |
//! | 9 | -5, the latest offset in remote storage (KIP-1005): there is none |
//! | 10 | a time-out |
//! | 11 | -6, the earliest offset not yet in remote storage (KIP-1023): there is none |

use std::collections::HashSet;
use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use reka_protocol::kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use reka_protocol::kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::{Call, Context, Handler};
use crate::partition::Partition;
use crate::partition::read::{Isolation, read_error_code};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
/// Earlier versions have no room for an epoch.
const LEADER_EPOCH_FROM: i16 = 4;
/// A replica asks, not a consumer: it sees the log to its end.
const FIRST_REPLICA_ID: i32 = 0;

/// Offsets by time.
#[derive(Debug)]
pub struct ListOffsets;

impl Handler for ListOffsets {
    type Request = ListOffsetsRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: ListOffsetsRequest,
    ) -> ListOffsetsResponse {
        let isolation = match request.isolation_level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        };
        let from_replica = request.replica_id.0 >= FIRST_REPLICA_ID;
        let mut asked = HashSet::new();
        let mut twice = HashSet::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let key = (topic.name.clone(), partition.partition_index);
                if !asked.insert(key.clone()) {
                    twice.insert(key);
                }
            }
        }
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for wanted in &topic.partitions {
                let index = wanted.partition_index;
                let unknown = call.version < known_from(wanted.timestamp);
                let answer = if twice.contains(&(topic.name.clone(), index)) {
                    refused(index, ErrorCode::InvalidRequest)
                } else if unknown {
                    refused(index, ErrorCode::UnsupportedVersion)
                } else {
                    match context.services.partitions.find(topic.name.as_str(), index) {
                        Err(code) => refused(index, code),
                        Ok(partition) => {
                            let found = find(&partition, wanted, isolation, from_replica);
                            match call.version {
                                LEADER_EPOCH_FROM.. => found,
                                _ => found.with_leader_epoch(-1),
                            }
                        }
                    }
                };
                partitions.push(answer);
            }
            topics.push(
                ListOffsetsTopicResponse::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        ListOffsetsResponse::default().with_topics(topics)
    }
}

fn refused(index: i32, error_code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error_code.code())
        .with_timestamp(-1)
        .with_offset(-1)
        .with_leader_epoch(-1)
}

/// The version from which a special timestamp has its meaning.
fn known_from(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    }
}

fn find(
    partition: &Partition,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
    from_replica: bool,
) -> ListOffsetsPartitionResponse {
    let index = wanted.partition_index;
    let epoch = partition.check_epoch(wanted.current_leader_epoch);
    if epoch != ErrorCode::None {
        return refused(index, epoch);
    }
    let reader = partition.reader();
    let latest = match (from_replica, isolation) {
        (true, _) => reader.log_end(),
        (false, Isolation::ReadUncommitted) => partition.high_watermark(),
        (false, Isolation::ReadCommitted) => partition.last_stable_offset(),
    };
    let at = |offset: i64, timestamp: i64, leader_epoch: i32| {
        refused(index, ErrorCode::None)
            .with_offset(offset)
            .with_timestamp(timestamp)
            .with_leader_epoch(leader_epoch)
    };
    match wanted.timestamp {
        LATEST => at(latest, -1, partition.leader_epoch()),
        EARLIEST | EARLIEST_LOCAL => {
            let start = reader.log_start();
            let epoch = partition
                .log()
                .epochs()
                .epoch_of(start)
                .unwrap_or(partition.leader_epoch());
            at(start, -1, epoch)
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => refused(index, ErrorCode::None),
        // As Kafka has it: the greatest of all, or none where this reader may not see it.
        MAX_TIMESTAMP => match reader.max_timestamp(reader.log_end()) {
            Ok(Some(found)) if found.offset < latest => {
                at(found.offset, found.timestamp, found.leader_epoch)
            }
            Ok(_) => refused(index, ErrorCode::None),
            Err(error) => refused(index, read_error_code(&error)),
        },
        timestamp if timestamp < 0 => refused(index, ErrorCode::UnsupportedVersion),
        timestamp => match reader.find_timestamp(timestamp, latest) {
            Ok(Some(found)) => at(found.offset, found.timestamp, found.leader_epoch),
            Ok(None) => refused(index, ErrorCode::None),
            Err(error) => refused(index, read_error_code(&error)),
        },
    }
}

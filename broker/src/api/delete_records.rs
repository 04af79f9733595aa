//! DeleteRecords (21), versions 0-2.
//!
//! | version | adds |
//! |---|---|
//! | 1 | may be throttled |
//! | 2 | flexible encoding |
//!
//! Raises the log start. Space comes back when whole segments lie below it, at the next look of
//! retention.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use reka_protocol::kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::{Call, Context, Handler};
use crate::metadata::is_internal_topic;
use crate::partition::Partition;

/// "Everything there is."
const HIGH_WATERMARK: i64 = -1;

/// Deletes records below an offset.
#[derive(Debug)]
pub struct DeleteRecords;

impl Handler for DeleteRecords {
    type Request = DeleteRecordsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: DeleteRecordsRequest,
    ) -> DeleteRecordsResponse {
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for wanted in topic.partitions {
                let index = wanted.partition_index;
                let partition = context.services.partitions.find(topic.name.as_str(), index);
                let deleted = match partition {
                    _ if is_internal_topic(&topic.name) => Err(ErrorCode::InvalidTopicException),
                    Err(code) => Err(code),
                    Ok(partition) => {
                        let delete = move || delete(&partition, wanted.offset);
                        let done = context.services.blocking.run(delete).await;
                        done.unwrap_or(Err(ErrorCode::UnknownServerError))
                    }
                };
                let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
                partitions.push(match deleted {
                    Ok(low_watermark) => result.with_low_watermark(low_watermark),
                    Err(error_code) => result
                        .with_low_watermark(-1)
                        .with_error_code(error_code.code()),
                });
            }
            topics.push(
                DeleteRecordsTopicResult::default()
                    .with_name(topic.name)
                    .with_partitions(partitions),
            );
        }
        DeleteRecordsResponse::default().with_topics(topics)
    }
}

/// The first offset there is, afterwards.
fn delete(partition: &Partition, offset: i64) -> Result<i64, ErrorCode> {
    if !partition.settings().delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.high_watermark();
    let offset = match offset {
        HIGH_WATERMARK => high_watermark,
        offset if offset < 0 || offset > high_watermark => {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        offset => offset,
    };
    let Some(mut log) = partition.log_to_change() else {
        return Err(ErrorCode::UnknownTopicOrPartition);
    };
    log.advance_log_start(offset).map_err(|error| {
        tracing::error!("{partition}: records were not deleted: {error}");
        ErrorCode::KafkaStorageError
    })?;
    Ok(log.log_start())
}

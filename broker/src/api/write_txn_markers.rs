//! WriteTxnMarkers (27), version 1: the end of transactions, told to the leaders of their partitions
//! by their coordinator, or by an operator who aborts one that hangs (KIP-664).
//!
//! | version | adds |
//! |---|---|
//! | 1 | flexible encoding |
//!
//! A marker in `__consumer_offsets` goes through the coordinator of its groups. The answer has one
//! entry for each producer, as Kafka's.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use reka_protocol::kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use reka_protocol::kafka_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use reka_records::control::{EndTxnMarker, TransactionResult};

use super::{Call, Context, Handler};
use crate::metadata::CONSUMER_OFFSETS;
use crate::partition::append::Refused;
use crate::partition::verify::Marker;
use crate::txn::markers::end_offsets;

/// Writes the ends of transactions.
#[derive(Debug)]
pub struct WriteTxnMarkers;

impl Handler for WriteTxnMarkers {
    type Request = WriteTxnMarkersRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: WriteTxnMarkersRequest,
    ) -> WriteTxnMarkersResponse {
        let mut results: Vec<WritableTxnMarkerResult> = Vec::new();
        for asked in request.markers {
            let topics = write(&context, &asked).await;
            let of_producer = results
                .iter_mut()
                .find(|known| known.producer_id == asked.producer_id);
            match of_producer {
                Some(known) => known.topics.extend(topics),
                None => results.push(
                    WritableTxnMarkerResult::default()
                        .with_producer_id(asked.producer_id)
                        .with_topics(topics),
                ),
            }
        }
        WriteTxnMarkersResponse::default().with_markers(results)
    }
}

async fn write(context: &Context, asked: &WritableTxnMarker) -> Vec<WritableTxnMarkerTopicResult> {
    let marker = Marker {
        producer_id: asked.producer_id.0,
        producer_epoch: asked.producer_epoch,
        end: EndTxnMarker {
            result: match asked.transaction_result {
                true => TransactionResult::Commit,
                false => TransactionResult::Abort,
            },
            coordinator_epoch: asked.coordinator_epoch,
        },
        // The version that tells is not served.
        bumped_epoch: false,
    };
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in &topic.partition_indexes {
            let code = write_one(context, &topic.name, *index, marker).await;
            let result = WritableTxnMarkerPartitionResult::default()
                .with_partition_index(*index)
                .with_error_code(code.code());
            partitions.push(result);
        }
        let result = WritableTxnMarkerTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions);
        topics.push(result);
    }
    topics
}

async fn write_one(context: &Context, topic: &str, index: i32, marker: Marker) -> ErrorCode {
    let services = &context.services;
    if marker.producer_id < 0 || marker.producer_epoch < 0 {
        // Nobody's. Kafka has no better word for it.
        return ErrorCode::UnknownServerError;
    }
    let partition = match services.partitions.find(topic, index) {
        Ok(partition) => partition,
        Err(code) => return code,
    };
    if topic == CONSUMER_OFFSETS {
        return match end_offsets(services, index, marker).await {
            // Those who send markers look for the leader again when they hear this.
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::NotCoordinator => ErrorCode::NotLeaderOrFollower,
            code => code,
        };
    }
    let now_ms = services.clock.now_ms();
    let appended = match partition.counts_unsynced() {
        false => partition.append_marker(&marker, now_ms),
        // It blocks until it is on disk.
        true => {
            let append = move || partition.append_marker(&marker, now_ms);
            let appended = services.blocking.run(append).await;
            appended.unwrap_or_else(|error| Err(Refused::new(ErrorCode::UnknownServerError, error)))
        }
    };
    match appended {
        Ok(()) => ErrorCode::None,
        Err(refused) => {
            tracing::warn!("a marker is refused: {}", refused.message);
            refused.error_code
        }
    }
}

//! Transactions: list, describe, who writes to a partition, abort what hangs.

use std::collections::BTreeMap;

use reka_protocol::kafka_protocol::messages::describe_producers_request::TopicRequest;
use reka_protocol::kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use reka_protocol::kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, ListTransactionsRequest, ProducerId,
    TransactionalId, WriteTxnMarkersRequest,
};

use super::topics::by_topic;
use crate::client::{ANY, Client, Coordinator, Target, text, topic_name};
use crate::error::{ClientError, Outcome, judge};
use crate::metadata::TopicPartition;

/// A transactional id in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTransaction {
    /// The id.
    pub transactional_id: String,
    /// Its producer.
    pub producer_id: i64,
    /// Such as `Ongoing`.
    pub state: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

/// A transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    /// Such as `Ongoing`.
    pub state: String,
    /// Its producer.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// How long its transactions may take.
    pub timeout_ms: i32,
    /// When the current one began, in milliseconds; `None` where there is none.
    pub start_time: Option<i64>,
    /// The partitions of the current one.
    pub partitions: Vec<TopicPartition>,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

/// A producer a partition remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveProducer {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence number of its last record.
    pub last_sequence: i32,
    /// When it wrote last, in milliseconds.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that wrote its last marker, if there was one.
    pub coordinator_epoch: Option<i32>,
    /// Where its current transaction starts, if it is in one.
    pub transaction_start: Option<i64>,
}

/// A transaction to be aborted in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionAbort {
    /// Its producer.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The epoch of the coordinator, as `ActiveProducer` tells it.
    pub coordinator_epoch: i32,
}

impl Client {
    /// Every transactional id on every broker, by id.
    pub async fn list_transactions(&self) -> Result<Vec<ListedTransaction>, ClientError> {
        const API: &str = "ListTransactions";
        let mut found = BTreeMap::new();
        for broker in self.brokers().await? {
            let mut tries = self.tries(format!("list the transactions of broker {}", broker.id));
            let answer = loop {
                let attempt = async {
                    let target = Target::Broker(broker.id);
                    let answer = self
                        .ask(target, ANY, |_| ListTransactionsRequest::default())
                        .await?;
                    let subject = || format!("the transactions of broker {}", broker.id);
                    judge(API, subject, answer.error_code, None)?;
                    Ok(answer)
                };
                if let Some(answer) = tries.run(attempt).await? {
                    break answer;
                }
            };
            for state in &answer.transaction_states {
                let listed = ListedTransaction {
                    transactional_id: state.transactional_id.to_string(),
                    producer_id: state.producer_id.0,
                    state: state.transaction_state.to_string(),
                    coordinator: broker.id,
                };
                found.insert(listed.transactional_id.clone(), listed);
            }
        }
        Ok(found.into_values().collect())
    }

    /// These transactional ids.
    pub async fn describe_transactions(
        &self,
        ids: &[String],
    ) -> Result<Vec<(String, Outcome<TransactionDescription>)>, ClientError> {
        const API: &str = "DescribeTransactions";
        let ask = |broker: i32, ids: Vec<String>| async move {
            let asked = ids.iter().map(|id| TransactionalId(text(id))).collect();
            let answer = self
                .ask(Target::Broker(broker), ANY, |_| {
                    DescribeTransactionsRequest::default().with_transactional_ids(asked)
                })
                .await?;
            let described = answer.transaction_states.iter().map(|state| {
                let id = state.transactional_id.to_string();
                let subject = || format!("transactional id {id}");
                let judged = judge(API, subject, state.error_code, None);
                let described = judged.map(|()| {
                    let mut partitions = Vec::new();
                    for topic in &state.topics {
                        let name = topic.topic.as_str();
                        let of = |index: &i32| TopicPartition::new(name, *index);
                        partitions.extend(topic.partitions.iter().map(of));
                    }
                    partitions.sort();
                    TransactionDescription {
                        state: state.transaction_state.to_string(),
                        producer_id: state.producer_id.0,
                        producer_epoch: state.producer_epoch,
                        timeout_ms: state.transaction_timeout_ms,
                        start_time: Some(state.transaction_start_time_ms).filter(|at| *at >= 0),
                        partitions,
                        coordinator: broker,
                    }
                });
                (id, described)
            });
            Ok(described.collect())
        };
        let kind = Coordinator::Transaction;
        self.on_coordinators("describe transactions", kind, ids, ask)
            .await
    }

    /// The producers that partitions remember, by id.
    pub async fn describe_producers(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Outcome<Vec<ActiveProducer>>)>, ClientError> {
        const API: &str = "DescribeProducers";
        let ask = |leader: i32, wanted: Vec<(TopicPartition, ())>| async move {
            let topics = by_topic(&wanted, |partition, ()| partition);
            let topics = topics.into_iter().map(|(name, indexes)| {
                TopicRequest::default()
                    .with_name(topic_name(&name))
                    .with_partition_indexes(indexes)
            });
            let topics = topics.collect();
            let answer = self
                .ask(Target::Broker(leader), ANY, |_| {
                    DescribeProducersRequest::default().with_topics(topics)
                })
                .await?;
            let mut outcomes = Vec::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let subject = || format!("partition {at}");
                    let message = partition.error_message.as_deref();
                    let judged = judge(API, subject, partition.error_code, message);
                    let producers = judged.map(|()| {
                        let active = partition.active_producers.iter();
                        let mut active: Vec<ActiveProducer> = active
                            .map(|state| ActiveProducer {
                                producer_id: state.producer_id.0,
                                producer_epoch: state.producer_epoch,
                                last_sequence: state.last_sequence,
                                last_timestamp: state.last_timestamp,
                                coordinator_epoch: Some(state.coordinator_epoch)
                                    .filter(|epoch| *epoch >= 0),
                                transaction_start: Some(state.current_txn_start_offset)
                                    .filter(|offset| *offset >= 0),
                            })
                            .collect();
                        active.sort_by_key(|producer| producer.producer_id);
                        active
                    });
                    outcomes.push((at, producers));
                }
            }
            Ok(outcomes)
        };
        let wanted = partitions.iter().map(|at| (at.clone(), ())).collect();
        self.on_leaders("describe producers", wanted, ask).await
    }

    /// Ends a transaction in one partition alone, as aborted: for one whose coordinator has
    /// forgotten it. What its coordinator still knows is ended by the coordinator.
    pub async fn abort_transaction(
        &self,
        partition: &TopicPartition,
        abort: TransactionAbort,
    ) -> Result<Outcome<()>, ClientError> {
        const API: &str = "WriteTxnMarkers";
        let ask = |leader: i32, wanted: Vec<(TopicPartition, TransactionAbort)>| async move {
            let markers = wanted.iter().map(|(at, abort)| {
                let topic = WritableTxnMarkerTopic::default()
                    .with_name(topic_name(&at.topic))
                    .with_partition_indexes(vec![at.partition]);
                WritableTxnMarker::default()
                    .with_producer_id(ProducerId(abort.producer_id))
                    .with_producer_epoch(abort.producer_epoch)
                    .with_transaction_result(false)
                    .with_coordinator_epoch(abort.coordinator_epoch)
                    .with_topics(vec![topic])
            });
            let markers = markers.collect();
            let answer = self
                .ask(Target::Broker(leader), ANY, |_| {
                    WriteTxnMarkersRequest::default().with_markers(markers)
                })
                .await?;
            let mut outcomes = Vec::new();
            for topic in answer.markers.iter().flat_map(|marker| &marker.topics) {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let subject = || format!("partition {at}");
                    let judged = judge(API, subject, partition.error_code, None);
                    outcomes.push((at, judged));
                }
            }
            Ok(outcomes)
        };
        let wanted = vec![(partition.clone(), abort)];
        let mut outcomes = self.on_leaders("abort a transaction", wanted, ask).await?;
        Ok(outcomes.pop().map_or(Ok(()), |(_, outcome)| outcome))
    }
}

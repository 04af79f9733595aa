//! A consumer that is a member of a group and reads what the group gives it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::{GroupId, OffsetCommitRequest};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::member::{GroupConfig, GroupProtocol, Membership, Shared};
use super::{Consumer, ConsumerConfig, Fetched, classic, heartbeats};
use crate::client::{Client, Coordinator, Target, text, topic_name};
use crate::error::{ClientError, judge};
use crate::metadata::TopicPartition;

/// What a poll brings.
#[derive(Debug)]
pub enum Event {
    /// Records of a partition.
    Records(Fetched),
    /// The group has given other partitions than before.
    Assigned {
        /// What is read from now on.
        partitions: Vec<TopicPartition>,
        /// What is not read any more.
        revoked: Vec<TopicPartition>,
        /// Whether another member may have read on from what was revoked before it was committed.
        lost: bool,
    },
}

/// Where the records end that were handed out.
#[derive(Debug, Clone, Copy)]
struct Polled {
    offset: i64,
    leader_epoch: Option<i32>,
}

/// A member of a group. Drop it and the group learns of it from the silence; [`leave`](Self::leave)
/// tells it at once.
#[derive(Debug)]
pub struct GroupConsumer {
    client: Client,
    config: GroupConfig,
    consumer: Consumer,
    shared: Arc<Shared>,
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    /// What was handed out and is to be committed.
    polled: BTreeMap<TopicPartition, Polled>,
    committed_at: Instant,
}

impl GroupConsumer {
    /// Joins a group. It lives on the tokio runtime this is called on.
    #[must_use]
    pub fn join(client: Client, config: ConsumerConfig, group: GroupConfig) -> Self {
        let shared = Arc::new(Shared::default());
        let (leave, mut leaving) = oneshot::channel();
        let membership = Membership {
            client: client.clone(),
            config: group.clone(),
            shared: shared.clone(),
            lane: client.member_lane(),
        };
        let task = tokio::spawn(async move {
            let protocol = membership.config.protocol;
            if protocol != GroupProtocol::Classic {
                match heartbeats::run(&membership, &mut leaving).await {
                    Ok(()) => return,
                    Err(heartbeats::NotSpoken) if protocol == GroupProtocol::Newest => {}
                    Err(heartbeats::NotSpoken) => {
                        membership.fail(ClientError::Unsupported {
                            api: "ConsumerGroupHeartbeat",
                            broker: "the coordinator".to_owned(),
                            reason: "it does not speak KIP-848's protocol".to_owned(),
                        });
                        return;
                    }
                }
            }
            if let Some(pattern) = &membership.config.topic_pattern {
                membership.fail(ClientError::Unsupported {
                    api: "ConsumerGroupHeartbeat",
                    broker: "the coordinator".to_owned(),
                    reason: format!(
                        "only KIP-848's protocol with expressions reads the topics of {pattern}"
                    ),
                });
                return;
            }
            membership.shared.lock().member_id.clear();
            classic::run(&membership, &mut leaving).await;
        });
        GroupConsumer {
            consumer: Consumer::new(client.clone(), config),
            client,
            config: group,
            shared,
            leave: Some(leave),
            task,
            polled: BTreeMap::new(),
            committed_at: Instant::now(),
        }
    }

    /// The next thing that happens, or nothing within `wait`. Poll at least as often as the group's
    /// `rebalance_timeout`: only here partitions are given up and taken.
    pub async fn poll(&mut self, wait: Duration) -> Result<Option<Event>, ClientError> {
        let end = Instant::now() + wait;
        loop {
            if let Some(event) = self.take().await? {
                return Ok(Some(event));
            }
            self.commit_by_the_clock().await?;
            let left = end.saturating_duration_since(Instant::now());
            let shared = self.shared.clone();
            let polled = tokio::select! {
                polled = self.consumer.poll(left) => polled?,
                () = shared.given.notified() => continue,
            };
            match polled {
                Some(fetched) => {
                    let polled = Polled {
                        offset: fetched.next_offset,
                        leader_epoch: fetched.leader_epoch,
                    };
                    self.polled.insert(fetched.partition.clone(), polled);
                    return Ok(Some(Event::Records(fetched)));
                }
                None if left.is_zero() || Instant::now() >= end => return Ok(None),
                None => {}
            }
        }
    }

    /// Takes what the group gives, gives up what it takes away.
    async fn take(&mut self) -> Result<Option<Event>, ClientError> {
        let (target, lost) = {
            let mut state = self.shared.lock();
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            match &state.target {
                Some(target) if *target != state.owned || state.lost => {
                    (target.clone(), state.lost)
                }
                _ => return Ok(None),
            }
        };
        let owned: Vec<TopicPartition> = self.consumer.assignment().cloned().collect();
        let revoked: Vec<TopicPartition> = owned
            .iter()
            .filter(|at| !target.contains(at))
            .cloned()
            .collect();
        if lost {
            self.polled.clear();
        } else if self.config.auto_commit.is_some() && !revoked.is_empty() {
            self.commit().await?;
        }
        for at in &revoked {
            self.polled.remove(at);
        }
        let fresh: Vec<TopicPartition> = target
            .iter()
            .filter(|at| !owned.contains(at))
            .cloned()
            .collect();
        let committed = match fresh.is_empty() {
            true => BTreeMap::new(),
            false => self.client.group_offsets(&self.config.group).await?,
        };
        self.consumer.assign(target.iter().cloned());
        for at in &fresh {
            if let Some(committed) = committed.get(at) {
                self.consumer.seek_committed(at, committed);
            }
        }
        {
            let mut state = self.shared.lock();
            state.owned.clone_from(&target);
            state.lost = false;
        }
        self.shared.taken.notify_one();
        if fresh.is_empty() && revoked.is_empty() {
            return Ok(None);
        }
        Ok(Some(Event::Assigned {
            partitions: target,
            revoked,
            lost,
        }))
    }

    /// Goes on at this offset, and commits it next: what was handed out behind it was not used.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) {
        self.consumer.seek(partition, offset);
        if let Some(polled) = self.polled.get_mut(partition) {
            polled.offset = offset;
            polled.leader_epoch = None;
        }
    }

    async fn commit_by_the_clock(&mut self) -> Result<(), ClientError> {
        let Some(interval) = self.config.auto_commit else {
            return Ok(());
        };
        if self.committed_at.elapsed() >= interval && !self.polled.is_empty() {
            self.commit().await?;
        }
        Ok(())
    }

    /// Commits where the records end that were polled before this.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.committed_at = Instant::now();
        let offsets: Vec<(TopicPartition, Polled)> = self
            .polled
            .iter()
            .map(|(at, polled)| (at.clone(), *polled))
            .collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let mut tries = self
            .client
            .tries(format!("commit offsets of group {}", self.config.group));
        loop {
            // The epoch moves on with every heartbeat; a commit in one that is past is made again.
            let attempt = async {
                let outcome = self.commit_once(&offsets).await;
                match outcome {
                    Err(error) if is_stale(&error) => Ok(false),
                    other => other.map(|()| true),
                }
            };
            match tries.run(attempt).await? {
                Some(true) => break,
                Some(false) => tokio::time::sleep(self.client.config().backoff.first).await,
                None => {}
            }
        }
        self.polled.clear();
        Ok(())
    }

    async fn commit_once(&self, offsets: &[(TopicPartition, Polled)]) -> Result<(), ClientError> {
        const API: &str = "OffsetCommit";
        let group = &self.config.group;
        let broker = self
            .client
            .find_coordinator(Coordinator::Group, group)
            .await?;
        let (member_id, epoch) = {
            let state = self.shared.lock();
            (state.member_id.clone(), state.epoch)
        };
        let instance_id = self.config.instance_id.as_deref().map(text);
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (at, polled) in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(at.partition)
                .with_committed_offset(polled.offset)
                .with_committed_leader_epoch(polled.leader_epoch.unwrap_or(-1))
                .with_committed_metadata(Some(text("")));
            match topics.last_mut().filter(|topic| *topic.name.0 == *at.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(
                    OffsetCommitRequestTopic::default()
                        .with_name(topic_name(&at.topic))
                        .with_partitions(vec![partition]),
                ),
            }
        }
        let answer = self
            .client
            .ask(Target::Broker(broker.id), 2..=9, |version| {
                // Earlier versions know neither the epochs of leaders nor members with names.
                if version < 6 {
                    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                    partitions.for_each(|partition| partition.committed_leader_epoch = -1);
                }
                OffsetCommitRequest::default()
                    .with_group_id(GroupId(text(group)))
                    .with_generation_id_or_member_epoch(epoch)
                    .with_member_id(text(&member_id))
                    .with_group_instance_id(instance_id.filter(|_| version >= 7))
                    .with_topics(topics)
            })
            .await?;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let subject =
                    || format!("partition {}-{index} of group {group}", topic.name.as_str());
                judge(API, subject, partition.error_code, None)?;
            }
        }
        Ok(())
    }

    /// The partitions that are read.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.consumer.assignment()
    }

    /// Who the group knows the member as.
    #[must_use]
    pub fn member_id(&self) -> String {
        self.shared.lock().member_id.clone()
    }

    /// Commits, where that is done by the clock, and tells the group that the member is gone.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        let committed = match self.config.auto_commit {
            Some(_) => self.commit().await,
            None => Ok(()),
        };
        if let Some(leave) = self.leave.take() {
            let _ = leave.send(());
        }
        // As long as any request of it may take, and no longer.
        let limit = self.client.config().request_timeout;
        let _ = tokio::time::timeout(limit, &mut self.task).await;
        committed
    }
}

fn is_stale(error: &ClientError) -> bool {
    let stale = ErrorCode::StaleMemberEpoch;
    error.refusal().is_some_and(|refusal| refusal.is(stale))
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        // Without `leave` the group is not told: the task only ends.
        if self.leave.is_some() {
            self.task.abort();
        }
    }
}

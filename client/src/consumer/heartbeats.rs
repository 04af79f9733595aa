//! Membership by KIP-848: a heartbeat says what the member has, its answer what it is to have.
//!
//! The member names itself. It joins with epoch 0 and nothing, and leaves with epoch -1, or -2 where it
//! is static and expected back. When the group has given it up it lets go of everything and joins again.

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId,
};
use std::time::Duration;
use uuid::Uuid;

use super::member::{Leave, Membership};
use crate::client::{ANY, Target, Topics, agree, chance, text, topic_name};
use crate::error::{ClientError, judge};
use crate::metadata::TopicPartition;

const API: &str = "ConsumerGroupHeartbeat";
const LEAVE_EPOCH: i32 = -1;
/// A static member that is expected back.
const STATIC_LEAVE_EPOCH: i32 = -2;
/// Before the broker has said how often it wants to hear of its members.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(3);

/// What was said last, so that only what is new is said again.
#[derive(Debug, Default)]
struct Said {
    /// The subscription, in this epoch of ours.
    joined: bool,
    owned: Option<Vec<TopicPartition>>,
}

/// The broker does not speak the protocol.
#[derive(Debug)]
pub(super) struct NotSpoken;

/// Keeps the membership until the member leaves.
pub(super) async fn run(membership: &Membership, leaving: &mut Leave) -> Result<(), NotSpoken> {
    membership.shared.lock().member_id = Uuid::new_v4().to_string();
    let mut said = Said::default();
    let mut failures = 0;
    let mut coordinator: Option<i32> = None;
    loop {
        let beat = beat(membership, &mut said, &mut coordinator).await;
        let wait = match beat {
            Ok(interval) => {
                failures = 0;
                interval
            }
            Err(ClientError::Unsupported { .. }) if !said.joined => {
                return Err(NotSpoken);
            }
            Err(error) if may_pass(&error) => {
                coordinator = None;
                failures += 1;
                let backoff = membership.client.config().backoff;
                backoff.after(failures, chance())
            }
            Err(error) => {
                membership.fail(error);
                return Ok(());
            }
        };
        let shared = membership.shared.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.taken.notified() => {}
            _ = &mut *leaving => {
                leave(membership, coordinator).await;
                return Ok(());
            }
        }
    }
}

fn may_pass(error: &ClientError) -> bool {
    let unreleased = ErrorCode::UnreleasedInstanceId;
    let timed_out = matches!(
        error,
        ClientError::Deadline { .. } | ClientError::UnknownBroker { .. }
    );
    let named = error
        .refusal()
        .is_some_and(|refusal| refusal.is(unreleased));
    error.is_transient() || timed_out || named
}

/// One heartbeat; how long to wait for the next.
async fn beat(
    membership: &Membership,
    said: &mut Said,
    coordinator: &mut Option<i32>,
) -> Result<Duration, ClientError> {
    let broker = match *coordinator {
        Some(broker) => broker,
        None => membership.coordinator().await?.id,
    };
    *coordinator = Some(broker);
    let (member_id, epoch, owned, lost) = {
        let state = membership.shared.lock();
        (
            state.member_id.clone(),
            state.epoch,
            state.owned.clone(),
            state.lost,
        )
    };
    if lost {
        // The consumer still has to let go of what it had.
        return Ok(INTERVAL_DEFAULT);
    }
    let mut request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(&membership.config.group)))
        .with_member_id(text(&member_id))
        .with_member_epoch(epoch)
        .with_instance_id(membership.instance_id())
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None);
    if !said.joined || epoch == 0 {
        let topics = membership.config.topics.iter();
        let rebalance = membership.config.rebalance_timeout.as_millis();
        request = request
            .with_subscribed_topic_names(Some(topics.map(|topic| topic_name(topic)).collect()))
            .with_subscribed_topic_regex(membership.config.topic_pattern.as_deref().map(text))
            .with_rebalance_timeout_ms(i32::try_from(rebalance).unwrap_or(i32::MAX))
            .with_topic_partitions(Some(Vec::new()));
    }
    if epoch > 0 && said.owned.as_ref() != Some(&owned) {
        request = request.with_topic_partitions(Some(by_id(membership, &owned).await?));
    }
    let answer = send(membership, broker, &request).await?;
    let subject = || format!("group {}", membership.config.group);
    let message = answer.error_message.as_deref();
    match judge(API, subject, answer.error_code, message) {
        Err(refusal)
            if refusal.is(ErrorCode::UnknownMemberId)
                || refusal.is(ErrorCode::FencedMemberEpoch) =>
        {
            *said = Said {
                joined: true,
                ..Said::default()
            };
            membership.shared.give(|state| {
                state.epoch = 0;
                state.lost = !state.owned.is_empty();
                state.target = Some(Vec::new());
            });
            return Ok(Duration::ZERO);
        }
        other => other?,
    }
    said.joined = true;
    if epoch > 0 {
        said.owned = Some(owned);
    }
    let target = match &answer.assignment {
        Some(assignment) => Some(by_name(membership, assignment).await?),
        None => None,
    };
    let member_epoch = answer.member_epoch;
    membership.shared.give(|state| {
        state.epoch = member_epoch;
        if let Some(target) = target {
            state.target = Some(target);
        }
    });
    let interval = u64::try_from(answer.heartbeat_interval_ms)
        .ok()
        .filter(|ms| *ms > 0);
    Ok(interval.map_or(INTERVAL_DEFAULT, Duration::from_millis))
}

async fn send(
    membership: &Membership,
    broker: i32,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, ClientError> {
    let target = Target::Broker(broker);
    let connection = membership
        .client
        .connection(target, membership.lane)
        .await?;
    // Version 0 knows no expressions.
    let versions = match request.subscribed_topic_regex {
        Some(_) => 1..=i16::MAX,
        None => ANY,
    };
    let version = agree::<ConsumerGroupHeartbeatRequest>(&connection, &versions)?;
    connection.call(version, request).await
}

/// Tells the group, as far as it can be reached, that the member is gone.
async fn leave(membership: &Membership, coordinator: Option<i32>) {
    let Some(broker) = coordinator else {
        return;
    };
    let member_id = membership.shared.lock().member_id.clone();
    let epoch = match membership.config.instance_id {
        Some(_) => STATIC_LEAVE_EPOCH,
        None => LEAVE_EPOCH,
    };
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(&membership.config.group)))
        .with_member_id(text(&member_id))
        .with_member_epoch(epoch)
        .with_instance_id(membership.instance_id())
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None);
    // Whoever cannot be told learns it from the silence.
    let _ = send(membership, broker, &request).await;
}

async fn by_id(
    membership: &Membership,
    partitions: &[TopicPartition],
) -> Result<Vec<TopicPartitions>, ClientError> {
    let mut topics: Vec<(String, TopicPartitions)> = Vec::new();
    for at in partitions {
        match topics.last_mut().filter(|(name, _)| *name == at.topic) {
            Some((_, topic)) => topic.partitions.push(at.partition),
            None => {
                let id = membership.client.topic(&at.topic).await?.id;
                let topic = TopicPartitions::default()
                    .with_topic_id(id)
                    .with_partitions(vec![at.partition]);
                topics.push((at.topic.clone(), topic));
            }
        }
    }
    Ok(topics.into_iter().map(|(_, topic)| topic).collect())
}

/// Topics are told by their ids. One whose name is not known yet is left out: the group tells again
/// what the member does not say it has.
async fn by_name(
    membership: &Membership,
    assignment: &Assignment,
) -> Result<Vec<TopicPartition>, ClientError> {
    let client = &membership.client;
    let ids = assignment
        .topic_partitions
        .iter()
        .map(|topic| topic.topic_id);
    let unknown: Vec<Uuid> = ids.filter(|id| client.view().name(*id).is_none()).collect();
    if !unknown.is_empty() {
        client.refresh(Topics::Ids(&unknown)).await?;
    }
    let mut partitions = Vec::new();
    for topic in &assignment.topic_partitions {
        let name = client.view().name(topic.topic_id).map(str::to_owned);
        if let Some(name) = name {
            let of = |index: &i32| TopicPartition::new(name.clone(), *index);
            partitions.extend(topic.partitions.iter().map(of));
        }
    }
    partitions.sort();
    Ok(partitions)
}

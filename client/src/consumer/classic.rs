//! Membership by the classic protocol, eager: whenever the group changes, everybody gives up
//! everything, joins, and is told by the leader among them what to have.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::leave_group_request::MemberIdentity;
use reka_protocol::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use reka_protocol::kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest,
};
use reka_protocol::kafka_protocol::protocol::Request;

use super::member::{Leave, Membership};
use super::range;
use crate::client::{ANY, Target, agree, chance, text};
use crate::embedded;
use crate::error::{ClientError, Refusal, judge};
use crate::metadata::TopicPartition;

const PROTOCOL_TYPE: &str = "consumer";

/// How the membership goes on.
enum Next {
    /// Everything is as it was.
    Stay,
    /// The group changes: join again, as who we are or as somebody new.
    Join { anew: bool },
}

/// Keeps the membership until the member leaves.
pub(super) async fn run(membership: &Membership, leaving: &mut Leave) {
    let mut failures = 0;
    let mut joined = false;
    // A third of the time-out, so that one that is lost does no harm.
    let interval = membership.config.session_timeout / 3;
    loop {
        let step = async {
            match joined {
                false => join(membership).await,
                true => beat(membership).await,
            }
        };
        let step = tokio::select! {
            step = step => step,
            _ = &mut *leaving => {
                leave(membership).await;
                return;
            }
        };
        let wait = match step {
            Ok(Next::Stay) => {
                failures = 0;
                joined = true;
                interval
            }
            Ok(Next::Join { anew }) => {
                joined = false;
                membership.shared.give(|state| {
                    state.target = Some(Vec::new());
                    if anew {
                        state.lost = !state.owned.is_empty();
                        state.member_id.clear();
                        state.epoch = -1;
                    }
                });
                Duration::ZERO
            }
            Err(error) if error.is_transient() || matches!(error, ClientError::Deadline { .. }) => {
                failures += 1;
                membership.client.config().backoff.after(failures, chance())
            }
            Err(error) => {
                membership.fail(error);
                return;
            }
        };
        let shared = membership.shared.clone();
        let ready = async {
            tokio::time::sleep(wait).await;
            // Nobody joins before everything is given up.
            if !joined {
                shared.until_taken().await;
            }
        };
        tokio::select! {
            () = ready => {}
            _ = &mut *leaving => {
                leave(membership).await;
                return;
            }
        }
    }
}

async fn ask<R: Request + 'static>(
    membership: &Membership,
    longer: Duration,
    build: impl FnOnce(i16) -> R,
) -> Result<R::Response, ClientError> {
    let broker = membership.coordinator().await?;
    let target = Target::Broker(broker.id);
    let connection = membership
        .client
        .connection(target, membership.lane)
        .await?;
    let version = agree::<R>(&connection, &ANY)?;
    connection
        .call_within(version, &build(version), longer)
        .await
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// What an error means for the membership; others are errors.
fn next(judged: Result<(), Refusal>) -> Result<Next, ClientError> {
    let Err(refusal) = judged else {
        return Ok(Next::Stay);
    };
    match refusal.error() {
        Some(ErrorCode::RebalanceInProgress) => Ok(Next::Join { anew: false }),
        Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
            Ok(Next::Join { anew: true })
        }
        _ => Err(refusal.into()),
    }
}

/// Joins, and takes what the leader gives.
async fn join(membership: &Membership) -> Result<Next, ClientError> {
    let config = &membership.config;
    let subject = || format!("group {}", config.group);
    let mut member_id = membership.shared.lock().member_id.clone();
    let answer: JoinGroupResponse = loop {
        let answer = ask(membership, config.rebalance_timeout, |version| {
            let subscription = embedded::write_subscription(&config.topics);
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(text(range::NAME))
                .with_metadata(subscription.into());
            let request = JoinGroupRequest::default()
                .with_group_id(GroupId(text(&config.group)))
                .with_session_timeout_ms(millis(config.session_timeout))
                .with_member_id(text(&member_id))
                .with_protocol_type(text(PROTOCOL_TYPE))
                .with_protocols(vec![protocol]);
            match version {
                0 => request,
                _ => request.with_rebalance_timeout_ms(millis(config.rebalance_timeout)),
            }
        })
        .await?;
        if answer.error_code == ErrorCode::MemberIdRequired.code() && member_id.is_empty() {
            member_id = answer.member_id.to_string();
            continue;
        }
        break answer;
    };
    match next(judge("JoinGroup", subject, answer.error_code, None))? {
        Next::Stay => {}
        other => return Ok(other),
    }
    let generation = answer.generation_id;
    membership.shared.give(|state| {
        state.member_id = answer.member_id.to_string();
        state.epoch = generation;
    });
    let assignments = match answer.leader == answer.member_id {
        true => lead(membership, &answer).await?,
        false => Vec::new(),
    };
    let synced = ask(membership, config.rebalance_timeout, |version| {
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&config.group)))
            .with_generation_id(generation)
            .with_member_id(answer.member_id.clone())
            .with_assignments(assignments);
        match version {
            ..5 => request,
            _ => request
                .with_protocol_type(Some(text(PROTOCOL_TYPE)))
                .with_protocol_name(Some(text(range::NAME))),
        }
    })
    .await?;
    match next(judge("SyncGroup", subject, synced.error_code, None))? {
        Next::Stay => {}
        other => return Ok(other),
    }
    let assigned = embedded::read_assignment(&synced.assignment);
    let assigned: Vec<TopicPartition> = assigned.map_err(|error| {
        let reason = format!(
            "the leader of group {} gave no assignment: {error}",
            config.group
        );
        ClientError::Config { reason }
    })?;
    membership
        .shared
        .give(|state| state.target = Some(assigned));
    Ok(Next::Stay)
}

/// Decides what everybody gets.
async fn lead(
    membership: &Membership,
    answer: &JoinGroupResponse,
) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in &answer.members {
        // A member nobody understands gets nothing.
        let topics = embedded::read_subscription(&member.metadata).unwrap_or_default();
        wanted.insert(member.member_id.to_string(), topics);
    }
    let mut names: Vec<String> = wanted.values().flatten().cloned().collect();
    names.sort();
    names.dedup();
    let mut partitions = BTreeMap::new();
    for (name, described) in membership.client.describe_topics(&names).await? {
        if let Ok(topic) = described {
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            partitions.insert(name, count);
        }
    }
    let assigned = range::assign(&wanted, &partitions);
    let assignment = |(member, partitions): (String, Vec<TopicPartition>)| {
        let bytes: Bytes = embedded::write_assignment(&partitions).into();
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&member))
            .with_assignment(bytes)
    };
    Ok(assigned.into_iter().map(assignment).collect())
}

async fn beat(membership: &Membership) -> Result<Next, ClientError> {
    let (member_id, generation) = {
        let state = membership.shared.lock();
        (state.member_id.clone(), state.epoch)
    };
    let answer = ask(membership, Duration::ZERO, |_| {
        HeartbeatRequest::default()
            .with_group_id(GroupId(text(&membership.config.group)))
            .with_generation_id(generation)
            .with_member_id(text(&member_id))
    })
    .await?;
    let subject = || format!("group {}", membership.config.group);
    next(judge("Heartbeat", subject, answer.error_code, None))
}

async fn leave(membership: &Membership) {
    let member_id = membership.shared.lock().member_id.clone();
    if member_id.is_empty() {
        return;
    }
    let sent = ask(membership, Duration::ZERO, |version| {
        let request =
            LeaveGroupRequest::default().with_group_id(GroupId(text(&membership.config.group)));
        match version {
            ..3 => request.with_member_id(text(&member_id)),
            _ => request.with_members(vec![
                MemberIdentity::default().with_member_id(text(&member_id)),
            ]),
        }
    });
    // Whoever cannot be told learns it from the silence.
    let _ = sent.await;
}

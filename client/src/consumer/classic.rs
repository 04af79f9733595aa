//! Membership by the classic protocol: whenever the group changes, everybody joins again and is told by
//! the leader among them what to have.
//!
//! | Assignor | Before joining | After it |
//! |---|---|---|
//! | `range` | everybody gives up everything | everybody takes what it is told |
//! | `cooperative-sticky` | everybody keeps what it has and says so | who is to give something up does, and joins again, so that another gets it |

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

use super::member::{Assignor, Leave, Membership};
use super::{cooperative, range};
use crate::client::{ANY, Target, agree, chance, text};
use crate::embedded::{self, Subscription};
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
                // What is given up is free for another in the next generation.
                match gives_up(membership) {
                    true => {
                        joined = false;
                        Duration::ZERO
                    }
                    false => interval,
                }
            }
            Ok(Next::Join { anew }) => {
                joined = false;
                let keeps = membership.config.assignor == Assignor::CooperativeSticky && !anew;
                membership.shared.give(|state| {
                    if !keeps {
                        state.target = Some(Vec::new());
                    }
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

/// Whether the member has something that it is not to have any more and another may have.
fn gives_up(membership: &Membership) -> bool {
    if membership.config.assignor != Assignor::CooperativeSticky {
        return false;
    }
    let state = membership.shared.lock();
    let target = state.target.as_deref().unwrap_or_default();
    state.owned.iter().any(|at| !target.contains(at))
}

/// Asks the coordinator. Members with names are known since version `named`.
async fn ask<R: Request + 'static>(
    membership: &Membership,
    longer: Duration,
    named: i16,
    build: impl FnOnce(i16) -> R,
) -> Result<R::Response, ClientError> {
    let broker = membership.coordinator().await?;
    let target = Target::Broker(broker.id);
    let connection = membership
        .client
        .connection(target, membership.lane)
        .await?;
    let versions = match membership.config.instance_id {
        Some(_) => named..=i16::MAX,
        None => ANY,
    };
    let version = agree::<R>(&connection, &versions)?;
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
    let (mut member_id, owned, generation) = {
        let state = membership.shared.lock();
        (state.member_id.clone(), state.owned.clone(), state.epoch)
    };
    let name = match config.assignor {
        Assignor::Range => range::NAME,
        Assignor::CooperativeSticky => cooperative::NAME,
    };
    let subscription = match config.assignor {
        Assignor::Range => embedded::write_subscription(&config.topics),
        Assignor::CooperativeSticky => embedded::write_cooperative(&Subscription {
            topics: config.topics.clone(),
            generation: if owned.is_empty() { -1 } else { generation },
            owned,
        }),
    };
    let answer: JoinGroupResponse = loop {
        let answer = ask(membership, config.rebalance_timeout, 5, |version| {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(subscription.clone().into());
            let request = JoinGroupRequest::default()
                .with_group_id(GroupId(text(&config.group)))
                .with_session_timeout_ms(millis(config.session_timeout))
                .with_member_id(text(&member_id))
                .with_group_instance_id(membership.instance_id())
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
    // A static leader that comes back to a group that has not changed decides nothing.
    let assignments = match answer.leader == answer.member_id && !answer.skip_assignment {
        true => lead(membership, &answer).await?,
        false => Vec::new(),
    };
    let synced = ask(membership, config.rebalance_timeout, 3, |version| {
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&config.group)))
            .with_generation_id(generation)
            .with_member_id(answer.member_id.clone())
            .with_group_instance_id(membership.instance_id())
            .with_assignments(assignments);
        match version {
            ..5 => request,
            _ => request
                .with_protocol_type(Some(text(PROTOCOL_TYPE)))
                .with_protocol_name(Some(text(name))),
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
    let mut members: BTreeMap<String, Subscription> = BTreeMap::new();
    for member in &answer.members {
        // A member nobody understands gets nothing.
        let subscription = embedded::read_subscription(&member.metadata).unwrap_or_default();
        members.insert(member.member_id.to_string(), subscription);
    }
    let topics = members.values().flat_map(|member| &member.topics);
    let mut names: Vec<String> = topics.cloned().collect();
    names.sort();
    names.dedup();
    let mut partitions = BTreeMap::new();
    for (name, described) in membership.client.describe_topics(&names).await? {
        if let Ok(topic) = described {
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            partitions.insert(name, count);
        }
    }
    let assigned = match membership.config.assignor {
        Assignor::CooperativeSticky => cooperative::assign(&members, &partitions),
        Assignor::Range => {
            let wanted = members
                .into_iter()
                .map(|(member, subscription)| (member, subscription.topics));
            range::assign(&wanted.collect(), &partitions)
        }
    };
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
    let answer = ask(membership, Duration::ZERO, 3, |_| {
        HeartbeatRequest::default()
            .with_group_instance_id(membership.instance_id())
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
    // A static member is expected back.
    if member_id.is_empty() || membership.config.instance_id.is_some() {
        return;
    }
    let sent = ask(membership, Duration::ZERO, 0, |version| {
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

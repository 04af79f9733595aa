//! Groups: list, describe, their offsets, members that are to leave.

use std::collections::BTreeMap;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::consumer_group_describe_response as consumer;
use reka_protocol::kafka_protocol::messages::describe_groups_response as classic;
use reka_protocol::kafka_protocol::messages::leave_group_request::MemberIdentity;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest,
};

use super::topics::by_topic;
use crate::client::{ANY, Client, Coordinator, Target, text, topic_name};
use crate::embedded;
use crate::error::{ClientError, Outcome, Refusal, judge};
use crate::metadata::TopicPartition;

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub id: String,
    /// `consumer`, `connect` or whatever its members say; empty for a group without members.
    pub protocol_type: String,
    /// Its state, such as `Stable`; empty where the broker tells none.
    pub state: String,
    /// `classic`, `consumer`; empty where the broker tells none.
    pub kind: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// Its state, such as `Stable`.
    pub state: String,
    /// `consumer` for KIP-848's protocol, `classic` for the one before.
    pub kind: &'static str,
    /// `consumer`, `connect` or whatever its members say.
    pub protocol_type: String,
    /// Who gives partitions to members.
    pub assignor: String,
    /// Rises with every change of members or topics; only with KIP-848's protocol.
    pub epoch: Option<i32>,
    /// The epoch members are to reach; only with KIP-848's protocol.
    pub assignment_epoch: Option<i32>,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its members, by id.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Given out by the coordinator or, in KIP-848's protocol, by the member.
    pub id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// The epoch it has reached; only with KIP-848's protocol.
    pub epoch: Option<i32>,
    /// What it has.
    pub assignment: MemberAssignment,
    /// What it is to have; only with KIP-848's protocol.
    pub target: Option<Vec<TopicPartition>>,
}

/// What a member has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberAssignment {
    /// These partitions.
    Partitions(Vec<TopicPartition>),
    /// Bytes that only the group's own kind can read, such as those of connect workers.
    Opaque(usize),
}

impl MemberAssignment {
    /// The partitions, as far as they can be read.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        match self {
            MemberAssignment::Partitions(partitions) => partitions,
            MemberAssignment::Opaque(_) => &[],
        }
    }
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record it wants.
    pub offset: i64,
    /// The epoch of the leader that wrote the record before it, if it is known.
    pub leader_epoch: Option<i32>,
    /// What the member said about it.
    pub metadata: String,
}

/// What is to be committed for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The offset of the next record.
    pub offset: i64,
    /// The epoch of the leader that wrote the record before it, if it is known.
    pub leader_epoch: Option<i32>,
    /// Anything.
    pub metadata: String,
}

impl OffsetToCommit {
    /// An offset alone.
    #[must_use]
    pub fn new(offset: i64) -> Self {
        OffsetToCommit {
            offset,
            leader_epoch: None,
            metadata: String::new(),
        }
    }
}

impl Client {
    /// Every group on every broker, by id.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        const API: &str = "ListGroups";
        let mut found = BTreeMap::new();
        for broker in self.brokers().await? {
            let mut tries = self.tries(format!("list the groups of broker {}", broker.id));
            let answer = loop {
                let attempt = async {
                    let target = Target::Broker(broker.id);
                    let answer = self
                        .ask(target, ANY, |_| ListGroupsRequest::default())
                        .await?;
                    let subject = || format!("the groups of broker {}", broker.id);
                    judge(API, subject, answer.error_code, None)?;
                    Ok(answer)
                };
                if let Some(answer) = tries.run(attempt).await? {
                    break answer;
                }
            };
            for group in &answer.groups {
                let listing = GroupListing {
                    id: group.group_id.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    state: group.group_state.to_string(),
                    kind: group.group_type.to_string(),
                    coordinator: broker.id,
                };
                found.insert(listing.id.clone(), listing);
            }
        }
        Ok(found.into_values().collect())
    }

    /// These groups. A group that is not there is refused with `GROUP_ID_NOT_FOUND`, or is `Dead`
    /// where the broker is older.
    pub async fn describe_groups(
        &self,
        ids: &[String],
    ) -> Result<Vec<(String, Outcome<GroupDescription>)>, ClientError> {
        let ask = |broker: i32, ids: Vec<String>| async move {
            let mut outcomes = Vec::new();
            let mut others = Vec::new();
            match self.describe_consumer_groups(broker, &ids).await {
                Ok(described) => {
                    for (id, outcome) in described {
                        // A group of the classic protocol is none of these.
                        let is_other = |refusal: &Refusal| refusal.is(ErrorCode::GroupIdNotFound);
                        if outcome.as_ref().is_err_and(is_other) {
                            others.push(id);
                        } else {
                            outcomes.push((id, outcome));
                        }
                    }
                }
                Err(ClientError::Unsupported { .. }) => others = ids,
                Err(error) => return Err(error),
            }
            if !others.is_empty() {
                outcomes.extend(self.describe_classic_groups(broker, &others).await?);
            }
            Ok(outcomes)
        };
        self.on_coordinators("describe groups", Coordinator::Group, ids, ask)
            .await
    }

    async fn describe_consumer_groups(
        &self,
        broker: i32,
        ids: &[String],
    ) -> Result<Vec<(String, Outcome<GroupDescription>)>, ClientError> {
        const API: &str = "ConsumerGroupDescribe";
        let answer = self
            .ask(Target::Broker(broker), ANY, |_| {
                ConsumerGroupDescribeRequest::default().with_group_ids(group_ids(ids))
            })
            .await?;
        let described = answer.groups.iter().map(|group| {
            let id = group.group_id.to_string();
            let subject = || format!("group {id}");
            let message = group.error_message.as_deref();
            let judged = judge(API, subject, group.error_code, message);
            let described = judged.map(|()| GroupDescription {
                id: id.clone(),
                state: group.group_state.to_string(),
                kind: "consumer",
                protocol_type: "consumer".to_owned(),
                assignor: group.assignor_name.to_string(),
                epoch: Some(group.group_epoch),
                assignment_epoch: Some(group.assignment_epoch),
                coordinator: broker,
                members: by_id(group.members.iter().map(consumer_member).collect()),
            });
            (id, described)
        });
        Ok(described.collect())
    }

    async fn describe_classic_groups(
        &self,
        broker: i32,
        ids: &[String],
    ) -> Result<Vec<(String, Outcome<GroupDescription>)>, ClientError> {
        const API: &str = "DescribeGroups";
        let answer = self
            .ask(Target::Broker(broker), ANY, |_| {
                DescribeGroupsRequest::default().with_groups(group_ids(ids))
            })
            .await?;
        let described = answer.groups.iter().map(|group| {
            let id = group.group_id.to_string();
            let subject = || format!("group {id}");
            let message = group.error_message.as_deref();
            let judged = judge(API, subject, group.error_code, message);
            let is_consumer = matches!(group.protocol_type.as_str(), "consumer");
            let members = group
                .members
                .iter()
                .map(|member| classic_member(member, is_consumer));
            let described = judged.map(|()| GroupDescription {
                id: id.clone(),
                state: group.group_state.to_string(),
                kind: "classic",
                protocol_type: group.protocol_type.to_string(),
                assignor: group.protocol_data.to_string(),
                epoch: None,
                assignment_epoch: None,
                coordinator: broker,
                members: by_id(members.collect()),
            });
            (id, described)
        });
        Ok(described.collect())
    }

    /// Deletes groups that have no members.
    pub async fn delete_groups(
        &self,
        ids: &[String],
    ) -> Result<Vec<(String, Outcome<()>)>, ClientError> {
        const API: &str = "DeleteGroups";
        let ask = |broker: i32, ids: Vec<String>| async move {
            let answer = self
                .ask(Target::Broker(broker), ANY, |_| {
                    DeleteGroupsRequest::default().with_groups_names(group_ids(&ids))
                })
                .await?;
            let deleted = answer.results.iter().map(|group| {
                let id = group.group_id.to_string();
                let judged = judge(API, || format!("group {id}"), group.error_code, None);
                (id, judged)
            });
            Ok(deleted.collect())
        };
        self.on_coordinators("delete groups", Coordinator::Group, ids, ask)
            .await
    }

    /// Everything a group has committed.
    pub async fn group_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let mut tries = self.tries(format!("read the offsets of group {group}"));
        loop {
            if let Some(offsets) = tries.run(self.fetch_offsets(group)).await? {
                return Ok(offsets);
            }
        }
    }

    async fn fetch_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        const API: &str = "OffsetFetch";
        let broker = self.find_coordinator(Coordinator::Group, group).await?;
        // Version 2 can ask for all of them; 10 calls topics by ids, which a name outlives.
        let answer = self
            .ask(Target::Broker(broker.id), 2..=9, |version| {
                let request = OffsetFetchRequest::default();
                if version >= 8 {
                    let group = OffsetFetchRequestGroup::default()
                        .with_group_id(GroupId(text(group)))
                        .with_topics(None);
                    request.with_groups(vec![group])
                } else {
                    request
                        .with_group_id(GroupId(text(group)))
                        .with_topics(None)
                }
            })
            .await?;
        let code = answer
            .groups
            .first()
            .map_or(answer.error_code, |group| group.error_code);
        judge(API, || format!("group {group}"), code, None)?;
        let mut offsets = BTreeMap::new();
        let mut take = |topic: &str, index: i32, code: i16, committed: CommittedOffset| {
            let at = TopicPartition::new(topic, index);
            judge(
                API,
                || format!("partition {at} of group {group}"),
                code,
                None,
            )?;
            if committed.offset >= 0 {
                offsets.insert(at, committed);
            }
            Ok::<(), ClientError>(())
        };
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let committed = committed(
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    partition.metadata.as_deref(),
                );
                take(
                    &topic.name,
                    partition.partition_index,
                    partition.error_code,
                    committed,
                )?;
            }
        }
        for topic in answer.groups.iter().flat_map(|group| &group.topics) {
            for partition in &topic.partitions {
                let committed = committed(
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    partition.metadata.as_deref(),
                );
                take(
                    &topic.name,
                    partition.partition_index,
                    partition.error_code,
                    committed,
                )?;
            }
        }
        Ok(offsets)
    }

    /// Commits offsets for a group that has no members.
    pub async fn commit_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, OffsetToCommit)],
    ) -> Result<Vec<(TopicPartition, Outcome<()>)>, ClientError> {
        const API: &str = "OffsetCommit";
        let round = |open: Vec<(TopicPartition, OffsetToCommit)>| async move {
            let broker = self.find_coordinator(Coordinator::Group, group).await?;
            let topics = by_topic(&open, |partition, offset: &OffsetToCommit| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(offset.offset)
                    .with_committed_leader_epoch(offset.leader_epoch.unwrap_or(-1))
                    .with_committed_metadata(Some(text(&offset.metadata)))
            });
            let answer = self
                .ask(Target::Broker(broker.id), 2..=9, |version| {
                    let topics = topics.into_iter().map(|(name, mut partitions)| {
                        if version < 6 {
                            for partition in &mut partitions {
                                partition.committed_leader_epoch = -1;
                            }
                        }
                        OffsetCommitRequestTopic::default()
                            .with_name(topic_name(&name))
                            .with_partitions(partitions)
                    });
                    OffsetCommitRequest::default()
                        .with_group_id(GroupId(text(group)))
                        .with_generation_id_or_member_epoch(-1)
                        .with_topics(topics.collect())
                })
                .await?;
            let mut outcomes = Vec::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let subject = || format!("partition {at} of group {group}");
                    let judged = judge(API, subject, partition.error_code, None);
                    outcomes.push((at, judged));
                }
            }
            Ok(outcomes)
        };
        self.settle("commit offsets", offsets.to_vec(), round).await
    }

    /// Deletes what a group has committed for partitions no member reads.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Outcome<()>)>, ClientError> {
        const API: &str = "OffsetDelete";
        let wanted = partitions.iter().map(|at| (at.clone(), ())).collect();
        let round = |open: Vec<(TopicPartition, ())>| async move {
            let broker = self.find_coordinator(Coordinator::Group, group).await?;
            let topics = by_topic(&open, |partition, ()| {
                OffsetDeleteRequestPartition::default().with_partition_index(partition)
            });
            let topics = topics.into_iter().map(|(name, partitions)| {
                OffsetDeleteRequestTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions)
            });
            let answer = self
                .ask(Target::Broker(broker.id), ANY, |_| {
                    OffsetDeleteRequest::default()
                        .with_group_id(GroupId(text(group)))
                        .with_topics(topics.collect())
                })
                .await?;
            judge(API, || format!("group {group}"), answer.error_code, None)?;
            let mut outcomes = Vec::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let subject = || format!("partition {at} of group {group}");
                    let judged = judge(API, subject, partition.error_code, None);
                    outcomes.push((at, judged));
                }
            }
            Ok(outcomes)
        };
        self.settle("delete offsets", wanted, round).await
    }

    /// Makes members leave a group of the classic protocol, by their ids.
    pub async fn remove_group_members(
        &self,
        group: &str,
        members: &[String],
        reason: &str,
    ) -> Result<Vec<(String, Outcome<()>)>, ClientError> {
        const API: &str = "LeaveGroup";
        let wanted = members.iter().map(|member| (member.clone(), ())).collect();
        let round = |open: Vec<(String, ())>| async move {
            let broker = self.find_coordinator(Coordinator::Group, group).await?;
            // Version 3 can name several.
            let answer = self
                .ask(Target::Broker(broker.id), 3..=i16::MAX, |version| {
                    let members = open.iter().map(|(member, ())| {
                        let member = MemberIdentity::default().with_member_id(text(member));
                        match version {
                            ..5 => member,
                            _ => member.with_reason(Some(text(reason))),
                        }
                    });
                    LeaveGroupRequest::default()
                        .with_group_id(GroupId(text(group)))
                        .with_members(members.collect())
                })
                .await?;
            judge(API, || format!("group {group}"), answer.error_code, None)?;
            let left = answer.members.iter().map(|member| {
                let id = member.member_id.to_string();
                let subject = || format!("member {id} of group {group}");
                let judged = judge(API, subject, member.error_code, None);
                (id, judged)
            });
            Ok(left.collect())
        };
        self.settle("remove members", wanted, round).await
    }
}

fn group_ids(ids: &[String]) -> Vec<GroupId> {
    ids.iter().map(|id| GroupId(text(id))).collect()
}

fn by_id(mut members: Vec<GroupMember>) -> Vec<GroupMember> {
    members.sort_by(|a, b| a.id.cmp(&b.id));
    members
}

fn committed(offset: i64, leader_epoch: i32, metadata: Option<&str>) -> CommittedOffset {
    CommittedOffset {
        offset,
        leader_epoch: Some(leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: metadata.unwrap_or_default().to_owned(),
    }
}

fn consumer_member(member: &consumer::Member) -> GroupMember {
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        assignment: MemberAssignment::Partitions(assigned(&member.assignment)),
        target: Some(assigned(&member.target_assignment)),
    }
}

fn assigned(assignment: &consumer::Assignment) -> Vec<TopicPartition> {
    let mut partitions: Vec<TopicPartition> = assignment
        .topic_partitions
        .iter()
        .flat_map(|topic| {
            let of = |partition: &i32| TopicPartition::new(topic.topic_name.as_str(), *partition);
            topic.partitions.iter().map(of)
        })
        .collect();
    partitions.sort();
    partitions
}

fn classic_member(member: &classic::DescribedGroupMember, is_consumer: bool) -> GroupMember {
    let bytes = &member.member_assignment;
    let read = is_consumer.then(|| embedded::read_assignment(bytes));
    let assignment = match read {
        Some(Ok(partitions)) => MemberAssignment::Partitions(partitions),
        _ => MemberAssignment::Opaque(bytes.len()),
    };
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        assignment,
        target: None,
    }
}

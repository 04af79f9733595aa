//! ConsumerGroupDescribe (69), versions 0-1 (KIP-848).
//!
//! | version | adds |
//! |---|---|
//! | 1 | which members still speak the classic protocol (KIP-1099) |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::consumer_group_heartbeat::is_served;
use super::describe_groups::GROUP_OPERATIONS;
use super::text::{text, topic_name};
use super::{Call, Context, Handler};
use crate::group::ask::{Ask, ConsumerDescribed, ConsumerDescribedMember, Reply, TopicAssignment};

const MEMBER_TYPE_FROM: i16 = 1;
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

/// Says who is in a consumer group, and what everybody reads.
#[derive(Debug)]
pub struct ConsumerGroupDescribe;

impl Handler for ConsumerGroupDescribe {
    type Request = ConsumerGroupDescribeRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: ConsumerGroupDescribeRequest,
    ) -> ConsumerGroupDescribeResponse {
        let with_operations = request.include_authorized_operations;
        let ids: Vec<String> = request.group_ids.iter().map(|id| id.to_string()).collect();
        drop(request);
        let mut response = ConsumerGroupDescribeResponse::default();
        for id in ids {
            let described = if !is_served(&context) {
                ConsumerDescribed::error(ErrorCode::UnsupportedVersion, None)
            } else if id.is_empty() {
                ConsumerDescribed::error(ErrorCode::InvalidGroupId, None)
            } else {
                let ask = Ask::ConsumerDescribe(id.clone());
                match context.services.groups.ask(&id, ask).await {
                    Reply::ConsumerDescribe(described) => *described,
                    other => ConsumerDescribed::error(other.refusal(), None),
                }
            };
            let group = describe(call, described);
            let group = match with_operations && group.error_code == ErrorCode::None.code() {
                true => group.with_authorized_operations(GROUP_OPERATIONS),
                false => group,
            };
            response.groups.push(group.with_group_id(GroupId(text(id))));
        }
        response
    }
}

fn describe(call: Call, described: ConsumerDescribed) -> DescribedGroup {
    let members = described.members.into_iter();
    DescribedGroup::default()
        .with_error_code(described.error_code.code())
        .with_error_message(described.error_message.map(text))
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_group_epoch(described.epoch)
        .with_assignment_epoch(described.target_epoch)
        .with_assignor_name(text(described.assignor))
        .with_members(
            members
                .map(|member| describe_member(call, member))
                .collect(),
        )
}

fn describe_member(call: Call, member: ConsumerDescribedMember) -> Member {
    let about = member.about;
    let is_classic = about.classic_member_metadata.is_some();
    let names = about.subscribed_topic_names.iter();
    Member::default()
        .with_member_id(text(member.member_id))
        .with_instance_id(about.instance_id.map(text))
        .with_rack_id(about.rack_id.map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(about.client_id))
        .with_client_host(text(about.client_host))
        .with_subscribed_topic_names(names.map(|name| topic_name(name)).collect())
        // Kafka says nothing with an empty text here, not with null.
        .with_subscribed_topic_regex(Some(text(about.subscribed_topic_regex.unwrap_or_default())))
        .with_assignment(assignment(member.assigned))
        .with_target_assignment(assignment(member.target))
        .with_member_type(match call.version {
            MEMBER_TYPE_FROM.. if is_classic => CLASSIC,
            MEMBER_TYPE_FROM.. => CONSUMER,
            _ => -1,
        })
}

fn assignment(topics: Vec<TopicAssignment>) -> Assignment {
    let topics = topics.into_iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(topic.id)
            .with_topic_name(topic_name(&topic.name))
            .with_partitions(topic.partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

//! Groups and their offsets, over TCP in every version that is advertised.

use std::path::Path;
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::leave_group_request::MemberIdentity;
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use reka_protocol::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    ListGroupsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_protocol::versions;
use uuid::Uuid;

use crate::support::{Client, start_with, topic_name};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A node that does not make groups wait, with topic `t` of two partitions.
fn node(dir: &Path) -> Node {
    let node = start_with(
        dir,
        &[
            "group.initial.rebalance.delay.ms=0",
            "group.min.session.timeout.ms=100",
            "offsets.topic.num.partitions=4",
        ],
    );
    let mut client = Client::connect(&node);
    create(&mut client, "t");
    node
}

pub(crate) fn create(client: &mut Client, name: &str) {
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(2)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let code = client.call(7, &request).topics[0].error_code;
    assert!(
        [ErrorCode::None, ErrorCode::TopicAlreadyExists]
            .map(ErrorCode::code)
            .contains(&code),
        "{code}"
    );
}

/// Asks until the coordinator answers for the group.
pub(crate) fn find(client: &mut Client, name: &str) {
    let request = FindCoordinatorRequest::default().with_key(text(name));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = client.call(3, &request).error_code;
        let asked = client.call(4, &heartbeat(name, "nobody", 1)).error_code;
        // An error as long as one of the partitions is loading.
        let listed = client.call(5, &ListGroupsRequest::default()).error_code;
        if found == 0 && listed == 0 && asked == ErrorCode::UnknownMemberId.code() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "no coordinator: {found}, {asked}"
        );
    }
}

fn join(name: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(vec![0, 0, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255].into());
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn heartbeat(name: &str, member: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(member))
}

pub(crate) fn sync(
    name: &str,
    member: &str,
    generation: i32,
    plan: &[(&str, &str)],
) -> SyncGroupRequest {
    let assignments = plan.iter().map(|(member, given)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(given.as_bytes().to_vec().into())
    });
    SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_assignments(assignments.collect())
}

/// Joins a group alone, in a version of JoinGroup.
pub(crate) fn join_alone(client: &mut Client, version: i16, name: &str) -> JoinGroupResponse {
    let joined = client.call(version, &join(name, ""));
    if joined.error_code != ErrorCode::MemberIdRequired.code() {
        return joined;
    }
    assert!(version >= 4, "version {version} cannot be told its id");
    client.call(version, &join(name, &joined.member_id))
}

/// Asks to join a group that has a member, and does not wait for the answer.
pub(crate) fn joining_late(client: &mut Client, name: &str) -> i32 {
    let member = client.call(9, &join(name, "")).member_id.to_string();
    client.send(9, &join(name, &member))
}

pub(crate) fn commit(
    name: &str,
    partition: i32,
    offset: i64,
    metadata: &str,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(-1)
        .with_topics(vec![topic])
}

/// The id of topic `t`.
fn topic_id(client: &mut Client) -> Uuid {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    client.call(12, &request).topics[0].topic_id
}

pub(crate) fn commit_code(
    client: &mut Client,
    version: i16,
    request: &OffsetCommitRequest,
) -> ErrorCode {
    let code = client.call(version, request).topics[0].partitions[0].error_code;
    ErrorCode::from_code(code).expect("a known code")
}

/// Offset and metadata of partition 0 of `t`.
pub(crate) fn committed(client: &mut Client, version: i16, name: &str) -> (i64, String) {
    let plain = |offset, metadata: Option<StrBytes>| {
        let metadata = metadata.map(|metadata| metadata.to_string());
        (offset, metadata.unwrap_or_default())
    };
    if version < 8 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group(name))
            .with_topics(Some(vec![topic]));
        let mut answer = client.call(version, &request);
        assert_eq!(answer.error_code, 0, "version {version}");
        let partition = answer.topics.remove(0).partitions.remove(0);
        assert_eq!(partition.error_code, 0, "version {version}");
        return plain(partition.committed_offset, partition.metadata);
    }
    let id = topic_id(client);
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("t"))
        .with_topic_id(id)
        .with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(name))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let mut answer = client.call(version, &request).groups.remove(0);
    assert_eq!((answer.error_code, &*answer.group_id), (0, &text(name)));
    let mut topic = answer.topics.remove(0);
    match version {
        10.. => assert_eq!(topic.topic_id, id),
        _ => assert_eq!(topic.name, topic_name("t")),
    }
    let partition = topic.partitions.remove(0);
    assert_eq!(partition.error_code, 0, "version {version}");
    plain(partition.committed_offset, partition.metadata)
}

/// What a behaviour is given: a connection, the version, and a group name of its own.
struct Scene<'a> {
    node: &'a Node,
    client: Client,
    version: i16,
    group: String,
}

/// Behaviours of the APIs of groups, by key; `every_version.rs` has the others.
const BEHAVIOURS: &[(i16, Behaviour)] = &[
    (8, offset_commit),
    (9, offset_fetch),
    (10, find_coordinator),
    (11, join_group),
    (12, heartbeats),
    (13, leave_group),
    (14, sync_group),
    (15, describe_groups),
    (16, list_groups),
    (42, delete_groups),
    (47, offset_delete),
    (68, consumer_heartbeats),
    (69, consumer_describe),
];
type Behaviour = fn(&mut Scene<'_>);

/// The APIs that have their behaviours here.
pub(crate) fn keys() -> impl Iterator<Item = i16> {
    BEHAVIOURS.iter().map(|(key, _)| *key)
}

#[test]
fn every_advertised_version_behaves() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path());
    find(&mut Client::connect(&node), "g");
    for (key, behave) in BEHAVIOURS {
        let api = versions::by_key(*key).expect("a known api");
        for version in api.min..=api.max {
            println!("{} version {version}", api.name);
            behave(&mut Scene {
                node: &node,
                client: Client::connect(&node),
                version,
                group: format!("{}-v{version}", api.name),
            });
        }
    }
    node.stop().expect("a clean stop");
}

impl Scene<'_> {
    /// A stable group of one member that has everything; the member.
    fn stable(&mut self) -> String {
        let joined = join_alone(&mut self.client, 9, &self.group);
        let member = joined.member_id.to_string();
        let plan = [(member.as_str(), "everything")];
        let synced = self.client.call(5, &sync(&self.group, &member, 1, &plan));
        assert_eq!(synced.error_code, 0);
        member
    }
}

fn find_coordinator(scene: &mut Scene<'_>) {
    let (client, version) = (&mut scene.client, scene.version);
    let port = i32::from(scene.node.listeners()[0].bound.port());
    let invalid = ErrorCode::InvalidRequest.code();
    for (key_type, expected) in [(0, 0), (1, 0), (2, invalid), (9, invalid)] {
        if version == 0 && key_type != 0 {
            continue;
        }
        let mut request = FindCoordinatorRequest::default().with_key_type(key_type);
        let (code, node_id, found_port) = if version < 4 {
            request.key = text("g");
            let found = client.call(version, &request);
            (found.error_code, found.node_id.0, found.port)
        } else {
            request.coordinator_keys = vec![text("g"), text("h")];
            let found = client.call(version, &request).coordinators;
            assert_eq!(found.len(), 2);
            assert_eq!(found[1].key, text("h"));
            (found[0].error_code, found[0].node_id.0, found[0].port)
        };
        let place = if expected == 0 { (1, port) } else { (-1, -1) };
        assert_eq!(
            (code, (node_id, found_port)),
            (expected, place),
            "type {key_type}"
        );
    }
}

fn join_group(scene: &mut Scene<'_>) {
    let version = scene.version;
    let joined = join_alone(&mut scene.client, version, &scene.group);
    assert_eq!(
        (
            joined.error_code,
            joined.generation_id,
            joined.members.len()
        ),
        (0, 1, 1)
    );
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.protocol_name, Some(text("range")));
    let told = (version >= 7).then(|| text("consumer"));
    assert_eq!(joined.protocol_type, told);
    let stranger = scene.client.call(version, &join(&scene.group, "nobody"));
    assert_eq!(stranger.error_code, ErrorCode::UnknownMemberId.code());
    let nameless = scene.client.call(version, &join("", ""));
    assert_eq!(nameless.error_code, ErrorCode::InvalidGroupId.code());
}

fn sync_group(scene: &mut Scene<'_>) {
    let member = scene.stable();
    let again = sync(&scene.group, &member, 1, &[]);
    let synced = scene.client.call(scene.version, &again);
    assert_eq!(
        (synced.error_code, &*synced.assignment),
        (0, &b"everything"[..])
    );
    let told = (scene.version >= 5).then(|| text("range"));
    assert_eq!(synced.protocol_name, told);
    let stale = sync(&scene.group, &member, 2, &[]);
    let synced = scene.client.call(scene.version, &stale);
    assert_eq!(synced.error_code, ErrorCode::IllegalGeneration.code());
}

fn heartbeats(scene: &mut Scene<'_>) {
    let member = scene.stable();
    for (member, generation, expected) in [
        (member.as_str(), 1, ErrorCode::None),
        (&member, 2, ErrorCode::IllegalGeneration),
        ("nobody", 1, ErrorCode::UnknownMemberId),
    ] {
        let beat = heartbeat(&scene.group, member, generation);
        let code = scene.client.call(scene.version, &beat).error_code;
        assert_eq!(code, expected.code());
    }
}

fn leave_group(scene: &mut Scene<'_>) {
    let member = scene.stable();
    let version = scene.version;
    let leave = LeaveGroupRequest::default().with_group_id(group(&scene.group));
    let codes = if version < 3 {
        let leave = leave.with_member_id(text(&member));
        [&leave, &leave].map(|leave| scene.client.call(version, leave).error_code)
    } else {
        let who = MemberIdentity::default().with_member_id(text(&member));
        let leave = leave.with_members(vec![who]);
        [&leave, &leave].map(|leave| {
            let left = scene.client.call(version, leave);
            assert_eq!(left.error_code, 0);
            left.members[0].error_code
        })
    };
    assert_eq!(codes, [0, ErrorCode::UnknownMemberId.code()]);
}

fn offset_commit(scene: &mut Scene<'_>) {
    let id = topic_id(&mut scene.client);
    let commit = |name: &str, partition, offset, metadata: &str| {
        let mut request = commit(name, partition, offset, metadata);
        request.topics[0].topic_id = id;
        request
    };
    let mut request = commit(&scene.group, 0, 42, "a note");
    let code = commit_code(&mut scene.client, scene.version, &request);
    assert_eq!(code, ErrorCode::None);
    if scene.version >= 10 {
        let topic = &scene.client.call(scene.version, &request).topics[0];
        assert_eq!((topic.topic_id, topic.name.as_str()), (id, ""));
        for unknown in [Uuid::nil(), Uuid::from_bytes([9; 16])] {
            request.topics[0].topic_id = unknown;
            let code = commit_code(&mut scene.client, scene.version, &request);
            assert_eq!(code, ErrorCode::UnknownTopicId);
        }
    }
    let there = committed(&mut scene.client, 9, &scene.group);
    assert_eq!(there, (42, "a note".to_owned()));
    let missing = commit(&scene.group, 2, 1, "");
    let code = commit_code(&mut scene.client, scene.version, &missing);
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    let large = commit(&scene.group, 0, 1, &"x".repeat(4097));
    let code = commit_code(&mut scene.client, scene.version, &large);
    assert_eq!(code, ErrorCode::OffsetMetadataTooLarge);
}

fn offset_fetch(scene: &mut Scene<'_>) {
    let version = scene.version;
    let before = committed(&mut scene.client, version, &scene.group);
    assert_eq!(before, (-1, String::new()));
    commit_code(&mut scene.client, 9, &commit(&scene.group, 0, 42, "a note"));
    let there = committed(&mut scene.client, version, &scene.group);
    assert_eq!(there, (42, "a note".to_owned()));
    // Null asks for all.
    if (2..8).contains(&version) {
        let all = OffsetFetchRequest::default()
            .with_group_id(group(&scene.group))
            .with_topics(None);
        assert_eq!(scene.client.call(version, &all).topics.len(), 1);
    } else if version >= 8 {
        let ask = |name: &str| {
            OffsetFetchRequestGroup::default()
                .with_group_id(group(name))
                .with_topics(None)
        };
        let all = vec![ask(&scene.group), ask("nobody")];
        let all = OffsetFetchRequest::default().with_groups(all);
        let groups = scene.client.call(version, &all).groups;
        let found: Vec<_> = groups.iter().map(|group| group.topics.len()).collect();
        assert_eq!(found, [1, 0]);
    }
    if version >= 10 {
        let known = topic_id(&mut scene.client);
        let all = OffsetFetchRequestGroup::default().with_group_id(group(&scene.group));
        let mut request = OffsetFetchRequest::default().with_groups(vec![all.with_topics(None)]);
        let told = scene.client.call(version, &request).groups.remove(0);
        assert_eq!(told.topics[0].topic_id, known);
        let unknown = Uuid::from_bytes([9; 16]);
        let ask = |id| {
            OffsetFetchRequestTopics::default()
                .with_topic_id(id)
                .with_partition_indexes(vec![0])
        };
        request.groups[0].topics = Some(vec![ask(unknown), ask(known)]);
        let told = scene.client.call(version, &request).groups.remove(0).topics;
        let codes = told.iter().map(|topic| {
            let partition = &topic.partitions[0];
            (
                topic.topic_id,
                partition.committed_offset,
                partition.error_code,
            )
        });
        let expected = [
            (known, 42, 0),
            (unknown, -1, ErrorCode::UnknownTopicId.code()),
        ];
        assert_eq!(codes.collect::<Vec<_>>(), expected);
    }
}

fn describe_groups(scene: &mut Scene<'_>) {
    let version = scene.version;
    scene.stable();
    let request = DescribeGroupsRequest::default()
        .with_groups(vec![group(&scene.group), group("nobody")])
        .with_include_authorized_operations(version >= 3);
    let groups = scene.client.call(version, &request).groups;
    let stable = &groups[0];
    assert_eq!(
        (stable.error_code, &stable.group_state),
        (0, &text("Stable"))
    );
    assert_eq!(
        (&stable.protocol_data, stable.members.len()),
        (&text("range"), 1)
    );
    assert_eq!(stable.members[0].client_host, text("/127.0.0.1"));
    assert_eq!(&*stable.members[0].member_assignment, b"everything");
    let operations = if version >= 3 { 3400 } else { i32::MIN };
    assert_eq!(stable.authorized_operations, operations);
    let not_found = ErrorCode::GroupIdNotFound.code();
    let expected = if version >= 6 { not_found } else { 0 };
    assert_eq!(
        (groups[1].error_code, &groups[1].group_state),
        (expected, &text("Dead"))
    );
}

fn list_groups(scene: &mut Scene<'_>) {
    let version = scene.version;
    scene.stable();
    let mut request = ListGroupsRequest::default();
    if version >= 4 {
        request.states_filter = vec![text("stable")];
    }
    if version >= 5 {
        request.types_filter = vec![text("Classic")];
    }
    let listed = scene.client.call(version, &request);
    assert_eq!(listed.error_code, 0);
    let own = listed
        .groups
        .iter()
        .find(|listed| *listed.group_id == text(&scene.group));
    let own = own.expect("the group is listed");
    assert_eq!(own.protocol_type, text("consumer"));
    assert_eq!(
        own.group_state,
        text(if version >= 4 { "Stable" } else { "" })
    );
    assert_eq!(
        own.group_type,
        text(if version >= 5 { "classic" } else { "" })
    );
    if version >= 4 {
        let empty = request.with_states_filter(vec![text("Empty")]);
        let listed = scene.client.call(version, &empty).groups;
        assert!(
            listed
                .iter()
                .all(|listed| *listed.group_id != text(&scene.group))
        );
    }
}

fn delete_groups(scene: &mut Scene<'_>) {
    scene.stable();
    let idle = format!("{}-idle", scene.group);
    commit_code(&mut scene.client, 9, &commit(&idle, 0, 1, ""));
    let names = [&idle, &scene.group, "nobody"].map(group);
    let request = DeleteGroupsRequest::default().with_groups_names(names.to_vec());
    let results = scene.client.call(scene.version, &request).results;
    let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
    let not_found = ErrorCode::GroupIdNotFound.code();
    assert_eq!(codes, [0, ErrorCode::NonEmptyGroup.code(), not_found]);
    assert_eq!(committed(&mut scene.client, 9, &idle).0, -1);
}

fn offset_delete(scene: &mut Scene<'_>) {
    let client = &mut scene.client;
    commit_code(client, 9, &commit(&scene.group, 0, 5, ""));
    let partitions =
        [0, 7].map(|index| OffsetDeleteRequestPartition::default().with_partition_index(index));
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(partitions.to_vec());
    let request = OffsetDeleteRequest::default()
        .with_group_id(group(&scene.group))
        .with_topics(vec![topic]);
    let answer = client.call(scene.version, &request);
    assert_eq!(answer.error_code, 0);
    let mut codes: Vec<_> = answer.topics[0]
        .partitions
        .iter()
        .map(|partition| (partition.partition_index, partition.error_code))
        .collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [(0, 0), (7, ErrorCode::UnknownTopicOrPartition.code())]
    );
    assert_eq!(committed(client, 9, &scene.group).0, -1);
    let unknown = request.with_group_id(group("nobody"));
    assert_eq!(
        client.call(scene.version, &unknown).error_code,
        ErrorCode::GroupIdNotFound.code()
    );
}

/// A member of a classic group leaves.
pub(crate) fn leave_alone(client: &mut Client, name: &str, member: &str) -> ErrorCode {
    let request = LeaveGroupRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member));
    let code = client.call(2, &request).error_code;
    ErrorCode::from_code(code).expect("a known code")
}

/// A member that joins a consumer group.
pub(crate) fn joining(name: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
        .with_topic_partitions(Some(Vec::new()))
}

fn consumer_heartbeats(scene: &mut Scene<'_>) {
    let (client, version) = (&mut scene.client, scene.version);
    let nameless = client.call(version, &joining(&scene.group, ""));
    let expected = match version {
        0 => ErrorCode::None,
        _ => ErrorCode::InvalidRequest,
    };
    assert_eq!(nameless.error_code, expected.code());
    let name = format!("{}-own", scene.group);
    let joined = client.call(version, &joining(&name, "m"));
    assert_eq!((joined.error_code, joined.member_epoch), (0, 2));
    assert_eq!(joined.member_id, Some(text("m")));
    assert_eq!(joined.heartbeat_interval_ms, 5_000);
    let assigned = joined.assignment.expect("an assignment").topic_partitions;
    assert_eq!(assigned[0].partitions, [0, 1]);
    let alive = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(&name))
        .with_member_id(text("m"))
        .with_member_epoch(2);
    let answer = client.call(version, &alive);
    assert_eq!((answer.error_code, answer.assignment), (0, None));
    let ahead = client.call(version, &alive.clone().with_member_epoch(3));
    assert_eq!(ahead.error_code, ErrorCode::FencedMemberEpoch.code());
    let mut by_pattern = joining(&format!("{}-re", scene.group), "m");
    if version >= 1 {
        by_pattern.subscribed_topic_names = None;
        by_pattern.subscribed_topic_regex = Some(text("[s-u]"));
        let joined = client.call(version, &by_pattern);
        assert_eq!(joined.error_code, 0);
        let assigned = joined.assignment.expect("an assignment").topic_partitions;
        assert_eq!(assigned[0].partitions, [0, 1]);
        by_pattern.subscribed_topic_regex = Some(text("("));
        let refused = client.call(version, &by_pattern);
        assert_eq!(
            refused.error_code,
            ErrorCode::InvalidRegularExpression.code()
        );
    }
    let gone = client.call(version, &alive.with_member_epoch(-1));
    assert_eq!((gone.error_code, gone.member_epoch), (0, -1));
}

fn consumer_describe(scene: &mut Scene<'_>) {
    let (client, version) = (&mut scene.client, scene.version);
    client.call(1, &joining(&scene.group, "m"));
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![group(&scene.group), group("nobody")])
        .with_include_authorized_operations(true);
    let groups = client.call(version, &request).groups;
    let found = &groups[0];
    assert_eq!((found.error_code, &found.group_state), (0, &text("Stable")));
    assert_eq!((found.group_epoch, found.assignment_epoch), (2, 2));
    assert_eq!(
        (&found.assignor_name, found.authorized_operations),
        (&text("uniform"), 3400)
    );
    let member = &found.members[0];
    assert_eq!((&member.member_id, member.member_epoch), (&text("m"), 2));
    assert_eq!(member.client_host, text("/127.0.0.1"));
    let assigned = &member.assignment.topic_partitions[0];
    assert_eq!(assigned.topic_name, topic_name("t"));
    assert_eq!(assigned.partitions, [0, 1]);
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(member.member_type, if version >= 1 { 1 } else { -1 });
    assert_eq!(groups[1].error_code, ErrorCode::GroupIdNotFound.code());
}

#[test]
fn two_members_share_a_group_and_find_it_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let running = node(dir.path());
    let mut one = Client::connect(&running);
    find(&mut one, "g");
    let first = join_alone(&mut one, 9, "g");
    assert_eq!((first.error_code, first.generation_id), (0, 1));
    let first_id = first.member_id.to_string();
    let mut two = Client::connect(&running);
    let second_id = two.call(9, &join("g", "")).member_id.to_string();
    // Whichever joins first waits for the other.
    let second = two.send(9, &join("g", &second_id));
    let deadline = Instant::now() + PATIENCE;
    while one.call(4, &heartbeat("g", &first_id, 1)).error_code
        != ErrorCode::RebalanceInProgress.code()
    {
        assert!(
            Instant::now() < deadline,
            "the first member is never called"
        );
    }
    let first = one.call(9, &join("g", &first_id));
    let second = two.receive::<JoinGroupRequest>(9, second);
    assert_eq!((first.generation_id, second.generation_id), (2, 2));
    assert_eq!((first.leader, first.members.len()), (text(&first_id), 2));
    assert!(second.members.is_empty());
    let waiting = two.send(5, &sync("g", &second_id, 2, &[]));
    let plan = [(first_id.as_str(), "t-0"), (second_id.as_str(), "t-1")];
    let given = one.call(5, &sync("g", &first_id, 2, &plan));
    assert_eq!(&*given.assignment, b"t-0");
    let given = two.receive::<SyncGroupRequest>(5, waiting);
    assert_eq!(&*given.assignment, b"t-1");
    let mut request = commit("g", 0, 17, "here I am");
    request.generation_id_or_member_epoch = 2;
    request.member_id = text(&first_id);
    assert_eq!(commit_code(&mut one, 9, &request), ErrorCode::None);
    request.generation_id_or_member_epoch = 1;
    assert_eq!(
        commit_code(&mut one, 9, &request),
        ErrorCode::IllegalGeneration
    );
    running.stop().expect("a clean stop");

    let running = node(dir.path());
    let mut client = Client::connect(&running);
    find(&mut client, "g");
    assert_eq!(committed(&mut client, 9, "g"), (17, "here I am".to_owned()));
    for (id, given) in plan {
        assert_eq!(client.call(4, &heartbeat("g", id, 2)).error_code, 0);
        let synced = client.call(5, &sync("g", id, 2, &[]));
        assert_eq!(&*synced.assignment, given.as_bytes());
    }
}

#[test]
fn rebalances_groups_and_offsets_are_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let running = node(dir.path());
    let mut client = Client::connect(&running);
    find(&mut client, "g");
    let tells = |node: &Node, line: &str| {
        let (_, text) = crate::http::get(node, "/metrics");
        assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
    };
    tells(&running, "reka_group_rebalance_seconds_count 0");
    let joined = join_alone(&mut client, 9, "g");
    let member = joined.member_id.to_string();
    client.call(5, &sync("g", &member, 1, &[(&member, "all")]));
    commit_code(&mut client, 9, &commit("idle", 0, 1, ""));
    commit_code(&mut client, 9, &commit("idle", 1, 1, ""));
    tells(&running, "reka_group_rebalance_seconds_count 1");
    tells(&running, "reka_groups 2");
    tells(&running, "reka_group_offsets 2");
    running.stop().expect("a clean stop");
    let running = node(dir.path());
    find(&mut Client::connect(&running), "g");
    tells(&running, "reka_groups 2");
    tells(&running, "reka_group_offsets 2");
}

#[test]
fn offsets_go_with_their_topic() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path());
    let mut client = Client::connect(&node);
    find(&mut client, "g");
    commit_code(&mut client, 9, &commit("g", 0, 6, ""));
    assert_eq!(committed(&mut client, 9, "g").0, 6);
    let state = DeleteTopicState::default().with_name(Some(topic_name("t")));
    let delete = DeleteTopicsRequest::default()
        .with_topics(vec![state])
        .with_timeout_ms(10_000);
    assert_eq!(client.call(6, &delete).responses[0].error_code, 0);
    let deadline = Instant::now() + PATIENCE;
    while committed(&mut client, 9, "g").0 != -1 {
        assert!(Instant::now() < deadline, "the offset outlives its topic");
    }
}

/// All their records in one batch would be more than a segment of the log takes.
#[test]
fn however_many_offsets_a_topic_had_they_all_go_with_it() {
    const GROUPS: usize = 3_000;
    let dir = tempfile::tempdir().expect("a folder");
    let settings = [
        "offsets.topic.num.partitions=1",
        "offsets.topic.segment.bytes=1048576",
    ];
    let node = start_with(dir.path(), &settings);
    let mut client = Client::connect(&node);
    create(&mut client, "t");
    find(&mut client, "g");
    let name = |number: usize| format!("{number}-{}", "x".repeat(400));
    // Behind each other, so that they are not three thousand waits.
    for numbers in (0..GROUPS).collect::<Vec<_>>().chunks(50) {
        let send = |number: &usize| client.send(9, &commit(&name(*number), 0, 1, ""));
        let sent: Vec<i32> = numbers.iter().map(send).collect();
        for id in sent {
            let answer = client.receive::<OffsetCommitRequest>(9, id);
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        }
    }
    let state = DeleteTopicState::default().with_name(Some(topic_name("t")));
    let delete = DeleteTopicsRequest::default()
        .with_topics(vec![state])
        .with_timeout_ms(10_000);
    assert_eq!(client.call(6, &delete).responses[0].error_code, 0);
    let deadline = Instant::now() + PATIENCE;
    for number in 0..GROUPS {
        while committed(&mut client, 9, &name(number)).0 != -1 {
            assert!(Instant::now() < deadline, "the offset outlives its topic");
        }
    }
    node.stop().expect("a clean stop");
}

#[test]
fn a_member_that_falls_silent_is_out_and_one_that_beats_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path());
    let mut client = Client::connect(&node);
    find(&mut client, "g");
    for name in ["g", "other"] {
        let short = |member: &str| join(name, member).with_session_timeout_ms(400);
        let id = client.call(9, &short("")).member_id.to_string();
        let joined = client.call(9, &short(&id));
        assert_eq!(joined.error_code, 0);
        client.call(5, &sync(name, &id, 1, &[(&id, "all")]));
        let state = |client: &mut Client| {
            let request = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
            client.call(6, &request).groups[0].group_state.to_string()
        };
        if name == "g" {
            let until = Instant::now() + Duration::from_secs(1);
            while Instant::now() < until {
                assert_eq!(client.call(4, &heartbeat(name, &id, 1)).error_code, 0);
            }
            assert_eq!(state(&mut client), "Stable");
        }
        let deadline = Instant::now() + PATIENCE;
        while state(&mut client) != "Empty" {
            assert!(Instant::now() < deadline, "the silent member stays");
        }
    }
}

#[test]
fn pipelined_commits_count_in_the_order_they_were_sent() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path());
    let mut client = Client::connect(&node);
    find(&mut client, "g");
    let sent: Vec<i32> = (0..50)
        .map(|offset| client.send(9, &commit("g", 0, offset, "")))
        .collect();
    for id in sent {
        let answer = client.receive::<OffsetCommitRequest>(9, id);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
    assert_eq!(committed(&mut client, 9, "g").0, 49);
}

#[test]
fn groups_without_a_coordinator_here_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path());
    let mut client = Client::connect(&node);
    // Nobody has asked for a coordinator: there is no partition to hold the group.
    let refused = ErrorCode::NotCoordinator.code();
    assert_eq!(client.call(9, &join("g", "")).error_code, refused);
    assert_eq!(client.call(4, &heartbeat("g", "m", 1)).error_code, refused);
    assert_eq!(
        commit_code(&mut client, 9, &commit("g", 0, 1, "")),
        ErrorCode::NotCoordinator
    );
    let describe = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
    assert_eq!(client.call(6, &describe).groups[0].error_code, refused);
}

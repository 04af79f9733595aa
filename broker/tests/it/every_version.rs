//! Every advertised version of every API does its work. An API that is advertised and not in the
//! table here, or in the table and not advertised, fails the test.
//!
//! Each behaviour is asked for in one version at a time, on a node of its own topic, and judged by
//! what it did, not only by its error code.

use reka_broker::Node;
use reka_broker::api::advertised;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::alter_client_quotas_request as set_quotas;
use reka_protocol::kafka_protocol::messages::alter_configs_request as replace;
use reka_protocol::kafka_protocol::messages::alter_partition_reassignments_request as reassign;
use reka_protocol::kafka_protocol::messages::alter_replica_log_dirs_request as move_dirs;
use reka_protocol::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use reka_protocol::kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig,
};
use reka_protocol::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use reka_protocol::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use reka_protocol::kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use reka_protocol::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use reka_protocol::kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use reka_protocol::kafka_protocol::messages::describe_producers_request::TopicRequest as OfTopic;
use reka_protocol::kafka_protocol::messages::describe_quorum_request as quorum;
use reka_protocol::kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use reka_protocol::kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_request as change;
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use reka_protocol::kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use reka_protocol::kafka_protocol::messages::*;
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_protocol::versions;
use uuid::Uuid;

use crate::support::{Client, batch, fetch_request, produce_request, start, topic_name, values};

/// What a behaviour is given: a connection, the version, and a topic that is its own, `topic`,
/// of one partition with the records "a" and "b" in it.
struct Scene<'a> {
    node: &'a Node,
    client: Client,
    version: i16,
    topic: String,
    id: Uuid,
}

/// An API key and what is behind it.
type Behaviour = (i16, fn(&mut Scene<'_>));

/// Behaviours by API key.
const BEHAVIOURS: &[Behaviour] = &[
    (0, produce),
    (1, fetch),
    (2, list_offsets),
    (3, metadata),
    (18, api_versions),
    (19, create_topics),
    (20, delete_topics),
    (21, delete_records),
    (22, init_producer_id),
    (23, offset_for_leader_epoch),
    (29, describe_acls),
    (30, create_acls),
    (31, delete_acls),
    (32, describe_configs),
    (33, alter_configs),
    (34, alter_replica_log_dirs),
    (35, describe_log_dirs),
    (37, create_partitions),
    (43, elect_leaders),
    (44, incremental_alter_configs),
    (45, alter_partition_reassignments),
    (46, list_partition_reassignments),
    (48, describe_client_quotas),
    (49, alter_client_quotas),
    (55, describe_quorum),
    (57, update_features),
    (60, describe_cluster),
    (61, describe_producers),
    (74, list_config_resources),
    (75, describe_topic_partitions),
    // a new API: its key and its behaviour here
];

#[test]
fn every_advertised_version_behaves() {
    let keys: Vec<i16> = advertised().iter().map(|api| api.key).collect();
    let here = BEHAVIOURS.iter().map(|(key, _)| *key);
    let elsewhere = crate::groups::keys().chain(crate::transactions::keys());
    let mut tested: Vec<i16> = here.chain(elsewhere).collect();
    tested.sort_unstable();
    assert_eq!(
        keys, tested,
        "advertised, and tested here, in groups.rs or in transactions.rs"
    );
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    for (key, behave) in BEHAVIOURS {
        let api = versions::by_key(*key).expect("a known api");
        // Produce below 3 is advertised for librdkafka's sake and refused: a test of its own.
        for version in api.served_from..=api.max {
            let mut client = Client::connect(&node);
            let topic = format!("{}.v{version}", api.name);
            let created = client.call(7, &create(&topic, 1, &[]));
            assert_eq!(created.topics[0].error_code, 0, "{topic}");
            let id = created.topics[0].topic_id;
            assert_eq!(
                client
                    .produce(9, &topic, batch(&["a", "b"], None))
                    .error_code,
                0
            );
            println!("{} version {version}", api.name);
            behave(&mut Scene {
                node: &node,
                client,
                version,
                topic,
                id,
            });
        }
    }
    node.stop().expect("a clean stop");
}

impl Scene<'_> {
    fn describe(&mut self, name: &str) -> MetadataResponseTopic {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        self.client.call(12, &request).topics.remove(0)
    }

    fn config(&mut self, key: &str) -> Option<String> {
        let topic = self.topic.clone();
        let mut answer = self.client.call(4, &describe_config(2, &topic, key));
        let mut configs = answer.results.remove(0).configs;
        assert_eq!(configs.len(), 1, "{key}");
        configs.remove(0).value.map(|value| value.to_string())
    }

    fn log_start(&mut self) -> i64 {
        let topic = self.topic.clone();
        self.client.fetch(11, &topic, 2, 0).log_start_offset
    }
}

use reka_protocol::kafka_protocol::messages::metadata_response::MetadataResponseTopic;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn create(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000)
}

fn describe_config(resource_type: i8, name: &str, key: &str) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

fn produce(scene: &mut Scene<'_>) {
    let by_id = scene.version >= 13;
    let name = if by_id { "" } else { &scene.topic };
    let mut request = produce_request(name, batch(&["c"], None));
    if by_id {
        request.topic_data[0].topic_id = scene.id;
    }
    let answer = scene.client.call(scene.version, &request);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (0, 2));
    let topic = scene.topic.clone();
    let data = scene.client.fetch(11, &topic, 2, 0);
    assert_eq!(values(&data), [(2, "c".to_owned())]);
}

fn fetch(scene: &mut Scene<'_>) {
    let by_id = scene.version >= 13;
    let name = if by_id { "" } else { &scene.topic };
    let mut request = fetch_request(name, 1, 0);
    if by_id {
        request.topics[0].topic_id = scene.id;
    }
    let answer = scene.client.call(scene.version, &request);
    let data = &answer.responses[0].partitions[0];
    assert_eq!((data.error_code, data.high_watermark), (0, 2));
    let found = values(data);
    // The whole batch, from its first record on.
    assert_eq!(found, [(0, "a".to_owned()), (1, "b".to_owned())]);
}

fn list_offsets(scene: &mut Scene<'_>) {
    let mut expected = vec![(-1, 2), (-2, 0), (1_001, 1)];
    if scene.version >= 7 {
        expected.push((-3, 1));
    }
    for (timestamp, offset) in expected {
        let partition = ListOffsetsPartition::default()
            .with_timestamp(timestamp)
            .with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(&scene.topic))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let answer = scene.client.call(scene.version, &request);
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.error_code, found.offset), (0, offset), "{timestamp}");
    }
}

fn metadata(scene: &mut Scene<'_>) {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(&scene.topic)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    let answer = scene.client.call(scene.version, &request);
    let port = i32::from(scene.node.listeners()[0].bound.port());
    assert_eq!(answer.brokers[0].port, port);
    let topic = &answer.topics[0];
    assert_eq!((topic.error_code, topic.partitions.len()), (0, 1));
    assert_eq!(topic.partitions[0].leader_id, answer.brokers[0].node_id);
    if scene.version >= 10 {
        assert_eq!(topic.topic_id, scene.id);
    }
}

fn api_versions(scene: &mut Scene<'_>) {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1"));
    let answer = scene.client.call(scene.version, &request);
    let told: Vec<(i16, i16, i16)> = answer
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    let served: Vec<(i16, i16, i16)> = advertised()
        .iter()
        .map(|api| (api.key, api.min, api.max))
        .collect();
    assert_eq!(told, served);
    let features = answer.finalized_features.iter();
    let has_metadata = features
        .map(|f| f.name.as_str())
        .any(|name| name == "metadata.version");
    assert_eq!(has_metadata, scene.version >= 3);
}

fn create_topics(scene: &mut Scene<'_>) {
    let name = format!("made.by.{}", scene.topic);
    let mut request = create(&name, 3, &[("retention.ms", "5000")]);
    request.validate_only = true;
    let checked = scene.client.call(scene.version, &request);
    assert_eq!(checked.topics[0].error_code, 0);
    assert_eq!(
        scene.describe(&name).error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    request.validate_only = false;
    let made = scene.client.call(scene.version, &request).topics.remove(0);
    assert_eq!(made.error_code, 0);
    if scene.version >= 5 {
        assert_eq!((made.num_partitions, made.replication_factor), (3, 1));
        let configs = made.configs.expect("configs");
        let set = configs
            .iter()
            .find(|c| c.name.as_str() == "retention.ms")
            .expect("the key");
        assert_eq!((set.value.as_deref(), set.config_source), (Some("5000"), 1));
    }
    let described = scene.describe(&name);
    assert_eq!(described.partitions.len(), 3);
    if scene.version >= 7 {
        assert_eq!(made.topic_id, described.topic_id);
    }
    scene.topic = name;
    assert_eq!(scene.config("retention.ms").as_deref(), Some("5000"));
}

fn delete_topics(scene: &mut Scene<'_>) {
    let request = match scene.version {
        6.. => DeleteTopicsRequest::default().with_topics(vec![
            DeleteTopicState::default()
                .with_name(None)
                .with_topic_id(scene.id),
        ]),
        _ => DeleteTopicsRequest::default().with_topic_names(vec![topic_name(&scene.topic)]),
    };
    let answer = scene
        .client
        .call(scene.version, &request.with_timeout_ms(10_000));
    assert_eq!(answer.responses[0].error_code, 0);
    let topic = scene.topic.clone();
    assert_eq!(
        scene.describe(&topic).error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
}

fn delete_records(scene: &mut Scene<'_>) {
    let topic = scene.topic.clone();
    let mut delete = |offset| {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = scene.client.call(scene.version, &request);
        let result = &answer.topics[0].partitions[0];
        (result.error_code, result.low_watermark)
    };
    assert_eq!(delete(1), (0, 1));
    assert_eq!(delete(3), (ErrorCode::OffsetOutOfRange.code(), -1));
    assert_eq!(delete(-1), (0, 2));
    assert_eq!(scene.log_start(), 2);
}

fn init_producer_id(scene: &mut Scene<'_>) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000);
    let one = scene.client.call(scene.version, &request);
    let other = scene.client.call(scene.version, &request);
    assert_eq!((one.error_code, one.producer_epoch), (0, 0));
    assert!(other.producer_id > one.producer_id);
}

fn offset_for_leader_epoch(scene: &mut Scene<'_>) {
    let mut find = |leader_epoch| {
        let partition = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(-1)
            .with_leader_epoch(leader_epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name(&scene.topic))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-2))
            .with_topics(vec![topic]);
        let answer = scene.client.call(scene.version, &request);
        let found = &answer.topics[0].partitions[0];
        (found.error_code, found.leader_epoch, found.end_offset)
    };
    assert_eq!(find(0), (0, 0, 2));
    assert_eq!(find(9), (0, -1, -1));
}

const DISABLED: i16 = ErrorCode::SecurityDisabled as i16;

fn describe_acls(scene: &mut Scene<'_>) {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_pattern_type_filter(1)
        .with_operation(1)
        .with_permission_type(1);
    let answer = scene.client.call(scene.version, &request);
    assert_eq!(answer.error_code, DISABLED);
}

fn create_acls(scene: &mut Scene<'_>) {
    let creation = create_acls_request::AclCreation::default();
    let request = CreateAclsRequest::default().with_creations(vec![creation]);
    let answer = scene.client.call(scene.version, &request);
    assert_eq!(answer.results[0].error_code, DISABLED);
}

fn delete_acls(scene: &mut Scene<'_>) {
    let filter = delete_acls_request::DeleteAclsFilter::default();
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    let answer = scene.client.call(scene.version, &request);
    assert_eq!(answer.filter_results[0].error_code, DISABLED);
}

fn describe_configs(scene: &mut Scene<'_>) {
    let mut request = describe_config(2, &scene.topic, "cleanup.policy");
    request.include_synonyms = true;
    request.include_documentation = scene.version >= 3;
    let mut answer = scene.client.call(scene.version, &request);
    let key = answer.results.remove(0).configs.remove(0);
    assert_eq!(
        (key.value.as_deref(), key.config_source),
        (Some("delete"), 5)
    );
    let synonyms: Vec<&str> = key.synonyms.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(synonyms, ["log.cleanup.policy"]);
    assert!(scene.version < 3 || key.documentation.is_some());
    // The broker's, and a topic that is not there.
    let broker = describe_config(4, "1", "log.cleanup.policy");
    let answer = scene.client.call(scene.version, &broker);
    assert_eq!(
        answer.results[0].configs[0].value.as_deref(),
        Some("delete")
    );
    let answer = scene
        .client
        .call(scene.version, &describe_config(2, "nope", "x"));
    assert_eq!(
        answer.results[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
}

fn alter_configs(scene: &mut Scene<'_>) {
    let topic = scene.topic.clone();
    let mut set = |key: &str, value: &str, validate_only| {
        let config = replace::AlterableConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)));
        let resource = replace::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(&topic))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(validate_only);
        scene.client.call(scene.version, &request).responses[0].error_code
    };
    assert_eq!(set("retention.ms", "7", false), 0);
    assert_eq!(set("retention.ms", "8", true), 0);
    assert_eq!(
        set("retention.ms", "x", false),
        ErrorCode::InvalidConfig.code()
    );
    // What is not named is unset.
    assert_eq!(set("segment.ms", "9", false), 0);
    assert_eq!(scene.config("retention.ms").as_deref(), Some("604800000"));
    assert_eq!(scene.config("segment.ms").as_deref(), Some("9"));
}

fn incremental_alter_configs(scene: &mut Scene<'_>) {
    let topic = scene.topic.clone();
    let mut set = |op: i8, key: &str, value: Option<&str>| {
        let config = change::AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(op)
            .with_value(value.map(text));
        let resource = change::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(&topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        scene.client.call(scene.version, &request).responses[0].error_code
    };
    assert_eq!(set(0, "retention.ms", Some("7")), 0);
    assert_eq!(set(2, "cleanup.policy", Some("compact")), 0);
    assert_eq!(set(1, "retention.ms", None), 0);
    assert_eq!(set(0, "nope", Some("7")), ErrorCode::InvalidConfig.code());
    assert_eq!(scene.config("retention.ms").as_deref(), Some("604800000"));
    assert_eq!(
        scene.config("cleanup.policy").as_deref(),
        Some("delete,compact")
    );
    // In force at once: a compacted topic takes no records without a key.
    let topic = scene.topic.clone();
    assert_eq!(
        scene
            .client
            .produce(9, &topic, batch(&["c"], None))
            .error_code,
        ErrorCode::InvalidRecord.code()
    );
}

fn alter_replica_log_dirs(scene: &mut Scene<'_>) {
    let ours = scene.node.services().log_dirs().dirs()[0].path();
    let ours = ours.display().to_string();
    let topic = scene.topic.clone();
    let mut ask = |path: &str, topic: &str| {
        let topic = move_dirs::AlterReplicaLogDirTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![0]);
        let dir = move_dirs::AlterReplicaLogDir::default()
            .with_path(text(path))
            .with_topics(vec![topic]);
        let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
        let answer = scene.client.call(scene.version, &request);
        answer.results[0].partitions[0].error_code
    };
    assert_eq!(ask(&ours, &topic), 0);
    assert_eq!(ask("/nowhere", &topic), ErrorCode::LogDirNotFound.code());
    assert_eq!(
        ask(&ours, "nope"),
        ErrorCode::UnknownTopicOrPartition.code()
    );
}

fn describe_log_dirs(scene: &mut Scene<'_>) {
    let topic = DescribableLogDirTopic::default()
        .with_topic(topic_name(&scene.topic))
        .with_partitions(vec![0]);
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![topic]));
    let dir = scene.client.call(scene.version, &request).results.remove(0);
    assert_eq!(dir.error_code, 0);
    assert_eq!(
        dir.log_dir.as_str(),
        scene.node.services().log_dirs().dirs()[0]
            .path()
            .display()
            .to_string()
    );
    assert_eq!(dir.topics.len(), 1);
    let size = batch(&["a", "b"], None).len() as i64;
    assert_eq!(dir.topics[0].partitions[0].partition_size, size);
    if scene.version >= 4 {
        assert!(dir.usable_bytes > 0 && dir.total_bytes >= dir.usable_bytes);
    }
}

fn create_partitions(scene: &mut Scene<'_>) {
    let topic = scene.topic.clone();
    let mut grow = |count, validate_only| {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name(&topic))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000)
            .with_validate_only(validate_only);
        scene.client.call(scene.version, &request).results[0].error_code
    };
    assert_eq!(grow(9, true), 0);
    assert_eq!(grow(3, false), 0);
    assert_eq!(grow(3, false), ErrorCode::InvalidPartitions.code());
    assert_eq!(grow(2, false), ErrorCode::InvalidPartitions.code());
    let topic = scene.topic.clone();
    assert_eq!(scene.describe(&topic).partitions.len(), 3);
    let mut request = produce_request(&topic, batch(&["new"], None));
    request.topic_data[0].partition_data[0].index = 2;
    let answer = scene.client.call(9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn elect_leaders(scene: &mut Scene<'_>) {
    let topic = TopicPartitions::default()
        .with_topic(topic_name(&scene.topic))
        .with_partitions(vec![0, 7]);
    let request = ElectLeadersRequest::default()
        .with_topic_partitions(Some(vec![topic]))
        .with_timeout_ms(10_000);
    let answer = scene.client.call(scene.version, &request);
    let results = &answer.replica_election_results[0].partition_result;
    let codes: Vec<i16> = results.iter().map(|result| result.error_code).collect();
    let expected = [
        ErrorCode::ElectionNotNeeded,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert_eq!(codes, expected.map(ErrorCode::code));
}

fn alter_partition_reassignments(scene: &mut Scene<'_>) {
    let mut ask = |replicas: Option<Vec<i32>>| {
        let partition = reassign::ReassignablePartition::default()
            .with_replicas(replicas.map(|ids| ids.into_iter().map(BrokerId).collect()));
        let topic = reassign::ReassignableTopic::default()
            .with_name(topic_name(&scene.topic))
            .with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = scene.client.call(scene.version, &request);
        answer.responses[0].partitions[0].error_code
    };
    assert_eq!(ask(Some(vec![1])), 0);
    assert_eq!(
        ask(Some(vec![5])),
        ErrorCode::InvalidReplicaAssignment.code()
    );
    assert_eq!(ask(None), ErrorCode::NoReassignmentInProgress.code());
}

fn list_partition_reassignments(scene: &mut Scene<'_>) {
    let request = ListPartitionReassignmentsRequest::default()
        .with_topics(None)
        .with_timeout_ms(10_000);
    let answer = scene.client.call(scene.version, &request);
    assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
}

fn set_quota(scene: &mut Scene<'_>, version: i16, user: &str, value: Option<f64>) -> i16 {
    let entity = set_quotas::EntityData::default()
        .with_entity_type(text("user"))
        .with_entity_name(Some(text(user)));
    let op = set_quotas::OpData::default()
        .with_key(text("producer_byte_rate"))
        .with_value(value.unwrap_or(0.0))
        .with_remove(value.is_none());
    let entry = set_quotas::EntryData::default()
        .with_entity(vec![entity])
        .with_ops(vec![op]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    scene.client.call(version, &request).entries[0].error_code
}

fn quotas_of(scene: &mut Scene<'_>, version: i16, user: &str) -> Vec<f64> {
    let component = ComponentData::default()
        .with_entity_type(text("user"))
        .with_match_type(0)
        .with_match(Some(text(user)));
    let request = DescribeClientQuotasRequest::default().with_components(vec![component]);
    let answer = scene.client.call(version, &request);
    assert_eq!(answer.error_code, 0);
    let entries = answer.entries.unwrap_or_default();
    let values = entries.iter().flat_map(|entry| &entry.values);
    values.map(|value| value.value).collect()
}

fn describe_client_quotas(scene: &mut Scene<'_>) {
    let user = format!("reader-{}", scene.version);
    set_quota(scene, 1, &user, Some(5.0));
    assert_eq!(quotas_of(scene, scene.version, &user), [5.0]);
    assert_eq!(quotas_of(scene, scene.version, "nobody"), [0.0; 0]);
}

fn alter_client_quotas(scene: &mut Scene<'_>) {
    let user = format!("writer-{}", scene.version);
    assert_eq!(set_quota(scene, scene.version, &user, Some(7.0)), 0);
    assert_eq!(quotas_of(scene, 1, &user), [7.0]);
    assert_eq!(
        set_quota(scene, scene.version, &user, Some(-7.0)),
        ErrorCode::InvalidRequest.code()
    );
    assert_eq!(set_quota(scene, scene.version, &user, None), 0);
    assert_eq!(quotas_of(scene, 1, &user), [0.0; 0]);
}

fn describe_quorum(scene: &mut Scene<'_>) {
    let topic = quorum::TopicData::default()
        .with_topic_name(topic_name("__cluster_metadata"))
        .with_partitions(vec![quorum::PartitionData::default()]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let answer = scene.client.call(scene.version, &request);
    let state = &answer.topics[0].partitions[0];
    assert_eq!((state.error_code, state.leader_id), (0, BrokerId(1)));
    assert_eq!(state.current_voters.len(), 1);
    let end = state.current_voters[0].log_end_offset;
    assert!(end > 1 && state.high_watermark == end, "{end}");
    assert_eq!(answer.nodes.len(), usize::from(scene.version >= 2));
}

fn update_features(scene: &mut Scene<'_>) {
    let mut update = |feature: &str, level| {
        let mut update = FeatureUpdateKey::default()
            .with_feature(text(feature))
            .with_max_version_level(level);
        if scene.version >= 1 {
            update.upgrade_type = 1;
        }
        let request = UpdateFeaturesRequest::default()
            .with_timeout_ms(10_000)
            .with_feature_updates(vec![update]);
        let answer = scene.client.call(scene.version, &request);
        answer.error_code
    };
    let invalid = ErrorCode::InvalidUpdateVersion.code();
    assert_eq!(update("metadata.version", 30), 0);
    assert_eq!(update("metadata.version", 7), invalid);
    assert_eq!(update("nope", 1), invalid);
}

fn describe_cluster(scene: &mut Scene<'_>) {
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    let answer = scene.client.call(scene.version, &request);
    assert_eq!(answer.cluster_id.as_str(), scene.node.services().cluster_id);
    assert_eq!(answer.brokers.len(), 1);
    let port = i32::from(scene.node.listeners()[0].bound.port());
    assert_eq!(answer.brokers[0].port, port);
    if scene.version >= 1 {
        let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
        let answer = scene.client.call(scene.version, &controllers);
        assert_eq!(answer.error_code, ErrorCode::MismatchedEndpointType.code());
        // Tools show this sentence as it is.
        let said = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
        assert_eq!(answer.error_message.as_deref(), Some(said));
    }
}

fn describe_producers(scene: &mut Scene<'_>) {
    let topic = scene.topic.clone();
    scene
        .client
        .produce(9, &topic, batch(&["c"], Some((77, 0))));
    let topic = OfTopic::default()
        .with_name(topic_name(&scene.topic))
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let mut answer = scene.client.call(scene.version, &request);
    let partition = answer.topics.remove(0).partitions.remove(0);
    let producers = &partition.active_producers;
    assert_eq!(producers.len(), 1);
    assert_eq!(producers[0].producer_id, ProducerId(77));
    assert_eq!(producers[0].last_sequence, 0);
}

fn list_config_resources(scene: &mut Scene<'_>) {
    let request = ListConfigResourcesRequest::default();
    let answer = scene.client.call(scene.version, &request);
    let found = answer.config_resources;
    let ours = |r: &&list_config_resources_response::ConfigResource| {
        r.resource_name.as_str() == scene.topic && r.resource_type == 2
    };
    assert_eq!(found.iter().any(|r| ours(&r)), scene.version >= 1);
}

fn describe_topic_partitions(scene: &mut Scene<'_>) {
    let names = ["nope", &scene.topic];
    let topics = names.map(|name| TopicRequest::default().with_name(topic_name(name)));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.to_vec())
        .with_response_partition_limit(100);
    let answer = scene.client.call(scene.version, &request);
    let mut codes: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
    // All topics, two partitions at a time, until there are no more.
    let mut cursor = None;
    let mut seen = Vec::new();
    loop {
        let request = DescribeTopicPartitionsRequest::default()
            .with_response_partition_limit(2)
            .with_cursor(cursor);
        let page = scene.client.call(scene.version, &request);
        for topic in &page.topics {
            for partition in &topic.partitions {
                let name = topic.name.as_ref().expect("a name").to_string();
                seen.push((name, partition.partition_index));
            }
        }
        let Some(next) = page.next_cursor else { break };
        cursor = Some(
            describe_topic_partitions_request::Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    let all = scene
        .client
        .call(12, &MetadataRequest::default().with_topics(None));
    let mut expected: Vec<(String, i32)> = all
        .topics
        .iter()
        .flat_map(|topic| {
            let name = topic.name.as_ref().expect("a name").to_string();
            let partitions = topic.partitions.iter();
            partitions.map(move |partition| (name.clone(), partition.partition_index))
        })
        .collect();
    expected.sort();
    assert_eq!(seen, expected);
}

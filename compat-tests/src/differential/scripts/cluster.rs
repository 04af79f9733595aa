//! The cluster: brokers, quorum, features, directories, quotas, leaders, moves, access rules.

use reka_protocol::kafka_protocol::messages::alter_client_quotas_request as quotas;
use reka_protocol::kafka_protocol::messages::alter_partition_reassignments_request as reassign;
use reka_protocol::kafka_protocol::messages::alter_replica_log_dirs_request as move_dirs;
use reka_protocol::kafka_protocol::messages::create_acls_request::AclCreation;
use reka_protocol::kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use reka_protocol::kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use reka_protocol::kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use reka_protocol::kafka_protocol::messages::describe_quorum_request as quorum;
use reka_protocol::kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use reka_protocol::kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use reka_protocol::kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, UpdateFeaturesRequest,
};

use super::{brokers, make_topic, text, topic_name};
use crate::differential::Pair;
use crate::error::Result;

pub(super) fn script(pair: &mut Pair) -> Result<()> {
    make_topic(pair, "cluster", 2, &[])?;
    description(pair)?;
    directories(pair)?;
    leaders_and_moves(pair)?;
    client_quotas(pair)?;
    features(pair)?;
    access(pair)
}

fn description(pair: &mut Pair) -> Result<()> {
    for operations in [false, true] {
        pair.ask_every("describe cluster", |_, v| {
            let request = DescribeClusterRequest::default()
                .with_include_cluster_authorized_operations(operations);
            match v {
                0 => request,
                _ => request.with_endpoint_type(1),
            }
        })?;
    }
    for endpoint_type in [2, 9] {
        for version in 1..=2 {
            pair.ask(version, "of another kind", |_| {
                DescribeClusterRequest::default().with_endpoint_type(endpoint_type)
            })?;
        }
    }
    let quorum = |topic: &str, index| {
        let partition = quorum::PartitionData::default().with_partition_index(index);
        let topic = quorum::TopicData::default()
            .with_topic_name(topic_name(topic))
            .with_partitions(vec![partition]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    pair.ask_every("quorum", |_, _| quorum("__cluster_metadata", 0))?;
    pair.ask_every("another partition", |_, _| quorum("__cluster_metadata", 1))?;
    pair.ask_every("another topic", |_, _| quorum("cluster", 0))?;
    Ok(())
}

fn directories(pair: &mut Pair) -> Result<()> {
    let of = |name: &str, indexes: &[i32]| {
        DescribableLogDirTopic::default()
            .with_topic(topic_name(name))
            .with_partitions(indexes.to_vec())
    };
    pair.ask_every("one topic", |_, _| {
        DescribeLogDirsRequest::default().with_topics(Some(vec![of("cluster", &[0, 1])]))
    })?;
    pair.ask_every("missing", |_, _| {
        DescribeLogDirsRequest::default()
            .with_topics(Some(vec![of("cluster", &[7]), of("cluster-missing", &[0])]))
    })?;
    pair.ask_every("none", |_, _| {
        DescribeLogDirsRequest::default().with_topics(Some(Vec::new()))
    })?;
    pair.ask_every("move to nowhere", |_, _| {
        let topic = |name: &str| {
            move_dirs::AlterReplicaLogDirTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![0])
        };
        let dir = move_dirs::AlterReplicaLogDir::default()
            .with_path(text("/no/such/directory"))
            .with_topics(vec![topic("cluster"), topic("cluster-missing")]);
        AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])
    })?;
    Ok(())
}

fn leaders_and_moves(pair: &mut Pair) -> Result<()> {
    for election_type in [0, 1] {
        pair.ask_every("elect", |_, v| {
            let topic = |name: &str, indexes: &[i32]| {
                TopicPartitions::default()
                    .with_topic(topic_name(name))
                    .with_partitions(indexes.to_vec())
            };
            let request = ElectLeadersRequest::default()
                .with_timeout_ms(30_000)
                .with_topic_partitions(Some(vec![
                    topic("cluster", &[0, 9]),
                    topic("cluster-missing", &[0]),
                ]));
            match v {
                0 => request,
                _ => request.with_election_type(election_type),
            }
        })?;
    }
    pair.ask_every("elect everywhere", |_, _| {
        ElectLeadersRequest::default()
            .with_timeout_ms(30_000)
            .with_topic_partitions(None)
    })?;
    for (what, name, index, replicas) in [
        ("to where it is", "cluster", 0, Some(vec![1])),
        ("to nobody", "cluster", 0, Some(vec![])),
        ("to a stranger", "cluster", 0, Some(vec![9])),
        ("twice", "cluster", 0, Some(vec![1, 1])),
        ("cancel", "cluster", 0, None),
        ("missing partition", "cluster", 9, Some(vec![1])),
        ("missing topic", "cluster-missing", 0, Some(vec![1])),
        ("cancel what is missing", "cluster-missing", 0, None),
    ] {
        pair.ask_every(what, |_, _| {
            let partition = reassign::ReassignablePartition::default()
                .with_partition_index(index)
                .with_replicas(replicas.as_deref().map(brokers));
            let topic = reassign::ReassignableTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![partition]);
            AlterPartitionReassignmentsRequest::default()
                .with_timeout_ms(30_000)
                .with_topics(vec![topic])
        })?;
    }
    pair.ask(0, "list moves", |_| {
        ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(30_000)
            .with_topics(None)
    })?;
    pair.ask(0, "list one", |_| {
        let topic = ListPartitionReassignmentsTopics::default()
            .with_name(topic_name("cluster-missing"))
            .with_partition_indexes(vec![0]);
        ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(30_000)
            .with_topics(Some(vec![topic]))
    })?;
    Ok(())
}

fn client_quotas(pair: &mut Pair) -> Result<()> {
    type Part<'a> = (&'a str, Option<&'a str>);
    let alter = |entity: &[Part<'_>], key: &str, value: Option<f64>, validate_only| {
        let entity = entity.iter().map(|(kind, name)| {
            quotas::EntityData::default()
                .with_entity_type(text(kind))
                .with_entity_name(name.map(text))
        });
        let op = quotas::OpData::default()
            .with_key(text(key))
            .with_value(value.unwrap_or(0.0))
            .with_remove(value.is_none());
        let entry = quotas::EntryData::default()
            .with_entity(entity.collect())
            .with_ops(vec![op]);
        AlterClientQuotasRequest::default()
            .with_entries(vec![entry])
            .with_validate_only(validate_only)
    };
    let alice: &[Part<'_>] = &[("user", Some("alice"))];
    let steps: &[(&str, &[Part<'_>], &str, Option<f64>)] = &[
        ("a user", alice, "producer_byte_rate", Some(1000.0)),
        ("a fraction", alice, "request_percentage", Some(12.5)),
        (
            "a fraction of bytes",
            alice,
            "producer_byte_rate",
            Some(1000.5),
        ),
        (
            "the default user",
            &[("user", None)],
            "consumer_byte_rate",
            Some(7.0),
        ),
        (
            "a client",
            &[("client-id", Some("app"))],
            "consumer_byte_rate",
            Some(8.0),
        ),
        (
            "user and client",
            &[("user", Some("alice")), ("client-id", Some("app"))],
            "producer_byte_rate",
            Some(9.0),
        ),
        (
            "an address",
            &[("ip", Some("127.0.0.1"))],
            "connection_creation_rate",
            Some(10.0),
        ),
        (
            "no address",
            &[("ip", Some("not an address"))],
            "connection_creation_rate",
            Some(10.0),
        ),
        (
            "a host nobody knows",
            &[("ip", Some("RFC2606.invalid"))],
            "connection_creation_rate",
            Some(10.0),
        ),
        (
            "user and address",
            &[("user", Some("alice")), ("ip", Some("127.0.0.1"))],
            "connection_creation_rate",
            Some(10.0),
        ),
        (
            "key of another kind",
            alice,
            "connection_creation_rate",
            Some(10.0),
        ),
        ("unknown key", alice, "nope", Some(10.0)),
        (
            "unknown kind",
            &[("group", Some("g"))],
            "producer_byte_rate",
            Some(10.0),
        ),
        ("nobody", &[], "producer_byte_rate", Some(10.0)),
        (
            "empty name",
            &[("user", Some(""))],
            "producer_byte_rate",
            Some(10.0),
        ),
        ("negative", alice, "producer_byte_rate", Some(-1.0)),
        ("zero", alice, "producer_byte_rate", Some(0.0)),
        (
            "take away",
            &[("client-id", Some("app"))],
            "consumer_byte_rate",
            None,
        ),
        (
            "take away what is not",
            &[("client-id", Some("app"))],
            "producer_byte_rate",
            None,
        ),
    ];
    for validate_only in [true, false] {
        for (what, entity, key, value) in steps {
            pair.ask_every(what, |_, _| alter(entity, key, *value, validate_only))?;
        }
    }
    let describe = |parts: &[(&str, i8, Option<&str>)], strict| {
        let components = parts.iter().map(|(kind, match_type, name)| {
            ComponentData::default()
                .with_entity_type(text(kind))
                .with_match_type(*match_type)
                .with_match(name.map(text))
        });
        DescribeClientQuotasRequest::default()
            .with_components(components.collect())
            .with_strict(strict)
    };
    for strict in [false, true] {
        for (what, parts) in [
            ("all", vec![]),
            ("alice", vec![("user", 0, Some("alice"))]),
            ("the default", vec![("user", 1, None)]),
            ("any user", vec![("user", 2, None)]),
            ("any address", vec![("ip", 2, None)]),
            (
                "user and client",
                vec![("user", 2, None), ("client-id", 2, None)],
            ),
            (
                "user and address",
                vec![("user", 2, None), ("ip", 0, Some("127.0.0.1"))],
            ),
            (
                "address and client",
                vec![("ip", 1, None), ("client-id", 2, None)],
            ),
            ("unknown kind", vec![("group", 2, None)]),
            ("no kind", vec![("", 2, None)]),
            ("twice", vec![("user", 2, None), ("user", 1, None)]),
            ("strange match", vec![("user", 9, None)]),
        ] {
            pair.ask_every(what, |_, _| describe(&parts, strict))?;
        }
    }
    Ok(())
}

fn features(pair: &mut Pair) -> Result<()> {
    for (what, feature, level, upgrade_type) in [
        ("unknown", "nope", 1, 1),
        ("too high", "metadata.version", 300, 1),
        ("negative", "metadata.version", -1, 1),
        ("down without leave", "metadata.version", 7, 1),
        ("down", "metadata.version", 7, 2),
        ("strange kind", "metadata.version", 7, 9),
        ("as it is", "metadata.version", 30, 1),
    ] {
        pair.ask_every(what, |_, v| {
            let update = FeatureUpdateKey::default()
                .with_feature(text(feature))
                .with_max_version_level(level);
            let update = match v {
                0 => update.with_allow_downgrade(upgrade_type > 1),
                _ => update.with_upgrade_type(upgrade_type),
            };
            UpdateFeaturesRequest::default()
                .with_timeout_ms(30_000)
                .with_feature_updates(vec![update])
        })?;
    }
    Ok(())
}

fn access(pair: &mut Pair) -> Result<()> {
    pair.ask_every("describe rules", |_, _| {
        DescribeAclsRequest::default()
            .with_resource_type_filter(2)
            .with_pattern_type_filter(3)
            .with_operation(3)
            .with_permission_type(3)
    })?;
    pair.ask_every("create a rule", |_, _| {
        let creation = AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(text("cluster"))
            .with_resource_pattern_type(3)
            .with_principal(text("User:alice"))
            .with_host(text("*"))
            .with_operation(3)
            .with_permission_type(3);
        CreateAclsRequest::default().with_creations(vec![creation])
    })?;
    pair.ask_every("delete rules", |_, _| {
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(2)
            .with_pattern_type_filter(3)
            .with_operation(3)
            .with_permission_type(3);
        DeleteAclsRequest::default().with_filters(vec![filter])
    })?;
    Ok(())
}

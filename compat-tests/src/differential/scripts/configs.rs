//! Configurations are described, changed, refused.

use reka_protocol::kafka_protocol::messages::alter_configs_request as replace;
use reka_protocol::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_request as change;
use reka_protocol::kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest,
};

use super::{make_topic, text};
use crate::differential::Pair;
use crate::error::Result;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const GROUP: i8 = 32;

pub(super) fn script(pair: &mut Pair) -> Result<()> {
    make_topic(
        pair,
        "configs",
        1,
        &[("retention.ms", "1234"), ("cleanup.policy", "compact")],
    )?;
    description(pair)?;
    incremental(pair)?;
    replacement(pair)?;
    pair.ask(1, "list topics and brokers", |_| {
        ListConfigResourcesRequest::default().with_resource_types(vec![BROKER, BROKER_LOGGER])
    })?;
    pair.ask(1, "list what is not", |_| {
        ListConfigResourcesRequest::default().with_resource_types(vec![77])
    })?;
    pair.ask(0, "list client metrics", |_| {
        ListConfigResourcesRequest::default()
    })?;
    Ok(())
}

fn of(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()))
}

fn description(pair: &mut Pair) -> Result<()> {
    for synonyms in [false, true] {
        pair.ask_every("a topic", |_, _| {
            DescribeConfigsRequest::default()
                .with_resources(vec![of(TOPIC, "configs", None)])
                .with_include_synonyms(synonyms)
        })?;
    }
    let keys = [
        "log.retention.hours",
        "log.retention.ms",
        "num.partitions",
        "message.max.bytes",
        "log.cleanup.policy",
        "nope",
    ];
    pair.ask_every("some keys of the broker", |_, _| {
        DescribeConfigsRequest::default()
            .with_resources(vec![of(BROKER, "1", Some(&keys))])
            .with_include_synonyms(true)
    })?;
    for (what, resource) in [
        ("no keys", of(TOPIC, "configs", Some(&[]))),
        ("unknown key", of(TOPIC, "configs", Some(&["nope"]))),
        ("missing topic", of(TOPIC, "configs-missing", None)),
        ("illegal topic", of(TOPIC, "a b", None)),
        ("no topic", of(TOPIC, "", None)),
        ("another broker", of(BROKER, "7", None)),
        ("no number", of(BROKER, "x", None)),
        ("all brokers", of(BROKER, "", None)),
        ("a group", of(GROUP, "configs-group", None)),
        ("no group", of(GROUP, "", None)),
        ("no logger", of(BROKER_LOGGER, "", None)),
        ("loggers of another", of(BROKER_LOGGER, "7", None)),
        ("what is not", of(77, "x", None)),
    ] {
        pair.ask_every(what, |_, _| {
            DescribeConfigsRequest::default().with_resources(vec![resource.clone()])
        })?;
    }
    Ok(())
}

fn op(op: i8, key: &str, value: Option<&str>) -> change::AlterableConfig {
    change::AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(op)
        .with_value(value.map(text))
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn incremental(pair: &mut Pair) -> Result<()> {
    for version in 0..=1 {
        let topic = format!("configs-incremental-v{version}");
        make_topic(pair, &topic, 1, &[])?;
        let steps: Vec<(&str, i8, &str, Vec<change::AlterableConfig>)> = vec![
            (
                "set",
                TOPIC,
                &topic,
                vec![op(SET, "retention.ms", Some("5"))],
            ),
            (
                "append",
                TOPIC,
                &topic,
                vec![op(APPEND, "cleanup.policy", Some("compact"))],
            ),
            (
                "subtract",
                TOPIC,
                &topic,
                vec![op(SUBTRACT, "cleanup.policy", Some("delete"))],
            ),
            (
                "delete",
                TOPIC,
                &topic,
                vec![op(DELETE, "retention.ms", None)],
            ),
            (
                "delete what is not set",
                TOPIC,
                &topic,
                vec![op(DELETE, "segment.ms", None)],
            ),
            (
                "append to a number",
                TOPIC,
                &topic,
                vec![op(APPEND, "retention.ms", Some("5"))],
            ),
            (
                "no value",
                TOPIC,
                &topic,
                vec![op(SET, "retention.ms", None)],
            ),
            // An operation of no known number is not asked for: Apache Kafka fails within.
            (
                "unknown key",
                TOPIC,
                &topic,
                vec![op(SET, "nope", Some("5"))],
            ),
            (
                "one good and one bad",
                TOPIC,
                &topic,
                vec![
                    op(SET, "segment.ms", Some("77")),
                    op(SET, "nope", Some("5")),
                ],
            ),
            (
                "twice",
                TOPIC,
                &topic,
                vec![
                    op(SET, "segment.ms", Some("77")),
                    op(SET, "segment.ms", Some("78")),
                ],
            ),
            ("nothing", TOPIC, &topic, vec![]),
            (
                "missing topic",
                TOPIC,
                "configs-missing",
                vec![op(SET, "retention.ms", Some("5"))],
            ),
            (
                "illegal topic",
                TOPIC,
                "a b",
                vec![op(SET, "retention.ms", Some("5"))],
            ),
            (
                "no topic",
                TOPIC,
                "",
                vec![op(SET, "retention.ms", Some("5"))],
            ),
            (
                "broker",
                BROKER,
                "1",
                vec![op(SET, "log.retention.ms", Some("99999999"))],
            ),
            (
                "all brokers",
                BROKER,
                "",
                vec![op(SET, "message.max.bytes", Some("2000000"))],
            ),
            (
                "read only",
                BROKER,
                "1",
                vec![op(SET, "log.dirs", Some("/x"))],
            ),
            (
                "another broker",
                BROKER,
                "7",
                vec![op(SET, "log.retention.ms", Some("5"))],
            ),
            (
                "no number",
                BROKER,
                "x",
                vec![op(SET, "log.retention.ms", Some("5"))],
            ),
            (
                "unknown logger",
                BROKER_LOGGER,
                "1",
                vec![op(SET, "no.such.logger", Some("DEBUG"))],
            ),
            (
                "unknown level",
                BROKER_LOGGER,
                "1",
                vec![op(SET, "root", Some("LOUD"))],
            ),
            (
                "append to a logger",
                BROKER_LOGGER,
                "1",
                vec![op(APPEND, "root", Some("DEBUG"))],
            ),
            (
                "take the root level away",
                BROKER_LOGGER,
                "1",
                vec![op(DELETE, "root", None)],
            ),
            (
                "root level",
                BROKER_LOGGER,
                "1",
                vec![op(SET, "root", Some("INFO"))],
            ),
            ("what is not", 77, "x", vec![op(SET, "a", Some("b"))]),
            (
                "a group",
                GROUP,
                "configs-group",
                vec![op(SET, "consumer.heartbeat.interval.ms", Some("6000"))],
            ),
            (
                "beyond the limit",
                GROUP,
                "configs-group",
                vec![op(SET, "consumer.heartbeat.interval.ms", Some("99000"))],
            ),
            (
                "unknown key of a group",
                GROUP,
                "configs-group",
                vec![op(SET, "nope", Some("6000"))],
            ),
            (
                "no group",
                GROUP,
                "",
                vec![op(SET, "consumer.heartbeat.interval.ms", Some("6000"))],
            ),
        ];
        for validate_only in [true, false] {
            for (what, resource_type, name, configs) in &steps {
                pair.ask(version, what, |_| {
                    let resource = change::AlterConfigsResource::default()
                        .with_resource_type(*resource_type)
                        .with_resource_name(text(name))
                        .with_configs(configs.clone());
                    IncrementalAlterConfigsRequest::default()
                        .with_resources(vec![resource])
                        .with_validate_only(validate_only)
                })?;
            }
        }
        pair.ask(4, "what became of the topic", |_| {
            DescribeConfigsRequest::default()
                .with_resources(vec![of(TOPIC, &topic, None)])
                .with_include_synonyms(true)
        })?;
        pair.ask(4, "what became of the broker", |_| {
            let keys = ["log.retention.ms", "message.max.bytes"];
            DescribeConfigsRequest::default()
                .with_resources(vec![of(BROKER, "1", Some(&keys)), of(BROKER, "", None)])
                .with_include_synonyms(true)
        })?;
        pair.ask(version, "put back", |_| {
            let resource = |name: &str, key: &str| {
                change::AlterConfigsResource::default()
                    .with_resource_type(BROKER)
                    .with_resource_name(text(name))
                    .with_configs(vec![op(DELETE, key, None)])
            };
            IncrementalAlterConfigsRequest::default().with_resources(vec![
                resource("1", "log.retention.ms"),
                resource("", "message.max.bytes"),
            ])
        })?;
    }
    Ok(())
}

fn replacement(pair: &mut Pair) -> Result<()> {
    for version in 0..=2 {
        let topic = format!("configs-replaced-v{version}");
        make_topic(pair, &topic, 1, &[("segment.ms", "600000")])?;
        for (what, resource_type, name, key, value) in [
            ("set", TOPIC, topic.as_str(), "retention.ms", Some("5")),
            ("bad value", TOPIC, &topic, "retention.ms", Some("x")),
            ("unknown key", TOPIC, &topic, "nope", Some("x")),
            ("no value", TOPIC, &topic, "retention.ms", None),
            (
                "missing topic",
                TOPIC,
                "configs-missing",
                "retention.ms",
                Some("5"),
            ),
            ("another broker", BROKER, "7", "log.retention.ms", Some("5")),
            ("loggers", BROKER_LOGGER, "1", "root", Some("INFO")),
            ("what is not", 77, "x", "a", Some("b")),
        ] {
            pair.ask(version, what, |_| {
                let config = replace::AlterableConfig::default()
                    .with_name(text(key))
                    .with_value(value.map(text));
                let resource = replace::AlterConfigsResource::default()
                    .with_resource_type(resource_type)
                    .with_resource_name(text(name))
                    .with_configs(vec![config]);
                AlterConfigsRequest::default().with_resources(vec![resource])
            })?;
        }
        pair.ask(4, "what became of it", |_| {
            DescribeConfigsRequest::default().with_resources(vec![of(TOPIC, &topic, None)])
        })?;
    }
    Ok(())
}

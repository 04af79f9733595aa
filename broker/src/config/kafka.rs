//! Our tables and answers beside Apache Kafka's own. Every difference is listed with its reason.
//!
//! The files under `tests/testdata` were written by Apache Kafka 4.3.1: its definitions from its own
//! classes, its answers from a running broker.

use std::collections::{BTreeMap, BTreeSet};

use super::definitions::{self, Definition, Kind, Listed, Valid};
use super::describe::{Described, Source};
use super::*;

const DEFINITIONS: &str = include_str!("../../tests/testdata/kafka-4.3.1-definitions.txt");
const ANSWERS: &str = include_str!("../../tests/testdata/kafka-4.3.1-describe.txt");

/// Where a default or a range is not Kafka's.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "process.roles",
        "a broker without a configuration has to be something: everything",
    ),
    (
        "node.id",
        "a broker without a configuration has to be someone: 1",
    ),
    (
        "controller.listener.names",
        "a quorum of one needs no listener",
    ),
    ("log.dir", "nothing is kept under /tmp"),
    ("max.connections", "no limit is an invitation: 10,000"),
    ("max.connections.per.ip", "no limit is an invitation: 1,000"),
    (
        "max.connection.creation.rate",
        "no limit is an invitation: 500 a second",
    ),
    (
        "socket.receive.buffer.bytes",
        "a buffer that is set does not grow: the kernel sizes it",
    ),
    (
        "socket.send.buffer.bytes",
        "a buffer that is set does not grow: the kernel sizes it",
    ),
    (
        "broker.heartbeat.interval.ms",
        "a dead broker is to be noticed within seconds",
    ),
    (
        "broker.session.timeout.ms",
        "a dead broker is to be noticed within seconds",
    ),
    (
        "group.coordinator.rebalance.protocols",
        "streams groups are not served",
    ),
    (
        "remote.log.manager.task.retry.jitter",
        "its upper bound is a fraction, and it does nothing here",
    ),
];

/// Keys that Kafka hands to its authorizer or keeps beside its definitions.
const NOT_DEFINED_BY_KAFKA: &[&str] = &[
    "super.users",
    "allow.everyone.if.no.acl.found",
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

fn is_different(name: &str) -> bool {
    DIFFERENT.iter().any(|(different, _)| *different == name)
}

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

/// A range as Kafka's classes print it.
fn as_kafka_prints(key: &Definition) -> String {
    match key.valid {
        Valid::Any | Valid::NonEmpty => String::new(),
        Valid::AtLeast(min) => format!("[{min},...]"),
        Valid::Between(min, max) => format!("[{min},...,{max}]"),
        Valid::BetweenOr(min, max, or) => format!("[{min},...,{max}] or {or}"),
        Valid::OneOf(names) | Valid::EachOneOf(names) => format!("[{}]", names.join(", ")),
        Valid::OneOfIgnoringCase(names) => format!("(case insensitive) [{}]", names.join(", ")),
        Valid::ThrottledReplicas => {
            "[partitionId]:[brokerId],[partitionId]:[brokerId],...".to_owned()
        }
    }
}

#[test]
fn names_types_defaults_and_ranges_are_kafkas() {
    let mut seen = BTreeSet::new();
    let mut different = BTreeSet::new();
    for row in rows(DEFINITIONS) {
        let [table, name, kind, default, allowed, dynamic, visible] = row[..] else {
            continue;
        };
        let ours = match table {
            "broker" => definitions::broker(name),
            _ => definitions::topic(name),
        };
        let ours = ours.unwrap_or_else(|| panic!("{table} key {name} is missing"));
        seen.insert((table, name));
        assert_eq!(ours.kind.name().to_uppercase(), kind, "type of {name}");
        assert_eq!(
            ours.listed == Listed::Public,
            visible == "public",
            "visibility of {name}"
        );
        if table == "broker" {
            assert_eq!(ours.dynamic.name(), dynamic, "mode of {name}");
        }
        let allowed = match allowed {
            "-" | "non-null string" | "non-empty list" | "non-empty string" => "",
            other => other,
        };
        let theirs = Some(default).filter(|default| !matches!(*default, "null" | "<required>"));
        let same = ours.default == theirs && as_kafka_prints(ours) == allowed;
        if !same {
            assert!(
                is_different(name),
                "{table} key {name}: {:?} {} beside Kafka's {theirs:?} {allowed}",
                ours.default,
                as_kafka_prints(ours)
            );
            different.insert(name);
        }
    }
    for key in definitions::all_broker() {
        let known = seen.contains(&("broker", key.name))
            || key.name.starts_with("reka.")
            || NOT_DEFINED_BY_KAFKA.contains(&key.name);
        assert!(known, "{} is no key of Kafka's", key.name);
    }
    for key in definitions::TOPIC {
        assert!(
            seen.contains(&("topic", key.name)),
            "{} is no key of Kafka's",
            key.name
        );
    }
    let listed: BTreeSet<&str> = DIFFERENT.iter().map(|(name, _)| *name).collect();
    assert_eq!(different, listed, "every listed difference is one");
}

#[test]
fn a_topics_defaults_come_from_the_same_keys() {
    for row in rows(DEFINITIONS).filter(|row| row[0] == "synonym") {
        let key = definitions::topic(row[1]).expect("a key of topics");
        assert_eq!(key.broker_keys.join(" "), row[2], "of {}", row[1]);
    }
}

fn as_kafkas_broker() -> Config {
    let text = "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
log.dirs=/var/lib/kafka
offsets.topic.replication.factor=1
";
    let file = SourceFile {
        name: "server.properties".to_owned(),
        text: text.to_owned(),
    };
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    let loaded = Config::load(&sources).expect("a good configuration");
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, [] as [&str; 0]);
    // Kafka 4.3 sets this for the cluster when it is formatted.
    loaded
        .config
        .with_dynamic(&map(&[("min.insync.replicas", "1")]), &map(&[]))
        .expect("still good")
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::DynamicTopic => "DYNAMIC_TOPIC_CONFIG",
        Source::DynamicGroup => "DYNAMIC_GROUP_CONFIG",
        Source::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        Source::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        Source::StaticBroker => "STATIC_BROKER_CONFIG",
        Source::Default => "DEFAULT_CONFIG",
        Source::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
    }
}

/// An answer as the file has it.
fn line(of: &Described) -> String {
    let null = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: Vec<String> = of
        .synonyms
        .iter()
        .map(|said| {
            format!(
                "{}:{}={}",
                source_name(said.source),
                said.name,
                null(&said.value)
            )
        })
        .collect();
    [
        of.name.as_str(),
        &null(&of.value),
        &of.kind.name().to_uppercase(),
        source_name(of.source),
        if of.read_only { "read-only" } else { "dynamic" },
        if of.sensitive { "sensitive" } else { "-" },
        &synonyms.join(" | "),
    ]
    .join("\t")
}

/// Compares our answer with Kafka's rows of that name; `base` has the rows that are not repeated.
fn compare(resource: &str, base: &str, described: &[Described]) {
    let mut expected: BTreeMap<&str, String> = BTreeMap::new();
    for wanted in [base, resource] {
        for row in rows(ANSWERS).filter(|row| row[0] == wanted) {
            expected.insert(row[1], row[1..].join("\t"));
        }
    }
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    for of in described {
        assert!(
            of.documentation.is_some() || of.kind == Kind::Unknown,
            "{} has a text",
            of.name
        );
        found.insert(&of.name, line(of));
    }
    found.retain(|name, _| !name.starts_with("reka.") && !is_different(name));
    expected.retain(|name, _| !is_different(name));
    let names = |map: &BTreeMap<&str, String>| {
        map.keys()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&found), names(&expected), "keys of {resource}");
    for (name, line) in &expected {
        assert_eq!(found[name], *line, "{resource} {name}");
    }
}

#[test]
fn answers_before_any_change_are_kafkas() {
    let config = as_kafkas_broker();
    compare("broker", "broker", &config.describe_broker());
    compare("topic", "topic", &config.describe_topic(&map(&[])));
    compare("default", "default", &config.describe_cluster_default());
    let overrides = map(&[
        ("retention.ms", "5"),
        ("cleanup.policy", "compact"),
        ("min.insync.replicas", "1"),
    ]);
    compare("topic2", "topic", &config.describe_topic(&overrides));
}

#[test]
fn answers_after_changes_at_run_time_are_kafkas() {
    let default = map(&[
        ("min.insync.replicas", "1"),
        ("log.retention.ms", "1000000"),
        ("log.cleanup.policy", "delete,compact"),
        ("max.connections.per.ip", "5"),
        ("foo", "2"),
    ]);
    let broker = map(&[
        ("log.retention.ms", "100"),
        ("max.connections.per.ip", "5"),
        ("nope.x", "1"),
    ]);
    let config = as_kafkas_broker()
        .with_dynamic(&default, &broker)
        .expect("still good");
    compare("broker-after", "broker", &config.describe_broker());
    compare(
        "default-after",
        "default-after",
        &config.describe_cluster_default(),
    );
    let overrides = map(&[
        ("cleanup.policy", "compact"),
        ("leader.replication.throttled.replicas", "0:1"),
    ]);
    compare("topic-after", "topic", &config.describe_topic(&overrides));
    assert_eq!(config.topic(&map(&[])).expect("good").retention_ms, 100);
    assert_eq!(config.socket.connections_per_address_max, 5);
}

//! Whole configurations: what they come to, and how mistakes in them are said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reka_records::{Compression, Rules, TimestampType};
use reka_storage::LogConfig;

use super::definitions::Effect;
use super::*;

fn sources(text: &str, environment: &[(&str, &str)], overrides: &[&str]) -> Sources {
    Sources {
        file: Some(SourceFile {
            name: "server.properties".to_owned(),
            text: text.to_owned(),
        }),
        environment: environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn load(text: &str) -> Config {
    Config::load(&sources(text, &[], &[]))
        .expect("a good configuration")
        .config
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn nothing_given_is_a_whole_broker() {
    let loaded = Config::load(&Sources::default()).expect("the defaults are good");
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert!(config.node.is_broker && config.node.is_controller);
    assert_eq!(config.node.id, 1);
    assert_eq!(config.logs.dirs, [PathBuf::from("./reka-data")]);
    assert_eq!(
        config.logs.flush_group_interval,
        Some(Duration::from_millis(100))
    );
    let [listener] = &config.listeners.broker[..] else {
        panic!("one listener")
    };
    assert_eq!((listener.name.as_str(), listener.port), ("PLAINTEXT", 9092));
    assert_eq!((&listener.host, &listener.advertised), (&None, &None));
    assert_eq!(config.listeners.inter_broker, "PLAINTEXT");
    assert_eq!(config.socket.connections_max, 10_000);
    assert_eq!(config.socket.connections_max_idle, Duration::from_secs(600));
    assert_eq!(config.socket.request_max_bytes, 100 << 20);
    assert_eq!(config.socket.queued_request_bytes_max, None);
    assert_eq!(config.fetch_max_bytes, 55 << 20);
    assert_eq!(
        config.http.map(|http| http.to_string()).as_deref(),
        Some("127.0.0.1:9644")
    );
}

#[test]
fn every_key_that_claims_to_be_served_is_read() {
    let (_, read) = Config::build(Layers::default(), None).expect("the defaults are good");
    let served: BTreeSet<&str> = definitions::all_broker()
        .filter(|key| key.effect == Effect::Served)
        .map(|key| key.name)
        .collect();
    let unread: Vec<_> = served.difference(&read).collect();
    assert!(unread.is_empty(), "served and not read: {unread:?}");
}

#[test]
fn a_topic_without_overrides_is_what_the_engine_and_the_rules_default_to() {
    let config = Config::load(&Sources::default())
        .expect("the defaults are good")
        .config;
    let topic = config.topic(&map(&[])).expect("good");
    assert_eq!(topic, config.topic_defaults);
    assert_eq!(
        topic.to_log_config(config.logs.producer_ids),
        LogConfig::default()
    );
    assert_eq!(
        format!("{:?}", topic.to_rules(7)),
        format!("{:?}", Rules::new(7))
    );
}

#[test]
fn overrides_of_a_topic_count_before_the_brokers_defaults() {
    let config = load(
        "log.retention.hours=1\ncompression.type=gzip\ncompression.gzip.level=7\nlog.roll.jitter.hours=2",
    );
    let topic = config.topic(&map(&[
        ("cleanup.policy", " compact , delete "),
        ("segment.bytes", "2097152"),
        ("message.timestamp.type", "LogAppendTime"),
        ("leader.replication.throttled.replicas", "0:1,2:3"),
        ("follower.replication.throttled.replicas", "*"),
    ]));
    let topic = topic.expect("good");
    assert_eq!(topic.retention_ms, 3_600_000);
    assert_eq!(topic.segment_jitter_ms, 7_200_000);
    assert!(topic.compact && topic.delete);
    assert_eq!(topic.segment_bytes, 2 << 20);
    assert_eq!(
        (topic.compression, topic.compression_level),
        (Some(Compression::Gzip), Some(7))
    );
    assert_eq!(topic.timestamp_type, TimestampType::LogAppendTime);
    assert!(topic.leader_throttled.contains(2, 3) && !topic.leader_throttled.contains(3, 2));
    assert!(topic.follower_throttled.contains(9, 9));
    let topic = config.topic(&map(&[
        ("compression.type", "zstd"),
        ("internal.segment.bytes", "100"),
    ]));
    let topic = topic.expect("good");
    assert_eq!(
        (topic.compression, topic.compression_level),
        (Some(Compression::Zstd), Some(3))
    );
    assert_eq!(topic.segment_bytes, 100);
    let topic = config
        .topic(&map(&[("compression.type", "uncompressed")]))
        .expect("good");
    assert_eq!(topic.compression, Some(Compression::None));
}

#[test]
fn an_internal_key_of_a_topic_is_shown_where_it_is_set() {
    let config = load("");
    let shown = |overrides: &Overrides| {
        let described = config.describe_topic(overrides).into_iter();
        let mut internal = described.filter(|key| key.name == "internal.segment.bytes");
        internal.next().and_then(|key| key.value)
    };
    assert_eq!(shown(&map(&[])), None);
    let set = map(&[("internal.segment.bytes", "1000")]);
    assert_eq!(shown(&set).as_deref(), Some("1000"));
}

#[test]
fn retention_is_taken_from_the_finest_unit_that_is_given() {
    let check = |text: &str, expected: i64| {
        assert_eq!(
            load(text).topic_defaults.retention_ms,
            expected,
            "for {text:?}"
        );
    };
    check("", 604_800_000);
    check("log.retention.hours=1", 3_600_000);
    check("log.retention.minutes=1\nlog.retention.hours=1", 60_000);
    check("log.retention.ms=1\nlog.retention.minutes=1", 1);
    check("log.retention.hours=-1", -1);
    check("log.retention.ms=-5", -1);
}

#[test]
fn the_stronger_source_counts() {
    let check = |text, environment: &[(&str, &str)], overrides: &[&str], expected: i32| {
        let loaded = Config::load(&sources(text, environment, overrides)).expect("good");
        assert_eq!(loaded.config.topics.partitions, expected);
    };
    let (file, environment, option) = (
        "num.partitions=2",
        [("KAFKA_NUM_PARTITIONS", "3")],
        ["num.partitions=4"],
    );
    check("", &[], &[], 1);
    check(file, &[], &[], 2);
    check(file, &environment, &[], 3);
    check(file, &environment, &option, 4);
    check(file, &[], &["num.partitions=5", "num.partitions=6"], 6);
}

#[test]
fn what_the_metadata_says_counts_before_all_sources() {
    let config = load("log.retention.ms=1");
    let changed = |default: &[(&str, &str)], broker: &[(&str, &str)]| {
        let config = config
            .with_dynamic(&map(default), &map(broker))
            .expect("good");
        config.topic_defaults.retention_ms
    };
    let (default, broker) = ([("log.retention.ms", "2")], [("log.retention.ms", "3")]);
    assert_eq!(changed(&[], &[]), 1);
    assert_eq!(changed(&default, &[]), 2);
    assert_eq!(changed(&default, &broker), 3);
}

#[test]
fn mistakes_are_said_with_place_key_value_and_what_is_allowed() {
    let check = |text: &str, expected: &str| {
        let errors = Config::load(&sources(text, &[], &[])).expect_err("a mistake");
        assert_eq!(errors.to_string(), expected, "for {text:?}");
    };
    check(
        "\nnum.partition=3",
        "server.properties:2: unknown key num.partition; did you mean num.partitions?",
    );
    check(
        "wholly.unheard.of.thing=3",
        "server.properties:1: unknown key wholly.unheard.of.thing",
    );
    check(
        "retention.ms=3",
        "server.properties:1: unknown key retention.ms; did you mean log.retention.ms?",
    );
    check(
        "num.partitions=0",
        "server.properties:1: num.partitions=0: expected at least 1",
    );
    check(
        "log.cleanup.policy=compress",
        "server.properties:1: log.cleanup.policy=compress: expected one of compact, delete",
    );
    check(
        "a=\\u1",
        "server.properties:1: \\u needs four hexadecimal digits that name a character",
    );
    check(
        "listeners=PLAINTEXT:9092",
        "server.properties:1: listeners=PLAINTEXT:9092: expected NAME://host:port",
    );
    check(
        "listeners=A://:1",
        "server.properties:1: listeners=A: listener.security.protocol.map does not say what this listener speaks",
    );
    check(
        "listeners=A://:1\ncontroller.listener.names=A",
        "server.properties:1: a broker needs a listener that is not in controller.listener.names",
    );
    check(
        "listeners=PLAINTEXT://:1,SSL://:2",
        "server.properties:1: listeners=SSL is not supported yet: TLS and SASL are not served; remove it",
    );
    check(
        "listeners=PLAINTEXT://:1,PLAINTEXT://:2",
        "server.properties:1: listeners=PLAINTEXT://:2: the name is there twice",
    );
    check(
        "advertised.listeners=PLAINTEXT://0.0.0.0:1",
        "server.properties:1: advertised.listeners=0.0.0.0: clients cannot connect to the address of every address",
    );
    check(
        "advertised.listeners=B://a:1",
        "server.properties:1: advertised.listeners=B: listeners has no such listener",
    );
    check(
        "inter.broker.listener.name=B",
        "server.properties:1: inter.broker.listener.name=B: listeners has no such listener",
    );
    check(
        "node.id=1\nbroker.id=2",
        "server.properties:2: broker.id=2 and node.id=1 are not the same",
    );
    check(
        "controller.quorum.voters=localhost:9093",
        "server.properties:1: controller.quorum.voters=localhost:9093: expected id@host:port",
    );
    check(
        "ssl.keystore.password=secret",
        "server.properties:1: ssl.keystore.password=*** is not supported yet: authentication and authorisation are not served; remove it",
    );
    check(
        "authorizer.class.name=x.Y",
        "server.properties:1: authorizer.class.name=x.Y is not supported yet: authentication and authorisation are not served; remove it or set it to \"\"",
    );
    check(
        "create.topic.policy.class.name=x.Y",
        "server.properties:1: create.topic.policy.class.name=x.Y cannot be honoured: Java classes cannot be run; remove it",
    );
    check(
        "remote.log.storage.system.enable=perhaps",
        "server.properties:1: remote.log.storage.system.enable=perhaps: expected true or false",
    );
    check(
        "reka.http.listener=9644",
        "server.properties:1: reka.http.listener=9644: expected host:port, or nothing to turn it off",
    );
    check(
        "listener.name.plaintext.max.connections=5",
        "server.properties:1: listener.name.plaintext.max.connections=5 is not supported yet: listeners have no settings of their own; remove it",
    );
    check(
        "num.partitions=x\nnum.io.thread=1",
        "server.properties:1: num.partitions=x: expected a whole number from -2147483648 to 2147483647\nserver.properties:2: unknown key num.io.thread; did you mean num.io.threads?",
    );
}

#[test]
fn mistakes_elsewhere_name_their_place() {
    let check = |environment: &[(&str, &str)], overrides: &[&str], expected: &str| {
        let errors = Config::load(&sources("", environment, overrides)).expect_err("a mistake");
        assert_eq!(errors.to_string(), expected);
    };
    check(
        &[("KAFKA_NUM_PARTITIONS", "0")],
        &[],
        "KAFKA_NUM_PARTITIONS: num.partitions=0: expected at least 1",
    );
    check(
        &[],
        &["num.partitions=0"],
        "--override: num.partitions=0: expected at least 1",
    );
    check(
        &[],
        &["num.partitions"],
        "--override: expected key=value, found num.partitions",
    );
}

#[test]
fn a_bad_value_in_the_metadata_names_where_it_is() {
    let config = load("");
    let said = config.with_dynamic(&map(&[("max.connections", "-1")]), &map(&[]));
    let said = said.expect_err("a bad value").to_string();
    assert_eq!(
        said,
        "cluster-wide broker configuration: max.connections=-1: expected at least 0"
    );
    let said = config
        .topic(&map(&[("retention.ms", "x")]))
        .expect_err("a bad value")
        .to_string();
    assert_eq!(
        said,
        "topic configuration: retention.ms=x: expected a whole number from \
         -9223372036854775808 to 9223372036854775807"
    );
}

#[test]
fn what_has_no_effect_is_one_warning_per_reason() {
    let warnings = |text: &str| {
        let loaded = Config::load(&sources(text, &[], &[])).expect("good");
        loaded
            .warnings
            .iter()
            .map(Warning::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("num.io.threads=8\nnum.network.threads=3"),
        [] as [&str; 0]
    );
    assert_eq!(
        warnings("num.io.threads=16\nnum.network.threads=6\nzookeeper.connect=x:2181"),
        [
            "no effect here: zookeeper.connect (metadata is kept by Raft, there is no ZooKeeper)",
            "no effect here: num.io.threads, num.network.threads (threads are one per core, and \
             pools sized by the machine)",
        ]
    );
    assert_eq!(
        warnings("num.partitions=1\nnum.partitions=2"),
        ["server.properties:1: num.partitions is given again further down, which counts"]
    );
    assert_eq!(
        warnings("group.coordinator.rebalance.protocols=classic,consumer,streams"),
        ["group.coordinator.rebalance.protocols: streams left out (not served)",]
    );
}

#[test]
fn the_file_that_comes_with_kafka_is_a_good_configuration() {
    // The keys and values of the combined server.properties of Apache Kafka 4.x.
    let config = load(
        "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
",
    );
    assert_eq!(config.listeners.controller[0].port, 9093);
    let advertised = config.listeners.broker[0]
        .advertised
        .as_ref()
        .map(HostPort::to_string);
    assert_eq!(advertised.as_deref(), Some("localhost:9092"));
    assert_eq!(config.transactions.topic.min_insync_replicas, Some(1));
}

#[test]
fn a_compose_file_without_any_other_file_is_a_good_configuration() {
    let environment = [
        ("KAFKA_NODE_ID", "1"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        (
            "KAFKA_LISTENERS",
            "CONTROLLER://localhost:9091,HOST://0.0.0.0:9092,DOCKER://0.0.0.0:9093",
        ),
        (
            "KAFKA_ADVERTISED_LISTENERS",
            "HOST://localhost:9092,DOCKER://kafka:9093",
        ),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "CONTROLLER:PLAINTEXT,DOCKER:PLAINTEXT,HOST:PLAINTEXT",
        ),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "DOCKER"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9091"),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
        ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
    ];
    let loaded = Config::load(&sources("", &environment, &[])).expect("good");
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, [] as [&str; 0]);
    let config = loaded.config;
    assert_eq!(
        config.node.cluster_id.as_deref(),
        Some("4L6g3nShT-eMCtK--X86sw")
    );
    assert_eq!(config.listeners.inter_broker, "DOCKER");
    assert_eq!(config.listeners.broker.len(), 2);
    assert_eq!(
        config.quorum.voters[0].address.to_string(),
        "localhost:9091"
    );
}

#[test]
fn toml_and_properties_mean_the_same() {
    let text =
        "[log]\ndirs = [\"/a\", \"/b\"]\nretention.hours = 1\n[reka.http]\nlistener = \"\"\n";
    let file = SourceFile {
        name: "reka.toml".to_owned(),
        text: text.to_owned(),
    };
    let config = Config::load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .expect("good")
    .config;
    let same = load("log.dirs=/a,/b\nlog.retention.hours=1\nreka.http.listener=");
    assert_eq!(config.logs, same.logs);
    assert_eq!(config.http, None);
    assert_eq!(config.topic_defaults, same.topic_defaults);
}

#[test]
fn a_node_with_peers_does_not_sync_in_groups_by_default() {
    let peers = "controller.quorum.voters=1@a:1,2@b:1,3@c:1\nlisteners=PLAINTEXT://:9092,C://:9093\ncontroller.listener.names=C";
    assert_eq!(load(peers).logs.flush_group_interval, None);
    assert_eq!(
        load("reka.flush.group.ms=0").logs.flush_group_interval,
        None
    );
    let five = Some(Duration::from_millis(5));
    assert_eq!(
        load(&format!("{peers}\nreka.flush.group.ms=5"))
            .logs
            .flush_group_interval,
        five
    );
}

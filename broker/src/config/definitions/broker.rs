//! The broker's keys.

use super::{
    Definition, Section, Valid, boolean, class, double, int, list, long, password, short, string,
};

const THREADS: &str = "threads are one per core, and pools sized by the machine";
const QUEUES: &str = "a request runs where it was read, there is no queue in between";
const PARKED: &str = "a request that waits is removed when it is done";
const CLUSTER: &str = "nodes keep their own pace between each other";
const RAFT: &str = "the metadata quorum is another Raft, which has no use for it";
const METADATA_LOG: &str = "the metadata log has its own files and is cut at its snapshots";
const BUFFERS: &str = "buffers follow the load";
const CLEANER: &str = "the cleaner sizes its buffers by what it cleans";
const QUOTA_WINDOW: &str = "replication traffic is measured by a token bucket";
const PREALLOCATE: &str = "segments always get their space ahead, in steps";
const STABLE: &str = "every advertised version is one Kafka has released";
const STARTS: &str = "a start takes milliseconds or says what it waits for";
const READY: &str = "listeners accept when everything behind them is ready";
const METRICS_OVER_HTTP: &str = "metrics are served over HTTP, in Prometheus' format";
const JAVA: &str = "there is no Java here";
const TIERED: &str = "tiered storage is not served";
const SHARE: &str = "share groups are not served";
const STREAMS: &str = "streams groups are not served";
const POLICY: &str = "Java classes cannot be run";
const KERBEROS: &str = "Kerberos is not served";
const SECURITY_LATER: &str = "authentication and authorisation are not served";
const PROVIDERS: &str = "${...} in values is not resolved";
const DIRECTORIES: &str = "directories cannot be cordoned";
const CLUSTERS: &str = "voters are those that are configured";
const QUOTAS: &str = "client quotas are not enforced";
const TELEMETRY: &str = "client telemetry is not served";
const TWO_PHASE: &str = "outside two-phase commits are not served";

const GROUP_WRITES: &str = "changes that wait together are written together";
const ALONE: &str = "a node alone has no followers and no other voters";
const NOT_APPLIED: &str = "not applied yet";

const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

const fn section(title: &'static str, keys: &'static [Definition]) -> Section {
    Section { title, keys }
}

/// The broker's keys, by what they are about. A key of ours is only where Kafka has none.
#[rustfmt::skip]
pub const BROKER: &[Section] = &[
    section("The node", THE_NODE),
    section("Listeners", LISTENERS),
    section("Sockets and connections", SOCKETS_AND_CONNECTIONS),
    section("Requests", REQUESTS),
    section("Topics", TOPICS),
    section("Defaults of topics", DEFAULTS_OF_TOPICS),
    section("Log directories and their upkeep", LOG_DIRECTORIES_AND_THEIR_UPKEEP),
    section("Metadata and the controller", METADATA_AND_THE_CONTROLLER),
    section("Replication", REPLICATION),
    section("Groups and their offsets", GROUPS_AND_THEIR_OFFSETS),
    section("Transactions", TRANSACTIONS),
    section("Quotas", QUOTA_KEYS),
    section("Share groups", SHARE_GROUPS),
    section("Streams groups", STREAMS_GROUPS),
    section("Tiered storage", TIERED_STORAGE),
    section("Metrics and telemetry", METRICS_AND_TELEMETRY),
    section("Security", SECURITY),
    section("Our own", OUR_OWN),
];

#[rustfmt::skip]
const THE_NODE: &[Definition] = &[
    list("process.roles").default("broker,controller").each_one_of(&["broker", "controller"]).served("What this process is: broker, controller, or both."),
    int("node.id").default("1").at_least(0).served("Number of this node, unique in its cluster. The older broker.id may be given instead."),
    int("broker.id").default("-1").served("The older name of node.id. Where both are given they must agree."),
    string("broker.rack").served("Where this broker stands. Replicas of a partition are spread over racks."),
    list("cordoned.log.dirs").default("").per_broker().not_yet(DIRECTORIES, "Log directories that get no new partitions, or * for all of them."),
    list("early.start.listeners").no_effect(READY, "Listeners that accept before authorisation is ready."),
    long("server.max.startup.time.ms").default("9223372036854775807").at_least(0).internal().no_effect(STARTS, "How long a start may take."),
    boolean("unstable.api.versions.enable").default("false").internal().no_effect(STABLE, "Advertises API versions that are still being designed."),
    boolean("unstable.feature.versions.enable").default("false").internal().no_effect(STABLE, "Allows feature levels that are still being designed."),
];

#[rustfmt::skip]
const LISTENERS: &[Definition] = &[
    list("listeners").default("PLAINTEXT://:9092").per_broker().served("Where to listen: NAME://host:port, comma separated. No host is every address."),
    list("advertised.listeners").served("The addresses clients are told. Not given: each client is told the address it connected to."),
    string("listener.security.protocol.map").default("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT").per_broker().served("Which security protocol each listener name speaks: NAME:PROTOCOL, comma separated."),
    string("inter.broker.listener.name").served("The listener other brokers connect to. Not given: the first that speaks security.inter.broker.protocol."),
    string("security.inter.broker.protocol").default("PLAINTEXT").one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]).served("The security protocol between brokers, where inter.broker.listener.name does not name a listener."),
    list("controller.listener.names").default("").served("The listeners of the controller, comma separated. Nothing there is advertised to clients."),
];

#[rustfmt::skip]
const SOCKETS_AND_CONNECTIONS: &[Definition] = &[
    int("socket.listen.backlog.size").default("50").at_least(1).served("Connections the kernel holds until they are accepted."),
    int("socket.receive.buffer.bytes").default("-1").served("SO_RCVBUF of connections; -1 leaves it to the kernel, which lets it grow with what is sent."),
    int("socket.send.buffer.bytes").default("-1").served("SO_SNDBUF of connections; -1 leaves it to the kernel, which lets it grow with what is read."),
    int("socket.request.max.bytes").default("104857600").at_least(1).served("Largest request that is read. A connection that announces more is closed."),
    long("socket.connection.setup.timeout.ms").default("10000").no_effect(CLUSTER, "How long connecting to another broker may take, at first."),
    long("socket.connection.setup.timeout.max.ms").default("30000").no_effect(CLUSTER, "How long connecting to another broker may take, after repeated failures."),
    int("max.connections").default("10000").at_least(0).cluster_wide().served("Connections open at a time. Further ones are closed."),
    int("max.connections.per.ip").default("1000").at_least(0).cluster_wide().served("Connections open at a time from one address. Further ones are closed."),
    string("max.connections.per.ip.overrides").default("").cluster_wide().served("Other limits for single addresses: host:count, comma separated."),
    int("max.connection.creation.rate").default("500").at_least(0).cluster_wide().served("Connections accepted per second. Further ones wait in the backlog."),
    long("connections.max.idle.ms").default("600000").served("How long a connection may be silent before it is closed."),
    long("queued.max.request.bytes").default("-1").served("Memory for requests in flight, a quarter of it only for those up to 128 KiB. -1: a quarter of the memory there is."),
    int("queued.max.requests").default("500").at_least(1).no_effect(QUEUES, "Requests waiting between network and request threads."),
    int("request.timeout.ms").default("30000").no_effect(NOT_APPLIED, "How long this broker waits for the answer of another node."),
    int("num.network.threads").default("3").at_least(1).cluster_wide().no_effect(THREADS, "Threads that read requests and write answers."),
    int("num.io.threads").default("8").at_least(1).cluster_wide().no_effect(THREADS, "Threads that work on requests."),
    int("background.threads").default("10").at_least(1).cluster_wide().no_effect(THREADS, "Threads for housekeeping."),
];

#[rustfmt::skip]
const REQUESTS: &[Definition] = &[
    int("fetch.max.bytes").default("57671680").at_least(1024).served("Most bytes one Fetch is answered with, whatever the client asks for."),
    int("max.incremental.fetch.session.cache.slots").default("1000").at_least(0).served("Incremental fetch sessions remembered."),
    int("max.request.partition.size.limit").default("2000").at_least(1).served("Most partitions one DescribeTopicPartitions is answered with."),
    int("fetch.purgatory.purge.interval.requests").default("1000").no_effect(PARKED, "How often finished waiting Fetch requests are removed."),
    int("producer.purgatory.purge.interval.requests").default("1000").no_effect(PARKED, "How often finished waiting Produce requests are removed."),
    int("delete.records.purgatory.purge.interval.requests").default("1").no_effect(PARKED, "How often finished waiting DeleteRecords requests are removed."),
    int("share.fetch.purgatory.purge.interval.requests").default("1000").no_effect(PARKED, "How often finished waiting ShareFetch requests are removed."),
];

#[rustfmt::skip]
const TOPICS: &[Definition] = &[
    boolean("auto.create.topics.enable").default("true").served("A topic that a client asks for and that does not exist is created."),
    int("num.partitions").default("1").at_least(1).served("Partitions of a topic that is created without a count."),
    int("default.replication.factor").default("1").served("Replicas of a topic that is created without a count."),
    boolean("delete.topic.enable").default("true").served("Topics may be deleted."),
    class("create.topic.policy.class.name").never(POLICY, "A Java class that judges new topics."),
    class("alter.config.policy.class.name").never(POLICY, "A Java class that judges configuration changes."),
];

#[rustfmt::skip]
const DEFAULTS_OF_TOPICS: &[Definition] = &[
    int("message.max.bytes").default("1048588").at_least(0).cluster_wide().served("Largest record batch, after compression. Topics: max.message.bytes."),
    string("compression.type").default("producer").one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]).cluster_wide().served("How batches are stored: producer leaves them as they came, otherwise in this codec."),
    int("compression.gzip.level").default("-1").valid(Valid::BetweenOr(1, 9, -1)).cluster_wide().served("How hard gzip tries; -1 is gzip's own default."),
    int("compression.lz4.level").default("9").between(1, 17).cluster_wide().served("How hard lz4 tries."),
    int("compression.zstd.level").default("3").between(-131_072, 22).cluster_wide().served("How hard zstd tries."),
    int("min.insync.replicas").default("1").at_least(1).cluster_wide().served("In-sync replicas without which a write with acks=all is refused."),
    boolean("unclean.leader.election.enable").default("false").cluster_wide().no_effect(ALONE, "A replica that is behind may lead when nobody else can. Loses records."),
    list("log.cleanup.policy").default("delete").each_one_of(&["compact", "delete"]).cluster_wide().served("What becomes of old records: delete, compact, both, or nothing. Topics: cleanup.policy."),
    long("log.retention.ms").cluster_wide().served("How long records are kept; -1 for ever. Goes before the same in minutes and hours. Topics: retention.ms."),
    int("log.retention.minutes").served("How long records are kept, where log.retention.ms is not given."),
    int("log.retention.hours").default("168").served("How long records are kept, where neither milliseconds nor minutes are given."),
    long("log.retention.bytes").default("-1").cluster_wide().served("How large a partition may grow before its oldest segments go; -1 is no limit. Topics: retention.bytes."),
    int("log.segment.bytes").default("1073741824").at_least(1_048_576).cluster_wide().served("Size at which a new segment is begun. Topics: segment.bytes."),
    long("log.roll.ms").cluster_wide().served("Age at which a new segment is begun. Goes before log.roll.hours. Topics: segment.ms."),
    int("log.roll.hours").default("168").at_least(1).served("Age at which a new segment is begun, where log.roll.ms is not given."),
    long("log.roll.jitter.ms").cluster_wide().served("At most so much earlier, so that segments do not all roll at once. Topics: segment.jitter.ms."),
    int("log.roll.jitter.hours").default("0").at_least(0).served("The same in hours, where log.roll.jitter.ms is not given."),
    long("log.segment.delete.delay.ms").default("60000").at_least(0).cluster_wide().served("How long a deleted segment stays on disk. Topics: file.delete.delay.ms."),
    int("log.index.interval.bytes").default("4096").at_least(0).cluster_wide().served("Bytes of log between two index entries. Topics: index.interval.bytes."),
    int("log.index.size.max.bytes").default("10485760").at_least(4).cluster_wide().served("Largest index of a segment. Topics: segment.index.bytes."),
    long("log.flush.interval.messages").default("9223372036854775807").at_least(1).cluster_wide().served("Records after which a partition is synced, before their producer is told. Topics: flush.messages."),
    long("log.flush.interval.ms").cluster_wide().served("Age of unsynced records at which a partition is synced. Topics: flush.ms."),
    boolean("log.preallocate").default("false").cluster_wide().no_effect(PREALLOCATE, "Segments get their space when they are created. Topics: preallocate."),
    string("log.message.timestamp.type").default("CreateTime").one_of(&["CreateTime", "LogAppendTime"]).cluster_wide().served("Records carry the time of their producer or of their append. Topics: message.timestamp.type."),
    long("log.message.timestamp.before.max.ms").default("9223372036854775807").at_least(0).cluster_wide().served("How far a record's time may lie before the broker's. Topics: message.timestamp.before.max.ms."),
    long("log.message.timestamp.after.max.ms").default("3600000").at_least(0).cluster_wide().served("How far a record's time may lie after the broker's. Topics: message.timestamp.after.max.ms."),
    long("log.cleaner.delete.retention.ms").default("86400000").at_least(0).cluster_wide().served("How long tombstones stay in a compacted topic. Topics: delete.retention.ms."),
    long("log.cleaner.min.compaction.lag.ms").default("0").at_least(0).cluster_wide().served("Younger records are not compacted. Topics: min.compaction.lag.ms."),
    long("log.cleaner.max.compaction.lag.ms").default("9223372036854775807").at_least(1).cluster_wide().served("Older records are compacted even if there are few. Topics: max.compaction.lag.ms."),
    double("log.cleaner.min.cleanable.ratio").default("0.5").between(0, 1).cluster_wide().served("Share of uncompacted bytes at which a log is compacted. Topics: min.cleanable.dirty.ratio."),
    long("log.local.retention.ms").default("-2").at_least(-2).cluster_wide().no_effect(TIERED, "How long records are kept on local disks. Topics: local.retention.ms."),
    long("log.local.retention.bytes").default("-2").at_least(-2).cluster_wide().no_effect(TIERED, "Bytes of a partition kept on local disks. Topics: local.retention.bytes."),
];

#[rustfmt::skip]
const LOG_DIRECTORIES_AND_THEIR_UPKEEP: &[Definition] = &[
    list("log.dir").default("./reka-data").served("A directory for the partitions, where log.dirs is not given."),
    list("log.dirs").served("The directories for the partitions, comma separated."),
    long("log.dir.failure.timeout.ms").default("30000").at_least(1).no_effect(CLUSTER, "How long a broker lives on with a failed directory that it could not report."),
    int("num.recovery.threads.per.data.dir").default("2").at_least(1).cluster_wide().served("Threads that recover a directory's logs after a crash."),
    int("num.replica.alter.log.dirs.threads").no_effect(THREADS, "Threads that move replicas between directories."),
    long("log.retention.check.interval.ms").default("300000").at_least(1).served("How often logs are looked through for segments to delete."),
    long("log.initial.task.delay.ms").default("30000").at_least(0).internal().served("How long after the start the upkeep of logs begins."),
    long("log.flush.scheduler.interval.ms").default("9223372036854775807").served("How often records older than flush.ms are looked for; 100 if it is more."),
    int("log.flush.offset.checkpoint.interval.ms").default("60000").at_least(0).served("How often the recovery points are written down."),
    int("log.flush.start.offset.checkpoint.interval.ms").default("60000").at_least(0).served("How often the start offsets are written down, and the recovery points with them."),
    boolean("log.cleaner.enable").default("true").served("Compacted topics are compacted."),
    int("log.cleaner.threads").default("1").at_least(0).cluster_wide().served("Threads that compact."),
    long("log.cleaner.backoff.ms").default("15000").at_least(0).cluster_wide().served("How long compaction rests when it finds nothing to do."),
    long("log.cleaner.dedupe.buffer.size").default("134217728").cluster_wide().served("Memory of the key maps of all compaction threads together."),
    double("log.cleaner.io.max.bytes.per.second").default("1.7976931348623157E308").cluster_wide().served("Bytes that compaction may read and write per second."),
    int("log.cleaner.io.buffer.size").default("524288").at_least(0).cluster_wide().no_effect(CLEANER, "Memory of the read and write buffers of compaction."),
    double("log.cleaner.io.buffer.load.factor").default("0.9").cluster_wide().no_effect(CLEANER, "How full the key map of compaction may become."),
    int("producer.id.expiration.ms").default("86400000").at_least(1).cluster_wide().served("How long a silent idempotent producer is remembered."),
    int("producer.id.expiration.check.interval.ms").default("600000").at_least(1).internal().served("How often producers are looked through for silent ones."),
];

#[rustfmt::skip]
const METADATA_AND_THE_CONTROLLER: &[Definition] = &[
    list("controller.quorum.voters").default("").served("The controllers: id@host:port, comma separated. Not given: this node alone."),
    list("controller.quorum.bootstrap.servers").default("").no_effect(ALONE, "Addresses at which the controllers can be found: host:port, comma separated."),
    int("controller.quorum.election.timeout.ms").default("1000").at_least(0).no_effect(ALONE, "How long a candidate waits for votes."),
    int("controller.quorum.election.backoff.max.ms").default("1000").at_least(0).no_effect(ALONE, "The longest pause between two elections."),
    int("controller.quorum.fetch.timeout.ms").default("2000").at_least(0).no_effect(ALONE, "Silence of the leader after which an election begins."),
    int("controller.quorum.request.timeout.ms").default("2000").at_least(0).no_effect(ALONE, "How long a controller waits for the answer of another."),
    int("controller.quorum.append.linger.ms").default("25").at_least(0).no_effect(ALONE, "The longest wait for more changes to write together."),
    int("controller.quorum.retry.backoff.ms").default("20").at_least(0).no_effect(RAFT, "Pause before a quorum request is sent again."),
    boolean("controller.quorum.auto.join.enable").default("false").not_yet(CLUSTERS, "A controller makes itself a voter when it starts."),
    int("controller.quorum.fetch.max.bytes").default("1048576").at_least(1).no_effect(RAFT, "Most bytes of metadata in one answer."),
    int("controller.quorum.fetch.snapshot.max.bytes").default("1048576").at_least(1).no_effect(RAFT, "Most bytes of a metadata snapshot in one answer."),
    int("controller.socket.timeout.ms").default("30000").no_effect(CLUSTER, "How long a broker waits for the controller."),
    long("controller.performance.sample.period.ms").default("60000").at_least(100).internal().no_effect(METRICS_OVER_HTTP, "How often the slowest controller event is logged."),
    long("controller.performance.always.log.threshold.ms").default("2000").at_least(0).internal().no_effect(METRICS_OVER_HTTP, "A controller event slower than this is always logged."),
    int("broker.heartbeat.interval.ms").default("1000").no_effect(ALONE, "How often a broker tells the controller that it lives."),
    int("broker.session.timeout.ms").default("3000").no_effect(ALONE, "Silence after which a broker counts as dead."),
    int("initial.broker.registration.timeout.ms").default("60000").no_effect(ALONE, "How long a starting broker waits to be registered."),
    string("metadata.log.dir").no_effect(ALONE, "The directory of the metadata log. Not given: the first of the log directories."),
    long("metadata.log.max.record.bytes.between.snapshots").default("20971520").at_least(1).no_effect(ALONE, "Bytes of metadata changes after which a snapshot is written."),
    long("metadata.log.max.snapshot.interval.ms").default("3600000").at_least(0).no_effect(ALONE, "Time after which a snapshot is written if anything changed; 0 is never."),
    int("metadata.log.segment.bytes").default("1073741824").at_least(8_388_608).no_effect(METADATA_LOG, "Size of a metadata log's segments."),
    long("metadata.log.segment.ms").default("604800000").no_effect(METADATA_LOG, "Age of a metadata log's segments."),
    long("metadata.max.retention.bytes").default("104857600").no_effect(METADATA_LOG, "Bytes of metadata log kept behind the snapshot."),
    long("metadata.max.retention.ms").default("604800000").no_effect(METADATA_LOG, "How long metadata log is kept behind the snapshot."),
    int("metadata.max.idle.interval.ms").default("500").at_least(0).no_effect(RAFT, "How often an idle leader writes a record that says nothing."),
    int("internal.metadata.log.segment.bytes").internal().no_effect(METADATA_LOG, "Size of a metadata log's segments, without a lower bound."),
    int("internal.metadata.max.batch.size.in.bytes").default("8388608").internal().no_effect(METADATA_LOG, "Largest batch of metadata records."),
    long("internal.metadata.delete.delay.millis").default("60000").internal().no_effect(METADATA_LOG, "How long deleted metadata files stay on disk."),
    boolean("auto.leader.rebalance.enable").default("true").no_effect(ALONE, "Leadership goes back to the preferred replicas by itself."),
    long("leader.imbalance.check.interval.seconds").default("300").at_least(1).no_effect(ALONE, "How often leadership is looked through for imbalance."),
    long("unclean.leader.election.interval.ms").default("300000").at_least(1).internal().no_effect(CLUSTER, "How often partitions are looked through for an unclean election."),
];

#[rustfmt::skip]
const REPLICATION: &[Definition] = &[
    int("replica.fetch.min.bytes").default("1").no_effect(ALONE, "A follower's fetch waits for so many bytes."),
    int("replica.fetch.max.bytes").default("1048576").at_least(0).no_effect(ALONE, "Bytes a follower asks for per partition."),
    int("replica.fetch.response.max.bytes").default("10485760").at_least(0).no_effect(ALONE, "Bytes a follower asks for in one fetch."),
    int("replica.fetch.wait.max.ms").default("500").no_effect(ALONE, "How long a follower's fetch waits for bytes."),
    int("replica.fetch.backoff.ms").default("1000").at_least(0).no_effect(ALONE, "How long a follower pauses after a failed fetch."),
    long("replica.lag.time.max.ms").default("30000").no_effect(ALONE, "A follower that has not caught up for so long leaves the in-sync replicas."),
    long("replica.high.watermark.checkpoint.interval.ms").default("5000").no_effect(ALONE, "How often high watermarks are written down."),
    int("replica.socket.timeout.ms").default("30000").no_effect(ALONE, "How long a follower waits for an answer."),
    int("replica.socket.receive.buffer.bytes").default("65536").no_effect(ALONE, "SO_RCVBUF of a follower's connections; -1 leaves it to the kernel."),
    string("replica.selector.class").never(POLICY, "A Java class that picks the replica a consumer reads from."),
    int("num.replica.fetchers").default("1").at_least(1).cluster_wide().no_effect(ALONE, "Connections of a follower to each leader."),
    boolean("controlled.shutdown.enable").default("true").no_effect(ALONE, "A stopping broker hands over its leaderships first."),
    long("leader.replication.throttled.rate").default("9223372036854775807").at_least(0).cluster_wide().when_set().no_effect(ALONE, "Bytes per second that leaders send to throttled replicas."),
    long("follower.replication.throttled.rate").default("9223372036854775807").at_least(0).cluster_wide().when_set().no_effect(ALONE, "Bytes per second that followers take for throttled replicas."),
    long("replica.alter.log.dirs.io.max.bytes.per.second").default("9223372036854775807").at_least(0).cluster_wide().when_set().no_effect(ALONE, "Bytes per second when replicas move between directories."),
    int("replication.quota.window.num").default("11").at_least(1).no_effect(QUOTA_WINDOW, "Windows over which replication traffic is measured."),
    int("replication.quota.window.size.seconds").default("1").at_least(1).no_effect(QUOTA_WINDOW, "Length of a window."),
    int("alter.log.dirs.replication.quota.window.num").default("11").at_least(1).no_effect(QUOTA_WINDOW, "Windows over which moves between directories are measured."),
    int("alter.log.dirs.replication.quota.window.size.seconds").default("1").at_least(1).no_effect(QUOTA_WINDOW, "Length of a window."),
];

#[rustfmt::skip]
const GROUPS_AND_THEIR_OFFSETS: &[Definition] = &[
    list("group.coordinator.rebalance.protocols").default("classic,consumer").each_one_of(&["consumer", "classic", "share", "streams"]).served("The group protocols served: classic, consumer."),
    int("group.coordinator.threads").default("4").at_least(1).no_effect(THREADS, "Threads of the group coordinator."),
    int("group.coordinator.background.threads").default("2").at_least(1).no_effect(THREADS, "Threads for the coordinator's long work."),
    int("group.coordinator.append.linger.ms").default("-1").at_least(-1).no_effect(GROUP_WRITES, "The longest wait for more group changes to write together; -1 adapts."),
    int("group.coordinator.cached.buffer.max.bytes").default("1048588").at_least(524_288).cluster_wide().no_effect(BUFFERS, "Memory of write buffers kept for the next use."),
    int("group.initial.rebalance.delay.ms").default("3000").served("How long the first rebalance of a classic group waits for more members."),
    int("group.min.session.timeout.ms").default("6000").served("Shortest session timeout of a member of a classic group."),
    int("group.max.session.timeout.ms").default("1800000").served("Longest session timeout of a member of a classic group."),
    int("group.max.size").default("2147483647").at_least(1).served("Most members of a classic group."),
    int("group.consumer.max.size").default("2147483647").at_least(1).served("Most members of a consumer group."),
    list("group.consumer.assignors").default("uniform,range").served("The assignors of consumer groups, the first is the default: uniform, range."),
    string("group.consumer.migration.policy").default("bidirectional").valid(Valid::OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"])).served("Whether a group may change between the classic and the consumer protocol."),
    int("group.consumer.session.timeout.ms").default("45000").at_least(1).served("Silence after which a member of a consumer group is out."),
    int("group.consumer.min.session.timeout.ms").default("45000").at_least(1).served("Lowest value a group may set for it."),
    int("group.consumer.max.session.timeout.ms").default("60000").at_least(1).served("Highest value a group may set for it."),
    int("group.consumer.heartbeat.interval.ms").default("5000").at_least(1).served("How often members of a consumer group report."),
    int("group.consumer.min.heartbeat.interval.ms").default("5000").at_least(1).served("Lowest value a group may set for it."),
    int("group.consumer.max.heartbeat.interval.ms").default("15000").at_least(1).served("Highest value a group may set for it."),
    int("group.consumer.assignment.interval.ms").default("1000").at_least(0).cluster_wide().served("Shortest time between two assignments of a consumer group."),
    int("group.consumer.min.assignment.interval.ms").default("0").at_least(0).served("Lowest value a group may set for it."),
    int("group.consumer.max.assignment.interval.ms").default("15000").at_least(0).served("Highest value a group may set for it."),
    int("group.consumer.regex.refresh.interval.ms").default("600000").at_least(10_000).internal().served("How often a subscription by pattern is matched against the topics again."),
    int("offset.metadata.max.bytes").default("4096").served("Longest text a client may store with a committed offset."),
    int("offsets.commit.timeout.ms").default("5000").at_least(1).served("How long a commit waits to be replicated."),
    int("offsets.load.buffer.size").default("5242880").at_least(1).no_effect(BUFFERS, "Bytes read at a time when offsets are loaded."),
    int("offsets.retention.minutes").default("10080").at_least(1).served("How long offsets of a group without members are kept."),
    long("offsets.retention.check.interval.ms").default("600000").at_least(1).served("How often offsets are looked through for old ones."),
    int("offsets.topic.num.partitions").default("50").at_least(1).served("Partitions of __consumer_offsets, when it is created."),
    short("offsets.topic.replication.factor").default("3").at_least(1).served("Replicas of __consumer_offsets, when it is created."),
    int("offsets.topic.segment.bytes").default("104857600").at_least(1).served("Segment size of __consumer_offsets, when it is created."),
    int("offsets.topic.compression.codec").default("0").served("Codec of __consumer_offsets by its number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."),
];

#[rustfmt::skip]
const TRANSACTIONS: &[Definition] = &[
    int("transaction.max.timeout.ms").default("900000").at_least(1).served("Longest transaction a producer may ask for."),
    int("transactional.id.expiration.ms").default("604800000").at_least(1).served("How long a silent transactional id is remembered."),
    int("transaction.abort.timed.out.transaction.cleanup.interval.ms").default("10000").at_least(1).served("How often transactions are looked through for overdue ones."),
    int("transaction.remove.expired.transaction.cleanup.interval.ms").default("3600000").at_least(1).served("How often transactional ids are looked through for silent ones."),
    boolean("transaction.partition.verification.enable").default("true").cluster_wide().served("Leaders ask the coordinator whether a partition belongs to the transaction."),
    boolean("transaction.two.phase.commit.enable").default("false").not_yet(TWO_PHASE, "Transactions may be part of an outside two-phase commit."),
    int("transaction.state.log.num.partitions").default("50").at_least(1).served("Partitions of __transaction_state, when it is created."),
    short("transaction.state.log.replication.factor").default("3").at_least(1).served("Replicas of __transaction_state, when it is created."),
    int("transaction.state.log.segment.bytes").default("104857600").at_least(1).served("Segment size of __transaction_state, when it is created."),
    int("transaction.state.log.min.isr").default("2").at_least(1).served("min.insync.replicas of __transaction_state, when it is created."),
    int("transaction.state.log.load.buffer.size").default("5242880").at_least(1).no_effect(BUFFERS, "Bytes read at a time when transactions are loaded."),
    int("add.partitions.to.txn.retry.backoff.ms").default("20").at_least(1).served("Pause before the coordinator is asked again, at first."),
    int("add.partitions.to.txn.retry.backoff.max.ms").default("100").at_least(0).served("The longest time spent on asking again."),
];

#[rustfmt::skip]
const QUOTA_KEYS: &[Definition] = &[
    int("quota.window.num").default("11").at_least(1).not_yet(QUOTAS, "Windows over which a client's traffic is measured."),
    int("quota.window.size.seconds").default("1").at_least(1).not_yet(QUOTAS, "Length of a window."),
    int("controller.quota.window.num").default("11").at_least(1).not_yet(QUOTAS, "Windows over which a client's topic changes are measured."),
    int("controller.quota.window.size.seconds").default("1").at_least(1).not_yet(QUOTAS, "Length of a window."),
    class("client.quota.callback.class").never(POLICY, "A Java class that decides quotas."),
];

#[rustfmt::skip]
const SHARE_GROUPS: &[Definition] = &[
    int("group.share.assignment.interval.ms").default("1000").at_least(0).cluster_wide().no_effect(SHARE, "Shortest time between two assignments of a share group."),
    list("group.share.assignors").default("simple").no_effect(SHARE, "The assignors of share groups."),
    int("group.share.delivery.count.limit").default("5").between(2, 10).no_effect(SHARE, "How often a record is handed out before it counts as failed."),
    int("group.share.heartbeat.interval.ms").default("5000").at_least(1).no_effect(SHARE, "How often members of a share group report."),
    int("group.share.initialize.retry.interval.ms").default("30000").at_least(1).internal().no_effect(SHARE, "Pause before a share group's state is created again."),
    int("group.share.max.assignment.interval.ms").default("15000").at_least(0).no_effect(SHARE, "Highest value a group may set for the assignment interval."),
    int("group.share.max.delivery.count.limit").default("10").between(5, 25).no_effect(SHARE, "Highest value a group may set for the delivery count."),
    int("group.share.max.heartbeat.interval.ms").default("15000").at_least(1).no_effect(SHARE, "Highest value a group may set for the heartbeat interval."),
    int("group.share.max.partition.max.record.locks").default("4000").between(2000, 10_000).no_effect(SHARE, "Highest value a group may set for the record locks."),
    int("group.share.max.record.lock.duration.ms").default("60000").between(30_000, 3_600_000).no_effect(SHARE, "Highest value a group may set for the lock duration."),
    int("group.share.max.session.timeout.ms").default("60000").at_least(1).no_effect(SHARE, "Highest value a group may set for the session timeout."),
    int("group.share.max.share.sessions").default("2000").at_least(1).no_effect(SHARE, "Share sessions remembered."),
    int("group.share.max.size").default("200").between(1, 1000).no_effect(SHARE, "Most members of a share group."),
    int("group.share.min.assignment.interval.ms").default("0").at_least(0).no_effect(SHARE, "Lowest value a group may set for the assignment interval."),
    int("group.share.min.delivery.count.limit").default("2").between(2, 5).no_effect(SHARE, "Lowest value a group may set for the delivery count."),
    int("group.share.min.heartbeat.interval.ms").default("5000").at_least(1).no_effect(SHARE, "Lowest value a group may set for the heartbeat interval."),
    int("group.share.min.partition.max.record.locks").default("100").between(100, 2000).no_effect(SHARE, "Lowest value a group may set for the record locks."),
    int("group.share.min.record.lock.duration.ms").default("15000").between(1000, 30_000).no_effect(SHARE, "Lowest value a group may set for the lock duration."),
    int("group.share.min.session.timeout.ms").default("45000").at_least(1).no_effect(SHARE, "Lowest value a group may set for the session timeout."),
    int("group.share.partition.max.record.locks").default("2000").between(100, 10_000).no_effect(SHARE, "Records of a partition handed out at a time."),
    string("group.share.persister.class.name").default("org.apache.kafka.server.share.persister.DefaultStatePersister").internal().no_effect(SHARE, "A Java class that keeps the state of share groups."),
    int("group.share.record.lock.duration.ms").default("30000").between(1000, 3_600_000).no_effect(SHARE, "How long a consumer holds a record."),
    int("group.share.session.timeout.ms").default("45000").at_least(1).no_effect(SHARE, "Silence after which a member of a share group is out."),
    int("share.coordinator.append.linger.ms").default("-1").at_least(-1).no_effect(SHARE, "The longest wait for more share state to write together."),
    int("share.coordinator.cached.buffer.max.bytes").default("1048588").at_least(524_288).cluster_wide().no_effect(SHARE, "Memory of write buffers kept for the next use."),
    int("share.coordinator.cold.partition.snapshot.interval.ms").default("300000").at_least(1).internal().no_effect(SHARE, "How often idle share state is written as a snapshot."),
    int("share.coordinator.load.buffer.size").default("5242880").at_least(1).no_effect(SHARE, "Bytes read at a time when share state is loaded."),
    int("share.coordinator.snapshot.update.records.per.snapshot").default("500").between(0, 500).no_effect(SHARE, "Updates of share state after which a snapshot is written."),
    int("share.coordinator.state.topic.compression.codec").default("0").no_effect(SHARE, "Codec of __share_group_state."),
    short("share.coordinator.state.topic.min.isr").default("2").at_least(1).no_effect(SHARE, "min.insync.replicas of __share_group_state."),
    int("share.coordinator.state.topic.num.partitions").default("50").at_least(1).no_effect(SHARE, "Partitions of __share_group_state."),
    int("share.coordinator.state.topic.prune.interval.ms").default("300000").at_least(1).internal().no_effect(SHARE, "How often old share state is removed."),
    short("share.coordinator.state.topic.replication.factor").default("3").at_least(1).no_effect(SHARE, "Replicas of __share_group_state."),
    int("share.coordinator.state.topic.segment.bytes").default("104857600").at_least(1).no_effect(SHARE, "Segment size of __share_group_state."),
    int("share.coordinator.threads").default("1").at_least(1).no_effect(SHARE, "Threads of the share coordinator."),
    int("share.coordinator.write.timeout.ms").default("5000").at_least(1).no_effect(SHARE, "How long a write of share state waits to be replicated."),
];

#[rustfmt::skip]
const STREAMS_GROUPS: &[Definition] = &[
    int("group.streams.assignment.interval.ms").default("1000").at_least(0).cluster_wide().no_effect(STREAMS, "Shortest time between two assignments of a streams group."),
    int("group.streams.heartbeat.interval.ms").default("5000").at_least(1).no_effect(STREAMS, "How often members of a streams group report."),
    int("group.streams.initial.rebalance.delay.ms").default("3000").at_least(0).no_effect(STREAMS, "How long the first assignment waits for more members."),
    int("group.streams.max.assignment.interval.ms").default("15000").at_least(0).no_effect(STREAMS, "Highest value a group may set for the assignment interval."),
    int("group.streams.max.heartbeat.interval.ms").default("15000").at_least(1).no_effect(STREAMS, "Highest value a group may set for the heartbeat interval."),
    int("group.streams.max.session.timeout.ms").default("60000").at_least(1).no_effect(STREAMS, "Highest value a group may set for the session timeout."),
    int("group.streams.max.size").default("2147483647").at_least(1).no_effect(STREAMS, "Most members of a streams group."),
    int("group.streams.max.standby.replicas").default("2").at_least(0).no_effect(STREAMS, "Highest value a group may set for standby replicas."),
    int("group.streams.min.assignment.interval.ms").default("0").at_least(0).no_effect(STREAMS, "Lowest value a group may set for the assignment interval."),
    int("group.streams.min.heartbeat.interval.ms").default("5000").at_least(1).no_effect(STREAMS, "Lowest value a group may set for the heartbeat interval."),
    int("group.streams.min.session.timeout.ms").default("45000").at_least(1).no_effect(STREAMS, "Lowest value a group may set for the session timeout."),
    int("group.streams.num.standby.replicas").default("0").at_least(0).no_effect(STREAMS, "Standby replicas of each task."),
    int("group.streams.session.timeout.ms").default("45000").at_least(1).no_effect(STREAMS, "Silence after which a member of a streams group is out."),
];

#[rustfmt::skip]
const TIERED_STORAGE: &[Definition] = &[
    int("remote.fetch.max.wait.ms").default("500").at_least(1).cluster_wide().no_effect(TIERED, "How long a fetch waits for tiered records."),
    long("remote.list.offsets.request.timeout.ms").default("30000").at_least(1).cluster_wide().no_effect(TIERED, "How long ListOffsets waits for tiered records."),
    long("remote.log.index.file.cache.total.size.bytes").default("1073741824").at_least(1).cluster_wide().no_effect(TIERED, "Disk space for indexes of tiered segments."),
    long("remote.log.index.file.cache.ttl.ms").default("900000").at_least(-1).internal().no_effect(TIERED, "How long indexes of tiered segments are kept."),
    int("remote.log.manager.copier.thread.pool.size").default("10").at_least(1).cluster_wide().no_effect(TIERED, "Threads that copy segments out."),
    long("remote.log.manager.copy.max.bytes.per.second").default("9223372036854775807").at_least(1).cluster_wide().no_effect(TIERED, "Bytes copied out per second."),
    int("remote.log.manager.copy.quota.window.num").default("11").at_least(1).no_effect(TIERED, "Windows over which copying is measured."),
    int("remote.log.manager.copy.quota.window.size.seconds").default("1").at_least(1).no_effect(TIERED, "Length of a window."),
    int("remote.log.manager.expiration.thread.pool.size").default("10").at_least(1).cluster_wide().no_effect(TIERED, "Threads that delete tiered segments."),
    long("remote.log.manager.fetch.max.bytes.per.second").default("9223372036854775807").at_least(1).cluster_wide().no_effect(TIERED, "Bytes fetched back per second."),
    int("remote.log.manager.fetch.quota.window.num").default("11").at_least(1).no_effect(TIERED, "Windows over which fetching back is measured."),
    int("remote.log.manager.fetch.quota.window.size.seconds").default("1").at_least(1).no_effect(TIERED, "Length of a window."),
    int("remote.log.manager.follower.thread.pool.size").default("2").at_least(1).cluster_wide().no_effect(TIERED, "Threads for followers of tiered partitions."),
    long("remote.log.manager.task.interval.ms").default("30000").at_least(1).no_effect(TIERED, "How often tiered partitions are worked on."),
    long("remote.log.manager.task.retry.backoff.max.ms").default("30000").at_least(1).internal().no_effect(TIERED, "The longest pause before tiering work is tried again."),
    long("remote.log.manager.task.retry.backoff.ms").default("500").at_least(1).internal().no_effect(TIERED, "The first pause before tiering work is tried again."),
    double("remote.log.manager.task.retry.jitter").default("0.2").at_least(0).internal().no_effect(TIERED, "Randomness of that pause."),
    int("remote.log.manager.thread.pool.size").default("2").at_least(1).no_effect(TIERED, "Threads for leaders of tiered partitions."),
    int("remote.log.metadata.custom.metadata.max.bytes").default("128").at_least(0).no_effect(TIERED, "Most bytes a storage plug-in may note about a segment."),
    string("remote.log.metadata.manager.class.name").default("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager").valid(Valid::NonEmpty).no_effect(TIERED, "A Java class that keeps the metadata of tiered segments."),
    string("remote.log.metadata.manager.class.path").no_effect(TIERED, "Where that class is."),
    string("remote.log.metadata.manager.impl.prefix").default("rlmm.config.").valid(Valid::NonEmpty).no_effect(TIERED, "Prefix of that class's own keys."),
    string("remote.log.metadata.manager.listener.name").valid(Valid::NonEmpty).no_effect(TIERED, "The listener that class connects to."),
    int("remote.log.reader.max.pending.tasks").default("100").at_least(1).no_effect(TIERED, "Reads of tiered records that may wait."),
    int("remote.log.reader.threads").default("10").at_least(1).cluster_wide().no_effect(TIERED, "Threads that read tiered records."),
    string("remote.log.storage.manager.class.name").valid(Valid::NonEmpty).no_effect(TIERED, "A Java class that stores tiered segments."),
    string("remote.log.storage.manager.class.path").no_effect(TIERED, "Where that class is."),
    string("remote.log.storage.manager.impl.prefix").default("rsm.config.").valid(Valid::NonEmpty).no_effect(TIERED, "Prefix of that class's own keys."),
    boolean("remote.log.storage.system.enable").default("false").no_effect(TIERED, "Segments may be moved to remote storage."),
    boolean("follower.fetch.last.tiered.offset.enable").default("false").cluster_wide().no_effect(TIERED, "A new follower starts at the first offset that is not tiered yet."),
];

#[rustfmt::skip]
const METRICS_AND_TELEMETRY: &[Definition] = &[
    list("metric.reporters").default("org.apache.kafka.common.metrics.JmxReporter").cluster_wide().no_effect(METRICS_OVER_HTTP, "Java classes that metrics are handed to."),
    int("metrics.num.samples").default("2").at_least(1).no_effect(METRICS_OVER_HTTP, "Samples a metric is computed over."),
    long("metrics.sample.window.ms").default("30000").at_least(1).no_effect(METRICS_OVER_HTTP, "Length of a sample."),
    string("metrics.recording.level").default("INFO").no_effect(METRICS_OVER_HTTP, "How detailed metrics are."),
    list("kafka.metrics.reporters").default("").no_effect(METRICS_OVER_HTTP, "Java classes that the older metrics are handed to."),
    int("kafka.metrics.polling.interval.secs").default("10").at_least(1).no_effect(METRICS_OVER_HTTP, "How often the older metrics are handed on."),
    int("telemetry.max.bytes").default("1048576").at_least(1).not_yet(TELEMETRY, "Most bytes of metrics a client may push at a time."),
];

#[rustfmt::skip]
const SECURITY: &[Definition] = &[
    string("authorizer.class.name").default("").not_yet(SECURITY_LATER, "Who may do what is decided by this; Apache Kafka's own is the only one."),
    password("super.users").when_set().not_yet(SECURITY_LATER, "Principals that may do everything, separated by semicolons."),
    boolean("allow.everyone.if.no.acl.found").default("false").when_set().not_yet(SECURITY_LATER, "Whoever may use what no ACL speaks about."),
    class("principal.builder.class").default("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder").per_broker().never(POLICY, "A Java class that makes a principal of a connection."),
    long("connections.max.reauth.ms").default("0").not_yet(SECURITY_LATER, "How long an authenticated connection may be used before it authenticates again."),
    int("connection.failed.authentication.delay.ms").default("100").at_least(0).not_yet(SECURITY_LATER, "How long a connection that failed to authenticate is kept open."),
    list("config.providers").default("").cluster_wide().not_yet(PROVIDERS, "Names of the sources that ${...} in values is read from."),
    string("security.providers").no_effect(JAVA, "Java security providers."),
    password("delegation.token.secret.key").not_yet(SECURITY_LATER, "The secret that signs delegation tokens."),
    long("delegation.token.max.lifetime.ms").default("604800000").at_least(1).not_yet(SECURITY_LATER, "How long a delegation token may be renewed."),
    long("delegation.token.expiry.time.ms").default("86400000").at_least(1).not_yet(SECURITY_LATER, "How long a delegation token is valid without renewal."),
    long("delegation.token.expiry.check.interval.ms").default("3600000").at_least(1).not_yet(SECURITY_LATER, "How often expired delegation tokens are removed."),
    list("sasl.enabled.mechanisms").default("GSSAPI").per_broker().not_yet(SECURITY_LATER, "The SASL mechanisms clients may use."),
    string("sasl.mechanism.inter.broker.protocol").default("GSSAPI").per_broker().not_yet(SECURITY_LATER, "The SASL mechanism between brokers."),
    string("sasl.mechanism.controller.protocol").default("GSSAPI").not_yet(SECURITY_LATER, "The SASL mechanism towards the controllers."),
    password("sasl.jaas.config").per_broker().not_yet(SECURITY_LATER, "Login of a SASL mechanism, in the syntax of JAAS."),
    int("sasl.server.max.receive.size").default("524288").not_yet(SECURITY_LATER, "Largest frame before a client has authenticated."),
    class("sasl.client.callback.handler.class").never(POLICY, "A Java class that takes part in SASL as a client."),
    class("sasl.login.callback.handler.class").never(POLICY, "A Java class that takes part in logging in."),
    class("sasl.server.callback.handler.class").never(POLICY, "A Java class that takes part in SASL as a server."),
    class("sasl.login.class").never(POLICY, "A Java class that logs in."),
    string("sasl.kerberos.kinit.cmd").default("/usr/bin/kinit").per_broker().not_yet(KERBEROS, "The kinit program."),
    long("sasl.kerberos.min.time.before.relogin").default("60000").per_broker().not_yet(KERBEROS, "Shortest time between two logins."),
    list("sasl.kerberos.principal.to.local.rules").default("DEFAULT").per_broker().not_yet(KERBEROS, "How Kerberos principals become names."),
    string("sasl.kerberos.service.name").per_broker().not_yet(KERBEROS, "The Kerberos name of the brokers."),
    double("sasl.kerberos.ticket.renew.jitter").default("0.05").per_broker().not_yet(KERBEROS, "Randomness of the renewal time."),
    double("sasl.kerberos.ticket.renew.window.factor").default("0.8").per_broker().not_yet(KERBEROS, "Share of a ticket's life after which it is renewed."),
    int("sasl.login.connect.timeout.ms").not_yet(SECURITY_LATER, "How long connecting to the identity provider may take."),
    int("sasl.login.read.timeout.ms").not_yet(SECURITY_LATER, "How long the identity provider may take to answer."),
    short("sasl.login.refresh.buffer.seconds").default("300").per_broker().not_yet(SECURITY_LATER, "Time before expiry at which a login is renewed at the latest."),
    short("sasl.login.refresh.min.period.seconds").default("60").per_broker().not_yet(SECURITY_LATER, "Shortest time between two renewals."),
    double("sasl.login.refresh.window.factor").default("0.8").per_broker().not_yet(SECURITY_LATER, "Share of a login's life after which it is renewed."),
    double("sasl.login.refresh.window.jitter").default("0.05").per_broker().not_yet(SECURITY_LATER, "Randomness of the renewal time."),
    long("sasl.login.retry.backoff.max.ms").default("10000").not_yet(SECURITY_LATER, "The longest pause before a login is tried again."),
    long("sasl.login.retry.backoff.ms").default("100").not_yet(SECURITY_LATER, "The first pause before a login is tried again."),
    class("sasl.oauthbearer.jwt.retriever.class").default("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever").never(POLICY, "A Java class that fetches tokens."),
    class("sasl.oauthbearer.jwt.validator.class").default("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator").never(POLICY, "A Java class that checks tokens."),
    string("sasl.oauthbearer.assertion.algorithm").default("RS256").valid(Valid::OneOfIgnoringCase(&["ES256", "RS256"])).not_yet(SECURITY_LATER, "How a client assertion is signed."),
    string("sasl.oauthbearer.assertion.claim.aud").not_yet(SECURITY_LATER, "The aud claim of a client assertion."),
    int("sasl.oauthbearer.assertion.claim.exp.seconds").default("300").between(0, 86_400).not_yet(SECURITY_LATER, "How long a client assertion is valid."),
    string("sasl.oauthbearer.assertion.claim.iss").not_yet(SECURITY_LATER, "The iss claim of a client assertion."),
    boolean("sasl.oauthbearer.assertion.claim.jti.include").default("false").not_yet(SECURITY_LATER, "Whether a client assertion has a jti claim."),
    int("sasl.oauthbearer.assertion.claim.nbf.seconds").default("60").between(0, 3600).not_yet(SECURITY_LATER, "How far before now a client assertion begins to be valid."),
    string("sasl.oauthbearer.assertion.claim.sub").not_yet(SECURITY_LATER, "The sub claim of a client assertion."),
    string("sasl.oauthbearer.assertion.file").not_yet(SECURITY_LATER, "A file that holds a client assertion."),
    string("sasl.oauthbearer.assertion.private.key.file").not_yet(SECURITY_LATER, "A file with the key that signs client assertions."),
    password("sasl.oauthbearer.assertion.private.key.passphrase").not_yet(SECURITY_LATER, "The passphrase of that key."),
    string("sasl.oauthbearer.assertion.template.file").not_yet(SECURITY_LATER, "A file with further claims of a client assertion."),
    string("sasl.oauthbearer.client.credentials.client.id").not_yet(SECURITY_LATER, "Client id at the identity provider."),
    password("sasl.oauthbearer.client.credentials.client.secret").not_yet(SECURITY_LATER, "Client secret at the identity provider."),
    int("sasl.oauthbearer.clock.skew.seconds").default("30").not_yet(SECURITY_LATER, "How far clocks may differ when a token is checked."),
    list("sasl.oauthbearer.expected.audience").default("").not_yet(SECURITY_LATER, "Audiences of which a token must name one."),
    string("sasl.oauthbearer.expected.issuer").not_yet(SECURITY_LATER, "The issuer a token must name."),
    long("sasl.oauthbearer.jwks.endpoint.refresh.ms").default("3600000").not_yet(SECURITY_LATER, "How often the identity provider's keys are fetched."),
    long("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms").default("10000").not_yet(SECURITY_LATER, "The longest pause before they are fetched again."),
    long("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms").default("100").not_yet(SECURITY_LATER, "The first pause before they are fetched again."),
    string("sasl.oauthbearer.jwks.endpoint.url").not_yet(SECURITY_LATER, "Where the identity provider's keys are."),
    string("sasl.oauthbearer.scope").not_yet(SECURITY_LATER, "The scope asked for in a token."),
    string("sasl.oauthbearer.scope.claim.name").default("scope").not_yet(SECURITY_LATER, "The claim of a token that holds its scope."),
    string("sasl.oauthbearer.sub.claim.name").default("sub").not_yet(SECURITY_LATER, "The claim of a token that holds its subject."),
    string("sasl.oauthbearer.token.endpoint.url").not_yet(SECURITY_LATER, "Where tokens are fetched."),
    class("ssl.engine.factory.class").per_broker().never(POLICY, "A Java class that makes TLS engines."),
    string("ssl.provider").per_broker().no_effect(JAVA, "The Java security provider for TLS."),
    string("ssl.secure.random.implementation").per_broker().no_effect(JAVA, "The Java random source for TLS."),
    string("ssl.keymanager.algorithm").default("SunX509").per_broker().no_effect(JAVA, "The Java key manager for TLS."),
    string("ssl.trustmanager.algorithm").default("PKIX").per_broker().no_effect(JAVA, "The Java trust manager for TLS."),
    boolean("ssl.allow.dn.changes").default("false").not_yet(SECURITY_LATER, "A new certificate may have another distinguished name."),
    boolean("ssl.allow.san.changes").default("false").not_yet(SECURITY_LATER, "A new certificate may have other alternative names."),
    list("ssl.cipher.suites").default("").per_broker().not_yet(SECURITY_LATER, "The cipher suites that may be used; empty is a good choice."),
    string("ssl.client.auth").default("none").one_of(&["required", "requested", "none"]).per_broker().not_yet(SECURITY_LATER, "Whether clients show a certificate: none, requested, required."),
    list("ssl.enabled.protocols").default("TLSv1.2,TLSv1.3").per_broker().not_yet(SECURITY_LATER, "The versions of TLS that may be used."),
    string("ssl.endpoint.identification.algorithm").default("https").per_broker().not_yet(SECURITY_LATER, "How the name in a certificate is checked; empty is not at all."),
    password("ssl.key.password").per_broker().not_yet(SECURITY_LATER, "Password of the private key."),
    password("ssl.keystore.certificate.chain").per_broker().not_yet(SECURITY_LATER, "Certificate chain in PEM, in place of a file."),
    password("ssl.keystore.key").per_broker().not_yet(SECURITY_LATER, "Private key in PEM, in place of a file."),
    string("ssl.keystore.location").per_broker().not_yet(SECURITY_LATER, "File with private key and certificates."),
    password("ssl.keystore.password").per_broker().not_yet(SECURITY_LATER, "Password of that file."),
    string("ssl.keystore.type").default("JKS").per_broker().not_yet(SECURITY_LATER, "Format of that file: PEM, PKCS12, JKS."),
    string("ssl.principal.mapping.rules").default("DEFAULT").not_yet(SECURITY_LATER, "How the name in a client's certificate becomes a principal."),
    string("ssl.protocol").default("TLSv1.3").per_broker().not_yet(SECURITY_LATER, "The version of TLS to begin with."),
    password("ssl.truststore.certificates").per_broker().not_yet(SECURITY_LATER, "Certificates that are trusted, in PEM, in place of a file."),
    string("ssl.truststore.location").per_broker().not_yet(SECURITY_LATER, "File with certificates that are trusted."),
    password("ssl.truststore.password").per_broker().not_yet(SECURITY_LATER, "Password of that file."),
    string("ssl.truststore.type").default("JKS").per_broker().not_yet(SECURITY_LATER, "Format of that file: PEM, PKCS12, JKS."),
];

#[rustfmt::skip]
const OUR_OWN: &[Definition] = &[
    string("reka.http.listener").default("127.0.0.1:9644").served("Where metrics and health are served, as host:port. Empty turns it off."),
    string("reka.logging.format").default("text").one_of(&["text", "json"]).served("How log lines are written: text for people, json for machines."),
    string("reka.logging.level").default("info").one_of(LEVELS).served("What is logged. Single modules are set as broker loggers of the Admin API."),
    long("reka.group.memory.max.bytes").default("1073741824").at_least(1 << 20).served("Memory for groups, their members and offsets. Beyond it none may grow; the last eighth is for groups that are there already."),
    long("reka.flush.group.ms").at_least(0).served("Records are synced together at least so often; 0 is never. Not given: 100 on a single node, else 0."),
    int("reka.producer.ids.per.partition.max").default("20000").at_least(16).served("Producers without an open transaction that a partition remembers; beyond it the silent are forgotten first, as if expired."),
    int("reka.shards").at_least(1).served("Threads that serve connections, one core each. Not given: as many as there are cores."),
    int("reka.transactional.ids.per.partition.max").default("20000").at_least(16).served("Transactional ids a partition of __transaction_state remembers; beyond it the idle are forgotten first, as if expired."),
];

//! The configuration of a broker: what it was told, checked, typed, one struct per concern.
//!
//! ```text
//! file, environment, --override ── sources ──▶ layers ──▶ Config        what the parts read
//! the metadata's broker configs ──────────────▶   │  ──▶ describe       what DescribeConfigs says
//!                                                 └────▶ TopicConfig    what a log and Produce read
//! ```
//!
//! | Module | Owns |
//! |---|---|
//! | [`definitions`] | every key: type, default, range, effect, documentation |
//! | [`sources`] | where values are written; [`properties`] and [`toml_file`] are the syntaxes |
//! | [`layers`] | which value counts |
//! | [`listeners`] | where to listen, what clients are told |
//! | [`topic`] | a topic's settings |
//! | [`current`] | which configuration is in force |
//! | [`mod@alter`] | what the Admin API may change |
//! | [`describe`] | what it is told |
//! | [`documentation`] | `docs/configuration.md` |
//! | [`error`] | what can be wrong, and where |
//!
//! A [`Config`] is immutable. When the metadata changes the broker's configuration,
//! [`Config::with_dynamic`] makes the next one.

pub mod alter;
pub mod current;
pub mod definitions;
pub mod describe;
pub mod documentation;
pub mod error;
#[cfg(test)]
mod kafka;
pub mod layers;
pub mod listeners;
pub mod properties;
pub mod sources;
#[cfg(test)]
mod tests;
pub mod toml_file;
pub mod topic;
mod values;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use reka_records::Compression;

pub use self::alter::{
    AlterError, AlterOp, Alteration, Scope, alter, validate_topic_override,
    validate_topic_overrides,
};
pub use self::current::CurrentConfig;
pub use self::describe::{Described, Source, Synonym, describe_loggers};
pub use self::error::{ConfigError, ConfigErrors, Origin, Problem, Warning};
pub use self::layers::{Dynamic, Layers};
pub use self::listeners::{HostPort, ListenerConfig, ListenersConfig, SecurityProtocol};
pub use self::sources::{SourceFile, Sources};
pub use self::topic::{Overrides, ThrottledReplicas, TopicConfig};
use self::values::Values;

/// Everything a broker is configured to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is.
    pub node: NodeConfig,
    /// Where it listens.
    pub listeners: ListenersConfig,
    /// Connections.
    pub socket: SocketConfig,
    /// `fetch.max.bytes`: most bytes one Fetch is answered with.
    pub fetch_max_bytes: u64,
    /// Limits of requests.
    pub requests: RequestsConfig,
    /// How topics come and go.
    pub topics: TopicsConfig,
    /// What a topic without overrides is.
    pub topic_defaults: TopicConfig,
    /// Directories and their upkeep.
    pub logs: LogsConfig,
    /// The metadata quorum and the broker's place in it.
    pub quorum: QuorumConfig,
    /// Followers and leaders.
    pub replication: ReplicationConfig,
    /// Groups.
    pub groups: GroupsConfig,
    /// Committed offsets.
    pub offsets: OffsetsConfig,
    /// Transactions.
    pub transactions: TransactionsConfig,
    /// Metrics and health; `None` is off.
    pub http: Option<HostPort>,
    /// What is logged, and how.
    pub logging: LoggingConfig,
    layers: Layers,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// `node.id`
    pub id: i32,
    /// `process.roles` has broker.
    pub is_broker: bool,
    /// `process.roles` has controller.
    pub is_controller: bool,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `CLUSTER_ID` of the environment: what a new directory is formatted for.
    pub cluster_id: Option<String>,
    /// `reka.shards`; `None` is one per core.
    pub shards: Option<usize>,
}

/// Connections and the memory they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// `socket.request.max.bytes`
    pub request_max_bytes: usize,
    /// `queued.max.request.bytes`; `None` is a quarter of the memory there is.
    pub queued_request_bytes_max: Option<u64>,
    /// `max.connections`
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub connections_per_address_max: usize,
    /// `max.connections.per.ip.overrides`: host or address, and its limit.
    pub connections_per_address_overrides: Vec<(String, usize)>,
    /// `max.connection.creation.rate`, per second.
    pub connection_creation_rate_max: u32,
    /// `connections.max.idle.ms`
    pub connections_max_idle: Duration,
    /// `socket.listen.backlog.size`
    pub backlog: i32,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the kernel.
    pub receive_buffer_bytes: Option<u64>,
    /// `socket.send.buffer.bytes`; `None` leaves it to the kernel.
    pub send_buffer_bytes: Option<u64>,
}

/// Limits of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestsConfig {
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_sessions_max: usize,
    /// `max.request.partition.size.limit`
    pub described_partitions_max: i32,
    /// `request.timeout.ms`: for requests to other nodes.
    pub timeout: Duration,
}

/// How topics come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsConfig {
    /// `auto.create.topics.enable`
    pub auto_create: bool,
    /// `num.partitions`
    pub partitions: i32,
    /// `default.replication.factor`
    pub replication_factor: i16,
    /// `delete.topic.enable`
    pub deletable: bool,
}

/// Which producers a partition remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIds {
    /// `producer.id.expiration.ms`: those that were not silent for so long,
    pub expiration: Duration,
    /// `reka.producer.ids.per.partition.max`: and not more than so many without an open transaction.
    pub max: usize,
}

/// Log directories and their upkeep.
#[derive(Clone, Debug, PartialEq)]
pub struct LogsConfig {
    /// `log.dirs`, or `log.dir`.
    pub dirs: Vec<PathBuf>,
    /// `num.recovery.threads.per.data.dir`
    pub recovery_threads: usize,
    /// `log.initial.task.delay.ms`
    pub upkeep_delay: Duration,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// `log.flush.scheduler.interval.ms`
    pub flush_check_interval: Duration,
    /// `reka.flush.group.ms`: records are synced together at least so often; `None` is never.
    pub flush_group_interval: Option<Duration>,
    /// `log.flush.offset.checkpoint.interval.ms`
    pub recovery_checkpoint_interval: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`
    pub start_checkpoint_interval: Duration,
    /// Which producers a partition remembers.
    pub producer_ids: ProducerIds,
    /// `producer.id.expiration.check.interval.ms`
    pub producer_id_check_interval: Duration,
    /// Compaction.
    pub cleaner: CleanerConfig,
}

/// Compaction.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`
    pub enabled: bool,
    /// `log.cleaner.threads`
    pub threads: usize,
    /// `log.cleaner.backoff.ms`
    pub backoff: Duration,
    /// `log.cleaner.dedupe.buffer.size`, of all threads together.
    pub map_bytes: u64,
    /// `log.cleaner.io.max.bytes.per.second`
    pub bytes_per_second_max: f64,
}

/// The metadata quorum and the broker's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `controller.quorum.voters`; none is this node alone.
    pub voters: Vec<Voter>,
    /// `controller.quorum.bootstrap.servers`
    pub bootstrap_servers: Vec<HostPort>,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`
    pub election_backoff_max: Duration,
    /// `controller.quorum.fetch.timeout.ms`
    pub silence_max: Duration,
    /// `controller.quorum.request.timeout.ms`
    pub request_timeout: Duration,
    /// `controller.quorum.append.linger.ms`
    pub append_linger: Duration,
    /// `metadata.log.dir`, or the first log directory.
    pub dir: PathBuf,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None` is never.
    pub snapshot_interval: Option<Duration>,
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`
    pub session_timeout: Duration,
    /// `initial.broker.registration.timeout.ms`
    pub registration_timeout: Duration,
    /// `auto.leader.rebalance.enable` and `leader.imbalance.check.interval.seconds`; `None` is never.
    pub leader_rebalance_interval: Option<Duration>,
}

/// A controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: i32,
    /// Where it is.
    pub address: HostPort,
}

/// Followers and leaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// `replica.fetch.min.bytes`
    pub fetch_min_bytes: i32,
    /// `replica.fetch.max.bytes`
    pub fetch_max_bytes: i32,
    /// `replica.fetch.response.max.bytes`
    pub fetch_response_max_bytes: i32,
    /// `replica.fetch.wait.max.ms`
    pub fetch_wait_max: Duration,
    /// `replica.fetch.backoff.ms`
    pub fetch_backoff: Duration,
    /// `replica.lag.time.max.ms`
    pub lag_max: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub high_watermark_checkpoint_interval: Duration,
    /// `replica.socket.timeout.ms`
    pub socket_timeout: Duration,
    /// `replica.socket.receive.buffer.bytes`; `None` leaves it to the kernel.
    pub socket_receive_buffer_bytes: Option<u64>,
    /// `num.replica.fetchers`
    pub fetchers: usize,
    /// `controlled.shutdown.enable`
    pub hand_over_on_stop: bool,
    /// `leader.replication.throttled.rate`, per second.
    pub leader_throttled_bytes: u64,
    /// `follower.replication.throttled.rate`, per second.
    pub follower_throttled_bytes: u64,
    /// `replica.alter.log.dirs.io.max.bytes.per.second`
    pub move_throttled_bytes: u64,
}

/// Groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `group.coordinator.rebalance.protocols` has classic.
    pub classic_protocol: bool,
    /// `group.coordinator.rebalance.protocols` has consumer.
    pub consumer_protocol: bool,
    /// `group.coordinator.append.linger.ms`; `None` adapts.
    pub append_linger: Option<Duration>,
    /// Classic groups.
    pub classic: ClassicGroupsConfig,
    /// Consumer groups (KIP-848).
    pub consumer: ConsumerGroupsConfig,
}

/// Classic groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroupsConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max: Duration,
    /// `group.max.size`
    pub members_max: usize,
}

/// Consumer groups (KIP-848).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupsConfig {
    /// `group.consumer.max.size`
    pub members_max: usize,
    /// `group.consumer.assignors`, the first is the default.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
    /// `group.consumer.session.timeout.ms`
    pub session_timeout: Tunable,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_interval: Tunable,
    /// `group.consumer.assignment.interval.ms`
    pub assignment_interval: Tunable,
    /// `group.consumer.regex.refresh.interval.ms`
    pub pattern_refresh_interval: Duration,
}

/// A time that groups may set for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunable {
    /// For a group that says nothing.
    pub default: Duration,
    /// The lowest a group may set.
    pub min: Duration,
    /// The highest a group may set.
    pub max: Duration,
}

/// Between which protocols a group may change while it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// None.
    Disabled,
    /// From classic to consumer.
    Upgrade,
    /// From consumer to classic.
    Downgrade,
    /// Both ways.
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether a consumer group may become a classic one.
    pub fn downgrades(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

/// Committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsConfig {
    /// `offset.metadata.max.bytes`
    pub metadata_max_bytes: usize,
    /// `reka.group.memory.max.bytes`
    pub memory_max: usize,
    /// `offsets.commit.timeout.ms`
    pub commit_timeout: Duration,
    /// `offsets.retention.minutes`
    pub retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// `__consumer_offsets`
    pub topic: InternalTopicConfig,
    /// `offsets.topic.compression.codec`
    pub compression: Compression,
}

/// A topic the broker makes for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InternalTopicConfig {
    /// How many partitions it is created with.
    pub partitions: i32,
    /// How many replicas it is created with.
    pub replication_factor: i16,
    /// Its `segment.bytes`.
    pub segment_bytes: i32,
    /// Its `min.insync.replicas`, if it has its own.
    pub min_insync_replicas: Option<i32>,
}

/// Transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionsConfig {
    /// `transaction.max.timeout.ms`
    pub timeout_max: Duration,
    /// `transactional.id.expiration.ms`
    pub id_expiration: Duration,
    /// `reka.transactional.ids.per.partition.max`
    pub ids_max: usize,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub id_check_interval: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub timeout_check_interval: Duration,
    /// `transaction.partition.verification.enable`
    pub verify_partitions: bool,
    /// `add.partitions.to.txn.retry.backoff.ms`
    pub verify_backoff: Duration,
    /// `add.partitions.to.txn.retry.backoff.max.ms`
    pub verify_backoff_max: Duration,
    /// `__transaction_state`
    pub topic: InternalTopicConfig,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// `reka.logging.format` is json.
    pub json: bool,
    /// `reka.logging.level`
    pub level: String,
}

/// A configuration and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// For the log, one line each.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Builds the configuration that `sources` describe, or says everything that is wrong with it.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let said = sources.read();
        let cluster_id = said.cluster_id.clone();
        let mut warnings = Vec::new();
        let mut layers = Layers::stack(said, &mut warnings)?;
        // `node.id` and `broker.id` are two names of one thing, and whoever gives one has given both.
        for (one, other) in [("node.id", "broker.id"), ("broker.id", "node.id")] {
            if let Some(id) = layers.of(layers::Layer::Static, one).map(str::to_owned) {
                let origin = layers.origin(one);
                layers.imply(other, id, origin);
            }
        }
        let (config, _) = Config::build(layers, cluster_id)?;
        let served = ["classic", "consumer"];
        let key = "group.coordinator.rebalance.protocols";
        let listed = config.layers.effective(key).unwrap_or_default();
        let left_out: Vec<String> = definitions::items(listed)
            .filter(|protocol| !served.contains(protocol))
            .map(str::to_owned)
            .collect();
        if !left_out.is_empty() {
            let reason = "not served";
            warnings.push(Warning::LeftOut {
                key,
                items: left_out,
                reason,
            });
        }
        Ok(Loaded { config, warnings })
    }

    /// The same broker after the metadata changed its configuration: what is set for all brokers,
    /// and for this one.
    pub fn with_dynamic(
        &self,
        default: &Dynamic,
        broker: &Dynamic,
    ) -> Result<Config, ConfigErrors> {
        let layers = self.layers.with_dynamic(default, broker);
        Config::build(layers, self.node.cluster_id.clone()).map(|(config, _)| config)
    }

    /// What a topic with these overrides is.
    pub fn topic(&self, overrides: &Overrides) -> Result<TopicConfig, ConfigError> {
        TopicConfig::resolve(&self.layers, overrides)
    }

    /// All values with where they came from.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// DescribeConfigs of a topic with these overrides.
    pub fn describe_topic(&self, overrides: &Overrides) -> Vec<Described> {
        describe::topic(&self.layers, overrides)
    }

    /// DescribeConfigs of a group with these overrides.
    pub fn describe_group(&self, overrides: &Overrides) -> Vec<Described> {
        describe::group(&self.layers, overrides)
    }

    /// Whether compaction may be given these at run time, as Apache Kafka has it: threads are not all
    /// taken away, and none are added by mistake.
    pub fn check_cleaner(&self, overrides: &Overrides) -> Result<(), AlterError> {
        let wanted = overrides.get("log.cleaner.threads");
        let Some(wanted) = wanted.and_then(|value| value.trim().parse::<usize>().ok()) else {
            return Ok(());
        };
        let current = self.logs.cleaner.threads;
        let cannot = match wanted {
            0 => "should be at least 1".to_owned(),
            wanted if wanted < current / 2 => {
                format!("cannot be reduced to less than half the current value {current}")
            }
            wanted if wanted > current * 2 => {
                format!("cannot be increased to more than double the current value {current}")
            }
            _ => return Ok(()),
        };
        let said = format!("Log cleaner threads {cannot}");
        Err(AlterError::InvalidRequest(said))
    }

    /// Whether a group may have these overrides, which are good one by one: each within what the
    /// broker allows, and all together.
    pub fn check_group(&self, overrides: &Overrides) -> Result<(), AlterError> {
        let limits = &self.groups.consumer;
        let of = |key: &str, tunable: Tunable| {
            let given = overrides
                .get(key)
                .and_then(|value| value.trim().parse().ok());
            let millis =
                |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            let value = given.unwrap_or(millis(tunable.default));
            let (_, rest) = key.split_once('.').unwrap_or_default();
            let refuse = |how: &str, bound: &str| {
                let said = format!("{key} must be {how} or equal to group.consumer.{bound}.{rest}");
                Err(AlterError::InvalidConfig(said))
            };
            match value {
                value if given.is_some() && value < millis(tunable.min) => {
                    refuse("greater than", "min")
                }
                value if given.is_some() && value > millis(tunable.max) => {
                    refuse("less than", "max")
                }
                value => Ok(value),
            }
        };
        let heartbeat = of("consumer.heartbeat.interval.ms", limits.heartbeat_interval)?;
        let session = of("consumer.session.timeout.ms", limits.session_timeout)?;
        of(
            "consumer.assignment.interval.ms",
            limits.assignment_interval,
        )?;
        if heartbeat >= session {
            let said = "consumer.session.timeout.ms must be greater than \
                        consumer.heartbeat.interval.ms";
            return Err(AlterError::InvalidConfig(said.to_owned()));
        }
        Ok(())
    }

    /// DescribeConfigs of this broker.
    pub fn describe_broker(&self) -> Vec<Described> {
        describe::broker(&self.layers)
    }

    /// DescribeConfigs of what is set for all brokers.
    pub fn describe_cluster_default(&self) -> Vec<Described> {
        describe::cluster_default(&self.layers)
    }

    /// Builds, and says which keys were read.
    fn build(
        layers: Layers,
        cluster_id: Option<String>,
    ) -> Result<(Config, BTreeSet<&'static str>), ConfigErrors> {
        let values = Values::new(&layers);
        let node = node(&values, cluster_id);
        let listeners = listeners::build(&values, node.is_broker, node.is_controller);
        let quorum_dirs = dirs(&values);
        let quorum = quorum(&values, &quorum_dirs);
        let alone = node.is_broker
            && node.is_controller
            && quorum.voters.len() <= 1
            && quorum.bootstrap_servers.len() <= 1;
        let logs = logs(&values, quorum_dirs, alone);
        let socket = socket(&values);
        let requests = requests(&values);
        let topics = topics(&values);
        let replication = replication(&values);
        let groups = groups(&values);
        let offsets = offsets(&values);
        let transactions = transactions(&values);
        let http = http(&values);
        let logging = logging(&values);
        let fetch_max_bytes = values.count("fetch.max.bytes");
        let topic_defaults = topic_defaults(&values);
        let read = values.finish()?;
        let topic_defaults = topic_defaults.map_err(|error| ConfigErrors(vec![error]))?;
        let config = Config {
            node,
            listeners,
            socket,
            fetch_max_bytes,
            requests,
            topics,
            topic_defaults,
            logs,
            quorum,
            replication,
            groups,
            offsets,
            transactions,
            http,
            logging,
            layers,
        };
        Ok((config, read))
    }
}

fn node(values: &Values<'_>, cluster_id: Option<String>) -> NodeConfig {
    let roles = values.list("process.roles");
    if roles.is_empty() {
        values.malformed("process.roles", "", "expected broker, controller, or both");
    }
    let (id, older) = (values.count("node.id"), values.number("broker.id"));
    if older.is_some_and(|older| older >= 0 && older != i64::from(id)) {
        values.wrong(
            "broker.id",
            Problem::Conflict(format!(
                "broker.id={} and node.id={id} are not the same",
                older.unwrap_or_default()
            )),
        );
    }
    NodeConfig {
        id,
        is_broker: roles.contains(&"broker"),
        is_controller: roles.contains(&"controller"),
        rack: values.text("broker.rack").map(str::to_owned),
        cluster_id,
        shards: values
            .number("reka.shards")
            .and_then(|shards| usize::try_from(shards).ok()),
    }
}

fn socket(values: &Values<'_>) -> SocketConfig {
    let overrides = "max.connections.per.ip.overrides";
    let per_address = values.list(overrides).into_iter().filter_map(|item| {
        let pair = item.rsplit_once(':').and_then(|(host, max)| {
            let host = host.trim_matches(['[', ']']);
            Some((host.to_owned(), max.trim().parse().ok()?)).filter(|_| !host.is_empty())
        });
        if pair.is_none() {
            values.malformed(overrides, item, "expected host:count");
        }
        pair
    });
    SocketConfig {
        connections_per_address_overrides: per_address.collect(),
        request_max_bytes: values.count("socket.request.max.bytes"),
        queued_request_bytes_max: values
            .bytes_if_given("queued.max.request.bytes")
            .filter(|bytes| *bytes > 0),
        connections_max: values.count("max.connections"),
        connections_per_address_max: values.count("max.connections.per.ip"),
        connection_creation_rate_max: values.count("max.connection.creation.rate"),
        connections_max_idle: values.millis("connections.max.idle.ms"),
        backlog: values.count("socket.listen.backlog.size"),
        receive_buffer_bytes: values.bytes_if_given("socket.receive.buffer.bytes"),
        send_buffer_bytes: values.bytes_if_given("socket.send.buffer.bytes"),
    }
}

fn requests(values: &Values<'_>) -> RequestsConfig {
    RequestsConfig {
        fetch_sessions_max: values.count("max.incremental.fetch.session.cache.slots"),
        described_partitions_max: values.count("max.request.partition.size.limit"),
        timeout: values.millis("request.timeout.ms"),
    }
}

fn topics(values: &Values<'_>) -> TopicsConfig {
    let replication_factor: i16 = values.count("default.replication.factor");
    if replication_factor < 1 {
        values.malformed(
            "default.replication.factor",
            &replication_factor.to_string(),
            "expected at least 1",
        );
    }
    TopicsConfig {
        auto_create: values.yes("auto.create.topics.enable"),
        partitions: values.count("num.partitions"),
        replication_factor,
        deletable: values.yes("delete.topic.enable"),
    }
}

fn topic_defaults(values: &Values<'_>) -> Result<TopicConfig, ConfigError> {
    for key in definitions::TOPIC {
        for name in key.broker_keys {
            values.note_read(name);
        }
    }
    TopicConfig::resolve(values.layers(), &Overrides::new())
}

fn dirs(values: &Values<'_>) -> Vec<PathBuf> {
    let older = values.list("log.dir");
    let mut dirs: Vec<PathBuf> = Vec::new();
    let given = Some(values.list("log.dirs"))
        .filter(|dirs| !dirs.is_empty())
        .unwrap_or(older);
    for dir in given {
        let dir = PathBuf::from(dir);
        if dirs.contains(&dir) {
            values.malformed(
                "log.dirs",
                &dir.display().to_string(),
                "the directory is there twice",
            );
        }
        dirs.push(dir);
    }
    if dirs.is_empty() {
        values.malformed("log.dirs", "", "expected at least one directory");
    }
    dirs
}

/// How often a node that has no peers syncs what it took: nobody else has it.
const FLUSH_GROUP_ALONE: Duration = Duration::from_millis(100);

fn logs(values: &Values<'_>, dirs: Vec<PathBuf>, alone: bool) -> LogsConfig {
    let flush_group = match values.number("reka.flush.group.ms") {
        Some(0) => None,
        Some(_) => Some(values.millis("reka.flush.group.ms")),
        None => Some(FLUSH_GROUP_ALONE).filter(|_| alone),
    };
    LogsConfig {
        dirs,
        recovery_threads: values.count("num.recovery.threads.per.data.dir"),
        upkeep_delay: values.millis("log.initial.task.delay.ms"),
        retention_check_interval: values.millis("log.retention.check.interval.ms"),
        flush_check_interval: values.millis("log.flush.scheduler.interval.ms"),
        flush_group_interval: flush_group,
        recovery_checkpoint_interval: values.millis("log.flush.offset.checkpoint.interval.ms"),
        start_checkpoint_interval: values.millis("log.flush.start.offset.checkpoint.interval.ms"),
        producer_ids: ProducerIds {
            expiration: values.millis("producer.id.expiration.ms"),
            max: values.count("reka.producer.ids.per.partition.max"),
        },
        producer_id_check_interval: values.millis("producer.id.expiration.check.interval.ms"),
        cleaner: CleanerConfig {
            enabled: values.yes("log.cleaner.enable"),
            threads: values.count("log.cleaner.threads"),
            backoff: values.millis("log.cleaner.backoff.ms"),
            map_bytes: values.count("log.cleaner.dedupe.buffer.size"),
            bytes_per_second_max: values.fraction("log.cleaner.io.max.bytes.per.second"),
        },
    }
}

fn quorum(values: &Values<'_>, dirs: &[PathBuf]) -> QuorumConfig {
    let addresses = |key: &'static str| {
        values.list(key).into_iter().filter_map(move |item| {
            let address = listeners::parse_host_port(item);
            if address.is_none() {
                values.malformed(key, item, "expected host:port");
            }
            address
        })
    };
    let voters = values
        .list("controller.quorum.voters")
        .into_iter()
        .filter_map(|item| {
            let voter = item.split_once('@').and_then(|(id, address)| {
                let id = id.trim().parse().ok().filter(|id| *id >= 0)?;
                Some(Voter {
                    id,
                    address: listeners::parse_host_port(address)?,
                })
            });
            if voter.is_none() {
                values.malformed("controller.quorum.voters", item, "expected id@host:port");
            }
            voter
        });
    let dir = values.text("metadata.log.dir").map(PathBuf::from);
    let (rebalance, interval) = (
        values.yes("auto.leader.rebalance.enable"),
        values.seconds("leader.imbalance.check.interval.seconds"),
    );
    let snapshot_interval = values.millis("metadata.log.max.snapshot.interval.ms");
    let heartbeat_interval = values.millis("broker.heartbeat.interval.ms");
    let session_timeout = values.millis("broker.session.timeout.ms");
    if heartbeat_interval >= session_timeout {
        values.wrong(
            "broker.session.timeout.ms",
            Problem::Conflict(format!(
                "broker.session.timeout.ms={} is not above broker.heartbeat.interval.ms={}",
                session_timeout.as_millis(),
                heartbeat_interval.as_millis()
            )),
        );
    }
    QuorumConfig {
        voters: voters.collect(),
        bootstrap_servers: addresses("controller.quorum.bootstrap.servers").collect(),
        election_timeout: values.millis("controller.quorum.election.timeout.ms"),
        election_backoff_max: values.millis("controller.quorum.election.backoff.max.ms"),
        silence_max: values.millis("controller.quorum.fetch.timeout.ms"),
        request_timeout: values.millis("controller.quorum.request.timeout.ms"),
        append_linger: values.millis("controller.quorum.append.linger.ms"),
        dir: dir.or_else(|| dirs.first().cloned()).unwrap_or_default(),
        snapshot_bytes: values.count("metadata.log.max.record.bytes.between.snapshots"),
        snapshot_interval: Some(snapshot_interval).filter(|interval| !interval.is_zero()),
        heartbeat_interval,
        session_timeout,
        registration_timeout: values.millis("initial.broker.registration.timeout.ms"),
        leader_rebalance_interval: Some(interval).filter(|_| rebalance),
    }
}

fn replication(values: &Values<'_>) -> ReplicationConfig {
    ReplicationConfig {
        fetch_min_bytes: values.count("replica.fetch.min.bytes"),
        fetch_max_bytes: values.count("replica.fetch.max.bytes"),
        fetch_response_max_bytes: values.count("replica.fetch.response.max.bytes"),
        fetch_wait_max: values.millis("replica.fetch.wait.max.ms"),
        fetch_backoff: values.millis("replica.fetch.backoff.ms"),
        lag_max: values.millis("replica.lag.time.max.ms"),
        high_watermark_checkpoint_interval: values
            .millis("replica.high.watermark.checkpoint.interval.ms"),
        socket_timeout: values.millis("replica.socket.timeout.ms"),
        socket_receive_buffer_bytes: values.bytes_if_given("replica.socket.receive.buffer.bytes"),
        fetchers: values.count("num.replica.fetchers"),
        hand_over_on_stop: values.yes("controlled.shutdown.enable"),
        leader_throttled_bytes: values.count("leader.replication.throttled.rate"),
        follower_throttled_bytes: values.count("follower.replication.throttled.rate"),
        move_throttled_bytes: values.count("replica.alter.log.dirs.io.max.bytes.per.second"),
    }
}

fn groups(values: &Values<'_>) -> GroupsConfig {
    let protocols = values.list("group.coordinator.rebalance.protocols");
    if !protocols.contains(&"classic") {
        values.malformed(
            "group.coordinator.rebalance.protocols",
            &protocols.join(","),
            "expected classic among them",
        );
    }
    let linger = values.number("group.coordinator.append.linger.ms");
    GroupsConfig {
        classic_protocol: protocols.contains(&"classic"),
        consumer_protocol: protocols.contains(&"consumer"),
        append_linger: linger
            .and_then(|ms| u64::try_from(ms).ok())
            .map(Duration::from_millis),
        classic: ClassicGroupsConfig {
            initial_rebalance_delay: values.millis("group.initial.rebalance.delay.ms"),
            session_timeout_min: values.millis("group.min.session.timeout.ms"),
            session_timeout_max: values.millis("group.max.session.timeout.ms"),
            members_max: values.count("group.max.size"),
        },
        consumer: consumer_groups(values),
    }
}

fn consumer_groups(values: &Values<'_>) -> ConsumerGroupsConfig {
    let tunable = |default, min, max| {
        let found = Tunable {
            default: values.millis(default),
            min: values.millis(min),
            max: values.millis(max),
        };
        if found.default < found.min || found.default > found.max {
            values.wrong(
                default,
                Problem::Conflict(format!(
                    "{default}={} is not between {min}={} and {max}={}",
                    found.default.as_millis(),
                    found.min.as_millis(),
                    found.max.as_millis()
                )),
            );
        }
        found
    };
    let assignors = values.list("group.consumer.assignors");
    for name in &assignors {
        if !["uniform", "range"].contains(name) {
            values.malformed(
                "group.consumer.assignors",
                name,
                "expected uniform or range",
            );
        }
    }
    let policy = values
        .text("group.consumer.migration.policy")
        .unwrap_or_default();
    ConsumerGroupsConfig {
        members_max: values.count("group.consumer.max.size"),
        assignors: assignors.into_iter().map(str::to_owned).collect(),
        migration: match policy.to_ascii_lowercase().as_str() {
            "disabled" => MigrationPolicy::Disabled,
            "upgrade" => MigrationPolicy::Upgrade,
            "downgrade" => MigrationPolicy::Downgrade,
            _ => MigrationPolicy::Bidirectional,
        },
        session_timeout: tunable(
            "group.consumer.session.timeout.ms",
            "group.consumer.min.session.timeout.ms",
            "group.consumer.max.session.timeout.ms",
        ),
        heartbeat_interval: tunable(
            "group.consumer.heartbeat.interval.ms",
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
        ),
        assignment_interval: tunable(
            "group.consumer.assignment.interval.ms",
            "group.consumer.min.assignment.interval.ms",
            "group.consumer.max.assignment.interval.ms",
        ),
        pattern_refresh_interval: values.millis("group.consumer.regex.refresh.interval.ms"),
    }
}

fn offsets(values: &Values<'_>) -> OffsetsConfig {
    let codec = values
        .number("offsets.topic.compression.codec")
        .unwrap_or_default();
    let compression = u8::try_from(codec).ok().and_then(Compression::from_id);
    if compression.is_none() {
        values.malformed(
            "offsets.topic.compression.codec",
            &codec.to_string(),
            "expected 0 to 4",
        );
    }
    OffsetsConfig {
        metadata_max_bytes: values.count("offset.metadata.max.bytes"),
        memory_max: values.count("reka.group.memory.max.bytes"),
        commit_timeout: values.millis("offsets.commit.timeout.ms"),
        retention: values.minutes("offsets.retention.minutes"),
        retention_check_interval: values.millis("offsets.retention.check.interval.ms"),
        topic: InternalTopicConfig {
            partitions: values.count("offsets.topic.num.partitions"),
            replication_factor: values.count("offsets.topic.replication.factor"),
            segment_bytes: values.count("offsets.topic.segment.bytes"),
            min_insync_replicas: None,
        },
        compression: compression.unwrap_or_default(),
    }
}

fn transactions(values: &Values<'_>) -> TransactionsConfig {
    TransactionsConfig {
        timeout_max: values.millis("transaction.max.timeout.ms"),
        id_expiration: values.millis("transactional.id.expiration.ms"),
        ids_max: values.count("reka.transactional.ids.per.partition.max"),
        id_check_interval: values
            .millis("transaction.remove.expired.transaction.cleanup.interval.ms"),
        timeout_check_interval: values
            .millis("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
        verify_partitions: values.yes("transaction.partition.verification.enable"),
        verify_backoff: values.millis("add.partitions.to.txn.retry.backoff.ms"),
        verify_backoff_max: values.millis("add.partitions.to.txn.retry.backoff.max.ms"),
        topic: InternalTopicConfig {
            partitions: values.count("transaction.state.log.num.partitions"),
            replication_factor: values.count("transaction.state.log.replication.factor"),
            segment_bytes: values.count("transaction.state.log.segment.bytes"),
            min_insync_replicas: Some(values.count("transaction.state.log.min.isr")),
        },
    }
}

fn http(values: &Values<'_>) -> Option<HostPort> {
    let address = values.text("reka.http.listener")?;
    let parsed = listeners::parse_host_port(address);
    if parsed.is_none() {
        values.malformed(
            "reka.http.listener",
            address,
            "expected host:port, or nothing to turn it off",
        );
    }
    parsed
}

fn logging(values: &Values<'_>) -> LoggingConfig {
    LoggingConfig {
        json: values.text("reka.logging.format") == Some("json"),
        level: values
            .text("reka.logging.level")
            .unwrap_or_default()
            .to_owned(),
    }
}

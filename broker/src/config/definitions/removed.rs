//! Keys of Apache Kafka's past. Files still carry them; they are worth a warning, not a refusal.

/// A key, or a family of keys, that Kafka once had.
#[derive(Clone, Copy, Debug)]
pub struct Removed {
    /// The name, or what the names begin with if it ends with a dot.
    pub name: &'static str,
    /// Why it has nothing to say any more.
    pub reason: &'static str,
}

const ZOOKEEPER: &str = "metadata is kept by Raft, there is no ZooKeeper";
const OLD_FORMATS: &str = "only the current record format and protocol are spoken between brokers";
const ADDRESS: &str = "listeners and advertised.listeners have taken its place";
const TIMESTAMPS: &str =
    "log.message.timestamp.before.max.ms and after.max.ms have taken its place";

/// All of them.
#[rustfmt::skip]
pub const REMOVED: &[Removed] = &[
    Removed { name: "zookeeper.", reason: ZOOKEEPER },
    Removed { name: "broker.id.generation.enable", reason: ZOOKEEPER },
    Removed { name: "reserved.broker.max.id", reason: ZOOKEEPER },
    Removed { name: "control.plane.listener.name", reason: ZOOKEEPER },
    Removed { name: "password.encoder.", reason: ZOOKEEPER },
    Removed { name: "controlled.shutdown.max.retries", reason: ZOOKEEPER },
    Removed { name: "controlled.shutdown.retry.backoff.ms", reason: ZOOKEEPER },
    Removed { name: "leader.imbalance.per.broker.percentage", reason: ZOOKEEPER },
    Removed { name: "inter.broker.protocol.version", reason: OLD_FORMATS },
    Removed { name: "log.message.format.version", reason: OLD_FORMATS },
    Removed { name: "log.message.downconversion.enable", reason: OLD_FORMATS },
    Removed { name: "log.message.timestamp.difference.max.ms", reason: TIMESTAMPS },
    Removed { name: "offsets.commit.required.acks", reason: "offsets are always committed by all in-sync replicas" },
    Removed { name: "group.coordinator.new.enable", reason: "there is one group coordinator" },
    Removed { name: "delegation.token.master.key", reason: "delegation.token.secret.key has taken its place" },
    Removed { name: "auto.include.jmx.reporter", reason: "metrics are served over HTTP" },
    Removed { name: "host.name", reason: ADDRESS },
    Removed { name: "port", reason: ADDRESS },
    Removed { name: "advertised.host.name", reason: ADDRESS },
    Removed { name: "advertised.port", reason: ADDRESS },
    Removed { name: "confluent.", reason: "it belongs to Confluent's own server" },
];

/// The removed key that `name` is, if it is one.
pub fn removed(name: &str) -> Option<&'static Removed> {
    REMOVED
        .iter()
        .find(|gone| match gone.name.strip_suffix('.') {
            Some(_) => name.starts_with(gone.name),
            None => name == gone.name,
        })
}

//! What a topic's configuration comes to: its overrides over the broker's defaults.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reka_records::{Compression, Rules, TimestampType};
use reka_storage::LogConfig;

use super::definitions::{self, Definition, fraction, items, whole};
use super::error::{ConfigError, Origin, Problem};
use super::layers::Layers;
use crate::config::ProducerIds;

/// The overrides of a topic, by key, as they are in the metadata.
pub type Overrides = BTreeMap<String, String>;

/// The settings of a topic, in Kafka's units.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `compression.type`; `None` is `producer`: as it came.
    pub compression: Option<Compression>,
    /// `compression.<type>.level` of that type; `None` is the codec's own.
    pub compression_level: Option<i32>,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: i64,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u64,
    /// `max.compaction.lag.ms`
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`
    pub max_message_bytes: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `min.cleanable.dirty.ratio`
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`
    pub min_insync_replicas: i32,
    /// `retention.bytes`; -1 is no limit.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: i64,
    /// `segment.bytes`, or `internal.segment.bytes` where that is given.
    pub segment_bytes: u64,
    /// `segment.index.bytes`
    pub segment_index_bytes: usize,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `leader.replication.throttled.replicas`
    pub leader_throttled: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`
    pub follower_throttled: ThrottledReplicas,
}

/// Replicas of a topic whose traffic is throttled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// All of them.
    All,
    /// These: partition and broker.
    Only(Vec<(i32, i32)>),
}

impl ThrottledReplicas {
    /// Whether this replica is meant.
    pub fn contains(&self, partition: i32, broker: i32) -> bool {
        match self {
            ThrottledReplicas::All => true,
            ThrottledReplicas::Only(some) => some.contains(&(partition, broker)),
        }
    }
}

impl TopicConfig {
    /// `flush.messages` is set.
    pub fn counts_unsynced(&self) -> bool {
        self.flush_messages != i64::MAX
    }

    /// What `overrides` come to over what the broker says.
    pub(super) fn resolve(
        layers: &Layers,
        overrides: &Overrides,
    ) -> Result<TopicConfig, ConfigError> {
        let read = Reading { layers, overrides };
        let policy = read.text("cleanup.policy")?;
        let has = |wanted: &str| items(&policy).any(|item| item == wanted);
        let compression = match read.text("compression.type")?.trim() {
            "uncompressed" => Some(Compression::None),
            name => Compression::ALL
                .into_iter()
                .find(|codec| *codec != Compression::None && codec.name() == name),
        };
        let gzip_level: i32 = read.number("compression.gzip.level")?;
        let lz4_level = read.number("compression.lz4.level")?;
        let zstd_level = read.number("compression.zstd.level")?;
        let segment_bytes = match read.overrides.contains_key("internal.segment.bytes") {
            true => read.number("internal.segment.bytes")?,
            false => read.number("segment.bytes")?,
        };
        Ok(TopicConfig {
            delete: has("delete"),
            compact: has("compact"),
            compression,
            compression_level: match compression {
                Some(Compression::Gzip) => Some(gzip_level).filter(|level| *level != -1),
                Some(Compression::Lz4) => Some(lz4_level),
                Some(Compression::Zstd) => Some(zstd_level),
                Some(Compression::None | Compression::Snappy) | None => None,
            },
            delete_retention_ms: read.number("delete.retention.ms")?,
            file_delete_delay_ms: read.number("file.delete.delay.ms")?,
            flush_messages: read.number("flush.messages")?,
            flush_ms: read.number("flush.ms")?,
            index_interval_bytes: read.number("index.interval.bytes")?,
            max_compaction_lag_ms: read.number("max.compaction.lag.ms")?,
            max_message_bytes: read.number("max.message.bytes")?,
            timestamp_type: match read.text("message.timestamp.type")?.trim() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: read.number("message.timestamp.before.max.ms")?,
            timestamp_after_max_ms: read.number("message.timestamp.after.max.ms")?,
            min_cleanable_dirty_ratio: read.fraction("min.cleanable.dirty.ratio")?,
            min_compaction_lag_ms: read.number("min.compaction.lag.ms")?,
            min_insync_replicas: read.number("min.insync.replicas")?,
            retention_bytes: read.number("retention.bytes")?,
            retention_ms: read.number("retention.ms")?,
            segment_bytes,
            segment_index_bytes: read.number("segment.index.bytes")?,
            segment_jitter_ms: read.number("segment.jitter.ms")?,
            segment_ms: read.number("segment.ms")?,
            unclean_leader_election: read
                .text("unclean.leader.election.enable")?
                .trim()
                .eq_ignore_ascii_case("true"),
            leader_throttled: read.throttled("leader.replication.throttled.replicas")?,
            follower_throttled: read.throttled("follower.replication.throttled.replicas")?,
        })
    }

    /// What the storage engine is told.
    pub fn to_log_config(&self, producer_ids: ProducerIds) -> LogConfig {
        let expiration_ms = producer_ids.expiration.as_millis();
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            segment_jitter_ms: self.segment_jitter_ms,
            segment_index_bytes: self.segment_index_bytes,
            index_interval_bytes: self.index_interval_bytes,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            file_delete_delay_ms: self.file_delete_delay_ms,
            delete: self.delete,
            compact: self.compact,
            delete_retention_ms: self.delete_retention_ms,
            min_compaction_lag_ms: self.min_compaction_lag_ms,
            max_compaction_lag_ms: self.max_compaction_lag_ms,
            min_cleanable_dirty_permille: (self.min_cleanable_dirty_ratio * 1000.0).round() as u32,
            flush_messages: self.flush_messages,
            flush_ms: self.flush_ms,
            producer_id_expiration_ms: i64::try_from(expiration_ms).unwrap_or(i64::MAX),
            producer_ids_max: producer_ids.max,
        }
    }

    /// What a client's batch has to obey at `now_ms`. The rest of the rules is the request's.
    pub fn to_rules(&self, now_ms: i64) -> Rules {
        Rules {
            compacted: self.compact,
            batch_bytes_max: self.max_message_bytes,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            compression: self.compression,
            compression_level: self.compression_level,
            ..Rules::new(now_ms)
        }
    }
}

/// The value of a topic's key that counts; `None` is null.
pub(super) fn effective<'a>(
    layers: &'a Layers,
    overrides: &'a Overrides,
    key: &Definition,
) -> Option<Cow<'a, str>> {
    match overrides.get(key.name) {
        Some(value) => Some(Cow::Borrowed(value)),
        None => layers.topic_default(key),
    }
}

struct Reading<'a> {
    layers: &'a Layers,
    overrides: &'a Overrides,
}

impl<'a> Reading<'a> {
    fn text(&self, name: &'static str) -> Result<Cow<'a, str>, ConfigError> {
        let Some(key) = definitions::topic(name) else {
            unreachable!("{name} is a key of topics");
        };
        let value = effective(self.layers, self.overrides, key).unwrap_or_default();
        match key.check(&value) {
            Ok(()) => Ok(value),
            Err(fault) => {
                let origin = match (self.overrides.contains_key(name), key.broker_keys.first()) {
                    (false, Some(broker)) => self.layers.origin(broker),
                    _ => Origin::Topic,
                };
                let (key, value) = (name.to_owned(), value.into_owned());
                Err(ConfigError::new(
                    origin,
                    Problem::BadValue { key, value, fault },
                ))
            }
        }
    }

    /// A number that was checked; what does not fit into the field is at the end of its range.
    fn number<T: TryFrom<i64> + Default>(&self, name: &'static str) -> Result<T, ConfigError> {
        let value = self.text(name)?;
        let number = whole(definitions::Kind::Long, &value).unwrap_or_default();
        Ok(T::try_from(number).unwrap_or_default())
    }

    fn fraction(&self, name: &'static str) -> Result<f64, ConfigError> {
        Ok(fraction(&self.text(name)?).unwrap_or_default())
    }

    fn throttled(&self, name: &'static str) -> Result<ThrottledReplicas, ConfigError> {
        let value = self.text(name)?;
        if value.trim() == "*" {
            return Ok(ThrottledReplicas::All);
        }
        let pairs = items(&value).filter_map(|item| {
            let (partition, broker) = item.split_once(':')?;
            Some((partition.parse().ok()?, broker.parse().ok()?))
        });
        Ok(ThrottledReplicas::Only(pairs.collect()))
    }
}

//! What a partition's log is told by its topic's configuration.

/// The settings of one log, named as Apache Kafka's topic configs, in plain units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a data file is begun before this size would be passed.
    pub segment_bytes: u64,
    /// `segment.ms`: a data file is begun when the first record is this old.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most so much earlier, different for each segment.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: greatest size of an index; full means roll.
    pub segment_index_bytes: usize,
    /// `index.interval.bytes`: bytes of log between index entries.
    pub index_interval_bytes: u64,
    /// `retention.ms`; -1 keeps for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 is no limit.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: between renaming a segment away and unlinking it.
    pub file_delete_delay_ms: i64,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `delete.retention.ms`: how long tombstones and markers outlive their cleaning.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: younger records are left alone.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older ones make a log due whatever its dirty ratio.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`, in thousandths.
    pub min_cleanable_dirty_permille: u32,
    /// `flush.messages`: records after which a sync is due.
    pub flush_messages: i64,
    /// `flush.ms`: age of unsynced records after which a sync is due.
    pub flush_ms: i64,
    /// `producer.id.expiration.ms`: how long a silent producer is remembered.
    pub producer_id_expiration_ms: i64,
    /// `reka.producer.ids.per.partition.max`: producers remembered, however recently they wrote.
    pub producer_ids_max: usize,
}

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

impl Default for LogConfig {
    /// Apache Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * DAY_MS,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            delete: true,
            compact: false,
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_permille: 500,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            producer_id_expiration_ms: DAY_MS,
            producer_ids_max: 20_000,
        }
    }
}

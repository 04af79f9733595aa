//! The keys of topics. All of them can be changed at run time.

use super::{Definition, Valid, boolean, double, int, list, long, string};

const TIERED: &str = "tiered storage is not served";
const ALONE: &str = "a node alone has no followers and no other voters";
const PREALLOCATE: &str = "segments always get their space ahead, in steps";

/// The keys of topics.
#[rustfmt::skip]
pub const TOPIC: &[Definition] = &[
    list("cleanup.policy").default("delete").each_one_of(&["compact", "delete"]).from(&["log.cleanup.policy"]).served("What becomes of old records: delete, compact, both, or nothing."),
    int("compression.gzip.level").default("-1").valid(Valid::BetweenOr(1, 9, -1)).from(&["compression.gzip.level"]).served("How hard gzip tries, where compression.type is gzip; -1 is its own default."),
    int("compression.lz4.level").default("9").between(1, 17).from(&["compression.lz4.level"]).served("How hard lz4 tries, where compression.type is lz4."),
    string("compression.type").default("producer").one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]).from(&["compression.type"]).served("How batches are stored: producer leaves them as they came, otherwise in this codec."),
    int("compression.zstd.level").default("3").between(-131_072, 22).from(&["compression.zstd.level"]).served("How hard zstd tries, where compression.type is zstd."),
    long("delete.retention.ms").default("86400000").at_least(0).from(&["log.cleaner.delete.retention.ms"]).served("How long tombstones stay in a compacted topic."),
    long("file.delete.delay.ms").default("60000").at_least(0).from(&["log.segment.delete.delay.ms"]).served("How long a deleted segment stays on disk."),
    long("flush.messages").default("9223372036854775807").at_least(1).from(&["log.flush.interval.messages"]).served("Records after which a partition is synced, before their producer is told."),
    long("flush.ms").default("9223372036854775807").at_least(0).from(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]).served("Age of unsynced records at which a partition is synced."),
    list("follower.replication.throttled.replicas").default("").valid(Valid::ThrottledReplicas).no_effect(ALONE, "Replicas whose followers are throttled: partition:broker, comma separated, or * for all."),
    int("index.interval.bytes").default("4096").at_least(0).from(&["log.index.interval.bytes"]).served("Bytes of log between two index entries."),
    int("internal.segment.bytes").internal().served("Size at which a new segment is begun, without a lower bound. For tests."),
    list("leader.replication.throttled.replicas").default("").valid(Valid::ThrottledReplicas).no_effect(ALONE, "Replicas whose leaders are throttled: partition:broker, comma separated, or * for all."),
    long("local.retention.bytes").default("-2").at_least(-2).from(&["log.local.retention.bytes"]).no_effect(TIERED, "Bytes of a partition kept on local disks."),
    long("local.retention.ms").default("-2").at_least(-2).from(&["log.local.retention.ms"]).no_effect(TIERED, "How long records are kept on local disks."),
    long("max.compaction.lag.ms").default("9223372036854775807").at_least(1).from(&["log.cleaner.max.compaction.lag.ms"]).served("Older records are compacted even if there are few."),
    int("max.message.bytes").default("1048588").at_least(0).from(&["message.max.bytes"]).served("Largest record batch, after compression."),
    long("message.timestamp.after.max.ms").default("3600000").at_least(0).from(&["log.message.timestamp.after.max.ms"]).served("How far a record's time may lie after the broker's."),
    long("message.timestamp.before.max.ms").default("9223372036854775807").at_least(0).from(&["log.message.timestamp.before.max.ms"]).served("How far a record's time may lie before the broker's."),
    string("message.timestamp.type").default("CreateTime").one_of(&["CreateTime", "LogAppendTime"]).from(&["log.message.timestamp.type"]).served("Records carry the time of their producer or of their append."),
    double("min.cleanable.dirty.ratio").default("0.5").between(0, 1).from(&["log.cleaner.min.cleanable.ratio"]).served("Share of uncompacted bytes at which a log is compacted."),
    long("min.compaction.lag.ms").default("0").at_least(0).from(&["log.cleaner.min.compaction.lag.ms"]).served("Younger records are not compacted."),
    int("min.insync.replicas").default("1").at_least(1).from(&["min.insync.replicas"]).served("In-sync replicas without which a write with acks=all is refused."),
    boolean("preallocate").default("false").from(&["log.preallocate"]).no_effect(PREALLOCATE, "Segments get their space when they are created."),
    boolean("remote.log.copy.disable").default("false").not_yet(TIERED, "No further segments are moved to remote storage."),
    boolean("remote.log.delete.on.disable").default("false").not_yet(TIERED, "Turning remote storage off deletes what is there."),
    boolean("remote.storage.enable").default("false").not_yet(TIERED, "Segments are moved to remote storage."),
    long("retention.bytes").default("-1").from(&["log.retention.bytes"]).served("How large a partition may grow before its oldest segments go; -1 is no limit."),
    long("retention.ms").default("604800000").at_least(-1).from(&["log.retention.ms", "log.retention.minutes", "log.retention.hours"]).served("How long records are kept; -1 for ever."),
    int("segment.bytes").default("1073741824").at_least(1_048_576).from(&["log.segment.bytes"]).served("Size at which a new segment is begun."),
    int("segment.index.bytes").default("10485760").at_least(4).from(&["log.index.size.max.bytes"]).served("Largest index of a segment."),
    long("segment.jitter.ms").default("0").at_least(0).from(&["log.roll.jitter.ms", "log.roll.jitter.hours"]).served("At most so much earlier than segment.ms, so that segments do not all roll at once."),
    long("segment.ms").default("604800000").at_least(1).from(&["log.roll.ms", "log.roll.hours"]).served("Age at which a new segment is begun."),
    boolean("unclean.leader.election.enable").default("false").from(&["unclean.leader.election.enable"]).no_effect(ALONE, "A replica that is behind may lead when nobody else can. Loses records."),
];

//! The keys of groups. All of them can be changed at run time.

use super::{Definition, boolean, int, string};

const SHARE: &str = "share groups are not served";
const STREAMS: &str = "streams groups are not served";

/// The keys of groups. Their defaults are the broker's, under `group.`.
#[rustfmt::skip]
pub const GROUP: &[Definition] = &[
    int("consumer.assignment.interval.ms").default("1000").at_least(0).from(&["group.consumer.assignment.interval.ms"]).served("How far apart two assignments of a consumer group are, at least."),
    int("consumer.heartbeat.interval.ms").default("5000").at_least(1).from(&["group.consumer.heartbeat.interval.ms"]).served("How often members of a consumer group say that they are there."),
    int("consumer.session.timeout.ms").default("45000").at_least(1).from(&["group.consumer.session.timeout.ms"]).served("How long a member of a consumer group may be silent."),
    int("share.assignment.interval.ms").default("1000").at_least(0).from(&["group.share.assignment.interval.ms"]).not_yet(SHARE, "How far apart two assignments of a share group are, at least."),
    string("share.auto.offset.reset").default("latest").not_yet(SHARE, "Where a share group begins that has read nothing yet."),
    int("share.delivery.count.limit").default("5").at_least(2).from(&["group.share.delivery.count.limit"]).not_yet(SHARE, "How often a share group may be given a record."),
    int("share.heartbeat.interval.ms").default("5000").at_least(1).from(&["group.share.heartbeat.interval.ms"]).not_yet(SHARE, "How often members of a share group say that they are there."),
    string("share.isolation.level").default("read_uncommitted").not_yet(SHARE, "Whether a share group is given records of open transactions."),
    int("share.partition.max.record.locks").default("2000").at_least(100).from(&["group.share.partition.max.record.locks"]).not_yet(SHARE, "Records of a partition that members of a share group may hold."),
    int("share.record.lock.duration.ms").default("30000").at_least(1000).from(&["group.share.record.lock.duration.ms"]).not_yet(SHARE, "How long a member of a share group may hold a record."),
    boolean("share.renew.acknowledge.enable").default("true").not_yet(SHARE, "Whether a member of a share group may hold a record for longer."),
    int("share.session.timeout.ms").default("45000").at_least(1).from(&["group.share.session.timeout.ms"]).not_yet(SHARE, "How long a member of a share group may be silent."),
    int("streams.assignment.interval.ms").default("1000").at_least(0).from(&["group.streams.assignment.interval.ms"]).not_yet(STREAMS, "How far apart two assignments of a streams group are, at least."),
    int("streams.heartbeat.interval.ms").default("5000").at_least(1).from(&["group.streams.heartbeat.interval.ms"]).not_yet(STREAMS, "How often members of a streams group say that they are there."),
    int("streams.initial.rebalance.delay.ms").default("3000").at_least(0).from(&["group.streams.initial.rebalance.delay.ms"]).not_yet(STREAMS, "How long a new streams group waits for further members."),
    int("streams.num.standby.replicas").default("0").at_least(0).from(&["group.streams.num.standby.replicas"]).not_yet(STREAMS, "Standby replicas of each task of a streams group."),
    int("streams.session.timeout.ms").default("45000").at_least(1).from(&["group.streams.session.timeout.ms"]).not_yet(STREAMS, "How long a member of a streams group may be silent."),
];

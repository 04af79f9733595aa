//! What groups go through, counted as it happens; and how far they are behind, when somebody asks.

use std::time::Duration;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use reka_records::BatchHeader;

use super::OTHERS;
use crate::group::lag::{Ends, Lag, Lags};
use crate::node::Services;
use crate::partition::Partition;
use crate::partition::read::Isolation;

/// Lags told one by one; all others are told together.
pub(super) const LAGS_MAX: usize = 1000;

/// From a rebalance nobody notices to one that waits for a member's rebalance timeout.
const SECONDS: &[f64] = &[
    0.001, 0.01, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Groups, their offsets and rebalances. Not by group, but for the largest lags: there may be a
/// million of them.
#[derive(Debug)]
pub struct GroupMetrics {
    /// Groups coordinated here.
    pub groups: IntGauge,
    /// Their committed offsets.
    pub offsets: IntGauge,
    /// About what all of that takes in memory.
    pub bytes: IntGauge,
    /// Questions refused because that may not be more.
    pub memory_refusals: IntCounter,
    /// Members removed without asking.
    pub members_removed: IntCounter,
    rebalance_seconds: Histogram,
    rebalances: IntCounterVec,
    lag_records: GaugeVec,
    lag_seconds: GaugeVec,
}

impl GroupMetrics {
    pub(super) fn register(registry: &Registry) -> Result<GroupMetrics, prometheus::Error> {
        let groups = IntGauge::new("reka_groups", "Groups coordinated here")?;
        let offsets = IntGauge::new("reka_group_offsets", "Committed offsets kept here")?;
        let bytes = IntGauge::new(
            "reka_group_memory_bytes",
            "About what groups, their members and offsets take in memory",
        )?;
        let memory_refusals = IntCounter::new(
            "reka_group_memory_refusals_total",
            "Joins and commits refused because the memory for groups is used up",
        )?;
        let members_removed = IntCounter::new(
            "reka_group_members_removed_total",
            "Members removed from their groups because a time of theirs had passed",
        )?;
        let rebalance_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "reka_group_rebalance_seconds",
                "From what calls for a rebalance to its end",
            )
            .buckets(SECONDS.to_vec()),
        )?;
        let rebalances = IntCounterVec::new(
            Opts::new(
                "reka_group_rebalances_total",
                "Rebalances, by what called for them",
            ),
            &["cause"],
        )?;
        let place = ["group", "topic", "partition"];
        let lag_records = GaugeVec::new(
            Opts::new(
                "reka_group_lag_records",
                "Records between what a group has committed and the high watermark, those of open transactions included",
            ),
            &place,
        )?;
        let lag_seconds = GaugeVec::new(
            Opts::new(
                "reka_group_lag_seconds",
                "Age of the first batch a group has not wholly committed; 0 if there is none",
            ),
            &place,
        )?;
        registry.register(Box::new(rebalances.clone()))?;
        registry.register(Box::new(lag_records.clone()))?;
        registry.register(Box::new(lag_seconds.clone()))?;
        registry.register(Box::new(groups.clone()))?;
        registry.register(Box::new(offsets.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        registry.register(Box::new(memory_refusals.clone()))?;
        registry.register(Box::new(members_removed.clone()))?;
        registry.register(Box::new(rebalance_seconds.clone()))?;
        Ok(GroupMetrics {
            groups,
            offsets,
            bytes,
            memory_refusals,
            members_removed,
            rebalance_seconds,
            rebalances,
            lag_records,
            lag_seconds,
        })
    }

    /// A rebalance is over.
    pub fn rebalanced(&self, cause: &str, took: Duration) {
        self.rebalance_seconds.observe(took.as_secs_f64());
        let counted = self.rebalances.with_label_values(&[kind_of(cause)]);
        counted.inc();
    }

    /// Tells these lags and no others. Reads the first batch behind each committed offset, so not
    /// on a thread that others wait for.
    pub(super) fn tell_lags(&self, services: &Services, lags: &Lags) {
        self.lag_records.reset();
        self.lag_seconds.reset();
        let now_ms = services.clock.now_ms();
        for lag in &lags.told {
            let partition = lag.partition.to_string();
            let place = [&*lag.group, &*lag.topic, partition.as_str()];
            let records = self.lag_records.with_label_values(&place);
            records.set(lag.records as f64);
            let unread = services.partitions.get(&lag.topic, lag.partition);
            let unread = unread.filter(|_| lag.records > 0);
            let since_ms = unread.and_then(|partition| oldest_ms(&partition, lag));
            let age_ms = since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms).max(0));
            let seconds = self.lag_seconds.with_label_values(&place);
            seconds.set(age_ms as f64 / 1000.0);
        }
        if lags.others > 0 {
            let others = [OTHERS, OTHERS, OTHERS];
            let records = self.lag_records.with_label_values(&others);
            records.set(lags.others_records as f64);
        }
    }
}

/// High watermarks of what is here, to hold committed offsets against.
pub(super) fn ends(services: &Services) -> Ends {
    let mut ends = Ends::default();
    for partition in services.partitions.all() {
        let index = partition.index;
        ends.insert(&partition.topic, index, partition.high_watermark());
    }
    ends
}

/// What calls for a rebalance, without what a client said about it or how many there were of
/// something: a label is one of few.
fn kind_of(cause: &str) -> &str {
    let kind = cause.split(';').next().unwrap_or_default();
    match kind.contains(|c: char| c.is_ascii_digit()) {
        true => "a limit was met",
        false => kind,
    }
}

/// When the first record a group has not committed was written, as far as its batch tells.
fn oldest_ms(partition: &Partition, lag: &Lag) -> Option<i64> {
    let offset = lag.offset.max(partition.reader().log_start());
    let found = partition.read(offset, 1, true, Isolation::ReadUncommitted);
    let bytes = found.slice?.bytes().ok()?;
    let header = BatchHeader::parse(&bytes).ok()?;
    let first = offset <= header.base_offset && !header.is_control();
    let at_ms = match header.log_append_time() {
        Some(at_ms) => at_ms,
        None if first && header.delete_horizon().is_none() => header.base_timestamp,
        None => header.max_timestamp,
    };
    (at_ms >= 0).then_some(at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_without_what_clients_say_and_without_numbers() {
        for (cause, kind) in [
            ("new member", "new member"),
            (
                "static member is back; client reason: mine",
                "static member is back",
            ),
            (
                "the group has 7 members, at most 5 may be",
                "a limit was met",
            ),
        ] {
            assert_eq!(kind_of(cause), kind);
        }
    }
}

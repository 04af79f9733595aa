//! What groups go through, counted as it happens.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// From a rebalance nobody notices to one that waits for a member's rebalance timeout.
const SECONDS: &[f64] = &[
    0.001, 0.01, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Groups, their offsets and rebalances. Not by group: there may be a million of them.
#[derive(Debug)]
pub struct GroupMetrics {
    /// Groups coordinated here.
    pub groups: IntGauge,
    /// Their committed offsets.
    pub offsets: IntGauge,
    /// Members removed without asking.
    pub members_removed: IntCounter,
    rebalance_seconds: Histogram,
}

impl GroupMetrics {
    pub(super) fn register(registry: &Registry) -> Result<GroupMetrics, prometheus::Error> {
        let groups = IntGauge::new("reka_groups", "Groups coordinated here")?;
        let offsets = IntGauge::new("reka_group_offsets", "Committed offsets kept here")?;
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
        registry.register(Box::new(groups.clone()))?;
        registry.register(Box::new(offsets.clone()))?;
        registry.register(Box::new(members_removed.clone()))?;
        registry.register(Box::new(rebalance_seconds.clone()))?;
        Ok(GroupMetrics {
            groups,
            offsets,
            members_removed,
            rebalance_seconds,
        })
    }

    /// A rebalance is over.
    pub fn rebalanced(&self, took: Duration) {
        self.rebalance_seconds.observe(took.as_secs_f64());
    }
}

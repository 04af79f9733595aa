//! What transactions come to, counted as it happens.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Transactional ids and how their transactions end. Not by id: there may be a million of them.
#[derive(Debug)]
pub struct TransactionMetrics {
    /// Transactional ids coordinated here.
    pub ids: IntGauge,
    /// Transactions aborted because they took too long.
    pub timed_out: IntCounter,
    /// Partitions with a transaction that should have ended long ago.
    pub late_partitions: IntGauge,
    /// Markers that a partition did not take, and that are written to it again.
    pub markers_refused: IntCounter,
    /// Ids nobody knew that were refused because there are too many.
    pub ids_refused: IntCounter,
    ended: IntCounterVec,
}

impl TransactionMetrics {
    pub(super) fn register(registry: &Registry) -> Result<TransactionMetrics, prometheus::Error> {
        let ids = IntGauge::new(
            "reka_transactional_ids",
            "Transactional ids coordinated here",
        )?;
        let ended = IntCounterVec::new(
            Opts::new(
                "reka_transactions_ended_total",
                "Transactions that ended on all of their partitions, by how",
            ),
            &["result"],
        )?;
        for result in ["commit", "abort"] {
            ended.with_label_values(&[result]);
        }
        let timed_out = IntCounter::new(
            "reka_transactions_timed_out_total",
            "Transactions aborted because they took longer than their producer had asked for",
        )?;
        let late_partitions = IntGauge::new(
            "reka_late_transaction_partitions",
            "Partitions with a transaction open for longer than any may take: readers of committed \
             data wait for it",
        )?;
        let markers_refused = IntCounter::new(
            "reka_transaction_markers_refused_total",
            "Ends of transactions that a partition did not take at once",
        )?;
        let ids_refused = IntCounter::new(
            "reka_transactional_ids_refused_total",
            "New transactional ids refused because there are too many, and all of them in use",
        )?;
        registry.register(Box::new(markers_refused.clone()))?;
        registry.register(Box::new(ids_refused.clone()))?;
        registry.register(Box::new(ids.clone()))?;
        registry.register(Box::new(ended.clone()))?;
        registry.register(Box::new(timed_out.clone()))?;
        registry.register(Box::new(late_partitions.clone()))?;
        Ok(TransactionMetrics {
            ids,
            timed_out,
            late_partitions,
            markers_refused,
            ids_refused,
            ended,
        })
    }

    /// A transaction ended on all of its partitions.
    pub fn ended(&self, committed: bool) {
        let result = match committed {
            true => "commit",
            false => "abort",
        };
        self.ended.with_label_values(&[result]).inc();
    }
}

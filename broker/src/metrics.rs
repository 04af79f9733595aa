//! What the broker tells about itself, in Prometheus' format.
//!
//! | Module | Owns |
//! |---|---|
//! | `requests` | what is counted as requests go by |
//! | `groups` | what groups go through |
//! | `transactions` | what transactions come to |
//! | `state` | what is read when somebody asks: partitions, quorum, memory |
//! | `process` | what the kernel knows of this process |
//!
//! Names are listed in `docs/metrics.md`, which a test compares with what is told. Labels are bounded:
//! APIs and error codes are Kafka's; topics and lags beyond the largest are told together.

mod groups;
mod process;
mod requests;
mod state;
mod transactions;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::{Encoder, IntCounterVec, Opts, Registry, TextEncoder};

pub use self::groups::GroupMetrics;
pub use self::requests::RequestMetrics;
use self::state::State;
pub use self::transactions::TransactionMetrics;
use crate::group::lag::Lags;
use crate::metadata::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::node::Services;

/// What all those are called that are told together; no topic can have this name.
const OTHERS: &str = "(others)";

/// What is counted, and where it is told.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// One scrape at a time: lags are told anew for each.
    scrape: Mutex<()>,
    /// Requests and connections.
    pub requests: RequestMetrics,
    /// Groups and their rebalances.
    pub groups: GroupMetrics,
    /// Transactions and how they end.
    pub transactions: TransactionMetrics,
    /// Tasks of coordinators that ended by a panic, by topic.
    pub coordinator_panics: IntCounterVec,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let requests = RequestMetrics::register(&registry)?;
        let groups = GroupMetrics::register(&registry)?;
        let transactions = TransactionMetrics::register(&registry)?;
        let coordinator_panics = IntCounterVec::new(
            Opts::new(
                "reka_coordinator_panics_total",
                "Coordinators of a partition that ended by a panic and were begun anew, by topic",
            ),
            &["topic"],
        )?;
        for topic in [CONSUMER_OFFSETS, TRANSACTION_STATE] {
            coordinator_panics.with_label_values(&[topic]);
        }
        registry.register(Box::new(coordinator_panics.clone()))?;
        Ok(Metrics {
            registry,
            scrape: Mutex::new(()),
            requests,
            groups,
            transactions,
            coordinator_panics,
        })
    }

    /// From now on also tells what `services` are like.
    pub fn watch(&self, services: &Arc<Services>) -> Result<(), prometheus::Error> {
        let services: Weak<Services> = Arc::downgrade(services);
        self.registry.register(Box::new(State::new(services)?))
    }

    /// How far the groups of a node are behind, to be told with everything else.
    pub async fn lags(services: &Services) -> Lags {
        let ends = Arc::new(groups::ends(services));
        services.groups.lags(ends, groups::LAGS_MAX).await
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self, services: &Services, lags: &Lags) -> Result<Vec<u8>, prometheus::Error> {
        let _turn = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.groups.tell_lags(services, lags);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The content type of the text.
    pub fn content_type() -> &'static str {
        prometheus::TEXT_FORMAT
    }
}

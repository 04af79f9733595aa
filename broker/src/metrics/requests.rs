//! Requests, errors, bytes and connections, counted as they go by.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use reka_protocol::{Api, ErrorCode, versions};

use crate::api::advertised;

/// From 10 µs to 30 s: an answer from memory, and a long poll.
const SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Counters of what clients do.
#[derive(Debug)]
pub struct RequestMetrics {
    /// By position in the version table, so that counting looks nothing up; of what is served.
    apis: Vec<Option<ApiMetrics>>,
    errors: IntCounterVec,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Connections that were accepted.
    pub connections_accepted: IntCounter,
    /// Connections that were refused, by reason.
    pub connections_refused: IntCounterVec,
    /// Connections that were closed because of what came over them.
    pub connections_faulty: IntCounter,
    /// Syncs of logs.
    pub flush_seconds: Histogram,
    /// Syncs of logs that failed.
    pub flush_failures: IntCounter,
}

#[derive(Debug)]
struct ApiMetrics {
    seconds: Histogram,
    received: IntCounter,
    sent: IntCounter,
    parked: IntGauge,
}

impl RequestMetrics {
    pub(super) fn register(registry: &Registry) -> Result<RequestMetrics, prometheus::Error> {
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "reka_request_seconds",
                "From a whole request to its answer on its way",
            )
            .buckets(SECONDS.to_vec()),
            &["api"],
        )?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let received = counters("reka_received_bytes_total", "Bytes of requests", &["api"])?;
        let sent = counters("reka_sent_bytes_total", "Bytes of answers", &["api"])?;
        let errors = counters(
            "reka_errors_total",
            "Error codes in answers, one for each partition or resource",
            &["api", "error"],
        )?;
        let parked = IntGaugeVec::new(
            Opts::new("reka_parked_requests", "Requests that wait for something"),
            &["api"],
        )?;
        let connections = IntGauge::new("reka_connections", "Connections that are open")?;
        let connections_accepted =
            IntCounter::new("reka_connections_accepted_total", "Connections accepted")?;
        let connections_refused = counters(
            "reka_connections_refused_total",
            "Connections refused, by the limit they met",
            &["limit"],
        )?;
        let connections_faulty = IntCounter::new(
            "reka_connections_faulty_total",
            "Connections closed because of what came over them",
        )?;
        let flush_seconds = Histogram::with_opts(
            HistogramOpts::new("reka_flush_seconds", "Syncing a log").buckets(SECONDS.to_vec()),
        )?;
        let flush_failures =
            IntCounter::new("reka_flush_failures_total", "Syncs of logs that failed")?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(received.clone()))?;
        registry.register(Box::new(sent.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(parked.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(connections_accepted.clone()))?;
        registry.register(Box::new(connections_refused.clone()))?;
        registry.register(Box::new(connections_faulty.clone()))?;
        registry.register(Box::new(flush_seconds.clone()))?;
        registry.register(Box::new(flush_failures.clone()))?;
        let is_served = |api: &Api| advertised().iter().any(|served| served.key == api.key);
        let of_api = |api: &Api| ApiMetrics {
            seconds: seconds.with_label_values(&[api.name]),
            received: received.with_label_values(&[api.name]),
            sent: sent.with_label_values(&[api.name]),
            parked: parked.with_label_values(&[api.name]),
        };
        Ok(RequestMetrics {
            apis: versions::APIS
                .iter()
                .map(|api| is_served(api).then(|| of_api(api)))
                .collect(),
            errors,
            connections,
            connections_accepted,
            connections_refused,
            connections_faulty,
            flush_seconds,
            flush_failures,
        })
    }

    fn of(&self, api: &'static Api) -> Option<&ApiMetrics> {
        self.apis.get(versions::position(api))?.as_ref()
    }

    /// A request was read.
    pub fn received(&self, api: &'static Api, bytes: usize) {
        if let Some(metrics) = self.of(api) {
            metrics.received.inc_by(bytes as u64);
        }
    }

    /// A request begins or ceases to wait.
    pub fn parked(&self, api: &'static Api, by: i64) {
        if let Some(metrics) = self.of(api) {
            metrics.parked.add(by);
        }
    }

    /// A request was answered.
    pub fn answered(&self, api: &'static Api, took: Duration, bytes: u64) {
        if let Some(metrics) = self.of(api) {
            metrics.seconds.observe(took.as_secs_f64());
            metrics.sent.inc_by(bytes);
        }
    }

    /// An answer has this code.
    pub fn error(&self, api: &'static Api, error_code: i16) {
        if error_code != 0 {
            let name = ErrorCode::from_code(error_code).map_or("UNKNOWN", ErrorCode::name);
            self.errors.with_label_values(&[api.name, name]).inc();
        }
    }
}

//! What is read when somebody asks, instead of being counted all the time.

use std::collections::BTreeMap;
use std::sync::Weak;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, GaugeVec, Opts};

use super::OTHERS;
use super::process::Process;
use crate::node::Services;

/// Topics told one by one; the sizes of all others are told together.
const TOPICS_MAX: usize = 1000;

/// Reads the parts of the node.
pub(super) struct State {
    services: Weak<Services>,
    descriptions: Vec<Desc>,
}

/// One scrape's worth of values.
struct Values {
    gauges: Vec<Gauge>,
    topic_bytes: GaugeVec,
    cpu_seconds: Counter,
}

impl State {
    pub(super) fn new(services: Weak<Services>) -> Result<State, prometheus::Error> {
        let state = State {
            services,
            descriptions: Vec::new(),
        };
        let values = state.read()?;
        let gauges = values.gauges.iter().flat_map(Collector::desc);
        let descriptions = gauges
            .chain(values.topic_bytes.desc())
            .chain(values.cpu_seconds.desc())
            .cloned()
            .collect();
        Ok(State {
            descriptions,
            ..state
        })
    }

    fn read(&self) -> Result<Values, prometheus::Error> {
        let topic_bytes = GaugeVec::new(
            Opts::new("reka_topic_log_bytes", "Bytes of a topic's logs here"),
            &["topic"],
        )?;
        // These three have the names every dashboard knows.
        let cpu_seconds = Counter::new(
            "process_cpu_seconds_total",
            "Processor time of this process",
        )?;
        let mut told = Told(Vec::new());
        let process = Process::now();
        cpu_seconds.inc_by(process.cpu_seconds.unwrap_or_default());
        told.gauge(
            "process_resident_memory_bytes",
            "Memory of this process",
            process.resident_bytes.unwrap_or_default(),
        )?;
        told.gauge(
            "process_open_fds",
            "Files and sockets this process has open",
            process.open_files.unwrap_or_default(),
        )?;
        self.read_services(&mut told, &topic_bytes)?;
        Ok(Values {
            gauges: told.0,
            topic_bytes,
            cpu_seconds,
        })
    }

    fn read_services(
        &self,
        told: &mut Told,
        topic_bytes: &GaugeVec,
    ) -> Result<(), prometheus::Error> {
        let Some(services) = self.services.upgrade() else {
            return Ok(());
        };
        let mut by_topic: BTreeMap<String, u64> = BTreeMap::new();
        let (mut partitions, mut segments) = (0, 0);
        for partition in services.partitions.all() {
            *by_topic.entry(partition.topic.clone()).or_default() += partition.reader().size();
            partitions += 1;
            segments += partition.reader().segment_count();
        }
        let bytes: u64 = by_topic.values().sum();
        let mut largest: Vec<(String, u64)> = by_topic.into_iter().collect();
        largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let others: u64 = largest
            .iter()
            .skip(TOPICS_MAX)
            .map(|(_, bytes)| bytes)
            .sum();
        for (topic, bytes) in largest.iter().take(TOPICS_MAX) {
            topic_bytes
                .with_label_values(&[topic.as_str()])
                .set(*bytes as f64);
        }
        if others > 0 {
            topic_bytes.with_label_values(&[OTHERS]).set(others as f64);
        }
        let image = services.quorum.image();
        told.gauge(
            "reka_topics",
            "Topics of the cluster",
            image.topics().len() as f64,
        )?;
        told.gauge("reka_partitions", "Partitions here", f64::from(partitions))?;
        told.gauge(
            "reka_log_segments",
            "Segments of all logs here",
            segments as f64,
        )?;
        told.gauge("reka_log_bytes", "Bytes of all logs here", bytes as f64)?;
        let online = services.log_dirs().out_of_use().is_none();
        told.gauge(
            "reka_log_directory_online",
            "1 while every data directory is in use; 0 once one failed",
            f64::from(u8::from(online)),
        )?;
        let (sessions, remembered) = services.fetch_sessions.size();
        told.gauge(
            "reka_fetch_sessions",
            "Incremental fetch sessions",
            sessions as f64,
        )?;
        told.gauge(
            "reka_fetch_session_partitions",
            "Partitions that fetch sessions remember",
            remembered as f64,
        )?;
        told.gauge(
            "reka_request_memory_bytes",
            "Memory of requests that are read or not answered yet",
            services.memory.taken() as f64,
        )?;
        let status = services.quorum.status();
        told.gauge(
            "reka_quorum_is_leader",
            "1 where the metadata quorum is led from here",
            f64::from(u8::from(status.is_leader)),
        )?;
        told.gauge(
            "reka_quorum_epoch",
            "The epoch of the metadata quorum",
            status.epoch as f64,
        )?;
        told.gauge(
            "reka_quorum_voters",
            "Voters of the metadata quorum",
            status.voters.len() as f64,
        )?;
        let index = |index: Option<u64>| index.map_or(-1.0, |index| index as f64);
        told.gauge(
            "reka_quorum_committed_index",
            "Last change of the metadata that is committed",
            index(status.committed_index),
        )?;
        told.gauge(
            "reka_quorum_applied_index",
            "Last change of the metadata that has effect here",
            index(status.applied_index),
        )
    }
}

struct Told(Vec<Gauge>);

impl Told {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), prometheus::Error> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.0.push(gauge);
        Ok(())
    }
}

impl Collector for State {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self.read() {
            Ok(values) => {
                let gauges = values.gauges.iter().flat_map(Collector::collect);
                gauges
                    .chain(values.topic_bytes.collect())
                    .chain(values.cpu_seconds.collect())
                    .collect()
            }
            Err(error) => {
                tracing::error!("the state of the node cannot be told: {error}");
                Vec::new()
            }
        }
    }
}

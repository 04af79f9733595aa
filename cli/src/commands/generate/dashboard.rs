//! `rkctl generate dashboard`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;

/// As JSON that Grafana imports; it asks for the Prometheus to read.
#[derive(Debug, Args)]
pub(crate) struct Dashboard {
    /// Its title
    #[arg(long, default_value = "Reka", value_name = "TITLE")]
    title: String,
}

/// One picture: its title, the unit of its values as Grafana calls it, and what is drawn.
struct Panel {
    title: &'static str,
    unit: &'static str,
    /// Queries, each with the legend of its lines.
    queries: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        unit,
        queries,
    }
}

/// Every metric is one of `docs/metrics.md`.
const PANELS: &[Panel] = &[
    panel(
        "Bytes in and out",
        "Bps",
        &[
            (
                "sum by (instance) (rate(reka_received_bytes_total[5m]))",
                "in {{instance}}",
            ),
            (
                "sum by (instance) (rate(reka_sent_bytes_total[5m]))",
                "out {{instance}}",
            ),
        ],
    ),
    panel(
        "Requests",
        "reqps",
        &[(
            "sum by (api) (rate(reka_request_seconds_count[5m]))",
            "{{api}}",
        )],
    ),
    panel(
        "Time of requests, 99th percentile",
        "s",
        &[(
            "histogram_quantile(0.99, sum by (le, api) (rate(reka_request_seconds_bucket[5m])))",
            "{{api}}",
        )],
    ),
    panel(
        "Errors in answers",
        "cps",
        &[(
            "sum by (api, error) (rate(reka_errors_total[5m]))",
            "{{api}} {{error}}",
        )],
    ),
    panel(
        "Lag of groups in seconds",
        "s",
        &[("max by (group) (reka_group_lag_seconds)", "{{group}}")],
    ),
    panel(
        "Lag of groups in records",
        "short",
        &[("sum by (group) (reka_group_lag_records)", "{{group}}")],
    ),
    panel(
        "Rebalances",
        "cps",
        &[(
            "sum by (cause) (rate(reka_group_rebalances_total[5m]))",
            "{{cause}}",
        )],
    ),
    panel(
        "Largest topics",
        "bytes",
        &[(
            "topk(10, sum by (topic) (reka_topic_log_bytes))",
            "{{topic}}",
        )],
    ),
    panel("Logs", "bytes", &[("reka_log_bytes", "{{instance}}")]),
    panel(
        "Data directories in use",
        "none",
        &[(
            "min by (instance) (reka_log_directory_online)",
            "{{instance}}",
        )],
    ),
    panel(
        "Syncs of logs, 99th percentile",
        "s",
        &[(
            "histogram_quantile(0.99, sum by (le, instance) (rate(reka_flush_seconds_bucket[5m])))",
            "{{instance}}",
        )],
    ),
    panel(
        "Transactions that ended",
        "cps",
        &[(
            "sum by (result) (rate(reka_transactions_ended_total[5m]))",
            "{{result}}",
        )],
    ),
    panel(
        "Late transactions",
        "none",
        &[(
            "sum by (instance) (reka_late_transaction_partitions)",
            "{{instance}}",
        )],
    ),
    panel(
        "Connections",
        "none",
        &[("reka_connections", "{{instance}}")],
    ),
    panel(
        "Memory",
        "bytes",
        &[("process_resident_memory_bytes", "{{instance}}")],
    ),
    panel(
        "Processors",
        "short",
        &[("rate(process_cpu_seconds_total[5m])", "{{instance}}")],
    ),
];

const WIDTH: usize = 12;
const HEIGHT: usize = 8;
const COLUMNS: usize = 24 / WIDTH;

impl Dashboard {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let text = format!("{:#}\n", self.json());
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    fn json(&self) -> Value {
        let source = json!({"type": "prometheus", "uid": "${source}"});
        let panels = PANELS.iter().enumerate().map(|(nth, panel)| {
            let targets = panel
                .queries
                .iter()
                .zip('A'..)
                .map(|((query, legend), id)| {
                    json!({
                        "refId": id.to_string(),
                        "datasource": source,
                        "expr": query,
                        "legendFormat": legend,
                    })
                });
            json!({
                "id": nth + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": source,
                "gridPos": {
                    "x": nth % COLUMNS * WIDTH,
                    "y": nth / COLUMNS * HEIGHT,
                    "w": WIDTH,
                    "h": HEIGHT,
                },
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": targets.collect::<Vec<Value>>(),
            })
        });
        json!({
            "title": self.title,
            "schemaVersion": 39,
            "tags": ["reka", "kafka"],
            "time": {"from": "now-1h", "to": "now"},
            "refresh": "30s",
            "templating": {"list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
            ]},
            "panels": panels.collect::<Vec<Value>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const METRICS: &str = include_str!("../../../../docs/metrics.md");

    /// Words of a query that name a metric.
    fn metrics(query: &str) -> BTreeSet<&str> {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = |word: &&str| word.starts_with("reka_") || word.starts_with("process_");
        words.filter(ours).collect()
    }

    /// A metric that is renamed would leave a picture empty, and nobody would be told.
    #[test]
    fn every_query_is_about_metrics_there_are_and_labels_they_have() {
        let row = |name: &str| {
            let plain = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            let start = format!("| `{plain}` |");
            METRICS.lines().find(|line| line.starts_with(&start))
        };
        for panel in PANELS {
            for (query, legend) in panel.queries {
                let used = metrics(query);
                assert_eq!(used.len(), 1, "{query}");
                for name in used {
                    let row = row(name).unwrap_or_else(|| panic!("{name} is no metric"));
                    let kind = row.split('|').nth(2).unwrap_or_default().trim();
                    let is_rate = query.contains("rate(");
                    assert_eq!(is_rate, kind != "gauge", "{query}: {kind}");
                    let labels = row.split('|').nth(3).unwrap_or_default();
                    let asked = query
                        .split("by (")
                        .nth(1)
                        .and_then(|rest| rest.split(')').next());
                    for label in asked
                        .unwrap_or_default()
                        .split(", ")
                        .filter(|l| !l.is_empty())
                    {
                        // These are not the broker's: of Prometheus, and of every histogram.
                        let given = ["instance", "le"].contains(&label);
                        assert!(given || labels.contains(label), "{query}: {label}");
                    }
                    let shown = legend
                        .split("{{")
                        .skip(1)
                        .filter_map(|rest| rest.split("}}").next());
                    for label in shown {
                        let kept = asked.is_none_or(|asked| asked.contains(label));
                        assert!(kept, "{query} has no {label} left");
                    }
                }
            }
        }
    }

    #[test]
    fn panels_lie_beside_each_other_and_have_ids_of_their_own() {
        let title = "T".to_owned();
        let json = Dashboard { title }.json();
        let panels = json["panels"].as_array().expect("panels");
        let places: BTreeSet<String> = panels.iter().map(|p| p["gridPos"].to_string()).collect();
        let ids: BTreeSet<String> = panels.iter().map(|p| p["id"].to_string()).collect();
        assert_eq!((places.len(), ids.len()), (PANELS.len(), PANELS.len()));
    }
}

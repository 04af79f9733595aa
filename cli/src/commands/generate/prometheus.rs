//! `rkctl generate prometheus`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::session::Session;
use crate::yaml;

/// The cluster is asked for its brokers; where their metrics are it does not know.
#[derive(Debug, Args)]
pub(crate) struct Prometheus {
    /// The port of every broker's metrics: that of reka.http.listener
    #[arg(long, default_value_t = 9644, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// How often to read them
    #[arg(long, default_value = "15s", value_name = "TIME")]
    interval: String,
}

impl Prometheus {
    pub(super) async fn run(&self, session: &Session) -> Result<(), Failure> {
        crate::command_line::duration(&self.interval).map_err(Failure::usage)?;
        let cluster = session.client().await?.describe_cluster().await?;
        let mut hosts: Vec<&str> = cluster.brokers.iter().map(|b| b.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let target = |host: &&str| match host.contains(':') {
            true => format!("[{host}]:{}", self.port),
            false => format!("{host}:{}", self.port),
        };
        let targets: Vec<String> = hosts.iter().map(target).collect();
        let config = json!({
            "scrape_configs": [{
                "job_name": "reka",
                "scrape_interval": self.interval,
                "static_configs": [{"targets": targets, "labels": {"cluster": cluster.id}}],
            }],
        });
        std::io::stdout().write_all(yaml::write(&config).as_bytes())?;
        Ok(())
    }
}

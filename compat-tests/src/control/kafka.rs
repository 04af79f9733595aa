//! One Apache Kafka broker, controller in the same process, on free ports; others beside it where a cluster is
//! wanted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::java::Java;
use crate::control::probe;
use crate::error::{Error, Result};
use crate::files;
use crate::ports;
use crate::process::Process;
use crate::wait;

/// What its directories are formatted for.
pub const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const FORMAT_TIME_MAX: Duration = Duration::from_secs(60);
/// With ten thousand partitions to recover it takes minutes.
const START_TIME_MAX: Duration = Duration::from_secs(300);
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub struct Kafka {
    process: Process,
    address: SocketAddr,
    log_dir: PathBuf,
    /// Of a cluster those beside the first, which is also the controller.
    others: Vec<Process>,
}

impl Kafka {
    /// Starts a broker whose files are all below `home`, with `extra` lines of configuration,
    /// and waits until it serves. A `home` used before is a restart.
    pub fn start(java: &Java, home: &Path, extra: &[&str]) -> Result<Self> {
        Self::start_with_features(java, home, extra, &[])
    }

    /// The same with `brokers` of them, where what Apache Kafka keeps for itself has up to three replicas.
    pub fn start_cluster(java: &Java, home: &Path, extra: &[&str], brokers: u16) -> Result<Self> {
        let replicas = brokers.min(3);
        let replicated = [
            format!("offsets.topic.replication.factor={replicas}"),
            format!("transaction.state.log.replication.factor={replicas}"),
            format!("share.coordinator.state.topic.replication.factor={replicas}"),
        ];
        let replicated = replicated.iter().map(String::as_str);
        let extra: Vec<&str> = replicated.chain(extra.iter().copied()).collect();
        let [client, controller] = ports::free().map_err(Error::io("find free ports"))?;
        let mut first = Self::start_on(java, home, &extra, &[], &[], [client, controller])?;
        for id in 2..=brokers {
            let home = home.join(format!("broker-{id}"));
            let [port] = ports::free().map_err(Error::io("find a free port"))?;
            let text = of_a_member(&properties(&home, port, controller, &extra, &[]), id);
            let member = run(java, &home, &text, &[])?;
            first.others.push(member);
        }
        let (address, others) = (first.address, &mut first.others);
        let step = format!("wait for {brokers} brokers of Apache Kafka");
        wait::until(&step, START_TIME_MAX, || {
            for member in others.iter_mut() {
                member.expect_running()?;
            }
            let all = probe::brokers(address).is_ok_and(|found| found == u32::from(brokers));
            Ok(all.then_some(()))
        })?;
        Ok(first)
    }

    /// The same where clients are told beforehand.
    pub fn start_at(java: &Java, home: &Path, extra: &[&str], client: SocketAddr) -> Result<Self> {
        let [controller] = ports::free().map_err(Error::io("find a free port"))?;
        Self::start_on(java, home, extra, &[], &[], [client.port(), controller])
    }

    /// The same with levels of features other than the newest: `name=level`.
    pub fn start_with_features(
        java: &Java,
        home: &Path,
        extra: &[&str],
        features: &[&str],
    ) -> Result<Self> {
        let options: Vec<&str> = features.iter().flat_map(|f| ["--feature", f]).collect();
        Self::start_formatted(java, home, extra, &[], &options)
    }

    /// The same with more listeners, and with users of SCRAM: `MECHANISM=[name=...,password=...]`.
    pub fn start_with_listeners(
        java: &Java,
        home: &Path,
        extra: &[&str],
        listeners: &[Listener],
        users: &[String],
    ) -> Result<Self> {
        let options: Vec<&str> = users
            .iter()
            .flat_map(|user| ["--add-scram", user.as_str()])
            .collect();
        Self::start_formatted(java, home, extra, listeners, &options)
    }

    fn start_formatted(
        java: &Java,
        home: &Path,
        extra: &[&str],
        listeners: &[Listener],
        options: &[&str],
    ) -> Result<Self> {
        let ports = ports::free().map_err(Error::io("find free ports"))?;
        Self::start_on(java, home, extra, listeners, options, ports)
    }

    fn start_on(
        java: &Java,
        home: &Path,
        extra: &[&str],
        listeners: &[Listener],
        options: &[&str],
        [client, controller]: [u16; 2],
    ) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client));
        ports::expect_free(address, "start Apache Kafka")?;
        let text = properties(home, client, controller, extra, listeners);
        let mut process = run(java, home, &text, options)?;
        let step = format!("wait for Apache Kafka, log {}", process.log().display());
        wait::until(&step, START_TIME_MAX, || {
            process.expect_running()?;
            // Refused and cut-off connections are what a starting broker looks like.
            Ok(matches!(probe::brokers(address), Ok(1..)).then_some(()))
        })?;
        Ok(Self {
            process,
            address,
            log_dir: home.join("data"),
            others: Vec::new(),
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its partitions are.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(self) -> Result<()> {
        // They hand over what they lead, for which they need the controller.
        for member in self.others {
            member.terminate(STOP_TIME_MAX)?;
        }
        // The JVM turns SIGTERM into exit status 143 after its shutdown hooks, so the status says
        // nothing; the marker it leaves last does.
        self.process.terminate(STOP_TIME_MAX)?;
        if self.log_dir.join(".kafka_cleanshutdown").exists() {
            Ok(())
        } else {
            Err(Error::refused(
                "stop Apache Kafka",
                "it left no .kafka_cleanshutdown",
            ))
        }
    }

    /// `kill -9`.
    pub fn kill(self) -> Result<()> {
        for member in self.others {
            member.kill(STOP_TIME_MAX)?;
        }
        self.process.kill(STOP_TIME_MAX)
    }
}

/// Starts a process with what is below `home`, which is formatted where it is new.
pub(crate) fn run(java: &Java, home: &Path, properties: &str, options: &[&str]) -> Result<Process> {
    files::make_dir(home)?;
    let config = home.join("server.properties");
    files::write(&config, properties)?;
    if !home.join("data/meta.properties").exists() {
        let config = config.display().to_string();
        let mut format = vec!["format", "-t", CLUSTER_ID, "-c", &config];
        format.extend(options);
        let main = "kafka.tools.StorageTool";
        java.run("format", main, format, home, FORMAT_TIME_MAX)?;
    }
    let log = next_log(home);
    let mut command = java.command("kafka.Kafka", "INFO");
    command.arg(&config);
    Process::start("run Apache Kafka", &mut command, &log, &log)
}

/// A listener beside those of every broker.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    name: &'static str,
    protocol: &'static str,
    port: u16,
}

impl Listener {
    /// One that speaks `protocol`.
    #[must_use]
    pub fn new(name: &'static str, protocol: &'static str, port: u16) -> Self {
        Self {
            name,
            protocol,
            port,
        }
    }
}

fn properties(
    home: &Path,
    client: u16,
    controller: u16,
    extra: &[&str],
    listeners: &[Listener],
) -> String {
    let home = home.display();
    let more: String = listeners
        .iter()
        .map(|Listener { name, port, .. }| format!(",{name}://127.0.0.1:{port}"))
        .collect();
    let protocols: String = listeners
        .iter()
        .map(|Listener { name, protocol, .. }| format!(",{name}:{protocol}"))
        .collect();
    // The metadata log has a folder of its own, so that the log directory holds topics only.
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}{more}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}{more}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
log.dirs={home}/data
metadata.log.dir={home}/metadata
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
"
    );
    for line in extra {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The same for a broker that joins the controller in another process.
fn of_a_member(properties: &str, id: u16) -> String {
    let lines = properties.lines().map(|line| match line.split_once('=') {
        Some(("process.roles", _)) => "process.roles=broker".to_owned(),
        Some(("node.id", _)) => format!("node.id={id}"),
        Some((listeners @ "listeners", all)) => {
            let own = all
                .split(',')
                .filter(|one| !one.starts_with("CONTROLLER://"));
            format!("{listeners}={}", own.collect::<Vec<_>>().join(","))
        }
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

/// One log per life: a restart must not overwrite what the life before it said.
fn next_log(home: &Path) -> PathBuf {
    (1..)
        .map(|life| home.join(format!("broker-{life}.log")))
        .find(|log| !log.exists())
        .unwrap_or_else(|| home.join("broker.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_cluster_is_no_controller_and_knows_where_that_is() {
        let alone = properties(Path::new("/home"), 1001, 1002, &["num.partitions=3"], &[]);
        let member = of_a_member(&alone, 2);
        for line in [
            "process.roles=broker",
            "node.id=2",
            "listeners=PLAINTEXT://127.0.0.1:1001",
            "advertised.listeners=PLAINTEXT://127.0.0.1:1001",
            "controller.quorum.voters=1@127.0.0.1:1002",
            "controller.listener.names=CONTROLLER",
            "num.partitions=3",
        ] {
            let found = member.lines().any(|found| found == line);
            assert!(found, "no line {line:?} in {member}");
        }
    }
}

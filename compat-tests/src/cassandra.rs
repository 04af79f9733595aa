//! Apache Cassandra as a process: one node out of the jars of `clients/cassandra/pom.xml`, on free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::clients::prepare;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::ports;
use crate::process::Process;
use crate::wait;

const START_TIME_MAX: Duration = Duration::from_secs(180);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

/// What its scripts open of the modules of Java 17.
const EXPORTS: [&str; 12] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/java.lang.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.attach/sun.tools.attach",
];
const OPENS: [&str; 15] = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang.reflect",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.nio",
    "jdk.management/com.sun.management.internal",
    "jdk.compiler/com.sun.tools.javac",
];
const FLAGS: [&str; 12] = [
    "-Xms512m",
    "-Xmx512m",
    "-Xmn128m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dcassandra-foreground=yes",
];
/// Nothing to wait for, as it is alone.
const ALONE: [&str; 3] = [
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
];
const LOGGING: &str = r#"<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="STDOUT"/></root>
</configuration>
"#;

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Cassandra {
    process: Process,
    port: u16,
}

impl Cassandra {
    /// Starts a node whose files are all below `home`, and waits until it answers.
    pub fn start(ctx: &Context, home: &Path) -> Result<Self> {
        let pom = ctx.client_sources("cassandra").join("pom.xml");
        let jars = prepare::maven(ctx, "cassandra", &pom)?;
        let [port, storage, jmx] = ports::free().map_err(Error::io("find free ports"))?;
        let temporary = home.join("tmp");
        files::make_dir(&temporary)?;
        let config = home.join("cassandra.yaml");
        files::write(&config, settings(home, port, storage))?;
        let logging = home.join("logback.xml");
        files::write(&logging, LOGGING)?;
        let mut command = Command::new("java");
        for options in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"] {
            command.env_remove(options);
        }
        // It measures what its memtables hold with an agent.
        let agent = files::list(&jars)?
            .into_iter()
            .find(|jar| files::name_of(jar).starts_with("jamm-"));
        let agent = agent.ok_or_else(|| {
            let finding = "no jamm-*.jar among its jars; remove the folder to fetch them again";
            Error::refused(format!("look into {}", jars.display()), finding)
        })?;
        command.arg(format!("-javaagent:{}", agent.display()));
        command.args(FLAGS).args(ALONE);
        for (option, modules) in [("--add-exports", &EXPORTS[..]), ("--add-opens", &OPENS[..])] {
            for module in modules {
                command.args([option, &format!("{module}=ALL-UNNAMED")]);
            }
        }
        let (home, temporary) = (home.display(), temporary.display());
        command
            .arg(format!("-Djava.io.tmpdir={temporary}"))
            .arg(format!("-Djna.tmpdir={temporary}"))
            .arg(format!("-Dcassandra.config=file://{}", config.display()))
            .arg(format!("-Dcassandra.storagedir={home}"))
            .arg(format!("-Dcassandra.logdir={home}"))
            .arg(format!("-Dlogback.configurationFile={}", logging.display()))
            .arg(format!("-Dcassandra.jmx.local.port={jmx}"))
            .args(["-cp", &format!("{}/*", jars.display())])
            .arg("org.apache.cassandra.service.CassandraDaemon");
        let log = config.with_file_name("cassandra.log");
        let mut process = Process::start("run Cassandra", &mut command, &log, &log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let step = format!("wait for Cassandra, log {}", log.display());
        wait::until(&step, START_TIME_MAX, || {
            process.expect_running()?;
            let connected = TcpStream::connect_timeout(&address, CONNECT_TIME_MAX);
            Ok(connected.ok().map(drop))
        })?;
        Ok(Self { process, port })
    }

    /// Where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`: nobody reads what it has any more.
    pub fn kill(self) -> Result<()> {
        self.process.kill(STOP_TIME_MAX)
    }
}

fn settings(home: &Path, port: u16, storage: u16) -> String {
    let home = home.display();
    format!(
        "cluster_name: reka
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: \"127.0.0.1:{storage}\"
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage}
native_transport_port: {port}
start_native_transport: true
commitlog_sync: periodic
commitlog_sync_period: 10000ms
commitlog_segment_size: 8MiB
commitlog_total_space: 256MiB
data_file_directories: [\"{home}/data\"]
commitlog_directory: {home}/commitlog
saved_caches_directory: {home}/saved_caches
hints_directory: {home}/hints
cdc_raw_directory: {home}/cdc_raw
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
key_cache_size: 4MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
concurrent_compactors: 1
auto_snapshot: false
storage_compatibility_mode: NONE
"
    )
}

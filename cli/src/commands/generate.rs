//! `rkctl generate`.

mod dashboard;
mod prometheus;

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Settings with which a program of this kind reads from and writes to this very cluster
    Client(Client),
    /// Completion for a shell
    Completion(Completion),
    /// A dashboard of Grafana over the metrics of Reka's brokers
    Dashboard(dashboard::Dashboard),
    /// A configuration by which Prometheus reads the metrics of Reka's brokers
    Prometheus(prometheus::Prometheus),
}

/// Names of topics, groups and profiles are completed by asking. For bash, put
/// `source <(rkctl generate completion bash)` into ~/.bashrc; for zsh the same into ~/.zshrc; for fish
/// write it to ~/.config/fish/completions/rkctl.fish.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    fn run(&self) -> Result<(), Failure> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        let mut script = Vec::new();
        shell.write_registration("COMPLETE", "rkctl", "rkctl", "rkctl", &mut script)?;
        std::io::stdout().write_all(&script)?;
        Ok(())
    }
}

/// The cluster is asked: the addresses are those its brokers tell clients, and what they do not speak
/// is left out.
#[derive(Debug, Args)]
pub(crate) struct Client {
    /// For whom
    #[arg(value_enum)]
    kind: Kind,
    /// The topic that is read or written, where it is named in the settings
    #[arg(long, default_value = "my-topic")]
    topic: String,
    /// The group that reads
    #[arg(long, default_value = "my-group")]
    group: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A properties file of Java's clients, of Kafka Streams and Connect
    Java,
    /// A file of librdkafka, as kcat reads it
    Librdkafka,
    /// Python with confluent-kafka
    Python,
    /// Go with franz-go
    Go,
    /// Spark's structured streaming
    Spark,
    /// Flink's SQL
    Flink,
}

impl Command {
    pub(crate) fn needs_no_cluster(&self) -> bool {
        matches!(self, Command::Completion(_) | Command::Dashboard(_))
    }

    pub(crate) fn run_alone(&self) -> Result<(), Failure> {
        match self {
            Command::Completion(completion) => completion.run(),
            Command::Dashboard(dashboard) => dashboard.run(),
            Command::Client(_) | Command::Prometheus(_) => Ok(()),
        }
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Client(client) => client.run(session).await,
            Command::Prometheus(prometheus) => prometheus.run(session).await,
            Command::Completion(_) | Command::Dashboard(_) => self.run_alone(),
        }
    }
}

/// What the settings are made of.
struct Facts {
    servers: String,
    topic: String,
    group: String,
    /// Whether groups speak KIP-848's protocol.
    newest_groups: bool,
}

impl Client {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let brokers = client.brokers().await?;
        let servers: Vec<String> = brokers.iter().map(|b| b.address.to_string()).collect();
        let features = client.features().await?;
        let level = |name: &str| {
            let found = features.iter().find(|feature| feature.name == name);
            found.map_or(0, |feature| feature.finalized)
        };
        let facts = Facts {
            servers: servers.join(","),
            topic: self.topic.clone(),
            group: self.group.clone(),
            newest_groups: level("group.version") >= 1,
        };
        std::io::stdout().write_all(settings(self.kind, &facts).as_bytes())?;
        Ok(())
    }
}

fn settings(kind: Kind, facts: &Facts) -> String {
    let Facts {
        servers,
        topic,
        group,
        newest_groups,
    } = facts;
    match kind {
        Kind::Java => {
            let mut text = format!(
                "bootstrap.servers={servers}\n\
                 acks=all\n\
                 enable.idempotence=true\n\
                 compression.type=zstd\n\
                 linger.ms=5\n\
                 group.id={group}\n\
                 auto.offset.reset=earliest\n\
                 isolation.level=read_committed\n"
            );
            if *newest_groups {
                text += "group.protocol=consumer\n";
            }
            text
        }
        Kind::Librdkafka => format!(
            "bootstrap.servers={servers}\n\
             acks=all\n\
             enable.idempotence=true\n\
             compression.type=zstd\n\
             group.id={group}\n\
             auto.offset.reset=earliest\n\
             isolation.level=read_committed\n"
        ),
        Kind::Python => format!(
            "from confluent_kafka import Consumer, Producer\n\
             \n\
             producer = Producer({{\n    \"bootstrap.servers\": \"{servers}\",\n    \
             \"enable.idempotence\": True,\n    \"compression.type\": \"zstd\",\n}})\n\
             consumer = Consumer({{\n    \"bootstrap.servers\": \"{servers}\",\n    \
             \"group.id\": \"{group}\",\n    \"auto.offset.reset\": \"earliest\",\n}})\n\
             consumer.subscribe([\"{topic}\"])\n"
        ),
        Kind::Go => {
            let seeds: Vec<String> = servers.split(',').map(|s| format!("{s:?}")).collect();
            format!(
                "client, err := kgo.NewClient(\n\
                 \tkgo.SeedBrokers({}),\n\
                 \tkgo.ConsumerGroup({group:?}),\n\
                 \tkgo.ConsumeTopics({topic:?}),\n\
                 \tkgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),\n\
                 \tkgo.FetchIsolationLevel(kgo.ReadCommitted()),\n\
                 )\n",
                seeds.join(", ")
            )
        }
        Kind::Spark => format!(
            "df = (spark.readStream.format(\"kafka\")\n    \
             .option(\"kafka.bootstrap.servers\", \"{servers}\")\n    \
             .option(\"subscribe\", \"{topic}\")\n    \
             .option(\"startingOffsets\", \"earliest\")\n    \
             .option(\"kafka.isolation.level\", \"read_committed\")\n    .load())\n"
        ),
        Kind::Flink => format!(
            "CREATE TABLE records (\n  `key` STRING,\n  `value` STRING\n) WITH (\n  \
             'connector' = 'kafka',\n  'topic' = '{topic}',\n  \
             'properties.bootstrap.servers' = '{servers}',\n  \
             'properties.group.id' = '{group}',\n  \
             'scan.startup.mode' = 'earliest-offset',\n  \
             'properties.isolation.level' = 'read_committed',\n  \
             'key.format' = 'raw',\n  'key.fields' = 'key',\n  \
             'value.format' = 'raw',\n  'value.fields-include' = 'EXCEPT_KEY',\n  \
             'sink.delivery-guarantee' = 'at-least-once'\n);\n"
        ),
    }
}

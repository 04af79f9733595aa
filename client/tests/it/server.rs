//! A broker to test against. Each test has its own `reka` process, built by cargo, on a port of its
//! own; with `REKA_TEST_BOOTSTRAP` set all of them use the broker there, such as Apache Kafka. So
//! tests name their topics and groups differently and leave alone what they did not make.

// Not every crate that includes this file uses all of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use reka_client::admin::{Isolation, NewTopic, OffsetSpec};
use reka_client::{Client, ClientError, Target, TopicPartition};
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::{MetadataRequest, TopicName};

/// A running broker, stopped when it is dropped.
pub(crate) struct Server {
    address: String,
    process: Option<Child>,
    home: tempfile::TempDir,
}

/// Whether tests run against a broker that is not ours.
pub(crate) fn is_foreign() -> bool {
    std::env::var_os("REKA_TEST_BOOTSTRAP").is_some()
}

impl Server {
    /// A broker with nothing in it, or the one that is there.
    pub(crate) fn start() -> Server {
        match std::env::var("REKA_TEST_BOOTSTRAP") {
            Ok(address) => Server {
                address,
                process: None,
                home: tempfile::tempdir().expect("a folder"),
            },
            Err(_) => Server::start_ours("127.0.0.1:0"),
        }
    }

    /// A broker of ours, whatever the others use: for tests that stop it.
    pub(crate) fn start_ours(listen: &str) -> Server {
        let home = tempfile::tempdir().expect("a folder");
        let (process, address) = run(home.path(), listen, &[]);
        Server {
            address,
            process: Some(process),
            home,
        }
    }

    /// A broker of ours that tells clients to come to another address: to a proxy.
    pub(crate) fn start_ours_as(advertised: &str) -> Server {
        let home = tempfile::tempdir().expect("a folder");
        let told = format!("advertised.listeners=PLAINTEXT://{advertised}");
        let (process, address) = run(home.path(), "127.0.0.1:0", &["--override", &told]);
        Server {
            address,
            process: Some(process),
            home,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A folder of its own.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `kill -9`, and a new start with the same data at the same address.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        let (process, _) = run(self.home.path(), &self.address, &[]);
        self.process = Some(process);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a condition holds: Apache Kafka's brokers learn of what was changed a moment after
/// the change is acknowledged.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let began = std::time::Instant::now();
    while !condition().await {
        assert!(began.elapsed().as_secs() < 60, "not within 60 s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Creates topics and waits until they can be used: every broker shows them with all their partitions,
/// and every leader answers about its own. Apache Kafka acknowledges before that.
pub(crate) async fn create(client: &Client, new: &[NewTopic]) {
    for (name, created) in client.create_topics(new, false).await.expect("answers") {
        created.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    }
    for topic in new {
        usable(client, &topic.name).await;
    }
}

/// Waits until every broker shows a topic, the same way, and every leader answers about its partitions.
pub(crate) async fn usable(client: &Client, name: &str) {
    eventually(&format!("topic {name} can be used"), async || {
        is_usable(client, name).await.unwrap_or(false)
    })
    .await;
}

async fn is_usable(client: &Client, name: &str) -> Result<bool, ClientError> {
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(name.to_owned().into())));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    let mut shown = Vec::new();
    for broker in client.brokers().await? {
        let to = Target::Broker(broker.id);
        let answer = client.ask(to, 4..=i16::MAX, |_| request.clone()).await?;
        shown.push(answer.topics);
    }
    let Some([topic]) = shown.first().map(Vec::as_slice) else {
        return Ok(false);
    };
    if topic.error_code != 0 || shown.iter().any(|other| *other != shown[0]) {
        return Ok(false);
    }
    client.forget_topic(name);
    let partitions = topic.partitions.iter();
    let ends: Vec<(TopicPartition, OffsetSpec)> = partitions
        .map(|p| {
            let at = TopicPartition::new(name, p.partition_index);
            (at, OffsetSpec::Latest)
        })
        .collect();
    let ends = client.list_offsets(&ends, Isolation::default()).await?;
    Ok(!ends.is_empty() && ends.iter().all(|(_, end)| end.is_ok()))
}

/// Starts the server and reads from its banner where it listens.
fn run(home: &Path, listen: &str, more: &[&str]) -> (Child, String) {
    let log = std::fs::File::create(home.join("reka.log")).expect("a log file");
    let mut process = Command::new(built())
        .args(["--override", "reka.http.listener=127.0.0.1:0"])
        .args(["--override", &format!("listeners=PLAINTEXT://{listen}")])
        .args(["--override", "group.initial.rebalance.delay.ms=0"])
        .args(["--override", "offsets.topic.num.partitions=4"])
        .args(["--override", "transaction.state.log.num.partitions=4"])
        .args(more)
        .arg("--override")
        .arg(format!("log.dirs={}", home.join("data").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("a server that starts");
    let banner = BufReader::new(process.stdout.take().expect("its standard output"));
    let address = banner.lines().map_while(Result::ok).find_map(|line| {
        let address = line.trim().strip_prefix("kafka")?.trim();
        address.split_whitespace().next().map(str::to_owned)
    });
    let Some(address) = address else {
        let log = std::fs::read_to_string(home.join("reka.log")).unwrap_or_default();
        let _ = process.kill();
        let _ = process.wait();
        panic!("the server said no address before it ended: {log}");
    };
    (process, address)
}

/// The server's executable, beside the tests'. Cargo builds it for no test but those of its own
/// crate, so it is asked to.
pub(crate) fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let status = Command::new(cargo)
            .current_dir(&root)
            .args(["build", "--locked", "--quiet", "--package", "reka"])
            .status()
            .expect("cargo");
        assert!(status.success(), "cargo build --package reka: {status}");
        let test = std::env::current_exe().expect("the test's path");
        // target/debug/deps/it-1234 -> target/debug/reka
        let profile = test.parent().and_then(Path::parent).expect("a folder");
        profile.join("reka")
    })
}

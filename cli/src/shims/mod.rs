//! Apache Kafka's shell tools by their own names: called as `kafka-topics.sh`, this takes the same
//! options and prints the same, without a JVM. `rkctl shims DIR` makes the links.
//!
//! What differs: there are no stack traces and log lines of Java behind error messages and no list of
//! all options behind a wrong one; what brokers say about an error is told without Kafka's final stop;
//! where the tools print in the order of a hash map, this sorts. An option that is not known here is
//! refused as one that does not exist.

mod api_versions;
mod arguments;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod delete_records;
mod get_offsets;
mod json;
mod leader_election;
mod log_dirs;
mod metadata_quorum;
mod reassign_partitions;
mod topics;
mod transactions;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use arguments::Arguments;
use reka_client::{Client, ClientConfig, ClientError};
use reka_protocol::ErrorCode;

use crate::properties;

/// A tool: its name without `.sh`, and what it does.
struct Shim {
    name: &'static str,
    options: &'static [arguments::Known],
    commands: &'static [&'static str],
    /// Where it tells what went wrong, and what it says before that.
    failure: Told,
    run: Run,
}

enum Told {
    Out(&'static str),
    Err(&'static str),
    /// What went wrong is behind the command line, among what only Java tells.
    CommandLine,
    /// On standard output, and the tool ends as if nothing had gone wrong.
    OutAndDone(&'static str),
}

#[derive(Clone, Copy)]
enum Run {
    ApiVersions,
    Configs,
    ConsoleConsumer,
    ConsoleProducer,
    ConsumerGroups,
    DeleteRecords,
    GetOffsets,
    LeaderElection,
    LogDirs,
    MetadataQuorum,
    ReassignPartitions,
    Topics,
    Transactions,
}

const fn shim(
    name: &'static str,
    options: &'static [arguments::Known],
    failure: Told,
    run: Run,
) -> Shim {
    Shim {
        name,
        options,
        commands: &[],
        failure,
        run,
    }
}

const SHIMS: &[Shim] = &[
    shim(
        "kafka-broker-api-versions",
        api_versions::OPTIONS,
        Told::Err(""),
        Run::ApiVersions,
    ),
    shim(
        "kafka-configs",
        configs::OPTIONS,
        Told::CommandLine,
        Run::Configs,
    ),
    shim(
        "kafka-console-consumer",
        console_consumer::OPTIONS,
        Told::Err(""),
        Run::ConsoleConsumer,
    ),
    shim(
        "kafka-console-producer",
        console_producer::OPTIONS,
        Told::Err(""),
        Run::ConsoleProducer,
    ),
    shim(
        "kafka-consumer-groups",
        consumer_groups::OPTIONS,
        Told::OutAndDone("\nError: Executing consumer group command failed due to "),
        Run::ConsumerGroups,
    ),
    shim(
        "kafka-delete-records",
        delete_records::OPTIONS,
        Told::Err(""),
        Run::DeleteRecords,
    ),
    shim(
        "kafka-get-offsets",
        get_offsets::OPTIONS,
        Told::Err("Error occurred: "),
        Run::GetOffsets,
    ),
    shim(
        "kafka-leader-election",
        leader_election::OPTIONS,
        Told::Err(""),
        Run::LeaderElection,
    ),
    shim(
        "kafka-log-dirs",
        log_dirs::OPTIONS,
        Told::Err(""),
        Run::LogDirs,
    ),
    Shim {
        name: "kafka-metadata-quorum",
        options: metadata_quorum::OPTIONS,
        commands: metadata_quorum::COMMANDS,
        failure: Told::Err(""),
        run: Run::MetadataQuorum,
    },
    shim(
        "kafka-reassign-partitions",
        reassign_partitions::OPTIONS,
        Told::Err("Error: "),
        Run::ReassignPartitions,
    ),
    shim(
        "kafka-topics",
        topics::OPTIONS,
        Told::Out("Error while executing topic command : "),
        Run::Topics,
    ),
    Shim {
        name: "kafka-transactions",
        options: transactions::OPTIONS,
        commands: transactions::COMMANDS,
        failure: Told::Err(""),
        run: Run::Transactions,
    },
];

/// The names links are made for.
pub(crate) fn names() -> impl Iterator<Item = String> {
    SHIMS.iter().map(|shim| format!("{}.sh", shim.name))
}

/// What went wrong.
pub(crate) enum Wrong {
    /// With the options: told on standard error.
    Usage(String),
    /// Told where the tool tells it.
    Failed(String),
    /// Whoever reads has seen enough.
    Quiet,
}

impl From<std::io::Error> for Wrong {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Wrong::Quiet,
            _ => Wrong::Failed(error.to_string()),
        }
    }
}

impl From<ClientError> for Wrong {
    fn from(error: ClientError) -> Self {
        match error.refusal() {
            Some(refusal) => refusal.clone().into(),
            None => Wrong::Failed(error.to_string()),
        }
    }
}

impl From<reka_client::Refusal> for Wrong {
    fn from(refusal: reka_client::Refusal) -> Self {
        // The tools tell the message alone, where there is one.
        Wrong::Failed(match refusal.message {
            Some(message) => message,
            None => refusal.to_string(),
        })
    }
}

/// Runs a tool if that is what this was called as.
pub(crate) fn run() -> Option<ExitCode> {
    let mut args = std::env::args();
    let called = args.next()?;
    let called = Path::new(&called).file_name()?.to_str()?;
    let name = called.strip_suffix(".sh").unwrap_or(called);
    let shim = SHIMS.iter().find(|shim| shim.name == name)?;
    let arguments = Arguments::parse(args, shim.options, shim.commands);
    let (ran, line) = match arguments {
        Ok(arguments) => (start(shim, &arguments), arguments.line()),
        Err(wrong) => (Err(wrong), String::new()),
    };
    Some(match ran {
        Ok(()) | Err(Wrong::Quiet) => ExitCode::SUCCESS,
        Err(Wrong::Usage(text)) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
        Err(Wrong::Failed(text)) => {
            let (out, err) = (std::io::stdout(), std::io::stderr());
            let _ = match shim.failure {
                Told::Out(before) | Told::OutAndDone(before) => {
                    writeln!(&out, "{before}{text}")
                }
                Told::Err(before) => writeln!(&err, "{before}{text}"),
                Told::CommandLine => writeln!(
                    &err,
                    "Error while executing config command with args '{line}'\n{text}"
                ),
            };
            match shim.failure {
                Told::OutAndDone(_) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
    })
}

fn start(shim: &Shim, arguments: &Arguments) -> Result<(), Wrong> {
    let server = arguments.required("bootstrap-server")?;
    let bootstrap = server.parse();
    let bootstrap = bootstrap.map_err(|error: ClientError| Wrong::Usage(error.to_string()))?;
    let mut config = ClientConfig::new(bootstrap);
    config.client_id = "rkctl".to_owned();
    config.deadline = Duration::from_secs(60);
    if let Some(path) = arguments.value("command-config") {
        let settings = properties::read(Path::new(path)).map_err(Wrong::Failed)?;
        // What is for others Java's tools tell their log alone.
        let _unused = properties::apply(&settings, &mut config).map_err(Wrong::Failed)?;
    }
    let client = Client::new(config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        client.reach().await?;
        match shim.run {
            Run::ApiVersions => api_versions::run(&client).await,
            Run::Configs => configs::run(&client, arguments).await,
            Run::ConsoleConsumer => console_consumer::run(&client, arguments).await,
            Run::ConsoleProducer => console_producer::run(&client, arguments).await,
            Run::ConsumerGroups => consumer_groups::run(&client, arguments).await,
            Run::DeleteRecords => delete_records::run(&client, arguments).await,
            Run::GetOffsets => get_offsets::run(&client, arguments).await,
            Run::LeaderElection => leader_election::run(&client, arguments).await,
            Run::LogDirs => log_dirs::run(&client, arguments).await,
            Run::MetadataQuorum => metadata_quorum::run(&client, arguments).await,
            Run::ReassignPartitions => reassign_partitions::run(&client, arguments).await,
            Run::Topics => topics::run(&client, arguments).await,
            Run::Transactions => transactions::run(&client, arguments).await,
        }
    })
}

/// A refusal as Java's exceptions say it: the class, and what the broker said.
pub(crate) fn exception(refusal: &reka_client::Refusal) -> String {
    let text = match &refusal.message {
        Some(message) => message.clone(),
        None => java_message(refusal),
    };
    format!("{}: {text}", exception_class(refusal))
}

/// What Java's clients say where the broker has said nothing.
pub(crate) fn java_message(refusal: &reka_client::Refusal) -> String {
    match refusal.error() {
        Some(ErrorCode::GroupIdNotFound) => "The group id does not exist.".to_owned(),
        Some(ErrorCode::UnknownTopicOrPartition) => {
            "This server does not host this topic-partition.".to_owned()
        }
        Some(ErrorCode::OffsetOutOfRange) => {
            "The requested offset is not within the range of offsets maintained by the server."
                .to_owned()
        }
        Some(ErrorCode::NonEmptyGroup) => "The group is not empty.".to_owned(),
        _ => refusal.to_string(),
    }
}

/// The class of Java's clients for an error: `UNKNOWN_TOPIC_ID` is `UnknownTopicIdException`.
pub(crate) fn exception_class(refusal: &reka_client::Refusal) -> String {
    let name = match refusal.error() {
        Some(ErrorCode::NonEmptyGroup) => "GroupNotEmpty".to_owned(),
        Some(error) => error
            .name()
            .split('_')
            .filter(|word| *word != "EXCEPTION")
            .map(|word| word[..1].to_owned() + &word[1..].to_lowercase())
            .collect(),
        None => "UnknownServer".to_owned(),
    };
    format!("org.apache.kafka.common.errors.{name}Exception")
}

/// Text in a column: filled up with spaces, and longer where it has to be.
pub(crate) fn column(text: impl ToString, width: usize) -> String {
    let text = text.to_string();
    format!("{text:width$}")
}

/// A list of patterns as the tools take it: commas stand for "or", and the whole name has to match.
pub(crate) fn pattern(text: &str) -> Result<regex::Regex, Wrong> {
    let list = text.trim().replace(',', "|");
    let list = list.trim_matches(['"', '\'']);
    regex::Regex::new(&format!("^(?:{list})$"))
        .map_err(|_| Wrong::Failed(format!("{text} is an invalid regex.")))
}

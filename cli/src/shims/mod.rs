//! Apache Kafka's shell tools by their own names: called as `kafka-topics.sh`, this takes the same
//! options and prints the same, without a JVM. `rkctl shims DIR` makes the links.
//!
//! What differs: there are no stack traces behind error messages and no list of all options behind a
//! wrong one; what brokers say about an error is told without Kafka's final stop.

mod arguments;
mod get_offsets;
mod topics;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use arguments::Arguments;
use reka_client::{Client, ClientConfig, ClientError};

/// A tool: its name without `.sh`, and what it does.
struct Shim {
    name: &'static str,
    options: &'static [arguments::Known],
    run: Run,
}

enum Run {
    Topics,
    GetOffsets,
}

const SHIMS: &[Shim] = &[
    Shim {
        name: "kafka-topics",
        options: topics::OPTIONS,
        run: Run::Topics,
    },
    Shim {
        name: "kafka-get-offsets",
        options: get_offsets::OPTIONS,
        run: Run::GetOffsets,
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
    /// Told on standard output, as the tools do.
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
    let ran = Arguments::parse(args, shim.options).and_then(|arguments| start(shim, &arguments));
    Some(match ran {
        Ok(()) | Err(Wrong::Quiet) => ExitCode::SUCCESS,
        Err(Wrong::Usage(text)) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
        Err(Wrong::Failed(text)) => {
            let prefix = match shim.run {
                Run::Topics => "Error while executing topic command : ",
                Run::GetOffsets => "Error occurred: ",
            };
            let mut out: Box<dyn Write> = match shim.run {
                Run::Topics => Box::new(std::io::stdout()),
                Run::GetOffsets => Box::new(std::io::stderr()),
            };
            let _ = writeln!(out, "{prefix}{text}");
            ExitCode::FAILURE
        }
    })
}

fn start(shim: &Shim, arguments: &Arguments) -> Result<(), Wrong> {
    let Some(server) = arguments.value("bootstrap-server") else {
        return Err(Wrong::Usage(
            "Missing required argument \"[bootstrap-server]\"".to_owned(),
        ));
    };
    let bootstrap = server.parse();
    let bootstrap = bootstrap.map_err(|error: ClientError| Wrong::Usage(error.to_string()))?;
    let mut config = ClientConfig::new(bootstrap);
    config.client_id = "rkctl".to_owned();
    config.deadline = Duration::from_secs(60);
    let client = Client::new(config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        client.reach().await?;
        match shim.run {
            Run::Topics => topics::run(&client, arguments).await,
            Run::GetOffsets => get_offsets::run(&client, arguments).await,
        }
    })
}

/// A list of patterns as the tools take it: commas stand for "or", and the whole name has to match.
pub(crate) fn pattern(text: &str) -> Result<regex::Regex, Wrong> {
    let list = text.trim().replace(',', "|");
    let list = list.trim_matches(['"', '\'']);
    regex::Regex::new(&format!("^(?:{list})$"))
        .map_err(|_| Wrong::Failed(format!("{text} is an invalid regex.")))
}

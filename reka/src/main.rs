//! The server executable: configuration in, a running node, a clean stop on SIGTERM.

use std::io::IsTerminal;
use std::process::ExitCode;

use reka_broker::{Config, Node};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

/// The node did not start; what follows on stderr says why.
const EXIT_START: u8 = 1;
/// The command line is wrong.
const EXIT_USAGE: u8 = 2;
/// The node ran, and could not leave its data as a clean stop does.
const EXIT_STOP: u8 = 3;

const USAGE: &str = "usage: reka [--listen HOST:PORT] [--log-dir DIR]

Starts a broker of one node: clients on 0.0.0.0:9092, data in ./reka-data.";

fn main() -> ExitCode {
    let config = match parse(std::env::args().skip(1)) {
        Ok(Some(config)) => config,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("reka: {problem}\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("REKA_LOG")
                .unwrap_or_else(|_| EnvFilter::new("info,openraft=warn")),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    raise_file_limit();
    run(config)
}

fn run(config: Config) -> ExitCode {
    // Before anything is started, so that no signal is missed.
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("reka: cannot listen for signals: {error}");
            return ExitCode::from(EXIT_START);
        }
    };
    let log_dir = config.log_dir.clone();
    let node = match Node::start(config) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("reka: {error}");
            return ExitCode::from(EXIT_START);
        }
    };
    println!(
        "reka {} is ready, node {}",
        env!("CARGO_PKG_VERSION"),
        node.services().broker_id
    );
    println!("  kafka  {}", node.address());
    println!("  data   {}", log_dir.display());
    let _ = signals.forever().next();
    match node.stop() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reka: the stop was not clean, the next start will check the logs: {error}");
            ExitCode::from(EXIT_STOP)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Config>, String> {
    let mut config = Config::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--listen" => {
                let address = value()?;
                config.listen = address
                    .parse()
                    .map_err(|_| format!("{address} is not an address and a port"))?;
            }
            "--log-dir" => config.log_dir = value()?.into(),
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(Some(config))
}

/// Every partition holds files open; the soft limit is often far below the hard one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(
            "the limit of open files stays at {:?}: {error}",
            limit.current
        );
    }
}

//! The server executable: configuration in, a running node, a clean stop on SIGTERM.
//!
//! | Exit code | Means |
//! |---|---|
//! | 0 | stopped cleanly |
//! | 1 | the node did not start, or a tool did not do its work, for another reason than those below; standard error says why |
//! | 2 | the command line or the configuration is wrong |
//! | 3 | the node ran, and could not leave its data as a clean stop does |
//! | 4 | an address cannot be listened on: another process has the port |
//! | 5 | the data directory cannot be used, or no longer: missing rights, a damaged file, a failing disk |
//! | 6 | the data directory is in use by another process |
//! | 7 | the data directory belongs to another broker or another cluster |
//! | 8 | a part of a data file could not be read, and there was no memory to go on without it |

mod command_line;
mod dump;
mod format;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc;

use command_line::{Command, USAGE};
use reka_broker::config::{self, Config, LoggingConfig, Sources};
use reka_broker::loggers::{Level, Loggers};
use reka_broker::node::{LogDirError, LogDirsError, NodeError};
use reka_broker::{Node, config::SourceFile};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

const EXIT_START: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_STOP: u8 = 3;
const EXIT_ADDRESS: u8 = 4;
const EXIT_DIRECTORY: u8 = 5;
const EXIT_IN_USE: u8 = 6;
const EXIT_FOREIGN: u8 = 7;

/// What scripts and supervisors are told: some of these go away by waiting, some need a person.
fn exit_code(error: &NodeError) -> u8 {
    match error {
        NodeError::Bind(_) => EXIT_ADDRESS,
        NodeError::LogDirs(LogDirsError::Dir(LogDirError::InUse { .. })) => EXIT_IN_USE,
        NodeError::LogDirs(
            LogDirsError::Dir(LogDirError::Foreign { .. }) | LogDirsError::TwoClusters { .. },
        ) => EXIT_FOREIGN,
        NodeError::LogDirs(_) | NodeError::MetadataDir { .. } | NodeError::CreateDir { .. } => {
            EXIT_DIRECTORY
        }
        _ => EXIT_START,
    }
}

fn main() -> ExitCode {
    match command_line::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Command::DumpLog(None)) => {
            println!("{}", dump::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Command::DumpLog(Some(options))) => dump_log(&options),
        Ok(Command::Format(None)) => {
            println!("{}", format::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Command::Format(Some(options))) => match load(Some(&options.config), Vec::new()) {
            Ok(config) => format_dirs(&options, &config),
            Err(problem) => usage(&problem),
        },
        Ok(Command::ListKeys) => {
            print!("{}", config::documentation::page());
            ExitCode::SUCCESS
        }
        Ok(Command::Check { file, overrides }) => match load(file.as_deref(), overrides) {
            Ok(_) => {
                println!("the configuration is good");
                ExitCode::SUCCESS
            }
            Err(problem) => usage(&problem),
        },
        Ok(Command::Run { file, overrides }) => match load(file.as_deref(), overrides) {
            Ok(config) => run(config),
            Err(problem) => usage(&problem),
        },
        Err(problem) => usage(&format!("{problem}\n\n{USAGE}")),
    }
}

fn dump_log(options: &dump::Options) -> ExitCode {
    let out = std::io::stdout().lock();
    let mut out = std::io::BufWriter::new(out);
    match dump::run(options, &mut out, &mut std::io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_START),
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reka: cannot write the output: {error}");
            ExitCode::from(EXIT_START)
        }
    }
}

fn format_dirs(options: &format::Options, config: &Config) -> ExitCode {
    match format::run(options, config, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reka: {error}");
            ExitCode::from(EXIT_START)
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("reka: {problem}");
    ExitCode::from(EXIT_USAGE)
}

/// The configuration of file, environment and command line; warnings go to standard error.
fn load(file: Option<&str>, overrides: Vec<String>) -> Result<Config, String> {
    let file = file
        .map(|file| SourceFile::read(file.as_ref()))
        .transpose()
        .map_err(|error| error.to_string())?;
    let sources = Sources {
        file,
        environment: std::env::vars().collect(),
        overrides,
    };
    let loaded = Config::load(&sources).map_err(|errors| errors.to_string())?;
    for warning in loaded.warnings {
        eprintln!("reka: warning: {warning}");
    }
    Ok(loaded.config)
}

fn run(config: Config) -> ExitCode {
    let loggers = log_as(&config.logging);
    raise_file_limit();
    // Before anything is started, so that no signal is missed.
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("reka: cannot listen for signals: {error}");
            return ExitCode::from(EXIT_START);
        }
    };
    let node = match Node::start(config, loggers) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("reka: {error}");
            return ExitCode::from(exit_code(&error));
        }
    };
    let services = node.services();
    // Nobody has to read it: a closed pipe is no reason to end.
    let _ = std::io::stdout().write_all(banner(&node).as_bytes());
    let (end, ended) = mpsc::channel();
    services.tell_owner(end.clone());
    std::thread::spawn(move || {
        let _ = signals.forever().next();
        // Without a reason: somebody wants it to.
        let _ = end.send(String::new());
    });
    let why = ended.recv().unwrap_or_default();
    if !why.is_empty() {
        eprintln!("reka: {why}; the log says which failed and what to do");
        // What can be stopped is; there is nowhere to leave the data as a clean stop does.
        let _ = node.stop();
        return ExitCode::from(EXIT_DIRECTORY);
    }
    match node.stop() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reka: the stop was not clean, the next start will check the logs: {error}");
            ExitCode::from(EXIT_STOP)
        }
    }
}

/// Where the node is found.
fn banner(node: &Node) -> String {
    let services = node.services();
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = format!("reka {version} is ready, node {}\n", services.broker_id);
    for listener in node.listeners() {
        lines += &format!("  kafka  {} ({})\n", listener.bound, listener.name);
    }
    if let Some(address) = node.http() {
        lines += &format!("  http   {address} (/metrics, /health, /ready)\n");
    }
    for dir in services.log_dirs().dirs() {
        lines += &format!("  data   {}\n", dir.path().display());
    }
    lines
}

/// Starts logging to standard error, at levels that can be changed while it runs.
fn log_as(logging: &LoggingConfig) -> Loggers {
    let (filter, handle) = reload::Layer::new(EnvFilter::default());
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match logging.json {
        true => lines.json().boxed(),
        false => lines.boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    let root = Level::from_name(&logging.level.to_ascii_uppercase()).unwrap_or(Level::Info);
    let apply = move |directives: &str| {
        if let Err(error) = handle.reload(EnvFilter::new(directives)) {
            eprintln!("reka: the log levels {directives:?} are not in force: {error}");
        }
    };
    // Consensus tells more than anybody wants to read at `info`.
    Loggers::new(root, &[("openraft", Level::Warn)], Box::new(apply))
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

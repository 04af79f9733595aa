//! The options every command takes.

use std::time::Duration;

use clap::{Args, Parser};

use crate::commands::Command;
use crate::output::Format;

/// Administers a Reka or Apache Kafka cluster.
///
/// The cluster is the one at --bootstrap-server, else that of --command-config, of --profile or of
/// the profile in use, else the one at KAFKA_BOOTSTRAP_SERVERS, else at localhost:9092. Where
/// --bootstrap-server is all that is named, the profile in use has no say: its secrets are for its own
/// cluster. Data goes to standard output, everything else to standard error.
///
/// Exit codes: 0 done, 1 failed for another reason than those that follow, 2 wrong usage, 3 something
/// named is not there, 4 the cluster refused, 5 the cluster cannot be reached or does not answer in
/// time, 6 done for some of the things named and not for others.
#[derive(Debug, Parser)]
#[command(name = "rkctl", version, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Taken by every command, before or after its name.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Brokers to start from: host:port, several with commas between them
    #[arg(short, long, global = true, value_name = "HOST:PORT")]
    pub(crate) bootstrap_server: Option<String>,
    /// A file with settings of Java's clients: security.protocol, ssl.truststore.location (PEM),
    /// sasl.mechanism, sasl.jaas.config and others
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "profile")]
    pub(crate) command_config: Option<std::path::PathBuf>,
    /// A profile instead of the one in use
    #[arg(long, global = true, value_name = "NAME", add = crate::completion::profiles())]
    pub(crate) profile: Option<String>,
    /// How to show what was found
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    /// Give up after this long: 500ms, 30s, 2m; 30s where nothing else is set
    #[arg(long, global = true, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// What brokers write into their logs and metrics; rkctl where nothing else is set
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) client_id: Option<String>,
}

/// For commands that change something.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// For commands that destroy something.
#[derive(Debug, Args)]
pub(crate) struct Destruction {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Reads `500ms`, `30s`, `2m`, `1h`, `7d`; seconds without a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{unit:?} is no unit; expected ms, s, m, h or d")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("expected a number and a unit, such as 30s, found {text:?}"))?;
    let total = number.checked_mul(milliseconds);
    total
        .filter(|total| *total > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text} is out of range"))
}

/// Reads `key=value`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("expected KEY=VALUE, found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_commands_holds_together() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        let check = |text: &str, millis: u64| {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        };
        check("500ms", 500);
        check("30", 30_000);
        check("2m", 120_000);
        check("7d", 604_800_000);
        for text in ["", "s", "0", "3 s", "1w", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

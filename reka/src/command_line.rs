//! What the command line asks for.

use crate::{dump, format};

/// What can be asked for.
pub(crate) const USAGE: &str = "usage: reka [FILE | --config FILE] [--override KEY=VALUE]...
       reka config check [FILE | --config FILE] [--override KEY=VALUE]...
       reka config list
       reka format --config FILE --cluster-id ID [--ignore-formatted]
       reka dump-log --files FILE[,FILE]... [OPTION]...

Without a file: a broker of one node, clients on port 9092, data in ./reka-data.
FILE is a server.properties of Apache Kafka, or TOML with the same keys if its name ends in .toml.
KAFKA_* variables count before the file, --override (-o) before both.";

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Start a node.
    Run {
        file: Option<String>,
        overrides: Vec<String>,
    },
    /// Say what is wrong with a configuration.
    Check {
        file: Option<String>,
        overrides: Vec<String>,
    },
    /// Make data directories ready; without options, say how.
    Format(Option<format::Options>),
    /// Say what is in files; without options, say how.
    DumpLog(Option<dump::Options>),
    /// Say which keys there are.
    ListKeys,
    /// Say how to use it.
    Help,
}

/// Reads the words behind the program's name.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut words = words.peekable();
    if words.next_if_eq("dump-log").is_some() {
        return Ok(Command::DumpLog(dump::parse(words)?));
    }
    if words.next_if_eq("format").is_some() {
        return Ok(Command::Format(format::parse(words)?));
    }
    let mut check = false;
    if words.next_if_eq("config").is_some() {
        match words.next().as_deref() {
            Some("list") => return Ok(Command::ListKeys),
            Some("check") => check = true,
            other => {
                return Err(format!(
                    "config {}: no such command",
                    other.unwrap_or_default()
                ));
            }
        }
    }
    let mut file: Option<String> = None;
    let mut overrides = Vec::new();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let named = match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--override" | "-o" => {
                overrides.push(value()?);
                continue;
            }
            "--config" => value()?,
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ => word,
        };
        if let Some(first) = file.replace(named) {
            return Err(format!(
                "two configuration files are given, {first} is the first"
            ));
        }
    }
    Ok(match check {
        true => Command::Check { file, overrides },
        false => Command::Run { file, overrides },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Command, &str>) {
        let found = parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(found, expected.map_err(str::to_owned), "{line}");
    }

    fn run(file: Option<&str>, overrides: &[&str]) -> Result<Command, &'static str> {
        Ok(Command::Run {
            file: file.map(str::to_owned),
            overrides: overrides.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn a_file_and_overrides_are_taken_in_any_order() {
        check("", run(None, &[]));
        check("server.properties", run(Some("server.properties"), &[]));
        check("--config a.toml -o a=b", run(Some("a.toml"), &["a=b"]));
        check(
            "--override a=b f --override c=d",
            run(Some("f"), &["a=b", "c=d"]),
        );
        check("config list", Ok(Command::ListKeys));
        check("--help", Ok(Command::Help));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        check("-o", Err("-o needs a value"));
        check("--port 1", Err("unknown option --port"));
        check(
            "a b",
            Err("two configuration files are given, a is the first"),
        );
        check("config", Err("config : no such command"));
    }
}

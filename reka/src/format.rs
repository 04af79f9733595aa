//! `reka format`: makes data directories ready, as Apache Kafka's `kafka-storage.sh format` does.
//!
//! A directory is formatted once it has a `meta.properties`, which names the cluster, the node and
//! the directory. The server formats new directories by itself; whoever wants to choose the
//! cluster's id, or to be told of a directory that is not mounted, formats them before.

use std::io::{self, Write};
use std::path::PathBuf;

use reka_broker::Config;
use reka_storage::fs::{Disk, DiskError};
use reka_storage::log_dir;
use reka_storage::log_dir::{Identity, LogDirError};

/// How to use it.
pub(crate) const USAGE: &str =
    "usage: reka format --config FILE --cluster-id ID [--ignore-formatted]

Makes the directories of log.dirs ready for the cluster and the node.id of FILE. The options are
those of Apache Kafka's kafka-storage.sh format.

  --config, -c FILE          the configuration, required
  --cluster-id, -t ID        the cluster's id, required
  --ignore-formatted, -g     leave directories alone that are formatted, instead of failing
  --standalone, -s           a quorum of one, which a single node is anyway; refused for others";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The configuration file.
    pub(crate) config: String,
    cluster_id: String,
    ignore_formatted: bool,
    standalone: bool,
}

/// Why directories were not formatted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error(
        "log directory {} is already formatted; use --ignore-formatted to leave it alone and format \
         the others",
        .dir.display()
    )]
    Formatted { dir: PathBuf },
    #[error("{} says {field} {found}, asked for was {expected}: it is another's; nothing was formatted", .dir.display())]
    Foreign {
        dir: PathBuf,
        field: &'static str,
        expected: String,
        found: String,
    },
    #[error(
        "--cluster-id {found:?} is not one: expected letters, digits, - and _, as Apache Kafka's \
         kafka-storage.sh random-uuid makes them"
    )]
    ClusterId { found: String },
    #[error(
        "--standalone is a quorum of one, and controller.quorum.voters names {voters}; leave one of the \
         two out"
    )]
    NotAlone { voters: usize },
    #[error("cannot create the log directory {}: {source}", .dir.display())]
    CreateDir { dir: PathBuf, source: io::Error },
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("cannot write the output: {0}")]
    Write(#[from] io::Error),
}

/// The command line behind `format`; `None` asks for help.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let (mut config, mut cluster_id) = (None, None);
    let (mut ignore_formatted, mut standalone) = (false, false);
    while let Some(word) = words.next() {
        let (name, given) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let mut value = || {
            let value = given.clone().or_else(|| words.next());
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(None),
            "--config" | "-c" => config = Some(value()?),
            "--cluster-id" | "-t" => cluster_id = Some(value()?),
            "--ignore-formatted" | "-g" => ignore_formatted = true,
            "--standalone" | "-s" => standalone = true,
            "--add-scram"
            | "-S"
            | "--feature"
            | "-f"
            | "--release-version"
            | "-r"
            | "--no-initial-controllers"
            | "-N"
            | "--initial-controllers"
            | "-I" => {
                return Err(format!(
                    "{name} is not supported: nothing but the cluster and the node is written"
                ));
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let missing = |name: &str| format!("{name} is missing");
    Ok(Some(Options {
        config: config.ok_or_else(|| missing("--config"))?,
        cluster_id: cluster_id.ok_or_else(|| missing("--cluster-id"))?,
        ignore_formatted,
        standalone,
    }))
}

/// Formats what is not formatted. All directories are looked at before one is changed.
pub(crate) fn run(
    options: &Options,
    config: &Config,
    out: &mut dyn Write,
) -> Result<(), FormatError> {
    let voters = config.quorum.voters.len();
    if options.standalone && voters > 1 {
        return Err(FormatError::NotAlone { voters });
    }
    let disk = Disk::real();
    let mut wanted = Vec::new();
    for dir in &config.logs.dirs {
        let Some(found) = Identity::read(&disk, dir)? else {
            wanted.push(dir);
            continue;
        };
        if !options.ignore_formatted {
            return Err(FormatError::Formatted { dir: dir.clone() });
        }
        let foreign = |field, expected: &str, found: String| FormatError::Foreign {
            dir: dir.clone(),
            field,
            expected: expected.to_owned(),
            found,
        };
        if found.cluster_id != options.cluster_id {
            return Err(foreign("cluster.id", &options.cluster_id, found.cluster_id));
        }
        if found.node_id != config.node.id {
            let (expected, found) = (config.node.id.to_string(), found.node_id.to_string());
            return Err(foreign("node.id", &expected, found));
        }
    }
    if wanted.is_empty() {
        writeln!(out, "All of the log directories are already formatted.")?;
        return Ok(());
    }
    // It is a line of a text file. Apache Kafka takes what is no number as well.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if options.cluster_id.is_empty() || !options.cluster_id.bytes().all(is_plain) {
        let found = options.cluster_id.clone();
        return Err(FormatError::ClusterId { found });
    }
    for dir in wanted {
        writeln!(out, "Formatting log directory {}.", dir.display())?;
        std::fs::create_dir_all(dir).map_err(|source| FormatError::CreateDir {
            dir: dir.clone(),
            source,
        })?;
        let identity = Identity {
            cluster_id: options.cluster_id.clone(),
            node_id: config.node.id,
            directory_id: Some(log_dir::random_id()),
        };
        identity.write(&disk, dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_apache_kafkas_tool_or_refused_by_name() {
        let check = |line: &str, expected: Result<Option<Options>, &str>| {
            let found = parse(line.split_whitespace().map(str::to_owned));
            assert_eq!(found, expected.map_err(str::to_owned), "{line}");
        };
        let options = |ignore_formatted, standalone| Options {
            standalone,
            config: "f".into(),
            cluster_id: "c".into(),
            ignore_formatted,
        };
        check("-c f -t c", Ok(Some(options(false, false))));
        check(
            "--config=f --cluster-id c --ignore-formatted -s",
            Ok(Some(options(true, true))),
        );
        check("-h", Ok(None));
        check("-t c", Err("--config is missing"));
        check("-c f", Err("--cluster-id is missing"));
        check("-c", Err("-c needs a value"));
        check("-c f -t c x", Err("unknown option x"));
        check(
            "-c f -t c -S x",
            Err("-S is not supported: nothing but the cluster and the node is written"),
        );
    }
}

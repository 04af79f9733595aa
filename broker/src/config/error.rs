//! What can be wrong with a configuration, and where it stands.

use std::fmt;

use super::definitions::Fault;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// The file, as it was named.
        name: String,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// `--override`.
    Override,
    /// Changed at run time, for this broker.
    DynamicBroker,
    /// Changed at run time, for all brokers.
    DynamicDefault,
    /// Changed at run time, for a topic.
    Topic,
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { name, line: 0 } => f.write_str(name),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::Override => f.write_str("--override"),
            Origin::DynamicBroker => f.write_str("broker configuration"),
            Origin::DynamicDefault => f.write_str("cluster-wide broker configuration"),
            Origin::Topic => f.write_str("topic configuration"),
            Origin::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    /// The line of a file; what stands elsewhere comes after all lines.
    pub(super) fn line(&self) -> usize {
        match self {
            Origin::File { line, .. } => *line,
            _ => usize::MAX,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What. Boxed, because it is large and rare.
    pub problem: Box<Problem>,
}

impl ConfigError {
    /// A problem at a place.
    pub fn new(origin: Origin, problem: Problem) -> ConfigError {
        ConfigError {
            origin,
            problem: Box::new(problem),
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No key has that name.
    #[error("unknown key {key}{}", did_you_mean(.nearest.as_deref()))]
    UnknownKey {
        /// As written.
        key: String,
        /// The name that was perhaps meant.
        nearest: Option<String>,
    },
    /// A value that its key does not take.
    #[error("{key}={value}: {fault}")]
    BadValue {
        /// Its key.
        key: String,
        /// As written; stars for a secret.
        value: String,
        /// Why not.
        fault: Fault,
    },
    /// A value that does not say what it has to say.
    #[error("{key}={value}: {reason}")]
    Malformed {
        /// Its key.
        key: String,
        /// As written.
        value: String,
        /// Why not.
        reason: String,
    },
    /// Known to Kafka, not served yet.
    #[error("{key}={value} is not supported yet: {reason}; remove it{}", or_default(.default.as_deref()))]
    NotYet {
        /// Its key.
        key: String,
        /// As written; stars for a secret.
        value: String,
        /// What is missing.
        reason: String,
        /// The only value that is taken.
        default: Option<String>,
    },
    /// Known to Kafka, never served.
    #[error("{key}={value} cannot be honoured: {reason}; remove it{}", or_default(.default.as_deref()))]
    Never {
        /// Its key.
        key: String,
        /// As written.
        value: String,
        /// Why not.
        reason: String,
        /// The only value that is taken.
        default: Option<String>,
    },
    /// Two values that do not go together.
    #[error("{0}")]
    Conflict(String),
    /// Not `key=value`.
    #[error("expected key=value, found {0}")]
    NotAPair(String),
    /// A file that cannot be parsed.
    #[error("{0}")]
    Syntax(String),
    /// A file that cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

fn or_default(default: Option<&str>) -> String {
    default
        .map(|value| format!(" or set it to {value:?}"))
        .unwrap_or_default()
}

/// Everything that is wrong, one thing a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

fn lines(errors: &[ConfigError]) -> String {
    errors
        .iter()
        .map(ConfigError::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Something worth saying that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Keys that do nothing here, all for one reason.
    NoEffect {
        /// What they are.
        keys: Vec<String>,
        /// Why.
        reason: &'static str,
    },
    /// A key that a file gives twice; the last one counts.
    GivenTwice {
        /// Where the first is.
        origin: Origin,
        /// Which.
        key: String,
    },
    /// A variable that looks like a setting and is none.
    NotASetting {
        /// Its name.
        variable: String,
    },
    /// Something in a list that is left out.
    LeftOut {
        /// The key of the list.
        key: &'static str,
        /// What.
        items: Vec<String>,
        /// Why.
        reason: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NoEffect { keys, reason } => {
                write!(f, "no effect here: {} ({reason})", keys.join(", "))
            }
            Warning::GivenTwice { origin, key } => {
                write!(
                    f,
                    "{origin}: {key} is given again further down, which counts"
                )
            }
            Warning::NotASetting { variable } => {
                write!(
                    f,
                    "{variable} in the environment is not a setting of the broker"
                )
            }
            Warning::LeftOut { key, items, reason } => {
                write!(f, "{key}: {} left out ({reason})", items.join(", "))
            }
        }
    }
}

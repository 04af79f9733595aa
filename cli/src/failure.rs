//! What went wrong: an exit code for scripts, a sentence and a next step for people.

use std::fmt;
use std::process::ExitCode;

use reka_client::{ClientError, Refusal};
use reka_protocol::ErrorCode;

/// What scripts are told. The numbers are documented and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Standard output was closed: no failure at all.
    Quiet,
    /// Another reason than those that follow.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Something named is not there.
    NotFound = 3,
    /// The cluster said no.
    Refused = 4,
    /// The cluster cannot be reached, or does not answer in time.
    Unreachable = 5,
    /// Done for some of the things named and not for others.
    Partial = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command came to nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    text: String,
    /// What to do about it.
    hint: Option<String>,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Self {
        Failure {
            exit,
            text: text.into(),
            hint: None,
        }
    }

    pub(crate) fn other(text: impl Into<String>) -> Self {
        Failure::new(Exit::Other, text)
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Failure::new(Exit::NotFound, text)
    }

    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Failure::new(Exit::Refused, text)
    }

    pub(crate) fn unhealthy(findings: usize) -> Self {
        Failure::new(Exit::Refused, format!("{findings} findings"))
    }

    pub(crate) fn partial(failed: usize, all: usize) -> Self {
        Failure::new(Exit::Partial, format!("{failed} of {all} failed"))
    }

    /// All of several things failed: the first tells the exit code, and all is said if it was the
    /// only one.
    pub(crate) fn all(failures: &[Option<Failure>]) -> Self {
        match failures {
            [Some(only)] => Failure {
                exit: only.exit,
                text: only.text.clone(),
                hint: only.hint.clone(),
            },
            _ => {
                let exit = failures
                    .iter()
                    .flatten()
                    .next()
                    .map_or(Exit::Other, |f| f.exit);
                Failure::new(exit, format!("all {} failed", failures.len()))
            }
        }
    }

    /// The same with more to say.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.text = format!("{}; {more}", self.text);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rkctl: {}", self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::new(Exit::Quiet, ""),
            _ => Failure::other(format!("cannot write the output: {error}")),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        if error.is_security() {
            return Failure::new(Exit::Refused, text).hint(
                "settings for TLS and logins come from --command-config FILE or a profile: rkctl \
                 profile --help",
            );
        }
        if error.is_unreachable() {
            return Failure::new(Exit::Unreachable, text).hint(
                "is the broker running, and is this its address? name another with -b HOST:PORT",
            );
        }
        match (&error, error.refusal()) {
            (_, Some(refusal)) => Failure::new(exit_of(refusal), text),
            (ClientError::Deadline { .. }, None) => Failure::new(Exit::Unreachable, text)
                .hint("the broker is there and slow; allow more with --timeout"),
            (ClientError::Config { .. }, _) => Failure::usage(text),
            (ClientError::UnknownBroker { .. }, _) => Failure::not_found(text),
            (ClientError::Unsupported { .. }, _) => Failure::new(Exit::Refused, text),
            _ => Failure::other(text),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::new(exit_of(&refusal), refusal.to_string())
    }
}

fn exit_of(refusal: &Refusal) -> Exit {
    match refusal.error() {
        Some(
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::GroupIdNotFound
            | ErrorCode::TransactionalIdNotFound
            | ErrorCode::ResourceNotFound
            | ErrorCode::LogDirNotFound
            | ErrorCode::VoterNotFound
            | ErrorCode::UnknownMemberId,
        ) => Exit::NotFound,
        _ => Exit::Refused,
    }
}

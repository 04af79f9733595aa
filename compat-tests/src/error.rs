//! What can go wrong in a row: always the step, and the log where there is one.
//!
//! The row's own name is not repeated in here; [`crate::runner`] puts it in front.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// The result of a step.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A toolchain this machine does not have. Skips the row, or fails it when `CI=true`.
    #[error("{step}: `{tool}` is not installed")]
    MissingTool {
        /// What was being done.
        step: String,
        /// The program that is not there.
        tool: String,
    },
    /// The operating system refused something.
    #[error("{step}: {source}")]
    Io {
        /// What was being done, with the path or address.
        step: String,
        /// Its answer.
        source: io::Error,
    },
    /// A program ended otherwise than with success.
    #[error("{step}: ended with {status}; log: {}", log.display())]
    Ended {
        /// What the program was started for.
        step: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        log: PathBuf,
    },
    /// A condition did not come true in time.
    #[error("{step}: not done after {} s{}", limit.as_secs(), log_note(log))]
    Deadline {
        /// What was awaited.
        step: String,
        /// How long.
        limit: Duration,
        /// What the program awaited said.
        log: Option<PathBuf>,
    },
    /// Ctrl-C or SIGTERM: what was started is being stopped.
    #[error("{step}: interrupted")]
    Interrupted {
        /// What was going on.
        step: String,
    },
    /// The thing under judgement is not right, or an answer was not understood.
    #[error("{step}: {finding}")]
    Refused {
        /// What was being judged.
        step: String,
        /// What is wrong with it.
        finding: String,
    },
}

impl Error {
    /// For `map_err`: names the step an [`io::Error`] came from.
    pub fn io(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }

    /// A judgement against what `step` looked at.
    pub fn refused(step: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::Refused {
            step: step.into(),
            finding: finding.into(),
        }
    }
}

fn log_note(log: &Option<PathBuf>) -> String {
    match log {
        Some(log) => format!("; log: {}", log.display()),
        None => String::new(),
    }
}

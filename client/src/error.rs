//! What can go wrong. Every error names the broker, the API and the thing it is about, and says
//! whether the same request may do better later.

use std::fmt;
use std::io;
use std::time::Duration;

use reka_protocol::{DecodeError, ErrorCode};
use thiserror::Error;

use crate::security::login::LoginProblem;
use crate::security::tls::{self, TlsProblem};

/// What one of several things asked for came to.
pub type Outcome<T> = Result<T, Refusal>;

/// A call that came to nothing.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// What the client was told cannot be used.
    #[error("{reason}")]
    Config {
        /// What, and what was expected.
        reason: String,
    },
    /// No broker took a connection.
    #[error("no broker can be reached: {}", Attempts(.attempts))]
    Unreachable {
        /// Each address that was tried, and what came of it.
        attempts: Vec<ConnectionError>,
    },
    /// A connection was lost with the request on its way: it may have been carried out or not.
    #[error("{api}: {error}")]
    Connection {
        /// What was asked.
        api: &'static str,
        /// Who was asked, and what happened.
        error: ConnectionError,
    },
    /// The broker speaks no version of the API that is known here, or none that can say what is
    /// wanted.
    #[error("{api} is not to be had from broker {broker}: {reason}")]
    Unsupported {
        /// What was to be asked.
        api: &'static str,
        /// Who was to be asked.
        broker: String,
        /// Which versions there are and which are needed.
        reason: String,
    },
    /// An answer that is none.
    #[error("broker {broker} sent what is no answer: {error}")]
    Malformed {
        /// Who sent it.
        broker: String,
        /// Where it is wrong.
        error: DecodeError,
    },
    /// A request that cannot be written.
    #[error("{api} cannot be sent: {reason}")]
    Unencodable {
        /// What was to be asked.
        api: &'static str,
        /// Why not.
        reason: String,
    },
    /// The broker said no.
    #[error("{0}")]
    Refused(Refusal),
    /// Time is up.
    #[error("{what}: not done within {}{}", Seconds(*.limit), Last(.last))]
    Deadline {
        /// What was being done.
        what: String,
        /// How long it was tried.
        limit: Duration,
        /// What the last attempt came to.
        last: Option<Box<ClientError>>,
    },
    /// Records that are not as they were written.
    #[error("partition {partition} from offset {offset}: {reason}")]
    Corrupt {
        /// Where they are from.
        partition: String,
        /// Where reading began.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// Records that were read are gone: an election has lost them.
    #[error(
        "partition {partition}: records before offset {offset} were read and are gone{}",
        Ends(*.end)
    )]
    Truncated {
        /// The partition.
        partition: String,
        /// Where reading was to go on.
        offset: i64,
        /// Where the loss begins, if the leader knows.
        end: Option<i64>,
    },
    /// There is no broker with this id.
    #[error("broker {id} is not in the cluster; it has {}", Listed(.known))]
    UnknownBroker {
        /// Who was to be asked.
        id: i32,
        /// Who is there.
        known: Vec<i32>,
    },
}

/// A connection that could not be made or used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{broker}: {reason}")]
pub struct ConnectionError {
    /// The address.
    pub broker: String,
    /// What happened.
    pub reason: ConnectionProblem,
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionProblem {
    /// The host has no address.
    #[error("the name cannot be resolved: {0}")]
    Name(String),
    /// Nothing accepted the connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// It took too long.
    #[error("no {what} within {}", Seconds(*.limit))]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The peer closed it.
    #[error("the broker closed the connection{0}")]
    Closed(&'static str),
    /// It broke.
    #[error("the connection broke: {0}")]
    Io(String),
    /// What came is no Kafka frame, or too large a one.
    #[error("{0}")]
    Frame(String),
    /// An answer to another request than the oldest one.
    #[error("answer {found} came where {expected} was due")]
    OutOfOrder {
        /// The correlation id found.
        found: i32,
        /// The one of the oldest request.
        expected: i32,
    },
    /// Nobody holds the client any more.
    #[error("the client was closed")]
    Gone,
    /// The handshake of TLS came to nothing.
    #[error("{0}")]
    Tls(TlsProblem),
    /// TLS came where plaintext was spoken.
    #[error(
        "its port speaks tls: set security.protocol=SSL, or SASL_SSL if it wants a login as well"
    )]
    SpeaksTls,
    /// The broker did not let the client in.
    #[error("{0}")]
    Login(LoginProblem),
}

/// What is added where a broker closes at the first request after it said its versions.
pub(crate) const CLOSED_AT_FIRST: &str =
    " at the first request after it said which versions it speaks; does it expect a login by sasl?";

/// What is added where a broker closes before its first answer.
pub(crate) const CLOSED_AT_START: &str =
    " before it said which versions it speaks; does it expect tls or sasl?";

impl ConnectionProblem {
    /// Whether another attempt would come to the same: settings have to be changed.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            ConnectionProblem::SpeaksTls | ConnectionProblem::Login(_) => true,
            // A broker that is being stopped closes in the middle of anything.
            ConnectionProblem::Tls(problem) => *problem != TlsProblem::Closed,
            _ => false,
        }
    }

    /// Whether it is about how connections are made safe.
    #[must_use]
    pub fn is_security(&self) -> bool {
        matches!(
            self,
            ConnectionProblem::SpeaksTls | ConnectionProblem::Login(_) | ConnectionProblem::Tls(_)
        )
    }

    pub(crate) fn io(error: &io::Error) -> Self {
        if let Some(problem) = tls::problem(error) {
            return ConnectionProblem::Tls(problem);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ConnectionProblem::Closed(""),
            _ => ConnectionProblem::Io(error.to_string()),
        }
    }
}

/// A broker's no.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Refusal {
    /// What was asked.
    pub api: &'static str,
    /// What it was about, such as `topic orders`.
    pub subject: String,
    /// The error code.
    pub code: i16,
    /// What the broker had to say about it.
    pub message: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.subject)?;
        match self.error() {
            Some(error) => write!(f, "{error}")?,
            None => write!(f, "error {}", self.code)?,
        }
        if let Some(message) = &self.message {
            // Kafka's own texts end with a full stop.
            write!(f, ": {}", message.trim_end_matches('.'))?;
        }
        write!(f, " ({})", self.api)
    }
}

impl Refusal {
    /// The error, if Kafka has given the code out.
    #[must_use]
    pub fn error(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }

    /// Whether it is this error.
    #[must_use]
    pub fn is(&self, error: ErrorCode) -> bool {
        self.code == error.code()
    }

    /// Whether the broker, or the cluster, may be in another state in a moment: an attempt repeated
    /// unchanged can succeed. Narrower than Kafka's "retriable": a topic that is not there is
    /// usually not about to be.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use ErrorCode as E;
        let Some(error) = self.error() else {
            return false;
        };
        matches!(
            error,
            E::LeaderNotAvailable
                | E::NotLeaderOrFollower
                | E::RequestTimedOut
                | E::ReplicaNotAvailable
                | E::NetworkException
                | E::CoordinatorLoadInProgress
                | E::CoordinatorNotAvailable
                | E::NotCoordinator
                | E::NotEnoughReplicas
                | E::NotEnoughReplicasAfterAppend
                | E::NotController
                | E::ConcurrentTransactions
                | E::FencedLeaderEpoch
                | E::UnknownLeaderEpoch
                | E::OffsetNotAvailable
                | E::UnstableOffsetCommit
                | E::ThrottlingQuotaExceeded
                | E::UnknownTopicId
                | E::InconsistentTopicId
        )
    }
}

/// `Ok` for code 0, the refusal otherwise.
pub(crate) fn judge(
    api: &'static str,
    subject: impl FnOnce() -> String,
    code: i16,
    message: Option<&str>,
) -> Outcome<()> {
    if code == 0 {
        return Ok(());
    }
    Err(Refusal {
        api,
        subject: subject(),
        code,
        message: message
            .filter(|message| !message.is_empty())
            .map(str::to_owned),
    })
}

impl ClientError {
    /// Whether the same call may do better later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unreachable { attempts } => {
                !attempts.iter().all(|attempt| attempt.reason.is_final())
            }
            ClientError::Connection { error, .. } => !error.reason.is_final(),
            ClientError::Refused(refusal) => refusal.is_transient(),
            _ => false,
        }
    }

    /// Whether brokers were found that the client could not come to terms with about TLS or who it is.
    #[must_use]
    pub fn is_security(&self) -> bool {
        match self {
            ClientError::Unreachable { attempts } => {
                attempts.iter().any(|attempt| attempt.reason.is_security())
            }
            ClientError::Connection { error, .. } => {
                error.reason.is_security() || self.is_turned_away()
            }
            ClientError::Deadline {
                last: Some(last), ..
            } => last.is_security(),
            _ => false,
        }
    }

    /// Whether a broker closed at the first request, as one that expects a login does.
    pub(crate) fn is_turned_away(&self) -> bool {
        let closed = ConnectionProblem::Closed(CLOSED_AT_FIRST);
        matches!(self, ClientError::Connection { error, .. } if error.reason == closed)
    }

    /// Whether no broker was reached, now or up to the deadline.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Connection { .. } => true,
            ClientError::Deadline {
                last: Some(last), ..
            } => last.is_unreachable(),
            _ => false,
        }
    }

    /// The broker's refusal, if that is what this is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            ClientError::Refused(refusal) => Some(refusal),
            ClientError::Deadline {
                last: Some(last), ..
            } => last.refusal(),
            _ => None,
        }
    }
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        ClientError::Refused(refusal)
    }
}

struct Ends(Option<i64>);

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(end) => write!(f, " from offset {end} on"),
            None => Ok(()),
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}

struct Attempts<'a>(&'a [ConnectionError]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, attempt) in self.0.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "; " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

struct Last<'a>(&'a Option<Box<ClientError>>);

impl fmt::Display for Last<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(last) => write!(f, "; last attempt: {last}"),
            None => Ok(()),
        }
    }
}

struct Listed<'a>(&'a [i32]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, id) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            write!(f, "{comma}{id}")?;
        }
        Ok(())
    }
}

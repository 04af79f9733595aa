//! Why something asked of the metadata is not done.

use reka_protocol::ErrorCode;

/// Kafka's code and a sentence for people, which may be empty: then Kafka says nothing either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Kafka's code.
    pub error_code: ErrorCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A code that says it all.
    pub fn plain(error_code: ErrorCode) -> Refusal {
        Refusal::new(error_code, "")
    }

    /// A refusal with a reason.
    pub fn new(error_code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            error_code,
            message: message.into(),
        }
    }
}

//! Why a question is answered with an error.

use reka_protocol::ErrorCode;

/// An error code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's code.
    pub error_code: ErrorCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// With a reason.
    pub fn new(error_code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            error_code,
            message: message.into(),
        }
    }
}

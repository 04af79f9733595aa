//! Strings of answers.

use reka_protocol::kafka_protocol::messages::TopicName;
use reka_protocol::kafka_protocol::protocol::StrBytes;

/// A string of an answer.
pub(super) fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

/// A topic's name in an answer.
pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// An error's sentence; an empty one is null, as Kafka has it for errors that explain themselves.
pub(super) fn message(said: impl Into<String>) -> Option<StrBytes> {
    let said = said.into();
    (!said.is_empty()).then(|| text(said))
}

//! Kafka's wire protocol, sans-IO: bytes in, messages out.
//!
//! | Read | For |
//! |---|---|
//! | `frame` | a stream of bytes cut into frames |
//! | `header` | what a request starts with |
//! | `versions` | the one table of APIs and versions |
//! | `guard` | the walk over a request before anything decodes it |
//! | `messages` | messages decoded and encoded here; the others are the codec crate's |
//! | `codec` | one way to the codec crate, and around it where it lacks a version |
//! | `request` | all of the above in order: a frame becomes a request, an answer a frame |
//! | `response` | an answer as a client reads it |
//! | `error_code` | what answers say went wrong |
//! | `error` | what bytes can do wrong |
//!
//! Nothing here reads a clock or a socket, and nothing panics on bytes from outside.

pub mod codec;
pub mod error;
pub mod error_code;
pub mod frame;
pub mod guard;
pub mod header;
pub mod messages;
pub mod request;
pub mod response;
pub mod versions;
mod wire;

pub use error::{DecodeError, EncodeError, Problem, Unencodable};
pub use error_code::ErrorCode;
pub use frame::{FrameError, FrameReader};
pub use guard::Limits;
pub use header::{Head, RequestHeader};
/// The codec crate, so that all users share one version of its messages.
pub use kafka_protocol;
pub use request::{Checked, Request, RequestBody, RequestError, encode_response};
pub use response::decode_response;
pub use versions::Api;
pub use wire::MAX_STRING_BYTES;

//! Records of the coordinators' internal topics, in Kafka's schemas, so that Kafka's own tools and
//! third-party readers can read the topics.
//!
//! ```text
//! key    type i16 | fields         (never flexible; the type says which record this is)
//! value  version i16 | fields      (flexible, with tagged fields, from a version of each record)
//! ```
//!
//! | File | Topic | Keys |
//! |---|---|---|
//! | `key` | both | all |
//! | `offset` | `__consumer_offsets` | 0, 1 |
//! | `group` | `__consumer_offsets` | 2: groups of the classic protocol |
//! | `consumer_group` | `__consumer_offsets` | 3 to 8 and 16: groups of KIP-848 |
//! | `transaction` | `__transaction_state` | 0 |
//!
//! Unlike requests these own their bytes: they become long-lived state, which must not pin a log
//! segment or a frame. A record without a value is a tombstone, and for the caller to see.

mod record;

pub mod consumer_group;
pub mod group;
pub mod key;
pub mod offset;
pub mod transaction;

pub use record::{Opaque, Value};

//! The same requests to Apache Kafka and to Reka, and the answers compared field by field.
//!
//! | File | Holds |
//! |---|---|
//! | `side` | one of the two brokers: a connection, and what was learnt from it |
//! | `tree` | an answer as a tree of fields, from its `Debug` text, so that no API needs code here |
//! | `allowed` | the differences that are right, one by one, each with its reason |
//! | `pair` | asking both and keeping score |
//! | `scripts` | what is asked, by subject |
//!
//! A step is one request in one version. Where the answer of Apache Kafka decides what to send next
//! (ids), each side is told its own. A broker that closes the connection instead of answering is
//! an answer too, and the other must do the same.

mod allowed;
mod pair;
mod scripts;
mod side;
mod tree;

pub use pair::{Outcome, Pair, Score};
pub use scripts::{SCRIPTS, Script};
pub use side::{Answer, Side};

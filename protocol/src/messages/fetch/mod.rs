//! Fetch: the request read in place (`request`), the response as header bytes with gaps for the
//! records (`response`).

mod request;
mod response;

pub use request::{FetchRequest, ForgottenTopic, Partition, Partitions, Topic, Topics};
pub use response::{
    AbortedTransaction, FetchResponse, FetchedPartition, FetchedTopic, OffsetAndEpoch, Rope,
    Segment,
};

/// First version that names topics by id.
const TOPIC_ID_FROM: i16 = 13;

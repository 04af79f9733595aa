//! What can be asked of the coordinator of a transactional id, and the answers: our own types,
//! without versions of the protocol.

use std::sync::Arc;

use reka_protocol::ErrorCode;

use super::record::{Place, State};
use crate::coordinator::mailbox::Answer;

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The id.
    pub id: i64,
    /// The epoch.
    pub epoch: i16,
}

/// A question to one partition's transactions.
#[derive(Clone, Debug)]
pub enum Ask {
    /// InitProducerId.
    Init(Init),
    /// AddPartitionsToTxn, AddOffsetsToTxn, and what leaders of partitions add.
    Add(Add),
    /// AddPartitionsToTxn that only looks.
    Verify(Add),
    /// EndTxn.
    End(End),
    /// DescribeTransactions, of one id.
    Describe(String),
    /// ListTransactions.
    List(Box<ListFilter>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Ask::Init`] and [`Ask::End`].
    Producer(Result<Producer, ErrorCode>),
    /// To the same: ask again with a fresh producer id.
    NeedsProducerId,
    /// To [`Ask::Add`].
    Code(ErrorCode),
    /// To [`Ask::Verify`]: in the order asked.
    Verified(Vec<ErrorCode>),
    /// To [`Ask::Describe`].
    Describe(Result<Described, ErrorCode>),
    /// To [`Ask::List`].
    List(Vec<Listed>),
    /// To anything: this broker does not answer for the id now.
    Refused(ErrorCode),
}

impl Answer for Reply {
    fn refused(code: ErrorCode) -> Reply {
        Reply::Refused(code)
    }
}

impl Reply {
    /// The code of an answer that is not the one that was asked for.
    pub fn refusal(&self) -> ErrorCode {
        match self {
            Reply::Refused(code) => *code,
            _ => ErrorCode::UnknownServerError,
        }
    }
}

/// A producer begins, or begins again.
#[derive(Clone, Debug)]
pub struct Init {
    /// The transactional id.
    pub id: String,
    /// How long its transactions may take.
    pub timeout_ms: i32,
    /// What it was before, if it says so (KIP-360).
    pub known: Option<Producer>,
    /// A producer id nobody has, if one may be needed.
    pub fresh: Option<i64>,
}

/// Partitions that are, or shall be, part of a transaction.
#[derive(Clone, Debug)]
pub struct Add {
    /// The transactional id.
    pub id: String,
    /// Who says so.
    pub producer: Producer,
    /// Which.
    pub partitions: Vec<Place>,
    /// The client's level of `transaction.version`, as far as the request tells.
    pub client_version: i16,
}

/// A transaction ends.
#[derive(Clone, Debug)]
pub struct End {
    /// The transactional id.
    pub id: String,
    /// Who says so.
    pub producer: Producer,
    /// Whether it counts.
    pub commit: bool,
    /// The client's level of `transaction.version`, as far as the request tells.
    pub client_version: i16,
    /// A producer id nobody has, if one may be needed.
    pub fresh: Option<i64>,
}

/// Which transactional ids are wanted. Empty lists are all.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// In these states.
    pub states: Vec<State>,
    /// Only ids in some state are wanted, be it one that nobody knows.
    pub by_state: bool,
    /// Of these producers.
    pub producer_ids: Vec<i64>,
    /// Running for longer than this; negative is any.
    pub duration_ms: i64,
}

/// A transactional id as ListTransactions shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The id.
    pub id: Arc<str>,
    /// Its producer.
    pub producer_id: i64,
    /// Where it stands.
    pub state: State,
}

/// A transactional id as DescribeTransactions shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Where it stands.
    pub state: State,
    /// How long its transactions may take.
    pub timeout_ms: i32,
    /// When the one under way began, or -1.
    pub started_ms: i64,
    /// Its producer.
    pub producer: Producer,
    /// Partitions of the one under way.
    pub partitions: Vec<Place>,
}

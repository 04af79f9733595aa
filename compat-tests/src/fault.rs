//! Breaks a broker on purpose, to see that a row notices: [`proxy`] stands between Reka and its clients
//! and does one [`Fault`] to what passes.
//!
//! [`PROOFS`] says which fault each row must fail on and what it must then say; `cargo compat prove-red`
//! runs rows so. A row that stays green, or fails with other words, has not been seen to look.

pub mod proxy;
mod wire;

use std::net::SocketAddr;
use std::sync::OnceLock;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::fault::proxy::Proxy;
use crate::rows::Row;
use crate::target::Against;

/// What is done to what passes. `topics` says by their ends which topics it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of every seven batches of records that are fetched one has lost its records.
    LoseRecords {
        /// The last letters of the names of topics; none for all but internal ones.
        topics: &'static [&'static str],
    },
    /// Committed offsets are told as one less.
    TellLess,
    /// Every seventh commit of offsets is acknowledged and not made.
    ForgetCommits,
    /// Offsets that are committed in transactions are acknowledged and not committed.
    ForgetOffsetsOfTransactions,
}

impl Fault {
    /// For the report.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Fault::LoseRecords { .. } => "fetched batches without their records",
            Fault::TellLess => "committed offsets told as one less",
            Fault::ForgetCommits => "commits acknowledged and not made",
            Fault::ForgetOffsetsOfTransactions => {
                "offsets of transactions acknowledged and not committed"
            }
        }
    }
}

/// A row, what it must fail on, and words of its finding.
#[derive(Debug)]
pub struct Proof {
    /// The row.
    pub row: &'static str,
    /// What is done to it.
    pub fault: Fault,
    /// The words.
    pub finding: &'static str,
}

const fn proof(row: &'static str, fault: Fault, finding: &'static str) -> Proof {
    Proof {
        row,
        fault,
        finding,
    }
}

const LOSE_ALL: Fault = Fault::LoseRecords { topics: &[] };
const LOSE_INPUT: Fault = Fault::LoseRecords { topics: &["in"] };
const LOSE_MIRRORED: Fault = Fault::LoseRecords {
    topics: &["from-reka"],
};

/// The rows of the commit tier that judge a broker of ours over the wire, and those of the nightly tier that
/// are not only longer. Apache Kafka's own tests start theirs
/// by themselves; that row has been seen to fail on each way to differ from its list.
pub const PROOFS: &[Proof] = &[
    proof("kafka-tools", LOSE_ALL, "consume every record in order"),
    proof("differential", Fault::TellLess, "compare the answers"),
    proof("kill", LOSE_ALL, "expected number"),
    proof("kill-groups", Fault::ForgetCommits, "was acknowledged and"),
    proof(
        "kill-transactions",
        Fault::ForgetOffsetsOfTransactions,
        "more than once",
    ),
    proof(
        "chaos",
        Fault::ForgetOffsetsOfTransactions,
        "more than once",
    ),
    proof(
        "streams",
        Fault::ForgetOffsetsOfTransactions,
        "look for the last counts",
    ),
    proof("flink", LOSE_INPUT, "is no window"),
    proof("spark", LOSE_INPUT, "is missing"),
    proof("connect", LOSE_ALL, "are in the topic"),
    proof(
        "streams-app",
        Fault::ForgetOffsetsOfTransactions,
        "times, expected 1",
    ),
    proof("system-tools", LOSE_ALL, "count what was written"),
    proof("mirror-maker", LOSE_MIRRORED, "arrived: "),
    proof("java-clients", Fault::TellLess, "group resumes"),
    proof("python", Fault::TellLess, "group resumes"),
    proof("go", Fault::TellLess, "group resumes"),
    proof("node", Fault::TellLess, "group resumes"),
];

/// The proofs of the rows that are named, or all.
pub fn proofs_of(names: &[String]) -> Result<Vec<&'static Proof>> {
    if names.is_empty() {
        return Ok(PROOFS.iter().collect());
    }
    let named = |name: &String| {
        let found = PROOFS.iter().find(|proof| proof.row == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = PROOFS.iter().map(|proof| proof.row).collect();
            let finding = format!("no proof of this row; there are: {}", known.join(", "));
            Error::refused(name, finding)
        })
    };
    names.iter().map(named).collect()
}

static CHOSEN: OnceLock<Fault> = OnceLock::new();

/// From here on every Reka that this process starts is broken so.
pub fn choose(fault: Fault) -> Result<()> {
    CHOSEN
        .set(fault)
        .map_err(|_| Error::refused("choose a fault", "one is chosen already"))
}

/// What stands at `address` before the Reka that is about to be started, and where that has to listen
/// then; nothing unless a fault is chosen.
pub fn stand_before(address: SocketAddr) -> Result<Option<(Proxy, SocketAddr)>> {
    let Some(fault) = CHOSEN.get() else {
        return Ok(None);
    };
    Proxy::start(*fault, address).map(Some)
}

/// Runs `row` against a broken Reka: what it said, which must be what the proof is of.
pub fn prove(row: &Row, proof: &Proof, ctx: &Context) -> Result<String> {
    choose(proof.fault)?;
    let ctx = ctx.clone().against_those(Some(Against::Reka));
    let step = format!("break the broker of {}: {}", row.name, proof.fault.about());
    let said = match (row.run)(&ctx) {
        Ok(verdict) => {
            let finding = format!("the row did not notice: {verdict:?}");
            return Err(Error::refused(step, finding));
        }
        Err(error @ Error::MissingTool { .. }) => return Err(error),
        Err(error) => error.to_string(),
    };
    match said.contains(proof.finding) {
        true => Ok(said),
        false => {
            let expected = proof.finding;
            let finding = format!("expected it to say {expected:?}, it said: {said}");
            Err(Error::refused(step, finding))
        }
    }
}

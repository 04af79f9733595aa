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
    /// A partition is told to have no producers.
    HideProducers,
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
            Fault::HideProducers => "producers of partitions that are not told",
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
    proof(
        "transactions-tool",
        Fault::HideProducers,
        "describe-producers at",
    ),
    proof("differential", Fault::TellLess, "compare the answers"),
    proof("kill", LOSE_ALL, "expected number"),
    proof("kill-groups", Fault::ForgetCommits, "was acknowledged and"),
    proof("churn", LOSE_ALL, "was committed and not processed"),
    proof("churn-brief", LOSE_ALL, "was committed and not processed"),
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
    proof("flink-cluster", LOSE_INPUT, "is no window"),
    proof("flink-sql", LOSE_ALL, "checks failed"),
    proof("spark", LOSE_INPUT, "is missing"),
    proof("spark-cassandra", LOSE_INPUT, "is missing"),
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
    proof("go-segmentio", Fault::TellLess, "group resumes"),
    proof("go-confluent", Fault::TellLess, "group resumes"),
    proof("node", Fault::TellLess, "group resumes"),
    proof("node-rdkafka", LOSE_ALL, "failed: `consume"),
    proof("rdkafka", Fault::TellLess, "group resumes"),
    proof("librdkafka-suite", LOSE_ALL, " failed: "),
    proof("rdkafka-suite", Fault::TellLess, " failed: "),
    proof("kafka-python-suite", LOSE_ALL, " failed: "),
    proof("node-rdkafka-suite", LOSE_ALL, " failed: "),
];

/// The rows no proof is of, and how they have been seen to fail.
pub const OTHERWISE: &[(&str, &str)] = &[
    (
        "control",
        "without Java, and with another cluster id than it was formatted with",
    ),
    ("kafka-log-dir", FILES),
    ("kafka-serves-kafka", FILES),
    ("dump-log", FILES),
    ("kafka-serves-ours", FILES),
    ("kafka-recovers-ours", FILES),
    ("client", NOT_OURS),
    ("rkctl", NOT_OURS),
    (
        "voters",
        "on a client that named another cluster with every change of voters",
    ),
    ("shims", BESIDE),
    ("shims-all", BESIDE),
    ("shims-kafka", BESIDE),
    (
        "floods",
        "on a broker whose pipelined requests waited for each other for ever",
    ),
    ("kafka-it", LISTED),
    ("kafka-it-core", LISTED),
    ("kafka-it-tools", LISTED),
    ("kafka-it-server", LISTED),
    ("kafka-it-connect", LISTED),
    ("flink-lines", "the judgement of `flink`"),
    ("spark-lines", "the judgement of `spark`"),
    ("connect-kills", "the judgement of `connect`"),
];
const FILES: &str = "breaks its files itself, in every run";
const NOT_OURS: &str =
    "asks Apache Kafka: on what our client and `rkctl` did otherwise when it was written";
const BESIDE: &str = "holds two programs against one broker, whose lies both believe: on lines that `rkctl` \
                      printed otherwise when it was written";
const LISTED: &str =
    "starts its brokers itself: on each way to differ from its list (`src/kafka_it.rs`)";

/// What the README says about all of them.
#[must_use]
pub fn page() -> String {
    let mut text = String::from("| Row | Broken how | Must say |\n|---|---|---|\n");
    for proof in PROOFS {
        let (row, about, finding) = (proof.row, proof.fault.about(), proof.finding);
        text += &format!("| `{row}` | {about} | {} |\n", finding.trim());
    }
    text += "\n| Row | No such proof, but |\n|---|---|\n";
    for (row, how) in OTHERWISE {
        text += &format!("| `{row}` | {how} |\n");
    }
    text
}

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::files;
    use crate::rows::ROWS;

    #[test]
    fn every_row_has_been_seen_to_fail_somehow() {
        for row in ROWS {
            let proofs = PROOFS.iter().filter(|proof| proof.row == row.name).count();
            let others = OTHERWISE.iter().filter(|(name, _)| *name == row.name);
            assert_eq!(
                proofs + others.count(),
                1,
                "how has {} been seen to fail?",
                row.name
            );
        }
        let known = |name: &str| ROWS.iter().any(|row| row.name == name);
        for name in PROOFS
            .iter()
            .map(|proof| proof.row)
            .chain(OTHERWISE.iter().map(|(row, _)| *row))
        {
            assert!(known(name), "no row is called {name}");
        }
    }

    #[test]
    fn the_list_of_the_readme_page_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = files::read_text(&file).expect("the README");
        let (begin, end) = (
            "<!-- proofs: written by a test -->\n",
            "<!-- end of proofs -->",
        );
        let (before, rest) = text.split_once(begin).expect("the first mark");
        let (found, after) = rest.split_once(end).expect("the second mark");
        if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
            let current = format!("{before}{begin}{}{end}{after}", page());
            return files::write(&file, current).expect("written");
        }
        assert!(
            found == page(),
            "compat-tests/README.md does not list what src/fault.rs has; write it with \
             UPDATE=1 cargo test -p reka-compat page_is_current"
        );
    }
}

//! What stock clients do against Reka and against Apache Kafka, as a page: `docs/compatibility.md`.
//!
//! `clients/checks.json` has the checks that each client has passed on both. A row that runs clients
//! against both compares what it saw with that file, so that neither a check nor a version changes
//! without the page; a test compares the page with the file. Both are written anew under `UPDATE=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::clients::checks::Run;
use crate::error::{Error, Result};
use crate::files;
use crate::rows::ROWS;

/// The checks of each client, by its name with its version, in the order they are made.
pub type Checks = BTreeMap<String, Vec<String>>;

/// A capability: a column, and how its checks are called.
struct Column {
    name: &'static str,
    about: &'static str,
    is_of: fn(&str) -> bool,
}

const COLUMNS: [Column; 9] = [
    Column {
        name: "produce",
        about: "acks=all, idempotent where the client can, with and without keys, null values, headers",
        is_of: |check| check.starts_with("produce "),
    },
    Column {
        name: "consume",
        about: "the same records, all of them, in order, offsets without gaps",
        is_of: |check| check.starts_with("consume ") && !check.contains("transform"),
    },
    Column {
        name: "groups (classic)",
        about: "two members share, commit and leave; a later one resumes; the group is described",
        is_of: |check| {
            matches!(
                check,
                "classic group" | "classic group resumes" | "describe classic group"
            )
        },
    },
    Column {
        name: "groups (KIP-848)",
        about: "the same with the protocol of KIP-848",
        is_of: |check| {
            matches!(
                check,
                "consumer group" | "consumer group resumes" | "describe consumer group"
            )
        },
    },
    Column {
        name: "static members",
        about: "a member of a name comes back to its partitions without a rebalance, and fences its double",
        is_of: |check| check == "static members",
    },
    Column {
        name: "transactions",
        about: "committed, aborted, open; consume, transform, produce; a fenced producer",
        is_of: |check| {
            matches!(
                check,
                "transactions" | "consume, transform, produce" | "a fenced producer"
            )
        },
    },
    Column {
        name: "admin",
        about: "topics are created, described with a changed setting, and deleted",
        is_of: |check| check.ends_with(" topics"),
    },
    Column {
        name: "refusals",
        about: "the client's own error for a topic that is not there and a record that is too large",
        is_of: |check| matches!(check, "unknown topic" | "too large"),
    },
    Column {
        name: "codecs",
        about: "in which records were produced and consumed",
        is_of: |_| false,
    },
];

/// Why a client has no check in a column, or has fewer codecs than five: by the first word of its name.
const REASONS: &[(&str, &str, &str)] = &[
    (
        "@platformatic/kafka",
        STATIC,
        "it leaves its group when it is closed, whatever its name in it",
    ),
    (
        "@platformatic/kafka",
        "codecs",
        "its zstd is that of Node from 22 on; 20 is what is run",
    ),
    ("aiokafka", GROUPS_848, LACKS),
    (
        "kafka-clients",
        GROUPS_848,
        "2.8 does not have them, 3.9 as a preview only, which is not tried",
    ),
    ("kafka-go", GROUPS_848, LACKS),
    ("kafka-go", STATIC, LACKS),
    ("kafka-go", TRANSACTIONS, LACKS),
    ("kafka-python", GROUPS_848, LACKS),
    ("kafkajs", GROUPS_848, LACKS),
    ("kafkajs", STATIC, LACKS),
    (
        "node-rdkafka",
        STATIC,
        "closing a member that watches its rebalances does not end in it",
    ),
    (
        "node-rdkafka",
        "codecs",
        "its librdkafka has zstd only where the machine has its headers",
    ),
    ("rdkafka", STATIC, HAS),
    ("sarama", GROUPS_848, LACKS),
];
const GROUPS_848: &str = "groups (KIP-848)";
const STATIC: &str = "static members";
const TRANSACTIONS: &str = "transactions";
const LACKS: &str = "the client does not have them";
const HAS: &str = "not tried here, though the client may have them";

const CODECS: usize = 5;

fn checks_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/checks.json")
}

/// The page.
#[must_use]
pub fn page_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md")
}

/// What every client has passed.
pub fn checks() -> Result<Checks> {
    files::read_json(&checks_file())
}

/// An error if clients that passed on both brokers did not make the checks that the page tells of.
pub fn expect_recorded(runs: &[Run]) -> Result<()> {
    let mut known = checks()?;
    let mut differ = Vec::new();
    for run in runs {
        let made: Vec<String> = run.checks.iter().map(|check| check.check.clone()).collect();
        if known.get(run.client) != Some(&made) {
            differ.push(run.client);
            known.insert(run.client.to_owned(), made);
        }
    }
    if differ.is_empty() {
        return Ok(());
    }
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        files::write_json(&checks_file(), &known)?;
        return files::write(&page_file(), page(&known));
    }
    let finding = format!(
        "other checks than compat-tests/clients/checks.json has of {}; run the row again with UPDATE=1 and \
         read what it changes",
        differ.join(", ")
    );
    Err(Error::refused("compare with the matrix", finding))
}

/// The table, and what its columns mean.
#[must_use]
pub fn table(checks: &Checks) -> String {
    let mut text = String::from("| Client |");
    for column in &COLUMNS {
        let _ = write!(text, " {} |", column.name);
    }
    text += "\n|---|";
    text += &"---|".repeat(COLUMNS.len());
    text += "\n";
    let mut reasons = BTreeSet::new();
    for (client, made) in checks {
        let _ = write!(text, "| {client} |");
        for column in &COLUMNS {
            let _ = write!(text, " {} |", cell(client, column, made, &mut reasons));
        }
        text += "\n";
    }
    text += "\n";
    for reason in reasons {
        let _ = writeln!(text, "- {reason}");
    }
    text
}

fn cell(client: &str, column: &Column, made: &[String], reasons: &mut BTreeSet<String>) -> String {
    let (shown, whole) = if column.name == "codecs" {
        let codecs = codecs(made);
        (codecs.join(" "), codecs.len() == CODECS)
    } else {
        let count = made.iter().filter(|check| (column.is_of)(check)).count();
        (format!("✓ {count}"), count > 0)
    };
    if whole {
        return shown;
    }
    let reason = reason_of(client, column.name).unwrap_or("not tried");
    let name = client.split(' ').next().unwrap_or(client);
    reasons.insert(format!("{name}, {}: {reason}", column.name));
    match column.name {
        "codecs" => format!("{shown} *"),
        _ => "– *".to_owned(),
    }
}

fn codecs(made: &[String]) -> Vec<&str> {
    let of = |verb: &'static str| {
        made.iter()
            .filter_map(move |check| check.strip_prefix(verb))
            .collect::<BTreeSet<&str>>()
    };
    let (produced, consumed) = (of("produce "), of("consume "));
    produced.intersection(&consumed).copied().collect()
}

fn reason_of(client: &str, column: &str) -> Option<&'static str> {
    let (name, _) = client.split_once(' ').unwrap_or((client, ""));
    REASONS
        .iter()
        .find(|(of, in_column, _)| *of == name && *in_column == column)
        .map(|(_, _, reason)| *reason)
}

/// The whole page.
#[must_use]
pub fn page(checks: &Checks) -> String {
    let mut text = String::from(
        "# What has been seen to work\n\n\
         Written by a test from `compat-tests/clients/checks.json` and the runner's list of rows; nobody \
         edits it.\n\n\
         ## Stock clients\n\n\
         Each cell counts named checks that a client's own program made and that held on this commit, on Apache \
         Kafka 4.3.1 and on Reka alike: `cargo compat run java-clients python go go-segmentio go-confluent node node-rdkafka rdkafka` makes them all, and fails \
         if one is missing, new or of another version than here. Where a cell is empty (*), the line below says why.\n\n",
    );
    text += &table(checks);
    text += "\n| Column | What must hold |\n|---|---|\n";
    for column in &COLUMNS {
        let _ = writeln!(text, "| {} | {} |", column.name, column.about);
    }
    text += "\nThe checks one by one: [compat-tests/clients/README.md](../compat-tests/clients/README.md).\n\n\
             ## All rows\n\n\
             What `cargo compat run NAME` runs. Those of the commit tier (`ci`) pass on every commit; how each has \
             been seen to fail is in [compat-tests/README.md](../compat-tests/README.md).\n\n\
             | Row | Tier | What it judges |\n|---|---|---|\n";
    for row in ROWS {
        let tiers: Vec<&str> = row.tiers.iter().map(|tier| tier.name()).collect();
        let tiers = match tiers.is_empty() {
            true => "on demand".to_owned(),
            false => tiers.join(", "),
        };
        let _ = writeln!(text, "| `{}` | {tiers} | {} |", row.name, row.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(client: &str, made: &[&str]) -> Checks {
        let made = made.iter().map(|check| (*check).to_owned()).collect();
        BTreeMap::from([(client.to_owned(), made)])
    }

    #[test]
    fn a_cell_counts_checks_and_an_empty_one_has_a_line() {
        let text = table(&of(
            "stock 1.0",
            &[
                "produce none",
                "consume none",
                "produce zstd",
                "describe topics",
            ],
        ));
        assert!(text.contains("| stock 1.0 | ✓ 2 | ✓ 1 | – * |"), "{text}");
        assert!(text.contains("| ✓ 1 | – * | none * |\n"), "{text}");
        assert!(
            text.contains("- stock, transactions: not tried\n"),
            "{text}"
        );
    }

    #[test]
    fn the_clients_are_those_there_are_programs_for() {
        let checks = checks().expect("the file");
        let told: Vec<&str> = checks.keys().map(String::as_str).collect();
        assert_eq!(told, crate::clients::NAMES);
    }

    #[test]
    fn every_check_has_its_column() {
        let checks = checks().expect("the file");
        for check in checks.values().flatten() {
            let columns = COLUMNS.iter().filter(|column| (column.is_of)(check));
            assert_eq!(columns.count(), 1, "columns of {check:?}");
        }
    }

    #[test]
    fn every_empty_cell_has_a_reason_and_every_reason_a_cell() {
        let checks = checks().expect("the file");
        let mut used = BTreeSet::new();
        for (client, made) in &checks {
            let name = client.split(' ').next().expect("a name");
            for column in &COLUMNS {
                let whole = match column.name {
                    "codecs" => codecs(made).len() == CODECS,
                    _ => made.iter().any(|check| (column.is_of)(check)),
                };
                if !whole {
                    let reason = reason_of(client, column.name);
                    assert!(reason.is_some(), "{client} in {}: why?", column.name);
                    used.insert((name, column.name));
                }
            }
        }
        for (name, column, _) in REASONS {
            assert!(
                used.contains(&(*name, *column)),
                "{name} in {column} is there"
            );
        }
    }

    #[test]
    fn the_page_is_current() {
        let expected = page(&checks().expect("the file"));
        if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
            files::write(&page_file(), &expected).expect("written");
        }
        let found = files::read_text(&page_file()).unwrap_or_default();
        assert!(
            found == expected,
            "docs/compatibility.md is not what the code and clients/checks.json say; write it with \
             UPDATE=1 cargo test -p reka-compat page_is_current"
        );
    }
}

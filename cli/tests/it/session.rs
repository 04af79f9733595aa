//! Conversations in files: `testdata/<name>.txt` has commands and what they say.
//!
//! ```text
//! # a comment
//! $ rkctl topic list
//! what it writes to standard output
//! ! what it writes to standard error
//! [exit 3]
//! ```
//!
//! `UPDATE=1 cargo test -p rkctl` writes what was said; read it before committing. What differs from
//! run to run is replaced by something of the same length.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reka_client::{Client, ClientConfig};
use reka_protocol::ErrorCode;

use crate::server::{Server, eventually, is_foreign, usable};

/// What a command said.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) exit: i32,
}

/// Runs `rkctl` with arguments as a shell would take them; quotes keep spaces together.
pub(crate) fn rkctl(server: &Server, line: &str) -> Said {
    let said = run(server, line);
    // Apache Kafka's brokers learn of a change a moment after it is acknowledged.
    if is_foreign() && !line.contains("--dry-run") {
        settle(server, line, &said);
    }
    said
}

/// Waits until every broker shows what a command has changed.
fn settle(server: &Server, line: &str, said: &Said) {
    let words = words(line);
    let names = words.iter().skip(2).filter(|name| {
        let quoted = format!("\"{name}\"");
        let named = |row: &str| row.contains(&quoted) || row.split(' ').next() == Some(name);
        said.out.lines().any(named)
    });
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["topic", "copy", _, to, ..] if said.exit == 0 => wait(server, to, true),
        ["topic", "create", ..] => names.for_each(|name| wait(server, name, true)),
        ["topic", "delete", ..] => names.for_each(|name| wait(server, name, false)),
        ["apply", file, ..] if said.exit == 0 => {
            let began = Instant::now();
            while run(server, &format!("plan {file} -o json")).out.trim() != "[]" {
                assert!(began.elapsed().as_secs() < 60, "{file} is never applied");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        _ => {}
    }
}

/// Waits until a topic can be used, or is gone.
fn wait(server: &Server, name: &str, usable_then: bool) {
    let config = ClientConfig::new(server.address().parse().expect("an address"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let client = Client::new(config);
        let asked = [name.to_owned()];
        let is_there = async || {
            let described = client.describe_topics(&asked).await.expect("answers");
            let gone = ErrorCode::UnknownTopicOrPartition;
            !matches!(&described[0].1, Err(refusal) if refusal.is(gone))
        };
        match usable_then {
            true => usable(&client, name).await,
            false => eventually("the topic is gone", async || !is_there().await).await,
        }
    });
}

/// The command with a home of its own, for a server.
pub(crate) fn command(server: &Server, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rkctl"));
    command
        .args(words(line))
        .env("KAFKA_BOOTSTRAP_SERVERS", server.address())
        .env("HOME", server.home())
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME")
        .current_dir(server.home())
        .stdin(Stdio::null());
    command
}

fn run(server: &Server, line: &str) -> Said {
    let output = command(server, line).output().expect("rkctl");
    Said {
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
        exit: output.status.code().expect("an exit code"),
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (nth, part) in line.split('\'').enumerate() {
        match nth % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn path(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata");
    tests.join(format!("{name}.txt"))
}

/// Holds a conversation and compares it with its file.
pub(crate) fn hold(server: &Server, name: &str) {
    let path = path(name);
    let expected = std::fs::read_to_string(&path).expect("the conversation");
    let mut held = String::new();
    for turn in turns(&expected) {
        held += &turn.comment;
        held += &take(server, &turn);
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, held).expect("written");
        return;
    }
    let (held, expected) = (comparable(&held), comparable(&expected));
    for (nth, (held, expected)) in held.lines().zip(expected.lines()).enumerate() {
        assert_eq!(held, expected, "{} line {}", path.display(), nth + 1);
    }
    assert_eq!(
        held.lines().count(),
        expected.lines().count(),
        "{}",
        path.display()
    );
}

/// Error codes are the same everywhere; what brokers say about them is each broker's own.
fn comparable(text: &str) -> String {
    if !is_foreign() {
        return text.to_owned();
    }
    let without_message = |line: &str| {
        let (before, api) = line.rsplit_once(" (")?;
        let at = before.match_indices(": ").find_map(|(at, _)| {
            let (code, _) = before[at + 2..].split_once(": ")?;
            let is_code = code
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            is_code.then_some(at + 2 + code.len())
        })?;
        Some(format!("{} ({api}", &before[..at]))
    };
    text.lines()
        .map(|line| match line.starts_with("! ") {
            true => without_message(line).unwrap_or_else(|| line.to_owned()) + "\n",
            false => format!("{line}\n"),
        })
        .collect()
}

/// A command with what it is expected to say.
struct Turn {
    comment: String,
    command: String,
    expected: String,
}

fn turns(text: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ rkctl ") {
            turns.push(Turn {
                comment: std::mem::take(&mut comment),
                command: command.to_owned(),
                expected: format!("{line}\n"),
            });
        } else if line.starts_with("# ") {
            comment += &format!("{line}\n");
        } else if let Some(turn) = turns.last_mut() {
            turn.expected += &format!("{line}\n");
        }
    }
    turns
}

fn take(server: &Server, turn: &Turn) -> String {
    let began = Instant::now();
    loop {
        let said = shown(server, turn);
        // Apache Kafka's brokers learn of a change a moment after it is acknowledged.
        let may_lag = is_foreign() && is_question(&turn.command);
        if !may_lag
            || comparable(&said).trim() == comparable(&turn.expected).trim()
            || began.elapsed().as_secs() > 20
        {
            return said;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_question(command: &str) -> bool {
    let questions = [
        "list",
        "describe",
        "get",
        "offsets",
        "members",
        "brokers",
        "plan",
        "export",
        "--dry-run",
        "diff",
    ];
    command
        .split_whitespace()
        .any(|word| questions.contains(&word))
}

fn shown(server: &Server, turn: &Turn) -> String {
    let said = rkctl(server, &turn.command);
    let mut text = format!("$ rkctl {}\n{}", turn.command, said.out);
    for line in said.err.lines() {
        text += &format!("! {line}\n");
    }
    if said.exit != 0 {
        text += &format!("[exit {}]\n", said.exit);
    }
    // Free ports have five digits.
    let port = server.address().rsplit(':').next().unwrap_or_default();
    masked(&text.replace(port, "19092")) + "\n"
}

/// Ids and times, each replaced by one of the same length.
fn masked(text: &str) -> String {
    const ID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    const MILLISECONDS: &str = "ddddddddddddd";
    const TIME: &str = "dddd-dd-ddTdd:dd:dd.dddZ";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if fits(rest, ID) && !out.ends_with(|c: char| c.is_ascii_alphanumeric()) {
            out += "00000000-0000-4000-8000-000000000000";
            rest = &rest[ID.len()..];
        } else if fits(rest, MILLISECONDS) {
            out += "1700000000000";
            rest = &rest[MILLISECONDS.len()..];
        } else if fits(rest, TIME) {
            out += "2026-01-01T00:00:00.000Z";
            rest = &rest[TIME.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Whether text begins as a form says: `x` is a hexadecimal digit, `d` a digit.
fn fits(text: &str, form: &str) -> bool {
    text.len() >= form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(byte, form)| match form {
                b'x' => byte.is_ascii_hexdigit(),
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            })
}

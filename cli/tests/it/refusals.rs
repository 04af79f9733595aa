//! What goes wrong without a broker, or with the wrong one: exit codes and sentences.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::Server;
use crate::session::rkctl;

fn run(args: &[&str]) -> (String, String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_rkctl"))
        .args(args)
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .env("XDG_CONFIG_HOME", "/nowhere")
        .stdin(Stdio::null())
        .output()
        .expect("rkctl");
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
        output.status.code().expect("an exit code"),
    )
}

#[test]
fn a_wrong_command_line_is_exit_2_and_nothing_on_standard_output() {
    let check = |args: &[&str], expected: &str| {
        let (out, err, exit) = run(args);
        assert_eq!((out.as_str(), exit), ("", 2), "{args:?}: {err}");
        assert!(err.contains(expected), "{args:?}: {err}");
    };
    check(&["topik"], "topic");
    check(&["topic", "lst"], "list");
    check(&["topic", "create"], "<TOPIC>");
    check(&["topic", "create", "a", "-p", "0"], "not in 1..");
    check(
        &["topic", "create", "a", "-c", "retention"],
        "expected KEY=VALUE",
    );
    check(&["topic", "list", "-o", "xml"], "jsonl");
    check(&["topic", "list", "--timeout", "3w"], "no unit");
    check(&["topic", "list", "-b", "a:b:c"], "in brackets");
    check(&["topic", "list", "-b", "host:99999"], "1 to 65535");
    check(
        &["group", "seek", "g", "--to", "beginning"],
        "expected start, end",
    );
}

/// Nothing listens on port 1.
#[test]
fn a_broker_that_is_not_there_is_exit_5_at_once_with_address_and_next_step() {
    let began = Instant::now();
    let (out, err, exit) = run(&["-b", "127.0.0.1:1,localhost:1", "topic", "list"]);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!((out.as_str(), exit), ("", 5), "{err}");
    for expected in [
        "127.0.0.1:1: cannot connect",
        "localhost:1: cannot connect",
        "-b HOST:PORT",
    ] {
        assert!(err.contains(expected), "{err}");
    }
}

#[test]
fn destruction_without_consent_is_refused_where_nobody_can_be_asked() {
    let server = Server::start();
    assert_eq!(rkctl(&server, "topic create precious").exit, 0);
    let said = rkctl(&server, "topic delete precious");
    assert_eq!(said.exit, 2, "{}", said.err);
    assert!(said.err.contains("--yes"), "{}", said.err);
    let said = rkctl(&server, "topic list precious -o jsonl");
    assert!(said.out.contains("\"name\":\"precious\""), "{}", said.out);
}

/// `rkctl … | head -1` ends without a word.
#[test]
fn a_closed_pipe_is_no_failure() {
    let server = Server::start();
    let mut process = Command::new(env!("CARGO_BIN_EXE_rkctl"))
        .args([
            "cluster",
            "config",
            "get",
            "--all",
            "-o",
            "json",
            "-b",
            server.address(),
        ])
        .args(["--broker", &broker(&server)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rkctl");
    let mut out = BufReader::new(process.stdout.take().expect("standard output"));
    let mut first = String::new();
    // Its output is more than a pipe holds, so it is still writing when the pipe goes.
    out.read_line(&mut first).expect("a line");
    drop(out);
    let status = process.wait().expect("an end");
    let mut err = String::new();
    let mut talk = process.stderr.take().expect("standard error");
    talk.read_to_string(&mut err).expect("text");
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
}

fn broker(server: &Server) -> String {
    let said = rkctl(server, "cluster brokers -o json");
    let brokers: serde_json::Value = serde_json::from_str(&said.out).expect("json");
    brokers[0]["broker"].to_string()
}

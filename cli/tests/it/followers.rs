//! `rkctl topic consume` as a member of a group, until Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::Server;
use crate::session::{command, rkctl};

const PATIENCE: Duration = Duration::from_secs(60);

/// Ctrl-C, as a terminal sends it.
fn interrupt(process: &Child) {
    let pid = rustix::process::Pid::from_child(process);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a process");
}

fn members(server: &Server, group: &str) -> Vec<Value> {
    let said = rkctl(server, &format!("group members {group} -o json"));
    let rows: Value = serde_json::from_str(&said.out).unwrap_or_default();
    rows.as_array().cloned().unwrap_or_default()
}

/// A member that only fell silent would be there for its whole session, 45 s.
#[test]
fn ctrl_c_commits_what_was_shown_and_leaves_the_group_at_once() {
    let server = Server::start();
    let topic = "left-orders";
    assert_eq!(rkctl(&server, &format!("topic create {topic}")).exit, 0);
    std::fs::write(server.home().join("l-lines.txt"), "one\ntwo\n").expect("written");
    let said = rkctl(
        &server,
        &format!("topic produce {topic} --file l-lines.txt"),
    );
    assert_eq!(said.exit, 0, "{}", said.err);

    let line = format!("topic consume {topic} --group left-group --follow");
    let mut process = command(&server, &line)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rkctl");
    let out = BufReader::new(process.stdout.take().expect("standard output"));
    let shown: Vec<String> = out
        .lines()
        .take(2)
        .map(|line| line.expect("text"))
        .collect();
    assert_eq!(shown, ["one", "two"]);
    assert_eq!(members(&server, "left-group").len(), 1, "it is a member");

    interrupt(&process);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = process.try_wait().expect("a process") {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(0));
    assert_eq!(members(&server, "left-group"), [] as [Value; 0]);
    let said = rkctl(&server, "group describe left-group -o json");
    let groups: Value = serde_json::from_str(&said.out).expect("json");
    assert_eq!(
        groups[0]["partitions"][0]["committed_offset"], 2,
        "{groups}"
    );
}

#[test]
fn a_member_takes_no_partitions_of_its_choice() {
    let server = Server::start();
    rkctl(&server, "topic create left-choice");
    let said = rkctl(&server, "topic consume left-choice:0 --group g -F");
    assert_eq!(said.exit, 2, "{}", said.err);
    assert!(
        said.err.contains("deals out the partitions of left-choice"),
        "{}",
        said.err
    );
    let said = rkctl(&server, "topic consume left-choice --group g -F --to end");
    assert_eq!(said.exit, 2, "{}", said.err);
}

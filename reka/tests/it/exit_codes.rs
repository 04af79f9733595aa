//! What keeps the server from starting is one sentence and an exit code of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use crate::server::{Running, reka};

/// Longer than a start takes; a hang fails instead.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a start that must fail; its code and what it said.
fn fails(mut command: Command) -> (Option<i32>, String) {
    let child = command.spawn().expect("the server");
    let Output { status, stderr, .. } = end(child);
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(said.trim_end().lines().count(), 1, "one sentence: {said}");
    (status.code(), said)
}

fn end(mut child: Child) -> Output {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a process").is_none() {
        assert!(Instant::now() < deadline, "it did not end");
        std::thread::yield_now();
    }
    child.wait_with_output().expect("its output")
}

#[test]
fn a_wrong_configuration_is_2() {
    let dir = tempfile::tempdir().expect("a folder");
    let (code, said) = fails(reka(dir.path(), &["num.partitons=3"]));
    assert_eq!(code, Some(2));
    assert!(
        said.contains("num.partitons") && said.contains("num.partitions"),
        "{said}"
    );
    let (code, said) = fails(reka(dir.path(), &["num.partitions=none"]));
    assert_eq!(code, Some(2));
    assert!(
        said.contains("num.partitions") && said.contains("none"),
        "{said}"
    );
}

#[test]
fn a_port_in_use_is_4() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let line = format!("listeners=PLAINTEXT://{address}");
    let (code, said) = fails(reka(dir.path(), &[&line]));
    assert_eq!(code, Some(4));
    assert!(said.contains(&address.to_string()), "{said}");
    let line = format!("reka.http.listener={address}");
    assert_eq!(fails(reka(dir.path(), &[&line])).0, Some(4));
}

#[test]
fn a_directory_that_cannot_be_made_is_5() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").expect("a file");
    let (code, said) = fails(reka(&file.join("data"), &[]));
    assert_eq!(code, Some(5));
    assert!(said.contains(&file.display().to_string()), "{said}");
}

#[test]
fn a_directory_that_fails_while_it_is_used_is_5_and_reported_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let soon = "log.flush.offset.checkpoint.interval.ms=50";
    let mut running = Running::start(reka(&data, &[soon]));
    std::fs::rename(&data, dir.path().join("gone")).expect("moved away");
    let deadline = Instant::now() + PATIENCE;
    while running.child.try_wait().expect("a process").is_none() {
        assert!(Instant::now() < deadline, "it goes on without its data");
        std::thread::yield_now();
    }
    assert_eq!(running.child.wait().expect("ended").code(), Some(5));
    let mut said = String::new();
    let stderr = running.child.stderr.as_mut().expect("standard error");
    std::io::Read::read_to_string(stderr, &mut said).expect("text");
    assert_eq!(said.matches("is offline since").count(), 1, "{said}");
    assert!(said.contains("no log directory is in use"), "{said}");
    assert!(said.contains(&data.display().to_string()), "{said}");
}

#[test]
fn a_directory_in_use_is_6() {
    let dir = tempfile::tempdir().expect("a folder");
    let _first = Running::start(reka(dir.path(), &[]));
    let (code, said) = fails(reka(dir.path(), &[]));
    assert_eq!(code, Some(6));
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_directory_of_another_broker_or_cluster_is_7() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(Running::start(reka(dir.path(), &[])));
    let (code, said) = fails(reka(dir.path(), &["node.id=2"]));
    assert_eq!(code, Some(7));
    assert!(
        said.contains("node.id 1") && said.contains("has 2"),
        "{said}"
    );
    let mut other = reka(dir.path(), &[]);
    other.env("CLUSTER_ID", "MkU3OEVBNTcwNTJENDM2Qg");
    let (code, said) = fails(other);
    assert_eq!(code, Some(7));
    assert!(said.contains("cluster.id"), "{said}");
}

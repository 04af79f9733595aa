//! What the runner does with what it cannot work with: it says which step of which row, and where the log is; it
//! leaves nothing half made behind, and exits with another status than 0.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reka_compat::context::Context;
use reka_compat::control::java::Java;
use reka_compat::control::kafka::Kafka;
use reka_compat::reka::Reka;

/// The runner, with all its files below `folder` and no program in reach but those in `folder/bin`.
fn runner(folder: &Path, args: &[&str]) -> Command {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_reka-compat"));
    command
        .args(args)
        .env("PATH", bin)
        .env("TMPDIR", folder)
        .env("REKA_CACHE", folder.join("cache"))
        .env_remove("CI");
    command
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn program(folder: &Path, name: &str, script: &str) {
    let file = folder.join("bin").join(name);
    fs::create_dir_all(folder.join("bin")).expect("a folder");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("to be run");
}

/// An address, and what holds it.
fn held() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

#[test]
fn a_wrong_address_fails_its_row_before_anything_is_prepared() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listener, address) = held();
    drop(listener);
    let against = ["run", "churn", "--against", &address.to_string()];
    let output = runner(folder.path(), &against)
        .output()
        .expect("the runner");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let step = format!("ask the broker at {address} for its metadata: ");
    assert!(
        said.contains("FAILED  churn") && said.contains(&step),
        "{said}"
    );
    assert!(output.stdout.ends_with(b"0 passed, 1 failed\n"), "{said}");
    assert!(!folder.path().join("cache").exists(), "nothing was fetched");
}

#[test]
fn what_answers_otherwise_than_a_broker_is_no_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listener, address) = held();
    let web = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().expect("the runner");
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .expect("an answer");
    });
    let against = ["run", "churn", "--against", &address.to_string()];
    let output = runner(folder.path(), &against)
        .output()
        .expect("the runner");
    web.join().expect("it answered");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the answer belongs to another request"),
        "{said}"
    );
}

#[test]
fn an_address_that_is_none_is_refused_with_what_is_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["run", "churn", "--against", "nowhere"];
    let output = runner(folder.path(), &args).output().expect("the runner");
    assert_eq!(output.status.code(), Some(2));
    let said = said(&output);
    assert!(
        said.contains("expected kafka, reka or an address such as"),
        "{said}"
    );
}

#[test]
fn a_row_whose_broker_cannot_be_chosen_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    for (row, against, why) in [
        (
            "differential",
            "kafka",
            "it holds Apache Kafka and Reka beside each other",
        ),
        (
            "kill",
            "127.0.0.1:9",
            "it starts its broker, to configure or to kill it",
        ),
    ] {
        let args = ["run", row, "--against", against];
        let output = runner(folder.path(), &args).output().expect("the runner");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with(&format!("{row}: ")) && said.contains(why),
            "{said}"
        );
    }
}

#[test]
fn a_stack_that_cannot_be_installed_is_named_with_its_log_and_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().expect("a folder");
    program(
        folder.path(),
        "npm",
        "echo the registry is closed >&2; exit 9",
    );
    let output = runner(folder.path(), &["run", "node"])
        .output()
        .expect("the runner");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let step = "install the Node packages of node: ended with exit status: 9; log: ";
    let (_, rest) = said
        .split_once(step)
        .unwrap_or_else(|| panic!("no {step:?} in {said}"));
    let log = PathBuf::from(rest.split(';').next().expect("the log"));
    let told = fs::read_to_string(&log).expect("the log is kept");
    assert_eq!(told, "the registry is closed\n");
    let left = fs::read_dir(folder.path().join("cache")).expect("the cache");
    for home in left {
        let inside = fs::read_dir(home.expect("an entry").path()).expect("a folder");
        assert_eq!(inside.count(), 0, "half of it was left in the cache");
    }
}

#[test]
fn a_toolchain_that_is_not_there_skips_its_row_but_not_where_the_verdict_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = runner(folder.path(), &["run", "node"])
        .output()
        .expect("the runner");
    let skipped = said(&output);
    assert!(output.status.success(), "{skipped}");
    assert!(skipped.contains("`npm` is not installed"), "{skipped}");
    let last = b"0 passed, 0 failed, 1 skipped\n";
    assert!(output.stdout.ends_with(last), "{skipped}");
    let mut in_ci = runner(folder.path(), &["run", "node"]);
    let output = in_ci.env("CI", "true").output().expect("the runner");
    let failed = said(&output);
    assert_eq!(output.status.code(), Some(1), "{failed}");
    assert!(
        failed.contains("FAILED  node") && failed.contains("`npm`"),
        "{failed}"
    );
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_listener, address) = held();
    let home = folder.path().join("broker");
    let server = Path::new("/nowhere/reka");
    let refused = Reka::start_at(address, server, &home, &[], &[]).expect_err("the port is held");
    let ctx = Context::new(folder.path());
    let java = Java::of_jars(&ctx, Path::new("/nowhere"));
    let control = Kafka::start_at(&java, &home, &[], address).expect_err("the port is held");
    for (told, name) in [(refused, "start reka"), (control, "start Apache Kafka")] {
        let told = told.to_string();
        let step = format!("{name} at {address}, which somebody else may have: ");
        assert!(told.starts_with(&step), "{told}");
    }
    assert!(!home.exists(), "its folder was made");
}

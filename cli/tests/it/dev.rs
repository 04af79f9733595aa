//! A broker of `rkctl dev`, from up to down.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::server::{built, is_foreign};

struct Dev {
    state: tempfile::TempDir,
}

impl Dev {
    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rkctl"))
            .args(args)
            .env("XDG_STATE_HOME", self.state.path())
            .env("REKA_SERVER", built())
            .stdin(Stdio::null())
            .output()
            .expect("rkctl")
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["-o", "json"]].concat());
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {err}");
        serde_json::from_slice(&output.stdout).expect("json")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.run(&["dev", "kill"]);
    }
}

#[test]
fn a_broker_comes_up_keeps_its_data_through_a_kill_and_goes_down() {
    if is_foreign() {
        return;
    }
    let state = tempfile::tempdir().expect("a folder");
    let dev = Dev { state };
    assert_eq!(dev.json(&["dev", "status"])["running"], false);
    let none = dev.run(&["dev", "kill"]);
    assert_eq!(none.status.code(), Some(3), "nothing is running");

    let began = Instant::now();
    let up = dev.json(&["dev", "up"]);
    println!("up after {:?}", began.elapsed());
    assert_eq!(up["running"], true);
    let address = up["bootstrap_server"]
        .as_str()
        .expect("an address")
        .to_owned();
    assert_eq!(
        dev.json(&["dev", "up"])["pid"],
        up["pid"],
        "it is up already"
    );
    dev.json(&["-b", &address, "topic", "create", "kept"]);

    assert_eq!(dev.json(&["dev", "kill"])["running"], false);
    let again = dev.json(&["dev", "restart"]);
    assert_eq!(again["bootstrap_server"], up["bootstrap_server"]);
    assert_ne!(again["pid"], up["pid"]);
    let topics = dev.json(&["-b", &address, "topic", "list"]);
    assert_eq!(topics[0]["name"], "kept");
    let log = dev.run(&["dev", "logs"]);
    assert!(String::from_utf8_lossy(&log.stdout).contains("is ready"));

    let refused = dev.run(&["dev", "down", "--purge"]);
    assert_eq!(refused.status.code(), Some(2), "it needs consent");
    let down = dev.json(&["dev", "down", "--purge", "--yes"]);
    assert_eq!(down["running"], false);
    assert!(!std::path::Path::new(down["data"].as_str().expect("a path")).exists());
}

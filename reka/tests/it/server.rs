//! The server, as a person starts it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The command line of a server on a free port, with its data in `dir` and `more` settings.
pub(crate) fn reka(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reka"));
    command
        .args(["-o", "listeners=PLAINTEXT://127.0.0.1:0"])
        .args(["-o", "reka.http.listener="])
        .args(["-o", &format!("log.dirs={}", dir.display())]);
    for line in more {
        command.args(["-o", line]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running server, killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Where clients come in.
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command.spawn().expect("the server");
        let out = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(out).lines().map(|line| line.expect("text"));
        let ready = lines.next().expect("a banner");
        assert!(ready.contains("is ready"), "{ready}");
        let kafka = lines.next().expect("an address");
        let address = kafka.split_whitespace().nth(1).map(str::parse);
        let address = address.and_then(Result::ok);
        Running {
            child,
            address: address.unwrap_or_else(|| panic!("an address in {kafka:?}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

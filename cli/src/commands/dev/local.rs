//! The broker of `rkctl dev`: its folder, its process, the note that says which it is.
//!
//! ```text
//! $XDG_STATE_HOME/reka/dev/    or ~/.local/state/reka/dev/
//!   node.json                  process id, address, path of the server
//!   node.log                   what it writes
//!   data/                      its records
//! ```

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reka_client::{Client, ClientConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use crate::output::Report;
use crate::session::state_dir;
use crate::table::{Page, or_none, yes_no};

/// Names another server than the one beside this command.
const SERVER_VARIABLE: &str = "REKA_SERVER";
const START_TIME_MAX: Duration = Duration::from_secs(30);
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The folder, whether anything runs in it or not.
#[derive(Debug)]
pub(super) struct Local {
    dir: PathBuf,
}

/// A broker that was started there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) pid: i32,
    pub(super) address: String,
    pub(super) server: PathBuf,
}

/// What is shown of it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    running: bool,
    bootstrap_server: Option<String>,
    pid: Option<i32>,
    data: String,
    log: String,
}

impl Report for Shown {
    fn page(&self) -> Page {
        Page::default().pairs(vec![
            ("running", yes_no(self.running)),
            ("bootstrap server", or_none(self.bootstrap_server.as_ref())),
            ("process", or_none(self.pid)),
            ("data", self.data.clone()),
            ("log", self.log.clone()),
        ])
    }
}

impl Local {
    pub(super) fn find() -> Result<Self, Failure> {
        Ok(Local {
            dir: state_dir()?.join("dev"),
        })
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn note(&self) -> PathBuf {
        self.dir.join("node.json")
    }

    /// The broker that was started last, if it has not been stopped.
    pub(super) fn last(&self) -> Result<Option<Note>, Failure> {
        let path = self.note();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable("read", &path, &error)),
        };
        let note = serde_json::from_str(&text).map_err(|error| {
            let text = format!("{} is not what rkctl writes: {error}", path.display());
            Failure::other(text).hint("remove it if nothing runs any more")
        })?;
        Ok(Some(note))
    }

    /// The same if it runs.
    pub(super) fn running(&self) -> Result<Option<Note>, Failure> {
        Ok(self.last()?.filter(|note| self.is_running(note)))
    }

    pub(super) fn expect_running(&self) -> Result<Note, Failure> {
        self.running()?.ok_or_else(|| {
            Failure::not_found("nothing is running here").hint("rkctl dev up starts a broker")
        })
    }

    /// A process id may be another program's by now: this one has our folder on its command line.
    fn is_running(&self, note: &Note) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", note.pid)).unwrap_or_default();
        let dir = self.data();
        let dir = dir.to_string_lossy();
        String::from_utf8_lossy(&line).contains(dir.as_ref())
    }

    pub(super) fn shown(&self) -> Result<Shown, Failure> {
        let running = self.running()?;
        Ok(Shown {
            running: running.is_some(),
            bootstrap_server: running.as_ref().map(|note| note.address.clone()),
            pid: running.map(|note| note.pid),
            data: self.data().display().to_string(),
            log: self.log().display().to_string(),
        })
    }

    /// Starts a broker and waits until it serves.
    pub(super) async fn start(&self, port: Option<u16>) -> Result<Note, Failure> {
        fs::create_dir_all(&self.dir).map_err(|error| unusable("create", &self.dir, &error))?;
        let server = server()?;
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let address = format!("127.0.0.1:{port}");
        let path = self.log();
        let log = File::create(&path).map_err(|error| unusable("create", &path, &error))?;
        let err = log.try_clone();
        let err = err.map_err(|error| unusable("write", &path, &error))?;
        let mut child = Command::new(&server)
            .arg("--override")
            .arg(format!("listeners=PLAINTEXT://{address}"))
            .args(["--override", "reka.http.listener=127.0.0.1:0"])
            .arg("--override")
            .arg(format!("log.dirs={}", self.data().display()))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(err)
            // Ctrl-C in this terminal is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(|error| unusable("start", &server, &error))?;
        let note = Note {
            pid: i32::try_from(child.id()).unwrap_or_default(),
            address: address.clone(),
            server,
        };
        let text =
            serde_json::to_string(&note).map_err(|error| Failure::other(error.to_string()))?;
        let path = self.note();
        fs::write(&path, text + "\n").map_err(|error| unusable("write", &path, &error))?;
        let mut config = ClientConfig::new(address.parse()?);
        config.connect_timeout = Duration::from_secs(1);
        let client = Client::new(config);
        let began = Instant::now();
        while client.reach().await.is_err() {
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || began.elapsed() > START_TIME_MAX {
                let _ = fs::remove_file(&path);
                let what = match ended {
                    Some(status) => format!("the server ended with {status}"),
                    None => format!("the server does not serve within {START_TIME_MAX:?}"),
                };
                let last = fs::read_to_string(self.log()).unwrap_or_default();
                let last = last.lines().last().unwrap_or_default().to_owned();
                return Err(Failure::other(format!("{what}: {last}"))
                    .hint(format!("see {}", self.log().display())));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(note)
    }

    /// Sends a signal and waits for the end.
    pub(super) async fn end(&self, note: &Note, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_raw(note.pid)
            .ok_or_else(|| Failure::other(format!("{} is no process id", note.pid)))?;
        kill_process(pid, signal).map_err(|errno| {
            Failure::other(format!("cannot stop process {}: {errno}", note.pid))
        })?;
        let began = Instant::now();
        while !has_ended(note.pid) {
            if began.elapsed() > STOP_TIME_MAX {
                let text = format!("process {} does not end within {STOP_TIME_MAX:?}", note.pid);
                return Err(Failure::other(text).hint("rkctl dev kill ends it without warning"));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Removes everything it has written.
    pub(super) fn purge(&self) -> Result<(), Failure> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(unusable("remove", &self.dir, &error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether nothing of a process is left, or only what its parent has not asked for. Its command line
/// goes before its files are closed, and its first thread may go before the others.
fn has_ended(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The name in brackets may hold anything.
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    matches!(state, Some('Z' | 'X')) && threads <= 1
}

fn unusable(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(format!("cannot {verb} {}: {error}", path.display()))
}

/// The server's executable: named, beside this one, or wherever programs are.
fn server() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os(SERVER_VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(named.into());
    }
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|exe| Some(exe.parent()?.join("reka")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::split_paths(&path).map(|dir| dir.join("reka"));
    let found = beside
        .into_iter()
        .chain(programs)
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::not_found("there is no server called reka beside rkctl or among the programs")
            .hint(format!("name it: {SERVER_VARIABLE}=/path/to/reka"))
    })
}

/// A port nobody listens on. It is let go here and taken a moment later by the server.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.map_err(|error| Failure::other(format!("no free port: {error}")))?;
    Ok(address.port())
}

//! A started program: its log, and the promise that it is stopped by pid when its owner goes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::wait;

/// A running program. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a process costs.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Memory that is its own.
    pub own_bytes: u64,
    /// The same with what it has mapped of files.
    pub resident_bytes: u64,
}

impl Process {
    /// Starts `command` with standard output in `out` and standard error in `log`
    /// (the same file for both is fine).
    pub fn start(name: &str, command: &mut Command, out: &Path, log: &Path) -> Result<Self> {
        let err_file = File::create(log).map_err(Error::io(format!("create {}", log.display())))?;
        let out_file = if out == log {
            err_file.try_clone()
        } else {
            File::create(out)
        }
        .map_err(Error::io(format!("create {}", out.display())))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out_file)
            .stderr(err_file)
            .spawn()
            .map_err(|source| start_error(name, command, source))?;
        Ok(Self {
            name: name.into(),
            child,
            log: log.into(),
        })
    }

    /// Where its standard error goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has used so far, and holds now.
    pub fn usage(&self) -> Result<Usage> {
        let id = self.child.id();
        let read = |file: &str| crate::files::read_text(Path::new(&format!("/proc/{id}/{file}")));
        let wrong = || Error::refused(format!("read /proc/{id}"), "not what Linux writes there");
        let stat = read("stat")?;
        // The name in parentheses may hold anything; user and system time are 12th and 13th after it.
        let (_, fields) = stat.rsplit_once(')').ok_or_else(wrong)?;
        let times: Vec<u64> = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        let status = read("status")?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?;
            Some(kib << 10)
        };
        match (times.as_slice(), bytes("RssAnon:"), bytes("VmRSS:")) {
            // Linux counts in hundredths of a second, whatever the machine.
            ([user, system], Some(own_bytes), Some(resident_bytes)) => Ok(Usage {
                cpu: Duration::from_millis((user + system) * 10),
                own_bytes,
                resident_bytes,
            }),
            _ => Err(wrong()),
        }
    }

    /// An error if it has ended although it should still run.
    pub fn expect_running(&mut self) -> Result<()> {
        match self.status()? {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                step: self.name.clone(),
                status,
                log: self.log.clone(),
            }),
        }
    }

    /// Waits for its end by itself, whichever it is.
    pub fn end(self, limit: Duration) -> Result<ExitStatus> {
        self.end_while(limit, || Ok(()))
    }

    /// The same, or until `go_on` fails.
    pub fn end_while(
        mut self,
        limit: Duration,
        mut go_on: impl FnMut() -> Result<()>,
    ) -> Result<ExitStatus> {
        let step = self.waiting();
        let ended = wait::until(&step, limit, || match self.status()? {
            None => go_on().map(|()| None),
            ended => Ok(ended),
        });
        ended.map_err(|error| self.with_log(error))
    }

    /// Waits for its end by itself, which must be a success.
    pub fn finish(self, limit: Duration) -> Result<()> {
        let name = self.name.clone();
        let log = self.log.clone();
        let status = self.end(limit)?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::Ended {
                step: name,
                status,
                log,
            })
        }
    }

    /// SIGTERM, then waits for the end it chooses. It may have ended already: Ctrl-C in a
    /// terminal reaches it as well as us.
    pub fn terminate(mut self, limit: Duration) -> Result<ExitStatus> {
        self.stop(Signal::TERM, limit)
    }

    /// SIGKILL, then waits for the end.
    pub fn kill(mut self, limit: Duration) -> Result<()> {
        self.stop(Signal::KILL, limit).map(drop)
    }

    /// Sends a signal and waits for nothing.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.status()?.is_some() {
            return self.expect_running();
        }
        // The pid cannot have been given to another process: we have not yet waited for its end.
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|errno| Error::io(format!("signal {}", self.name))(errno.into()))
    }

    fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.status()? {
            return Ok(status);
        }
        // The pid cannot have been given to another process: we have not yet waited for its end.
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal)
            .map_err(|errno| Error::io(format!("signal {}", self.name))(errno.into()))?;
        let step = self.waiting();
        let ended = wait::until_stopped(&step, limit, || self.status());
        ended.map_err(|error| self.with_log(error))
    }

    fn waiting(&self) -> String {
        format!("wait for the end of: {}", self.name)
    }

    fn with_log(&self, error: Error) -> Error {
        match error {
            Error::Deadline { step, limit, .. } => Error::Deadline {
                step,
                limit,
                log: Some(self.log.clone()),
            },
            other => other,
        }
    }

    fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .map_err(Error::io(format!("look after {}", self.name)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended and waited for is fine; there is nobody left to tell about anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_error(name: &str, command: &Command, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::NotFound {
        Error::MissingTool {
            step: name.into(),
            tool: command.get_program().to_string_lossy().into_owned(),
        }
    } else {
        Error::io(format!("start {name}"))(source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_is_waited_for_no_longer_is_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start("sleep", &mut command, &log, &log).expect("a program");
        let pid = Pid::from_child(&process.child);
        let began = Instant::now();
        let gone = || Err(Error::refused("sleep", "without its broker"));
        let error = process.end_while(Duration::from_secs(60), gone);
        let error = error.expect_err("it sleeps").to_string();
        assert_eq!(error, "sleep: without its broker");
        assert!(began.elapsed() < Duration::from_secs(50));
        let left = rustix::process::test_kill_process(pid);
        assert_eq!(left, Err(rustix::io::Errno::SRCH), "it runs still");
    }
}

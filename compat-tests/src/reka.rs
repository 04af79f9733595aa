//! Our broker as a process: built by cargo, started on a free port, stopped, killed, started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::context::Context;
use crate::control::probe;
use crate::error::{Error, Result};
use crate::fault::{self, proxy::Proxy};
use crate::files;
use crate::ports;
use crate::process::Process;
use crate::wait;

const BUILD_TIME_MAX: Duration = Duration::from_secs(1800);
const START_TIME_MAX: Duration = Duration::from_secs(30);
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub struct Reka {
    process: Process,
    address: SocketAddr,
    /// Between it and its clients, where it is broken on purpose.
    _proxy: Option<Proxy>,
}

impl Reka {
    /// Builds the server if it is not; where it is.
    pub fn build(ctx: &Context) -> Result<PathBuf> {
        Self::build_profile(ctx, "dev", "debug")
    }

    /// Builds the server as it is released; where it is.
    pub fn build_release(ctx: &Context) -> Result<PathBuf> {
        Self::build_profile(ctx, "release", "release")
    }

    fn build_profile(ctx: &Context, profile: &str, folder: &str) -> Result<PathBuf> {
        let log = ctx.work().join("build.log");
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(ctx.checkout())
            .args(["build", "--locked", "-q", "-p", "reka"])
            .args(["--profile", profile]);
        Process::start("build reka", &mut cargo, &log, &log)?.finish(BUILD_TIME_MAX)?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| ctx.checkout().join("target"), PathBuf::from);
        Ok(target.join(folder).join("reka"))
    }

    /// Starts `server` with everything below `home`, and waits until it serves. A `home` used before
    /// is a restart.
    pub fn start(server: &Path, home: &Path) -> Result<Self> {
        Self::start_with(server, home, &[], &[])
    }

    /// The same with more variables of the environment and lines of configuration.
    pub fn start_with(
        server: &Path,
        home: &Path,
        environment: &[(&str, &str)],
        extra: &[&str],
    ) -> Result<Self> {
        let [port] = ports::free().map_err(Error::io("find a free port"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::start_at(address, server, home, environment, extra)
    }

    /// The same where clients are told beforehand.
    pub fn start_at(
        address: SocketAddr,
        server: &Path,
        home: &Path,
        environment: &[(&str, &str)],
        extra: &[&str],
    ) -> Result<Self> {
        ports::expect_free(address, "start reka")?;
        files::make_dir(home)?;
        let (proxy, listen) = match fault::stand_before(address)? {
            Some((proxy, broker)) => (Some(proxy), broker),
            None => (None, address),
        };
        let log = home.join("reka.log");
        let mut command = Command::new(server);
        command
            .args(["--override", "reka.http.listener=127.0.0.1:0"])
            .args(["--override", &format!("listeners=PLAINTEXT://{listen}")])
            .args([
                "--override",
                &format!("log.dirs={}", home.join("data").display()),
            ]);
        if proxy.is_some() {
            let told = format!("advertised.listeners=PLAINTEXT://{address}");
            command.args(["--override", &told]);
        }
        command.envs(environment.iter().copied());
        for line in extra {
            command.args(["--override", line]);
        }
        let mut process = Process::start("run reka", &mut command, &log, &log)?;
        let step = format!("wait for reka, log {}", log.display());
        wait::until(&step, START_TIME_MAX, || {
            process.expect_running()?;
            Ok(matches!(probe::brokers(address), Ok(1..)).then_some(()))
        })?;
        Ok(Self {
            process,
            address,
            _proxy: proxy,
        })
    }

    /// Something else in its place, where it is looked at what its end does.
    #[cfg(test)]
    pub(crate) fn of_process(process: Process, address: SocketAddr) -> Self {
        Self {
            process,
            address,
            _proxy: None,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// SIGTERM; it must leave with status 0.
    pub fn stop(self) -> Result<()> {
        let status = self.process.terminate(STOP_TIME_MAX)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::refused(
            "stop reka",
            format!("it left with {status}"),
        ))
    }

    /// `kill -9`.
    pub fn kill(self) -> Result<()> {
        self.process.kill(STOP_TIME_MAX)
    }
}

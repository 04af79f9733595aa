//! Which broker a row is run against: Apache Kafka and then Reka unless somebody chose, and the one that
//! runs. A step that fails on Apache Kafka is a wrong step and says nothing about Reka, so it goes first.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::process::Signal;

use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::error::{Error, Result};
use crate::ports;
use crate::reka::Reka;

/// What `--against` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Against {
    /// Apache Kafka, then Reka.
    #[default]
    Both,
    /// Apache Kafka alone.
    Kafka,
    /// Reka alone.
    Reka,
    /// Whatever is there.
    Address(SocketAddr),
}

impl FromStr for Against {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Against, String> {
        match text {
            "kafka" => Ok(Against::Kafka),
            "reka" => Ok(Against::Reka),
            address => resolve(address).map(Against::Address).map_err(|why| {
                format!(
                    "expected kafka, reka or an address such as 127.0.0.1:9092, found {text:?}: {why}"
                )
            }),
        }
    }
}

/// The first address of a name; one of version 4 where there is one, as brokers here listen there.
fn resolve(address: &str) -> std::result::Result<SocketAddr, String> {
    let found = address
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().copied();
    first.ok_or_else(|| "the name has no address".to_owned())
}

/// A broker to judge, with a folder for what is done to it.
#[derive(Debug)]
pub struct Target {
    name: &'static str,
    address: SocketAddr,
    home: PathBuf,
    running: Running,
}

#[derive(Debug)]
enum Running {
    /// With what starts it again; nothing while it does not run.
    Kafka(Option<Kafka>, Java, Vec<String>),
    /// The same.
    Reka(Option<Reka>, PathBuf, Vec<String>),
    Elsewhere,
}

impl Target {
    /// `kafka`, `reka`, or `address` for one that was there before.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the row may leave what belongs to this broker; Apache Kafka and Reka have their files there.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Whether rows that are not about kills of the broker should kill it beside what they do: Apache Kafka
    /// takes a quarter of a minute to come back, and who started another one has not allowed it.
    #[must_use]
    pub fn comes_back_soon(&self) -> bool {
        matches!(self.running, Running::Reka(..))
    }

    /// Whether transactions that are about to end survive its kill. Apache Kafka 4.3.1 that is alone is fenced by its own
    /// controller when the session it had before has ended, and drops the markers it has yet to write then ("likely
    /// deleted already and hence can be skipped"): readers of committed data wait for good.
    #[must_use]
    pub fn keeps_markers(&self) -> bool {
        matches!(self.running, Running::Reka(..))
    }

    /// `kill -9`. Nothing where somebody else started it.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Kafka(kafka, ..) => kafka.take().map_or(Ok(()), Kafka::kill),
            Running::Reka(reka, ..) => reka.take().map_or(Ok(()), Reka::kill),
            Running::Elsewhere => Ok(()),
        }
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Kafka(kafka, ..) => kafka.take().map_or(Ok(()), Kafka::stop),
            Running::Reka(reka, ..) => reka.take().map_or(Ok(()), Reka::stop),
            Running::Elsewhere => Ok(()),
        }
    }

    /// Starts it on what it left, where it does not run.
    pub fn start(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Kafka(kafka @ None, java, settings) => {
                let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
                *kafka = Some(Kafka::start_at(java, &self.home, &settings, self.address)?);
            }
            Running::Reka(reka @ None, server, settings) => {
                let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
                let (address, home) = (self.address, &self.home);
                *reka = Some(Reka::start_at(address, server, home, &[], &settings)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// An error if it has ended by itself.
    pub fn expect_running(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Kafka(Some(kafka), ..) => kafka.process().expect_running(),
            Running::Reka(Some(reka), ..) => reka.process().expect_running(),
            _ => Ok(()),
        }
    }

    /// What went wrong, with the end of the broker where that ended by itself: the one that explains the other.
    fn and_its_end(&mut self, error: Error) -> Error {
        match self.expect_running() {
            Ok(()) => error,
            Err(ended) => {
                Error::refused(format!("the broker is gone ({ended})"), error.to_string())
            }
        }
    }

    /// `kill -9`, and a start on what it left.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// It does nothing for a while, and does not know it.
    pub fn pause(&mut self, pause: Duration) -> Result<()> {
        let process = match &mut self.running {
            Running::Kafka(Some(kafka), ..) => kafka.process(),
            Running::Reka(Some(reka), ..) => reka.process(),
            _ => return Ok(()),
        };
        process.signal(Signal::STOP)?;
        // How long it stands still is what is tried out here.
        std::thread::sleep(pause);
        process.signal(Signal::CONT)
    }
}

/// Runs `judge` against each broker that was chosen, one after the other, each new and with `settings`;
/// what it found by the name of the broker. One that was there before has its own settings.
pub fn each<T>(
    ctx: &Context,
    settings: &[&str],
    mut judge: impl FnMut(&mut Target) -> Result<T>,
) -> Result<Vec<(&'static str, T)>> {
    let against = ctx.against();
    let mut found = Vec::new();
    let mut on = |mut target: Target| -> Result<()> {
        let name = target.name;
        let judged = judge(&mut target);
        let judged = judged.map_err(|error| on_broker(name, &target.and_its_end(error)));
        found.push((name, judged?));
        target.stop()
    };
    if matches!(against, Against::Both | Against::Kafka) {
        let home = ctx.work().join("kafka");
        let java = Java::kafka(ctx)?;
        let kafka = match ctx.brokers() {
            1 => Kafka::start(&java, &home, settings)?,
            several => Kafka::start_cluster(&java, &home, settings, several)?,
        };
        on(Target {
            name: "kafka",
            address: kafka.address(),
            home,
            running: Running::Kafka(Some(kafka), java, owned(settings)),
        })?;
    }
    if matches!(against, Against::Both | Against::Reka) {
        let server = Reka::build(ctx)?;
        let home = ctx.work().join("reka");
        let [port] = ports::free().map_err(Error::io("find a free port"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let reka = Reka::start_at(address, &server, &home, &[], settings)?;
        on(Target {
            name: "reka",
            address,
            home,
            running: Running::Reka(Some(reka), server, owned(settings)),
        })?;
    }
    if let Against::Address(address) = against {
        let home = ctx.work().join("address");
        crate::files::make_dir(&home)?;
        on(Target {
            name: "address",
            address,
            home,
            running: Running::Elsewhere,
        })?;
    }
    Ok(found)
}

fn owned(settings: &[&str]) -> Vec<String> {
    settings.iter().map(|line| (*line).to_owned()).collect()
}

/// The same in words.
pub fn each_told(
    ctx: &Context,
    settings: &[&str],
    judge: impl FnMut(&mut Target) -> Result<String>,
) -> Result<String> {
    let found = each(ctx, settings, judge)?.into_iter();
    let told = found.map(|(broker, told)| format!("on {broker} {told}"));
    Ok(told.collect::<Vec<_>>().join("; "))
}

fn on_broker(name: &str, error: &Error) -> Error {
    let place = match name {
        "kafka" => "on Apache Kafka, so this row is wrong",
        "reka" => "on Reka",
        _ => "on the broker that was named",
    };
    Error::refused(place, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;
    use crate::wait;

    #[test]
    fn a_broker_is_chosen_by_name_or_address() {
        assert_eq!("kafka".parse(), Ok(Against::Kafka));
        assert_eq!("reka".parse(), Ok(Against::Reka));
        let address = SocketAddr::from(([127, 0, 0, 1], 9092));
        assert_eq!("127.0.0.1:9092".parse(), Ok(Against::Address(address)));
        let refused = "redpanda".parse::<Against>().expect_err("no such broker");
        assert!(
            refused.contains("expected kafka, reka or an address"),
            "{refused}"
        );
        let named = "localhost:9092".parse::<Against>().expect("a name");
        let Against::Address(named) = named else {
            panic!("{named:?}");
        };
        assert!(named.ip().is_loopback() && named.port() == 9092, "{named}");
    }

    /// A broker that is a shell running `script`.
    fn target(script: &str, folder: &Path) -> Target {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let log = folder.join("reka.log");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]);
        let process = Process::start("run reka", &mut shell, &log, &log).expect("a shell");
        let reka = Some(Reka::of_process(process, address));
        Target {
            name: "reka",
            address,
            home: folder.to_owned(),
            running: Running::Reka(reka, PathBuf::new(), Vec::new()),
        }
    }

    #[test]
    fn a_broker_that_died_is_named_with_its_log_before_what_that_led_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let step = || Error::refused("send a record", "connection refused");
        let mut dying = target("echo out of luck; exit 7", folder.path());
        let seen = wait::until("it dies", Duration::from_secs(10), || {
            let told = dying.and_its_end(step()).to_string();
            Ok(told.contains("is gone").then_some(told))
        });
        let told = on_broker("reka", &Error::refused("", seen.expect("its end"))).to_string();
        for part in [
            "on Reka",
            "the broker is gone (run reka: ended with exit status: 7; log: ",
            "reka.log): send a record: connection refused",
        ] {
            assert!(told.contains(part), "no {part:?} in {told}");
        }
        let mut living = target("sleep 60", folder.path());
        let told = living.and_its_end(step()).to_string();
        assert_eq!(told, "send a record: connection refused");
    }
}

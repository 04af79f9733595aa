//! Which broker a row is run against: Apache Kafka and then Reka unless somebody chose, and the one that
//! runs. A step that fails on Apache Kafka is a wrong step and says nothing about Reka, so it goes first.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
            address => address.parse().map(Against::Address).map_err(|_| {
                format!("expected kafka, reka or an address such as 127.0.0.1:9092, found {text:?}")
            }),
        }
    }
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
    Kafka(Kafka),
    /// With what starts it again; nothing while it does not run.
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

    /// Whether [`Self::kill_and_start_again`] does anything: only ours comes back at its address.
    #[must_use]
    pub fn can_be_killed(&self) -> bool {
        matches!(self.running, Running::Reka(..))
    }

    /// `kill -9`, and a start on what it left.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        let Running::Reka(reka, server, settings) = &mut self.running else {
            return Ok(());
        };
        if let Some(reka) = reka.take() {
            reka.kill()?;
        }
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        *reka = Some(Reka::start_at(
            self.address,
            server,
            &self.home,
            &[],
            &settings,
        )?);
        Ok(())
    }

    fn stop(self) -> Result<()> {
        match self.running {
            Running::Kafka(kafka) => kafka.stop(),
            Running::Reka(Some(reka), ..) => reka.stop(),
            Running::Reka(None, ..) | Running::Elsewhere => Ok(()),
        }
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
        found.push((name, judged.map_err(|error| on_broker(name, &error))?));
        target.stop()
    };
    if matches!(against, Against::Both | Against::Kafka) {
        let home = ctx.work().join("kafka");
        let kafka = Kafka::start(&Java::kafka(ctx)?, &home, settings)?;
        on(Target {
            name: "kafka",
            address: kafka.address(),
            home,
            running: Running::Kafka(kafka),
        })?;
    }
    if matches!(against, Against::Both | Against::Reka) {
        let server = Reka::build(ctx)?;
        let home = ctx.work().join("reka");
        let [port] = ports::free().map_err(Error::io("find a free port"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let reka = Reka::start_at(address, &server, &home, &[], settings)?;
        let settings = settings.iter().map(|line| (*line).to_owned()).collect();
        on(Target {
            name: "reka",
            address,
            home,
            running: Running::Reka(Some(reka), server, settings),
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
    }
}

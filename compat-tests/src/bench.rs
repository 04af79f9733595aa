//! `cargo compat bench`: how much a broker does with its core, beside Apache Kafka.
//!
//! The contestants run one after the other with their default settings, pinned to one core; the
//! load runs on another. A scenario prints lines `figure NAME VALUE UNIT ratio R`: the median of
//! its rounds, and how many times as good that is as the same figure of the other contestant.
//! Throughput is counted against the CPU time the broker used, which is far steadier than wall
//! time on a machine that others use too.
//!
//! [`contestant`] starts, stops and measures a broker, [`load`] drives it over raw sockets,
//! memory (`memory.rs`) is touched before anything is measured, [`frames`] makes what is sent, [`figures`] collects
//! and prints, [`page`] writes; a file in [`scenarios`] is one scenario. [`floor`] is what is measured beside
//! the brokers where it can be: what the kernel alone costs here.

pub mod contestant;
pub mod figures;
pub mod floor;
pub mod frames;
pub mod load;
mod memory;
pub mod page;
pub mod scenarios;

use std::process::Command;

use crate::context::Context;
use crate::error::{Error, Result};
use contestant::{Contestant, Kind};
use figures::Figures;
use scenarios::{SCENARIOS, Scenario};

/// The broker's core and that of its load.
pub(crate) const BROKER_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// What is wanted of a run.
#[derive(Debug)]
pub struct Wanted {
    /// Names of scenarios; all of them when there are none.
    pub scenarios: Vec<String>,
    /// Apache Kafka runs too, and ratios are printed.
    pub versus_kafka: bool,
    /// How often each scenario runs against each contestant.
    pub rounds: usize,
    /// What was measured goes into `docs/benchmarks.md`.
    pub write: bool,
}

/// Runs scenarios and prints their figures.
pub fn run(ctx: &Context, wanted: &Wanted) -> Result<()> {
    let chosen = choose(&wanted.scenarios)?;
    if wanted.write && !wanted.versus_kafka {
        let finding = "it has every scenario beside Apache Kafka: --versus kafka";
        return Err(Error::refused("write docs/benchmarks.md", finding));
    }
    // Before this thread is kept to one core.
    let machine = page::machine();
    prefer_cubic();
    contestant::pin_this_thread(LOAD_CORE)?;
    let mut kinds = vec![Kind::reka(ctx)?];
    if wanted.versus_kafka {
        kinds.push(Kind::kafka(ctx)?);
    }
    // Behind the builds, which would use it up.
    let _warm = memory::WarmMemory::touch()?;
    for scenario in chosen {
        let mut figures = Figures::default();
        for round in 0..wanted.rounds.max(1) {
            let floor = scenario.floor.then_some(&Kind::Floor);
            for kind in kinds.iter().chain(floor) {
                let home = ctx.work().join(format!("{}-{round}", kind.name()));
                let mut contestant = Contestant::start(ctx, kind, &home, scenario.settings)?;
                for (name, unit, value) in (scenario.run)(&mut contestant)? {
                    figures.add(kind.name(), name, unit, value);
                }
                contestant.kill()?;
                crate::files::remove_dir(&home)?;
            }
        }
        figures.print();
        if wanted.write {
            // At once: whatever happens to the next one, this was seen.
            page::write(&machine, wanted.rounds.max(1), scenario, &figures)?;
        }
    }
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let named = |name: &String| {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        let known = SCENARIOS.iter().map(|scenario| scenario.name);
        let list = known.collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| Error::refused(name, format!("no such scenario; there are: {list}")))
    };
    names.iter().map(named).collect()
}

/// BBR paces loopback into the ground; where it may not be changed, that is said.
fn prefer_cubic() {
    let set = Command::new("sysctl")
        .args(["-qw", "net.ipv4.tcp_congestion_control=cubic"])
        .status();
    if !set.is_ok_and(|status| status.success()) {
        eprintln!("tcp congestion control stays as it is: setting cubic was refused");
    }
}

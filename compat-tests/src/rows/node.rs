//! The Node clients kafkajs, with the packages it takes its codecs from, @platformatic/kafka, and
//! node-rdkafka, which is built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "node",
    tiers: &[Tier::Ci],
    about: "kafkajs and @platformatic/kafka: every codec, groups, admin, refusals",
    judges: Judges::Any,
    run,
};

pub(super) const RDKAFKA: Row = Row {
    name: "node-rdkafka",
    // Not in the commit tier: librdkafka is built from its sources, which takes minutes.
    tiers: &[Tier::Nightly],
    about: "node-rdkafka: every codec, groups, transactions, admin, refusals",
    judges: Judges::Any,
    run: run_rdkafka,
};

/// On two cores that others use too librdkafka alone takes ten minutes.
const BUILD_TIME_MAX: Duration = Duration::from_secs(2400);

fn run(ctx: &Context) -> Result<Verdict> {
    let packages = packages(ctx)?.join("node_modules");
    let sources = ctx.client_sources("node");
    let client = |name, file| {
        let (packages, program) = (packages.clone(), sources.join(file));
        Client::new(name, move || {
            let mut command = Command::new("node");
            command.env("NODE_PATH", &packages).arg(&program);
            command
        })
    };
    let clients = [
        client("kafkajs 2.2.4", "kafkajs.js"),
        client("@platformatic/kafka 1.35.0", "platformatic.js"),
    ];
    clients::run(ctx, &clients)
}

fn run_rdkafka(ctx: &Context) -> Result<Verdict> {
    let packages = rdkafka_packages(ctx)?.join("node_modules");
    let program = ctx.client_sources("node").join("rdkafka.js");
    let client = Client::new("node-rdkafka 3.6.1", move || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", &packages).arg(&program);
        command
    });
    clients::run(ctx, &[client])
}

/// What the lock file of node-rdkafka pins, built against the headers of the Node that is installed: those of
/// another one would have to be fetched from elsewhere than the registry.
pub(super) fn rdkafka_packages(ctx: &Context) -> Result<PathBuf> {
    const ASK_TIME_MAX: Duration = Duration::from_secs(30);
    let sources = ctx.client_sources("node").join("rdkafka");
    let told = ctx.work().join("node.txt");
    let mut ask = Command::new("node");
    ask.args(["--print", "process.execPath + '\\n' + process.version"]);
    Process::start("ask Node where it is", &mut ask, &told, &told)?.finish(ASK_TIME_MAX)?;
    let told = files::read_text(&told)?;
    let home = told.lines().next().map(Path::new);
    let home = home.and_then(|node| node.parent()?.parent());
    let home = home.filter(|home| home.join("include/node/node.h").is_file());
    let home = home.ok_or_else(|| Error::MissingTool {
        step: "look for the headers of Node".to_owned(),
        tool: "include/node/node.h beside node".to_owned(),
    })?;
    let mut key = told.clone().into_bytes();
    for pin in PINS {
        key.extend(files::read(&sources.join(pin))?);
    }
    prepare::once(ctx, "node-rdkafka", &key, "packages", |partial| {
        files::make_dir(partial)?;
        for pin in PINS {
            files::copy(&sources.join(pin), &partial.join(pin))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(partial)
            .env("npm_config_nodedir", home)
            .args(["ci", "--no-audit", "--no-fund"]);
        let log = ctx.work().join("npm-rdkafka.log");
        Process::start("build node-rdkafka", &mut npm, &log, &log)?.finish(BUILD_TIME_MAX)
    })
}

const PINS: [&str; 2] = ["package.json", "package-lock.json"];

/// What the lock file pins. Scripts of packages are not run: none of these needs one.
pub(super) fn packages(ctx: &Context) -> Result<PathBuf> {
    packages_of(ctx, "node", &ctx.client_sources("node"))
}

/// The same of a lock file in `sources`.
pub(super) fn packages_of(ctx: &Context, name: &str, sources: &Path) -> Result<PathBuf> {
    let mut key = Vec::new();
    for pin in PINS {
        key.extend(files::read(&sources.join(pin))?);
    }
    prepare::once(ctx, name, &key, "packages", |partial| {
        files::make_dir(partial)?;
        for pin in PINS {
            files::copy(&sources.join(pin), &partial.join(pin))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(partial)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        let step = format!("install the Node packages of {name}");
        prepare::tool(ctx, &format!("npm-{name}"), &step, &mut npm)
    })
}

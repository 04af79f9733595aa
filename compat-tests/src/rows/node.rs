//! The Node clients kafkajs, with the packages it takes its codecs from, and @platformatic/kafka.

use std::path::PathBuf;
use std::process::Command;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::rows::{Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "node",
    tiers: &[Tier::Ci],
    about: "kafkajs and @platformatic/kafka: every codec, groups, admin, refusals",
    run,
};

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

/// What the lock file pins. Scripts of packages are not run: none of these needs one.
pub(super) fn packages(ctx: &Context) -> Result<PathBuf> {
    const PINS: [&str; 2] = ["package.json", "package-lock.json"];
    let sources = ctx.client_sources("node");
    let mut key = Vec::new();
    for pin in PINS {
        key.extend(files::read(&sources.join(pin))?);
    }
    prepare::once(ctx, "node", &key, "packages", |partial| {
        files::make_dir(partial)?;
        for pin in PINS {
            files::copy(&sources.join(pin), &partial.join(pin))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(partial)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        prepare::tool(ctx, "npm", "install the Node clients", &mut npm)
    })
}

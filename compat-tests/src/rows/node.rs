//! The Node client kafkajs, with the packages it takes its codecs from.

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
    about: "kafkajs: every codec, groups, admin, refusals",
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let packages = packages(ctx)?.join("node_modules");
    let program = ctx.client_sources("node").join("kafkajs.js");
    let kafkajs = Client::new("kafkajs 2.2.4", move || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", &packages).arg(&program);
        command
    });
    clients::run(ctx, &[kafkajs])
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

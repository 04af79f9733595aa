//! The Node client kafkajs, with the packages it takes its codecs from.

use std::path::{Path, PathBuf};
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

const CLIENTS: &[Client] = &[Client {
    name: "kafkajs 2.2.4",
    command: |home, ctx| program(home, ctx, "kafkajs.js"),
}];

fn run(ctx: &Context) -> Result<Verdict> {
    clients::run(ctx, &packages(ctx)?, CLIENTS)
}

/// What the lock file pins. Scripts of packages are not run: none of these needs one.
fn packages(ctx: &Context) -> Result<PathBuf> {
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

fn program(home: &Path, ctx: &Context, file: &str) -> Command {
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", home.join("node_modules"))
        .arg(ctx.client_sources("node").join(file));
    command
}

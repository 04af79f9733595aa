//! The crate rdkafka, with the librdkafka it brings along: a program of a workspace of its own, built
//! once per lock file.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "rdkafka",
    // Not in the commit tier: librdkafka is built from its sources, which takes minutes.
    tiers: &[Tier::Nightly],
    about: "the crate rdkafka: every codec, groups, transactions, admin, refusals",
    judges: Judges::Any,
    run,
};

/// On two cores that others use too librdkafka alone takes ten minutes.
const BUILD_TIME_MAX: Duration = Duration::from_secs(2400);

fn run(ctx: &Context) -> Result<Verdict> {
    let program = build(ctx)?.join("debug/reka-compat-rdkafka");
    let client = Client::new("rdkafka 0.39.0", move || Command::new(&program));
    clients::run(ctx, &[client])
}

/// Where cargo has put what it built.
pub(super) fn build(ctx: &Context) -> Result<PathBuf> {
    let sources = ctx.client_sources("rust");
    let mut key = Vec::new();
    for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
        key.extend(files::read(&sources.join(file))?);
    }
    prepare::once(ctx, "rdkafka", &key, "target", |partial| {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&sources)
            .env_remove("CARGO_TARGET_DIR")
            .args(["build", "--quiet", "--locked", "--target-dir"])
            .arg(partial);
        let log = ctx.work().join("cargo-rdkafka.log");
        Process::start("build the crate rdkafka", &mut cargo, &log, &log)?.finish(BUILD_TIME_MAX)
    })
}

//! The Go clients: franz-go, sarama and kafka-go, built from one module.

use std::path::PathBuf;
use std::process::Command;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::rows::{Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "go",
    tiers: &[Tier::Ci],
    about: "franz-go and sarama: every codec, groups, admin, refusals",
    run: |ctx| {
        run(
            ctx,
            &[("franz-go 1.22.2", "franz"), ("sarama 1.61.1", "sarama")],
        )
    },
};

pub(super) const SEGMENTIO: Row = Row {
    name: "go-segmentio",
    // Not in the commit tier: kafka-go has failed under load, on Apache Kafka too.
    tiers: &[Tier::Nightly],
    about: "kafka-go: every codec, groups, admin, refusals",
    run: |ctx| run(ctx, &[("kafka-go 0.4.51", "segmentio")]),
};

fn run(ctx: &Context, programs: &[(&'static str, &str)]) -> Result<Verdict> {
    let built = build(ctx)?;
    let client = |(name, program): &(&'static str, &str)| {
        let program = built.join(program);
        Client::new(name, move || Command::new(&program))
    };
    let clients: Vec<Client> = programs.iter().map(client).collect();
    clients::run(ctx, &clients)
}

/// Builds every program; the folder they are in. Modules and what is built from them are in Go's own caches.
pub(super) fn build(ctx: &Context) -> Result<PathBuf> {
    let programs = ctx.work().join("go");
    files::make_dir(&programs)?;
    let mut go = Command::new("go");
    go.current_dir(ctx.client_sources("go"))
        .args([
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-o",
        ])
        .arg(&programs)
        .arg("./...");
    prepare::tool(ctx, "go-build", "build the Go clients", &mut go)?;
    Ok(programs)
}

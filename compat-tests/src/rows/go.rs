//! The Go clients: franz-go, sarama and kafka-go, built from one module.

use std::path::PathBuf;
use std::process::Command;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::rows::{Row, Verdict};

pub(super) const ROW: Row = Row {
    name: "go",
    // Not in the commit tier: kafka-go has failed under load, on Apache Kafka too.
    tiers: &[],
    about: "franz-go, sarama and kafka-go: every codec, groups, admin, refusals",
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let programs = build(ctx)?;
    let client = |name, program| {
        let program = programs.join(program);
        Client::new(name, move || Command::new(&program))
    };
    let clients = [
        client("franz-go 1.22.2", "franz"),
        client("sarama 1.61.1", "sarama"),
        client("kafka-go 0.4.51", "segmentio"),
    ];
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

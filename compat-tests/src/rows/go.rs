//! The Go clients: franz-go, sarama, kafka-go and confluent-kafka-go, built from one module.

use std::path::PathBuf;
use std::process::Command;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "go",
    tiers: &[Tier::Ci],
    about: "franz-go and sarama: every codec, groups, admin, refusals",
    judges: Judges::Any,
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
    judges: Judges::Any,
    run: |ctx| run(ctx, &[("kafka-go 0.4.51", "segmentio")]),
};

pub(super) const CONFLUENT: Row = Row {
    name: "go-confluent",
    // Not in the commit tier: what it is built from is large, and the same librdkafka speaks in `python`.
    tiers: &[Tier::Nightly],
    about: "confluent-kafka-go: every codec, groups, static members, transactions, admin, refusals",
    judges: Judges::Any,
    run: |ctx| run(ctx, &[("confluent-kafka-go 2.11.1", "confluent")]),
};

fn run(ctx: &Context, programs: &[(&'static str, &str)]) -> Result<Verdict> {
    let names: Vec<&str> = programs.iter().map(|(_, program)| *program).collect();
    let built = build(ctx, &names)?;
    let client = |(name, program): &(&'static str, &str)| {
        let program = built.join(program);
        Client::new(name, move || Command::new(&program))
    };
    let clients: Vec<Client> = programs.iter().map(client).collect();
    clients::run(ctx, &clients)
}

/// Builds these programs; the folder they are in. Modules and what is built from them are in Go's own caches.
pub(super) fn build(ctx: &Context, names: &[&str]) -> Result<PathBuf> {
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
        .arg(format!("{}/", programs.display()))
        .args(names.iter().map(|name| format!("./{name}")));
    prepare::tool(ctx, "go-build", "build the Go clients", &mut go)?;
    Ok(programs)
}

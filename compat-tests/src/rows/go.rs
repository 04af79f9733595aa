//! The Go clients: franz-go, sarama and kafka-go, built from one module.

use std::path::Path;
use std::process::Command;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::rows::{Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "go",
    tiers: &[Tier::Ci],
    about: "franz-go, sarama and kafka-go: every codec, groups, admin, refusals",
    run,
};

const CLIENTS: &[Client] = &[
    Client {
        name: "franz-go 1.22.2",
        command: |home, _| program(home, "franz"),
    },
    Client {
        name: "sarama 1.61.1",
        command: |home, _| program(home, "sarama"),
    },
    Client {
        name: "kafka-go 0.4.51",
        command: |home, _| program(home, "segmentio"),
    },
];

/// Modules and what is built from them are in Go's own caches.
fn run(ctx: &Context) -> Result<Verdict> {
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
    clients::run(ctx, &programs, CLIENTS)
}

fn program(home: &Path, name: &str) -> Command {
    Command::new(home.join(name))
}

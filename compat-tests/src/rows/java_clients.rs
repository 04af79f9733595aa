//! Java's own client: an old one, the last of release line 3 and the control's, with one program compiled
//! against the old.

use std::process::Command;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::control::java::Java;
use crate::error::Result;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "java-clients",
    tiers: &[Tier::Ci],
    about: "kafka-clients 2.8.2, 3.9.1 and 4.3.1: every codec, groups, admin, refusals",
    judges: Judges::Any,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let sources = ctx.client_sources("java");
    let old_jars = prepare::maven(ctx, "kafka-clients", &sources.join("pom.xml"))?;
    let old = Java::with_classes_of(ctx, &old_jars, &sources.join("src"))?;
    let last_jars = prepare::maven(ctx, "kafka-clients", &sources.join("3.9/pom.xml"))?;
    let last = Java::of_jars(ctx, &last_jars).and_compiled_classes(ctx);
    let new = Java::with_compiled_classes(ctx)?;
    let clients = [
        Client::new("kafka-clients 2.8.2", move || {
            program(&old, "java-2.8-", "classic")
        }),
        Client::new("kafka-clients 3.9.1", move || {
            program(&last, "java-3.9-", "classic")
        }),
        Client::new("kafka-clients 4.3.1", move || {
            program(&new, "java-4.3-", "classic,consumer")
        }),
    ];
    clients::run(ctx, &clients)
}

fn program(java: &Java, prefix: &str, protocols: &str) -> Command {
    let mut command = java.command("Client", "WARN");
    command.args([prefix, protocols]);
    command
}

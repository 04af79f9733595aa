//! The jars of the control, fetched once.

use std::path::PathBuf;

use crate::clients::prepare;
use crate::context::Context;
use crate::error::Result;

/// The folder with the jars `kafka/pom.xml` asks for; Maven is only needed the first time.
pub fn fetch(ctx: &Context) -> Result<PathBuf> {
    prepare::maven(ctx, "kafka", &ctx.kafka_sources().join("pom.xml"))
}

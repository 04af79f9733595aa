//! `rkctl` against Apache Kafka: the conversations of its tests, which are held with our broker with
//! `cargo test`, held here with the control, line by line the same.

use super::client::own_tests;
use crate::context::Context;
use crate::error::Result;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "rkctl",
    tiers: &[Tier::Ci],
    about: "the conversations of rkctl's tests, with Apache Kafka",
    judges: Judges::Kafka,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    own_tests(ctx, "rkctl")
}

//! What is measured: one file per scenario and one line each in [`SCENARIOS`].

mod consume;
mod end_to_end;
mod groups;
mod partitions;
mod perf_tools;
mod produce;
mod start;
mod transactions;

use super::contestant::Contestant;
use super::figures::Figure;
use crate::error::Result;

/// One thing that is measured.
#[derive(Debug)]
pub struct Scenario {
    /// On the command line.
    pub name: &'static str,
    /// One line for the list.
    pub about: &'static str,
    /// What the broker is configured with beside its defaults; the same for all.
    pub settings: &'static [&'static str],
    /// Whether [`super::floor`] can be measured too: it takes raw Produce and Fetch alone.
    pub floor: bool,
    /// Runs one round against a fresh broker.
    pub run: fn(&mut Contestant<'_>) -> Result<Vec<Figure>>,
}

/// All of them, in the order they run.
pub const SCENARIOS: &[Scenario] = &[
    produce::BATCHES_1_MIB,
    produce::BATCHES_16_KIB,
    produce::SYNCED_16_KIB,
    produce::BATCHES_1_KIB,
    produce::CONNECTIONS_1000,
    consume::HOT,
    perf_tools::PERF_TOOLS,
    end_to_end::END_TO_END,
    start::START,
    groups::GROUPS,
    transactions::TRANSACTIONS,
    partitions::PARTITIONS,
    // a new scenario: its file, its `mod` line above, one line here
];

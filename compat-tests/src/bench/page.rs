//! What was measured as a page: `docs/benchmarks.md`, written by `cargo compat bench --versus kafka --write`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::figures::Figures;
use super::memory;
use super::scenarios::{SCENARIOS, Scenario};
use crate::error::Result;
use crate::files;

/// Where the page is.
#[must_use]
pub fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md")
}

/// The machine: its processors, memory and kernel.
#[must_use]
pub fn machine() -> String {
    let read = |file: &str| files::read_text(Path::new(file)).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (processor, meminfo, kernel) = (
        read("/proc/cpuinfo"),
        read(memory::MEMINFO),
        read("/proc/sys/kernel/osrelease"),
    );
    describe(cores, &processor, &meminfo, &kernel)
}

fn describe(cores: usize, processor: &str, meminfo: &str, kernel: &str) -> String {
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let model = value(processor, "model name").unwrap_or_else(|| "of an unknown kind".to_owned());
    let bytes = memory::bytes_of(meminfo, "MemTotal").unwrap_or_default();
    let gib = bytes.div_ceil(1 << 30);
    let kernel = kernel.trim();
    format!("{cores} cores ({model}), {gib} GiB of memory, Linux {kernel}")
}

/// Writes what was measured of a scenario in the place of what the page says of it; the others stay.
pub fn write(machine: &str, rounds: usize, scenario: &Scenario, figures: &Figures) -> Result<()> {
    let before = match file().exists() {
        true => files::read_text(&file())?,
        false => String::new(),
    };
    let section = section(machine, rounds, scenario, figures);
    files::write(&file(), merged(&before, scenario.name, &section))
}

const HEAD: &str = "# Measured beside Apache Kafka

Written by `cargo compat bench --versus kafka --write`, all of it or the scenarios that are named. What the runner \
does for the figures to mean something: [compat-tests/README.md](../compat-tests/README.md), \"Measuring\".

The broker has one core, the load another; both brokers run one after the other in each round, with their default \
settings but for those named. Told are the median of the rounds and, in parentheses, the least and the most. The \
ratio says how many times as good Reka is as Apache Kafka 4.3.1, whether more is better or less.

The floor is what a server reaches that reads the same bytes from its sockets, writes them into a file and answers, \
and does nothing else: about what the kernel costs here, but for large batches, which it reads in pieces. In \
parentheses, how much of it Reka reaches.
";
const SECTION: &str = "\n## ";

fn section(machine: &str, rounds: usize, scenario: &Scenario, figures: &Figures) -> String {
    let Scenario { name, about, .. } = scenario;
    let mut text = format!("{SECTION}{name}\n\n{about}.");
    if !scenario.settings.is_empty() {
        let _ = write!(text, " With `{}`.", scenario.settings.join("`, `"));
    }
    let _ = write!(
        text,
        "\n\n`cargo compat bench {name} --versus kafka --rounds {rounds} --write` on {machine}:\n\n\
         | Figure | Unit | Reka | Apache Kafka | Ratio | Floor |\n|---|---|---|---|---|---|\n"
    );
    for row in figures.rows() {
        text += &row;
        text += "\n";
    }
    text
}

/// The page with this section in the place of the one of that name, in the order of the scenarios.
fn merged(before: &str, name: &str, section: &str) -> String {
    let mut text = HEAD.to_owned();
    for known in SCENARIOS {
        if known.name == name {
            text += section;
            continue;
        }
        let begin = format!("{SECTION}{}\n", known.name);
        if let Some(at) = before.find(&begin) {
            let rest = &before[at + SECTION.len()..];
            let end = rest.find(SECTION).unwrap_or(rest.len());
            text += SECTION;
            text += &rest[..end];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Unit;

    #[test]
    fn the_machine_is_told_without_names_of_its_own() {
        let processor = "processor\t: 0\nmodel name\t: A Processor @ 2 GHz\n";
        let memory = "MemTotal:       24576000 kB\nMemFree: 1 kB\n";
        assert_eq!(
            describe(2, processor, memory, "6.1.0\n"),
            "2 cores (A Processor @ 2 GHz), 24 GiB of memory, Linux 6.1.0"
        );
        assert_eq!(
            describe(1, "", "", "6.1.0"),
            "1 cores (of an unknown kind), 0 GiB of memory, Linux 6.1.0"
        );
    }

    fn measured(scenario: &Scenario, ours: f64) -> String {
        let mut figures = Figures::default();
        figures.add("reka", "wait", Unit::Milliseconds, ours);
        figures.add("kafka", "wait", Unit::Milliseconds, 4.0);
        section("a machine", 5, scenario, &figures)
    }

    #[test]
    fn a_page_has_a_table_for_each_scenario_and_the_last_one_measured() {
        let mut page = String::new();
        // In another order than theirs, each twice.
        for (scenario, ours) in SCENARIOS
            .iter()
            .rev()
            .flat_map(|one| [(one, 1.0), (one, 2.0)])
        {
            page = merged(&page, scenario.name, &measured(scenario, ours));
        }
        let sections = page.split(SECTION).skip(1);
        let told: Vec<&str> = sections.filter_map(|text| text.lines().next()).collect();
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(told, known);
        for scenario in SCENARIOS {
            let begins = format!("\n## {}\n\n{}.", scenario.name, scenario.about);
            assert_eq!(page.matches(&begins).count(), 1, "{}", scenario.name);
            let repeated = format!("bench {} --versus kafka --rounds 5 --write", scenario.name);
            assert!(page.contains(&repeated), "{repeated}");
        }
        let row = "| `wait` | ms | 2.000 (2.000 to 2.000) | 4.000 (4.000 to 4.000) | 2.00 | - |";
        assert_eq!(page.matches(row).count(), SCENARIOS.len());
        assert_eq!(page.matches("| `wait` |").count(), SCENARIOS.len());
    }

    /// The figures are of another day; the scenarios must be those there are.
    #[test]
    fn a_page_that_was_written_has_the_scenarios_there_are() {
        let Ok(page) = files::read_text(&file()) else {
            return;
        };
        let told: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(told, known, "docs/benchmarks.md: measure again");
    }
}

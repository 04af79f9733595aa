//! What was measured as a page: `docs/benchmarks.md`, written by `cargo compat bench --versus kafka --write`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::figures::Figures;
use super::memory;
use super::scenarios::Scenario;
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

/// Writes what was measured.
pub fn write(machine: &str, rounds: usize, measured: &[(&Scenario, Figures)]) -> Result<()> {
    files::write(&file(), render(machine, rounds, measured))
}

fn render(machine: &str, rounds: usize, measured: &[(&Scenario, Figures)]) -> String {
    let mut text = format!(
        "# Measured beside Apache Kafka\n\n\
         Written by `cargo compat bench --versus kafka --rounds {rounds} --write`, which repeats it; one scenario \
         alone is `cargo compat bench SCENARIO --versus kafka`. What the runner does for the figures to mean \
         something: [compat-tests/README.md](../compat-tests/README.md), \"Measuring\".\n\n\
         On {machine}. The broker has one core, the load another; both brokers run one after the other with their \
         default settings but for those named, in each of {rounds} rounds. Told are the median of the rounds and, in \
         parentheses, the least and the most. The ratio says how many times as good Reka is as Apache Kafka 4.3.1, \
         whether more is better or less.\n"
    );
    for (scenario, figures) in measured {
        let _ = write!(text, "\n## {}\n\n{}.", scenario.name, scenario.about);
        if !scenario.settings.is_empty() {
            let _ = write!(text, " With `{}`.", scenario.settings.join("`, `"));
        }
        text += "\n\n| Figure | Unit | Reka | Apache Kafka | Ratio |\n|---|---|---|---|---|\n";
        for row in figures.rows() {
            text += &row;
            text += "\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Unit;
    use crate::bench::scenarios::SCENARIOS;

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

    #[test]
    fn a_page_has_a_table_for_each_scenario() {
        let measured = |scenario| {
            let mut figures = Figures::default();
            figures.add("reka", "wait", Unit::Milliseconds, 2.0);
            figures.add("kafka", "wait", Unit::Milliseconds, 4.0);
            (scenario, figures)
        };
        let all: Vec<_> = SCENARIOS.iter().map(measured).collect();
        let page = render("a machine", 5, &all);
        for scenario in SCENARIOS {
            let begins = format!("\n## {}\n\n{}.", scenario.name, scenario.about);
            assert!(page.contains(&begins), "{}", scenario.name);
        }
        let row = "| `wait` | ms | 2.000 (2.000 to 2.000) | 4.000 (4.000 to 4.000) | 2.00 |";
        assert_eq!(page.matches(row).count(), SCENARIOS.len());
        assert!(page.contains("--rounds 5 --write"), "{page}");
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

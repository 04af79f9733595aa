//! Figures of several rounds, and how they are printed.

use std::collections::BTreeMap;

/// Whether more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Payload bytes, in 10^9, per second of CPU time the broker used.
    GigabytesPerCpuSecond,
    /// Payload bytes, in 10^9, per second by the clock.
    GigabytesPerSecond,
    /// Requests per second of CPU time the broker used.
    RequestsPerCpuSecond,
    /// Time.
    Microseconds,
    /// Time.
    Milliseconds,
    /// Transactions per second of CPU time the broker used.
    TransactionsPerCpuSecond,
    /// Transactions per second by the clock.
    TransactionsPerSecond,
    /// How often each member has to ask.
    Heartbeats,
    /// One throughput as a share of another.
    Percent,
    /// Resident memory, in 2^20 bytes.
    Mebibytes,
    /// Resident memory per partition, in 2^10 bytes.
    KibibytesEach,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::GigabytesPerCpuSecond => "GB/cpu-s",
            Unit::GigabytesPerSecond => "GB/s",
            Unit::RequestsPerCpuSecond => "requests/cpu-s",
            Unit::Microseconds => "us",
            Unit::Milliseconds => "ms",
            Unit::TransactionsPerCpuSecond => "txn/cpu-s",
            Unit::TransactionsPerSecond => "txn/s",
            Unit::Heartbeats => "heartbeats",
            Unit::Percent => "%",
            Unit::Mebibytes => "MiB",
            Unit::KibibytesEach => "KiB",
        }
    }

    /// How many times as good `ours` is as `theirs`.
    fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self.more_is_better() {
            true => ours / theirs,
            false => theirs / ours,
        }
    }

    fn more_is_better(self) -> bool {
        matches!(
            self,
            Unit::GigabytesPerCpuSecond
                | Unit::GigabytesPerSecond
                | Unit::RequestsPerCpuSecond
                | Unit::TransactionsPerCpuSecond
                | Unit::TransactionsPerSecond
                | Unit::Percent
        )
    }
}

/// One measured value: name, unit, value.
pub type Figure = (&'static str, Unit, f64);

/// The values of all rounds.
#[derive(Debug, Default)]
pub struct Figures {
    /// By the order of their first appearance.
    names: Vec<(&'static str, Unit)>,
    values: BTreeMap<(&'static str, &'static str), Vec<f64>>,
}

impl Figures {
    /// Adds what a contestant reached in a round.
    pub fn add(&mut self, contestant: &'static str, name: &'static str, unit: Unit, value: f64) {
        if !self.names.iter().any(|(known, _)| *known == name) {
            self.names.push((name, unit));
        }
        self.values
            .entry((contestant, name))
            .or_default()
            .push(value);
    }

    /// A line of a table for each figure both contestants have: medians, how far the rounds lie apart,
    /// how many times as good the first is, and what the machine allows where that was measured.
    #[must_use]
    pub fn rows(&self) -> Vec<String> {
        let row = |(name, unit): &(&'static str, Unit)| {
            let ours = self.values.get(&("reka", *name))?;
            let theirs = self.values.get(&("kafka", *name))?;
            let told = |values: &[f64]| {
                let (least, most) = (
                    values.iter().copied().fold(f64::INFINITY, f64::min),
                    values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                );
                let median = shown(median(values));
                format!("{median} ({} to {})", shown(least), shown(most))
            };
            let ratio = unit.ratio(median(ours), median(theirs));
            let floor = self.floor(name).map(|floor| {
                let share = unit.ratio(median(ours), floor);
                format!("{} ({share:.2})", shown(floor))
            });
            let floor = floor.unwrap_or_else(|| "-".into());
            let (unit, ours, theirs) = (unit.name(), told(ours), told(theirs));
            Some(format!(
                "| `{name}` | {unit} | {ours} | {theirs} | {ratio:.2} | {floor} |"
            ))
        };
        self.names.iter().filter_map(row).collect()
    }

    fn floor(&self, name: &'static str) -> Option<f64> {
        self.values
            .get(&("floor", name))
            .map(|values| median(values))
    }

    /// A line for each figure, and one that says how far its rounds lie apart.
    pub fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, unit) in &self.names {
            let Some(ours) = self.values.get(&("reka", *name)) else {
                continue;
            };
            let theirs = self.values.get(&("kafka", *name));
            let ours_median = median(ours);
            let unit_name = unit.name();
            let mut line = format!("figure {name} {} {unit_name}", shown(ours_median));
            if let Some(theirs) = theirs {
                let ratio = unit.ratio(ours_median, median(theirs));
                line += &format!(" ratio {ratio:.2}");
            }
            lines.push(line);
            lines.push(format!("  rounds of reka: {}", spread(ours)));
            if let Some(theirs) = theirs {
                lines.push(format!("  rounds of kafka: {}", spread(theirs)));
            }
            if let Some(floor) = self.floor(name) {
                let share = unit.ratio(ours_median, floor);
                let floor = shown(floor);
                lines.push(format!(
                    "  floor of this machine {floor} {unit_name}: {share:.2} of it reached"
                ));
            }
        }
        lines
    }
}

fn spread(values: &[f64]) -> String {
    let shown: Vec<String> = values.iter().map(|value| shown(*value)).collect();
    shown.join(" ")
}

fn shown(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted[middle];
    }
    f64::midpoint(sorted[middle - 1], sorted[middle])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_says_how_many_times_as_good_whichever_way_good_is() {
        let mut figures = Figures::default();
        for (contestant, fast, slow) in [("reka", 6.0, 2.0), ("kafka", 2.0, 8.0)] {
            figures.add(contestant, "speed", Unit::GigabytesPerSecond, fast);
            figures.add(contestant, "wait", Unit::Milliseconds, slow);
        }
        let lines = figures.lines();
        assert_eq!(lines[0], "figure speed 6.000 GB/s ratio 3.00");
        assert_eq!(lines[3], "figure wait 2.000 ms ratio 4.00");
        figures.add("floor", "speed", Unit::GigabytesPerSecond, 8.0);
        let floor = "  floor of this machine 8.000 GB/s: 0.75 of it reached";
        assert_eq!(figures.lines()[3], floor);
    }

    #[test]
    fn a_row_has_medians_what_is_around_them_and_the_ratio() {
        let mut figures = Figures::default();
        for value in [2.0, 9.0, 1.0] {
            figures.add("reka", "wait", Unit::Milliseconds, value);
            figures.add("kafka", "wait", Unit::Milliseconds, value * 3.0);
        }
        figures.add("floor", "wait", Unit::Milliseconds, 0.5);
        figures.add("reka", "alone", Unit::Milliseconds, 1.0);
        assert_eq!(
            figures.rows(),
            [
                "| `wait` | ms | 2.000 (1.000 to 9.000) | 6.000 (3.000 to 27.000) | 3.00 | 0.500 (0.25) |"
            ]
        );
    }

    #[test]
    fn alone_there_is_no_ratio_and_the_median_counts() {
        let mut figures = Figures::default();
        for value in [3.0, 100.0, 1.0] {
            figures.add("reka", "idle", Unit::Mebibytes, value);
        }
        let lines = figures.lines();
        assert_eq!(lines[0], "figure idle 3.000 MiB");
        assert_eq!(lines[1], "  rounds of reka: 3.000 100 1.000");
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}

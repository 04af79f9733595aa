//! What a run ends with.

use std::collections::BTreeSet;

use reka_compat::rows::{ROWS, named};
use reka_compat::runner::{Outcome, Report, all_good, summary};

fn reports(outcomes: &[Outcome]) -> Vec<Report> {
    let report = |outcome: &Outcome| Report {
        row: "row",
        outcome: *outcome,
        seconds: 0.0,
        note: String::new(),
        kept: None,
    };
    outcomes.iter().map(report).collect()
}

#[test]
fn the_last_line_has_the_form_machines_look_for() {
    use Outcome::{Failed, Passed, Skipped};
    assert_eq!(summary(&reports(&[])), "0 passed, 0 failed");
    assert_eq!(
        summary(&reports(&[Passed, Passed, Failed])),
        "2 passed, 1 failed"
    );
    assert_eq!(
        summary(&reports(&[Passed, Skipped])),
        "1 passed, 0 failed, 1 skipped"
    );
}

#[test]
fn one_failure_fails_the_run_and_a_skipped_row_does_not() {
    use Outcome::{Failed, Passed, Skipped};
    assert!(all_good(&reports(&[Passed, Skipped])));
    assert!(!all_good(&reports(&[Passed, Failed])));
}

#[test]
fn names_are_rows_tiers_or_all() {
    assert_eq!(named("all").len(), ROWS.len());
    assert_eq!(named("control").len(), 1);
    assert!(!named("ci").is_empty());
    assert!(named("no-such-row").is_empty());
    let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), ROWS.len(), "two rows of one name");
    assert!(!names.contains("ci") && !names.contains("all"));
}

//! What a run ends with.

use std::collections::BTreeSet;

use reka_compat::rows::{ROWS, Tier, expect_brokers, named};
use reka_compat::runner::{Outcome, Report, all_good, summary, time_of};
use reka_compat::target::Against;

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
fn the_time_of_a_tier_is_that_of_its_rows_that_ran() {
    let report = |row, outcome, seconds| Report {
        row,
        outcome,
        seconds,
        note: String::new(),
        kept: None,
    };
    let reports = [
        report("kill", Outcome::Passed, 10.0),
        report("python", Outcome::Failed, 20.4),
        report("node", Outcome::Skipped, 0.1),
        report("chaos", Outcome::Passed, 300.0),
    ];
    assert_eq!(time_of(Tier::Ci, &reports), "tier ci: 2 rows in 30 s");
    assert_eq!(
        time_of(Tier::Nightly, &reports),
        "tier nightly: 1 rows in 300 s"
    );
    assert_eq!(
        time_of(Tier::Release, &reports),
        "tier release: 0 rows in 0 s"
    );
}

#[test]
fn a_tier_asked_of_one_broker_leaves_out_what_has_a_broker_of_its_own() {
    let left_out = |against: Against| -> Vec<&str> {
        let rows = named("ci").into_iter();
        let refusing = rows.filter(|row| row.judges.refuses(against).is_some());
        refusing.map(|row| row.name).collect()
    };
    assert!(left_out(Against::Both).is_empty());
    let of_reka = ["dump-log", "kafka-serves-ours", "kafka-recovers-ours"];
    let of_kafka = [
        "control",
        "kafka-log-dir",
        "kafka-serves-kafka",
        "client",
        "rkctl",
    ];
    let kafka = [&of_reka[..], &["differential", "kafka-it"]].concat();
    assert_eq!(left_out(Against::Kafka), kafka);
    let mut reka = left_out(Against::Reka);
    reka.retain(|row| !of_kafka.contains(row));
    assert_eq!(reka, ["differential"]);
    let elsewhere = left_out(Against::Address(([127, 0, 0, 1], 9092).into()));
    for row in of_kafka.iter().chain(&kafka).chain(&["kill", "streams"]) {
        assert!(
            elsewhere.contains(row),
            "{row} asked of a broker it did not start"
        );
    }
    assert!(!elsewhere.contains(&"kafka-tools"));
}

#[test]
fn a_cluster_is_asked_of_who_has_one_by_rows_that_can() {
    let told = |name: &str, against, brokers| {
        let refused = expect_brokers(&[name.to_owned()], against, brokers);
        refused.map_err(|error| error.to_string())
    };
    let elsewhere = Against::Address(([127, 0, 0, 1], 9092).into());
    for (against, brokers) in [
        (None, 1),
        (Some(Against::Kafka), 3),
        (Some(elsewhere), 3),
        (Some(Against::Reka), 1),
    ] {
        assert_eq!(told("python", against, brokers), Ok(()));
    }
    for against in [None, Some(Against::Reka)] {
        let refused = told("python", against, 3).expect_err("it has no cluster");
        assert!(
            refused.contains("one broker is all there is yet"),
            "{refused}"
        );
    }
    let refused = told("kill", Some(Against::Kafka), 2).expect_err("it kills the one");
    assert!(refused.starts_with("kill: it asks one broker"), "{refused}");
    let ci = named("ci").into_iter();
    let asked: Vec<&str> = ci
        .filter(|row| row.refuses_brokers(3).is_none())
        .map(|row| row.name)
        .collect();
    assert_eq!(asked, ["java-clients", "python", "go", "node"]);
}

#[test]
fn every_tier_has_rows() {
    for tier in Tier::ALL {
        assert!(!named(tier.name()).is_empty(), "{}", tier.name());
    }
}

#[test]
fn names_are_rows_tiers_or_all() {
    assert_eq!(named("all").len(), ROWS.len());
    assert_eq!(named("control").len(), 1);
    assert!(!named("ci").is_empty());
    assert!(named("no-such-row").is_empty());
    let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), ROWS.len(), "two rows of one name");
    let taken = Tier::ALL.map(Tier::name);
    assert!(taken.iter().all(|tier| !names.contains(tier)) && !names.contains("all"));
}

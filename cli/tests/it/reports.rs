//! What depends on the machine or the cluster's own id, so that no conversation can hold it.

use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::server::Server;
use crate::session::{Said, command, rkctl};

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err))
}

fn broker(server: &Server) -> String {
    json(&rkctl(server, "cluster brokers -o json"))[0]["broker"].to_string()
}

fn edited(server: &Server, line: &str, editor: &str) -> Said {
    let output = command(server, line)
        .env("EDITOR", editor)
        .output()
        .expect("rkctl");
    Said {
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
        exit: output.status.code().expect("an exit code"),
    }
}

/// An editor that adds a line, changes one and takes one away, each in its turn.
#[test]
fn configurations_are_edited_and_compared() {
    let server = Server::start();
    let id = broker(&server);
    let edit = format!("cluster config edit --broker {id} -o json");
    let added = edited(&server, &edit, "sed -i $alog.cleaner.threads=2");
    let rows = json(&added);
    assert_eq!(rows[0]["name"], "log.cleaner.threads", "{}", added.err);
    assert_eq!(
        (&rows[0]["value"], &rows[0]["status"]),
        (&"2".into(), &"set".into())
    );

    let began = std::time::Instant::now();
    let differ = loop {
        let rows = json(&rkctl(
            &server,
            &format!("cluster config diff {id} -o json"),
        ));
        let rows = rows.as_array().cloned().unwrap_or_default();
        // Apache Kafka's brokers learn of a change a moment after it is acknowledged.
        if let Some(row) = rows
            .into_iter()
            .find(|row| row["name"] == "log.cleaner.threads")
        {
            break row;
        }
        assert!(began.elapsed().as_secs() < 60, "the change is never seen");
    };
    assert_eq!(
        (&differ["left"], &differ["right"]),
        (&"2".into(), &"1".into())
    );
    assert_eq!(differ["right_source"], "DEFAULT_CONFIG");
    let table = rkctl(&server, &format!("cluster config diff {id}")).out;
    assert!(table.starts_with("KEY"), "{table}");
    let same = rkctl(&server, &format!("cluster config diff {id} {id}"));
    assert_eq!(same.out, "no difference\n", "{}", same.err);

    let dry = edited(
        &server,
        &format!("{edit} --dry-run"),
        "sed -i s/threads=2/threads=1/",
    );
    assert_eq!(json(&dry)[0]["status"], "would be set");
    let kept = edited(&server, &edit, "true");
    assert_eq!(json(&kept), Value::Array(Vec::new()), "nothing was changed");
    let wrong = edited(&server, &edit, "sed -i s/threads=2/threads=many/");
    assert_eq!(wrong.exit, 4, "{}", wrong.err);
    let gone = edited(&server, &edit, "sed -i /threads/d");
    assert_eq!(json(&gone)[0]["status"], "unset");
    let failed = edited(&server, &edit, "false");
    assert_eq!(failed.exit, 1, "{}", failed.err);
}

#[test]
fn the_doctor_looks_at_the_cluster_and_at_settings() {
    let server = Server::start();
    let settings = server.home().join("doc.properties");
    std::fs::write(&settings, "acks=1\nenable.idempotence=true\n").expect("written");
    rkctl(&server, "topic create doc-strict -c min.insync.replicas=2");
    let said = rkctl(&server, "doctor --client doc.properties -o json");
    let found = json(&said);
    assert_eq!(
        (said.exit, &found["healthy"]),
        (4, &Value::Bool(false)),
        "{}",
        said.err
    );
    let problems: Vec<(&str, &str)> = found["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            (text("subject"), text("problem"))
        })
        .collect();
    let has = |subject: &str, problem: &str| {
        let found = problems
            .iter()
            .any(|(s, p)| *s == subject && p.contains(problem));
        assert!(found, "{subject} {problem}: {problems:?}");
    };
    has("doc.properties", "acks=1");
    has("topic doc-strict", "acks=all is refused");
    let table = rkctl(&server, "doctor --client doc.properties").out;
    assert!(table.starts_with("WHAT"), "{table}");
    let missing = rkctl(&server, "doctor --client none.properties");
    assert_eq!(missing.exit, 2, "{}", missing.err);
}

#[test]
fn a_bundle_has_everything_but_secrets_and_is_for_its_owner_alone() {
    let server = Server::start();
    rkctl(&server, "topic create bun-orders -c retention.ms=60000");
    let said = rkctl(&server, "bundle bun.json -o json");
    assert_eq!(said.exit, 0, "{}", said.err);
    assert_eq!(json(&said)["missing"], Value::Array(Vec::new()));
    let file = server.home().join("bun.json");
    assert_eq!(
        std::fs::metadata(&file).expect("the file").mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&file).expect("the file");
    let bundle: Value = serde_json::from_str(&text).expect("json");
    let config = &bundle["topics"]["bun-orders"]["config"];
    assert_eq!(config["retention.ms"]["value"], "60000");
    let id = broker(&server);
    let brokers = &bundle["brokers"][&id]["config"];
    assert!(brokers.get("log.dirs").is_some(), "{brokers}");
    for (key, entry) in brokers.as_object().expect("keys") {
        let hidden = ["password", "jaas"].iter().any(|word| key.contains(word));
        assert!(!hidden || entry["value"] == "(secret)", "{key}: {entry}");
    }
    for part in [
        "cluster",
        "quorum",
        "features",
        "groups",
        "moves",
        "transactions",
        "findings",
    ] {
        assert!(
            bundle[part].get("error").is_none() && !bundle[part].is_null(),
            "{part}"
        );
    }
    // It does not write over what is there.
    assert_eq!(rkctl(&server, "bundle bun.json").exit, 1);
}

#[test]
fn a_load_is_measured_and_leaves_no_topic() {
    let server = Server::start();
    let said = rkctl(&server, "bench --time 1s --size 50 -p 2 -o json");
    let measured = json(&said);
    let number = |name: &str| measured[name].as_f64().unwrap_or_default();
    assert!(number("records") > 0.0, "{measured}");
    assert!(number("produced_records_per_second") > 0.0 && number("consumed_mb_per_second") > 0.0);
    let times = ["p50", "p99", "p999", "max"].map(|of| number(&format!("delivery_ms_{of}")));
    assert!(times[0] > 0.0 && times.is_sorted(), "{measured}");
    let slow = json(&rkctl(&server, "bench --time 1s --rate 100 -o json"));
    let records = slow["records"].as_f64().unwrap_or_default();
    assert!((1.0..=101.0).contains(&records), "{slow}");
    let table = rkctl(&server, "bench --time 500ms --rate 50").out;
    assert!(table.contains("delivery p99.9"), "{table}");
    let topics = rkctl(&server, "topic list 'rkctl-bench-*' -o json");
    assert_eq!(topics.out.trim(), "[]");
}

#[test]
fn prometheus_is_told_where_the_brokers_are_and_grafana_what_to_draw() {
    let server = Server::start();
    let said = rkctl(&server, "generate prometheus --port 9700 --interval 5s");
    assert!(said.out.contains("- \"127.0.0.1:9700\"\n"), "{}", said.out);
    assert!(
        said.out.contains("scrape_interval: \"5s\"\n"),
        "{}",
        said.out
    );
    assert_eq!(
        rkctl(&server, "generate prometheus --interval often").exit,
        2
    );
    let dashboard = json(&rkctl(&server, "generate dashboard --title Mine"));
    assert_eq!(dashboard["title"], "Mine");
    assert!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 10)
    );
}

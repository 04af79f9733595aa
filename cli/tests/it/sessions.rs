//! The conversations, each against a broker of its own.

use crate::server::{Server, is_foreign};
use crate::session::{hold, rkctl};

#[test]
fn topics_are_made_shown_changed_and_deleted() {
    hold(&Server::start(), "topics");
}

#[test]
fn groups_are_moved_shown_and_deleted() {
    let server = Server::start();
    let write = |name: &str, text: &str| {
        std::fs::write(server.home().join(name), text).expect("written");
    };
    write("g-offsets.csv", "g-orders,0,0\ng-orders,1,0\n");
    write("g-broken.csv", "g-orders,0,0\ng-orders,one,0\n");
    hold(&server, "groups");
}

#[test]
fn topics_are_copied_and_compared_and_partitions_moved() {
    let server = Server::start();
    std::fs::write(server.home().join("k-lines.txt"), "a:1\nb:2\na:3\n").expect("written");
    hold(&server, "copies");
}

#[test]
fn topics_are_analyzed_and_partitions_explained_and_balanced() {
    let server = Server::start();
    let lines: String = (0..40)
        .map(|n| {
            let key = if n % 4 == 0 {
                "null".to_owned()
            } else {
                format!("\"k{}\"", n % 3)
            };
            let value = "v".repeat(n);
            let at = 1_700_000_000_000_u64 + n as u64 * 100;
            format!("{{\"key\":{key},\"value\":\"{value}\",\"timestamp_ms\":{at}}}\n")
        })
        .collect();
    std::fs::write(server.home().join("w-records.jsonl"), lines).expect("written");
    hold(&server, "looks");
}

#[test]
fn the_cluster_is_shown_and_configured() {
    hold(&Server::start(), "cluster");
}

#[test]
fn transactions_are_shown() {
    hold(&Server::start(), "transactions");
}

#[test]
fn records_go_out_and_come_back() {
    let server = Server::start();
    let write = |name: &str, text: &str| {
        std::fs::write(server.home().join(name), text).expect("written");
    };
    write("lines.txt", "a:1\nb:2\n\u{1b}:3\na:\n");
    write("no-key.txt", "a:1\nb\n");
    write(
        "records.jsonl",
        concat!(
            r#"{"key":"ada","value":"{\"age\":36}","headers":[["trace","x"],["trace",null]],"timestamp_ms":1700000000000}"#,
            "\n",
            r#"{"key":"bob","value":"{\"age\":7}","timestamp_ms":1700000005000,"offset":99}"#,
            "\n",
            r#"{"key":"bob","value":null,"timestamp_ms":1700000006000}"#,
            "\n",
        ),
    );
    write("broken.jsonl", "{\"key\":\"a\"}\n{\"key\":7}\n");
    hold(&server, "records");
}

#[test]
fn a_cluster_becomes_what_a_file_says() {
    let server = Server::start();
    let write = |name: &str, text: &str| {
        std::fs::write(server.home().join(name), text).expect("written");
    };
    write(
        "d-first.toml",
        "[topics.d-orders]\npartitions = 2\nconfigs = { \"retention.ms\" = 60000, \"segment.ms\" = 9000 }\n\n[topics.d-plain]\n",
    );
    write(
        "d-second.toml",
        "[topics.d-orders]\npartitions = 3\nreplication_factor = 1\n[topics.d-orders.configs]\n\"retention.ms\" = \"70000\"\n",
    );
    write("d-fewer.toml", "[topics.d-orders]\npartitions = 1\n");
    write("d-broken.toml", "[topics.d-orders]\npartitions = many\n");
    write(
        "d-third.yaml",
        concat!(
            "topics:\n  d-orders:\n    configs:\n      retention.ms: 80000\n",
            "quotas:\n- user: d-alice\n  limits:\n    producer_byte_rate: 1024\n    request_percentage: 12.5\n",
        ),
    );
    write(
        "d-fourth.yaml",
        "quotas:\n- user: d-alice\n  limits: {producer_byte_rate: 2048}\n",
    );
    write("d-broken.yaml", "topics:\n  d-orders: [1, 2\n  d-plain:\n");
    hold(&server, "declared");
}

/// What is ours alone: versions, features, a quorum of one.
#[test]
fn our_cluster_says_what_it_is() {
    if !is_foreign() {
        hold(&Server::start(), "ours");
    }
}

/// A cluster is as healthy as the machine: a disk that is nearly full is a finding, and there is no
/// other.
#[test]
fn a_sound_broker_is_healthy_but_for_the_machines_disk() {
    let server = Server::start();
    let said = rkctl(&server, "cluster health -o json");
    let health: serde_json::Value = serde_json::from_str(&said.out).expect("json");
    let findings = health["findings"].as_array().expect("a list");
    let only_disks = findings.iter().all(|finding| {
        let problem = finding["problem"].as_str().unwrap_or_default();
        problem.contains("its disk is") && problem.ends_with("% full")
    });
    assert!(only_disks, "{health}");
    assert_eq!(health["healthy"], findings.is_empty());
    assert_eq!(said.exit, if findings.is_empty() { 0 } else { 4 });
}

/// What is as large as the machine's disk and lies where the test put it.
#[test]
fn directories_are_shown_with_what_is_in_them() {
    let server = Server::start();
    rkctl(&server, "topic create stored -p 2");
    let began = std::time::Instant::now();
    let dirs = loop {
        let said = rkctl(&server, "cluster logdirs --topic stored -o json");
        assert_eq!(said.exit, 0, "{}", said.err);
        let dirs: serde_json::Value = serde_json::from_str(&said.out).expect("json");
        if dirs[0]["topics"][0]["partitions"] == 2 {
            break dirs;
        }
        assert!(began.elapsed().as_secs() < 60, "{dirs}");
    };
    let dir = &dirs[0];
    assert!(
        dir["path"]
            .as_str()
            .is_some_and(|path| path.contains("data"))
    );
    assert!(dir["usable_bytes"].as_i64() > Some(0));
    assert!(dir["total_bytes"].as_i64() >= dir["usable_bytes"].as_i64());
    assert_eq!(dir["topics"][0]["topic"], "stored");
    let table = rkctl(&server, "cluster logdirs").out;
    assert!(table.starts_with("BROKER  DIRECTORY"), "{table}");
}

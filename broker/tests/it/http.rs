//! Metrics and health, asked for over HTTP.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use reka_broker::Node;
use reka_protocol::kafka_protocol::messages::ApiVersionsRequest;

use crate::support::{Client, batch, start, start_with};

/// Status line and body of what is at a path.
pub(crate) fn get(node: &Node, path: &str) -> (String, String) {
    let address = node.http().expect("an http listener");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.lines().next().unwrap_or_default();
    (status.to_owned(), body.to_owned())
}

/// Samples by name and labels.
pub(crate) fn samples(node: &Node) -> BTreeMap<String, f64> {
    let (status, body) = get(node, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    lines.filter_map(parse).collect()
}

#[test]
fn what_clients_do_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    client.call(9, &named("t"));
    let sent = batch(&["a"], None);
    let size = sent.len() as f64;
    client.produce(9, "t", sent);
    client.produce(9, "missing", batch(&["a"], None));
    client.fetch(11, "t", 0, 0);
    let parked = client.send(11, &crate::support::fetch_request("t", 1, 15_000));
    let behind = client.send(0, &ApiVersionsRequest::default());
    let mut other = Client::connect(&node);
    other.call(0, &ApiVersionsRequest::default());

    let found = samples(&node);
    let value = |name: &str| found.get(name).copied();
    assert_eq!(
        value(r#"reka_request_seconds_count{api="Produce"}"#),
        Some(2.0)
    );
    assert_eq!(
        value(r#"reka_errors_total{api="Produce",error="UNKNOWN_TOPIC_OR_PARTITION"}"#),
        Some(1.0)
    );
    assert_eq!(value(r#"reka_parked_requests{api="Fetch"}"#), Some(1.0));
    assert_eq!(value(r#"reka_topic_log_bytes{topic="t"}"#), Some(size));
    assert_eq!(value("reka_connections"), Some(2.0));
    assert_eq!(value("reka_topics"), Some(1.0));
    assert_eq!(value("reka_quorum_is_leader"), Some(1.0));
    assert!(value(r#"reka_received_bytes_total{api="Produce"}"#) > Some(size));
    assert!(value(r#"reka_sent_bytes_total{api="Fetch"}"#) > Some(size));
    assert!(value("process_resident_memory_bytes") > Some(1e6));
    // What was parked is not any more.
    other.produce(9, "t", batch(&["b"], None));
    client.receive::<reka_protocol::kafka_protocol::messages::FetchRequest>(11, parked);
    client.receive::<ApiVersionsRequest>(0, behind);
    assert_eq!(
        samples(&node).get(r#"reka_parked_requests{api="Fetch"}"#),
        Some(&0.0)
    );
    node.stop().expect("a clean stop");
}

#[test]
fn a_group_that_is_behind_is_told_with_records_and_seconds() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start_with(dir.path(), &["offsets.topic.num.partitions=4"]);
    let mut client = Client::connect(&node);
    client.call(9, &named("t"));
    // Written now, three hours ago and less by their own word.
    let now_ms = reka_broker::clock::Clock::System.now_ms();
    for (value, hours) in [("a", 3), ("b", 2), ("c", 1)] {
        let hours_ago = now_ms - hours * 3_600_000;
        let mut builder = reka_records::BatchBuilder::new(0);
        let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        builder
            .append(0, hours_ago, None, Some(value.as_bytes()), none)
            .expect("a record that fits");
        client.produce(9, "t", builder.finish());
    }
    crate::groups::find(&mut client, "g");
    let lag = |node: &Node, of: &str| {
        let found = samples(node);
        let at = |name: &str| {
            let place = format!("{name}{{group=\"{of}\",partition=\"0\",topic=\"t\"}}");
            found.get(&place).copied()
        };
        (at("reka_group_lag_records"), at("reka_group_lag_seconds"))
    };
    assert_eq!(lag(&node, "g"), (None, None));
    for (offset, behind) in [(1, 2.0), (3, 0.0), (0, 3.0)] {
        let code =
            crate::groups::commit_code(&mut client, 9, &crate::groups::commit("g", 0, offset, ""));
        assert_eq!(code, reka_protocol::ErrorCode::None);
        let (records, seconds) = lag(&node, "g");
        assert_eq!(records, Some(behind));
        let seconds = seconds.expect("told");
        // As old as the first record it has not read.
        let expected = behind * 3600.0..behind * 3600.0 + 100.0;
        assert!(expected.contains(&seconds), "{seconds} at {offset}");
    }
    // Who has no offset any more has no lag.
    let topics = reka_protocol::kafka_protocol::messages::DeleteGroupsRequest::default()
        .with_groups_names(vec![crate::groups::group("g")]);
    assert_eq!(client.call(2, &topics).results[0].error_code, 0);
    assert_eq!(lag(&node, "g"), (None, None));
    node.stop().expect("a clean stop");
}

fn named(topic: &str) -> reka_protocol::kafka_protocol::messages::MetadataRequest {
    use reka_protocol::kafka_protocol::messages::MetadataRequest;
    use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    let topic = MetadataRequestTopic::default().with_name(Some(crate::support::topic_name(topic)));
    MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true)
}

#[test]
fn a_node_that_serves_is_healthy_and_ready() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    for path in ["/health", "/ready"] {
        let ok = ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned());
        assert_eq!(get(&node, path), ok, "{path}");
    }
    assert_eq!(get(&node, "/nope").0, "HTTP/1.1 404 Not Found");
}

#[test]
fn an_empty_listener_turns_it_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start_with(dir.path(), &["reka.http.listener="]);
    assert_eq!(node.http(), None);
}

#[test]
fn the_page_lists_every_metric() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    client.call(9, &named("t"));
    client.produce(9, "missing", batch(&["a"], None));
    crate::groups::find(&mut client, "g");
    let commit = crate::groups::commit("g", 0, 0, "");
    crate::groups::commit_code(&mut client, 9, &commit);
    node.services()
        .metrics
        .groups
        .rebalanced("new member", std::time::Duration::ZERO);
    node.services()
        .metrics
        .requests
        .connections_refused
        .with_label_values(&["max.connections"]);
    let (_, text) = get(&node, "/metrics");
    let mut rows = String::new();
    for line in text.lines() {
        let Some(help) = line.strip_prefix("# HELP ") else {
            continue;
        };
        let (name, help) = help.split_once(' ').expect("a name and its help");
        let kind = format!("# TYPE {name} ");
        let kind = text.lines().find_map(|line| line.strip_prefix(&kind));
        let sample = text.lines().find(|line| {
            let (found, _) = line.split_once('{').unwrap_or_default();
            found == name || found.strip_suffix("_bucket") == Some(name)
        });
        let labels: Vec<&str> = sample
            .and_then(|line| line.split_once('{')?.1.split_once('}'))
            .map(|(labels, _)| labels.split(',').filter_map(|l| Some(l.split_once('=')?.0)))
            .into_iter()
            .flatten()
            .filter(|label| *label != "le")
            .collect();
        rows.push_str(&format!(
            "| `{name}` | {} | {} | {help} |\n",
            kind.unwrap_or_default(),
            labels.join(", ")
        ));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(&path).expect("docs/metrics.md");
    let (head, _) = page.split_once("|---|").expect("a table");
    let expected = format!("{head}|---|---|---|---|\n{rows}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).expect("docs/metrics.md");
        return;
    }
    assert!(
        page == expected,
        "docs/metrics.md is not current; UPDATE=1 rewrites it"
    );
}

//! Connections: shared, in order, found again, and never waited for without end.

use std::time::Duration;

use reka_client::pool::Lane;
use reka_client::{Bootstrap, Client, ClientConfig, ClientError, Target};
use reka_protocol::kafka_protocol::messages::MetadataRequest;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::admin_topics::client;
use crate::server::Server;

/// Many requests are on their way at once over one connection, and each gets its own answer.
#[tokio::test]
async fn requests_are_pipelined_over_one_connection() {
    let server = Server::start();
    let client = client(&server);
    let connection = client.connection(Target::Any, Lane::Control).await;
    let connection = connection.expect("a connection");
    let mut waiting = Vec::new();
    for nth in 0..40 {
        // Version 0 without topics asks for all, from 1 on for none.
        let request = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(true);
        let version = 1 + (nth % 8);
        let sent = connection.send(version, &request, Duration::ZERO).await;
        waiting.push(sent.expect("sent"));
    }
    for pending in waiting {
        let answer = pending.wait().await.expect("an answer");
        assert_eq!(answer.brokers.len(), 1);
    }
}

#[tokio::test]
async fn a_broker_that_was_killed_is_found_again_where_it_comes_back() {
    let mut server = Server::start_ours("127.0.0.1:0");
    let client = client(&server);
    let before = client.describe_cluster().await.expect("a cluster");
    server.kill_and_restart();
    let after = client.describe_cluster().await.expect("the same cluster");
    assert_eq!(before.id, after.id);
}

#[tokio::test]
async fn the_addresses_to_start_from_are_tried_in_turn_and_named_when_none_answers() {
    let server = Server::start();
    // Nothing listens on port 1.
    let list = format!("127.0.0.1:1,{}", server.address());
    let both = Client::new(ClientConfig::new(list.parse().expect("addresses")));
    assert_eq!(both.brokers().await.expect("brokers").len(), 1);

    let nowhere: Bootstrap = "127.0.0.1:1,no-such-host.invalid:9092"
        .parse()
        .expect("addresses");
    let nowhere = Client::new(ClientConfig::new(nowhere));
    let error = nowhere.reach().await.expect_err("nobody there");
    assert!(error.is_unreachable());
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1: cannot connect"), "{text}");
    assert!(
        text.contains("no-such-host.invalid:9092: the name"),
        "{text}"
    );
}

/// A deadline holds whatever the broker does: here it takes connections and says nothing.
#[tokio::test]
async fn a_broker_that_says_nothing_costs_a_deadline_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let mut config = ClientConfig::new(address.parse().expect("an address"));
    config.connect_timeout = Duration::from_millis(50);
    config.deadline = Duration::from_millis(300);
    let began = std::time::Instant::now();
    let error = Client::new(config).brokers().await.expect_err("no answer");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(matches!(error, ClientError::Deadline { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("not done within 300 ms"), "{text}");
    assert!(text.contains(&address), "{text}");
    silent.abort();
}

/// What a broker that wants TLS or SASL does to a stranger.
#[tokio::test]
async fn a_broker_that_closes_at_once_is_named_with_what_it_may_want() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let closing = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let config = ClientConfig::new(address.parse().expect("an address"));
    let error = Client::new(config).reach().await.expect_err("closed");
    let text = error.to_string();
    assert!(text.contains("does it expect tls or sasl?"), "{text}");
    closing.abort();
}

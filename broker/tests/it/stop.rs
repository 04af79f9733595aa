//! A stop answers what was started, and waits for nothing that others would have to do.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_protocol::codec::request_frame;
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};
use reka_protocol::versions;

use crate::groups::{find, join_alone, joining_late};
use crate::http::samples;
use crate::support::{Client, batch, fetch_request, produce_request, start, topic_name};

const PATIENCE: Duration = Duration::from_secs(20);
/// What was started has so long to end; a stop that waits for somebody takes longer.
const STOP_MAX: Duration = Duration::from_secs(2);

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
}

fn create_other(client: &mut Client) {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("other")));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    client.call(9, &request);
}

#[test]
fn what_was_started_before_a_stop_is_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    crate::flush::create(&mut client, &[("flush.messages", "1")]);
    create_other(&mut client);
    let address = node.listeners()[0].bound;
    let partition = node.services().partitions.get("t", 0);
    let partition = partition.expect("a partition");
    // A parked fetch, which tells that all of it was read; then produces that wait for their sync.
    let fetch = fetch_request("other", 0, 60_000);
    let fetch = request_frame(&versions::FETCH, 11, 100, Some("test"), &fetch);
    let mut sent = fetch.expect("a request").to_vec();
    let of = |id: i32| {
        let request = produce_request("t", batch(&["x"], None));
        let frame = request_frame(&versions::PRODUCE, 9, id, Some("test"), &request);
        frame.expect("a request")
    };
    for id in 101..111 {
        sent.extend_from_slice(&of(id));
    }
    let log = partition.log();
    client.stream.write_all(&sent).expect("a connection");
    until(|| node.services().memory.taken() > 0);
    let stop = std::thread::spawn(|| node.stop());
    until(|| TcpStream::connect(address).is_err());
    drop(log);
    let fetched = client.receive::<FetchRequest>(11, 100);
    assert_eq!(fetched.error_code, 0);
    for (offset, id) in (101..111).enumerate() {
        let answer = client.receive::<ProduceRequest>(9, id);
        let written = &answer.responses[0].partition_responses[0];
        assert_eq!(
            (written.error_code, written.base_offset),
            (0, offset as i64)
        );
        assert!(partition.flushed() > offset as i64);
    }
    assert!(client.is_closed());
    stop.join().expect("no panic").expect("a clean stop");
}

fn is_parked(node: &Node, api: &str) -> bool {
    let name = format!("reka_parked_requests{{api=\"{api}\"}}");
    samples(node).get(&name) == Some(&1.0)
}

#[test]
fn long_polls_and_joins_do_not_hold_a_stop() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut member = Client::connect(&node);
    create_other(&mut member);
    find(&mut member, "g");
    assert_eq!(join_alone(&mut member, 9, "g").error_code, 0);
    let mut joins = Client::connect(&node);
    joining_late(&mut joins, "g");
    let mut polls = Client::connect(&node);
    let polled = polls.send(11, &fetch_request("other", 0, 60_000));
    until(|| is_parked(&node, "Fetch") && is_parked(&node, "JoinGroup"));
    let began = Instant::now();
    node.stop().expect("a clean stop");
    let took = began.elapsed();
    assert!(took < STOP_MAX, "{took:?}");
    let answer = polls.receive::<FetchRequest>(11, polled);
    assert_eq!((answer.error_code, answer.responses.len()), (0, 1));
    assert!(polls.is_closed() && joins.is_closed() && member.is_closed());
}

//! Bytes that are not requests close their connection and harm nobody else.

use std::io::Write;
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};

use crate::support::{Client, batch, start, start_with, topic_name, values};

#[test]
fn bytes_that_are_no_request_close_the_connection_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut healthy = Client::connect(&node);
    let frames: [&[u8]; 7] = [
        // Sizes that cannot be: negative, over the limit, http.
        &(-1_i32).to_be_bytes(),
        &i32::MAX.to_be_bytes(),
        b"GET / HTTP/1.1\r\n\r\n",
        // An empty frame, an unknown key, a version nobody has.
        &[0, 0, 0, 0],
        &[0, 0, 0, 8, 3, 231, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 255, 255],
        // Metadata 12 whose topic count promises four billion: the eight bytes that abort a server
        // that trusts them.
        &[
            0, 0, 0, 16, 0, 3, 0, 12, 0, 0, 0, 1, 255, 255, 0, 255, 255, 255, 255, 15,
        ],
    ];
    for frame in frames {
        let mut hostile = Client::connect(&node);
        hostile.stream.write_all(frame).expect("a connection");
        assert!(hostile.is_closed(), "{frame:02x?}");
        healthy.call(
            3,
            &ApiVersionsRequest::default()
                .with_client_software_name("a".into())
                .with_client_software_version("1".into()),
        );
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_zero() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    let frame = [0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 7, 255, 255, 0];
    client.stream.write_all(&frame).expect("a connection");
    let answer = client.receive::<ApiVersionsRequest>(0, 7);
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(answer.api_keys.len(), 1);
}

#[test]
fn a_damaged_batch_is_refused_with_its_reason_and_not_stored() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    create(&mut client);
    let mut damaged = batch(&["x"], None);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(
        client.produce(9, "t", damaged).error_code,
        ErrorCode::CorruptMessage.code()
    );
    let two = [batch(&["x"], None), batch(&["y"], None)].concat();
    assert_eq!(
        client.produce(9, "t", two).error_code,
        ErrorCode::InvalidRecord.code()
    );
    assert_eq!(client.fetch(11, "t", 0, 0).high_watermark, 0);
}

/// Little memory for requests, and the largest frame that is taken is far larger.
const LITTLE_MEMORY: &str = "queued.max.request.bytes=4194304";

/// Clients that begin the largest frame there may be, send so much of it, and no more.
fn stalled(node: &Node, bytes: usize) -> Vec<Client> {
    let largest = node.services().config().socket.request_max_bytes as i32;
    let begin = |_| {
        let mut client = Client::connect(node);
        let mut sent = largest.to_be_bytes().to_vec();
        // A Metadata request, as far as anybody can tell.
        sent.extend([0, 3, 0, 9]);
        sent.resize(4 + bytes, 0);
        client.stream.write_all(&sent).expect("a connection");
        client
    };
    (0..6).map(begin).collect()
}

fn create(client: &mut Client) {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    client.call(9, &request);
}

/// What any client asks for, which takes no longer than without the others.
fn is_served(node: &Node, value: &str, offset: i64) {
    let mut healthy = Client::connect(node);
    let patience = healthy
        .stream
        .set_read_timeout(Some(Duration::from_secs(1)));
    patience.expect("a socket");
    let began = Instant::now();
    healthy.call(9, &MetadataRequest::default().with_topics(None));
    let stored = healthy.produce(9, "t", batch(&[value], None));
    assert_eq!((stored.error_code, stored.base_offset), (0, offset));
    let fetched = healthy.fetch(11, "t", offset, 0);
    assert_eq!(values(&fetched), [(offset, value.to_owned())]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

fn wait_for_memory(node: &Node, taken: i64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.services().memory.taken() < taken {
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
}

#[test]
fn clients_that_promise_the_largest_frame_and_send_nothing_harm_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start_with(dir.path(), &[LITTLE_MEMORY]);
    create(&mut Client::connect(&node));
    let stalled = stalled(&node, 5);
    for offset in 0..3 {
        is_served(&node, "small", 2 * offset);
        is_served(&node, &"x".repeat(500_000), 2 * offset + 1);
    }
    drop(stalled);
    node.stop().expect("a clean stop");
}

/// All memory that large frames may have is taken by what came; small ones have theirs.
#[test]
fn clients_that_send_a_part_of_large_frames_leave_room_for_small_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start_with(dir.path(), &[LITTLE_MEMORY]);
    create(&mut Client::connect(&node));
    let stalled = stalled(&node, 400_000);
    wait_for_memory(&node, 2_500_000);
    for offset in 0..3 {
        is_served(&node, "small", offset);
    }
    drop(stalled);
    node.stop().expect("a clean stop");
}

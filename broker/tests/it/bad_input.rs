//! Bytes that are not requests close their connection and harm nobody else.

use std::io::Write;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::ApiVersionsRequest;

use crate::support::{Client, batch, start};

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
    client.call(
        9,
        &reka_protocol::kafka_protocol::messages::MetadataRequest::default()
            .with_topics(Some(vec![
                reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
                    .with_name(Some(crate::support::topic_name("t"))),
            ]))
            .with_allow_auto_topic_creation(true),
    );
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

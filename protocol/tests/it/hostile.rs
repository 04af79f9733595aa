//! Named bytes that have broken servers, or were made to.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as m;
use reka_protocol::messages::api_versions::ApiVersionsRequest;
use reka_protocol::versions::{self, APIS};
use reka_protocol::{Limits, Problem, Request, RequestBody, RequestError};

use crate::codec;
use crate::generate::{self, Random, seeds};
use reka_protocol::guard::schema::REQUESTS;

/// A frame with a request header as clients write it.
fn frame(name: &str, version: i16, body: &[u8]) -> Bytes {
    let api = versions::by_name(name).expect(name);
    let mut frame = BytesMut::new();
    frame.put_i16(api.key);
    frame.put_i16(version);
    frame.put_i32(42);
    frame.put_i16(4);
    frame.put_slice(b"test");
    if api.request_header_version(version) == 2 {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    frame.freeze()
}

fn decode(frame: &Bytes) -> Result<Request<'_>, RequestError> {
    Request::decode(frame, &Limits::default())
}

/// The problem of a body, and the field it is in.
fn problem(name: &str, version: i16, body: &[u8]) -> (String, Problem) {
    match decode(&frame(name, version, body)) {
        Err(RequestError::Malformed(error)) => (error.field, error.problem),
        other => panic!("{name} v{version} {body:02x?}: {other:?}"),
    }
}

/// Eight bytes of body: a compact array of 2^32-2 topics. A codec that reserves for them asks for
/// 309 GB and aborts the process.
#[test]
fn the_eight_byte_metadata_request_that_aborts_a_naive_server_is_refused() {
    let body = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    let mut refused = None;
    let frame = frame("Metadata", 12, &body);
    let allocated = allocation_counter::measure(|| refused = Some(decode(&frame)));
    match refused {
        Some(Err(RequestError::Malformed(error))) => {
            assert_eq!(
                error.to_string(),
                "Metadata request v12: topics at byte 15: 4294967294 elements of at least 18 bytes \
                 do not fit the 3 left"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(allocated.bytes_total < 1024, "{allocated:?}");
}

#[test]
fn the_four_byte_metadata_request_that_aborts_a_naive_server_is_refused() {
    let (field, problem) = problem("Metadata", 8, &i32::MAX.to_be_bytes());
    assert_eq!(field, "topics");
    assert!(matches!(problem, Problem::CountTooLarge { .. }));
}

#[test]
fn frames_shorter_than_a_header_are_refused_at_every_length() {
    let whole = frame("Metadata", 12, &[1, 0, 0, 0]);
    assert!(decode(&whole.clone()).is_ok());
    for end in 0..whole.len() {
        match decode(&whole.slice(..end)) {
            Err(RequestError::Headless(error)) => {
                assert!(end < 8, "cut at {end}: {error}");
                assert_eq!(error.message, "request header");
            }
            Err(RequestError::Malformed(_)) => assert!(end >= 8, "cut at {end}"),
            other => panic!("cut at {end}: {other:?}"),
        }
    }
}

/// What a header says is kept even when nothing else can be served.
#[test]
fn unknown_apis_and_versions_are_named_with_their_correlation_id() {
    let head = |key: i16, version: i16| {
        let mut frame = BytesMut::new();
        frame.put_i16(key);
        frame.put_i16(version);
        frame.put_i32(77);
        decode(&frame.freeze()).expect_err("not ours")
    };
    for key in [-1, 4, 7, 52, 93, 999, i16::MIN, i16::MAX] {
        match head(key, 0) {
            RequestError::UnknownApi(head) => {
                assert_eq!((head.key, head.correlation_id), (key, 77));
            }
            other => panic!("{key}: {other:?}"),
        }
    }
    for api in APIS {
        for version in [i16::MIN, -1, api.min - 1, api.max + 1, i16::MAX] {
            match head(api.key, version) {
                RequestError::UnsupportedVersion { head, api: named } => {
                    assert_eq!((head.version, head.correlation_id), (version, 77));
                    assert_eq!(named, api);
                }
                other => panic!("{} v{version}: {other:?}", api.name),
            }
        }
    }
}

/// Kafka clients of tomorrow send a version and fields nobody here knows.
#[test]
fn api_versions_from_the_future_is_an_unsupported_version_whatever_its_body() {
    let frame = frame("ApiVersions", 99, b"fields of the future");
    match decode(&frame) {
        Err(RequestError::UnsupportedVersion { head, api }) => {
            assert_eq!((head.correlation_id, api.name), (42, "ApiVersions"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn header_fields_are_checked_one_by_one() {
    // ApiVersions 3 has header version 2 and the body of two strings and tags.
    let with = |after_correlation_id: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_slice(&[0, 18, 0, 3, 0, 0, 0, 1]);
        frame.put_slice(after_correlation_id);
        frame.freeze()
    };
    let body = [2, b'a', 2, b'1', 0];
    let accepts = |client_id: &[u8], expected: Option<&str>| {
        let frame = with(&[client_id, &[0], &body].concat());
        let request = decode(&frame).expect("well formed");
        assert_eq!(request.header.client_id, expected);
        assert!(matches!(request.body, RequestBody::ApiVersions(_)));
    };
    accepts(&[0xff, 0xff], None);
    accepts(&[0, 0], Some(""));
    accepts(&[0, 3, b'a', 0, 0x1b], Some("a\u{0}\u{1b}"));
    let longest = [&[0x7f, 0xff][..], &[b'x'; 32_767]].concat();
    accepts(&longest, Some(&"x".repeat(32_767)));

    let refuses = |bytes: &[u8], field: &str, expected: Problem| match decode(&with(bytes)) {
        Err(RequestError::Malformed(error)) => {
            assert_eq!(error.message, "request header");
            assert_eq!((error.field.as_str(), error.problem), (field, expected));
        }
        other => panic!("{bytes:02x?}: {other:?}"),
    };
    refuses(&[0xff, 0xfe], "client_id", Problem::NegativeLength(-2));
    refuses(&[0x80, 0x00], "client_id", Problem::NegativeLength(-32_768));
    refuses(&[0, 2, 0xff, 0xfe, 0], "client_id", Problem::NotUtf8);
    let truncated = |needed, left| Problem::Truncated { needed, left };
    refuses(&[0x7f, 0xff, b'x'], "client_id", truncated(32_767, 1));
    refuses(&[0xff, 0xff], "tagged_fields", truncated(1, 0));
    let count = Problem::CountTooLarge {
        count: u32::MAX as usize,
        element_bytes_min: 2,
        left: 0,
    };
    refuses(
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
        "tagged_fields",
        count,
    );
    let order = |tag, previous| Problem::TagOrder { tag, previous };
    refuses(&[0xff, 0xff, 2, 5, 0, 5, 0], "tagged_fields", order(5, 5));
    refuses(&[0xff, 0xff, 2, 5, 0, 4, 0], "tagged_fields", order(4, 5));
    refuses(&[0xff, 0xff, 1, 0, 9, 1], "tagged_fields", truncated(9, 1));
    let long = [0xff, 0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
    refuses(&long, "tagged_fields", Problem::VarintTooLong);
}

/// The body of version 3 behind the header of version 1. (The reverse leaves one byte over, which
/// is ignored, as with Kafka.)
#[test]
fn a_header_of_the_wrong_version_is_refused() {
    let old_header = [0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 2, b'a', 2, b'1', 0];
    match decode(&Bytes::copy_from_slice(&old_header)) {
        Err(RequestError::Malformed(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn primitives_that_lie_are_refused_where_they_stand() {
    let check = |name: &str, version: i16, body: &[u8], field: &str, expected: Problem| {
        let found = problem(name, version, body);
        assert_eq!(
            found,
            (field.to_owned(), expected),
            "{name} v{version} {body:02x?}"
        );
    };
    let truncated = |needed, left| Problem::Truncated { needed, left };
    // Heartbeat 0: group id, generation, member id.
    check("Heartbeat", 0, &[0xff, 0xff], "group_id", Problem::Null);
    check(
        "Heartbeat",
        0,
        &[0xff, 0xfe],
        "group_id",
        Problem::NegativeLength(-2),
    );
    check(
        "Heartbeat",
        0,
        &[0x7f, 0xff, b'g'],
        "group_id",
        truncated(32_767, 1),
    );
    check(
        "Heartbeat",
        0,
        &[0, 1, 0xc3, 0],
        "group_id",
        Problem::NotUtf8,
    );
    check(
        "Heartbeat",
        0,
        &[0, 1, b'g', 0, 0],
        "generation_id",
        truncated(4, 2),
    );
    // Heartbeat 4 is flexible: length + 1, 0 for null.
    check("Heartbeat", 4, &[0], "group_id", Problem::Null);
    check("Heartbeat", 4, &[0x80, 0x80], "group_id", truncated(1, 0));
    for varint in [
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0x1f],
        &[0xff; 10],
    ] {
        check("Heartbeat", 4, varint, "group_id", Problem::VarintTooLong);
    }
    let limit = 32_767;
    let long = [&[0x81, 0x80, 0x02][..], &[b'g'; 32_768], &[0; 9]].concat();
    let too_long = Problem::StringTooLong {
        length: 32_768,
        limit,
    };
    check("Heartbeat", 4, &long, "group_id", too_long);
    // SaslAuthenticate: one byte field.
    check(
        "SaslAuthenticate",
        0,
        &[0xff; 4],
        "auth_bytes",
        Problem::Null,
    );
    check(
        "SaslAuthenticate",
        0,
        &[0xff, 0xff, 0xff, 0xfe],
        "auth_bytes",
        Problem::NegativeLength(-2),
    );
    check(
        "SaslAuthenticate",
        0,
        &[0x7f, 0xff, 0xff, 0xff],
        "auth_bytes",
        truncated(i32::MAX as usize, 0),
    );
    check("SaslAuthenticate", 2, &[0], "auth_bytes", Problem::Null);
    // A struct that may be null is there (1) or not (-1).
    let cursor = [1, 0, 0, 0, 7, 5, 0];
    check(
        "DescribeTopicPartitions",
        0,
        &cursor,
        "cursor",
        Problem::Presence(5),
    );
    // Topic names are any string here; whether they name a topic is the handler's question.
    for name in ["", ".", "..", "a/b", "a\u{0}b"] {
        let body = [&[0, 0, 0, 1][..], &[0, name.len() as u8], name.as_bytes()].concat();
        assert!(decode(&frame("Metadata", 1, &body)).is_ok(), "{name:?}");
    }
}

#[test]
fn tagged_fields_that_lie_are_refused() {
    // Fetch 12 with no topics, then the tagged fields: 0 is the cluster id, 1 is from version 15.
    let fetch = |version: i16, tags: &[u8]| {
        let mut body = vec![0; if version >= 15 { 0 } else { 4 }];
        body.extend_from_slice(&[0; 4 + 4 + 4 + 1 + 4 + 4]);
        body.extend_from_slice(&[1, 1, 1]);
        body.extend_from_slice(tags);
        body
    };
    assert!(decode(&frame("Fetch", 12, &fetch(12, &[1, 0, 2, 2, b'c']))).is_ok());
    assert!(decode(&frame("Fetch", 12, &fetch(12, &[1, 9, 3, 1, 2, 3]))).is_ok());
    let check = |version: i16, tags: &[u8], expected: Problem| {
        let found = problem("Fetch", version, &fetch(version, tags)).1;
        assert_eq!(found, expected, "v{version} {tags:02x?}");
    };
    let size = |declared, used| Problem::TagSize {
        tag: 0,
        declared,
        used,
    };
    check(12, &[1, 0, 3, 2, b'c', 0], size(3, 2));
    check(12, &[1, 0, 1, 2, b'c'], size(1, 2));
    check(12, &[1, 1, 0], Problem::TagVersion(1));
    check(
        12,
        &[2, 0, 1, 0, 0, 1, 0],
        Problem::TagOrder {
            tag: 0,
            previous: 0,
        },
    );
    check(
        12,
        &[2, 9, 0, 8, 0],
        Problem::TagOrder {
            tag: 8,
            previous: 9,
        },
    );
    check(
        12,
        &[1, 9, 0x7f],
        Problem::Truncated {
            needed: 127,
            left: 0,
        },
    );
    let count = |count, left| Problem::CountTooLarge {
        count,
        element_bytes_min: 2,
        left,
    };
    check(
        12,
        &[0xff, 0xff, 0xff, 0xff, 0x0f, 9, 0],
        count(u32::MAX as usize, 2),
    );
    check(
        15,
        &[1, 1, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
        Problem::Truncated { needed: 1, left: 0 },
    );
}

#[test]
fn collections_that_lie_are_refused_before_anything_is_reserved() {
    let check = |name: &str, version: i16, body: &[u8], field: &str| {
        let found = problem(name, version, body);
        assert_eq!(found.0, field, "{found:?}");
        assert!(
            matches!(found.1, Problem::CountTooLarge { .. }),
            "{found:?}"
        );
    };
    check("DescribeGroups", 0, &i32::MAX.to_be_bytes(), "groups");
    check(
        "DescribeGroups",
        5,
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        "groups",
    );
    // 20 million one-byte elements in a frame that has ten.
    let twenty_million = [&20_000_000_i32.to_be_bytes()[..], &[0; 10]].concat();
    check("DescribeGroups", 0, &twenty_million, "groups");
    // The outer count is honest and the inner one is not.
    let nested = [
        &[0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0, 1, b't'],
        &[0x7f, 0xff, 0xff, 0xff],
    ]
    .concat();
    check(
        "OffsetForLeaderEpoch",
        3,
        &[&nested[..4], &nested[4..]].concat(),
        "topics.partitions",
    );
    check(
        "Produce",
        3,
        &[0xff, 0xff, 0, 1, 0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff],
        "topic_data",
    );
    let (field, problem) = problem("DescribeGroups", 0, &[0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(
        (field.as_str(), problem),
        ("groups", Problem::NegativeLength(-2))
    );
}

/// Twenty million elements that are all there: bounded by their number, whatever they weigh.
#[test]
fn more_elements_than_the_budget_are_refused_even_when_they_are_all_there() {
    let count = 300_000_u32;
    let mut body = BytesMut::new();
    body.put_u32(count);
    body.put_bytes(0, 2 * count as usize);
    body.put_u8(0);
    let (field, found) = problem("DescribeGroups", 3, &body);
    assert_eq!(
        (field.as_str(), found),
        ("groups", Problem::TooManyElements { limit: 200_000 })
    );

    // Produce is decoded by hand and counts the same way.
    let mut body = BytesMut::new();
    body.put_slice(&[0xff, 0xff, 0, 1, 0, 0, 0, 9]);
    body.put_u32(count);
    body.put_bytes(0, 6 * count as usize);
    let (_, found) = problem("Produce", 3, &body);
    assert_eq!(found, Problem::TooManyElements { limit: 200_000 });
}

/// A valid request of small elements that would grow thirty-fold: refused by its memory charge.
#[test]
fn amplification_by_tiny_elements_is_refused_by_the_memory_budget() {
    // IncrementalAlterConfigs 1: each resource takes four bytes and becomes more than eighty.
    let count = 100_000_u32;
    let mut body = BytesMut::new();
    generate::put_uvarint(&mut body, count + 1);
    for _ in 0..count {
        body.put_slice(&[2, 1, 1, 0]);
    }
    body.put_slice(&[0, 0]);
    let (field, found) = problem("IncrementalAlterConfigs", 1, &body);
    assert_eq!(field, "resources");
    assert!(matches!(found, Problem::TooMuchMemory { .. }), "{found:?}");
    // A million unknown tagged fields would become a map of a million entries.
    let mut body = BytesMut::new();
    body.put_slice(&[1, 0, 0, 0]);
    let tags = 150_000;
    body.truncate(3);
    generate::put_uvarint(&mut body, tags);
    for tag in 0..tags {
        generate::put_uvarint(&mut body, tag);
        body.put_u8(0);
    }
    let (_, found) = problem("Metadata", 11, &[&[1, 0], &body[2..]].concat());
    assert!(matches!(found, Problem::TooMuchMemory { .. }), "{found:?}");
}

/// Duplicates are well formed: the handler answers each, within the element budget.
#[test]
fn duplicate_topics_and_wild_partitions_reach_the_handler() {
    let mut body = BytesMut::new();
    body.put_i32(-1);
    body.put_i32(2);
    for partition in [i32::MAX, -1] {
        body.put_slice(&[0, 1, b't', 0, 0, 0, 1]);
        body.put_i32(partition);
        body.put_i32(0);
        body.put_i32(0);
    }
    let frame = frame("OffsetForLeaderEpoch", 3, &body);
    let request = decode(&frame).expect("well formed");
    let RequestBody::Checked(checked) = request.body else {
        panic!("{request:?}");
    };
    let decoded: m::OffsetForLeaderEpochRequest = checked.decode().expect("decodes");
    assert_eq!(decoded.topics.len(), 2);
}

#[test]
fn list_offsets_eleven_is_decoded_as_ten_and_keeps_its_timestamp() {
    let mut body = BytesMut::new();
    body.put_i32(-1);
    body.put_u8(0);
    body.put_slice(&[2, 2, b't', 2]);
    body.put_i32(3);
    body.put_i32(-1);
    body.put_i64(-6);
    body.put_slice(&[0, 0]);
    body.put_i32(1000);
    body.put_u8(0);
    let frame = frame("ListOffsets", 11, &body);
    let request = decode(&frame).expect("well formed");
    assert_eq!(request.header.version, 11);
    let RequestBody::Checked(checked) = request.body else {
        panic!("{request:?}");
    };
    let decoded: m::ListOffsetsRequest = checked.decode().expect("decodes");
    assert_eq!(decoded.topics[0].partitions[0].timestamp, -6);
    assert_eq!(decoded.timeout_ms, 1000);
    let answer = m::ListOffsetsResponse::default();
    let eleven = reka_protocol::encode_response(request.header.api, 11, 42, &answer);
    let ten = reka_protocol::encode_response(request.header.api, 10, 42, &answer);
    assert_eq!(eleven, ten);
}

#[test]
fn produce_before_version_three_is_parsed_only_to_be_refused() {
    let body = [
        &[0, 1, 0, 0, 0, 9][..],
        &[0, 0, 0, 1, 0, 1, b't'],
        &[0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2],
    ]
    .concat();
    for version in 0..3 {
        let frame = frame("Produce", version, &body);
        let request = decode(&frame).expect("well formed");
        let RequestBody::RetiredProduce(produce) = request.body else {
            panic!("{request:?}");
        };
        assert_eq!((produce.acks, produce.partition_count()), (1, 1));
    }
}

/// Whole requests of every API and version: each comes out as itself, with its header.
#[test]
fn every_request_in_every_version_decodes_from_its_frame() {
    for seed in seeds(5) {
        for (api, codec) in APIS.iter().zip(codec::all()) {
            for version in api.min..=api.max {
                let layout = REQUESTS.layout(api, version).expect("layout");
                let body = generate::body(layout, &mut Random::new(seed));
                let frame = frame(api.name, version, &body);
                let request =
                    decode(&frame).unwrap_or_else(|error| panic!("{error}, REKA_SEED={seed}"));
                assert_eq!(request.header.api.key, codec.key);
                assert_eq!(request.header.version, version);
                assert_eq!(request.header.correlation_id, 42);
                assert_eq!(request.header.client_id, Some("test"));
            }
        }
    }
}

/// Any bytes at all: an answer or an error, never a panic, never more memory than the frame allows.
#[test]
fn random_and_mutated_frames_never_panic() {
    for seed in seeds(4000) {
        let mut random = Random::new(seed);
        let api = APIS[random.below(APIS.len())];
        let version = api.min + random.below((api.max - api.min + 1) as usize) as i16;
        let layout = REQUESTS.layout(&api, version).expect("layout");
        let body = generate::body(layout, &mut random);
        let mut bytes = frame(api.name, version, &body).to_vec();
        generate::mutate(&mut bytes, &mut random);
        let budget = Limits::default().memory_max(bytes.len());
        let frame = Bytes::from(bytes);
        let mut outcome = None;
        let allocated = allocation_counter::measure(|| outcome = Some(decode(&frame)));
        assert!(
            allocated.bytes_total <= budget as u64,
            "{outcome:?}, {allocated:?}, REKA_SEED={seed}"
        );
    }
}

#[test]
fn an_api_versions_request_with_bad_words_is_well_formed_and_invalid() {
    let body = [2, b' ', 2, b'1', 0];
    let frame = frame("ApiVersions", 4, &body);
    let request = decode(&frame).expect("well formed");
    match request.body {
        RequestBody::ApiVersions(request) => {
            assert!(!request.is_valid(4));
            assert_ne!(request, ApiVersionsRequest::default());
        }
        other => panic!("{other:?}"),
    }
}

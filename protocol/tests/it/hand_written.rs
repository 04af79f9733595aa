//! Hand-written messages against the codec crate and against the guard.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;
use reka_protocol::ErrorCode;
use reka_protocol::guard::check_request;
use reka_protocol::guard::schema::REQUESTS;
use reka_protocol::messages::api_versions::{
    ApiRange, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeature, SupportedFeature,
};
use reka_protocol::messages::fetch::{self, FetchRequest, Segment};
use reka_protocol::messages::produce::{self, ProduceRequest};
use reka_protocol::messages::sasl::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use reka_protocol::messages::{LeaderIdAndEpoch, NodeEndpoint, TopicLabel, TopicRef};
use reka_protocol::versions::{
    API_VERSIONS, Api, FETCH, PRODUCE, SASL_AUTHENTICATE, SASL_HANDSHAKE,
};
use reka_protocol::{DecodeError, Limits, Problem};
use uuid::Uuid;

use crate::generate::{self, Random, seeds};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A random body for each seed and version, with the seed for failures.
fn each_body(api: &Api, count: u64, mut visit: impl FnMut(i16, Bytes, &mut Random, &str)) {
    for seed in seeds(count) {
        for version in api.min..=api.max {
            let mut random = Random::new(seed);
            let layout = REQUESTS.layout(api, version).expect("layout");
            let body = generate::body(layout, &mut random).freeze();
            let context = format!("{} v{version}, REKA_SEED={seed}: {body:02x?}", api.name);
            visit(version, body, &mut random, &context);
        }
    }
}

/// Hand decoder and guard agree on every mutated body: on yes or no, and on the reason.
fn agrees_with_the_guard(api: &Api, parse: impl Fn(Bytes, i16) -> Result<(), DecodeError>) {
    let (mut accepted, mut refused) = (0, 0);
    each_body(api, 1500, |version, body, random, context| {
        let mut body = body.to_vec();
        generate::mutate(&mut body, random);
        let guard = check_request(api, version, &body, 0, &Limits::default());
        let parsed = parse(Bytes::from(body.clone()), version);
        assert_eq!(
            parsed.clone().map_err(|error| (error.problem, error.at)),
            guard.map(|_| ()).map_err(|error| (error.problem, error.at)),
            "{context} became {body:02x?}"
        );
        *if parsed.is_ok() {
            &mut accepted
        } else {
            &mut refused
        } += 1;
    });
    assert!(refused > 0 && accepted > 0, "{accepted} {refused}");
}

#[test]
fn hand_decoders_and_the_guard_refuse_the_same_bytes_for_the_same_reason() {
    let limits = Limits::default();
    agrees_with_the_guard(&PRODUCE, |body, version| {
        ProduceRequest::parse(&body, 0, version, &limits).map(|_| ())
    });
    agrees_with_the_guard(&FETCH, |body, version| {
        FetchRequest::parse(body, 0, version, &limits).map(|_| ())
    });
    agrees_with_the_guard(&API_VERSIONS, |body, version| {
        ApiVersionsRequest::parse(&body, 0, version).map(|_| ())
    });
    agrees_with_the_guard(&SASL_HANDSHAKE, |body, version| {
        SaslHandshakeRequest::parse(&body, 0, version).map(|_| ())
    });
    agrees_with_the_guard(&SASL_AUTHENTICATE, |body, version| {
        SaslAuthenticateRequest::parse(&body, 0, version).map(|_| ())
    });
}

/// Tags come with versions: 0 everywhere for the cluster id, 1 from 15 for the replica's state, and
/// in a partition 0 from 17 for the directory, 1 from 18 for the high watermark.
#[test]
fn fetch_tags_are_known_from_their_version_on_and_refused_before() {
    let contents: [&[u8]; 3] = [&[0; 16], &[0; 8], &[7; 3]];
    let state = [0; 13];
    for version in 12..=FETCH.max {
        for tag in 0..3_u8 {
            for in_partition in [true, false] {
                let content = match (in_partition, tag) {
                    (true, _) => contents[usize::from(tag)],
                    (false, 0) => &[2, b'c'],
                    (false, 1) => &state,
                    (false, _) => contents[2],
                };
                let tags = [&[1, tag, content.len() as u8], content].concat();
                let none = vec![0];
                let (inner, outer) = match in_partition {
                    true => (tags, none),
                    false => (none, tags),
                };
                let label = vec![1; if version >= 13 { 16 } else { 1 }];
                let body = [
                    &vec![0; if version >= 15 { 21 } else { 25 }][..],
                    &[2],
                    &label,
                    &[2],
                    &[0; 4 + 4 + 8 + 4 + 8 + 4],
                    &inner,
                    &[0, 1, 1],
                    &outer,
                ]
                .concat();
                let known_from = match (in_partition, tag) {
                    (true, 0) => 17,
                    (true, 1) => 18,
                    (false, 1) => 15,
                    _ => 12,
                };
                let expected = match version < known_from {
                    true => Err(Problem::TagVersion(u32::from(tag))),
                    false => Ok(()),
                };
                let limits = Limits::default();
                let guard = check_request(&FETCH, version, &body, 0, &limits);
                let parsed = FetchRequest::parse(Bytes::from(body), 0, version, &limits);
                let context = format!("v{version}, tag {tag}, in partition: {in_partition}");
                assert_eq!(
                    guard.map(|_| ()).map_err(|e| e.problem),
                    expected,
                    "{context}"
                );
                assert_eq!(
                    parsed.map(|_| ()).map_err(|e| e.problem),
                    expected,
                    "{context}"
                );
            }
        }
    }
}

#[test]
fn produce_requests_read_as_the_codec_reads_them() {
    each_body(&PRODUCE, 150, |version, body, _, context| {
        let ours = ProduceRequest::parse(&body, 0, version, &Limits::default())
            .unwrap_or_else(|error| panic!("{error}: {context}"));
        if version < PRODUCE.served_from {
            return;
        }
        let theirs = m::ProduceRequest::decode(&mut body.clone(), version).expect(context);
        assert_eq!(
            ours.transactional_id,
            theirs.transactional_id.as_ref().map(|id| id.0.as_str()),
            "{context}"
        );
        assert_eq!(
            ProduceRequest::is_transactional(&body, 0, version),
            ours.transactional_id.is_some(),
            "{context}"
        );
        assert_eq!(
            (ours.acks, ours.timeout_ms),
            (theirs.acks, theirs.timeout_ms)
        );
        assert_eq!(ours.topic_count(), theirs.topic_data.len());
        let mut partitions = 0;
        let mut topics = ours.topics();
        for their_topic in &theirs.topic_data {
            let our_topic = topics.next().expect(context);
            match our_topic.topic {
                TopicRef::Name(name) => assert_eq!(name, their_topic.name.as_str(), "{context}"),
                TopicRef::Id(id) => assert_eq!(id, their_topic.topic_id, "{context}"),
            }
            assert_eq!(
                our_topic.partitions().len(),
                their_topic.partition_data.len()
            );
            for (ours, theirs) in our_topic.partitions().zip(&their_topic.partition_data) {
                partitions += 1;
                assert_eq!(ours.index, theirs.index, "{context}");
                assert_eq!(ours.records(), theirs.records.as_deref(), "{context}");
                if let (Some(range), Some(records)) = (ours.records_range(), &theirs.records) {
                    assert_eq!(&body[range], &records[..], "{context}");
                }
            }
        }
        assert!(topics.next().is_none());
        assert_eq!(ours.partition_count(), partitions);
    });
}

/// Records are slices of the frame, never copies.
#[test]
fn produce_parsing_and_walking_allocates_nothing_per_field() {
    let layout = REQUESTS.layout(&PRODUCE, 9).expect("layout");
    let body = generate::dense(layout, 500, &mut Random::new(4)).freeze();
    let mut bytes = 0;
    let allocated = allocation_counter::measure(|| {
        let request = ProduceRequest::parse(&body, 0, 9, &Limits::default());
        let Ok(request) = request else { return };
        bytes = request
            .topics()
            .flat_map(|topic| topic.partitions())
            .filter_map(|partition| partition.records())
            .count();
    });
    assert!(bytes > 20, "{bytes}");
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}

#[test]
fn fetch_requests_read_as_the_codec_reads_them() {
    each_body(&FETCH, 150, |version, body, _, context| {
        let ours = FetchRequest::parse(body.clone(), 0, version, &Limits::default())
            .unwrap_or_else(|error| panic!("{error}: {context}"));
        let theirs = m::FetchRequest::decode(&mut body.clone(), version).expect(context);
        assert_eq!(ours.cluster_id, theirs.cluster_id, "{context}");
        let (replica_id, replica_epoch) = match version {
            15.. => (
                theirs.replica_state.replica_id,
                theirs.replica_state.replica_epoch,
            ),
            _ => (theirs.replica_id, -1),
        };
        assert_eq!(ours.replica_id, replica_id.0, "{context}");
        assert_eq!(ours.replica_epoch, replica_epoch, "{context}");
        assert_eq!(ours.max_wait_ms, theirs.max_wait_ms);
        assert_eq!(ours.min_bytes, theirs.min_bytes);
        assert_eq!(ours.max_bytes, theirs.max_bytes);
        assert_eq!(ours.isolation_level, theirs.isolation_level);
        assert_eq!(ours.session_id, theirs.session_id);
        assert_eq!(ours.session_epoch, theirs.session_epoch);
        assert_eq!(ours.rack_id, theirs.rack_id);
        assert_eq!(ours.topics().count(), theirs.topics.len());
        let mut partitions = 0;
        for (our_topic, their_topic) in ours.topics().zip(&theirs.topics) {
            match our_topic.topic {
                TopicRef::Name(name) => assert_eq!(name, their_topic.topic.as_str(), "{context}"),
                TopicRef::Id(id) => assert_eq!(id, their_topic.topic_id, "{context}"),
            }
            assert_eq!(our_topic.partitions().len(), their_topic.partitions.len());
            for (ours, theirs) in our_topic.partitions().zip(&their_topic.partitions) {
                partitions += 1;
                let theirs = fetch::Partition {
                    index: theirs.partition,
                    current_leader_epoch: theirs.current_leader_epoch,
                    fetch_offset: theirs.fetch_offset,
                    last_fetched_epoch: theirs.last_fetched_epoch,
                    log_start_offset: theirs.log_start_offset,
                    partition_max_bytes: theirs.partition_max_bytes,
                    replica_directory_id: theirs.replica_directory_id,
                    high_watermark: theirs.high_watermark,
                };
                assert_eq!(ours, theirs, "{context}");
            }
        }
        assert_eq!(ours.partition_count(), partitions);
        let forgotten: Vec<_> = ours.forgotten_topics().collect();
        assert_eq!(forgotten.len(), theirs.forgotten_topics_data.len());
        for (ours, theirs) in forgotten.iter().zip(&theirs.forgotten_topics_data) {
            match ours.topic {
                TopicRef::Name(name) => assert_eq!(name, theirs.topic.as_str(), "{context}"),
                TopicRef::Id(id) => assert_eq!(id, theirs.topic_id, "{context}"),
            }
            assert_eq!(ours.partitions().collect::<Vec<_>>(), theirs.partitions);
        }
    });
}

#[test]
fn requests_before_authentication_read_as_the_codec_reads_them() {
    each_body(&API_VERSIONS, 100, |version, body, _, context| {
        let ours = ApiVersionsRequest::parse(&body, 0, version).expect(context);
        let theirs = m::ApiVersionsRequest::decode(&mut body.clone(), version).expect(context);
        assert_eq!(ours.client_software_name, theirs.client_software_name);
        assert_eq!(ours.client_software_version, theirs.client_software_version);
    });
    each_body(&SASL_HANDSHAKE, 100, |version, body, _, context| {
        let ours = SaslHandshakeRequest::parse(&body, 0, version).expect(context);
        let theirs = m::SaslHandshakeRequest::decode(&mut body.clone(), version).expect(context);
        assert_eq!(ours.mechanism, theirs.mechanism);
    });
    each_body(&SASL_AUTHENTICATE, 100, |version, body, _, context| {
        let ours = SaslAuthenticateRequest::parse(&body, 0, version).expect(context);
        let theirs = m::SaslAuthenticateRequest::decode(&mut body.clone(), version).expect(context);
        assert_eq!(ours.auth_bytes, theirs.auth_bytes);
        assert!(
            !format!("{ours:?}").contains("x0"),
            "{ours:?} shows a secret"
        );
    });
}

#[test]
fn software_names_are_letters_and_digits_with_dashes_and_dots_between() {
    let check = |name: &str, valid: bool| {
        let request = ApiVersionsRequest {
            client_software_name: text(name),
            client_software_version: text("4.3.1"),
        };
        assert_eq!(request.is_valid(3), valid, "{name:?}");
        assert!(request.is_valid(2), "{name:?}");
    };
    for name in ["apache-kafka-java", "a", "9", "librdkafka", "a.b-c"] {
        check(name, true);
    }
    for name in ["", "-a", "a-", ".a", "a b", "é", "a\u{0}b", "a_b"] {
        check(name, false);
    }
}

/// Size, header and body of a response frame, as the codec crate writes them.
fn their_frame(api: &Api, version: i16, correlation_id: i32, body: &impl Encodable) -> BytesMut {
    let mut frame = BytesMut::new();
    let mut rest = BytesMut::new();
    m::ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut rest, api.response_header_version(version))
        .expect("header");
    body.encode(&mut rest, version)
        .unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name));
    frame.extend_from_slice(&(rest.len() as i32).to_be_bytes());
    frame.extend_from_slice(&rest);
    frame
}

fn error_codes() -> impl Strategy<Value = ErrorCode> {
    (-1_i16..=133).prop_map(|code| ErrorCode::from_code(code).expect("in range"))
}

fn words() -> impl Strategy<Value = String> {
    "[a-zé猫._-]{0,12}"
}

fn leaders() -> impl Strategy<Value = Option<(i32, i32)>> {
    proptest::option::of((0..9_i32, any::<i32>()))
}

fn endpoints() -> impl Strategy<Value = Vec<(i32, String, i32, Option<String>)>> {
    let rack = proptest::option::of(words());
    proptest::collection::vec((any::<i32>(), words(), any::<i32>(), rack), 0..3)
}

fn our_endpoints(endpoints: &[(i32, String, i32, Option<String>)]) -> Vec<NodeEndpoint<'_>> {
    endpoints
        .iter()
        .map(|(node_id, host, port, rack)| NodeEndpoint {
            node_id: *node_id,
            host,
            port: *port,
            rack: rack.as_deref(),
        })
        .collect()
}

#[derive(Debug, Clone)]
struct Produced {
    index: i32,
    error_code: ErrorCode,
    offsets: (i64, i64, i64),
    record_errors: Vec<(i32, Option<String>)>,
    message: Option<String>,
    leader: Option<(i32, i32)>,
}

fn produced() -> impl Strategy<Value = Produced> {
    let message = || proptest::option::of(words());
    let record_errors = proptest::collection::vec((any::<i32>(), message()), 0..3);
    (
        any::<i32>(),
        error_codes(),
        any::<(i64, i64, i64)>(),
        record_errors,
        message(),
        leaders(),
    )
        .prop_map(
            |(index, error_code, offsets, record_errors, message, leader)| Produced {
                index,
                error_code,
                offsets,
                record_errors,
                message,
                leader,
            },
        )
}

fn topics<T: std::fmt::Debug>(
    partition: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<(String, u128, Vec<T>)>> {
    let partitions = proptest::collection::vec(partition, 0..4);
    proptest::collection::vec((words(), any::<u128>(), partitions), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn produce_responses_are_byte_for_byte_the_codecs(
        topics in topics(produced()),
        endpoints in endpoints(),
        throttle_time_ms: i32,
        correlation_id: i32,
    ) {
        for version in PRODUCE.served_from..=PRODUCE.max {
            let errors: Vec<Vec<Vec<produce::RecordError>>> = topics.iter().map(|(_, _, partitions)| {
                partitions.iter().map(|partition| {
                    partition.record_errors.iter().map(|(batch_index, message)| produce::RecordError {
                        batch_index: *batch_index,
                        message: message.clone(),
                    }).collect()
                }).collect()
            }).collect();
            let partitions: Vec<Vec<produce::PartitionAnswer<'_>>> = topics.iter().zip(&errors).map(|((_, _, partitions), errors)| {
                partitions.iter().zip(errors).map(|(partition, record_errors)| produce::PartitionAnswer {
                    index: partition.index,
                    error_code: partition.error_code,
                    base_offset: partition.offsets.0,
                    log_append_time_ms: partition.offsets.1,
                    log_start_offset: partition.offsets.2,
                    record_errors,
                    error_message: partition.message.as_deref(),
                    current_leader: partition.leader.map(|(leader_id, leader_epoch)| LeaderIdAndEpoch { leader_id, leader_epoch }),
                }).collect()
            }).collect();
            let answers = topics.iter().zip(&partitions).map(|((name, id, _), partitions)| produce::TopicAnswer {
                topic: TopicLabel { name, id: Uuid::from_u128(*id) },
                partitions: partitions.iter().copied(),
            });
            let our_endpoints = our_endpoints(&endpoints);
            let response = produce::ProduceResponse {
                topics: answers,
                throttle_time_ms,
                node_endpoints: &our_endpoints,
            };
            let mut ours = BytesMut::new();
            response.encode(version, correlation_id, &mut ours).expect("encodes");

            let theirs = m::ProduceResponse::default()
                .with_throttle_time_ms(throttle_time_ms)
                .with_node_endpoints(if version < 10 { vec![] } else {
                    endpoints.iter().map(|(id, host, port, rack)| m::produce_response::NodeEndpoint::default()
                        .with_node_id((*id).into())
                        .with_host(text(host))
                        .with_port(*port)
                        .with_rack(rack.as_deref().map(text))).collect()
                })
                .with_responses(topics.iter().map(|(name, id, partitions)| {
                    let mut topic = m::produce_response::TopicProduceResponse::default();
                    if version >= 13 { topic.topic_id = Uuid::from_u128(*id); } else { topic.name = text(name).into(); }
                    topic.with_partition_responses(partitions.iter().map(|partition| {
                        let mut answer = m::produce_response::PartitionProduceResponse::default()
                            .with_index(partition.index)
                            .with_error_code(partition.error_code.code())
                            .with_base_offset(partition.offsets.0)
                            .with_log_append_time_ms(partition.offsets.1)
                            .with_log_start_offset(partition.offsets.2)
                            .with_error_message(partition.message.as_deref().map(text))
                            .with_record_errors(partition.record_errors.iter().map(|(index, message)| {
                                m::produce_response::BatchIndexAndErrorMessage::default()
                                    .with_batch_index(*index)
                                    .with_batch_index_error_message(message.as_deref().map(text))
                            }).collect());
                        if let (Some((id, epoch)), true) = (partition.leader, version >= 10) {
                            answer.current_leader = m::produce_response::LeaderIdAndEpoch::default()
                                .with_leader_id(id.into()).with_leader_epoch(epoch);
                        }
                        answer
                    }).collect())
                }).collect());
            prop_assert_eq!(&ours[..], &their_frame(&PRODUCE, version, correlation_id, &theirs)[..], "v{}", version);
        }
    }
}

#[derive(Debug, Clone)]
struct Fetched {
    index: i32,
    error_code: ErrorCode,
    offsets: (i64, i64, i64),
    diverging: Option<(i32, i64)>,
    leader: Option<(i32, i32)>,
    aborted: Option<Vec<(i64, i64)>>,
    preferred: i32,
    records: Vec<u8>,
}

fn fetched() -> impl Strategy<Value = Fetched> {
    let diverging = proptest::option::of((0..9_i32, any::<i64>()));
    let aborted = proptest::option::of(proptest::collection::vec(any::<(i64, i64)>(), 0..3));
    let records = proptest::collection::vec(any::<u8>(), 0..200);
    let numbers = (
        any::<i32>(),
        error_codes(),
        any::<(i64, i64, i64)>(),
        -1..3_i32,
    );
    (numbers, diverging, leaders(), aborted, records).prop_map(
        |((index, error_code, offsets, preferred), diverging, leader, aborted, records)| Fetched {
            index,
            error_code,
            offsets,
            diverging,
            leader,
            aborted,
            preferred,
            records,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// The rope, with its gaps filled, is the codec's frame; its length is right before they are.
    #[test]
    fn fetch_responses_with_their_gaps_filled_are_byte_for_byte_the_codecs(
        topics in topics(fetched()),
        endpoints in endpoints(),
        numbers: (i32, i32, i32),
        error_code in error_codes(),
    ) {
        let (throttle_time_ms, session_id, correlation_id) = numbers;
        for version in FETCH.min..=FETCH.max {
            let error_code = if version >= 7 { error_code } else { ErrorCode::None };
            let preferred = |partition: &Fetched| if version >= 11 { partition.preferred } else { -1 };
            let aborted: Vec<Vec<Option<Vec<fetch::AbortedTransaction>>>> = topics.iter().map(|(_, _, partitions)| {
                partitions.iter().map(|partition| partition.aborted.as_ref().map(|aborted| {
                    aborted.iter().map(|&(producer_id, first_offset)| fetch::AbortedTransaction { producer_id, first_offset }).collect()
                })).collect()
            }).collect();
            let partitions: Vec<Vec<fetch::FetchedPartition<'_>>> = topics.iter().zip(&aborted).map(|((_, _, partitions), aborted)| {
                partitions.iter().zip(aborted).map(|(partition, aborted)| fetch::FetchedPartition {
                    index: partition.index,
                    error_code: partition.error_code,
                    high_watermark: partition.offsets.0,
                    last_stable_offset: partition.offsets.1,
                    log_start_offset: partition.offsets.2,
                    diverging_epoch: partition.diverging.map(|(epoch, end_offset)| fetch::OffsetAndEpoch { epoch, end_offset }),
                    current_leader: partition.leader.map(|(leader_id, leader_epoch)| LeaderIdAndEpoch { leader_id, leader_epoch }),
                    aborted_transactions: aborted.as_deref(),
                    preferred_read_replica: preferred(partition),
                    records_len: partition.records.len(),
                }).collect()
            }).collect();
            let answers: Vec<fetch::FetchedTopic<'_>> = topics.iter().zip(&partitions).map(|((name, id, _), partitions)| fetch::FetchedTopic {
                topic: TopicLabel { name, id: Uuid::from_u128(*id) },
                partitions,
            }).collect();
            let rope = fetch::FetchResponse {
                throttle_time_ms,
                error_code,
                session_id,
                topics: &answers,
                node_endpoints: &our_endpoints(&endpoints),
            }.encode(version, correlation_id).expect("encodes");

            let flat: Vec<&Fetched> = topics.iter().flat_map(|(_, _, partitions)| partitions).collect();
            let mut ours = BytesMut::new();
            for segment in &rope.segments {
                match segment {
                    Segment::Bytes(bytes) => ours.extend_from_slice(bytes),
                    Segment::Records { partition, len } => {
                        prop_assert_eq!(flat[*partition].records.len(), *len);
                        prop_assert!(*len > 0);
                        ours.extend_from_slice(&flat[*partition].records);
                    }
                }
            }
            prop_assert_eq!(rope.len, ours.len());

            let theirs = m::FetchResponse::default()
                .with_throttle_time_ms(throttle_time_ms)
                .with_error_code(error_code.code())
                .with_session_id(if version >= 7 { session_id } else { 0 })
                .with_node_endpoints(if version < 16 { vec![] } else {
                    endpoints.iter().map(|(id, host, port, rack)| m::fetch_response::NodeEndpoint::default()
                        .with_node_id((*id).into())
                        .with_host(text(host))
                        .with_port(*port)
                        .with_rack(rack.as_deref().map(text))).collect()
                })
                .with_responses(topics.iter().map(|(name, id, partitions)| {
                    let mut topic = m::fetch_response::FetchableTopicResponse::default();
                    if version >= 13 { topic.topic_id = Uuid::from_u128(*id); } else { topic.topic = text(name).into(); }
                    topic.with_partitions(partitions.iter().map(|partition| {
                        let mut answer = m::fetch_response::PartitionData::default()
                            .with_partition_index(partition.index)
                            .with_error_code(partition.error_code.code())
                            .with_high_watermark(partition.offsets.0)
                            .with_last_stable_offset(partition.offsets.1)
                            .with_log_start_offset(partition.offsets.2)
                            .with_preferred_read_replica(preferred(partition).into())
                            .with_aborted_transactions(partition.aborted.as_ref().map(|aborted| aborted.iter().map(|&(id, offset)| {
                                m::fetch_response::AbortedTransaction::default().with_producer_id(id.into()).with_first_offset(offset)
                            }).collect()))
                            .with_records(Some(Bytes::copy_from_slice(&partition.records)));
                        if let (Some((epoch, end_offset)), true) = (partition.diverging, version >= 12) {
                            answer.diverging_epoch = m::fetch_response::EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
                        }
                        if let (Some((id, epoch)), true) = (partition.leader, version >= 12) {
                            answer.current_leader = m::fetch_response::LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(epoch);
                        }
                        answer
                    }).collect())
                }).collect());
            prop_assert_eq!(&ours[..], &their_frame(&FETCH, version, correlation_id, &theirs)[..], "v{}", version);
        }
    }

    #[test]
    fn sasl_responses_are_byte_for_byte_the_codecs(
        error_code in error_codes(),
        mechanisms in proptest::collection::vec(words(), 0..4),
        message in proptest::option::of(words()),
        auth_bytes in proptest::collection::vec(any::<u8>(), 0..200),
        session_lifetime_ms: i64,
        correlation_id: i32,
    ) {
        let names: Vec<&str> = mechanisms.iter().map(String::as_str).collect();
        let handshake = SaslHandshakeResponse { error_code, mechanisms: &names };
        let theirs = m::SaslHandshakeResponse::default()
            .with_error_code(error_code.code())
            .with_mechanisms(mechanisms.iter().map(|name| text(name)).collect());
        for version in SASL_HANDSHAKE.min..=SASL_HANDSHAKE.max {
            let ours = handshake.encode(version, correlation_id).expect("encodes");
            prop_assert_eq!(&ours, &their_frame(&SASL_HANDSHAKE, version, correlation_id, &theirs));
        }
        let authenticate = SaslAuthenticateResponse {
            error_code,
            error_message: message.as_deref(),
            auth_bytes: &auth_bytes,
            session_lifetime_ms,
        };
        let theirs = m::SaslAuthenticateResponse::default()
            .with_error_code(error_code.code())
            .with_error_message(message.as_deref().map(text))
            .with_auth_bytes(Bytes::copy_from_slice(&auth_bytes))
            .with_session_lifetime_ms(session_lifetime_ms);
        for version in SASL_AUTHENTICATE.min..=SASL_AUTHENTICATE.max {
            let ours = authenticate.encode(version, correlation_id).expect("encodes");
            prop_assert_eq!(&ours, &their_frame(&SASL_AUTHENTICATE, version, correlation_id, &theirs));
        }
    }

    #[test]
    fn api_versions_responses_are_byte_for_byte_the_codecs(
        error_code in error_codes(),
        ranges in proptest::collection::vec(any::<(i16, i16, i16)>(), 0..5),
        supported in proptest::collection::vec((words(), 0..3_i16, any::<i16>()), 0..3),
        finalized in proptest::collection::vec((words(), 0..3_i16), 0..3),
        epoch in proptest::option::of(0..i64::MAX),
        throttle_time_ms: i32,
        correlation_id: i32,
    ) {
        let apis: Vec<ApiRange> = ranges.iter().map(|&(key, min, max)| ApiRange { key, min, max }).collect();
        let supported_features: Vec<SupportedFeature<'_>> = supported.iter()
            .map(|(name, min, max)| SupportedFeature { name, min: *min, max: *max }).collect();
        let finalized_features: Vec<FinalizedFeature<'_>> = finalized.iter()
            .map(|(name, level)| FinalizedFeature { name, level: *level }).collect();
        for version in API_VERSIONS.min..=API_VERSIONS.max {
            let ours = ApiVersionsResponse {
                error_code,
                apis: &apis,
                throttle_time_ms,
                supported_features: &supported_features,
                finalized_features_epoch: epoch,
                finalized_features: &finalized_features,
            }.encode(version, correlation_id).expect("encodes");
            let mut theirs = m::ApiVersionsResponse::default()
                .with_error_code(error_code.code())
                .with_throttle_time_ms(if version >= 1 { throttle_time_ms } else { 0 })
                .with_api_keys(ranges.iter().map(|&(key, min, max)| m::api_versions_response::ApiVersion::default()
                    .with_api_key(key).with_min_version(min).with_max_version(max)).collect());
            if version >= 3 {
                theirs.supported_features = supported.iter()
                    .filter(|(_, min, _)| version >= 4 || *min > 0)
                    .map(|(name, min, max)| m::api_versions_response::SupportedFeatureKey::default()
                        .with_name(text(name)).with_min_version(*min).with_max_version(*max)).collect();
                theirs.finalized_features_epoch = epoch.unwrap_or(-1);
                theirs.finalized_features = finalized.iter()
                    .filter(|(_, level)| *level > 0)
                    .map(|(name, level)| m::api_versions_response::FinalizedFeatureKey::default()
                        .with_name(text(name)).with_max_version_level(*level).with_min_version_level(*level)).collect();
            }
            prop_assert_eq!(&ours, &their_frame(&API_VERSIONS, version, correlation_id, &theirs), "v{}", version);
        }
    }
}

/// A client that asks in a version from the future reads version 0, finds our range and asks again.
#[test]
fn an_unknown_api_versions_version_is_answered_in_version_zero_with_only_its_own_row() {
    let frame =
        ApiVersionsResponse::unsupported(ApiRange::from(&API_VERSIONS), 7).expect("encodes");
    let expected = [
        &[0, 0, 0, 16][..], // size
        &[0, 0, 0, 7],      // correlation id
        &[0, 35],           // UNSUPPORTED_VERSION
        &[0, 0, 0, 1],      // one row
        &[0, 18, 0, 0, 0, 4],
    ]
    .concat();
    assert_eq!(frame, expected);
}

/// Clients of Produce 0 to 2 get an answer they can read.
#[test]
fn retired_produce_versions_are_answered_in_their_own_encoding() {
    let answer = |version| {
        let partitions = [produce::PartitionAnswer::refused(
            3,
            ErrorCode::UnsupportedVersion,
        )];
        let topic = TopicLabel {
            name: "t",
            id: Uuid::nil(),
        };
        let answer = produce::TopicAnswer {
            topic,
            partitions: partitions.into_iter(),
        };
        let response = produce::ProduceResponse {
            topics: std::iter::once(answer),
            throttle_time_ms: 5,
            node_endpoints: &[],
        };
        let mut frame = BytesMut::new();
        response.encode(version, 9, &mut frame).expect("encodes");
        frame[4..].to_vec()
    };
    let v0 = [
        &[0, 0, 0, 9][..],         // correlation id
        &[0, 0, 0, 1, 0, 1, b't'], // one topic
        &[0, 0, 0, 1, 0, 0, 0, 3], // partition 3
        &[0, 35],
        &[0xff; 8], // base offset
    ]
    .concat();
    assert_eq!(answer(0), v0);
    assert_eq!(answer(1), [&v0[..], &[0, 0, 0, 5]].concat());
    assert_eq!(answer(2), [&v0[..], &[0xff; 8], &[0, 0, 0, 5]].concat());
}

#[test]
fn what_a_version_cannot_say_is_an_error_and_not_a_lost_answer() {
    let session_error = fetch::FetchResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::FetchSessionIdNotFound,
        session_id: 0,
        topics: &[],
        node_endpoints: &[],
    };
    let error = session_error.encode(6, 1).expect_err("no such field");
    assert_eq!(
        error.to_string(),
        "Fetch response v6: error_code is set and this version cannot carry it"
    );
    let long = "m".repeat(40_000);
    let mechanisms = [long.as_str()];
    let handshake = SaslHandshakeResponse {
        error_code: ErrorCode::None,
        mechanisms: &mechanisms,
    };
    assert_eq!(
        handshake.encode(1, 1).expect_err("too long").to_string(),
        "SaslHandshake response v1: string of 40000 bytes is above 32767"
    );
    let groups = m::OffsetFetchResponse::default().with_groups(vec![Default::default()]);
    let api = reka_protocol::versions::by_name("OffsetFetch").expect("OffsetFetch");
    assert!(reka_protocol::encode_response(api, 8, 1, &groups).is_ok());
    let error = reka_protocol::encode_response(api, 7, 1, &groups).expect_err("no groups before 8");
    assert_eq!(
        (error.message.as_str(), error.version),
        ("OffsetFetch response", 7)
    );
    assert!(
        matches!(error.reason, reka_protocol::Unencodable::Codec(_)),
        "{error}"
    );
}

//! The guard against the codec crate on what servers send: the promises of `guard.rs`, for answers.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as m;
use reka_protocol::guard::check_response;
use reka_protocol::guard::schema::{Layout, RESPONSES};
use reka_protocol::response::{LIMITS, correlation_id, decode_response};
use reka_protocol::versions::{APIS, Api};

use crate::codec::{self, Codec};
use crate::generate::{self, Random, seeds};

fn each_version(mut visit: impl FnMut(&Codec, &'static Api, i16, &Layout)) {
    for (codec, api) in codec::all().iter().zip(APIS) {
        for version in api.served_from..=api.max {
            let layout = RESPONSES.layout(api, version).expect("layout");
            visit(codec, api, version, layout);
        }
    }
}

#[test]
fn answers_from_the_schema_decode_in_the_codec_and_encode_to_the_same_bytes() {
    for seed in seeds(60) {
        each_version(|codec, api, version, layout| {
            let body = generate::body(layout, &mut Random::new(seed)).freeze();
            let context = || format!("{} v{version}, REKA_SEED={seed}: {body:02x?}", api.name);
            check_response(api, version, &body, 0, &LIMITS)
                .unwrap_or_else(|error| panic!("guard: {error}: {}", context()));
            let decoded = (codec.decode_answer)(body.clone(), api.codec_version(version))
                .unwrap_or_else(|error| panic!("codec: {error}: {}", context()));
            assert_eq!(decoded.left, 0, "{}", context());
            let again = decoded
                .again
                .unwrap_or_else(|error| panic!("encode: {error}: {}", context()));
            assert_eq!(again, body, "{}", context());
        });
    }
}

/// What the guard lets through, the codec decodes to the last byte and within the charge.
#[test]
fn mutated_answers_are_refused_or_decode_within_their_charge() {
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    for seed in seeds(100) {
        each_version(|codec, api, version, layout| {
            let mut random = Random::new(seed);
            let mut body = generate::body(layout, &mut random).to_vec();
            generate::mutate(&mut body, &mut random);
            let context = format!("{} v{version}, REKA_SEED={seed}", api.name);
            let Ok(charge) = check_response(api, version, &body, 0, &LIMITS) else {
                refused += 1;
                return;
            };
            accepted += 1;
            let body = Bytes::from(body);
            let mut decodes = false;
            let allocated = allocation_counter::measure(|| {
                decodes = (codec.decode_only_answer)(body.clone(), api.codec_version(version));
            });
            assert!(decodes, "{context}: {body:02x?}");
            assert!(
                allocated.bytes_total <= charge.memory as u64,
                "{context}: {allocated:?} above {charge:?}: {body:02x?}"
            );
            assert!(charge.memory <= LIMITS.memory_max(body.len()), "{context}");
        });
    }
    assert!(accepted > 0 && refused > 0 || accepted + refused < 1000);
}

#[test]
fn an_answer_cut_at_any_byte_is_refused() {
    each_version(|_, api, version, layout| {
        let body = generate::body(layout, &mut Random::new(5));
        for end in 0..body.len() {
            let cut = check_response(api, version, &body[..end], 0, &LIMITS);
            assert!(cut.is_err(), "{} v{version} cut at {end}", api.name);
        }
    });
}

/// The header's tagged fields are skipped, and a count that promises the world is refused before
/// anything is reserved for it.
#[test]
fn an_answer_is_read_behind_its_header_and_a_wild_count_is_refused() {
    let mut frame = BytesMut::new();
    frame.put_i32(7);
    // One tagged field nobody knows: tag 9, two bytes.
    frame.put_slice(&[1, 9, 2, 0xaa, 0xbb]);
    frame.put_slice(&[0, 0, 0, 5, 0, 3, 0]);
    let frame = frame.freeze();
    assert_eq!(correlation_id(&frame), Ok(7));
    let answer = decode_response::<m::HeartbeatRequest>(4, &frame, &LIMITS).expect("an answer");
    assert_eq!((answer.throttle_time_ms, answer.error_code), (5, 3));

    let mut wild = BytesMut::new();
    wild.put_i32(7);
    wild.put_i32(i32::MAX);
    let wild = wild.freeze();
    let refused = decode_response::<m::MetadataRequest>(0, &wild, &LIMITS).expect_err("refused");
    assert_eq!(refused.message, "Metadata response");
    assert!(refused.to_string().contains("brokers"), "{refused}");
}

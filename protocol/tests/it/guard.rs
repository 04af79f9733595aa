//! The guard against the codec crate: what one accepts the other must decode, in every version of
//! every request.

use bytes::Bytes;
use reka_protocol::guard::schema::{Layout, REQUESTS};
use reka_protocol::guard::{Charge, check_request};
use reka_protocol::versions::{APIS, Api};
use reka_protocol::{DecodeError, Limits};

use crate::codec::{self, Codec};
use crate::generate::{self, Random, seeds};

fn check(api: &Api, version: i16, body: &[u8]) -> Result<Charge, DecodeError> {
    check_request(api, version, body, 0, &Limits::default())
}

/// Calls back with every API and served version.
fn each_version(mut visit: impl FnMut(&Codec, &'static Api, i16, &Layout)) {
    for (codec, api) in codec::all().iter().zip(APIS) {
        for version in api.served_from..=api.max {
            let layout = REQUESTS.layout(api, version).expect("layout");
            visit(codec, api, version, layout);
        }
    }
}

/// The schema table is the codec's shape exactly: random bodies made from the table decode with
/// nothing left, and encode to the same bytes again.
#[test]
fn bodies_from_the_schema_decode_in_the_codec_and_encode_to_the_same_bytes() {
    for seed in seeds(60) {
        each_version(|codec, api, version, layout| {
            let mut random = Random::new(seed);
            let body = generate::body(layout, &mut random).freeze();
            let context = || format!("{} v{version}, REKA_SEED={seed}: {body:02x?}", api.name);
            let charge = check(api, version, &body)
                .unwrap_or_else(|error| panic!("guard: {error}: {}", context()));
            assert!(charge.memory <= Limits::default().memory_max(body.len()));
            let decoded = (codec.decode)(body.clone(), api.codec_version(version))
                .unwrap_or_else(|error| panic!("codec: {error}: {}", context()));
            assert_eq!(decoded.left, 0, "{}", context());
            let again = decoded
                .again
                .unwrap_or_else(|error| panic!("encode: {error}: {}", context()));
            assert_eq!(again, body, "{}", context());
        });
    }
}

#[test]
fn default_messages_from_the_codecs_encoder_pass_the_guard() {
    let mut checked = 0;
    each_version(|codec, api, version, _| {
        let body = (codec.encode_default)(api.codec_version(version))
            .unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name));
        check(api, version, &body).unwrap_or_else(|error| panic!("{error}: {body:02x?}"));
        checked += 1;
    });
    assert!(checked > 180, "{checked}");
}

#[test]
fn a_body_cut_at_any_byte_is_refused() {
    for seed in seeds(4) {
        each_version(|_, api, version, layout| {
            let body = generate::body(layout, &mut Random::new(seed));
            for end in 0..body.len() {
                let cut = check(api, version, &body[..end]);
                assert!(
                    cut.is_err(),
                    "{} v{version} cut at {end}, REKA_SEED={seed}",
                    api.name
                );
            }
        });
    }
}

/// As with Kafka: librdkafka 2.16 sends three bytes too many with Metadata 13.
#[test]
fn bytes_behind_the_message_are_ignored() {
    each_version(|_, api, version, layout| {
        let mut body = generate::body(layout, &mut Random::new(1)).to_vec();
        body.extend([0, 1, 2]);
        check(api, version, &body).expect(api.name);
    });
}

/// Mutated bodies never panic or abort; what the guard lets through, the codec decodes to the last
/// byte and within the memory the guard charged.
#[test]
fn mutated_bodies_are_refused_or_decode_within_their_charge() {
    let mut accepted = 0_u64;
    let mut refused = 0_u64;
    for seed in seeds(150) {
        each_version(|codec, api, version, layout| {
            let mut random = Random::new(seed);
            let mut body = generate::body(layout, &mut random).to_vec();
            generate::mutate(&mut body, &mut random);
            let context = format!("{} v{version}, REKA_SEED={seed}", api.name);
            let Ok(charge) = check(api, version, &body) else {
                refused += 1;
                return;
            };
            accepted += 1;
            let size = body.len();
            let body = Bytes::from(body);
            let codec_version = api.codec_version(version);
            let mut decodes = false;
            let allocated = allocation_counter::measure(|| {
                decodes = (codec.decode_only)(body.clone(), codec_version);
            });
            assert!(decodes, "{context}: {body:02x?}");
            let decoded = (codec.decode)(body.clone(), codec_version).expect("decoded before");
            assert_eq!(decoded.left, charge.unread, "{context}");
            assert!(
                allocated.bytes_total <= charge.memory as u64,
                "{context}: {allocated:?} above {charge:?}: {body:02x?}"
            );
            assert!(
                charge.memory <= Limits::default().memory_max(size),
                "{context}"
            );
        });
    }
    assert!(
        accepted > refused / 20 && refused > accepted / 20 || accepted + refused < 1000,
        "mutations should be refused and accepted: {accepted} {refused}"
    );
}

#[test]
fn walking_an_accepted_body_allocates_nothing() {
    each_version(|_, api, version, layout| {
        let body = generate::body(layout, &mut Random::new(3));
        let mut accepted = false;
        let allocated = allocation_counter::measure(|| {
            accepted = check(api, version, &body).is_ok();
        });
        assert!(accepted);
        assert_eq!(allocated.count_total, 0, "{} v{version}", api.name);
    });
}

/// Many elements in few bytes: every array of every message, filled with the smallest elements
/// that its layout allows, stays within the charge and so within the budget.
#[test]
fn full_arrays_decode_within_their_charge() {
    for seed in seeds(3) {
        each_version(|codec, api, version, layout| {
            for width in [3, 40, 700] {
                let body = generate::dense(layout, width, &mut Random::new(seed)).freeze();
                let Ok(charge) = check(api, version, &body) else {
                    continue;
                };
                let mut decodes = false;
                let allocated = allocation_counter::measure(|| {
                    decodes = (codec.decode_only)(body.clone(), api.codec_version(version));
                });
                assert!(decodes, "{} v{version}", api.name);
                assert!(
                    allocated.bytes_total <= charge.memory as u64,
                    "{} v{version} x{width}: {allocated:?} above {charge:?}",
                    api.name
                );
            }
        });
    }
}

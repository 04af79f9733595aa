//! Any bytes as an answer to any request: an answer or an error, and what passes the guard decodes in
//! the codec crate to the last byte but for what it leaves unread. The first two bytes choose the API
//! and the version. `corpus/response` is replayed by `cargo test`.
//!
//! How to run it: docs/fuzzing.md.

#![no_main]

#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/it/codec.rs"]
mod codec;

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use reka_protocol::guard::check_response;
use reka_protocol::response::{LIMITS, correlation_id};
use reka_protocol::versions::APIS;

static CODECS: LazyLock<Vec<codec::Codec>> = LazyLock::new(codec::all);

fuzz_target!(|bytes: &[u8]| {
    let [api, version, body @ ..] = bytes else {
        return;
    };
    let _ = correlation_id(body);
    let at = usize::from(*api) % APIS.len();
    let (api, codec) = (&APIS[at], &CODECS[at]);
    let version = i16::from(*version).clamp(api.served_from, api.max);
    let body = Bytes::copy_from_slice(body);
    let Ok(charge) = check_response(api, version, &body, 0, &LIMITS) else {
        return;
    };
    match (codec.decode_answer)(body, api.codec_version(version)) {
        Ok(decoded) => assert_eq!(decoded.left, charge.unread, "{} v{version}", api.name),
        Err(error) => panic!("{} v{version}: {error}", api.name),
    }
});

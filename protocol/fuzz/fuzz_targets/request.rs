//! Any bytes as a frame: a request or an error, and what passes the guard decodes in the codec crate
//! up to where the guard saw its end. `corpus/request` is replayed by `cargo test`.
//!
//! How to run it: docs/fuzzing.md.

#![no_main]

#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/it/codec.rs"]
mod codec;

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use reka_protocol::guard::check_request;
use reka_protocol::{Limits, Request, RequestBody};

static CODECS: LazyLock<Vec<codec::Codec>> = LazyLock::new(codec::all);

fuzz_target!(|bytes: &[u8]| {
    let frame = Bytes::copy_from_slice(bytes);
    let Ok(request) = Request::decode(&frame, &Limits::default()) else {
        return;
    };
    let header = request.header;
    match request.body {
        RequestBody::Produce(produce) | RequestBody::RetiredProduce(produce) => {
            let partitions = produce
                .topics()
                .flat_map(|topic| topic.partitions())
                .count();
            assert_eq!(partitions, produce.partition_count());
        }
        RequestBody::Fetch(fetch) => {
            let partitions = fetch.topics().flat_map(|topic| topic.partitions()).count();
            assert_eq!(partitions, fetch.partition_count());
        }
        RequestBody::Checked(_) => {
            let Some(codec) = CODECS.iter().find(|codec| codec.key == header.api.key) else {
                panic!("{} has no codec", header.api.name);
            };
            let body = frame.slice(header.body_at..);
            // Bytes behind the body are ignored, as Kafka does (decision 0004).
            let (api, version, at) = (header.api, header.version, header.body_at);
            let charge = check_request(api, version, &frame, at, &Limits::default())
                .expect("it was checked before it was decoded");
            match (codec.decode)(body, header.api.codec_version(header.version)) {
                Ok(decoded) => assert_eq!(decoded.left, charge.unread, "{header:?}"),
                Err(error) => panic!("{header:?}: {error}"),
            }
        }
        _ => {}
    }
});

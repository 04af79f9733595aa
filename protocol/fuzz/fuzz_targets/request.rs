//! Any bytes as a frame: a request or an error. `corpus/request` is replayed by `cargo test`.
//!
//! Run with `cargo +nightly fuzz run request` in `protocol/`.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use reka_protocol::{Limits, Request, RequestBody};

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = Request::decode(Bytes::copy_from_slice(bytes), &Limits::default()) else {
        return;
    };
    match request.body {
        RequestBody::Produce(produce) | RequestBody::RetiredProduce(produce) => {
            let partitions = produce.topics().flat_map(|topic| topic.partitions()).count();
            assert_eq!(partitions, produce.partition_count());
        }
        RequestBody::Fetch(fetch) => {
            let partitions = fetch.topics().flat_map(|topic| topic.partitions()).count();
            assert_eq!(partitions, fetch.partition_count());
        }
        _ => {}
    }
});

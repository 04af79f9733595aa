#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code, reason = "a target uses one body of all")]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::fuzz_high_watermarks(bytes));

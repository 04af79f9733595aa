//! What the hot paths cost on this machine: `cargo run --release -p reka-records --example measure`.
//!
//! Each number is the best of several rounds, so a busy neighbour makes it higher by little.

use std::hint::black_box;
use std::time::Instant;

use reka_records::crc::crc32c;
use reka_records::walk::Walk;
use reka_records::{BatchBuilder, BatchHeader, BatchView, Compression, Rules, validate};

const ROUNDS: usize = 15;
const NOW: i64 = 1_720_000_000_000;
const CAP: usize = 64 << 20;

fn main() {
    println!(
        "crc32c through {}",
        crc_fast::get_calculator_target(crc_fast::CrcAlgorithm::Crc32Iscsi)
    );
    println!("crc32c, GB/s            ours    crate crc32c   ratio");
    for bytes in [100, 1 << 10, 16 << 10, 1 << 20] {
        let data = vec![0x5a; bytes];
        let rounds = (64 << 20) / bytes;
        let ours = bytes as f64 / nanoseconds(rounds, || crc32c(black_box(&data)));
        let other = bytes as f64 / nanoseconds(rounds, || ::crc32c::crc32c(black_box(&data)));
        println!(
            "{bytes:>8} bytes {ours:>13.1} {other:>15.1} {:>7.1}",
            ours / other
        );
    }

    println!("\n1000 records of 100 bytes, ns per record");
    for codec in Compression::ALL {
        let batch = batch(1000, codec);
        let view = BatchView::parse(&batch).expect("a whole batch");
        let mut scratch = Vec::new();
        let iterate = nanoseconds(50, || {
            let records = view.records(&mut scratch, CAP).expect("a readable body");
            records
                .map(|record| record.expect("a record").value.map_or(0, <[u8]>::len))
                .sum::<usize>()
        });
        let checked = nanoseconds(50, || {
            validate(&batch, &Rules::new(NOW), &mut scratch).is_ok()
        });
        let built = nanoseconds(5, || self::batch(1000, codec).len());
        println!(
            "{codec:>8}: iterate {:>6.1}, validate {:>6.1}, build {:>6.1}  ({} bytes)",
            iterate / 1000.0,
            checked / 1000.0,
            built / 1000.0,
            batch.len(),
        );
    }

    let plain = batch(1000, Compression::None);
    let view = BatchView::parse(&plain).expect("a whole batch");
    let walked = nanoseconds(200, || {
        let walk = Walk::new(black_box(view.records_bytes()), 1000).expect("a count");
        walk.map(|record| i64::from(record.expect("a record").offset_delta))
            .sum::<i64>()
    });
    println!("\nwalk, uncompressed: {:.1} ns per record", walked / 1000.0);
    let parsed = nanoseconds(1_000_000, || {
        BatchHeader::parse(black_box(&plain)).map(|h| h.crc)
    });
    println!("header parse: {parsed:.1} ns");
    let one = batch(1, Compression::None);
    let mut scratch = Vec::new();
    let checked = nanoseconds(100_000, || {
        validate(black_box(&one), &Rules::new(NOW), &mut scratch).is_ok()
    });
    println!("validate a batch of one record: {checked:.1} ns");
}

/// Records with an 8-byte key and a value that compresses about 2:1.
fn batch(count: i64, codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0).compression(codec);
    for offset in 0..count {
        let mixed = (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let value = format!("{mixed:016x} {mixed:020} order placed, {mixed:08x} items, thank you");
        let value = &value.as_bytes()[..value.len().min(84)];
        builder
            .append(
                offset,
                NOW + offset,
                Some(&mixed.to_be_bytes()),
                Some(value),
                [],
            )
            .expect("it fits");
    }
    builder.finish()
}

/// Of one call, in the best of several rounds of `calls`.
fn nanoseconds<T>(calls: usize, mut call: impl FnMut() -> T) -> f64 {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(call());
        }
        start.elapsed().as_nanos() as f64 / calls as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

//! The committed fuzz corpus, replayed and mutated, so that every test run is a small fuzz run.
//!
//! `cargo test` needs no fuzzer for this. An input that ever broke something is committed to
//! `fuzz/corpus/<target>/` under a name that says what it broke. `FUZZ_SEED` changes the
//! mutations.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use allocation_counter::measure;
use reka_storage::fs::sim::{Choice as _, Seeded};

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use bodies::{Body, TARGETS};

/// Mutations of the corpus per target and run.
const MUTATIONS: u64 = 600;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("corpus").join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a corpus file").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no corpus");
    let read = |path| std::fs::read(path).expect("a corpus file");
    paths.into_iter().map(read).collect()
}

/// Each line of this target's input is a file of its own, which takes pages of the disk
/// in memory.
const FILES_TARGET: &str = "names";
const FILE_BYTES: u64 = 16 << 10;

/// The cleaner makes a pass in this one, which writes through a buffer.
const PASS_TARGET: &str = "cleaner_points";
const PASS_BYTES: u64 = (1 << 20) + (64 << 10);

/// What a body holds at once on an empty file.
fn of_empty(body: Body) -> u64 {
    // Once before, for what is made once.
    body(&[]);
    measure(|| body(&[])).bytes_max
}

/// Runs a body; what it holds at once beyond a run on an empty file is bounded.
fn survive(target: &str, body: Body, empty: u64, input: &[u8]) {
    let used = measure(|| body(input)).bytes_max;
    // Both originals, disk included, hold copies of the input at the same time.
    let mut bound = empty + 16 * input.len() as u64 + (64 << 10);
    if target == FILES_TARGET {
        bound += FILE_BYTES * input.split(|byte| *byte == b'\n').count() as u64;
    }
    if target == PASS_TARGET {
        bound += PASS_BYTES;
    }
    assert!(used <= bound, "{used} bytes for {} of input", input.len());
}

#[test]
fn every_corpus_file_is_survived() {
    for (target, body) in TARGETS {
        let empty = of_empty(body);
        for input in corpus(target) {
            survive(target, body, empty, &input);
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target_and_every_target_has_a_file() {
    for entry in std::fs::read_dir(fuzz().join("corpus")).expect("the corpus") {
        let name = entry.expect("a folder").file_name();
        assert!(
            TARGETS.iter().any(|(target, _)| **target == *name),
            "{} has no target",
            name.display()
        );
    }
    for (target, _) in TARGETS {
        assert!(
            fuzz().join(format!("fuzz_targets/{target}.rs")).exists(),
            "{target}"
        );
    }
}

#[test]
fn mutated_corpus_files_are_survived() {
    let seed = std::env::var("FUZZ_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    mutate_all(seed, MUTATIONS);
    let _ = writeln!(
        std::io::stderr(),
        "replay: {MUTATIONS} mutations of {} targets, seed {seed}",
        TARGETS.len()
    );
}

/// Seeds that once failed go here, with the mutations it takes to get there.
#[test]
fn seeds_that_failed_before_are_survived() {
    for (seed, mutations) in [(4, 500), (7, 50)] {
        mutate_all(seed, mutations);
    }
}

fn mutate_all(seed: u64, mutations: u64) {
    for (target, body) in TARGETS {
        let inputs = corpus(target);
        let mut random = Seeded(seed);
        let empty = of_empty(body);
        for round in 0..mutations {
            let input = mutated(&inputs, &mut random);
            let survived = std::panic::catch_unwind(|| survive(target, body, empty, &input));
            assert!(
                survived.is_ok(),
                "{target}, seed {seed:#x}, round {round}: {input:02x?}"
            );
        }
    }
}

/// One corpus file with a few things done to it.
fn mutated(inputs: &[Vec<u8>], random: &mut Seeded) -> Vec<u8> {
    let mut below = |bound: usize| random.pick(bound as u64) as usize;
    let mut input = inputs[below(inputs.len())].clone();
    for _ in 0..=below(4) {
        if input.is_empty() {
            input.push(below(256) as u8);
        }
        let at = below(input.len());
        match below(6) {
            0 => input[at] ^= 1 << below(8),
            1 => input[at] = below(256) as u8,
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            3 => input.truncate(at),
            4 => input.insert(at, below(256) as u8),
            _ => {
                let other = &inputs[below(inputs.len())];
                let from = below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
        }
    }
    input
}

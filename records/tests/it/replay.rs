//! The committed fuzz corpus, replayed and mutated, so that every test run is a small fuzz run.
//!
//! `cargo test` needs no fuzzer for this. An input that ever broke something is committed to
//! `fuzz/corpus/<target>/` under a name that says what it broke.

use std::path::{Path, PathBuf};

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use bodies::TARGETS;

/// Mutations of the corpus per target and run.
const MUTATIONS: u64 = 3_000;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    inputs
}

#[test]
fn every_corpus_file_is_survived() {
    for (target, body) in TARGETS {
        for (_path, input) in corpus(target) {
            body(&input);
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target_and_every_target_has_a_file() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for entry in std::fs::read_dir(fuzz.join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            TARGETS.iter().any(|(target, _)| *target == name),
            "{name} has no target"
        );
    }
    for (target, _) in TARGETS {
        assert!(
            fuzz.join(format!("fuzz_targets/{target}.rs")).exists(),
            "{target} has no file"
        );
    }
}

/// Seeded, so a failure repeats: the panic message names target, seed and round.
#[test]
fn mutated_corpus_files_are_survived() {
    mutate_all(0x5eed_0001);
}

/// Seeds that once failed go here.
#[test]
fn seeds_that_failed_before_are_survived() {
    for seed in [1, 2] {
        mutate_all(seed);
    }
}

fn mutate_all(seed: u64) {
    for (target, body) in TARGETS {
        let inputs = corpus(target);
        let mut random = Random(seed);
        for round in 0..MUTATIONS {
            let input = mutated(&inputs, &mut random);
            let survived = std::panic::catch_unwind(|| body(&input));
            assert!(
                survived.is_ok(),
                "{target}, seed {seed:#x}, round {round}: {input:02x?}"
            );
        }
    }
}

/// One corpus file with a few things done to it.
fn mutated(inputs: &[(PathBuf, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].1.clone();
    for _ in 0..=random.below(4) {
        if input.is_empty() {
            input.push(random.next() as u8);
        }
        let at = random.below(input.len());
        match random.below(6) {
            0 => input[at] ^= 1 << random.below(8),
            1 => input[at] = random.next() as u8,
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => input.truncate(at),
            4 => input.insert(at, random.next() as u8),
            _ => {
                let other = &inputs[random.below(inputs.len())].1;
                let from = random.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
        }
    }
    input
}

/// Splitmix64: enough to pick places, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

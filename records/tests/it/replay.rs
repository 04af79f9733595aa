//! The committed fuzz corpus, replayed and mutated, so that every test run is a small fuzz run.
//!
//! `cargo test` needs no fuzzer for this. An input that ever broke something is committed to
//! `fuzz/corpus/<target>/` under a name that says what it broke. A mutation has a seed of its own,
//! which a failure prints: `FUZZ_INPUT` makes that one again, whatever was added to the corpus since.

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

/// `FUZZ_SEED` changes the mutations.
#[test]
fn mutated_corpus_files_are_survived() {
    let number = |name: &str| {
        let text = std::env::var(name).ok();
        text.map(|text| text.parse::<u64>().unwrap())
    };
    for (target, body) in TARGETS {
        let inputs = corpus(target);
        match number("FUZZ_INPUT") {
            Some(seed) => survive_mutated(target, body, &inputs, seed),
            None => {
                let mut seeds = Random(number("FUZZ_SEED").unwrap_or(0x5eed_0001));
                for _ in 0..MUTATIONS {
                    survive_mutated(target, body, &inputs, seeds.next());
                }
            }
        }
    }
}

fn survive_mutated(target: &str, body: fn(&[u8]), inputs: &[(PathBuf, Vec<u8>)], seed: u64) {
    let input = mutated(inputs, seed);
    let survived = std::panic::catch_unwind(|| body(&input));
    assert!(
        survived.is_ok(),
        "{target}, FUZZ_INPUT={seed}: {input:02x?}"
    );
}

/// What makes an input out of a seed asks for files by name and not by number: with another file there,
/// it is another input only if that file is the one to take.
#[test]
fn a_seed_makes_the_same_input_whatever_else_is_in_the_corpus() {
    let corpus = corpus("validate");
    let mut differing = 0;
    for seed in 0..500 {
        let input = mutated(&corpus, seed);
        assert_eq!(mutated(&corpus, seed), input, "seed {seed}");
        let mut more = corpus.clone();
        more.insert(0, (PathBuf::from("another"), vec![7; 100]));
        differing += usize::from(mutated(&more, seed) != input);
    }
    // It is taken about as often as any other, to begin with and to put in.
    assert!(differing < 500 * 4 / corpus.len(), "{differing} of 500");
}

/// One corpus file with a few things done to it.
fn mutated(inputs: &[(PathBuf, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut input = taken(inputs, seed).to_vec();
    for round in 0..=random.below(4) {
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
                let other = taken(inputs, seed.wrapping_add(round as u64 + 1));
                let from = random.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
        }
    }
    input
}

/// The file whose name goes with a number best.
fn taken(inputs: &[(PathBuf, Vec<u8>)], number: u64) -> &[u8] {
    let fits = |(path, _): &&(PathBuf, Vec<u8>)| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mixed = name.bytes().fold(Random(number).next(), |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Random(mixed).next()
    };
    &inputs.iter().max_by_key(fits).unwrap().1
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

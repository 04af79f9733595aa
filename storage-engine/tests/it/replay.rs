//! The committed fuzz corpus, replayed and mutated, so that every test run is a small fuzz run.
//!
//! `cargo test` needs no fuzzer for this. An input that ever broke something is committed to
//! `fuzz/corpus/<target>/` under a name that says what it broke. `FUZZ_SEED` changes the
//! mutations. Each has a seed of its own, which a failure prints: `FUZZ_INPUT` makes that one again,
//! whatever was added to the corpus since.

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

/// The files of a target by their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a corpus file").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no corpus");
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        (
            name.into_owned(),
            std::fs::read(&path).expect("a corpus file"),
        )
    };
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
        for (_, input) in corpus(target) {
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
    let number = |name: &str| {
        let text = std::env::var(name).ok();
        text.map(|text| text.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = number("FUZZ_INPUT") {
        return TARGETS
            .iter()
            .for_each(|(target, body)| survive_mutated(target, *body, [seed]));
    }
    let seed = number("FUZZ_SEED").unwrap_or(1);
    for (target, body) in TARGETS {
        let mut seeds = Seeded(seed);
        survive_mutated(target, body, (0..MUTATIONS).map(|_| seeds.pick(u64::MAX)));
    }
    let _ = writeln!(
        std::io::stderr(),
        "replay: {MUTATIONS} mutations of {} targets, seed {seed}",
        TARGETS.len()
    );
}

/// What makes an input out of a seed asks for files by name and not by number: with another file there,
/// it is another input only if that file is the one to take.
#[test]
fn a_seed_makes_the_same_input_whatever_else_is_in_the_corpus() {
    let corpus = corpus("names");
    let mut differing = 0;
    for seed in 0..500 {
        let input = mutated(&corpus, seed);
        assert_eq!(mutated(&corpus, seed), input, "seed {seed}");
        let mut more = corpus.clone();
        more.insert(0, ("another".to_owned(), vec![7; 100]));
        differing += usize::from(mutated(&more, seed) != input);
    }
    // It is taken about as often as any other, to begin with and to put in.
    assert!(differing < 250, "{differing} of 500");
}

fn survive_mutated(target: &str, body: Body, seeds: impl IntoIterator<Item = u64>) {
    let inputs = corpus(target);
    let empty = of_empty(body);
    for seed in seeds {
        let input = mutated(&inputs, seed);
        let survived = std::panic::catch_unwind(|| survive(target, body, empty, &input));
        assert!(
            survived.is_ok(),
            "{target}, FUZZ_INPUT={seed}, of {} bytes: {input:02x?}",
            input.len()
        );
    }
}

/// One corpus file with a few things done to it.
fn mutated(inputs: &[(String, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut random = Seeded(seed);
    let mut below = |bound: usize| random.pick(bound as u64) as usize;
    let mut input = taken(inputs, seed).to_vec();
    for round in 0..=below(4) {
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
                let other = taken(inputs, seed.wrapping_add(round as u64 + 1));
                let from = below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
        }
    }
    input
}

/// The file whose name goes with a number best.
fn taken(inputs: &[(String, Vec<u8>)], number: u64) -> &[u8] {
    let fits = |(name, _): &&(String, Vec<u8>)| {
        let start = Seeded(number).pick(u64::MAX);
        let mixed = name.bytes().fold(start, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Seeded(mixed).pick(u64::MAX)
    };
    let best = inputs.iter().max_by_key(fits);
    &best.expect("a corpus has files").1
}

//! Drives a target over its corpus and over mutations of it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use crate::rng::Rng;

const RUNS: u64 = 50_000;
const SEED: u64 = 0x70_61_63_65;
/// Inputs grow by mutation up to this, or up to twice the longest seed if that is more.
const LONGEST: usize = 4096;

/// Calls `check` with every seed, every file in `tests/fuzz/corpus/<name>/`, and
/// `PACELET_FUZZ_RUNS` mutations of them. `check` may draw what else it needs from the generator:
/// where to cut the input in pieces, for instance.
///
/// When `check` panics, the input and the way to repeat it are printed, and the panic goes on.
pub fn run(name: &str, seeds: Vec<Vec<u8>>, check: impl FnMut(&[u8], &mut Rng)) {
    let runs = number("PACELET_FUZZ_RUNS").unwrap_or(RUNS);
    let seed = number("PACELET_FUZZ_SEED").unwrap_or(SEED);
    let mut corpus = seeds;
    corpus.extend(files(name));
    drive(name, corpus, runs, seed, check);
}

fn drive(name: &str, corpus: Vec<Vec<u8>>, runs: u64, seed: u64, mut check: impl FnMut(&[u8], &mut Rng)) {
    assert!(!corpus.is_empty(), "target {name} has nothing to start from");
    println!("fuzz {name}: {} in the corpus, {runs} generated, seed {seed}", corpus.len());

    let longest = corpus.iter().map(|input| input.len() * 2).max().unwrap_or(0).max(LONGEST);
    let mut rng = Rng::new(seed);
    for input in &corpus {
        one(name, seed, input, &mut rng, &mut check);
    }
    for _ in 0..runs {
        let input = mutated(&corpus, longest, &mut rng);
        one(name, seed, &input, &mut rng, &mut check);
    }
}

fn one(name: &str, seed: u64, input: &[u8], rng: &mut Rng, check: &mut impl FnMut(&[u8], &mut Rng)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input, rng))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("fuzz {name} failed; repeat with PACELET_FUZZ_SEED={seed} cargo test --test fuzz {name}");
        println!("input, {} bytes: {hex}", input.len());
        resume_unwind(panic);
    }
}

/// A copy of one input with 1 to 8 changes, one more often than many.
fn mutated(corpus: &[Vec<u8>], longest: usize, rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.pick(corpus).clone();
    let changes = if rng.one_in(2) { 1 } else { 2 + rng.below(7) };
    for _ in 0..changes {
        mutate(&mut input, corpus, rng);
    }
    input.truncate(longest);
    input
}

/// One change: a bit, a byte, a length field, a missing, doubled, moved or foreign range.
pub fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, b'<'];
    if input.is_empty() {
        let count = 1 + rng.below(16);
        *input = rng.bytes(count);
        return;
    }
    let at = rng.below(input.len());
    let count = 1 + rng.below((input.len() - at).min(64));
    match rng.below(12) {
        0 => input[at] ^= 1 << rng.below(8),
        1 => input[at] = rng.byte(),
        2 => input[at] = *rng.pick(&EDGES),
        3 => input[at] = input[at].wrapping_add(1),
        4 => input[at] = input[at].wrapping_sub(1),
        5 => input.truncate(at),
        6 => drop(input.drain(at..at + count)),
        7 => {
            let range = input[at..at + count].to_vec();
            let to = rng.below(input.len() + 1);
            input.splice(to..to, range);
        }
        8 => {
            let new = rng.bytes(count);
            input.splice(at..at, new);
        }
        9 => {
            let edge = *rng.pick(&EDGES);
            input[at..at + count].fill(edge);
        }
        10 => {
            // The tail of another input: what a peer sends when it mixes two messages up.
            let other = rng.pick(corpus);
            let from = rng.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            // A 16-bit length, in either byte order, a little or very wrong.
            if let Some(field) = input.get_mut(at..at + 2) {
                let old = u16::from_be_bytes([field[0], field[1]]);
                let new = match rng.below(4) {
                    0 => old.wrapping_add(1),
                    1 => old.wrapping_sub(1),
                    2 => old.swap_bytes(),
                    _ => rng.next() as u16,
                };
                field.copy_from_slice(&new.to_be_bytes());
            }
        }
    }
}

/// The files of the corpus in the order of their names, so that the runs repeat.
fn files(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let Ok(entries) = std::fs::read_dir(&directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("corpus entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("corpus file")).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// The driver itself: it must find a planted bug, and the same one each time.
#[test]
fn a_planted_bug_is_found_twice_with_the_same_input() {
    let hunt = || {
        let mut found = Vec::new();
        let result = catch_unwind(AssertUnwindSafe(|| {
            drive("planted", vec![b"<abc/>".to_vec()], RUNS, SEED, |input, _| {
                if input.len() > 8 && input.contains(&0xff) {
                    found = input.to_vec();
                    panic!("planted");
                }
            });
        }));
        assert!(result.is_err(), "the planted bug was not found");
        found
    };
    assert_eq!(hunt(), hunt());
}

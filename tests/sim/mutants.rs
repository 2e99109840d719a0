//! Whether the simulation would find bugs: each that Pacemaker had, and [`pacelet::trial`] can put into the daemon,
//! must be found within so many seeds, and the same seed must pass without it.
//!
//! `PACELET_SIM_MUTANT=NAME PACELET_SIM_SEED=N cargo test --features trial --test sim seeds -- --nocapture` shows one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pacelet::trial::{self, Mutant};

use super::{attempt, processors};

/// Within so many seeds each must be found.
const SEEDS: u64 = 200;

/// How much of what the oracle says is shown.
const SHOWN: usize = 150;

/// Of this name.
pub fn named(name: &str) -> Mutant {
    let found = Mutant::ALL.iter().find(|(mutant, _)| format!("{mutant:?}") == name);
    found.unwrap_or_else(|| panic!("no mutant is called {name:?}: there are {:?}", Mutant::ALL)).0
}

/// What the oracle says of a seed. In a thread of its own: what a mutant leaks must not count for others.
fn verdict(mutant: Option<Mutant>, seed: u64) -> Result<(), String> {
    let play = || {
        trial::mutate(mutant);
        attempt(seed, false).map(drop)
    };
    std::thread::scope(|scope| scope.spawn(play).join().unwrap_or_else(|_| Err("panic".into())))
}

/// The first seed that finds it, and how.
fn hunt(mutant: Mutant) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| Some((seed, verdict(Some(mutant), seed).err()?)))
}

#[test]
fn each_is_found_and_without_it_the_seed_passes() {
    let next = AtomicUsize::new(0);
    let (lines, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(&(mutant, pitfall)) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = format!("mutant {mutant:?} (pitfall {pitfall})");
            let Some((seed, why)) = hunt(mutant) else {
                failures.lock().unwrap().push(format!("{name}: not found in {SEEDS} seeds"));
                continue;
            };
            if let Err(why) = verdict(None, seed) {
                failures.lock().unwrap().push(format!("{name}: seed {seed} fails without it, too: {why}"));
            }
            let why: String = why.chars().take(SHOWN).collect();
            lines.lock().unwrap().push((pitfall, format!("{name}: found at seed {seed}: {why}")));
        }
    };
    std::thread::scope(|scope| (0..processors()).for_each(|_| drop(scope.spawn(work))));
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    lines.iter().for_each(|(_, line)| println!("{line}"));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

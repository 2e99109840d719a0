//! The whole daemon in virtual time, with seeded faults.
//!
//! `cargo test --test sim` plays 2,000 seeds; `PACELET_SIM_SEEDS` says another number, and
//! `PACELET_SIM_SEED=N cargo test --test sim seeds -- --nocapture` plays one again and shows all that happens.
//!
//! | file       | what it is                                                                      |
//! |------------|---------------------------------------------------------------------------------|
//! | `world`    | virtual time; in it the edge, as `daemon::core` wants it, and the clients' ends |
//! | `network`  | TCP in memory; `link`: one connection and what its bytes mean                     |
//! | `client`   | the cluster's end, with a TLS implementation that is not ours                     |
//! | `records`  | the sender rules; `xml`: what a strict cluster reads                              |
//! | `children` | scripted agents                                                                  |
//! | `bus`      | the system bus with systemd behind it, and D-Bus that is not ours                |
//! | `oracle`   | what must happen, from the specification alone                                    |
//! | `tools`    | what tools on the node ask, and how the cluster answers them                         |
//! | `scenario` | what the controllers do; `generate`: their requests; `finale`: the daemon's end  |
//! | `lifecycle`| start, keys and end, one by one; `bench`: what these and `bad_input` share           |
//! | `tool_sessions` | sessions of tools, one thing at a time                                     |
//! | `bad_input`| each kind of bad input by itself: the exact answer, and the one line in the log  |
//! | `memory`   | what the daemon holds                                                            |
//! | `cells`    | with the feature `trial`: whether all cells of the tables of states are reached  |
//! | `mutants`  | with the feature `trial`: bugs that Pacemaker had, put in, must be found         |

mod bad_input;
mod bench;
mod bus;
#[cfg(feature = "trial")]
mod cells;
mod children;
mod client;
mod finale;
mod generate;
mod lifecycle;
mod link;
mod memory;
#[cfg(feature = "trial")]
mod mutants;
mod network;
mod oracle;
mod random;
mod records;
mod request;
mod scenario;
mod tool_sessions;
mod tools;
mod world;
mod xml;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use scenario::Report;

/// How many seeds are played if nobody says otherwise.
const SEEDS: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is {value:?}")))
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Plays a seed; a panic is a failure like others.
fn attempt(seed: u64, is_shown: bool) -> Result<Report, String> {
    match catch_unwind(AssertUnwindSafe(|| scenario::run(seed, is_shown))) {
        Ok(result) => result.map_err(|violation| violation.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

fn play(seed: u64, is_shown: bool) -> Result<Report, String> {
    attempt(seed, is_shown).map_err(|failure| {
        let replay = format!("PACELET_SIM_SEED={seed} cargo test --test sim seeds -- --nocapture");
        format!("seed {seed} fails: {failure}\nreplay it: {replay}")
    })
}

#[test]
fn seeds() {
    if let Some(seed) = number("PACELET_SIM_SEED") {
        #[cfg(feature = "trial")]
        pacelet::trial::mutate(std::env::var("PACELET_SIM_MUTANT").ok().map(|name| mutants::named(&name)));
        match play(seed, true) {
            Ok(report) => println!("seed {seed}: {report:?}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let count = number("PACELET_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let total = Mutex::new(Report::default());
    #[cfg(feature = "trial")]
    let reached = cells::Reached::default();
    std::thread::scope(|scope| {
        for _ in 0..processors() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        #[cfg(feature = "trial")]
                        reached.collect();
                        return;
                    }
                    match play(seed, false) {
                        Ok(report) => {
                            let mut total = total.lock().unwrap();
                            total.operations += report.operations;
                            total.messages += report.messages;
                            total.takeovers += report.takeovers;
                            total.cuts += report.cuts;
                            total.minutes += report.minutes;
                            total.calls += report.calls;
                            total.memory = total.memory.max(report.memory);
                        }
                        Err(failure) => failures.lock().unwrap().push(failure),
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!(
        "{count} seeds: {} virtual minutes, {} operations, {} messages, {} takeovers, {} cuts in mid-message, \
         {} calls of systemd; at rest the daemon holds at most {} bytes",
        total.minutes,
        total.operations,
        total.messages,
        total.takeovers,
        total.cuts,
        total.calls,
        total.memory
    );
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {count} seeds fail\n{}", failures.len(), failures.join("\n"));
    #[cfg(feature = "trial")]
    reached.judge();
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3] {
        assert_eq!(play(seed, false), play(seed, false));
    }
    assert_ne!(play(1, false).unwrap().hash, play(2, false).unwrap().hash);
}

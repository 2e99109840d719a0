//! Generated input against everything that reads bytes from outside: `cargo test --test fuzz`.
//!
//! One module per target. A target is a function over bytes that panics when a promise is broken:
//! no panic, no growth beyond the named bounds, no round trip that loses something. [`run::run`]
//! feeds it its corpus (the files in `tests/fuzz/corpus/<name>/`, and seeds that the target builds),
//! then mutations of both. Everything is drawn from one seed, so a failure repeats.
//!
//! `PACELET_FUZZ_RUNS` sets how many generated inputs each target gets (50,000 if unset),
//! `PACELET_FUZZ_SEED` where the generator starts.

mod bzip2;
mod dbus;
mod header;
mod ipc;
mod rng;
mod run;
mod tls;
mod xml;

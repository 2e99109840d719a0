//! The daemon: [`Core`] holds all policy, the edge turns its effects into system calls.
#![forbid(unsafe_code)]

mod cluster;
mod core;
mod requests;
mod shutdown;

pub use self::core::{Core, Effect, Event, ExitCode, Settings};

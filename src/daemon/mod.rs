//! The daemon: [`Core`] holds all policy, the edge turns its effects into system calls.
#![forbid(unsafe_code)]

mod core;

pub use self::core::{ConnId, Core, Effect, Event, ExitCode, Settings};

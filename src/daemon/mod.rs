//! The daemon: [`Core`] holds all policy, the edge turns its effects into system calls.
#![forbid(unsafe_code)]

mod arguments;
mod cluster;
mod config;
mod core;
mod edge;
mod first;
mod key;
mod locals;
mod log;
mod log_file;
mod memory;
mod names;
mod port;
mod requests;
mod run;
mod settings_file;
mod shutdown;
mod units;
mod watchdog;

pub use self::core::{Core, Effect, Event, ExitCode, Settings};
pub use self::log_file::main as write_log_files;
pub use self::port::Obstacle;
pub use self::run::{VERSION, init, main};
pub use self::units::{BusEffect, BusEvent};

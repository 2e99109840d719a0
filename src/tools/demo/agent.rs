//! The agent the demo carries: this program, run under the name `demo`.
//!
//! The resource is a file: it runs when the file exists. So a demo can break it from outside.

use std::fs::{self, File};
use std::io;

/// Done, or running.
const OK: u8 = 0;
/// It could not be done.
const ERROR: u8 = 1;
/// The agent knows no such action.
const UNIMPLEMENTED: u8 = 3;
/// A parameter is missing.
const NOT_CONFIGURED: u8 = 6;
/// Not running.
const NOT_RUNNING: u8 = 7;

/// Carries out one action; `state` is the parameter of this name. Gives the exit status.
pub fn main(action: &str, state: Option<&str>) -> u8 {
    let Some(state) = state else {
        super::report::print(true, "ocf-exit-reason:The parameter \"state\" is missing");
        return NOT_CONFIGURED;
    };
    let result = match action {
        "start" => File::create(state).map(drop),
        "stop" => match fs::remove_file(state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        "monitor" => return if fs::exists(state).unwrap_or(false) { OK } else { NOT_RUNNING },
        _ => return UNIMPLEMENTED,
    };
    match result {
        Ok(()) => OK,
        Err(error) => {
            super::report::print(true, &format!("ocf-exit-reason:Cannot {action} {state}: {error}"));
            ERROR
        }
    }
}

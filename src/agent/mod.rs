//! Agents: a request becomes a [`Command`] to run, its [`Ending`] becomes a result.
//!
//! One file per standard. Nothing here runs anything: `sys` does.
#![forbid(unsafe_code)]

use std::ffi::CString;

/// What a child process is to run. Everything is built before the fork; the child only looks the
/// program up, sets itself up and executes (executor-semantics.md section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Absolute paths; the first that `stat()` finds is executed, whether executable or not.
    pub candidates: Vec<CString>,
    /// The arguments after `argv[0]`, which is the path found.
    pub arguments: Vec<CString>,
    /// `NAME=VALUE` entries that are added to the daemon's environment, or replace there what has the same name.
    pub environment: Vec<CString>,
}

/// Where a child failed before its program ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No descriptors for the pipes.
    Pipe,
    /// No process.
    Fork,
    /// None of the candidates exists.
    Lookup,
    /// Own process group, descriptors, scheduling.
    SetUp,
    /// Changing the user.
    User,
    /// The program exists but could not be executed.
    Exec,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The program ended with this exit status, 0 to 255.
    Exited(u8),
    /// A signal ended the program.
    Signalled(i32),
    /// The program never ran: where that failed, and the errno.
    NotRun(Step, i32),
}

/// Which of a child's two pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

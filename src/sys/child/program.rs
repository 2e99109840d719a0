//! One program that a tool runs beside itself: no event loop, and it never outlives the tool.
#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use super::setup::{self, Plan, Report};
use super::{ended, environment, fork, nothing_to_read, wait};
use crate::agent::{Command, Ending};
use crate::sys::Errno;
use crate::sys::process::Restore;
use crate::sys::signal::ignored;

/// A program that was started. Dropping it kills it, if it still runs, and buries it.
#[derive(Debug)]
pub struct Program {
    pid: Pid,
    /// Gives a record if the program could not be executed.
    report: OwnedFd,
    ending: Option<Ending>,
}

impl Program {
    /// Starts a program with nothing in its environment but what the command says. Whatever it writes
    /// goes to `output`. Whether it can be executed shows only in its [`Ending`].
    ///
    /// # Errors
    /// There are no descriptors or no processes left.
    pub fn start(command: &Command, output: BorrowedFd<'_>) -> Result<Self, Errno> {
        let (report, report_write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&report, true)?;
        let stdin = nothing_to_read()?;
        let mut plan = Plan {
            candidates: &command.candidates,
            argv: setup::arguments(&command.arguments),
            envp: environment(&[], &command.environment),
            stdin: stdin.as_raw_fd(),
            stdout: output.as_raw_fd(),
            stderr: output.as_raw_fd(),
            report: report_write.as_raw_fd(),
            ignored: &ignored(),
            restore: &Restore::default(),
            dies_with_us: true,
        };
        Ok(Self { pid: fork(&mut plan)?, report, ending: None })
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// How it ended; `None` as long as it runs.
    pub fn ending(&mut self) -> Option<Ending> {
        self.bury(libc::WNOHANG);
        self.ending
    }

    /// Asks it to end: SIGTERM.
    pub fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Does nothing once it has ended: its number may be another's by then.
    fn send(&self, signal: Signal) {
        if self.ending.is_none() {
            // Our own child, as long as it was not buried: it fails only if it took other privileges.
            let _ = kill_process(self.pid, signal);
        }
    }

    fn bury(&mut self, options: libc::c_int) {
        if self.ending.is_some() {
            return;
        }
        // A positive number, so it stays the same.
        let id = self.pid.as_raw_pid() as libc::id_t;
        // An error says that somebody else has buried it, and how it ended stays unknown.
        let info = wait(libc::P_PID, id, libc::WEXITED | options);
        let ending = info.map_or(Some(Ending::Signalled(0)), |info| ended(&info).map(|(_, ending)| ending));
        self.ending = ending.map(|ending| self.failure().unwrap_or(ending));
    }

    /// Where it failed before the program ran.
    fn failure(&self) -> Option<Ending> {
        let mut record = [0; Report::SIZE];
        if rustix::io::read(&self.report, &mut record) != Ok(record.len()) {
            return None;
        }
        let report = Report::from_bytes(record);
        Some(Ending::NotRun(report.step, report.errno))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.send(Signal::KILL);
        self.bury(0);
    }
}

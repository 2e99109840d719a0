//! One program that a tool runs beside itself: no event loop, and it never outlives the tool.
#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, kill_process};

use super::setup::{Arrays, Plan, Report};
use super::{ended, fork, nothing_to_read, wait};
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
        let mut arrays = Arrays::default();
        arrays.fill(&command.arguments, &[], &command.environment);
        let mut plan = Plan {
            candidates: &command.candidates,
            arrays: &mut arrays,
            stdin: stdin.as_raw_fd(),
            stdout: output.as_raw_fd(),
            stderr: output.as_raw_fd(),
            report: report_write.as_raw_fd(),
            ignored: &ignored(),
            secrets: &command.secrets,
            needs_secrets: command.needs_secrets,
            user: None,
            restore: &Restore::default(),
            dies_with: Some(getpid()),
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

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::io::{Read as _, Seek as _};
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::agent::Step;
    use crate::sys::testing::isolated;

    fn shell(script: &str) -> Command {
        Command {
            candidates: vec![c"/bin/sh".to_owned()],
            arguments: vec![c"-c".to_owned(), CString::new(script).unwrap()],
            environment: vec![c"ONLY=this".to_owned()],
            ..Command::default()
        }
    }

    fn end(program: &mut Program) -> Ending {
        loop {
            match program.ending() {
                Some(ending) => return ending,
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    }

    fn file() -> std::fs::File {
        let fd = rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        fd.into()
    }

    #[test]
    fn output_environment_and_status() {
        isolated(|| {
            let mut output = file();
            let script = "echo out; echo err >&2; echo $ONLY; read line || echo end; exit 3";
            let mut program = Program::start(&shell(script), output.as_fd()).unwrap();
            assert_eq!(end(&mut program), Ending::Exited(3));
            assert_eq!(program.ending(), Some(Ending::Exited(3)));
            let mut text = String::new();
            output.rewind().unwrap();
            output.read_to_string(&mut text).unwrap();
            assert_eq!(text, "out\nerr\nthis\nend\n");
        });
    }

    #[test]
    fn what_cannot_be_executed() {
        isolated(|| {
            let missing = Command { candidates: vec![c"/nonexistent/x".to_owned()], ..Command::default() };
            let mut program = Program::start(&missing, file().as_fd()).unwrap();
            let errno = Errno::NOENT.raw_os_error();
            assert_eq!(end(&mut program), Ending::NotRun(Step::Lookup, errno));
            // A program may end with the status that marks a failure, too.
            let mut program = Program::start(&shell("exit 127"), file().as_fd()).unwrap();
            assert_eq!(end(&mut program), Ending::Exited(127));
        });
    }

    #[test]
    fn terminated_and_dropped() {
        isolated(|| {
            let mut program = Program::start(&shell("sleep 60"), file().as_fd()).unwrap();
            assert_eq!(program.ending(), None);
            program.terminate();
            assert_eq!(end(&mut program), Ending::Signalled(libc::SIGTERM));
            let program = Program::start(&shell("trap '' TERM; sleep 60"), file().as_fd()).unwrap();
            let pid = program.pid;
            drop(program);
            assert_eq!(kill_process(pid, Signal::TERM), Err(Errno::SRCH), "it was killed and buried");
        });
    }

    #[test]
    fn it_does_not_outlive_its_starter() {
        isolated(|| {
            // The program holds the writing end of a pipe: the end of file says that it is gone.
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            isolated(|| {
                let program = Program::start(&shell("exec sleep 60"), write.as_fd()).unwrap();
                std::mem::forget(program);
                // The starter ends without a word.
            });
            drop(write);
            assert_eq!(rustix::io::read(&read, &mut [0; 16]), Ok(0));
        });
    }
}

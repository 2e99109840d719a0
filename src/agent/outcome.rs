//! Results as the cluster understands them (executor-api.md section 4.3, executor-semantics.md section 5).
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::Step;
use crate::trial::{self, Mutant};

/// Whether and why not an action was executed: `lrmd_exec_op_status`. Values from executor-api.md section 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is not known yet: the unit is being started or stopped.
    Pending = -1,
    /// The agent ran; its result counts.
    Done = 0,
    /// Cancelled before it ended.
    Cancelled = 1,
    /// Killed because it took too long.
    Timeout = 2,
    /// It could not be executed, or a signal ended it.
    Error = 4,
    /// It can be executed nowhere: the request lacks something.
    ErrorFatal = 6,
    /// The agent is not there.
    NotInstalled = 7,
}

impl Status {
    /// The words administrators know from the logs.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "complete",
            Self::Cancelled => "Cancelled",
            Self::Timeout => "Timed Out",
            Self::Error => "Error",
            Self::ErrorFatal => "Fatal error",
            Self::NotInstalled => "Not installed",
        }
    }
}

/// The result of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The OCF result code, 0 to 9, 190, 191, or 193 with [`Status::Pending`]: `lrmd_exec_rc`.
    pub rc: u8,
    /// Whether it was executed.
    pub status: Status,
    /// Why, for people.
    pub reason: Option<String>,
    /// Whether a program was started, or systemd asked: only then its end may count as a change of result.
    pub ran: bool,
}

// The errno numbers that matter here are the same on every Linux architecture.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;

impl Outcome {
    pub(crate) const OK: u8 = 0;
    pub(crate) const GENERIC_ERROR: u8 = 1;
    const INVALID_PARAMETER: u8 = 2;
    pub(super) const UNIMPLEMENTED: u8 = 3;
    pub(super) const INSUFFICIENT_PRIVILEGES: u8 = 4;
    pub(super) const NOT_INSTALLED: u8 = 5;
    pub(super) const NOT_RUNNING: u8 = 7;
    pub(super) const UNKNOWN: u8 = 193;

    pub(super) fn done(rc: u8, reason: Option<String>) -> Self {
        Self { rc, status: Status::Done, reason, ran: true }
    }

    /// Cancelled, with the result code of the last run.
    pub fn cancelled(rc: u8) -> Self {
        Self { rc, status: Status::Cancelled, reason: None, ran: false }
    }

    /// Not over after `timeout` milliseconds, and what is to be known besides.
    pub(crate) fn timed_out(timeout: u32, besides: Option<&str>) -> Self {
        let mut reason = format!("Resource agent did not complete within {}", duration(timeout));
        if let Some(text) = besides {
            reason.extend([": ", text]);
        }
        Self { rc: Self::GENERIC_ERROR, status: Status::Timeout, reason: Some(reason), ran: true }
    }

    /// A unit that is being started or stopped, for longer than that may take.
    pub(crate) fn never_settled() -> Self {
        let reason = "Investigate reason for timeout, and adjust configured operation timeout if necessary";
        let reason = Some(reason.to_owned());
        Self { rc: Self::GENERIC_ERROR, status: Status::Timeout, reason, ran: true }
    }

    /// systemd could not be asked, or need not be.
    pub(super) fn unasked(rc: u8, reason: String) -> Self {
        Self { rc, status: Status::Error, reason: Some(reason), ran: false }
    }

    /// The result code for an error of the daemon's own.
    pub(super) fn refused(errno: i32) -> u8 {
        if matches!(errno, EACCES | EPERM) { Self::INSUFFICIENT_PRIVILEGES } else { Self::GENERIC_ERROR }
    }

    pub(super) fn signalled(signal: i32) -> Self {
        let reason = match signal_name(signal) {
            Some(name) => format!("Resource agent interrupted by {name} signal"),
            None => format!("Resource agent interrupted by signal {signal}"),
        };
        Self { rc: Self::GENERIC_ERROR, status: Status::Error, reason: Some(reason), ran: true }
    }

    /// The request lacks something an agent needs.
    pub(super) fn incomplete() -> Self {
        let reason = "Required agent or action information missing".to_owned();
        Self { rc: Self::GENERIC_ERROR, status: Status::ErrorFatal, reason: Some(reason), ran: false }
    }

    /// There is no such agent here.
    pub(super) fn not_installed(kind: &str) -> Self {
        let reason = format!("{kind}: No such file or directory");
        Self { rc: Self::NOT_INSTALLED, status: Status::NotInstalled, reason: Some(reason), ran: false }
    }

    /// Fence devices do not run on remote nodes: a probe finds none, anything else fails.
    pub(super) fn no_fencer(probe: bool) -> Self {
        let (rc, reason) = if probe {
            (Self::NOT_RUNNING, None)
        } else {
            (Self::GENERIC_ERROR, Some("No connection to fencer".to_owned()))
        };
        Self { rc, status: Status::Error, reason, ran: false }
    }

    /// A parameter's value is a secret that is not there, or not the right one.
    pub(super) fn no_secrets() -> Self {
        Self::done(Self::INVALID_PARAMETER, Some("Unable to load CIB secrets".to_owned()))
    }

    /// Something kept the program from running.
    pub(crate) fn not_run(kind: &str, step: Step, errno: i32) -> Self {
        let missing = is_missing(errno) && !trial::is(Mutant::MissingAgentIsError);
        let denied = matches!(errno, EACCES | EPERM);
        let rc = match () {
            () if denied || step == Step::User => Self::INSUFFICIENT_PRIVILEGES,
            () if missing && step == Step::Exec => Self::NOT_INSTALLED,
            () => Self::GENERIC_ERROR,
        };
        match step {
            // The child was there: C reports these as results of the agent.
            Step::Exec => {
                let reason = format!("Child process was unable to execute file ({})", strerror(errno));
                Self::done(rc, Some(reason))
            }
            Step::Secrets => Self::no_secrets(),
            Step::User => Self::done(rc, Some("Could not set user for child process".to_owned())),
            // Whatever keeps an agent from being found: it is not there (so stock, since 2.1.0). Only the reason is
            // more precise than stock's, which is always the first.
            Step::Lookup => {
                let reason = format!("{kind}: {}", strerror(errno));
                Self { reason: Some(reason), ..Self::not_installed(kind) }
            }
            Step::Pipe | Step::Fork | Step::SetUp => {
                Self { rc, status: Status::Error, reason: Some(strerror(errno)), ran: false }
            }
        }
    }

    /// As [`Outcome::not_run`] says it of an init script: one that cannot be looked up need not be missing.
    pub(super) fn script_not_run(path: &str, step: Step, errno: i32) -> Self {
        let mut outcome = Self::not_run(path, step, errno);
        if step == Step::Lookup && !is_missing(errno) {
            (outcome.rc, outcome.status) = (Self::refused(errno), Status::Error);
        }
        outcome
    }
}

/// Milliseconds as Pacemaker's logs and reasons show them: `NdNhNmNs`, seconds with `.mmm` if there is a
/// fraction, below a second `NNNms`, zero `0s`.
pub fn duration(millis: u32) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let mut text = String::new();
    let seconds = millis / 1000;
    for (unit, length) in [('d', 86400), ('h', 3600), ('m', 60)] {
        let count = match unit {
            'd' => seconds / length,
            'h' => seconds % 86400 / length,
            _ => seconds % 3600 / length,
        };
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{count}{unit}");
        }
    }
    let _ = match (seconds % 60, millis % 1000) {
        (0, 0) => Ok(()),
        (seconds, 0) => write!(text, "{seconds}s"),
        (seconds, fraction) => write!(text, "{seconds}.{fraction:03}s"),
    };
    text
}

/// Whether it says that there is no such program.
fn is_missing(errno: i32) -> bool {
    matches!(errno, ENOENT | EISDIR | ENOTDIR | EINVAL | ENOEXEC)
}

fn strerror(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// The words of strsignal(3) for what ends agents; the numbers are those of every architecture but MIPS.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        8 => "Floating point exception",
        9 => "Killed",
        11 => "Segmentation fault",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        31 => "Bad system call",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_stock_logs() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (999, "999ms"),
            (1000, "1s"),
            (20_000, "20s"),
            (1500, "1.500s"),
            (60_000, "1m"),
            (90_061_001, "1d1h1m1.001s"),
            (3_600_000, "1h"),
            (60_005, "1m0.005s"),
        ];
        for (millis, text) in cases {
            assert_eq!(duration(millis), text);
        }
    }

    #[test]
    fn what_never_ran_is_told_apart() {
        let result = |step, errno| {
            let outcome = Outcome::not_run("Dummy", step, errno);
            (outcome.rc, outcome.status as i32, outcome.reason.unwrap())
        };
        assert_eq!(result(Step::Lookup, ENOENT), (5, 7, "Dummy: No such file or directory".into()));
        assert_eq!(result(Step::Lookup, EACCES), (5, 7, "Dummy: Permission denied".into()));
        let script = |errno| {
            let outcome = Outcome::script_not_run("/etc/init.d/x", Step::Lookup, errno);
            (outcome.rc, outcome.status as i32, outcome.reason.unwrap())
        };
        assert_eq!(script(ENOENT), (5, 7, "/etc/init.d/x: No such file or directory".into()));
        assert_eq!(script(EACCES), (4, 4, "/etc/init.d/x: Permission denied".into()));
        assert_eq!((script(40).0, script(40).1), (1, 4));
        assert_eq!((result(Step::Exec, EACCES).0, result(Step::Exec, EACCES).1), (4, 0));
        assert_eq!((result(Step::Exec, ENOENT).0, result(Step::Exec, ENOENT).1), (5, 0));
        assert_eq!((result(Step::Exec, 12).0, result(Step::Exec, 12).1), (1, 0));
        assert_eq!((result(Step::Fork, 11).0, result(Step::Fork, 11).1), (1, 4));
        assert_eq!((result(Step::User, 22).0, result(Step::User, 22).1), (4, 0));
        assert_eq!(result(Step::Secrets, ENOENT), (2, 0, "Unable to load CIB secrets".into()));
        assert!(result(Step::Pipe, 24).2.starts_with("Too many open files") || cfg!(target_env = "musl"));
    }

    #[test]
    fn reasons_name_the_cause() {
        assert_eq!(
            Outcome::timed_out(20_000, None).reason.unwrap(),
            "Resource agent did not complete within 20s"
        );
        assert_eq!(Outcome::signalled(9).reason.unwrap(), "Resource agent interrupted by Killed signal");
        assert_eq!(Outcome::signalled(63).reason.unwrap(), "Resource agent interrupted by signal 63");
    }
}

//! Agents: a request becomes a [`Command`] to run, its [`Ending`] becomes an [`Outcome`].
//!
//! One file per standard: `ocf`, `lsb`, `systemd`; `service` is one of the last two, and which of them is found out
//! anew for each run. And `alert`, which is no standard. Nothing here runs anything: `sys` does, and systemd.
#![forbid(unsafe_code)]

pub mod alert;
mod lsb;
mod ocf;
mod outcome;
mod output;
mod parameters;
pub mod secret;
mod systemd;

use std::ffi::CString;

pub use self::outcome::{Outcome, Status, duration};
pub use self::output::Output;
pub use self::parameters::{InvalidParameter, Parameters};
use self::secret::Secret;
pub use self::systemd::{DropIn, Todo, Unit};

/// A child process, or what systemd does in the place of one; numbered by the executor: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

/// What a child process is to run. Everything is built before the fork; the child only looks the
/// program up, sets itself up and executes (executor-semantics.md section 6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Absolute paths; the first that `stat()` finds is executed, whether executable or not.
    pub candidates: Vec<CString>,
    /// The arguments after `argv[0]`, which is the path found.
    pub arguments: Vec<CString>,
    /// `NAME=VALUE` entries that are added to the daemon's environment, or replace there what has the same name.
    pub environment: Vec<CString>,
    /// Entries of `environment` that the child replaces by what it reads.
    pub secrets: Vec<Secret>,
    /// Whether the program is not to run without all secrets.
    pub needs_secrets: bool,
    /// As whom it runs, with this user's own group and no others; `None`: as the daemon.
    pub user: Option<&'static str>,
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
    /// Reading a secret.
    Secrets,
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

/// Which agent a resource uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The standard: `ocf`, `lsb`, `systemd`… Compared without regard to case.
    pub class: String,
    /// The provider; only `ocf` has one.
    pub provider: Option<String>,
    /// The agent's own name: the cluster calls it type.
    pub kind: String,
}

/// The standards of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standard {
    Ocf,
    Lsb,
    /// Whatever starts services here.
    Service,
    Systemd,
    Stonith,
    /// Among others `upstart` and `nagios`, which the cluster's version 3 does not know any more.
    Unknown,
}

impl Agent {
    fn standard(&self) -> Standard {
        let all = [
            ("ocf", Standard::Ocf),
            ("lsb", Standard::Lsb),
            ("service", Standard::Service),
            ("systemd", Standard::Systemd),
            ("stonith", Standard::Stonith),
        ];
        let found = all.into_iter().find(|(name, _)| self.class.eq_ignore_ascii_case(name));
        found.map_or(Standard::Unknown, |(_, standard)| standard)
    }

    /// Whether both name the same agent: the rule by which a repeated registration is ignored
    /// (executor-api.md section 3.1).
    pub fn same(&self, other: &Self) -> bool {
        let provider = match (&self.provider, &other.provider) {
            (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
            (None, None) => true,
            _ => false,
        };
        provider
            && self.class.eq_ignore_ascii_case(&other.class)
            && self.kind.eq_ignore_ascii_case(&other.kind)
    }
}

/// One run of one action, as an agent sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The resource's name.
    pub resource: &'a str,
    /// Its agent.
    pub agent: &'a Agent,
    /// The requested action.
    pub action: &'a str,
    /// Milliseconds between runs, 0 for a one-shot.
    pub interval: u32,
    /// All parameters, meta-parameters included.
    pub parameters: &'a Parameters,
}

/// Where agents are, and what they are told about it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directories below which `<provider>/<type>` is looked up, in order.
    pub agent_path: Vec<CString>,
    /// The value of `OCF_ROOT`.
    pub ocf_root: CString,
}

/// What a call comes to before anything was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Run this; then ask [`Call::second`], and if that has nothing, [`Call::outcome`].
    Run(Command),
    /// Let systemd do this, which comes to an outcome of its own.
    Ask(Box<Unit>),
    /// The result is known without running anything.
    Known(Outcome),
}

impl Call<'_> {
    /// What to run for this call (executor-semantics.md sections 6.1, 6.3 and 10).
    pub fn plan(&self, place: &Place) -> Plan {
        match self.agent.standard() {
            Standard::Ocf => ocf::plan(self, place),
            Standard::Lsb | Standard::Service => lsb::plan(self),
            Standard::Systemd => systemd::plan(self, None),
            Standard::Stonith => Plan::Known(Outcome::no_fencer(self.is_probe())),
            Standard::Unknown => Plan::Known(Outcome::not_installed(&self.agent.kind)),
        }
    }

    /// What to do after a child that ended so, if that was not all: what is no script may be a unit (section 6.1).
    pub fn second(&self, ending: Ending) -> Option<Plan> {
        let Ending::NotRun(Step::Lookup, _) = ending else { return None };
        let is_open = self.agent.standard() == Standard::Service;
        is_open.then(|| systemd::plan(self, Some(self.outcome(ending, false, 0, &Output::default()))))
    }

    /// The same for a unit that is known to exist, once more.
    pub fn again(&self) -> Plan {
        systemd::plan(self, None)
    }

    /// Whether it asks for a unit's state once, and so is to wait for a state that lasts.
    pub(crate) fn waits_for_state(&self) -> bool {
        self.interval == 0 && self.is_status()
    }

    /// What the end of its child means (executor-semantics.md section 5).
    ///
    /// `timeout` is in milliseconds and only named in the reason; `timed_out` says that the child was killed for it.
    pub fn outcome(&self, ending: Ending, timed_out: bool, timeout: u32, stderr: &Output) -> Outcome {
        let is_script = self.agent.standard() != Standard::Ocf;
        match ending {
            Ending::Exited(code) if is_script => Outcome::done(lsb::result(self.is_status(), code), None),
            Ending::Exited(code) => {
                Outcome::done(ocf::result(code), stderr.last_after(ocf::EXIT_REASON_PREFIX))
            }
            Ending::Signalled(_) if timed_out => Outcome::timed_out(timeout, None),
            Ending::Signalled(signal) => Outcome::signalled(signal),
            Ending::NotRun(step, errno) if is_script => {
                let path = lsb::path(&self.agent.kind);
                Outcome::script_not_run(path.as_deref().unwrap_or(&self.agent.kind), step, errno)
            }
            Ending::NotRun(step, errno) => Outcome::not_run(&self.agent.kind, step, errno),
        }
    }

    /// Of what stands outside the standard `ocf` it is the same action under two names.
    fn is_status(&self) -> bool {
        ["monitor", "status"].iter().any(|name| self.action.eq_ignore_ascii_case(name))
    }

    /// A monitor that is not recurring.
    fn is_probe(&self) -> bool {
        self.interval == 0 && self.action.eq_ignore_ascii_case("monitor")
    }
}

/// The longest name that may become a part of a path: what Linux file systems allow.
const NAME_LIMIT: usize = 255;

/// Whether a name may become a part of a path, and one only.
fn is_path_part(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_LIMIT && name != "." && name != ".." && !name.contains(['/', '\0'])
}

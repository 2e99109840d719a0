//! Children: fork, both output pipes, the end, and signals to whole process groups.
//!
//! The loop never waits for a child, not even for its `execve`: that may hang for ever on a dead
//! file server. So everything that can hang happens behind the fork (see `setup`), and what fails
//! there is told over one close-on-exec pipe that all children share: a record says who failed,
//! at which step and why. The record is complete before the child is a zombie, so it is looked
//! for when such a child is reaped.
//!
//! A child is over when its process is (executor-semantics.md section 6.4), whether or not
//! something it started still holds its pipes: what the pipes hold at that moment is read, then
//! they are closed. So nobody needs their end of file, and we keep the writing ends open, too: else
//! each child would wake us twice, when it closes its descriptors and when it is a zombie.
#![allow(unsafe_code)]

mod program;
mod setup;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;

use rustix::fs::{Mode, OFlags};
use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};

pub use self::program::Program;
pub(super) use self::setup::close_from;
use self::setup::{Arrays, Plan};
use super::Errno;
use super::process::Restore;
use super::reactor::{Class, Interest, Notifier, Reactor, Source};
use super::signal::{self, check, last_errno};
use super::users::Ids;
use crate::agent::{Command, Ending, Step, Stream};

/// How long the name of a function in the kernel may be, in bytes: longer ones are cut.
const KERNEL_FUNCTION: usize = 64;

/// Starts children and buries them, and those of others if this is process 1.
#[derive(Debug)]
pub struct Children {
    reactor: Rc<Reactor>,
    environment: Vec<CString>,
    arrays: RefCell<Arrays>,
    restore: Restore,
    /// Standard input of every child.
    null: OwnedFd,
    /// Signals that the daemon ignores, or that its starter did: a child does not.
    ignored: Vec<libc::c_int>,
    report_read: OwnedFd,
    report_write: OwnedFd,
    /// Those that were not reaped yet, by process id.
    running: RefCell<BTreeMap<i32, Rc<Running>>>,
}

impl Children {
    /// `environment` is what each child gets besides its [`Command::environment`]; `restore` is
    /// what the daemon changed about itself that no child shall have.
    ///
    /// # Errors
    /// What `pipe2` says.
    pub fn new(reactor: &Rc<Reactor>, environment: Vec<CString>, restore: Restore) -> Result<Self, Errno> {
        let (report_read, report_write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&report_read, true)?;
        Ok(Self {
            reactor: reactor.clone(),
            environment,
            arrays: RefCell::default(),
            restore,
            null: nothing_to_read()?,
            ignored: signal::ignored(),
            report_read,
            report_write,
            running: RefCell::default(),
        })
    }

    /// Starts a child: whether its program can be executed shows only in its [`Ending`].
    ///
    /// # Errors
    /// [`Step::Pipe`], [`Step::User`] or [`Step::Fork`], with errno: there is no child.
    pub fn spawn(&self, command: &Command) -> Result<Child, (Step, Errno)> {
        let stdout = self.pipe().map_err(|errno| (Step::Pipe, errno))?;
        let stderr = self.pipe().map_err(|errno| (Step::Pipe, errno))?;
        let user = command.user.map(|name| Ids::of_user(name).ok_or((Step::User, Errno::NOENT)));
        let user = user.transpose()?;
        let arrays = &mut *self.arrays.borrow_mut();
        arrays.fill(&command.arguments, &self.environment, &command.environment);
        let mut plan = Plan {
            candidates: &command.candidates,
            arrays,
            stdin: self.null.as_raw_fd(),
            stdout: stdout.write.as_raw_fd(),
            stderr: stderr.write.as_raw_fd(),
            report: self.report_write.as_raw_fd(),
            ignored: &self.ignored,
            secrets: &command.secrets,
            needs_secrets: command.needs_secrets,
            user,
            restore: &self.restore,
            dies_with: None,
        };
        let forked = fork(&mut plan);
        plan.arrays.clear();
        let pid = forked.map_err(|errno| (Step::Fork, errno))?;
        let running = Rc::new(Running {
            pid,
            failure: Cell::new(None),
            ending: Cell::new(None),
            reaped: Notifier::default(),
        });
        self.running.borrow_mut().insert(pid.as_raw_pid(), running.clone());
        Ok(Child { stdout, stderr, next: Stream::Stderr, running })
    }

    /// Buries all processes that have ended. To be called at each SIGCHLD.
    pub fn reap(&self) {
        while let Some((pid, ending)) = bury_next() {
            if matches!(ending, Ending::Exited(setup::FAILED)) {
                self.collect_reports();
            }
            // From here on the number may be given to another, but until the ending is set nobody else runs here.
            let Some(running) = self.running.borrow_mut().remove(&pid) else { continue };
            let failure = running.failure.take().map(|(step, errno)| Ending::NotRun(step, errno));
            running.ending.set(Some(failure.unwrap_or(ending)));
            running.reaped.notify();
        }
    }

    /// How many children were not reaped yet.
    pub fn count(&self) -> usize {
        self.running.borrow().len()
    }

    /// A pipe for one of a child's outputs.
    fn pipe(&self) -> Result<Pipe, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: the ends do not share the flag.
        rustix::io::ioctl_fionbio(&read, true)?;
        let source = Source::new(&self.reactor, read, Class::Urgent, Interest::Read)?;
        Ok(Pipe { source, write, left: None })
    }

    fn collect_reports(&self) {
        let mut record = [0; setup::Report::SIZE];
        // Records are shorter than PIPE_BUF, so a read gives a whole one.
        while rustix::io::read(&self.report_read, &mut record) == Ok(record.len()) {
            let report = setup::Report::from_bytes(record);
            if let Some(running) = self.running.borrow().get(&report.pid) {
                running.failure.set(Some((report.step, report.errno)));
            }
        }
    }
}

/// Makes the process that becomes the program.
fn fork(plan: &mut Plan<'_>) -> Result<Pid, Errno> {
    // Not libc's own fork: it blocks all signals, takes its locks and mends its copy in the child, none of which a
    // child needs that only makes system calls; and each page that it writes has to be copied.
    let flags = libc::c_long::from(libc::SIGCHLD);
    let none: libc::c_long = 0;
    let [first, second] = if cfg!(target_arch = "s390x") { [none, flags] } else { [flags, none] };
    // SAFETY: with no flag but the signal, no stack and no addresses for identities this is the system call fork; the
    // order of what follows the first two arguments differs, too, but all of it is nothing. `Plan::run` makes only
    // async-signal-safe calls and never returns, so the child is sound even if this process had more threads than
    // its one.
    let pid = match unsafe { libc::syscall(libc::SYS_clone, first, second, none, none, none) } {
        // SAFETY: this is the child, and all pointers in the plan are into memory that is borrowed here.
        0 => unsafe { plan.run() },
        pid if pid < 0 => return Err(last_errno()),
        pid => pid,
    };
    // A positive number that fits, so it is a process id.
    #[allow(clippy::useless_conversion, reason = "the types differ from machine to machine")]
    let pid = i32::try_from(pid).ok();
    pid.and_then(Pid::from_raw).ok_or(Errno::IO)
}

/// What both [`Children`] and [`Child`] know of a process.
#[derive(Debug)]
struct Running {
    pid: Pid,
    failure: Cell<Option<(Step, i32)>>,
    /// Set when the process was reaped; from then on its id may be somebody else's.
    ending: Cell<Option<Ending>>,
    reaped: Notifier,
}

/// A child process. Dropping it closes its pipes and leaves it alone otherwise.
#[derive(Debug)]
pub struct Child {
    stdout: Pipe,
    stderr: Pipe,
    /// Which pipe is looked at first, in turn.
    next: Stream,
    running: Rc<Running>,
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It wrote this many bytes, which are at the buffer's start.
    Output(Stream, usize),
    /// It ended, and nothing follows.
    Ended(Ending),
}

impl Child {
    /// Waits until [`Child::next`] has something to tell.
    pub async fn ready(&self) {
        poll_fn(|cx| {
            let ready = [
                self.running.reaped.poll_notified(cx),
                self.stdout.source.poll_readable(cx),
                self.stderr.source.poll_readable(cx),
            ];
            if self.running.ending.get().is_some() || ready.iter().any(Poll::is_ready) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// The next thing that has happened, `None` if [`Child::ready`] is to be waited for.
    /// All output comes before [`Happening::Ended`].
    pub fn next(&mut self, buffer: &mut [u8]) -> Option<Happening> {
        let ending = self.running.ending.get();
        for _ in 0..2 {
            let stream = self.next;
            let (pipe, other) = match stream {
                Stream::Stdout => (&mut self.stdout, Stream::Stderr),
                Stream::Stderr => (&mut self.stderr, Stream::Stdout),
            };
            self.next = other;
            if let Some(count) = pipe.read(buffer, ending.is_some()) {
                return Some(Happening::Output(stream, count));
            }
        }
        ending.map(Happening::Ended)
    }

    /// Sends SIGKILL to the process, or to its whole group, unless it was reaped already.
    pub fn kill(&self, group: bool) {
        self.handle().kill(group);
    }

    /// What it takes to kill this child from another task.
    pub fn handle(&self) -> Handle {
        Handle(self.running.clone())
    }
}

/// Kills a child that another task looks after.
#[derive(Clone, Debug)]
pub struct Handle(Rc<Running>);

impl Handle {
    /// See [`Child::kill`].
    pub fn kill(&self, group: bool) {
        if self.0.ending.get().is_some() {
            return;
        }
        // ESRCH and EPERM (it took other privileges) leave nothing to do.
        let _ = if group {
            // It does this itself, but may not have come to it. EACCES says that it has.
            let _ = rustix::process::setpgid(Some(self.0.pid), Some(self.0.pid));
            rustix::process::kill_process_group(self.0.pid, Signal::KILL)
        } else {
            rustix::process::kill_process(self.0.pid, Signal::KILL)
        };
    }

    /// Whether it was reaped.
    pub fn has_ended(&self) -> bool {
        self.0.ending.get().is_some()
    }

    /// The function of the kernel in which the process waits, if it does, and that can be told. Of what /proc
    /// tells of a process this file needs none of the locks that a process may hold which hangs.
    pub fn kernel_function(&self) -> Option<String> {
        let path = format!("/proc/{}/wchan", self.0.pid.as_raw_pid());
        let file = rustix::fs::open(&*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut name = [0; KERNEL_FUNCTION];
        let count = rustix::io::read(&file, &mut name).ok()?;
        let name = std::str::from_utf8(name.get(..count)?).ok()?.trim_end();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        // Who does not wait has a 0 there, as has everybody in a kernel without names.
        (!name.is_empty() && name != "0" && name.chars().all(is_name)).then(|| name.to_owned())
    }
}

/// A child's pipe.
#[derive(Debug)]
struct Pipe {
    source: Source,
    /// The child's end: ours is never at its end of file while this is open.
    write: OwnedFd,
    /// Once the child has ended: how many bytes still count as its own.
    left: Option<usize>,
}

impl Pipe {
    /// How many bytes were read; `None` when there are none (now, or any more).
    fn read(&mut self, buffer: &mut [u8], ended: bool) -> Option<usize> {
        if !ended {
            let room = buffer.len();
            let result = self.source.attempt_read(room, |fd| rustix::io::read(fd, &mut *buffer));
            return result.ok().flatten();
        }
        // A grandchild may hold the pipe and write for ever: what is in the pipe now is all that counts.
        let left = self.left.unwrap_or_else(|| {
            ioctl_fionread(&self.source).ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or(0)
        });
        let room = left.min(buffer.len());
        self.left = Some(0);
        if room == 0 {
            return None;
        }
        // Not `attempt_read`: the event for the last bytes may come only after the one for the end.
        let count = rustix::io::read(&self.source, buffer.get_mut(..room)?).ok()?;
        self.left = Some(left.saturating_sub(count));
        Some(count).filter(|&count| count > 0)
    }
}

/// A descriptor that gives an end of file at once, also where there is no `/dev`.
fn nothing_to_read() -> Result<OwnedFd, Errno> {
    const NULL: &CStr = c"/dev/null";
    if let Ok(fd) = rustix::fs::open(NULL, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        return Ok(fd);
    }
    let (read, _) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(read)
}

/// Reaps a process that has ended, whoever started it: its id, and how it ended.
pub fn bury_next() -> Option<(i32, Ending)> {
    ended(&wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG).ok()?)
}

/// Whether this process has any child, its own or adopted, that it did not reap.
pub fn has_children() -> bool {
    wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// What `waitid` has told, if there is anything.
fn ended(info: &libc::siginfo_t) -> Option<(i32, Ending)> {
    // SAFETY: waitid has filled in a SIGCHLD's values, or left the zeroes that were there.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return None;
    }
    let ending = match info.si_code {
        // The kernel gives the low eight bits.
        libc::CLD_EXITED => Ending::Exited((status & 0xff) as u8),
        _ => Ending::Signalled(status),
    };
    Some((pid, ending))
}

fn wait(kind: libc::idtype_t, id: libc::id_t, options: libc::c_int) -> Result<libc::siginfo_t, Errno> {
    loop {
        // SAFETY: all-zero is a valid siginfo_t: numbers and, in parts we do not read, null pointers.
        let mut info: libc::siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the place for the result is valid for the call.
        match check(unsafe { libc::waitid(kind, id, &mut info, options) }) {
            Ok(()) => return Ok(info),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;

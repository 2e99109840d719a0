//! The first process: of a container, as in stock (daemon-lifecycle.md section 8), or of a machine, as `/init`
//! of an initramfs. It starts the daemon as a process beside it, buries every orphan, hands SIGTERM on, and does
//! what [`keeper`] says when the daemon ends.
//!
//! SIGINT ends a container at once, with status 0, as in stock. Other signals do nothing: for the daemon
//! they would be a sudden death, and then the node is fenced.

mod keeper;

use std::ffi::{CStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use crate::agent::Ending;
use crate::line;
use crate::log::{Level, Line};
use crate::sys::first::{self, Meaning, Worker};
use crate::sys::process::{rename, retitle};
use crate::sys::{Errno, clock};

use self::keeper::{Action, Event, Keeper, PREPARE};
use super::core::ExitCode;
use super::log::{Log, NAME, Sinks};

/// The author of an image says here what is to be in the daemon's environment.
pub const IMAGE_SETTINGS: &str = "/etc/pacemaker/pcmk-init.env";
/// What prepares a machine, if it is there: kernel modules, addresses. A program, or a script where there is a shell.
const PREPARATION: &CStr = c"/etc/pacemaker/pcmk-init.start";
/// How stock's first process is called.
const TITLE: &str = "pcmk-init";
/// Where programs are, if a machine's environment does not say so: the kernel's does not.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What this process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The daemon.
    Daemon,
    /// The daemon, with the settings of an image.
    DaemonOfImage,
    /// The daemon, with a first process that looks after it, in a container.
    Container,
    /// The same, on a machine without anything else.
    Machine,
}

impl Role {
    /// As stock decides it.
    pub fn of(process: u32, environment: &[(OsString, OsString)]) -> Self {
        let value =
            |name: &str| environment.iter().find(|entry| entry.0 == name).map(|entry| entry.1.as_bytes());
        let wanted = value("PCMK_remote_pid1").or_else(|| value("HA_remote_pid1")).unwrap_or_default();
        match wanted {
            _ if process == 1 => Self::Container,
            full if full.eq_ignore_ascii_case(b"full") => Self::Container,
            vars if vars.eq_ignore_ascii_case(b"vars") => Self::DaemonOfImage,
            _ => Self::Daemon,
        }
    }

    /// Whether a first process looks after the daemon.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Container | Self::Machine)
    }
}

/// Makes this process the first one of a container. `None` in the daemon, which is another one from here on; else
/// all is over, and this is the exit status.
pub fn keep_container() -> Option<u8> {
    let child = match first::hold_signals().and_then(|()| first::fork()) {
        Ok(None) => return None,
        Ok(child) => child,
        Err(errno) => {
            log().write(&failed("fork for", "the daemon", errno));
            return Some(ExitCode::OsError as u8);
        }
    };
    retitle(TITLE);
    First { keeper: Keeper::of_container(clock::monotonic()), child, log: log() }.run()
}

/// Makes this process the first one of a machine, and gives that what it needs. `None` in the daemon: there this
/// returns again and again, each time in another process, but never in the first one.
pub fn keep_machine(environment: &mut Vec<(OsString, OsString)>) -> Option<u8> {
    if !environment.iter().any(|entry| entry.0 == "PATH") {
        environment.push(("PATH".into(), PATH.into()));
    }
    let mut failures = Vec::new();
    first::mount_file_systems(|place, errno| failures.push(failed("mount", place, errno)));
    if let Err(errno) = first::raise_loopback() {
        failures.push(failed("bring up the interface", "lo", errno));
    }
    let child = first::hold_signals().and_then(|()| first::start(PREPARATION));
    let child = child.unwrap_or_else(|errno| {
        failures.push(failed("fork for", "what prepares the machine", errno));
        None
    });
    // Not before /proc is there: that helps to write without waiting.
    let mut log = log();
    for line in &failures {
        log.write(line);
    }
    let status = First { keeper: Keeper::of_machine(clock::monotonic(), child.is_some()), child, log }.run();
    if status.is_none() {
        rename(NAME);
    }
    status
}

/// Standard error is all that a first process can be sure of.
fn log() -> Log {
    Log::new(Sinks { syslog: None, stderr: Some(Level::Info) }, std::process::id())
}

fn failed(what: &str, whom: &str, errno: Errno) -> Line {
    line!(Error, "Cannot {what} {whom}: {}", io::Error::from(errno))
}

/// The first process, once it has started something.
struct First {
    keeper: Keeper,
    /// The daemon, or what goes before it.
    child: Option<Worker>,
    log: Log,
}

impl First {
    /// `None` in the daemon.
    fn run(mut self) -> Option<u8> {
        first::rest();
        loop {
            let event = self.next();
            let prepared = self.keeper.is_preparing();
            let action = self.keeper.handle(event, clock::monotonic());
            self.tell(event, prepared);
            match action {
                Action::Wait => {}
                Action::Start => match first::fork() {
                    Ok(None) => return None,
                    Ok(child) => self.child = child,
                    Err(errno) => {
                        self.log.write(&failed("fork for", "the daemon", errno));
                        self.keeper.not_started(clock::monotonic());
                    }
                },
                Action::PassOn => self.child.iter().for_each(|child| child.terminate()),
                Action::Exit(status) => {
                    // In a container of its own kind, with another first process, it would stay.
                    self.child.iter().for_each(|child| child.kill());
                    return Some(status);
                }
            }
        }
    }

    /// **Waits** for what happens next.
    fn next(&mut self) -> Event {
        loop {
            while let Some((pid, ending)) = first::bury_next() {
                if self.child.is_some_and(|child| child.is(pid)) {
                    self.child = None;
                    return Event::Ended(ending);
                }
            }
            if self.keeper.is_leaving() && !first::has_children() {
                return Event::Alone;
            }
            let left = self.keeper.deadline().map(|deadline| deadline.since(clock::monotonic()));
            if left == Some(0) {
                return Event::TimeIsUp;
            }
            match first::wait(left) {
                Meaning::Look => {}
                Meaning::Terminate => return Event::Told,
                Meaning::Interrupt => return Event::Interrupted,
            }
        }
    }

    /// Says what is worth a line, after the keeper has heard of it.
    fn tell(&mut self, event: Event, prepared: bool) {
        let is_leaving = self.keeper.is_leaving();
        let (how, number) = match event {
            Event::Ended(Ending::Exited(0)) if prepared || is_leaving => return,
            Event::Ended(Ending::Exited(status)) => ("ended with status", status.into()),
            Event::Ended(Ending::Signalled(signal)) => ("was ended by signal", signal),
            Event::TimeIsUp if prepared && self.child.is_some() => {
                ("takes more seconds than", (PREPARE / 1000) as i32)
            }
            _ => return,
        };
        let line = if prepared {
            line!(Error, "What prepares the machine {how} {number}: starting the daemon all the same")
        } else {
            let then = if is_leaving { "its container ends within" } else { "starting it again in" };
            let left = self.keeper.deadline().map_or(0, |deadline| deadline.since(clock::monotonic()));
            line!(Error, "The daemon {how} {number}: {then} {} s", left.div_ceil(1000))
        };
        self.log.write(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_stocks_choice() {
        let role = |process, name: &str, value: &str| Role::of(process, &[(name.into(), value.into())]);
        assert_eq!(role(1, "PATH", "/bin"), Role::Container);
        assert_eq!(role(1, "PCMK_remote_pid1", "vars"), Role::Container);
        for (name, value, expected) in [
            ("PCMK_remote_pid1", "full", Role::Container),
            ("HA_remote_pid1", "full", Role::Container),
            ("PCMK_remote_pid1", "vars", Role::DaemonOfImage),
            ("PCMK_remote_pid1", "Full", Role::Container),
            ("PCMK_remote_pid1", "default", Role::Daemon),
            ("PCMK_remote_pid1", "", Role::Daemon),
            ("PATH", "full", Role::Daemon),
        ] {
            assert_eq!(role(2, name, value), expected, "{name}={value}");
        }
    }
}

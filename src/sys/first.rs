//! What only a first process does: it waits for signals and children and nothing else, and gives a machine that has
//! nothing yet its file systems.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::fs::Mode;
use rustix::mount::{MountFlags, mount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, Signal};

pub use super::child::{bury_next, has_children};
use super::signal::{check, default_disposition, last_errno, mask_of, set_mask};
use super::{Errno, image};

/// What cannot be executed, as a shell tells it.
const NOT_RUN: libc::c_int = 127;
/// What managers of containers send in the place of SIGTERM: LXC this…
const LXC_STOP: libc::c_int = libc::SIGPWR;
/// …and others this real-time signal, which is systemd's. In libc's own count it depends on the libc.
const SYSTEMD_STOP: libc::c_int = 37;

/// A child of the first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker(Pid);

impl Worker {
    /// Whether this is its process id.
    pub fn is(self, pid: i32) -> bool {
        self.0.as_raw_pid() == pid
    }

    /// Asks it to end.
    pub fn terminate(self) {
        // If it has just ended, that shows soon.
        let _ = rustix::process::kill_process(self.0, Signal::TERM);
    }

    /// Ends it.
    pub fn kill(self) {
        let _ = rustix::process::kill_process(self.0, Signal::KILL);
    }
}

/// Holds all signals back, so that [`wait`] gets them. Children inherit that.
///
/// # Errors
/// None that a working kernel would give.
pub fn hold_signals() -> Result<(), Errno> {
    // A starter that ignores SIGCHLD bequeaths that, and then children vanish unseen.
    default_disposition(libc::SIGCHLD)?;
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set.
    let all = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        all.assume_init()
    };
    set_mask(&all)
}

/// Forks; `None` in the child. That is in a session of its own, so that a terminal's signals do not reach it, and is
/// told to end when this process does. Signals stay held back there until it sets another mask.
///
/// # Errors
/// What `fork` says.
pub fn fork() -> Result<Option<Worker>, Errno> {
    // SAFETY: this process has one thread, so the child's memory is whole.
    match unsafe { libc::fork() } {
        0 => {
            let _ = rustix::process::setsid();
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
            Ok(None)
        }
        pid if pid < 0 => Err(last_errno()),
        pid => Pid::from_raw(pid).map(|pid| Some(Worker(pid))).ok_or(Errno::IO),
    }
}

/// Starts a program with this process's environment; `None` if there is none at that path.
///
/// # Errors
/// What `fork` says. A program that cannot be executed ends with status 127.
pub fn start(program: &CStr) -> Result<Option<Worker>, Errno> {
    if rustix::fs::stat(program).is_err() {
        return Ok(None);
    }
    let argv = [program.as_ptr(), ptr::null()];
    let worker = fork()?;
    if worker.is_none() {
        let _ = rustix::process::set_parent_process_death_signal(None);
        let _ = set_mask(&mask_of(&[]));
        // SAFETY: the argument is a valid string, and the array ends with null. Nobody changes the environment.
        unsafe { libc::execv(program.as_ptr(), argv.as_ptr()) };
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(NOT_RUN) };
    }
    Ok(worker)
}

/// What a signal means to a first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Children may have ended, or nothing has happened, or nothing that matters.
    Look,
    /// End in an orderly way.
    Terminate,
    /// End at once.
    Interrupt,
}

/// **Waits** for a signal, or until `millis` milliseconds have passed.
pub fn wait(millis: Option<u64>) -> Meaning {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set.
    let all = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        all.assume_init()
    };
    // A minute fits any time_t and any c_long; who asked for more looks again.
    let millis = millis.unwrap_or(60_000).min(60_000);
    let time = libc::timespec { tv_sec: (millis / 1000) as _, tv_nsec: (millis % 1000 * 1_000_000) as _ };
    // SAFETY: the set and the time are valid for the call, and what the signal comes with is not asked for.
    match unsafe { libc::sigtimedwait(&all, ptr::null_mut(), &time) } {
        libc::SIGTERM | LXC_STOP | SYSTEMD_STOP => Meaning::Terminate,
        libc::SIGINT => Meaning::Interrupt,
        _ => Meaning::Look,
    }
}

/// Gives the pages of the start back: this process waits from now on.
pub fn rest() {
    image::forget_code();
}

/// What a machine needs, in this order: a file system, where, and what it is told.
const FILE_SYSTEMS: [(&CStr, &CStr, &CStr); 5] = [
    (c"proc", c"/proc", c""),
    (c"sysfs", c"/sys", c""),
    (c"devtmpfs", c"/dev", c"mode=0755"),
    (c"tmpfs", c"/dev/shm", c"mode=1777"),
    (c"tmpfs", c"/run", c"mode=0755"),
];

/// Mounts the file systems that are not mounted yet; tells each that could not be.
pub fn mount_file_systems(mut failed: impl FnMut(&str, Errno)) {
    for (kind, place, data) in FILE_SYSTEMS {
        if is_mounted(place) {
            continue;
        }
        let _ = rustix::fs::mkdir(place, Mode::from_raw_mode(0o755));
        let flags =
            MountFlags::NOSUID | if kind == c"devtmpfs" { MountFlags::empty() } else { MountFlags::NODEV };
        if let Err(errno) = mount(kind, place, kind, flags, Some(data)) {
            failed(place.to_str().unwrap_or_default(), errno);
        }
    }
}

/// Whether something else than what the root has is there.
fn is_mounted(place: &CStr) -> bool {
    let device = |path: &CStr| rustix::fs::stat(path).ok().map(|stat| stat.st_dev);
    // Of /dev/shm, /dev is what it would be a part of.
    let above = if place == c"/dev/shm" { c"/dev" } else { c"/" };
    device(place).is_some_and(|own| Some(own) != device(above))
}

/// Gives the machine its loopback interface.
///
/// # Errors
/// What `socket` and `ioctl` say.
pub fn raise_loopback() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero is a valid ifreq: numbers and bytes.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *byte as _;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is valid for the call, and is what this command takes.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Ending;
    use crate::sys::testing::isolated;

    fn raise(signal: libc::c_int) {
        // SAFETY: kill has no preconditions.
        assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
    }

    #[test]
    fn signals_have_meanings_and_wait_for_who_asks() {
        isolated(|| {
            hold_signals().unwrap();
            for (signal, meaning) in [
                (libc::SIGTERM, Meaning::Terminate),
                (libc::SIGPWR, Meaning::Terminate),
                (SYSTEMD_STOP, Meaning::Terminate),
                (libc::SIGINT, Meaning::Interrupt),
                (libc::SIGHUP, Meaning::Look),
                (libc::SIGQUIT, Meaning::Look),
                (libc::SIGUSR1, Meaning::Look),
            ] {
                raise(signal);
                assert_eq!(wait(None), meaning, "{signal}");
            }
            assert_eq!(wait(Some(0)), Meaning::Look);
        });
    }

    #[test]
    fn a_child_is_told_apart_from_orphans() {
        isolated(|| {
            hold_signals().unwrap();
            assert!(!has_children());
            assert_eq!(start(c"/nonexistent/program"), Ok(None));
            let child = start(c"/bin/false").unwrap().unwrap();
            assert!(has_children());
            assert_eq!(wait(Some(50_000)), Meaning::Look);
            let (pid, ending) = bury_next().unwrap();
            assert!(child.is(pid) && !child.is(pid + 1));
            assert_eq!(ending, Ending::Exited(1));
            assert!(!has_children());
        });
    }

    #[test]
    fn proc_is_mounted_on_any_machine_that_runs_this() {
        assert!(is_mounted(c"/proc"));
        assert!(!is_mounted(c"/"));
        assert!(!is_mounted(c"/nonexistent"));
    }
}
